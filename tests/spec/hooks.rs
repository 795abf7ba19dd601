//! `hooks` prints settings that work for every path, and `--status` describes those that are
//! installed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

/// A folder whose name is full of characters that a shell interprets.
fn odd_folder() -> TempDir {
    let mut builder = tempfile::Builder::new();
    builder.prefix("it's \"$HOME\" `id` \\ $(id)\n*;& ");
    builder.tempdir().unwrap()
}

fn command_for(program: &Path, event: &str) -> String {
    let program = program.display();
    format!("'{program}' send {event} --socket '/run/x.sock' >/dev/null 2>&1 || true")
}

/// The events of printed settings, in order.
fn events_in(stdout: Vec<u8>) -> Vec<String> {
    let text = String::from_utf8(stdout).unwrap();
    let keys = text.lines().filter(|line| line.starts_with("    \""));
    keys.map(|line| line.split('"').nth(1).unwrap().to_owned())
        .collect()
}

#[test]
fn every_event_of_the_client_is_there_but_never_worktree_create() {
    let output = run(&["hooks", "--client", "2.1.332"]);
    assert!(output.stdout.starts_with(b"{\n  \"hooks\": {\n"));
    assert!(output.stdout.ends_with(b"\n}\n"));
    assert_eq!(
        events_in(output.stdout).join(" "),
        "SessionStart Setup UserPromptSubmit UserPromptExpansion PreToolUse PermissionRequest \
         PermissionDenied PostToolUse PostToolUseFailure PostToolBatch Notification SubagentStart \
         SubagentStop Stop StopFailure TeammateIdle TaskCreated TaskCompleted InstructionsLoaded \
         ConfigChange CwdChanged FileChanged WorktreeRemove PreCompact PostCompact Elicitation \
         ElicitationResult SessionEnd MessageDisplay PreModelSwitch PostModelSwitch DirectoryAdded \
         PreSkillShellCommand"
    );
    let old = events_in(run(&["hooks", "--client", "2.0.60"]).stdout);
    assert_eq!(
        old.join(" "),
        "SessionStart UserPromptSubmit PreToolUse PermissionRequest PostToolUse \
         PostToolUseFailure Notification SubagentStart SubagentStop Stop PreCompact SessionEnd"
    );
}

/// A folder with a `claude` that runs this script.
fn client(lines: &str) -> TempDir {
    let folder = folder();
    script(&folder.path().join("claude"), lines);
    folder
}

/// The number of events, and stderr, where this `claude` is installed.
fn events_with(lines: Option<&str>) -> (usize, String) {
    let folder = lines.map_or_else(folder, client);
    let mut command = command(Path::new("/run/x.sock"), &["hooks"]);
    let output = command.env("PATH", folder.path()).output().unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    (events_in(output.stdout).len(), stderr)
}

#[test]
fn the_events_are_those_of_the_installed_client() {
    let is_asked = "[ \"$*\" = --version ] || exit 1; ";
    for (printed, expected) in [
        ("2.0.60 (Claude Code)", 12),
        ("2.1.88 (Claude Code)", 26),
        ("2.1.333", 33),
    ] {
        let (count, stderr) = events_with(Some(&format!("{is_asked}echo '{printed}'")));
        assert_eq!((count, &*stderr), (expected, ""), "{printed}");
    }
}

/// Every client knows the events of the first one in the table.
#[test]
fn an_unknown_client_counts_as_the_first_and_nothing_is_installed_for_it() {
    for (script, reason) in [
        (
            None,
            "there is no claude on the PATH, in ~/.local/bin or in ~/.claude/local",
        ),
        (Some("echo soon"), "printed \"soon\", not a version"),
        (Some("exit 1"), "printed \"\", not a version"),
        (Some("exec /bin/sleep 1000"), "did not answer"),
    ] {
        let (count, stderr) = events_with(script);
        assert_eq!(count, 9, "{script:?}");
        assert!(stderr.contains(reason), "{stderr}");
        assert!(stderr.contains("2.0.13") && stderr.contains("--client VERSION"));
        let path = script.map_or_else(folder, client);
        let settings = path.path().join("settings.json");
        let mut command = command(Path::new("/run/x.sock"), &["hooks", "--install", "--yes"]);
        command
            .env("PATH", path.path())
            .arg("--file")
            .arg(&settings);
        let output = command.output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(stderr.contains(reason), "{stderr}");
        assert!(stderr.contains("--client VERSION"), "{stderr}");
        assert!(!settings.exists());
    }
}

/// All of them read the same settings. The client's installers leave old ones behind.
#[test]
fn of_several_clients_the_oldest_counts_wherever_it_is_and_each_is_named() {
    let home = folder();
    let claude = |folder: &str, version: &str| {
        let path = home.path().join(folder);
        std::fs::create_dir_all(&path).unwrap();
        script(&path.join("claude"), &format!("echo '{version}'"));
        path.join("claude").display().to_string()
    };
    let printed = |client: &[&str]| {
        let mut command = command(Path::new("/run/x.sock"), &["hooks"]);
        let output = command.args(client).env("HOME", home.path());
        let output = output.env("CLAUDE_CONFIG_DIR", home.path().join("config"));
        let output = output
            .env("PATH", home.path().join("bin"))
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        (events_in(output.stdout).len(), stderr)
    };
    let mut expected = vec![("2.1.332", claude("bin", "2.1.332 (Claude Code)"))];
    // The same client by another name, and a file that is no program.
    std::fs::create_dir_all(home.path().join(".local/bin")).unwrap();
    let link = home.path().join(".local/bin/claude");
    std::os::unix::fs::symlink(home.path().join("bin/claude"), &link).unwrap();
    std::fs::create_dir_all(home.path().join(".claude/local/claude")).unwrap();
    assert_eq!(printed(&[]), (33, String::new()));
    std::fs::remove_dir(home.path().join(".claude/local/claude")).unwrap();
    std::fs::remove_file(link).unwrap();
    for (folder, version, count) in [
        (".local/bin", "2.1.88", 26),
        (".claude/local", "2.0.60", 12),
        ("config/local", "2.0.13", 9),
    ] {
        expected.insert(0, (version, claude(folder, version)));
        let (events, stderr) = printed(&[]);
        assert_eq!(events, count, "{stderr}");
        let each = expected
            .iter()
            .map(|(version, path)| format!("{version} ({path})"));
        let each = each.collect::<Vec<_>>().join(", ");
        let each = each.replacen(", ", ", the oldest; also ", 1);
        assert!(stderr.contains(&each), "{stderr}");
        assert!(stderr.contains("--client VERSION"), "{stderr}");
    }
    assert_eq!(printed(&["--client", "2.1.332"]), (33, String::new()));
}

#[test]
fn a_client_before_the_first_in_the_table_counts_as_that_one_with_a_warning() {
    let (count, stderr) = events_with(Some("echo 1.0.128"));
    assert_eq!(count, 9);
    assert!(
        stderr.starts_with("the events of version 1.0.128 are not known"),
        "{stderr}"
    );
}

/// It may have children that keep the pipe open.
#[test]
fn a_client_that_prints_its_version_and_does_not_end_is_killed() {
    let start = Instant::now();
    let (count, stderr) = events_with(Some("echo 2.0.60; /bin/sleep 1000"));
    assert_eq!((count, &*stderr), (12, ""));
    assert!(start.elapsed() < TIMEOUT);
}

#[test]
fn an_entry_has_the_form_that_the_client_reads() {
    let hook = |event| {
        let command = command_for(Path::new(BINARY), event);
        json!({"type": "command", "command": command, "timeout": 5})
    };
    // The client fires FileChanged only for the files that a matcher names.
    assert_eq!(
        settings(Path::new("/run/x.sock"), &["--events", "Stop,FileChanged"]),
        json!({"hooks": {
            "Stop": [{"hooks": [hook("Stop")]}],
            "FileChanged": [{"matcher": ".env|.envrc", "hooks": [hook("FileChanged")]}],
        }})
    );
}

/// An upgrade replaces what a symlink points to.
#[test]
fn a_command_runs_the_path_by_which_the_program_was_started() {
    let folder = folder();
    let folder = folder.path().canonicalize().unwrap();
    let link = folder.join("hooks-observatory");
    std::os::unix::fs::symlink(BINARY, &link).unwrap();
    // A file that cannot be executed is not the program.
    std::fs::create_dir(folder.join("data")).unwrap();
    std::fs::write(folder.join("data/hooks-observatory"), "").unwrap();
    let path = format!("/absent:{0}/data:{0}:/usr/bin:/bin", folder.display());
    for program in [
        link.to_str().unwrap(),
        "./hooks-observatory",
        "hooks-observatory",
    ] {
        // The shell finds the program on its own PATH.
        let output = Command::new("sh")
            .args([
                "-c",
                "exec \"$0\" hooks --client 2.1.119 --events Stop --socket /run/x.sock",
            ])
            .arg(program)
            .current_dir(&folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
        let expected = match program.strip_prefix("./") {
            Some(name) => folder.join(name),
            None => link.clone(),
        };
        assert_eq!(
            hook_command(&settings, "Stop"),
            command_for(&expected, "Stop")
        );
    }
}

/// A copy of the program. Another process writes it, for the reason that [`script`] gives.
fn copied(to: &Path) -> PathBuf {
    let copy = Command::new("cp").arg(BINARY).arg(to).status();
    assert!(copy.unwrap().success());
    to.into()
}

/// The settings that a copy of the program prints.
fn printed_by(program: &Path, socket: &Path, arguments: &[&str]) -> Value {
    let output = Command::new(program)
        .args(["hooks", "--client", "2.1.332", "--socket"])
        .arg(socket)
        .args(arguments)
        .output();
    serde_json::from_slice(&output.unwrap().stdout).unwrap()
}

#[test]
fn every_command_works_for_any_path() {
    if tool("curl").is_none() {
        return;
    }
    let program = odd_folder();
    let binary = copied(&program.path().join("it's $0"));
    for sender in [&[][..], &["--curl"]] {
        let server = Server::start_in(odd_folder(), &[], |command| command);
        let settings = printed_by(&binary, &server.socket(), sender);
        let hooks = settings["hooks"].as_object().unwrap();
        assert_eq!(hooks.len(), 33);
        for (n, event) in hooks.keys().enumerate() {
            run_hook(
                hook_command(&settings, event),
                format!("{{\"n\":{n}}}\n").as_bytes(),
            );
        }
        let printed = server.stdout.lines(33);
        for (n, event) in hooks.keys().enumerate() {
            assert_eq!(
                (&printed[n]["_event"], &printed[n]["n"]),
                (&json!(event), &json!(n))
            );
        }
    }
}

#[test]
fn without_a_server_or_without_the_program_the_commands_succeed_silently() {
    let folder = folder();
    let binary = copied(&folder.path().join("gone"));
    let absent = folder.path().join("absent");
    let settings = printed_by(&binary, &absent, &[]);
    let command = hook_command(&settings, "Stop");
    run_hook(command, b"{}");
    std::fs::remove_file(binary).unwrap();
    run_hook(command, b"");
    let by_curl = printed_by(Path::new(BINARY), &absent, &["--curl"]);
    run_hook(hook_command(&by_curl, "Stop"), b"");
    run_hook(&format!("PATH=; {}", hook_command(&by_curl, "Stop")), b"");
}

#[test]
fn a_relative_socket_is_printed_as_an_absolute_path() {
    let server = Server::start(&[]);
    let output = command(Path::new("hooks.sock"), &["hooks", "--client", "2.1.332"])
        .current_dir(server.folder.path())
        .output()
        .unwrap();
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed, settings(&server.socket(), &[]));
}

#[test]
fn an_event_that_the_client_does_not_know_is_printed_with_a_warning_but_never_installed() {
    let folder = folder();
    let file = folder.path().join("settings.json");
    let chosen = [
        "hooks",
        "--client",
        "2.1.88",
        "--events",
        "Stop,Later,PreToolUse,Stop",
    ];
    let output = run(&chosen);
    assert_eq!(events_in(output.stdout), ["Stop", "Later", "PreToolUse"]);
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with("Later is not known to be an event of version 2.1.88"));
    assert_eq!(warning.lines().count(), 1);
    for events in ["Stop,Later", "PostToolBatch"] {
        let options = ["--install", "--file", file.to_str().unwrap()];
        let chosen = ["hooks", "--client", "2.1.88", "--events", events];
        let output = run(&[&chosen[..], &options].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
        assert!(
            error.contains("is not known to be an event of version 2.1.88"),
            "{error}"
        );
        assert!(error.contains("--client VERSION"), "{error}");
        assert!(!file.exists());
    }
}

/// A user's `~/.curlrc` could make each hook slow, or let it fail.
#[test]
fn curl_reads_no_configuration() {
    let printed = settings(Path::new("/run/x.sock"), &["--curl"]);
    for group in printed["hooks"].as_object().unwrap().values() {
        let command = group[0]["hooks"][0]["command"].as_str().unwrap();
        assert!(command.starts_with("curl -q "), "{command}");
    }
    if tool("curl").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let home = folder();
    std::fs::write(
        home.path().join(".curlrc"),
        "proxy = http://127.0.0.1:1\nbogus\n",
    )
    .unwrap();
    let settings = settings(&server.socket(), &["--curl"]);
    let mut child = shell(hook_command(&settings, "Stop"))
        .env("HOME", home.path())
        .env_remove("CURL_HOME")
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Stop");
}

/// What `--status` prints about `text` as the user's settings.
fn status(text: &str, client: &str) -> String {
    let home = folder();
    std::fs::create_dir(home.path().join(".claude")).unwrap();
    std::fs::write(home.path().join(".claude/settings.json"), text).unwrap();
    let output = command(
        Path::new("/unused"),
        &["hooks", "--status", "--client", client],
    )
    .current_dir(&home)
    .env("HOME", home.path())
    .env_remove("CLAUDE_CONFIG_DIR")
    .output()
    .unwrap();
    assert!(output.status.success() && output.stderr.is_empty());
    let text = String::from_utf8(output.stdout).unwrap();
    let project = home.path().canonicalize().unwrap();
    let project = project.join(".claude/settings.local.json");
    let expected = format!(
        "Project settings: {}\n  hooks: not installed\nThis shell\n",
        project.display()
    );
    let (user, shell) = text.split_once(&expected).expect(&text);
    let socket = "  socket: /unused: there is no such file: ";
    assert!(shell.starts_with(socket), "{shell}");
    assert!(
        shell.contains(&format!("\n  client: {client}\n")),
        "{shell}"
    );
    user.to_owned()
}

#[test]
fn the_status_describes_what_is_installed_and_whether_it_works() {
    let mut server = Server::start(&[]);
    let socket = server.socket();
    let shown = socket.display();
    let printed = |events| settings(&socket, &["--events", events]).to_string();
    let both = printed("Stop,MessageDisplay");
    let text = status(&both, "2.1.197");
    assert!(text.starts_with("User settings: /"), "{text}");
    for line in [
        "  hooks: installed for 2 events: MessageDisplay, Stop\n".to_owned(),
        format!("  program: {BINARY}\n"),
        format!("  socket: {shown}: a server answers\n"),
        "  client: 2.1.197 knows them all; it also knows SessionStart, ".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}: {text}");
    }
    let text = status(&both, "2.1.119");
    assert!(
        text.contains("client: 2.1.119 may not know MessageDisplay, and"),
        "{text}"
    );
    let text = status(&settings(&socket, &[]).to_string(), "2.1.332");
    assert!(text.ends_with("client: 2.1.332 knows them all\n"), "{text}");
    let text = status(&both.replace(BINARY, "/gone/hooks-observatory"), "2.1.332");
    assert!(
        text.contains("program: /gone/hooks-observatory is gone: install"),
        "{text}"
    );
    server.stop();
    let text = status(&both, "2.1.332");
    assert!(
        text.contains(&format!("socket: {shown}: there is no such file")),
        "{text}"
    );
    assert!(status("{}", "2.1.332").ends_with("  hooks: not installed\n"));
    let text = status("{", "2.1.332");
    assert!(text.contains("hooks: unknown: EOF while parsing"), "{text}");
    // In a key that a later one replaces, they are not installed.
    let shadowed = both
        .replacen('{', "{\"x\":0,", 1)
        .replace("}]}]}}", "}]}]},\"hooks\":{}}");
    assert!(
        status(&shadowed, "2.1.332").ends_with("  hooks: not installed\n"),
        "{shadowed}"
    );
}

/// A terminal without the variable, or with another one.
#[test]
fn where_hooks_send_elsewhere_every_command_says_so_with_both_sockets() {
    let server = Server::start(&[]);
    let home = folder();
    std::fs::create_dir(home.path().join(".claude")).unwrap();
    let file = home.path().join(".claude/settings.json");
    let hooks = settings(&server.socket(), &[]).to_string();
    std::fs::write(&file, &hooks).unwrap();
    let run = |variable: &Path, arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).env("HOME", home.path());
        command.current_dir(&home).env("PATH", "/nonexistent");
        let output = command.env("CLAUDE_UNIX_HOOK_WATCHER", variable).output();
        let output = output.unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    let other = home.path().canonicalize().unwrap().join("other.sock");
    let difference = format!(
        "the hooks send to {}, and this shell uses {}. Give the former with --socket, or set \
         CLAUDE_UNIX_HOOK_WATCHER",
        server.socket().display(),
        other.display()
    );
    let socket = server.socket().display().to_string();
    let install = [
        "hooks",
        "--install",
        "--yes",
        "--client",
        "2.1.332",
        "--socket",
        &socket,
    ];
    for command in [&["hooks", "--status"][..], &["sessions"], &install] {
        let text = run(&other, command);
        assert!(text.contains(&difference), "{command:?}: {text}");
        let text = run(&server.socket(), command);
        assert!(!text.contains("this shell uses"), "{command:?}: {text}");
    }
    let text = run(&other, &["hooks", "--status"]);
    assert!(
        text.contains(&format!("  socket: {socket}: a server answers\n")),
        "{text}"
    );
    let absent = format!("  socket: {}: there is no such file", other.display());
    assert!(text.contains(&absent), "{text}");
    assert!(
        text.contains("  client: unknown: there is no claude on the PATH"),
        "{text}"
    );
    let mut watch = program();
    watch.args(["watch", "--lines"]).env("HOME", home.path());
    watch
        .current_dir(&home)
        .env("CLAUDE_UNIX_HOOK_WATCHER", &other);
    let mut watch = watch.stderr(std::process::Stdio::piped()).spawn().unwrap();
    let stderr = Stream::collect(watch.stderr.take());
    stderr.wait("the difference", |text| text.contains(&difference));
    watch.kill().unwrap();
    watch.wait().unwrap();
    let relative = [
        "hooks",
        "--install",
        "--yes",
        "--client",
        "2.1.332",
        "--socket",
        "other.sock",
    ];
    let text = run(&other, &relative);
    assert!(
        text.contains(&format!("  socket: {}\n", other.display())),
        "{text}"
    );
    assert!(!text.contains("this shell uses"), "{text}");
    // Without hooks there is nothing to compare.
    std::fs::write(&file, "{}").unwrap();
    assert!(!run(&other, &["hooks", "--status"]).contains("this shell uses"));
}

/// The rules are those of the real clients 2.0.60, 2.1.88 and 2.1.332.
#[test]
fn settings_that_keep_hooks_from_running_are_named_with_their_files() {
    let home = folder();
    let home = home.path().canonicalize().unwrap();
    let [user, project, local, other] = [
        ".claude/settings.json",
        "project/.claude/settings.json",
        "project/.claude/settings.local.json",
        "project/other.json",
    ]
    .map(|path| home.join(path));
    for path in [&user, &project] {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    let run = |options: &[&str]| {
        let arguments = [&["hooks", "--client", "2.1.332"], options].concat();
        let mut command = command(Path::new("/unused"), &arguments);
        let command = command.current_dir(home.join("project")).env("HOME", &home);
        let output = command.output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8(text).unwrap()
    };
    let (on, off) = (
        "{\"disableAllHooks\": true}",
        "{\"disableAllHooks\": false}",
    );
    type Case<'c> = (&'c [(&'c PathBuf, &'c str)], &'c [&'c PathBuf]);
    let cases: [Case; 8] = [
        (&[], &[]),
        (&[(&user, on)], &[&user]),
        (&[(&project, on)], &[&project]),
        (&[(&local, on)], &[&local]),
        (&[(&user, on), (&local, on)], &[&local, &user]),
        (&[(&user, on), (&local, off)], &[]),
        (&[(&user, off), (&project, on)], &[&project]),
        // It counts only in the administrator's settings.
        (&[(&user, "{\"allowManagedHooksOnly\": true}")], &[]),
    ];
    for (written, named) in cases {
        for path in [&user, &project, &local] {
            let text = written.iter().find(|(file, _)| *file == path);
            std::fs::write(path, text.map_or("{}", |(_, text)| text)).unwrap();
        }
        let install = ["--install", "--yes"];
        for options in [
            &["--status"][..],
            &install,
            &[&install[..], &["--project"]].concat(),
        ] {
            let text = run(options);
            let lines = text.lines().filter(|line| line.contains(" run: "));
            let expected = named.iter().map(|path| {
                let path = path.display();
                format!(
                    "hooks do not run: disableAllHooks is true in {path}. Set it to false there"
                )
            });
            let expected: Vec<String> = expected.collect();
            assert_eq!(
                lines.collect::<Vec<_>>(),
                expected,
                "{written:?} {options:?}"
            );
        }
    }
    std::fs::write(&other, on).unwrap();
    let text = run(&["--install", "--yes", "--file", "other.json"]);
    assert!(
        text.contains(&format!("is true in {}", other.display())),
        "{text}"
    );
}

/// The settings of an administrator, which only root can write.
#[test]
fn managed_settings_that_keep_hooks_from_running_are_named() {
    if tool("unshare").is_none() || !is_root() {
        return;
    }
    let script = r#"mount -t tmpfs none /etc || exit 77
        mkdir -p /etc/claude-code/managed-settings.d
        cd /etc/claude-code
        status() { echo "$1"; "$0" hooks --status --client 2.1.332 | grep ' run: '; }
        echo '{"disableAllHooks": true}' > managed-settings.json
        status managed
        echo '{"disableAllHooks": false}' > managed-settings.d/b.json
        echo '{"disableAllHooks": true}' > managed-settings.d/a.json
        echo '{"allowManagedHooksOnly": true}' > managed-settings.d/.d.json
        status overridden
        echo '{"allowManagedHooksOnly": true}' > managed-settings.d/c.json
        echo '{"allowManagedHooksOnly": false}' > managed-settings.d/e.txt
        status restricted"#;
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, BINARY])
        .env("HOME", "/nonexistent")
        .env_remove("CLAUDE_CONFIG_DIR")
        .output()
        .unwrap();
    if output.status.code() == Some(77) {
        return skip("no file system can be mounted");
    }
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "managed\n\
         hooks do not run: disableAllHooks is true in /etc/claude-code/managed-settings.json. Set it to false there\n\
         overridden\n\
         restricted\n\
         only the administrator's hooks run: allowManagedHooksOnly is true in /etc/claude-code/managed-settings.d/c.json\n"
    );
}

#[test]
fn options_that_cannot_work_are_refused() {
    let long = format!("/{}", "x".repeat(107));
    let cases: [(&[&str], i32, &str); 13] = [
        (
            &["hooks", "--events", "Stop,WorktreeCreate"],
            2,
            "replaces the client's own creation",
        ),
        (&["hooks", "--events="], 2, "--events needs a value"),
        (
            &["hooks", "--events", ","],
            2,
            "event names separated by commas",
        ),
        (
            &["hooks", "--events", "Stop,,Setup"],
            2,
            "event names separated by commas",
        ),
        (
            &["hooks", "--events", "Stop;id"],
            2,
            "event names separated by commas",
        ),
        (&["hooks", "--socket", &long], 1, "107 bytes"),
        (
            &["hooks", "--client", "two"],
            2,
            "a version such as 2.1.119",
        ),
        (&["hooks", "--install", "--remove"], 2, "one of --install"),
        (&["hooks", "--remove", "--status"], 2, "one of --install"),
        (&["hooks", "--dry-run"], 2, "need --install or --remove"),
        (
            &["hooks", "--status", "--user"],
            2,
            "need --install or --remove",
        ),
        (
            &["hooks", "--install", "--user", "--project"],
            2,
            "one of --user",
        ),
        (
            &["hooks", "--remove", "--project", "--file", "x"],
            2,
            "one of --user",
        ),
    ];
    for (arguments, code, expected) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(code), 0),
            "{arguments:?} {stderr}"
        );
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
    }
}

#[test]
fn settings_that_cannot_be_written_are_an_error() {
    let full = std::fs::File::options()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(Path::new("/run/x.sock"), &["hooks", "--client", "2.1.119"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stderr.starts_with(b"Error: cannot write to stdout"));
}
