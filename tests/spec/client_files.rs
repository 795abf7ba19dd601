//! The session files of the client, as `sessions` reads them: what they say of the
//! state, and which of them count.
//!
//! The processes are real ones that wait. Only Linux shows when a process began.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

/// A home directory with the client's configuration directory, and processes that are clients.
pub struct Home {
    pub folder: TempDir,
    pub clients: Vec<Child>,
}

impl Home {
    pub fn new() -> Home {
        let home = Home {
            folder: folder(),
            clients: Vec::new(),
        };
        fs::create_dir_all(home.sessions()).unwrap();
        home
    }

    pub fn sessions(&self) -> PathBuf {
        self.folder.path().join(".claude/sessions")
    }

    /// Starts a process that waits until it is dropped. Returns its pid.
    pub fn client(&mut self) -> u32 {
        let mut cat = Command::new("cat");
        cat.stdin(Stdio::piped()).stdout(Stdio::null());
        self.clients.push(cat.spawn().unwrap());
        self.clients.last().unwrap().id()
    }

    /// The same, without a terminal, but with the variables of the first pane of a tmux server.
    fn client_outside(&mut self, tmux: &Path) -> u32 {
        let mut cat = Command::new("setsid");
        cat.arg("cat").stdin(Stdio::piped()).stdout(Stdio::null());
        cat.env("TMUX", format!("{},1,0", tmux.display()))
            .env("TMUX_PANE", "%0");
        self.clients.push(cat.spawn().unwrap());
        self.clients.last().unwrap().id()
    }

    pub fn path(&self, pid: u32) -> PathBuf {
        self.sessions().join(format!("{pid}.json"))
    }

    /// Writes the file of a process as the client does.
    pub fn write(&self, pid: u32, file: &Value) {
        fs::write(self.path(pid), file.to_string()).unwrap();
    }

    pub fn command(&self, subcommand: &str, socket: &str) -> Command {
        let mut command = program();
        command.env("HOME", self.folder.path());
        command.args([subcommand, "--socket", socket]);
        command
    }

    pub fn run(&self, socket: &str) -> Output {
        self.command("sessions", socket)
            .arg("--json")
            .output()
            .unwrap()
    }

    /// The sessions, where no server runs.
    fn list(&self) -> Vec<Value> {
        let output = self.run("/nonexistent");
        events(&String::from_utf8(output.stdout).unwrap())
    }

    /// The states of the sessions, where no server runs.
    fn states(&self) -> String {
        let states = self.list().into_iter();
        let states = states.map(|session| session["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for client in &mut self.clients {
            client.kill().unwrap();
            client.wait().unwrap();
        }
    }
}

/// When a process began: field 22 of proc_pid_stat(5).
fn start_of(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    fields.split(' ').nth(19).unwrap().to_owned()
}

/// The file of a session.
pub fn file(pid: u32, session: &str, status: &str) -> Value {
    json!({"pid": pid, "sessionId": session, "cwd": "/home/dev/shop", "name": "shop-1",
        "procStart": start_of(pid), "status": status, "statusUpdatedAt": 1_795_915_941_668_i64,
        "waitingFor": "permission prompt"})
}

#[test]
fn without_a_server_the_files_tell_which_sessions_there_are() {
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "waiting"));
    let output = home.run("/nonexistent");
    let session = &events(&String::from_utf8(output.stdout).unwrap())[0];
    let expected = json!({"session_id": "s", "name": "shop-1", "state": "waiting",
        "since": "2026-11-29T01:32:21+00:00", "detail": "permission prompt",
        "cwd": "/home/dev/shop", "pid": pid, "source": "client", "events": 0});
    for (name, value) in expected.as_object().unwrap() {
        assert_eq!(&session[name], value, "{name}");
    }
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no events from /nonexistent"), "{stderr}");
    assert!(output.status.success());
}

#[test]
fn after_an_answer_the_state_is_what_the_client_says() {
    let mut home = Home::new();
    let pid = home.client();
    let server = Server::start(&[]);
    let call = json!({"session_id": "s", "tool_name": "Bash", "tool_use_id": "t",
        "tool_input": {"command": "make"}});
    server.post("UserPromptSubmit", r#"{"session_id":"s","prompt":"go on"}"#);
    server.post("PreToolUse", call.to_string());
    server.post("PermissionRequest", call.to_string());
    let look = |status: &str| {
        home.write(pid, &file(pid, "s", status));
        let output = home.run(server.socket().to_str().unwrap());
        let session = events(&String::from_utf8(output.stdout).unwrap()).remove(0);
        let text = |name: &str| session[name].as_str().unwrap_or("null").to_owned();
        (
            text("state"),
            text("detail"),
            text("source"),
            session["tools"].as_array().unwrap().len(),
        )
    };
    let seen = |state: &str, detail: &str, source: &str, tools| {
        (
            state.to_owned(),
            detail.to_owned(),
            source.to_owned(),
            tools,
        )
    };
    assert_eq!(
        look("waiting"),
        seen("waiting", "permission for Bash: make", "client", 1)
    );
    assert_eq!(look("busy"), seen("working", "Bash make", "client", 1));
    // Refused, or Esc: no event tells.
    assert_eq!(look("idle"), seen("idle", "interrupted", "client", 0));
    assert_eq!(look("shell"), seen("idle", "interrupted", "client", 0));
    // A status that nobody knows says nothing.
    assert_eq!(
        look("resting"),
        seen("waiting", "permission for Bash: make", "events", 1)
    );
}

#[test]
fn only_the_file_of_a_process_that_runs_counts() {
    let mut home = Home::new();
    let pid = home.client();
    let with = |name: &str, value: Value| {
        let mut file = file(pid, "s", "busy");
        file[name] = value;
        home.write(pid, &file);
        home.states()
    };
    assert_eq!(with("status", json!("busy")), "working");
    assert_eq!(
        with("procStart", json!("1")),
        "",
        "another process had this number"
    );
    assert_eq!(with("procStart", Value::Null), "working");
    assert_eq!(
        with("pidDomain", json!("linux:0:pid:[1]")),
        "",
        "a container's process"
    );
    assert_eq!(
        with("startedAt", json!(0)),
        "working",
        "procStart is enough"
    );
    let mut early = file(pid, "s", "busy");
    early["procStart"] = Value::Null;
    early["startedAt"] = json!(1000);
    home.write(pid, &early);
    assert_eq!(
        home.states(),
        "",
        "the process began after the file says so"
    );
    assert_eq!(
        with("spare", json!(true)),
        "",
        "the process waits for a job in the background"
    );
    home.write(pid, &file(pid, "s", "busy"));
    home.clients
        .pop()
        .map(|mut client| (client.kill(), client.wait()));
    assert_eq!(home.states(), "", "its process has been killed");
}

/// A client that is killed leaves its file, and posts no `SessionEnd`.
#[test]
fn a_session_whose_process_left_its_file_is_gone() {
    let mut home = Home::new();
    let pid = home.client();
    let server = Server::start(&[]);
    server.post("UserPromptSubmit", r#"{"session_id":"s"}"#);
    let mut left = file(pid, "s", "waiting");
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    // Not every container has a number for its machine. Then nothing shows that it ran here.
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    left["pidDomain"] = json!(format!("linux:{}:{}", machine.trim(), namespace.display()));
    home.write(pid, &left);
    let state = || {
        let output = home.run(server.socket().to_str().unwrap());
        let session = &events(&String::from_utf8(output.stdout).unwrap())[0];
        format!("{} {}", session["state"], session["detail"])
    };
    assert_eq!(state(), r#""waiting" "permission prompt""#);
    // Another process with this number would have begun later.
    left["procStart"] = json!("1");
    home.write(pid, &left);
    let gone = format!(r#""gone" "process {pid} has ended without SessionEnd""#);
    let is_known = !machine.trim().is_empty();
    let expected = if is_known {
        gone
    } else {
        r#""working" "thinking""#.into()
    };
    assert_eq!(state(), expected);
    server.post("SessionEnd", r#"{"session_id":"s","reason":"other"}"#);
    assert_eq!(state(), r#""ended" "other""#);
    assert_eq!(home.states(), "", "no row of its own");
}

/// It has never been seen to run here. A file beside it that is half written makes the program
/// look several times.
#[test]
fn a_process_of_a_container_does_not_end() {
    let mut home = Home::new();
    let pid = home.client();
    let server = Server::start(&[]);
    server.post("UserPromptSubmit", r#"{"session_id":"s"}"#);
    let mut other = file(pid, "s", "waiting");
    other["pidDomain"] = json!("linux:0:pid:[1]");
    home.write(pid, &other);
    fs::write(home.path(1), "{").unwrap();
    let output = home.run(server.socket().to_str().unwrap());
    let session = &events(str::from_utf8(&output.stdout).unwrap())[0];
    assert_eq!(session["state"], "working");
}

#[test]
fn what_is_no_session_file_is_passed_over() {
    let mut home = Home::new();
    let pids: [u32; 9] = std::array::from_fn(|_| home.client());
    let good = file(pids[0], "good", "idle");
    home.write(pids[0], &good);
    fs::write(home.path(pids[1]), "").unwrap();
    fs::write(home.path(pids[2]), "{\"sessionId\":\"half").unwrap();
    home.write(pids[3], &json!([good]));
    home.write(pids[4], &json!({"sessionId": 7, "status": "idle"}));
    let fifo = Command::new("mkfifo")
        .arg(home.path(pids[5]))
        .status()
        .unwrap();
    assert!(fifo.success());
    let target = home.folder.path().join("target");
    fs::write(&target, file(pids[6], "linked", "idle").to_string()).unwrap();
    symlink(&target, home.path(pids[6])).unwrap();
    let large = file(pids[7], "large", "idle").to_string() + &" ".repeat(64 << 10);
    fs::write(home.path(pids[7]), large).unwrap();
    let other = format!("{}.json.tmp", pids[8]);
    let text = file(pids[8], "other", "idle").to_string();
    fs::write(home.sessions().join(other), &text).unwrap();
    fs::write(home.sessions().join("+1.json"), &text).unwrap();
    let ids: Vec<_> = home
        .list()
        .into_iter()
        .map(|session| session["session_id"].clone())
        .collect();
    assert_eq!(ids, ["good"]);
}

/// The client writes in place. The test completes the file once the program has closed it three
/// times.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_half_written_is_read_again_soon() {
    use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
    let mut home = Home::new();
    let pid = home.client();
    let text = file(pid, "s", "waiting").to_string();
    fs::write(home.path(pid), &text[..text.len() / 2]).unwrap();
    let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).unwrap();
    add_watch(&inotify, home.path(pid), WatchFlags::CLOSE_NOWRITE).unwrap();
    let mut command = home.command("sessions", "/nonexistent");
    command.arg("--json").stdout(Stdio::piped());
    let started_at = Instant::now();
    let mut child = command.spawn().unwrap();
    let stdout = Stream::collect(child.stdout.take());
    let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 1024];
    let mut reports = Reader::new(&inotify, &mut buffer);
    let mut closed = 0;
    wait_until("it has closed the file three times", || {
        closed += usize::from(reports.next().is_ok());
        closed == 3
    });
    let elapsed = started_at.elapsed();
    fs::write(home.path(pid), &text).unwrap();
    let session = &events(&stdout.to_end())[0];
    assert_eq!(session["state"], "waiting");
    assert!(child.wait().unwrap().success());
    assert!(elapsed >= Duration::from_millis(100), "{elapsed:?}");
}

#[test]
fn a_file_of_another_user_does_not_count() {
    if !is_root() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "s", "idle"));
    std::os::unix::fs::chown(home.path(pid), Some(65534), None).unwrap();
    assert_eq!(home.states(), "");
}

#[test]
fn of_two_processes_of_one_session_the_one_that_waits_counts() {
    let mut home = Home::new();
    let (one, other) = (home.client(), home.client());
    let write = |pid: u32, status: &str, what: &str, updated: i64| {
        let mut file = file(pid, "s", status);
        file["waitingFor"] = json!(what);
        file["statusUpdatedAt"] = json!(updated);
        home.write(pid, &file);
    };
    let pid = || home.list()[0]["pid"].clone();
    write(one, "waiting", "permission prompt", 1000);
    write(other, "busy", "", 9000);
    assert_eq!(pid(), one);
    write(other, "waiting", "dialog open", 9000);
    assert_eq!(pid(), one, "a dialog that the user has opened asks nothing");
    // In which order they are read is chance.
    for _ in 0..5 {
        for (newer, older) in [(one, other), (other, one)] {
            write(older, "idle", "", 1000);
            write(newer, "busy", "", 9000);
            assert_eq!(pid(), newer, "the newer one");
        }
    }
}

#[test]
fn every_configuration_directory_is_read_once() {
    let mut home = Home::new();
    let (own, linked, named) = (home.client(), home.client(), home.client());
    home.write(own, &file(own, "own", "idle"));
    let other = home.folder.path().join("other");
    fs::create_dir_all(other.join("sessions")).unwrap();
    let path = |pid| other.join(format!("sessions/{pid}.json"));
    fs::write(path(linked), file(linked, "linked", "idle").to_string()).unwrap();
    let link = home.folder.path().join("link");
    symlink(&other, &link).unwrap();
    // The transcript of a session names a third one.
    let third = home.folder.path().join("third");
    fs::create_dir_all(third.join("sessions")).unwrap();
    let text = file(named, "named", "busy").to_string();
    fs::write(third.join(format!("sessions/{named}.json")), text).unwrap();
    let server = Server::start(&[]);
    let transcript = third.join("projects/shop/named.jsonl");
    let body = json!({"session_id": "named", "transcript_path": transcript});
    server.post("SessionStart", body.to_string());
    let mut command = home.command("sessions", server.socket().to_str().unwrap());
    let output = command
        .arg("--json")
        .env("CLAUDE_CONFIG_DIR", &link)
        .output()
        .unwrap();
    let sessions = events(&String::from_utf8(output.stdout).unwrap());
    let mut seen: Vec<_> = sessions
        .iter()
        .map(|session| format!("{} {}", session["session_id"], session["state"]).replace('"', ""))
        .collect();
    seen.sort();
    assert_eq!(seen, ["linked idle", "named working", "own idle"]);
}

/// Payloads name the directories, and the one in the home directory comes first.
#[test]
fn at_most_16_configuration_directories_are_read() {
    let mut home = Home::new();
    let pid = home.client();
    let server = Server::start(&[]);
    for number in 0..20 {
        let id = format!("s{number}");
        let directory = home.folder.path().join(format!("d{number}"));
        fs::create_dir_all(directory.join("sessions")).unwrap();
        let path = directory.join(format!("sessions/{pid}.json"));
        fs::write(path, file(pid, &id, "busy").to_string()).unwrap();
        let transcript = directory.join("projects/shop/s.jsonl");
        let body = json!({"session_id": id, "transcript_path": transcript});
        server.post("SessionStart", body.to_string());
    }
    let output = home.run(server.socket().to_str().unwrap());
    let sessions = events(&String::from_utf8(output.stdout).unwrap());
    let by_client = sessions
        .iter()
        .filter(|session| session["source"] == "client");
    assert_eq!(by_client.count(), 15);
}

#[test]
fn the_transcript_tells_branch_model_and_context() {
    let home = Home::new();
    let server = Server::start(&[]);
    let transcript = home.folder.path().join("s.jsonl");
    let reply = json!({"type": "assistant", "gitBranch": "main", "message": {"model": "claude-x",
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 1000, "output_tokens": 7}}});
    fs::write(&transcript, format!("{reply}\n")).unwrap();
    let body = json!({"session_id": "s", "transcript_path": transcript, "prompt": "add a test"});
    server.post("UserPromptSubmit", body.to_string());
    let output = home.run(server.socket().to_str().unwrap());
    let session = &events(&String::from_utf8(output.stdout).unwrap())[0];
    assert_eq!(session["branch"], "main");
    assert_eq!(session["model"], "claude-x");
    assert_eq!(session["context"], 1005);
    assert_eq!(session["prompt"], "add a test");
}

#[test]
fn only_the_sessions_that_wait_are_printed_if_wanted() {
    let mut home = Home::new();
    let (one, other) = (home.client(), home.client());
    let named = |pid, name: &str, status| {
        let mut file = file(pid, name, status);
        file["name"] = json!(name);
        file
    };
    home.write(one, &named(one, "one", "busy"));
    home.write(other, &named(other, "other", "waiting"));
    let waiting = |arguments: &[&str]| {
        let mut command = home.command("sessions", "/nonexistent");
        let output = command.arg("--waiting").args(arguments).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
        )
    };
    let (code, text) = waiting(&[]);
    assert!(
        code == Some(0) && text.contains(" other ") && !text.contains(" one "),
        "{text}"
    );
    assert_eq!(events(&waiting(&["--json"]).1)[0]["session_id"], "other");
    home.write(other, &file(other, "other", "idle"));
    assert_eq!(waiting(&[]), (Some(1), String::new()));
}

/// A tmux server of a test. It is killed when it is dropped.
struct Tmux {
    socket: PathBuf,
    pid: u32,
}

impl Tmux {
    fn start(socket: PathBuf) -> Tmux {
        let mut tmux = Tmux { socket, pid: 0 };
        tmux.run(&["-f", "/dev/null", "new-session", "-d", "cat"]);
        tmux.pid = tmux.number("pid");
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").arg("-S").arg(&self.socket);
        String::from_utf8(tmux.args(arguments).output().unwrap().stdout).unwrap()
    }

    /// The process in its pane, once that runs what it shall.
    fn client(&self) -> u32 {
        let pid = self.number("pane_pid");
        let comm = format!("/proc/{pid}/comm");
        wait_until("the pane's program runs", || {
            fs::read_to_string(&comm).is_ok_and(|name| name == "cat\n")
        });
        pid
    }

    /// A number that it knows by this name.
    fn number(&self, name: &str) -> u32 {
        let number = self.run(&["display-message", "-p", &format!("#{{{name}}}")]);
        number.trim().parse().unwrap()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        signal(self.pid, "KILL");
    }
}

/// The terminals of the sessions, by their ids.
fn terminals(output: &str) -> BTreeMap<String, Value> {
    let sessions = events(output).into_iter();
    let terminals = sessions.map(|session| {
        let id = session["session_id"].as_str().unwrap().to_owned();
        (id, session["terminal"].clone())
    });
    terminals.collect()
}

/// A pane is named by the environment of its process, and must show that process's terminal: a
/// process can leave its pane, and the numbers of panes are used again.
#[test]
fn the_terminal_of_a_session_is_the_pane_that_shows_it() {
    if tool("tmux").is_none() {
        return;
    }
    let mut home = Home::new();
    let tmux = Tmux::start(home.folder.path().join("tmux"));
    let (server, first) = (&tmux.socket, tmux.client());
    tmux.run(&["new-window", "cat"]);
    let second = tmux.client();
    let left = home.client_outside(server);
    let elsewhere = home.client_outside(Path::new("/nonexistent"));
    for (pid, session) in [
        (first, "first"),
        (second, "second"),
        (left, "left"),
        (elsewhere, "elsewhere"),
    ] {
        home.write(pid, &file(pid, session, "idle"));
    }
    let output = home.run("/nonexistent");
    let seen = terminals(str::from_utf8(&output.stdout).unwrap());
    let pane = |pane: &str| json!({"kind": "tmux", "server": server, "pane": pane});
    assert_eq!(
        (&seen["first"], &seen["second"]),
        (&pane("%0"), &pane("%1"))
    );
    assert_eq!(
        (&seen["left"], &seen["elsewhere"]),
        (&Value::Null, &Value::Null)
    );
}

/// tmux waits for its server. Others still tell, whether they are asked before or after it, and all
/// of them have a second together.
#[test]
fn tmux_servers_that_are_stopped_block_nothing() {
    if tool("tmux").is_none() {
        return;
    }
    let mut home = Home::new();
    let path = |home: &Home, name: &str| home.folder.path().join(name);
    let [stopped, running] = ["stopped", "running"].map(|name| Tmux::start(path(&home, name)));
    let mut clients = vec![
        ("stopped".to_owned(), stopped.client()),
        ("running".to_owned(), running.client()),
    ];
    assert!(signal(stopped.pid, "STOP"));
    let silent: Vec<_> = (0..20)
        .map(|number| {
            let id = format!("silent{number}");
            let socket = path(&home, &id);
            clients.push((id, home.client_outside(&socket)));
            UnixListener::bind(socket).unwrap()
        })
        .collect();
    // Those are asked first that are idle the shortest.
    for ((id, pid), updated) in clients.iter().zip((0..100).rev()) {
        let mut file = file(*pid, id, "idle");
        file["statusUpdatedAt"] = json!(updated * 1000);
        home.write(*pid, &file);
    }
    let mut command = home.command("sessions", "/nonexistent");
    command.arg("--json").stdout(Stdio::piped());
    let started_at = Instant::now();
    let mut child = command.spawn().unwrap();
    let stdout = Stream::collect(child.stdout.take());
    wait_until("it ends", || child.try_wait().unwrap().is_some());
    let elapsed = started_at.elapsed();
    assert!(elapsed < Duration::from_secs(5), "{elapsed:?}");
    let mut seen = terminals(&stdout.to_end());
    assert_eq!(seen.remove("running").unwrap()["pane"], "%0");
    assert_eq!(seen.len(), 1 + silent.len());
    assert!(seen.values().all(Value::is_null));
}
