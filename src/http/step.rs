//! What a [`Connection`](super::connection::Connection) returns to the loop.
//!
//! Stop 6 of EDU_NOTES.md.

use super::route::Replay;

/// What the loop does next for a connection.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// Read. Pass the bytes to `Connection::received`, or call
    /// `Connection::end_of_input` if there are no more.
    Read,
    /// Call `Connection::received` without bytes: at least a part of the next request
    /// has arrived already.
    Resume,
    /// Publish this event, then do as for [`Step::Write`]: the response is ready.
    Hook(Hook<'a>),
    /// The client wants to become a reader of live events, and to get past ones first. Make it a
    /// reader that gets `events_head` before all events, or call `Connection::decline`.
    Subscribe { replay: Replay },
    /// The client wants a list of the sessions. Call `Connection::answer_json` or
    /// `Connection::decline`.
    ListSessions,
    /// Write `Connection::unsent`, then call `Connection::written`.
    Write,
    /// The connection is over.
    Close,
    /// The connection is over, but the client may still be sending, and must be able to
    /// read why it was refused: shut down writing, and discard input until its end, or until
    /// the linger timeout.
    Linger,
}

/// How much of a request's body has arrived, if not all of it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartialBody {
    /// Bytes in memory.
    pub arrived: usize,
    /// The Content-Length. `None`: the body is chunked.
    pub announced: Option<u64>,
}

/// A complete hook request.
#[derive(Debug, PartialEq)]
pub struct Hook<'a> {
    pub event_name: String,
    pub body: &'a [u8],
}
