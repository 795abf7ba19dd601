//! Reports that files in folders have changed: inotify(7).
//!
//! Where there is no inotify, or no instance or watch of it is left, nothing is reported, and the
//! folders are read once a second.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

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

    /// Watches a folder, or, until that exists, the nearest one above it that does. Returns whether
    /// that is possible. A folder that is watched already costs one system call.
    pub fn watch(&self, folder: &Path) -> bool {
        use rustix::fs::inotify::{WatchFlags, add_watch};
        let Some(inotify) = &self.inotify else {
            return false;
        };
        let files = WatchFlags::CLOSE_WRITE | WatchFlags::MOVED_TO | WatchFlags::DELETE;
        let itself = WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF | WatchFlags::ONLYDIR;
        let watch = |folder: &Path, changes| add_watch(inotify, folder, changes).is_ok();
        if watch(folder, files | itself) {
            return true;
        }
        let above = WatchFlags::CREATE | WatchFlags::MOVED_TO | itself;
        let mut ancestors = folder.ancestors().skip(1);
        let is_watched = ancestors.any(|folder| watch(folder, above));
        // It may have appeared meanwhile.
        watch(folder, files | itself) || is_watched
    }

    /// The processes whose files were written since the last call. After an overflow of inotify names are missing; the caller compares the
    /// stamps of all files in any case.
    pub fn take(&self) -> HashSet<u32> {
        use rustix::fs::inotify::Reader;
        let mut changed = HashSet::new();
        let Some(inotify) = &self.inotify else {
            return changed;
        };
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reports = Reader::new(inotify, &mut buffer);
        while let Ok(report) = reports.next() {
            let name = report.file_name().and_then(|name| name.to_str().ok());
            changed.extend(name.and_then(super::folder::pid_of));
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

    pub fn take(&self) -> HashSet<u32> {
        HashSet::new()
    }
}
