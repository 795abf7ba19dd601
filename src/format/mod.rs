//! Events as text: compact JSON lines, indented JSON, or YAML.
//!
//! An [`Event`] is JSON text whose validity has been checked, so the formats
//! never parse: they walk the text's tokens and write them with other spacing.
//! JSON keeps every number and escape as the client spelled it, and escapes
//! what is not ASCII; YAML has rules of its own for both.
//!
//! Stop 6 of EDU_NOTES.md.

mod json;
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
}

impl Format {
    /// Appends one event to `out`.
    pub fn write(self, event: &Event, out: &mut String) {
        match self {
            Format::Compact => json::compact(event, out),
            Format::PrettyJson => json::pretty(event, out),
            Format::PrettyYaml { colour } => yaml::write(event, colour, out),
        }
    }
}
