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
use super::inflight::Sender;
use super::queues::Queues;
use super::socket::Socket;

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
                    Some(_) => queues.waiting_for_room[share].push(client.key),
                    None => {}
                }
            }
        }
    }

    /// If bodies wait for room and none was freed, another one gives way, and gets 408: one of a user
    /// who has too much, or one that has sent nothing for a second. Call it after the reads of a
    /// turn.
    pub(super) fn make_room(&mut self, now: Instant) {
        for share in 0..2 {
            let queues = &mut self.queues;
            if queues.waiting_for_room[share].is_empty() || queues.inflight.has_freed_room {
                continue;
            }
            if let Some(key) = queues.inflight.excess_body(share == 1) {
                self.take_step(key, |client, queues| client.give_way(queues, now));
            } else if let Some(key) = queues.stall_deadlines[share].take_expired(now) {
                self.take_step(key, |client, queues| match client.socket.unread() {
                    0 => client.give_way(queues, now),
                    // The server is late, not the client.
                    _ => client.wait_for_read(queues),
                });
            }
        }
    }

    /// The earliest time at which a body must give way to others that wait.
    pub(super) fn next_stall(&self) -> Option<Instant> {
        let shares = self.queues.waiting_for_room.iter();
        let shares = shares.zip(&self.queues.stall_deadlines);
        let waited_for = shares.filter(|(waiting, _)| !waiting.is_empty());
        waited_for.filter_map(|(_, stalls)| stalls.earliest()).min()
    }
}

impl<S: Socket> Client<S> {
    /// Records how much of the client's body is in memory.
    pub(super) fn account_body(&mut self, queues: &mut Queues<S>) {
        let sender = Sender {
            client: self.key,
            uid: self.peer.uid,
        };
        if let Some(id) = self.body {
            queues.stall_deadlines[usize::from(id.is_upload)].clear(self.key);
        }
        self.body = match (self.body, self.connection.partial_body()) {
            (None, None) => None,
            (None, Some(body)) => Some(queues.inflight.begin(sender, body)),
            (Some(id), Some(body)) => Some(queues.inflight.update(id, body)),
            (Some(id), None) => {
                queues.inflight.end(id);
                None
            }
        };
    }

    /// The client's body finds no room: it is not read, and its deadline stops. The poll reports
    /// if the client is gone.
    pub(super) fn wait_for_room(&mut self, is_upload: bool, queues: &mut Queues<S>) -> Outcome {
        trace!("{}: no room for more of its body", self.token());
        self.unread_at_deadline = None;
        queues.request_deadlines.clear(self.key);
        queues.waiting_for_room[usize::from(is_upload)].push(self.key);
        self.register(Interest::READABLE, &queues.registry)
    }

    /// Its body makes room for others, unless all of it has arrived: then it ends soon.
    fn give_way(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        if self.pending != Pending::Nothing {
            return Outcome::Stay;
        }
        trace!("{}: its body gives way", self.token());
        self.time_out(queues, now)
    }

    /// Whether a client that is gone waits for room, and its body will not be whole. Not at the
    /// worker: its key must stay its own until the event comes back.
    pub(super) fn is_lost(&self, queues: &Queues<S>) -> bool {
        let waits = |id| !queues.inflight.has_room(id);
        let is_whole = self.connection.partial_body().is_some_and(|body| {
            let arrived = body.arrived as u64 + self.socket.unread();
            body.announced.is_some_and(|length| length <= arrived)
        });
        self.pending == Pending::Nothing && self.body.is_some_and(waits) && !is_whole
    }
}
