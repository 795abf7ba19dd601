//! `sessions`: the state of every session, derived from its events alone.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::harness::*;
use crate::lines::terminal_of;

/// The lines of a recorded session.
pub fn recording(name: &str) -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/recordings");
    let text = fs::read_to_string(folder.join(format!("{name}.jsonl"))).unwrap();
    text.split_inclusive('\n').map(str::to_owned).collect()
}

/// Runs the program with this stdin. Returns stdout and stderr.
pub fn run_with_stdin(arguments: &[&str], stdin: &[u8]) -> (String, String) {
    let mut command = program();
    command
        .args(arguments)
        .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
        .env("TZ", "UTC0")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    let input = stdin.to_vec();
    // It fails if the program needs no more input.
    let writer = std::thread::spawn(move || drop(pipe.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The sessions after these lines, by their id.
fn sessions(lines: &str) -> BTreeMap<String, Value> {
    let (stdout, stderr) = run_with_stdin(&["sessions", "--json", "-"], lines.as_bytes());
    assert_eq!(stderr, "");
    let session = |session: Value| (session["session_id"].as_str().unwrap().to_owned(), session);
    events(&stdout).into_iter().map(session).collect()
}

/// The state of the only session after these events, each a name and its fields.
fn session(events: &[(&str, Value)]) -> Value {
    let mut sessions = sessions(&lines(events));
    assert_eq!(sessions.len(), 1);
    sessions.pop_first().unwrap().1
}

/// Events of the session `s`, one a second.
fn lines(events: &[(&str, Value)]) -> String {
    let line = |(second, (name, fields)): (usize, &(&str, Value))| {
        let mut event = json!({
            "_ts": format!("2026-02-09T10:30:{second:02}+00:00"),
            "_event": name,
            "session_id": "s",
            "cwd": "/home/dev/shop",
        });
        event
            .as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        format!("{event}\n")
    };
    events.iter().enumerate().map(line).collect()
}

fn state(events: &[(&str, Value)]) -> String {
    session(events)["state"].as_str().unwrap().to_owned()
}

fn bash(id: &str, command: &str) -> Value {
    json!({"tool_name": "Bash", "tool_use_id": id, "tool_input": {"command": command}})
}

fn with(mut fields: Value, name: &str, value: impl Into<Value>) -> Value {
    fields[name] = value.into();
    fields
}

#[test]
fn states_agree_with_the_screens_of_recorded_sessions() {
    let truth = include_str!("../data/recordings/truth.tsv");
    let mut screens: BTreeMap<(&str, usize, &str), Vec<&str>> = BTreeMap::new();
    for row in truth.lines().filter(|row| !row.starts_with('#')) {
        let [name, line, session, state] = row.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        // The client's word for a state of `working`.
        let state = if state == "compacting" {
            "working"
        } else {
            state
        };
        let key = (name, line.parse().unwrap(), session);
        screens.entry(key).or_default().push(state);
    }
    assert!(screens.len() > 140);
    for ((name, line, session), states) in screens {
        let found = &sessions(&recording(name)[..line].concat())[session];
        let state = found["state"].as_str().unwrap();
        assert!(
            states.contains(&state),
            "{name}, line {line}: {found} is not one of {states:?}"
        );
    }
}

#[test]
fn a_session_without_a_prompt_is_idle_and_an_ended_one_has_its_reason() {
    let start = ("SessionStart", json!({"source": "startup"}));
    let end = ("SessionEnd", json!({"reason": "logout"}));
    assert_eq!(state(std::slice::from_ref(&start)), "idle");
    let found = session(&[start, end.clone()]);
    assert_eq!(
        (&found["state"], &found["detail"]),
        (&json!("ended"), &json!("logout"))
    );
    // Late events do not begin it again.
    let late = ("PostToolUse", bash("t", "ls"));
    assert_eq!(state(&[end.clone(), late, ("Stop", json!({}))]), "ended");
    assert_eq!(
        state(&[end.clone(), ("UserPromptSubmit", json!({}))]),
        "working"
    );
    assert_eq!(
        state(&[end, ("SessionStart", json!({"source": "resume"}))]),
        "idle"
    );
}

#[test]
fn a_session_is_known_by_its_title_or_else_by_the_start_of_its_id() {
    let prompt = |fields| session(&[("UserPromptSubmit", fields)])["name"].clone();
    assert_eq!(
        prompt(json!({"session_title": "Fix the tests"})),
        "Fix the tests"
    );
    let long = json!({"session_id": "0123456789"});
    assert_eq!(sessions(&at(1, "Stop", json!({})))["s"]["name"], "s");
    let line = at(1, "Stop", json!({})).replace("\"s\"", &long["session_id"].to_string());
    assert_eq!(sessions(&line)["0123456789"]["name"], "01234567");
}

/// An event at a second.
fn at(second: u32, name: &str, fields: Value) -> String {
    let mut event = with(fields, "session_id", "s");
    event["_event"] = json!(name);
    event["_ts"] = json!(format!("2026-02-09T10:30:{second:02}+00:00"));
    format!("{event}\n")
}

fn state_of(lines: &[String]) -> String {
    let state = &sessions(&lines.concat())["s"]["state"];
    state.as_str().unwrap().to_owned()
}

/// Neighbouring events can change places.
#[test]
fn a_start_that_comes_late_begins_nothing() {
    let start = |second| {
        let prompt = at(10, "UserPromptSubmit", json!({"prompt": "go"}));
        state_of(&[
            prompt,
            at(second, "SessionStart", json!({"source": "startup"})),
        ])
    };
    assert_eq!(start(12), "working");
    assert_eq!(start(13), "idle", "the session has begun again");
}

/// The user answers one question after the other. If both were asked within a second, their order
/// is not known.
#[test]
fn the_end_of_a_call_answers_the_questions_before_it() {
    let ends = |second| {
        let record = [
            at(10, "PreToolUse", bash("a", "one")),
            at(10, "PermissionRequest", bash("a", "one")),
            at(second, "PreToolUse", bash("b", "two")),
            at(second, "PermissionRequest", bash("b", "two")),
            at(30, "PostToolUse", bash("b", "two")),
        ];
        state_of(&record)
    };
    assert_eq!(ends(11), "waiting");
    assert_eq!(ends(12), "working");
}

#[test]
fn a_notification_without_a_call_ends_with_a_call_of_the_main_thread() {
    let notification = json!({"notification_type": "permission_prompt", "message": "?"});
    let asked = ("Notification", notification);
    let prompt = ("UserPromptSubmit", json!({"prompt": "go"}));
    let own = ("PostToolUse", bash("t", "ls"));
    let of_agent = ("PostToolUse", with(bash("t", "ls"), "agent_id", "a"));
    assert_eq!(state(&[prompt.clone(), asked.clone(), of_agent]), "waiting");
    assert_eq!(state(&[prompt, asked, own]), "working");
}

/// It was resumed in another terminal, or its hooks come through a process that has ended.
#[test]
fn a_session_that_goes_on_after_its_end_is_not_over() {
    let after = |second: u32, end: (&str, Value), name: &str| {
        let record = [
            at(0, "PreToolUse", bash("t", "make")),
            at(1, end.0, end.1),
            at(second, name, bash("u", "ls")),
        ];
        sessions(&record.concat())["s"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let end = || ("SessionEnd", json!({"reason": "other"}));
    let gone = || ("_gone", json!({"_gone": 4711}));
    assert_eq!(after(3, end(), "PostToolUse"), "ended", "it may be late");
    assert_eq!(after(4, end(), "PreToolUse"), "working");
    assert_eq!(after(4, end(), "PermissionRequest"), "waiting");
    assert_eq!(after(4, end(), "Stop"), "idle");
    assert_eq!(after(4, end(), "PostToolBatch"), "working");
    assert_eq!(
        after(4, end(), "MessageDisplay"),
        "unknown",
        "it lives, and that is all"
    );
    assert_eq!(after(3, gone(), "PreToolUse"), "gone");
    assert_eq!(after(4, gone(), "PostToolUse"), "working");
    assert_eq!(after(4, gone(), "PostToolUseFailure"), "working");
}

/// Events follow each other as they came, whatever their times say.
#[test]
fn a_clock_that_is_set_back_changes_no_state() {
    let [prompt, end] = ["UserPromptSubmit", "SessionEnd"].map(|name| at(50, name, json!({})));
    let start = |second| at(second, "SessionStart", json!({"source": "startup"}));
    assert_eq!(state_of(&[prompt.clone(), start(48)]), "working");
    assert_eq!(state_of(&[prompt, start(47)]), "idle");
    let call = |second| at(second, "PreToolUse", bash("t", "make"));
    assert_eq!(state_of(&[end.clone(), call(48)]), "ended");
    assert_eq!(state_of(&[end, call(47)]), "working");
    let ask = |second, id: &str| {
        let names = ["PreToolUse", "PermissionRequest"];
        names.map(|name| at(second, name, bash(id, id))).concat()
    };
    let ends = |id: &str| {
        let end = at(20, "PostToolUse", bash(id, id));
        state_of(&[ask(30, "first"), ask(10, "second"), end])
    };
    assert_eq!(ends("first"), "waiting");
    assert_eq!(ends("second"), "working");
}

/// Anybody can post an event with any name. The member `_gone` is the server's.
#[test]
fn only_the_server_says_that_a_process_is_gone() {
    let events = [("Stop", json!({})), ("_gone", json!({"x": 4711}))];
    assert_eq!(state(&events), "idle");
}

#[test]
fn another_users_events_change_no_state() {
    let event = |name, uid: u32| (name, json!({"_peer_uid": uid}));
    let own = rustix::process::geteuid().as_raw();
    let events = [event("UserPromptSubmit", own), event("SessionEnd", own + 1)];
    assert_eq!(state(&events), "working");
    let gone = ("_gone", json!({"_gone": 7}));
    assert_eq!(state(&[event("Stop", own + 1), gone]), "gone");
    // Also if the other one was first. Of two others, the first one counts.
    let [first, second] = [event("Stop", own + 1), event("UserPromptSubmit", own)];
    assert_eq!(state(&[first.clone(), second]), "working");
    assert_eq!(state(&[first, event("UserPromptSubmit", own + 2)]), "idle");
}

/// A prompt that a schedule has written is not the user's, so it answers nothing.
#[test]
fn the_prompt_of_a_schedule_answers_no_question() {
    let ask = ("PermissionRequest", with(bash("t", "ls"), "agent_id", "a"));
    let prompt = ("UserPromptSubmit", json!({"prompt": "look around"}));
    let crons = json!({"background_tasks": [{"id": "a", "type": "subagent"}],
        "session_crons": [{"id": "c", "prompt": "look around"}]});
    let listed = ("Stop", crons);
    let create = json!({"tool_name": "CronCreate", "tool_input": {"prompt": "look around"}});
    let created = ("PreToolUse", create);
    assert_eq!(state(&[ask.clone(), prompt.clone()]), "working");
    assert_eq!(state(&[listed, ask.clone(), prompt.clone()]), "waiting");
    let background = json!({"tool_response": {"isAsync": true, "agentId": "a"}});
    let launched = ("PostToolUse", background);
    assert_eq!(state(&[created, launched, ask, prompt]), "waiting");
}

#[test]
fn agents_of_a_workflow_or_a_team_run_while_that_is_listed() {
    let start = (
        "SubagentStart",
        json!({"agent_id": "a", "agent_type": "alice"}),
    );
    let ask = ("PermissionRequest", with(bash("t", "ls"), "agent_id", "a"));
    let stop = |tasks: Value| ("Stop", json!({"background_tasks": tasks}));
    for kind in ["workflow", "teammate", "team"] {
        let running = stop(json!([{"id": "w", "type": kind, "status": "running"}]));
        let found = session(&[start.clone(), ask.clone(), running.clone()]);
        assert_eq!(found["state"], "waiting", "{kind}: {found}");
        assert_eq!(found["agents"][0]["agent_id"], "a");
        let ended = [start.clone(), ask.clone(), running, stop(json!([]))];
        assert_eq!(state(&ended), "idle", "{kind}");
    }
}

#[test]
fn a_compaction_that_fails_ends_with_the_next_call_or_at_the_prompt() {
    let compact = ("PreCompact", json!({"trigger": "auto"}));
    let call = ("PreToolUse", bash("t", "make"));
    let found = session(&[compact.clone(), call.clone()]);
    assert_eq!(found["detail"], "Bash make");
    let other = ("PreToolUse", with(bash("t", "make"), "agent_id", "a"));
    assert_eq!(session(&[compact, other])["detail"], "compacting");
    let manual = ("PreCompact", json!({"trigger": "manual"}));
    let idle = ("Notification", json!({"notification_type": "idle_prompt"}));
    let start = ("SessionStart", json!({"source": "startup"}));
    assert_eq!(state(&[start, manual, idle]), "idle");
}

#[test]
fn a_session_whose_process_is_gone_has_its_pid() {
    let found = session(&[
        ("PreToolUse", bash("t", "ls")),
        ("_gone", json!({"_gone": 4711})),
        ("PostToolUse", bash("t", "ls")),
    ]);
    assert_eq!(
        (&found["state"], &found["pid"]),
        (&json!("gone"), &json!(4711))
    );
    assert_eq!(found["tools"], json!([]));
}

#[test]
fn a_session_is_printed_with_its_fields_in_order() {
    let tool = with(bash("t", "make"), "agent_id", "a1");
    let events = [
        ("UserPromptSubmit", json!({"prompt": "go"})),
        ("PreToolUse", bash("f", "false")),
        ("PostToolUseFailure", bash("f", "false")),
        (
            "SubagentStart",
            json!({"agent_id": "a1", "agent_type": "Explore"}),
        ),
        ("PreToolUse", tool.clone()),
        ("PermissionRequest", with(tool, "tool_use_id", Value::Null)),
    ];
    let (stdout, _) = run_with_stdin(&["sessions", "--json", "-"], lines(&events).as_bytes());
    let time = |second: u32| format!("2026-02-09T10:30:0{second}+00:00");
    let expected = format!(
        r#"{{"session_id":"s","name":"s","state":"waiting","since":"{since}","detail":"permission for Bash: make (asked by subagent Explore a1)","prompt":"go","cwd":"/home/dev/shop","branch":null,"model":null,"context":null,"pid":null,"terminal":null,"source":"events","tools":[{{"name":"Bash","summary":"make","since":"{tool}","agent_id":"a1"}}],"agents":[{{"agent_id":"a1","agent_type":"Explore","state":"waiting","since":"{since}"}}],"events":6,"tool_calls":2,"failures":1,"last_event":"PermissionRequest","last":"{since}"}}
"#,
        since = time(5),
        tool = time(4),
    );
    assert_eq!(stdout, expected);
}

#[test]
fn a_request_waits_until_something_shows_that_it_was_answered() {
    let asked = [
        ("UserPromptSubmit", json!({"prompt": "go"})),
        ("PreToolUse", bash("t", "rm x")),
        (
            "PermissionRequest",
            with(bash("", "rm x"), "tool_use_id", Value::Null),
        ),
    ];
    let after = |name, fields| state(&[&asked[..], &[(name, fields)]].concat());
    assert_eq!(state(&asked), "waiting");
    // A late message, another tool, and a reminder do not answer it.
    assert_eq!(after("MessageDisplay", json!({"delta": "x"})), "waiting");
    assert_eq!(after("PostToolUse", bash("other", "ls")), "waiting");
    let reminder = json!({"notification_type": "permission_prompt"});
    assert_eq!(after("Notification", reminder), "waiting");
    assert_eq!(after("SubagentStop", json!({"agent_id": "a"})), "waiting");
    // These do.
    assert_eq!(after("PostToolUse", bash("t", "rm x")), "working");
    assert_eq!(after("PostToolUseFailure", bash("t", "rm x")), "working");
    let batch = json!({"tool_calls": [bash("t", "rm x")]});
    assert_eq!(after("PostToolBatch", batch), "working");
    assert_eq!(
        after("UserPromptSubmit", json!({"prompt": "no"})),
        "working"
    );
    assert_eq!(after("Stop", json!({})), "idle");
    assert_eq!(after("StopFailure", json!({"error": "x"})), "failed");
    assert_eq!(after("SessionEnd", json!({})), "ended");
}

#[test]
fn requests_of_equal_calls_are_answered_one_by_one() {
    let request = with(bash("", "ls"), "tool_use_id", Value::Null);
    let mut events = vec![
        ("PreToolUse", bash("a", "ls")),
        ("PreToolUse", bash("b", "ls")),
        ("PermissionRequest", request.clone()),
        ("PermissionRequest", request.clone()),
        // A hook that is installed twice sends everything twice.
        ("PermissionRequest", request),
        ("PostToolUse", bash("a", "ls")),
    ];
    assert_eq!(state(&events), "waiting");
    events.push(("PostToolUse", bash("b", "ls")));
    assert_eq!(state(&events), "working");
    // A request that arrives before its call is the call's.
    let early = (
        "PermissionRequest",
        with(bash("", "ls"), "tool_use_id", Value::Null),
    );
    let call = ("PreToolUse", bash("a", "ls"));
    let events = [early, call, ("PostToolUse", bash("a", "ls"))];
    assert_eq!(state(&events), "working");
}

#[test]
fn a_request_of_a_subagent_ends_with_the_subagent_and_not_with_the_turn() {
    let call = with(bash("t", "rm x"), "agent_id", "a1");
    let listed =
        json!({"background_tasks": [{"id": "a1", "type": "subagent", "status": "running"}]});
    let notification = json!({"prompt": "<task-notification>\n<summary>a2 has ended</summary>"});
    let mut events = vec![
        (
            "SubagentStart",
            json!({"agent_id": "a1", "agent_type": "Plan"}),
        ),
        ("PreToolUse", call.clone()),
        ("PermissionRequest", call),
        ("Stop", listed.clone()),
        ("UserPromptSubmit", notification),
        ("Stop", listed),
    ];
    assert_eq!(state(&events), "waiting");
    for (name, fields) in [
        ("SubagentStop", json!({"agent_id": "a1"})),
        ("StopFailure", json!({"agent_id": "a1", "error": "x"})),
        ("Stop", json!({"background_tasks": []})),
    ] {
        events.push((name, fields));
        assert_eq!(state(&events), "idle", "{name}");
        events.pop();
    }
}

#[test]
fn an_esc_and_a_prompt_end_a_foreground_subagent() {
    let call = with(bash("t", "sleep 9"), "agent_id", "a1");
    let events = [
        ("UserPromptSubmit", json!({"prompt": "go"})),
        (
            "PreToolUse",
            json!({"tool_name": "Agent", "tool_use_id": "g", "tool_input": {}}),
        ),
        ("SubagentStart", json!({"agent_id": "a1"})),
        ("PreToolUse", call),
        ("UserPromptSubmit", json!({"prompt": "again"})),
    ];
    let found = session(&events);
    assert_eq!(found["agents"], json!([]));
    let stopped = [&events[..], &[("Stop", json!({}))]].concat();
    assert_eq!(state(&stopped), "idle");
}

#[test]
fn a_tool_that_runs_when_the_user_types_ahead_runs_until_the_model_goes_on() {
    let mut events = vec![
        ("PreToolUse", bash("t", "make")),
        ("UserPromptSubmit", json!({"prompt": "and then?"})),
    ];
    assert_eq!(session(&events)["tools"][0]["summary"], "make");
    events.push(("PreToolUse", bash("u", "ls")));
    let found = session(&events);
    assert_eq!(found["tools"].as_array().unwrap().len(), 1, "{found}");
    assert_eq!(found["tools"][0]["summary"], "ls");
}

#[test]
fn a_background_command_leaves_a_session_idle() {
    let tasks = json!([{"id": "b1", "type": "shell", "status": "running", "command": "make"}]);
    let stop = json!({"last_assistant_message": "It runs.", "background_tasks": tasks});
    let found = session(&[("Stop", stop)]);
    assert_eq!(found["state"], "idle");
    assert_eq!(found["detail"], "It runs. · 1 background command runs");
}

#[test]
fn a_record_that_begins_in_the_middle_gives_the_states_that_it_allows() {
    assert_eq!(state(&[("PostToolUse", bash("t", "ls"))]), "working");
    assert_eq!(
        state(&[("PostToolBatch", json!({"tool_calls": []}))]),
        "working"
    );
    assert_eq!(state(&[("MessageDisplay", json!({}))]), "unknown");
    let idle = json!({"notification_type": "idle_prompt"});
    assert_eq!(state(&[("Notification", idle)]), "idle");
    let found = session(&[("FileChanged", json!({}))]);
    assert_eq!(
        (&found["state"], &found["since"], &found["detail"]),
        (
            &json!("unknown"),
            &found["last"],
            &json!("last event FileChanged")
        )
    );
    assert_eq!(
        state(&[("PostToolUse", with(bash("t", "ls"), "agent_id", "a"))]),
        "working"
    );
    let late = ("SessionStart", json!({"source": "startup"}));
    assert_eq!(state(&[("UserPromptSubmit", json!({})), late]), "working");
}

#[test]
fn a_notification_without_a_request_waits_for_the_tool_that_probably_asks() {
    let events = [
        ("PreToolUse", bash("t", "sh x")),
        (
            "Notification",
            json!({"message": "Claude needs your permission to use Bash"}),
        ),
    ];
    let found = session(&events);
    assert_eq!(found["state"], "waiting");
    assert_eq!(
        found["detail"],
        "Claude needs your permission to use Bash: Bash sh x"
    );
    let answered = [&events[..], &[("PostToolUse", bash("t", "sh x"))]].concat();
    assert_eq!(state(&answered), "working");
}

#[test]
fn failures_are_counted_once() {
    let refusal = with(
        bash("r", "rm"),
        "tool_response",
        "The user doesn't want to proceed",
    );
    let rejected = json!({"tool_name": "X", "tool_use_id": "x", "tool_response": "Error: no X"});
    let found = session(&[
        ("PreToolUse", bash("f", "false")),
        ("PreToolUse", bash("r", "rm")),
        ("PreToolUse", bash("g", "true")),
        ("PostToolUseFailure", bash("f", "false")),
        ("PostToolUse", bash("g", "true")),
        (
            "PostToolBatch",
            json!({"tool_calls": [bash("f", "false"), refusal, bash("g", "true"), rejected]}),
        ),
    ]);
    assert_eq!(
        (&found["tool_calls"], &found["failures"]),
        (&json!(4), &json!(3))
    );
}

#[test]
fn sessions_that_need_the_user_come_first_and_of_the_idle_ones_the_latest() {
    let event = |second: u32, session: &str, name: &str| {
        format!(
            "{{\"_ts\":\"2026-02-09T10:30:{second:02}+00:00\",\"_event\":\"{name}\",\"session_id\":\"{session}\"}}\n"
        )
    };
    let lines: String = [
        event(0, "ended", "SessionEnd"),
        event(1, "gone", "_gone").replace('}', ",\"_gone\":7}"),
        event(1, "unknown", "FileChanged"),
        event(2, "working", "UserPromptSubmit"),
        event(3, "idle2", "SessionStart"),
        event(4, "failed", "StopFailure"),
        event(5, "waiting", "PermissionRequest"),
        event(2, "idle1", "SessionStart"),
    ]
    .concat();
    let (stdout, _) = run_with_stdin(&["sessions", "--json", "-"], lines.as_bytes());
    let order: Vec<_> = events(&stdout)
        .iter()
        .map(|s| s["session_id"].to_string())
        .collect();
    assert_eq!(
        order.join(" ").replace('"', ""),
        "waiting failed idle2 idle1 working unknown ended gone"
    );
}

#[test]
fn the_table_shows_state_age_project_name_and_detail() {
    let (stdout, _) = run_with_stdin(
        &["sessions", "-"],
        &recording("02_allow")[..4].concat().into_bytes(),
    );
    let (head, row) = stdout.split_once('\n').unwrap();
    let words: Vec<_> = head.split_whitespace().collect();
    assert_eq!(
        words,
        ["STATE", "AGE", "PROJECT", "NAME", "CALLS", "FAIL", "DETAIL"]
    );
    let words: Vec<_> = row.split_whitespace().collect();
    assert_eq!(words[0], "waiting");
    assert_eq!(words[2..6], ["webshop", "98aafe8e", "1", "0"]);
    assert!(
        row.ends_with("  permission for Bash: touch made.txt; sleep 6\n"),
        "{row}"
    );
    assert_eq!(run_with_stdin(&["sessions", "-"], b"").0, "No sessions\n");
    let (quiet, _) = run_with_stdin(
        &["sessions", "-"],
        lines(&[("UserPromptSubmit", json!({}))]).as_bytes(),
    );
    assert!(
        quiet.lines().nth(1).unwrap().starts_with("quiet"),
        "{quiet}"
    );
}

/// The table on a terminal of this width.
fn table_of(record: &str, columns: u16) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), record).unwrap();
    let (screen, slave, terminal) = terminal_of(columns);
    let mut command = program();
    command.arg("sessions").arg(file.path()).stdout(slave);
    assert!(command.status().unwrap().success());
    drop((command, terminal));
    screen.to_end().lines().map(str::to_owned).collect()
}

#[test]
fn on_a_terminal_no_row_of_the_table_is_wider_than_it() {
    let id = |end: &str| "x".repeat(90) + end;
    let line = |end| {
        at(1, "Stop", json!({"cwd": "/日本語".repeat(9)}))
            .replace("\"s\"", &json!(id(end)).to_string())
    };
    let record = line("first") + &line("second") + &line("third");
    for columns in [80, 40, 20, 1] {
        let rows = table_of(&record, columns);
        assert_eq!(rows.len(), 4, "{rows:?}");
        for row in rows {
            let width = unicode_width::UnicodeWidthStr::width(&*row);
            assert!(width <= columns.into(), "{columns}: {row}");
        }
    }
    let title = json!({"session_title": "fix the ".to_owned() + &"long ".repeat(9) + "login"});
    let row = table_of(&lines(&[("UserPromptSubmit", title)]), 80).remove(1);
    assert!(row.contains(" fix the lo…ong login "), "{row}");
}

#[test]
fn of_a_subagents_question_the_tool_and_the_ends_of_its_command_stay_in_80_columns() {
    let asked = |command: &str| {
        let start = json!({"agent_id": "a041e9d3c37c1f4cc", "agent_type": "general-purpose"});
        let call = with(bash("t", command), "agent_id", "a041e9d3c37c1f4cc");
        lines(&[("SubagentStart", start), ("PermissionRequest", call)])
    };
    let shown = |command: &str, columns| table_of(&asked(command), columns)[1].clone();
    let short = "touch sub.txt";
    let whole = "permission for Bash: touch sub.txt (asked by subagent general-purpose a041)";
    assert!(shown(short, 140).ends_with(whole));
    assert!(shown(short, 90).ends_with("  permission for Bash: touch sub.txt"));
    assert!(shown(short, 80).ends_with("  Bash: touch sub.txt"));
    let row = shown("cd deploy && ./release --to production && ./verify", 80);
    assert!(
        row.contains("  Bash: cd deplo") && row.ends_with(" && ./verify"),
        "{row}"
    );
    assert_eq!(sessions(&asked(short))["s"]["detail"], whole);
}

#[test]
fn damaged_lines_are_skipped_and_counted() {
    let mut input = recording("02_allow")[..4].concat().into_bytes();
    input.extend(b"no JSON\n[1]\n\n{\"a\":\n\xff\xfe\n{\"_event\":7,\"session_id\":[]}\n");
    input.extend(b"{\"_ts\":\"T\",\"_event\":\"_dropped\",\"_dropped\":17}\n{\"unfinished");
    let (stdout, stderr) = run_with_stdin(&["sessions", "--json", "-"], &input);
    assert_eq!(events(&stdout)[0]["state"], "waiting");
    assert_eq!(
        stderr,
        "6 damaged lines were skipped\n\
         17 events are missing, so a state may be wrong: the server dropped them\n"
    );
}

#[test]
fn of_too_many_sessions_those_active_last_are_shown() {
    let line = |n: usize| format!("{{\"_event\":\"SessionStart\",\"session_id\":\"{n:07}\"}}\n");
    let input: String = (0..20_000).map(line).collect();
    let (stdout, stderr) = run_with_stdin(&["sessions", "--json", "-"], input.as_bytes());
    let shown = stdout.lines().count();
    assert!((3_000..=4_096).contains(&shown), "{shown}");
    assert!(stdout.contains("\"0019999\""));
    assert_eq!(
        stderr,
        format!(
            "{} sessions that were active least recently are not shown\n",
            20_000 - shown
        )
    );
}

#[test]
fn of_a_long_text_the_start_is_kept() {
    let prompt = |prompt: String| session(&[("UserPromptSubmit", json!({"prompt": prompt}))]);
    let [fits, is_longer] = [200, 201].map(|count| prompt("é".repeat(count))["prompt"].clone());
    assert_eq!(fits, "é".repeat(200));
    assert_eq!(is_longer, "é".repeat(200) + "…");
}

#[test]
fn late_events_do_not_start_a_subagent_again_that_has_ended() {
    let agent = json!({"agent_id": "a", "agent_type": "Explore"});
    let [start, end] = ["SubagentStart", "SubagentStop"].map(|name| (name, agent.clone()));
    let late = ("PostToolUse", with(bash("t", "ls"), "agent_id", "a"));
    let tasks = json!([{"id": "a", "type": "subagent", "status": "running"}]);
    let listed = ("Stop", json!({"background_tasks": tasks}));
    let agents = |events: &[_]| session(events)["agents"].as_array().unwrap().len();
    let ended = [start.clone(), end];
    assert_eq!(agents(&[&ended[..], &[late]].concat()), 0);
    assert_eq!(
        agents(&[&ended[..], std::slice::from_ref(&listed)].concat()),
        0
    );
    // The client has resumed it.
    assert_eq!(agents(&[&ended[..], &[start, listed]].concat()), 1);
}

/// Events of a session that has as much of everything as it may have, in texts that are longer than
/// is kept.
fn large_session(number: usize) -> String {
    let text = |number: usize, count: usize| format!("{number}{}", "😀".repeat(count));
    let line = |name: &str, fields: Value| {
        let time = text(0, 100);
        let event = with(with(fields, "session_id", text(number, 100)), "_ts", time);
        format!("{}\n", with(event, "_event", name))
    };
    let path = format!("/{}", text(0, 20_000));
    let prompt = json!({"prompt": text(0, 20_000), "session_title": text(0, 100), "cwd": path, "transcript_path": path});
    let mut lines = line("UserPromptSubmit", prompt);
    for part in 0..64 {
        let id = |start| json!(text(start + part, 100));
        let agent = |start| json!({"agent_id": id(start), "agent_type": id(0)});
        let call = |start| {
            let call = json!({"tool_name": id(0), "tool_input": {"command": text(part, 300)}});
            with(with(call, "tool_use_id", id(start)), "agent_id", id(200))
        };
        lines += &line("SubagentStart", agent(100));
        lines += &line("SubagentStop", agent(100));
        lines += &line("SubagentStart", agent(200));
        lines += &line("PreToolUse", call(100));
        lines += &line("PostToolUse", call(100));
        lines += &line("PreToolUse", call(200));
        lines += &line(
            "PermissionRequest",
            with(call(200), "tool_use_id", Value::Null),
        );
    }
    lines
}

#[test]
fn as_many_sessions_as_are_remembered_take_500_mib_at_most() {
    let mut command = program();
    command.args(["watch", "--json", "--event", "End", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut watch = command.spawn().unwrap();
    let (mut stdin, stdout) = (
        watch.stdin.take().unwrap(),
        Stream::collect(watch.stdout.take()),
    );
    let mut resident_kb_after = |sessions: std::ops::Range<usize>| {
        let end = format!("{{\"_event\":\"End\",\"number\":{}}}\n", sessions.end);
        for session in sessions {
            stdin.write_all(large_session(session).as_bytes()).unwrap();
        }
        stdin.write_all(end.as_bytes()).unwrap();
        stdout.wait("the end", |text| text.ends_with(&end));
        status_kb(watch.id(), "VmRSS:")
    };
    let few = resident_kb_after(0..5);
    let many = resident_kb_after(5..25);
    let kb = (many - few) / 20;
    // 125 KiB for each of 4,096.
    assert!((90..=125).contains(&kb), "{kb} kB for a session");
    drop(stdin);
    watch.wait().unwrap();
}

#[test]
fn the_beginning_of_the_id_chooses_sessions() {
    let input = [
        lines(&[("PreToolUse", bash("t", "ls"))]),
        recording("18_two")[..7].concat(),
    ]
    .concat();
    let ids = |options: &[&str]| {
        let arguments = [&["sessions", "--json", "-"], options].concat();
        let (stdout, _) = run_with_stdin(&arguments, input.as_bytes());
        let ids = events(&stdout)
            .into_iter()
            .map(|s| s["session_id"].as_str().unwrap()[..1].to_owned());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ids(&[]), "0 s f");
    assert_eq!(ids(&["--session", "0808"]), "0");
}
