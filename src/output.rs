//! Where events go: stdout and the readers, all fed from one [`Log`].
//!
//! No sink is ever waited for. What one has not taken stays in the log; what
//! falls out of the log before it could be taken is counted, and the sink is
//! told as soon as it has room again.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant, SystemTime};

use ::log::trace;
use mio::net::UnixStream;
use slab::Slab;

use crate::event::{self, Event};
use crate::format::Format;
use crate::inherited::Inherited;
use crate::log::{Cursor, Log, Mark};
use crate::stderr::say;
use crate::tokens::Name;

/// How long a stdout that no poll can watch (a full disk) is left alone where no
/// new event makes it worth another try.
const RETRY: Duration = Duration::from_secs(1);
/// Bytes that a reader which had fallen behind gets in one turn, so that two
/// hundred of them catching up do not hold up the hooks.
const CATCH_UP: usize = 1 << 20;
/// Bytes from a talking reader that are thrown away in one turn.
const EARFUL: usize = 64 << 10;

/// The log and its sinks.
#[derive(Debug)]
pub struct Output {
    format: Format,
    log: Log,
    limit: usize,
    /// The event that is about to be appended.
    staged: String,
    /// The boundary after the newest event that the sinks were offered.
    offered: Mark,
    stdout: Option<Sink<Inherited>>,
    retry_stdout: Option<Instant>,
    /// Whether stdout could not be written to when it was last tried.
    stdout_fails: bool,
    readers: Slab<Sink<UnixStream>>,
    /// Whether a sink may have both room and something to get.
    unfinished: bool,
}

#[derive(Debug)]
struct Sink<W> {
    to: W,
    cursor: Cursor,
    /// False from the write that found none until the poll says otherwise.
    has_room: bool,
    /// Whether the poll is there to say so.
    is_watched: bool,
    /// Whether it missed events since it last had everything.
    is_losing: bool,
}

impl Output {
    /// `limit` is how many bytes may wait for slow sinks.
    pub fn new(format: Format, limit: usize, stdout: Option<Inherited>) -> Self {
        let log = Log::new(limit);
        Output {
            format,
            limit,
            staged: String::new(),
            offered: log.end(),
            stdout: stdout.map(|to| Sink::new(to, log.end())),
            retry_stdout: None,
            stdout_fails: false,
            readers: Slab::new(),
            unfinished: false,
            log,
        }
    }

    /// Formats an event, which is then to be appended: two steps, because the
    /// event borrows the bytes that were read, and between the steps the sinks
    /// may have to be offered what is there already.
    pub fn stage(&mut self, event: &Event) {
        self.staged.clear();
        self.format.write(event, &mut self.staged);
    }

    /// Takes an event that is formatted already, which is then to be appended.
    pub fn stage_made(&mut self, event: String) {
        self.staged = event;
    }

    /// Whether the staged event can be appended without a loss to anybody.
    pub fn has_room(&self) -> bool {
        self.log.fits(self.staged.len())
    }

    /// Appends the staged event to the log.
    pub fn append(&mut self) {
        let loses = !self.has_room();
        let stdout = self.stdout.iter_mut().map(|sink| &mut sink.cursor);
        let readers = self.readers.iter_mut().map(|(_, sink)| &mut sink.cursor);
        trace!("log: appends {} bytes", self.staged.len());
        self.log.append(&mut self.staged, stdout.chain(readers));
        if loses {
            self.report_losses();
            self.bound_remainders();
        }
        const SPARE: usize = 1 << 20;
        self.staged.shrink_to(SPARE);
        self.unfinished = true;
    }

    /// A new reader. It gets every event that was appended since the sinks were
    /// last offered any: it may have connected before those were posted.
    pub fn add_reader(&mut self, stream: UnixStream) -> (usize, &mut UnixStream) {
        let key = self.readers.insert(Sink::new(stream, self.offered));
        say(format_args!(
            "Output reader connected ({} total)",
            self.readers.len()
        ));
        self.unfinished = true;
        (key, &mut self.readers[key].to)
    }

    /// How many readers there are.
    pub fn readers(&self) -> usize {
        self.readers.len()
    }

    /// Drops a reader that is gone.
    pub fn remove_reader(&mut self, key: usize) {
        if self.readers.try_remove(key).is_some() {
            trace!("{}: is gone", Name::Reader(key));
            // What only this one had not read can go.
            self.unfinished = true;
            say(format_args!(
                "Output reader disconnected ({} total)",
                self.readers.len()
            ));
        }
    }

    /// Throws away what a reader sent. Whether there may be more.
    pub fn hear_reader(&mut self, key: usize) -> bool {
        let mut thrown_away = [0; EARFUL];
        match self
            .readers
            .get_mut(key)
            .map(|reader| reader.to.read(&mut thrown_away))
        {
            // The end of what it sends is not the end of what it reads.
            Some(Ok(count)) => count > 0,
            Some(Err(error)) => error.kind() == io::ErrorKind::Interrupted,
            None => false,
        }
    }

    /// The readers that have no room and that no poll watches for it yet, as it is to do
    /// from now on.
    pub fn newly_stalled(&mut self) -> impl Iterator<Item = (usize, &mut UnixStream)> {
        self.readers.iter_mut().filter_map(|(key, reader)| {
            let is_new = !reader.has_room && !std::mem::replace(&mut reader.is_watched, true);
            is_new.then_some((key, &mut reader.to))
        })
    }

    /// Takes note that a reader may have room again.
    pub fn reader_has_room(&mut self, key: usize) {
        if let Some(reader) = self.readers.get_mut(key) {
            reader.has_room = true;
            self.unfinished = true;
        }
    }

    /// Takes note that stdout may have room again.
    pub fn stdout_has_room(&mut self) {
        if let Some(stdout) = &mut self.stdout {
            stdout.has_room = true;
            self.unfinished = true;
        }
    }

    /// Takes note that nobody reads stdout any more.
    pub fn stdout_is_gone(&mut self) {
        if self.stdout.take().is_some() {
            self.unfinished = true;
            self.retry_stdout = None;
            say("stdout has lost its reader: nothing more is written there");
        }
    }

    /// Whether stdout is written to.
    pub fn has_stdout(&self) -> bool {
        self.stdout.is_some()
    }

    /// Whether there is something to do without waiting for anybody.
    pub fn is_unfinished(&self) -> bool {
        self.unfinished
    }

    /// When stdout is to be tried again.
    pub fn retry_at(&self) -> Option<Instant> {
        self.retry_stdout
    }

    /// Whether every sink has everything.
    pub fn is_drained(&self) -> bool {
        self.sinks()
            .all(|(_, cursor)| cursor.has_reached(self.log.end()))
    }

    /// Writes to every sink what it has not got, as far as it has room.
    pub fn offer(&mut self) {
        if self.retry_stdout.is_some_and(|at| at <= Instant::now()) {
            self.retry_stdout = None;
            self.unfinished = true;
        }
        if !std::mem::take(&mut self.unfinished) {
            return;
        }
        self.offer_stdout();
        self.offer_readers();
        self.offered = self.log.end();
        let catching_up =
            |(has_room, cursor): (bool, &Cursor)| has_room && !cursor.has_reached(self.offered);
        let unfinished = self.sinks().any(catching_up);
        self.unfinished = unfinished;
        let oldest_unread = self.sinks().map(|(_, cursor)| cursor.event()).min();
        self.log
            .release(oldest_unread.unwrap_or(self.offered.event()));
    }

    /// Who cannot be written to is gone.
    fn offer_readers(&mut self) {
        let feed = |(key, reader): (usize, &mut Sink<UnixStream>)| {
            let is_behind = !reader.cursor.has_reached(self.offered);
            let budget = if is_behind { CATCH_UP } else { usize::MAX };
            reader
                .feed(Name::Reader(key), &self.log, self.format, budget)
                .err()
                .map(|_| key)
        };
        let gone: Vec<usize> = self.readers.iter_mut().filter_map(feed).collect();
        gone.into_iter().for_each(|key| self.remove_reader(key));
    }

    /// For each sink whether it has room, and how far it is.
    fn sinks(&self) -> impl Iterator<Item = (bool, &Cursor)> {
        let stdout = self.stdout.iter().map(|sink| (sink.has_room, &sink.cursor));
        stdout.chain(
            self.readers
                .iter()
                .map(|(_, sink)| (sink.has_room, &sink.cursor)),
        )
    }

    /// A pipe or a terminal that fails is gone; a file may have room later.
    fn offer_stdout(&mut self) {
        let Some(stdout) = &mut self.stdout else {
            return;
        };
        let is_file = stdout.to.watchable().is_none();
        stdout.has_room |= is_file;
        match stdout.feed(Name::Stdout, &self.log, self.format, usize::MAX) {
            Ok(()) => {
                let waits = is_file && !stdout.has_room;
                self.retry_stdout = waits.then(|| Instant::now() + RETRY);
                self.stdout_fails = false;
            }
            Err(error) if is_file => {
                stdout.has_room = false;
                self.retry_stdout = Some(Instant::now() + RETRY);
                if !std::mem::replace(&mut self.stdout_fails, true) {
                    say(format_args!(
                        "stdout takes no events ({error}): they wait in memory, {} bytes at most, \
                         and it is tried again every second",
                        self.limit
                    ));
                }
            }
            Err(_) => self.stdout_is_gone(),
        }
    }

    /// Says, once until it has caught up, that a sink is losing events.
    fn report_losses(&mut self) {
        let stdout = self
            .stdout
            .iter_mut()
            .map(|sink| ("stdout", &sink.cursor, &mut sink.is_losing));
        let readers = self.readers.iter_mut();
        let readers =
            readers.map(|(_, sink)| ("An output reader", &sink.cursor, &mut sink.is_losing));
        for (name, cursor, is_losing) in stdout.chain(readers) {
            if cursor.missed(&self.log) > 0 && !std::mem::replace(is_losing, true) {
                say(format_args!(
                    "{name} is too slow: the oldest events are dropped for it"
                ));
            }
        }
    }

    /// Keeps what is set aside for readers within the limit, at the expense of
    /// the one for which the most is.
    fn bound_remainders(&mut self) {
        loop {
            let lengths = self
                .readers
                .iter()
                .map(|(key, sink)| (sink.cursor.aside_length(), key));
            let (total, largest) = lengths.fold((0, (0, 0)), |(total, largest), reader| {
                (total + reader.0, largest.max(reader))
            });
            if total <= self.limit {
                return;
            }
            self.remove_reader(largest.1);
        }
    }

    /// Ends the output, and says who has not taken what. What could be written
    /// is out when this returns, or `patience` is over.
    pub fn finish(self, patience: Duration) {
        let stdout = self.stdout.iter().map(|sink| ("stdout", &sink.cursor));
        let readers = self
            .readers
            .iter()
            .map(|(_, sink)| ("An output reader", &sink.cursor));
        for (name, cursor) in stdout.chain(readers) {
            let count = cursor.outstanding(&self.log);
            if count > 0 {
                say(format_args!(
                    "{name} has not taken the last {count} event(s): they are lost for it"
                ));
            }
        }
        if let Some(stdout) = self.stdout {
            stdout.to.finish(patience);
        }
    }
}

impl<W: Write> Sink<W> {
    fn new(to: W, from: Mark) -> Self {
        Sink {
            to,
            cursor: Cursor::new(from),
            has_room: true,
            is_watched: false,
            is_losing: false,
        }
    }

    /// Writes what the sink has not got, while it has room: `budget` bytes at most.
    fn feed(&mut self, name: Name, log: &Log, format: Format, mut budget: usize) -> io::Result<()> {
        while self.has_room && budget > 0 {
            if self.cursor.unread(log).is_empty() {
                let missed = self.cursor.missed(log);
                if missed == 0 {
                    self.is_losing = false;
                    break;
                }
                trace!("{name}: missed {missed} events, and is told so");
                let mut notice = String::new();
                let now = event::timestamp(SystemTime::now());
                format.write(&Event::dropped(&now, missed), &mut notice);
                self.cursor.skip_missed(log, notice.as_bytes());
            }
            let bytes = self.cursor.unread(log);
            match self.to.write(&bytes[..bytes.len().min(budget)]) {
                Ok(0) => self.has_room = false,
                Ok(count) => {
                    trace!("{name}: written {count} bytes");
                    self.cursor.advance(log, count);
                    budget -= count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    trace!("{name}: has no room");
                    self.has_room = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
