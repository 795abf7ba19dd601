//! The output: one log of events, and the sinks that read it, stdout and the readers.
//!
//! - This file holds the sinks and writes to them.
//! - [`event_log`] holds the events that they have not taken.
//!
//! No sink ever blocks another. If events are evicted before a sink took them, they are
//! counted, and the sink gets a notice with the count as soon as it has room: the event
//! [`Event::dropped`].
//!
//! This folder knows no HTTP and no JSON.
//!
//! Stop 7 of EDU_NOTES.md.

pub mod event_log;

use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use log::trace;
use mio::net::UnixStream;
use slab::Slab;

use self::event_log::{Cursor, EventLog, Position};
use crate::diagnostics::stderr::say;
use crate::event::{self, Event};
use crate::format::Format;
use crate::nonblocking::NonblockingFd;

/// The pause before a stdout that no poll can report (a full disk) is tried again, if no
/// new event comes earlier.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that a reader which is behind gets in one turn. Otherwise two hundred readers that
/// catch up at once would hold up the hooks.
const CATCH_UP: usize = 1 << 20;
/// Bytes of a reader's input that are discarded in one turn.
const MAX_DISCARD: usize = 64 << 10;

/// The log and its sinks.
#[derive(Debug)]
pub struct Output {
    format: Format,
    log: EventLog,
    limit: usize,
    /// The formatted event that is appended next.
    staged: String,
    /// Up to here the log was written to all sinks, as far as they had room.
    flushed: Position,
    stdout: Option<Sink<NonblockingFd>>,
    retry_stdout_at: Option<Instant>,
    /// Whether the last write to stdout failed.
    stdout_failed: bool,
    readers: Slab<Sink<UnixStream>>,
    /// Whether some sink may have both room and something to get.
    needs_flush: bool,
}

#[derive(Debug)]
struct Sink<W> {
    writer: W,
    cursor: Cursor,
    /// False after a write that returned `WouldBlock`, until the poll reports room.
    has_room: bool,
    /// Whether the poll reports room.
    is_watched: bool,
    /// Whether it missed events and has not caught up since.
    is_lagging: bool,
}

impl Output {
    /// `limit` is the number of bytes that may wait for slow sinks.
    pub fn new(format: Format, limit: usize, stdout: Option<NonblockingFd>) -> Self {
        let log = EventLog::new(limit);
        Output {
            format,
            limit,
            staged: String::new(),
            flushed: log.end(),
            stdout: stdout.map(|writer| Sink::new(writer, log.end())),
            retry_stdout_at: None,
            stdout_failed: false,
            readers: Slab::new(),
            needs_flush: false,
            log,
        }
    }

    /// Formats the event that is appended next. Staging and appending are two steps because
    /// the event borrows the bytes that were read, and a flush may be necessary in between.
    pub fn stage(&mut self, event: &Event) {
        self.staged.clear();
        self.format.write(event, &mut self.staged);
    }

    /// Stages an event that is formatted already.
    pub fn stage_text(&mut self, text: String) {
        self.staged = text;
    }

    /// Whether the staged event can be appended without evicting another.
    pub fn has_room(&self) -> bool {
        self.log.has_room_for(self.staged.len())
    }

    /// Appends the staged event to the log.
    pub fn append(&mut self) {
        /// Bytes of memory that the staging buffer keeps.
        const SPARE: usize = 1 << 20;
        let evicts = !self.has_room();
        let stdout = self.stdout.iter_mut().map(|sink| &mut sink.cursor);
        let readers = self.readers.iter_mut().map(|(_, sink)| &mut sink.cursor);
        trace!("log: appended {} bytes", self.staged.len());
        self.log.append(&mut self.staged, stdout.chain(readers));
        if evicts {
            self.report_lagging();
            self.bound_partial_events();
        }
        self.staged.shrink_to(SPARE);
        self.needs_flush = true;
    }

    /// Adds a reader, and returns it with its key. It gets every event appended since the
    /// last flush: it may have connected before these were posted.
    pub fn add_reader(&mut self, stream: UnixStream) -> (usize, &mut UnixStream) {
        let key = self.readers.insert(Sink::new(stream, self.flushed));
        say(format_args!(
            "Output reader connected ({} total)",
            self.readers.len()
        ));
        self.needs_flush = true;
        (key, &mut self.readers[key].writer)
    }

    /// The number of connected readers.
    pub fn reader_count(&self) -> usize {
        self.readers.len()
    }

    /// Closes a reader's connection.
    pub fn remove_reader(&mut self, key: usize) {
        if self.readers.try_remove(key).is_some() {
            trace!("reader {key}: closed");
            // A flush releases the events that only this reader had not read.
            self.needs_flush = true;
            say(format_args!(
                "Output reader disconnected ({} total)",
                self.readers.len()
            ));
        }
    }

    /// Discards input of a reader, up to [`MAX_DISCARD`] bytes. Returns whether there may be
    /// more.
    pub fn discard_reader_input(&mut self, key: usize) -> bool {
        let mut discarded = [0; MAX_DISCARD];
        let reader = self.readers.get_mut(key);
        match reader.map(|reader| reader.writer.read(&mut discarded)) {
            // At the end of its input a reader still receives.
            Some(Ok(count)) => count > 0,
            Some(Err(error)) => error.kind() == io::ErrorKind::Interrupted,
            None => false,
        }
    }

    /// The readers that have no room and are not watched by the poll yet. The caller
    /// registers them.
    pub fn newly_stalled(&mut self) -> impl Iterator<Item = (usize, &mut UnixStream)> {
        self.readers.iter_mut().filter_map(|(key, reader)| {
            let is_new = !reader.has_room && !std::mem::replace(&mut reader.is_watched, true);
            is_new.then_some((key, &mut reader.writer))
        })
    }

    /// Records that a reader may have room again.
    pub fn set_reader_writable(&mut self, key: usize) {
        if let Some(reader) = self.readers.get_mut(key) {
            reader.has_room = true;
            self.needs_flush = true;
        }
    }

    /// Records that stdout may have room again.
    pub fn set_stdout_writable(&mut self) {
        if let Some(stdout) = &mut self.stdout {
            stdout.has_room = true;
            self.needs_flush = true;
        }
    }

    /// Gives up stdout: nobody reads it any more.
    pub fn close_stdout(&mut self) {
        if self.stdout.take().is_some() {
            self.needs_flush = true;
            self.retry_stdout_at = None;
            say("stdout was closed by its reader: no more events are written to it");
        }
    }

    /// Whether events are written to stdout.
    pub fn has_stdout(&self) -> bool {
        self.stdout.is_some()
    }

    /// Whether [`Output::flush`] has something to do.
    pub fn needs_flush(&self) -> bool {
        self.needs_flush
    }

    /// When to flush again because stdout had no room and no poll reports it.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_stdout_at
    }

    /// Whether every sink has everything.
    pub fn is_drained(&self) -> bool {
        self.sinks()
            .all(|(_, cursor)| cursor.has_reached(self.log.end()))
    }

    /// Writes to each sink what it has not received, as far as it has room.
    pub fn flush(&mut self) {
        if self.retry_stdout_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_stdout_at = None;
            self.needs_flush = true;
        }
        if !std::mem::take(&mut self.needs_flush) {
            return;
        }
        self.flush_stdout();
        self.flush_readers();
        self.flushed = self.log.end();
        let is_catching_up =
            |(has_room, cursor): (bool, &Cursor)| has_room && !cursor.has_reached(self.flushed);
        let needs_flush = self.sinks().any(is_catching_up);
        self.needs_flush = needs_flush;
        let oldest_unread = self.sinks().map(|(_, cursor)| cursor.entry()).min();
        self.log
            .release(oldest_unread.unwrap_or(self.flushed.entry()));
    }

    /// An error means that the reader is gone.
    fn flush_readers(&mut self) {
        let flush = |(key, reader): (usize, &mut Sink<UnixStream>)| {
            let is_behind = !reader.cursor.has_reached(self.flushed);
            let budget = if is_behind { CATCH_UP } else { usize::MAX };
            reader
                .flush(format_args!("reader {key}"), &self.log, self.format, budget)
                .err()
                .map(|_| key)
        };
        let gone: Vec<usize> = self.readers.iter_mut().filter_map(flush).collect();
        gone.into_iter().for_each(|key| self.remove_reader(key));
    }

    /// Whether each sink has room, and its cursor.
    fn sinks(&self) -> impl Iterator<Item = (bool, &Cursor)> {
        let stdout = self.stdout.iter().map(|sink| (sink.has_room, &sink.cursor));
        let readers = self.readers.iter();
        stdout.chain(readers.map(|(_, sink)| (sink.has_room, &sink.cursor)))
    }

    /// An error of a pipe or terminal means that its reader is gone. A file may have room
    /// later.
    fn flush_stdout(&mut self) {
        let Some(stdout) = &mut self.stdout else {
            return;
        };
        let is_file = stdout.writer.pollable_fd().is_none();
        stdout.has_room |= is_file;
        match stdout.flush("stdout", &self.log, self.format, usize::MAX) {
            Ok(()) => {
                let waits = is_file && !stdout.has_room;
                self.retry_stdout_at = waits.then(|| Instant::now() + RETRY);
                self.stdout_failed = false;
            }
            Err(error) if is_file => {
                stdout.has_room = false;
                self.retry_stdout_at = Some(Instant::now() + RETRY);
                if !std::mem::replace(&mut self.stdout_failed, true) {
                    say(format_args!(
                        "cannot write to stdout ({error}): up to {} bytes of events wait in \
                         memory, and the server tries again every second",
                        self.limit
                    ));
                }
            }
            Err(_) => self.close_stdout(),
        }
    }

    /// Reports each sink that begins to lose events, once until it has caught up.
    fn report_lagging(&mut self) {
        let stdout = self
            .stdout
            .iter_mut()
            .map(|sink| ("stdout", &sink.cursor, &mut sink.is_lagging));
        let readers = self.readers.iter_mut();
        let readers =
            readers.map(|(_, sink)| ("An output reader", &sink.cursor, &mut sink.is_lagging));
        for (name, cursor, is_lagging) in stdout.chain(readers) {
            if cursor.missed(&self.log) > 0 && !std::mem::replace(is_lagging, true) {
                say(format_args!(
                    "{name} is too slow: its oldest events are dropped"
                ));
            }
        }
    }

    /// Keeps the bytes of partial events within the limit: disconnects the reader for which
    /// the most are kept.
    fn bound_partial_events(&mut self) {
        loop {
            let lengths = self
                .readers
                .iter()
                .map(|(key, sink)| (sink.cursor.partial_length(), key));
            let (total, largest) = lengths.fold((0, (0, 0)), |(total, largest), reader| {
                (total + reader.0, largest.max(reader))
            });
            if total <= self.limit {
                return;
            }
            self.remove_reader(largest.1);
        }
    }

    /// Ends the output, and reports the events that each sink did not take. Waits up to
    /// `timeout` for stdout to write what it has accepted.
    pub fn finish(self, timeout: Duration) {
        let stdout = self.stdout.iter().map(|sink| ("stdout", &sink.cursor));
        let readers = self
            .readers
            .iter()
            .map(|(_, sink)| ("An output reader", &sink.cursor));
        for (name, cursor) in stdout.chain(readers) {
            let count = cursor.outstanding(&self.log);
            if count > 0 {
                say(format_args!(
                    "{name} did not receive the last {count} event(s)"
                ));
            }
        }
        if let Some(stdout) = self.stdout {
            stdout.writer.finish(timeout);
        }
    }
}

impl<W: Write> Sink<W> {
    /// A sink that gets everything after `position`.
    fn new(writer: W, position: Position) -> Self {
        Sink {
            writer,
            cursor: Cursor::new(position),
            has_room: true,
            is_watched: false,
            is_lagging: false,
        }
    }

    /// Writes what the sink has not received, while it has room: at most `budget` bytes.
    fn flush(
        &mut self,
        name: impl std::fmt::Display,
        log: &EventLog,
        format: Format,
        mut budget: usize,
    ) -> io::Result<()> {
        while self.has_room && budget > 0 {
            if self.cursor.unread(log).is_empty() {
                let missed = self.cursor.missed(log);
                if missed == 0 {
                    self.is_lagging = false;
                    break;
                }
                trace!("{name}: missed {missed} events");
                let mut notice = String::new();
                let now = event::timestamp(SystemTime::now());
                format.write(&Event::dropped(&now, missed), &mut notice);
                self.cursor.skip_missed(log, notice.as_bytes());
            }
            let bytes = self.cursor.unread(log);
            match self.writer.write(&bytes[..bytes.len().min(budget)]) {
                Ok(0) => self.has_room = false,
                Ok(count) => {
                    trace!("{name}: wrote {count} bytes");
                    self.cursor.advance(log, count);
                    budget -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    trace!("{name}: no room");
                    self.has_room = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
