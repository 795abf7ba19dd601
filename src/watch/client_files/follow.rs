//! Waits until session files change: for reports of inotify, and for the ends of processes.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{ClientFiles, Entry, Process};

/// How often to look where the kernel reports nothing.
const INTERVAL: Duration = Duration::from_secs(1);

impl ClientFiles {
    /// Waits until something may have changed, or `wake` is readable, and reads that.
    pub fn wait(&mut self, wake: BorrowedFd) -> io::Result<()> {
        let mut fds = vec![PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        let processes = self.entries.values().filter_map(|entry| entry.process.fd());
        let inotify = self.changes.inotify.as_ref().map(AsFd::as_fd);
        let watched = processes.chain(inotify);
        fds.extend(watched.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        let timeout = self
            .timeout()
            .and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.read();
        Ok(())
    }

    /// After which time to look without a report. `None`: never.
    fn timeout(&self) -> Option<Duration> {
        let is_unreported = |entry: &Entry| matches!(entry.process, Process::Running);
        let is_missed = !self.is_watched || self.entries.values().any(is_unreported);
        is_missed.then_some(INTERVAL)
    }
}

impl Process {
    fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Process::Watched(pidfd) => Some(pidfd.as_fd()),
            _ => None,
        }
    }
}
