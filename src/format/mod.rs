//! Events as text, in four formats.
//!
//! - [`json`]: compact JSON lines, and indented JSON.
//! - [`yaml`]: whole events, for people.
//! - [`line`]: for people, a summary on one line. [`line_writer`] cuts it to the width of
//!   the terminal.
//!
//! An [`Event`] is validated JSON text. So no format parses it into values: they walk its
//! tokens. The JSON formats change only the white space, and escape what is not ASCII. YAML
//! has rules of its own for numbers and strings.
//!
//! This folder knows no sink, except that a summary asks for the width of the terminal on
//! stdout. A new format is a file here, a variant of [`Format`], an option in `cli/serve.rs`,
//! and an arm in `style_for_terminal` in `main.rs`, which decides about colours.
//!
//! Stop 6 of EDU_NOTES.md.

mod json;
pub mod line;
pub mod line_writer;
pub mod summary;
mod yaml;

use self::line::Look;
use crate::event::Event;
use crate::terminal;

/// The pretty formats write containers nested deeper than this in compact form. The total
/// indentation grows with the square of the depth: 20 kB of brackets would become 200 MB.
const MAX_PRETTY_DEPTH: usize = 64;

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
                let look = Look {
                    has_colours: colour,
                    width: cut.then(terminal::width),
                };
                line::write(event, look, out);
            }
        }
    }
}
