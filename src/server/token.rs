//! Tokens: which descriptor a report of the poll is about.
//!
//! The poll reports a descriptor by the number with which it was registered, and knows nothing
//! else about it. So the number must say which descriptor it is. For a client, a reader or a
//! session it includes the key, which is the index in the slab that holds it.
//!
//! Stop 3 of EDU_NOTES.md.

use std::fmt;
use std::io;

use mio::event::Source;
use mio::{Interest, Registry};

/// A descriptor that is registered with the poll.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token {
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

/// The numbers of clients, readers and sessions start here, one after the other.
const FIRST_KEYED: usize = 6;

impl From<Token> for mio::Token {
    fn from(token: Token) -> Self {
        mio::Token(match token {
            Token::HookListener => 0,
            Token::OutputListener => 1,
            Token::Signals => 2,
            Token::Stdout => 3,
            Token::Worker => 4,
            Token::SocketFiles => 5,
            Token::Client(key) => FIRST_KEYED + 3 * key,
            Token::Reader(key) => FIRST_KEYED + 3 * key + 1,
            Token::Session(key) => FIRST_KEYED + 3 * key + 2,
        })
    }
}

impl From<mio::Token> for Token {
    fn from(mio::Token(number): mio::Token) -> Self {
        match number {
            0 => Token::HookListener,
            1 => Token::OutputListener,
            2 => Token::Signals,
            3 => Token::Stdout,
            4 => Token::Worker,
            5 => Token::SocketFiles,
            _ => {
                let key = (number - FIRST_KEYED) / 3;
                match (number - FIRST_KEYED) % 3 {
                    0 => Token::Client(key),
                    1 => Token::Reader(key),
                    _ => Token::Session(key),
                }
            }
        }
    }
}

/// For the trace.
impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Token::HookListener => formatter.write_str("hook listener"),
            Token::OutputListener => formatter.write_str("output listener"),
            Token::Signals => formatter.write_str("signals"),
            Token::Stdout => formatter.write_str("stdout"),
            Token::Worker => formatter.write_str("worker"),
            Token::SocketFiles => formatter.write_str("socket files"),
            Token::Session(key) => write!(formatter, "session {key}"),
            Token::Client(key) => write!(formatter, "client {key}"),
            Token::Reader(key) => write!(formatter, "reader {key}"),
        }
    }
}

/// Registers a descriptor with the poll, for reading.
pub fn register(registry: &Registry, source: &mut dyn Source, token: Token) -> Result<(), String> {
    let result = registry.register(source, token.into(), Interest::READABLE);
    result.map_err(|error| format!("cannot register {token} with the poll: {error}"))
}

/// Adds to an error what the program cannot do because of it.
pub fn context(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("cannot {what}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_converts_to_a_number_and_back() {
        let fixed = [
            Token::HookListener,
            Token::OutputListener,
            Token::Signals,
            Token::Stdout,
            Token::Worker,
            Token::SocketFiles,
        ];
        let keyed = |key| [Token::Client(key), Token::Reader(key), Token::Session(key)];
        for token in fixed.into_iter().chain((0..3).flat_map(keyed)) {
            assert_eq!(Token::from(mio::Token::from(token)), token);
        }
    }
}
