//! The clients of the hook socket: what a turn does for each, from accept to close.
//!
//! A client's [`Connection`] decides what comes next. This file does it: read, publish,
//! write. Each client waits for one thing at a time:
//!
//! - **to be read**: in the queue `readable`. It is new, or its last read was not
//!   `WouldBlock`, or the poll has reported it since.
//! - **to be written**: in the queue `writable`.
//! - **for input**, or **for room** to write: registered with the poll.
//! - **for memory**: in `waiting_for_room`, not read and without a deadline, because the bodies in
//!   flight leave no room for more of its own ([`Inflight`]).
//! - **for its event**: with the worker, or in the log and not yet flushed ([`Pending`]).
//!   Then it is not read, and its response is not written.
//!
//! The queues and deadlines make no system calls: sockets are behind the trait [`Socket`] and the
//! output behind [`Publish`]. The model test (`model.rs`) drives this folder with random schedules.
//!
//! Two parts of it have files of their own: `closing.rs`, how a connection ends, and `bodies.rs`,
//! the clients whose body is in flight.
//!
//! Stop 7 of EDU_NOTES.md.

mod bodies;
pub mod client;
mod closing;
pub mod inflight;
#[cfg(test)]
mod model;
pub mod publish;
pub mod socket;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use log::trace;
use mio::Interest;
use slab::Slab;

use self::client::{Client, Pending};
use self::inflight::Inflight;
use self::publish::{LiveReader, Publish};
use self::socket::Socket;
use crate::diagnostics::stderr::say;
use crate::event::{self, Clock, Event};
use crate::http::connection::{Connection, Hook, Step};
use crate::http::response::Status;
use crate::http::route::Replay;
use crate::output::event_log::Position;
use crate::output::flush::Flushed;
use crate::peer::{self, Peer};
use crate::server::budget::{LARGE_BODY, READS_PER_CLIENT, WRITES};
use crate::server::deadlines::Deadlines;
use crate::server::ready_queue::ReadyQueue;
use crate::server::sessions::SessionHook;
use crate::server::token::Token;
use crate::server::turn::Turn;
use crate::server::worker::{Finished, Job};

/// How long a closing connection waits for its client to close its side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// Bytes that one read can return. All clients share one buffer of this size.
const SCRATCH_SIZE: usize = 64 << 10;

// A large body never lies in the scratch buffer: `take_body` finds it in the inbox.
const _: () = assert!(LARGE_BODY > SCRATCH_SIZE);

/// All clients, and what each of them waits for.
pub struct Clients<S: Socket> {
    clients: Slab<Client<S>>,
    registry: S::Registry,
    /// Clients to read from.
    readable: ReadyQueue,
    /// Clients to write to.
    writable: ReadyQueue,
    /// Clients whose body must wait for room, in the order in which they began to wait.
    waiting_for_room: ReadyQueue,
    inflight: Inflight,
    /// Clients whose event is in the log and not flushed: the position after the event and the
    /// client's key, in the order of the log.
    unflushed: VecDeque<(Position, usize)>,
    /// Events for the worker.
    jobs: Vec<Job>,
    /// Clients that have become readers.
    live_readers: Vec<LiveReader<S>>,
    /// By when a client's request must be complete and its response written.
    request_deadlines: Deadlines,
    /// By when a lingering client is closed.
    linger_deadlines: Deadlines,
    is_shutting_down: bool,
    /// Whether a descriptor was closed since this was last asked.
    has_freed_fd: bool,
    scratch: Box<[u8]>,
    clock: Clock,
}

impl<S: Socket> Clients<S> {
    /// No clients yet. A request may take `timeout`, and its body what `inflight` allows.
    pub fn new(registry: S::Registry, timeout: Duration, inflight: Inflight) -> Self {
        Clients {
            clients: Slab::new(),
            registry,
            readable: ReadyQueue::default(),
            writable: ReadyQueue::default(),
            waiting_for_room: ReadyQueue::default(),
            inflight,
            unflushed: VecDeque::new(),
            jobs: Vec::new(),
            live_readers: Vec::new(),
            request_deadlines: Deadlines::new(timeout),
            linger_deadlines: Deadlines::new(LINGER_TIMEOUT),
            is_shutting_down: false,
            has_freed_fd: false,
            scratch: vec![0; SCRATCH_SIZE].into(),
            clock: Clock::default(),
        }
    }

    /// The number of open connections.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether some client is to be read.
    pub fn has_unread(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Whether a turn has something to do here without a report.
    pub fn has_work(&self) -> bool {
        !self.readable.is_empty() || !self.writable.is_empty() || self.may_resume()
    }

    /// The earliest deadline of a client.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.request_deadlines.earliest(),
            self.linger_deadlines.earliest(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Whether descriptors were closed since the last call.
    pub fn take_freed_fd(&mut self) -> bool {
        std::mem::take(&mut self.has_freed_fd)
    }

    /// The events that the worker is to make, since the last call.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.jobs)
    }

    /// The clients that have become readers, since the last call.
    pub fn take_live_readers(&mut self) -> Vec<LiveReader<S>> {
        std::mem::take(&mut self.live_readers)
    }

    /// A buffer for reading, which belongs to nobody between two calls.
    pub fn scratch(&mut self) -> &mut [u8] {
        &mut self.scratch
    }

    /// Adds an accepted client. Its request has often arrived already, so it is read from
    /// without a report.
    pub fn add(&mut self, socket: S, peer: Peer, now: Instant) {
        let key = self.clients.vacant_key();
        trace!("{}: accepted, {peer}", Token::Client(key));
        let mut connection = Connection::new(key, self.inflight.max_body());
        if self.is_shutting_down {
            connection.disable_keep_alive();
        }
        self.clients
            .insert(Client::new(socket, peer, connection, now));
        self.request_deadlines.set(key, now);
        self.readable.push(key);
    }

    /// The poll reported a client.
    pub fn handle_report(&mut self, key: usize, is_readable: bool, is_writable: bool) {
        if is_readable {
            self.readable.push(key);
        }
        if is_writable {
            self.writable.push(key);
        }
    }

    /// Reads from the clients in `readable`, each at most once, while the budget lasts. The
    /// others stay in the queue for the next turn.
    pub fn read(&mut self, publisher: &mut impl Publish, turn: &mut Turn) {
        self.resume_waiting(turn.now);
        for _ in 0..self.readable.len() {
            if turn.budget.is_spent() || publisher.is_congested() {
                return;
            }
            let Some(key) = self.readable.pop() else {
                return;
            };
            match self.clients.get(key) {
                Some(client) if client.is_lingering => self.drain_lingering(key, turn),
                Some(_) => self.read_client(key, publisher, turn),
                None => {}
            }
        }
    }

    /// Reads from a client until its request is complete, or there is nothing to read, or
    /// it has had its share of this turn.
    fn read_client(&mut self, key: usize, publisher: &mut impl Publish, turn: &mut Turn) {
        let token = Token::Client(key);
        for _ in 0..READS_PER_CLIENT {
            if self.must_wait(key) {
                return;
            }
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            let (peer, was_idle) = (client.peer, client.connection.is_idle());
            let Some(step) = client.next_step(token, &mut self.scratch, turn) else {
                return self.wait_for_input(key, turn);
            };
            match step {
                Step::Read | Step::Resume => {
                    if !self.continue_request(key, was_idle, turn) {
                        return;
                    }
                }
                Step::Write => return self.begin_response(key, turn.now),
                Step::Close | Step::Linger => return self.drain_and_close(key, turn),
                Step::Subscribe { replay } => {
                    return self.subscribe(key, replay, publisher, turn.now);
                }
                Step::ListSessions => return self.list_sessions(key, publisher, turn),
                Step::Hook(Hook { event_name, body }) if body.len() >= LARGE_BODY => {
                    return self.add_job(key, event_name);
                }
                Step::Hook(hook) => {
                    trace!("{token}: event {}", hook.event_name);
                    let position = publish_small(publisher, self.clock.now(), &peer, &hook, turn);
                    client.connection.take_body();
                    self.account_body(key);
                    return self.wait_for_flush(key, position);
                }
            }
        }
        self.readable.push(key);
    }

    /// Whether a client may not be read now. If its body has no room, it waits for that.
    fn must_wait(&mut self, key: usize) -> bool {
        let Some(client) = self.clients.get(key) else {
            return true;
        };
        // The next request waits until the client has its response.
        if !client.connection.unsent().is_empty() {
            return true;
        }
        let has_room = client.body.is_none_or(|body| self.inflight.has_room(body));
        if !has_room {
            self.wait_for_room(key);
        }
        !has_room
    }

    /// A part of a request was read. Returns false if it came too late: then the client is
    /// refused.
    fn continue_request(&mut self, key: usize, was_idle: bool, turn: &mut Turn) -> bool {
        let Some(client) = self.clients.get_mut(key) else {
            return false;
        };
        // On a reused connection the time runs from the first byte of a request.
        if was_idle && !client.connection.is_idle() {
            client.unread_at_deadline = None;
            self.request_deadlines.set(key, turn.now);
        } else if client.unread_at_deadline == Some(0) {
            self.time_out(key, turn);
            return false;
        }
        self.account_body(key);
        true
    }

    /// Makes a client a reader of live events, if it may be one.
    fn subscribe(&mut self, key: usize, replay: Replay, publisher: &impl Publish, now: Instant) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let status = if !peer::is_self_or_root(client.peer.uid) {
            Status::Forbidden
        } else if publisher.room_for_readers() <= self.live_readers.len() {
            Status::Unavailable
        } else {
            trace!("{}: becomes a reader", Token::Client(key));
            let client = self.remove(key);
            let live_reader = client.map(|client| LiveReader {
                socket: client.socket,
                is_registered: client.interest.is_some(),
                replay,
            });
            return self.live_readers.extend(live_reader);
        };
        client.connection.decline(status);
        self.begin_response(key, now);
    }

    /// Answers with the list of sessions, if the client may have it.
    fn list_sessions(&mut self, key: usize, publisher: &impl Publish, turn: &mut Turn) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        if peer::is_self_or_root(client.peer.uid) {
            let json = publisher.sessions_json();
            turn.budget.charge_event(json.len());
            client.connection.answer_json(&json);
        } else {
            client.connection.decline(Status::Forbidden);
        }
        self.begin_response(key, turn.now);
    }

    /// A response is ready that waits for no flush. The client gets the whole time to read it.
    pub fn begin_response(&mut self, key: usize, now: Instant) {
        self.account_body(key);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // With a body to come it is only `100 Continue`, and the request's time goes on.
        if client.connection.partial_body().is_none() {
            client.unread_at_deadline = None;
            self.request_deadlines.set(key, now);
        }
        self.writable.push(key);
    }

    /// There is nothing to read: waits for the poll's report. A client whose deadline has passed is
    /// refused instead, or its connection is closed if that is idle after a response. During the
    /// shutdown an idle connection is closed in any case.
    fn wait_for_input(&mut self, key: usize, turn: &mut Turn) {
        let Some(client) = self.clients.get(key) else {
            return;
        };
        if client.unread_at_deadline.is_some() {
            self.time_out(key, turn);
        } else if self.is_shutting_down && client.connection.is_idle() {
            self.drain_and_close(key, turn);
        } else {
            self.register(key, Interest::READABLE);
        }
    }

    /// The client's event is in the log: its response waits for the flush.
    fn wait_for_flush(&mut self, key: usize, position: Position) {
        if let Some(client) = self.clients.get_mut(key) {
            client.pending = Pending::Flush;
            self.unflushed.push_back((position, key));
        }
    }

    /// Passes a large body to the worker.
    fn add_job(&mut self, key: usize, event_name: String) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        trace!(
            "{}: event {event_name}, passed to the worker",
            Token::Client(key)
        );
        client.pending = Pending::Worker;
        self.jobs.push(Job {
            client: key,
            time: self.clock.now().to_owned(),
            event_name,
            peer: client.peer,
            body: client.connection.take_body(),
        });
    }

    /// Publishes an event that the worker has made.
    ///
    /// The key still belongs to the same client: a client with a pending event is closed only
    /// at the end of the shutdown, when no more are accepted.
    pub fn finish_job(
        &mut self,
        finished: Finished,
        publisher: &mut impl Publish,
        turn: &mut Turn,
    ) {
        let job = &finished.job;
        if let Some(session_id) = &finished.session_id {
            let hook = SessionHook {
                peer: &job.peer,
                time: &job.time,
                event_name: &job.event_name,
                session_id,
                cwd: finished.cwd.as_deref(),
            };
            publisher.handle_session(&hook, turn);
        }
        let key = finished.job.client;
        let position = publisher.publish_forms(finished.forms);
        self.account_body(key);
        self.wait_for_flush(key, position);
    }

    /// The clients whose events are flushed get their responses.
    pub fn acknowledge(&mut self, flushed: Flushed, now: Instant) {
        while let Some((position, key)) = self.unflushed.front().copied()
            && flushed.includes(position)
        {
            self.unflushed.pop_front();
            if let Some(client) = self.clients.get_mut(key) {
                client.pending = Pending::Nothing;
                // The request was in time. Now the client must read the response.
                if client.unread_at_deadline.take().is_some()
                    || self.request_deadlines.is_unset(key)
                {
                    self.request_deadlines.set(key, now);
                }
                self.writable.push(key);
            }
        }
    }

    /// Writes to the clients in `writable`, up to [`WRITES`] of them.
    pub fn write(&mut self, turn: &mut Turn) {
        for _ in 0..self.writable.len().min(WRITES) {
            if let Some(key) = self.writable.pop() {
                self.write_client(key, turn);
            }
        }
    }

    /// Writes what a client's connection has to send, and takes the step after that.
    fn write_client(&mut self, key: usize, turn: &mut Turn) {
        let token = Token::Client(key);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // A report of writability may come at any time.
        if client.pending != Pending::Nothing || client.connection.unsent().is_empty() {
            return;
        }
        let Some(step) = client.write(token) else {
            return self.register(key, Interest::WRITABLE);
        };
        match step {
            Step::Linger => self.linger(key, turn.now),
            Step::Close => self.drain_and_close(key, turn),
            step => {
                if step == Step::Resume || client.connection.is_idle() {
                    client.unread_at_deadline = None;
                    self.request_deadlines.set(key, turn.now);
                }
                self.readable.push(key);
            }
        }
    }

    /// Registers a client with the poll, or changes its interest. Nothing that happened
    /// before is missed: epoll reports at once what is ready when it is added.
    pub fn register(&mut self, key: usize, interest: Interest) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let previous = client.interest.replace(interest);
        if previous == Some(interest) {
            return;
        }
        let token = Token::Client(key);
        trace!("{token}: registered for {interest:?}");
        let is_new = previous.is_none();
        let result = client
            .socket
            .register(&self.registry, token.into(), interest, is_new);
        if let Err(error) = result {
            say(format_args!(
                "cannot register a client with the poll: {error}"
            ));
            self.close(key);
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
    turn.budget.charge_event(hook.body.len());
    let body = event::decode_utf8(hook.body);
    let event = Event::hook(time, &hook.event_name, peer, &body);
    if let Some(hook) = SessionHook::new(peer, time, &hook.event_name, &event) {
        publisher.handle_session(&hook, turn);
    }
    publisher.publish(event)
}
