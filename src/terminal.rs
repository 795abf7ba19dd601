//! Terminals: which characters are safe to show, and what a terminal supports.
//!
//! Events contain text from clients. Written to a terminal as it is, such text could move the
//! cursor, change colours, or hide and imitate other lines.
//!
//! Stop 8 of EDU_NOTES.md.

use std::env;
use std::fmt;
use std::io::IsTerminal;
use std::path::Path;

/// Whether the formats for people write a character as it is. Three conditions:
///
/// - YAML 1.1 can print it (section 5.1), and does not break lines at it.
/// - It does not change how a terminal shows its neighbours, as control characters and
///   changes of direction do (UAX #9, `Bidi_Control`).
/// - It is visible (UAX #44, `Default_Ignorable_Code_Point`), except for two characters
///   that emoji contain.
#[inline]
pub fn is_printable(char: char) -> bool {
    match char {
        ' '..='~' | '\u{200d}' | '\u{fe0f}' => true,
        '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}' => false,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' => false,
        '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' => false,
        '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => false,
        '\u{3164}' | '\u{fe00}'..='\u{fe0e}' | '\u{feff}' | '\u{ffa0}' => false,
        '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' => false,
        '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}' => false,
        _ => char >= '\u{a0}',
    }
}

/// Replaces each character that a terminal would obey, or would not show, by U+FFFD.
pub fn sanitize(text: &str) -> String {
    text.chars().map(sanitize_char).collect()
}

/// Replaces a character that a terminal would obey, or would not show, by U+FFFD.
pub fn sanitize_char(char: char) -> char {
    if is_printable(char) {
        char
    } else {
        char::REPLACEMENT_CHARACTER
    }
}

/// Lines to write to stdout: on a terminal, without what it would obey. What is no terminal gets
/// them as they are.
pub fn for_stdout(lines: String) -> String {
    if !std::io::stdout().is_terminal() {
        return lines;
    }
    let sanitize = |char| match char {
        '\t' | '\n' => char,
        _ => sanitize_char(char),
    };
    lines.replace("\r\n", "\n").chars().map(sanitize).collect()
}

/// A path in a message: nothing in it is obeyed by a terminal. A test finds messages that show a
/// path otherwise.
#[derive(Debug, Clone, Copy)]
pub struct Shown<'p>(pub &'p Path);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str(&sanitize(&self.0.to_string_lossy()))
    }
}

/// Whether output to this stream may have colours: a terminal that supports them, and no
/// `NO_COLOR` (<https://no-color.org>).
pub fn supports_colours(stream: &impl IsTerminal) -> bool {
    has_screen(stream) && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether this stream is a terminal with a cursor that can be moved.
pub fn has_screen(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// Whether the user's locale has more characters than those of ASCII. The first of these variables
/// that is set counts (locale(7)). If none is, nothing is known of the terminal, and most have.
pub fn supports_unicode() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].map(|name| env::var(name).unwrap_or_default());
    let locale = variables.iter().find(|value| !value.is_empty());
    let is_utf8 = |locale: &String| locale.to_lowercase().replace('-', "").ends_with("utf8");
    locale.is_none_or(is_utf8)
}

/// The columns of the terminal on stdout, now: a window can be resized.
pub fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    match size.map_or(0, |size| size.ws_col) {
        // The terminal does not know its own width.
        0 => 80,
        columns => columns.into(),
    }
}
