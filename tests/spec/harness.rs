//! Shared by all tests: servers, each in its own temporary folder, clients, readers, and
//! waiting for conditions instead of sleeping.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

#[path = "../support/skips.rs"]
mod skips;

pub const BINARY: &str = env!("CARGO_BIN_EXE_hooks-observatory");
/// How long a condition may take to become true. Only a test that fails waits this long, so
/// it can be generous to slow machines.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A running server, and the temporary folder with its sockets. Dropping it kills the server
/// and removes the folder.
pub struct Server {
    pub child: Child,
    pub folder: TempDir,
    pub stdout: Stream,
    pub stderr: Stream,
}

/// The two kinds of readers. The same rules hold for both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Of the output socket.
    Output,
    /// Of `GET /events`.
    Live,
}

pub const KINDS: [Kind; 2] = [Kind::Output, Kind::Live];

/// The head of the response to `GET /events`, from a server with this name.
pub fn events_head(server: &str, first: u64, live: u64) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\
         Observatory-Server: {server}\r\nObservatory-First: {first}\r\n\
         Observatory-Live: {live}\r\n\r\n"
    )
}

/// Where the events of a reader begin.
pub struct Beginning {
    /// The name of the server.
    pub server: String,
    pub first: u64,
    pub live: u64,
}

/// Reads the head of the response to `GET /events`.
pub fn read_events_head(reader: &mut UnixStream) -> Beginning {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let field = |name: &str| {
        let start = head.find(name).expect(&head) + name.len();
        head[start..].lines().next().unwrap().to_owned()
    };
    let beginning = Beginning {
        server: field("Observatory-Server: "),
        first: field("Observatory-First: ").parse().unwrap(),
        live: field("Observatory-Live: ").parse().unwrap(),
    };
    let Beginning {
        server,
        first,
        live,
    } = &beginning;
    assert_eq!(head, events_head(server, *first, *live));
    assert!(server.len() == 16 && server.bytes().all(|byte| byte.is_ascii_hexdigit()));
    beginning
}

impl Server {
    /// Starts `hooks-observatory --socket FOLDER/hooks.sock ARGUMENTS…`, and waits until it
    /// accepts clients.
    pub fn start(arguments: &[&str]) -> Server {
        Server::start_with(arguments, |command| command)
    }

    /// Starts a server with an output socket, `FOLDER/output.sock`.
    pub fn with_readers(arguments: &[&str]) -> Server {
        let folder = folder();
        let output = folder.path().join("output.sock");
        let arguments = [&["--output-socket", output.to_str().unwrap()], arguments].concat();
        Server::start_in(folder, &arguments, |command| command)
    }

    /// Starts a server whose command is modified by `prepare`.
    pub fn start_with(
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Server {
        Server::start_in(folder(), arguments, prepare)
    }

    /// Starts a server in an existing folder.
    pub fn start_in(
        folder: TempDir,
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Server {
        let mut command = command(&folder.path().join("hooks.sock"), arguments);
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let stdout = Stream::collect(child.stdout.take());
        let stderr = Stream::collect(child.stderr.take());
        let mut server = Server {
            child,
            folder,
            stdout,
            stderr,
        };
        wait_until("the server listens", || {
            let status = server.child.try_wait().unwrap();
            assert!(
                status.is_none(),
                "the server exited: {}",
                server.stderr.to_end()
            );
            UnixStream::connect(server.socket()).is_ok()
        });
        // After this response, the server has also closed the connection above.
        assert_eq!(server.health(), "200");
        server
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("hooks.sock")
    }

    pub fn output_socket(&self) -> PathBuf {
        self.folder.path().join("output.sock")
    }

    pub fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).unwrap()
    }

    /// Posts an event. The response must be 200.
    pub fn post(&self, event: &str, body: impl AsRef<[u8]>) {
        let response = exchange(
            self.connect(),
            &request(&format!("/hook?event={event}"), body),
        );
        assert_eq!(response, OK);
    }

    /// Posts an event for each number.
    pub fn post_numbered(&self, numbers: std::ops::Range<i64>) {
        for n in numbers {
            self.post("Stop", format!("{{\"n\":{n}}}"));
        }
    }

    /// Sends bytes, shuts down writing, and returns everything that the server sends.
    pub fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        exchange(self.connect(), bytes.as_ref())
    }

    /// Connects a reader, and waits until the server has accepted it.
    pub fn reader(&self) -> UnixStream {
        let accepted = || {
            let stderr = self.stderr.text();
            stderr.matches("Output reader connected").count()
        };
        let before = accepted();
        let reader = UnixStream::connect(self.output_socket()).unwrap();
        wait_until("the reader is accepted", || accepted() > before);
        reader
    }

    /// Connects a reader of live events, and reads the head of the response. `query` is empty,
    /// or such as `"?replay=all"`.
    pub fn live_reader(&self, query: &str) -> UnixStream {
        self.live_reader_from(query).0
    }

    /// The same, with where its events begin.
    pub fn live_reader_from(&self, query: &str) -> (UnixStream, Beginning) {
        let mut reader = self.connect();
        let request = format!("GET /events{query} HTTP/1.1\r\n\r\n");
        reader.write_all(request.as_bytes()).unwrap();
        let beginning = read_events_head(&mut reader);
        (reader, beginning)
    }

    /// Connects a reader of this kind. It gets every event from now on.
    pub fn reader_of(&self, kind: Kind) -> UnixStream {
        match kind {
            Kind::Output => self.reader(),
            Kind::Live => self.live_reader(""),
        }
    }

    /// Lets other users reach the sockets.
    pub fn open_folder(&self) {
        let mode = PermissionsExt::from_mode(0o755);
        fs::set_permissions(self.folder.path(), mode).unwrap();
    }

    /// Sends a signal, such as `"TERM"`.
    pub fn signal(&self, name: &str) {
        assert!(signal(self.child.id(), name));
    }

    /// Waits until the server exits.
    pub fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the server exits", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Stops the server with SIGTERM. It must exit with success.
    pub fn stop(&mut self) {
        self.signal("TERM");
        assert!(
            self.wait_for_exit().success(),
            "stderr: {}",
            self.stderr.text()
        );
    }

    /// The status of the response to `GET /health`.
    pub fn health(&self) -> String {
        status(&self.exchange("GET /health HTTP/1.1\r\n\r\n")).to_owned()
    }

    /// The server's resident memory, in kB.
    pub fn resident_kb(&self) -> u64 {
        self.status_kb("VmRSS:")
    }

    /// The most memory that has been resident, in kB.
    pub fn peak_kb(&self) -> u64 {
        self.status_kb("VmHWM:")
    }

    fn status_kb(&self, name: &str) -> u64 {
        status_kb(self.child.id(), name)
    }

    /// The CPU time that the server has used, in the kernel's ticks of 10 ms.
    pub fn cpu_ticks(&self) -> u64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit(')').next().unwrap().split_whitespace();
        fields
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap())
            .sum()
    }

    /// The number of descriptors that the server has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails if the test has waited for the exit.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A value in kB of `/proc/PID/status`.
pub fn status_kb(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A server whose stdout is a file: an event is there before its 200.
pub struct Printer {
    pub server: Server,
    file: fs::File,
}

impl Printer {
    pub fn new(arguments: &[&str]) -> Printer {
        Printer::new_with(arguments, |command| command)
    }

    /// A printer whose command is modified by `prepare`.
    pub fn new_with(
        arguments: &[&str],
        prepare: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Printer {
        let folder = folder();
        let path = folder.path().join("events");
        let out = fs::File::create(&path).unwrap();
        let server = Server::start_in(folder, arguments, |command| prepare(command).stdout(out));
        Printer {
            server,
            file: fs::File::open(path).unwrap(),
        }
    }

    /// Posts a body, and returns what the server prints for it.
    pub fn print(&mut self, target: &str, body: impl AsRef<[u8]>) -> String {
        assert_eq!(self.server.exchange(request(target, body)), OK);
        let mut printed = String::new();
        self.file.read_to_string(&mut printed).unwrap();
        printed
    }
}

/// The hooks of a recorded session, in order: the event's name and the body of each.
pub fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/payloads");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert_eq!(files.len(), 38);
    let event = |file: &Path| {
        let name = file.file_stem().unwrap().to_str().unwrap();
        name.split_once('-').unwrap().1.to_owned()
    };
    files
        .iter()
        .map(|file| (event(file), fs::read(file).unwrap()))
        .collect()
}

/// The program, with none of the client's files: those of the user who runs the tests are real.
pub fn program() -> Command {
    let mut command = Command::new(BINARY);
    without_client(&mut command);
    command
}

fn without_client(command: &mut Command) {
    command
        .env("HOME", "/nonexistent")
        .env_remove("CLAUDE_CONFIG_DIR")
        // A user may have the service, and then has its socket there.
        .env_remove("XDG_RUNTIME_DIR");
}

/// The command of the program with this hook socket. stdout and stderr are pipes, and the
/// environment variables that would influence the program are unset.
pub fn command(socket: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    let (subcommand, options) = match arguments {
        [name @ ("send" | "hooks"), options @ ..] => (Some(name), options),
        options => (None, options),
    };
    command.args(subcommand);
    command.arg("--socket").arg(socket).args(options);
    piped(command)
}

fn piped(mut command: Command) -> Command {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
        .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
        .env_remove("NO_COLOR")
        .env_remove("RUST_LOG");
    command
}

/// Makes `wrapper` start the command, which is appended to its arguments.
pub fn run_under<'c>(command: &'c mut Command, wrapper: &[&str]) -> &'c mut Command {
    let mut outer = Command::new(wrapper[0]);
    without_client(&mut outer);
    outer
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args());
    *command = piped(outer);
    command
}

/// Runs the program with exactly these arguments until it exits.
pub fn run(arguments: &[&str]) -> Output {
    let mut command = program();
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("CLAUDE_UNIX_HOOK_WATCHER");
    command.output().unwrap()
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";

/// A POST request as curl writes it.
pub fn request(target: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!(
        "POST {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The status of a response.
pub fn status(response: &str) -> &str {
    response.split(' ').nth(1).unwrap_or_default()
}

/// Sends bytes, shuts down writing, and returns everything that the server sends.
pub fn exchange(mut stream: UnixStream, bytes: &[u8]) -> String {
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    // They fail if the server has refused the request and closed the connection.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

/// Sends a signal to a process. Returns false if there is no such process.
pub fn signal(pid: u32, name: &str) -> bool {
    let kill = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    kill.unwrap().success()
}

/// Whether a process sleeps, according to the kernel.
pub fn is_asleep(pid: u32) -> bool {
    process_state(pid) == 'S'
}

/// The state of a process: the letter in proc_pid_stat(5).
pub fn process_state(pid: u32) -> char {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = stat.rsplit(") ").next().unwrap();
    fields.chars().next().unwrap()
}

/// The folder of the small servers `step1` to `step5`. Cargo builds them for `cargo test`, but not
/// for a single target.
pub fn steps_folder() -> PathBuf {
    let folder = Path::new(BINARY).with_file_name("examples");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/steps");
    let changed_at = |path: PathBuf| fs::metadata(path).and_then(|file| file.modified());
    for number in 1..=5 {
        let name = format!("step{number}");
        let source = changed_at(sources.join(&name).with_extension("rs")).unwrap();
        let is_current = changed_at(folder.join(name)).is_ok_and(|built| built >= source);
        assert!(is_current, "first run: cargo build --examples");
    }
    folder
}

/// Runs a hook's command as Claude Code does: in a shell, with the payload on stdin. It must
/// succeed and print nothing.
pub fn run_hook(command: &str, payload: &[u8]) {
    let mut child = shell(command).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(payload).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command}");
    assert_eq!(output.stdout, b"", "Claude Code would read this stdout");
    assert_eq!(output.stderr, b"", "{command}");
}

/// A shell that runs a command of README.md. The tested program is in its PATH.
pub fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .env("PATH", path_with_program())
        .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    without_client(&mut shell);
    shell
}

/// A PATH that begins with the folder of the tested program.
pub fn path_with_program() -> OsString {
    let mut path = OsString::from(Path::new(BINARY).parent().unwrap());
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    path
}

/// Writes a script that can be run. Another process writes it: a program that this one has
/// open for writing cannot be run, and a child of another test may inherit the descriptor.
pub fn script(path: &Path, lines: &str) {
    let write = "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod +x \"$1\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", write, "sh"]).arg(path).arg(lines);
    assert!(shell.status().unwrap().success());
}

/// The settings that the subcommand `hooks` prints for a socket, and for the newest client
/// in its table of events.
pub fn settings(socket: &Path, arguments: &[&str]) -> Value {
    let arguments = [&["hooks", "--client", "2.1.332"], arguments].concat();
    let output = command(socket, &arguments).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The command in the settings for an event.
pub fn hook_command<'s>(settings: &'s Value, event: &str) -> &'s str {
    let command = settings["hooks"][event][0]["hooks"][0]["command"].as_str();
    command.unwrap_or_else(|| panic!("no {event} in {settings}"))
}

/// Reads until `is_complete` returns true for all that was read.
pub fn read_until(reader: &mut UnixStream, mut is_complete: impl FnMut(&str) -> bool) -> String {
    reader.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut text = Vec::new();
    let mut buffer = vec![0; 1 << 16];
    while !is_complete(&String::from_utf8_lossy(&text)) {
        let count = reader.read(&mut buffer).unwrap();
        assert!(
            count > 0,
            "the stream ended after {:?}",
            String::from_utf8_lossy(&text)
        );
        text.extend(&buffer[..count]);
    }
    String::from_utf8(text).unwrap()
}

/// Reads events until there are `count` lines.
pub fn read_lines(reader: &mut UnixStream, count: usize) -> Vec<Value> {
    events(&read_until(reader, |text| {
        text.lines().count() >= count && text.ends_with('\n')
    }))
}

/// Parses JSON lines.
pub fn events(text: &str) -> Vec<Value> {
    let event = |line: &str| {
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {:.200}…", line))
    };
    text.lines().map(event).collect()
}

/// The values of a field. Events without the field are left out.
pub fn column(events: &[Value], field: &str) -> Vec<i64> {
    events
        .iter()
        .filter_map(|event| event[field].as_i64())
        .collect()
}

/// How many events a reader received, and how many it missed according to the notices.
pub fn tally(text: &str) -> (usize, u64) {
    let (notices, received): (Vec<_>, Vec<_>) = events(text)
        .into_iter()
        .partition(|event| event["_event"] == "_dropped");
    (
        received.len(),
        notices
            .iter()
            .map(|event| event["_dropped"].as_u64().unwrap())
            .sum(),
    )
}

/// A listener with a backlog of 1.
pub fn listener_with_short_backlog(path: &Path) -> UnixListener {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
    listen(&listener, 1).unwrap();
    listener.into()
}

/// Connects without blocking. A full backlog is an error.
pub fn connect_without_waiting(path: &Path) -> io::Result<mio::net::UnixStream> {
    mio::net::UnixStream::connect(path)
}

/// Waits until a condition is true. Panics after [`TIMEOUT`].
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < end, "timed out: waiting until {what}");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The output of a program, collected by a thread that reads it from a pipe.
#[derive(Clone)]
pub struct Stream(Arc<(Mutex<Collected>, Condvar)>);

#[derive(Default)]
struct Collected {
    bytes: Vec<u8>,
    ended: bool,
}

impl Stream {
    pub fn collect(pipe: Option<impl Read + Send + 'static>) -> Stream {
        let stream = Stream(Arc::default());
        let collecting = stream.clone();
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            let mut pipe = pipe;
            while let Some(Ok(count @ 1..)) = pipe.as_mut().map(|pipe| pipe.read(&mut buffer)) {
                collecting
                    .0
                    .0
                    .lock()
                    .unwrap()
                    .bytes
                    .extend(&buffer[..count]);
                collecting.0.1.notify_all();
            }
            collecting.0.0.lock().unwrap().ended = true;
            collecting.0.1.notify_all();
        });
        stream
    }

    /// Everything that was read so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
    }

    /// Waits until `is_complete` returns true for all that was read, and returns that.
    pub fn wait(&self, what: &str, is_complete: impl Fn(&str) -> bool) -> String {
        self.wait_while(what, |collected| {
            !is_complete(&String::from_utf8_lossy(&collected.bytes))
        })
    }

    /// Waits for the end of the stream, and returns everything.
    pub fn to_end(&self) -> String {
        self.wait_while("the end of the stream", |collected| !collected.ended)
    }

    /// Waits until there are `count` lines, and returns the events.
    pub fn lines(&self, count: usize) -> Vec<Value> {
        events(&self.wait(&format!("{count} lines"), |text| {
            text.lines().count() >= count && text.ends_with('\n')
        }))
    }

    fn wait_while(&self, what: &str, waiting: impl Fn(&Collected) -> bool) -> String {
        let (collected, changed) = &*self.0;
        let guard = collected.lock().unwrap();
        let (guard, timeout) = changed
            .wait_timeout_while(guard, TIMEOUT, |collected| waiting(collected))
            .unwrap();
        let text = String::from_utf8(guard.bytes.clone()).unwrap();
        assert!(
            !timeout.timed_out(),
            "timed out: waiting for {what} after {text:?}"
        );
        text
    }
}

/// A terminal of unknown size: what is written to it, and its slave side for a child.
pub fn terminal() -> (Stream, fs::File) {
    let (_, screen, slave) = terminal_with_keys();
    (screen, slave)
}

/// The same, and a file that keys are written to.
pub fn terminal_with_keys() -> (fs::File, Stream, fs::File) {
    let (master, slave) = pty();
    let keys = master.try_clone().unwrap();
    (keys, Stream::collect(Some(master)), slave)
}

/// Both sides of a terminal.
pub fn pty() -> (fs::File, fs::File) {
    use rustix::pty::{grantpt, ptsname, unlockpt};
    use std::os::unix::fs::OpenOptionsExt;
    // As posix_openpt(3), but closed on exec, which macOS has no flag for.
    let master = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NOCTTY)
        .open("/dev/ptmx")
        .unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap();
    let slave = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(name.to_str().unwrap())
        .unwrap();
    (master, slave)
}

/// The path of a program that a test needs. If there is no such program, the test is to be
/// skipped.
pub fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        skip(&format!("there is no {name}"));
    }
    found
}

/// A Python with PyYAML and libyaml.
pub fn python_with_yaml() -> Option<Command> {
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        let script = ["-c", "from yaml import CSafeLoader"];
        succeeds(Command::new(python).args(script))
    });
    if found.is_none() {
        skip("there is no python3 with PyYAML and libyaml");
    }
    found.map(Command::new)
}

/// A Node.js with js-yaml, which may be Debian's.
pub fn node_with_yaml() -> Option<Command> {
    let paths = std::env::var("NODE_PATH").unwrap_or_default() + ":/usr/share/nodejs";
    let node = || {
        let mut node = Command::new("node");
        node.env("NODE_PATH", &paths);
        node
    };
    let is_found = succeeds(node().args(["-e", "require('js-yaml')"]));
    if !is_found {
        skip("there is no node with js-yaml");
    }
    is_found.then(node)
}

fn succeeds(command: &mut Command) -> bool {
    let status = command.stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Reports that the current test is skipped: on stderr, and in the summary at the end of
/// `cargo test`. With `NO_SKIPS` set, the test fails instead.
pub fn skip(reason: &str) {
    let test = thread::current().name().unwrap_or_default().to_owned();
    assert!(
        std::env::var_os("NO_SKIPS").is_none(),
        "{test} would be skipped: {reason}"
    );
    // The test runner captures `eprintln!`.
    let _ = writeln!(io::stderr(), "SKIPPED {test}: {reason}");
    skips::record(&format!("{test}: {reason}"));
}

/// Whether the tests run as root. If not, a test that runs programs as other users is to be
/// skipped.
pub fn is_root() -> bool {
    let is_root = rustix::process::getuid().is_root();
    if !is_root {
        skip("only root can run programs as other users");
    }
    is_root
}
