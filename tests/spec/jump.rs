//! Enter on a session goes to its terminal, with real servers of tmux. A process in a pane plays
//! the client.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command};

use tempfile::TempDir;

use crate::client_files::{Home, file};
use crate::harness::*;

/// A server of tmux. It is ended when it is dropped.
struct Tmux {
    folder: TempDir,
}

impl Tmux {
    /// Starts it with a session of this name, which runs a command.
    fn start(name: &str, command: &[&str]) -> Tmux {
        let tmux = Tmux { folder: folder() };
        tmux.run(
            &[
                &["-f", "/dev/null", "new-session", "-d", "-s", name],
                command,
            ]
            .concat(),
        );
        tmux
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("tmux")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut tmux = Command::new("tmux");
        tmux.env_remove("TMUX").arg("-S").arg(self.socket());
        tmux.args(arguments);
        tmux
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Opens a session, a window or a pane, in which `cat` plays a client. Returns the pane.
    fn cat(&self, open: &[&str]) -> String {
        self.run(&[open, &["-d", "-P", "-F", "#{pane_id}", "cat"]].concat())
    }

    /// Makes the program of a pane the client of a session.
    fn play(&self, home: &Home, pane: &str, session: &str) {
        let pid = self.run(&["display-message", "-p", "-t", pane, "#{pane_pid}"]);
        let pid = pid.parse().unwrap();
        home.write(pid, &file(pid, session, "waiting"));
    }

    fn attach(&self, session: &str) -> Client {
        let client = Client::start(&self.command(&["attach-session", "-t", session]));
        wait_until("the client is attached", || {
            self.shown_by(&client).is_some()
        });
        client
    }

    /// The pane that a client shows.
    fn shown_by(&self, client: &Client) -> Option<String> {
        let format = "#{client_pid} #{pane_id}";
        let clients = self.run(&["list-clients", "-F", format]);
        let pid = format!("{} ", client.child.id());
        let pane = clients.lines().find_map(|line| line.strip_prefix(&pid));
        pane.map(str::to_owned)
    }

    fn wait_for(&self, client: &Client, pane: &str) {
        wait_until("the pane is shown", || {
            self.shown_by(client).as_deref() == Some(pane)
        });
    }

    /// Runs `watch` in a session of this name, and waits until it shows sessions. Returns its pane.
    fn watch(&self, home: &Home, name: &str) -> String {
        let watch = home.command("watch", "/nonexistent");
        let mut words = vec!["env".to_owned(), "-u".into(), "CLAUDE_CONFIG_DIR".into()];
        for (name, value) in watch.get_envs() {
            let value = value.map(|value| format!("{}={}", name.display(), value.display()));
            words.extend(value);
        }
        words.push(BINARY.into());
        words.extend(watch.get_args().map(|word| word.display().to_string()));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let open = ["new-session", "-d", "-s", name, "-P", "-F", "#{pane_id}"];
        let pane = self.run(&[&open, &*words].concat());
        self.wait_for_text(&pane, "waiting");
        pane
    }

    fn wait_for_text(&self, pane: &str, text: &str) {
        wait_until(text, || {
            self.run(&["capture-pane", "-p", "-t", pane]).contains(text)
        });
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It fails if the server has ended.
        let _ = self.command(&["kill-server"]).output();
    }
}

/// A client of tmux on a terminal of its own. It is killed when it is dropped.
struct Client {
    child: Child,
    keys: File,
    _screen: Stream,
}

impl Client {
    fn start(tmux: &Command) -> Client {
        let (keys, screen, terminal) = terminal_with_keys();
        let copy = || terminal.try_clone().unwrap();
        let mut command = Command::new("setsid");
        command
            .arg("--ctty")
            .arg(tmux.get_program())
            .args(tmux.get_args())
            .env("TERM", "xterm-256color")
            .env_remove("TMUX")
            .stdin(copy())
            .stdout(copy())
            .stderr(copy());
        Client {
            child: command.spawn().unwrap(),
            keys,
            _screen: screen,
        }
    }

    fn press(&self, keys: &str) {
        (&self.keys).write_all(keys.as_bytes()).unwrap();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // It fails if the client has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn are_tools_missing() -> bool {
    tool("tmux").is_none() || tool("setsid").is_none()
}

#[test]
fn inside_of_tmux_enter_takes_this_client_to_the_pane_and_no_other() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.cat(&["new-window", "-t", "work"]);
    let pane = tmux.cat(&["split-window", "-t", "work:1"]);
    tmux.play(&home, &pane, "s");
    let view = tmux.watch(&home, "view");
    tmux.cat(&["new-session", "-s", "other"]);
    // Of the two that show the view, the first one has the key.
    let clients = ["view", "view", "other"].map(|session| tmux.attach(session));
    clients[0].press("\r");
    tmux.wait_for(&clients[0], &pane);
    assert_eq!(tmux.shown_by(&clients[1]).unwrap(), view);
    // Back, and to a pane that has moved behind one that is zoomed.
    tmux.run(&["join-pane", "-d", "-s", &pane, "-t", "work:0"]);
    tmux.run(&["resize-pane", "-Z", "-t", "work:0.0"]);
    clients[1].press("\r");
    tmux.wait_for(&clients[1], &pane);
    assert_ne!(tmux.shown_by(&clients[2]).unwrap(), pane);
}

/// Keys can come from a program too.
#[test]
fn without_a_client_that_shows_the_view_no_other_one_is_taken() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.play(&home, "%0", "s");
    let view = tmux.watch(&home, "view");
    tmux.cat(&["new-session", "-s", "other"]);
    let client = tmux.attach("other");
    let shown = tmux.shown_by(&client);
    tmux.run(&["send-keys", "-t", &view, "Enter"]);
    tmux.wait_for_text(&view, "No client of tmux shows this view.");
    assert_eq!(tmux.shown_by(&client), shown);
    // Enter closes what it has opened.
    tmux.run(&["send-keys", "-t", &view, "Enter"]);
    tmux.wait_for_text(&view, "PROJECT");
}
