//! Sources of readiness: which descriptor a poll token stands for.
//!
//! The poll reports a descriptor by the [`Token`] with which it was registered, and knows
//! nothing else about it. So a token must say which descriptor it is. For a client, a reader or
//! a session it includes the key, which is the index in the slab that holds it.
//!
//! Stop 3 of EDU_NOTES.md.

use std::fmt;

use mio::Token;

use super::processes::MAX_SESSIONS;

/// A descriptor that is registered with the poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Source {
    /// The listener of the hook socket.
    HookListener,
    /// The listener of the output socket.
    OutputListener,
    Signals,
    Stdout,
    Worker,
    /// The watch on the socket files.
    SocketFiles,
    /// The process of the session with this key.
    Session(usize),
    /// The client with this key.
    Client(usize),
    /// The reader with this key.
    Reader(usize),
}

/// The tokens of sessions start here. There are at most [`MAX_SESSIONS`].
const FIRST_SESSION_TOKEN: usize = 6;
/// The tokens of clients and readers start here: even ones are clients, odd ones readers.
const FIRST_KEYED_TOKEN: usize = FIRST_SESSION_TOKEN + MAX_SESSIONS;

impl Source {
    pub fn token(self) -> Token {
        Token(match self {
            Source::HookListener => 0,
            Source::OutputListener => 1,
            Source::Signals => 2,
            Source::Stdout => 3,
            Source::Worker => 4,
            Source::SocketFiles => 5,
            Source::Session(key) => FIRST_SESSION_TOKEN + key,
            Source::Client(key) => FIRST_KEYED_TOKEN + 2 * key,
            Source::Reader(key) => FIRST_KEYED_TOKEN + 2 * key + 1,
        })
    }
}

impl From<Token> for Source {
    fn from(Token(token): Token) -> Self {
        match token {
            0 => Source::HookListener,
            1 => Source::OutputListener,
            2 => Source::Signals,
            3 => Source::Stdout,
            4 => Source::Worker,
            5 => Source::SocketFiles,
            FIRST_SESSION_TOKEN..FIRST_KEYED_TOKEN => Source::Session(token - FIRST_SESSION_TOKEN),
            _ if token % 2 == 0 => Source::Client((token - FIRST_KEYED_TOKEN) / 2),
            _ => Source::Reader((token - FIRST_KEYED_TOKEN) / 2),
        }
    }
}

/// For the trace.
impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Source::HookListener => formatter.write_str("hook listener"),
            Source::OutputListener => formatter.write_str("output listener"),
            Source::Signals => formatter.write_str("signals"),
            Source::Stdout => formatter.write_str("stdout"),
            Source::Worker => formatter.write_str("worker"),
            Source::SocketFiles => formatter.write_str("socket files"),
            Source::Session(key) => write!(formatter, "session {key}"),
            Source::Client(key) => write!(formatter, "client {key}"),
            Source::Reader(key) => write!(formatter, "reader {key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_converts_back_to_its_source() {
        let fixed = [
            Source::HookListener,
            Source::OutputListener,
            Source::Signals,
            Source::Stdout,
            Source::Worker,
            Source::SocketFiles,
        ];
        let keyed = (0..3).flat_map(|key| [Source::Client(key), Source::Reader(key)]);
        let sessions = [Source::Session(0), Source::Session(MAX_SESSIONS - 1)];
        for source in fixed.into_iter().chain(keyed).chain(sessions) {
            assert_eq!(Source::from(source.token()), source);
        }
    }
}
