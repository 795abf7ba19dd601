//! Writes text on one line of limited width.
//!
//! Whatever the text contains, the result is one line in which nothing moves the cursor,
//! changes a colour or changes the direction of writing. Text beyond the width is cut off.
//!
//! Stop 8 of EDU_NOTES.md.

use unicode_width::UnicodeWidthChar;

use crate::event::json_text;
use crate::terminal::sanitize_char;

/// The line that is being written.
pub struct LineWriter<'o> {
    out: &'o mut String,
    has_colours: bool,
    width: usize,
    /// Columns used so far.
    used: usize,
    /// Spaces to write before the next character.
    gap: usize,
    /// How much of `out` stays if an ellipsis must be added.
    kept: usize,
    is_full: bool,
}

impl<'o> LineWriter<'o> {
    /// Begins a line at the end of `out`.
    pub fn new(out: &'o mut String, has_colours: bool, width: usize) -> Self {
        LineWriter {
            kept: out.len(),
            out,
            has_colours,
            width,
            used: 0,
            gap: 0,
            is_full: false,
        }
    }

    /// Writes a JSON value: the text of a string, anything else as spelled, but readable.
    pub fn value(&mut self, value: &str) {
        match json_text::unquoted(value) {
            Some(text) => self.text(text),
            None => self.chars(json_text::readable_chars(value)),
        }
    }

    /// Writes a string, given as spelled in JSON, in a style (a parameter of SGR).
    pub fn styled(&mut self, style: &str, spelled: &str) {
        let is_styled = self.has_colours && !self.is_full && !spelled.is_empty();
        if is_styled {
            self.out.push_str(&format!("\x1b[{style}m"));
        }
        self.text(spelled);
        if is_styled && !self.is_full {
            self.out.push_str("\x1b[0m");
        }
    }

    /// Writes a string, given as spelled in JSON.
    pub fn text(&mut self, spelled: &str) {
        self.chars(json_text::chars(spelled));
    }

    /// Writes characters. White space of any kind and length becomes one space, and none at
    /// the ends of the line. A character that a terminal would obey becomes U+FFFD.
    pub fn chars(&mut self, chars: impl Iterator<Item = char>) {
        for char in chars {
            if self.is_full {
                return;
            }
            if char.is_whitespace() {
                self.gap(1);
                continue;
            }
            for _ in 0..std::mem::take(&mut self.gap) {
                self.char(' ');
            }
            self.char(sanitize_char(char));
        }
    }

    /// Writes one character. If it does not fit, an ellipsis replaces it, and as many
    /// characters before it as necessary.
    fn char(&mut self, char: char) {
        if self.is_full {
            return;
        }
        self.used += columns(char);
        if self.used <= self.width {
            self.out.push(char);
            if self.used < self.width {
                self.kept = self.out.len();
            }
        } else {
            self.out.truncate(self.kept);
            self.out.push('…');
            self.is_full = true;
        }
    }

    /// Leaves at least this many spaces before the next character.
    pub fn gap(&mut self, columns: usize) {
        if self.used > 0 {
            self.gap = self.gap.max(columns);
        }
    }

    /// Continues at `column`, or after one space if the line is longer already.
    pub fn gap_to(&mut self, column: usize) {
        self.gap(column.saturating_sub(self.used).max(1));
    }

    /// Whether text was cut off: nothing more will be written.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Ends the line.
    pub fn end(self) {
        // A style may still be on where the line was cut.
        if self.has_colours && self.is_full {
            self.out.push_str("\x1b[0m");
        }
        self.out.push('\n');
    }
}

/// The most columns that a character takes on any terminal. If a character took more than
/// this, the line would wrap, and the rest would look like a separate line. Terminals
/// differ on characters that combine with the one before, and on halves of flags without the
/// other half. glibc's `wcwidth` counts some as wider.
fn columns(char: char) -> usize {
    match char {
        '\u{302e}' | '\u{302f}' | '\u{3248}'..='\u{324f}' | '\u{16ff0}' | '\u{16ff1}' => 2,
        '\u{1f1e6}'..='\u{1f1ff}' => 2,
        _ => char.width().unwrap_or(0).max(1),
    }
}
