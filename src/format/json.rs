//! The two JSON formats. Every byte they write is printable ASCII or a line's end.

use super::PRETTY_DEPTH;
use super::text::{Token, string_length, tokens};
use crate::event::Event;

/// One line: `{"key":value,…}`.
pub fn compact(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    let mut separator = b'{';
    for field in event.fields() {
        out.push(separator);
        out.extend(field.key.as_bytes());
        out.push(b':');
        compact_value(&field.value, out);
        separator = b',';
    }
    out.extend(b"}\n");
    escape(start, out);
}

/// Copies everything but white space between tokens, of which clients send
/// little: in runs that are as long as can be.
fn compact_value(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    // A string, a number or a word is one token.
    if text.starts_with(['{', '[']) {
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at += string_length(&bytes[at..]) + 1,
                b' ' | b'\t' | b'\n' | b'\r' => {
                    out.extend(&bytes[copied..at - 1]);
                    copied = at;
                }
                _ => {}
            }
        }
    }
    out.extend(&bytes[copied..]);
}

/// Many lines, each level indented by two spaces, down to [`PRETTY_DEPTH`].
pub fn pretty(event: &Event, out: &mut Vec<u8>) {
    let start = out.len();
    let mut separator = b'{';
    for field in event.fields() {
        out.push(separator);
        new_line(1, out);
        out.extend(field.key.as_bytes());
        out.extend(b": ");
        pretty_value(&field.value, out);
        separator = b',';
    }
    out.extend(b"\n}\n");
    escape(start, out);
}

/// A value of the event's own object, which is the first level.
fn pretty_value(text: &str, out: &mut Vec<u8>) {
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
            out.extend(spelled.as_bytes());
            out.push(b'"');
        }
    }
}

/// Writes what stands in `out` from `start` on as printable ASCII. What is not
/// that can only stand in a string, where it may be escaped; so this need not
/// know where strings begin and end.
fn escape(start: usize, out: &mut Vec<u8>) {
    if is_plain(&out[start..]) {
        return;
    }
    let odd = out.split_off(start);
    for chunk in odd.utf8_chunks() {
        write_ascii(chunk.valid(), out);
    }
}

/// A text as it is, but every character outside printable ASCII as its
/// escapes in UTF-16 (RFC 8259 section 7).
fn write_ascii(text: &str, out: &mut Vec<u8>) {
    let mut rest = text;
    loop {
        let (plain, odd) = rest.split_at(plain_length(rest.as_bytes()));
        out.extend(plain.as_bytes());
        let mut chars = odd.chars();
        let Some(char) = chars.next() else { return };
        for unit in char.encode_utf16(&mut [0; 2]) {
            write_escape(*unit, out);
        }
        rest = chars.as_str();
    }
}

/// Whether it is printable ASCII and line ends. Without an early exit, the loop
/// becomes a few vector instructions.
fn is_plain(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .fold(true, |plain, byte| plain & is_plain_byte(byte))
}

fn is_plain_byte(byte: &u8) -> bool {
    matches!(byte, b' '..=b'~' | b'\n')
}

/// How many plain bytes there are at the start. In text that is not English the
/// next other one is near; where it is not, whole blocks are looked at.
fn plain_length(bytes: &[u8]) -> usize {
    const NEAR: usize = 16;
    const BLOCK: usize = 64;
    let odd = |bytes: &[u8]| bytes.iter().position(|byte| !is_plain_byte(byte));
    if let Some(length) = odd(&bytes[..bytes.len().min(NEAR)]) {
        return length;
    }
    let blocks = bytes
        .chunks_exact(BLOCK)
        .take_while(|block| is_plain(block));
    let plain = BLOCK * blocks.count();
    plain + odd(&bytes[plain..]).unwrap_or(bytes.len() - plain)
}

fn write_escape(unit: u16, out: &mut Vec<u8>) {
    let digit = |shift: u16| b"0123456789abcdef"[usize::from(unit >> shift & 15)];
    out.extend([b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]);
}
