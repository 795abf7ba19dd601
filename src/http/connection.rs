//! One client's connection, as a state machine that does no I/O (sans-I/O).
//!
//! It takes the bytes that arrived and returns the next step. Only the loop in
//! [`crate::server`] reads and writes. So a test or a fuzzer can feed it a request in any
//! pieces, without a socket.
//!
//! ```text
//!           head complete           body complete             all written
//! ReadingHead ────────→ ReadingBody ────────→ WritingResponse ────────→ Close
//!   ↑ │  │                  │                   ↑  ↑       │
//!   │ │  └───── refused ────┴─ or cut short ────┘  │       ├─ refused → Linger
//!   │ └─────────── whole request at once ──────────┘       │
//!   └───────────────────── keep-alive ─────────────────────┘
//! ```
//!
//! | state | on | next state | step |
//! | --- | --- | --- | --- |
//! | `ReadingHead` | `received`, head not complete | `ReadingHead` | `Read` |
//! | `ReadingHead` | `received`, head refused | `WritingResponse` (414, 501) | `Write` |
//! | `ReadingHead` | `received`, head complete, body not | `ReadingBody` | `Read`, or `Write` (`100 Continue`) |
//! | `ReadingBody` | `received`, body not complete | `ReadingBody` | `Read` |
//! | `ReadingBody` | `written`, `100 Continue` or a part of it | `ReadingBody` | `Read` or `Write` |
//! | `ReadingHead`, `ReadingBody` | `received`, request refused | `WritingResponse` (400, 413, 431) | `Write` |
//! | `ReadingHead`, `ReadingBody` | `received`, hook complete | `WritingResponse` (200) | `Hook` |
//! | `ReadingHead`, `ReadingBody` | `received`, request for events complete | `Authorizing` | `Subscribe` |
//! | `ReadingHead`, `ReadingBody` | `received`, request for sessions complete | `Authorizing` | `ListSessions` |
//! | `ReadingHead`, `ReadingBody` | `received`, request for `/health` or an unknown one complete | `WritingResponse` (200, 400, 404) | `Write` |
//! | `ReadingHead`, `ReadingBody` | `end_of_input`, part of a request received | `WritingResponse` (400) | `Write` |
//! | `ReadingHead`, `ReadingBody` | `time_out` | `WritingResponse` (408) | `Write` |
//! | `ReadingHead` | `end_of_input`, nothing received | | `Close` |
//! | `ReadingHead` | `time_out`, connection reused and idle | | `Close` |
//! | `Authorizing` | the loop takes the socket | | |
//! | `Authorizing` | `answer_json` | `WritingResponse` (200) | |
//! | `Authorizing` | `decline` | `WritingResponse` (403, 503) | |
//! | `WritingResponse` | `written`, part | `WritingResponse` | `Write` |
//! | `WritingResponse` | `written`, all, keep-alive | `ReadingHead` | `Read` or `Resume` |
//! | `WritingResponse` | `written`, all, no keep-alive | | `Close` |
//! | `WritingResponse` | `written`, all, request refused | | `Linger` |
//! | `WritingResponse` | `time_out` | | `Close` |
//!
//! A test makes all these calls, and finds these rows and no others.
//!
//! If a request with a Content-Length arrives in one piece, its body is not copied:
//! [`Hook::body`] is a part of the caller's buffer. Any other body is copied into the connection's
//! inbox, and passes through `ReadingBody` even if it is complete.
//!
//! While a response is not written, nothing more is read. So a client that pipelines requests and
//! never reads fills its own socket buffer, and the inbox holds no more of them than one read
//! returned.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;
use std::rc::Rc;

use log::trace;

use super::chunked::Chunked;
use super::request::{Framing, Head, MAX_HEAD, MAX_LINE, parse_head};
use super::response::{AfterResponse, CONTINUE, Status, json_head, response};
use super::route::Route;
use super::state::{Body, State};
pub use super::step::{Hook, PartialBody, Step};

/// The state of one client's connection.
#[derive(Debug)]
pub struct Connection {
    /// The client's number in the trace.
    key: usize,
    state: State,
    /// Received bytes that are still needed: part of a head; the body, decoded so far; or
    /// after a complete request, what the client sent next.
    inbox: Vec<u8>,
    /// Whether at least a part of the next request has arrived, so that
    /// [`Connection::received`] is to be called without bytes.
    pub has_unparsed: bool,
    max_body: u64,
    /// Whether the connection may stay open after a response.
    pub allows_keep_alive: bool,
    /// Whether it has stayed open after a response. Then the end of input before the next
    /// request is no error.
    is_reused: bool,
}

impl Connection {
    /// A new connection. The trace calls it `client {key}`. It refuses bodies of more than
    /// `max_body` bytes.
    pub fn new(key: usize, max_body: u64) -> Self {
        Connection {
            key,
            state: State::ReadingHead,
            inbox: Vec::new(),
            has_unparsed: false,
            max_body,
            allows_keep_alive: true,
            is_reused: false,
        }
    }

    /// Takes bytes as they arrived. Without bytes it parses what is in the inbox.
    pub fn received<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        self.has_unparsed = false;
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => self.read_new_head(bytes),
            State::ReadingHead => self.read_more_head(bytes),
            State::ReadingBody { .. } => self.read_body(bytes),
            State::WritingResponse { .. } | State::Authorizing { .. } => {
                self.inbox.extend(bytes);
                Step::Write
            }
        }
    }

    /// Nothing more will arrive. The client may still read.
    pub fn end_of_input(&mut self) -> Step<'_> {
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => Step::Close,
            State::WritingResponse { .. } | State::Authorizing { .. } => Step::Write,
            State::ReadingHead | State::ReadingBody { .. } => self.refuse(Status::BadRequest),
        }
    }

    /// The time for a request, or for writing its response, is over.
    pub fn time_out(&mut self) -> Step<'_> {
        match self.state {
            State::WritingResponse { .. } => Step::Close,
            _ if self.is_idle() => Step::Close,
            _ => self.refuse(Status::RequestTimeout),
        }
    }

    /// Whether the connection was kept open and no further request has begun.
    pub fn is_idle(&self) -> bool {
        self.is_reused && self.inbox.is_empty() && matches!(self.state, State::ReadingHead)
    }

    /// The body that is being read, if there is one.
    pub fn partial_body(&self) -> Option<PartialBody> {
        let State::ReadingBody { body, .. } = &self.state else {
            return None;
        };
        Some(PartialBody {
            arrived: self.inbox.len(),
            announced: match body {
                Body::Length(length) => Some(*length),
                Body::Chunked(_) => None,
            },
        })
    }

    /// The bytes to write: a response, or an interim response.
    pub fn unsent(&self) -> &[u8] {
        match &self.state {
            State::WritingResponse {
                response,
                list,
                written,
                ..
            } => match response.get(*written..) {
                Some(unsent @ [_, ..]) => unsent,
                _ => {
                    let list = list.as_deref().unwrap_or_default();
                    &list.as_bytes()[*written - response.len()..]
                }
            },
            State::ReadingBody { interim, .. } => interim,
            State::ReadingHead | State::Authorizing { .. } => &[],
        }
    }

    /// The first `count` bytes of [`Connection::unsent`] were written.
    pub fn written(&mut self, count: usize) -> Step<'static> {
        match &mut self.state {
            State::ReadingHead | State::Authorizing { .. } => Step::Read,
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
                list,
                written,
                after,
                body_length,
            } => {
                *written += count;
                let length = response.len() + list.as_ref().map_or(0, |list| list.len());
                match after {
                    _ if *written < length => Step::Write,
                    AfterResponse::Close => Step::Close,
                    AfterResponse::Linger => Step::Linger,
                    AfterResponse::KeepAlive => {
                        let body_length = *body_length;
                        self.begin_next_request(body_length)
                    }
                }
            }
        }
    }

    /// Returns to the first state, and keeps the bytes after the request's body.
    fn begin_next_request(&mut self, body_length: usize) -> Step<'static> {
        self.inbox.drain(..body_length);
        self.inbox.shrink_to(0);
        self.enter(State::ReadingHead);
        self.is_reused = true;
        self.has_unparsed = !self.inbox.is_empty();
        if self.has_unparsed {
            Step::Resume
        } else {
            Step::Read
        }
    }

    /// Parses the first bytes of a request.
    fn read_new_head<'a>(&'a mut self, bytes: &'a [u8]) -> Step<'a> {
        let bytes = skip_empty_lines(bytes);
        match parse_head(bytes) {
            Err(status) => self.refuse(status),
            Ok(None) => self.keep_partial_head(bytes),
            Ok(Some((head_length, head))) => {
                let rest = &bytes[head_length..];
                match head.framing {
                    Framing::Length(length) if length <= self.max_body.min(rest.len() as u64) => {
                        let (body, next) = rest.split_at(length as usize);
                        self.inbox.extend(next);
                        self.respond(head.route, head.after, 0, Some(body))
                    }
                    _ => self.begin_body(head, rest),
                }
            }
        }
    }

    /// Parses a head of which a part has arrived before. New bytes without the end of a
    /// line cannot complete it, so a head that arrives byte by byte is not parsed again at
    /// each byte.
    fn read_more_head(&mut self, bytes: &[u8]) -> Step<'_> {
        let is_resumed = bytes.is_empty();
        if !is_resumed && !bytes.contains(&b'\n') {
            return self.keep_partial_head(bytes);
        }
        self.inbox.extend(bytes);
        let empty_lines = self.inbox.len() - skip_empty_lines(&self.inbox).len();
        self.inbox.drain(..empty_lines);
        match parse_head(&self.inbox) {
            Err(status) => self.refuse(status),
            Ok(None) => self.keep_partial_head(&[]),
            Ok(Some((head_length, head))) => {
                let rest = self.inbox.split_off(head_length);
                self.inbox.clear();
                self.begin_body(head, &rest)
            }
        }
    }

    fn keep_partial_head(&mut self, bytes: &[u8]) -> Step<'_> {
        self.inbox.extend(bytes);
        if self.inbox.len() > MAX_HEAD {
            self.refuse(Status::HeaderTooLarge)
        } else if self.inbox.len() > MAX_LINE && !self.inbox.contains(&b'\n') {
            self.refuse(Status::UriTooLong)
        } else {
            Step::Read
        }
    }

    fn begin_body<'a>(&'a mut self, head: Head, bytes: &[u8]) -> Step<'a> {
        let body = match head.framing {
            Framing::Length(length) if length > self.max_body => {
                return self.refuse(Status::ContentTooLarge);
            }
            Framing::Length(length) => Body::Length(length),
            Framing::Chunked => Body::Chunked(Chunked::default()),
        };
        let interim = if head.expects_continue { CONTINUE } else { &[] };
        self.enter(State::ReadingBody {
            route: head.route,
            after: head.after,
            body,
            interim,
        });
        self.read_body(bytes)
    }

    fn read_body(&mut self, bytes: &[u8]) -> Step<'_> {
        let State::ReadingBody {
            route,
            after,
            body,
            interim,
        } = &mut self.state
        else {
            return Step::Read;
        };
        let body_length = match body {
            Body::Length(length) => {
                // The rest may be short. Then it has room without another copy.
                let rest = (*length as usize).saturating_sub(self.inbox.len());
                self.inbox.reserve(rest.min(2 * bytes.len()));
                self.inbox.extend(bytes);
                *length as usize
            }
            Body::Chunked(chunked) => match chunked.decode(bytes, &mut self.inbox, self.max_body) {
                Err(status) => return self.refuse(status),
                // The length is not known yet: more than what is here.
                Ok(_) if !chunked.is_done() => usize::MAX,
                Ok(count) => {
                    let body_length = self.inbox.len();
                    self.inbox.extend(&bytes[count..]);
                    body_length
                }
            },
        };
        if self.inbox.len() < body_length {
            return if interim.is_empty() {
                Step::Read
            } else {
                Step::Write
            };
        }
        let (route, after) = (std::mem::replace(route, Route::NotFound), *after);
        self.respond(route, after, body_length, None)
    }

    /// The request is complete. Its body is `body`, or else the first `body_length` bytes
    /// of the inbox.
    fn respond<'a>(
        &'a mut self,
        route: Route,
        mut after: AfterResponse,
        mut body_length: usize,
        body: Option<&'a [u8]>,
    ) -> Step<'a> {
        if !self.allows_keep_alive {
            after = AfterResponse::Close;
        }
        if !matches!(route, Route::Hook { .. }) {
            self.inbox.drain(..std::mem::take(&mut body_length));
            self.inbox.shrink_to_fit();
        }
        let status = match route {
            Route::Events { replay } => {
                self.enter(State::Authorizing { after });
                return Step::Subscribe { replay };
            }
            Route::Sessions => {
                self.enter(State::Authorizing { after });
                return Step::ListSessions;
            }
            Route::Hook { .. } => Status::Ok,
            Route::Health => Status::Healthy,
            Route::BadReplay => Status::BadQuery,
            Route::NotFound => Status::NotFound,
        };
        self.answer(response(status, after), after, body_length);
        match route {
            Route::Hook { event_name } => Step::Hook(Hook {
                event_name,
                body: body.unwrap_or(&self.inbox[..body_length]),
            }),
            _ => Step::Write,
        }
    }

    /// The client may not have what it asked for. `status` says why.
    pub fn decline(&mut self, status: Status) {
        if let State::Authorizing { after } = self.state {
            self.answer(response(status, after), after, 0);
        }
    }

    /// Answers a request for sessions with this JSON text. It is not copied.
    pub fn answer_json(&mut self, json: Rc<str>) {
        if let State::Authorizing { after } = self.state {
            self.enter(State::WritingResponse {
                response: json_head(json.len(), after).into(),
                list: Some(json),
                written: 0,
                after,
                body_length: 0,
            });
        }
    }

    /// Begins a response.
    fn answer(&mut self, response: Cow<'static, [u8]>, after: AfterResponse, body_length: usize) {
        self.enter(State::WritingResponse {
            response,
            list: None,
            written: 0,
            after,
            body_length,
        });
    }

    /// Takes the body of the last hook out of the inbox, so that it can be kept. Empty if
    /// the body was in the caller's buffer.
    pub fn take_body(&mut self) -> Vec<u8> {
        let State::WritingResponse { body_length, .. } = &mut self.state else {
            return Vec::new();
        };
        let next = self.inbox.split_off(std::mem::take(body_length));
        std::mem::replace(&mut self.inbox, next)
    }

    fn refuse(&mut self, status: Status) -> Step<'_> {
        self.inbox = Vec::new();
        let after = AfterResponse::Linger;
        self.answer(response(status, after), after, 0);
        Step::Write
    }

    fn enter(&mut self, state: State) {
        trace!("client {}: {} → {state}", self.key, self.state);
        self.state = state;
    }
}

/// Empty lines before a request are skipped (RFC 9112 section 2.2).
fn skip_empty_lines(mut bytes: &[u8]) -> &[u8] {
    while let Some(rest) = bytes.strip_prefix(b"\r\n").or(bytes.strip_prefix(b"\n")) {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests;
