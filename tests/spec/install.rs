//! `hooks --install` and `--remove`: the user's settings are edited, and nothing of the
//! user's is lost, whatever the settings look like and whenever the program stops.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::*;

pub const CLIENT: &str = "2.1.119";
const EVENTS: usize = 28;
pub const INSTALL: [&str; 4] = ["--install", "--yes", "--client", CLIENT];
/// The same, with a question.
const ASK: [&str; 3] = ["--install", "--client", CLIENT];
const REMOVE: [&str; 2] = ["--remove", "--yes"];

/// A user with a home and a project.
pub struct User {
    pub home: TempDir,
}

/// Where settings are, and the options that choose them.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    Home,
    ConfigDir,
    Project,
    File,
}

const PLACES: [Place; 4] = [Place::Home, Place::ConfigDir, Place::Project, Place::File];

impl Place {
    fn path(self) -> &'static str {
        match self {
            Place::Home => ".claude/settings.json",
            Place::ConfigDir => "elsewhere/settings.json",
            Place::Project => "project/.claude/settings.local.json",
            Place::File => "project/some.json",
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Place::Home => &[],
            Place::ConfigDir => &["--user"],
            Place::Project => &["--project"],
            Place::File => &["--file", "some.json"],
        }
    }
}

impl User {
    pub fn new() -> User {
        let home = folder();
        fs::create_dir(home.path().join("project")).unwrap();
        User { home }
    }

    /// A user whose file holds `text`.
    pub fn with(place: Place, text: impl AsRef<[u8]>) -> (User, PathBuf) {
        let user = User::new();
        let path = user.path(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        (user, path)
    }

    pub fn path(&self, place: Place) -> PathBuf {
        self.home.path().join(place.path())
    }

    /// `hooks` with these options, from the project, run by `wrapper`.
    pub fn command(&self, wrapper: &[&str], place: Place, options: &[&str]) -> Command {
        let words = [wrapper, &[BINARY, "hooks"], options].concat();
        let mut command = Command::new(words[0]);
        command
            .args(&words[1..])
            .args(place.options())
            .current_dir(self.home.path().join("project"))
            .env("HOME", self.home.path())
            .env("PATH", "/usr/bin:/bin")
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env_remove("CLAUDE_CONFIG_DIR")
            .env_remove("XDG_RUNTIME_DIR")
            .stdin(Stdio::null());
        if let Place::ConfigDir = place {
            command.env("CLAUDE_CONFIG_DIR", self.home.path().join("elsewhere"));
        }
        command
    }

    pub fn run(&self, place: Place, options: &[&str]) -> Output {
        self.command(&[], place, options).output().unwrap()
    }

    pub fn install(&self, place: Place, socket: &str) -> Output {
        self.run(place, &[&INSTALL[..], &["--socket", socket]].concat())
    }
}

/// What a run that must succeed wrote to stdout. stderr is empty.
pub fn printed(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

/// What a run that must fail wrote to stderr.
pub fn error(output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

fn command_for(event: &str, socket: &str) -> String {
    format!("'{BINARY}' send {event} --socket '{socket}' >/dev/null 2>&1 || true")
}

/// Splits settings into what is ours (each event with its group) and what is not. Groups,
/// arrays and objects that hold only ours are ours.
fn split(text: &str) -> (Vec<(String, Value)>, Value) {
    let mut settings: Value = serde_json::from_str(text.trim_start_matches('\u{feff}')).unwrap();
    let is_ours = |hook: &Value| {
        let command = hook["command"].as_str().unwrap_or_default();
        command.starts_with(&format!("'{BINARY}' send "))
    };
    let mut ours = Vec::new();
    let events = settings.get_mut("hooks");
    let Some(events) = events.and_then(Value::as_object_mut) else {
        return (ours, settings);
    };
    for (event, groups) in events.iter_mut() {
        let Some(groups) = groups.as_array_mut() else {
            continue;
        };
        for group in groups.iter_mut() {
            let Some(hooks) = group["hooks"].as_array_mut() else {
                continue;
            };
            let (own, foreign) = hooks.drain(..).partition(is_ours);
            *hooks = foreign;
            if own != Vec::<Value>::new() {
                let mut group = group.clone();
                group["hooks"] = own.into();
                ours.push((event.clone(), group));
            }
        }
        groups.retain(|group| group["hooks"] != json!([]));
    }
    events.retain(|_, groups| *groups != json!([]));
    if events.is_empty() {
        settings.as_object_mut().unwrap().remove("hooks");
    }
    (ours, settings)
}

/// Asserts that settings hold each event's hook once, for `socket`, and returns the rest.
pub fn foreign(text: &str, socket: &str, name: &str) -> Value {
    let (ours, foreign) = split(text);
    assert_eq!(ours.len(), EVENTS, "{name}: {text}");
    for (event, group) in ours {
        let hook = json!({"type": "command", "command": command_for(&event, socket), "timeout": 5});
        let mut hooks = group["hooks"].as_array().unwrap().clone();
        assert_eq!(hooks.pop(), Some(hook), "{name}");
        assert_eq!(hooks, [] as [Value; 0], "{name}");
        let matcher = group
            .get("matcher")
            .and_then(Value::as_str)
            .unwrap_or_default();
        assert_eq!(
            !matcher.is_empty(),
            event == "FileChanged",
            "{name}: {group}"
        );
    }
    foreign
}

/// Settings as the client writes them, with rules and hooks of the user's.
pub const CLIENTS_OWN: &str = r#"{
  "permissions": {
    "allow": [],
    "deny": [
      "Bash(rm:*)"
    ]
  },
  "hooks": {
    "PreToolUse": [
      {
        "matcher": "Bash",
        "hooks": [
          {
            "type": "command",
            "command": "own"
          }
        ]
      }
    ],
    "WorktreeCreate": [
      {
        "hooks": [
          {
            "type": "command",
            "command": "make"
          }
        ]
      }
    ]
  },
  "model": "opus"
}
"#;

/// Settings, and what `--remove` after `--install` makes of them.
fn cases() -> Vec<(&'static str, String, String)> {
    let same = |name, text: &str| (name, text.to_owned(), text.to_owned());
    let rules: Vec<_> = (0..60_000)
        .map(|n| format!("\n      \"Bash(ls {n}:*)\""))
        .collect();
    let big = CLIENTS_OWN.replace(
        "\"allow\": []",
        &format!("\"allow\": [{}\n    ]", rules.join(",")),
    );
    assert!(big.len() > 1 << 20);
    let other_types = r#"{"hooks": {"Stop": [{"hooks": [
        {"type": "http", "url": "http://localhost/hook?event=Stop"},
        {"type": "prompt", "prompt": "'/x/hooks-observatory' send Stop --socket '/x' >/dev/null 2>&1 || true"},
        {"command": "no type"}, {"type": "command"}, 7, null]}, null, {"hooks": null}, {"hooks": []}],
        "Unknown": {}}}"#;
    vec![
        same("as the client writes it", CLIENTS_OWN),
        same("without hooks", "{\n  \"model\": \"opus\"\n}\n"),
        same("tabs", &CLIENTS_OWN.replace("  ", "\t")),
        same("four spaces", &CLIENTS_OWN.replace("  ", "    ")),
        same("no newline at the end", CLIENTS_OWN.trim_end()),
        same("CRLF", &CLIENTS_OWN.replace('\n', "\r\n")),
        same("a byte order mark", &format!("\u{feff}{CLIENTS_OWN}")),
        same(
            "one line",
            r#"{"model":"opus","hooks":{"Stop":[{"hooks":[{"type":"command","command":"own"}]}]}}"#,
        ),
        same("an empty object", "{}"),
        same("an empty object in a line", "{}\n"),
        ("an empty file", "".into(), "{}\n".into()),
        ("blank lines", "\n \n".into(), "{}\n".into()),
        ("space in an empty object", "{ \n }\n".into(), "{}\n".into()),
        (
            "null hooks",
            "{\n  \"hooks\": null,\n  \"a\": 1\n}".into(),
            "{\n  \"a\": 1\n}".into(),
        ),
        (
            "empty hooks",
            "{\n  \"a\": 1,\n  \"hooks\": {}\n}".into(),
            "{\n  \"a\": 1\n}".into(),
        ),
        (
            "null events",
            r#"{"hooks": {"Stop": null, "Own": null}}"#.into(),
            r#"{"hooks": {"Own": null}}"#.into(),
        ),
        (
            "an empty array of an event",
            r#"{"hooks": {"Stop": [], "Own": []}}"#.into(),
            r#"{"hooks": {"Own": []}}"#.into(),
        ),
        same("other types of hooks", other_types),
        same(
            "numbers and escapes",
            "{\n  \"a\": [1E5, 1.50, -0, 12345678901234567890123],\n  \"\\u0061\": \"\\/ \\ud83d é\"\n}\n",
        ),
        same(
            "deep nesting",
            &format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)),
        ),
        same(
            "equal keys",
            "{\n  \"a\": 1,\n  \"hooks\": {\"Stop\": 7},\n  \"a\": 2,\n  \"hooks\": {\n    \"Own\": [],\n    \"Own\": []\n  }\n}\n",
        ),
        same("a megabyte", &big),
    ]
}

#[test]
fn the_command_that_undoes_a_change_can_be_given_to_a_shell() {
    let folder = folder();
    let path = folder.path().join("it's mine").join("settings.json");
    fs::create_dir(path.parent().unwrap()).unwrap();
    let file = path.to_str().unwrap();
    let install = [
        "hooks",
        "--install",
        "--yes",
        "--client",
        CLIENT,
        "--file",
        file,
    ];
    let output = String::from_utf8(run(&install).stdout).unwrap();
    let (_, undo) = output.rsplit_once("To undo it: hooks-observatory").unwrap();
    let (undo, _) = undo.split_once('\n').unwrap();
    let command = format!("{BINARY} {undo} --yes");
    assert!(shell(&command).output().unwrap().status.success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
}

#[test]
fn settings_of_every_kind_in_every_place_keep_all_that_is_the_users() {
    for (name, before, after) in cases() {
        for place in PLACES {
            let (user, path) = User::with(place, &before);
            let read = || fs::read_to_string(&path).unwrap();
            let output = printed(user.install(place, "/run/a.sock"));
            assert!(
                output.contains("This adds hooks for 28 events to"),
                "{name}: {output}"
            );
            let installed = read();
            // serde_json's values cannot hold what the other two contain.
            if !["deep nesting", "numbers and escapes"].contains(&name) {
                let foreign = foreign(&installed, "/run/a.sock", name);
                assert_eq!(foreign, split(&after).1, "{name}");
            }
            let again = printed(user.install(place, "/run/a.sock"));
            assert!(
                again.starts_with("Nothing to change in "),
                "{name}: {again}"
            );
            assert_eq!(read(), installed, "{name}");
            printed(user.install(place, "/run/b.sock"));
            assert_eq!(
                read(),
                installed.replace("/run/a.sock", "/run/b.sock"),
                "{name}"
            );
            printed(user.run(place, &REMOVE));
            assert_eq!(read(), after, "{name}");
            let again = printed(user.run(place, &REMOVE));
            assert!(
                again.starts_with("Nothing to change in "),
                "{name}: {again}"
            );
        }
    }
}

#[test]
fn what_is_added_has_the_format_of_the_file() {
    let installed = |text: &str| {
        let (user, path) = User::with(Place::Home, text);
        printed(user.install(Place::Home, "/run/a.sock"));
        fs::read_to_string(path).unwrap()
    };
    for (old, new) in [("  ", "\t"), ("  ", "    "), ("\n", "\r\n")] {
        let format = |text: &str| text.replace(old, new);
        assert_eq!(
            installed(&format(CLIENTS_OWN)),
            format(&installed(CLIENTS_OWN))
        );
    }
    let one_line = r#"{"hooks":{"Stop":[]}}"#;
    assert_eq!(installed(one_line).lines().count(), 1);
}

#[test]
fn a_file_that_does_not_exist_is_created_for_its_owner_only() {
    for place in PLACES {
        let user = User::new();
        let path = user.path(place);
        let output = printed(user.run(place, &REMOVE));
        assert!(output.starts_with("Nothing to change in "), "{output}");
        assert!(!path.exists() && !user.home.path().join(".claude").exists());
        printed(user.install(place, "/run/a.sock"));
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(foreign(&text, "/run/a.sock", "new"), json!({}));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        printed(user.run(place, &REMOVE));
        assert_eq!(fs::read_to_string(&path).unwrap(), "{}\n");
    }
}

#[test]
fn no_folder_is_made_but_the_clients_own() {
    let user = User::new();
    let missing = user.home.path().join("missing");
    let file = missing.join("x/settings.json");
    let by_link = user.path(Place::Project);
    fs::create_dir(by_link.parent().unwrap()).unwrap();
    symlink(missing.join("settings.json"), &by_link).unwrap();
    let mut by_file = user.command(&[], Place::Home, &INSTALL);
    for output in [
        by_file.arg("--file").arg(&file).output().unwrap(),
        user.run(Place::Project, &INSTALL),
    ] {
        let stderr = error(output);
        let folder = format!("there is no folder {}", missing.display());
        assert!(stderr.contains(&folder), "{stderr}");
    }
    let mut homeless = user.command(&[], Place::Home, &INSTALL);
    let stderr = error(homeless.env("HOME", &missing).output().unwrap());
    let folder = format!("cannot make {}/.claude: ", missing.display());
    assert!(stderr.contains(&folder), "{stderr}");
    assert!(!missing.exists());
}

/// The commands that earlier versions wrote, alone in their groups or with another hook.
#[test]
fn our_hooks_of_earlier_versions_are_replaced_and_their_neighbours_stay() {
    let old = "'/opt/1.0/hooks-observatory' send Stop --socket '/old' >/dev/null 2>&1 || true";
    let moved =
        "'/opt/it'\\''s/hooks-observatory' send Stop --socket '/old' >/dev/null 2>&1 || true";
    let curl = "curl -s --connect-timeout 0.5 --max-time 1 --unix-socket '/old' -X POST \
                -H 'Content-Type: application/json' --data-binary @- \
                'http://localhost/hook?event=Stop' >/dev/null 2>&1 || true";
    let hook = |command: &str| json!({"type": "command", "command": command, "timeout": 5});
    let group = |hooks: &[&Value]| json!({"hooks": hooks});
    let own = &hook("own");
    let before = json!({"hooks": {
        "Stop": [
            group(&[own, &hook(old), own]),
            group(&[&hook(moved)]),
            group(&[&hook(curl)]),
            group(&[own]),
        ],
        "PreToolUse": [{"matcher": "Bash", "hooks": [hook(old), own]}],
        "FileChanged": [{"matcher": "mine.txt", "hooks": [hook(old)]}, {"hooks": [hook(old)]}],
        "Later": [group(&[&hook(old)])],
    }});
    let (user, path) = User::with(Place::Home, before.to_string());
    printed(user.install(Place::Home, "/new"));
    let text = fs::read_to_string(&path).unwrap();
    let after: Value = serde_json::from_str(&text).unwrap();
    let ours = |event| hook(&command_for(event, "/new"));
    assert_eq!(
        after["hooks"]["Stop"],
        json!([group(&[own, &ours("Stop"), own]), group(&[own])])
    );
    // A hook that the matcher of another hook restricts gets a group of its own.
    assert_eq!(
        after["hooks"]["PreToolUse"],
        json!([{"matcher": "Bash", "hooks": [own]}, group(&[&ours("PreToolUse")])])
    );
    // The user may choose which files to watch.
    assert_eq!(
        after["hooks"]["FileChanged"],
        json!([{"matcher": "mine.txt", "hooks": [ours("FileChanged")]}])
    );
    assert_eq!(after["hooks"].get("Later"), None);
    foreign(&text, "/new", "upgraded");
    printed(user.run(Place::Home, &REMOVE));
    assert_eq!(
        serde_json::from_str::<Value>(&fs::read_to_string(&path).unwrap()).unwrap(),
        json!({"hooks": {
            "Stop": [group(&[own, own]), group(&[own])],
            "PreToolUse": [{"matcher": "Bash", "hooks": [own]}],
        }})
    );
}

/// Other tools sort keys, and put what fits on one line.
#[test]
fn our_hooks_in_another_format_are_left_as_they_are() {
    let (user, path) = User::with(Place::Home, "{}");
    printed(user.install(Place::Home, "/run/a.sock"));
    let settings: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    let sorted = settings.to_string().replace("}]},", "}]},\n");
    fs::write(&path, &sorted).unwrap();
    let output = printed(user.install(Place::Home, "/run/a.sock"));
    assert!(output.starts_with("Nothing to change in "), "{output}");
}

#[test]
fn a_program_with_another_name_recognises_its_own_hooks() {
    let (user, path) = User::with(Place::Home, "{}");
    let program = user.home.path().join("watcher");
    symlink(BINARY, &program).unwrap();
    let run = |options: &[&str]| {
        // The shell gives the program its name.
        let shell = [
            "sh",
            "-c",
            "shift; exec \"$0\" \"$@\"",
            program.to_str().unwrap(),
        ];
        printed(user.command(&shell, Place::Home, options).output().unwrap())
    };
    for socket in ["/run/a.sock", "/run/b.sock"] {
        run(&[&INSTALL[..], &["--socket", socket]].concat());
        let text = fs::read_to_string(&path).unwrap();
        let own = format!("'{}' send Stop --socket '{socket}'", program.display());
        assert_eq!(text.matches(" send Stop ").count(), 1, "{text}");
        assert!(text.contains(&own), "{text}");
    }
    run(&REMOVE);
    assert_eq!(fs::read_to_string(&path).unwrap(), "{}");
}

/// The client reads the last of equal keys.
#[test]
fn hooks_where_the_client_does_not_read_them_are_replaced() {
    let (user, path) = User::with(Place::Home, "{}");
    printed(user.install(Place::Home, "/run/a.sock"));
    let installed = fs::read_to_string(&path).unwrap();
    let members = installed.trim().strip_suffix('}').unwrap().trim_end();
    fs::write(&path, format!("{members},\n  \"hooks\": {{}}\n}}\n")).unwrap();
    printed(user.install(Place::Home, "/run/a.sock"));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text.matches("send Stop ").count(), 1, "{text}");
    assert_eq!(foreign(&text, "/run/a.sock", "equal keys"), json!({}));
}

#[test]
fn what_cannot_be_edited_is_left_as_it_was_with_an_error_that_says_where() {
    let cases: [(&[u8], &str); 10] = [
        (
            b"{\"hooks\": // mine\n{}}",
            "expected value at line 1 column 11",
        ),
        (
            b"{\n  \"a\": 1,\n}",
            "key must be a string at line 3 column 1",
        ),
        (b"{\"a\": 01}", "invalid number at line 1 column 8"),
        (b"{} {}", "trailing characters at line 1 column 4"),
        (b"not JSON", "expected ident at line 1 column 2"),
        (b"[]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (
            b"{\n  \"hooks\": []\n}",
            "\"hooks\" is not an object at line 2 column 3",
        ),
        (
            b"{\"hooks\": {\n\"Stop\": {}}}",
            "\"Stop\" is not an array at line 2 column 1",
        ),
        (b"{\n\"a\": \"\xff\"}", "not UTF-8 at line 2"),
    ];
    for (text, expected) in cases {
        for place in PLACES {
            let (user, path) = User::with(place, text);
            let stderr = error(user.install(place, "/run/a.sock"));
            assert!(stderr.contains(expected), "{expected}: {stderr}");
            assert!(
                stderr.contains(place.path().rsplit('/').next().unwrap()),
                "{stderr}"
            );
            assert_eq!(fs::read(&path).unwrap(), text);
        }
    }
}

#[test]
fn only_a_regular_file_is_replaced() {
    let user = User::new();
    let path = user.path(Place::File);
    fs::create_dir(&path).unwrap();
    let stderr = error(user.install(Place::File, "/run/a.sock"));
    assert!(stderr.contains("not a regular file"), "{stderr}");
    fs::remove_dir(&path).unwrap();
    let status = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(status.success());
    let stderr = error(user.install(Place::File, "/run/a.sock"));
    assert!(stderr.contains("not a regular file"), "{stderr}");
    fs::remove_file(&path).unwrap();
    symlink(&path, &path).unwrap();
    let stderr = error(user.install(Place::File, "/run/a.sock"));
    assert!(stderr.contains("symbolic links"), "{stderr}");
}

#[test]
fn a_read_only_file_stays_as_it_is() {
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o444)).unwrap();
    let stderr = error(user.install(Place::Home, "/run/a.sock"));
    assert!(stderr.contains("read-only"), "{stderr}");
    assert_eq!(fs::read_to_string(&path).unwrap(), CLIENTS_OWN);
}

#[test]
fn mode_and_owner_stay() {
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    if rustix::process::getuid().is_root() {
        chown(&path, Some(65533), Some(65532)).unwrap();
    }
    let before = fs::metadata(&path).unwrap();
    printed(user.install(Place::Home, "/run/a.sock"));
    let after = fs::metadata(&path).unwrap();
    assert_ne!(after.ino(), before.ino(), "it was replaced");
    let attributes = |file: &fs::Metadata| (file.mode(), file.uid(), file.gid());
    assert_eq!(attributes(&after), attributes(&before));
}

/// As with `sudo -E`, and with sudo on macOS, which keeps HOME.
#[test]
fn what_root_makes_in_a_users_home_is_the_users() {
    if !is_root() {
        return;
    }
    let owner = |path: &Path| {
        let file = fs::metadata(path).unwrap();
        (file.uid(), file.gid())
    };
    for (place, has_folder) in [
        (Place::Home, false),
        (Place::Home, true),
        (Place::Project, false),
    ] {
        let user = User::new();
        let path = user.path(place);
        let folder = path.parent().unwrap();
        let users = if has_folder {
            fs::create_dir(folder).unwrap();
            folder
        } else {
            folder.parent().unwrap()
        };
        chown(users, Some(65533), Some(65532)).unwrap();
        printed(user.install(place, "/run/a.sock"));
        for made in [folder, &path] {
            assert_eq!(owner(made), (65533, 65532), "{made:?}");
        }
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }
}

/// A program that root runs can do everything.
#[test]
fn root_runs_a_users_client_as_that_user() {
    if !is_root() {
        return;
    }
    let user = User::new();
    fs::set_permissions(user.home.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let client = user.home.path().join(".local/bin/claude");
    fs::create_dir_all(client.parent().unwrap()).unwrap();
    script(&client, "echo 1.$(id -u).$(id -g)");
    chown(&client, Some(65533), Some(65532)).unwrap();
    let output = user.run(Place::Home, &["--install", "--dry-run"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("version 1.65533.65532 "), "{stderr}");
}

#[test]
fn a_symlink_stays_and_its_target_is_replaced() {
    for existing in [true, false] {
        let user = User::new();
        let target = user.home.path().join("dotfiles/settings.json");
        fs::create_dir(target.parent().unwrap()).unwrap();
        if existing {
            fs::write(&target, CLIENTS_OWN).unwrap();
        }
        let path = user.path(Place::Home);
        fs::create_dir(path.parent().unwrap()).unwrap();
        symlink("../dotfiles/link", &path).unwrap();
        symlink("settings.json", target.with_file_name("link")).unwrap();
        printed(user.install(Place::Home, "/run/a.sock"));
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("../dotfiles/link"));
        foreign(
            &fs::read_to_string(&target).unwrap(),
            "/run/a.sock",
            "symlink",
        );
        printed(user.run(Place::Home, &REMOVE));
        let expected = if existing { CLIENTS_OWN } else { "{}\n" };
        assert_eq!(fs::read_to_string(&target).unwrap(), expected);
    }
}

#[test]
fn a_dry_run_shows_the_change_as_a_patch_and_writes_nothing() {
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let dry_run = |option| {
        let output = user.run(Place::Home, &[option, "--dry-run", "--client", CLIENT]);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.ends_with("\nNothing was written.\n"));
        (String::from_utf8(output.stdout).unwrap(), stderr)
    };
    let (diff, summary) = dry_run("--install");
    assert_eq!(fs::read_to_string(&path).unwrap(), CLIENTS_OWN);
    let mut lines = diff.lines().skip(2);
    assert!(
        lines.all(|line| line.starts_with(['+', ' ', '@'])),
        "{diff}"
    );
    assert!(diff.contains("\n+            \"command\": \"'"), "{diff}");
    let output = printed(user.run(Place::Home, &INSTALL));
    let (summary, _) = summary.split_once("Nothing was").unwrap();
    assert!(output.starts_with(summary), "an installation says the same");
    let installed = fs::read_to_string(&path).unwrap();
    assert!(
        dry_run("--remove")
            .0
            .contains("\n-            \"command\": \"'")
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), installed);
}

/// The diff would have 373 lines.
#[test]
fn a_few_lines_say_what_changes_and_how_to_undo_it() {
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let path = path.display();
    let undo = "To undo it: hooks-observatory hooks";
    let summary = |socket: &str, replaced: &str| {
        format!(
            "This adds hooks for 28 events to {path}\n  client: {CLIENT}\n  socket: {socket}\n  \
             replaces: {replaced}\nInstalled. {undo} --remove --user\n\
             no server answers at {socket} yet: hooks-observatory --socket '{socket}'\n"
        )
    };
    // The shell uses the same one.
    let install = |socket: &str| {
        let mut command = user.command(&[], Place::Home, &INSTALL);
        let command = command.env("CLAUDE_UNIX_HOOK_WATCHER", socket);
        printed(command.output().unwrap())
    };
    assert_eq!(install("/run/a.sock"), summary("/run/a.sock", "nothing"));
    assert_eq!(
        install("/run/b.sock"),
        summary("/run/b.sock", "hooks for 28 events to /run/a.sock")
    );
    assert_eq!(
        printed(user.run(Place::Home, &REMOVE)),
        format!(
            "This removes hooks for 28 events from {path}\n  socket: /run/b.sock\n\
             Removed. {undo} --install --user\n"
        )
    );
}

#[test]
fn where_no_server_answers_the_last_line_says_how_to_start_one() {
    let server = Server::start(&[]);
    let user = User::new();
    let install = |socket: &str| printed(user.install(Place::Home, socket));
    let socket = server.socket().display().to_string();
    let output = install(&socket);
    assert!(output.ends_with("hooks --remove --user\n"), "{output}");
    let again = install(&socket);
    assert_eq!(again.lines().count(), 2, "nothing to change: {again}");
    // It is about where the hooks send to, also if nothing changes.
    for _ in 0..2 {
        let output = install("/nonexistent/a.sock");
        let note = "\nno server answers at /nonexistent/a.sock yet: hooks-observatory --socket \
                    '/nonexistent/a.sock'\n";
        assert!(output.ends_with(note), "{output}");
    }
    let output = install(user.home.path().to_str().unwrap());
    assert!(output.ends_with("that is not a socket. Give the path of the server's hook socket\n"));
}

/// The hooks of a user who had curl send them: they stay, and each event comes from both.
#[test]
fn other_hooks_that_send_to_the_same_socket_are_counted() {
    let command =
        |socket: &str| format!("curl -s --unix-socket {socket} -d @- http://localhost/hook");
    let hook = |socket: &str| json!([{"hooks": [{"type": "command", "command": command(socket)}]}]);
    let hooks = json!({"Stop": hook("/run/a.sock"), "PreToolUse": hook("\"$CLAUDE_UNIX_HOOK_WATCHER\""),
        "SessionEnd": hook("/run/b.sock"), "PostToolUse": [{"hooks": [{"type": "command", "command": "true"}]}]});
    let (user, path) = User::with(Place::Home, json!({"hooks": hooks}).to_string());
    let others = |count| {
        let path = path.display();
        format!(
            "other hooks in {path} that send there too: {count}. Their events arrive twice until \
             you remove them\n"
        )
    };
    let install = |options: &[&str], socket: &str| {
        let options = [&INSTALL[..], options, &["--socket", socket]].concat();
        let output = user.run(Place::Home, &options);
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
    };
    for options in [&["--dry-run"][..], &[], &[]] {
        let output = install(options, "/run/a.sock");
        assert!(output.contains(&others(2)), "{output}");
    }
    let status = printed(user.run(Place::Home, &["--status", "--client", CLIENT]));
    assert!(
        status.contains(&format!("  twice: {}", others(2))),
        "{status}"
    );
    assert!(install(&[], "/run/c.sock").contains(&others(1)));
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(foreign(&text, "/run/c.sock", "theirs")["hooks"], hooks);
    fs::write(&path, "{}").unwrap();
    assert!(!install(&[], "/run/a.sock").contains("twice"));
}

/// Everybody can write to /tmp.
#[test]
fn the_default_socket_comes_with_a_warning() {
    let socket = "/tmp/claude-observatory.sock";
    if Path::new(socket).exists() {
        return skip("the default socket is in use");
    }
    let output = printed(User::new().run(Place::Home, &INSTALL));
    let note = format!(
        "\nno server answers at {socket} yet, and any user can listen there first. Safer: \
         hooks-observatory service --install, then hooks --install again\n"
    );
    assert!(output.ends_with(&note), "{output}");
}

/// A run of `hooks` on a terminal, its controlling one.
struct Asked {
    child: Child,
    keyboard: fs::File,
    screen: Stream,
}

impl Asked {
    /// `shell` runs the program, as `"$@"`.
    fn start(user: &User, shell: &str, options: &[&str]) -> Asked {
        let (keyboard, screen, terminal) = terminal_with_keys();
        let shell = ["setsid", "--ctty", "sh", "-c", shell, "sh"];
        let mut command = user.command(&shell, Place::Home, options);
        let copy = || terminal.try_clone().unwrap();
        command.stdin(copy()).stdout(copy()).stderr(copy());
        Asked {
            child: command.spawn().unwrap(),
            keyboard,
            screen,
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.screen.wait(text, |screen| screen.contains(text))
    }

    fn answer(&self, answer: &str) {
        self.wait_for("Write it? [y/N] ");
        (&self.keyboard).write_all(answer.as_bytes()).unwrap();
    }
}

#[test]
fn on_a_terminal_it_asks_and_only_a_yes_is_a_yes() {
    if tool("setsid").is_none() {
        return;
    }
    for (answer, is_installed) in [
        ("y\n", true),
        ("yes\n", true),
        ("n\n", false),
        ("\n", false),
        ("\u{4}", false),
    ] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut asked = Asked::start(&user, "exec \"$@\"", &ASK);
        asked.answer(answer);
        let code = i32::from(!is_installed);
        assert_eq!(asked.child.wait().unwrap().code(), Some(code), "{answer:?}");
        let screen = asked.wait_for(if is_installed {
            "Installed."
        } else {
            "did not confirm"
        });
        assert!(screen.lines().count() < 10, "{screen}");
        let is_same = fs::read_to_string(&path).unwrap() == CLIENTS_OWN;
        assert_eq!(is_same, !is_installed, "{answer:?}");
    }
}

/// A pager shows stdout, and reads the terminal. A pipe is no answer.
#[test]
fn the_question_and_its_answer_are_on_the_terminal_whatever_stdin_and_stdout_are() {
    if tool("setsid").is_none() {
        return;
    }
    for shell in [
        // A pager turns the echo off, and waits for its input.
        "stty -icanon -echo -icrnl; \"$@\" > out 2> err",
        "echo n | \"$@\" > out 2> err",
        "\"$@\" < /dev/null > out 2> err",
    ] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut asked = Asked::start(
            &user,
            &format!("{shell}; code=$?; stty -a; exit $code"),
            &ASK,
        );
        let question = asked.wait_for("Write it? [y/N] ");
        assert!(
            question.contains("This adds hooks for 28 events to "),
            "{question}"
        );
        asked.answer("y\r");
        assert!(asked.child.wait().unwrap().success(), "{shell}");
        let is_raw = shell.starts_with("stty");
        let modes = asked.wait_for("isig");
        assert!(modes.contains("[y/N] y\r\n"), "it is echoed: {modes:?}");
        assert_eq!(
            modes.contains("-icanon"),
            is_raw,
            "the modes are as before: {modes}"
        );
        let out = user.home.path().join("project/out");
        let out = fs::read_to_string(out).unwrap();
        assert!(
            out.starts_with("Installed.") && out.lines().count() == 2,
            "{out}"
        );
        foreign(
            &fs::read_to_string(path).unwrap(),
            "/tmp/claude-observatory.sock",
            shell,
        );
    }
}

#[test]
fn without_a_terminal_nothing_changes_unless_yes_is_given() {
    if tool("setsid").is_none() {
        return;
    }
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    printed(user.install(Place::Home, "/run/a.sock"));
    let installed = fs::read_to_string(&path).unwrap();
    for (shell, is_written) in [
        ("exec \"$@\" --remove", false),
        ("echo n | \"$@\" --remove", false),
        ("echo y | \"$@\" --remove", false),
        ("exec \"$@\" --install --client 2.0.60", false),
        ("echo n | \"$@\" --remove --yes", true),
    ] {
        let wrapper = ["setsid", "sh", "-c", shell, "sh"];
        let output = user.command(&wrapper, Place::Home, &[]).output().unwrap();
        if is_written {
            printed(output);
        } else {
            let stderr = error(output);
            assert!(
                stderr.contains("there is no terminal to ask on"),
                "{stderr}"
            );
            assert!(stderr.contains("--yes"), "{stderr}");
        }
        let is_same = fs::read_to_string(&path).unwrap() == installed;
        assert_eq!(is_same, !is_written, "{shell}");
    }
}

/// A pager that starts later takes the screen, and with it the question.
#[test]
fn the_question_is_asked_again_when_another_program_has_taken_the_terminal() {
    use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
    if tool("setsid").is_none() {
        return;
    }
    let (user, _) = User::with(Place::Home, CLIENTS_OWN);
    let mut asked = Asked::start(&user, "\"$@\" > out; stty -a", &ASK);
    asked.wait_for("? [y/N] ");
    let mut modes = tcgetattr(&asked.keyboard).unwrap();
    modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
    tcsetattr(&asked.keyboard, OptionalActions::Now, &modes).unwrap();
    let is_asked_again = |screen: &str| screen.matches("[y/N] ").count() == 2;
    asked.screen.wait("the question again", is_asked_again);
    asked.answer("y\n");
    assert!(asked.child.wait().unwrap().success());
    let modes = asked.wait_for("isig");
    assert!(modes.contains("[y/N] y\r\n"), "it is echoed: {modes:?}");
    assert!(
        modes.contains("-icanon"),
        "the pager has its modes: {modes}"
    );
}

#[test]
fn what_is_written_while_it_asks_stays_and_gets_the_hooks() {
    if tool("setsid").is_none() {
        return;
    }
    for (written, is_installed) in [("{\"a\": 1}", true), ("{", false)] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut asked = Asked::start(&user, "exec \"$@\"", &ASK);
        asked.wait_for("? [y/N] ");
        fs::write(&path, written).unwrap();
        asked.answer("y\n");
        assert_eq!(asked.child.wait().unwrap().success(), is_installed);
        let text = fs::read_to_string(&path).unwrap();
        if is_installed {
            let socket = "/tmp/claude-observatory.sock";
            assert_eq!(foreign(&text, socket, written), json!({"a": 1}));
        } else {
            asked.wait_for("EOF while parsing");
            assert_eq!(text, written);
        }
    }
}

#[test]
fn a_diff_on_a_terminal_shows_no_byte_that_the_terminal_would_obey() {
    let (user, _) = User::with(Place::Home, "{\r\n\t\"a\": \"\u{9b}2J\u{202e}\"\r\n}\r\n");
    let options = [&ASK[..], &["--dry-run"]].concat();
    let piped = user.run(Place::Home, &options).stdout;
    let piped = String::from_utf8(piped).unwrap();
    assert!(
        piped.contains("-\t\"a\": \"\u{9b}2J\u{202e}\"\r\n"),
        "{piped:?}"
    );
    let (screen, terminal) = terminal();
    let mut command = user.command(&[], Place::Home, &options);
    assert!(command.stdout(terminal).status().unwrap().success());
    let shown = screen.wait("the diff", |text| text.contains("SessionEnd"));
    assert!(
        shown.contains("\"a\": \"\u{fffd}2J\u{fffd}\"\r\n"),
        "{shown:?}"
    );
    assert!(!shown.contains(['\u{9b}', '\u{202e}']), "{shown:?}");
}

/// A project can be somebody else's, and so is the name of its folder.
#[test]
fn no_path_is_printed_with_what_a_terminal_would_obey() {
    let name = "\x1b[2J\u{9b}31m\u{202e}\n\r";
    let user = User::new();
    let project = user.home.path().join("project").join(name);
    fs::create_dir_all(project.join(".claude/local")).unwrap();
    let socket = project.join("s").display().to_string();
    let file = project.join("missing/x").display().to_string();
    script(&project.join(".claude/local/claude"), "echo 2.1.119");
    let commands: [&[&str]; 14] = [
        &["hooks", "--install", "--project", "--yes"],
        &["hooks", "--install", "--project", "--yes"],
        &["hooks", "--status"],
        &["hooks", "--install", "--dry-run"],
        &["hooks", "--remove", "--project"],
        &["hooks", "--remove", "--project", "--yes"],
        &["hooks", "--install", "--file", &file],
        &["hooks"],
        &["send", "Stop", "-v"],
        &["sessions"],
        &["watch", "--lines", &file],
        &["--output-socket", &socket],
        &["watch", "--lines", name],
        &[name],
    ];
    for command in commands {
        let (screen, terminal) = terminal();
        let copy = || terminal.try_clone().unwrap();
        let mut run = program();
        run.args(command).current_dir(&project);
        run.env("HOME", &project).env("PATH", "/usr/bin:/bin");
        run.env("CLAUDE_UNIX_HOOK_WATCHER", &socket);
        run.stdin(Stdio::null()).stdout(copy()).stderr(copy());
        run.status().unwrap();
        (&terminal).write_all(b"the end").unwrap();
        let shown = screen.wait("the end", |text| text.ends_with("the end"));
        let is_obeyed = |char: char| char.is_control() && !matches!(char, '\r' | '\n' | '\t');
        assert!(!shown.contains(is_obeyed), "{command:?}: {shown:.500?}");
        assert!(!shown.contains('\u{202e}'), "{command:?}: {shown:.500?}");
        assert!(shown.contains("[2J"), "{command:?}: {shown:.500}");
    }
}

/// One run lists the system calls. Each further run is killed before one of them.
#[test]
fn killed_before_any_system_call_it_leaves_the_old_file_or_the_new_one() {
    if tool("strace").is_none() {
        return;
    }
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let trace = user.home.path().join("trace");
    let run = |inject: &[&str]| {
        fs::write(&path, CLIENTS_OWN).unwrap();
        let strace = [&["strace", "-o", trace.to_str().unwrap()], inject].concat();
        let mut command = user.command(&strace, Place::Home, &INSTALL);
        let status = command.stdout(Stdio::null()).status().unwrap();
        (status, fs::read_to_string(&path).unwrap())
    };
    let (status, new) = run(&[]);
    assert!(status.success());
    let calls = fs::read_to_string(&trace).unwrap();
    let names = calls.lines().filter_map(|line| line.split_once('('));
    let written = names.clone().map(|(name, _)| name);
    let written: Vec<_> = written
        .filter(|name| *name == "fsync" || name.starts_with("rename"))
        .collect();
    assert!(
        matches!(written[..], ["fsync", rename, "fsync"] if rename != "fsync"),
        "{written:?}"
    );
    let mut counts = HashMap::new();
    let [mut old_files, mut new_files] = [0, 0];
    for (name, _) in names.filter(|(name, _)| *name != "execve") {
        let count = counts.entry(name).or_insert(0);
        *count += 1;
        let inject = format!("inject={name}:signal=KILL:when={count}");
        let (status, text) = run(&["-e", &inject]);
        assert!(!status.success(), "not killed: {inject}");
        old_files += u32::from(text == CLIENTS_OWN);
        new_files += u32::from(text == new);
        assert!([CLIENTS_OWN, &new].contains(&&*text), "{inject}: {text}");
    }
    assert!(old_files > 20 && new_files > 4, "{old_files} {new_files}");
}

#[test]
fn a_full_disk_leaves_the_old_file() {
    if tool("unshare").is_none() || !is_root() {
        return;
    }
    let folder = folder();
    let script = "mount -t tmpfs -o size=64k none \"$1\" || exit 77
        printf '{\"a\":1}' > \"$1/settings.json\"
        cat /dev/zero > \"$1/fill\" 2> /dev/null
        \"$2\" hooks --install --yes --client 2.1.119 --file \"$1/settings.json\" > /dev/null
        echo \"exit $?\"; ls -A \"$1\"; cat \"$1/settings.json\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(folder.path())
        .arg(BINARY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    if output.status.code() == Some(77) {
        return skip("no file system can be mounted");
    }
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!(stdout, "exit 1\nfill\nsettings.json\n{\"a\":1}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("cannot write it: No space left on device"),
        "{stderr}"
    );
}

/// As containers mount a file of the host.
#[test]
fn a_file_that_is_a_mount_is_left_alone_and_the_error_says_what_to_do() {
    if tool("unshare").is_none() || !is_root() {
        return;
    }
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let mount = "mount --bind \"$0\" \"$0\" || exit 77; exec \"$@\"";
    let unshare = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        mount,
        path.to_str().unwrap(),
    ];
    let output = user
        .command(&unshare, Place::Home, &INSTALL)
        .output()
        .unwrap();
    if output.status.code() == Some(77) {
        return skip("no file can be mounted");
    }
    let stderr = error(output);
    assert!(stderr.contains("it is a mount of its own"), "{stderr}");
    assert!(stderr.contains("outside of the container"), "{stderr}");
    assert_eq!(fs::read_to_string(&path).unwrap(), CLIENTS_OWN);
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(files.count(), 1, "the temporary file is gone");
}

#[test]
fn a_limit_on_the_size_of_files_leaves_the_old_file() {
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let shell = ["sh", "-c", "ulimit -f 2; exec \"$0\" \"$@\""];
    let mut limited = user.command(&shell, Place::Home, &INSTALL);
    let stderr = error(limited.output().unwrap());
    assert!(
        stderr.contains("cannot write it: File too large"),
        "{stderr}"
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), CLIENTS_OWN);
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    assert_eq!(files.count(), 1, "the temporary file is gone");
}
