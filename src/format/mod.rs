//! Events as text, in four formats.
//!
//! - [`json`]: compact JSON lines, and indented JSON.
//! - [`yaml`]: for people, without loss.
//! - [`line`]: for people, a summary on one line. [`line_writer`] cuts it to the width of
//!   the terminal.
//!
//! An [`Event`] is validated JSON text. So the formats never parse: they walk its tokens
//! and write them with other white space. The JSON formats keep every number and escape as
//! the client spelled it, and escape what is not ASCII. YAML has rules of its own for both.
//!
//! This folder knows no sink, except that [`line_writer`] asks the terminal on stdout for its
//! width. A new format is a file here, a variant of [`Format`], an option in `cli/serve.rs`,
//! and an arm in `style_for_terminal` in `main.rs`, which decides about colours.
//!
//! Stop 6 of EDU_NOTES.md.

mod json;
mod line;
mod line_writer;
mod yaml;

use crate::event::Event;

/// The pretty formats write containers nested deeper than this in compact form. The total
/// indentation grows with the square of the depth: 20 kB of brackets would become 200 MB.
const PRETTY_DEPTH: usize = 64;

/// A format of events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    /// One line of JSON for each event.
    Compact,
    /// JSON indented by two spaces for each level.
    PrettyJson,
    /// YAML. `colour` adds escape sequences for a terminal.
    PrettyYaml { colour: bool },
    /// A summary on one line. `colour` adds escape sequences, `cut` limits it to the width of
    /// the terminal.
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
                let width = cut.then(line_writer::terminal_width);
                line::write(event, colour, width, out);
            }
        }
    }
}

/// Whether the formats for people write a character as it is. Three conditions:
///
/// - YAML 1.1 can print it (section 5.1), and does not break lines at it.
/// - It does not change how a terminal shows its neighbours, as control characters and
///   changes of direction do (UAX #9, `Bidi_Control`).
/// - It is visible (UAX #44, `Default_Ignorable_Code_Point`), except for two characters
///   that emoji contain.
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

/// Replaces each character that a terminal would obey, or would not show, by U+FFFD.
pub(crate) fn sanitize(text: &str) -> String {
    text.chars().map(sanitize_char).collect()
}

/// The same for one character.
pub(crate) fn sanitize_char(char: char) -> char {
    if is_printable(char) {
        char
    } else {
        char::REPLACEMENT_CHARACTER
    }
}
