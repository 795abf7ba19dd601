//! The states of a connection.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;
use std::fmt;
use std::rc::Rc;

use super::chunked::Chunked;
use super::response::AfterResponse;
use super::route::Route;

/// The state of a connection. The table in [`connection`](super::connection) has the transitions.
#[derive(Debug)]
pub(super) enum State {
    ReadingHead,
    ReadingBody {
        route: Route,
        after: AfterResponse,
        body: Body,
        /// The rest of `100 Continue` that is not written yet.
        interim: &'static [u8],
    },
    /// The loop decides whether the client may read events, or list the sessions.
    Authorizing {
        after: AfterResponse,
    },
    /// The request body is the first `body_length` bytes of the inbox.
    WritingResponse {
        response: Cow<'static, [u8]>,
        /// What follows it. Other clients may be reading it too.
        list: Option<Rc<str>>,
        written: usize,
        after: AfterResponse,
        body_length: usize,
    },
}

/// For the trace: the name of the state, and the status of a response.
impl fmt::Display for State {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            State::ReadingHead => formatter.write_str("ReadingHead"),
            State::ReadingBody { .. } => formatter.write_str("ReadingBody"),
            State::Authorizing { .. } => formatter.write_str("Authorizing"),
            State::WritingResponse { response, .. } => {
                let line = response.split(|byte| *byte == b'\r').next();
                let line = str::from_utf8(line.unwrap_or_default()).unwrap_or_default();
                let status = line.trim_start_matches("HTTP/1.1 ");
                write!(formatter, "WritingResponse ({status})")
            }
        }
    }
}

/// A request's body that is being read: its length, or the decoder.
#[derive(Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked(Chunked),
}
