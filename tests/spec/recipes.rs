//! The recipes: every command in README.md and in src/README.md, and the commands of hooks with
//! payloads that a real client sent.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::*;
use crate::lines::terminal_of;
use crate::notes::all_code;

use crate::sessions::{recording, run_with_stdin};

pub const README: &str = include_str!("../../README.md");
pub const REFERENCE: &str = include_str!("../../src/README.md");
pub const TESTS_README: &str = include_str!("../README.md");

/// The fenced code blocks under a heading of src/README.md.
fn blocks(heading: &str) -> Vec<&'static str> {
    blocks_of(REFERENCE, heading)
}

/// The fenced code blocks under a heading of a document.
pub fn blocks_of(document: &'static str, heading: &str) -> Vec<&'static str> {
    let section = document
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("there is no section {heading}"));
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').unwrap().1)
        .collect()
}

/// The path of the output socket in the documents.
const OUTPUT_SOCKET: &str = "${XDG_RUNTIME_DIR:?}/claude-observatory.out";

/// Puts the sockets of a test's server into a command of a document.
pub fn with_sockets(command: &str, server: &Server) -> String {
    command
        .replace(
            "$CLAUDE_UNIX_HOOK_WATCHER",
            server.socket().to_str().unwrap(),
        )
        .replace(OUTPUT_SOCKET, server.output_socket().to_str().unwrap())
}

/// The only code block under a heading that contains `text`.
pub fn block(heading: &str, text: &str) -> &'static str {
    let found: Vec<_> = blocks(heading)
        .into_iter()
        .filter(|block| block.contains(text))
        .collect();
    assert_eq!(found.len(), 1, "{text} in {found:?}");
    found[0]
}

const SENDERS: [&[&str]; 2] = [&[], &["--curl"]];

#[test]
fn hooks_post_the_payloads_of_a_real_client() {
    if tool("curl").is_none() {
        return;
    }
    for sender in SENDERS {
        let server = Server::start(&[]);
        let settings = settings(&server.socket(), sender);
        for (name, body) in recorded() {
            run_hook(hook_command(&settings, &name), &body);
        }
        let printed = server.stdout.lines(38);
        for (event, (name, body)) in printed.iter().zip(recorded()) {
            let payload: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(event["_event"], name);
            let fields = payload.as_object().unwrap().iter();
            assert!(
                fields.into_iter().all(|(key, value)| event[key] == *value),
                "{event}"
            );
        }
    }
}

#[test]
fn hooks_post_a_payload_of_300_kb() {
    if tool("curl").is_none() {
        return;
    }
    let content = "    let ünï = \"😀\"; // \\ \t\n".repeat(10_000);
    let payload = serde_json::json!({"tool_name": "Write", "tool_input": {"content": content}});
    for sender in SENDERS {
        let server = Server::start(&[]);
        let settings = settings(&server.socket(), sender);
        run_hook(
            hook_command(&settings, "PreToolUse"),
            payload.to_string().as_bytes(),
        );
        assert_eq!(
            server.stdout.lines(1)[0]["tool_input"],
            payload["tool_input"]
        );
    }
}

/// `claude` is a script that saves the settings from its command line.
#[test]
fn one_session_gets_the_hooks_without_a_change_to_a_file() {
    let folder = folder();
    let claude = folder.path().join("claude");
    script(
        &claude,
        "[ \"$1\" = --version ] && echo 2.1.332\n\
         [ \"$1\" = --settings ] && printf %s \"$2\" > \"$0.settings\"",
    );
    let server = Server::start(&[]);
    let command = format!(
        "PATH={}:$PATH; {}",
        folder.path().display(),
        block("The hooks", "claude --settings")
    );
    let mut child = shell(&command)
        .env("CLAUDE_UNIX_HOOK_WATCHER", server.socket())
        .spawn()
        .unwrap();
    assert!(child.wait().unwrap().success());
    let saved = std::fs::read_to_string(folder.path().join("claude.settings")).unwrap();
    let saved: Value = serde_json::from_str(&saved).unwrap();
    assert_eq!(saved, settings(&server.socket(), &[]));
    run_hook(hook_command(&saved, "Stop"), b"{\"a\":1}");
    assert_eq!(server.stdout.lines(1)[0]["a"], 1);
}

/// With a `claude` that prints its version.
#[test]
fn the_commands_in_the_readme_install_describe_and_remove_the_hooks() {
    let server = Server::start(&[]);
    let home = folder();
    let claude = home.path().join("claude");
    script(&claude, "echo 2.1.332");
    let run = |option: &str| {
        let folder = home.path().display();
        let command = block("The hooks", option).trim_end();
        // There may be no terminal to ask on.
        let answer = if option == "--status" { "" } else { "--yes" };
        let output = shell(&format!("PATH={folder}:$PATH; {command} {answer}"))
            .current_dir(&home)
            .env("HOME", home.path())
            .env("CLAUDE_UNIX_HOOK_WATCHER", server.socket())
            .env_remove("CLAUDE_CONFIG_DIR")
            .output()
            .unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    // Seen with real clients.
    assert!(REFERENCE.contains("Sessions that run already use the hooks at once"));
    let file = home.path().join(".claude/settings.json");
    run("--install");
    let installed: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(installed["hooks"].as_object().unwrap().len(), 33);
    run_hook(hook_command(&installed, "Stop"), b"{\"a\":1}");
    assert_eq!(server.stdout.lines(1)[0]["a"], 1);
    let status = run("--status");
    assert!(status.contains("a server answers"), "{status}");
    assert!(status.contains("2.1.332 knows them all"), "{status}");
    run("--remove");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}\n");
}

#[test]
fn the_send_command_in_the_readme_shows_an_event_or_explains_why_not() {
    let mut server = Server::start(&[]);
    let mut shell = shell(block("The hooks", "send Test"));
    shell.env("CLAUDE_UNIX_HOOK_WATCHER", server.socket());
    shell.stderr(Stdio::piped());
    let stderr = String::from_utf8(shell.output().unwrap().stderr).unwrap();
    assert_eq!(
        stderr,
        format!("Test was taken at {}\n", server.socket().display())
    );
    let event = &server.stdout.lines(1)[0];
    assert_eq!((&event["_event"], &event["a"]), (&"Test".into(), &1.into()));
    server.stop();
    let stderr = String::from_utf8(shell.output().unwrap().stderr).unwrap();
    assert!(
        stderr.ends_with("give the path of its hook socket\n"),
        "{stderr}"
    );
}

/// The first event that a new user sees.
#[test]
fn the_start_in_the_readme_shows_its_first_event() {
    let server = Server::start(&["--pretty-line"]);
    let [.., send, shown] = blocks("Start the server by hand")[..] else {
        panic!("the commands are missing")
    };
    let (_, send) = send.split_once('\n').unwrap();
    let mut shell = shell(send);
    shell.env("CLAUDE_UNIX_HOOK_WATCHER", server.socket());
    assert!(shell.output().unwrap().status.success());
    let line = server.stdout.wait("a line", |text| text.ends_with('\n'));
    let time = "10:30:00".len();
    assert_eq!(line[time..], shown[time..]);
}

const SESSIONS: &str = "Sessions and their states";

/// A server that has been sent the first lines of a recorded session that asks.
fn server_with_a_waiting_session() -> Server {
    let server = Server::start(&[]);
    for line in &recording("16b_pane_asking")[..4] {
        let event = &events(line)[0];
        server.post(event["_event"].as_str().unwrap(), line);
    }
    server
}

#[test]
fn the_first_recipe_shows_which_session_waits() {
    let server = server_with_a_waiting_session();
    let mut shell = shell(blocks(SESSIONS)[0]);
    shell.env("CLAUDE_UNIX_HOOK_WATCHER", server.socket());
    let shown = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    let row = shown.lines().nth(1).unwrap();
    assert!(row.starts_with("waiting "), "{shown}");
    assert!(
        row.ends_with("permission for Bash: touch made.txt"),
        "{shown}"
    );
}

#[test]
fn the_status_line_names_the_sessions_that_wait() {
    if tool("jq").is_none() {
        return;
    }
    let server = server_with_a_waiting_session();
    server.post(
        "SessionStart",
        r#"{"session_id":"idle","cwd":"/home/dev/other"}"#,
    );
    // What tmux runs: the text between `#(` and `)`.
    let line = block(SESSIONS, "jq").lines().next().unwrap();
    let (_, command) = line.split_once("#(").unwrap();
    let command = command.rsplit_once(')').unwrap().0;
    let mut shell = shell(&command.replace("~/.cargo/bin/", ""));
    shell.env("CLAUDE_UNIX_HOOK_WATCHER", server.socket());
    let event = &events(&recording("16b_pane_asking")[0])[0];
    let short_id = &event["session_id"].as_str().unwrap()[..8];
    let shown = String::from_utf8(shell.output().unwrap().stdout).unwrap();
    assert_eq!(shown, format!("{short_id}\n"));
}

/// The ages depend on the time of the test.
#[test]
fn the_table_in_the_readme_is_real() {
    let start = |name: &str, count: usize| recording(name)[..count].concat();
    let record = [
        start("18_two", 7),
        start("11_api", 3),
        start("09_subagents", 13),
        start("12_idle", 4),
    ];
    let (printed, _) = run_with_stdin(&["sessions", "-"], record.concat().as_bytes());
    let without_ages = |table: &str| -> Vec<String> {
        let words = |line: &str| -> Vec<String> {
            let words = line
                .split_whitespace()
                .enumerate()
                .filter(|(number, _)| *number != 1);
            words.map(|(_, word)| word.to_owned()).collect()
        };
        table.lines().map(|line| words(line).join(" ")).collect()
    };
    assert_eq!(
        without_ages(&printed),
        without_ages(block(SESSIONS, "waiting  2m12s"))
    );
}

#[test]
fn the_lines_in_the_readme_are_those_of_a_recorded_session_on_a_terminal() {
    let (screen, slave, _terminal) = terminal_of(100);
    let record = recording("two_subagents").concat();
    let folder = folder();
    let path = folder.path().join("events");
    std::fs::write(&path, record).unwrap();
    let mut command = program();
    command
        .args(["watch", "--lines", "-"])
        .stdin(std::fs::File::open(path).unwrap());
    command.env("TZ", "UTC0").env("NO_COLOR", "1").stdout(slave);
    assert!(command.status().unwrap().success());
    let shown = screen.wait("the end", |text| text.contains("SessionEnd"));
    let shown = shown.replace("\r\n", "\n");
    assert!(shown.contains(block("Lines", "PostToolUse")), "{shown}");
}

#[test]
fn the_health_command_in_the_readme_shows_a_running_server() {
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let command = block("The hooks", "/health");
    let mut shell = shell(&with_sockets(command, &server));
    assert_eq!(shell.output().unwrap().stdout, b"{\"status\": \"ok\"}");
}

/// For root, the socket would be at the top of the file system.
#[test]
fn without_a_runtime_directory_the_readme_s_lines_fail_loudly() {
    let lines = README.lines().chain(REFERENCE.lines());
    assert!(
        lines
            .clone()
            .all(|line| !line.contains("\"$XDG_RUNTIME_DIR"))
    );
    // The status of a pipe is that of its last command.
    let lines = lines.filter(|line| line.contains("{XDG_RUNTIME_DIR:?}") && !line.contains('|'));
    let lines: Vec<&str> = lines.collect();
    assert_eq!(lines.len(), 7);
    for line in lines {
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &line.replace("hooks-observatory ", "echo ")]);
        let output = shell.env_remove("XDG_RUNTIME_DIR").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(stderr.contains("XDG_RUNTIME_DIR"), "{stderr}");
    }
}

#[test]
fn the_output_in_the_readme_is_real() {
    let server = Server::start(&[]);
    let shown = README
        .split("```json\n")
        .nth(1)
        .unwrap()
        .split("```")
        .next()
        .unwrap();
    assert_eq!(shown.lines().count(), 3);
    let sent = recorded();
    for line in events(shown) {
        let is_shown = |(name, body): &&(String, Vec<u8>)| {
            let body: Value = serde_json::from_slice(body).unwrap();
            line["_event"] == *name && line["tool_use_id"] == body["tool_use_id"]
        };
        let (name, body) = sent.iter().find(is_shown).expect("a recorded payload");
        server.post(name, body);
    }
    let printed = server
        .stdout
        .wait("three lines", |text| text.lines().count() == 3);
    let masked = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| line.split_once("\"session_id\"").unwrap().1.to_owned())
            .collect()
    };
    assert_eq!(masked(&printed), masked(shown));
    assert_eq!(
        events(shown)[0]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        events(&printed)[0]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>()
    );
}

/// Starts a reader of src/README.md. Returns the process and its output.
fn start_reader(command: &str, server: &Server) -> (Child, Stream) {
    let mut child = shell(&with_sockets(command, server)).spawn().unwrap();
    let stdout = Stream::collect(child.stdout.take());
    (child, stdout)
}

#[test]
fn the_readers_in_the_readme_show_what_it_says() {
    if ["curl", "jq", "socat"]
        .iter()
        .any(|name| tool(name).is_none())
    {
        return;
    }
    // The trace tells when a client has become a reader.
    let server = Server::with_readers(&["--trace"]);
    let mut commands = blocks("Read events");
    commands.retain(|command| command.contains("| jq"));
    let other_user = commands[2].replace("$(id -u)", "4294967294");
    commands.push(&other_user);
    commands.push(block("Read events", "http://localhost/events\n"));
    commands.push(block("Read events", "socat"));
    let readers = commands
        .iter()
        .map(|command| start_reader(command, &server));
    let readers: Vec<_> = readers.collect();
    assert_eq!(readers.len(), 7);
    server.stderr.wait("all readers", |text| {
        text.matches("becomes a reader").count() == 6 && text.contains("connected (1 total)")
    });
    for (event, body) in recorded() {
        server.post(&event, body);
    }
    server.post(
        "PreToolUse",
        r#"{"tool_name":"Bash","tool_input":{"command":"ls\u001b[2K\r\u202e\u009b rm"}}"#,
    );
    let bash = readers[0]
        .1
        .wait("all commands", |text| text.lines().count() == 4);
    assert!(bash.contains("ls -la /usr/bin | head -40\n"), "{bash}");
    assert!(bash.ends_with("\nls [2K rm\n"), "{bash:?}");
    let timeline = readers[1]
        .1
        .wait("all events", |text| text.lines().count() == 39);
    let uid = rustix::process::getuid().as_raw();
    assert!(
        timeline.contains(&format!("\t{uid}\tPreToolUse\tBash\n")),
        "{timeline}"
    );
    let own = readers[2].1.lines(39);
    assert!(own.iter().all(|event| event["_peer_uid"] == uid));
    drop(server);
    let printed: Vec<_> = readers
        .into_iter()
        .map(|(mut child, stdout)| {
            let status = child.wait().unwrap();
            assert!(status.success(), "a reader ends with the server");
            stdout.to_end()
        })
        .collect();
    let counts: Vec<_> = printed[3].lines().map(str::trim).collect();
    assert_eq!(counts[..2], ["11 PreToolUse", "11 PostToolBatch"]);
    assert_eq!(counts.len(), 12);
    assert_eq!(printed[4], "", "events of another user");
    assert_eq!(printed[5].lines().count(), 39);
    assert_eq!(printed[5], printed[6]);
}

#[test]
fn rotation_of_the_record_loses_no_event() {
    if tool("rotatelogs").is_none() {
        return;
    }
    let folder = folder();
    let hooks = folder.path().join("hooks.sock");
    // One file a second, named by the second.
    let command = blocks("Keep a record")[0]
        .replace("%Y-%m-%d", "%s")
        .replace("86400", "1");
    let mut pipeline = shell(&command)
        .env("HOME", folder.path())
        .env("CLAUDE_UNIX_HOOK_WATCHER", &hooks)
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let end = Stream::collect(pipeline.stdout.take());
    wait_until("the server listens", || UnixStream::connect(&hooks).is_ok());
    let record = folder.path().join("claude-events");
    let files = || {
        let entries = std::fs::read_dir(&record).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .filter(|path| path.extension() == Some("jsonl".as_ref()))
            .collect();
        files.sort();
        files
    };
    let mut sent = 0;
    wait_until("there are three files", || {
        for _ in 0..100 {
            let body = format!("{{\"n\":{sent},\"text\":\"{}\"}}", "x".repeat(1000));
            let stream = UnixStream::connect(&hooks).unwrap();
            assert_eq!(exchange(stream, &request("/", body)), OK);
            sent += 1;
        }
        files().len() >= 3
    });
    // As Ctrl+C does. stdout ends when the last process that has it open ends.
    let group = rustix::process::Pid::from_child(&pipeline);
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).unwrap();
    assert_eq!(end.to_end(), "");
    pipeline.wait().unwrap();
    let texts = files().into_iter().map(|file| {
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::read_to_string(file).unwrap()
    });
    let record = events(&texts.collect::<String>());
    assert_eq!(column(&record, "n"), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_record_of_the_service_has_all_its_events() {
    if tool("rotatelogs").is_none() || tool("socat").is_none() {
        return;
    }
    let mut server = Server::with_readers(&[]);
    let record = folder();
    let command = with_sockets(block("Keep a record", "socat"), &server);
    let mut pipeline = shell(&command).current_dir(&record).spawn().unwrap();
    server
        .stderr
        .wait("the reader", |text| text.contains("connected (1 total)"));
    for (event, body) in recorded() {
        server.post(&event, body);
    }
    server.stop();
    assert!(pipeline.wait().unwrap().success());
    let files = std::fs::read_dir(&record).unwrap();
    let texts = files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    assert_eq!(events(&texts.collect::<String>()).len(), recorded().len());
}

#[test]
fn the_timeline_of_a_session_comes_from_the_record() {
    if tool("jq").is_none() {
        return;
    }
    let mut printer = Printer::new(&[]);
    let mut record = printer.print("/?event=Stop", "{\"session_id\":\"another\"}");
    record += &printer.print("/?event=Stop", "{}");
    record += &printer.print("/", "no JSON");
    for (event, body) in recorded() {
        record += &printer.print(&format!("/?event={event}"), body);
    }
    record += &printer.print(
        "/?event=Stop",
        r#"{"session_id":"a476","prompt":"\u001b[1m\n\t."}"#,
    );
    // A line may begin in one file and end in the next.
    let folder = folder();
    let (first, second) = record.split_at(5000);
    let record_folder = folder.path().join("claude-events");
    std::fs::create_dir(&record_folder).unwrap();
    std::fs::write(record_folder.join("events.1.jsonl"), first).unwrap();
    std::fs::write(record_folder.join("events.2.jsonl"), second).unwrap();
    let output = Command::new("sh")
        .args(["-c", block("Keep a record", "jq")])
        .env("HOME", folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let timeline = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = timeline.lines().map(|line| &line[8..]).collect();
    assert_eq!(lines.len(), 39);
    for (number, expected) in [
        (0, " SessionStart"),
        (2, " UserPromptSubmit run the test"),
        (6, " PreToolUse Write /home/dev/app/main.py"),
        (
            27,
            " PostToolUseFailure Bash [Exit code 1 cat: nope.txt: No such file or directory] cat nope.txt",
        ),
        (28, " PostToolBatch Bash cat nope.txt"),
        (38, " Stop [1m ."),
    ] {
        assert_eq!(lines[number].trim_end(), expected);
    }
}

#[test]
fn a_session_that_waits_causes_a_desktop_notification() {
    if tool("jq").is_none() {
        return;
    }
    let server = Server::start(&["--trace"]);
    let folder = server.folder.path();
    let shown = folder.join("notifications");
    std::fs::write(&shown, "").unwrap();
    let notify = "{ printf '<%s>' \"$@\"; echo; } >>";
    let notifier = format!("{notify} {}", shown.display());
    script(&folder.join("notify-send"), &notifier);
    let command = blocks("Alerts")[0];
    let mut watch = shell(&format!("PATH={}:$PATH\nexec {command}", folder.display()))
        .env("CLAUDE_UNIX_HOOK_WATCHER", server.socket())
        .spawn()
        .unwrap();
    server
        .stderr
        .wait("the reader", |text| text.contains("becomes a reader"));
    let call = |session: &str, command: &str| {
        let input = serde_json::json!({"command": command});
        let cwd = format!("/home/dev/{session}");
        serde_json::json!({"session_id": session, "cwd": cwd, "tool_name": "Bash", "tool_input": input}).to_string()
    };
    server.post("PreToolUse", call("a", "ls"));
    server.post("PermissionRequest", call("b", "rm -r \"$(pwd)\" \n <b>"));
    let notifications = || std::fs::read_to_string(&shown).unwrap();
    wait_until("a notification", || notifications().ends_with('\n'));
    assert_eq!(
        notifications(),
        "<--><Claude Code waits><b: permission for Bash: rm -r &quot;$(pwd)&quot; &lt;b&gt;>\n"
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}

#[test]
fn the_readme_quotes_the_errors_of_a_reader_without_a_server() {
    if tool("socat").is_none() {
        return;
    }
    let error_of = |server: &Server| {
        let command = format!(
            "socat -u UNIX-CONNECT:{} -",
            server.output_socket().display()
        );
        let output = shell(&command).stderr(Stdio::piped()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        stderr.trim_end().rsplit(": ").next().unwrap().to_owned()
    };
    let [mut stopped, mut killed] = [Server::with_readers(&[]), Server::with_readers(&[])];
    stopped.stop();
    killed.child.kill().unwrap();
    killed.wait_for_exit();
    for error in [error_of(&stopped), error_of(&killed)] {
        assert!(REFERENCE.contains(&format!("`{error}`")), "{error}");
    }
}

/// The commands of README.md that are not in src/README.md: what they contain, and what runs them.
const OWN_COMMANDS: [(&str, &str); 7] = [
    (
        "cargo run",
        "the_first_command_of_the_readme_shows_true_states",
    ),
    ("cargo test", "this"),
    (
        "cargo install",
        "only a user, since it changes the home directory",
    ),
    (
        "watch\n",
        "the_first_command_of_the_readme_shows_true_states",
    ),
    (
        "claude-events/events",
        "a_session_of_last_week_is_found_in_the_record",
    ),
    ("devbox", "ssh.rs"),
    ("--host --socket", "ssh.rs"),
];

#[test]
fn every_command_of_the_readme_is_run() {
    for block in README.split("```sh\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let is_own = OWN_COMMANDS.iter().any(|(text, _)| block.contains(text));
        let mut lines = block.lines();
        assert!(
            is_own || lines.all(|line| REFERENCE.contains(&format!("\n{line}\n"))),
            "{block}"
        );
    }
}

/// The long options in a text, one for each line that matches.
fn long_options(text: &str, is_option: impl Fn(&str) -> bool) -> Vec<&str> {
    let lines = text.lines().filter(|line| is_option(line));
    lines
        .filter_map(|line| line.split_once("--"))
        .map(|(_, option)| option.split([' ', ',', '`']).next().unwrap())
        .filter(|option| *option != "help")
        .collect()
}

#[test]
fn the_options_in_the_readme_are_those_of_help() {
    for (command, title) in [
        (&[][..], "| option |"),
        (&["send"], "| option of `send` |"),
        (&["hooks"], "| option of `hooks` |"),
        (&["service"], "| option of `service` |"),
        (&["watch"], "| option of `watch` |"),
        (&["sessions"], "| option of `sessions` |"),
    ] {
        let output = run(&[command, &["--help"]].concat());
        let help = String::from_utf8(output.stdout).unwrap();
        let help_options = long_options(&help, |line| line.trim_start().starts_with('-'));
        let table = REFERENCE.split(title).nth(1).expect(title);
        let table = table.split("\n\n").next().unwrap();
        let readme_options = long_options(table, |line| line.starts_with("| `--"));
        assert_eq!(readme_options, help_options);
    }
}

/// The tests in the table "What the server survives" of tests/README.md.
#[test]
fn every_test_that_the_table_names_exists() {
    let sources = all_code();
    let section = TESTS_README
        .split("## What the server survives")
        .nth(1)
        .unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows: Vec<_> = section
        .lines()
        .filter(|line| line.ends_with("` |"))
        .collect();
    assert!(rows.len() > 30);
    for row in rows {
        let names = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        for name in names.split(", ").map(|name| name.trim_matches('`')) {
            // A property has arguments.
            let is_test = [
                format!("#[test]\nfn {name}() {{"),
                format!("#[test]\n    fn {name}("),
            ];
            let exists = is_test.iter().any(|test| sources.contains(test));
            assert!(exists, "there is no test {name}");
        }
    }
}
