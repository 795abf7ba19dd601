//! YAML for people, exact for machines.
//!
//! What a YAML 1.1 reader (PyYAML's `safe_load`) makes of it is the JSON that
//! went in; within that, it is laid out to be read: block style, text of
//! several lines as literal blocks, quotes only where a reader would take a
//! string for something else.
//!
//! It writes the few forms that JSON needs and chooses among them strictly. A
//! general emitter chooses more carefully than YAML asks: libyaml's gives up
//! literal blocks for text with a tab or with a space before a line's end,
//! which is most source code.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;

use super::text::{self, Token, Tokens, tokens};
use super::{PRETTY_DEPTH, is_printable};
use crate::event::Event;

/// The longest key, in characters, that is written without `? `. PyYAML takes up
/// to 1,024 between where a key begins and its colon.
const SIMPLE_KEY: usize = 1000;

// Styles as parameters of SGR (ECMA-48 section 8.3.117).
const BOLD_CYAN: &str = "1;36";
const BOLD_REVERSED: &str = "1;7";

/// One document: `---` and a block mapping. With `colour`, keys stand out, and
/// when and what it was even more: between long events, the eye looks for these.
pub fn write(event: &Event, colour: bool, out: &mut String) {
    out.push_str("---\n");
    let mut writer = Writer {
        tokens: tokens(""),
        colour,
        stands_out: false,
        out,
    };
    for field in event.fields() {
        writer.tokens = tokens(&field.value);
        writer.stands_out = colour && matches!(field.name(), "_ts" | "_event");
        writer.member(field.name(), 0, 1);
    }
}

struct Writer<'t, 'o> {
    tokens: Tokens<'t>,
    colour: bool,
    /// Whether the value that is being written stands out.
    stands_out: bool,
    out: &'o mut String,
}

/// What stands left of a value on its line.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// `key:`. A container's first line is the next one.
    Key,
    /// `-`, or the `:` of a key that has a line of its own. A container starts
    /// on this line.
    Indicator,
}

impl Writer<'_, '_> {
    /// A key and its value; the writer stands at column `indent`, where the key begins.
    fn member(&mut self, key: &str, indent: usize, depth: usize) {
        let text = text::decode(key);
        let scalar = plain_or_quoted(&text);
        let simple = scalar.chars().count() <= SIMPLE_KEY;
        if !simple {
            self.push("? ");
        }
        self.styled(self.colour.then_some(BOLD_CYAN), &scalar);
        if simple {
            self.push(":");
            self.value(After::Key, indent, depth);
        } else {
            self.push("\n");
            self.indent(indent);
            self.push(":");
            self.value(After::Indicator, indent, depth);
        }
    }

    /// The next value and the end of its last line. `indent` is the column of
    /// the key or dash that it belongs to, `depth` that of their container.
    /// It recurses, [`PRETTY_DEPTH`] deep at most.
    fn value(&mut self, after: After, indent: usize, depth: usize) {
        let opened = match self.tokens.next() {
            Some(Token::Open(bracket)) => bracket,
            Some(Token::String(spelled)) => return self.string(&text::decode(spelled), indent),
            Some(Token::Literal(spelled)) => {
                self.push(" ");
                self.push(&literal(spelled));
                return self.push("\n");
            }
            _ => return,
        };
        if depth == PRETTY_DEPTH || matches!(self.tokens.peek(), Some(Token::Close(_))) {
            self.push(" ");
            self.flow(opened);
            return self.push("\n");
        }
        let indent = match (after, opened) {
            (After::Key, '[') => indent,
            _ => indent + 2,
        };
        match after {
            After::Key => {
                self.push("\n");
                self.indent(indent);
            }
            After::Indicator => self.push(" "),
        }
        self.members(opened, indent, depth + 1);
    }

    /// What stands in a block container that is not empty, up to its end. The
    /// writer stands at column `indent`.
    fn members(&mut self, opened: char, indent: usize, depth: usize) {
        loop {
            if opened == '[' {
                self.push("-");
                self.value(After::Indicator, indent, depth);
            } else if let (Some(Token::String(key)), Some(_colon)) =
                (self.tokens.next(), self.tokens.next())
            {
                self.member(key, indent, depth);
            }
            match self.tokens.next() {
                Some(Token::Comma) => self.indent(indent),
                _ => return,
            }
        }
    }

    /// The rest of a container, on one line: JSON, but for the strings' escapes.
    fn flow(&mut self, opened: char) {
        self.out.push(opened);
        let mut depth = 1;
        while depth > 0
            && let Some(token) = self.tokens.next()
        {
            match token {
                Token::Open(bracket) => {
                    depth += 1;
                    self.out.push(bracket);
                }
                Token::Close(bracket) => {
                    depth -= 1;
                    self.out.push(bracket);
                }
                Token::Comma => self.push(", "),
                Token::Colon => self.push(": "),
                Token::Literal(spelled) => self.push(&literal(spelled)),
                Token::String(spelled) => {
                    let scalar = double_quoted(&text::decode(spelled));
                    if scalar.chars().count() > SIMPLE_KEY
                        && self.tokens.peek() == Some(Token::Colon)
                    {
                        self.push("? ");
                    }
                    self.push(&scalar);
                }
            }
        }
    }

    /// A string after its key or dash, in the form that reads best.
    fn string(&mut self, text: &str, indent: usize) {
        self.push(" ");
        if !text.contains('\n') {
            let style = self.stands_out.then_some(BOLD_REVERSED);
            self.styled(style, &plain_or_quoted(text));
            self.push("\n");
        } else if text
            .chars()
            .all(|char| is_printable(char) || matches!(char, '\n' | '\t'))
        {
            self.literal_block(text, indent + 2);
        } else {
            self.quoted_lines(text, indent + 2);
        }
    }

    /// Text of several lines that a literal block cannot hold: quoted, and each
    /// line on one of its own. A backslash before a line's end takes that and
    /// the next line's indentation out of the text (YAML 1.1 section 9.1.1).
    fn quoted_lines(&mut self, text: &str, indent: usize) {
        self.push("\"");
        for (number, line) in text.split_inclusive('\n').enumerate() {
            if number > 0 {
                self.push("\\\n");
                self.indent(indent);
                // A space of the text's own would count as indentation.
                if line.starts_with(' ') {
                    self.push("\\");
                }
            }
            self.push(&escaped(line));
        }
        self.push("\"\n");
    }

    /// A literal block (YAML 1.1 section 9.3.1): the text's own lines, indented.
    fn literal_block(&mut self, text: &str, indent: usize) {
        self.push("|");
        // Without a digit, the first line's spaces would count as indentation.
        if text.starts_with([' ', '\n']) {
            self.push("2");
        }
        let body = text.trim_end_matches('\n');
        // How many of the last line ends are the text's own: none, one, all.
        match text.len() - body.len() {
            0 => self.push("-"),
            1 if !body.is_empty() => {}
            _ => self.push("+"),
        }
        self.push("\n");
        let lines = text.strip_suffix('\n').unwrap_or(text);
        for line in lines.split('\n') {
            if !line.is_empty() {
                self.indent(indent);
                self.push(line);
            }
            self.push("\n");
        }
    }

    fn indent(&mut self, columns: usize) {
        self.out.extend(std::iter::repeat_n(' ', columns));
    }

    fn styled(&mut self, style: Option<&str>, text: &str) {
        match style {
            Some(style) => self.push(&format!("\x1b[{style}m{text}\x1b[0m")),
            None => self.push(text),
        }
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }
}

/// A literal in the form in which YAML 1.1 takes it for the same: a number with
/// an exponent needs a point, and the exponent a sign. `true` and `false` have
/// an `e` but no exponent.
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

/// A string on one line, as bare as it may be.
fn plain_or_quoted(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        text.into()
    } else if text.chars().all(is_printable) {
        format!("'{}'", text.replace('\'', "''")).into()
    } else {
        double_quoted(text).into()
    }
}

/// Whether YAML 1.1 reads the bare text as this very string.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    // Integers, floats, base 60, dates and times are made of these alone.
    const NUMERIC: &str = "0123456789abcdefABCDEFxXoO_.:+-tTzZ ";
    let Some(first) = text.chars().next() else {
        return false;
    };
    let starts_well = first.is_alphabetic()
        || matches!(first, '/' | '_' | '(' | '$')
        || first.is_ascii_digit() && !text.chars().all(|char| NUMERIC.contains(char));
    starts_well
        && text.chars().all(is_printable)
        && !text.ends_with([' ', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && !WORDS.iter().any(|word| word.eq_ignore_ascii_case(text))
}

fn double_quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

/// What stands between double quotes for `text`.
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
