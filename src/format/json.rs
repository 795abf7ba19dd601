//! The two JSON formats. Every byte of them is printable ASCII or a newline.
//!
//! Stop 6 of EDU_NOTES.md.

use super::MAX_PRETTY_DEPTH;
use crate::event::json_text::{Token, string_length, tokens};
use crate::event::{Event, Field};

/// Writes one line: `{"key":value,…}`.
pub fn compact(event: &Event, out: &mut String) {
    let start = out.len();
    let length = |field: &Field| field.key.len() + field.value.len() + 2;
    out.reserve(event.fields().map(length).sum::<usize>() + 2);
    let mut separator = '{';
    for field in event.fields() {
        out.push(separator);
        out.push_str(&field.key);
        out.push(':');
        compact_value(&field.value, out);
        separator = ',';
    }
    out.push_str("}\n");
    escape(start, out);
}

/// Copies everything but the white space between tokens. Clients send little of that, so
/// it copies the longest possible runs.
fn compact_value(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    // Any other value is one token, without white space between.
    if text.starts_with(['{', '[']) {
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at += string_length(&bytes[at..]) + 1,
                b' ' | b'\t' | b'\n' | b'\r' => {
                    out.push_str(&text[copied..at - 1]);
                    copied = at;
                }
                _ => {}
            }
        }
    }
    out.push_str(&text[copied..]);
}

/// Writes many lines. Each level is indented by two spaces, down to [`MAX_PRETTY_DEPTH`].
pub fn pretty(event: &Event, out: &mut String) {
    let start = out.len();
    let mut separator = '{';
    for field in event.fields() {
        out.push(separator);
        new_line(1, out);
        out.push_str(&field.key);
        out.push_str(": ");
        pretty_value(&field.value, out);
        separator = ',';
    }
    out.push_str("\n}\n");
    escape(start, out);
}

/// Writes the value of a member of the event's object, which is level 1.
fn pretty_value(text: &str, out: &mut String) {
    let mut depth = 1;
    let mut tokens = tokens(text);
    while let Some(token) = tokens.next() {
        let is_empty = matches!(
            (token, tokens.peek()),
            (Token::Open(_), Some(Token::Close(_)))
        );
        match token {
            Token::Open(_) => depth += 1,
            Token::Close(_) => {
                depth -= 1;
                if depth < MAX_PRETTY_DEPTH {
                    new_line(depth, out);
                }
            }
            _ => {}
        }
        write_token(token, out);
        match token {
            Token::Open(_) if is_empty => {
                tokens.next().inspect(|close| write_token(*close, out));
                depth -= 1;
            }
            Token::Open(_) | Token::Comma if depth <= MAX_PRETTY_DEPTH => new_line(depth, out),
            Token::Colon if depth <= MAX_PRETTY_DEPTH => out.push(' '),
            _ => {}
        }
    }
}

fn new_line(depth: usize, out: &mut String) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', 2 * depth));
}

fn write_token(token: Token, out: &mut String) {
    match token {
        Token::Open(bracket) | Token::Close(bracket) => out.push(bracket),
        Token::Comma => out.push(','),
        Token::Colon => out.push(':'),
        Token::Literal(text) => out.push_str(text),
        Token::String(spelled) => {
            out.push('"');
            out.push_str(spelled);
            out.push('"');
        }
    }
}

/// Escapes every character of `out` from `start` on that is not printable ASCII
/// (RFC 8259 section 7). Such a character can occur only in a string, so the code need not
/// know where strings begin and end.
fn escape(start: usize, out: &mut String) {
    if plain_length(&out.as_bytes()[start..]) == out.len() - start {
        return;
    }
    let text = out.split_off(start);
    let mut rest = text.as_str();
    loop {
        let (plain, others) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let mut chars = others.chars();
        let Some(char) = chars.next() else { return };
        for unit in char.encode_utf16(&mut [0; 2]) {
            write_escape(*unit, out);
        }
        rest = chars.as_str();
    }
}

/// The number of bytes at the start that need no escape: printable ASCII and newlines.
/// Valid JSON has no other control character below the space in a string.
fn plain_length(bytes: &[u8]) -> usize {
    const DEL: u8 = 0x7f;
    let (blocks, _) = bytes.as_chunks::<32>();
    // Without an early exit, the compiler turns the loop over a block into vector instructions.
    let is_plain = |block: &&[u8; 32]| block.iter().fold(true, |all, byte| all & (*byte < DEL));
    let plain = 32 * blocks.iter().take_while(is_plain).count();
    let other = bytes[plain..].iter().position(|byte| *byte >= DEL);
    other.map_or(bytes.len(), |other| plain + other)
}

fn write_escape(unit: u16, out: &mut String) {
    let digit = |shift: u16| char::from(b"0123456789abcdef"[usize::from(unit >> shift & 15)]);
    out.extend(['\\', 'u', digit(12), digit(8), digit(4), digit(0)]);
}
