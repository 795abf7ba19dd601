//! The screen of `watch`, on a real terminal: what it shows, and that the terminal is as before
//! when the program has ended.
//!
//! setsid(1) makes the terminal the program's controlling one, so that Ctrl+C becomes a signal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::num::NonZero;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use regex_lite::Regex;
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use serde_json::json;

use crate::client_files::{Home, file};
use crate::harness::*;
use crate::recipes::{README, blocks_of};
use crate::sessions::recording;

/// What the program writes when it takes the terminal, and when it gives it back: the title,
/// the alternate screen, the cursor.
pub const TAKE: &str = "\x1b[22;0t\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?1000h\x1b[?1006h";
pub const GIVE: &str = "\x1b[?1006l\x1b[?1000l\x1b[10000;1H\r\n\x1b[?1049l\x1b[?25h\x1b[23;0t";

/// `watch` on a terminal. It is killed when it is dropped.
pub struct Watch {
    pub child: Child,
    pub screen: Stream,
    keys: File,
    pub terminal: File,
    modes: String,
}

impl Watch {
    /// Runs a command on a terminal of its own.
    pub fn start(run: &Command) -> Watch {
        let (keys, screen, terminal) = terminal_with_keys();
        resize(&terminal, 100, 30);
        let modes = modes(&terminal);
        let copy = || terminal.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(run.get_program())
            .args(run.get_args())
            .env("TERM", "xterm-256color")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env_remove("NO_COLOR")
            .stdin(copy())
            .stdout(copy())
            .stderr(copy());
        for (name, value) in run.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn().unwrap();
        let watch = Watch {
            child,
            screen,
            keys,
            terminal,
            modes,
        };
        watch.wait_for(TAKE);
        watch
    }

    /// A view of a server, once it has shown that there are no sessions.
    fn of(server: &Server, arguments: &[&str]) -> Watch {
        let mut command = program();
        command.args(["watch", "--socket"]).arg(server.socket());
        let watch = Watch::start(command.args(arguments));
        watch.wait_for("No sessions yet");
        watch
    }

    /// setsid(1) runs the program as its own process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn press(&self, keys: &str) {
        (&self.keys).write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for text on the screen.
    pub fn wait_for(&self, text: &str) {
        self.wait_for_more(0, text);
    }

    /// Waits for text that comes after so many bytes.
    pub fn wait_for_more(&self, before: usize, text: &str) {
        self.screen.wait(text, |written| {
            let Some((old, new)) = written.split_at_checked(before) else {
                return false;
            };
            let is_new = || picture(written).contains(text) && !picture(old).contains(text);
            new.contains(text) || words(new).contains(text) || is_new()
        });
    }

    /// Waits until the program ends. The terminal must be as before.
    pub fn end(&mut self) -> Option<i32> {
        let mut status = None;
        wait_until("the program ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        self.wait_for(GIVE);
        assert_eq!(modes(&self.terminal), self.modes);
        status.unwrap().code()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It fails if the program has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a terminal shows that has got this. Of a text that was drawn over another one, only the
/// characters that differ are written.
pub fn picture(written: &str) -> String {
    let [rows, columns] = [30, 100].map(|size| NonZero::new(size).unwrap());
    let mut terminal = vt100::Parser::new(rows, columns, 0);
    terminal.process(written.as_bytes());
    terminal.screen().contents()
}

/// The text without escape sequences. The cursor jumps over spaces: then there is one.
fn words(shown: &str) -> String {
    let words = Regex::new(r"\x1b\[\d+;\d+H")
        .unwrap()
        .replace_all(shown, " ");
    let others = Regex::new(r"\x1b\[[?\d;]*[a-zA-Z]").unwrap();
    others.replace_all(&words, "").into_owned()
}

pub fn resize(terminal: &File, columns: u16, rows: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

fn modes(terminal: &File) -> String {
    format!("{:?}", tcgetattr(terminal).unwrap())
}

fn call(session: &str) -> String {
    json!({"session_id": session, "cwd": format!("/home/dev/{session}"), "tool_name": "Bash",
        "tool_use_id": "t", "tool_input": {"command": "touch made"}})
    .to_string()
}

/// Makes a session wait for a permission.
fn ask(server: &Server, session: &str) {
    server.post("PreToolUse", call(session));
    server.post("PermissionRequest", call(session));
}

#[test]
fn the_screen_shows_which_session_waits_and_the_title_counts_them() {
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let watch = Watch::of(&server, &[]);
    ask(&server, "shop");
    watch.wait_for("permission for Bash: touch made");
    watch.wait_for("\x1b]0;1 waits · hooks-observatory\x07");
    ask(&server, "api");
    watch.wait_for("\x1b]0;2 wait · hooks-observatory\x07");
    server.post("PostToolUse", call("shop"));
    server.post("SessionEnd", call("api"));
    watch.wait_for_more(
        watch.screen.text().rfind("2 wait ").unwrap(),
        "\x1b]0;hooks-observatory\x07",
    );
}

#[test]
fn after_every_end_the_terminal_is_as_before() {
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&[]);
    for key in ["q", "\x03", "\x1c"] {
        let mut watch = Watch::of(&server, &[]);
        watch.press(key);
        assert_eq!(watch.end(), Some(0), "{key:?}");
    }
    for name in ["TERM", "HUP", "INT"] {
        let mut watch = Watch::of(&server, &[]);
        assert!(signal(watch.child.id(), name));
        assert_eq!(watch.end(), Some(0), "{name}");
    }
}

#[test]
fn an_error_is_shown_after_the_screen() {
    if tool("setsid").is_none() {
        return;
    }
    let mut watch = Watch::start(program().args(["watch", "/nonexistent"]));
    assert_eq!(watch.end(), Some(1));
    let end = watch.screen.text().find(GIVE).unwrap();
    watch.wait_for_more(
        end,
        "Error: cannot open /nonexistent: No such file or directory (os error 2)\r\n",
    );
}

#[test]
fn ctrl_z_gives_the_terminal_back_until_the_program_is_continued() {
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let mut watch = Watch::of(&server, &[]);
    watch.press("\x1a");
    let stat = format!("/proc/{}/stat", watch.child.id());
    wait_until("the program is stopped", || {
        fs::read_to_string(&stat).unwrap().contains(") T ")
    });
    watch.wait_for(GIVE);
    assert_eq!(modes(&watch.terminal), watch.modes);
    let before = watch.screen.text().len();
    ask(&server, "shop");
    assert!(signal(watch.child.id(), "CONT"));
    watch.wait_for_more(before, TAKE);
    watch.wait_for_more(before, "permission for Bash: touch made");
    assert_ne!(modes(&watch.terminal), watch.modes);
    watch.press("q");
    assert_eq!(watch.end(), Some(0));
}

#[test]
fn a_resized_terminal_is_drawn_again() {
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let mut watch = Watch::of(&server, &[]);
    ask(&server, "shop");
    watch.wait_for("permission for Bash: touch made");
    // From the first key on, crossterm handles resizes too.
    watch.press("j");
    for (columns, rows, shown) in [(20, 5, "B…e"), (1, 1, "…"), (100, 30, "made")] {
        let before = watch.screen.text().len();
        resize(&watch.terminal, columns, rows);
        watch.wait_for_more(before, shown);
    }
    // A key that comes after a resize is not lost.
    watch.press("?");
    watch.wait_for("Help");
    watch.press("qq");
    assert_eq!(watch.end(), Some(0));
}

#[test]
fn the_view_goes_on_when_the_server_comes_back() {
    if tool("setsid").is_none() {
        return;
    }
    let mut server = Server::start(&[]);
    let watch = Watch::of(&server, &[]);
    server.stop();
    watch.wait_for("has ended: waiting for the next one");
    let folder = std::mem::replace(&mut server.folder, folder());
    let server = Server::start_in(folder, &[], |command| command);
    ask(&server, "shop");
    watch.wait_for("permission for Bash: touch made");
}

/// It began while no server answered, neither in /tmp nor as a service.
#[test]
fn the_view_moves_to_the_socket_of_the_service_once_it_is_there() {
    let default = "/tmp/claude-observatory.sock";
    if tool("setsid").is_none() {
        return;
    }
    if UnixStream::connect(default).is_ok() {
        return skip("a server answers at the default socket");
    }
    let runtime = folder();
    let command = |options: &[&str]| {
        let mut command = program();
        command.arg("watch").args(options);
        command.env("XDG_RUNTIME_DIR", runtime.path());
        command
    };
    let watch = Watch::start(&command(&[]));
    watch.wait_for("no server");
    let mut server = Server::start(&[]);
    let service = runtime.path().join("claude-observatory.sock");
    symlink(server.socket(), &service).unwrap();
    let service = service.display().to_string();
    watch.wait_for(&format!("connected to the server at {service}"));
    // The user has chosen the socket of this one.
    let chosen = folder();
    let socket = chosen.path().join("hooks.sock").display().to_string();
    let other = Watch::start(&command(&["--socket", &socket]));
    other.wait_for("no server");
    let _server = Server::start_in(chosen, &[], |command| command);
    other.wait_for(&format!("connected to the server at {socket}"));
    server.stop();
    let advice = format!("To start it: hooks-observatory --socket '{service}'");
    wait_until("the advice", || {
        let rows = picture(&watch.screen.text());
        let words: Vec<&str> = rows.split_whitespace().collect();
        words.join(" ").contains(&advice)
    });
}

#[test]
fn keys_come_from_the_terminal_when_the_source_is_stdin() {
    if tool("setsid").is_none() {
        return;
    }
    let folder = folder();
    let path = folder.path().join("events");
    let event = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "Stop", "session_id": "s",
        "cwd": "/home/dev/shop", "last_assistant_message": "All done."});
    fs::write(&path, format!("{event}\n")).unwrap();
    let shell = format!("cat {} | {BINARY} watch -", path.display());
    let mut watch = Watch::start(Command::new("sh").args(["-c", &shell]));
    watch.wait_for("All done.");
    watch.wait_for("the source has ended");
    watch.press("q");
    assert_eq!(watch.end(), Some(0));
}

/// The kernel counts how often the threads have waited for something.
#[test]
fn while_nothing_happens_the_program_does_not_run() {
    if tool("setsid").is_none() {
        return;
    }
    let server = Server::start(&[]);
    let watch = Watch::of(&server, &[]);
    let threads = || {
        let folder = format!("/proc/{}/task", watch.child.id());
        let threads = fs::read_dir(folder).unwrap();
        let count = |path: PathBuf| {
            // A thread can end meanwhile.
            let status = fs::read_to_string(path.join("status")).ok()?;
            let mut lines = status.lines();
            lines
                .find(|line| line.starts_with("voluntary"))
                .map(str::to_owned)
        };
        threads
            .filter_map(|thread| count(thread.unwrap().path()))
            .collect::<Vec<String>>()
    };
    // The loop, and one thread for each of its five inputs.
    wait_until("there are six threads", || threads().len() == 6);
    watch.press("j");
    let mut before = threads();
    let mut since = Instant::now();
    wait_until("nothing has run for a second", || {
        let now = threads();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        since.elapsed() >= Duration::from_secs(1)
    });
}

/// Without a signal: the terminal is not the program's controlling one.
#[test]
fn a_terminal_that_is_gone_ends_the_program() {
    let (mut master, terminal) = pty();
    let mut child = program()
        .args(["watch", "/dev/null"])
        .env("TERM", "xterm")
        .stdin(terminal.try_clone().unwrap())
        .stdout(terminal.try_clone().unwrap())
        .stderr(terminal)
        .spawn()
        .unwrap();
    master.read_exact(&mut [0; TAKE.len()]).unwrap();
    drop(master);
    let mut status = None;
    wait_until("the program ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    assert_eq!(status.unwrap().code(), Some(1));
}

#[test]
fn a_session_of_last_week_is_found_in_the_record() {
    if tool("setsid").is_none() {
        return;
    }
    let home = folder();
    let record = home.path().join("claude-events");
    fs::create_dir(&record).unwrap();
    for (day, name) in [
        ("2026-11-19", "01_print"),
        ("2026-11-26", "09c_sub_permission"),
    ] {
        let file = record.join(format!("events.{day}.jsonl"));
        fs::write(file, recording(name).concat()).unwrap();
    }
    let mut command = shell(blocks_of(README, "Past events")[0]);
    let mut watch = Watch::start(command.env("HOME", home.path()));
    watch.wait_for("3 ended");
    // A command of a session that has ended.
    watch.press("/nope.txt\r");
    watch.wait_for("filter: nope.txt");
    watch.wait_for("cat nope.txt");
    watch.press("\t\r/nope\r");
    watch.wait_for("Exit code 1");
    watch.press("qqq");
    watch.end();
}

/// With nothing but Claude Code's own files: no server, and no hooks.
#[test]
fn the_first_command_of_the_readme_shows_true_states() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let pid = home.client();
    home.write(pid, &file(pid, "a", "waiting"));
    let command = blocks_of(README, "Start")[0];
    let arguments = command
        .trim_end()
        .strip_prefix("cargo run --release -- ")
        .unwrap();
    assert_eq!(
        format!("hooks-observatory {arguments}"),
        blocks_of(README, "Watch")[0].trim_end()
    );
    let mut watch = Watch::start(&home.command(arguments, "/nonexistent"));
    watch.wait_for("1 waiting");
    watch.press("q");
    watch.end();
}
