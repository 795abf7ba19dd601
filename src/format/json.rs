//! The two JSON formats. Every byte they write is printable ASCII or a line's end.

use super::PRETTY_DEPTH;
use super::text::{Token, tokens};
use crate::event::Event;

/// One line: `{"key":value,…}`.
pub fn compact(event: &Event, out: &mut Vec<u8>) {
    let mut separator = b'{';
    for field in event.fields() {
        out.push(separator);
        for token in tokens(&field.key)
            .chain([Token::Colon])
            .chain(tokens(&field.value))
        {
            write_token(token, out);
        }
        separator = b',';
    }
    out.extend(b"}\n");
}

/// Many lines, each level indented by two spaces, down to [`PRETTY_DEPTH`].
pub fn pretty(event: &Event, out: &mut Vec<u8>) {
    let mut separator = b'{';
    for field in event.fields() {
        out.push(separator);
        new_line(1, out);
        pretty_text(&field.key, out);
        out.extend(b": ");
        pretty_text(&field.value, out);
        separator = b',';
    }
    out.extend(b"\n}\n");
}

/// A value of the event's own object, which is the first level.
fn pretty_text(text: &str, out: &mut Vec<u8>) {
    let mut depth = 1;
    let mut tokens = tokens(text);
    while let Some(token) = tokens.next() {
        let empty = matches!(
            (token, tokens.peek()),
            (Token::Open(_), Some(Token::Close(_)))
        );
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => {
                depth -= 1;
                if depth < PRETTY_DEPTH {
                    new_line(depth, out);
                }
            }
            _ => {}
        }
        write_token(token, out);
        match token {
            Token::Open(_) if empty => {
                tokens.next().inspect(|close| write_token(*close, out));
                depth -= 1;
            }
            Token::Open(_) | Token::Comma if depth <= PRETTY_DEPTH => new_line(depth, out),
            Token::Colon if depth <= PRETTY_DEPTH => out.push(b' '),
            _ => {}
        }
    }
}

fn new_line(depth: usize, out: &mut Vec<u8>) {
    out.push(b'\n');
    out.extend(std::iter::repeat_n(b' ', 2 * depth));
}

fn write_token(token: Token, out: &mut Vec<u8>) {
    match token {
        Token::Open(byte) | Token::Close(byte) => out.push(byte),
        Token::Comma => out.push(b','),
        Token::Colon => out.push(b':'),
        Token::Literal(text) => out.extend(text.as_bytes()),
        Token::String(spelled) => {
            out.push(b'"');
            write_ascii(spelled, out);
            out.push(b'"');
        }
    }
}

/// A string as spelled, but every character outside printable ASCII as its
/// escapes in UTF-16 (RFC 8259 section 7).
fn write_ascii(spelled: &str, out: &mut Vec<u8>) {
    let mut rest = spelled;
    loop {
        let (plain, odd) = rest.split_at(ascii_length(rest.as_bytes()));
        out.extend(plain.as_bytes());
        let mut chars = odd.chars();
        let Some(char) = chars.next() else { return };
        for unit in char.encode_utf16(&mut [0; 2]) {
            write_escape(*unit, out);
        }
        rest = chars.as_str();
    }
}

/// How many bytes of printable ASCII `bytes` begins with. In text that is not
/// English the next other character is near; where it is not, whole blocks are
/// looked at: without an early exit, a block is a few vector instructions.
fn ascii_length(bytes: &[u8]) -> usize {
    const NEAR: usize = 16;
    const BLOCK: usize = 64;
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~');
    if let Some(length) = bytes.iter().take(NEAR).position(|byte| !is_plain(byte)) {
        return length;
    }
    let is_plain_block = |block: &&[u8]| {
        block
            .iter()
            .fold(true, |plain, byte| plain & is_plain(byte))
    };
    let blocks = bytes.chunks_exact(BLOCK).take_while(is_plain_block).count();
    let rest = &bytes[blocks * BLOCK..];
    blocks * BLOCK
        + rest
            .iter()
            .position(|byte| !is_plain(byte))
            .unwrap_or(rest.len())
}

fn write_escape(unit: u16, out: &mut Vec<u8>) {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 15)];
    out.extend([b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
