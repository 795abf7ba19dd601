//! Clients whose body is in flight, or waits for room.
//!
//! Stop 13 of EDU_NOTES.md.

use std::time::Instant;

use log::trace;

use super::Clients;
use super::client::Client;
use super::inflight::Inflight;
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
        for _ in 0..queues.waiting_for_room.len() {
            let Some(key) = queues.waiting_for_room.pop() else {
                return;
            };
            let Some(client) = self.clients.get(key) else {
                continue;
            };
            match client.body {
                Some(body) if queues.inflight.has_room(body) => {
                    queues.request_deadlines.set(key, now);
                    let _ = client.wait_for_read(queues);
                }
                Some(_) => queues.waiting_for_room.push(key),
                None => {}
            }
        }
    }
}

impl<S: Socket> Client<S> {
    /// Records how much of the client's body is in memory.
    pub(super) fn account_body(&mut self, inflight: &mut Inflight) {
        match (self.body, self.connection.partial_body()) {
            (None, None) => {}
            (None, Some(body)) => self.body = Some(inflight.begin(body)),
            (Some(id), Some(body)) => self.body = Some(inflight.update(id, body)),
            (Some(id), None) => {
                self.body = None;
                inflight.end(id);
            }
        }
    }

    /// The client's body finds no room: it is not read, and its deadline stops.
    pub(super) fn wait_for_room(&mut self, queues: &mut Queues<S>) {
        trace!("{}: no room for more of its body", self.token());
        self.unread_at_deadline = None;
        queues.request_deadlines.clear(self.key);
        queues.waiting_for_room.push(self.key);
    }
}
