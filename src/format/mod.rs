//! Events as text: compact JSON lines, indented JSON, YAML, or a line to look at.
//!
//! An [`Event`] is JSON text whose validity has been checked, so the formats
//! never parse: they walk the text's tokens and write them with other spacing.
//! JSON keeps every number and escape as the client spelled it, and escapes
//! what is not ASCII; YAML has rules of its own for both. The line to look at
//! leaves most of an event out.
//!
//! Stop 6 of EDU_NOTES.md.

mod json;
mod line;
pub(crate) mod text;
mod yaml;

use crate::event::Event;

/// Containers nested deeper than this are written compact in the pretty
/// formats: indentation grows with the square of the depth, and 20 kB of
/// brackets would become 200 MB.
const PRETTY_DEPTH: usize = 64;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    /// A line an event.
    Compact,
    /// Two spaces a level.
    PrettyJson,
    /// A `---` and a block mapping, its keys coloured if so asked.
    PrettyYaml { colour: bool },
    /// The essence on a line, coloured and cut at the width of the terminal if so asked.
    PrettyLine { colour: bool, cut: bool },
}

impl Format {
    /// Appends one event to `out`.
    pub fn write(self, event: &Event, out: &mut String) {
        match self {
            Format::Compact => json::compact(event, out),
            Format::PrettyJson => json::pretty(event, out),
            Format::PrettyYaml { colour } => yaml::write(event, colour, out),
            Format::PrettyLine { colour, cut } => {
                let width = if cut { line::terminal_width() } else { None };
                line::write(event, colour, width, out);
            }
        }
    }
}

/// Whether a character may stand as it is where people read it: YAML 1.1 prints
/// it (section 5.1) and does not break lines at it, and it does not change what
/// a terminal shows of its neighbours, as controls and changes of direction do
/// (UAX #9, `Bidi_Control`).
fn is_printable(char: char) -> bool {
    match char {
        ' '..='~' => true,
        '\u{2028}' | '\u{2029}' | '\u{feff}' => false,
        '\u{61c}' | '\u{200e}' | '\u{200f}' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => false,
        '\u{fffe}' | '\u{ffff}' => false,
        _ => char >= '\u{a0}',
    }
}

/// The character, or U+FFFD in place of one that a terminal would obey.
pub(crate) fn harmless(char: char) -> char {
    if is_printable(char) {
        char
    } else {
        char::REPLACEMENT_CHARACTER
    }
}
