//! One client of the hook socket: its socket, its connection, and the steps that it takes.
//!
//! Its [`Connection`] decides what comes next. The client does it: it reads, publishes and
//! writes, and puts itself into the queue for what it waits for ([`Queues`]). Each step returns
//! what becomes of the client ([`Outcome`]).
//!
//! Stop 7 of EDU_NOTES.md.

use std::io;
use std::time::Instant;

use log::trace;
use mio::{Interest, Registry};

use super::inflight::BodyId;
use super::publish::Publish;
use super::queues::Queues;
use super::socket::Socket;
use crate::diagnostics::stderr::say;
use crate::event::{self, Event, SessionFields};
use crate::http::connection::{Connection, Hook, Step};
use crate::http::response::Status;
use crate::http::route::Replay;
use crate::output::event_log::Position;
use crate::peer::{self, Peer};
use crate::server::budget::{LARGE_BODY, READS_PER_CLIENT, SMALL_BODY, Turn, WRITES_PER_CLIENT};
use crate::server::ready_queue::ANYBODY;
use crate::server::sessions::SessionHook;
use crate::server::token::Token;
use crate::server::worker::Job;

/// One connection to the hook socket.
pub struct Client<S> {
    pub key: usize,
    pub socket: S,
    pub peer: Peer,
    pub connection: Connection,
    /// What it is registered for. `None` until a call first returns `WouldBlock`.
    pub interest: Option<Interest>,
    pub pending: Pending,
    /// What is left to do for its request, which has arrived whole.
    pub deferred: Option<Deferred>,
    /// Whether it has been read in this request, or its connection is over. It has had its share,
    /// so others are read first.
    pub has_begun: bool,
    /// Its body in flight, if there is one.
    pub body: Option<BodyId>,
    /// How much of that had arrived when its last second began.
    pub arrived_before: u64,
    /// Set once its deadline has passed: bytes that had arrived by then and are not read yet.
    pub unread_at_deadline: Option<u64>,
    /// Whether the connection is over, and is read from only so that the client can read
    /// its response (RFC 9112 section 9.6).
    pub is_lingering: bool,
    /// Whether the poll has reported that the client has closed its socket.
    pub is_gone: bool,
    pub accepted_at: Instant,
}

/// What must happen to a client's event before its response is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Pending {
    Nothing,
    /// The event, or the list of sessions, is not made yet.
    Making,
    /// The event is in the log and must be flushed.
    Flush,
}

/// What is done for a client after all small requests are read, because it takes longer.
pub enum Deferred {
    Hook { event_name: String, body: Vec<u8> },
    SessionList,
}

/// What becomes of a client after a step.
#[must_use]
pub enum Outcome {
    /// It stays, and waits for something.
    Stay,
    /// Its connection is closed.
    Close,
    /// It becomes a reader of live events.
    Subscribe(Replay),
}

impl<S: Socket> Client<S> {
    /// A client that was just accepted.
    pub fn new(key: usize, socket: S, peer: Peer, connection: Connection, now: Instant) -> Self {
        Client {
            key,
            socket,
            peer,
            connection,
            interest: None,
            pending: Pending::Nothing,
            deferred: None,
            has_begun: false,
            body: None,
            arrived_before: 0,
            unread_at_deadline: None,
            is_lingering: false,
            is_gone: false,
            accepted_at: now,
        }
    }

    /// What the poll and the trace call it.
    pub fn token(&self) -> Token {
        Token::Client(self.key)
    }

    /// Reads until a request is complete, or there is nothing to read, or the client has had its
    /// share of this turn.
    pub fn read(
        &mut self,
        queues: &mut Queues<S>,
        publisher: &mut impl Publish,
        turn: &mut Turn,
    ) -> Outcome {
        // Only if others wait to be read for the first time.
        let may_defer = !self.has_begun && !queues.readable[0].is_empty();
        let reads = if self.has_begun { READS_PER_CLIENT } else { 1 };
        for _ in 0..reads {
            if let Some(outcome) = self.must_wait(queues) {
                return outcome;
            }
            let (key, peer) = (self.key, self.peer);
            let was_idle = self.connection.is_idle();
            let Some(step) = self.next_step(&mut queues.scratch) else {
                return self.wait_for_input(queues, turn.now);
            };
            match step {
                Step::Read | Step::Resume => {
                    if self.is_late(was_idle, queues, turn.now) {
                        return self.time_out(queues, turn.now);
                    }
                    self.has_begun = true;
                    self.account_body(queues, turn.now);
                }
                Step::Write => return self.begin_response(queues, turn.now),
                Step::Close | Step::Linger => return self.drain_and_close(queues, turn.now),
                Step::Subscribe { replay } => {
                    return self.subscribe(replay, queues, publisher, turn.now);
                }
                Step::ListSessions => return self.defer(Deferred::SessionList, queues),
                Step::Hook(Hook { event_name, body }) if body.len() >= LARGE_BODY => {
                    return self.pass_to_worker(event_name, queues);
                }
                Step::Hook(Hook { event_name, body }) if body.len() > SMALL_BODY && may_defer => {
                    let body = body.to_vec();
                    return self.defer(Deferred::Hook { event_name, body }, queues);
                }
                Step::Hook(hook) => {
                    trace!("{}: event {}", Token::Client(key), hook.event_name);
                    let time = queues.clock.now();
                    let position = publish_small(publisher, time, &peer, &hook, turn);
                    return self.wait_for_flush(position, queues);
                }
            }
        }
        self.wait_for_read(queues)
    }

    /// What becomes of the client if it may not be read now.
    fn must_wait(&mut self, queues: &mut Queues<S>) -> Option<Outcome> {
        // The next request waits until the client has its response.
        if !self.connection.unsent().is_empty() {
            return Some(Outcome::Stay);
        }
        let body = self.body.filter(|body| !queues.inflight.has_room(*body))?;
        Some(self.wait_for_room(body.is_upload, queues))
    }

    /// Its request is whole, and waits until those of others are read.
    fn defer(&mut self, deferred: Deferred, queues: &mut Queues<S>) -> Outcome {
        self.pending = Pending::Making;
        self.deferred = Some(deferred);
        self.has_begun = true;
        self.wait_for_read(queues)
    }

    /// Does what was deferred.
    pub fn resume(
        &mut self,
        deferred: Deferred,
        queues: &mut Queues<S>,
        publisher: &mut impl Publish,
        turn: &mut Turn,
    ) -> Outcome {
        match deferred {
            Deferred::SessionList => self.list_sessions(queues, publisher, turn.now),
            Deferred::Hook { event_name, body } => {
                trace!("{}: event {event_name}, deferred", self.token());
                let (time, body) = (queues.clock.now(), &body);
                let hook = Hook { event_name, body };
                let position = publish_small(publisher, time, &self.peer, &hook, turn);
                self.wait_for_flush(position, queues)
            }
        }
    }

    /// The client is to be read.
    pub fn wait_for_read(&self, queues: &mut Queues<S>) -> Outcome {
        queues.readable[usize::from(self.has_begun)].push(self.peer.uid, self.key);
        Outcome::Stay
    }

    /// The next step of the connection. Reads first, unless the connection still has bytes
    /// that it has not parsed. `None`: there is nothing to read now.
    fn next_step<'a>(&'a mut self, scratch: &'a mut [u8]) -> Option<Step<'a>> {
        if self.connection.has_unparsed {
            return Some(self.connection.received(&[]));
        }
        match self.read_once(scratch) {
            Ok(0) => Some(self.connection.end_of_input()),
            Ok(count) => {
                if let Some(left) = &mut self.unread_at_deadline {
                    *left = left.saturating_sub(count as u64);
                }
                Some(self.connection.received(&scratch[..count]))
            }
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => None,
                io::ErrorKind::Interrupted => Some(Step::Read),
                _ => Some(Step::Close),
            },
        }
    }

    /// Reads once, and traces the result.
    ///
    /// A short read does not mean that the socket is empty: on a Unix socket a read also
    /// ends where descriptors were passed (`SCM_RIGHTS`, unix(7)).
    fn read_once(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let token = self.token();
        let result = self.socket.read(scratch);
        match &result {
            Ok(0) => trace!("{token}: read end of input"),
            Ok(count) => trace!("{token}: read {count} bytes"),
            Err(error) => trace!("{token}: read: {:?}", error.kind()),
        }
        result
    }

    /// A part of a request was read. Whether it came too late.
    fn is_late(&mut self, was_idle: bool, queues: &mut Queues<S>, now: Instant) -> bool {
        // On a reused connection the time runs from the first byte of a request.
        if was_idle && !self.connection.is_idle() {
            self.restart_deadline(queues, now);
        }
        self.unread_at_deadline == Some(0)
    }

    /// There is nothing to read: waits for the poll's report. A client whose deadline has passed is
    /// refused instead, or its connection is closed if that is idle after a response. During the
    /// shutdown an idle connection is closed in any case.
    fn wait_for_input(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        if self.unread_at_deadline.is_some() {
            self.time_out(queues, now)
        } else if queues.is_shutting_down && self.connection.is_idle() {
            self.drain_and_close(queues, now)
        } else {
            self.register(Interest::READABLE, &queues.registry)
        }
    }

    /// Becomes a reader of live events, if it may be one.
    fn subscribe(
        &mut self,
        replay: Replay,
        queues: &mut Queues<S>,
        publisher: &impl Publish,
        now: Instant,
    ) -> Outcome {
        let status = if !peer::is_self_or_root(self.peer.uid) {
            Status::Forbidden
        } else if publisher.room_for_readers() <= queues.live_readers.len() {
            Status::Unavailable
        } else {
            return Outcome::Subscribe(replay);
        };
        self.connection.decline(status);
        self.begin_response(queues, now)
    }

    /// Answers with the list of sessions, if the client may have it.
    fn list_sessions(
        &mut self,
        queues: &mut Queues<S>,
        publisher: &impl Publish,
        now: Instant,
    ) -> Outcome {
        self.pending = Pending::Nothing;
        if !peer::is_self_or_root(self.peer.uid) {
            self.connection.decline(Status::Forbidden);
        } else {
            let list = queues.session_lists.get(|| publisher.sessions_json());
            self.connection.answer_json(list);
        }
        self.begin_response(queues, now)
    }

    /// Passes a large body to the worker.
    fn pass_to_worker(&mut self, event_name: String, queues: &mut Queues<S>) -> Outcome {
        trace!("{}: event {event_name}, passed to the worker", self.token());
        self.pending = Pending::Making;
        queues.jobs.push(Job {
            client: self.key,
            time: queues.clock.now().to_owned(),
            event_name,
            peer: self.peer,
            body: self.connection.take_body(),
        });
        Outcome::Stay
    }

    /// The client's event is in the log: its response waits for the flush.
    pub fn wait_for_flush(&mut self, position: Position, queues: &mut Queues<S>) -> Outcome {
        self.connection.take_body();
        self.end_body(queues);
        self.pending = Pending::Flush;
        queues.unflushed.push_back((position, self.key));
        Outcome::Stay
    }

    /// The client's event is flushed: its response can be written.
    pub fn acknowledge(&mut self, queues: &mut Queues<S>, now: Instant) {
        self.pending = Pending::Nothing;
        // The request was in time. Now the client must read the response.
        if self.unread_at_deadline.is_some() || queues.request_deadlines.is_unset(self.key) {
            self.restart_deadline(queues, now);
        }
        let _ = self.wait_for_write(queues);
    }

    /// A response is ready that waits for no flush. The client gets the whole time to read it.
    pub fn begin_response(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        self.has_begun = true;
        self.account_body(queues, now);
        // With a body to come it is only `100 Continue`, and the request's time goes on.
        if self.connection.partial_body().is_none() {
            self.restart_deadline(queues, now);
        }
        self.wait_for_write(queues)
    }

    /// The client is to be written to.
    pub fn wait_for_write(&self, queues: &mut Queues<S>) -> Outcome {
        queues.writable[usize::from(self.has_begun)].push(ANYBODY, self.key);
        Outcome::Stay
    }

    /// Writes what the connection has to send, and takes the step after that.
    pub fn write(&mut self, queues: &mut Queues<S>, turn: &mut Turn) -> Outcome {
        // A report of writability may come at any time.
        if self.pending != Pending::Nothing || self.connection.unsent().is_empty() {
            return Outcome::Stay;
        }
        match self.write_unsent() {
            None => return self.register(Interest::WRITABLE, &queues.registry),
            Some(Step::Write) => return self.wait_for_write(queues),
            Some(Step::Linger) => return self.linger(queues, turn.now),
            Some(Step::Close) => return self.drain_and_close(queues, turn.now),
            Some(step) => {
                if step == Step::Resume || self.connection.is_idle() {
                    self.has_begun = false;
                    self.restart_deadline(queues, turn.now);
                }
            }
        }
        self.wait_for_read(queues)
    }

    /// Writes until all is written, or the client has had its share of this turn. Returns the step
    /// after that, or `None` if it must wait for room.
    fn write_unsent(&mut self) -> Option<Step<'static>> {
        for _ in 0..WRITES_PER_CLIENT {
            match self.socket.write(self.connection.unsent()) {
                Ok(count) => {
                    trace!("{}: wrote {count} bytes", self.token());
                    match self.connection.written(count) {
                        Step::Write => {}
                        step => return Some(step),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock
                        && self.unread_at_deadline.is_none() =>
                {
                    return None;
                }
                // It has disconnected, or did not read its response in time.
                Err(_) => return Some(Step::Close),
            }
        }
        Some(Step::Write)
    }

    /// From now on it has the whole time again.
    fn restart_deadline(&mut self, queues: &mut Queues<S>, now: Instant) {
        self.unread_at_deadline = None;
        queues.request_deadlines.set(self.key, now);
    }

    /// Registers with the poll, or changes the interest. Nothing that happened before is
    /// missed: epoll reports at once what is ready when it is added.
    pub fn register(&mut self, interest: Interest, registry: &Registry) -> Outcome {
        let previous = self.interest.replace(interest);
        if previous == Some(interest) {
            return Outcome::Stay;
        }
        let token = self.token();
        trace!("{token}: registered for {interest:?}");
        let result = match previous {
            None => registry.register(&mut self.socket, token.into(), interest),
            Some(_) => registry.reregister(&mut self.socket, token.into(), interest),
        };
        match result {
            Ok(()) => Outcome::Stay,
            Err(error) => {
                say(format_args!(
                    "cannot register a client with the poll: {error}"
                ));
                Outcome::Close
            }
        }
    }
}

/// Makes the event of a small body and publishes it. Returns the position after it.
fn publish_small(
    publisher: &mut impl Publish,
    time: &str,
    peer: &Peer,
    hook: &Hook,
    turn: &mut Turn,
) -> Position {
    let body = event::decode_utf8(hook.body);
    let event = Event::hook(time, &hook.event_name, peer, &body);
    let SessionFields { id, cwd } = event.session();
    if let Some(session_id) = id {
        let hook = SessionHook {
            peer,
            time,
            event_name: &hook.event_name,
            session_id,
            cwd,
        };
        publisher.handle_session(&hook, turn);
    }
    publisher.publish(event)
}
