//! Runs a program with a deadline. A program that talks to another one, as tmux does with its
//! server, waits for as long as that is stopped.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Output};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

/// The time between two looks at a program that runs. std cannot wait with a timeout.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Runs a program with a text on its stdin, and returns its output once it has ended. After the
/// deadline this fails with `TimedOut`.
pub fn output(command: &mut Command, stdin: &str, deadline: Instant) -> io::Result<Output> {
    // Files: a pipe could be full, or be held open by a process that the program leaves behind.
    let (stdout, stderr) = (file()?, file()?);
    let command = command.stdout(stdout.try_clone()?);
    let mut running = start(command.stderr(stderr.try_clone()?), stdin, deadline)?;
    let status = loop {
        match running.status(Instant::now())? {
            Some(status) => break status,
            None => thread::sleep(POLL_INTERVAL),
        }
    };
    Ok(Output {
        status,
        stdout: read(stdout)?,
        stderr: read(stderr)?,
    })
}

/// Starts a program with a text on its stdin.
pub fn start(command: &mut Command, stdin: &str, deadline: Instant) -> io::Result<Running> {
    Ok(Running {
        child: command.stdin(input(stdin)?).process_group(0).spawn()?,
        deadline,
        has_ended: false,
    })
}

/// A text to be read as stdin.
pub fn input(text: &str) -> io::Result<File> {
    let mut input = file()?;
    input.write_all(text.as_bytes())?;
    input.rewind()?;
    Ok(input)
}

/// A program that runs. Dropping it kills it, with the processes that it has started.
pub struct Running {
    child: Child,
    deadline: Instant,
    /// Then its number can belong to another process.
    has_ended: bool,
}

impl Running {
    /// How the program has ended. `None`: it runs. From the deadline on, this fails with `TimedOut`.
    pub fn status(&mut self, now: Instant) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.has_ended = status.is_some();
        if status.is_none() && now >= self.deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        Ok(status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            // They fail if the program ends just now.
            let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

fn file() -> io::Result<File> {
    tempfile::tempfile()
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::{Path, PathBuf};
    use std::sync::mpsc;

    /// A fifo that `sh` can use as `$1`.
    fn fifo(folder: &tempfile::TempDir) -> PathBuf {
        let fifo = folder.path().join("fifo");
        let made = Command::new("mkfifo").arg(&fifo).status().unwrap();
        assert!(made.success());
        fifo
    }

    fn run(script: &str, fifo: &Path, time: Duration) -> io::Result<Output> {
        let mut sh = Command::new("sh");
        let sh = sh.args(["-c", script, "sh"]).arg(fifo);
        output(sh, "text", Instant::now() + time)
    }

    #[test]
    fn a_program_gets_its_input_and_returns_its_output() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(&folder);
        // It leaves behind a process that has its output open until somebody writes to the fifo.
        let script = "cat; echo problem >&2; read -r line <\"$1\" & exit 3";
        let output = run(script, &fifo, Duration::from_secs(60)).unwrap();
        fs::write(fifo, "\n").unwrap();
        assert_eq!(output.stdout, b"text");
        assert_eq!(output.stderr, b"problem\n");
        assert_eq!(output.status.code(), Some(3));
    }

    #[test]
    fn a_program_is_killed_at_its_deadline_with_what_it_has_started() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = fifo(&folder);
        let (sender, ended) = mpsc::channel();
        let reader = fifo.clone();
        // It ends when no process has the fifo open for writing any more.
        thread::spawn(move || sender.send(fs::read(reader)));
        let script = "exec 9>\"$1\"; sleep 60 & kill -STOP $$";
        let error = run(script, &fifo, Duration::from_millis(500)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(ended.recv_timeout(Duration::from_secs(10)).is_ok());
    }
}
