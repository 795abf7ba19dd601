//! One sink: a descriptor to write to, and a cursor in the event log. When it has lost events, it
//! makes the notice that says how many.
//!
//! Stop 9 of EDU_NOTES.md.

use std::fmt::Display;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::time::{Instant, SystemTime};

use log::trace;
use mio::Interest;
use mio::net::UnixStream;

use super::event_log::{CursorKey, EventLog, Form, Next};
use crate::event::{self, Event};
use crate::format::Format;
use crate::peer::{self, Peer};

/// stdout, or a reader.
#[derive(Debug)]
pub struct Sink<W> {
    pub writer: W,
    pub cursor: CursorKey,
    /// False after a write that returned `WouldBlock`, until the poll reports room.
    pub has_room: bool,
    /// Whether it had no room, or began with a replay, since it last had everything.
    pub is_slow: bool,
    /// Whether it missed events and has not had everything since.
    pub is_lagging: bool,
    /// When it last took bytes, or began.
    pub last_progress: Instant,
    /// Whether the poll reports room.
    is_watched: bool,
    /// Whether the poll should report room: only while the sink has none.
    wants_watch: bool,
}

impl<W: Write> Sink<W> {
    /// A sink that gets what the cursor reads.
    pub fn new(writer: W, cursor: CursorKey) -> Self {
        Sink {
            writer,
            cursor,
            has_room: true,
            is_slow: false,
            is_lagging: false,
            last_progress: Instant::now(),
            is_watched: false,
            wants_watch: false,
        }
    }

    /// A write returned `WouldBlock`, or failed.
    pub fn set_full(&mut self) {
        self.has_room = false;
        self.is_slow = true;
        self.wants_watch = true;
    }

    /// The poll reported room. Returns whether the sink had none. If it had room already, the
    /// report is useless, and the poll must stop reporting: on a terminal each line of stderr
    /// would cause a report.
    pub fn set_writable(&mut self) -> bool {
        self.wants_watch = !self.has_room;
        !std::mem::replace(&mut self.has_room, true)
    }

    /// What the poll must report from now on, if that has changed.
    pub fn update_interest(&mut self) -> Option<Interest> {
        if self.is_watched == self.wants_watch {
            return None;
        }
        self.is_watched = self.wants_watch;
        Some(if self.is_watched {
            Interest::READABLE | Interest::WRITABLE
        } else {
            Interest::READABLE
        })
    }

    /// Writes what the sink has not received, while it has room: at most `budget` bytes. A
    /// notice of missed events is in `format`, unless the sink gets compact lines. `now` is when the
    /// flush began. Returns the number of bytes.
    pub fn flush(
        &mut self,
        name: impl Display,
        log: &mut EventLog,
        format: Format,
        budget: usize,
        now: Instant,
    ) -> io::Result<usize> {
        let mut left = budget;
        while self.has_room && left > 0 {
            match log.next(self.cursor) {
                Next::Bytes(bytes) => {
                    let count = self.write(&name, &bytes[..bytes.len().min(left)])?;
                    if count > 0 {
                        log.advance(self.cursor, count);
                        self.last_progress = now;
                        left -= count;
                    }
                }
                Next::Missed(missed) => {
                    trace!("{name}: missed {missed} events");
                    let notice = notice(missed, log.form(self.cursor), format);
                    log.skip_missed(self.cursor, notice.as_bytes());
                }
                Next::Done => {
                    (self.is_slow, self.is_lagging) = (false, false);
                    break;
                }
            }
        }
        Ok(budget - left)
    }

    /// Writes once. Returns the number of bytes: 0 if there was no room, or a signal came first.
    fn write(&mut self, name: impl Display, bytes: &[u8]) -> io::Result<usize> {
        match self.writer.write(bytes) {
            // No device does this. It must not make the loop spin.
            Ok(0) => self.set_full(),
            Ok(count) => {
                trace!("{name}: wrote {count} bytes");
                return Ok(count);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                trace!("{name}: no room");
                self.set_full();
            }
            Err(error) => return Err(error),
        }
        Ok(0)
    }

    /// Marks the sink as lagging if it has missed events. Returns whether it was not lagging
    /// before.
    pub fn mark_lagging(&mut self, log: &EventLog) -> bool {
        log.missed(self.cursor) > 0 && !std::mem::replace(&mut self.is_lagging, true)
    }
}

/// The notice that a sink of this form missed events.
fn notice(missed: u64, form: Form, format: Format) -> String {
    let format = match form {
        Form::Compact => Format::Compact,
        Form::Shown => format,
    };
    let mut notice = String::new();
    let now = event::timestamp(SystemTime::now());
    format.write(&Event::dropped(&now, missed), &mut notice);
    notice
}

impl Sink<UnixStream> {
    /// The reader's name in messages. The pid is that of the process that has connected.
    pub fn describe(&self, log: &EventLog) -> String {
        let kind = match log.form(self.cursor) {
            Form::Compact => "A reader of /events",
            Form::Shown => "An output reader",
        };
        match peer::credentials(self.writer.as_fd()) {
            Ok(Peer { pid: Some(pid), .. }) => format!("{kind} (pid {pid})"),
            _ => kind.into(),
        }
    }
}
