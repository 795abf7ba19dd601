//! The two JSON formats. Every byte they write is printable ASCII or a line's end.
//!
//! Stop 6 of EDU_NOTES.md.

use super::PRETTY_DEPTH;
use super::text::{Token, string_length, tokens};
use crate::event::{Event, Field};

/// One line: `{"key":value,…}`.
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

/// Copies everything but white space between tokens, of which clients send
/// little: in runs that are as long as can be.
fn compact_value(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let (mut copied, mut at) = (0, 0);
    // A string, a number or a word is one token.
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

/// Many lines, each level indented by two spaces, down to [`PRETTY_DEPTH`].
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

/// A value of the event's own object, which is the first level.
fn pretty_value(text: &str, out: &mut String) {
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
            Token::Colon if depth <= PRETTY_DEPTH => out.push(' '),
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

/// Writes what stands in `out` from `start` on as printable ASCII: every other
/// character as its escapes in UTF-16 (RFC 8259 section 7). Such a character can
/// only stand in a string; so this need not know where strings begin and end.
fn escape(start: usize, out: &mut String) {
    if plain_length(&out.as_bytes()[start..]) == out.len() - start {
        return;
    }
    let text = out.split_off(start);
    let mut rest = text.as_str();
    loop {
        let (plain, odd) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let mut chars = odd.chars();
        let Some(char) = chars.next() else { return };
        for unit in char.encode_utf16(&mut [0; 2]) {
            write_escape(*unit, out);
        }
        rest = chars.as_str();
    }
}

/// How many bytes at the start stay as they are: printable ASCII and line ends.
/// Valid JSON holds no other control character below the space in a string.
fn plain_length(bytes: &[u8]) -> usize {
    const DEL: u8 = 0x7f;
    let (blocks, _) = bytes.as_chunks::<32>();
    // Without an early exit, the loop over a block becomes a few vector instructions.
    let is_plain = |block: &&[u8; 32]| block.iter().fold(true, |all, byte| all & (*byte < DEL));
    let plain = 32 * blocks.iter().take_while(is_plain).count();
    let odd = bytes[plain..].iter().position(|byte| *byte >= DEL);
    odd.map_or(bytes.len(), |odd| plain + odd)
}

fn write_escape(unit: u16, out: &mut String) {
    let digit = |shift: u16| char::from(b"0123456789abcdef"[usize::from(unit >> shift & 15)]);
    out.extend(['\\', 'u', digit(12), digit(8), digit(4), digit(0)]);
}
