//! The output: one log of events, and the sinks that read it, stdout and the readers.
//!
//! - This file holds the sinks, appends events to the log, decides what each of them gets, and disconnects readers whose
//!   partly written events need too much memory.
//! - [`flush`] writes to all of them, and [`sink`] to one.
//! - [`event_log`] holds the events that they can still get, and the cursors that read them.
//!   Their bytes are in [`segments`].
//!
//! No sink blocks another, except stdout if it is a file: writing may wait for the disk. If events
//! are evicted before a sink took them, they are counted, and the sink gets a notice with the count
//! as soon as it has room: the event [`Event::dropped`](crate::event::Event::dropped).
//!
//! A sink is **slow** from when it has no room, or begins with a replay, until it has everything.
//! It is **lagging** from when it loses events until it has everything. Responses wait for the
//! **prompt** sinks: stdout while it has room, and readers that are not slow.
//!
//! What a reader gets before its first event is given to its cursor here: `add_reader` for the output
//! socket, `add_live_reader` for `/events`, whose head `server/publisher.rs` makes.
//!
//! This folder knows no JSON. Of HTTP it knows that a head precedes the events of some readers,
//! and the path `/events`, which names them in messages.
//!
//! Stop 9 of EDU_NOTES.md.

pub mod event_log;
pub mod flush;
mod segments;
mod sink;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use log::trace;
use mio::Interest;
use mio::net::UnixStream;
use slab::Slab;

use self::event_log::{CursorKey, EventLog, Form, Position};
use self::sink::Sink;
use crate::diagnostics::stderr::say;
use crate::format::{Format, Forms};
use crate::nonblocking::NonblockingFd;

/// A reader that has taken nothing for this long has stopped. A socket reports room only when three
/// quarters of its buffer are free, so a reader may be slow, and still take something in this time.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The log and its sinks.
#[derive(Debug)]
pub struct Output {
    /// What stdout and the output socket show.
    pub format: Format,
    log: EventLog,
    /// Bytes that may wait for slow sinks.
    buffer: usize,
    /// The end of the log at the last flush.
    end_at_last_flush: u64,
    stdout: Option<Sink<NonblockingFd>>,
    /// When to flush again because stdout had no room and no poll reports it.
    pub retry_stdout_at: Option<Instant>,
    /// Whether the last write to stdout failed.
    stdout_failed: bool,
    readers: Slab<Sink<UnixStream>>,
    /// How many of the readers are readers of live events.
    pub live_readers: usize,
    /// The sockets of readers that were removed. The caller closes them: that takes time.
    pub removed_readers: Vec<UnixStream>,
    /// The prompt and the slow reader with which the next flush begins, if the last one used up its
    /// time.
    next_reader: [usize; 2],
    /// Whether some sink may have both room and something to get.
    pub needs_flush: bool,
    /// Whether partial events may need too much memory.
    pub has_partial_events: bool,
    /// The largest number of bytes that a sink which is not slow still has to get.
    pub bytes_behind: usize,
}

impl Output {
    /// stdout and the output socket show `format`. `buffer` is the number of bytes that may
    /// wait for slow sinks, and `history` the number of bytes that are kept for replays.
    pub fn new(
        format: Format,
        buffer: usize,
        history: usize,
        stdout: Option<NonblockingFd>,
    ) -> Self {
        let mut log = EventLog::new(buffer, history, format);
        let stdout = stdout.map(|writer| Sink::new(writer, log.add_cursor(Form::Shown, 0)));
        Output {
            format,
            buffer,
            end_at_last_flush: 0,
            stdout,
            retry_stdout_at: None,
            stdout_failed: false,
            readers: Slab::new(),
            live_readers: 0,
            removed_readers: Vec::new(),
            next_reader: [0; 2],
            needs_flush: false,
            has_partial_events: false,
            bytes_behind: 0,
            log,
        }
    }

    /// Whether an event can be appended without a loss for a prompt sink, or for a reader in the
    /// backlog, to which the lost event was never offered.
    pub fn has_room_for(&self, forms: &Forms) -> bool {
        let floor = self.log.floor_after(forms.length());
        let has_reached = |cursor| self.log.has_reached(cursor, floor);
        floor == self.log.floor
            || self.end_at_last_flush >= floor && self.prompt_cursors().all(has_reached)
    }

    /// Appends an event to the log. Returns the position after it.
    pub fn append(&mut self, forms: Forms) -> Position {
        trace!("log: appended {} bytes", forms.length());
        self.bytes_behind += forms.length();
        let is_losing = self.log.append(forms);
        if is_losing {
            self.report_lagging();
            self.has_partial_events = true;
        }
        self.needs_flush = true;
        self.log.end_position()
    }

    /// Adds a reader of the output socket, and returns it with its key. It gets every event
    /// appended since the last flush: it may have connected before these were posted.
    pub fn add_reader(&mut self, stream: UnixStream) -> (usize, &mut UnixStream) {
        let cursor = self.log.add_cursor(Form::Shown, self.end_at_last_flush);
        let key = self.readers.insert(Sink::new(stream, cursor));
        self.report_readers("connected");
        self.needs_flush = true;
        (key, &mut self.readers[key].writer)
    }

    /// The numbers of the events that a replay can have. The end is the number of the next event.
    pub fn past_events(&self) -> Range<u64> {
        self.log.oldest()..self.log.end()
    }

    /// Adds a reader of live events, and returns it with its key. It gets `head`, and then every
    /// event from number `first` on, which is one of [`Output::past_events`] or their end.
    pub fn add_live_reader(
        &mut self,
        stream: UnixStream,
        head: &[u8],
        first: u64,
    ) -> (usize, &mut UnixStream) {
        let end = self.log.end();
        let cursor = self.log.add_cursor_with_head(Form::Compact, first, head);
        let mut sink = Sink::new(stream, cursor);
        // Responses to hooks do not wait for the replay.
        sink.is_slow = first < end;
        self.live_readers += 1;
        self.needs_flush = true;
        let key = self.readers.insert(sink);
        (key, &mut self.readers[key].writer)
    }

    /// Says on stderr that a reader of the output socket has connected or disconnected.
    fn report_readers(&self, change: &str) {
        let count = self.output_reader_count();
        say(format_args!("Output reader {change} ({count} total)"));
    }

    /// The number of connected readers that came through the output socket.
    pub fn output_reader_count(&self) -> usize {
        self.readers.len() - self.live_readers
    }

    /// Removes a reader, and leaves its socket in [`Output::removed_readers`].
    pub fn remove_reader(&mut self, key: usize) {
        if let Some(reader) = self.readers.try_remove(key) {
            trace!("reader {key}: removed");
            self.removed_readers.push(reader.writer);
            // A flush releases the events that only this reader had not read.
            self.needs_flush = true;
            let form = self.log.form(reader.cursor);
            self.log.remove_cursor(reader.cursor);
            match form {
                Form::Compact => self.live_readers -= 1,
                Form::Shown => self.report_readers("disconnected"),
            }
        }
    }

    /// The stream of a reader, for reading.
    pub fn reader(&mut self, key: usize) -> Option<&mut UnixStream> {
        self.readers.get_mut(key).map(|reader| &mut reader.writer)
    }

    /// The readers for which the poll must begin or end to report room. The caller registers them.
    pub fn readers_to_register(
        &mut self,
    ) -> impl Iterator<Item = (usize, &mut UnixStream, Interest)> {
        self.readers.iter_mut().filter_map(|(key, reader)| {
            let interest = reader.update_interest()?;
            Some((key, &mut reader.writer, interest))
        })
    }

    /// The same for stdout. `None`: nothing changes, or stdout is a file.
    pub fn stdout_to_register(&mut self) -> Option<(RawFd, Interest)> {
        let stdout = self.stdout.as_mut()?;
        let fd = stdout.writer.pollable_fd()?.as_raw_fd();
        stdout.update_interest().map(|interest| (fd, interest))
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
    pub fn stdout_fd(&self) -> Option<BorrowedFd<'_>> {
        self.stdout.as_ref()?.writer.pollable_fd()
    }

    /// Gives up stdout: nobody reads it any more.
    pub fn close_stdout(&mut self) {
        if let Some(stdout) = self.stdout.take() {
            self.log.remove_cursor(stdout.cursor);
            self.needs_flush = true;
            self.retry_stdout_at = None;
            say("stdout was closed by its reader: no more events are written to it");
        }
    }

    /// Whether there is stdout or a reader.
    pub fn has_sinks(&self) -> bool {
        self.stdout.is_some() || !self.readers.is_empty()
    }

    /// Whether every sink has received all events.
    pub fn is_drained(&self) -> bool {
        self.sinks().all(|(_, cursor)| self.log.is_done(cursor))
    }

    /// For each sink, whether it has room, and its cursor.
    fn sinks(&self) -> impl Iterator<Item = (bool, CursorKey)> {
        let stdout = self.stdout.iter().map(|sink| (sink.has_room, sink.cursor));
        let readers = self.readers.iter();
        stdout.chain(readers.map(|(_, sink)| (sink.has_room, sink.cursor)))
    }

    /// The cursors of the prompt sinks. A reader that has run out of room stays slow until it has
    /// everything: with many such readers, the hooks would wait for one of them in every turn.
    fn prompt_cursors(&self) -> impl Iterator<Item = CursorKey> {
        let stdout = self.stdout.iter().filter(|sink| sink.has_room);
        let stdout = stdout.map(|sink| sink.cursor);
        let readers = self.readers.iter().map(|(_, sink)| sink);
        let readers = readers.filter(|sink| !sink.is_slow);
        stdout.chain(readers.map(|sink| sink.cursor))
    }

    /// Reports the sinks that begin to lag, each once until it has everything. Thousands can do so
    /// at once, so there is one line.
    fn report_lagging(&mut self) {
        let log = &self.log;
        let stdout = self.stdout.iter_mut();
        let stdout = stdout.filter_map(|sink| sink.mark_lagging(log).then_some(None));
        let readers = self.readers.iter_mut();
        let readers = readers.filter_map(|(_, sink)| sink.mark_lagging(log).then_some(Some(sink)));
        let mut lagging = stdout.chain(readers);
        let Some(first) = lagging.next() else { return };
        let name = first.map_or("stdout".into(), |reader| reader.describe(log));
        match lagging.count() {
            0 => say(format_args!(
                "{name} is too slow: its oldest events are dropped"
            )),
            more => say(format_args!(
                "{name} and {more} more readers are too slow: their oldest events are dropped"
            )),
        }
    }

    /// Keeps the memory of partial events within `--buffer`: disconnects readers that have
    /// stopped, the one first that has gone longest without taking a byte, and of several the one
    /// for which most is kept. One at least, and as many as `has_time` allows.
    fn bound_partial_events(&mut self, now: Instant, has_time: &mut dyn FnMut() -> bool) {
        let partial = |(key, sink): (usize, &Sink<UnixStream>)| {
            let (address, length) = self.log.partial_memory(sink.cursor)?;
            Some((sink.last_progress, Reverse(length), key, address))
        };
        let mut partial: Vec<_> = self.readers.iter().filter_map(partial).collect();
        partial.sort_unstable();
        let mut memory = PartialMemory::default();
        for (_, Reverse(length), _, address) in &partial {
            memory.add(*address, *length);
        }
        let limit = self.buffer.saturating_add(memory.largest);
        let has_stopped = |at| now.saturating_duration_since(at) >= STOP_TIMEOUT;
        let mut stopped = partial.into_iter().take_while(|(at, ..)| has_stopped(*at));
        while memory.total > limit
            && let Some((_, Reverse(length), key, address)) = stopped.next()
        {
            say(format_args!(
                "{} is disconnected in the middle of an event: {} bytes are kept for readers that \
                 have stopped in the middle of one, and --buffer is {}",
                self.readers[key].describe(&self.log),
                memory.total,
                self.buffer
            ));
            self.remove_reader(key);
            memory.remove(address, length);
            if !has_time() {
                break;
            }
        }
        self.has_partial_events = memory.total > limit;
    }

    /// Memory of large events that is not needed any more. Freeing it takes milliseconds.
    pub fn take_garbage(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.log.garbage)
    }

    /// Ends the output, and reports the events that each sink did not take. Waits up to
    /// `timeout` for stdout to write what it has accepted.
    pub fn finish(self, timeout: Duration) {
        let stdout = self.stdout.iter();
        let stdout = stdout.map(|sink| ("stdout".into(), sink.cursor));
        let readers = self.readers.iter();
        let readers = readers.map(|(_, sink)| (sink.describe(&self.log), sink.cursor));
        for (name, cursor) in stdout.chain(readers) {
            let count = self.log.outstanding(cursor);
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

/// The memory of partial events. What readers share counts once.
#[derive(Default)]
struct PartialMemory {
    /// How many readers need the memory at each address.
    readers: HashMap<*const u8, usize>,
    total: usize,
    /// The largest piece. As in the log, one event may exceed the limit.
    largest: usize,
}

impl PartialMemory {
    fn add(&mut self, address: *const u8, length: usize) {
        let readers = self.readers.entry(address).or_default();
        *readers += 1;
        if *readers == 1 {
            self.total += length;
            self.largest = self.largest.max(length);
        }
    }

    fn remove(&mut self, address: *const u8, length: usize) {
        let readers = self.readers.entry(address).or_insert(1);
        *readers -= 1;
        if *readers == 0 {
            self.total -= length;
        }
    }
}
