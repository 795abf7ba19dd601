//! The clients of the hook socket: what a turn does for them, from accept to close.
//!
//! A [`Client`] takes its steps itself, and puts itself into the [`Queues`]. This file holds all
//! of them, and asks those whose turn it is. Each client waits for one thing at a time:
//!
//! - **to be read**: in the queue `readable`. It is new, or its last read was not
//!   `WouldBlock`, or the poll has reported it since.
//! - **to be written**: in the queue `writable`.
//! - **for input**, or **for room** to write: registered with the poll.
//! - **for memory**: in `waiting_for_room`, not read and without a deadline, because the bodies in
//!   flight leave no room for more of its own ([`Inflight`]).
//! - **for its event**: with the worker, or in the log and not yet flushed
//!   ([`Pending`](client::Pending)). Then it is not read, and its response is not written.
//!
//! The queues and deadlines make no system calls: sockets are behind the trait [`Socket`] and the
//! output behind [`Publish`]. The model test (`model.rs`) drives this folder with random schedules.
//!
//! Two parts of what a client does have files of their own: `closing.rs`, how its connection ends,
//! and `bodies.rs`, its body in flight. The lists of sessions, which clients share, are in
//! `session_lists.rs`.
//!
//! Stop 7 of EDU_NOTES.md.

mod bodies;
mod client;
mod closing;
pub mod inflight;
#[cfg(test)]
mod model;
pub mod publish;
mod queues;
mod session_lists;
pub mod socket;

use std::time::{Duration, Instant};

use log::trace;
use mio::Registry;
use slab::Slab;

use self::client::{Client, Outcome, Pending};
use self::inflight::Inflight;
use self::publish::{LiveReader, Publish};
use self::queues::Queues;
use self::socket::Socket;
use crate::http::connection::Connection;
use crate::output::flush::Flushed;
use crate::peer::Peer;
use crate::server::budget::{EXPIRE, READ, READ_AGAIN, RESPOND, RESPOND_AGAIN, Turn};
use crate::server::deadlines::Deadlines;
use crate::server::ready_queue::ANYBODY;
use crate::server::sessions::SessionHook;
use crate::server::users::Users;
use crate::server::worker::{Finished, Job};

/// All clients, and what they wait in.
pub struct Clients<S> {
    clients: Slab<Client<S>>,
    queues: Queues<S>,
    /// The connections of each user.
    users: Users,
    /// Whether a descriptor was closed since this was last asked.
    has_freed_fd: bool,
}

impl<S: Socket> Clients<S> {
    /// No clients yet. A request may take `timeout`, and its body what `inflight` allows.
    pub fn new(registry: Registry, timeout: Duration, inflight: Inflight) -> Self {
        Clients {
            clients: Slab::new(),
            queues: Queues::new(registry, timeout, inflight),
            users: Users::default(),
            has_freed_fd: false,
        }
    }

    /// The number of open connections.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether some client is to be read.
    pub fn has_unread(&self) -> bool {
        self.queues.readable.iter().any(|queue| !queue.is_empty())
    }

    /// Whether a turn has something to do here without a report.
    pub fn has_work(&self) -> bool {
        let has_unwritten = self.queues.writable.iter().any(|queue| !queue.is_empty());
        self.has_unread()
            || has_unwritten
            || !self.queues.lost.is_empty()
            || self.queues.may_resume()
    }

    /// The earliest deadline of a client.
    pub fn next_deadline(&self) -> Option<Instant> {
        let requests = self.queues.request_deadlines.earliest();
        let lingering = self.queues.linger_deadlines.earliest();
        let deadlines = [requests, lingering, self.next_stall()];
        deadlines.into_iter().flatten().min()
    }

    /// Whether descriptors were closed since the last call.
    pub fn take_freed_fd(&mut self) -> bool {
        std::mem::take(&mut self.has_freed_fd)
    }

    /// The events that the worker is to make, since the last call.
    pub fn take_jobs(&mut self) -> Vec<Job> {
        std::mem::take(&mut self.queues.jobs)
    }

    /// The clients that have become readers, since the last call.
    pub fn take_live_readers(&mut self) -> Vec<LiveReader<S>> {
        std::mem::take(&mut self.queues.live_readers)
    }

    /// A buffer for reading, which belongs to nobody between two calls.
    pub fn scratch(&mut self) -> &mut [u8] {
        &mut self.queues.scratch
    }

    /// Adds an accepted client. Its request has often arrived already, so it is read from
    /// without a report.
    pub fn add(&mut self, socket: S, peer: Peer, now: Instant) {
        let entry = self.clients.vacant_entry();
        let key = entry.key();
        let mut connection = Connection::new(key, self.queues.inflight.max_body);
        connection.allows_keep_alive = !self.queues.is_shutting_down;
        self.users.add(peer.uid, 1);
        let client = entry.insert(Client::new(key, socket, peer, connection, now));
        trace!("{}: accepted, {peer}", client.token());
        self.queues.request_deadlines.set(key, now);
        let _ = client.wait_for_read(&mut self.queues);
    }

    /// The user of whom a client must give way to another one, if no more than these `open`
    /// connections are possible. The next to connect may be the server's own user.
    pub fn user_with_excess(&self, open: usize) -> Option<u32> {
        self.users.with_excess(open, true)
    }

    /// Refuses a client of this user, and closes its connection at once: the one with the earliest
    /// deadline.
    pub fn refuse_one_of(&mut self, uid: u32) {
        let deadlines = [
            &self.queues.request_deadlines,
            &self.queues.linger_deadlines,
        ];
        let with_deadline = deadlines.into_iter().flat_map(Deadlines::keys);
        let waiting = self.clients.iter().map(|(key, _)| key);
        let may_close = |key: &usize| {
            let client = self.clients.get(*key);
            client.is_some_and(|it| it.peer.uid == uid && it.pending == Pending::Nothing)
        };
        let key = with_deadline.chain(waiting).find(may_close);
        if let Some(key) = key {
            self.take_step(key, |client, queues| client.refuse_at_once(queues));
        }
    }

    /// The poll reported a client. `is_gone`: it has closed its connection.
    pub fn handle_report(
        &mut self,
        key: usize,
        is_readable: bool,
        is_writable: bool,
        is_gone: bool,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        client.is_gone |= is_gone;
        if client.is_lost(&self.queues) {
            return self.queues.lost.push(ANYBODY, key);
        }
        if is_readable {
            let _ = client.wait_for_read(&mut self.queues);
        }
        if is_writable {
            let _ = client.wait_for_write(&mut self.queues);
        }
    }

    /// Reads from the clients in `readable`: first from those that have not been read yet in their
    /// request, then from the others. So a small request does not wait for large ones, and a large
    /// one has a part of each turn.
    ///
    /// Call it while no sink is congested. Each queue makes progress even if the events of this turn
    /// congest one.
    pub fn read(&mut self, publisher: &mut impl Publish, turn: &mut Turn) {
        self.resume_waiting(turn.now);
        turn.begin_step(READ);
        self.read_queue(false, publisher, turn);
        if !self.queues.readable[1].is_empty() {
            turn.begin_step_of(READ_AGAIN);
            self.read_queue(true, publisher, turn);
        }
        self.queues.session_lists.end_turn();
    }

    /// Reads from the clients in one of the queues, while the step has time. The others stay there
    /// for the next turn.
    fn read_queue(&mut self, has_begun: bool, publisher: &mut impl Publish, turn: &mut Turn) {
        let queue = usize::from(has_begun);
        for _ in 0..self.queues.readable[queue].len() {
            if !turn.has_time() {
                return;
            }
            let Some(key) = self.queues.readable[queue].pop() else {
                return;
            };
            self.take_step(key, |client, queues| {
                if client.has_begun != has_begun {
                    // Its request has ended or begun since it was queued.
                    client.wait_for_read(queues)
                } else if let Some(deferred) = client.deferred.take() {
                    client.resume(deferred, queues, publisher, turn)
                } else if client.is_lingering {
                    client.drain_lingering(queues)
                } else {
                    client.read(queues, publisher, turn)
                }
            });
            if publisher.is_congested() {
                return;
            }
        }
    }

    /// Lets a client take a step. It leaves if that was its last one.
    fn take_step(
        &mut self,
        key: usize,
        step: impl FnOnce(&mut Client<S>, &mut Queues<S>) -> Outcome,
    ) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match step(client, &mut self.queues) {
            Outcome::Stay => {}
            Outcome::Close => self.close(key),
            Outcome::Subscribe(replay) => {
                trace!("{}: becomes a reader", client.token());
                let client = self.remove(key);
                let live_reader = client.map(|client| LiveReader {
                    socket: client.socket,
                    is_registered: client.interest.is_some(),
                    replay,
                });
                self.queues.live_readers.extend(live_reader);
            }
        }
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
        self.take_step(key, |client, queues| {
            client.wait_for_flush(position, queues)
        });
    }

    /// Handles the deadlines that have passed, and closes clients that are lost. Call it after the
    /// reads of a turn.
    pub fn expire_deadlines(&mut self, turn: &mut Turn) {
        self.close_lost(turn);
        self.make_room(turn);
        turn.begin_step(EXPIRE);
        while turn.has_time()
            && let Some(key) = self.queues.request_deadlines.take_expired(turn.now)
        {
            if let Some(client) = self.clients.get_mut(key) {
                client.pass_deadline(&mut self.queues);
            }
        }
        while turn.has_time()
            && let Some(key) = self.queues.linger_deadlines.take_expired(turn.now)
        {
            self.take_step(key, |client, queues| {
                let _ = client.discard_input(&mut queues.scratch);
                Outcome::Close
            });
        }
    }

    /// The clients whose events are flushed, up to this position, get their responses.
    pub fn acknowledge(&mut self, flushed: Flushed, now: Instant) {
        while let Some((position, key)) = self.queues.unflushed.front().copied()
            && flushed.includes(position)
        {
            self.queues.unflushed.pop_front();
            if let Some(client) = self.clients.get_mut(key) {
                client.acknowledge(&mut self.queues, now);
            }
        }
    }

    /// Writes to the clients in `writable`, first to those that were read once in their request.
    pub fn write(&mut self, turn: &mut Turn) {
        for (queue, ends) in [(0, RESPOND), (1, RESPOND_AGAIN)] {
            turn.begin_step(ends);
            for _ in 0..self.queues.writable[queue].len() {
                if !turn.has_time() {
                    break;
                }
                if let Some(key) = self.queues.writable[queue].pop() {
                    self.take_step(key, |client, queues| client.write(queues, turn));
                }
            }
        }
    }

    /// Closes a client's connection.
    fn close(&mut self, key: usize) {
        if let Some(client) = self.remove(key) {
            let elapsed = || client.accepted_at.elapsed().as_secs_f64() * 1e3;
            trace!("{}: closed after {:.3} ms", client.token(), elapsed());
            self.has_freed_fd = true;
        }
    }

    /// Removes a client, and all that waits for it.
    fn remove(&mut self, key: usize) -> Option<Client<S>> {
        let client = self.clients.try_remove(key)?;
        self.users.remove(client.peer.uid, 1);
        if let Some(body) = client.body {
            self.queues.inflight.end(body);
        }
        self.queues.request_deadlines.clear(key);
        self.queues.linger_deadlines.clear(key);
        for stalls in &mut self.queues.stall_deadlines {
            stalls.clear(key);
        }
        Some(client)
    }

    /// Makes every request the last one of its connection.
    pub fn begin_shutdown(&mut self) {
        self.queues.is_shutting_down = true;
        for (_, client) in &mut self.clients {
            client.connection.allows_keep_alive = false;
            // Reading finds out whether the connection is idle and can be closed.
            let _ = client.wait_for_read(&mut self.queues);
        }
    }

    /// Closes all connections. Returns how many clients did not get their response.
    pub fn abandon(&mut self) -> usize {
        let clients = self.clients.iter();
        let unanswered = clients.filter(|(_, client)| !client.is_lingering).count();
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
        unanswered
    }
}
