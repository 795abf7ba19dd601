//! `--pretty-line`: a summary of each event on one line, for people.

use std::fs::File;

use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::events::unix_time;
use crate::formats::start_with_tee;
use crate::harness::*;
use crate::recipes::REFERENCE;

/// The lines of the recorded events, after the time and `app      a476`.
const LINES: &str = r#"
SessionStart source: startup
InstructionsLoaded CLAUDE.md
UserPromptSubmit run the test
PreToolUse   Bash printf "naïve café 😀🦀\n\ttab\n\033[31mred\033[0m\n"; ls -la /usr/bin | head -40
PostToolUse  Bash ✓ 52ms printf "naïve café 😀🦀\n\ttab\n\033[31mred\033[0m\n"; ls -la /usr/bin | head -40
PreToolUse   Write main.py
PostToolUse  Write ✓ 4ms main.py
PreToolUse   Read main.py
PostToolUse  Read ✓ 1ms main.py
PreToolUse   Edit main.py
PostToolUse  Edit ✓ 10ms main.py
PreToolUse   Grep def .*\(
PostToolUse  Grep ✓ 9ms def .*\(
PreToolUse   Glob **/*.py
PostToolUse  Glob ✓ 7ms **/*.py
PreToolUse   Agent Say ok
a0fd SubagentStart general-purpose
a0fd SubagentStop general-purpose All done.
PostToolUse  Agent ✓ 72ms Say ok
PreToolUse   Bash cat nope.txt
PostToolUseFailure Bash ✗ 12ms Exit code 1 cat: nope.txt: No such file or directory · cat nope.txt
PostToolBatch Bash ✗ Exit code 1 cat: nope.txt: No such file or directory · cat nope.txt
PostToolBatch TodoWrite ✗ Error: No such tool available: TodoWrite. TodoWrite exists but is not enabled in this context. Use one of the available tools instead. · todos: [{"content":"Write tests","status":"in_progress","activeForm":"Writing tests"}]
PreToolUse   Bash seq 1 3000
PostToolUse  Bash ✓ 12ms seq 1 3000
PreToolUse   WebFetch http://127.0.0.1:8799/
PostToolBatch WebFetch ✗ Claude requested permissions to use WebFetch, but you haven't granted it yet. · http://127.0.0.1:8799/
MessageDisplay All done.
Stop         All done.
SessionEnd   reason: other
"#;

#[test]
fn the_recorded_session_is_shown_as_one_line_for_each_event() {
    let mut printer = Printer::new(&["--pretty-line"]);
    let mut printed = String::new();
    for (event, body) in recorded() {
        printed += &printer.print(&format!("/?event={event}"), body);
    }
    let lines = printed
        .lines()
        .map(|line| &line["00:00:00 app      a476 ".len()..]);
    let expected: Vec<_> = LINES.trim_start().lines().collect();
    assert_eq!(lines.collect::<Vec<_>>(), expected);
    // Eight of the batches tell nothing that another event has not told.
    assert_eq!(expected.len(), recorded().len() - 8);

    let mut blocks = REFERENCE.split("```");
    let example = blocks.find(|block| block.starts_with("text\n") && block.contains(" a476 "));
    for shown in example.unwrap().lines().skip(1) {
        let line = shown[8..].strip_prefix(" app      a476 ").unwrap();
        assert!(LINES.contains(&format!("\n{line}\n")), "{shown}");
    }
}

#[test]
fn a_payload_of_any_shape_becomes_one_line() {
    let mut printer = Printer::new(&["--pretty-line"]);
    let mut assert_line = |body: &str, expected: &str| {
        let printed = printer.print("/?event=Some+Event", body);
        assert_eq!(&printed[8..], format!("{expected}\n"), "{body}");
    };
    let rows = [
        ("", ""),
        ("{}", ""),
        ("no JSON\n at all", "no JSON at all"),
        ("[1,  \"a\"]", "[1, \"a\"]"),
        (r#"{"tool_input":"x\ty"}"#, "x y"),
        (r#"{"tool_input":[1,{"a":2}]}"#, r#"[1,{"a":2}]"#),
        (r#"{"tool_input":{},"tool_name":"T"}"#, "T"),
        (
            r#"{"tool_input":{"command":["ls","-l"]}}"#,
            r#"command: ["ls","-l"]"#,
        ),
        (
            r#"{"tool_input":{"command":""," a":{}}}"#,
            "command: , a: {}",
        ),
        (r#"{"tool_input":{"description":"b","command":"a"}}"#, "a"),
        (r#"{"tool_\u0069nput":{"\u0063ommand":"\u0061"}}"#, "a"),
        (
            r#"{"tool_input":{"new_thing":7,"other":"x"}}"#,
            "new_thing: 7, other: x",
        ),
        (r#"{"tool_calls":"x"}"#, "tool_calls: x"),
        (r#"{"cwd":"/a","file_path":"/a/b/c"}"#, "b/c"),
        (r#"{"cwd":"/a","file_path":"/ab/c"}"#, "/ab/c"),
        (r#"{"cwd":"/a","command":"/a/b c"}"#, "/a/b c"),
        (r#"{"cwd":"C:\\x\\a","file_path":"c:\\x\\a\\b\\c"}"#, "b\\c"),
        (r#"{"cwd":"C:\\x\\a","file_path":"C:\\x\\ab"}"#, "C:\\x\\ab"),
        (r#"{"file_path":"/a"}"#, "/a"),
        (
            r#"{"is_interrupt":true,"error":"e","command":"c"}"#,
            "✗ interrupted: e · c",
        ),
        (
            r#"{"tool_response":{"interrupted":true,"stdout":""},"tool_input":{"command":"c"}}"#,
            "✗ interrupted · c",
        ),
        (r#"{"error":null,"prompt":"p"}"#, "p"),
        (r#"{"error":{"code":7}}"#, r#"✗ {"code":7}"#),
        (
            r#"{"prompt":"\u001b[31mred\u0007\u202e\u009b \r\n\ud83d"}"#,
            "\u{fffd}[31mred\u{fffd}\u{fffd}\u{fffd} \u{fffd}",
        ),
        (r#"{"_peer_uid":0}"#, r#"_claimed: {"_peer_uid":0}"#),
        (r#"{"tool_input":{"command":"a","command":"b"}}"#, "b"),
        (
            r#"{"prompt":"a\u00ad\u3164\u2060\udb40\udc41b"}"#,
            "a\u{fffd}\u{fffd}\u{fffd}\u{fffd}b",
        ),
        // A client cannot forge the notices of missing events and of ended processes.
        (r#"{"_dropped":17}"#, r#"_claimed: {"_dropped":17}"#),
        (r#"{"_gone":17}"#, r#"_claimed: {"_gone":17}"#),
    ];
    for (body, expected) in rows {
        let project = if body.contains("cwd") { "a" } else { "" };
        let line = format!(" {project:8}      Some Event   {expected}");
        assert_line(body, line.trim_end());
    }
    assert_line(r#"{"session_id":"é☺x"}"#, "          é☺x  Some Event");
    assert_line(r#"{"session_id":[]}"#, "               Some Event");
    assert_line(
        r#"{"cwd":"/x/a-long-project-name/"}"#,
        " a-long…-name      Some Event",
    );
}

#[test]
fn a_batch_is_shown_only_where_a_call_has_failed() {
    let mut printer = Printer::new(&["--pretty-line"]);
    let mut assert_lines = |calls: &str, expected: &[&str]| {
        let body = format!(r#"{{"tool_calls":{calls}}}"#);
        let printed = printer.print("/?event=PostToolBatch", body);
        let lines: Vec<_> = printed.lines().map(|line| line[23..].to_owned()).collect();
        assert_eq!(lines, expected, "{calls}");
    };
    assert_lines("[]", &[]);
    assert_lines(r#"[7,[],{"_dropped":17},{"tool_name":"A"}]"#, &[]);
    assert_lines(r#"[{"tool_name":"A","tool_response":"fine"}]"#, &[]);
    assert_lines(
        r#"[{"tool_name":"A","tool_input":{"path":"p"},"tool_response":"Exit code 2\nno"},
            {"tool_name":"B","tool_response":[{"type":"text","text":"fine"}]},
            {"tool_name":"C","tool_response":"<tool_use_error>Error: x</tool_use_error>"},
            {"tool_name":"D","tool_response":"<tool_use_error>Blocked: y</tool_use_error>"}]"#,
        &[
            "PostToolBatch A ✗ Exit code 2 no · p",
            "PostToolBatch C ✗ Error: x",
            "PostToolBatch D ✗ Blocked: y",
        ],
    );
}

#[test]
fn what_waits_for_the_user_stands_out() {
    let mut printer = Printer::new(&["--pretty-line"]);
    let mut print = |event: &str, body: &str| {
        let printed = printer.print(&format!("/?event={event}"), body);
        printed[23..].trim_end().to_owned()
    };
    let permission = r#"{"tool_name":"Bash","tool_input":{"command":"rm x"}}"#;
    assert_eq!(
        print("PermissionRequest", permission),
        "PermissionRequest WAITS Bash rm x"
    );
    let question =
        r#"{"tool_name":"AskUserQuestion","tool_input":{"questions":[{"question":"Which?"}]}}"#;
    assert_eq!(
        print("PermissionRequest", question),
        "PermissionRequest WAITS AskUserQuestion Which?"
    );
    let needed =
        r#"{"message":"Claude needs your permission","notification_type":"permission_prompt"}"#;
    let shown = "Notification WAITS Claude needs your permission";
    assert_eq!(print("Notification", needed), shown);
    let idle =
        r#"{"message":"Claude is waiting for your input","notification_type":"idle_prompt"}"#;
    assert_eq!(
        print("Notification", idle),
        "Notification Claude is waiting for your input"
    );
    assert_eq!(
        print("Elicitation", r#"{"message":"How many?"}"#),
        "Elicitation  WAITS How many?"
    );
}

#[test]
fn a_slow_reader_sees_how_many_events_are_missing() {
    let server = Server::with_readers(&["--pretty-line", "--buffer", "300000"]);
    let mut reader = server.reader();
    let prompt = json!({"prompt": "x".repeat(100_000)}).to_string();
    for _ in 0..100 {
        server.post("E", &prompt);
    }
    let text = read_until(&mut reader, |text| text.contains("are missing here --\n"));
    let notice = text.lines().find(|line| line.starts_with("--")).unwrap();
    let count = notice.strip_prefix("-- ").unwrap();
    let count = count.strip_suffix(" events are missing here --").unwrap();
    assert!(
        (1..100).contains(&count.parse::<u32>().unwrap()),
        "{notice}"
    );
}

#[test]
fn the_time_is_in_the_local_time_zone() {
    // In POSIX, TZ contains the offset to the west. `east` is the offset to the east, modulo
    // one day.
    for (zone, east) in [
        ("UTC0", 0),
        ("HERE-5:30", 19_800),
        ("HERE3", 75_600),
        ("no zone", 0),
    ] {
        let mut printer = Printer::new_with(&["--pretty-line"], |command| command.env("TZ", zone));
        let before = unix_time();
        let printed = printer.print("/", "{}");
        let shown = (before..=unix_time()).map(|time| {
            let second = (time + east) % 86_400;
            format!(
                "{:02}:{:02}:{:02}",
                second / 3600,
                second / 60 % 60,
                second % 60
            )
        });
        assert!(
            shown.collect::<Vec<_>>().contains(&printed[..8].to_owned()),
            "{zone}: {printed}"
        );
    }
}

/// A terminal of this width: its screen, the slave for the server, and a copy of the slave
/// for [`resize`].
pub fn terminal_of(columns: u16) -> (Stream, File, File) {
    let (screen, slave) = terminal();
    let copy = slave.try_clone().unwrap();
    resize(&copy, columns);
    (screen, slave, copy)
}

fn resize(terminal: &File, columns: u16) {
    let size = Winsize {
        ws_row: 24,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

#[test]
fn on_a_terminal_lines_are_coloured_and_cut_to_its_width() {
    let (screen, slave, terminal) = terminal_of(52);
    let server = Server::start_with(&["--pretty-line"], |command| command.stdout(slave));
    let post = |session: &str, prompt: &str| {
        let before = screen.text().len();
        let body = json!({"session_id": session, "tool_name": "T", "error": "e", "prompt": prompt});
        server.post("Stop", body.to_string());
        screen.wait("the event", |text| text[before..].ends_with("\r\n"))[before..].to_owned()
    };
    let shown = post("ab-1", "a long prompt");
    assert!(shown.starts_with("\x1b[2m"), "{shown:?}");
    assert_eq!(
        &shown["\x1b[2m00:00:00".len()..],
        "\x1b[0m          \x1b[96mab-1\x1b[0m \x1b[1mStop\x1b[0m         \x1b[36mT\x1b[0m \
         \x1b[31m✗\x1b[0m e · a lo…mpt\r\n"
    );
    // Each session keeps its colour.
    assert!(post("ab-1", "").contains("          \x1b[96mab-1\x1b[0m"));
    assert!(post("ab-2", "").contains("          \x1b[32mab-2\x1b[0m"));
    resize(&terminal, 57);
    assert!(post("ab-1", "a long prompt").ends_with(" e · a long prompt\r\n"));
}

#[test]
fn no_color_removes_only_the_colours_and_a_pipe_gets_whole_plain_lines() {
    let long = json!({"prompt": "long ".repeat(20)}).to_string();
    let (screen, slave, _terminal) = terminal_of(52);
    let server = Server::start_with(&["--pretty-line"], |command| {
        command.stdout(slave).env("NO_COLOR", "1")
    });
    server.post("Stop", &long);
    let shown = screen.wait("the event", |text| text.ends_with("\r\n"));
    let head = "               Stop         ";
    assert_eq!(&shown[8..], format!("{head}long lon…ng long\r\n"));

    let printed = Printer::new(&["--pretty-line"]).print("/?event=Stop", &long);
    let whole = "long ".repeat(20);
    assert_eq!(&printed[8..], format!("{head}{}\n", whole.trim_end()));

    // With an output socket the terminal gets the same bytes as the readers.
    let (screen, slave, _terminal) = terminal_of(52);
    let server = start_with_tee("--pretty-line", slave);
    server.post("Stop", &long);
    let shown = screen.wait("the event", |text| text.ends_with("\r\n"));
    assert!(
        shown.ends_with("long long\r\n") && !shown.contains('\x1b'),
        "{shown:?}"
    );
}
