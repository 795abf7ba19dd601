//! Text that covers the screen: a whole event, the help, which explains every key and state, or why
//! Enter leads nowhere. It can be scrolled.
//!
//! Stop 17 of EDU_NOTES.md.

use super::history::Entry;
use super::list::steady;
use crate::event::Event;
use crate::event::object::Object;
use crate::format::Format;
use crate::format::line_writer::columns;
use crate::terminal::sanitize_char;

/// Fields of the payload that nearly all events have.
const COMMON_FIELDS: [&str; 7] = [
    "session_id",
    "transcript_path",
    "cwd",
    "prompt_id",
    "permission_mode",
    "effort",
    "hook_event_name",
];

pub const HELP: &str = "\
The sessions are above, those first that need you. Below are the events of the
selected one.

j k ↓ ↑      select a session, or an event
Tab          select among the events, or among the sessions again
PgDn PgUp    the same, half a screen at a time. In an open event, Space moves a
             whole one
g G          the first, the last. Then the first session stays selected,
             whichever it is, and the last event
Mouse        a click selects, the wheel moves
Enter        go to the session's terminal, or open the selected event whole
o            open the event that waits for you, else the selected one
n p          in an open event: the next one, the previous one
/            show only sessions that contain a text: project, name, id, state,
             prompt, events
/            in an open event: search in it. Enter goes to the next place
Esc          leave what was entered last: a search, an open event, the events,
             s, /, f. Then select the first session
f            show only sessions that wait or failed
e            list the sessions that ended more than a minute ago, or count them
s            show only the selected session, and follow its events
y            copy the command that resumes the session
Space        pause: the screen stays as it is, and events are still received
?            this help
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

In the events: ✓ success, ✗ failure, * runs, ! waits for you, ? no event has
shown the end.

States are from events, and from the session files of Claude Code, which say
when you have allowed or refused something, or pressed Esc. Versions before
2.1.119 do not: then a tool that you have allowed is shown as waiting until it
has ended.";

/// Scrolled text.
#[derive(Default)]
pub struct Page {
    pub title: String,
    text: String,
    /// The number of the entry that it shows, if it shows one.
    pub entry: Option<u64>,
    /// The text, wrapped to the width of the screen.
    pub rows: Vec<String>,
    /// The first row that is shown.
    pub top: usize,
    /// What the user searches.
    pub search: String,
    /// The rows in which it begins.
    pub found: Vec<usize>,
    /// The index of the one that the user has gone to.
    pub current: usize,
    width: usize,
}

impl Page {
    pub fn new(title: String, text: String, size: (u16, u16)) -> Page {
        let mut page = Page {
            title,
            text,
            ..Page::default()
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
        let lines = entry.events.iter().map(|line| payload_first(line));
        for event in lines.filter_map(|line| Event::from_line(&line)) {
            format.write(&event, &mut text);
        }
        let title = format!("{} · {}", entry.name, entry.time.text);
        Page {
            entry: Some(entry.number),
            ..Page::new(title, text, size)
        }
    }

    /// The keys that it knows.
    pub fn keys(&self) -> &'static str {
        match self.entry {
            Some(_) => "n next, p previous, / search, Esc closes",
            None => "/ search, Esc closes",
        }
    }

    /// Wraps the text to a new size.
    pub fn resize(&mut self, (width, _): (u16, u16)) {
        self.width = width.into();
        self.rows = wrap(&self.text, self.width);
        self.top = self.top.min(self.rows.len());
        self.found = found(&self.text, self.width, &self.search.to_lowercase());
    }

    /// Scrolls by rows. The last row stays on the screen.
    pub fn scroll(&mut self, rows: isize, height: usize) {
        let last = self.rows.len().saturating_sub(height);
        self.top = self.top.saturating_add_signed(rows).min(last);
    }

    /// Looks for what the user searches, and goes to the first place on this screen or after it.
    pub fn find(&mut self, height: usize) {
        self.found = found(&self.text, self.width, &self.search.to_lowercase());
        self.current = self.found.partition_point(|row| *row < self.top);
        self.go_to_current(height);
    }

    /// Goes to the next place that was found.
    pub fn find_next(&mut self, height: usize) {
        self.current += 1;
        self.go_to_current(height);
    }

    fn go_to_current(&mut self, height: usize) {
        if self.current >= self.found.len() {
            self.current = 0;
        }
        if let Some(row) = self.found.get(self.current) {
            self.top = *row;
            self.scroll(0, height);
        }
    }
}

/// The rows of a wrapped text in which a text begins, which can go on in the next row. Both are
/// compared in lower case.
fn found(text: &str, width: usize, search: &str) -> Vec<usize> {
    let (mut found, mut first) = (Vec::new(), 0);
    for line in text.lines().filter(|_| !search.is_empty()) {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for row in wrap_line(line, width) {
            text.push_str(&row.to_lowercase());
            ends.push(text.len());
        }
        let starts = text.match_indices(search);
        found.extend(starts.map(|(start, _)| first + ends.partition_point(|end| *end <= start)));
        first += ends.len();
    }
    found.dedup();
    found
}

/// The line of an event in another order: first what it is about, then what all events have, then
/// what the server has added.
fn payload_first(line: &str) -> String {
    let mut members: Vec<_> = Object::parse(line).members().collect();
    members.sort_by_key(|(key, _)| (key.starts_with('_'), COMMON_FIELDS.contains(key)));
    let members = members.into_iter();
    let members = members.map(|(key, value)| format!("\"{key}\":{value}"));
    format!("{{{}}}", members.collect::<Vec<_>>().join(","))
}

/// The lines of a text in rows of this width, which end at a space where they can. A tab becomes
/// spaces.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    text.lines()
        .flat_map(|line| wrap_line(line, width))
        .collect()
}

fn wrap_line(line: &str, width: usize) -> Vec<String> {
    let (mut rows, mut row, mut used) = (Vec::new(), String::new(), 0);
    for char in line.chars().filter_map(steady) {
        let (char, count) = match char {
            '\t' => (' ', 8 - used % 8),
            char => (sanitize_char(char), 1),
        };
        for _ in 0..count {
            if used + columns(char) > width && used > 0 {
                let is_indentation = |space: &usize| row[..*space].trim_start().is_empty();
                let words = row.rfind(' ').filter(|space| !is_indentation(space));
                let rest = words.map(|space| row.split_off(space + 1));
                rows.push(std::mem::replace(&mut row, rest.unwrap_or_default()));
                used = row.chars().map(columns).sum();
            }
            row.push(char);
            used += columns(char);
        }
    }
    rows.push(row);
    rows
}
