//! What users do, with the tools that they have: every command in README.md,
//! and the hook's command with payloads that a real client sent.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::harness::*;

pub const README: &str = include_str!("../../README.md");

/// The fenced blocks under a heading.
pub fn blocks(heading: &str) -> Vec<&'static str> {
    let section = README
        .split("\n## ")
        .find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("README.md has no section {heading}"));
    let fenced = section.split("```").skip(1).step_by(2);
    fenced
        .map(|block| block.split_once('\n').unwrap().1)
        .collect()
}

/// Has a command of README.md meant for a test's sockets.
pub fn here(command: &str, server: &Server) -> String {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    command
        .replace("/tmp/claude-observatory.sock", &path(&server.socket()))
        .replace(
            "/tmp/claude-observatory.out",
            &path(&server.output_socket()),
        )
}

/// Runs a hook's command as the client does: by a shell, the payload on stdin.
fn run_hook(command: &str, payload: &[u8]) {
    let mut child = shell(command);
    child.stdin.take().unwrap().write_all(payload).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, b"", "what a hook prints goes to the client");
}

fn shell(command: &str) -> Child {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    shell.spawn().unwrap()
}

/// The hook commands of the settings in README.md, by event.
fn hook_commands() -> Vec<(String, String)> {
    let settings: Value = serde_json::from_str(blocks("Point Claude Code at it")[0]).unwrap();
    let hooks = settings["hooks"].as_object().unwrap();
    let command = |entries: &Value| {
        entries[0]["hooks"][0]["command"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    hooks
        .iter()
        .map(|(event, entries)| (event.clone(), command(entries)))
        .collect()
}

#[test]
fn the_hook_command_posts_what_a_real_client_sends() {
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let (event, command) = hook_commands().remove(0);
    for (name, body) in recorded() {
        let command = here(&command, &server).replace(&event, &name);
        assert!(
            command.ends_with(&format!("?event={name}' || true")),
            "{command}"
        );
        run_hook(&command, &body);
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

#[test]
fn the_settings_in_the_readme_work_as_they_stand() {
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    for (_, command) in hook_commands() {
        run_hook(&here(&command, &server), b"{\"a\":1}");
    }
    let names: Vec<_> = server
        .stdout
        .lines(2)
        .iter()
        .map(|event| event["_event"].clone())
        .collect();
    assert_eq!(names, ["PreToolUse", "Stop"]);
}

#[test]
fn the_health_command_in_the_readme_tells_whether_a_server_is_there() {
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let command = blocks("Point Claude Code at it")[1];
    let output = shell(&here(command, &server)).wait_with_output().unwrap();
    assert_eq!(output.stdout, b"{\"status\": \"ok\"}");
}

#[test]
fn a_file_of_300_kb_that_a_tool_writes_arrives_by_the_hook_command() {
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let content = "    let ünï = \"😀\"; // \\ \t\n".repeat(10_000);
    let payload = serde_json::json!({"tool_name": "Write", "tool_input": {"content": content}});
    run_hook(
        &here(&hook_commands()[0].1, &server),
        payload.to_string().as_bytes(),
    );
    assert_eq!(
        server.stdout.lines(1)[0]["tool_input"],
        payload["tool_input"]
    );
}

#[test]
fn the_hook_command_is_silent_where_there_is_no_server() {
    if tool("curl").is_none() {
        return;
    }
    run_hook(
        &hook_commands()[0]
            .1
            .replace("/tmp/claude-observatory.sock", "/nowhere/at.all"),
        b"{}",
    );
}

#[test]
fn the_output_in_the_readme_is_what_is_printed() {
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

/// Starts a reader of README.md: the process, and what it prints.
fn start_reader(command: &str, server: &Server) -> (Child, Stream) {
    let mut child = shell(&here(command, server));
    let stdout = Stream::collect(child.stdout.take());
    (child, stdout)
}

#[test]
fn the_readers_in_the_readme_show_what_they_say() {
    if tool("socat").is_none() || tool("jq").is_none() {
        return;
    }
    let server = Server::with_readers(&[]);
    let mut commands = blocks("Read along");
    commands.retain(|command| command.contains("socat"));
    let of_nobody = commands[2].replace("$(id -u)", "4294967294");
    commands.push(&of_nobody);
    let readers = commands
        .iter()
        .map(|command| start_reader(command, &server));
    let readers: Vec<_> = readers.collect();
    assert_eq!(readers.len(), 5);
    server
        .stderr
        .wait("all readers", |text| text.contains("connected (5 total)"));
    for (event, body) in recorded() {
        server.post(&event, body);
    }
    let bash = readers[0]
        .1
        .wait("three commands", |text| text.lines().count() == 3);
    assert!(bash.contains("ls -la /usr/bin | head -40\n"), "{bash}");
    let timeline = readers[1]
        .1
        .wait("all events", |text| text.lines().count() == 38);
    let uid = rustix::process::getuid().as_raw();
    assert!(
        timeline.contains(&format!("\t{uid}\tPreToolUse\tBash\n")),
        "{timeline}"
    );
    let own = readers[2].1.lines(38);
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
    assert_eq!(counts[..2], ["11 PostToolBatch", "10 PreToolUse"]);
    assert_eq!(counts.len(), 12);
    assert_eq!(printed[4], "", "of somebody else");
}

#[test]
fn no_event_is_lost_when_the_record_goes_on_in_another_file() {
    if tool("rotatelogs").is_none() {
        return;
    }
    let folder = folder();
    let (hooks, output) = (
        folder.path().join("hooks.sock"),
        folder.path().join("output.sock"),
    );
    // A file a second, each named by its second.
    let command = blocks("Keep a record")[0]
        .replace(
            "cargo run --release --",
            &format!("exec {BINARY} --socket {}", hooks.display()),
        )
        .replace("/tmp/claude-observatory.out", output.to_str().unwrap())
        .replace("%Y-%m-%d", "%s")
        .replace("86400", "1");
    let mut pipeline = Command::new("sh")
        .args(["-c", &command])
        .current_dir(&folder)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the server listens", || UnixStream::connect(&hooks).is_ok());
    let server = rustix::net::sockopt::socket_peercred(UnixStream::connect(&hooks).unwrap());
    let files = || {
        let entries = std::fs::read_dir(&folder).unwrap();
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
    signal(server.unwrap().pid.as_raw_pid() as u32, "TERM");
    assert!(pipeline.wait().unwrap().success());
    let texts = files()
        .into_iter()
        .map(|file| std::fs::read_to_string(file).unwrap());
    let record = events(&texts.collect::<String>());
    assert_eq!(column(&record, "n"), (0..sent).collect::<Vec<_>>());
}

#[test]
fn a_record_gives_the_timeline_of_a_session() {
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
    // A line may begin in one file and end in the other.
    let folder = folder();
    let (first, second) = record.split_at(5000);
    std::fs::write(folder.path().join("events.1.jsonl"), first).unwrap();
    std::fs::write(folder.path().join("events.2.jsonl"), second).unwrap();
    let output = Command::new("sh")
        .args(["-c", blocks("Keep a record")[1]])
        .current_dir(&folder)
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
        (27, " PostToolUseFailure Bash cat nope.txt"),
        (38, " Stop [1m ."),
    ] {
        assert_eq!(lines[number].trim_end(), expected);
    }
}

#[test]
fn a_permission_request_is_a_notice_on_the_desktop() {
    if tool("socat").is_none() || tool("jq").is_none() {
        return;
    }
    let server = Server::with_readers(&[]);
    let notifier = server.folder.path().join("notify-send");
    std::fs::write(&notifier, "#!/bin/sh\nprintf '<%s>' \"$@\"; echo\n").unwrap();
    std::fs::set_permissions(&notifier, PermissionsExt::from_mode(0o755)).unwrap();
    let folder = server.folder.path().display();
    let command = format!("PATH={folder}:$PATH\n{}", blocks("Be told")[0]);
    let (mut reader, notices) = start_reader(&command, &server);
    server
        .stderr
        .wait("the reader", |text| text.contains("connected (1 total)"));
    server.post(
        "PreToolUse",
        r#"{"tool_name":"Bash","tool_input":{"command":"ls"}}"#,
    );
    for body in [
        r#"{"tool_name":"Bash","tool_input":{"command":"rm -rf \"$(pwd)\" \\\n  <b>"}}"#,
        r#"{"tool_name":"mcp__db__drop","tool_input":{"table":"users"}}"#,
    ] {
        server.post("PermissionRequest", body);
    }
    let notices = notices.wait("two notices", |text| text.matches('\n').count() == 2);
    drop(server);
    assert!(reader.wait().unwrap().success());
    assert_eq!(
        notices,
        "<--><Claude asks><Bash rm -rf &quot;$(pwd)&quot; \\ &lt;b&gt;>\n\
         <--><Claude asks><mcp__db__drop {&quot;table&quot;:&quot;users&quot;}>\n"
    );
}

#[test]
fn the_options_in_the_readme_are_those_of_help() {
    let help = String::from_utf8(run(&["--help"]).stdout).unwrap();
    let of_help: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix("--"))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    let table = README.split("| option |").nth(1).unwrap();
    let of_readme: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `--"))
        .map(|line| line.split([' ', '`']).next().unwrap())
        .filter(|option| *option != "help")
        .collect();
    assert_eq!(of_readme, of_help);
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/spec");
    let sources = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap());
    let sources: String = sources.collect();
    let table = README
        .split("## What it survives")
        .nth(1)
        .unwrap()
        .split("\n## ")
        .next()
        .unwrap();
    let rows: Vec<_> = table
        .lines()
        .filter(|line| line.starts_with("| "))
        .skip(2)
        .collect();
    assert!(rows.len() > 30);
    for row in rows {
        for name in row
            .rsplit(" | ")
            .next()
            .unwrap()
            .trim_end_matches(" |")
            .split(", ")
        {
            let name = name.trim_matches('`');
            assert!(
                sources.contains(&format!("#[test]\nfn {name}() {{")),
                "{name}"
            );
        }
    }
}

#[test]
fn every_file_that_the_documents_name_exists_and_every_excerpt_stands_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let notes = include_str!("../../EDU_NOTES.md");
    for document in [README, notes] {
        for link in document
            .split("](")
            .skip(1)
            .map(|rest| rest.split([')', '#']).next().unwrap())
        {
            assert!(link.is_empty() || root.join(link).exists(), "{link}");
        }
    }
    // A block of Rust stands, but for its indentation, in the file that the line before it names.
    let mut excerpts = 0;
    for (before, rest) in notes
        .match_indices("```rust\n")
        .map(|(at, _)| notes.split_at(at))
    {
        let link = before
            .trim_end()
            .rsplit("](")
            .next()
            .unwrap()
            .split(')')
            .next()
            .unwrap();
        let source = std::fs::read_to_string(root.join(link)).unwrap_or_else(|_| panic!("{link}"));
        let excerpt = rest["```rust\n".len()..].split("```").next().unwrap();
        let lines = |text: &str| {
            text.lines()
                .map(|line| line.trim().to_owned())
                .collect::<Vec<_>>()
        };
        assert!(
            lines(&source)
                .join("\n")
                .contains(&lines(excerpt).join("\n")),
            "{link}:\n{excerpt}"
        );
        excerpts += 1;
    }
    assert!(excerpts > 0);
}
