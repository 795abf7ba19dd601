//! Events as text, in four formats.
//!
//! - Compact JSON: the line that an [`Event`] holds.
//! - [`json`]: the same, indented.
//! - [`yaml`]: whole events, for people. [`bounded`] limits the length of all forms for people.
//! - [`mod@line`]: for people, one line. [`summary`] chooses what it says of an event, and
//!   [`line_writer`] cuts it to the width of the terminal. [`duration`]: times in it.
//!
//! No format parses the event into values: they walk its tokens. Indented JSON changes only
//! the white space. YAML has rules of its own for numbers and strings.
//!
//! This folder knows no sink, except that the line for people asks for the width of the terminal on
//! stdout. A new format is a file here, a variant of [`Format`], an option in `cli/serve.rs`,
//! and an arm in `style_for_terminal` in `main.rs`, which decides about colours.
//!
//! Stop 8 of EDU_NOTES.md.

mod bounded;
pub mod duration;
mod json;
pub mod line;
pub mod line_writer;
pub mod summary;
mod yaml;

use self::line::LineLook;
use crate::event::Event;
use crate::terminal;

/// A format of events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Format {
    /// One line of JSON for each event.
    Compact,
    /// JSON indented by two spaces for each level.
    PrettyJson,
    /// YAML. `colour` adds escape sequences for a terminal, `cut` limits the lines of one text.
    PrettyYaml { colour: bool, cut: bool },
    /// A summary on one line. `colour` adds escape sequences, `cut` limits it to the width of
    /// the terminal.
    PrettyLine { colour: bool, cut: bool },
}

/// One event in the forms that sinks show, each made once.
#[derive(Debug, Default)]
pub struct Forms {
    /// The compact line, for readers of live events.
    pub compact: String,
    /// What stdout and the output socket show in another format. `None`: nothing, or, in the
    /// compact format, the compact line.
    pub shown: Option<String>,
}

impl Forms {
    /// The bytes of both forms.
    pub fn length(&self) -> usize {
        self.compact.len() + self.shown.as_ref().map_or(0, String::len)
    }
}

impl Format {
    /// The forms of one event, for sinks that show this format.
    pub fn forms(self, event: Event) -> Forms {
        let mut text = String::new();
        if self != Format::Compact {
            self.write(&event, &mut text);
        }
        Forms {
            compact: event.into_line(),
            shown: (!text.is_empty()).then_some(text),
        }
    }

    /// Appends one event to `out`.
    pub fn write(self, event: &Event, out: &mut String) {
        match self {
            Format::Compact => out.push_str(event.line()),
            Format::PrettyJson => json::write(event, out),
            Format::PrettyYaml { colour, cut } => {
                yaml::write(event, yaml::YamlLook { colour, cut }, out);
            }
            Format::PrettyLine { colour, cut } => {
                let look = LineLook {
                    has_colours: colour,
                    width: cut.then(terminal::width),
                };
                line::write(event, look, out);
            }
        }
    }
}
