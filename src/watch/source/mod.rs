//! Where events come from: a server, an output socket, files, or stdin.
//!
//! Reading blocks, and a callback gets each line. So the caller needs no loop, and can run
//! this in a thread of its own.
//!
//! - `server` reads sockets, `file` reads files and stdin. Both pass on what `input` names.
//! - `missing` names the commands that lead to events where no server answers.
//! - This file decides what a path is.
//!
//! Stop 17 of EDU_NOTES.md.

mod file;
mod input;
mod line_splitter;
mod missing;
mod server;

use std::fs;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

pub use self::input::{Input, Mode};
use self::input::{Stop, Taker};
#[cfg(feature = "screen")]
pub use self::missing::setup;
use crate::cli::{STDIN, SourceOption};

/// Reads a source. Returns when it ends, or when `take` breaks. The error is for the user.
pub fn read(
    source: &SourceOption,
    mode: Mode,
    take: &mut dyn FnMut(Input) -> ControlFlow<()>,
) -> Result<(), String> {
    let mut taker = Taker::new(take);
    let result = match source {
        SourceOption::Server(path) => server::read(path, server::Kind::Hooks, mode, &mut taker),
        SourceOption::Paths(paths) => read_paths(paths, mode, &mut taker),
    };
    match result {
        Ok(()) | Err(Stop::Enough) => Ok(()),
        Err(Stop::Error(error)) => Err(error),
    }
}

/// The sessions that the server knows, as `GET /sessions` lists them. None, if the source is
/// no server, or one that has no such list.
pub fn listed_sessions(source: &SourceOption) -> Vec<String> {
    match source {
        SourceOption::Server(path) => server::sessions(path),
        SourceOption::Paths(paths) => match paths.as_slice() {
            [path] if is_socket(path) => server::sessions(path),
            _ => Vec::new(),
        },
    }
}

/// Whether a source says what happens on this machine now: a server or an output socket, not a
/// record.
pub fn is_live(source: &SourceOption) -> bool {
    match source {
        SourceOption::Server(_) => true,
        SourceOption::Paths(paths) => paths.iter().any(|path| is_socket(path)),
    }
}

fn is_socket(path: &Path) -> bool {
    let is_socket = fs::metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket && path != Path::new(STDIN)
}

fn read_paths(paths: &[PathBuf], mode: Mode, taker: &mut Taker) -> Result<(), Stop> {
    match paths {
        [path] if is_socket(path) => server::read(path, server::Kind::Unknown, mode, taker),
        paths if paths.iter().any(|path| is_socket(path)) => Err(Stop::Error(
            "several sources must be files: give one socket, or files of JSON lines".into(),
        )),
        paths => file::read(paths, mode, taker),
    }
}
