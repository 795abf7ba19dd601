//! One line an event, for people who look on: when, whose session, what, and how it went.
//!
//! A client has some thirty events and any number of tools, and tomorrow others.
//! So this knows hardly any of them by name: of what a tool is given, or of the
//! event itself, it shows the first of [`ESSENCE`] that is there, and where none
//! is, all there is. What does not fit in the terminal's width is cut off.
//!
//! Whatever a client sends, it becomes one line in which nothing moves the cursor,
//! changes a colour or turns the direction of writing.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use unicode_width::UnicodeWidthChar;

use super::harmless;
use super::text::{self, members};
use crate::event::Event;

/// Where the essence of an input, or of an event, is found: best first.
const ESSENCE: [&str; 14] = [
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

/// What every event has, and what has a place of its own on the line.
const USUAL: [&str; 18] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_dropped",
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

/// Where the event's name begins, and what follows it: room for `PostToolUseFailure`.
const NAME_COLUMN: usize = 14;
const REST_COLUMN: usize = 33;
/// As many characters of a session's id tell apart the few that one looks at.
const SHORT_ID: usize = 4;

// Colours as parameters of SGR (ECMA-48 section 8.3.117).
const DIM: &str = "2";
const BOLD: &str = "1";
const RED: &str = "31";
const CYAN: &str = "36";
/// Those of sessions. Red is for errors.
const SESSIONS: [&str; 10] = ["32", "33", "34", "35", "36", "92", "93", "94", "95", "96"];

/// The columns of the terminal that stdout is, as of now: its window may change.
pub fn terminal_width() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    match size.map_or(0, |size| size.ws_col) {
        // Nobody has told the terminal how wide it is.
        0 => 80,
        columns => columns.into(),
    }
}

/// One line, of `width` columns at most if that is given.
pub fn write(event: &Event, colour: bool, width: Option<usize>, out: &mut String) {
    let event = Members::new(event.fields().map(|field| (field.name(), &*field.value)));
    let mut line = Line::new(out, colour, width.unwrap_or(usize::MAX));
    if let Some(count) = event.get("_dropped") {
        // No client's event can look like this: each begins with the time.
        line.styled(RED, &format!("-- {count} events are missing here --"));
        return line.end();
    }

    let time = event.string("_ts").unwrap_or_default();
    line.styled(DIM, &local_time(time).unwrap_or(time.into()));
    line.gap(1);
    let session = event.string("session_id").unwrap_or_default();
    let short: String = text::chars(session).take(SHORT_ID).collect();
    line.styled(session_colour(session), &short);
    line.gap_to(NAME_COLUMN);
    line.styled(BOLD, event.string("_event").unwrap_or_default());
    line.gap_to(REST_COLUMN);

    let folder = event.string("cwd");
    match event
        .get("tool_calls")
        .filter(|calls| calls.starts_with('['))
    {
        None => deed(&event, folder, &mut line),
        Some(calls) => {
            for (number, (_, call)) in members(calls).enumerate() {
                if number > 0 {
                    line.text("; ");
                }
                deed(&Members::new(members(call)), folder, &mut line);
            }
        }
    }
    line.end();
}

/// What a tool, or whatever else there is an event of, did: which, how it
/// failed, and the essence of what it was given.
fn deed(deed: &Members, folder: Option<&str>, line: &mut Line) {
    let mut who = ["tool_name", "agent_type"].iter();
    if let Some(who) = who.find_map(|name| deed.string(name)) {
        line.styled(CYAN, who);
        line.gap(1);
    }
    failure(deed, line);
    match deed.get("tool_input") {
        Some(input) if input.starts_with('{') => {
            essence(&Members::new(members(input)), folder, line);
        }
        Some(input) => line.value(input),
        None => essence(deed, folder, line),
    }
}

/// What went wrong, if something did. It stands before the essence, which an
/// earlier line has said and which may be long.
fn failure(deed: &Members, line: &mut Line) {
    let mut say = |text: &str| {
        line.styled(RED, &format!("[{text}]"));
        line.gap(1);
    };
    let response = deed.get("tool_response").unwrap_or_default();
    if deed.get("is_interrupt") == Some("true")
        || members(response).any(|member| member == ("interrupted", "true"))
    {
        say("interrupted");
    }
    let error = deed.get("error").unwrap_or("null");
    if !matches!(error, "null" | "false" | "\"\"") {
        say(unquoted(error).unwrap_or(error));
    }
}

/// The first of [`ESSENCE`], or everything but the usual. Of a path in the
/// session's folder, what follows that: the file's name is at the end, which may
/// be cut off.
fn essence(of: &Members, folder: Option<&str>, line: &mut Line) {
    let mut names = ESSENCE.iter();
    let Some((name, text)) = names.find_map(|name| Some((name, of.string(name)?))) else {
        return everything(of, line);
    };
    let inside = folder.and_then(|folder| text.strip_prefix(folder)?.strip_prefix('/'));
    let inside = inside.filter(|_| name.ends_with("path"));
    line.text(inside.unwrap_or(text));
}

fn everything(of: &Members, line: &mut Line) {
    let unusual = of.0.iter().filter(|(key, _)| !USUAL.contains(&&**key));
    for (number, (key, value)) in unusual.enumerate() {
        if number > 0 {
            line.text(", ");
        }
        line.chars(key.chars());
        line.text(": ");
        line.value(value);
    }
}

/// `HH:MM:SS` where the user is, or in UTC where that is not known.
fn local_time(timestamp: &str) -> Option<Cow<'static, str>> {
    let time: Timestamp = timestamp.parse().ok()?;
    let local = time.to_zoned_datetime(TimeZone::system());
    Some(local.strftime("%H:%M:%S").to_string().into())
}

/// The same for the same session.
fn session_colour(id: &str) -> &'static str {
    let mix = |hash: usize, byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte));
    SESSIONS[id.bytes().fold(0, mix) % SESSIONS.len()]
}

/// The members of an object: names, and values as spelled.
struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'a> Members<'a> {
    fn new(members: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let decoded = members.map(|(key, value)| (text::decode(key), value));
        Members(decoded.collect())
    }

    /// Of a name that comes twice, the last value counts.
    fn get(&self, name: &str) -> Option<&'a str> {
        let member = self.0.iter().rfind(|(key, _)| key == name);
        member.map(|(_, value)| *value)
    }

    /// A string that is not empty, as spelled, without its quotes.
    fn string(&self, name: &str) -> Option<&'a str> {
        let text = unquoted(self.get(name)?)?;
        (!text.is_empty()).then_some(text)
    }
}

/// A string's value without its quotes.
fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

/// The line that is being written.
struct Line<'o> {
    out: &'o mut String,
    colour: bool,
    width: usize,
    /// Columns that are taken.
    used: usize,
    /// Spaces before whatever comes next.
    gap: usize,
    /// Up to where it stays, should an ellipsis have to follow.
    kept: usize,
    is_full: bool,
}

impl<'o> Line<'o> {
    fn new(out: &'o mut String, colour: bool, width: usize) -> Self {
        Line {
            kept: out.len(),
            out,
            colour,
            width,
            used: 0,
            gap: 0,
            is_full: false,
        }
    }

    /// A string as what it says, anything else as it is spelled.
    fn value(&mut self, value: &str) {
        match unquoted(value) {
            Some(text) => self.text(text),
            None => self.chars(value.chars()),
        }
    }

    /// What a string, given as spelled, says, in a style.
    fn styled(&mut self, style: &str, spelled: &str) {
        let styled = self.colour && !self.is_full && !spelled.is_empty();
        if styled {
            self.out.push_str(&format!("\x1b[{style}m"));
        }
        self.text(spelled);
        if styled && !self.is_full {
            self.out.push_str("\x1b[0m");
        }
    }

    /// What a string, given as spelled, says.
    fn text(&mut self, spelled: &str) {
        self.chars(text::chars(spelled));
    }

    /// White space of any kind and length is a space, and none at the line's
    /// ends; what a terminal would obey is U+FFFD.
    fn chars(&mut self, chars: impl Iterator<Item = char>) {
        for char in chars {
            if self.is_full {
                return;
            }
            if char.is_whitespace() {
                self.gap(1);
                continue;
            }
            for _ in 0..std::mem::take(&mut self.gap) {
                self.char(' ');
            }
            self.char(harmless(char));
        }
    }

    /// The next character, or in its stead, and of so many before it as need be,
    /// an ellipsis.
    fn char(&mut self, char: char) {
        if self.is_full {
            return;
        }
        self.used += columns(char);
        if self.used <= self.width {
            self.out.push(char);
            if self.used < self.width {
                self.kept = self.out.len();
            }
        } else {
            self.out.truncate(self.kept);
            self.out.push('…');
            self.is_full = true;
        }
    }

    /// Leaves so much space, at least, before whatever comes next.
    fn gap(&mut self, columns: usize) {
        if self.used > 0 {
            self.gap = self.gap.max(columns);
        }
    }

    /// Has whatever comes next stand at a column, or one space on.
    fn gap_to(&mut self, column: usize) {
        self.gap(column.saturating_sub(self.used).max(1));
    }

    fn end(self) {
        // Where it was cut, a style may not have come to its end.
        if self.colour && self.is_full {
            self.out.push_str("\x1b[0m");
        }
        self.out.push('\n');
    }
}

/// How many columns a character takes on any terminal, at most: what takes more than
/// is counted would wrap, and the rest would look like a line of its own. Terminals
/// differ on what joins the character before it, and glibc's `wcwidth` finds some wider.
fn columns(char: char) -> usize {
    match char {
        '\u{302e}' | '\u{302f}' | '\u{3248}'..='\u{324f}' | '\u{16ff0}' | '\u{16ff1}' => 2,
        _ => char.width().unwrap_or(0).max(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::is_printable;
    use crate::peer::Peer;
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

    fn is_harmless(line: &str) -> bool {
        let text = line.strip_suffix('\n').unwrap();
        text.chars().all(is_printable) && !text.ends_with(' ')
    }

    #[test]
    fn what_does_not_fit_gives_way_to_an_ellipsis() {
        let cut = |body: &str, width| {
            let line = line("E", body, false, Some(width));
            line.trim_start_matches(['T', ' ']).trim_end().to_owned()
        };
        let raw = "E                  ";
        assert_eq!(cut("abcdef", 39), format!("{raw}abcdef"));
        assert_eq!(cut("abcdefg", 39), format!("{raw}abcde…"));
        // Two columns each.
        assert_eq!(cut("日本語", 39), format!("{raw}日本語"));
        assert_eq!(cut("日本語x", 39), format!("{raw}日本…"));
        assert_eq!(cut("日本語", 38), format!("{raw}日本…"));
        // One at least, also for what joins the character before it.
        assert_eq!(
            cut("e\u{301}e\u{301}", 37),
            format!("{raw}e\u{301}e\u{301}")
        );
        assert_eq!(cut("e\u{301}e\u{301}", 36), format!("{raw}e\u{301}…"));
        assert_eq!(cut("abc", 1), "…");
    }

    #[test]
    fn a_colour_ends_where_the_line_does() {
        let line = line("Stop", "abc", true, Some(16));
        assert!(line.ends_with(" S…\x1b[0m\n"), "{line:?}");
    }

    /// JSON, or nearly, with the names that are looked for and all kinds of text.
    fn body() -> impl Strategy<Value = String> {
        let text = || "\"([ a-z/]|\\\\n|\\\\u[0-9a-f]{4}|\\PC|\\p{Cf}|[\u{7f}-\u{9f}]){0,20}\"";
        let names = [ESSENCE.as_slice(), &USUAL, &["tool_input", "tool_calls"]].concat();
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
        fn any_body_is_one_harmless_line_of_the_width(
            name in ".{0,30}", body in body(), width in 1..120_usize,
        ) {
            let cut = line(&name, &body, false, Some(width));
            prop_assert!(is_harmless(&cut), "{cut:?}");
            prop_assert!(cut.trim_end_matches('\n').width() <= width, "{cut:?}");
            let whole = line(&name, &body, false, None);
            prop_assert!(is_harmless(&whole), "{whole:?}");
            prop_assert!(
                cut == whole || whole.starts_with(cut.strip_suffix("…\n").unwrap()),
                "{cut:?} of {whole:?}"
            );
            // Colours change nothing else.
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
