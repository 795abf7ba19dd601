//! A program that has the terminal while the screen does not, such as a client of tmux.
//!
//! It is in the process group of this program, so a shell suspends and continues both. The screen
//! goes on without drawing: events are received, and alerts are raised.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Child, Command};

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

/// Bytes of what a program says on stderr that are read.
const MAX_STDERR: u64 = 4096;

/// It is ended when it is dropped.
pub struct Guest {
    child: Child,
    stderr: File,
}

impl Guest {
    /// Starts a program with the terminal on its stdout. The terminal was given back before.
    pub fn start(mut command: Command) -> io::Result<Guest> {
        let stderr = tempfile::tempfile()?;
        let child = command.stderr(stderr.try_clone()?).spawn()?;
        Ok(Guest { child, stderr })
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Takes the result of a program that has ended. The error says why it failed.
    pub fn result(mut self) -> io::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let mut text = Vec::new();
        self.stderr.rewind()?;
        (&self.stderr).take(MAX_STDERR).read_to_end(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let said = text.lines().next().unwrap_or_default();
        Err(io::Error::other(format!("{status} {said}")))
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

/// Waits until a program ends, and reports each time that it stops. It is not reaped, so its
/// number stays its own.
pub fn wait(pid: Pid, mut report_stop: impl FnMut()) {
    let wait = |options| retry_on_intr(|| waitid(WaitId::Pid(pid), options));
    let (ended, stopped) = (WaitIdOptions::EXITED, WaitIdOptions::STOPPED);
    while let Ok(Some(status)) = wait(ended | stopped | WaitIdOptions::NOWAIT)
        && status.stopped()
    {
        // Otherwise the same stop would be reported again.
        let _ = wait(stopped);
        report_stop();
    }
}
