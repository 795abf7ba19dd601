//! `hooks-observatory service`: the server as a service of the user's systemd, and the default
//! socket of the other commands.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::*;
use crate::install::{CLIENT, error, printed};
use crate::recipes::block;

const UNITS: [&str; 2] = ["hooks-observatory.socket", "hooks-observatory.service"];
const UNIT_FOLDER: &str = ".config/systemd/user";

/// Starts a systemd of a user, with cgroups and a `/run` of its own, and runs `$1`, which may call
/// `stop` and `start` for a logout and a login. Leaves nothing behind.
const NAMESPACE: &str = r#"
group=/sys/fs/cgroup/hooks-observatory-$$
mount -t cgroup2 none /sys/fs/cgroup && mkdir $group || exit 77
(echo 0 > $group/cgroup.procs && exec unshare --cgroup --pid --fork --mount-proc --kill-child sh -c '
    umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup && mount -t tmpfs none /run || exit 77
    export XDG_RUNTIME_DIR=/run/user/0
    mkdir -p /run/systemd/system
    start() {
        mkdir -p -m 700 $XDG_RUNTIME_DIR
        /usr/lib/systemd/systemd --user </dev/null >"$HOME/systemd.log" 2>&1 &
        manager=$!
        until systemctl --user show-environment >/dev/null 2>&1; do
            kill -0 $manager && sleep 0.02 || exit 77
        done
        # It fails where another unit of this machine does.
        systemctl --user is-system-running --wait >/dev/null 2>&1 || true
    }
    stop() {
        kill $manager
        wait $manager
        rm -r $XDG_RUNTIME_DIR
    }
    PATH=${PROGRAM%/*}:$PATH; start; set -e; eval "$1"; stop
' sh "$1")
code=$?
find $group -depth -type d -exec rmdir {} \;
exit $code
"#;

/// What a script prints that runs as a user with a systemd. `None` if that is not possible here.
fn with_systemd(home: &Path, script: &str) -> Option<String> {
    if tool("systemctl").is_none() || tool("unshare").is_none() || !is_root() {
        return None;
    }
    let mut command = program();
    run_under(
        &mut command,
        &["unshare", "--mount", "sh", "-c", NAMESPACE, "sh", script],
    );
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    let command = command
        .env("PROGRAM", BINARY)
        .env_remove("DBUS_SESSION_BUS_ADDRESS");
    let output = command.output().unwrap();
    if output.status.code() == Some(77) {
        skip("no systemd --user can run here");
        return None;
    }
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{script}: {stderr}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// The files in a folder and below, without that of [`NAMESPACE`].
fn files(folder: &Path) -> Vec<PathBuf> {
    let output = Command::new("find")
        .arg(folder)
        .args(["!", "-type", "d"])
        .output();
    let output = String::from_utf8(output.unwrap().stdout).unwrap();
    let files = output.lines().map(PathBuf::from);
    files
        .filter(|file| !file.ends_with("systemd.log"))
        .collect()
}

#[test]
fn a_service_is_there_after_a_logout_and_is_removed_without_a_trace() {
    let home = folder();
    let readme = |option| block("Run it as a service", option).trim();
    let (install, remove) = (readme("--install"), readme("--remove"));
    let script = format!(
        "{install} --yes
         stop; start
         hooks-observatory send Test -v </dev/null 2>&1
         {install}
         hooks-observatory service --status"
    );
    let Some(output) = with_systemd(home.path(), &script) else {
        return;
    };
    let socket = "/run/user/0/claude-observatory.sock";
    for expected in [
        "Installed: an event arrived at ",
        "no hooks send to it yet: hooks-observatory hooks --install\n",
        "To undo it: hooks-observatory service --remove\nTest was taken at ",
        "Nothing to change: an event arrived at ",
        "hooks-observatory.socket: installed\n",
        "hooks-observatory.service: active (success)\n",
        &format!("{socket}: a server answers\n"),
    ] {
        assert!(output.contains(expected), "{expected} in {output}");
    }
    let unit = home.path().join(UNIT_FOLDER).join(UNITS[0]);
    assert!(
        fs::read_to_string(unit)
            .unwrap()
            .contains("ListenStream=%t/claude-observatory.sock\n")
    );
    let script = format!("{remove} --yes; ls $XDG_RUNTIME_DIR; {remove}");
    let output = with_systemd(home.path(), &script).unwrap();
    assert!(!output.contains("\nclaude-observatory."), "{output}");
    assert!(output.contains("Removed. To undo it: hooks-observatory service --install\n"));
    assert!(
        output.ends_with("Nothing to remove: the service is not installed\n"),
        "{output}"
    );
    assert!(files(home.path()).is_empty());
}

/// An upgrade changes the path, and the path can contain what means something in a unit.
#[test]
fn a_service_is_replaced_while_it_runs_whatever_the_program_s_path_is() {
    let home = folder();
    let script = r#"
        "$PROGRAM" service --install --yes
        new="$HOME/a 50%t \$HOME"
        mkdir "$new"
        ln -s "$PROGRAM" "$new/hooks-observatory"
        "$new/hooks-observatory" service --status
        "$new/hooks-observatory" service --install --yes
        pid=$(systemctl --user show --property=MainPID --value hooks-observatory.service)
        echo "runs $(tr '\0' ' ' < /proc/$pid/cmdline)"
    "#;
    let Some(output) = with_systemd(home.path(), script) else {
        return;
    };
    assert_eq!(
        output.matches("Installed: an event arrived").count(),
        2,
        "{output}"
    );
    assert!(
        output.contains("for another path or version of this program"),
        "{output}"
    );
    assert!(
        output.contains("/a 50%t $HOME/hooks-observatory"),
        "{output}"
    );
}

#[test]
fn a_path_that_systemd_refuses_is_refused() {
    let user = User::new("");
    for name in ["a\"b", "a'b", "a\\b", "a\u{1b}b"] {
        let path = user.home.path().join(name);
        std::os::unix::fs::symlink(BINARY, &path).unwrap();
        let words = [path.to_str().unwrap(), "service", "--install", "--yes"];
        let error = error(user.command(&words).output().unwrap());
        assert!(error.contains("systemd cannot start "), "{error}");
        assert!(!error.contains('\u{1b}'));
        user.assert_nothing_is_changed();
    }
}

#[test]
fn systemd_accepts_the_units() {
    let home = folder();
    let Some(_) = tool("systemd-analyze") else {
        return;
    };
    let user = User::new("exit 0");
    // Nothing answers.
    user.run(&["--install", "--yes"]);
    let output = Command::new("systemd-analyze")
        .args(["verify", "--user"])
        .args(UNITS.map(|unit| user.unit(unit)))
        .env("XDG_RUNTIME_DIR", home.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.is_empty(), "{stderr}");
}

/// A user whose `systemctl` is a script: it names the folder of units, writes what it is asked to
/// do into the file `asked`, and runs the lines that the test gives.
struct User {
    home: TempDir,
}

impl User {
    fn new(lines: &str) -> User {
        let home = folder();
        let own = format!(
            "case \"$*\" in
             *UnitPath*) echo \"$HOME/.config/systemd/user.control $HOME/{UNIT_FOLDER} /etc/systemd/user\" ;;
             *show*) echo inactive ;;
             *) echo \"$*\" >> \"$HOME/asked\"; {lines} ;;
             esac"
        );
        script(&home.path().join("systemctl"), &own);
        fs::create_dir(home.path().join("run")).unwrap();
        User { home }
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.home.path().join(UNIT_FOLDER).join(name)
    }

    fn socket(&self) -> PathBuf {
        self.home.path().join("run/claude-observatory.sock")
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(words[0]);
        let path = format!("{}:/usr/bin:/bin", self.home.path().display());
        command
            .args(&words[1..])
            .env("HOME", self.home.path())
            .env("PATH", path)
            .env("XDG_RUNTIME_DIR", self.home.path().join("run"))
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env_remove("CLAUDE_CONFIG_DIR")
            .stdin(Stdio::null());
        command
    }

    /// Runs `service` with these options.
    fn run(&self, options: &[&str]) -> Output {
        let words = [&[BINARY, "service"], options].concat();
        self.command(&words).output().unwrap()
    }

    /// What `systemctl` was asked to do.
    fn asked(&self) -> String {
        fs::read_to_string(self.home.path().join("asked")).unwrap_or_default()
    }

    fn assert_nothing_is_changed(&self) {
        assert_eq!(self.asked(), "");
        assert!(!self.home.path().join(".config").exists());
    }
}

#[test]
fn without_a_yes_nothing_changes() {
    if tool("setsid").is_none() {
        return;
    }
    let user = User::new("");
    let words = ["setsid", "--wait", BINARY, "service", "--install"];
    let mut command = user.command(&words);
    let error = error(command.output().unwrap());
    assert!(
        error.contains("Give --yes to write without a question"),
        "{error}"
    );
    user.assert_nothing_is_changed();
    let dry_run = user.run(&["--dry-run"]);
    let diff = String::from_utf8(dry_run.stdout).unwrap();
    assert!(
        diff.contains("+ListenStream=%t/claude-observatory.out\n"),
        "{diff}"
    );
    assert!(
        diff.contains(&format!("+ExecStart=\"{BINARY}\"\n")),
        "{diff}"
    );
    let summary = String::from_utf8(dry_run.stderr).unwrap();
    assert!(
        summary.contains(&format!("hooks: {}\n", user.socket().display())),
        "{summary}"
    );
    assert!(summary.ends_with("Nothing was changed.\n"), "{summary}");
    user.assert_nothing_is_changed();
}

#[test]
fn a_unit_of_the_user_is_left_as_it_was() {
    for unit in UNITS {
        let user = User::new("");
        let path = user.unit(unit);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "[Unit]\n").unwrap();
        for action in ["--install", "--remove"] {
            let error = error(user.run(&[action, "--yes"]));
            assert!(error.contains("was not written by this program"), "{error}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "[Unit]\n");
        assert_eq!(files(path.parent().unwrap()), [path]);
        assert_eq!(user.asked(), "");
        let status = printed(user.run(&["--status"]));
        assert!(
            status.contains(&format!("{unit}: not written by this program\n")),
            "{status}"
        );
    }
}

/// systemd would replace the socket of a running server, without a word.
#[test]
fn the_sockets_of_a_running_server_are_not_taken_away() {
    for name in ["claude-observatory.sock", "claude-observatory.out"] {
        let user = User::new("");
        let path = user.home.path().join("run").join(name);
        let _listener = UnixListener::bind(&path).unwrap();
        let error = error(user.run(&["--install", "--yes"]));
        assert!(
            error.contains(&format!("{} is in use", path.display())),
            "{error}"
        );
        user.assert_nothing_is_changed();
    }
}

#[test]
fn an_installation_that_fails_says_what_failed_and_how_to_undo_it() {
    let user = User::new("case \"$*\" in *enable*) printf 'no\n\x1bluck.\n' >&2; exit 1 ;; esac");
    let failed = error(user.run(&["--install", "--yes"]));
    let expected = "systemctl --user enable hooks-observatory.socket failed: no \u{fffd}luck. \
                    To undo it: hooks-observatory service --remove\n";
    assert!(failed.ends_with(expected), "{failed}");
    let user = User::new("");
    let failed = error(user.run(&["--install", "--yes"]));
    assert!(
        failed.contains("systemctl --user status hooks-observatory.service says why"),
        "{failed}"
    );
    assert_eq!(
        user.asked(),
        "--user daemon-reload\n--user enable hooks-observatory.socket\n\
         --user stop hooks-observatory.service hooks-observatory.socket\n\
         --user start hooks-observatory.socket\n"
    );
    let removed = printed(user.run(&["--remove", "--yes"]));
    assert!(removed.ends_with("Removed. To undo it: hooks-observatory service --install\n"));
    assert!(files(&user.home.path().join(".config")).is_empty());
}

#[test]
fn what_keeps_events_from_the_service_is_said() {
    let user = User::new("");
    let server = Server::start_in(folder(), &[], |command| command);
    symlink(server.socket(), user.socket()).unwrap();
    let status = |variable: &str| {
        let mut command = user.command(&[BINARY, "service", "--status"]);
        printed(
            command
                .env("CLAUDE_UNIX_HOOK_WATCHER", variable)
                .output()
                .unwrap(),
        )
    };
    let own = user.socket().to_str().unwrap().to_owned();
    assert!(
        status("/x\u{1b}")
            .contains("CLAUDE_UNIX_HOOK_WATCHER is /x\u{fffd} in this shell: unset it")
    );
    for variable in ["", &own] {
        let status = status(variable);
        assert!(!status.contains("CLAUDE_UNIX_HOOK_WATCHER"), "{status}");
        assert!(status.contains("no hooks send to it yet"), "{status}");
    }
    let install = [BINARY, "hooks", "--install", "--yes", "--client", CLIENT];
    printed(user.command(&install).output().unwrap());
    assert!(!status("").contains("no hooks"));
}

/// The lines that are printed instead, from which a server starts that `send` finds.
#[test]
fn without_systemd_there_is_a_line_for_tmux_and_one_for_the_profile() {
    for has_runtime_folder in [true, false] {
        let user = User::new("");
        fs::remove_file(user.home.path().join("systemctl")).unwrap();
        let mut command = user.command(&[BINARY, "service", "--install"]);
        command.env("PATH", user.home.path());
        if !has_runtime_folder {
            command.env_remove("XDG_RUNTIME_DIR");
        }
        let message = error(command.output().unwrap());
        assert!(
            message.starts_with(
                "Error: no systemd of this user is running here: cannot run systemctl"
            )
        );
        assert!(message.ends_with("\nthen: hooks-observatory hooks --install\n"));
        let lines: Vec<&str> = message
            .lines()
            .filter_map(|line| line.strip_prefix("  "))
            .collect();
        let (tmux, profile, export) = match lines[..] {
            [tmux, profile] => (tmux, profile, ""),
            [tmux, profile, export] => (tmux, profile, export),
            _ => panic!("{message}"),
        };
        assert_eq!(export.is_empty(), has_runtime_folder);
        let run = |line: &str| {
            let line = format!("{export}\n{line}");
            let mut shell = shell(&line);
            shell
                .env("HOME", user.home.path())
                .env("TMUX_TMPDIR", user.home.path());
            if has_runtime_folder {
                shell.env("XDG_RUNTIME_DIR", user.home.path().join("run"));
            }
            shell.stderr(Stdio::piped());
            shell
        };
        let wait_for_event = || {
            wait_until("an event is taken", || {
                let output = run("hooks-observatory send Test -v").output().unwrap();
                String::from_utf8_lossy(&output.stderr).contains("was taken")
            });
        };
        let server = profile
            .strip_prefix('(')
            .unwrap()
            .strip_suffix(" &)")
            .unwrap();
        let mut server = run(&format!("exec {server}")).spawn().unwrap();
        wait_for_event();
        signal(server.id(), "TERM");
        server.wait().unwrap();
        if tool("tmux").is_none() {
            continue;
        }
        assert!(run(tmux).status().unwrap().success());
        wait_for_event();
        assert!(run("tmux kill-server").status().unwrap().success());
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    for options in [
        &[][..],
        &["--install", "--remove"],
        &["--status", "--yes"],
        &["--yes"],
    ] {
        let output = run(&[&["service"], options].concat());
        assert_eq!(output.status.code(), Some(2), "{options:?}");
    }
}

#[test]
fn the_default_socket_is_that_of_the_service_where_there_is_one() {
    let user = User::new("");
    let used = |variable: &str| {
        let mut send = user.command(&[BINARY, "send", "Test", "-v"]);
        let output = send.env("CLAUDE_UNIX_HOOK_WATCHER", variable).output();
        String::from_utf8(output.unwrap().stderr).unwrap()
    };
    let of_service = format!(" at {}", user.socket().display());
    assert!(used("").contains(" at /tmp/claude-observatory.sock"));
    fs::write(user.socket(), "no socket").unwrap();
    assert!(used("").contains(" at /tmp/claude-observatory.sock"));
    fs::remove_file(user.socket()).unwrap();
    let server = Server::start(&[]);
    symlink(server.socket(), user.socket()).unwrap();
    assert!(used("").contains(&format!("Test was taken{of_service}")));
    assert!(used("/nowhere/x").contains(" at /nowhere/x"));
    let hooks = user.command(&[BINARY, "hooks"]).output().unwrap();
    let hooks = String::from_utf8(hooks.stdout).unwrap();
    assert!(hooks.contains(user.socket().to_str().unwrap()), "{hooks}");
    let sessions = user.command(&[BINARY, "sessions"]).output().unwrap();
    assert!(sessions.status.success());
    // The server's own default is that of the Python server.
    let words = [BINARY, "--output-socket", "/tmp/claude-observatory.sock"];
    let error = user.command(&words).output().unwrap().stderr;
    assert!(
        String::from_utf8(error)
            .unwrap()
            .contains("are both /tmp/claude-observatory.sock")
    );
}

/// As after a service that was stopped by hand: the default is another socket then, and a server
/// there would get no event.
#[test]
fn where_the_hooks_send_is_where_a_server_is_started() {
    let user = User::new("");
    let claude = user.home.path().join(".claude");
    fs::create_dir(&claude).unwrap();
    let install = |file: &str, socket: &Path| {
        fs::write(claude.join(file), settings(socket, &[]).to_string()).unwrap();
    };
    let check = |options: &[&str], start: &str| {
        let mut sessions = user.command(&[&[BINARY, "sessions"], options].concat());
        let output = sessions.current_dir(user.home.path()).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            error.ends_with(&format!("To start it: {start}\n")),
            "{error}"
        );
    };
    install("settings.json", &user.socket());
    let start = |socket: &Path| format!("hooks-observatory --socket '{}'", socket.display());
    check(&[], &start(&user.socket()));
    let chosen = "/nonexistent/hooks.sock";
    check(&["--socket", chosen], &start(chosen.as_ref()));
    // The hooks of this directory send to the default socket.
    install(
        "settings.local.json",
        "/tmp/claude-observatory.sock".as_ref(),
    );
    check(&[], "hooks-observatory");
}
