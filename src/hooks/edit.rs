//! Edits a settings file: shows the change, asks, and writes.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGIO, SIGTERM};
use signal_hook::flag;

use super::command::quote_text;
use super::places;
use crate::cli::{Change, Scope};
use crate::diagnostics::stderr::say;
use crate::terminal::Shown;
use crate::user_files::{Outcome, TextFile, confirm, diff};

/// The time in which other programs that write the file must let it be for once.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The time between two attempts.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// An edit of a settings file.
pub struct Edit<'e> {
    pub change: &'e Change,
    pub new_text: &'e dyn Fn(&str) -> Result<String, String>,
    /// What changes in the file with this path and text.
    pub summary: &'e dyn Fn(&Path, &str) -> String,
    /// What the user should know besides, also if nothing changes.
    pub notes: &'e str,
    pub done: &'e str,
    /// The option that undoes it.
    pub undo: &'e str,
    /// What else is needed for it to work. It is the last that is printed.
    pub next: &'e str,
}

impl Edit<'_> {
    /// Says what changes, asks, and edits. `print` writes to stdout.
    pub fn run(&self, print: impl Fn(&str) -> Result<(), String>) -> Result<(), String> {
        let path = places::settings(&self.change.scope)?;
        let shown = Shown(&path);
        let unchanged = |error: String| format!("{shown} was left as it was: {error}");
        let (file, text) = read(&path, self.new_text).map_err(unchanged)?;
        self.check_folder(&path, &file).map_err(unchanged)?;
        if text == file.text {
            let (notes, next) = (self.notes, self.next);
            return print(&format!("Nothing to change in {shown}\n{notes}{next}"));
        }
        let summary = (self.summary)(&path, &file.text) + self.notes;
        if self.change.is_dry_run {
            print(&diff(&path, &file.text, &text))?;
            say(format_args!("{summary}Nothing was written."));
            return Ok(());
        }
        if self.change.is_confirmed {
            print(&summary)?;
        } else {
            confirm(&format!("{summary}Write it?")).map_err(unchanged)?;
        }
        write(&path, self.new_text, file, text).map_err(unchanged)?;
        let (done, undo, scope, next) = (self.done, self.undo, self.scope(&path), self.next);
        print(&format!(
            "{done} To undo it: hooks-observatory hooks {undo} {scope}\n{next}"
        ))
    }

    /// Only the client's own folder is made where it is missing.
    fn check_folder(&self, path: &Path, file: &TextFile) -> Result<(), String> {
        let is_clients = !matches!(self.change.scope, Scope::File(_));
        let folder = file.folder();
        if folder.is_dir() || is_clients && path.parent() == Some(folder) {
            return Ok(());
        }
        let shown = Shown(folder);
        Err(format!("there is no folder {shown}. Make it first"))
    }

    /// The option that chooses the file, from any directory.
    fn scope(&self, path: &Path) -> String {
        match &self.change.scope {
            Scope::User => "--user".to_owned(),
            Scope::Project => "--project".to_owned(),
            Scope::File(_) => format!("--file {}", quote_text(&Shown(path).to_string())),
        }
    }
}

/// Reads the file, and edits its text. What cannot be edited may be half of what another program
/// is writing: it is an error if it stays.
fn read(
    path: &Path,
    new_text: &dyn Fn(&str) -> Result<String, String>,
) -> Result<(TextFile, String), String> {
    let attempt = || {
        let file = TextFile::read(path)?;
        let text = new_text(&file.text)
            .map_err(|error| format!("{error}. Correct it, and run the command again"))?;
        Ok((file, text))
    };
    let mut last = attempt();
    while let Err(error) = &last {
        thread::sleep(RETRY_INTERVAL);
        let next = attempt();
        if next.as_ref().is_err_and(|next| next == error) {
            return next;
        }
        last = next;
    }
    last
}

/// Writes the text. Where another program has changed the file, its content is edited anew.
fn write(
    path: &Path,
    new_text: &dyn Fn(&str) -> Result<String, String>,
    mut file: TextFile,
    mut text: String,
) -> Result<(), String> {
    let is_stopped = defer_signals().map_err(|error| format!("cannot handle signals: {error}"))?;
    let deadline = Instant::now() + TIMEOUT;
    while text != file.text && file.replace(&text)? == Outcome::Refused {
        if is_stopped.load(Ordering::Relaxed) || Instant::now() > deadline {
            return Err("another program is writing it. Run the command again later".into());
        }
        thread::sleep(RETRY_INTERVAL);
        (file, text) = read(path, new_text)?;
    }
    Ok(())
}

/// From now on no signal ends the program between two of its steps. The kernel sends SIGXFSZ at a
/// limit on the size of files (setrlimit(2)), and SIGIO to the holder of a lease (fcntl(2)).
fn defer_signals() -> io::Result<Arc<AtomicBool>> {
    let is_stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM, SIGIO, libc::SIGXFSZ] {
        flag::register(signal, Arc::clone(&is_stopped))?;
    }
    Ok(is_stopped)
}
