//! `send` posts one event for a hook's command. Whatever happens, the client notices nothing.

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::*;

/// The program as a hook runs it, with a pipe as stdin.
fn hook(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = command(socket, arguments);
    command.stdin(Stdio::piped());
    command
}

fn write_payload(child: &mut Child, payload: impl AsRef<[u8]>) {
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(payload.as_ref()).unwrap();
}

/// Waits for the end, which is a success with nothing on stdout. Returns stderr.
fn stderr_of(child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    String::from_utf8(output.stderr).unwrap()
}

/// Sends an event that is not taken: silently without `-v`. Returns the reason that `-v`
/// reports.
fn reason(socket: &Path) -> String {
    let [silent, verbose] = [&["send", "Stop"][..], &["send", "Stop", "-v"]].map(|arguments| {
        let mut child = hook(socket, arguments).spawn().unwrap();
        write_payload(&mut child, "{}");
        stderr_of(child)
    });
    assert_eq!(silent, "");
    let start = format!("Stop was not taken at {}: ", socket.display());
    let reason = verbose.strip_prefix(&start);
    reason.unwrap_or_else(|| panic!("{verbose}")).to_owned()
}

fn lone_listener() -> (tempfile::TempDir, UnixListener) {
    let folder = folder();
    let listener = UnixListener::bind(folder.path().join("hooks.sock")).unwrap();
    (folder, listener)
}

#[test]
fn the_payload_arrives_as_it_is_and_the_sender_is_the_peer() {
    let server = Server::start(&[]);
    let mut child = hook(&server.socket(), &["send", "PreToolUse"])
        .spawn()
        .unwrap();
    let pid = child.id();
    write_payload(&mut child, "{\"a\":1e5,\n\"b\":\"\\/ ü 😀\"}\n");
    assert_eq!(stderr_of(child), "");
    let line = server.stdout.wait("the event", |text| text.ends_with('\n'));
    let payload = r#""a":1e5,"b":"\/ \u00fc \ud83d\ude00"}"#;
    assert!(line.trim_end().ends_with(payload), "{line}");
    let event = &events(&line)[0];
    assert_eq!(event["_event"], "PreToolUse");
    assert_eq!(event["_peer_pid"], pid);
}

/// The sender waits for the response, so the event is written when the sender ends.
#[test]
fn it_ends_when_the_event_is_taken() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = std::fs::File::create(&path).unwrap();
    let server = Server::start_in(folder, &[], |command| command.stdout(file));
    for n in 1..=20 {
        let mut child = hook(&server.socket(), &["send", "Stop"]).spawn().unwrap();
        write_payload(&mut child, format!("{{\"n\":{n}}}"));
        assert_eq!(stderr_of(child), "");
        let printed = events(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(column(&printed, "n"), (1..=n).collect::<Vec<_>>());
    }
}

#[test]
fn an_events_name_may_hold_anything() {
    let server = Server::start(&[]);
    for (n, name) in ["a b&c=d#e%41+/?", "ü😀", "'\"\r\n", "Stop"]
        .iter()
        .enumerate()
    {
        let mut child = hook(&server.socket(), &["send", name]).spawn().unwrap();
        write_payload(&mut child, "");
        assert_eq!(stderr_of(child), "");
        assert_eq!(server.stdout.lines(n + 1)[n]["_event"], *name);
    }
}

#[test]
fn it_finds_the_socket_as_the_server_does() {
    let server = Server::start(&[]);
    let status = program()
        .args(["send", "Stop"])
        .env("CLAUDE_UNIX_HOOK_WATCHER", server.socket())
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Stop");
}

#[test]
fn a_payload_of_megabytes_arrives() {
    let server = Server::start(&[]);
    let payload = format!("{{\"text\":\"{}\"}}", "x".repeat(4 << 20));
    let mut child = hook(&server.socket(), &["send", "Stop"]).spawn().unwrap();
    write_payload(&mut child, &payload);
    assert_eq!(stderr_of(child), "");
    let line = server.stdout.wait("the event", |text| text.ends_with('\n'));
    assert!(line.trim_end().ends_with(&payload[1..]));
}

/// The writer's `O_NONBLOCK` counts for the reader too: both share the file description.
#[test]
fn a_nonblocking_stdin_is_read_to_the_end_of_the_object() {
    let server = Server::start(&[]);
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let child = hook(&server.socket(), &["send", "Stop"])
        .stdin(OwnedFd::from(ours))
        .spawn()
        .unwrap();
    wait_until("it waits for its payload", || is_asleep(child.id()));
    theirs.write_all(b"{\"n\":").unwrap();
    wait_until("it waits for the rest", || is_asleep(child.id()));
    theirs.write_all(b"1}").unwrap();
    drop(theirs);
    assert_eq!(stderr_of(child), "");
    assert_eq!(server.stdout.lines(1)[0]["n"], 1);
}

#[test]
fn a_terminal_or_a_closed_stdin_is_an_empty_payload() {
    let server = Server::start(&[]);
    let (_screen, terminal) = terminal();
    let from_terminal = hook(&server.socket(), &["send", "Terminal"])
        .stdin(terminal)
        .spawn()
        .unwrap();
    assert_eq!(stderr_of(from_terminal), "");
    let mut closed = hook(&server.socket(), &["send", "Closed"]);
    run_under(&mut closed, &["sh", "-c", "exec \"$0\" \"$@\" <&-"]);
    assert_eq!(stderr_of(closed.spawn().unwrap()), "");
    let events = server.stdout.lines(2);
    let fields = |event: &Value| event.as_object().unwrap().len();
    assert_eq!([fields(&events[0]), fields(&events[1])], [5, 5]);
}

#[test]
fn without_a_server_it_succeeds_at_once_and_v_reports_why() {
    let (folder, listener) = lone_listener();
    drop(listener);
    assert!(reason(&folder.path().join("hooks.sock")).contains("its server has ended"));
    assert!(reason(&folder.path().join("absent")).contains("no such file"));
    assert!(reason(&folder.path().join("hooks.sock/x")).contains("no such file"));
    assert!(reason(&folder.path().join("x".repeat(200))).contains("107 bytes"));
    assert!(reason(folder.path()).contains("not a socket"));
}

/// A client may report a failure if the pipe is closed while it writes.
#[test]
fn the_payload_is_read_even_without_a_server() {
    let folder = folder();
    let mut child = hook(&folder.path().join("absent"), &["send", "Stop"])
        .spawn()
        .unwrap();
    write_payload(&mut child, "x".repeat(1 << 20));
    assert_eq!(stderr_of(child), "");
}

#[test]
fn a_refusal_is_not_a_failure_and_v_reports_the_response() {
    let server = Server::start(&["--max-body", "1000"]);
    for size in [1001, 4 << 20] {
        let mut child = hook(&server.socket(), &["send", "Stop", "-v"])
            .spawn()
            .unwrap();
        write_payload(&mut child, "x".repeat(size));
        let stderr = stderr_of(child);
        assert!(
            stderr.contains("the server answered HTTP/1.1 413"),
            "{stderr}"
        );
    }
}

#[test]
fn a_server_that_closes_at_once_is_not_a_failure() {
    let (folder, listener) = lone_listener();
    let closing = thread::spawn(move || {
        for _ in 0..2 {
            drop(listener.accept().unwrap());
        }
    });
    let mut child = hook(&folder.path().join("hooks.sock"), &["send", "Stop"])
        .spawn()
        .unwrap();
    write_payload(&mut child, "x".repeat(4 << 20));
    assert_eq!(stderr_of(child), "");
    let mut child = hook(&folder.path().join("hooks.sock"), &["send", "Stop", "-v"])
        .spawn()
        .unwrap();
    write_payload(&mut child, "x".repeat(4 << 20));
    assert_ne!(stderr_of(child), "");
    closing.join().unwrap();
}

/// Asserts that the sender gives up after one second, and not before.
fn gives_up(socket: &Path, payload: &str) {
    let start = Instant::now();
    let mut child = hook(socket, &["send", "Stop", "-v"]).spawn().unwrap();
    write_payload(&mut child, payload);
    let stderr = stderr_of(child);
    assert!(stderr.contains("within a second"), "{stderr}");
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[test]
fn a_server_that_never_answers_is_given_up_after_a_second() {
    let (folder, _listener) = lone_listener();
    gives_up(&folder.path().join("hooks.sock"), "{}");
}

#[test]
fn a_server_that_never_reads_is_given_up_after_a_second() {
    let (folder, _listener) = lone_listener();
    gives_up(&folder.path().join("hooks.sock"), &"x".repeat(4 << 20));
}

/// Bytes that the server reads do not extend the deadline.
#[test]
fn a_server_that_reads_slowly_is_given_up_after_a_second() {
    let (folder, listener) = lone_listener();
    let slow = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut taken = 0;
        let mut buffer = [0; 1 << 14];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            taken += count;
            thread::sleep(Duration::from_millis(20));
        }
        taken
    });
    gives_up(&folder.path().join("hooks.sock"), &"x".repeat(32 << 20));
    assert!((1..32 << 20).contains(&slow.join().unwrap()));
}

#[test]
fn a_full_backlog_is_given_up_after_a_second() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let _listener = listener_with_short_backlog(&path);
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_without_waiting(&path) {
        waiting.push(stream);
    }
    gives_up(&path, "{}");
}

/// poll(2) does not report room in a backlog.
#[test]
fn it_waits_for_room_in_a_full_backlog() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let listener = listener_with_short_backlog(&path);
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_without_waiting(&path) {
        waiting.push(stream);
    }
    let mut child = hook(&path, &["send", "Stop"]).spawn().unwrap();
    write_payload(&mut child, "{}");
    wait_until("it waits for room", || is_asleep(child.id()));
    let taken = waiting.iter().map(|_| listener.accept().unwrap());
    let taken: Vec<_> = taken.collect();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 4];
    stream.read_exact(&mut request).unwrap();
    assert_eq!(&request, b"POST");
    stream.write_all(OK.as_bytes()).unwrap();
    assert_eq!(stderr_of(child), "");
    drop(taken);
}

/// Anybody can create a socket in /tmp, and payloads contain prompts and files.
#[test]
fn only_a_server_of_the_same_user_or_of_root_gets_anything() {
    if !is_root() {
        return;
    }
    let [alice, bob] = [65532, 65533];
    let open = |folder: &tempfile::TempDir| {
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        chown(folder.path(), Some(alice), Some(alice)).unwrap();
    };
    let folder = folder();
    open(&folder);
    let of_alice = Server::start_in(folder, &["--mode", "0666"], |command| {
        command.uid(alice).gid(alice)
    });
    let of_root = Server::start(&["--mode", "0666"]);
    open(&of_root.folder);
    let send = |server: &Server, user| {
        let mut child = hook(&server.socket(), &["send", "Stop", "-v"])
            .uid(user)
            .gid(user)
            .spawn()
            .unwrap();
        write_payload(&mut child, "{}");
        stderr_of(child)
    };
    for refused in [bob, 0] {
        let stderr = send(&of_alice, refused);
        let reason = format!("user {alice} listens there, and user {refused} trusts only");
        assert!(stderr.contains(&reason), "{stderr}");
    }
    for taken in [(&of_alice, alice), (&of_root, bob), (&of_root, 0)] {
        let stderr = send(taken.0, taken.1);
        assert!(stderr.starts_with("Stop was taken at "), "{stderr}");
    }
    assert_eq!(column(&of_alice.stdout.lines(1), "_peer_uid"), [65532]);
    assert_eq!(column(&of_root.stdout.lines(2), "_peer_uid"), [65533, 0]);
}

#[test]
fn without_permission_v_reports_what_is_closed() {
    if !is_root() {
        return;
    }
    let server = Server::start(&["--mode", "0600"]);
    for (mode, reason) in [
        (0o755, "this user may not write to the socket"),
        (0o700, "this user may not enter a directory on the path"),
    ] {
        std::fs::set_permissions(server.folder.path(), PermissionsExt::from_mode(mode)).unwrap();
        let mut child = hook(&server.socket(), &["send", "Stop", "-v"])
            .uid(65533)
            .spawn()
            .unwrap();
        write_payload(&mut child, "{}");
        let stderr = stderr_of(child);
        assert!(stderr.contains(reason), "{stderr}");
    }
}

#[test]
fn a_sandbox_that_forbids_unix_sockets_is_reported_by_v() {
    if tool("strace").is_none() {
        return;
    }
    let server = Server::start(&[]);
    for call in ["socket", "connect"] {
        let mut sandboxed = hook(&server.socket(), &["send", "Stop", "-v"]);
        let inject = format!("inject={call}:error=EPERM");
        run_under(
            &mut sandboxed,
            &["strace", "-o", "/dev/null", "-e", &inject],
        );
        let mut child = sandboxed.stdin(Stdio::piped()).spawn().unwrap();
        write_payload(&mut child, "{}");
        let stderr = stderr_of(child);
        assert!(
            stderr.contains("a sandbox forbids Unix sockets"),
            "{stderr}"
        );
    }
}

/// Every user without a number in a user namespace has the same number there.
#[test]
fn a_listener_whose_user_the_kernel_cannot_identify_gets_nothing() {
    let in_namespace = |mapping: &[&str], server: &Server| {
        let mut command = hook(&server.socket(), &["send", "Stop", "-v"]);
        let unshare = [&["unshare", "--user"], mapping].concat();
        run_under(&mut command, &unshare);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        write_payload(&mut child, "{}");
        stderr_of(child)
    };
    let unshare = || Command::new("unshare").args(["--user", "true"]).status();
    if tool("unshare").is_none() || !is_root() {
        return;
    }
    if !unshare().unwrap().success() {
        return skip("there are no user namespaces");
    }
    let stranger = Server::start_in(folder_of(65533), &["--mode", "0666"], |command| {
        command.uid(65533).gid(65533)
    });
    // Without a mapping the sender's own number is the overflow uid too.
    for mapping in [&[][..], &["--map-root-user"]] {
        let stderr = in_namespace(mapping, &stranger);
        assert!(
            stderr.contains("no number of this user namespace"),
            "{stderr}"
        );
        assert!(stderr.contains("(it says 65534)"), "{stderr}");
    }
    let own = Server::start(&[]);
    let stderr = in_namespace(&["--map-root-user"], &own);
    assert!(stderr.starts_with("Stop was taken at "), "{stderr}");
}

fn folder_of(user: u32) -> tempfile::TempDir {
    let folder = folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    chown(folder.path(), Some(user), Some(user)).unwrap();
    folder
}

/// The client leaves the pipe open in some versions, and ends the hook after its timeout.
#[test]
fn an_object_is_sent_as_soon_as_it_is_complete() {
    let server = Server::start(&[]);
    let mut child = hook(&server.socket(), &["send", "Stop"]).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b" {\"a\":\"}\\\"").unwrap();
    wait_until("it waits for the rest", || is_asleep(child.id()));
    stdin.write_all(b"}\",\"b\":[{}]}").unwrap();
    wait_until("it ends", || child.try_wait().unwrap().is_some());
    assert_eq!(stderr_of(child), "");
    let event = &server.stdout.lines(1)[0];
    assert_eq!(event["a"], "}\"}");
    assert_eq!(event["b"], serde_json::json!([{}]));
    drop(stdin);
}

#[test]
fn what_follows_an_object_is_ignored() {
    let server = Server::start(&[]);
    for (n, rest) in ["\n", "}", " {\"n\":7}", "text", "\0\u{ff}"]
        .iter()
        .enumerate()
    {
        let mut child = hook(&server.socket(), &["send", "Stop"]).spawn().unwrap();
        write_payload(&mut child, format!("\r\n\t {{\"n\":{n}}}{rest}"));
        assert_eq!(stderr_of(child), "");
        let event = &server.stdout.lines(n + 1)[n];
        assert_eq!((&event["n"], event.get("_raw")), (&n.into(), None));
    }
}

#[test]
fn text_that_is_not_an_object_is_sent_whole_at_the_end_of_input() {
    let server = Server::start(&[]);
    let texts = [
        "{oops} more",
        "{]",
        "[1] {}",
        "7",
        "{\"a\":1",
        "{\"a\":01} {\"a\":1}",
        "\u{feff}{}",
    ];
    for (n, text) in texts.iter().enumerate() {
        let mut child = hook(&server.socket(), &["send", "Stop"]).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        wait_until("it waits for the end", || is_asleep(child.id()));
        drop(stdin);
        assert_eq!(stderr_of(child), "");
        assert_eq!(server.stdout.lines(n + 1)[n]["_raw"], *text);
    }
}

/// With 400 MB of address space.
#[test]
fn it_gives_up_a_payload_at_64_mib() {
    let server = Server::start(&[]);
    for start in ["", "{\"a\":\""] {
        let mut endless = hook(&server.socket(), &["send", "Stop", "-v"]);
        let script = "ulimit -v 400000; (printf %s \"$0\"; exec tr '\\0' x < /dev/zero) | \"$@\"";
        run_under(&mut endless, &["sh", "-c", script, start]);
        let stderr = stderr_of(endless.spawn().unwrap());
        assert!(stderr.contains("longer than 64 MiB"), "{stderr}");
    }
    assert_eq!(server.stdout.text(), "");
}

#[test]
fn v_prints_no_byte_that_controls_a_terminal() {
    let folder = folder();
    let socket = folder.path().join("a\u{1b}[2Jb");
    let mut child = hook(&socket, &["send", "Stop\u{1b}[2J\u{202e}", "-v"])
        .spawn()
        .unwrap();
    write_payload(&mut child, "{}");
    let stderr = stderr_of(child);
    assert!(
        stderr.starts_with("Stop\u{fffd}[2J\u{fffd} was not taken at /"),
        "{stderr:?}"
    );
    assert!(stderr.contains("/a\u{fffd}[2Jb: "), "{stderr:?}");
    assert!(!stderr.contains('\u{1b}'));
}

/// To Claude Code, exit code 2 of a hook is an order to block the step.
#[test]
fn wrong_usage_never_exits_with_2() {
    for arguments in [
        &["send"][..],
        &["send", "Stop", "--sockt", "/tmp/x"],
        &["send", "Stop", "surplus"],
    ] {
        let output = run(arguments);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(output.stderr.starts_with(b"Error: "), "{arguments:?}");
    }
}
