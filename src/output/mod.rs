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

use std::collections::HashMap;
use std::io::{self, Write};
use std::os::fd::RawFd;
use std::time::{Duration, Instant, SystemTime};

use log::trace;
use mio::net::UnixStream;
use slab::Slab;

use self::event_log::{Cursor, EventLog, Position};
use crate::diagnostics::stderr::say;
use crate::event::{self, Event};
use crate::format::Format;
use crate::nonblocking::NonblockingFd;

/// The delay before a failed write to a file on stdout (a full disk) is tried again, if no new
/// event causes a flush earlier.
const STDOUT_RETRY_DELAY: Duration = Duration::from_secs(1);
/// What one flush writes at most, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct FlushBudget {
    /// To stdout.
    pub stdout: usize,
    /// To one reader.
    pub reader: usize,
    /// To all readers together.
    pub all_readers: usize,
    /// Whether slow readers get nothing.
    pub skips_slow_readers: bool,
}

impl FlushBudget {
    /// A flush writes whatever the prompt sinks have room for.
    pub const PROMPT_SINKS: FlushBudget = FlushBudget {
        stdout: usize::MAX,
        reader: usize::MAX,
        all_readers: usize::MAX,
        skips_slow_readers: true,
    };
}

/// The log and its sinks.
#[derive(Debug)]
pub struct Output {
    format: Format,
    log: EventLog,
    limit: usize,
    /// The formatted event that is appended next.
    staged: String,
    /// The end of the log at the last flush.
    last_flush: Position,
    stdout: Option<Sink<NonblockingFd>>,
    retry_stdout_at: Option<Instant>,
    /// Whether the last write to stdout failed.
    stdout_failed: bool,
    readers: Slab<Sink<UnixStream>>,
    /// The reader with which the next flush begins, if the last one used up its budget.
    next_reader: usize,
    /// Whether some sink may have both room and something to get.
    needs_flush: bool,
}

#[derive(Debug)]
struct Sink<W> {
    writer: W,
    cursor: Cursor,
    /// False after a write that returned `WouldBlock`, until the poll reports room.
    has_room: bool,
    /// Whether it had no room since it last had everything.
    is_slow: bool,
    /// Whether the poll reports room.
    is_watched: bool,
    /// Whether the poll should report room: only while the sink has none.
    wants_watch: bool,
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
            last_flush: log.end(),
            stdout: stdout.map(|writer| Sink::new(writer, log.end())),
            retry_stdout_at: None,
            stdout_failed: false,
            readers: Slab::new(),
            next_reader: 0,
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

    /// Whether the staged event can be appended without evicting another that a prompt sink,
    /// or a reader in the backlog, has not been offered yet.
    pub fn has_room(&self) -> bool {
        if self.log.has_room_for(self.staged.len()) {
            return true;
        }
        let first = self.log.first_kept(self.staged.len());
        let mut prompt = self.prompt_cursors().map(Cursor::entry);
        self.last_flush.entry() >= first && prompt.all(|entry| entry >= first)
    }

    /// Appends the staged event to the log. Returns the number of its entry: see
    /// [`Output::flushed_entry`].
    pub fn append(&mut self) -> u64 {
        /// Bytes of memory that the staging buffer keeps.
        const SPARE_CAPACITY: usize = 1 << 20;
        let evicts = !self.log.has_room_for(self.staged.len());
        let stdout = self.stdout.iter_mut().map(|sink| &mut sink.cursor);
        let readers = self.readers.iter_mut().map(|(_, sink)| &mut sink.cursor);
        trace!("log: appended {} bytes", self.staged.len());
        let end = self.log.append(&mut self.staged, stdout.chain(readers));
        if evicts {
            self.report_lagging();
            self.bound_partial_events();
        }
        self.staged.shrink_to(SPARE_CAPACITY);
        self.needs_flush = true;
        end.entry() - 1
    }

    /// Adds a reader, and returns it with its key. It gets every event appended since the
    /// last flush: it may have connected before these were posted.
    pub fn add_reader(&mut self, stream: UnixStream) -> (usize, &mut UnixStream) {
        let key = self.readers.insert(Sink::new(stream, self.last_flush));
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

    /// The stream of a reader, for reading.
    pub fn reader(&mut self, key: usize) -> Option<&mut UnixStream> {
        self.readers.get_mut(key).map(|reader| &mut reader.writer)
    }

    /// The readers for which the poll must begin or end to report room, and which of the two.
    /// The caller registers them.
    pub fn readers_to_register(&mut self) -> impl Iterator<Item = (usize, &mut UnixStream, bool)> {
        self.readers.iter_mut().filter_map(|(key, reader)| {
            let watch = reader.update_watch()?;
            Some((key, &mut reader.writer, watch))
        })
    }

    /// The same for stdout. `None`: nothing changes, or stdout is a file.
    pub fn stdout_to_register(&mut self) -> Option<(RawFd, bool)> {
        let stdout = self.stdout.as_mut()?;
        let fd = stdout.writer.pollable_fd()?;
        stdout.update_watch().map(|watch| (fd, watch))
    }

    /// Records that the poll reported room for a reader.
    pub fn set_reader_writable(&mut self, key: usize) {
        if let Some(reader) = self.readers.get_mut(key) {
            self.needs_flush |= reader.set_writable();
        }
    }

    /// Records that the poll reported room on stdout.
    pub fn set_stdout_writable(&mut self) {
        if let Some(stdout) = &mut self.stdout {
            self.needs_flush |= stdout.set_writable();
        }
    }

    /// The descriptor of stdout that the poll can report. `None` for a file.
    pub fn stdout_fd(&self) -> Option<RawFd> {
        self.stdout.as_ref()?.writer.pollable_fd()
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

    /// Whether every sink has received all events.
    pub fn is_drained(&self) -> bool {
        self.sinks()
            .all(|(_, cursor)| cursor.has_reached(self.log.end()))
    }

    /// The number of the first entry that some prompt sink has not received. The events
    /// before it may be acknowledged: a slow sink gets them when it has room.
    pub fn flushed_entry(&self) -> u64 {
        let first = self.prompt_cursors().map(Cursor::entry).min();
        first.unwrap_or(self.log.end().entry())
    }

    /// How many bytes the sinks that keep up are behind, at most. A stdout that catches up does
    /// not count: the hooks would wait until it has everything.
    pub fn bytes_behind(&self) -> usize {
        let stdout = self.stdout.iter().map(|sink| (sink.is_slow, &sink.cursor));
        let readers = self.readers.iter();
        let sinks = stdout.chain(readers.map(|(_, sink)| (sink.is_slow, &sink.cursor)));
        let prompt = sinks.filter(|(is_slow, _)| !is_slow);
        let bytes = prompt.map(|(_, cursor)| cursor.bytes_behind(&self.log));
        bytes.max().unwrap_or(0)
    }

    /// Writes to each sink what it has not received, as far as it has room and the budget
    /// allows.
    pub fn flush(&mut self, budget: FlushBudget) {
        if self.retry_stdout_at.is_some_and(|at| at <= Instant::now()) {
            self.retry_stdout_at = None;
            self.needs_flush = true;
        }
        if !std::mem::take(&mut self.needs_flush) {
            return;
        }
        self.flush_stdout(budget.stdout);
        self.flush_readers(budget);
        self.last_flush = self.log.end();
        let end = self.last_flush;
        let can_continue =
            |(has_room, cursor): (bool, &Cursor)| has_room && !cursor.has_reached(end);
        let needs_flush = self.sinks().any(can_continue);
        self.needs_flush = needs_flush;
        let oldest_unread = self.sinks().map(|(_, cursor)| cursor.entry()).min();
        self.log.release(oldest_unread.unwrap_or(end.entry()));
    }

    /// Writes to the readers, and removes those that have disconnected. It begins where the last
    /// flush used up its budget, so that each reader has its turn.
    fn flush_readers(&mut self, budget: FlushBudget) {
        let mut left = budget.all_readers;
        let mut gone = Vec::new();
        let first = std::mem::take(&mut self.next_reader);
        let end = self.readers.capacity();
        for key in (first..end).chain(0..first.min(end)) {
            let Some(reader) = self.readers.get_mut(key) else {
                continue;
            };
            if budget.skips_slow_readers && reader.is_slow {
                continue;
            }
            if left == 0 {
                self.next_reader = key;
                break;
            }
            let name = format_args!("reader {key}");
            match reader.flush(name, &self.log, self.format, left.min(budget.reader)) {
                Ok(count) => left -= count,
                Err(_) => gone.push(key),
            }
        }
        gone.into_iter().for_each(|key| self.remove_reader(key));
    }

    /// For each sink, whether it has room, and its cursor.
    fn sinks(&self) -> impl Iterator<Item = (bool, &Cursor)> {
        let stdout = self.stdout.iter().map(|sink| (sink.has_room, &sink.cursor));
        let readers = self.readers.iter();
        stdout.chain(readers.map(|(_, sink)| (sink.has_room, &sink.cursor)))
    }

    /// The cursors of the sinks that responses wait for: stdout while it has room, and the
    /// readers that keep up. A reader that has run out of room is slow until it has caught
    /// up: with many such readers, the hooks would wait for one of them in every turn.
    fn prompt_cursors(&self) -> impl Iterator<Item = &Cursor> {
        let stdout = self.stdout.iter().filter(|sink| sink.has_room);
        let stdout = stdout.map(|sink| &sink.cursor);
        let readers = self.readers.iter().map(|(_, sink)| sink);
        let readers = readers.filter(|sink| !sink.is_slow);
        stdout.chain(readers.map(|sink| &sink.cursor))
    }

    /// Writes to stdout. An error of a pipe or terminal closes it: its reader is gone. A file is
    /// tried again later.
    fn flush_stdout(&mut self, budget: usize) {
        let Some(stdout) = &mut self.stdout else {
            return;
        };
        let is_file = stdout.writer.pollable_fd().is_none();
        stdout.has_room |= is_file;
        match stdout.flush("stdout", &self.log, self.format, budget) {
            Ok(_) => {
                let waits = is_file && !stdout.has_room;
                self.retry_stdout_at = waits.then(|| Instant::now() + STDOUT_RETRY_DELAY);
                self.stdout_failed = false;
            }
            Err(error) if is_file => {
                stdout.set_full();
                self.retry_stdout_at = Some(Instant::now() + STDOUT_RETRY_DELAY);
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

    /// Keeps the memory of partial events within the limit: disconnects the reader for which
    /// the most is kept. Memory that readers share counts once, and as in the log, one event
    /// may exceed the limit.
    fn bound_partial_events(&mut self) {
        loop {
            let partial = |(key, sink): (usize, &Sink<UnixStream>)| {
                let (address, length) = sink.cursor.partial_memory()?;
                Some((address, (length, key)))
            };
            let distinct: HashMap<_, _> = self.readers.iter().filter_map(partial).collect();
            let total: usize = distinct.values().map(|(length, _)| length).sum();
            match distinct.into_values().max() {
                Some((length, key)) if total - length > self.limit => {
                    say(format_args!(
                        "An output reader is disconnected in the middle of an event: {total} \
                         bytes are kept for such readers, and --buffer is {}",
                        self.limit
                    ));
                    self.remove_reader(key);
                }
                _ => return,
            }
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
            is_slow: false,
            is_watched: false,
            wants_watch: false,
            is_lagging: false,
        }
    }

    /// A write returned `WouldBlock`, or failed.
    fn set_full(&mut self) {
        self.has_room = false;
        self.is_slow = true;
        self.wants_watch = true;
    }

    /// The poll reported room. Returns whether the sink had none. If it had room already, the
    /// report is useless, and the poll must stop reporting: on a terminal each line of stderr
    /// would cause a report.
    fn set_writable(&mut self) -> bool {
        self.wants_watch = !self.has_room;
        !std::mem::replace(&mut self.has_room, true)
    }

    /// What the poll must do now, if that has changed: report room or not.
    fn update_watch(&mut self) -> Option<bool> {
        let has_changed = self.is_watched != self.wants_watch;
        self.is_watched = self.wants_watch;
        has_changed.then_some(self.is_watched)
    }

    /// Writes what the sink has not received, while it has room: at most `budget` bytes.
    /// Returns the number of bytes.
    fn flush(
        &mut self,
        name: impl std::fmt::Display,
        log: &EventLog,
        format: Format,
        budget: usize,
    ) -> io::Result<usize> {
        let mut left = budget;
        while self.has_room && left > 0 {
            if self.cursor.unread(log).is_empty() {
                let missed = self.cursor.missed(log);
                if missed == 0 {
                    self.is_slow = false;
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
            match self.writer.write(&bytes[..bytes.len().min(left)]) {
                // No device does this. It must not make the loop spin.
                Ok(0) => self.set_full(),
                Ok(count) => {
                    trace!("{name}: wrote {count} bytes");
                    self.cursor.advance(log, count);
                    left -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    trace!("{name}: no room");
                    self.set_full();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(budget - left)
    }
}
