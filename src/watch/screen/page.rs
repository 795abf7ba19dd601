//! Text that covers the screen: a whole event, or the help, which explains every key and state. It
//! can be scrolled.
//!
//! Stop 17 of EDU_NOTES.md.

use super::history::Entry;
use super::list::steady;
use crate::event::Event;
use crate::format::Format;
use crate::format::line_writer::columns;
use crate::terminal::sanitize_char;

pub const HELP: &str = "\
The sessions are above, those first that need you. Below are the events of the selected one.

j k ↓ ↑      select a session, or an event
Tab          select among the events, or among the sessions again
PgDn PgUp    the same, a page at a time
g G          the first, the last. The last event is followed
Enter        go to the session's terminal, or open the selected event whole
o            open the session's newest event, or the selected one
Esc          close it, or leave the events, the filter, the session
/            show only sessions that contain a text: project, id, state, what they do
f            show only sessions that wait or failed
e            list the sessions that ended more than a minute ago, or count them again
s            show only the selected session, and follow its events
Space        pause: the screen stays as it is, and events are still received
?            this help
Mouse        a click selects, the wheel moves
q            close what is open, or quit. Ctrl+C quits, Ctrl+Z suspends

! waiting    you are asked: a permission, a question, a plan, a form
✗ failed     the turn ended in an error
- idle       the turn has ended, or the session has just begun
* working    a turn runs, or subagents do
~ quiet      it should work, and nothing has come for a minute, and no tool runs
? unknown    the events that are known do not tell
. ended      the session has ended
x gone       its process has ended without saying so
• (in front) its turn has ended since you last selected it

In the events: ✓ success, ✗ failure, * runs, ! waits for you, ? no event has shown the end.

States are from events, and from the session files of Claude Code, which say when you have
allowed or refused something, or pressed Esc. Versions before 2.1.119 do not: then a tool that
you have allowed is shown as waiting until it has ended.";

/// Scrolled text.
pub struct Page {
    pub title: String,
    text: String,
    /// The text, wrapped to the width of the screen.
    pub rows: Vec<String>,
    /// The first row that is shown.
    pub top: usize,
}

impl Page {
    pub fn new(title: String, text: String, size: (u16, u16)) -> Page {
        let mut page = Page {
            title,
            text,
            rows: Vec::new(),
            top: 0,
        };
        page.resize(size);
        page
    }

    /// The events of an entry, as YAML.
    pub fn of(entry: &Entry, size: (u16, u16)) -> Page {
        let format = Format::PrettyYaml {
            colour: false,
            cut: false,
        };
        let mut text = String::new();
        let lines = entry.events.iter();
        for event in lines.filter_map(|line| Event::from_line(line)) {
            format.write(&event, &mut text);
        }
        Page::new(format!("{} · {}", entry.name, entry.time.text), text, size)
    }

    /// Wraps the text to a new size.
    pub fn resize(&mut self, (width, _): (u16, u16)) {
        self.rows = wrap(&self.text, width.into());
        self.top = self.top.min(self.rows.len());
    }

    /// Scrolls by rows. The last row stays on the screen.
    pub fn scroll(&mut self, rows: isize, height: usize) {
        let last = self.rows.len().saturating_sub(height);
        self.top = self.top.saturating_add_signed(rows).min(last);
    }
}

/// The lines of a text in rows of this width. A tab becomes spaces.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut rows = Vec::new();
    for line in text.lines() {
        let (mut row, mut used) = (String::new(), 0);
        for char in line.chars().filter_map(steady) {
            let (char, count) = match char {
                '\t' => (' ', 8 - used % 8),
                char => (sanitize_char(char), 1),
            };
            for _ in 0..count {
                if used + columns(char) > width && used > 0 {
                    rows.push(std::mem::take(&mut row));
                    used = 0;
                }
                row.push(char);
                used += columns(char);
            }
        }
        rows.push(row);
    }
    rows
}
