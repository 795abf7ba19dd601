//! One line for each event: when, in which session, what, and whether it failed.
//!
//! Claude Code has about thirty events and any number of tools, and later versions have more.
//! So this file knows few of them by name. It shows the first of [`SUMMARY_FIELDS`] that a
//! tool's input, or the event itself, has, and otherwise every field that is not in
//! [`HIDDEN_FIELDS`].
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::line_writer::LineWriter;
use crate::event::Event;
use crate::event::json_text::{self, members};

/// The fields that summarize a tool's input or an event: the first one present is shown.
const SUMMARY_FIELDS: [&str; 14] = [
    "command",
    "file_path",
    "notebook_path",
    "pattern",
    "query",
    "url",
    "description",
    "prompt",
    "message",
    "last_assistant_message",
    "delta",
    "path",
    "skill",
    "_raw",
];

/// Fields that are never part of the summary: they identify things, or the line shows them
/// elsewhere.
const HIDDEN_FIELDS: [&str; 19] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_dropped",
    "_gone",
    "session_id",
    "transcript_path",
    "cwd",
    "prompt_id",
    "permission_mode",
    "effort",
    "hook_event_name",
    "tool_name",
    "tool_use_id",
    "agent_id",
    "agent_type",
    "error",
];

/// Further fields that the line shows in its own way.
const TOOL_FIELDS: [&str; 4] = ["tool_calls", "tool_input", "tool_response", "is_interrupt"];

/// Objects with more members than this are expected only from somebody who wants to use up
/// memory.
const MANY_FIELDS: usize = 64;

/// The column at which the event's name begins.
const NAME_COLUMN: usize = 14;
/// The column at which the action begins: there is room for `PostToolUseFailure` before it.
const ACTION_COLUMN: usize = 33;
/// Characters of the session's id that are shown: enough to tell a few sessions apart.
const SHORT_ID_LENGTH: usize = 4;

// Colours, as parameters of SGR (ECMA-48 section 8.3.117).
const DIM: &str = "2";
const BOLD: &str = "1";
const RED: &str = "31";
const CYAN: &str = "36";
/// The colours of sessions. Red is for errors.
const SESSION_COLOURS: [&str; 10] = ["32", "33", "34", "35", "36", "92", "93", "94", "95", "96"];

/// Writes one line, of at most `width` columns if there is a width.
pub fn write(event: &Event, colour: bool, width: Option<usize>, out: &mut String) {
    let event = Fields::new(event.line());
    let mut line = LineWriter::new(out, colour, width.unwrap_or(usize::MAX));
    if let Some(count) = event.get("_dropped") {
        // A client cannot forge this line: the line of a client's event begins with the time.
        line.styled(RED, &format!("-- {count} events are missing here --"));
        return line.end();
    }

    let time = event.string("_ts").unwrap_or_default();
    line.styled(DIM, &local_time(time).unwrap_or(time.into()));
    line.gap(1);
    let session = event.string("session_id").unwrap_or_default();
    let short_id: String = json_text::chars(session).take(SHORT_ID_LENGTH).collect();
    line.styled(session_colour(session), &short_id);
    line.gap_to(NAME_COLUMN);
    line.styled(BOLD, event.string("_event").unwrap_or_default());
    line.gap_to(ACTION_COLUMN);

    if let Some(pid) = event.get("_gone") {
        line.text(&format!("process {pid} has ended"));
        return line.end();
    }
    let cwd = event.string("cwd");
    match event.get("tool_calls").filter(|calls| is_array(calls)) {
        None => write_action(&event, cwd, &mut line),
        Some(calls) => {
            for (number, (_, call)) in members(calls).enumerate() {
                if number > 0 {
                    line.text("; ");
                }
                write_action(&Fields::new(call), cwd, &mut line);
            }
        }
    }
    line.end();
}

/// Writes what a tool or an agent did: its name, its error, and the summary of its input.
/// An event without either is summarized itself.
fn write_action(action: &Fields, cwd: Option<&str>, line: &mut LineWriter) {
    let mut names = ["tool_name", "agent_type"].iter();
    if let Some(name) = names.find_map(|name| action.string(name)) {
        line.styled(CYAN, name);
        line.gap(1);
    }
    write_failure(action, line);
    match action.get("tool_input") {
        Some(input) if input.starts_with('{') => {
            write_summary(&Fields::new(input), cwd, line);
        }
        Some(input) => line.value(input),
        None => write_summary(action, cwd, line),
    }
}

/// Writes the error, if there is one. It comes before the summary, which may be long and
/// which an earlier line has shown.
fn write_failure(action: &Fields, line: &mut LineWriter) {
    let mut write = |text: &str| {
        line.styled(RED, &format!("[{text}]"));
        line.gap(1);
    };
    let response = action.get("tool_response").unwrap_or_default();
    if action.get("is_interrupt") == Some("true")
        || members(response).any(|member| member == ("interrupted", "true"))
    {
        write("interrupted");
    }
    let error = action.get("error").unwrap_or("null");
    if !matches!(error, "null" | "false" | "\"\"") {
        write(json_text::unquoted(error).unwrap_or(error));
    }
}

/// Writes the first of [`SUMMARY_FIELDS`], or else all fields that are not hidden. A path
/// inside the session's directory `cwd` is written relative to it: the name of the file is at
/// the end, which may be cut off.
fn write_summary(fields: &Fields, cwd: Option<&str>, line: &mut LineWriter) {
    let mut names = SUMMARY_FIELDS.iter();
    let Some((name, text)) = names.find_map(|name| Some((name, fields.string(name)?))) else {
        return write_all_fields(fields, line);
    };
    let relative = cwd.and_then(|cwd| text.strip_prefix(cwd)?.strip_prefix('/'));
    let relative = relative.filter(|_| name.ends_with("path"));
    line.text(relative.unwrap_or(text));
}

fn write_all_fields(fields: &Fields, line: &mut LineWriter) {
    let names = members(fields.object).map(|(key, value)| (json_text::decode(key), value));
    let is_shown = |(name, _): &(Cow<str>, &str)| !HIDDEN_FIELDS.contains(&&**name);
    for (number, (name, value)) in names.filter(is_shown).enumerate() {
        if number > 0 {
            line.text(", ");
        }
        line.chars(name.chars());
        line.text(": ");
        line.value(value);
        if line.is_full() {
            return;
        }
    }
}

/// `HH:MM:SS` in the local time zone, or in UTC if that is not known.
fn local_time(timestamp: &str) -> Option<Cow<'static, str>> {
    let time: Timestamp = timestamp.parse().ok()?;
    let local = time.to_zoned_datetime(TimeZone::system());
    Some(local.strftime("%H:%M:%S").to_string().into())
}

/// The same colour for the same session.
fn session_colour(id: &str) -> &'static str {
    let mix = |hash: usize, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte));
    SESSION_COLOURS[id.bytes().fold(0, mix) % SESSION_COLOURS.len()]
}

fn is_array(value: &str) -> bool {
    value.starts_with('[')
}

/// An object, and its members that matter.
struct Fields<'a> {
    object: &'a str,
    /// Decoded names, and values as spelled. If the object has many members, only those that
    /// this file knows by name.
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Fields<'a> {
    fn new(object: &'a str) -> Self {
        let mut kept: Vec<(Cow<str>, &str)> = Vec::new();
        for (key, value) in members(object) {
            let name = json_text::decode(key);
            if kept.len() >= MANY_FIELDS {
                let lists: [&[&str]; 3] = [&HIDDEN_FIELDS, &SUMMARY_FIELDS, &TOOL_FIELDS];
                if !lists.iter().any(|list| list.contains(&&*name)) {
                    continue;
                }
                kept.retain(|(other, _)| *other != name);
            }
            kept.push((name, value));
        }
        Fields {
            object,
            members: kept,
        }
    }

    /// The value of a member: the last one, if the name is repeated.
    fn get(&self, name: &str) -> Option<&'a str> {
        let member = self.members.iter().rfind(|(key, _)| key == name);
        member.map(|(_, value)| *value)
    }

    /// The value of a member that is a non-empty string: as spelled, without its quotes.
    fn string(&self, name: &str) -> Option<&'a str> {
        let text = json_text::unquoted(self.get(name)?)?;
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::Peer;
    use crate::terminal::is_printable;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    fn line(name: &str, body: &str, colour: bool, width: Option<usize>) -> String {
        let peer = Peer {
            pid: None,
            uid: 1,
            gid: 1,
        };
        let mut out = String::from("before\n");
        write(
            &Event::hook("T", name, &peer, body),
            colour,
            width,
            &mut out,
        );
        out.strip_prefix("before\n").unwrap().to_owned()
    }

    fn is_safe(line: &str) -> bool {
        let text = line.strip_suffix('\n').unwrap();
        text.chars().all(is_printable) && !text.ends_with(' ')
    }

    #[test]
    fn text_that_does_not_fit_is_replaced_by_an_ellipsis() {
        let cut = |body: &str, width| {
            let line = line("E", body, false, Some(width));
            line.trim_start_matches(['T', ' ']).trim_end().to_owned()
        };
        let raw = "E                  ";
        assert_eq!(cut("abcdef", 39), format!("{raw}abcdef"));
        assert_eq!(cut("abcdefg", 39), format!("{raw}abcde…"));
        // These take two columns each.
        assert_eq!(cut("日本語", 39), format!("{raw}日本語"));
        assert_eq!(cut("日本語x", 39), format!("{raw}日本…"));
        assert_eq!(cut("日本語", 38), format!("{raw}日本…"));
        // A combining character counts as one column.
        assert_eq!(
            cut("e\u{301}e\u{301}", 37),
            format!("{raw}e\u{301}e\u{301}")
        );
        assert_eq!(cut("e\u{301}e\u{301}", 36), format!("{raw}e\u{301}…"));
        // Half of a flag can take as many columns as a whole one.
        assert_eq!(cut("🇩🇪", 36), format!("{raw}🇩…"));
        assert_eq!(cut("abc", 1), "…");
    }

    #[test]
    fn a_cut_line_resets_its_colour() {
        let line = line("Stop", "abc", true, Some(16));
        assert!(line.ends_with(" S…\x1b[0m\n"), "{line:?}");
    }

    #[test]
    fn the_line_of_a_gone_session_names_the_process() {
        let mut line = String::new();
        write(&Event::gone("T", 17, r#""abcdef""#), false, None, &mut line);
        let columns: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(columns.join(" "), "T abcd _gone process 17 has ended");
    }

    #[test]
    fn every_reserved_name_but_claimed_is_hidden() {
        for name in crate::event::RESERVED_NAMES {
            assert_eq!(HIDDEN_FIELDS.contains(&name), name != "_claimed", "{name}");
        }
    }

    /// JSON, or nearly, with the known field names and all kinds of text.
    fn body() -> impl Strategy<Value = String> {
        let text = || "\"([ a-z/]|\\\\n|\\\\u[0-9a-f]{4}|\\PC|\\p{Cf}|[\u{7f}-\u{9f}]){0,20}\"";
        let names = [
            SUMMARY_FIELDS.as_slice(),
            &HIDDEN_FIELDS,
            &["tool_input", "tool_calls"],
        ]
        .concat();
        let leaf = prop_oneof![text(), Just("true".into()), Just("17".into())];
        let value = leaf.prop_recursive(3, 24, 5, move |value| {
            let name = prop_oneof![
                4 => proptest::sample::select(names.clone()).prop_map(|name| format!("{name:?}")),
                1 => text(),
            ];
            let member = (name, value.clone()).prop_map(|(name, value)| format!("{name}:{value}"));
            prop_oneof![
                proptest::collection::vec(value, 0..5)
                    .prop_map(|all| format!("[{}]", all.join(","))),
                proptest::collection::vec(member, 0..6)
                    .prop_map(|all| format!("{{{}}}", all.join(", "))),
            ]
        });
        prop_oneof![4 => value, 1 => ".{0,60}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_body_becomes_one_safe_line_within_the_width(
            name in ".{0,30}", body in body(), width in 1..120_usize,
        ) {
            let cut = line(&name, &body, false, Some(width));
            prop_assert!(is_safe(&cut), "{cut:?}");
            prop_assert!(cut.trim_end_matches('\n').width() <= width, "{cut:?}");
            let whole = line(&name, &body, false, None);
            prop_assert!(is_safe(&whole), "{whole:?}");
            prop_assert!(
                cut == whole || whole.starts_with(cut.strip_suffix("…\n").unwrap()),
                "{cut:?} of {whole:?}"
            );
            // Without its colours, a coloured line is the same.
            let coloured = line(&name, &body, true, Some(width));
            let mut plain = String::new();
            for (number, piece) in coloured.split('\x1b').enumerate() {
                let text = if number == 0 { piece } else { piece.split_once('m').unwrap().1 };
                plain.push_str(text);
            }
            prop_assert_eq!(plain, cut);
            let last = coloured.rsplit('\x1b').next().unwrap();
            prop_assert!(!coloured.contains('\x1b') || last.starts_with("[0m"), "{coloured:?}");
        }
    }
}
