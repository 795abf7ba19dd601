//! An event: the server's metadata, then the client's payload.
//!
//! The payload is never parsed into values and printed again. It is validated, and then
//! copied without its white space. So every digit of a number, every escape and every lone
//! surrogate pass unchanged, and no nesting is too deep: nothing here recurses.
//!
//! The names of the metadata begin with `_` and are reserved: a payload's own members with
//! these names move into `_claimed`. A new name is added to `RESERVED_NAMES` in `payload.rs`, and
//! to `HIDDEN_FIELDS` in `format/summary.rs`.
//!
//! - This file makes events: the metadata, and what [`payload`] makes of the body. Two events are
//!   the server's own: `_dropped` (a sink has missed some; `watch/source/server.rs` makes it too)
//!   and `_gone` (a session's process has ended). `format/line.rs` has their texts. The clock of
//!   `_ts` is here too.
//! - [`compact`] writes JSON as one line of ASCII.
//! - [`json_text`] walks JSON text without parsing it into values. [`object`] looks members up.
//! - [`claude`]: what events of Claude Code mean.
//!
//! This folder knows no HTTP.
//!
//! Stop 8 of EDU_NOTES.md.

pub mod claude;
pub(crate) mod compact;
pub mod json_text;
pub mod object;
mod payload;

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use self::object::Object;
#[cfg(test)]
pub(crate) use self::payload::RESERVED_NAMES;
pub use self::payload::SessionFields;
use crate::peer::Peer;

/// Bytes that the metadata of an event has at most, unless its name is long.
const METADATA_SIZE: usize = 256;

/// The content of one entry of the output: its compact form, from which every other form is
/// made.
#[derive(Debug)]
pub struct Event<'a> {
    /// A JSON object in ASCII without white space between its tokens, and a newline.
    line: String,
    session: SessionFields<'a>,
}

impl<'a> Event<'a> {
    /// The event of one hook. `time` is a [`timestamp`], `name` comes from the target of the
    /// request, and `body` from [`decode_utf8`].
    ///
    /// The names of the server's own events are reserved like those of its members: an event of a
    /// client that has one is `Unknown`, and the name moves into `_claimed`.
    pub fn hook(time: &str, name: &str, peer: &Peer, body: &'a str) -> Self {
        let (name, claimed) = match name {
            "_gone" => ("Unknown", Some(r#""_gone""#)),
            "_dropped" => ("Unknown", Some(r#""_dropped""#)),
            name => (name, None),
        };
        let mut line = begin_line(time, name, body.len());
        let mut digits = itoa::Buffer::new();
        if let Some(pid) = peer.pid {
            line.extend([",\"_peer_pid\":", digits.format(pid)]);
        }
        line.extend([",\"_peer_uid\":", digits.format(peer.uid)]);
        line.extend([",\"_peer_gid\":", digits.format(peer.gid)]);
        let session = payload::write(body, claimed, &mut line);
        line.push_str("}\n");
        Event { line, session }
    }

    /// The notice that a sink missed `count` events.
    pub fn dropped(time: &str, count: u64) -> Self {
        let mut line = begin_line(time, "_dropped", 0);
        line.push_str(&format!(",\"_dropped\":{count}}}\n"));
        Event::without_session(line)
    }

    /// The notice that the process `pid` of a session has ended without a `SessionEnd`.
    /// `session_id` is a JSON string.
    pub fn gone(time: &str, pid: u32, session_id: &str) -> Self {
        let mut line = begin_line(time, "_gone", session_id.len());
        line.push_str(&format!(",\"_gone\":{pid},\"session_id\":"));
        compact::write(session_id, &mut line);
        line.push_str("}\n");
        Event::without_session(line)
    }

    /// The event without what it borrows from the body.
    pub fn detached(self) -> Event<'static> {
        Event::without_session(self.line)
    }

    /// The event of a line of a record, without its newline. `None`: it is not a JSON object.
    pub fn from_line(line: &str) -> Option<Self> {
        Object::validate(line)?;
        let mut copy = String::with_capacity(line.len() + 1);
        compact::write(line, &mut copy);
        copy.push('\n');
        Some(Event::without_session(copy))
    }

    /// What the payload says about its session.
    pub fn session(&self) -> SessionFields<'a> {
        self.session
    }

    fn without_session(line: String) -> Self {
        let session = SessionFields::default();
        Event { line, session }
    }

    /// The compact form: a line.
    pub fn line(&self) -> &str {
        &self.line
    }

    /// The same, without a copy.
    pub fn into_line(self) -> String {
        self.line
    }
}

/// Begins a line with the two members that every event has. `payload_length` is how many bytes come
/// after the metadata.
fn begin_line(time: &str, name: &str, payload_length: usize) -> String {
    let mut line = String::with_capacity(METADATA_SIZE + payload_length);
    line.extend(["{\"_ts\":\"", time, "\",\"_event\":"]);
    compact::write_string(name, &mut line);
    line
}

/// The text of a body. Bytes that are not UTF-8 become U+FFFD.
pub fn decode_utf8(body: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(body) {
        Ok(text) => text.into(),
        // `from_utf8_lossy` alone gives the same result, but is several times slower on ASCII.
        Err(_) => String::from_utf8_lossy(body),
    }
}

/// The same for a body that is not needed any more: valid text is not copied, and an invalid
/// body is freed.
pub fn into_utf8(body: Vec<u8>) -> String {
    String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The time in UTC, to the second: `2026-02-09T10:30:00+00:00`.
pub fn timestamp(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The clock behind `_ts`. It formats the time once a second.
#[derive(Debug, Default)]
pub struct Clock {
    /// The second that `text` shows, since 1970.
    second: u64,
    text: String,
}

impl Clock {
    /// The current [`timestamp`].
    pub fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.text.is_empty() || self.second != second {
            (self.second, self.text) = (second, timestamp(now));
        }
        &self.text
    }
}
