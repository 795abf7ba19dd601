//! `--pretty-line`: a summary of each event on one line, for people.

use std::fs::File;

use rustix::termios::{Winsize, tcsetwinsize};
use serde_json::json;

use crate::events::unix_time;
use crate::formats::start_with_tee;
use crate::harness::*;

/// The line of each recorded event, after the time and the session's `a476`.
const LINES: &str = r#"
SessionStart       source: startup
InstructionsLoaded CLAUDE.md
UserPromptSubmit   run the test
PreToolUse         Bash printf "naïve café 😀🦀\n\ttab\n\033[31mred\033[0m\n"; ls -la /usr/bin | head -40
PostToolUse        Bash printf "naïve café 😀🦀\n\ttab\n\033[31mred\033[0m\n"; ls -la /usr/bin | head -40
PostToolBatch      Bash printf "naïve café 😀🦀\n\ttab\n\033[31mred\033[0m\n"; ls -la /usr/bin | head -40
PreToolUse         Write main.py
PostToolUse        Write main.py
PostToolBatch      Write main.py
PreToolUse         Read main.py
PostToolUse        Read main.py
PostToolBatch      Read main.py
PreToolUse         Edit main.py
PostToolUse        Edit main.py
PostToolBatch      Edit main.py
PreToolUse         Grep def .*\(
PostToolUse        Grep def .*\(
PostToolBatch      Grep def .*\(
PreToolUse         Glob **/*.py
PostToolUse        Glob **/*.py
PostToolBatch      Glob **/*.py
PreToolUse         Agent Say ok
SubagentStart      general-purpose
SubagentStop       general-purpose All done.
PostToolUse        Agent Say ok
PostToolBatch      Task Say ok
PreToolUse         Bash cat nope.txt
PostToolUseFailure Bash [Exit code 1 cat: nope.txt: No such file or directory] cat nope.txt
PostToolBatch      Bash cat nope.txt
PostToolBatch      TodoWrite todos: [{"content":"Write tests","status":"in_progress","activeForm":"Writing tests"}]
PreToolUse         Bash seq 1 3000
PostToolUse        Bash seq 1 3000
PostToolBatch      Bash seq 1 3000
PreToolUse         WebFetch http://127.0.0.1:8799/
PostToolBatch      WebFetch http://127.0.0.1:8799/
MessageDisplay     All done.
Stop               All done.
SessionEnd         reason: other
"#;

#[test]
fn the_recorded_session_is_shown_as_one_line_for_each_event() {
    let mut printer = Printer::new(&["--pretty-line"]);
    let expected = LINES.trim_start().lines();
    for ((event, body), expected) in recorded().iter().zip(expected) {
        let printed = printer.print(&format!("/?event={event}"), body);
        assert_eq!(&printed[8..], format!(" a476 {expected}\n"));
    }
    assert_eq!(LINES.trim_start().lines().count(), recorded().len());

    let mut blocks = include_str!("../../README.md").split("```");
    let example = blocks.find(|block| block.starts_with("text\n") && block.contains(" a476 "));
    for shown in example.unwrap().lines().skip(1) {
        let line = shown[8..].strip_prefix(" a476 ").unwrap();
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
        (
            r#"{"tool_calls":[{"tool_name":"A","tool_input":{"path":"p"}},{"tool_name":"B"}]}"#,
            "A p; B",
        ),
        (r#"{"tool_calls":[7,[]]}"#, ";"),
        (r#"{"tool_calls":"x"}"#, "tool_calls: x"),
        (r#"{"cwd":"/a","file_path":"/a/b/c"}"#, "b/c"),
        (r#"{"cwd":"/a","file_path":"/ab/c"}"#, "/ab/c"),
        (r#"{"cwd":"/a","command":"/a/b c"}"#, "/a/b c"),
        (r#"{"file_path":"/a"}"#, "/a"),
        (
            r#"{"is_interrupt":true,"error":"e","command":"c"}"#,
            "[interrupted] [e] c",
        ),
        (
            r#"{"tool_response":{"interrupted":true,"stdout":""},"tool_input":{"command":"c"}}"#,
            "[interrupted] c",
        ),
        (r#"{"error":null,"prompt":"p"}"#, "p"),
        (r#"{"error":{"code":7}}"#, r#"[{"code":7}]"#),
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
        (r#"{"tool_calls":[{"_dropped":17}]}"#, ""),
    ];
    for (body, expected) in rows {
        let rest = if expected.is_empty() {
            String::new()
        } else {
            format!("         {expected}")
        };
        assert_line(body, &format!("      Some Event{rest}"));
    }
    assert_line(r#"{"session_id":"é☺x"}"#, " é☺x  Some Event");
    assert_line(r#"{"session_id":[]}"#, "      Some Event");
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
fn terminal_of(columns: u16) -> (Stream, File, File) {
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
    let (screen, slave, terminal) = terminal_of(40);
    let server = Server::start_with(&["--pretty-line"], |command| command.stdout(slave));
    let post = |session: &str, prompt: &str| {
        let before = screen.text().len();
        let body = json!({"session_id": session, "tool_name": "T", "error": "e", "prompt": prompt});
        server.post("Stop", body.to_string());
        screen.wait("the event", |text| text[before..].ends_with("\r\n"))[before..].to_owned()
    };
    let styled = |id: &str, colour: &str, rest: &str| {
        format!(
            "\x1b[0m\x1b[{colour}m {id}\x1b[0m\x1b[1m Stop\x1b[0m\x1b[36m               T\x1b[0m\x1b[31m {rest}\r\n"
        )
    };
    let shown = post("ab-1", "long");
    assert!(shown.starts_with("\x1b[2m"), "{shown:?}");
    assert_eq!(
        &shown["\x1b[2m00:00:00".len()..],
        styled("ab-1", "96", "[e]\x1b[0m …\x1b[0m")
    );
    // Each session keeps its colour.
    assert!(post("ab-1", "").contains("\x1b[96m ab-1\x1b[0m"));
    assert!(post("ab-2", "").contains("\x1b[32m ab-2\x1b[0m"));
    resize(&terminal, 43);
    assert!(post("ab-1", "long").ends_with("[e]\x1b[0m long\r\n"));
}

#[test]
fn no_color_removes_only_the_colours_and_a_pipe_gets_whole_plain_lines() {
    let long = json!({"prompt": "long ".repeat(20)}).to_string();
    let (screen, slave, _terminal) = terminal_of(40);
    let server = Server::start_with(&["--pretty-line"], |command| {
        command.stdout(slave).env("NO_COLOR", "1")
    });
    server.post("Stop", &long);
    let shown = screen.wait("the event", |text| text.ends_with("\r\n"));
    assert_eq!(&shown[8..], "      Stop               long l…\r\n");

    let printed = Printer::new(&["--pretty-line"]).print("/?event=Stop", &long);
    assert_eq!(
        &printed[8..],
        format!(
            "      Stop               {}\n",
            "long ".repeat(20).trim_end()
        )
    );

    // With an output socket the terminal gets the same bytes as the readers.
    let (screen, slave, _terminal) = terminal_of(40);
    let server = start_with_tee("--pretty-line", slave);
    server.post("Stop", &long);
    let shown = screen.wait("the event", |text| text.ends_with("\r\n"));
    assert!(
        shown.ends_with("long long\r\n") && !shown.contains('\x1b'),
        "{shown:?}"
    );
}
