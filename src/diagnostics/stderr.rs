//! Lines on stderr, written without blocking.
//!
//! `eprintln!` blocks if nobody reads stderr, and panics if stderr is closed. Here a line
//! for which there is no room is dropped and counted: a message must never hold up the
//! server.
//!
//! Stop 10 of EDU_NOTES.md.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use crate::nonblocking::NonblockingFd;

/// stderr, and the rest of a line of which only a part was written.
struct Stderr {
    fd: NonblockingFd,
    unsent: Vec<u8>,
    /// Lines dropped since the last one that was not.
    dropped: usize,
}

static STDERR: Mutex<Option<Stderr>> = Mutex::new(None);

/// Writes a line, or a few lines together, to stderr.
pub fn say(line: impl Display) {
    let Ok(mut stderr) = STDERR.lock() else {
        return;
    };
    if stderr.is_none() {
        *stderr = NonblockingFd::new(io::stderr()).ok().map(|fd| Stderr {
            fd,
            unsent: Vec::new(),
            dropped: 0,
        });
    }
    if let Some(stderr) = stderr.as_mut() {
        stderr.say(line);
    }
}

/// Closes stderr. Waits for a writer thread, if there is one, to write what it has accepted:
/// 200 ms at most. Call it before the process exits, which would end the thread.
pub fn finish() {
    const TIMEOUT: Duration = Duration::from_millis(200);
    if let Some(stderr) = STDERR.lock().ok().and_then(|mut stderr| stderr.take()) {
        stderr.fd.finish(TIMEOUT);
    }
}

impl Stderr {
    fn say(&mut self, line: impl Display) {
        self.write();
        if !self.unsent.is_empty() {
            self.dropped += 1;
            return;
        }
        self.unsent = match self.dropped {
            0 => format!("{line}\n").into(),
            dropped => format!("({dropped} lines dropped here)\n{line}\n").into(),
        };
        let length = self.unsent.len();
        self.write();
        if self.unsent.len() == length {
            self.unsent.clear();
            self.dropped += 1;
        } else {
            self.dropped = 0;
        }
    }

    fn write(&mut self) {
        while !self.unsent.is_empty()
            && let Ok(count @ 1..) = self.fd.write(&self.unsent)
        {
            self.unsent.drain(..count);
        }
    }
}
