//! How a client's connection ends: by a deadline, after a response, or at the shutdown.
//!
//! Closing a Unix socket with unread input turns the peer's end of file into ECONNRESET: the client
//! could lose its response. So input is discarded first.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io;
use std::time::Instant;

use log::trace;
use mio::Interest;

use super::Clients;
use super::client::{Client, Pending};
use super::socket::Socket;
use crate::http::connection::Step;
use crate::server::budget::CLOSES;
use crate::server::token::Token;
use crate::server::turn::Turn;

impl<S: Socket> Clients<S> {
    /// Handles the deadlines that have passed. A client has until now to be read from, and to
    /// read its response: only what it has not sent in time is refused. Call it after the
    /// reads of a turn.
    pub fn expire_deadlines(&mut self, turn: &mut Turn) {
        for _ in 0..CLOSES {
            let Some(key) = self.request_deadlines.take_expired(turn.now) else {
                break;
            };
            trace!("{}: deadline passed", Token::Client(key));
            let Some(client) = self.clients.get_mut(key) else {
                continue;
            };
            if client.pending != Pending::Nothing {
                // The server is late, not the client. `acknowledge` sets a new deadline.
                continue;
            }
            if client.connection.unsent().is_empty() {
                client.unread_at_deadline = Some(client.socket.unread());
                self.readable.push(key);
            } else {
                client.unread_at_deadline = Some(0);
                self.writable.push(key);
            }
        }
        for _ in 0..CLOSES {
            let Some(key) = self.linger_deadlines.take_expired(turn.now) else {
                break;
            };
            if let Some(client) = self.clients.get_mut(key) {
                let _ = client.discard_input(&mut self.scratch, turn);
            }
            self.close(key);
        }
    }

    /// Refuses a client that is late, or closes its connection if that is idle after a response.
    pub(super) fn time_out(&mut self, key: usize, turn: &mut Turn) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.connection.time_out() {
            Step::Write => self.begin_response(key, turn.now),
            _ => self.drain_and_close(key, turn),
        }
    }

    /// Discards the input that has arrived, then closes the connection.
    pub(super) fn drain_and_close(&mut self, key: usize, turn: &mut Turn) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.discard_input(&mut self.scratch, turn) {
            Ok(true) => self.linger(key, turn.now),
            Ok(false) | Err(_) => self.close(key),
        }
    }

    /// Shuts down writing, and discards what the client still sends until it closes its
    /// side, or for [`LINGER_TIMEOUT`](super::LINGER_TIMEOUT).
    pub(super) fn linger(&mut self, key: usize, now: Instant) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        trace!("{}: lingering", Token::Client(key));
        client.socket.shutdown_write();
        client.is_lingering = true;
        self.request_deadlines.clear(key);
        self.linger_deadlines.set(key, now);
        self.readable.push(key);
    }

    /// Discards the input of a lingering client, and closes it at the end of input.
    pub(super) fn drain_lingering(&mut self, key: usize, turn: &mut Turn) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.discard_input(&mut self.scratch, turn) {
            Ok(true) => self.readable.push(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.register(key, Interest::READABLE);
            }
            Ok(false) | Err(_) => self.close(key),
        }
    }

    /// Closes a client's connection.
    pub(super) fn close(&mut self, key: usize) {
        if let Some(client) = self.remove(key) {
            let elapsed = client.age().as_secs_f64() * 1e3;
            trace!("{}: closed after {elapsed:.3} ms", Token::Client(key));
            self.has_freed_fd = true;
        }
    }

    /// Removes a client, and all that waits for it.
    pub(super) fn remove(&mut self, key: usize) -> Option<Client<S>> {
        let client = self.clients.try_remove(key)?;
        if let Some(body) = client.body {
            self.inflight.end(body);
        }
        self.request_deadlines.clear(key);
        self.linger_deadlines.clear(key);
        Some(client)
    }

    /// Makes every request the last one of its connection.
    pub fn begin_shutdown(&mut self) {
        self.is_shutting_down = true;
        for (key, client) in &mut self.clients {
            client.connection.disable_keep_alive();
            // Reading finds out whether the connection is idle and can be closed.
            self.readable.push(key);
        }
    }

    /// Closes all connections. Returns how many clients did not get their response.
    pub fn abandon(&mut self) -> usize {
        let unanswered = self
            .clients
            .iter()
            .filter(|(_, client)| !client.is_lingering);
        let count = unanswered.count();
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close(key));
        count
    }
}
