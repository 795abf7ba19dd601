//! Files of JSON lines, in order, and stdin. The last file is followed while it is written.
//!
//! A record that is kept for long is rotated: its file is renamed and created again, or
//! truncated, or continued in a file with the next name (`events.2026-02-10.jsonl`). All three
//! are noticed. Polling finds them on any file system; it costs a few system calls a second.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::input::{Input, Mode, Stop, Taker, error};
use super::line_splitter::LineSplitter;
use crate::cli::STDIN;

/// The time between two looks at a file that has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// Every so many of these times, look for another file too.
const ROTATION_INTERVAL: u64 = 5;

/// Reads files as if they were one: a line can begin in one and end in the next.
pub fn read(paths: &[PathBuf], mode: Mode, taker: &mut Taker) -> Result<(), Stop> {
    let mut splitter = LineSplitter::default();
    let mut paths = paths.iter().peekable();
    while let Some(path) = paths.next() {
        let mut file = open(path)?;
        let is_followed = paths.peek().is_none() && mode == Mode::Follow;
        let is_record = file.metadata().is_ok_and(|file| file.is_file());
        if is_followed && !is_record {
            // A pipe brings what happens now.
            taker.take(Input::Live)?;
        }
        read_to_end(&mut file, path, &mut splitter, taker)?;
        if is_followed && is_record && path != Path::new(STDIN) {
            taker.take(Input::Live)?;
            follow(file, path.clone(), &mut splitter, taker)?;
        }
    }
    splitter.take_rest(|line| taker.take(line))
}

fn open(path: &Path) -> Result<File, Stop> {
    let opened = if path == Path::new(STDIN) {
        // Opening the path would fail if stdin is a socket.
        let copy = rustix::io::dup(io::stdin());
        copy.map(File::from).map_err(io::Error::from)
    } else {
        File::open(path)
    };
    opened.map_err(|cause| error("open", path, cause))
}

fn read_to_end(
    file: &mut File,
    path: &Path,
    splitter: &mut LineSplitter,
    taker: &mut Taker,
) -> Result<(), Stop> {
    loop {
        taker.take(Input::Pause)?;
        match splitter.fill(|room| file.read(room)) {
            Ok(0) => return Ok(()),
            Ok(_) => splitter.take_lines(|line| taker.take(line))?,
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(error("read", path, cause)),
        }
    }
}

/// Reads on, for ever.
fn follow(
    mut file: File,
    mut path: PathBuf,
    splitter: &mut LineSplitter,
    taker: &mut Taker,
) -> Result<(), Stop> {
    for look in 1_u64.. {
        thread::sleep(POLL_INTERVAL);
        // Look before reading: what the file gets until it is given up is read then.
        let next = if was_truncated(&file) {
            Next::Truncated
        } else if look % ROTATION_INTERVAL == 0 {
            next_file(&file, &path)
        } else {
            Next::Same
        };
        read_to_end(&mut file, &path, splitter, taker)?;
        match next {
            Next::Same => {}
            Next::Truncated => {
                *splitter = LineSplitter::default();
                file.rewind().map_err(|cause| error("read", &path, cause))?;
            }
            Next::File(next) => {
                file = open(&next)?;
                path = next;
            }
        }
    }
    Ok(())
}

/// Where a record continues.
enum Next {
    Same,
    Truncated,
    File(PathBuf),
}

fn was_truncated(mut file: &File) -> bool {
    match (file.metadata(), file.stream_position()) {
        (Ok(metadata), Ok(position)) => metadata.len() < position,
        _ => false,
    }
}

fn next_file(file: &File, path: &Path) -> Next {
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) if (named.dev(), named.ino()) != (open.dev(), open.ino()) => {
            Next::File(path.to_owned())
        }
        _ => successor(path).map_or(Next::Same, Next::File),
    }
}

/// The file beside `path` with the next numbers in its name, if names differ only in digits and
/// what is between them: `events.2026-02-09.jsonl` and `events.2026-02-10.jsonl`.
fn successor(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let (start, end) = around_digits(name)?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let later = names.filter(|other| {
        numbers(other) > numbers(name) && around_digits(other) == Some((start, end))
    });
    Some(path.with_file_name(later.min_by_key(|other| numbers(other))?))
}

/// The numbers in a name. Compared as numbers, 10 comes after 9.
fn numbers(name: &str) -> Vec<u128> {
    let digits = name.split(|char: char| !char.is_ascii_digit());
    let digits = digits.filter(|digits| !digits.is_empty());
    digits
        .map(|digits| digits.parse().unwrap_or(u128::MAX))
        .collect()
}

/// What is before the first digit and after the last one.
fn around_digits(name: &str) -> Option<(&str, &str)> {
    let is_digit = |char: char| char.is_ascii_digit();
    let (first, last) = (name.find(is_digit)?, name.rfind(is_digit)?);
    Some((&name[..first], &name[last + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_the_one_with_the_next_number() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["e.2-9.log", "e.2-10.log", "e.11-1.log", "f.2-9"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        for (name, next) in [
            ("e.2-9.log", Some("e.2-10.log")),
            ("e.2-10.log", Some("e.11-1.log")),
            ("e.11-1.log", None),
        ] {
            let next = next.map(|next| folder.path().join(next));
            assert_eq!(successor(&folder.path().join(name)), next, "{name}");
        }
    }
}
