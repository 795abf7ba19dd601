//! One client of the hook socket: its socket, its connection, and what it waits for.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io;
use std::time::{Duration, Instant};

use log::trace;
use mio::Interest;

use super::inflight::BodyId;
use super::socket::Socket;
use crate::http::connection::{Connection, Step};
use crate::peer::Peer;
use crate::server::budget::READS_PER_CLIENT;
use crate::server::token::Token;
use crate::server::turn::Turn;

/// One connection to the hook socket.
pub struct Client<S> {
    pub socket: S,
    pub peer: Peer,
    pub connection: Connection,
    /// What it is registered for. `None` until a call first returns `WouldBlock`.
    pub interest: Option<Interest>,
    pub pending: Pending,
    /// Its body in flight, if there is one.
    pub body: Option<BodyId>,
    /// Set once its deadline has passed: bytes that had arrived by then and are not read yet.
    pub unread_at_deadline: Option<u64>,
    /// Whether the connection is over, and is read from only so that the client can read
    /// its response (RFC 9112 section 9.6).
    pub is_lingering: bool,
    accepted_at: Instant,
}

/// What must happen to a client's event before its response is written.
#[derive(Clone, Copy, PartialEq)]
pub enum Pending {
    Nothing,
    /// The worker makes the event.
    Worker,
    /// The event is in the log and must be flushed.
    Flush,
}

impl<S: Socket> Client<S> {
    /// A client that was just accepted.
    pub fn new(socket: S, peer: Peer, connection: Connection, now: Instant) -> Self {
        Client {
            socket,
            peer,
            connection,
            interest: None,
            pending: Pending::Nothing,
            body: None,
            unread_at_deadline: None,
            is_lingering: false,
            accepted_at: now,
        }
    }

    /// How long it has been connected.
    pub fn age(&self) -> Duration {
        self.accepted_at.elapsed()
    }

    /// Reads once, and traces the result.
    ///
    /// A short read does not mean that the socket is empty: on a Unix socket a read also
    /// ends where descriptors were passed (`SCM_RIGHTS`, unix(7)).
    fn read(&mut self, token: Token, scratch: &mut [u8]) -> io::Result<usize> {
        let result = self.socket.read(scratch);
        match &result {
            Ok(0) => trace!("{token}: read end of input"),
            Ok(count) => trace!("{token}: read {count} bytes"),
            Err(error) => trace!("{token}: read: {:?}", error.kind()),
        }
        result
    }

    /// The next step of the connection. Reads first, unless the connection still has bytes
    /// that it has not parsed. `None`: there is nothing to read now.
    pub fn next_step<'a>(
        &'a mut self,
        token: Token,
        scratch: &'a mut [u8],
        turn: &mut Turn,
    ) -> Option<Step<'a>> {
        if self.connection.has_unparsed() {
            return Some(self.connection.received(&[]));
        }
        let result = self.read(token, scratch);
        turn.budget.charge_read(*result.as_ref().unwrap_or(&0));
        match result {
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

    /// Discards input, at most [`READS_PER_CLIENT`] reads. Returns true if there may be more,
    /// false at the end of input, and `WouldBlock` if there is nothing now.
    pub fn discard_input(&mut self, scratch: &mut [u8], turn: &mut Turn) -> io::Result<bool> {
        for _ in 0..READS_PER_CLIENT {
            let result = self.socket.read(scratch);
            turn.budget.charge_read(*result.as_ref().unwrap_or(&0));
            match result {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Writes what the connection has to send. Returns the step after that, or `None` if it
    /// must wait for room.
    pub fn write(&mut self, token: Token) -> Option<Step<'static>> {
        loop {
            match self.socket.write(self.connection.unsent()) {
                Ok(count) => {
                    trace!("{token}: wrote {count} bytes");
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
    }
}
