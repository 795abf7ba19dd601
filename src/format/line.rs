//! One line for each event: when, in which project and session, what, and how it ended.
//!
//! The server forms each line by its event alone ([`write()`]). `watch` knows the events before
//! it, and gives the rest in a [`Context`] ([`write_in`]).
//!
//! Stop 8 of EDU_NOTES.md.

use jiff::tz::TimeZone;

use super::bounded::MAX_GROWTH;
use super::duration::{describe, describe_seconds, time_of_day};
use super::line_writer::{LineWriter, cut_middle};
use super::summary::{self, Summarizer};
use crate::event::Event;
use crate::event::claude;
use crate::event::json_text;
use crate::event::object::Object;

/// Columns for the name of the project, when the names of others are not known.
const PROJECT_COLUMNS: usize = 8;
/// The most columns for the name of a project.
pub const MAX_PROJECT_COLUMNS: usize = 12;
/// The most columns for the name of a host.
pub const MAX_HOST_COLUMNS: usize = 12;
/// Characters of an identifier that are shown: enough to tell a few sessions apart.
pub const SHORT_ID_LENGTH: usize = 4;
/// Columns for the event's name: `SessionStart` fits, and longer names move the rest.
const NAME_COLUMNS: usize = 12;

// Colours, as parameters of SGR (ECMA-48 section 8.3.117).
const DIM: &str = "2";
const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";
const BOLD_REVERSED: &str = "1;7";
/// The colours of sessions. Red is for errors.
pub const SESSION_COLOURS: [&str; 10] =
    ["32", "33", "34", "35", "36", "92", "93", "94", "95", "96"];

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub struct LineLook {
    pub has_colours: bool,
    /// The columns of the terminal. `None`: lines are not cut.
    pub width: Option<usize>,
}

/// What a line shows beside the content of its event.
pub struct Context<'c> {
    /// The host that the session's events name.
    pub host: &'c str,
    /// With 0 it is not shown.
    pub host_columns: usize,
    /// The name of the session's project.
    pub project: &'c str,
    pub project_columns: usize,
    /// Characters of a session's id that are shown.
    pub session_length: usize,
    pub session_colour: &'static str,
    /// Characters of a subagent's id that are shown.
    pub agent_length: usize,
    /// For how many seconds the tool ran, in case that the event does not say it.
    pub seconds: Option<u64>,
    /// The calls of a `PostToolBatch`, by number, that are shown. The numbers ascend.
    pub failures: Vec<usize>,
    /// Whether the event asks the user.
    pub asks_user: bool,
    /// Whether the summary is shown. It is not if it repeats the message of an earlier line.
    pub has_summary: bool,
}

/// Writes the line of an event, or of each failure in a `PostToolBatch`, by the event alone.
pub fn write(event: &Event, look: LineLook, out: &mut String) {
    let event = Object::parse(event.line());
    let calls = claude::batch(&event).into_iter().flatten().enumerate();
    let failures = calls.filter(|(_, call)| claude::batch_error(call).is_some());
    let cwd = event.text("cwd").unwrap_or_default();
    let context = Context {
        host: "",
        host_columns: 0,
        project: summary::project(&cwd),
        project_columns: PROJECT_COLUMNS,
        session_length: SHORT_ID_LENGTH,
        session_colour: colour_of_id(event.string("session_id").unwrap_or_default()),
        agent_length: SHORT_ID_LENGTH,
        seconds: None,
        failures: failures.map(|(number, _)| number).collect(),
        asks_user: claude::asks_user(&event),
        has_summary: true,
    };
    write_in(&context, &event, look, out);
}

/// Writes the line of an event, or of each failure in a `PostToolBatch`.
pub fn write_in(context: &Context, event: &Object, look: LineLook, out: &mut String) {
    if let Some(count) = event.get("_dropped") {
        // A client cannot forge this line: the line of a client's event begins with the time.
        let mut line = LineWriter::new(out, look.has_colours, look.width);
        let notice = format!("-- {count} events are missing here --");
        line.styled(RED, notice.chars());
        return line.end();
    }
    let cwd = event.text("cwd");
    let lines = Lines::new(context, event, cwd.as_deref(), look);
    if claude::batch(event).is_none() {
        return lines.write_action(event, out);
    }
    // The last line may exceed it: that is within the allowance.
    let limit = out.len() + MAX_GROWTH * event.length();
    for (number, call) in claude::calls(event, &context.failures).enumerate() {
        let start = out.len();
        lines.write_action(&call, out);
        if out.len() > limit {
            out.truncate(start);
            let rest = format!("{} more calls have failed", context.failures.len() - number);
            return lines.write(out, |line| line.ends(rest.chars()));
        }
    }
}

/// What all lines of an event share. A batch can have thousands of calls and a path of any length,
/// so the path is read once, not for each of them.
struct Lines<'a> {
    context: &'a Context<'a>,
    event: &'a Object<'a>,
    look: LineLook,
    /// The local time of day.
    time: String,
    host: String,
    project: String,
    summarizer: Summarizer<'a>,
}

impl<'a> Lines<'a> {
    /// `cwd` is the session's directory.
    fn new(context: &'a Context, event: &'a Object, cwd: Option<&'a str>, look: LineLook) -> Self {
        let time = event.string("_ts").unwrap_or_default();
        let local = time.parse();
        let local = local.map(|time| time_of_day(time, TimeZone::system()));
        Lines {
            context,
            event,
            look,
            time: local.unwrap_or_else(|_| time.to_owned()),
            host: cut_middle(context.host.chars(), MAX_HOST_COLUMNS),
            project: cut_middle(context.project.chars(), MAX_PROJECT_COLUMNS),
            summarizer: Summarizer {
                cwd,
                is_cut: look.width.is_some(),
            },
        }
    }

    /// Writes one line. `write` writes what is after the event's name.
    fn write(&self, out: &mut String, write: impl FnOnce(&mut LineWriter)) {
        let Lines { context, event, .. } = self;
        let mut line = LineWriter::new(out, self.look.has_colours, self.look.width);
        line.word(DIM, self.time.chars());
        line.column(context.host_columns, DIM, self.host.chars());
        line.column(
            context.project_columns,
            context.session_colour,
            self.project.chars(),
        );
        let chars = |name| json_text::chars(event.string(name).unwrap_or_default());
        let session = chars("session_id").take(context.session_length);
        line.column(context.session_length, context.session_colour, session);
        // The lines of subagents are indented by its width.
        if event.string("agent_id").is_some() {
            let agent = chars("agent_id").take(context.agent_length);
            line.column(context.agent_length, context.session_colour, agent);
        }
        line.column(NAME_COLUMNS, BOLD, chars("_event"));
        write(&mut line);
        line.end();
    }

    /// Writes what a tool or an agent did: its name, how it ended, and the summary of its input.
    fn write_action(&self, action: &Object, out: &mut String) {
        self.write(out, |line| {
            let Lines { context, event, .. } = self;
            if context.asks_user {
                line.word(BOLD_REVERSED, "WAITS".chars());
            }
            let mut names = ["tool_name", "agent_type"].iter();
            if let Some(name) = names.find_map(|name| action.string(name)) {
                line.word(CYAN, json_text::chars(name));
            }
            let error = self.summarizer.error(event, action);
            match error {
                Some(_) => line.word(RED, "✗".chars()),
                None if event.string("_event") == Some("PostToolUse") => {
                    line.word(GREEN, "✓".chars());
                }
                None => {}
            }
            let duration = claude::duration(action).map(describe);
            if let Some(duration) = duration.or(context.seconds.map(describe_seconds)) {
                line.word(DIM, duration.chars());
            }
            let summary = self.summarizer.action(action);
            match error {
                Some(error) => line.ends_two(error, summary),
                None if context.has_summary => line.ends(summary),
                None => {}
            }
        });
    }
}

/// The same colour for the same session.
fn colour_of_id(id: &str) -> &'static str {
    let mix = |hash: usize, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte));
    SESSION_COLOURS[id.bytes().fold(0, mix) % SESSION_COLOURS.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::summary::{HIDDEN_FIELDS, SUMMARY_FIELDS};
    use crate::peer::Peer;
    use crate::terminal::is_printable;
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    fn written(event: &Event, has_colours: bool, width: Option<usize>) -> String {
        let mut out = String::from("before\n");
        write(event, LineLook { has_colours, width }, &mut out);
        out.strip_prefix("before\n").unwrap().to_owned()
    }

    fn line(name: &str, body: &str, has_colours: bool, width: Option<usize>) -> String {
        let peer = Peer {
            pid: None,
            uid: 1,
            gid: 1,
        };
        written(&Event::hook("T", name, &peer, body), has_colours, width)
    }

    fn is_safe(lines: &str) -> bool {
        let is_safe = |line: &str| line.chars().all(is_printable) && !line.ends_with(' ');
        lines.lines().all(is_safe) && (lines.is_empty() || lines.ends_with('\n'))
    }

    /// Whether `cut` is `whole` with ellipses for parts of it.
    fn is_cut_of(cut: &str, whole: &str) -> bool {
        let mut rest = whole;
        let mut pieces = cut.split('…').peekable();
        let is_first = pieces.next().is_some_and(|first| whole.starts_with(first));
        while let Some(piece) = pieces.next() {
            let found = match pieces.peek() {
                Some(_) => rest.find(piece),
                None => rest.ends_with(piece).then(|| rest.len() - piece.len()),
            };
            let Some(index) = found else {
                // The summary after an error is missing where there is no room.
                return rest.contains(piece) && whole.contains(" · ");
            };
            rest = &rest[index + piece.len()..];
        }
        is_first
    }

    #[test]
    fn of_text_that_does_not_fit_the_middle_is_replaced_by_an_ellipsis() {
        let cut = |body: &str, width| {
            let line = line("E", body, false, Some(width));
            line.trim_start_matches(['T', ' ', 'E'])
                .trim_end()
                .to_owned()
        };
        // The text begins at column 29.
        assert_eq!(cut("abcdefghi", 38), "abcdefghi");
        assert_eq!(cut("abcdefghij", 38), "abcd…ghij");
        // These take two columns each.
        assert_eq!(cut("日本語日本語", 41), "日本語日本語");
        assert_eq!(cut("日本語日本語", 40), "日本…日本語");
        assert_eq!(cut("日本語日本語", 39), "日本…本語");
        // A combining character counts as one column.
        assert_eq!(
            cut("e\u{301}e\u{301}e\u{301}e\u{301}", 37),
            "e\u{301}e\u{301}e\u{301}e\u{301}"
        );
        assert_eq!(
            cut("e\u{301}e\u{301}xe\u{301}e\u{301}", 37),
            "e\u{301}e\u{301}…e\u{301}"
        );
        // Where there is little room, the end is missing.
        assert_eq!(cut("abcdefgh", 36), "abcdef…");
        assert_eq!(cut("abc", 1), "…");
    }

    #[test]
    fn of_a_text_of_megabytes_the_end_is_found_without_its_middle() {
        let unit = r"\\\u4e2d";
        for repeated in ["x", r"\\", r"\u4e2d", unit] {
            let text = repeated.repeat(200_000);
            let body = format!(r#"{{"prompt":"a{text}z"}}"#);
            let line = line("E", &body, false, Some(39));
            let end = json_text::decode(repeated).chars().last().unwrap();
            assert!(line.ends_with(&format!("{end}z\n")), "{line}");
        }
    }

    #[test]
    fn a_cut_line_resets_its_colour() {
        let line = line("Stop", "abc", true, Some(18));
        assert!(line.ends_with("\x1b[1mS…\x1b[0m\n"), "{line:?}");
    }

    #[test]
    fn the_line_of_a_gone_session_names_the_process() {
        let line = written(&Event::gone("T", 17, r#""abcdef""#), false, None);
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
        fn any_body_becomes_safe_lines_within_the_width(
            name in ".{0,30}", body in body(), width in 1..120_usize,
        ) {
            let cut = line(&name, &body, false, Some(width));
            prop_assert!(is_safe(&cut), "{cut:?}");
            prop_assert!(cut.lines().all(|line| line.width() <= width), "{cut:?}");
            let whole = line(&name, &body, false, None);
            prop_assert!(is_safe(&whole), "{whole:?}");
            prop_assert_eq!(cut.lines().count(), whole.lines().count());
            for (cut, whole) in cut.lines().zip(whole.lines()) {
                prop_assert!(is_cut_of(cut, whole), "{cut:?} of {whole:?}");
            }
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
