//! A program that has the terminal while the screen does not, such as a client of tmux.
//!
//! It is in the process group of this program, so a shell suspends and continues both. The screen
//! goes on without drawing: events are received, and alerts are raised.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command, ExitStatus};

use crate::terminal::Shown;
use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Bytes of what a program says on stderr that are read.
const MAX_STDERR: u64 = 4096;

/// It is ended when it is dropped.
pub struct Guest {
    child: Child,
    stderr: File,
}

/// What has become of a guest.
pub enum Change {
    None,
    Stopped,
    /// The error says why it failed.
    Ended(io::Result<()>),
}

impl Guest {
    /// Starts a program with the terminal on its stdout. The terminal was given back before.
    pub fn start(mut command: Command) -> io::Result<Guest> {
        let stderr = tempfile::tempfile()?;
        let child = command.stderr(stderr.try_clone()?).spawn();
        let name = Shown(command.get_program().as_ref());
        let child =
            child.map_err(|error| io::Error::other(format!("cannot run {name}: {error}")))?;
        Ok(Guest { child, stderr })
    }

    /// What has become of it, once the system has said that something has.
    pub fn change(&mut self) -> io::Result<Change> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Change::Ended(self.result(status)));
        }
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG;
        let stopped = retry_on_intr(|| waitid(WaitId::Pid(self.pid()), options))?;
        Ok(stopped.map_or(Change::None, |_| Change::Stopped))
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn result(&mut self, status: ExitStatus) -> io::Result<()> {
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        self.stderr.rewind()?;
        (&self.stderr).take(MAX_STDERR).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        Err(io::Error::other(match text.lines().next() {
            Some(line) => format!("{status}: {line}"),
            None => status.to_string(),
        }))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            // It fails if the program ends just now. tmux and GNU screen detach at SIGTERM.
            let _ = kill_process(self.pid(), Signal::TERM);
            let _ = self.child.wait();
        }
    }
}
