//! Pretty JSON: the compact form, indented.
//!
//! Stop 8 of EDU_NOTES.md.

use std::fmt::{self, Write};

use super::bounded::{ALLOWANCE, Bounded, MAX_PRETTY_DEPTH, write_within};
use crate::event::Event;
use crate::event::json_text::{Token, members, tokens};

/// Writes many lines. Each level is indented by two spaces.
pub fn write(event: &Event, out: &mut String) {
    let line = event.line();
    let whole = |out: &mut Bounded| {
        write_value(line, 0, out)?;
        out.write_str("\n")
    };
    if !write_within(line.len(), ALLOWANCE, out, whole) {
        write_members(line, out);
    }
}

/// Writes an object whose pretty form is too long.
fn write_members(object: &str, out: &mut String) {
    let mut separator = '{';
    for (key, value) in members(object) {
        out.push(separator);
        out.push_str("\n  \"");
        out.push_str(key);
        out.push_str("\": ");
        if !write_within(value.len(), 0, out, |out| write_value(value, 1, out)) {
            out.push_str(value);
        }
        separator = ',';
    }
    out.push_str("\n}\n");
}

/// Writes a value that is nested in `depth` containers. Deeper than [`MAX_PRETTY_DEPTH`] it
/// stays compact.
fn write_value(text: &str, mut depth: usize, out: &mut Bounded) -> fmt::Result {
    let mut tokens = tokens(text);
    while let Some(token) = tokens.next() {
        match token {
            Token::Open(bracket) => {
                out.write_char(bracket)?;
                if let Some(close @ (b'}' | b']')) = tokens.peek() {
                    tokens.next();
                    out.write_char(close.into())?;
                } else {
                    depth += 1;
                    new_line(depth, out)?;
                }
            }
            Token::Close(bracket) => {
                depth -= 1;
                if depth < MAX_PRETTY_DEPTH {
                    new_line(depth, out)?;
                }
                out.write_char(bracket)?;
            }
            Token::Comma => {
                out.write_char(',')?;
                new_line(depth, out)?;
            }
            Token::Colon if depth <= MAX_PRETTY_DEPTH => out.write_str(": ")?,
            Token::Colon => out.write_char(':')?,
            Token::Literal(text) => out.write_str(text)?,
            Token::String(spelled) => {
                out.write_char('"')?;
                out.write_str(spelled)?;
                out.write_char('"')?;
            }
        }
    }
    Ok(())
}

fn new_line(depth: usize, out: &mut Bounded) -> fmt::Result {
    if depth > MAX_PRETTY_DEPTH {
        return Ok(());
    }
    out.write_char('\n')?;
    out.indent(2 * depth)
}
