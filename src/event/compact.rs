//! Writes compact JSON in ASCII: no white space between tokens, and an escape for every
//! character that is not printable ASCII.
//!
//! How a character is spelled matters elsewhere too: `claude.rs` looks for tags such as `</summary>`
//! in strings as they are spelled here.
//!
//! Stop 8 of EDU_NOTES.md.

use super::json_text::string_length;

/// Writes JSON text without the white space between its tokens. Clients send little of that,
/// so it copies the longest possible runs.
pub fn write(json: &str, out: &mut String) {
    let mut rest = json;
    while let Some(at) = find_white_space(rest) {
        escape(&rest[..at], out);
        rest = &rest[at + 1..];
    }
    escape(rest, out);
}

/// Whether a value has white space between its tokens.
pub fn has_white_space(value: &str) -> bool {
    value.starts_with(['{', '[']) && find_white_space(value).is_some()
}

/// The first white space between tokens.
fn find_white_space(json: &str) -> Option<usize> {
    let bytes = json.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => at += string_length(&bytes[at + 1..]) + 2,
            b' ' | b'\t' | b'\n' | b'\r' => return Some(at),
            _ => at += 1,
        }
    }
}

/// Writes a member of an object. `key` is as it is spelled, without its quotes.
pub fn write_member(key: &str, value: &str, out: &mut String) {
    out.push('"');
    escape(key, out);
    out.push_str("\":");
    write(value, out);
}

/// Writes any text as a JSON string.
pub fn write_string(text: &str, out: &mut String) {
    let is_special = |byte: &u8| !matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~');
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(|byte| is_special(&byte)) {
        let (plain, others) = rest.split_at(at);
        out.push_str(plain);
        let mut chars = others.chars();
        match chars.next() {
            Some(char @ ('"' | '\\')) => out.extend(['\\', char]),
            Some('\u{8}') => out.push_str("\\b"),
            Some('\u{c}') => out.push_str("\\f"),
            Some('\n') => out.push_str("\\n"),
            Some('\r') => out.push_str("\\r"),
            Some('\t') => out.push_str("\\t"),
            Some(char) => write_escapes(char, out),
            None => {}
        }
        rest = chars.as_str();
    }
    out.push_str(rest);
    out.push('"');
}

/// Writes JSON text with an escape for every character that is not ASCII, and for DEL
/// (RFC 8259 section 7). Such a character can occur only in a string, so the code need not
/// know where strings begin and end.
pub fn escape(json: &str, out: &mut String) {
    let mut rest = json;
    loop {
        let (plain, others) = rest.split_at(plain_length(rest.as_bytes()));
        out.push_str(plain);
        let mut chars = others.chars();
        let Some(char) = chars.next() else { return };
        write_escapes(char, out);
        rest = chars.as_str();
    }
}

/// The number of bytes at the start that need no escape. Valid JSON has no control character
/// below the space in a string.
fn plain_length(bytes: &[u8]) -> usize {
    const DEL: u8 = 0x7f;
    let (blocks, _) = bytes.as_chunks::<64>();
    // The compiler makes vector instructions of the search for the largest byte of a block.
    let is_plain = |block: &&[u8; 64]| block.iter().copied().max() < Some(DEL);
    let plain = 64 * blocks.iter().take_while(is_plain).count();
    let other = bytes[plain..].iter().position(|byte| *byte >= DEL);
    other.map_or(bytes.len(), |other| plain + other)
}

/// Writes a character as `\uXXXX`, or as two of these beyond U+FFFF.
fn write_escapes(char: char, out: &mut String) {
    for unit in char.encode_utf16(&mut [0; 2]) {
        let digit = |shift: u16| {
            let digit = usize::from(*unit >> shift & 15);
            &"0123456789abcdef"[digit..=digit]
        };
        out.extend(["\\u", digit(12), digit(8), digit(4), digit(0)]);
    }
}
