//! Sessions: which process each lives in, and `_gone`. The tests run real processes.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::*;
use crate::turns::Traced;

/// Ways to post a hook, as scripts. Each takes the event and the session's id.
const WAYS: [(&str, &str); 7] = [
    (
        "direct",
        r#"exec curl -s --unix-socket "$SOCKET" -d "{\"session_id\":\"$2\"}" "http://h/?event=$1""#,
    ),
    ("shell", r#"direct "$@"; true"#),
    ("wrapper", r#"timeout 60 shell "$@""#),
    // It stays when its hook has ended.
    ("lasting", r#"shell "$@" & exec sleep 600"#),
    // It has lost its parent when it posts: $3 ends before.
    (
        "orphan",
        r#"while kill -0 "$3" 2>&-; do sleep 0.01; done; direct "$1" "$2""#,
    ),
    // The server makes such an event in another thread.
    (
        "large",
        r#"body() { printf '{"session_id":"%s","x":"' "$1"; head -c 200000 /dev/zero | tr '\0' x; printf '"}'; }
        body "$2" | curl -s --unix-socket "$SOCKET" --data-binary @- "http://h/?event=$1""#,
    ),
    // Takes a file with the requests.
    ("many", r#"exec curl -s -K "$1""#),
];

/// A process that posts hooks through its children: a shell that runs the commands that it
/// reads from stdin. It leads a process group, and dropping it ends the whole group.
struct Client(Child);

impl Client {
    fn start(server: &Server) -> Client {
        Client::start_under(server, &[])
    }

    /// A client that is started by `wrapper`.
    fn start_under(server: &Server, wrapper: &[&str]) -> Client {
        Client::start_in(server.folder.path(), wrapper)
    }

    /// A client of the server whose socket is in this folder.
    fn start_in(folder: &Path, wrapper: &[&str]) -> Client {
        for (name, lines) in WAYS {
            if !folder.join(name).exists() {
                script(&folder.join(name), lines);
            }
        }
        let path = format!("{}:{}", folder.display(), std::env::var("PATH").unwrap());
        let shell = ["sh", "-c", "while read -r line; do eval \"$line\"; done"];
        let words = [wrapper, &shell].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .env("PATH", path)
            .env("SOCKET", folder.join("hooks.sock"));
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        Client(child.spawn().unwrap())
    }

    /// A client whose session is known by hooks that this command posts, and its pid.
    fn identified(server: &Server, command: &str) -> (Client, u32) {
        let mut client = Client::start(server);
        let pid = client.pid();
        client.identify(server, command, pid);
        (client, pid)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn run(&mut self, command: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{command}").unwrap();
    }

    /// Has a hook posted, and waits until its event is out.
    fn post(&mut self, server: &Server, command: &str) {
        let before = server.stdout.text().lines().count();
        self.run(command);
        server.stdout.lines(before + 1);
    }

    /// Posts hooks until the server knows the process of a session.
    fn identify(&mut self, server: &Server, command: &str, process: u32) {
        let known = format!(": lives in process {process}\n");
        let count = || server.stderr.text().matches(&known).count();
        let before = count();
        wait_until("the process is known", || {
            self.post(server, command);
            // More hooks than necessary would only take more time.
            thread::sleep(Duration::from_millis(50));
            count() > before
        });
    }

    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// The client ends as a program does that has nothing more to do.
    fn exit(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        signal_group(self.pid());
        let _ = self.0.wait();
    }
}

/// Ends all processes of a group, if there are any.
fn signal_group(pid: u32) {
    let kill = Command::new("kill")
        .args(["-KILL", "--", &format!("-{pid}")])
        .stderr(Stdio::null())
        .status();
    kill.unwrap();
}

/// A server that shows `_gone`, and reports processes in its trace. `None` without curl.
fn server() -> Option<Server> {
    tool("curl")?;
    Some(Server::start(&["--trace"]))
}

/// Waits for the next `_gone` after `seen` others. Returns the process and the session of all.
fn gone(server: &Server, count: usize) -> Vec<(u64, String)> {
    let text = server.stdout.wait("_gone", |text| {
        text.matches("\"_event\":\"_gone\"").count() >= count && text.ends_with('\n')
    });
    let gone = events(&text).into_iter();
    let gone = gone.filter(|event| event["_event"] == "_gone");
    gone.map(|event| (event["_gone"].as_u64().unwrap(), id(&event)))
        .collect()
}

fn id(event: &Value) -> String {
    event["session_id"].as_str().unwrap().to_owned()
}

fn is_known(server: &Server, process: u32) -> bool {
    let known = format!(": lives in process {process}\n");
    server.stderr.text().contains(&known)
}

/// Another session, in a process of its own, for [`all_gone`]. To begin early saves time.
fn another_session(server: &Server) -> Client {
    let mut client = Client::start(server);
    client.post(server, "direct Stop another");
    client
}

/// The sessions that are gone, when there can be no more of them: another one is gone after
/// them.
fn all_gone(server: &Server, mut another: Client) -> Vec<(u64, String)> {
    let pid = another.pid();
    another.identify(server, "direct Stop another", pid);
    another.kill();
    let last = format!("\"_gone\":{pid},\"session_id\":\"another\"}}\n");
    server
        .stdout
        .wait("the last _gone", |text| text.ends_with(&last));
    let mut gone = gone(server, 1);
    gone.pop();
    gone
}

#[test]
fn a_session_whose_process_is_killed_is_gone() {
    let Some(server) = server() else { return };
    let commands = [
        "direct Stop direct",
        "shell Stop shell",
        "wrapper Stop wrapper",
        "lasting Stop lasting &",
        "large Stop large",
    ];
    let mut expected = thread::scope(|scope| {
        let clients = commands.map(|command| {
            scope.spawn(|| {
                let (client, pid) = Client::identified(&server, command);
                client.kill();
                (pid.into(), command.split(' ').nth(2).unwrap().to_owned())
            })
        });
        clients.map(|client| client.join().unwrap())
    });
    let mut gone = gone(&server, commands.len());
    gone.sort();
    expected.sort();
    assert_eq!(gone, expected);
}

#[test]
fn the_line_of_a_gone_session_has_four_fields() {
    let Some(server) = server() else { return };
    let (client, pid) = Client::identified(&server, "direct Stop s");
    client.kill();
    gone(&server, 1);
    let text = server.stdout.text();
    let line = text.lines().last().unwrap();
    let time = &events(line)[0]["_ts"];
    let expected = format!(r#"{{"_ts":{time},"_event":"_gone","_gone":{pid},"session_id":"s"}}"#);
    assert_eq!(line, expected);
}

#[test]
fn a_session_that_ends_without_session_end_is_gone() {
    let Some(server) = server() else { return };
    let (client, pid) = Client::identified(&server, "shell Stop s");
    client.exit();
    assert_eq!(gone(&server, 1), [(pid.into(), "s".into())]);
}

#[test]
fn a_session_that_ends_with_session_end_is_not_gone() {
    let Some(server) = server() else { return };
    let another = another_session(&server);
    let (mut client, _) = Client::identified(&server, "shell Stop s");
    client.post(&server, "shell SessionEnd s");
    client.exit();
    assert_eq!(all_gone(&server, another), []);
}

/// The server is stopped meanwhile, so it learns of both at once.
#[test]
fn a_session_end_that_is_in_flight_when_the_process_ends_counts() {
    let Some(server) = server() else { return };
    let another = another_session(&server);
    let (client, _) = Client::identified(&server, "shell Stop s");
    server.signal("STOP");
    client.kill();
    let mut hook = server.connect();
    let request = request("/?event=SessionEnd", "{\"session_id\":\"s\"}");
    hook.write_all(&request).unwrap();
    server.signal("CONT");
    assert_eq!(exchange(hook, b""), OK);
    assert_eq!(all_gone(&server, another), []);
}

#[test]
fn another_event_after_the_process_has_ended_does_not_count() {
    let Some(server) = server() else { return };
    let (client, pid) = Client::identified(&server, "shell Stop s");
    server.signal("STOP");
    client.kill();
    let mut hook = server.connect();
    hook.write_all(&request("/?event=Stop", "{\"session_id\":\"s\"}"))
        .unwrap();
    server.signal("CONT");
    assert_eq!(exchange(hook, b""), OK);
    assert_eq!(gone(&server, 1), [(pid.into(), "s".into())]);
}

/// The hooks are less than a second apart. On a machine that is slower than that, the script
/// is run again.
#[test]
fn a_script_that_posts_twice_in_a_row_is_no_session() {
    let Some(server) = server() else { return };
    let another = another_session(&server);
    let mut number = 0;
    let mut elapsed = Duration::MAX;
    while elapsed >= Duration::from_secs(1) {
        number += 1;
        let mut client = Client::start(&server);
        let started_at = Instant::now();
        client.post(&server, &format!("shell SessionStart {number}"));
        client.post(&server, &format!("shell PreToolUse {number}"));
        elapsed = started_at.elapsed();
        client.exit();
    }
    let gone = all_gone(&server, another);
    assert!(gone.iter().all(|(_, id)| *id != number.to_string()));
}

#[test]
fn a_candidate_that_ends_before_the_second_hook_is_forgotten() {
    let Some(server) = server() else { return };
    let another = another_session(&server);
    let mut client = Client::start(&server);
    client.post(&server, "shell Stop s");
    client.kill();
    assert_eq!(all_gone(&server, another), []);
}

/// Posts hooks of session `s` until a session that began later is identified, so they are
/// far enough apart. The other session ends.
fn post_until_another_is_known(server: &Server, mut post: impl FnMut()) {
    post();
    let mut other = Client::start(server);
    let pid = other.pid();
    other.identify(server, "direct Stop other", pid);
    other.post(server, "direct SessionEnd other");
    post();
}

fn known_processes(server: &Server) -> usize {
    server.stderr.text().matches(": lives in process").count()
}

#[test]
fn a_hook_without_its_parent_says_nothing() {
    let Some(server) = server() else { return };
    let mut clients = [(); 3].map(|()| Client::start(&server));
    post_until_another_is_known(&server, || {
        clients[0].post(&server, "sh -c 'orphan Stop a $$ &'");
        clients[1].post(&server, "setsid sh -c 'orphan Stop b $$ &'");
        clients[2].post(&server, "(setsid sh -c 'orphan Stop c $$ &' &)");
    });
    assert_eq!(known_processes(&server), 1);
}

/// The parent of such a hook is an ancestor of the client, but not the client.
#[test]
fn a_hook_whose_parent_is_a_subreaper_says_nothing() {
    let (Some(server), Some(python)) = (server(), tool("python3")) else {
        return;
    };
    let subreaper = "import ctypes, subprocess, sys\n\
        assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0\n\
        subprocess.call(sys.argv[1:])";
    let wrapper = [python.to_str().unwrap(), "-c", subreaper];
    let mut clients = [(); 2].map(|()| Client::start_under(&server, &wrapper));
    post_until_another_is_known(&server, || {
        clients[0].post(&server, "sh -c 'orphan Stop a $$ &'");
        clients[1].post(&server, "setsid sh -c 'orphan Stop b $$ &'");
    });
    assert_eq!(known_processes(&server), 1);
}

#[test]
fn a_hook_of_another_user_than_its_parent_says_nothing() {
    let (true, Some(_), Some(_)) = (is_root(), tool("setpriv"), tool("curl")) else {
        return;
    };
    let server = Server::start(&["--trace", "--mode", "666"]);
    server.open_folder();
    let as_nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65533",
        "--clear-groups",
    ];

    let mut client = Client::start(&server);
    let hook = format!("{} shell Stop s", as_nobody.join(" "));
    post_until_another_is_known(&server, || client.post(&server, &hook));
    assert_eq!(known_processes(&server), 1);

    // With the whole client it is different.
    let mut client = Client::start_under(&server, &as_nobody);
    let pid = client.pid();
    client.identify(&server, "shell Stop t", pid);
    // Another user cannot end the session.
    server.post("SessionEnd", "{\"session_id\":\"t\"}");
    client.kill();
    assert_eq!(gone(&server, 1), [(pid.into(), "t".into())]);
}

#[test]
fn a_stranger_with_many_sessions_leaves_the_others_theirs() {
    let (true, Some(curl)) = (is_root(), tool("curl")) else {
        return;
    };
    let server = Server::start(&["--trace", "--mode", "666"]);
    server.open_folder();
    let (client, pid) = Client::identified(&server, "direct Stop mine");
    let socket = server.socket();
    let post = |id: u32| {
        let body = json!({"session_id": id.to_string()}).to_string();
        format!(
            "next\nunix-socket = {}\nurl = http://h/\ndata = {body:?}\n",
            socket.display()
        )
    };
    let posts: String = (0..600).map(post).collect();
    let mut stranger = Command::new(curl);
    stranger
        .args(["-s", "-K", "-"])
        .uid(65534)
        .stdin(Stdio::piped());
    let mut stranger = stranger.spawn().unwrap();
    let stdin = stranger.stdin.take();
    stdin.unwrap().write_all(posts.as_bytes()).unwrap();
    assert!(stranger.wait().unwrap().success());
    client.kill();
    assert_eq!(gone(&server, 1), [(pid.into(), "mine".into())]);
}

/// The command that starts a program in another pid namespace. If it does not work, the test
/// is to be skipped.
fn unshare(options: &'static [&'static str]) -> Option<Vec<&'static str>> {
    let (true, Some(_)) = (is_root(), tool("unshare")) else {
        return None;
    };
    let words = [&["unshare", "--pid", "--fork", "--kill-child"], options].concat();
    let works = Command::new(words[0])
        .args(&words[1..])
        .arg("true")
        .status();
    if !works.is_ok_and(|status| status.success()) {
        skip("unshare may not create a pid namespace");
        return None;
    }
    Some(words)
}

#[test]
fn a_client_in_another_pid_namespace_is_known_by_its_pid_here() {
    let (Some(server), Some(unshare)) = (server(), unshare(&[])) else {
        return;
    };
    let wrapper = [&unshare[..], &["sh", "-c", "\"$@\"; true", "sh"]].concat();
    let mut client = Client::start_under(&server, &wrapper);
    // unshare, the shell that is pid 1 in the namespace, and the client.
    let child = |pid: u32| -> Option<u32> {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
        children.unwrap_or_default().trim().parse().ok()
    };
    let mut process = None;
    wait_until("the client runs", || {
        process = child(client.pid()).and_then(child);
        process.is_some()
    });
    let process = process.unwrap();
    client.identify(&server, "shell Stop s", process);
    signal(process, "KILL");
    assert_eq!(gone(&server, 1), [(process.into(), "s".into())]);
}

/// It is what the kernel makes the parent of others (pid_namespaces(7)), so a hook's parent
/// need not have started it.
#[test]
fn a_client_that_is_pid_1_of_its_namespace_is_not_known() {
    let (Some(server), Some(unshare)) = (server(), unshare(&[])) else {
        return;
    };
    let mut client = Client::start_under(&server, &unshare);
    post_until_another_is_known(&server, || client.post(&server, "shell Stop s"));
    assert_eq!(known_processes(&server), 1);
}

#[test]
fn without_a_pid_for_the_peer_nothing_is_identified_and_nothing_fails() {
    let (Some(unshare), Some(_)) = (unshare(&[]), tool("curl")) else {
        return;
    };
    let server = Server::start_with(&["--trace"], |command| run_under(command, &unshare));
    let mut client = Client::start(&server);
    let started_at = Instant::now();
    while started_at.elapsed() < Duration::from_millis(1200) {
        client.post(&server, "shell Stop s");
    }
    assert_eq!(known_processes(&server), 0);
}

#[test]
fn two_sessions_in_one_process_are_gone_together() {
    let Some(server) = server() else { return };
    let another = another_session(&server);
    let mut client = Client::start(&server);
    let pid = client.pid();
    for session in ["a", "b", "c"] {
        client.identify(&server, &format!("shell Stop {session}"), pid);
    }
    client.post(&server, "shell SessionEnd b");
    client.kill();
    let mut gone = all_gone(&server, another);
    gone.sort();
    assert_eq!(gone, [(pid.into(), "a".into()), (pid.into(), "c".into())]);
}

#[test]
fn a_session_is_identified_again_in_its_next_process() {
    let Some(server) = server() else { return };
    let mut expected = Vec::new();
    for number in 0..2 {
        let mut client = Client::start(&server);
        expected.push((client.pid().into(), "s".to_owned()));
        let pid = client.pid();
        client.identify(&server, "shell Stop s", pid);
        client.kill();
        assert_eq!(gone(&server, number + 1), expected);
    }
    // Also after an end.
    let (mut client, pid) = Client::identified(&server, "shell Stop s");
    client.post(&server, "shell SessionEnd s");
    client.identify(&server, "shell Stop s", pid);
}

/// It was resumed in another terminal.
#[test]
fn a_session_that_goes_on_in_another_process_is_watched_there() {
    let Some(server) = server() else { return };
    let (first, _) = Client::identified(&server, "shell Stop s");
    let mut second = Client::start(&server);
    let pid = second.pid();
    second.identify(&server, "shell Stop s", pid);
    first.kill();
    let another = another_session(&server);
    assert_eq!(all_gone(&server, another), []);
    second.kill();
    assert_eq!(gone(&server, 2)[1], (pid.into(), "s".to_owned()));
}

#[test]
fn of_two_processes_with_one_session_each_is_reported_when_it_ends() {
    let Some(server) = server() else { return };
    let mut first = Client::start(&server);
    let mut second = Client::start(&server);
    let pids = [first.pid(), second.pid()];
    first.identify(&server, "shell Stop s", pids[0]);
    second.post(&server, "shell Stop s");
    first.kill();
    gone(&server, 1);
    second.identify(&server, "shell Stop s", pids[1]);
    second.kill();
    let expected = pids.map(|pid| (pid.into(), "s".to_owned()));
    assert_eq!(gone(&server, 2), expected);
}

/// Both clients are children of the test, which they have in common.
#[test]
fn a_resumed_session_does_not_live_in_what_started_both_clients() {
    let Some(server) = server() else { return };
    let mut client = Client::start(&server);
    client.post(&server, "shell SessionStart s");
    client.kill();
    post_until_another_is_known(&server, || {});
    let mut client = Client::start(&server);
    let pid = client.pid();
    client.post(&server, "shell SessionStart s");
    client.identify(&server, "shell Stop s", pid);
    assert!(!is_known(&server, std::process::id()));
}

/// Runs in a pid namespace of its own, where the next pid can be chosen.
#[test]
fn a_process_that_got_the_pid_of_another_is_not_that_one() {
    let (Some(unshare), Some(_)) = (unshare(&["--mount-proc"]), tool("curl")) else {
        return;
    };
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    let text = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let posted = |text: &str| text.matches(": event Stop\n").count();
    // pid 1 of the namespace.
    let mut init = Client::start_in(folder.path(), &unshare);
    init.run(&format!("cd {}", folder.path().display()));
    init.run(&format!(
        "{BINARY} --socket hooks.sock --trace > events 2> trace &"
    ));
    wait_until("the server listens", || text("trace").contains("Ctrl+C"));
    init.run("sh -c 'echo $$ > first; shell Stop s; true'");
    wait_until("the first hook is there", || posted(&text("trace")) == 1);
    // The hooks are far enough apart to confirm a process.
    thread::sleep(Duration::from_millis(1100));
    init.run("echo $(($(cat first) - 1)) > /proc/sys/kernel/ns_last_pid");
    init.run("sh -c 'echo $$ > second; while shell Stop s; do sleep 0.05; done' &");
    let known = ": lives in process ";
    wait_until("a process is known", || text("trace").contains(known));
    assert_eq!(text("first"), text("second"));
    let trace = text("trace");
    let (before, process) = trace.split_once(known).unwrap();
    assert!(process.starts_with(text("second").trim()));
    assert!(posted(before) > 2, "the second hook has confirmed: {trace}");
}

#[test]
fn six_hundred_sessions_fit_in_a_thousand_descriptors() {
    let Some(_) = tool("curl") else { return };
    let server = Server::start_with(&["--trace"], |command| {
        run_under(command, &["prlimit", "--nofile=1000"])
    });
    let requests = |name: &str, sessions: Range<usize>| {
        let socket = server.socket();
        let request = |session| {
            let data = format!("{{\\\"session_id\\\":\\\"{session}\\\"}}");
            let socket = socket.display();
            format!("url=http://h/?event=Stop\nunix-socket={socket}\ndata=\"{data}\"\nnext\n")
        };
        let path = server.folder.path().join(name);
        fs::write(&path, sessions.map(request).collect::<String>()).unwrap();
    };
    requests("all", 0..600);
    // The 512 that were active last.
    requests("last", 88..600);
    let mut client = Client::start(&server);
    let pid = client.pid();
    let folder = server.folder.path().display();
    client.run(&format!("many {folder}/all"));
    server.stdout.lines(600);
    let mut lines = 600;
    wait_until("all processes are known", || {
        client.run(&format!("many {folder}/last"));
        lines += 512;
        server.stdout.lines(lines);
        known_processes(&server) == 512
    });
    assert!(server.descriptors() > 512);
    // Clients cannot take more than the other descriptors.
    let idle: Vec<_> = (0..500).map(|_| server.connect()).collect();
    server.stderr.wait("the report of the shortage", |text| {
        text.contains("the limit of descriptors allows no more")
    });
    drop(idle);
    server.post("Stop", "{}");
    client.kill();
    let mut gone = gone(&server, 512);
    let session = |(_, id): &(u64, String)| id.parse::<usize>().unwrap();
    gone.sort_by_key(session);
    assert!(gone.iter().all(|(process, _)| *process == u64::from(pid)));
    assert!(gone.iter().map(session).eq(88..600));
}

/// The files of /proc that a server has opened.
fn opened_in_proc(traced: &Traced) -> Vec<String> {
    let calls = traced.turns().concat().into_iter();
    calls.filter(|call| call.contains("\"/proc/")).collect()
}

/// Has a hook posted, and waits for its response. The server's stdout is not read.
fn post_and_wait(client: &mut Client, server: &Server) {
    let file = server.folder.path().join("done");
    client.run(&format!("shell Stop s; : > {}", file.display()));
    wait_until("the hook is posted", || fs::remove_file(&file).is_ok());
}

#[test]
fn proc_is_read_only_until_the_process_is_known() {
    let Some(_) = tool("curl") else { return };
    let Some(traced) = Traced::start("openat", Stdio::null()) else {
        return;
    };
    let server = &traced.server;
    let mut client = Client::start(server);
    let mut post = || {
        post_and_wait(&mut client, server);
        opened_in_proc(&traced).len()
    };
    let started_at = Instant::now();
    let first = post();
    assert!(first > 0);
    // The hooks of the next second read nothing. Then one of them confirms the process.
    let mut known = first;
    wait_until("/proc is read again", || {
        known = post();
        known > first
    });
    assert!(started_at.elapsed() >= Duration::from_secs(1));
    for _ in 0..20 {
        assert_eq!(post(), known);
    }
}

/// `/proc/PID/stat` visits every thread of a process, and `/proc/PID/status` lists every group.
#[test]
fn what_is_read_of_a_process_does_not_grow_with_it() {
    let Some(_) = tool("curl") else { return };
    let Some(traced) = Traced::start("openat", Stdio::null()) else {
        return;
    };
    post_and_wait(&mut Client::start(&traced.server), &traced.server);
    let opened = opened_in_proc(&traced);
    assert!(!opened.is_empty());
    assert!(
        opened.iter().all(|call| call.contains("/task/")),
        "{opened:?}"
    );
}

#[test]
fn a_session_is_not_looked_for_once_the_kernel_has_refused_a_pidfd() {
    let Some(_) = tool("curl") else { return };
    let refusal = ["-e", "inject=pidfd_open:error=EPERM"];
    let Some(traced) = Traced::start_with("openat,pidfd_open", &refusal, Stdio::null()) else {
        return;
    };
    let server = &traced.server;
    let mut client = Client::start(server);
    wait_until("a pidfd is refused", || {
        post_and_wait(&mut client, server);
        let calls = traced.turns().concat();
        calls.iter().any(|call| call.starts_with("pidfd_open"))
    });
    let opened = opened_in_proc(&traced).len();
    // A session that is not refused would be looked for again.
    thread::sleep(Duration::from_millis(1100));
    post_and_wait(&mut client, server);
    assert_eq!(opened_in_proc(&traced).len(), opened);
}
