//! Reports that files in folders have changed: inotify(7).
//!
//! Where there is no inotify, or no instance or watch of it is left, nothing is reported, and the
//! folders are read once a second.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

#[cfg(target_os = "linux")]
use super::folder;

/// Watches folders.
pub struct Changes {
    /// `None`: there is no inotify.
    pub inotify: Option<OwnedFd>,
}

#[cfg(target_os = "linux")]
impl Changes {
    pub fn new() -> Changes {
        use rustix::fs::inotify::{CreateFlags, init};
        Changes {
            inotify: init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC).ok(),
        }
    }

    /// Watches a folder, and the nearest one above it that exists: until the folder exists, and
    /// because it does not report that it is moved with that one. Returns whether that is possible.
    /// What is watched already costs a system call.
    pub fn watch(&self, folder: &Path) -> bool {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let files = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let folders = WatchFlags::CREATE | WatchFlags::MOVED_TO;
        // The end of a watched folder is reported in any case.
        let itself = WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let watch = |folder: &Path, changes| add_watch(inotify, folder, changes | itself).is_ok();
        // First, since the folder may appear meanwhile.
        let mut above = folder.ancestors().skip(1);
        let is_awaited = above.any(|folder| watch(folder, folders));
        watch(folder, files) || is_awaited
    }

    /// The processes whose files were written since the last call. `None`: there were more reports
    /// than the kernel keeps, so any file may have been written.
    pub fn take(&self) -> Option<HashSet<u32>> {
        use rustix::fs::inotify::{ReadFlags, Reader};
        let mut changed = Some(HashSet::new());
        let Some(inotify) = &self.inotify else {
            return changed;
        };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reports = Reader::new(inotify, &mut buffer);
        while let Ok(report) = reports.next() {
            if report.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                changed = None;
            }
            let name = report.file_name().and_then(|name| name.to_str().ok());
            if let (Some(changed), Some(pid)) = (&mut changed, name.and_then(folder::pid_of)) {
                changed.insert(pid);
            }
        }
        changed
    }
}

#[cfg(not(target_os = "linux"))]
impl Changes {
    pub fn new() -> Changes {
        Changes { inotify: None }
    }

    pub fn watch(&self, _: &Path) -> bool {
        false
    }

    pub fn take(&self) -> Option<HashSet<u32>> {
        Some(HashSet::new())
    }
}
