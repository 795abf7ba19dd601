//! Containers: each row of the table in src/README.md, tried with bubblewrap. In a sandbox, the
//! folder of the hook socket is mounted at `/run/observatory`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use tempfile::TempDir;

use crate::harness::*;
use crate::recipes::REFERENCE;

/// The socket in a sandbox.
const SOCKET: &str = "/run/observatory/hooks.sock";

/// Reports a row that src/README.md does not have.
fn check_row(row: &str) {
    let is_there = REFERENCE.contains(&format!("\n| {row} | "));
    assert!(is_there, "src/README.md has no row {row}");
}

/// Whether bubblewrap works here. If not, the test is to be skipped.
fn has_sandboxes() -> bool {
    if tool("bwrap").is_none() {
        return false;
    }
    let works = Command::new("bwrap")
        .args(["--ro-bind", "/", "/", "--unshare-user", "true"])
        .stderr(Stdio::null())
        .status();
    let works = works.is_ok_and(|status| status.success());
    if !works {
        skip("bwrap may not create a namespace");
    }
    works
}

/// The command of bubblewrap, with the mount of a folder, or of a file in it, and other options.
fn sandbox(shared: &Path, options: &[&str]) -> Command {
    let mut bwrap = Command::new("bwrap");
    bwrap.args(["--ro-bind", "/", "/", "--dev", "/dev", "--tmpfs", "/run"]);
    let inside = match shared.is_dir() {
        true => "/run/observatory",
        false => SOCKET,
    };
    bwrap.arg("--ro-bind").arg(shared).arg(inside);
    bwrap.args(options).env("HOME", "/nonexistent");
    bwrap.stdin(Stdio::null()).stdout(Stdio::piped());
    bwrap.stderr(Stdio::piped());
    bwrap
}

const SEND: [&str; 6] = [BINARY, "send", "Stop", "-v", "--socket", SOCKET];

/// What `send -v` says in a sandbox.
fn said(server: &Server, options: &[&str]) -> String {
    let mut sandbox = sandbox(server.folder.path(), options);
    let output = sandbox.args(SEND).output().unwrap();
    String::from_utf8(output.stderr).unwrap()
}

const TAKEN: &str = "Stop was taken at /run/observatory/hooks.sock\n";

#[test]
fn in_namespaces_of_their_own_hooks_arrive_with_the_uid_and_the_pid_outside() {
    if !has_sandboxes() {
        return;
    }
    let uid = rustix::process::getuid().as_raw();
    for (row, options) in [
        (
            "a pid namespace of its own",
            &["--unshare-pid", "--proc", "/proc"][..],
        ),
        (
            "a user namespace that maps your user",
            &["--unshare-user", "--uid", "0"],
        ),
        ("no network", &["--unshare-net"]),
        ("no `/proc`", &["--tmpfs", "/proc"]),
    ] {
        check_row(row);
        let server = Server::start(&[]);
        assert_eq!(said(&server, options), TAKEN, "{row}");
        let event = &server.stdout.lines(1)[0];
        assert_eq!(event["_peer_uid"], uid, "{row}");
        assert!(
            event["_peer_pid"].as_u64().is_some_and(|pid| pid > 2),
            "{row}"
        );
    }
}

/// A sandbox that sends, waits for a line on stdin, and sends again.
fn sends_twice(shared: &Path) -> Child {
    let script = "\"$@\" </dev/null; read -r line; \"$@\" </dev/null";
    let mut sandbox = sandbox(shared, &["sh", "-c", script, "sh"]);
    sandbox.args(SEND).stdin(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_folder_that_is_mounted_outlives_a_restart_and_a_file_does_not() {
    if !has_sandboxes() {
        return;
    }
    let mut server = Server::start(&[]);
    let folder = server.folder.path().to_owned();
    check_row("the socket's folder, mounted (read-only is enough)");
    check_row("the socket's file, mounted alone");
    let sandboxes = [&folder, &server.socket()].map(|shared| sends_twice(shared));
    server.stdout.lines(2);
    server.stop();
    let folder = std::mem::replace(&mut server.folder, crate::harness::folder());
    let server = Server::start_in(folder, &[], |command| command);
    let said = sandboxes.map(|sandbox| {
        // The end of stdin ends the wait too.
        let output = sandbox.wait_with_output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    });
    assert_eq!(said[0], TAKEN.repeat(2));
    let second = said[1].strip_prefix(TAKEN).unwrap();
    assert!(second.contains("mounted here by itself"), "{second}");
    assert!(second.contains("Mount its folder"), "{second}");
    server.stdout.lines(1);
}

#[test]
fn send_refuses_the_server_of_a_user_that_the_sandbox_does_not_know_as_its_own() {
    if !is_root() || !has_sandboxes() {
        return;
    }
    let folder = folder();
    fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(folder.path(), Some(65533), Some(65533)).unwrap();
    let server = Server::start_in(folder, &["--mode", "0666"], |command| {
        use std::os::unix::process::CommandExt;
        command.uid(65533).gid(65533)
    });
    for (row, options, reason) in [
        (
            "another user than you, such as its root",
            &[][..],
            "user 65533 listens there",
        ),
        (
            "a user namespace that does not map your user",
            &["--unshare-user", "--uid", "0"],
            "no number of this user namespace",
        ),
    ] {
        check_row(row);
        let said = said(&server, options);
        assert!(said.contains(reason), "{row}: {said}");
    }
    assert_eq!(server.stdout.text(), "");
}

/// A filter of system calls (seccomp(2)) that lets socket(2) fail with EPERM, as the sandbox of
/// Claude Code does: four instructions of a `sock_filter` each.
fn filter() -> Vec<u8> {
    let instructions: [(u16, u8, u8, u32); 4] = [
        // The number of the system call.
        (0x20, 0, 0, 0),
        (0x15, 0, 1, libc::SYS_socket as u32),
        (0x06, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        (0x06, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let bytes = instructions.map(|(code, yes, no, value)| {
        let mut bytes = code.to_ne_bytes().to_vec();
        bytes.extend([yes, no]);
        bytes.extend(value.to_ne_bytes());
        bytes
    });
    bytes.concat()
}

#[test]
fn a_filter_that_forbids_unix_sockets_is_named() {
    if !has_sandboxes() {
        return;
    }
    check_row("a seccomp filter that forbids Unix sockets");
    let server = Server::start(&[]);
    let file = server.folder.path().join("filter");
    fs::write(&file, filter()).unwrap();
    let mut sandbox = sandbox(server.folder.path(), &["--seccomp", "9"]);
    let shell = ["sh", "-c", "exec 9<\"$0\" \"$@\"", file.to_str().unwrap()];
    let output = run_under(sandbox.args(SEND), &shell).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("a sandbox forbids Unix sockets"), "{said}");
}

/// Runs the command of a hook in a sandbox without this program.
fn run_without_program(server: &Server, settings: &serde_json::Value) {
    let folder = Path::new(BINARY).parent().unwrap().to_str().unwrap();
    let hook = hook_command(settings, "Stop");
    let options = ["--tmpfs", folder, "sh", "-c", hook];
    let output = sandbox(server.folder.path(), &options).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn without_the_program_hooks_succeed_and_those_with_curl_arrive() {
    if !has_sandboxes() || tool("curl").is_none() {
        return;
    }
    check_row("not this program");
    let server = Server::start(&[]);
    let settings = |arguments: &[&str]| crate::harness::settings(Path::new(SOCKET), arguments);
    run_without_program(&server, &settings(&[]));
    assert_eq!(server.stdout.text(), "");
    run_without_program(&server, &settings(&["--curl"]));
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Stop");
}

#[test]
fn without_session_files_events_alone_tell_the_state() {
    if !has_sandboxes() {
        return;
    }
    check_row("session files that are not here");
    let server = Server::start(&[]);
    // The paths are those of the container.
    let payload = json!({"session_id": "s", "cwd": "/work", "tool_name": "Bash",
        "transcript_path": "/root/.claude/projects/-work/s.jsonl", "tool_input": {"command": "ls"}});
    let folder: &TempDir = &server.folder;
    for event in ["PreToolUse", "PermissionRequest"] {
        let script = format!("echo '{payload}' | \"$@\"");
        let mut sandbox = sandbox(folder.path(), &["sh", "-c", &script, "sh"]);
        let send = [
            BINARY, "send", event, "-v", "--socket", SOCKET, "--host", "box",
        ];
        let output = sandbox.args(send).output().unwrap();
        assert!(output.stderr.starts_with(event.as_bytes()), "{output:?}");
    }
    let mut sessions = program();
    sessions.args(["sessions", "--json", "--socket"]);
    let output = sessions.arg(server.socket()).output().unwrap();
    let session = &events(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!(session["state"], "waiting");
    assert_eq!(session["source"], "events");
    assert_eq!(session["host"], "box");
    for unknown in ["branch", "model", "context", "terminal"] {
        assert!(session[unknown].is_null(), "{unknown}");
    }
}
