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

use super::budget::{CONGESTION, DISCARD, FLUSH, Turn};
use super::clients::publish::{LiveReader, Publish};
use super::ready_queue::ReadyQueue;
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
use crate::output::flush::{FlushBudget, Flushed};

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
            self.with_input.push(key);
        }
    }

    /// Whether there is a sink, or the output socket, where readers can come.
    pub(super) fn has_sinks(&self) -> bool {
        self.output.has_sinks() || self.listener.is_some()
    }

    /// Whether a turn has something to do here without a report.
    pub(super) fn has_work(&self, now: Instant) -> bool {
        let open = self.output.output_reader_count();
        let listener = self.listener.as_ref();
        !self.with_input.is_empty()
            || self.output.needs_flush
            || listener.is_some_and(|listener| listener.can_accept(open, now))
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
                Ok(_) => self.with_input.push(key),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.with_input.push(key);
                }
                Err(_) => {}
            }
        }
    }

    /// Accepts all readers in the backlog. It runs between reading this turn's hooks and
    /// writing their events: a reader whose `connect` returned before a hook was posted is
    /// in the backlog by then, whether or not the poll has reported it.
    pub(super) fn accept_readers(&mut self, now: Instant) {
        let Some(listener) = &mut self.listener else {
            return;
        };
        if self.output.needs_flush {
            listener.is_readable = true;
        }
        while let Some(stream) = listener.accept(self.output.output_reader_count(), now) {
            let (key, stream) = self.output.add_reader(stream);
            let token = Token::Reader(key);
            trace!("{token}: accepted");
            let result = self
                .registry
                .register(stream, token.into(), Interest::READABLE);
            remove_unregistered(&mut self.output, key, result);
        }
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
            let token = Token::Reader(key).into();
            let result = if is_registered {
                self.registry.reregister(stream, token, Interest::READABLE)
            } else {
                self.registry.register(stream, token, Interest::READABLE)
            };
            remove_unregistered(&mut self.output, key, result);
            // What it has sent after its request is discarded.
            self.with_input.push(key);
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
    pub(super) fn flush(&mut self) -> Flushed {
        let flushed = self.output.flush(FLUSH);
        self.register_sinks();
        flushed
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
            self.accept_readers(Instant::now());
            self.output.flush(FlushBudget::PROMPT_SINKS);
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
