//! Other machines: ssh puts the hook socket on them, as README.md says. ssh and sshd are real, on
//! loopback, so the other machine is this one.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::fleet::{Group, free_port};
use crate::harness::*;
use crate::recipes::{README, blocks_of};

/// The path in README.md of the socket on the other machine.
const SOCKET: &str = "/run/user/1000/claude-observatory.sock";

/// An sshd, and an `ssh` that logs in there whatever the name of the host. Dropping it ends the sshd.
struct Machine {
    sshd: Child,
    folder: TempDir,
}

impl Machine {
    /// Starts an sshd with another line in its configuration. Each test has ports of its own.
    fn start(first_port: u16, line: &str) -> Option<Machine> {
        let tools = ["sshd", "ssh", "ssh-keygen"].map(tool);
        let [Some(sshd), Some(ssh), Some(keygen)] = tools else {
            return None;
        };
        let folder = folder();
        // Other users may look for the socket.
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
        let (path, port) = (folder.path().display(), free_port(first_port));
        let mut keygen = Command::new(keygen);
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]);
        let key = folder.path().join("key");
        assert!(keygen.arg(&key).status().unwrap().success());
        let server = format!(
            "ListenAddress 127.0.0.1:{port}\nHostKey {path}/key\nAuthorizedKeysFile {path}/key.pub\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\n{line}\n"
        );
        fs::write(folder.path().join("sshd_config"), server).unwrap();
        let client = format!(
            "HostName 127.0.0.1\nPort {port}\nIdentityFile {path}/key\nIdentitiesOnly yes\n\
             IdentityAgent none\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\n\
             LogLevel ERROR\n"
        );
        fs::write(folder.path().join("ssh_config"), client).unwrap();
        let command = format!("exec {} -F {path}/ssh_config \"$@\"", ssh.display());
        script(&folder.path().join("ssh"), &command);
        let mut sshd = Machine::sshd(&sshd)?;
        sshd.args(["-D", "-e", "-f"]).stderr(Stdio::piped());
        let mut sshd = sshd.arg(folder.path().join("sshd_config")).spawn().unwrap();
        let log = Stream::collect(sshd.stderr.take());
        let machine = Machine { sshd, folder };
        log.wait("sshd", |text| text.contains("Server listening"));
        Some(machine)
    }

    /// The command of an sshd. Root's wants a folder that Debian creates when its service starts:
    /// here it is in a mount namespace.
    fn sshd(program: &Path) -> Option<Command> {
        let is_root = rustix::process::getuid().is_root();
        if !is_root || Path::new("/run/sshd").exists() {
            return Some(Command::new(program));
        }
        let script = "mount -t tmpfs none /run && mkdir -m 755 /run/sshd && exec \"$@\"";
        let words = ["--mount", "sh", "-c", script, "sh"];
        let mut unshare = Command::new("unshare");
        let works = unshare.args(words).arg("true").status();
        if !works.is_ok_and(|status| status.success()) {
            skip("unshare may not create a mount namespace");
            return None;
        }
        unshare = Command::new("unshare");
        unshare.args(words).arg(program);
        Some(unshare)
    }

    /// The socket on a host.
    fn socket(&self, host: &str) -> PathBuf {
        let folder = self.folder.path().join(host);
        fs::create_dir_all(&folder).unwrap();
        folder.join("claude-observatory.sock")
    }

    /// A command of README.md for a host, with the socket there.
    fn command(&self, number: usize, host: &str) -> String {
        let socket = self.socket(host);
        let command = blocks_of(README, "Other machines")[number];
        let command = command.replace(SOCKET, socket.to_str().unwrap());
        command.replace("devbox", host)
    }

    /// Runs the loop of README.md between a host and a server's socket, and waits for the link.
    fn link(&self, host: &str, socket: &Path) -> Group {
        let command = self
            .command(0, host)
            .replace(
                "${XDG_RUNTIME_DIR:?}/claude-observatory.sock",
                socket.to_str().unwrap(),
            )
            .replace("sleep 5", "sleep 0.1");
        let path = self.folder.path().display();
        let group = Group::start(&format!("PATH={path}:$PATH\n{command}"));
        wait_until("the link is there", || is_taken(&self.socket(host)));
        group
    }

    /// Installs the hooks on a host with the command of README.md. Returns the settings.
    fn install(&self, host: &str) -> Value {
        let home = folder();
        let command = self.command(1, host);
        let command = command
            .trim_end()
            .replace("--host", &format!("--host {host}"));
        let mut shell = shell(&format!("{command} --yes --client 2.1.332"));
        assert!(shell.env("HOME", home.path()).status().unwrap().success());
        let settings = fs::read(home.path().join(".claude/settings.json"));
        serde_json::from_slice(&settings.unwrap()).unwrap()
    }

    /// Runs ssh until it ends.
    fn ssh(&self, arguments: &[&str]) -> Output {
        let mut ssh = Command::new(self.folder.path().join("ssh"));
        ssh.args(arguments).stdin(Stdio::null()).output().unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

/// What `send -v` says of a socket.
fn sent(socket: &Path, payload: &str) -> String {
    let mut send = command(socket, &["send", "Probe", "-v"]);
    let mut child = send.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(payload.as_bytes()).unwrap();
    drop(stdin);
    String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap()
}

fn is_taken(socket: &Path) -> bool {
    sent(socket, "").starts_with("Probe was taken")
}

/// The process that the server's last event came from.
fn ssh_of(server: &Server) -> u32 {
    let printed = server.stdout.wait("an event", |text| text.ends_with('\n'));
    let pid = &events(printed.lines().last().unwrap())[0]["_peer_pid"];
    pid.as_u64().unwrap().try_into().unwrap()
}

/// The rows that `sessions` prints for a socket, without the ages.
fn rows(socket: &Path) -> Vec<String> {
    let output = program()
        .args(["sessions", "--socket"])
        .arg(socket)
        .output();
    let table = String::from_utf8(output.unwrap().stdout).unwrap();
    let row = |line: &str| {
        let words = line.split_whitespace().enumerate();
        let words = words.filter(|(number, _)| *number != 1);
        words.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
    };
    let mut rows: Vec<String> = table.lines().skip(1).map(row).collect();
    rows.sort();
    rows
}

#[test]
fn hooks_of_two_machines_arrive_through_ssh_and_each_names_its_host() {
    let Some(machine) = Machine::start(20_000, "") else {
        return;
    };
    let server = Server::start(&[]);
    let hosts = ["alpha", "beta"];
    let _links = hosts.map(|host| machine.link(host, &server.socket()));
    for host in hosts {
        let settings = machine.install(host);
        let payload = json!({"session_id": host, "cwd": "/home/dev/shop", "prompt": "go"});
        // A shell that sshd has started runs the hook.
        let hook = hook_command(&settings, "UserPromptSubmit");
        let output = machine.ssh(&[host, &format!("echo '{payload}' | {hook}")]);
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{output:?}"
        );
    }
    let expected = [
        "working alpha shop alpha 0 0 thinking",
        "working beta shop beta 0 0 thinking",
    ];
    assert_eq!(rows(&server.socket()), expected);
    // For the server, every event is from the ssh here.
    let name = fs::read_to_string(format!("/proc/{}/comm", ssh_of(&server)));
    assert_eq!(name.unwrap(), "ssh\n");

    // Who can connect there can read everything here, and that is only the user, and root.
    let socket = machine.socket("alpha");
    assert_eq!(rows(&socket), expected);
    let file = fs::metadata(&socket).unwrap();
    let own = rustix::process::getuid().as_raw();
    assert_eq!((file.mode() & 0o777, file.uid()), (0o600, own));
}

/// The user `daemon` of Debian: ssh wants one with a name.
const DAEMON: u32 = 1;

#[test]
fn another_user_cannot_connect_there_and_one_who_runs_ssh_here_gives_nothing_to_read() {
    if !is_root() {
        return;
    }
    let Some(machine) = Machine::start(26_000, "") else {
        return;
    };
    let server = Server::start(&["--mode", "0666"]);
    let _link = machine.link("alpha", &server.socket());
    let mut send = command(&machine.socket("alpha"), &["send", "Probe", "-v"]);
    let stderr = send.uid(65533).output().unwrap().stderr;
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.contains("may not write to the socket"), "{stderr}");

    fs::set_permissions(&server.folder, Permissions::from_mode(0o755)).unwrap();
    let (folder, socket) = (machine.folder.path().display(), machine.socket("beta"));
    let key = machine.folder.path().join("key");
    chown(&key, Some(DAEMON), None).unwrap();
    let _link = Group::start(&format!(
        "exec setpriv --reuid={DAEMON} --clear-groups {folder}/ssh -l root -N -R {}:{} beta",
        socket.display(),
        server.socket().display()
    ));
    wait_until("the link is there", || is_taken(&socket));
    let mut sessions = program();
    sessions.args(["sessions", "--socket"]).arg(&socket);
    let stderr = String::from_utf8(sessions.output().unwrap().stderr).unwrap();
    assert!(
        stderr.contains("only its own user and root may read"),
        "{stderr}"
    );
}

#[test]
fn a_machine_that_is_not_trusted_reads_nothing_but_its_own_server() {
    let Some(machine) = Machine::start(21_000, "") else {
        return;
    };
    let session = |id: &str| format!("{{\"session_id\":\"{id}\",\"cwd\":\"/home/dev/shop\"}}");
    let private = Server::start(&[]);
    private.post("SessionStart", session("private"));
    // The other server, as README.md starts it.
    let folder = folder();
    let command = machine
        .command(2, "alpha")
        .replace("hooks-observatory", BINARY);
    let runtime = folder.path().display();
    let _server = Group::start(&format!("XDG_RUNTIME_DIR={runtime}\n{command}"));
    let own = folder.path().join("alpha.sock");
    wait_until("the other server listens", || is_taken(&own));
    let _link = machine.link("alpha", &own);
    let socket = machine.socket("alpha");
    exchange(
        UnixStream::connect(&socket).unwrap(),
        &request("/?event=SessionStart", session("shared")),
    );
    assert_eq!(rows(&socket), ["idle shop shared 0 0"]);
}

#[test]
fn a_link_that_hangs_costs_each_hook_a_second_and_one_that_has_ended_nothing() {
    let Some(machine) = Machine::start(22_000, "") else {
        return;
    };
    let server = Server::start(&[]);
    let link = machine.link("alpha", &server.socket());
    let socket = machine.socket("alpha");
    let payload = "{\"session_id\":\"s\"}";
    sent(&socket, payload);
    let ssh = ssh_of(&server);

    // For ten seconds.
    let before = server.stdout.text().lines().count();
    signal(ssh, "STOP");
    for _ in 0..10 {
        let start = Instant::now();
        let said = sent(&socket, payload);
        assert!(said.contains("within a second"), "{said}");
        // Without a deadline it would wait for the end of the link.
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    signal(ssh, "CONT");
    // sshd has kept what the hooks wrote.
    server.stdout.lines(before + 10);

    // The loop shall not start another one yet.
    signal(link.0.id(), "STOP");
    signal(ssh, "KILL");
    wait_until("the link has ended", || {
        sent(&socket, "").contains("its server has ended")
    });
    assert!(socket.exists(), "sshd leaves its file");
    signal(link.0.id(), "CONT");
    wait_until("the link is there again", || is_taken(&socket));
    assert_ne!(ssh_of(&server), ssh);

    // The session has had hooks ten seconds apart, and none of these processes is its own.
    let output = program()
        .args(["sessions", "--json", "--socket"])
        .arg(server.socket())
        .output();
    let session = &events(&String::from_utf8(output.unwrap().stdout).unwrap())[0];
    assert_eq!(
        (&session["session_id"], &session["pid"]),
        (&"s".into(), &Value::Null)
    );
    assert!(!server.stdout.text().contains("_gone"));
}

#[test]
fn an_sshd_that_asks_whether_ssh_is_alive_ends_a_link_that_hangs() {
    let lines = "ClientAliveInterval 1\nClientAliveCountMax 1";
    let Some(machine) = Machine::start(25_000, lines) else {
        return;
    };
    let server = Server::start(&[]);
    let link = machine.link("alpha", &server.socket());
    for process in [link.0.id(), ssh_of(&server)] {
        signal(process, "STOP");
    }
    wait_until("the link has ended", || {
        sent(&machine.socket("alpha"), "").contains("its server has ended")
    });
}

/// Without the `rm` of the loop.
#[test]
fn a_file_that_an_earlier_link_left_ends_ssh_unless_sshd_may_replace_it() {
    let (Some(machine), Some(replacing)) = (
        Machine::start(23_000, ""),
        Machine::start(24_000, "StreamLocalBindUnlink yes"),
    ) else {
        return;
    };
    let server = Server::start(&[]);
    let forward = |machine: &Machine| {
        let socket = machine.socket("alpha");
        drop(UnixListener::bind(&socket).unwrap());
        format!("{}:{}", socket.display(), server.socket().display())
    };
    // The option of the client is for -L.
    let options = [
        "-N",
        "-oExitOnForwardFailure=yes",
        "-oStreamLocalBindUnlink=yes",
        "-R",
    ];
    let output = machine.ssh(&[&options[..], &[&forward(&machine), "alpha"]].concat());
    assert_eq!(output.status.code(), Some(255));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("remote port forwarding failed"), "{stderr}");

    let forward = forward(&replacing);
    let ssh = replacing.folder.path().join("ssh");
    let words = [&options[..3], &["-R", &forward, "alpha"]].concat();
    let _link = Group::start(&format!("exec {} {}", ssh.display(), words.join(" ")));
    wait_until("the link is there", || is_taken(&replacing.socket("alpha")));
}
