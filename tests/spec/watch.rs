//! `watch`: events as they happen, from a server, an output socket, files or stdin.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::json;

use crate::harness::*;
use crate::lines::terminal_of;
use crate::sessions::{recording, run_with_stdin};

/// A running `watch`, killed when it is dropped.
pub struct Watch {
    pub child: Child,
    pub stdout: Stream,
    pub stderr: Stream,
}

impl Watch {
    pub fn start(arguments: &[&str]) -> Watch {
        Watch::start_with(arguments, |command| command)
    }

    /// Starts a `watch` whose command is modified by `prepare`.
    pub fn start_with(
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Watch {
        let mut command = program();
        command.arg("watch").args(arguments);
        prepare(&mut command)
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env("TZ", "UTC0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Watch {
            stdout: Stream::collect(child.stdout.take()),
            stderr: Stream::collect(child.stderr.take()),
            child,
        }
    }

    pub fn wait_for(&self, text: &str) {
        self.stdout.wait(text, |shown| shown.contains(text));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It fails if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(name: &str) -> String {
    run_with_stdin(&["watch", "-"], recording(name).concat().as_bytes()).0
}

pub fn event(session: &str, name: &str) -> String {
    json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": name, "session_id": session}).to_string()
        + "\n"
}

#[test]
fn a_tool_call_has_a_line_when_it_starts_and_one_when_it_ends() {
    let shown = lines_of("01_print");
    let expected = "\
12:27:22 webshop e2b8 PreToolUse   Read notes.txt
12:27:22 webshop e2b8 PostToolUse  Read ✓ 2ms notes.txt
12:27:23 webshop e2b8 PreToolUse   Bash cat nope.txt
12:27:23 webshop e2b8 PostToolUseFailure Bash ✗ 8ms Exit code 1 cat: nope.txt: No such file or directory · cat nope.txt
12:27:23 webshop e2b8 PreToolUse   Bash sleep 2
12:27:25 webshop e2b8 PostToolUse  Bash ✓ 2.0s sleep 2
12:27:25 webshop e2b8 MessageDisplay All done.
12:27:25 webshop e2b8 Stop
";
    assert!(shown.contains(expected), "{shown}");
    // A batch is shown for the refused call only.
    let batches: Vec<_> = shown
        .lines()
        .filter(|line| line.contains("PostToolBatch"))
        .collect();
    assert_eq!(batches.len(), 1);
    assert!(batches[0].contains("Bash ✗ touch in '/home/dev/webshop/made.txt' needs approval."));
}

#[test]
fn a_client_that_sends_no_duration_has_the_difference_of_the_times() {
    let line = |second: u32, name: &str| {
        let time = format!("2026-02-09T10:31:{second:02}+00:00");
        json!({"_ts": time, "_event": name, "session_id": "s", "tool_use_id": "t", "tool_name": "Bash"})
            .to_string() + "\n"
    };
    let input = line(1, "PreToolUse") + &line(8, "PostToolUse");
    let (shown, _) = run_with_stdin(&["watch", "-"], input.as_bytes());
    assert!(shown.ends_with("PostToolUse  Bash ✓ 7s\n"), "{shown}");
}

#[test]
fn lines_of_a_subagent_have_its_id_and_what_waits_stands_out() {
    let shown = lines_of("09c_sub_permission");
    for expected in [
        "12:30:10 webshop d407 aaf6 SubagentStart general-purpose\n",
        "12:30:10 webshop d407 aaf6 PermissionRequest WAITS Bash touch sub.txt\n",
        "12:30:17 webshop d407 Notification WAITS Claude needs your permission\n",
        "12:30:20 webshop d407 UserPromptSubmit Agent \"Make a file\" finished\n",
        "12:30:24 webshop d407 a9a1 PostToolBatch Bash ✗ Permission for this tool use was denied.",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
}

#[test]
fn short_ids_are_as_long_as_it_takes_to_tell_them_apart() {
    let input = [
        event("0198c0de-1", "Stop"),
        event("0198c0de-2", "Stop"),
        event("0198c0de-1", "Stop"),
    ];
    let (shown, _) = run_with_stdin(&["watch", "-"], input.concat().as_bytes());
    let ids: Vec<_> = shown
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(ids, ["0198", "0198c0de-2", "0198c0de-1"]);
}

#[test]
fn each_form_has_the_bytes_that_the_server_prints() {
    let server = Server::start(&["--pretty-yaml"]);
    for (name, body) in recorded() {
        server.post(&name, body);
    }
    let socket = server.socket();
    let watch = |form| Watch::start(&["--socket", socket.to_str().unwrap(), form]);
    let (yaml, json) = (watch("--yaml"), watch("--json"));
    yaml.wait_for("_event: SessionEnd\n");
    json.wait_for("\"reason\":\"other\"}\n");
    let printed = server
        .stdout
        .wait("all events", |text| text.ends_with("reason: other\n"));
    assert_eq!(
        yaml.stdout
            .wait("the end", |text| text.len() >= printed.len()),
        printed
    );
    let again = run_with_stdin(&["watch", "-", "--yaml"], json.stdout.text().as_bytes()).0;
    assert_eq!(again, printed);
    let again = run_with_stdin(&["watch", "-", "--json"], json.stdout.text().as_bytes()).0;
    assert_eq!(again, json.stdout.text());
}

#[test]
fn a_batch_of_100_000_failed_calls_takes_linear_time() {
    let call = |number| json!({"tool_use_id": number, "tool_response": "Error: no"}).to_string();
    let calls: Vec<String> = (0..100_000)
        .map(|number: u32| call(number.to_string()))
        .collect();
    let calls = calls.join(",");
    let line =
        format!("{{\"_event\":\"PostToolBatch\",\"session_id\":\"s\",\"tool_calls\":[{calls}]}}\n");
    let mut command = program();
    command.args(["watch", "-"]);
    // It takes a few seconds, and took 40.
    let watch = run_under(&mut command, &["prlimit", "--cpu=20"]);
    let mut child = watch.stdin(Stdio::piped()).spawn().unwrap();
    let stdout = Stream::collect(child.stdout.take());
    child
        .stdin
        .take()
        .unwrap()
        .write_all(line.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(stdout.to_end().lines().count(), 100_000);
}

#[test]
fn filters_choose_events() {
    let input = recording("09c_sub_permission").concat() + &event("other", "Stop");
    let count = |options: &[&str]| {
        let arguments = [&["watch", "--json", "-"], options].concat();
        run_with_stdin(&arguments, input.as_bytes())
            .0
            .lines()
            .count()
    };
    assert_eq!(count(&[]), 33);
    assert_eq!(count(&["--session", "d407"]), 32);
    assert_eq!(count(&["--event", "Stop,SessionEnd"]), 6);
    assert_eq!(count(&["--tool", "Agent"]), 6);
    assert_eq!(count(&["--tool", "Bash", "--event", "PostToolBatch"]), 2);
    // The duration comes from an event that is not shown.
    let (shown, _) = run_with_stdin(
        &["watch", "-", "--event", "PostToolBatch"],
        input.as_bytes(),
    );
    assert_eq!(shown.lines().count(), 1);
}

#[test]
fn damaged_lines_are_counted_and_hostile_ones_harmless() {
    let mut input = b"no JSON\n".to_vec();
    input.extend(vec![b'x'; 1 << 20]);
    input.extend(b"\n");
    let escape = json!({
        "_ts": "\u{1b}[2J", "_event": "\u{1b}]0;x\u{7}", "session_id": "\u{1b}c", "cwd": "/\u{202e}",
        "agent_id": "\u{9b}31m", "tool_name": "\r\n", "tool_input": {"command": "\u{1b}[A"}, "error": "\u{8}",
    });
    input.extend(format!("{escape}\n").as_bytes());
    for form in ["--lines", "--yaml", "--json"] {
        let (shown, stderr) = run_with_stdin(&["watch", "-", form], &input);
        let is_safe = |char: char| char == '\n' || !char.is_control() && char != '\u{202e}';
        assert!(shown.chars().all(is_safe), "{shown:?}");
        assert_eq!(stderr, "2 damaged lines were skipped\n");
    }
    let (table, _) = run_with_stdin(&["sessions", "-"], &input);
    assert!(
        !table.contains('\u{1b}') && !table.contains('\u{202e}'),
        "{table:?}"
    );
}

#[test]
fn files_are_read_in_order_and_the_last_one_is_followed() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let record = event("one", "Stop") + &event("two", "Stop");
    // A line may begin in one file and end in the next.
    let (first, second) = record.split_at(30);
    fs::write(path("events.1.jsonl"), first).unwrap();
    fs::write(path("events.2.jsonl"), second).unwrap();
    let watch = Watch::start(&[&path("events.1.jsonl"), &path("events.2.jsonl")]);
    watch.wait_for("two  Stop");
    let mut file = File::options()
        .append(true)
        .open(path("events.2.jsonl"))
        .unwrap();
    let (start, end) = (event("thre", "Stop"), event("four", "Stop"));
    file.write_all(&start.as_bytes()[..9]).unwrap();
    file.write_all(&start.as_bytes()[9..]).unwrap();
    watch.wait_for("thre Stop");
    // rotatelogs continues in a file with the next name.
    fs::write(path("other.3.jsonl"), event("no", "Stop")).unwrap();
    fs::write(path("events.3.jsonl"), end).unwrap();
    watch.wait_for("four Stop");
    let shown = watch.stdout.text();
    let ids: Vec<_> = shown
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(ids, ["one", "two", "thre", "four"]);
}

#[test]
fn a_file_that_is_renamed_or_truncated_is_read_from_its_start() {
    let folder = folder();
    let path = folder.path().join("events");
    fs::write(&path, event("one", "Stop") + &event("two", "Stop")).unwrap();
    let watch = Watch::start(&[path.to_str().unwrap()]);
    watch.wait_for("two  Stop");
    fs::rename(&path, folder.path().join("events.old")).unwrap();
    fs::write(&path, event("thre", "Stop")).unwrap();
    watch.wait_for("thre Stop");
    File::create(&path).unwrap();
    thread::sleep(std::time::Duration::from_millis(300));
    fs::write(&path, event("four", "Stop")).unwrap();
    watch.wait_for("four Stop");
}

#[test]
fn a_server_that_comes_back_is_watched_on() {
    let folder = folder();
    let socket = folder.path().join("hooks.sock");
    let watch = Watch::start(&["--socket", socket.to_str().unwrap()]);
    watch
        .stderr
        .wait("a message", |text| text.contains("no server at"));
    let mut server = Server::start_in(folder, &[], |command| command);
    server.post("Stop", r#"{"session_id":"one"}"#);
    watch.wait_for("one  Stop");
    server.stop();
    watch.stderr.wait("a message", |text| {
        text.contains("has ended: waiting for the next one")
    });
    let folder = std::mem::replace(&mut server.folder, crate::harness::folder());
    let server = Server::start_in(folder, &[], |command| command);
    server.post("Stop", r#"{"session_id":"two"}"#);
    watch.wait_for("two  Stop");
    assert_eq!(watch.stdout.text().lines().count(), 2);
    let connected = watch
        .stderr
        .text()
        .matches("connected to the server at")
        .count();
    assert_eq!(connected, 2);
}

/// strace makes the first connection or the first request fail, as a server does that is killed or
/// stopped.
#[test]
fn a_server_that_ends_before_it_has_the_request_is_waited_for() {
    let Some(strace) = tool("strace") else { return };
    let server = Server::start(&[]);
    server.post("Stop", r#"{"session_id":"one"}"#);
    for (failure, text) in [
        ("connect:error=ECONNREFUSED", "its server has ended"),
        ("connect:error=EAGAIN", "did not answer within a second"),
        ("writev:error=EPIPE", "Broken pipe"),
        ("writev:error=ECONNRESET", "Connection reset"),
    ] {
        let inject = format!("inject={failure}:when=1");
        let strace = strace.to_str().unwrap();
        let wrapper = [strace, "-D", "-o", "/dev/null", "-e", &inject];
        let socket = server.socket();
        let arguments = ["--socket", socket.to_str().unwrap()];
        let watch = Watch::start_with(&arguments, |command| run_under(command, &wrapper));
        watch.wait_for("one  Stop");
        watch.stderr.wait("both messages", |stderr| {
            let lost = stderr.find(text);
            lost.is_some() && lost < stderr.find("connected to the server at")
        });
    }
}

#[test]
fn a_file_that_is_no_socket_is_not_waited_for() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let watch = Watch::start(&["--socket", file.path().to_str().unwrap()]);
    watch.stderr.wait("the error", |text| {
        text.starts_with("Error: no events from /") && text.contains("that is not a socket")
    });
}

#[test]
fn an_output_socket_is_recognised_though_it_says_nothing() {
    let server = Server::with_readers(&[]);
    let socket = server.output_socket();
    let watch = Watch::start(&[socket.to_str().unwrap()]);
    server
        .stderr
        .wait("the reader", |text| text.contains("connected (1 total)"));
    server.post("Stop", r#"{"session_id":"one"}"#);
    watch.wait_for("one  Stop");
    let output = run(&["sessions", socket.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error.contains("give the path of the hook socket"),
        "{error}"
    );
}

#[test]
fn the_sessions_of_a_server_are_those_of_its_past_events() {
    let server = Server::start(&[]);
    for line in recording("16b_pane_asking")[..4].iter() {
        let event = &events(line)[0];
        server.post(event["_event"].as_str().unwrap(), line);
    }
    let socket = server.socket();
    for arguments in [
        ["sessions", "--json", "--socket", socket.to_str().unwrap()].as_slice(),
        &["sessions", "--json", socket.to_str().unwrap()],
    ] {
        let output = run(arguments);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        let sessions = events(&String::from_utf8(output.stdout).unwrap());
        assert_eq!(
            (sessions.len(), &sessions[0]["state"]),
            (1, &json!("waiting"))
        );
    }
}

#[test]
fn sessions_ends_also_while_events_never_pause() {
    let server = Server::start(&[]);
    let socket = server.socket();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                server.post("Stop", r#"{"session_id":"busy"}"#);
            }
        });
        let output = run(&["sessions", "--json", socket.to_str().unwrap()]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(output.status.success());
    });
}

/// Of 12 MB, a socket holds a fraction.
#[test]
fn sessions_reads_all_past_events() {
    let server = Server::start(&[]);
    let text = "x".repeat(300_000);
    for n in 0..40 {
        let body =
            json!({"session_id": n.to_string(), "last_assistant_message": "done", "text": text});
        server.post("Stop", body.to_string());
    }
    let output = run(&["sessions", "--json", server.socket().to_str().unwrap()]);
    let sessions = events(&String::from_utf8(output.stdout).unwrap());
    // The list of the server has no messages.
    let count = sessions
        .iter()
        .filter(|session| session["detail"] == "done")
        .count();
    assert_eq!(count, 40);
}

/// Without a history, the server knows only the name of the last event of each session.
#[test]
fn a_session_without_past_events_is_unknown() {
    let server = Server::start(&["--history", "0"]);
    server.post("PreToolUse", r#"{"session_id":"s","cwd":"/home/dev/shop"}"#);
    server.post(
        "PermissionRequest",
        r#"{"session_id":"s","cwd":"/home/dev/shop"}"#,
    );
    let output = run(&["sessions", "--json", server.socket().to_str().unwrap()]);
    let session = &events(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!(
        (&session["state"], &session["detail"]),
        (&json!("unknown"), &json!("last event PermissionRequest"))
    );
    assert_eq!(
        (&session["cwd"], &session["events"]),
        (&json!("/home/dev/shop"), &json!(2))
    );
}

#[test]
fn without_a_server_sessions_fails_and_says_why() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let output = run(&["sessions", "--socket", path.to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert!(error.contains("no server has started there"), "{error}");
    let output = run(&["sessions", folder.path().join("no.jsonl").to_str().unwrap()]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.starts_with("Error: cannot open "), "{error}");
}

/// A server that gives this answer to every request.
fn stub(path: &Path, answer: &'static str) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}

#[test]
fn a_server_that_refuses_or_has_no_events_is_reported() {
    let folder = folder();
    for (answer, expected) in [
        ("HTTP/1.1 404 Not Found\r\n\r\n", "has no /events"),
        (
            "HTTP/1.1 403 Forbidden\r\n\r\n",
            "only its own user and root may read",
        ),
        (
            "HTTP/1.1 500 \x1b[2J\r\n\r\n",
            "answered HTTP/1.1 500 \u{fffd}[2J",
        ),
    ] {
        let path = folder.path().join(expected.len().to_string());
        stub(&path, answer);
        for command in ["watch", "sessions"] {
            let output = run(&[command, "--socket", path.to_str().unwrap()]);
            let error = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1));
            assert!(
                error.starts_with("Error: no events from /") && error.contains(expected),
                "{error}"
            );
        }
    }
}

/// The stub has no event at first. Then it numbers its events, closes the connection, and continues where it is asked to. The last
/// time, three events have left its history, and then another server is there.
#[test]
fn a_lost_connection_repeats_no_event() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let watch = Watch::start(&["--json", path.to_str().unwrap()]);
    let all = ["one", "two", "thre"].map(|session| event(session, "Stop"));
    let lost =
        |count: u32| format!("{{\"_ts\":\"\",\"_event\":\"_dropped\",\"_dropped\":{count}}}\n");
    let [own, next] = ["0123456789abcdef", "fedcba9876543210"];
    let answer = |server, first, events: &[&String]| {
        let events: String = events.iter().map(|event| event.as_str()).collect();
        events_head(server, first, first) + &events
    };
    for (query, answer, lines) in [
        ("replay=all", answer(next, 0, &[]), 0),
        ("replay=all", answer(own, 7, &[&all[0], &lost(4)]), 3),
        ("after=0123456789abcdef:11", answer(own, 12, &[&all[1]]), 4),
        // Something accepts the connection in the server's place, or the server has no room.
        ("after=0123456789abcdef:12", String::new(), 4),
        (
            "after=0123456789abcdef:12",
            "HTTP/1.1 503 No\r\n\r\n".into(),
            4,
        ),
        ("after=0123456789abcdef:12", answer(own, 16, &[&all[2]]), 6),
        ("after=0123456789abcdef:16", answer(next, 0, &[&all[0]]), 7),
        ("after=fedcba9876543210:0", answer(own, 9, &[&all[1]]), 9),
    ] {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let length = stream.read(&mut request).unwrap();
        let line = format!("GET /events?{query} HTTP/1.1\r\n");
        let request = String::from_utf8_lossy(&request[..length]);
        assert!(request.starts_with(&line), "{request}");
        stream.write_all(answer.as_bytes()).unwrap();
        let is_complete = |text: &str| text.lines().count() == lines;
        watch.stdout.wait("the events", is_complete);
    }
    let shown = events(&watch.stdout.text());
    let shown: Vec<String> = shown
        .iter()
        .map(|event| match event["_dropped"].as_u64() {
            Some(count) => format!("-{count}"),
            None => event["session_id"].as_str().unwrap().to_owned(),
        })
        .collect();
    // Of another server, those before its first event are lost.
    let expected = ["-7", "one", "-4", "two", "-3", "thre", "one", "-9", "two"];
    assert_eq!(shown, expected);
}

/// The stub never stops sending.
#[test]
fn sessions_ends_after_the_past_events_however_many_come_meanwhile() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let mut sessions = program();
    sessions.arg("sessions").arg(&path).stdout(Stdio::piped());
    let sessions = sessions.spawn().unwrap();
    // It asks for the list of sessions first, and goes on without one.
    drop(listener.accept().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    drop(listener);
    let text = events_head("0123456789abcdef", 0, 2);
    stream.write_all(text.as_bytes()).unwrap();
    let mut count = 0;
    while stream.write_all(event("one", "Stop").as_bytes()).is_ok() {
        count += 1;
    }
    assert!(count >= 2);
    let output = sessions.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.contains(" one "), "{text}");
}

#[test]
fn a_closed_stdout_ends_it_without_an_error() {
    let folder = folder();
    let path = folder.path().join("events");
    fs::write(&path, event("one", "Stop")).unwrap();
    let mut watch = shell(&format!(
        "hooks-observatory watch {} | head -1",
        path.display()
    ))
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let stdout = Stream::collect(watch.stdout.take());
    stdout.wait("a line", |text| text.ends_with('\n'));
    let mut file = File::options().append(true).open(&path).unwrap();
    wait_until("it ends", || {
        file.write_all(event("two", "Stop").as_bytes()).unwrap();
        watch.try_wait().unwrap().is_some()
    });
    let mut stderr = String::new();
    watch
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut stderr)
        .unwrap();
    assert_eq!(stderr, "");
}

#[test]
fn on_a_terminal_sessions_have_colours_in_turn_and_long_lines_are_cut_in_the_middle() {
    let folder = folder();
    let path = folder.path().join("events");
    let command = format!("{} && cat the-last-file", "echo a-long-command ".repeat(9));
    let call = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "PreToolUse", "session_id": "b",
        "cwd": "/home/dev/shop", "tool_name": "Bash", "tool_input": {"command": command}});
    fs::write(&path, format!("{}{call}\n", event("a", "Stop"))).unwrap();
    let (screen, slave, _terminal) = terminal_of(80);
    let mut command = program();
    command
        .args(["watch", "--lines"])
        .arg(&path)
        .env("TZ", "UTC0")
        .env_remove("NO_COLOR")
        .stdout(slave);
    let mut child = command.spawn().unwrap();
    let shown = screen.wait("two lines", |text| text.matches("\r\n").count() == 2);
    child.kill().unwrap();
    child.wait().unwrap();
    let [first, second] = shown.lines().collect::<Vec<_>>()[..] else {
        panic!("{shown:?}")
    };
    assert!(first.contains(" \x1b[32ma\x1b[0m"), "{first:?}");
    assert!(
        second.contains(" \x1b[33mshop\x1b[0m \x1b[33mb\x1b[0m"),
        "{second:?}"
    );
    assert!(second.ends_with("… && cat the-last-file"), "{second:?}");
    assert!(second.contains("Bash\x1b[0m echo a-long"), "{second:?}");
}

#[test]
fn on_a_terminal_40_lines_of_one_text_are_shown_as_yaml() {
    let text = (1..=100).map(|n| format!("line {n}\n")).collect::<String>();
    let body = json!({"prompt": text, "other": "\u{1b}\n".repeat(50)}).to_string();
    let (screen, slave, _terminal) = terminal_of(80);
    let server = Server::start_with(&["--pretty-yaml"], |command| {
        command.stdout(slave).env("NO_COLOR", "1")
    });
    server.post("Stop", &body);
    let cuts = ["# … 10 more lines\r\n", "# … 60 more lines\r\n"];
    let shown = screen.wait("the event", |text| {
        cuts.iter().all(|cut| text.contains(cut))
    });
    assert!(
        shown.contains("\r\n  line 40\r\n# … 60 more lines\r\n"),
        "{shown}"
    );
    assert!(!shown.contains("line 41"));
    let printed = Printer::new(&["--pretty-yaml"]).print("/?event=Stop", &body);
    assert!(
        printed.contains("\n  line 100\n") && !printed.contains('#'),
        "{printed}"
    );
}

/// Also any terminal, if the program was built without the screen.
#[test]
fn a_dumb_terminal_gets_lines() {
    let folder = folder();
    let path = folder.path().join("events");
    fs::write(&path, event("s", "Stop")).unwrap();
    let (screen, slave) = terminal();
    let is_dumb = cfg!(feature = "screen");
    let mut child = program()
        .arg("watch")
        .arg(&path)
        .env("TERM", if is_dumb { "dumb" } else { "xterm" })
        .env("NO_COLOR", "1")
        .stdout(slave)
        .spawn()
        .unwrap();
    let shown = screen.wait("a line", |shown| shown.ends_with("\r\n"));
    assert!(shown.ends_with("s    Stop\r\n"), "{shown:?}");
    child.kill().unwrap();
    child.wait().unwrap();
}
