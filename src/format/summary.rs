//! What a person wants to know of an event: a command, a path, a question, an error. The one-line
//! format and the events on the screen share it.
//!
//! Claude Code has about thirty events and any number of tools, and later versions have more.
//! So this file knows few of them by name. It takes the first of [`SUMMARY_FIELDS`] that a
//! tool's input, or the event itself, has, and otherwise every field that is not in
//! [`HIDDEN_FIELDS`].
//!
//! Stop 8 of EDU_NOTES.md.

use super::line_writer::one_line;
use crate::event::claude::{self, first_question, task_summary};
use crate::event::json_text::{self, members};
use crate::event::object::Object;

/// The fields that summarize a tool's input or an event: the first one present is shown.
pub(super) const SUMMARY_FIELDS: [&str; 17] = [
    "command",
    "file_path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "subject",
    "task_subject",
    "description",
    "prompt",
    "message",
    "last_assistant_message",
    "delta",
    "path",
    "skill",
    "plan",
    "_raw",
];

/// Fields that are never part of the summary: they identify things, or the line shows them
/// elsewhere.
pub(super) const HIDDEN_FIELDS: [&str; 30] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_dropped",
    "_gone",
    "_host",
    "session_id",
    "transcript_path",
    "cwd",
    "prompt_id",
    "permission_mode",
    "effort",
    "hook_event_name",
    "tool_name",
    "tool_use_id",
    "tool_response",
    "mcp_server",
    "agent_id",
    "agent_type",
    "agent_transcript_path",
    "error",
    "is_interrupt",
    "duration_ms",
    "permission_suggestions",
    "stop_hook_active",
    "background_tasks",
    "session_crons",
    "turn_id",
];

/// Of a longer text, a line of limited width shows parts of the first and of the last of
/// this many bytes, so nothing between is decoded.
const END_BYTES: usize = 64 << 10;

/// The characters of a summary.
pub type Chars<'a> = Box<dyn Iterator<Item = char> + 'a>;

/// How an event or a tool call is summarized.
#[derive(Clone, Copy)]
pub struct Summarizer<'a> {
    /// The session's directory, decoded. A path inside is shown relative to it.
    pub cwd: Option<&'a str>,
    /// Whether the middle of a long text may be missing.
    pub is_cut: bool,
}

impl<'a> Summarizer<'a> {
    /// Summarizes what a tool or an agent did, by its input if it has one.
    pub fn action(self, action: &Object<'a>) -> Chars<'a> {
        if let Some(pid) = action.get("_gone") {
            let start = "process ".chars().chain(pid.chars());
            return Box::new(start.chain(" has ended".chars()));
        }
        match action.get("tool_input") {
            Some(input) if input.starts_with('{') => self.fields(&Object::parse(input)),
            Some(input) => self.value(input),
            None => self.fields(action),
        }
    }

    /// The first of [`SUMMARY_FIELDS`], or else all fields that are not hidden.
    fn fields(self, fields: &Object<'a>) -> Chars<'a> {
        if let Some(question) = fields.get("questions").and_then(first_question) {
            return self.text(question);
        }
        let mut names = SUMMARY_FIELDS.iter();
        match names.find_map(|name| Some((name, fields.string(name)?))) {
            Some((name, path)) if name.ends_with("path") => self.path(path),
            Some((&"prompt", prompt)) => self.text(task_summary(prompt).unwrap_or(prompt)),
            Some((_, text)) => self.text(text),
            None => self.all_fields(fields),
        }
    }

    fn all_fields(self, fields: &Object<'a>) -> Chars<'a> {
        let is_shown = |(key, _): &(&str, &str)| !HIDDEN_FIELDS.contains(&&*json_text::decode(key));
        let shown = fields.members().filter(is_shown).enumerate();
        let chars = shown.flat_map(move |(number, (key, value))| {
            let separator = if number == 0 { "" } else { ", " };
            let name = separator.chars().chain(json_text::chars(key));
            name.chain(": ".chars()).chain(self.value(value))
        });
        if self.is_cut {
            Box::new(chars.take(END_BYTES))
        } else {
            Box::new(chars)
        }
    }

    /// A JSON value: the text of a string, anything else as spelled.
    pub fn value(self, value: &'a str) -> Chars<'a> {
        match json_text::unquoted(value) {
            Some(text) => self.text(text),
            None if self.is_cut && value.len() > 2 * END_BYTES => {
                let start = json_text::boundary(value, END_BYTES);
                let end = json_text::boundary(value, value.len() - END_BYTES);
                let head = json_text::readable_chars(&value[..start]);
                Box::new(head.chain(json_text::readable_chars(&value[end..])))
            }
            None => Box::new(json_text::readable_chars(value)),
        }
    }

    /// A string, given as spelled.
    pub fn text(self, spelled: &'a str) -> Chars<'a> {
        if !self.is_cut || spelled.len() <= 2 * END_BYTES {
            return Box::new(json_text::chars(spelled));
        }
        let head = &spelled[..json_text::boundary(spelled, END_BYTES)];
        let tail = &spelled[json_text::boundary(spelled, spelled.len() - END_BYTES)..];
        Box::new(json_text::chars(head).chain(json_text::chars(tail)))
    }

    /// The error of an action: what interrupted it, or the text of its error. Of a call in a
    /// batch, it is the response.
    pub fn error(self, event: &Object, action: &Object<'a>) -> Option<Chars<'a>> {
        if event.get("tool_calls").is_some() {
            return claude::response(action).map(|text| self.text(text));
        }
        let response = action.get("tool_response").unwrap_or_default();
        let is_interrupted = action.get("is_interrupt") == Some("true")
            || members(response).any(|member| member == ("interrupted", "true"));
        let error = action
            .get("error")
            .filter(|error| !matches!(*error, "null" | "false" | "\"\""));
        match (is_interrupted, error) {
            (false, None) => None,
            (false, Some(error)) => Some(self.value(error)),
            (true, None) => Some(Box::new("interrupted".chars())),
            (true, Some(error)) => Some(Box::new("interrupted: ".chars().chain(self.value(error)))),
        }
    }

    fn path(self, spelled: &'a str) -> Chars<'a> {
        let path = json_text::decode(spelled);
        let relative = self.cwd.and_then(|cwd| relative(&path, cwd));
        match relative.map(str::to_owned) {
            Some(relative) => Box::new(relative.chars().collect::<Vec<_>>().into_iter()),
            None => self.text(spelled),
        }
    }
}

/// The part of a path that is inside a directory. On Windows the client separates names by
/// backslashes, and the case of a drive's letter differs.
fn relative<'p>(path: &'p str, directory: &str) -> Option<&'p str> {
    let (start, rest) = path.split_at_checked(directory.len())?;
    let is_inside = if is_windows_path(directory) {
        start.eq_ignore_ascii_case(directory)
    } else {
        start == directory
    };
    let rest = rest.strip_prefix(separators(directory))?;
    (is_inside && !rest.is_empty()).then_some(rest)
}

/// The name of a project: the last name in the path of its directory.
pub fn project(cwd: &str) -> &str {
    let separators = separators(cwd);
    let path = cwd.trim_end_matches(separators);
    path.rsplit(separators).next().unwrap_or(path)
}

fn is_windows_path(path: &str) -> bool {
    path.as_bytes().get(1) == Some(&b':') || path.starts_with("\\\\")
}

fn separators(path: &str) -> &'static [char] {
    if is_windows_path(path) {
        &['/', '\\']
    } else {
        &['/']
    }
}

/// At most `length` bytes of a text, and an ellipsis if it has more. It is on one line, and safe for
/// a terminal.
pub fn short(chars: impl Iterator<Item = char>, length: usize) -> String {
    let mut text = String::new();
    for char in one_line(chars) {
        if text.len() + char.len_utf8() > length {
            text.push('…');
            break;
        }
        text.push(char);
    }
    text
}
