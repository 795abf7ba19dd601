//! Clients whose body is in flight, or waits for room.
//!
//! A body that waits gets the room of others in two ways: they end, or they give way
//! ([`Clients::make_room`]).
//!
//! Stop 13 of EDU_NOTES.md.

use std::time::Instant;

use log::trace;
use mio::Interest;

use super::Clients;
use super::client::{Client, Outcome, Pending};
use super::inflight::{BodyId, Sender};
use super::queues::Queues;
use super::socket::Socket;
use crate::http::connection::PartialBody;
use crate::server::budget::{EXPIRE, SMALL_BODY, Turn};
use crate::server::ready_queue::ANYBODY;

/// How much of a body must arrive in a second while others wait for its room.
pub(super) const PROGRESS: u64 = 64 << 10;

impl<S: Socket> Clients<S> {
    /// Queues the clients whose bodies have room now for reading. Each gets a new deadline.
    pub(super) fn resume_waiting(&mut self, now: Instant) {
        let queues = &mut self.queues;
        if !queues.may_resume() {
            return;
        }
        queues.inflight.has_freed_room = false;
        for share in 0..2 {
            for _ in 0..queues.waiting_for_room[share].len() {
                let key = queues.waiting_for_room[share].pop();
                let Some(client) = key.and_then(|key| self.clients.get(key)) else {
                    continue;
                };
                match client.body {
                    Some(body) if queues.inflight.has_room(body) => {
                        queues.request_deadlines.set(client.key, now);
                        let _ = client.wait_for_read(queues);
                    }
                    Some(_) => queues.waiting_for_room[share].push(ANYBODY, client.key),
                    None => {}
                }
            }
        }
    }

    /// Closes clients that are lost. Each can take 0.1 ms: the kernel frees what it has sent.
    pub(super) fn close_lost(&mut self, turn: &mut Turn) {
        turn.begin_step(EXPIRE);
        while !self.queues.lost.is_empty() && turn.has_time() {
            let key = self.queues.lost.pop();
            let client = key.and_then(|key| self.clients.get(key));
            if let Some(client) = client.filter(|client| client.is_lost(&self.queues)) {
                self.close(client.key);
            }
        }
    }

    /// While bodies wait for room, others give way, and get 408: those of a user who has too much,
    /// and if a share is full, those that have stalled. Call it after the reads of a turn.
    pub(super) fn make_room(&mut self, turn: &mut Turn) {
        let now = turn.now;
        for is_upload in [false, true] {
            let share = usize::from(is_upload);
            turn.begin_step(EXPIRE);
            while !self.queues.waiting_for_room[share].is_empty() && turn.has_time() {
                let clients = &self.clients;
                let may_end = |key| {
                    let client = clients.get(key);
                    client.is_some_and(|client| client.pending == Pending::Nothing)
                };
                let queues = &mut self.queues;
                if let Some(key) = queues.inflight.excess_body(is_upload, may_end) {
                    self.take_step(key, |client, queues| client.give_way(queues, now));
                } else if queues.inflight.is_full(is_upload)
                    && let Some(key) = queues.stall_deadlines[share].take_expired(now)
                {
                    self.take_step(key, |client, queues| client.check_progress(queues, now));
                } else {
                    break;
                }
            }
        }
    }

    /// The earliest time at which a body must give way to others that wait.
    pub(super) fn next_stall(&self) -> Option<Instant> {
        let queues = &self.queues;
        let is_waited_for = |is_upload: &bool| {
            let waiting = &queues.waiting_for_room[usize::from(*is_upload)];
            !waiting.is_empty() && queues.inflight.is_full(*is_upload)
        };
        let shares = [false, true].into_iter().filter(is_waited_for);
        let stalls = shares.filter_map(|is_upload| {
            let stalls = &queues.stall_deadlines[usize::from(is_upload)];
            stalls.earliest()
        });
        stalls.min()
    }
}

impl<S: Socket> Client<S> {
    /// Records how much of the client's body is in memory. A small one is not in flight: it never
    /// waits for room.
    pub(super) fn account_body(&mut self, queues: &mut Queues<S>, now: Instant) {
        let is_counted = |body: &PartialBody| {
            let length = body.announced.unwrap_or(body.arrived as u64);
            length > SMALL_BODY as u64
        };
        let Some(body) = self.connection.partial_body().filter(is_counted) else {
            return self.end_body(queues);
        };
        let sender = Sender {
            client: self.key,
            uid: self.peer.uid,
        };
        let id = match self.body {
            None => queues.inflight.begin(sender, body),
            Some(id) => queues.inflight.update(id, body),
        };
        let previous = self.body.replace(id);
        if previous.is_none_or(|previous| previous.is_upload != id.is_upload) {
            queues.stall_deadlines[0].clear(self.key);
            self.watch_progress(body.arrived as u64, id, queues, now);
        }
    }

    /// The client's body is not in flight any more.
    pub(super) fn end_body(&mut self, queues: &mut Queues<S>) {
        if let Some(id) = self.body.take() {
            queues.stall_deadlines[usize::from(id.is_upload)].clear(self.key);
            queues.inflight.end(id);
        }
    }

    /// So much of its body has arrived. It has a second for more.
    fn watch_progress(&mut self, arrived: u64, id: BodyId, queues: &mut Queues<S>, now: Instant) {
        self.arrived_before = arrived;
        queues.stall_deadlines[usize::from(id.is_upload)].set(self.key, now);
    }

    /// The client's body finds no room: it is not read, and its deadline stops. The poll reports
    /// if the client is gone.
    pub(super) fn wait_for_room(&mut self, is_upload: bool, queues: &mut Queues<S>) -> Outcome {
        trace!("{}: no room for more of its body", self.token());
        self.unread_at_deadline = None;
        queues.request_deadlines.clear(self.key);
        queues.waiting_for_room[usize::from(is_upload)].push(ANYBODY, self.key);
        if self.is_gone {
            queues.lost.push(ANYBODY, self.key);
        }
        self.register(Interest::READABLE, &queues.registry)
    }

    /// Its second is over. Its body makes room for others, unless it has moved, or the server is
    /// late and not the client.
    fn check_progress(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        let Some(id) = self.body.filter(|_| self.pending == Pending::Nothing) else {
            return Outcome::Stay;
        };
        let unread = self.socket.unread();
        let arrived = self.arrived() + unread;
        // Linux's sockets have room for the rest of an ordinary body. The sender of an upload may
        // wait until nearly all of that is read (unix_write_space of the kernel).
        let is_stopped = (id.is_upload || !cfg!(target_os = "linux")) && unread > 0;
        if self.is_whole() || is_stopped || arrived >= self.arrived_before + PROGRESS {
            self.watch_progress(arrived, id, queues, now);
            return Outcome::Stay;
        }
        self.give_way(queues, now)
    }

    /// Its body makes room for others.
    fn give_way(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        trace!("{}: its body gives way", self.token());
        self.time_out(queues, now)
    }

    /// Whether a client that is gone waits for room, and its body will not be whole. Not at the
    /// worker: its key must stay its own until the event comes back.
    pub(super) fn is_lost(&self, queues: &Queues<S>) -> bool {
        let waits = |id| !queues.inflight.has_room(id);
        let is_free = self.is_gone && self.pending == Pending::Nothing;
        is_free && self.body.is_some_and(waits) && !self.is_whole()
    }

    /// Bytes of its body that are read.
    fn arrived(&self) -> u64 {
        let body = self.connection.partial_body();
        body.map_or(0, |body| body.arrived as u64)
    }

    /// Whether all of its body has arrived, though not all is read. Of a chunked one that is not
    /// known.
    fn is_whole(&self) -> bool {
        let announced = self
            .connection
            .partial_body()
            .and_then(|body| body.announced);
        announced.is_some_and(|length| length <= self.arrived() + self.socket.unread())
    }
}
