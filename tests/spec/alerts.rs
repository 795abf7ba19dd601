//! `watch --notify` and `watch --on-wait`: what happens when a session begins to wait.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::harness::*;

/// `watch --lines`, killed when it is dropped.
struct Watch(Child);

impl Watch {
    /// Starts it, and waits until it reads from the server, which must have `--trace`.
    fn start(
        server: &Server,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Watch {
        let mut command = program();
        command
            .args(["watch", "--lines", "--socket"])
            .arg(server.socket())
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let watch = Watch(prepare(&mut command).spawn().unwrap());
        server
            .stderr
            .wait("the reader", |text| text.contains("becomes a reader"));
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn call(session: &str, id: &str) -> String {
    json!({"session_id": session, "cwd": format!("/home/dev/{session}"), "tool_name": "Bash",
        "tool_use_id": id, "tool_input": {"command": format!("touch {id}")}})
    .to_string()
}

fn ask(server: &Server, session: &str, id: &str) {
    server.post("PreToolUse", call(session, id));
    server.post("PermissionRequest", call(session, id));
}

fn wait_for_lines(path: &Path, count: usize) -> String {
    let mut text = String::new();
    wait_until("the commands have written", || {
        text = fs::read_to_string(path).unwrap_or_default();
        text.lines().count() >= count && text.ends_with('\n')
    });
    text
}

#[test]
fn a_session_that_begins_to_wait_rings_and_notifies() {
    let server = Server::start(&["--trace"]);
    let (screen, slave) = terminal();
    let watch = Watch::start(&server, &["--notify"], |command| command.stdout(slave));
    server.post("UserPromptSubmit", call("a;b", "1"));
    ask(&server, "a;b", "1");
    // The client notifies the user of the same request.
    let notification = json!({"session_id": "a;b", "message": "Claude needs your permission",
        "notification_type": "permission_prompt"});
    server.post("Notification", notification.to_string());
    server.post("SessionEnd", call("a;b", "1"));
    let shown = screen.wait("the end", |text| text.contains("SessionEnd"));
    let notice = "\x07\x1b]9;a,b waits: permission for Bash: touch 1\x07\
                  \x1b]777;notify;a,b waits;permission for Bash: touch 1\x07";
    assert_eq!(shown.matches(notice).count(), 1, "{shown:?}");
    assert_eq!(shown.matches('\x07').count(), 3, "{shown:?}");
    drop(watch);
}

#[test]
fn without_a_terminal_notify_is_refused() {
    let output = run(&["watch", "--notify", "/dev/null"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        stderr,
        "Error: --notify needs a terminal: neither stdout nor stderr is one\n"
    );
}

#[test]
fn the_command_gets_the_session_and_runs_once_for_each_question() {
    let server = Server::start(&["--trace"]);
    let path = server.folder.path().join("waits");
    let command = format!("echo to nobody; cat >> {}", path.display());
    let watch = Watch::start(&server, &["--on-wait", &command], |command| command);
    ask(&server, "a", "1");
    let first = wait_for_lines(&path, 1);
    assert_eq!(first.lines().count(), 1);
    let session = &events(&first)[0];
    assert_eq!(session["session_id"], "a");
    assert_eq!(session["state"], "waiting");
    assert_eq!(session["detail"], "permission for Bash: touch 1");
    // The first command may still run: then the next one runs after it.
    server.post("PostToolUse", call("a", "1"));
    ask(&server, "a", "2");
    ask(&server, "b", "1");
    let all = events(&wait_for_lines(&path, 3));
    let mut ids: Vec<_> = all
        .iter()
        .map(|event| event["session_id"].as_str().unwrap())
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, ["a", "a", "b"]);
    drop(watch);
}

#[test]
fn the_command_never_runs_twice_at_once_for_a_session_and_is_killed_after_10_seconds() {
    let server = Server::start(&["--trace"]);
    let path = server.folder.path().join("pids");
    // The command and a process that it starts. Later it ends at once.
    let command = format!(
        "if [ -e {0} ] && grep -q ^a {0}; then echo again >> {0}; else sleep 1000 & echo a $$ $! >> {0}; wait; fi",
        path.display()
    );
    let watch = Watch::start(&server, &["--on-wait", &command], |command| command);
    for id in ["1", "2", "3"] {
        ask(&server, "a", id);
    }
    let first = wait_for_lines(&path, 1);
    let pids: Vec<&str> = first.split_whitespace().skip(1).collect();
    let is_running = |pid: &&str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert!(pids.len() == 2 && pids.iter().all(is_running), "{first}");
    assert_eq!(fs::read_to_string(&path).unwrap(), first);
    wait_until("both are killed", || !pids.iter().any(is_running));
    // It runs once for the two questions that came in between.
    assert_eq!(wait_for_lines(&path, 2), format!("{first}again\n"));
    drop(watch);
}

#[test]
fn past_events_and_other_sessions_cause_no_command() {
    let server = Server::start(&["--trace"]);
    let path = server.folder.path().join("waits");
    let record = server.folder.path().join("record");
    let event = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "PermissionRequest",
        "session_id": "old", "tool_name": "Bash"});
    fs::write(&record, format!("{event}\n")).unwrap();
    let command = format!("cat >> {}", path.display());
    let output = program()
        .args(["watch", "--on-wait", &command, "-"])
        .stdin(fs::File::open(&record).unwrap())
        .output();
    assert!(output.unwrap().status.success());
    let watch = Watch::start(
        &server,
        &["--session", "b", "--on-wait", &command],
        |command| command,
    );
    ask(&server, "a", "1");
    ask(&server, "b", "1");
    let session = &events(&wait_for_lines(&path, 1))[0];
    assert_eq!(session["session_id"], "b");
    drop(watch);
}
