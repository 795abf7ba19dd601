//! Hosts: an event can name the one that it is from, and `watch` and `sessions` show it where there
//! is more than one.

use std::io::Write;
use std::process::Stdio;

use serde_json::json;

use crate::harness::*;
use crate::sessions::run_with_stdin;

/// The event that a server prints for a payload that `send --host` posts.
fn sent(server: &Server, host: &str, payload: &str) -> String {
    let before = server.stdout.text().len();
    let mut send = command(&server.socket(), &["send", "Stop", "--host", host]);
    let mut child = send.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(payload.as_bytes()).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    let printed = server
        .stdout
        .wait("the event", |text| text[before..].ends_with('\n'));
    let (_, members) = printed[before..].split_once("_peer_gid\":").unwrap();
    members.split_once([',', '}']).unwrap().1.trim().to_owned()
}

#[test]
fn send_adds_the_host_at_the_end_of_an_object() {
    let server = Server::start(&[]);
    for (host, payload, expected) in [
        ("alpha", r#"{"a":[1e5]}"#, r#""a":[1e5],"_host":"alpha"}"#),
        ("alpha", "{ \n} rest", r#""_host":"alpha"}"#),
        ("alpha", "", r#""_host":"alpha"}"#),
        (
            "a\"\\\u{1}ü",
            "{\"a\":1 }",
            r#""a":1,"_host":"a\"\\\u0001\u00fc"}"#,
        ),
        // The last value of a key counts.
        (
            "alpha",
            r#"{"_host":"other","a":1}"#,
            r#""_host":"alpha","a":1}"#,
        ),
        // It is no object.
        ("alpha", "{oops}", r#""_raw":"{oops}"}"#),
    ] {
        assert_eq!(sent(&server, host, payload), expected);
    }
}

#[test]
fn hooks_name_the_host_that_was_given_or_else_this_one() {
    let server = Server::start(&[]);
    let uname = rustix::system::uname();
    let own = uname.nodename().to_str().unwrap();
    for (number, (arguments, host)) in [
        (&["--host", "it's"][..], "it's"),
        (&["--host=x y"], "x y"),
        (&["--host"], own),
        (&["--host", "--events", "Stop"], own),
    ]
    .into_iter()
    .enumerate()
    {
        let settings = settings(&server.socket(), arguments);
        run_hook(hook_command(&settings, "Stop"), b"{}");
        assert_eq!(server.stdout.lines(number + 1)[number]["_host"], host);
    }
}

#[test]
fn a_host_can_be_installed_changed_and_removed() {
    let home = folder();
    let server = Server::start(&[]);
    let run = |arguments: &[&str]| {
        let mut hooks = command(&server.socket(), &[&["hooks"], arguments].concat());
        let output = hooks.env("HOME", home.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    let install = ["--install", "--yes", "--client", "2.1.119", "--host"];
    let socket = server.socket();
    let socket = socket.display();
    let printed = run(&[&install[..], &["alpha"]].concat());
    let expected = format!("  socket: {socket} as host alpha\n  replaces: nothing\n");
    assert!(printed.contains(&expected), "{printed}");
    assert!(run(&["--status"]).contains("  host: alpha\n"));
    let printed = run(&[&install[..], &["beta"]].concat());
    let expected = format!(
        "  socket: {socket} as host beta\n  replaces: hooks for 28 events to {socket} as host alpha\n"
    );
    assert!(printed.contains(&expected), "{printed}");
    let status = run(&["--status"]);
    assert!(status.contains("  host: beta\n") && !status.contains("alpha"));
    let printed = run(&["--remove", "--yes"]);
    let expected = format!("  socket: {socket} as host beta\n");
    assert!(printed.contains(&expected), "{printed}");
    let file = home.path().join(".claude/settings.json");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "{}\n");
}

#[test]
fn a_host_that_cannot_be_named_is_refused() {
    for (arguments, message) in [
        (
            &["hooks", "--curl", "--host", "a"][..],
            "curl cannot add a host",
        ),
        (&["hooks", "--host="], "--host needs a value"),
        (&["send", "Stop", "--host"], "--host needs a value"),
    ] {
        let output = run(arguments);
        assert_eq!(output.stdout, b"");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains(message), "{stderr}");
    }
}

/// The events of sessions, each on a host. An empty one is not named.
fn record(sessions: &[(&str, &str)]) -> String {
    let event = |(session, host): &(&str, &str)| {
        let mut event = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "UserPromptSubmit",
            "session_id": session, "cwd": "/home/dev/shop", "prompt": "go"});
        if !host.is_empty() {
            event["_host"] = (*host).into();
        }
        event.to_string() + "\n"
    };
    sessions.iter().map(event).collect()
}

#[test]
fn the_host_is_shown_where_there_is_more_than_one() {
    let (local, alpha) = (("aaaa", ""), ("bbbb", "alpha"));
    for (sessions, has_hosts) in [
        (&[local, ("cccc", "")][..], false),
        (&[alpha, ("cccc", "alpha")], false),
        (&[local, alpha], true),
        (&[alpha, ("cccc", "beta\u{1b}[2J"), local], true),
    ] {
        let record = record(sessions);
        let (table, _) = run_with_stdin(&["sessions", "-"], record.as_bytes());
        let head = table.lines().next().unwrap();
        let words: Vec<&str> = head.split_whitespace().collect();
        let expected = ["STATE", "AGE", "HOST", "PROJECT", "NAME"];
        let expected = expected
            .into_iter()
            .filter(|name| *name != "HOST" || has_hosts);
        assert_eq!(words[..words.len() - 3], expected.collect::<Vec<_>>());
        assert_eq!(table.contains("alpha"), has_hosts, "{table}");
        assert!(!table.contains('\u{1b}'));
    }
}

#[test]
fn lines_have_the_host_as_soon_as_there_is_another() {
    let record = record(&[("aaaa", "alpha"), ("bbbb", ""), ("aaaa", "alpha")]);
    let mut watch = program();
    let folder = folder();
    let path = folder.path().join("events");
    // The host of an event without a session is not shown, and its columns stay free.
    let other = "{\"_ts\":\"2026-02-09T10:30:00+00:00\",\"_event\":\"Stop\",\"_host\":\"x\"}\n";
    std::fs::write(&path, record + other).unwrap();
    watch.args(["watch", "--lines", "-"]).env("TZ", "UTC0");
    let output = watch.stdin(std::fs::File::open(path).unwrap()).output();
    let expected = "\
10:30:00 shop aaaa UserPromptSubmit go
10:30:00       shop bbbb UserPromptSubmit go
10:30:00 alpha shop aaaa UserPromptSubmit go
10:30:00                 Stop
";
    assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), expected);
}

#[test]
fn a_session_as_json_has_its_host_if_its_events_name_one() {
    let record = record(&[("aaaa", "alpha"), ("bbbb", "")]);
    let (printed, _) = run_with_stdin(&["sessions", "--json", "-"], record.as_bytes());
    let mut hosts: Vec<_> = events(&printed)
        .into_iter()
        .map(|session| session.get("host").cloned())
        .collect();
    hosts.sort_by_key(Option::is_some);
    assert_eq!(hosts, [None, Some("alpha".into())]);
}
