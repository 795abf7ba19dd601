//! `hooks`: settings that work wherever the socket and the program are.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

/// A folder whose name a shell would read much into.
fn odd_folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("it's \"$HOME\" `id` \\ $(id)\n*;& ");
    builder.tempdir().unwrap()
}

#[test]
fn every_event_of_the_client_is_there_in_its_order_but_never_worktree_create() {
    let output = run(&["hooks", "--socket", "/run/x.sock"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let keys = text.lines().filter(|line| line.starts_with("    \""));
    let events: Vec<_> = keys.map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(
        events,
        "SessionStart Setup UserPromptSubmit UserPromptExpansion PreToolUse PermissionRequest \
         PermissionDenied PostToolUse PostToolUseFailure PostToolBatch Notification SubagentStart \
         SubagentStop Stop StopFailure TeammateIdle TaskCreated TaskCompleted InstructionsLoaded \
         ConfigChange CwdChanged FileChanged WorktreeRemove PreCompact PostCompact Elicitation \
         ElicitationResult SessionEnd MessageDisplay PreModelSwitch PostModelSwitch DirectoryAdded"
            .split(' ')
            .collect::<Vec<_>>()
    );
    assert!(text.starts_with("{\n  \"hooks\": {\n") && text.ends_with("\n}\n"));
}

#[test]
fn an_entry_is_what_the_client_reads() {
    let program = std::fs::canonicalize(BINARY).unwrap();
    let command = format!(
        "'{}' send Stop --socket '/run/x.sock' >/dev/null 2>&1 || true",
        program.display()
    );
    assert_eq!(
        settings(Path::new("/run/x.sock"), &["--events", "Stop"]),
        json!({"hooks": {"Stop": [
            {"hooks": [{"type": "command", "command": command, "timeout": 5}]}
        ]}})
    );
}

/// The program at another path. Another process writes it: nothing can be run that
/// this one has open for writing, and a child of another test may hold that open too.
fn copied(to: &Path) -> PathBuf {
    let copy = Command::new("cp").arg(BINARY).arg(to).status();
    assert!(copy.unwrap().success());
    to.into()
}

/// The settings that a program of another path prints.
fn printed_by(program: &Path, socket: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(program)
        .args(["hooks", "--socket"])
        .arg(socket)
        .args(arguments)
        .output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

#[test]
fn every_command_works_for_any_path() {
    if tool("curl").is_none() {
        return;
    }
    let program = odd_folder();
    let binary = copied(&program.path().join("it's $0"));
    for sender in [&[][..], &["--curl"]] {
        let server = Server::start_in(odd_folder(), &[], |command| command);
        let settings = printed_by(&binary, &server.socket(), sender);
        let hooks = settings["hooks"].as_object().unwrap();
        assert_eq!(hooks.len(), 32);
        for (n, event) in hooks.keys().enumerate() {
            run_hook(
                hook_command(&settings, event),
                format!("{{\"n\":{n}}}\n").as_bytes(),
            );
        }
        let printed = server.stdout.lines(32);
        for (n, event) in hooks.keys().enumerate() {
            assert_eq!(
                (&printed[n]["_event"], &printed[n]["n"]),
                (&json!(event), &json!(n))
            );
        }
    }
}

#[test]
fn without_a_server_or_without_the_program_the_commands_succeed_in_silence() {
    let folder = folder();
    let binary = copied(&folder.path().join("gone"));
    let absent = folder.path().join("absent");
    let settings = printed_by(&binary, &absent, &[]);
    let command = hook_command(&settings, "Stop");
    run_hook(command, b"{}");
    std::fs::remove_file(binary).unwrap();
    run_hook(command, b"");
    let by_curl = printed_by(Path::new(BINARY), &absent, &["--curl"]);
    run_hook(hook_command(&by_curl, "Stop"), b"");
    run_hook(&format!("PATH=; {}", hook_command(&by_curl, "Stop")), b"");
}

#[test]
fn a_relative_socket_is_printed_as_what_it_is_from_anywhere() {
    let server = Server::start(&[]);
    let output = command(Path::new("hooks.sock"), &["hooks"])
        .current_dir(server.folder.path())
        .output()
        .unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, settings(&server.socket(), &[]));
}

#[test]
fn events_may_be_chosen_also_those_that_a_later_client_may_have() {
    let output = run(&["hooks", "--events", "Stop,Later,PreToolUse,Stop"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let keys = text.lines().filter(|line| line.starts_with("    \""));
    let events: Vec<_> = keys.map(|line| line.split('"').nth(1).unwrap()).collect();
    assert_eq!(events, ["Stop", "Later", "PreToolUse"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("Later is not an event that this version knows"));
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn what_cannot_work_is_refused_since_a_hook_would_not_tell() {
    let long = format!("/{}", "x".repeat(107));
    let cases: [(&[&str], i32, &str); 6] = [
        (
            &["hooks", "--events", "Stop,WorktreeCreate"],
            2,
            "replaces the client's own creation",
        ),
        (&["hooks", "--events="], 2, "--events needs a value"),
        (
            &["hooks", "--events", ","],
            2,
            "event names separated by commas",
        ),
        (
            &["hooks", "--events", "Stop,,Setup"],
            2,
            "event names separated by commas",
        ),
        (
            &["hooks", "--events", "Stop;id"],
            2,
            "event names separated by commas",
        ),
        (&["hooks", "--socket", &long], 1, "107 bytes"),
    ];
    for (arguments, code, complaint) in cases {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(code), 0),
            "{arguments:?} {said}"
        );
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}

#[test]
fn settings_that_cannot_be_written_are_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(Path::new("/run/x.sock"), &["hooks"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.starts_with(b"Error: cannot write to stdout"));
}
