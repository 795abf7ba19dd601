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
                line::write(event, colour, cut.then(line::terminal_width), out);
            }
        }
    }
}

/// Whether a character may stand as it is where people read it: YAML 1.1 prints
/// it (section 5.1) and does not break lines at it, it does not change what a
/// terminal shows of its neighbours, as controls and changes of direction do
/// (UAX #9, `Bidi_Control`), and it can be seen (UAX #44,
/// `Default_Ignorable_Code_Point`), but for the two that emoji are made with.
fn is_printable(char: char) -> bool {
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

/// The character, or U+FFFD in place of one that a terminal would obey.
pub(crate) fn harmless(char: char) -> char {
    if is_printable(char) {
        char
    } else {
        char::REPLACEMENT_CHARACTER
    }
}
