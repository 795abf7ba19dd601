//! The servers that are compared: each a process of its own, on a core of its
//! own where there are two, and what the kernel says of it (proc(5)).

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_setaffinity};
use tempfile::TempDir;

/// The first argument with which this program is the floor.
pub const FLOOR: &str = "floor";
/// How long a server may take until it accepts.
const START: Duration = Duration::from_secs(10);
const SERVERS_CORE: usize = 0;
const LOADS_CORE: usize = 1;

/// A server to be measured.
#[derive(Clone)]
pub enum Candidate {
    Floor,
    Ours,
    /// Any other: its name, and the words of its command, `{socket}` among them.
    Peer(String, String),
}

/// Where a server's stdout goes.
#[derive(Clone, Copy)]
pub enum Stdout {
    /// In memory, where there is such a folder.
    File,
    Disk,
    Pipe,
    Null,
}

/// What a case asks of a server before the load begins.
#[derive(Clone, Copy)]
pub struct Setup {
    pub stdout: Stdout,
    pub has_readers: bool,
    pub keeps: bool,
}

/// A server that runs, until it is dropped.
pub struct Server {
    child: Child,
    folder: TempDir,
    /// From before exec until it accepted.
    pub took_to_start: Duration,
}

impl Candidate {
    pub fn name(&self) -> &str {
        match self {
            Candidate::Floor => "floor",
            Candidate::Ours => "hooks-observatory",
            Candidate::Peer(name, _) => name,
        }
    }

    fn command(&self, setup: &Setup, socket: &Path, output: &Path) -> io::Result<Command> {
        let mut command = match self {
            Candidate::Floor => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg(FLOOR).arg(socket);
                command.arg(if setup.keeps { "keep" } else { "close" });
                if setup.has_readers {
                    command.arg(output);
                }
                return Ok(command);
            }
            Candidate::Ours => {
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
        Ok(command)
    }
}

impl Server {
    /// Starts a server and waits until it accepts.
    pub fn start(candidate: &Candidate, setup: &Setup) -> Result<Self, String> {
        let failed = |error: io::Error| format!("does not start: {error}");
        let folder = folder().map_err(failed)?;
        let (socket, output) = (folder.path().join("hooks"), folder.path().join("output"));
        let mut command = candidate.command(setup, &socket, &output).map_err(failed)?;
        command.stdin(Stdio::null());
        command.stderr(File::create(folder.path().join("stderr")).map_err(failed)?);
        let file = |folder: &Path| File::create(folder.join("stdout")).map_err(failed);
        command.stdout(match setup.stdout {
            Stdout::File => file(folder.path())?.into(),
            Stdout::Disk => file(&results())?.into(),
            Stdout::Pipe => Stdio::piped(),
            Stdout::Null => Stdio::null(),
        });
        let began = Instant::now();
        // A process begins on the cores of the thread that starts it.
        pin(SERVERS_CORE);
        let child = command.spawn();
        pin(LOADS_CORE);
        let mut child = child.map_err(failed)?;
        if let Some(mut pipe) = child.stdout.take() {
            thread::spawn(move || io::copy(&mut pipe, &mut io::sink()));
        }
        let mut server = Server {
            child,
            folder,
            took_to_start: Duration::ZERO,
        };
        server.wait_until_it_accepts(began)?;
        Ok(server)
    }

    fn wait_until_it_accepts(&mut self, began: Instant) -> Result<(), String> {
        while std::os::unix::net::UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() || began.elapsed() > START {
                let said = fs::read_to_string(self.folder.path().join("stderr"));
                let said = said.unwrap_or_default();
                let last = said.lines().next_back().unwrap_or("(it says nothing)");
                return Err(format!("does not start: {last}"));
            }
        }
        self.took_to_start = began.elapsed();
        Ok(())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("hooks")
    }

    pub fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// Waits until it has nothing more to do. Its time on a processor so far, which
    /// the kernel books when a thread goes to sleep.
    pub fn cpu_at_rest(&self) -> Duration {
        let mut before = self.cpu();
        loop {
            thread::sleep(Duration::from_millis(10));
            let now = self.cpu();
            if std::mem::replace(&mut before, now) == now {
                return now;
            }
        }
    }

    /// Of all its threads: `/proc/PID/schedstat` tells of the first one alone.
    fn cpu(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let nanoseconds = |task: io::Result<fs::DirEntry>| {
            let text = fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        Duration::from_nanos(tasks.into_iter().flatten().filter_map(nanoseconds).sum())
    }

    /// Bytes that are resident now.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Bytes that were resident at most.
    pub fn peak(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()));
        let status = status.unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kibibytes.unwrap_or(0) << 10
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A folder in memory, where there is one: a disk's file system may take its
/// pages from a hypervisor, at a cost that drowns what is to be measured.
fn folder() -> io::Result<TempDir> {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())
}

/// Where the results go. The folder is there once a measurement has begun.
pub fn results() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("load")
}

/// Keeps this thread, and the processes that it starts, on one core, where there are two.
fn pin(core: usize) {
    // Asked once: of a thread that is kept on one core the answer is one.
    static CORES: LazyLock<usize> =
        LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    if *CORES < 2 {
        return;
    }
    let mut cores = CpuSet::new();
    cores.set(core);
    // Where it is not allowed, the scheduler decides.
    let _ = sched_setaffinity(None, &cores);
}
