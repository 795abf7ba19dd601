//! Every socket's name: for the poll a number, for a reader of the trace a word.
//!
//! The poll tells of a socket by the [`Token`] that it was registered with, and
//! knows nothing else of it. So the token must say which socket it is, and of
//! clients and readers which one: their place in the slab that holds them.
//!
//! Stop 3 of EDU_NOTES.md.

use std::fmt;

use mio::Token;

/// What a token stands for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Name {
    /// The listener to which hooks are posted.
    Hooks,
    /// The listener of the output socket.
    Readers,
    Signals,
    Stdout,
    Workshop,
    /// The client at this place.
    Client(usize),
    /// The reader at this place.
    Reader(usize),
}

/// The tokens from here on belong to clients (even) and readers (odd) in turn.
const FIRST: usize = 6;

impl Name {
    pub fn token(self) -> Token {
        Token(match self {
            Name::Hooks => 0,
            Name::Readers => 1,
            Name::Signals => 2,
            Name::Stdout => 3,
            Name::Workshop => 4,
            Name::Client(key) => FIRST + 2 * key,
            Name::Reader(key) => FIRST + 2 * key + 1,
        })
    }
}

impl From<Token> for Name {
    fn from(Token(token): Token) -> Self {
        match token {
            0 => Name::Hooks,
            1 => Name::Readers,
            2 => Name::Signals,
            3 => Name::Stdout,
            4 | 5 => Name::Workshop,
            _ if token % 2 == 0 => Name::Client((token - FIRST) / 2),
            _ => Name::Reader((token - FIRST) / 2),
        }
    }
}

/// In a trace: the word, and the token where there may be many.
impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let Token(token) = self.token();
        match self {
            Name::Hooks => formatter.write_str("hooks"),
            Name::Readers => formatter.write_str("readers"),
            Name::Signals => formatter.write_str("signals"),
            Name::Stdout => formatter.write_str("stdout"),
            Name::Workshop => formatter.write_str("workshop"),
            Name::Client(_) => write!(formatter, "client {token}"),
            Name::Reader(_) => write!(formatter, "reader {token}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_back_to_its_name() {
        let fixed = [
            Name::Hooks,
            Name::Readers,
            Name::Signals,
            Name::Stdout,
            Name::Workshop,
        ];
        let many = (0..3).flat_map(|key| [Name::Client(key), Name::Reader(key)]);
        for name in fixed.into_iter().chain(many) {
            assert_eq!(Name::from(name.token()), name);
        }
    }
}
