//! How a client's connection ends: by a deadline, after a response, or at the shutdown. How long a
//! client may linger, and the other deadlines, are in `queues.rs`. These steps only return
//! [`Outcome::Close`]: `mod.rs` closes the socket, and traces how long the client lived.
//!
//! Closing a Unix socket with unread input turns the peer's end of file into ECONNRESET: the client
//! could lose its response. So input is discarded first.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io;
use std::time::Instant;

use log::trace;
use mio::Interest;

use super::client::{Client, Outcome, Pending};
use super::queues::Queues;
use super::socket::Socket;
use crate::http::connection::Step;
use crate::server::budget::READS_PER_CLIENT;

impl<S: Socket> Client<S> {
    /// The deadline has passed. The client has until now to be read from, and to read its
    /// response: only what it has not sent in time is refused.
    pub(super) fn pass_deadline(&mut self, queues: &mut Queues<S>) {
        trace!("{}: deadline passed", self.token());
        if self.pending != Pending::Nothing {
            // The server is late, not the client. `acknowledge` sets a new deadline.
        } else if self.connection.unsent().is_empty() {
            self.unread_at_deadline = Some(self.socket.unread());
            let _ = self.wait_for_read(queues);
        } else {
            self.unread_at_deadline = Some(0);
            let _ = self.wait_for_write(queues);
        }
    }

    /// Refuses the client, which is late, or closes its connection if that is idle after a
    /// response.
    pub(super) fn time_out(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        match self.connection.time_out() {
            Step::Write => self.begin_response(queues, now),
            _ => self.drain_and_close(queues, now),
        }
    }

    /// Refuses the client without waiting for it. A response that finds no room is lost.
    pub(super) fn refuse_at_once(&mut self, queues: &mut Queues<S>) -> Outcome {
        trace!("{}: gives way to another user", self.token());
        let _ = self.connection.time_out();
        let _ = self.socket.write(self.connection.unsent());
        let _ = self.discard_input(&mut queues.scratch);
        Outcome::Close
    }

    /// Discards the input that has arrived, then closes the connection.
    pub(super) fn drain_and_close(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        match self.discard_input(&mut queues.scratch) {
            Ok(true) => self.linger(queues, now),
            Ok(false) | Err(_) => Outcome::Close,
        }
    }

    /// Shuts down writing, and discards what the client still sends until it closes its
    /// side, or for two seconds.
    pub(super) fn linger(&mut self, queues: &mut Queues<S>, now: Instant) -> Outcome {
        trace!("{}: lingering", self.token());
        self.socket.shutdown_write();
        (self.is_lingering, self.has_begun) = (true, true);
        queues.request_deadlines.clear(self.key);
        queues.linger_deadlines.set(self.key, now);
        self.wait_for_read(queues)
    }

    /// Discards the input of a lingering client, and closes it at the end of input.
    pub(super) fn drain_lingering(&mut self, queues: &mut Queues<S>) -> Outcome {
        match self.discard_input(&mut queues.scratch) {
            Ok(true) => self.wait_for_read(queues),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.register(Interest::READABLE, &queues.registry)
            }
            Ok(false) | Err(_) => Outcome::Close,
        }
    }

    /// Discards input, at most [`READS_PER_CLIENT`] reads. Returns true if there may be more,
    /// false at the end of input, and `WouldBlock` if there is nothing now.
    pub(super) fn discard_input(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        for _ in 0..READS_PER_CLIENT {
            match self.socket.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}
