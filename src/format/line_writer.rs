//! Writes text on one line of limited width.
//!
//! Whatever the text contains, the result is one line in which nothing moves the cursor,
//! changes a colour or changes the direction of writing. Of text beyond the width, the middle
//! is cut out if it is the last one of the line, else the end.
//!
//! Stop 8 of EDU_NOTES.md.

use std::collections::VecDeque;

use unicode_width::UnicodeWidthChar;

use crate::terminal::sanitize_char;

/// In fewer columns than this, the end is cut off instead of the middle.
const MIN_CUT_COLUMNS: usize = 8;

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
    pub fn new(out: &'o mut String, has_colours: bool, width: Option<usize>) -> Self {
        LineWriter {
            kept: out.len(),
            out,
            has_colours,
            width: width.unwrap_or(usize::MAX),
            used: 0,
            gap: 0,
            is_full: false,
        }
    }

    /// Writes characters in a style (a parameter of SGR).
    pub fn styled(&mut self, style: &str, chars: impl Iterator<Item = char>) {
        let mut chars = chars.skip_while(|char| char.is_whitespace()).peekable();
        if chars.peek().is_none() {
            return;
        }
        // A style can show on spaces too.
        self.write_gap();
        let is_styled = self.has_colours && !self.is_full;
        if is_styled {
            self.out.push_str(&format!("\x1b[{style}m"));
        }
        self.chars(chars);
        if is_styled && !self.is_full {
            self.out.push_str("\x1b[0m");
        }
    }

    /// Writes a word in a style, and a space before the next one.
    pub fn word(&mut self, style: &str, word: impl Iterator<Item = char>) {
        self.styled(style, word);
        self.gap(1);
    }

    /// Writes characters in a style, in a column of at least this width, and a space.
    pub fn column(&mut self, width: usize, style: &str, chars: impl Iterator<Item = char>) {
        if width == 0 {
            return;
        }
        let start = self.used + self.gap;
        self.styled(style, chars);
        // Nothing was written if the text is empty: then the gap before it still counts.
        let missing = (start + width + 1).saturating_sub(self.used);
        self.gap = missing.max(1);
    }

    /// Writes characters. White space of any kind and length becomes one space, and none at
    /// the ends of the line. A character that a terminal would obey becomes U+FFFD.
    fn chars(&mut self, chars: impl Iterator<Item = char>) {
        for char in chars {
            if self.is_full {
                return;
            }
            if char.is_whitespace() {
                self.gap(1);
                continue;
            }
            self.write_gap();
            self.char(sanitize_char(char));
        }
    }

    fn write_gap(&mut self) {
        for _ in 0..std::mem::take(&mut self.gap) {
            self.char(' ');
        }
    }

    /// Writes the last characters of the line. What does not fit is cut in the middle: the
    /// end of a command or a path says as much as its start.
    pub fn ends(&mut self, chars: impl Iterator<Item = char>) {
        let room = self.width.saturating_sub(self.used + self.gap);
        match room {
            _ if self.width == usize::MAX => self.chars(chars),
            ..MIN_CUT_COLUMNS => self.chars(chars),
            room => {
                let cut = cut_middle(chars, room);
                self.chars(cut.chars());
            }
        }
    }

    /// Writes two texts as the last ones of the line, with a separator between them. An
    /// earlier line has shown the second one: it gets what room the first one leaves.
    pub fn ends_two(
        &mut self,
        first: impl Iterator<Item = char>,
        second: impl Iterator<Item = char>,
    ) {
        const SEPARATOR: &str = " · ";
        let room = self.width.saturating_sub(self.used + self.gap);
        let first: String = match room {
            _ if self.width == usize::MAX => one_line(first).collect(),
            room => cut_middle(first, room),
        };
        let left = room.saturating_sub(columns_of(&first) + columns_of(SEPARATOR));
        self.chars(first.chars());
        let mut second = one_line(second).peekable();
        if left >= MIN_CUT_COLUMNS && second.peek().is_some() {
            self.chars(SEPARATOR.chars());
            self.ends(second);
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
    fn gap(&mut self, columns: usize) {
        if self.used > 0 {
            self.gap = self.gap.max(columns);
        }
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

/// The characters on one line, safe for a terminal. If they take more than `room` columns, an
/// ellipsis replaces the middle.
pub fn cut_middle(chars: impl Iterator<Item = char>, room: usize) -> String {
    let head_room = room / 2;
    let (mut head, mut head_columns) = (String::new(), 0);
    let (mut tail, mut tail_columns) = (VecDeque::new(), 0);
    let mut is_cut = false;
    for char in one_line(chars) {
        let width = columns(char);
        if tail.is_empty() && !is_cut && head_columns + width <= head_room {
            head.push(char);
            head_columns += width;
            continue;
        }
        tail.push_back((char, width));
        tail_columns += width;
        while head_columns + tail_columns + usize::from(is_cut) > room
            && let Some((_, width)) = tail.pop_front()
        {
            is_cut = true;
            tail_columns -= width;
        }
    }
    if is_cut {
        head.push('…');
        // It would combine with the ellipsis.
        while tail
            .front()
            .is_some_and(|(char, _)| char.width() == Some(0))
        {
            tail.pop_front();
        }
    }
    head.extend(tail.into_iter().map(|(char, _)| char));
    head
}

/// Replaces white space of any kind and length by one space, and what a terminal would obey.
/// There is no white space at the ends.
pub fn one_line(chars: impl Iterator<Item = char>) -> impl Iterator<Item = char> {
    let mut chars = chars.skip_while(|char| char.is_whitespace()).peekable();
    std::iter::from_fn(move || {
        let char = chars.next()?;
        if !char.is_whitespace() {
            return Some(sanitize_char(char));
        }
        while chars.next_if(|char| char.is_whitespace()).is_some() {}
        chars.peek().is_some().then_some(' ')
    })
}

/// The columns of a text.
pub fn columns_of(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The most columns that a character takes on any terminal. If a character took more than
/// this, the line would wrap, and the rest would look like a separate line. Terminals
/// differ on characters that combine with the one before, and on halves of flags without the
/// other half. glibc's `wcwidth` counts some as wider.
pub fn columns(char: char) -> usize {
    match char {
        '\u{302e}' | '\u{302f}' | '\u{3248}'..='\u{324f}' | '\u{16ff0}' | '\u{16ff1}' => 2,
        '\u{1f1e6}'..='\u{1f1ff}' => 2,
        _ => char.width().unwrap_or(0).max(1),
    }
}
