//! Clients whose body is in flight, or waits for room.
//!
//! Stop 13 of EDU_NOTES.md.

use std::time::Instant;

use log::trace;

use super::Clients;
use super::socket::Socket;
use crate::server::token::Token;

impl<S: Socket> Clients<S> {
    /// Whether bodies that wait may find room.
    pub(super) fn may_resume(&self) -> bool {
        self.inflight.has_freed_room() && !self.waiting_for_room.is_empty()
    }

    /// Queues the clients whose bodies have room now for reading. Each gets a new deadline.
    pub(super) fn resume_waiting(&mut self, now: Instant) {
        if !self.may_resume() {
            return;
        }
        self.inflight.set_offered();
        for _ in 0..self.waiting_for_room.len() {
            let Some(key) = self.waiting_for_room.pop() else {
                return;
            };
            match self.clients.get(key).and_then(|client| client.body) {
                Some(body) if self.inflight.has_room(body) => {
                    self.request_deadlines.set(key, now);
                    self.readable.push(key);
                }
                Some(_) => self.waiting_for_room.push(key),
                None => {}
            }
        }
    }

    /// Records how much of a client's body is in memory.
    pub(super) fn account_body(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match (client.body, client.connection.partial_body()) {
            (None, None) => {}
            (None, Some(body)) => client.body = Some(self.inflight.begin(body)),
            (Some(id), Some(body)) => client.body = Some(self.inflight.update(id, body)),
            (Some(id), None) => {
                client.body = None;
                self.inflight.end(id);
            }
        }
    }

    /// A client's body finds no room: it is not read, and its deadline stops.
    pub(super) fn wait_for_room(&mut self, key: usize) {
        trace!("{}: no room for more of its body", Token::Client(key));
        if let Some(client) = self.clients.get_mut(key) {
            client.unread_at_deadline = None;
            self.request_deadlines.clear(key);
            self.waiting_for_room.push(key);
        }
    }
}
