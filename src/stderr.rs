//! What the server says to the person who runs it: lines on stderr.
//!
//! `eprintln!` would wait where nobody reads, and panic where nobody can. Here a line
//! for which there is no room is lost.
//!
//! Stop 8 of EDU_NOTES.md.

use std::fmt::Display;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::Duration;

use crate::inherited::Inherited;

/// stderr, and what is left of a line that went in only partly.
struct Stderr {
    to: Inherited,
    left: Vec<u8>,
    /// Lines that were lost since the last one that was not.
    lost: usize,
}

static STDERR: Mutex<Option<Stderr>> = Mutex::new(None);

/// Says one line on stderr. A line for which there is no room is lost, and counted: what
/// a person is told must never hold up what they run.
pub fn say(line: impl Display) {
    let Ok(mut stderr) = STDERR.lock() else {
        return;
    };
    if stderr.is_none() {
        *stderr = Inherited::new(io::stderr()).ok().map(|to| Stderr {
            to,
            left: Vec::new(),
            lost: 0,
        });
    }
    if let Some(stderr) = stderr.as_mut() {
        stderr.say(line);
    }
}

/// Waits a moment for what was said to be out. To be called before the program
/// ends: a courier on its way would be lost.
pub fn finish_saying() {
    const MOMENT: Duration = Duration::from_millis(200);
    if let Some(stderr) = STDERR.lock().ok().and_then(|mut stderr| stderr.take()) {
        stderr.to.finish(MOMENT);
    }
}

impl Stderr {
    fn say(&mut self, line: impl Display) {
        self.write();
        if !self.left.is_empty() {
            self.lost += 1;
            return;
        }
        self.left = match self.lost {
            0 => format!("{line}\n").into(),
            lost => format!("({lost} lines are missing here)\n{line}\n").into(),
        };
        let length = self.left.len();
        self.write();
        if self.left.len() == length {
            self.left.clear();
            self.lost += 1;
        } else {
            self.lost = 0;
        }
    }

    fn write(&mut self) {
        while !self.left.is_empty()
            && let Ok(count @ 1..) = self.to.write(&self.left)
        {
            self.left.drain(..count);
        }
    }
}
