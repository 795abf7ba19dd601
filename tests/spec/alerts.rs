//! `watch --notify`, `--on-wait` and `--on-idle`: what happens when a session begins to wait, and
//! when a long turn has ended.
//!
//! That nothing happens for one session is seen when something has happened for another one that
//! came later.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client_files::{Home, file};
use crate::harness::*;

/// `watch --lines`, killed when it is dropped.
struct Watch {
    child: Child,
    stdout: Stream,
    stderr: Stream,
}

impl Watch {
    fn run(command: &mut Command) -> Watch {
        Watch::run_with(command, Stdio::null())
    }

    fn run_with(command: &mut Command, stdin: Stdio) -> Watch {
        command
            .arg("--lines")
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Watch {
            stdout: Stream::collect(child.stdout.take()),
            stderr: Stream::collect(child.stderr.take()),
            child,
        }
    }

    /// Starts it, and waits until it reads from the server, which must have `--trace`. An event
    /// that is posted then is no past one.
    fn of(server: &Server, arguments: &[&str]) -> Watch {
        let mut command = program();
        let command = command.args(["watch", "--socket"]).arg(server.socket());
        let watch = Watch::run(command.args(arguments));
        wait_for_readers(server, 1);
        watch
    }

    fn wait_for_error(&self, text: &str) {
        self.stderr.wait(text, |stderr| stderr.contains(text));
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_readers(server: &Server, count: usize) {
    let is_one = |text: &str| text.matches("becomes a reader").count() >= count;
    server.stderr.wait("the reader", is_one);
}

/// A file to which commands add what they get on stdin.
struct Log {
    folder: TempDir,
    path: PathBuf,
}

impl Log {
    fn new() -> Log {
        let folder = folder();
        let path = folder.path().join("log");
        Log { folder, path }
    }

    fn command(&self) -> String {
        format!("cat >> {}", self.path.display())
    }

    /// The sessions that the commands have got so far.
    fn sessions(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        events(whole)
    }

    fn ids(&self) -> Vec<String> {
        let sessions = self.sessions().into_iter();
        let id = |session: Value| session["session_id"].as_str().unwrap().to_owned();
        sessions.map(id).collect()
    }

    /// Waits until there are so many, and returns their ids in order.
    fn wait(&self, count: usize) -> Vec<String> {
        wait_until("the commands have run", || self.ids().len() >= count);
        let mut ids = self.ids();
        ids.sort_unstable();
        ids
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

/// A server that `watch` takes for an older one: its history and its live events have other times
/// than the ones at which they arrive. It ends with its listener.
fn server_with_events(socket: &Path, past: Vec<Value>, live: Vec<Value>) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let target = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
            if !target.starts_with("GET /events") {
                continue;
            }
            let head = events_head("0123456789abcdef", 0, past.len() as u64);
            let events = past.iter().chain(&live).map(|event| format!("{event}\n"));
            let text = head + &events.collect::<String>();
            stream.write_all(text.as_bytes()).unwrap();
            // It stays open.
            thread::park();
        }
    });
}

#[test]
fn each_question_notifies_once_in_the_way_that_the_terminal_knows() {
    let server = Server::start(&["--trace"]);
    let terminals = [
        ("xterm-256color", "iTerm.app", "\x1b]9;a,b waits: TEXT\x07"),
        ("xterm-kitty", "", "\x1b]99;;a,b waits: TEXT\x1b\\"),
        ("foot", "", "\x1b]777;notify;a,b waits;TEXT\x07"),
        ("tmux-256color", "tmux", ""),
    ];
    let mut shown = Vec::new();
    for (index, (term, name, _)) in terminals.iter().enumerate() {
        let (screen, slave) = terminal();
        let mut command = program();
        let command = command.args(["watch", "--notify", "--socket"]);
        command
            .env_clear()
            .env("TERM", term)
            .env("TERM_PROGRAM", name);
        let command = command.arg(server.socket()).arg("--lines");
        let child = command.stdin(Stdio::null()).stdout(slave).spawn().unwrap();
        let watch = Watch {
            stdout: screen,
            stderr: Stream::collect(None::<fs::File>),
            child,
        };
        shown.push(watch);
        wait_for_readers(&server, index + 1);
    }
    server.post("UserPromptSubmit", call("a;b", "1"));
    ask(&server, "a;b", "1");
    // The client notifies the user of the same request.
    let notification = json!({"session_id": "a;b", "message": "Claude needs your permission",
        "notification_type": "permission_prompt"});
    server.post("Notification", notification.to_string());
    ask(&server, "a;b", "2");
    for (watch, (_, _, sequence)) in shown.iter().zip(terminals) {
        let notice = |id: &str| {
            let text = format!("permission for Bash: touch {id}");
            format!("\x07{}", sequence.replace("TEXT", &text))
        };
        let rings = 2 * notice("").matches('\x07').count();
        let text = watch
            .stdout
            .wait("both", |text| text.matches('\x07').count() >= rings);
        assert!(
            text.contains(&notice("1")) && text.contains(&notice("2")),
            "{text:?}"
        );
        let others = ["\x1b]9;", "\x1b]99;", "\x1b]777;"];
        let count: usize = others.iter().map(|own| text.matches(own).count()).sum();
        assert_eq!(count, if sequence.is_empty() { 0 } else { 2 }, "{text:?}");
    }
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
fn the_command_gets_the_session_and_runs_for_each_question() {
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let transcript = log.folder.path().join("transcript");
    let line = json!({"type": "user", "gitBranch": "main"});
    fs::write(&transcript, format!("{line}\n")).unwrap();
    let command = format!("echo to nobody; {}", log.command());
    let _watch = Watch::of(&server, &["--on-wait", &command]);
    let start = json!({"session_id": "a", "transcript_path": transcript});
    server.post("SessionStart", start.to_string());
    ask(&server, "a", "1");
    log.wait(1);
    let session = &log.sessions()[0];
    let expected = json!({"session_id": "a", "state": "waiting", "source": "events",
        "detail": "permission for Bash: touch 1", "branch": "main", "terminal": null});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&session[name], value, "{name}");
    }
    server.post("PostToolUse", call("a", "1"));
    ask(&server, "a", "2");
    ask(&server, "b", "1");
    assert_eq!(log.wait(3), ["a", "a", "b"]);
}

#[test]
fn a_question_that_is_answered_within_a_second_causes_nothing() {
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let _watch = Watch::of(&server, &["--on-wait", &log.command()]);
    ask(&server, "answered", "1");
    server.post("PostToolUse", call("answered", "1"));
    ask(&server, "open", "1");
    assert_eq!(log.wait(1), ["open"]);
}

/// Where the clock of the server is behind or ahead, so are the times of its events.
#[test]
fn what_is_new_does_not_depend_on_the_time_of_an_event() {
    for time in ["2020-02-09T10:30:00+00:00", "2099-02-09T10:30:00+00:00"] {
        let log = Log::new();
        let socket = log.folder.path().join("socket");
        let request = |session: &str| {
            json!({"_ts": time, "_event": "PermissionRequest", "session_id": session,
                "tool_name": "Bash"})
        };
        server_with_events(&socket, vec![request("past")], vec![request("new")]);
        let mut command = program();
        let command = command.args(["watch", "--socket"]).arg(&socket);
        let _watch = Watch::run(command.args(["--on-wait", &log.command()]));
        assert_eq!(log.wait(1), ["new"], "{time}");
    }
}

#[test]
fn past_events_and_other_sessions_cause_no_command() {
    let server = Server::start(&["--trace"]);
    ask(&server, "b-past", "1");
    let log = Log::new();
    let _watch = Watch::of(&server, &["--session", "b", "--on-wait", &log.command()]);
    ask(&server, "a", "1");
    ask(&server, "b", "1");
    assert_eq!(log.wait(1), ["b"]);
}

/// A file has past events, and a pipe has none.
#[test]
fn a_record_causes_alerts_for_what_is_added_to_it() {
    let log = Log::new();
    let record = log.folder.path().join("record");
    let request = |session: &str| {
        let event = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "PermissionRequest",
            "session_id": session, "tool_name": "Bash"});
        format!("{event}\n")
    };
    fs::write(&record, request("past")).unwrap();
    let mut command = program();
    let command = command.args(["watch", "--on-wait", &log.command(), "-"]);
    let mut follower = Watch::run_with(command.arg(&record), Stdio::piped());
    // What comes before the last file is past, too.
    let mut before = follower.child.stdin.take().unwrap();
    before.write_all(request("before").as_bytes()).unwrap();
    drop(before);
    let is_read = |text: &str| text.contains("past");
    follower.stdout.wait("the past event", is_read);
    let mut file = OpenOptions::new().append(true).open(&record).unwrap();
    let mut asked = 0;
    // Until the end of the record is reached, this is a past event too.
    wait_until("the command has run", || {
        file.write_all(request(&format!("new{asked}")).as_bytes())
            .unwrap();
        asked += 1;
        thread::sleep(Duration::from_millis(20));
        !log.ids().is_empty()
    });
    assert!(log.ids()[0].starts_with("new"));

    let log = Log::new();
    let mut command = program();
    let fifo = gate(&log);
    // The command has the fifo open for writing as long as it runs.
    let on_wait = format!("{}; exec sleep 1000 > {}", log.command(), fifo.display());
    command.args(["watch", "--on-wait", &on_wait, "-"]);
    let mut reader = Watch::run_with(&mut command, Stdio::piped());
    let mut pipe = reader.child.stdin.take().unwrap();
    pipe.write_all(request("piped").as_bytes()).unwrap();
    assert_eq!(log.wait(1), ["piped"]);
    let mut gate = fs::File::open(fifo).unwrap();
    drop(pipe);
    assert!(reader.child.wait().unwrap().success());
    // The command has ended with the program.
    assert_eq!(gate.read(&mut [0]).unwrap(), 0);
}

/// Past events name further folders of session files. In each, a session waits, and reading the
/// other files takes longer than reading the events.
fn name_folders(home: &mut Home, server: &Server, log: &Log) -> Vec<(PathBuf, Value)> {
    let name_folder = |name: &str| {
        let pid = home.client();
        let folder = log.folder.path().join(name);
        fs::create_dir_all(folder.join("sessions")).unwrap();
        let path = folder.join(format!("sessions/{pid}.json"));
        let file = file(pid, name, "waiting");
        fs::write(&path, file.to_string()).unwrap();
        for other in 0..500 {
            fs::write(
                folder.join(format!("sessions/{}.json", 90_000_000 + other)),
                "",
            )
            .unwrap();
        }
        let transcript = folder.join("projects/shop/s.jsonl");
        let body = json!({"session_id": name, "transcript_path": transcript});
        server.post("SessionStart", body.to_string());
        (path, file)
    };
    ["one", "two", "three"].map(name_folder).into()
}

/// Flips the file of a session until `watch` has noticed, which shows that it follows the files.
fn wait_for_files(home: &mut Home, log: &Log) {
    let pid = home.client();
    let mut statuses = ["busy", "waiting"].into_iter().cycle();
    wait_until("the files are followed", || {
        home.write(pid, &file(pid, "flipped", statuses.next().unwrap()));
        log.ids().contains(&"flipped".into())
    });
    home.write(pid, &file(pid, "flipped", "busy"));
}

#[test]
fn where_a_session_has_a_file_it_says_whether_it_asks() {
    let mut home = Home::new();
    let (one, other) = (home.client(), home.client());
    let write = |home: &Home, pid: u32, session: &str, status: &str, what: &str| {
        let mut file = file(pid, session, status);
        file["waitingFor"] = json!(what);
        home.write(pid, &file);
    };
    write(&home, one, "with-file", "busy", "");
    write(&home, other, "at-start", "waiting", "permission prompt");
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let named = name_folders(&mut home, &server, &log);
    let mut command = home.command("watch", server.socket().to_str().unwrap());
    let watch = Watch::run(command.args(["--on-wait", &log.command()]));
    wait_for_readers(&server, 1);
    wait_for_files(&mut home, &log);
    let own = || {
        let mut sessions = log.sessions();
        sessions.retain(|session| session["session_id"] != "flipped");
        sessions
    };
    // Another hook answers the first request.
    ask(&server, "with-file", "1");
    ask(&server, "without", "1");
    wait_until("one without a file asks", || !own().is_empty());
    assert_eq!(own()[0]["session_id"], "without");
    // Its tool runs.
    ask(&server, "with-file", "2");
    let is_shown = |text: &str| text.contains("WAITS Bash touch 2");
    watch.stdout.wait("the request", is_shown);
    write(&home, one, "with-file", "waiting", "permission prompt");
    wait_until("the file says that it asks", || own().len() > 1);
    let session = &own()[1];
    assert_eq!(session["session_id"], "with-file");
    assert_eq!(session["source"], "client");
    assert_eq!(session["detail"], "permission for Bash: touch 2");
    // The user opens a dialog, and closes it: that is still the same question.
    write(&home, one, "with-file", "waiting", "dialog open");
    write(&home, one, "with-file", "waiting", "permission prompt");
    write(&home, other, "at-start", "waiting", "dialog open");
    // Of this one only its file tells.
    let third = home.client();
    write(&home, third, "only-file", "waiting", "input needed");
    wait_until("only the file tells", || own().len() > 2);
    let session = &own()[2];
    assert_eq!(session["session_id"], "only-file");
    assert_eq!(session["detail"], "input needed");
    write(&home, one, "with-file", "busy", "");
    wait_until("another question", || {
        write(&home, one, "with-file", "busy", "");
        write(&home, one, "with-file", "waiting", "permission prompt");
        own().len() > 3
    });
    assert_eq!(own()[3]["session_id"], "with-file");
    // The folders that past events have named are followed.
    for (path, mut file) in named {
        let mut statuses = ["busy", "waiting"].into_iter().cycle();
        wait_until("the folder is followed", || {
            file["status"] = json!(statuses.next().unwrap());
            fs::write(&path, file.to_string()).unwrap();
            log.ids()
                .contains(&file["sessionId"].as_str().unwrap().into())
        });
    }
}

#[test]
fn without_a_server_the_files_alone_cause_alerts() {
    let mut home = Home::new();
    let log = Log::new();
    let mut command = home.command("watch", "/nonexistent");
    let _watch = Watch::run(command.args(["--on-wait", &log.command()]));
    wait_for_files(&mut home, &log);
}

/// A fifo. Who reads it waits until the test opens it.
fn gate(log: &Log) -> PathBuf {
    let path = log.folder.path().join("gate");
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    path
}

/// Lets those go on who read the gate.
fn open(gate: &Path) {
    let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    // It fails if nobody does.
    let _ = OpenOptions::new()
        .write(true)
        .custom_flags(flags)
        .open(gate);
}

#[test]
fn more_than_16_commands_wait_their_turn_and_an_answered_question_runs_none() {
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let gate = gate(&log);
    let command = format!("{}; cat {}", log.command(), gate.display());
    let watch = Watch::of(&server, &["--on-wait", &command]);
    for number in 0..16 {
        ask(&server, &format!("early{number}"), "1");
    }
    log.wait(16);
    ask(&server, "answered", "1");
    ask(&server, "late", "1");
    // A command can only wait for its turn once its question has been open for a second.
    thread::sleep(Duration::from_millis(1500));
    server.post("PostToolUse", call("answered", "1"));
    ask(&server, "last", "1");
    let ids = || log.ids().split_off(16);
    assert_eq!(ids(), [""; 0]);
    wait_until("the others run", || {
        open(&gate);
        ids().len() >= 2
    });
    assert_eq!(ids(), ["late", "last"]);
    assert_eq!(watch.stderr.text(), "");
}

#[test]
fn a_session_has_one_command_at_once_which_is_killed_after_10_seconds() {
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let path = log.path.display();
    // The command and a process that it starts. Later it ends at once.
    let command = format!(
        "if [ -e {path} ]; then grep -o '\"detail\":\"[^\"]*' >> {path}; \
         else sleep 1000 & echo $$ $! >> {path}; wait; fi"
    );
    let watch = Watch::of(&server, &["--on-wait", &command]);
    ask(&server, "a", "1");
    let mut first = String::new();
    wait_until("it runs", || {
        first = fs::read_to_string(&log.path).unwrap_or_default();
        first.ends_with('\n')
    });
    for id in ["2", "3"] {
        ask(&server, "a", id);
    }
    server.post("PostToolUse", call("a", "1"));
    ask(&server, "b", "4");
    let pids: Vec<&str> = first.split_whitespace().collect();
    let is_running = |pid: &&str| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    };
    assert!(pids.len() == 2 && pids.iter().all(is_running), "{first}");
    let details = |text: &str| {
        let id = |line: &str| line.chars().next_back().unwrap();
        text.lines().skip(1).map(id).collect::<String>()
    };
    let text = || fs::read_to_string(&log.path).unwrap();
    wait_until("another session's command runs", || details(&text()) == "4");
    // Its command waits for its turn.
    server.post("PostToolUse", call("a", "2"));
    watch.wait_for_error("the command of --on-wait for a was killed: it took 10 seconds\n");
    assert!(!pids.iter().any(is_running));
    ask(&server, "c", "5");
    // It runs once for the questions that came in between.
    wait_until("all have run", || details(&text()).len() >= 3);
    assert_eq!(details(&text()), "435");
}

#[test]
fn a_command_that_fails_is_reported() {
    for (command, expected) in [
        ("nonexistent-command", "failed (exit status: 127): sh: "),
        ("exit 3", "failed (exit status: 3)\n"),
        ("kill $$", "failed (signal: 15 (SIGTERM))\n"),
        (
            "printf '%0999d\\nx' 0 >&2; exit 1",
            &format!("failed (exit status: 1): {:0100}…\n", 0),
        ),
    ] {
        let server = Server::start(&["--trace"]);
        let watch = Watch::of(&server, &["--on-wait", command]);
        ask(&server, command, "1");
        let name: String = command.chars().take(8).collect();
        watch.wait_for_error(&format!("the command of --on-wait for {name} {expected}"));
    }
}

#[cfg(feature = "screen")]
#[test]
fn the_screen_reports_a_command_that_fails_until_a_key_is_pressed() {
    use crate::screen;
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&["--trace"]);
    let mut home = Home::new();
    let mut command = home.command("watch", server.socket().to_str().unwrap());
    let watch = screen::Watch::start(command.args(["--on-wait", "exit 3"]));
    wait_for_readers(&server, 1);
    // Nothing but the alert wakes a screen that is paused.
    watch.press(" ");
    watch.wait_for("PAUSED");
    ask(&server, "a", "1");
    watch.wait_for("the command of --on-wait for a failed (exit status: 3)");
    watch.press(" ");
    ask(&server, "b", "1");
    watch.wait_for("the command of --on-wait for b failed (exit status: 3)");
    // Other events come.
    let before = watch.screen.text().len();
    server.post("SessionStart", call("another", "1"));
    watch.wait_for_more(before, "another");
    watch.press("f");
    wait_until("the report is gone", || {
        !screen::picture(&watch.screen.text()).contains(" failed (exit status: 3)")
    });
    // The screen follows the files too.
    let pid = home.client();
    let mut statuses = ["busy", "waiting"].into_iter().cycle();
    wait_until("the file causes an alert", || {
        home.write(pid, &file(pid, "flipped", statuses.next().unwrap()));
        watch.screen.text().contains("for shop-1 failed")
    });
}

#[test]
fn the_end_of_a_turn_of_ten_seconds_runs_a_command() {
    let server = Server::start(&["--trace"]);
    let log = Log::new();
    let gate = gate(&log);
    let started = log.folder.path().join("started");
    let on_wait = format!("> {}; cat {}; exit 1", started.display(), gate.display());
    let on_idle = log.command();
    let watch = Watch::of(&server, &["--on-wait", &on_wait, "--on-idle", &on_idle]);
    for session in ["short", "long", "ends", "fails", "goes on", "last"] {
        server.post("UserPromptSubmit", call(session, "1"));
    }
    server.post("Stop", call("short", "1"));
    let event = |name: &str| {
        let event =
            json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": name, "session_id": "record"});
        format!("{event}\n")
    };
    let record = log.folder.path().join("record");
    fs::write(&record, event("UserPromptSubmit")).unwrap();
    let mut command = program();
    let command = command.arg("watch").arg(&record);
    let _follower = Watch::run(command.args(["--on-idle", &log.command()]));
    // The time is what this is about.
    thread::sleep(Duration::from_secs(11));
    server.post("SessionEnd", call("ends", "1"));
    // Another turn begins while a command of the session still runs.
    ask(&server, "goes on", "1");
    wait_until("its command runs", || started.exists());
    server.post("Stop", call("goes on", "1"));
    server.post("Stop", call("long", "1"));
    log.wait(1);
    assert_eq!(log.sessions()[0]["state"], "idle");
    server.post("UserPromptSubmit", call("goes on", "1"));
    server.post("StopFailure", call("fails", "1"));
    let mut file = OpenOptions::new().append(true).open(&record).unwrap();
    file.write_all(event("Stop").as_bytes()).unwrap();
    log.wait(3);
    wait_until("its command has ended", || {
        open(&gate);
        watch
            .stderr
            .text()
            .contains("the command of --on-wait for goes on failed")
    });
    server.post("Stop", call("last", "1"));
    assert_eq!(log.wait(4), ["fails", "last", "long", "record"]);
}
