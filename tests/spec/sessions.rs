//! `sessions`: the state of every session, derived from its events alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::*;

/// The lines of a recorded session.
pub fn recording(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings");
    let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Runs the program with this stdin. Returns stdout and stderr.
pub fn run_with_stdin(arguments: &[&str], stdin: &[u8]) -> (String, String) {
    let mut command = std::process::Command::new(BINARY);
    command
        .args(arguments)
        .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
        .env("TZ", "UTC0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = stdin.to_vec();
    // It fails if the program needs no more input.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The sessions after these lines, by their id.
fn sessions(lines: &str) -> BTreeMap<String, Value> {
    let (stdout, stderr) = run_with_stdin(&["sessions", "--json", "-"], lines.as_bytes());
    assert_eq!(stderr, "");
    let session = |session: Value| (session["session_id"].as_str().unwrap().to_owned(), session);
    events(&stdout).into_iter().map(session).collect()
}

/// The state of the only session after these events, each a name and its fields.
fn session(events: &[(&str, Value)]) -> Value {
    let mut sessions = sessions(&lines(events));
    assert_eq!(sessions.len(), 1);
    sessions.pop_first().unwrap().1
}

/// Events of the session `s`, one a second.
fn lines(events: &[(&str, Value)]) -> String {
    let line = |(second, (name, fields)): (usize, &(&str, Value))| {
        let mut event = json!({
            "_ts": format!("2026-02-09T10:30:{second:02}+00:00"),
            "_event": name,
            "session_id": "s",
            "cwd": "/home/dev/shop",
        });
        event
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        format!("{event}\n")
    };
    events.iter().enumerate().map(line).collect()
}

fn state(events: &[(&str, Value)]) -> String {
    session(events)["state"].as_str().unwrap().to_owned()
}

fn bash(id: &str, command: &str) -> Value {
    json!({"tool_name": "Bash", "tool_use_id": id, "tool_input": {"command": command}})
}

fn with(mut fields: Value, name: &str, value: impl Into<Value>) -> Value {
    fields[name] = value.into();
    fields
}

#[test]
fn states_agree_with_the_screens_of_recorded_sessions() {
    let truth = include_str!("../data/recordings/truth.tsv");
    let mut screens: BTreeMap<(&str, usize, &str), Vec<&str>> = BTreeMap::new();
    for row in truth.lines().filter(|row| !row.starts_with('#')) {
        let [name, line, session, state] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        // The client's word for a state of `working`.
        let state = if state == "compacting" {
            "working"
        } else {
            state
        };
        let key = (name, line.parse().unwrap(), session);
        screens.entry(key).or_default().push(state);
    }
    assert!(screens.len() > 140);
    for ((name, line, session), states) in screens {
        let found = &sessions(&recording(name)[..line].concat())[session];
        let state = found["state"].as_str().unwrap();
        assert!(
            states.contains(&state),
            "{name}, line {line}: {found} is not one of {states:?}"
        );
    }
}
