//! The side of the loop that publishes events: the output, and the readers that connect to it.
//!
//! Clients hand their events over through the trait [`Publish`]. [`Output`] writes them. This
//! file does what the output cannot, because it concerns the poll: it accepts readers,
//! discards their input, and registers sinks. It also passes hooks on to the sessions, which
//! publish an event of their own (`_gone`).
//!
//! Stop 9 of EDU_NOTES.md.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Instant, SystemTime};

use log::trace;
use mio::event::Event as Report;
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use rustix::net::sockopt::set_socket_send_buffer_size;

use super::budget::{ACCEPT_READERS, BYTES_PER_SINK, CATCH_UP, CONGESTION, DISCARD, Turn, WRITE};
use super::clients::publish::{LiveReader, Publish};
use super::ready_queue::{ANYBODY, ReadyQueue};
use super::sessions::{SessionHook, Sessions};
use super::token::{Token, register};
use crate::diagnostics::stderr::say;
use crate::event::{self, Event};
use crate::format::Forms;
use crate::http::response::events_head;
use crate::http::route::Replay;
use crate::listen::listener::Listener;
use crate::nonblocking::has_lost_reader;
use crate::output::Output;
use crate::output::event_log::Position;
use crate::output::flush::Flushed;

/// What the kernel holds for a reader. `None`: as much as it likes, on Linux 208 KiB. On macOS it
/// would be 8 KiB, and `watch` would rest for a frame after each.
const READER_BUFFER: Option<usize> = if cfg!(target_os = "linux") {
    None
} else {
    Some(208 << 10)
};

/// Connections that a backlog holds on Linux, unless `net.core.somaxconn` says otherwise (listen(2)).
/// Readers that come after so many have connected later than the hooks that wait.
const BACKLOG: usize = 4096;

/// The output and its readers.
pub(super) struct Publisher {
    registry: Registry,
    /// The name of this start of the server: numbers of events count from here.
    server_name: u64,
    pub(super) output: Output,
    /// `None` without an output socket.
    pub(super) listener: Option<Listener>,
    /// How many readers of live events there may be.
    live_reader_limit: usize,
    /// The sessions that the hooks are from.
    pub(super) sessions: Sessions,
    /// Readers whose input is to be discarded.
    with_input: ReadyQueue,
    /// Sockets of readers that are not registered any more, and are to be closed.
    closing: Vec<UnixStream>,
    /// Whether one was closed since this was last asked.
    has_freed_fd: bool,
    /// Readers accepted since the backlog was last empty. The events wait for as many as it holds.
    accepted: usize,
}

impl Publisher {
    /// Registers stdout, if it can be registered. The error says what failed.
    pub(super) fn new(
        registry: Registry,
        output: Output,
        listener: Option<Listener>,
        live_reader_limit: usize,
        sessions: Sessions,
    ) -> Result<Self, String> {
        if let Some(fd) = output.stdout_fd() {
            // This reports only that stdout was closed by its reader. stdout is registered
            // for writability while it has no room.
            register(&registry, &mut SourceFd(&fd.as_raw_fd()), Token::Stdout)?;
        }
        Ok(Publisher {
            registry,
            // The hash of nothing, with random keys.
            server_name: RandomState::new().hash_one(()),
            output,
            listener,
            live_reader_limit,
            sessions,
            with_input: ReadyQueue::default(),
            closing: Vec::new(),
            has_freed_fd: false,
            accepted: 0,
        })
    }

    pub(super) fn handle_stdout_report(&mut self, report: &Report) {
        if is_reader_gone(report, self.output.stdout_fd()) {
            self.output.close_stdout();
        } else if report.is_writable() {
            self.output.set_stdout_writable();
        }
    }

    pub(super) fn handle_reader_report(&mut self, key: usize, report: &Report) {
        let stream = self.output.reader(key);
        if is_reader_gone(report, stream.as_ref().map(|stream| stream.as_fd())) {
            return self.output.remove_reader(key);
        }
        if report.is_writable() {
            self.output.set_reader_writable(key);
        }
        if report.is_readable() {
            self.with_input.push(ANYBODY, key);
        }
    }

    /// Whether there is a sink, or the output socket, where readers can come.
    pub(super) fn has_sinks(&self) -> bool {
        self.output.has_sinks() || self.listener.is_some()
    }

    /// Whether a turn has something to do here without a report.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let open = self.output.output_reader_count() + self.closing.len();
        let listener = self.listener.as_ref();
        !self.with_input.is_empty()
            || !self.closing.is_empty()
            || !self.output.removed_readers.is_empty()
            || self.output.needs_flush
            || listener.is_some_and(|listener| listener.can_accept(open, now))
    }

    /// Closes the sockets of readers that were removed. Each can take 0.1 ms: the kernel frees what
    /// the reader has sent.
    pub(super) fn close_removed_readers(&mut self, turn: &mut Turn) {
        for mut socket in self.output.removed_readers.drain(..) {
            // Its key, and so its token, can soon be another reader's.
            let _ = self.registry.deregister(&mut socket);
            self.closing.push(socket);
        }
        turn.begin_step(DISCARD);
        while !self.closing.is_empty() && turn.has_time() {
            self.closing.pop();
            self.has_freed_fd = true;
        }
    }

    /// Whether descriptors were closed since the last call.
    pub(super) fn take_freed_fd(&mut self) -> bool {
        std::mem::take(&mut self.has_freed_fd)
    }

    /// Discards what readers send: one read for each in a turn.
    pub(super) fn discard_reader_input(&mut self, scratch: &mut [u8], turn: &mut Turn) {
        turn.begin_step(DISCARD);
        for _ in 0..self.with_input.len() {
            if !turn.has_time() {
                return;
            }
            let Some(key) = self.with_input.pop() else {
                return;
            };
            let Some(reader) = self.output.reader(key) else {
                continue;
            };
            match reader.read(scratch) {
                // At the end of its input a reader still receives.
                Ok(0) => {}
                Ok(_) => self.with_input.push(ANYBODY, key),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.with_input.push(ANYBODY, key);
                }
                Err(_) => {}
            }
        }
    }

    /// Accepts the readers in the backlog. It runs between reading this turn's hooks and
    /// writing their events: a reader whose `connect` returned before a hook was posted is
    /// in the backlog by then, whether or not the poll has reported it. If there are too many for one
    /// turn, the events wait for the next one.
    pub(super) fn accept_readers(&mut self, turn: &mut Turn) {
        turn.begin_step(ACCEPT_READERS);
        let accepted = self.accept_readers_while(turn.now, &mut || turn.has_time());
        self.accepted = accepted.map_or(0, |count| self.accepted + count);
    }

    /// Accepts readers while there is time. Returns how many, or `None` if no more can be
    /// accepted.
    fn accept_readers_while(
        &mut self,
        now: Instant,
        has_time: &mut dyn FnMut() -> bool,
    ) -> Option<usize> {
        let listener = self.listener.as_mut()?;
        let mut count = 0;
        if self.output.needs_flush {
            listener.is_readable = true;
        }
        while let Some(stream) =
            listener.accept(self.output.output_reader_count() + self.closing.len(), now)
        {
            let (key, stream) = self.output.add_reader(stream);
            let token = Token::Reader(key);
            trace!("{token}: accepted");
            set_buffer(stream, READER_BUFFER);
            let result = self
                .registry
                .register(stream, token.into(), Interest::READABLE);
            remove_unregistered(&mut self.output, key, result);
            count += 1;
            if !has_time() {
                return Some(count);
            }
        }
        None
    }

    /// Adds clients of the hook socket that have become readers. The poll reports them with a
    /// new token from now on.
    pub(super) fn add_live_readers(&mut self, live_readers: Vec<LiveReader<UnixStream>>) {
        for LiveReader {
            socket,
            is_registered,
            replay,
        } in live_readers
        {
            let (first, live) = self.replayed(replay);
            let head = events_head(self.server_name, first, live);
            let (key, stream) = self.output.add_live_reader(socket, &head, first);
            set_buffer(stream, READER_BUFFER);
            let token = Token::Reader(key).into();
            let result = if is_registered {
                self.registry.reregister(stream, token, Interest::READABLE)
            } else {
                self.registry.register(stream, token, Interest::READABLE)
            };
            remove_unregistered(&mut self.output, key, result);
            // What it has sent after its request is discarded.
            self.with_input.push(ANYBODY, key);
        }
    }

    /// The numbers of the first event of a replay, and of the first event after it.
    fn replayed(&self, replay: Replay) -> (u64, u64) {
        let past = self.output.past_events();
        let first = match replay {
            Replay::Last(count) => past.end.saturating_sub(count),
            Replay::After { server, number } if server == self.server_name => {
                number.saturating_add(1)
            }
            // Numbers of another server say nothing about these events.
            Replay::After { .. } => past.start,
        };
        (first.clamp(past.start, past.end), past.end)
    }

    /// Writes this turn's events to the sinks, within the budget. Returns which events may be
    /// acknowledged.
    pub(super) fn flush(&mut self, turn: &mut Turn) -> Flushed {
        if (1..BACKLOG).contains(&self.accepted) {
            return self.output.flushed();
        }
        turn.begin_step(WRITE);
        let flushed = self.output.flush(BYTES_PER_SINK, &mut || turn.has_time());
        self.register_sinks();
        flushed
    }

    /// Writes to slow readers. Call it after the responses: these do not wait for it.
    pub(super) fn flush_slow_readers(&mut self, turn: &mut Turn) {
        if !self.output.needs_flush && !self.output.has_partial_events {
            return;
        }
        turn.begin_step_of(CATCH_UP);
        let has_time = &mut || turn.has_time();
        self.output.flush_slow_readers(BYTES_PER_SINK, has_time);
        self.register_sinks();
    }

    /// Registers sinks for writability when they have no room, and no longer.
    fn register_sinks(&mut self) {
        if let Some((fd, interest)) = self.output.stdout_to_register() {
            let (mut fd, token) = (SourceFd(&fd), Token::Stdout.into());
            let result = self.registry.reregister(&mut fd, token, interest);
            if let Err(error) = result {
                say(format_args!(
                    "cannot register stdout with the poll: {error}"
                ));
                self.output.close_stdout();
            }
        }
        let readers = self.output.readers_to_register();
        let results = readers.map(|(key, stream, interest)| {
            let token = Token::Reader(key).into();
            (key, self.registry.reregister(stream, token, interest))
        });
        for (key, result) in results.collect::<Vec<_>>() {
            remove_unregistered(&mut self.output, key, result);
        }
    }

    /// Publishes `_gone` for each session whose deadline has passed at `time`.
    pub(super) fn publish_gone_until(&mut self, time: Instant) {
        while let Some((pid, session_id)) = self.sessions.take_gone(time) {
            self.publish_gone(pid, &session_id);
        }
    }

    fn publish_gone(&mut self, pid: u32, session_id: &str) {
        let time = event::timestamp(SystemTime::now());
        self.publish(Event::gone(&time, pid, session_id));
    }
}

/// Makes room for this many bytes in the kernel that the reader has not read. If that is not
/// possible, the buffer stays as it is.
fn set_buffer(stream: &UnixStream, size: Option<usize>) {
    if let Some(size) = size {
        let _ = set_socket_send_buffer_size(stream, size);
    }
}

/// Whether the reader of a sink has gone. mio reports EPOLLHUP as write closed. A reader that is only
/// read closed has nothing to send, and still receives. On macOS one that has gone is read closed
/// too: only that half is registered.
fn is_reader_gone(report: &Report, fd: Option<BorrowedFd>) -> bool {
    report.is_error()
        || report.is_write_closed()
        || report.is_read_closed() && fd.is_some_and(has_lost_reader)
}

/// Removes a reader if it could not be registered. The poll would never report it.
fn remove_unregistered(output: &mut Output, key: usize, result: io::Result<()>) {
    if let Err(error) = result {
        say(format_args!(
            "cannot register a reader with the poll: {error}"
        ));
        output.remove_reader(key);
    }
}

impl Publish for Publisher {
    fn publish(&mut self, event: Event) -> Position {
        self.publish_forms(self.output.format.forms(event))
    }

    /// If the event would evict others that prompt sinks have not been offered yet, writes these
    /// first, so that only slow sinks lose events.
    fn publish_forms(&mut self, forms: Forms) -> Position {
        if !self.output.has_room_for(&forms) {
            self.accept_readers_while(Instant::now(), &mut || true);
            self.output.flush(usize::MAX, &mut || true);
        }
        self.output.append(forms)
    }

    fn sessions_json(&self) -> String {
        self.sessions.to_json()
    }

    fn room_for_readers(&self) -> usize {
        self.live_reader_limit
            .saturating_sub(self.output.live_readers)
    }

    fn handle_session(&mut self, hook: &SessionHook, turn: &mut Turn) {
        if let Some((pid, session_id)) = self.sessions.take_replaced(hook) {
            self.publish_gone(pid, &session_id);
        }
        self.sessions.handle_hook(hook, &self.registry, turn);
    }

    fn is_congested(&self) -> bool {
        self.output.bytes_behind >= CONGESTION
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Format;
    use crate::server::budget::Clock;
    use mio::{Events, Poll};
    use rustix::net::sockopt::socket_send_buffer_size;
    use std::cell::Cell;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream as StdStream;
    use std::path::Path;
    use std::time::Duration;

    /// On macOS both reports are the same: read closed.
    #[test]
    fn a_read_closed_reader_is_gone_only_if_it_does_not_read() {
        let (mut stream, reader) = UnixStream::pair().unwrap();
        let mut poll = Poll::new().unwrap();
        register(poll.registry(), &mut stream, Token::Reader(0)).unwrap();
        reader.shutdown(Shutdown::Write).unwrap();
        let mut reports = Events::with_capacity(1);
        poll.poll(&mut reports, Some(Duration::ZERO)).unwrap();
        let report = reports.iter().next().unwrap();
        assert!(report.is_read_closed() && !report.is_write_closed());
        assert!(!is_reader_gone(report, Some(stream.as_fd())));
        drop(reader);
        assert!(is_reader_gone(report, Some(stream.as_fd())));
    }

    #[test]
    fn the_buffer_of_a_reader_is_changed_only_where_it_is_too_small() {
        let (stream, _reader) = UnixStream::pair().unwrap();
        let size = || socket_send_buffer_size(&stream).unwrap();
        let before = size();
        set_buffer(&stream, None);
        assert_eq!(size(), before);
        set_buffer(&stream, Some(before / 4));
        // Linux doubles the number (socket(7)).
        assert!(size() <= before / 2);
    }

    /// Clocks on which everything takes so long that a step has time for one item.
    struct SlowClock(Instant, Cell<u32>);

    impl Clock for SlowClock {
        fn now(&self) -> Instant {
            self.0 + self.cpu()
        }

        fn cpu(&self) -> Duration {
            self.1.set(self.1.get() + 1);
            Duration::from_secs(1) * self.1.get()
        }
    }

    /// A publisher with an output socket in this folder.
    fn publisher(folder: &Path) -> Publisher {
        let listener = Listener::open(None, &folder.join("output.sock"), 0o600, 100).unwrap();
        let registry = Poll::new().unwrap().registry().try_clone().unwrap();
        let output = Output::new(Format::Compact, 1 << 20, 1 << 20, None);
        Publisher::new(registry, output, Some(listener), 0, Sessions::new(0)).unwrap()
    }

    fn slow_turn() -> Turn {
        Turn::begin(SlowClock(Instant::now(), Cell::new(0)))
    }

    /// The number of complete events that a reader has got since the last call.
    fn received(reader: &mut StdStream) -> usize {
        reader.set_nonblocking(true).unwrap();
        let mut buffer = [0; 10_000];
        let count = reader.read(&mut buffer).unwrap_or(0);
        let text = std::str::from_utf8(&buffer[..count]).unwrap();
        text.matches("\"_gone\":7,\"session_id\":\"s\"}\n").count()
    }

    #[test]
    fn readers_in_a_long_backlog_get_the_event_and_each_has_its_turn() {
        let folder = tempfile::tempdir().unwrap();
        let mut publisher = publisher(folder.path());
        let path = folder.path().join("output.sock");
        let mut readers = [(); 40].map(|()| StdStream::connect(&path).unwrap());
        publisher.publish_gone(7, "\"s\"");
        let mut counts = Vec::new();
        while publisher.has_work(Instant::now()) {
            let mut turn = slow_turn();
            publisher.accept_readers(&mut turn);
            publisher.flush(&mut turn);
            counts.push(publisher.output.output_reader_count());
            assert!(counts.len() < 100);
        }
        assert!(counts[0] < 5, "{counts:?}");
        assert_eq!(readers.each_mut().map(received), [1; 40]);
        // Also when there is a new event in each turn.
        for _ in 0..100 {
            publisher.publish_gone(7, "\"s\"");
            publisher.flush(&mut slow_turn());
        }
        assert!(
            readers
                .each_mut()
                .map(received)
                .iter()
                .all(|count| *count > 0)
        );
    }

    #[test]
    fn events_wait_for_as_many_readers_as_the_backlog_holds() {
        let folder = tempfile::tempdir().unwrap();
        let mut publisher = publisher(folder.path());
        let path = folder.path().join("output.sock");
        let mut readers = [(); 10].map(|()| StdStream::connect(&path).unwrap());
        publisher.publish_gone(7, "\"s\"");
        publisher.accepted = BACKLOG - 4;
        for expected in [0, 1] {
            // It accepts two.
            publisher.accept_readers(&mut slow_turn());
            publisher.flush(&mut slow_turn());
            assert_eq!(received(&mut readers[0]), expected);
        }
    }

    #[test]
    fn readers_that_leave_together_are_closed_one_after_the_other() {
        let folder = tempfile::tempdir().unwrap();
        let mut publisher = publisher(folder.path());
        let readers = [(); 5].map(|()| UnixStream::pair().unwrap());
        let (mut sockets, readers): (Vec<_>, Vec<_>) = readers.into_iter().unzip();
        let readers = readers.into_iter();
        let keys = readers.map(|reader| publisher.output.add_reader(reader).0);
        for key in keys.collect::<Vec<_>>() {
            publisher.output.remove_reader(key);
        }
        (publisher.output.needs_flush, publisher.listener) = (false, None);
        for turns in 1..=5 {
            assert!(publisher.has_work(Instant::now()));
            publisher.close_removed_readers(&mut slow_turn());
            assert!(publisher.take_freed_fd());
            let is_closed = |socket: &mut UnixStream| matches!(socket.read(&mut [0]), Ok(0));
            let closed = sockets.iter_mut().map(is_closed);
            assert_eq!(closed.filter(|is_closed| *is_closed).count(), turns);
        }
        assert!(!publisher.has_work(Instant::now()));
    }

    #[test]
    fn slow_readers_come_after_those_for_which_responses_wait() {
        let folder = tempfile::tempdir().unwrap();
        let mut publisher = publisher(folder.path());
        publisher.publish_gone(7, "\"s\"");
        publisher.flush(&mut slow_turn());
        let (mut replayed, socket) = StdStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        publisher
            .output
            .add_live_reader(UnixStream::from_std(socket), b"head\n", 0);
        publisher.flush(&mut slow_turn());
        assert_eq!(received(&mut replayed), 0);
        publisher.flush_slow_readers(&mut slow_turn());
        assert_eq!(received(&mut replayed), 1);
    }
}
