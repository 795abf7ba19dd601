//! What a source passes on, and when it stops.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use crate::terminal::Shown;

/// How long to read.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// What there is now.
    Once,
    /// Until the source ends. A file that is written, and a server that comes back, do not.
    Follow,
}

/// What a source gives.
pub enum Input<'i> {
    Line(&'i [u8]),
    /// A line that is too long to be an event.
    TooLong,
    /// The past events have been read: what comes now is live. A record that is not followed has
    /// none.
    Live,
    /// The next input may take its time: what was made of the lines should be shown.
    Pause,
    /// No server answers: why. When following, the next one is waited for.
    NoServer(String),
    /// The user should know this.
    Notice(String),
}

/// Why reading stopped: the caller wants no more, or an error for the user.
pub enum Stop {
    Enough,
    Error(String),
}

/// Takes each input.
pub struct Taker<'t>(&'t mut dyn FnMut(Input) -> ControlFlow<()>);

impl<'t> Taker<'t> {
    pub fn new(take: &'t mut dyn FnMut(Input) -> ControlFlow<()>) -> Self {
        Taker(take)
    }

    pub fn take(&mut self, input: Input) -> Result<(), Stop> {
        match (self.0)(input) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Stop::Enough),
        }
    }
}

/// An error about a path.
pub fn error(what: &str, path: &Path, error: io::Error) -> Stop {
    let path = Shown(path);
    Stop::Error(format!("cannot {what} {path}: {error}"))
}
