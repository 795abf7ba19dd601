//! One client's way through the server, as a state machine that does no I/O.
//!
//! It is told what arrived and says what to do next; the loop in
//! [`crate::server`] alone reads and writes. So a request can be fed to it in
//! any pieces, by a test or a fuzzer, with no socket.
//!
//! ```text
//!            head whole              body whole                all written
//! ReadingHead ────────→ ReadingBody ────────→ WritingResponse ────────→ Close
//!    ↑  │                 │                       ↑        │
//!    │  └──── refused ────┴───── cut short ───────┘        ├─ refused → Linger
//!    └───────────────────── kept open ─────────────────────┘
//! ```
//!
//! A request that comes whole is handed out where it lies, in the caller's
//! buffer. Only a piece of one is copied, into the connection's own inbox.
//! While a response is not out, nothing further is read: a client that
//! pipelines and never reads has its own socket's buffer to fill, and no more.
//!
//! Stop 5 of EDU_NOTES.md.

use std::fmt;

use log::trace;

use crate::chunked::Chunked;
use crate::http::{self, Framing, Head, Status, Target};
use crate::tokens::Name;

/// A client, as far as its bytes go.
#[derive(Debug)]
pub struct Connection {
    /// For the trace.
    name: Name,
    state: State,
    /// What has arrived and is not dealt with: a piece of a head; a body as far
    /// as it is decoded; after a whole request, what the client sent next.
    inbox: Vec<u8>,
    /// Whether the inbox holds bytes that nobody has looked at yet.
    has_unread: bool,
    /// Bytes of body that are kept at most.
    max_body: u64,
    /// Whether the connection may stay open after a response.
    may_stay_open: bool,
    /// Whether it has, so that a request which never comes is no fault.
    was_kept: bool,
}

#[derive(Debug)]
enum State {
    ReadingHead,
    ReadingBody {
        target: Target,
        keeps_alive: bool,
        body: Body,
        interim: &'static [u8],
    },
    /// `used` bytes of the inbox are the body that the response answers.
    WritingResponse {
        response: &'static [u8],
        sent: usize,
        then: Then,
        used: usize,
    },
}

/// In a trace: the name, and of a response the status.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            State::ReadingHead => formatter.write_str("ReadingHead"),
            State::ReadingBody { .. } => formatter.write_str("ReadingBody"),
            State::WritingResponse { response, .. } => {
                let line = response.split(|byte| *byte == b'\r').next();
                let line = str::from_utf8(line.unwrap_or_default()).unwrap_or_default();
                let status = line.trim_start_matches("HTTP/1.1 ");
                write!(formatter, "WritingResponse ({status})")
            }
        }
    }
}

#[derive(Debug)]
enum Body {
    Length(u64),
    Chunked(Chunked),
}

/// What comes after a response.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    StayOpen,
    Close,
    Linger,
}

/// What the loop does next for a connection.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// Read more, then call [`Connection::received`], or
    /// [`Connection::end_of_input`] where there is no more.
    Read,
    /// Call [`Connection::received`] with nothing: the next request has already
    /// arrived, at least in part.
    Resume,
    /// Publish this event, then do as for [`Step::Write`]: the response is ready.
    Hook(Hook<'a>),
    /// Write [`Connection::unsent`], then call [`Connection::written`].
    Write,
    /// The connection is over.
    Close,
    /// The connection is over, but the client may still be sending, and must
    /// be able to read why it was refused: stop writing, read to the end for a while.
    Linger,
}

/// A hook that arrived whole.
#[derive(Debug, PartialEq)]
pub struct Hook<'a> {
    pub event: String,
    pub body: &'a [u8],
}

impl Connection {
    /// A connection on which nothing has happened, called `name` in a trace. Bodies of
    /// more than `max_body` bytes are refused.
    pub fn new(name: Name, max_body: u64) -> Self {
        Connection {
            name,
            state: State::ReadingHead,
            inbox: Vec::new(),
            has_unread: false,
            max_body,
            may_stay_open: true,
            was_kept: false,
        }
    }

    /// What it is called in a trace.
    pub fn name(&self) -> Name {
        self.name
    }

    /// Takes bytes as they arrived.
    pub fn received<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        self.has_unread = false;
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => self.read_new_head(bytes),
            State::ReadingHead => self.read_more_head(bytes),
            State::ReadingBody { .. } => self.read_body(bytes),
            State::WritingResponse { .. } => {
                self.inbox.extend(bytes);
                Step::Write
            }
        }
    }

    /// Takes note that nothing more will arrive. The client may still read.
    pub fn end_of_input(&mut self) -> Step<'_> {
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => Step::Close,
            State::WritingResponse { .. } => Step::Write,
            _ => self.refuse(Status::BadRequest),
        }
    }

    /// Takes note that the time for a request is over.
    pub fn time_out(&mut self) -> Step<'_> {
        match self.state {
            State::WritingResponse { .. } => Step::Close,
            _ if self.is_idle() => Step::Close,
            _ => self.refuse(Status::TimedOut),
        }
    }

    /// Whether the connection was kept open and no further request has begun.
    pub fn is_idle(&self) -> bool {
        self.was_kept && self.inbox.is_empty() && matches!(self.state, State::ReadingHead)
    }

    /// Whether the next request has arrived, at least in part, so that
    /// [`Connection::received`] is to be called with nothing.
    pub fn has_unread(&self) -> bool {
        self.has_unread
    }

    /// Lets the request that is under way be the last one.
    pub fn let_end(&mut self) {
        self.may_stay_open = false;
    }

    /// What is to be written: a response, or an interim one.
    pub fn unsent(&self) -> &'static [u8] {
        match self.state {
            State::WritingResponse { response, sent, .. } => &response[sent..],
            State::ReadingBody { interim, .. } => interim,
            State::ReadingHead => &[],
        }
    }

    /// Takes note that the first `count` bytes of [`Connection::unsent`] are out.
    pub fn written(&mut self, count: usize) -> Step<'static> {
        match &mut self.state {
            State::ReadingHead => Step::Read,
            State::ReadingBody { interim, .. } => {
                *interim = &interim[count..];
                if interim.is_empty() {
                    Step::Read
                } else {
                    Step::Write
                }
            }
            State::WritingResponse {
                response,
                sent,
                then,
                used,
            } => {
                *sent += count;
                match then {
                    _ if *sent < response.len() => Step::Write,
                    Then::Close => Step::Close,
                    Then::Linger => Step::Linger,
                    Then::StayOpen => {
                        self.inbox.drain(..*used);
                        self.inbox.shrink_to(0);
                        self.enter(State::ReadingHead);
                        self.was_kept = true;
                        self.has_unread = !self.inbox.is_empty();
                        if self.has_unread {
                            Step::Resume
                        } else {
                            Step::Read
                        }
                    }
                }
            }
        }
    }

    /// Reads a request's first bytes.
    fn read_new_head<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        let bytes = without_empty_lines(bytes);
        match http::head(bytes) {
            Err(status) => self.refuse(status),
            Ok(None) => self.keep_piece_of_head(bytes),
            Ok(Some((head_length, head))) => {
                let after = &bytes[head_length..];
                match head.framing {
                    Framing::Length(length) if length <= self.max_body.min(after.len() as u64) => {
                        let (body, next) = after.split_at(length as usize);
                        self.inbox.extend(next);
                        self.answer(head.target, head.keeps_alive, 0, Some(body))
                    }
                    _ => self.begin_body(head, after),
                }
            }
        }
    }

    /// Reads on in a head of which a piece has arrived before. Without a line's
    /// end among the new bytes there is nothing new to be found out, and a head
    /// that comes in single bytes is not read again at each of them.
    fn read_more_head(&mut self, bytes: &[u8]) -> Step<'_> {
        let resumed = bytes.is_empty();
        if !resumed && !bytes.contains(&b'\n') {
            return self.keep_piece_of_head(bytes);
        }
        self.inbox.extend(bytes);
        let empty = self.inbox.len() - without_empty_lines(&self.inbox).len();
        self.inbox.drain(..empty);
        match http::head(&self.inbox) {
            Err(status) => self.refuse(status),
            Ok(None) => self.keep_piece_of_head(&[]),
            Ok(Some((head_length, head))) => {
                let after = self.inbox.split_off(head_length);
                self.inbox.clear();
                self.begin_body(head, &after)
            }
        }
    }

    fn keep_piece_of_head(&mut self, bytes: &[u8]) -> Step<'_> {
        self.inbox.extend(bytes);
        if self.inbox.len() > http::MAX_HEAD {
            self.refuse(Status::HeadTooLarge)
        } else if self.inbox.len() > http::MAX_TARGET && !self.inbox.contains(&b'\n') {
            self.refuse(Status::TargetTooLong)
        } else {
            Step::Read
        }
    }

    fn begin_body<'a>(&'a mut self, head: Head, bytes: &[u8]) -> Step<'a> {
        let body = match head.framing {
            Framing::Length(length) if length > self.max_body => {
                return self.refuse(Status::TooLarge);
            }
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::default()),
        };
        let interim = if head.expects_continue {
            http::CONTINUE
        } else {
            &[]
        };
        let Head {
            target,
            keeps_alive,
            ..
        } = head;
        self.enter(State::ReadingBody {
            target,
            keeps_alive,
            body,
            interim,
        });
        self.read_body(bytes)
    }

    fn read_body(&mut self, bytes: &[u8]) -> Step<'_> {
        let State::ReadingBody {
            target,
            keeps_alive,
            body,
            interim,
        } = &mut self.state
        else {
            return Step::Read;
        };
        let used = match body {
            Body::Length(length) => {
                self.inbox.extend(bytes);
                *length as usize
            }
            Body::Chunked(chunked) => match chunked.decode(bytes, &mut self.inbox, self.max_body) {
                Err(status) => return self.refuse(status),
                Ok(_) if !chunked.is_done() => usize::MAX,
                Ok(count) => {
                    let used = self.inbox.len();
                    self.inbox.extend(&bytes[count..]);
                    used
                }
            },
        };
        if self.inbox.len() < used {
            return if interim.is_empty() {
                Step::Read
            } else {
                Step::Write
            };
        }
        let (target, keeps_alive) = (std::mem::replace(target, Target::Unknown), *keeps_alive);
        self.answer(target, keeps_alive, used, None)
    }

    /// The request is whole. Its body is `body`, or else the first `used` bytes of the inbox.
    fn answer<'a>(
        &'a mut self,
        target: Target,
        keeps_alive: bool,
        used: usize,
        body: Option<&'a [u8]>,
    ) -> Step<'a> {
        let status = match target {
            Target::Hook { .. } => Status::Ok,
            Target::Health => Status::Healthy,
            Target::Unknown => Status::NotFound,
        };
        let stays_open = keeps_alive && self.may_stay_open;
        let then = if stays_open {
            Then::StayOpen
        } else {
            Then::Close
        };
        let response = http::response(status, stays_open);
        self.enter(State::WritingResponse {
            response,
            sent: 0,
            then,
            used,
        });
        match target {
            Target::Hook { event } => Step::Hook(Hook {
                event,
                body: body.unwrap_or(&self.inbox[..used]),
            }),
            Target::Health | Target::Unknown => Step::Write,
        }
    }

    /// The body of the hook that was handed out last, to be kept beyond this
    /// call. Empty where that lay in the caller's buffer.
    pub fn take_body(&mut self) -> Vec<u8> {
        let State::WritingResponse { used, .. } = &mut self.state else {
            return Vec::new();
        };
        let next = self.inbox.split_off(std::mem::take(used));
        std::mem::replace(&mut self.inbox, next)
    }

    fn refuse(&mut self, status: Status) -> Step<'_> {
        let response = http::response(status, false);
        self.inbox = Vec::new();
        self.enter(State::WritingResponse {
            response,
            sent: 0,
            then: Then::Linger,
            used: 0,
        });
        Step::Write
    }

    fn enter(&mut self, state: State) {
        trace!("{}: {} → {state}", self.name, self.state);
        self.state = state;
    }
}

/// Empty lines before a request are passed over (RFC 9112 section 2.2).
fn without_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or(bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}
