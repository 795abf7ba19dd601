//! A lock that a server holds as long as it lives, in a file beside its socket. Only for macOS.
//!
//! A starting server must know whether the server of a socket has ended. On Linux a refused
//! connection says so, since a live server with a full backlog gives EAGAIN. macOS refuses both
//! with ECONNREFUSED. So there the starting server asks for this lock (flock(2)), which the kernel
//! releases when its holder ends, however it ends.
//!
//! Stop 4 of EDU_NOTES.md.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Whether a refused connection leaves open if the server of a socket has ended. The unit tests
/// behave as on macOS.
pub const IS_NEEDED: bool = !cfg!(target_os = "linux") || cfg!(test);

/// The lock. Dropping it removes its file.
#[derive(Debug)]
pub struct LifeLock {
    path: PathBuf,
    _file: File,
}

impl LifeLock {
    /// Takes the lock of the server at `socket`. Fails with `WouldBlock` if a live server has it.
    pub fn take(socket: &Path) -> io::Result<Self> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let mut options = File::options();
        // Other users could hold the lock of a file that they may open.
        options.create(true).write(true).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW);
        loop {
            if let Some(file) = lock(options.open(&path)?)? {
                return Ok(LifeLock { path, _file: file });
            }
        }
    }
}

/// Locks the file. `None` if its last holder has removed it: a lock on it would exclude nobody.
fn lock(file: File) -> io::Result<Option<File>> {
    file.try_lock()?;
    let is_there = file.metadata()?.nlink() > 0;
    Ok(is_there.then_some(file))
}

impl Drop for LifeLock {
    fn drop(&mut self) {
        // Before the lock is released. An error means that it is gone already.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn one_server_has_the_lock_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("a.sock");
        let path = folder.path().join("a.sock.lock");
        let held = LifeLock::take(&socket).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = LifeLock::take(&socket).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let opened_before_the_end = File::open(&path).unwrap();
        drop(held);
        assert!(!path.exists());
        assert!(lock(opened_before_the_end).unwrap().is_none());
        symlink(folder.path().join("elsewhere"), &path).unwrap();
        assert!(LifeLock::take(&socket).is_err());
    }
}
