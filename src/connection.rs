//! One client's way through the server, as a state machine that does no I/O.
//!
//! It is told what arrived and says what to do next; the loop in
//! [`crate::server`] alone reads and writes. So a request can be fed to it in
//! any pieces, by a test or a fuzzer, with no socket.
//!
//! ```text
//!            head whole            body whole             all written
//! ReadingHead ────────→ ReadingBody ────────→ WritingResponse ────────→ Step::Close
//!      │                     │                      ↑
//!      └──── malformed ──────┴────── cut short ─────┘
//! ```
//!
//! A request that comes whole is handed out where it lies, in the caller's
//! buffer. Only a piece of one is copied, into the connection's own inbox.

use crate::http::{self, Head, Status, Target};

/// A client, as far as its bytes go.
#[derive(Debug, Default)]
pub struct Connection {
    state: State,
    /// What has arrived of a head, then of a body, that is not whole.
    inbox: Vec<u8>,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    ReadingHead,
    ReadingBody(Head),
    WritingResponse {
        response: &'static [u8],
        sent: usize,
    },
}

/// What the loop does next for a connection.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// Read more, then call [`Connection::received`], or
    /// [`Connection::end_of_input`] where there is no more.
    Read,
    /// Publish this event, then do as for [`Step::Write`]: the response is ready.
    Hook(Hook<'a>),
    /// Write [`Connection::unsent`], then call [`Connection::written`].
    Write,
    /// The connection is over.
    Close,
}

/// A hook that arrived whole.
#[derive(Debug, PartialEq)]
pub struct Hook<'a> {
    pub event: String,
    pub body: &'a [u8],
}

impl Connection {
    /// Takes bytes as they arrived.
    pub fn received<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        match self.state {
            State::ReadingHead => self.read_head(bytes),
            State::ReadingBody(_) => self.read_body(bytes),
            // Bytes after the request: nobody asked for them.
            State::WritingResponse { .. } => Step::Write,
        }
    }

    /// Takes note that nothing more will arrive. The client may still read.
    pub fn end_of_input(&mut self) -> Step<'_> {
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => Step::Close,
            State::ReadingHead | State::ReadingBody(_) => self.answer(Status::BadRequest),
            State::WritingResponse { .. } => Step::Write,
        }
    }

    /// What is still to be written of the response.
    pub fn unsent(&self) -> &'static [u8] {
        match self.state {
            State::WritingResponse { response, sent } => &response[sent..],
            _ => &[],
        }
    }

    /// Takes note that the first `count` bytes of [`Connection::unsent`] are out.
    pub fn written(&mut self, count: usize) -> Step<'_> {
        if let State::WritingResponse { sent, .. } = &mut self.state {
            *sent += count;
        }
        if self.unsent().is_empty() {
            Step::Close
        } else {
            Step::Write
        }
    }

    fn read_head<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        let piecemeal = !self.inbox.is_empty();
        if piecemeal {
            self.inbox.extend(bytes);
        }
        let arrived = if piecemeal { &self.inbox } else { bytes };
        match http::head(arrived) {
            Err(status) => self.answer(status),
            Ok(None) => {
                if !piecemeal {
                    self.inbox.extend(bytes);
                }
                Step::Read
            }
            Ok(Some((length, head)))
                if !piecemeal && head.body <= (bytes.len() - length) as u64 =>
            {
                let body = &bytes[length..][..head.body as usize];
                self.finish(head.target, |_| body)
            }
            Ok(Some((length, head))) => {
                if piecemeal {
                    self.inbox.drain(..length);
                } else {
                    self.inbox.extend(&bytes[length..]);
                }
                self.state = State::ReadingBody(head);
                self.read_body(&[])
            }
        }
    }

    fn read_body(&mut self, bytes: &[u8]) -> Step<'_> {
        self.inbox.extend(bytes);
        match std::mem::take(&mut self.state) {
            State::ReadingBody(head) if head.body <= self.inbox.len() as u64 => {
                self.finish(head.target, |inbox| &inbox[..head.body as usize])
            }
            state => {
                self.state = state;
                Step::Read
            }
        }
    }

    /// The request is whole, and `body` finds its body.
    fn finish<'a>(
        &'a mut self,
        target: Target,
        body: impl FnOnce(&'a [u8]) -> &'a [u8],
    ) -> Step<'a> {
        match target {
            Target::Health => self.answer(Status::Healthy),
            Target::Unknown => self.answer(Status::NotFound),
            Target::Hook { event } => {
                self.answer(Status::Ok);
                Step::Hook(Hook {
                    event,
                    body: body(&self.inbox),
                })
            }
        }
    }

    fn answer(&mut self, status: Status) -> Step<'_> {
        self.state = State::WritingResponse {
            response: http::response(status),
            sent: 0,
        };
        Step::Write
    }
}
