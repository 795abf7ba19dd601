//! YAML: readable for people, exact for machines.
//!
//! A YAML 1.1 reader gets back exactly the JSON that went in, except that a lone surrogate
//! becomes U+FFFD. The tests use PyYAML, libyaml and js-yaml. Within that, the layout is for
//! people: block style, literal blocks for text of several lines, and quotes only where a
//! reader would take a string for something else.
//!
//! This writer knows only the few forms that JSON needs. A general emitter is more cautious
//! than YAML requires: libyaml does not use literal blocks for text with a tab, or with a
//! space before the end of a line, which most source code has.
//!
//! On a terminal, texts of many lines are cut here.
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;
use std::fmt::{self, Write};

use super::bounded::{ALLOWANCE, Bounded, MAX_PRETTY_DEPTH, write_unbounded, write_within};
use crate::event::Event;
use crate::event::json_text::{self, Token, Tokens, tokens};
use crate::terminal::is_printable;

/// The most characters that a key without `? ` has. PyYAML accepts up to 1,024 characters
/// from the start of a key to its colon.
const MAX_SIMPLE_KEY: usize = 1000;
/// The lines of one text that a terminal shows.
const MAX_TEXT_LINES: usize = 40;

// Styles as parameters of SGR (ECMA-48 section 8.3.117).
const BOLD_CYAN: &str = "1;36";
const BOLD_REVERSED: &str = "1;7";

/// Writes one document: `---` and a block mapping. With `colour`, keys stand out, and the
/// time and the event's name stand out most: they separate long events.
///
/// With `cut`, a text of more than [`MAX_TEXT_LINES`] lines is cut, and a comment says how many
/// more there are. For a terminal, which one file could fill many times.
pub fn write(event: &Event, look: YamlLook, out: &mut String) {
    let line = event.line();
    let whole = |out: &mut Bounded| {
        out.write_str("---\n")?;
        let mut writer = Writer::new(line, MAX_PRETTY_DEPTH, look, out);
        writer.tokens.next();
        writer.members('{', 0, 1)
    };
    if !write_within(line.len(), ALLOWANCE, out, whole) {
        write_members(line, look, out);
    }
}

/// Writes a document whose pretty form is too long.
fn write_members(object: &str, look: YamlLook, out: &mut String) {
    out.push_str("---\n");
    for (key, value) in json_text::members(object) {
        let member = |max_depth: usize| {
            move |out: &mut Bounded| Writer::new(value, max_depth, look, out).member(key, 0, 1)
        };
        if !write_within(key.len() + value.len(), 0, out, member(MAX_PRETTY_DEPTH)) {
            write_unbounded(out, member(1));
        }
    }
}

/// How a document looks.
#[derive(Debug, Clone, Copy)]
pub struct YamlLook {
    pub colour: bool,
    pub cut: bool,
}

struct Writer<'t, 'o, 'b> {
    tokens: Tokens<'t>,
    /// Containers nested deeper are in flow style.
    max_depth: usize,
    look: YamlLook,
    /// Whether the current value is the time or the event's name, in colour.
    is_highlighted: bool,
    out: &'b mut Bounded<'o>,
}

/// What is to the left of a value on its line.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// `key:`. A container begins on the next line.
    Key,
    /// `-`, or the `:` after a key with `? `. A container begins on this line.
    Indicator,
}

impl<'t, 'o, 'b> Writer<'t, 'o, 'b> {
    fn new(text: &'t str, max_depth: usize, look: YamlLook, out: &'b mut Bounded<'o>) -> Self {
        Writer {
            tokens: tokens(text),
            max_depth,
            look,
            is_highlighted: false,
            out,
        }
    }

    /// Writes a key and its value. The key begins at the current column, `indent`.
    fn member(&mut self, key: &str, indent: usize, depth: usize) -> fmt::Result {
        let text = json_text::decode(key);
        self.is_highlighted = self.look.colour && depth == 1 && matches!(key, "_ts" | "_event");
        let scalar = plain_or_quoted(&text);
        let is_simple = scalar.chars().count() <= MAX_SIMPLE_KEY;
        if !is_simple {
            self.push("? ")?;
        }
        self.styled(self.look.colour.then_some(BOLD_CYAN), &scalar)?;
        if is_simple {
            self.push(":")?;
            self.value(After::Key, indent, depth)
        } else {
            self.push("\n")?;
            self.out.indent(indent)?;
            self.push(":")?;
            self.value(After::Indicator, indent, depth)
        }
    }

    /// Writes the next value and the end of its last line. `indent` is the column of its
    /// key or dash, and `depth` the nesting depth of the container around that. It recurses
    /// at most [`MAX_PRETTY_DEPTH`] deep.
    fn value(&mut self, after: After, indent: usize, depth: usize) -> fmt::Result {
        let opened = match self.tokens.next() {
            Some(Token::Open(bracket)) => bracket,
            Some(Token::String(spelled)) => {
                return self.string(&json_text::decode(spelled), indent);
            }
            Some(Token::Literal(spelled)) => {
                self.push(" ")?;
                self.push(&literal(spelled))?;
                return self.push("\n");
            }
            _ => return Ok(()),
        };
        if depth == self.max_depth || matches!(self.tokens.peek(), Some(b'}' | b']')) {
            self.push(" ")?;
            self.flow(opened)?;
            return self.push("\n");
        }
        let indent = match (after, opened) {
            (After::Key, '[') => indent,
            _ => indent + 2,
        };
        match after {
            After::Key => {
                self.push("\n")?;
                self.out.indent(indent)?;
            }
            After::Indicator => self.push(" ")?,
        }
        self.members(opened, indent, depth + 1)
    }

    /// Writes the members of a non-empty container in block style. The current column is
    /// `indent`.
    fn members(&mut self, opened: char, indent: usize, depth: usize) -> fmt::Result {
        loop {
            if opened == '[' {
                self.push("-")?;
                self.value(After::Indicator, indent, depth)?;
            } else if let (Some(Token::String(key)), Some(_colon)) =
                (self.tokens.next(), self.tokens.next())
            {
                self.member(key, indent, depth)?;
            }
            match self.tokens.next() {
                Some(Token::Comma) => self.out.indent(indent)?,
                _ => return Ok(()),
            }
        }
    }

    /// Writes the rest of a container on one line, in flow style: like JSON, except for the
    /// escapes in strings.
    fn flow(&mut self, opened: char) -> fmt::Result {
        self.out.write_char(opened)?;
        let mut depth = 1;
        while depth > 0
            && let Some(token) = self.tokens.next()
        {
            match token {
                Token::Open(bracket) => {
                    depth += 1;
                    self.out.write_char(bracket)?;
                }
                Token::Close(bracket) => {
                    depth -= 1;
                    self.out.write_char(bracket)?;
                }
                Token::Comma => self.push(", ")?,
                Token::Colon => self.push(": ")?,
                Token::Literal(spelled) => self.push(&literal(spelled))?,
                Token::String(spelled) => {
                    let scalar = double_quoted(&json_text::decode(spelled));
                    if scalar.chars().count() > MAX_SIMPLE_KEY && self.tokens.peek() == Some(b':') {
                        self.push("? ")?;
                    }
                    self.push(&scalar)?;
                }
            }
        }
        Ok(())
    }

    /// Writes a string after its key or dash, in the most readable form.
    fn string(&mut self, text: &str, indent: usize) -> fmt::Result {
        let (text, hidden) = self.first_lines(text);
        self.whole_string(text, indent)?;
        if hidden > 0 {
            self.out.indent(indent)?;
            self.push(&format!("# … {hidden} more lines\n"))?;
        }
        Ok(())
    }

    /// The lines of a text that are shown, and the number of those that are not.
    fn first_lines<'s>(&self, text: &'s str) -> (&'s str, usize) {
        let mut ends = text.match_indices('\n').map(|(index, _)| index + 1);
        match ends.nth(MAX_TEXT_LINES - 1).filter(|_| self.look.cut) {
            Some(end) => (&text[..end], text[end..].lines().count()),
            None => (text, 0),
        }
    }

    fn whole_string(&mut self, text: &str, indent: usize) -> fmt::Result {
        self.push(" ")?;
        if !text.contains('\n') {
            let style = self.is_highlighted.then_some(BOLD_REVERSED);
            self.styled(style, &plain_or_quoted(text))?;
            self.push("\n")
        } else if text
            .chars()
            .all(|char| is_printable(char) || matches!(char, '\n' | '\t'))
        {
            self.literal_block(text, indent + 2)
        } else {
            self.quoted_lines(text, indent + 2)
        }
    }

    /// Writes text of several lines that a literal block cannot contain: quoted, with a
    /// line break after each line. A backslash before the break excludes the break and the
    /// next line's indentation from the text (YAML 1.1 section 9.1.1).
    fn quoted_lines(&mut self, text: &str, indent: usize) -> fmt::Result {
        self.push("\"")?;
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if number > 0 {
                self.push("\\\n")?;
                self.out.indent(indent)?;
                // Without the backslash, the text's own spaces would count as indentation.
                if line.starts_with(' ') {
                    self.push("\\")?;
                }
            }
            self.push(&escaped(line))?;
        }
        self.push("\"\n")
    }

    /// Writes a literal block (YAML 1.1 section 9.3.1): the lines of the text, indented.
    fn literal_block(&mut self, text: &str, indent: usize) -> fmt::Result {
        self.push("|")?;
        // Without a digit, spaces in the first line would count as indentation. libyaml accepts
        // no tab there.
        if text.starts_with([' ', '\n', '\t']) {
            self.push("2")?;
        }
        let body = text.trim_end_matches('\n');
        // The newlines at the end that belong to the text: none (`-`), one, or all (`+`).
        match text.len() - body.len() {
            0 => self.push("-")?,
            1 if !body.is_empty() => {}
            _ => self.push("+")?,
        }
        self.push("\n")?;
        let lines = text.strip_suffix('\n').unwrap_or(text);
        for line in lines.split('\n') {
            if !line.is_empty() {
                self.out.indent(indent)?;
                self.push(line)?;
            }
            self.push("\n")?;
        }
        Ok(())
    }

    fn styled(&mut self, style: Option<&str>, text: &str) -> fmt::Result {
        let Some(style) = style else {
            return self.push(text);
        };
        self.out.write_uncounted(&format!("\x1b[{style}m"));
        self.push(text)?;
        self.out.write_uncounted("\x1b[0m");
        Ok(())
    }

    fn push(&mut self, text: &str) -> fmt::Result {
        self.out.write_str(text)
    }
}

/// A literal as YAML 1.1 spells it: a number with an exponent needs a point, and the
/// exponent a sign. `true` and `false` have an `e` but no exponent.
fn literal(spelled: &str) -> Cow<'_, str> {
    let is_word = matches!(spelled, "true" | "false" | "null");
    let Some((digits, exponent)) = spelled.split_once(['e', 'E']).filter(|_| !is_word) else {
        return spelled.into();
    };
    let point = if digits.contains('.') { "" } else { ".0" };
    let sign = if exponent.starts_with(['+', '-']) {
        ""
    } else {
        "+"
    };
    format!("{digits}{point}e{sign}{exponent}").into()
}

/// A string on one line, with quotes only where they are needed.
fn plain_or_quoted(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        text.into()
    } else if text.chars().all(is_printable) {
        format!("'{}'", text.replace('\'', "''")).into()
    } else {
        double_quoted(text).into()
    }
}

/// Whether YAML 1.1 reads the text without quotes as this string.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    // Integers, floats, base 60 numbers, dates and times consist of these.
    const NUMERIC: &str = "0123456789abcdefABCDEFxXoO_.:+-tTzZ ";
    let Some(first) = text.chars().next() else {
        return false;
    };
    let has_plain_start = first.is_alphabetic()
        || matches!(first, '/' | '_' | '(' | '$')
        || first.is_ascii_digit() && !text.chars().all(|char| NUMERIC.contains(char));
    has_plain_start
        && text.chars().all(is_printable)
        && !text.ends_with([' ', ':'])
        && !text
            .as_bytes()
            .windows(2)
            .any(|pair| matches!(pair, b": " | b" #"))
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn double_quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// The text with the escapes that it needs between double quotes.
fn escaped(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            '\r' => quoted.push_str("\\r"),
            _ if is_printable(char) => quoted.push(char),
            _ => quoted.push_str(&match u32::from(char) {
                code @ ..=0xff => format!("\\x{code:02x}"),
                code @ ..=0xffff => format!("\\u{code:04x}"),
                code => format!("\\U{code:08x}"),
            }),
        }
    }
    quoted
}
