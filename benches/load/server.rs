//! The servers under test. Each is a separate process, with two cores or more on a core of
//! its own. The kernel reports what it uses (proc(5)).

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::sender::WITHOUT_PIDFD;

/// With this first argument, the bench executable runs as the floor.
pub const FLOOR: &str = "floor";
/// With this third argument, the floor keeps its connections open.
pub const KEEP_ALIVE: &str = "keep-alive";
/// How long a server may take to start.
const START_TIMEOUT: Duration = Duration::from_secs(10);
const SERVER_CORE: usize = 0;
const LOAD_CORE: usize = 1;

/// A server that the bench can start.
#[derive(Clone)]
pub enum Candidate {
    Floor,
    HooksObservatory,
    /// Any other server: its name, and its command, which contains `{socket}`.
    Peer(String, String),
}

/// Where a server's stdout goes.
#[derive(Clone, Copy)]
pub enum Stdout {
    /// A file in [`temp_directory`].
    MemoryFile,
    DiskFile,
    Pipe,
    Null,
}

/// How a case needs its server to be started.
#[derive(Clone, Copy)]
pub struct Setup {
    pub stdout: Stdout,
    pub has_readers: bool,
    pub keep_alive: bool,
    /// Further options of the server.
    pub options: &'static [&'static str],
    /// Whether the server reports its longest turn on stderr.
    pub measures_turns: bool,
    /// Whether pidfd_open(2) fails.
    pub has_no_pidfd: bool,
    /// Whether callgrind counts its instructions.
    pub counts_instructions: bool,
}

/// A running server. Dropping it kills the process.
pub struct Server {
    child: Child,
    directory: TempDir,
    /// From before exec until a client can connect.
    pub start_up_time: Duration,
}

impl Candidate {
    pub fn name(&self) -> &str {
        match self {
            Candidate::Floor => "floor",
            Candidate::HooksObservatory => "hooks-observatory",
            Candidate::Peer(name, _) => name,
        }
    }

    fn command(&self, setup: &Setup, socket: &Path, output: &Path) -> io::Result<Command> {
        let mut command = match self {
            Candidate::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(FLOOR).arg(socket);
                command.arg(if setup.keep_alive {
                    KEEP_ALIVE
                } else {
                    "close"
                });
                if setup.has_readers {
                    command.arg(output);
                }
                return Ok(command);
            }
            Candidate::HooksObservatory => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_hooks-observatory"));
                command.arg("--socket").arg(socket);
                command
            }
            Candidate::Peer(_, words) => {
                let socket = &socket.to_string_lossy();
                let mut words = words.split_whitespace();
                let mut command = Command::new(words.next().unwrap_or_default());
                command.args(words.map(|word| word.replace("{socket}", socket)));
                command
            }
        };
        if setup.has_readers {
            command.arg("--output-socket").arg(output);
        }
        if setup.measures_turns {
            command.env("RUST_LOG", "turns=debug");
        }
        command.args(setup.options);
        Ok(command)
    }
}

impl Server {
    /// Starts a server, and waits until a client can connect.
    pub fn start(candidate: &Candidate, setup: &Setup) -> Result<Self, String> {
        let start_failed = |error: io::Error| format!("did not start: {error}");
        let directory = temp_directory().map_err(start_failed)?;
        let (socket, output) = (socket_in(&directory), output_in(&directory));
        let mut command = candidate
            .command(setup, &socket, &output)
            .map_err(start_failed)?;
        if setup.counts_instructions {
            let log = format!("--log-file={}", log_in(&directory).display());
            let options = ["--tool=callgrind", "--callgrind-out-file=/dev/null", &log];
            command = wrapped(command, "valgrind", &options);
        }
        if setup.has_no_pidfd {
            let bench = std::env::current_exe().map_err(start_failed)?;
            command = wrapped(command, bench, &[WITHOUT_PIDFD]);
        }
        let file = |path: PathBuf| File::create(path).map_err(start_failed);
        command.stdin(Stdio::null());
        command.stderr(file(stderr_in(&directory))?);
        command.stdout(match setup.stdout {
            Stdout::MemoryFile => file(directory.path().join("stdout"))?.into(),
            Stdout::DiskFile => file(results_directory().join("stdout"))?.into(),
            Stdout::Pipe => Stdio::piped(),
            Stdout::Null => Stdio::null(),
        });
        let spawned_at = Instant::now();
        // A new process inherits the cores of the thread that starts it.
        pin_to(SERVER_CORE);
        let child = command.spawn();
        pin_to(LOAD_CORE);
        let mut child = child.map_err(start_failed)?;
        if let Some(mut pipe) = child.stdout.take() {
            thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
        }
        let mut server = Server {
            child,
            directory,
            start_up_time: Duration::ZERO,
        };
        server.wait_until_connectable(spawned_at)?;
        Ok(server)
    }

    fn wait_until_connectable(&mut self, spawned_at: Instant) -> Result<(), String> {
        while UnixStream::connect(self.socket()).is_err() {
            let exit_status = self.child.try_wait().ok().flatten();
            if exit_status.is_some() || spawned_at.elapsed() > START_TIMEOUT {
                let stderr = fs::read_to_string(stderr_in(&self.directory)).unwrap_or_default();
                let last_line = stderr.lines().next_back().unwrap_or("(stderr is empty)");
                return Err(format!("did not start: {last_line}"));
            }
        }
        self.start_up_time = spawned_at.elapsed();
        Ok(())
    }

    /// Stops a server whose instructions are counted, and returns their number.
    pub fn stop_and_count(mut self) -> Result<u64, String> {
        let pid = Pid::from_child(&self.child);
        let stopped = kill_process(pid, Signal::INT).map_err(io::Error::from);
        stopped
            .and_then(|()| self.child.wait())
            .map_err(|error| format!("did not stop: {error}"))?;
        let log = fs::read_to_string(log_in(&self.directory)).unwrap_or_default();
        let count = log.split_once("Collected : ");
        let count = count.and_then(|(_, text)| text.split_whitespace().next()?.parse().ok());
        count.ok_or_else(|| "callgrind has counted nothing".into())
    }

    /// The path of the hook socket.
    pub fn socket(&self) -> PathBuf {
        socket_in(&self.directory)
    }

    /// The path of the output socket.
    pub fn output(&self) -> PathBuf {
        output_in(&self.directory)
    }

    /// Waits until the server is idle, and returns the CPU time that it has used. The kernel
    /// accounts for a thread's CPU time when the thread goes to sleep.
    pub fn cpu_when_idle(&self) -> Duration {
        let mut before = self.cpu();
        loop {
            thread::sleep(Duration::from_millis(10));
            let now = self.cpu();
            if std::mem::replace(&mut before, now) == now {
                return now;
            }
        }
    }

    /// The CPU time of all threads: `/proc/PID/schedstat` covers only the main thread.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let nanoseconds = |task: io::Result<fs::DirEntry>| {
            let schedstat = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            schedstat.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.into_iter().flatten().filter_map(nanoseconds).sum())
    }

    /// The CPU time of the longest turn so far, if the server reports it.
    pub fn longest_turn(&self) -> Option<Duration> {
        let stderr = fs::read_to_string(stderr_in(&self.directory)).ok()?;
        let (_, longest) = stderr.rsplit_once("turns: longest so far: ")?;
        let microseconds = longest.split(' ').next()?.parse().ok()?;
        Some(Duration::from_micros(microseconds))
    }

    /// Bytes of resident memory.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The largest number of bytes of resident memory so far.
    pub fn peak_resident(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// A field of `/proc/PID/status`, in bytes.
    fn status(&self, field: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let value = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes =
            value.and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn socket_in(directory: &TempDir) -> PathBuf {
    directory.path().join("hooks")
}

fn output_in(directory: &TempDir) -> PathBuf {
    directory.path().join("output")
}

fn log_in(directory: &TempDir) -> PathBuf {
    directory.path().join("callgrind")
}

/// The command that runs a command in a program, with these options. Its environment stays.
fn wrapped(command: Command, program: impl AsRef<OsStr>, options: &[&str]) -> Command {
    let mut wrapper = Command::new(program);
    wrapper
        .args(options)
        .arg(command.get_program())
        .args(command.get_args());
    let set = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)));
    wrapper.envs(set);
    wrapper
}

fn stderr_in(directory: &TempDir) -> PathBuf {
    directory.path().join("stderr")
}

/// A directory in memory, if possible. A file system on disk may get its pages from a
/// hypervisor, at a cost that would hide the server's own.
fn temp_directory() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// Where the results go. [`crate::run_cases`] creates it.
pub fn results_directory() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("load")
}

/// Pins this thread, and the processes that it starts, to one core. Does nothing on a
/// machine with a single core.
fn pin_to(core: usize) {
    // Evaluated once, before the first pinning: for a pinned thread the result is 1.
    static CORES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    if *CORES >= 2 {
        set_affinity(core);
    }
}

#[cfg(target_os = "linux")]
fn set_affinity(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut cores = CpuSet::new();
    cores.set(core);
    // If it is not permitted, the scheduler decides.
    let _ = sched_setaffinity(None, &cores);
}

/// macOS decides alone.
#[cfg(not(target_os = "linux"))]
fn set_affinity(_: usize) {}
