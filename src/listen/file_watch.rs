//! Detects that a socket's file has disappeared. A cleaner of `/tmp`, the end of a login session
//! or a mistaken `rm` can remove it. Without its file a server runs on, and nobody can reach it.
//!
//! The kernel reports it on a descriptor (inotify(7)), which is in the same poll as all others.
//! The watch is on the socket's own inode: a watch on the directory would wake the server for
//! every foreign file in `/tmp`. So a renamed parent directory is not noticed.
//!
//! Stop 4 of EDU_NOTES.md.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

/// What fails when inotify has no free instance or no free watch (inotify(7),
/// `max_user_instances` and `max_user_watches`), for an error.
pub const WATCH: &str = "watch the socket files";

/// A watch on the files of sockets. It reports that one of them may have changed, not which.
#[derive(Debug)]
pub struct FileWatch {
    inotify: OwnedFd,
}

#[cfg(target_os = "linux")]
impl FileWatch {
    /// A watch on no file yet. `None` where there is none: then look at the files each second.
    pub fn new() -> io::Result<Option<Self>> {
        use rustix::fs::inotify::{CreateFlags, init};
        let inotify = init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Some(FileWatch { inotify }))
    }

    /// Watches the file at `path`, until it is removed. Removing a file with other references
    /// (the listener) changes its link count, which is a change of its attributes.
    pub fn add(&self, path: &Path) -> io::Result<()> {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        let changes = WatchFlags::ATTRIB | WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF;
        add_watch(&self.inotify, path, changes | WatchFlags::DONT_FOLLOW)?;
        Ok(())
    }

    /// Discards the reports that have arrived, so that the poll reports the next one.
    pub fn drain(&self) {
        let mut reports = [0; 4096];
        while rustix::io::retry_on_intr(|| rustix::io::read(&self.inotify, &mut reports)).is_ok() {}
    }

    /// The descriptor to register with the poll.
    pub fn fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}

/// Nothing reports it on macOS: kqueue watches open files, and a socket's file cannot be opened.
#[cfg(not(target_os = "linux"))]
impl FileWatch {
    pub fn new() -> io::Result<Option<Self>> {
        Ok(None)
    }

    pub fn add(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    pub fn drain(&self) {}

    pub fn fd(&self) -> RawFd {
        self.inotify.as_raw_fd()
    }
}
