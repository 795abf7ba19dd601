//! The screen, drawn on ratatui's test backend, and the keys, as scripts.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::style::{Color, Modifier};
use serde_json::{Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::app::Focus;
use super::history::Entry;
use super::*;
use crate::cli::Filter;
use crate::format::summary;
use crate::terminal::is_printable;
use crate::watch::client_files::{self, Details, Transcript};
use crate::watch::session::client::{ClientWord, Status};
use crate::watch::session::parts::Time;

/// 2026-02-09T10:30:00Z, the time of the first event.
const START: i64 = 1_770_633_000;
const SIZES: [(u16, u16); 5] = [(100, 30), (80, 24), (40, 10), (20, 5), (1, 1)];

struct View {
    app: App,
}

impl View {
    fn new(size: (u16, u16)) -> View {
        View::with(Filter::default(), false, size)
    }

    fn with(filter: Filter, has_colours: bool, size: (u16, u16)) -> View {
        let look = ScreenLook {
            has_colours,
            is_ascii: false,
            zone: TimeZone::UTC,
        };
        let mut app = App::new(filter, look, size);
        app.now = START;
        View { app }
    }

    /// Takes an event of a session, whose id is also the name of its project.
    fn event(&mut self, session: &str, name: &str, fields: Value) {
        let time = jiff::Timestamp::from_second(self.app.now).unwrap();
        let mut event = json!({
            "_ts": time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
            "_event": name,
            "session_id": id(session),
            "cwd": format!("/home/dev/{session}"),
        });
        let fields = fields.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(fields);
        self.app.take(event.to_string().as_bytes(), None);
    }

    fn prompt(&mut self, session: &str, prompt: &str) {
        self.event(session, "UserPromptSubmit", json!({"prompt": prompt}));
    }

    fn bash(&mut self, session: &str, name: &str, id: &str, command: &str) {
        self.event(session, name, bash(id, command));
    }

    /// A call succeeds, after so many milliseconds.
    fn bash_succeeds(&mut self, session: &str, id: &str, command: &str, duration: u64) {
        let call = with(bash(id, command), "duration_ms", duration);
        self.event(session, "PostToolUse", call);
    }

    fn waits(&mut self, session: &str) {
        self.bash(session, "PreToolUse", "t1", "rm -r build");
        self.bash(session, "PermissionRequest", "", "rm -r build");
    }

    /// Presses keys: characters, and the names of others in `<>`.
    fn press(&mut self, keys: &str) -> ControlFlow<()> {
        let mut rest = keys;
        while let Some(char) = rest.chars().next() {
            let name = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let (code, next) = match name {
                Some((name, next)) => (key(name), next),
                None => (KeyCode::Char(char), &rest[char.len_utf8()..]),
            };
            rest = next;
            let key = KeyEvent::new(code, KeyModifiers::NONE);
            self.app.press(key)?;
        }
        Continue(())
    }

    /// Something happens to the mouse in this row.
    fn mouse(&mut self, kind: MouseEventKind, row: u16) {
        self.app.point(MouseEvent {
            kind,
            column: 20,
            row,
            modifiers: KeyModifiers::NONE,
        });
    }

    /// The name of the selected entry.
    fn selected_entry(&self) -> &str {
        let entries = self.entries();
        &entries[self.app.selected_entry(&entries)].name
    }

    fn buffer(&self) -> Buffer {
        let (width, height) = self.app.size;
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let draw = |frame: &mut ratatui::Frame| draw::draw(&self.app, frame.buffer_mut());
        terminal.draw(draw).unwrap();
        terminal.backend().buffer().clone()
    }

    /// The rows of the screen, without the spaces at their ends.
    fn rows(&self) -> Vec<String> {
        let buffer = self.buffer();
        let width = usize::from(buffer.area.width);
        let row = |row: &[Cell]| {
            let mut text = String::new();
            let mut cells = row.iter();
            while let Some(cell) = cells.next() {
                text.push_str(cell.symbol());
                // A wide character covers the next cell.
                for _ in 1..cell.symbol().width() {
                    cells.next();
                }
            }
            text.trim_end().to_owned()
        };
        buffer.content.chunks(width).map(row).collect()
    }

    fn text(&self) -> String {
        self.rows().join("\n")
    }

    /// Checks that the screen contains a text.
    fn shows(&self, expected: &str) {
        let text = self.text();
        assert!(text.contains(expected), "{expected:?} in {text}");
    }

    /// The sessions that are shown, in order: the state and the project of each.
    fn table(&self) -> Vec<String> {
        let shown = self.app.shown().into_iter().map(|session| {
            let project = summary::project(&session.cwd);
            format!("{} {project}", session.state().name())
        });
        shown.collect()
    }

    /// The entries of the selected session.
    fn entries(&self) -> Vec<&Entry> {
        self.app.entries(&self.app.shown())
    }
}

/// What the client's file says of a session.
fn client_word(id: &str, status: Status, version: u64) -> (String, ClientWord) {
    let word = ClientWord {
        status: Some(status),
        version,
        ..ClientWord::default()
    };
    (id.into(), word)
}

/// Ids as short as they are shown, and others as they are.
fn id(session: &str) -> &str {
    match session {
        "webshop" => "a47624fd",
        "infra" => "07fa5e11",
        "docs" => "e9d30c52",
        "api" => "5c01b2d7",
        session => session,
    }
}

fn key(name: &str) -> KeyCode {
    match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "Down" => KeyCode::Down,
        "Up" => KeyCode::Up,
        "PgDn" => KeyCode::PageDown,
        "Backspace" => KeyCode::Backspace,
        name => panic!("{name}"),
    }
}

fn bash(id: &str, command: &str) -> Value {
    json!({"tool_name": "Bash", "tool_use_id": id, "tool_input": {"command": command}})
}

fn with(mut fields: Value, name: &str, value: impl Into<Value>) -> Value {
    fields[name] = value.into();
    fields
}

/// Five sessions, one in each state that a screen of a morning has.
fn morning(size: (u16, u16)) -> View {
    let mut view = View::new(size);
    view.event("docs", "SessionStart", json!({"source": "startup"}));
    view.prompt("docs", "Check the links");
    let message = json!({"last_assistant_message": "All links lead somewhere."});
    view.event("docs", "Stop", message);
    view.app.now += 60;
    view.prompt("infra", "Plan the upgrade");
    view.event("infra", "StopFailure", json!({"error": "rate_limit", "last_assistant_message": "API Error: 429 Too many requests"}));
    view.app.now += 60;
    view.prompt("api", "Find the slow queries");
    for (id, kind, command) in [
        ("a1f0", "Explore", "grep -rn SELECT src"),
        ("b2e4", "general-purpose", "psql -c 'EXPLAIN SELECT …'"),
    ] {
        let agent = json!({"agent_id": id, "agent_type": kind});
        view.event("api", "SubagentStart", agent.clone());
        let call = with(bash(id, command), "agent_id", id);
        view.event("api", "PreToolUse", with(call, "agent_type", kind));
    }
    view.app.now += 5;
    view.event("webshop", "SessionStart", json!({"source": "startup"}));
    view.prompt("webshop", "Clean up, then run the tests");
    view.app.now += 3;
    view.bash("webshop", "PreToolUse", "1", "git status --short");
    view.bash_succeeds("webshop", "1", "git status --short", 34);
    view.app.now += 2;
    view.bash("webshop", "PreToolUse", "2", "npm test");
    view.app.now += 9;
    let failed = with(bash("2", "npm test"), "duration_ms", 9120);
    let failed = with(failed, "error", "Exit code 1");
    view.event("webshop", "PostToolUseFailure", failed);
    view.app.now += 4;
    let command = "rm -r build node_modules";
    view.bash("webshop", "PreToolUse", "3", command);
    view.bash("webshop", "PermissionRequest", "", command);
    view.app.now += 12;
    view
}

#[test]
fn the_picture_in_the_readme_is_the_screen() {
    let readme = include_str!("../../../README.md");
    let screen = morning((100, 16)).text();
    let picture = format!("\n```text\n{screen}\n```\n");
    assert!(readme.contains(&picture), "{screen}");
}

/// Text that a terminal would obey, that has no width, or that is wide.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;x\u{7}\r\n\t\u{9b}\u{202e}\u{2066}\u{200b}\u{ad}👨\u{200d}👩\u{200d}👧\u{fe0f}日本語e\u{301}\u{302e}\u{e0041}";

fn fill(view: &mut View, sessions: usize, text: &str) {
    for number in 0..sessions {
        let session = format!("{text}{number}");
        view.prompt(&session, text);
        let agent = json!({"agent_id": text, "agent_type": text});
        view.event(&session, "SubagentStart", agent);
        let call = json!({"tool_name": text, "tool_use_id": text, "tool_input": {"command": text}});
        view.event(&session, "PreToolUse", call.clone());
        view.event(&session, text, json!({"error": text}));
        match number % 5 {
            0 => view.event(&session, "PermissionRequest", call),
            1 => view.event(&session, "StopFailure", json!({"error": text})),
            2 => view.event(&session, "Stop", json!({"last_assistant_message": text})),
            3 => view.event(&session, "PostToolUseFailure", with(call, "error", text)),
            _ => view.event(&session, "SessionEnd", json!({"reason": text})),
        }
    }
}

#[test]
fn every_size_with_any_number_of_sessions_and_any_text_is_drawn() {
    for size in SIZES {
        for sessions in [0, 1, 10, 200] {
            for text in ["plain", "", HOSTILE, &"日本語".repeat(300)] {
                let mut view = View::new(size);
                fill(&mut view, sessions, text);
                for keys in [
                    "", "<Tab>", "<Tab>kk", "s", "f", " ", "<Esc>/x", text, "<Enter>", "o",
                    "<PgDn>G", "q?",
                ] {
                    let keys = keys.replace(|char: char| char.is_control(), "");
                    assert!(view.press(&keys).is_continue() || keys.contains('q'));
                    let rows = view.rows();
                    let is_safe = |row: &String| row.chars().all(is_printable);
                    assert!(rows.iter().all(is_safe), "{size:?} {keys:?} {rows:#?}");
                }
            }
        }
    }
}

#[test]
fn no_row_is_wider_than_the_screen_on_any_terminal() {
    use crate::format::line_writer::columns_of;
    for size in SIZES {
        let mut view = View::new(size);
        fill(&mut view, 10, HOSTILE);
        for keys in ["", "<Tab>", "<Enter>"] {
            let _ = view.press(keys);
            let is_narrow = |row: &String| columns_of(row) <= usize::from(size.0);
            let rows = view.rows();
            let are_narrow = size.0 == 1 || rows.iter().all(is_narrow);
            assert!(are_narrow, "{size:?} {rows:#?}");
        }
    }
}

#[test]
fn the_smallest_screen_names_the_session_that_waits() {
    let mut view = morning((20, 5));
    let rows = view.rows();
    assert_eq!(rows[0], "1 waiting,…1 working");
    assert_eq!(rows[1], "> !  12s webshop B…s");
    let _ = view.press("<Tab>");
    assert!(view.rows()[4].starts_with("! Bash"), "{:#?}", view.rows());
}

#[test]
fn of_a_subagents_question_the_tool_and_the_ends_of_its_command_stay_in_80_columns() {
    let mut view = View::new((80, 16));
    view.prompt("api", "Go");
    let agent = json!({"agent_id": "a041e9d3c37c1f4cc", "agent_type": "general-purpose"});
    view.event("api", "SubagentStart", agent);
    let call = bash("1", "cd deploy && ./release --to production && ./verify");
    let call = with(call, "agent_id", "a041e9d3c37c1f4cc");
    view.event("api", "PermissionRequest", call);
    let rows = view.rows();
    // Its session, and the subagent.
    for row in &rows[2..4] {
        let question = row.split_once(" Bash: cd deploy");
        let end = question.map(|(_, end)| end.trim_end());
        assert!(
            end.is_some_and(|end| end.ends_with(" && ./verify")),
            "{row}"
        );
    }
}

#[test]
fn colours_are_used_only_if_they_are_wanted() {
    let is_plain = |view: &View| {
        let buffer = view.buffer();
        let is_plain = |cell: &Cell| (cell.fg, cell.bg) == (Color::Reset, Color::Reset);
        buffer.content.iter().all(is_plain)
    };
    let mut plain = View::new((80, 24));
    plain.waits("shop");
    assert!(is_plain(&plain));
    let mut coloured = View::with(Filter::default(), true, (80, 24));
    coloured.waits("shop");
    assert!(!is_plain(&coloured));
    // The text is the same: no colour says anything by itself.
    assert_eq!(plain.text(), coloured.text());
}

#[test]
fn the_title_counts_the_sessions_that_wait() {
    let mut view = View::new((80, 24));
    assert_eq!(view.app.title(), "hooks-observatory");
    view.waits("a");
    assert_eq!(view.app.title(), "1 waits · hooks-observatory");
    view.waits("b");
    view.prompt("c", "");
    assert_eq!(view.app.title(), "2 wait · hooks-observatory");
}

#[test]
fn a_tool_call_is_one_line_from_its_start_to_its_outcome() {
    let mut view = View::new((60, 12));
    let line = |view: &View| view.rows()[4].clone();
    view.bash("a", "PreToolUse", "1", "ls");
    view.app.now += 3;
    assert_eq!(line(&view), "10:30:00 *     3s Bash ls");
    view.bash("a", "PermissionRequest", "", "ls");
    assert_eq!(line(&view), "10:30:00 !     3s Bash ls");
    view.bash_succeeds("a", "1", "ls", 1234);
    assert_eq!(line(&view), "10:30:00 ✓   1.2s Bash ls");
    assert_eq!(view.entries().len(), 1);
    // Only the batch says that a call was refused.
    view.bash("a", "PreToolUse", "2", "rm");
    let response = "The user doesn't want to proceed";
    let refused = with(bash("2", "rm"), "tool_response", response);
    view.event("a", "PostToolBatch", json!({"tool_calls": [refused]}));
    assert_eq!(view.entries().len(), 2);
    view.shows("\n10:30:03 ✗        Bash The user doesn't want to proceed · rm\n");
    // After Esc there is no event.
    view.bash("a", "PreToolUse", "3", "sleep");
    view.event("a", "Stop", json!({}));
    assert_eq!(view.rows()[6], "10:30:03 ?        Bash sleep");
}

#[test]
fn the_same_message_in_two_events_is_one_line() {
    let mut view = View::new((80, 24));
    let display = ("MessageDisplay", json!({"delta": "Done."}));
    let stop = ("Stop", json!({"last_assistant_message": "Done."}));
    for (name, fields) in [&display, &stop, &stop, &display] {
        view.event("a", name, fields.clone());
    }
    let names: Vec<&str> = view.entries().iter().map(|entry| &*entry.name).collect();
    assert_eq!(names, ["Stop", "Stop"]);
    view.event("a", "MessageDisplay", json!({"delta": "Another"}));
    assert_eq!(view.entries().len(), 3);
}

#[test]
fn sessions_that_need_the_user_come_first_and_f_hides_the_others() {
    let mut view = morning((100, 30));
    let all = [
        "waiting webshop",
        "failed infra",
        "idle docs",
        "working api",
    ];
    assert_eq!(view.table(), all);
    let _ = view.press("f");
    assert_eq!(view.table(), all[..2]);
    let _ = view.press("f");
    assert_eq!(view.table(), all);
}

#[test]
fn keys_select_a_session_and_it_stays_selected_when_the_order_changes() {
    let mut view = morning((100, 30));
    let selected = |view: &View| {
        let mut rows = view.rows().into_iter();
        let row = rows.find(|row| row.starts_with('>')).unwrap();
        row.split_whitespace().nth(4).unwrap().to_owned()
    };
    assert_eq!(selected(&view), "webshop");
    for (keys, expected) in [
        ("j", "infra"),
        ("<Down><Down>", "api"),
        ("jj", "api"),
        ("k", "docs"),
        ("g", "webshop"),
        ("G", "api"),
        ("<Up>", "docs"),
    ] {
        let _ = view.press(keys);
        assert_eq!(selected(&view), expected, "{keys}");
    }
    view.waits("api");
    assert_eq!(selected(&view), "docs");
    view.shows("\ne9d30c52 · /home/dev/docs\nprompt: Check the links\n");
}

#[test]
fn the_first_session_is_followed_unless_another_one_is_selected() {
    let selected = |view: &View| {
        let session = view.app.selected_session().unwrap();
        summary::project(&session.cwd).to_owned()
    };
    for keys in ["", "jjg", "jkk", "jj<Esc>", "f<Esc>j<Esc>", "<Tab><Esc>"] {
        let mut view = View::new((100, 30));
        view.prompt("a", "");
        view.prompt("b", "");
        let _ = view.press(keys);
        view.waits("b");
        assert_eq!(selected(&view), "b", "{keys}");
    }
    let mut view = View::new((100, 30));
    view.prompt("a", "");
    view.prompt("b", "");
    let _ = view.press("s");
    view.waits("b");
    assert_eq!(selected(&view), "a", "the only one that is shown");
}

#[test]
fn a_session_that_is_resumed_long_after_its_end_begins_again() {
    let mut view = View::new((80, 24));
    view.event(
        "webshop",
        "SessionEnd",
        json!({"reason": "prompt_input_exit"}),
    );
    view.app.now += 60;
    view.event("webshop", "SessionStart", json!({"source": "resume"}));
    assert_eq!(view.table(), ["idle webshop"]);
    assert!(
        !view.text().contains(" 0 prompt_input_exit"),
        "{}",
        view.text()
    );
}

#[test]
fn the_title_counts_also_while_the_screen_is_paused() {
    let mut view = View::new((80, 24));
    let _ = view.press(" ");
    view.waits("a");
    assert_eq!(view.app.title(), "1 waits · hooks-observatory");
}

#[test]
fn an_interrupted_turn_does_not_show_the_message_of_the_one_before() {
    let mut view = View::new((80, 24));
    view.event(
        "webshop",
        "Stop",
        json!({"last_assistant_message": "All done."}),
    );
    view.waits("webshop");
    let word = || vec![client_word("a47624fd", Status::Idle, 1)];
    view.app.take_client_words(word());
    view.shows("interrupted");
    view.prompt("webshop", "go on");
    view.app.take_client_words(word());
    view.shows("interrupted");
    view.event("webshop", "SessionEnd", json!({"reason": "other"}));
    view.app.take_client_words(Vec::new());
    view.shows(" other · All done.");
}

#[test]
fn without_a_selection_the_first_session_is_shown() {
    let mut view = View::new((80, 24));
    view.prompt("a", "");
    view.waits("b");
    view.shows("\nb · /home/dev/b\n");
}

#[test]
fn o_opens_the_newest_event_or_enter_the_selected_one_and_it_can_be_scrolled() {
    let mut view = morning((100, 10));
    let _ = view.press("o");
    let text = view.text();
    let start = "Bash · 2026-02-09T10:32:23+00:00 · 9/18 · n next, p previous, / search, Esc closes\n\
                 ---\ntool_input:\n";
    assert!(text.starts_with(start), "{text}");
    // Both events of the call.
    let _ = view.press("G");
    view.shows("\n_event: PermissionRequest\n");
    let _ = view.press("<Esc><Tab>kk<Enter>");
    view.shows("git status");
    // The first q closes the event.
    assert!(view.press("q").is_continue());
    assert!(view.press("q").is_break());
}

#[test]
fn o_opens_the_call_that_waits_and_n_and_p_its_neighbours() {
    let mut view = morning((100, 30));
    view.bash("webshop", "PreToolUse", "9", "sleep 5");
    view.event("webshop", "Notification", json!({"message": "hello"}));
    let _ = view.press("o");
    view.shows("\n  command: rm -r build node_modules\n");
    let _ = view.press("p");
    view.shows("\n  command: npm test\n");
    let _ = view.press("nn");
    view.shows("\n  command: sleep 5\n");
    let _ = view.press("nnnn");
    view.shows("\nmessage: hello\n");
    view.event("webshop", "Notification", json!({"message": "later"}));
    view.shows("\nmessage: hello\n");
    let _ = view.press("n");
    view.shows("\nmessage: later\n");
    // Other pages have no neighbours.
    let _ = view.press("<Esc>?np");
    view.shows("The sessions are above");
}

#[test]
fn text_is_found_in_an_open_event_and_the_next_place_with_enter() {
    let mut view = View::new((20, 6));
    let text = format!(
        "{}Needle in{}\nneedle{}",
        "x".repeat(55),
        "y".repeat(90),
        "z".repeat(90)
    );
    view.event("a", "Stop", json!({"last_assistant_message": text}));
    let _ = view.press("o/NEEDLE");
    let bold = |view: &View| {
        let buffer = view.buffer();
        let rows = (1..6).filter(|y| buffer[(0, *y)].modifier.contains(Modifier::BOLD));
        rows.map(|y| view.rows()[usize::from(y)].clone())
            .collect::<Vec<_>>()
    };
    // It is cut at the end of the row.
    assert!(bold(&view)[0].ends_with("xNee"), "{:#?}", view.rows());
    let page = |view: &View| {
        let page = view.app.page.as_ref().unwrap();
        (page.top, page.current, page.found.len())
    };
    let (first, ..) = page(&view);
    assert_eq!(page(&view), (first, 0, 2));
    let _ = view.press("<Enter><Enter>");
    assert_eq!(page(&view).1, 1);
    assert!(page(&view).0 > first);
    let _ = view.press("<Enter>");
    assert_eq!(page(&view), (first, 0, 2));
    let found = |view: &View| view.app.page.as_ref().unwrap().found.clone();
    let _ =
        view.press("/<Backspace><Backspace><Backspace><Backspace><Backspace><Backspace>yy<Enter>");
    assert!(
        found(&view).is_sorted_by(|one, other| one < other),
        "each row once"
    );
    let _ = view.press("/r<Enter>");
    assert!(bold(&view).is_empty());
    let _ = view.press("<Esc>");
    assert!(view.app.page.as_ref().unwrap().search.is_empty());
    let _ = view.press("<Esc>");
    assert!(view.app.page.is_none());
}

#[test]
fn y_copies_the_command_that_resumes_the_session() {
    const ID: &str = "00000001-0000-4000-8000-00000000000f";
    let mut view = View::new((100, 30));
    let copied = |view: &mut View| {
        let _ = view.press("y");
        view.app.copied.take()
    };
    assert_eq!(copied(&mut view), None);
    view.event(
        "a",
        "Stop",
        json!({"session_id": ID, "cwd": "/home/dev/it's"}),
    );
    let command = format!("cd '/home/dev/it'\\''s' && claude --resume {ID}");
    assert_eq!(copied(&mut view), Some(command.clone()));
    view.shows("\ncopied, if the terminal allows it: cd '/home/dev/it'\\''s' && ");
    // Also on the page that says that Enter leads nowhere, which is none of an event.
    let _ = view.press("o");
    assert_eq!(copied(&mut view), None);
    let _ = view.press("<Esc>?");
    assert_eq!(copied(&mut view), Some(command));
    view.shows("\ncopied, if the terminal allows it");
    for (id, cwd) in [
        ("x; rm -r ~", "/a"),
        (&ID[1..], "/a"),
        (&ID.replace('f', "g"), "/a"),
        (ID, "/a\nb"),
    ] {
        let mut view = View::new((100, 30));
        view.event("a", "Stop", json!({"session_id": id, "cwd": cwd}));
        assert_eq!(copied(&mut view), None, "{id} {cwd}");
        view.shows("\nits id or directory cannot be part of a command");
    }
    let mut view = View::new((100, 30));
    view.event("a", "Stop", json!({"session_id": ID, "cwd": ""}));
    assert_eq!(copied(&mut view), Some(format!("claude --resume {ID}")));
}

#[test]
fn where_the_title_of_an_event_does_not_fit_the_keys_are_cut() {
    let mut view = View::new((80, 24));
    let _ = view.press("o");
    view.shows("\nthere is no event to open\n");
    view.prompt("a", "Go");
    let _ = view.press("o");
    let title = "UserPromptSubmit · 2026-02-09T10:30:00+00:00 · 6/6 · n next, p pre…h, Esc closes";
    assert_eq!(view.rows()[0], title);
    let mut view = View::new((40, 10));
    view.prompt("a", "Go");
    let _ = view.press("o/Go");
    let title = &view.rows()[0];
    assert!(title.ends_with("/Go_"), "{title}");
}

#[test]
fn an_open_event_is_whole_and_shows_no_byte_that_a_terminal_obeys() {
    let mut view = View::new((20, 5));
    let text = format!("{}{HOSTILE}\n\ttabs\n{}", "Q".repeat(500), "last");
    view.event("a", "Stop", json!({"last_assistant_message": text}));
    let _ = view.press("o");
    let page = view.app.page.as_ref().unwrap();
    assert_eq!(page.rows.concat().matches('Q').count(), 500);
    let is_safe = |row: &String| row.width() <= 20 && row.chars().all(is_printable);
    assert!(page.rows.iter().all(is_safe));
    view.app.resize((100, 30));
    let page = view.app.page.as_ref().unwrap();
    assert!(page.rows.iter().any(|row| row.width() == 100));
}

#[test]
fn the_filter_hides_sessions_that_do_not_contain_its_text() {
    let mut view = morning((100, 30));
    let _ = view.press("/NODE_mod");
    assert_eq!(view.table(), ["waiting webshop"]);
    assert!(view.text().ends_with("/NODE_mod_"));
    // Letters are text, not commands.
    let _ = view.press("q<Backspace><Enter>");
    assert!(view.rows()[0].ends_with(" · filter: NODE_mod"));
    let _ = view.press("/xyz<Enter>");
    view.shows("No session matches the filter.");
    let _ = view.press("<Esc>");
    assert_eq!(view.table().len(), 4);
    for (text, expected) in [
        ("explore", "working api"),
        ("upgrade", "failed infra"),
        ("GIT STATUS", "waiting webshop"),
        ("source: startup", "idle docs"),
        ("e9d30c52", "idle docs"),
    ] {
        let _ = view.press(&format!("/{text}<Enter>"));
        view.app.refresh();
        assert!(view.table().contains(&expected.to_owned()), "{text}");
        assert!(view.table().len() <= 2, "{text}");
        let _ = view.press("<Esc>");
    }
    assert_eq!(view.table().len(), 4);
}

#[test]
fn s_shows_one_session_and_follows_its_events() {
    let mut view = morning((100, 30));
    let _ = view.press("jjjs");
    assert_eq!(view.table(), ["working api"]);
    assert!(view.rows()[0].ends_with(" · one session"));
    view.event("api", "Notification", json!({"message": "the newest"}));
    view.shows("the newest");
    let _ = view.press("s");
    assert_eq!(view.table().len(), 4);
    // Without a session it does nothing.
    let mut view = View::new((100, 30));
    let _ = view.press("s");
    view.waits("api");
    assert_eq!(view.table(), ["waiting api"]);
}

#[test]
fn while_events_are_selected_the_session_stays() {
    let mut view = View::new((80, 24));
    view.prompt("a", "");
    let _ = view.press("<Tab>");
    view.waits("b");
    view.shows("\na · /home/dev/a\n");
}

#[test]
fn space_stops_the_screen_and_not_the_events() {
    let mut view = morning((100, 30));
    let _ = view.press(" ");
    let paused = view.text();
    assert!(paused.starts_with("PAUSED · 1 waiting"));
    assert_eq!(view.app.next_change(), None);
    view.app.now += 100;
    view.waits("docs");
    view.bash_succeeds("webshop", "3", "rm -r build node_modules", 5);
    assert_eq!(view.text(), paused);
    // Keys still work.
    let _ = view.press("jo");
    assert!(view.text().starts_with("StopFailure"));
    let _ = view.press("<Esc> ");
    assert_eq!(view.table()[0], "waiting docs");
}

#[test]
fn the_help_lists_every_key_and_closes() {
    let mut view = View::new((100, 40));
    let _ = view.press("?");
    view.shows("Enter        go to the session's terminal, or open the selected event whole");
    let _ = view.press("<Esc>");
    view.shows("No sessions yet.");
}

#[test]
fn no_line_of_the_help_is_wrapped_in_80_columns() {
    let mut view = View::new((80, 24));
    let _ = view.press("?");
    let page = view.app.page.as_ref().unwrap();
    assert_eq!(page.rows, page::HELP.lines().collect::<Vec<_>>());
}

#[test]
fn the_sessions_that_need_the_user_stay_on_the_screen_while_another_is_selected() {
    let mut view = View::new((80, 24));
    for number in 0..20 {
        view.prompt(&format!("w{number:02}"), "Go");
    }
    view.waits("webshop");
    for _ in 0..17 {
        let _ = view.press("j");
        view.shows("  ! waiting");
    }
    view.shows("> * working   0s w16");
    let _ = view.press("j");
    let text = view.text();
    assert!(!text.contains("! waiting"), "{text}");
    view.shows("> * working   0s w17");
}

#[test]
fn the_start_of_a_subagent_names_its_type() {
    let mut view = morning((100, 30));
    let _ = view.press("<Down><Down><Down>");
    view.shows("a1f0 SubagentStart    Explore");
}

#[test]
fn the_options_of_the_command_line_limit_what_is_shown() {
    let filter = Filter {
        session: "a47".into(),
        events: Vec::new(),
        tools: vec!["Read".into()],
    };
    let mut view = View::with(filter, false, (100, 30));
    view.waits("api");
    view.waits("webshop");
    assert_eq!(view.table(), ["waiting webshop"]);
    assert_eq!(view.app.title(), "1 waits · hooks-observatory");
    assert!(view.entries().is_empty());
}

#[test]
fn the_clock_runs_only_for_ages_that_are_shown() {
    let mut view = View::new((80, 24));
    view.app.now = START;
    assert_eq!(view.app.next_change(), None);
    view.event("a", "SessionStart", json!({}));
    view.app.now = START + 5;
    assert_eq!(view.app.next_change(), Some(1));
    view.app.now = START + 70;
    assert_eq!(view.app.next_change(), Some(50));
    view.app.now = START + 7000;
    assert_eq!(view.app.next_change(), Some(200));
    view.bash("a", "PreToolUse", "1", "sleep");
    view.app.now = START + 7000;
    assert_eq!(view.app.next_change(), Some(1));
    view.event("a", "SessionEnd", json!({}));
    assert_eq!(view.app.next_change(), Some(61), "then it leaves the list");
    view.app.now += 61;
    assert_eq!(view.app.next_change(), None);
}

#[test]
fn sessions_that_ended_long_ago_are_one_row_until_e() {
    let mut view = View::new((80, 24));
    for session in ["a", "b", "c"] {
        view.event(session, "SessionEnd", json!({"reason": "other"}));
    }
    view.app.now += 60;
    assert_eq!(view.table(), ["ended a", "ended b", "ended c"]);
    view.prompt("d", "");
    view.app.now += 1;
    assert_eq!(view.table(), ["working d"]);
    view.shows("\n  . 3 ended · e shows them\n");
    let _ = view.press("e");
    assert_eq!(view.table().len(), 4);
    let _ = view.press("jje");
    assert_eq!(view.table(), ["working d", "ended b"], "b is selected");
    view.shows("\n  . 2 ended · e shows them\n");
    let _ = view.press("/ended<Enter>");
    assert_eq!(
        view.table(),
        ["ended a", "ended b", "ended c"],
        "a filter looks at all"
    );
    assert!(!view.text().contains("e shows them"));
    let _ = view.press("<Esc>f");
    assert!(!view.text().contains("e shows them"));
}

#[test]
fn a_session_is_marked_when_its_turn_has_ended_until_it_is_selected() {
    let mut view = morning((100, 30));
    let mark = |view: &mut View| {
        view.app.refresh();
    };
    let marked = |view: &View| {
        let rows = view.rows().into_iter();
        let rows = rows.filter(|row| row.starts_with('•'));
        rows.map(|row| row.split_whitespace().nth(4).unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    mark(&mut view);
    view.app.is_live = true;
    mark(&mut view);
    assert!(marked(&view).is_empty(), "what ended before is not new");
    for (session, name) in [
        ("docs", "Stop"),
        ("infra", "StopFailure"),
        ("webshop", "Stop"),
    ] {
        view.app.now += 1;
        view.prompt(session, "go on");
        mark(&mut view);
        view.event(session, name, json!({}));
        mark(&mut view);
    }
    let _ = view.press("G");
    view.prompt("webshop", "go on");
    mark(&mut view);
    view.event("webshop", "Stop", json!({}));
    mark(&mut view);
    assert_eq!(
        marked(&view),
        ["webshop", "docs"],
        "infra became the first one"
    );
    let _ = view.press("g");
    mark(&mut view);
    assert_eq!(marked(&view), ["webshop", "docs"]);
    view.prompt("docs", "go on");
    mark(&mut view);
    let _ = view.press("j");
    mark(&mut view);
    assert!(marked(&view).is_empty(), "{:#?}", view.rows());
    // It has no prompt: it was only cleared.
    view.bash("cleared", "PreToolUse", "1", "ls");
    mark(&mut view);
    view.event("cleared", "Stop", json!({}));
    // Only its file tells of it.
    let word = |status| client_word("file", status, 1);
    view.app.take_client_words(vec![word(Status::Busy)]);
    mark(&mut view);
    view.app.take_client_words(vec![word(Status::Idle)]);
    // It was refused.
    view.prompt("api", "go on");
    view.waits("api");
    mark(&mut view);
    view.event("api", "Stop", json!({}));
    mark(&mut view);
    let rows = view.rows();
    let marked = rows.iter().filter(|row| row.starts_with('•'));
    let marked: Vec<_> = marked.filter(|row| !row.contains("docs")).collect();
    assert_eq!(marked.len(), 2, "{rows:#?}");
    assert!(
        !marked.iter().any(|row| row.contains("cleared")),
        "{rows:#?}"
    );
}

#[test]
fn what_keeps_the_client_busy_without_an_event_is_no_turn_unless_events_can_be_missing() {
    let mut view = morning((100, 30));
    view.app.connect();
    for is_lost in [false, true] {
        if is_lost {
            view.app.lose_server("the server has ended".into());
        }
        for status in [Status::Idle, Status::Busy, Status::Idle] {
            view.app
                .take_client_words(vec![client_word(id("docs"), status, 1)]);
            view.app.refresh();
        }
        assert_eq!(view.text().contains("• - idle"), is_lost);
    }
    // No event tells that this turn has ended. It is marked once.
    view.app.connect();
    view.prompt("docs", "go on");
    for (status, selected, is_marked) in [
        (Status::Busy, None, false),
        (Status::Idle, None, true),
        (Status::Idle, Some("docs"), false),
        (Status::Idle, None, false),
    ] {
        view.app
            .take_client_words(vec![client_word(id("docs"), status, 1)]);
        view.app.selected = selected.map(|session| id(session).to_owned());
        view.app.refresh();
        assert_eq!(view.text().contains("• - idle"), is_marked);
    }
}

/// The turn in between has sent no event.
#[test]
fn where_events_can_be_missing_the_client_tells_since_when_a_session_is_idle() {
    let mut view = View::new((80, 24));
    view.app.connect();
    view.event("idle", "Stop", json!({}));
    view.prompt("busy", "Go");
    view.app.now += 260;
    for (is_lost, age) in [(false, "4m"), (true, "1m")] {
        if is_lost {
            view.app.lose_server("the server has ended".into());
        }
        view.app.take_client_words(vec![
            file_of("idle", Status::Idle, 200),
            file_of("busy", Status::Busy, 200),
        ]);
        view.shows(&format!("- idle      {age} idle"));
        // Since its prompt, whatever it has asked meanwhile.
        view.shows("* working   4m busy");
    }
}

#[test]
fn within_a_second_the_order_is_that_of_the_client_s_files() {
    let mut view = View::new((80, 24));
    let waiting = || Status::Waiting("permission prompt".into());
    let words = [("c", 1), ("a", 3), ("b", 2)];
    let words = words.map(|(id, version)| client_word(id, waiting(), version));
    view.app.take_client_words(words.into());
    let ids: Vec<_> = view
        .app
        .shown()
        .iter()
        .map(|session| &*session.id)
        .collect();
    assert_eq!(ids, ["c", "b", "a"]);
}

#[test]
fn of_the_ended_sessions_the_latest_is_the_first() {
    let mut view = View::new((80, 24));
    for session in ["a", "b"] {
        view.event(session, "SessionEnd", json!({}));
        view.app.now += 1;
    }
    assert_eq!(view.table(), ["ended b", "ended a"]);
}

#[test]
fn a_long_notice_takes_a_third_of_the_screen_at_most() {
    let mut view = morning((40, 15));
    view.app.notice = "long ".repeat(100);
    let rows = view.rows();
    assert_eq!(
        rows.iter().filter(|row| row.contains("long long")).count(),
        5
    );
    assert!(rows[1].contains("STATE"), "{rows:#?}");
}

#[test]
fn one_long_name_leaves_room_for_what_sessions_do() {
    let mut view = View::new((60, 24));
    view.event(
        "a",
        "Stop",
        json!({"cwd": "/home/dev/".to_owned() + &"p".repeat(60)}),
    );
    view.waits("b");
    view.shows(" Bash: rm -r build\n");
}

#[test]
fn lists_that_do_not_fit_say_where_they_are() {
    let mut view = View::new((80, 24));
    fill(&mut view, 30, "p");
    let _ = view.press("jj");
    assert!(view.rows()[1].ends_with(" 3 of 30"));
    let mut view = View::new((80, 24));
    for _ in 0..30 {
        view.event("a", "Notification", json!({}));
    }
    assert!(view.rows()[3].ends_with(" 30 of 30"), "{:#?}", view.rows());
    let _ = view.press("<Tab>kk");
    assert!(view.rows()[3].ends_with(" 28 of 30"));
}

#[test]
fn the_mouse_selects_and_scrolls() {
    let mut view = morning((100, 30));
    let row = |view: &View, text: &str| {
        let mut rows = view.rows().into_iter();
        u16::try_from(rows.position(|row| row.contains(text)).unwrap()).unwrap()
    };
    let click = MouseEventKind::Down(MouseButton::Left);
    view.mouse(click, row(&view, "✗ failed"));
    assert!(view.rows()[3].starts_with("> ✗ failed"));
    view.mouse(click, row(&view, "Explore"));
    assert!(
        view.rows()[5].starts_with("> * working"),
        "a subagent's row is its session's"
    );
    view.mouse(MouseEventKind::ScrollUp, 2);
    assert!(view.rows()[4].starts_with("> - idle"));
    view.mouse(click, 2);
    view.mouse(click, row(&view, "git status"));
    assert_eq!(
        (view.app.focus, view.selected_entry()),
        (Focus::Events, "Bash")
    );
    view.mouse(MouseEventKind::ScrollUp, 20);
    assert_eq!(view.selected_entry(), "UserPromptSubmit");
    view.mouse(MouseEventKind::ScrollDown, 2);
    assert_eq!(view.app.focus, Focus::Sessions);
    // Nothing is below the last event, and nothing in the line of keys.
    view.mouse(click, 28);
    view.mouse(click, 29);
    assert!(view.rows()[3].starts_with("> ✗ failed"));
    let _ = view.press("?");
    view.app.resize((100, 10));
    view.mouse(MouseEventKind::ScrollDown, 5);
    assert_eq!(view.app.page.as_ref().unwrap().top, 3);
}

#[test]
fn a_click_on_their_row_shows_the_ended_sessions() {
    let mut view = View::new((80, 24));
    view.event("a", "SessionEnd", json!({}));
    view.prompt("b", "");
    view.app.now += 61;
    view.mouse(MouseEventKind::Down(MouseButton::Left), 3);
    assert_eq!(view.table(), ["working b", "ended a"]);
}

#[test]
fn the_head_tells_what_the_transcript_and_the_terminal_are() {
    let mut view = morning((100, 30));
    let details = Details {
        transcript: Transcript {
            branch: Some("fix/login".into()),
            model: Some("claude-opus-5-5".into()),
            context: Some(123_456),
        },
        terminal: Some(client_files::Terminal::Tmux {
            server: "/tmp/tmux".into(),
            pane: "%3".into(),
        }),
    };
    let number = view.app.shown()[0].number;
    view.app.take_details(number, details);
    view.shows("\na47624fd · /home/dev/webshop · fix/login · claude-opus-5-5 · tmux pane %3\n");
    view.shows("\nprompt: Clean up, then run the tests\n");
    view.shows("\n> ! waiting  12s webshop a47624fd  123k     3     1 permission");
}

#[test]
fn a_session_keeps_its_name_when_the_client_has_ended() {
    let mut view = View::new((80, 24));
    view.prompt("webshop", "");
    let word = ClientWord {
        name: "fix the login".into(),
        ..ClientWord::default()
    };
    view.app.take_client_words(vec![("a47624fd".into(), word)]);
    view.shows(" webshop fix the login ");
    view.event("webshop", "SessionEnd", json!({"reason": "other"}));
    view.app.take_client_words(Vec::new());
    view.shows(" webshop fix the login ");
}

#[test]
fn without_a_server_no_age_is_counted_on() {
    let mut view = View::new((80, 24));
    view.prompt("a", "");
    view.app.now += 5;
    view.app.connect();
    view.app.lose_server("the server has ended".into());
    view.app.now += 100;
    view.app.lose_server("still nothing".into());
    view.shows("\n> * working   5s a");
    assert!(view.rows()[0].starts_with("NO SERVER · 1 working"));
    assert_eq!(view.app.next_change(), None);
    view.app.connect();
    view.shows("\n> ~ quiet     1m a");
}

/// A session of which the client's file says this, since this second.
fn file_of(session: &str, status: Status, seconds: i64) -> (String, ClientWord) {
    let time = jiff::Timestamp::from_second(START + seconds).unwrap();
    let word = ClientWord {
        status: Some(status),
        since: Time::parse(&time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
        ..ClientWord::default()
    };
    (id(session).to_owned(), word)
}

/// Its turn may have ended as usual while no server took events.
#[test]
fn a_turn_is_interrupted_only_if_no_event_can_be_missing() {
    let mut view = View::new((80, 24));
    let idle = || vec![file_of("a", Status::Idle, 0)];
    view.app.connect();
    let message = json!({"last_assistant_message": "Of an earlier turn."});
    view.event("a", "Stop", message);
    view.prompt("a", "");
    view.app.take_client_words(idle());
    view.shows("interrupted");
    for is_lost in [true, false] {
        if is_lost {
            view.app.lose_server("the server has ended".into());
            view.app.connect();
        } else {
            let dropped = br#"{"_ts":"","_event":"_dropped","_dropped":1}"#;
            view.app.take(dropped, None);
        }
        assert_eq!(view.rows()[2].trim_end(), "> - idle      0s a       a");
        view.prompt("a", "");
        view.shows("interrupted");
    }
}

#[test]
fn a_session_is_without_events_if_it_begins_to_work_or_to_ask_and_sends_none() {
    let mut view = View::new((100, 24));
    let advice = "without events: hooks-observatory hooks --status";
    let waiting = |what: &str| Status::Waiting(what.into());
    let dialog = || waiting("dialog open");
    view.app
        .take_client_words(vec![file_of("a", Status::Idle, 0)]);
    view.app
        .take_client_words(vec![file_of("a", Status::Busy, 1)]);
    view.app.connect();
    // Nothing tells of a dialog, of Esc, and of a session that is there, or new.
    for (status, seconds) in [
        (Status::Busy, 1),
        (dialog(), 2),
        (Status::Busy, 3),
        (Status::Idle, 4),
        (dialog(), 5),
        (waiting("permission prompt"), 6),
        (Status::Busy, 7),
        (Status::Idle, 8),
    ] {
        let words = ["a", "b"].map(|session| file_of(session, status.clone(), seconds));
        view.app.take_client_words(words.into());
        assert!(!view.text().contains(advice), "{seconds}");
    }
    let words = || vec![file_of("a", Status::Busy, 9), file_of("b", Status::Idle, 8)];
    view.app.take_client_words(words());
    view.shows(&format!(" · 1 {advice}"));
    view.app.lose_server("the server has ended".into());
    view.app.connect();
    assert!(!view.text().contains(advice));
    view.app.take_client_words(vec![
        file_of("a", waiting("permission prompt"), 10),
        file_of("b", Status::Busy, 10),
    ]);
    view.shows(&format!(" · 2 {advice}"));
    view.prompt("a", "");
    view.shows(&format!(" · 1 {advice}"));
}

#[test]
fn where_no_server_has_answered_yet_a_quiet_line_says_how_to_get_events() {
    let mut view = View::new((80, 24));
    let commands = ["service --install", "hooks --install"];
    let commands = commands.map(|command| format!("hooks-observatory {command}"));
    view.app.setup = commands.to_vec();
    view.app.lose_server("there is no such file".into());
    let list = commands.join("\n");
    view.shows(&format!("\n{list}\n"));
    let word = ClientWord {
        status: Some(Status::Busy),
        ..ClientWord::default()
    };
    view.app.take_client_words(vec![("a".into(), word)]);
    let rows = view.rows();
    assert_eq!(rows[0], "no server · 1 working");
    let advice = format!("sessions only; for events: {}, then", commands[0]);
    assert_eq!(rows[21..23], [&*advice, &commands[1]]);
    assert!(rows[23].starts_with("? help | q quit"));
    assert!(!view.text().contains("no such file"));
    // With one, only the hooks are needed.
    view.app.take_client_words(Vec::new());
    view.app.lost_at = None;
    view.shows("To see its events too:\n\nhooks-observatory hooks --install\n");
    assert!(!view.text().contains("no server"));
}

#[test]
fn a_text_is_wrapped_at_spaces() {
    for (text, rows) in [
        (
            "it was deleted today",
            &["it was ", "deleted ", "today"][..],
        ),
        ("12345678 2345678", &["12345678", " 2345678"]),
        ("  indented", &["  indent", "ed"]),
        ("  a 45678901234", &["  a ", "45678901", "234"]),
    ] {
        assert_eq!(page::wrap(text, 8), rows, "{text}");
    }
}

#[test]
fn a_terminal_with_ascii_alone_gets_ascii_alone() {
    for text in ["plain", HOSTILE] {
        let mut view = morning((100, 30));
        fill(&mut view, 10, text);
        view.app.look.is_ascii = true;
        for keys in ["", "<Tab>", "<Enter>", "q?"] {
            let _ = view.press(keys);
            assert!(view.text().is_ascii(), "{}", view.text());
        }
    }
    let mut view = morning((100, 30));
    view.app.look.is_ascii = true;
    view.shows("\n  X failed ");
    view.shows("\n10:32:08 +   34ms Bash ");
    view.shows(" ` Explore a1f0 ");
}

#[test]
fn what_terminals_disagree_on_is_not_drawn() {
    let mut view = View::new((80, 12));
    let text =
        "🇩🇪 🇩 👍\u{1f3fd} 👨\u{200d}👩 ☂\u{fe0f} \u{302e} e\u{301} \u{1112}\u{1161}\u{11ab} end";
    view.prompt("a", text);
    view.shows("prompt: DE D 👍 👨👩 ☂ � e\u{301} ");
    let _ = view.press("<Tab><Enter>");
    view.shows("DE D 👍");
    let widths = |symbol: &str| {
        symbol
            .chars()
            .map(|char| char.width().unwrap_or(0))
            .sum::<usize>()
    };
    let buffer = view.buffer();
    assert!(
        buffer
            .content
            .iter()
            .all(|cell| cell.symbol().width() == widths(cell.symbol()))
    );
}

#[test]
fn a_session_that_should_work_and_is_silent_is_quiet() {
    let mut view = View::new((80, 24));
    view.prompt("a", "");
    view.app.now += 59;
    view.shows("\n> * working  59s a");
    assert_eq!(view.app.next_change(), Some(1));
    view.app.now += 1;
    view.shows("\n> ~ quiet     1m a");
}

#[test]
fn the_selected_row_is_always_on_the_screen() {
    let mut view = View::new((80, 24));
    fill(&mut view, 200, "p");
    for keys in ["", &"j".repeat(24), "<PgDn><PgDn>", "G", "k", "g"] {
        let _ = view.press(keys);
        let buffer = view.buffer();
        let marked = view.rows().iter().position(|row| row.starts_with('>'));
        let y = u16::try_from(marked.expect(keys)).unwrap();
        let modifier = buffer[(40, y)].modifier;
        assert!(modifier.contains(Modifier::REVERSED), "{keys}");
    }
}

#[test]
fn missing_events_and_damaged_lines_are_counted() {
    let mut view = morning((100, 30));
    view.app.take(b"no JSON", None);
    view.app.take_damaged(2);
    view.app
        .take(br#"{"_ts":"","_event":"_dropped","_dropped":17}"#, None);
    assert!(view.rows()[0].ends_with(" · 17 events are missing · 3 damaged lines"));
}

#[test]
fn what_the_source_reports_is_shown_until_events_come() {
    let mut view = morning((100, 30));
    view.app.notice = "the server has ended".into();
    let rows = view.rows();
    assert_eq!(rows[28], "the server has ended");
    assert!(rows[29].starts_with("? help | q quit"));
    view.event("api", "Notification", json!({}));
    assert!(!view.text().contains("has ended"));
}

#[test]
fn the_host_is_a_column_where_there_is_more_than_one_and_is_found() {
    let mut view = View::new((100, 30));
    let prompt = json!({"prompt": "go", "_host": "devbox"});
    view.event("api", "UserPromptSubmit", prompt);
    assert!(!view.text().contains("HOST"));
    view.prompt("shop", "go");
    let agent = json!({"agent_id": "a1f0", "agent_type": "Explore"});
    view.event("api", "SubagentStart", agent);
    view.shows("STATE    AGE HOST    PROJECT NAME");
    view.shows("* working   0s devbox  api     5c01b2d7");
    view.shows("* working   0s         shop    shop");
    view.shows("* working   0s └ Explore a1f0");
    let _ = view.press("/DEVBOX<Enter>");
    view.app.refresh();
    assert_eq!(view.table(), ["working api"]);
    // Its name is still there for those that are not shown.
    view.shows("HOST");
}
