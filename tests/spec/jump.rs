//! Enter on a session goes to its terminal, with real servers of tmux. A process in a pane plays
//! the client.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client_files::{Home, file};
use crate::harness::*;
use crate::screen::{GIVE, TAKE, Watch, resize};

/// A server of tmux. It is ended when it is dropped.
pub struct Tmux {
    folder: TempDir,
    pid: u32,
}

impl Tmux {
    /// Starts it with a session of this name, which runs a command.
    pub fn start(name: &str, command: &[&str]) -> Tmux {
        let mut tmux = Tmux {
            folder: folder(),
            pid: 0,
        };
        tmux.run(
            &[
                &["-f", "/dev/null", "new-session", "-d", "-s", name],
                command,
            ]
            .concat(),
        );
        // Keys that come together would be taken for pasted text, in which C-b is no prefix.
        tmux.run(&["set-option", "-g", "assume-paste-time", "0"]);
        tmux.pid = tmux
            .run(&["display-message", "-p", "#{pid}"])
            .parse()
            .unwrap();
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

    pub fn run(&self, arguments: &[&str]) -> String {
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
    fn view(&self, home: &Home, name: &str) -> String {
        let watch = watch(home, &[]);
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

    pub fn wait_for_text(&self, pane: &str, text: &str) {
        let end = Instant::now() + TIMEOUT;
        let shown = || self.run(&["capture-pane", "-p", "-t", pane]);
        while !shown().contains(text) {
            assert!(Instant::now() < end, "no {text:?} in {:?}", shown());
        }
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        // It may be stopped.
        signal(self.pid, "KILL");
    }
}

/// A client of tmux on a terminal of its own. It is killed when it is dropped.
struct Client {
    child: Child,
    keys: File,
    screen: Stream,
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
            screen,
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

/// `watch` outside of every multiplexer.
fn watch(home: &Home, arguments: &[&str]) -> Command {
    let mut watch = home.command("watch", "/nonexistent");
    for name in ["TMUX", "STY", "ZELLIJ_SESSION_NAME"] {
        watch.env_remove(name);
    }
    watch.args(arguments);
    watch
}

/// Starts it, and waits until it shows sessions.
fn view(command: &Command) -> Watch {
    let view = Watch::start(command);
    view.wait_for("waiting");
    view
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
    let view = tmux.view(&home, "view");
    tmux.cat(&["new-session", "-s", "other"]);
    // Of the two that show the view, the first one has the key.
    let clients = ["view", "view", "other"].map(|session| tmux.attach(session));
    // Who has scrolled leaves a pane in copy mode.
    tmux.run(&["copy-mode", "-t", &pane]);
    clients[0].press("\r");
    tmux.wait_for(&clients[0], &pane);
    let mode = ["display-message", "-p", "-t", &pane, "#{pane_in_mode}"];
    wait_until("the pane takes keys", || tmux.run(&mode) == "0");
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
    let view = tmux.view(&home, "view");
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

#[test]
fn outside_of_tmux_the_pane_is_shown_here_until_it_is_detached() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.cat(&["new-window", "-t", "work"]);
    let pane = tmux.cat(&["split-window", "-t", "work:1"]);
    tmux.play(&home, &pane, "s");
    // stdin is no terminal, and the variables are those of a pane that the view is not in.
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "exec \"$@\" </dev/null", "sh", BINARY])
        .args(watch(&home, &[]).get_args())
        .env("HOME", home.folder.path())
        .env("TMUX", format!("{},1,0", tmux.socket().display()))
        .env("TMUX_PANE", &pane);
    let mut view = view(&shell);
    for round in 0..2 {
        view.press("\r");
        let shown = || tmux.run(&["list-clients", "-F", "#{pane_id}"]);
        wait_until("the pane is shown", || shown() == pane);
        // Each key arrives.
        for number in 0..10 {
            let line = format!("line {number} of round {round}, and q is no command");
            view.press(&format!("{line}\r"));
            tmux.wait_for_text(&pane, &line);
        }
        let before = view.screen.text().len();
        view.press("\x02d");
        view.wait_for_more(before, TAKE);
        view.wait_for_more(before, "waiting");
    }
    view.press("?");
    view.wait_for("Help");
    assert!(!view.screen.text().contains("cannot go"));
    view.press("qq");
    assert_eq!(view.end(), Some(0));
}

#[test]
fn in_a_popup_of_tmux_the_pane_is_shown_in_the_popup() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.play(&home, "%0", "s");
    tmux.cat(&["new-session", "-s", "main"]);
    let client = tmux.attach("main");
    let name = tmux.run(&["list-clients", "-F", "#{client_name}"]);
    let view = format!(
        "HOME={} {BINARY} watch --socket /nonexistent",
        home.folder.path().display()
    );
    let mut popup = tmux.command(&["display-popup", "-c", &name, "-E", &view]);
    let mut popup = popup.spawn().unwrap();
    client
        .screen
        .wait("the view", |shown| shown.contains("waiting"));
    client.press("\r");
    let panes = || tmux.run(&["list-clients", "-F", "#{pane_id}"]);
    wait_until("both are shown", || panes().lines().count() == 2);
    assert!(panes().lines().any(|pane| pane == "%0"));
    tmux.run(&["detach-client", "-s", "work"]);
    // The first key may still go to the tmux that is being detached.
    wait_until("the popup is closed", || {
        client.press("q");
        popup.try_wait().unwrap().is_some()
    });
}

#[test]
fn a_view_that_ends_while_a_pane_is_shown_detaches_it() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.play(&home, "%0", "s");
    let mut view = view(&watch(&home, &[]));
    view.press("\r");
    let clients = || tmux.run(&["list-clients"]);
    wait_until("the pane is shown", || !clients().is_empty());
    assert!(signal(view.child.id(), "TERM"));
    // tmux discards what was written before to the terminal and is not read yet.
    wait_until("the view ends", || view.child.try_wait().unwrap().is_some());
    assert_eq!(clients(), "");
}

#[test]
fn a_view_ends_after_the_command_that_has_its_terminal() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let path = home.folder.path().join("pid");
    let command = format!(
        "trap 'sleep 1; rm {0}; exit' TERM; echo >{0}; while :; do sleep 0.1; done",
        path.display()
    );
    let mut view = view_with(&mut home, &command);
    view.press("\r");
    wait_until("the command runs", || path.exists());
    assert!(signal(view.child.id(), "TERM"));
    assert_eq!(view.end(), Some(0));
    assert!(!path.exists());
}

#[test]
fn from_another_server_the_user_is_told_where_the_session_is() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let (tmux, other) = (
        Tmux::start("here", &["cat"]),
        Tmux::start("there", &["cat"]),
    );
    other.play(&home, "%0", "s");
    let pane = tmux.view(&home, "view");
    let client = tmux.attach("view");
    client.press("\r");
    let command = format!("tmux -S {} attach-session -t %0", other.socket().display());
    tmux.wait_for_text(&pane, &command);
    assert_eq!(other.run(&["list-clients"]), "");
}

#[test]
fn the_own_pane_is_no_other_place() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    // The client is suspended, and the view runs in front of it.
    let words = watch(&home, &[]);
    let words: Vec<_> = words
        .get_args()
        .map(|word| word.display().to_string())
        .collect();
    let shell = format!(
        "echo $$; (sleep 1000 & echo $! >{0}/pid; wait) & HOME={0} {BINARY} {1}",
        home.folder.path().display(),
        words.join(" ")
    );
    let pane = tmux.run(&["new-session", "-d", "-P", "-F", "#{pane_id}", &shell]);
    let pid = home.folder.path().join("pid");
    let mut client = String::new();
    wait_until("the client runs", || {
        client = fs::read_to_string(&pid).unwrap_or_default();
        client.ends_with('\n')
    });
    let client = client.trim().parse().unwrap();
    home.write(client, &file(client, "s", "waiting"));
    tmux.wait_for_text(&pane, "waiting");
    tmux.run(&["send-keys", "-t", &pane, "Enter"]);
    tmux.wait_for_text(&pane, "The session runs in the terminal of this view");
}

#[test]
fn a_session_that_is_in_no_pane_is_nowhere_to_go() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let server = Server::start(&[]);
    let pid = home.client();
    home.write(pid, &file(pid, "a", "waiting"));
    server.post("PermissionRequest", r#"{"session_id":"b"}"#);
    // The file names a process of this machine that has ended, if the machine has a number.
    server.post("PermissionRequest", r#"{"session_id":"c"}"#);
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap();
    let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let pid = home.client();
    let mut left = file(pid, "c", "waiting");
    left["procStart"] = json!("1");
    left["pidDomain"] = json!(format!("linux:{}:{}", machine.trim(), namespace.display()));
    home.write(pid, &left);
    let unknown = "It is not known where this session runs";
    let ended = match machine.trim() {
        "" => unknown,
        _ => "has ended. y copies the command that resumes it.",
    };
    for (session, text) in [
        ("a", "is in no pane or window"),
        ("b", unknown),
        ("c", ended),
    ] {
        let mut command = home.command("watch", server.socket().to_str().unwrap());
        let view = Watch::start(command.args(["--session", session]));
        let is_ended = text == ended && ended != unknown;
        view.wait_for(if is_ended { "gone" } else { "waiting" });
        view.press("\r");
        view.wait_for(text);
    }
}

#[test]
fn a_server_of_tmux_that_is_stopped_does_not_stop_the_view() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.play(&home, "%0", "s");
    let view = view(&watch(&home, &[]));
    assert!(signal(tmux.pid, "STOP"));
    view.press("\r");
    view.wait_for("is in no pane or window");
}

#[test]
fn a_terminal_that_does_not_answer_is_given_up() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let kitty = [("KITTY_LISTEN_ON", "unix:@k"), ("KITTY_WINDOW_ID", "2")];
    let pid = client_in(&mut home, &kitty);
    home.write(pid, &file(pid, "s", "waiting"));
    script(&home.folder.path().join("kitty"), "exec sleep 1000");
    let view = view(watch(&home, &[]).env("PATH", path_with(&home)));
    view.press("\r");
    view.wait_for("It did not end in 2 seconds.");
}

/// Programs in a home directory are found first.
fn path_with(home: &Home) -> String {
    let path = std::env::var("PATH").unwrap();
    format!("{}:{path}", home.folder.path().display())
}

/// Starts a client with these variables of a terminal.
fn client_in(home: &mut Home, variables: &[(&str, &str)]) -> u32 {
    let mut cat = Command::new("cat");
    for name in ["TMUX", "ZELLIJ_SESSION_NAME", "STY", "KITTY_LISTEN_ON"] {
        cat.env_remove(name);
    }
    cat.envs(variables.iter().copied());
    cat.stdin(Stdio::piped()).stdout(Stdio::null());
    home.clients.push(cat.spawn().unwrap());
    home.clients.last().unwrap().id()
}

/// Presses Enter in a view with the variables of a terminal. The session's terminal has others.
/// Returns the view, and the command that it has run, of a program that prints its arguments.
fn command_of(program: &str, own: &[(&str, &str)], session: &[(&str, &str)]) -> (Watch, String) {
    let mut home = Home::new();
    let pid = client_in(&mut home, session);
    home.write(pid, &file(pid, "s", "waiting"));
    let folder = home.folder.path().to_owned();
    let log = folder.join("log");
    script(
        &folder.join(program),
        &format!(
            "echo $WEZTERM_UNIX_SOCKET $STY $ZELLIJ \"$@\" >>{}\necho refused >&2\nexit 7",
            log.display()
        ),
    );
    let mut command = watch(&home, &[]);
    command.env("PATH", path_with(&home));
    let view = view(command.envs(own.iter().copied()));
    view.press("\r");
    let mut ran = String::new();
    wait_until("the program has run", || {
        ran = fs::read_to_string(&log).unwrap_or_default();
        ran.ends_with('\n')
    });
    view.wait_for("refused");
    (view, ran.trim().to_owned())
}

#[test]
fn kitty_and_wezterm_are_told_to_show_the_window() {
    if tool("setsid").is_none() {
        return;
    }
    let kitty = [("KITTY_LISTEN_ON", "unix:@k"), ("KITTY_WINDOW_ID", "2")];
    let (view, ran) = command_of("kitty", &[], &kitty);
    assert_eq!(ran, "@ --to unix:@k focus-window --match id:2");
    view.wait_for("kitty @ --to unix:@k focus-window --match id:2");
    let socket = folder();
    let socket = socket.path().to_str().unwrap();
    let wezterm = [("WEZTERM_UNIX_SOCKET", socket), ("WEZTERM_PANE", "3")];
    let (_view, ran) = command_of("wezterm", &[], &wezterm);
    assert_eq!(ran, format!("{socket} cli activate-pane --pane-id 3"));
}

#[test]
fn gnu_screen_and_zellij_show_the_session_here_or_switch() {
    if tool("setsid").is_none() {
        return;
    }
    let screen = [("STY", "1.a"), ("WINDOW", "2")];
    let (_view, ran) = command_of("screen", &[("STY", "9.z")], &screen);
    assert_eq!(ran, "-x 1.a -p 2");
    let same = [("STY", "1.a"), ("WINDOW", "0")];
    let (_view, ran) = command_of("screen", &same, &screen);
    assert_eq!(ran, "1.a -S 1.a -p 2 -X select 2");
    let zellij = [("ZELLIJ_SESSION_NAME", "a b"), ("ZELLIJ_PANE_ID", "2")];
    let (_view, ran) = command_of("zellij", &[("ZELLIJ", "0")], &zellij);
    assert_eq!(ran, "attach a b");
    let same = [("ZELLIJ_SESSION_NAME", "a b"), ("ZELLIJ_PANE_ID", "1")];
    let (_view, ran) = command_of("zellij", &same, &zellij);
    assert_eq!(ran, "--session a b action focus-pane-id 2");
}

#[test]
fn a_command_for_the_user_is_quoted_and_one_that_is_missing_is_named() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let zellij = [("ZELLIJ_SESSION_NAME", "a b"), ("ZELLIJ_PANE_ID", "2")];
    let pid = client_in(&mut home, &zellij);
    home.write(pid, &file(pid, "s", "waiting"));
    let mut command = watch(&home, &[]);
    command.env("ZELLIJ_PANE_ID", "1");
    let elsewhere = view(command.env("ZELLIJ_SESSION_NAME", "c"));
    elsewhere.press("\r");
    elsewhere.wait_for("zellij attach 'a b'");
    let mut env = Command::new("env");
    env.args(["-u", "ZELLIJ_SESSION_NAME", "PATH=/nonexistent", BINARY]);
    env.args(command.get_args());
    let missing = view(env.env("HOME", home.folder.path()));
    missing.press("\r");
    missing.wait_for("cannot run zellij: No such file or directory");
}

/// A view with a session, and a command for Enter.
fn view_with(home: &mut Home, command: &str) -> Watch {
    let pid = home.client();
    home.write(pid, &file(pid, "s", "waiting"));
    view(&watch(home, &["--jump", command]))
}

#[test]
fn a_command_of_the_user_gets_the_session_and_its_failure_is_shown() {
    if are_tools_missing() {
        return;
    }
    let home = Home::new();
    let tmux = Tmux::start("work", &["cat"]);
    tmux.play(&home, "%0", "s");
    let path = home.folder.path().join("session");
    let command = format!("cat >{}; echo no such place >&2; exit 3", path.display());
    let view = view(&watch(&home, &["--jump", &command]));
    view.press("\r");
    view.wait_for("cannot go to the session: exit status: 3: no such place");
    let session = &events(&fs::read_to_string(path).unwrap())[0];
    assert_eq!(session["session_id"], "s");
    assert_eq!(session["state"], "waiting");
    assert_eq!(session["terminal"]["pane"], "%0");
    // The next key removes the message.
    let before = view.screen.text().len();
    view.press("j");
    view.wait_for_more(before, "for events");
}

#[test]
fn a_command_that_has_the_terminal_gets_its_keys_and_signals() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let command = "trap 'exit 5' INT QUIT; echo ready; while read -r line; do echo \"<$line>\"; done </dev/tty";
    let view = view_with(&mut home, command);
    // q comes too early for the command, and too late for the screen.
    view.press("\rq");
    view.wait_for("ready");
    let given = view.screen.text().rfind(GIVE).unwrap();
    // Neither is for the screen.
    resize(&view.terminal, 80, 20);
    assert!(signal(view.child.id(), "CONT"));
    view.press("q\r");
    view.wait_for("<q>");
    // It would be suspended by a shell. Here is none, so nothing is.
    view.press("\x1a");
    view.wait_for_more(given, "^Z");
    view.press("\x03");
    view.wait_for("exit status: 5");
    let shown = view.screen.text();
    let taken = given + shown[given..].find(TAKE).unwrap();
    assert_eq!(
        &shown[given + GIVE.len()..taken],
        "ready\r\nq\r\n<q>\r\n^Z^C"
    );
    let view = view_with(&mut home, command);
    view.press("\r");
    view.wait_for("ready");
    view.press("\x1c");
    view.wait_for("exit status: 5");
}

/// The kernel delivers Ctrl+C to two processes. One can end before the other has seen it.
#[test]
fn a_signal_that_is_seen_after_the_end_of_a_command_does_not_end_the_view() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let path = home.folder.path().join("sent");
    let command = format!(
        "(sleep 0.05; kill -INT $PPID; echo >{}) & exit 5",
        path.display()
    );
    let mut view = view_with(&mut home, &command);
    view.press("\r");
    wait_until("the signal is sent", || path.exists());
    view.wait_for("exit status: 5");
    view.press("?");
    view.wait_for("Help");
    view.press("qq");
    assert_eq!(view.end(), Some(0));
}

#[test]
fn a_command_that_is_suspended_suspends_the_view() {
    if tool("setsid").is_none() {
        return;
    }
    let mut home = Home::new();
    let view = view_with(&mut home, "kill -STOP $$; exit 6");
    let stat = format!("/proc/{}/stat", view.child.id());
    let is_stopped = || fs::read_to_string(&stat).unwrap().contains(") T ");
    view.press("\r");
    wait_until("the view is stopped", is_stopped);
    // As `fg` does.
    let group = format!("-{}", view.child.id());
    let kill = Command::new("kill").args(["-CONT", "--", &group]).status();
    assert!(kill.unwrap().success());
    view.wait_for("exit status: 6");
}

/// Whoever writes a record would choose what is opened.
#[test]
fn for_a_record_nothing_else_is_read() {
    if tool("setsid").is_none() {
        return;
    }
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("s.jsonl"), "{\"gitBranch\":\"main\"}\n").unwrap();
    let uid = rustix::process::getuid().as_raw();
    let event = json!({"_ts": "2026-02-09T10:30:00+00:00", "_event": "PermissionRequest",
        "_peer_uid": uid, "session_id": "s", "transcript_path": path("s.jsonl")});
    fs::write(path("events"), format!("{event}\n")).unwrap();
    let mut command = program();
    command.arg("watch").arg(path("events"));
    let jump = format!("cat >{}; exit 1", path("session").display());
    let view = view(command.args(["--jump", &jump]));
    view.press("\r");
    view.wait_for("exit status: 1");
    let session = &events(&fs::read_to_string(path("session")).unwrap())[0];
    assert_eq!(session["session_id"], "s");
    assert_eq!(session["branch"], Value::Null);
}

/// The kernel counts how often the loop has waited.
#[test]
fn a_view_that_is_not_shown_does_not_run() {
    if tool("setsid").is_none() {
        return;
    }
    let home = Home::new();
    let server = Server::start(&[]);
    // Its age is shown in seconds.
    server.post("PermissionRequest", r#"{"session_id":"s"}"#);
    let mut command = home.command("watch", server.socket().to_str().unwrap());
    let view = view(command.args(["--jump", "echo ready; read -r line </dev/tty"]));
    view.press("\r");
    view.wait_for("ready");
    let status = format!("/proc/{}/status", view.child.id());
    let waits = || {
        let status = fs::read_to_string(&status).unwrap();
        let mut lines = status.lines();
        lines
            .find(|line| line.starts_with("voluntary"))
            .unwrap()
            .to_owned()
    };
    let (mut before, mut since) = (waits(), Instant::now());
    wait_until("the loop has not run for two seconds", || {
        let now = waits();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        since.elapsed() >= Duration::from_secs(2)
    });
}
