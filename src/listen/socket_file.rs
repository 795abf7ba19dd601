//! The file of a listening Unix socket: created safely, with the right mode, and removed.
//!
//! A Unix socket has a path, and its file outlives the process. So before bind(2) the
//! server checks what exists at the path. It may replace the socket of a dead server. It must not
//! touch a live server's socket, a regular file, or anything else.
//!
//! The directory is locked (flock(2)) from that check until after bind. Otherwise two
//! servers that start at once could each remove the other's new socket.
//!
//! Stop 4 of EDU_NOTES.md.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use rustix::fs::{Mode, RawMode};
use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::{geteuid, umask};

use super::life_lock::{self, LifeLock};
use super::pass_rights::refuse_descriptors;
use crate::cli::MAX_SOCKET_PATH;
use crate::peer;
use crate::terminal::Shown;

/// The file of a bound socket. Dropping it removes the file, unless another one is there
/// by now. Drop it before the listener: until the listener is closed, no other file can
/// have the same inode number.
#[derive(Debug)]
pub struct SocketFile {
    pub path: PathBuf,
    pub mode: u32,
    identity: Identity,
    /// `None` where no lock is needed, or possible.
    life_lock: Option<LifeLock>,
}

/// Device and inode number of a file.
type Identity = (u64, u64);

impl SocketFile {
    /// Whether the file has disappeared from its path, or another one is there.
    pub fn is_missing(&self) -> bool {
        !identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }

    /// Gives up the lock, which the next file at this path needs.
    pub fn release_lock(&mut self) {
        self.life_lock = None;
    }
}

/// Listens on `path` with the permissions `mode`, in the place of a dead server. Waits up to
/// `lock_timeout` for another server that is checking the same directory.
pub fn listen(
    path: &Path,
    mode: u32,
    lock_timeout: Duration,
) -> Result<(UnixListener, SocketFile), String> {
    let _lock = lock_directory(path, lock_timeout);
    let life_lock = life_lock::IS_NEEDED.then(|| LifeLock::take(path));
    let life_lock = life_lock.transpose();
    let is_held = matches!(&life_lock, Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    remove_stale_socket(path, is_held)?;
    let explain = |error: io::Error| {
        let reason = explain_bind_error(path, error);
        format!("cannot listen on {}: {reason}", Shown(path))
    };
    let listener = bind_and_listen(path, mode).map_err(explain)?;
    let file = SocketFile {
        path: path.into(),
        mode,
        identity: identity(path).map_err(explain)?,
        life_lock: life_lock.ok().flatten(),
    };
    Ok((listener, file))
}

/// Creates a non-blocking listener. bind(2) creates the file with mode 0777 less the umask,
/// so the file never has any other mode than `mode`.
fn bind_and_listen(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let address = SocketAddrUnix::new(path)?;
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    ioctl_fionbio(&socket, true)?;
    refuse_descriptors(socket.as_fd());
    let previous = umask(Mode::from_raw_mode((!mode & 0o777) as RawMode));
    let result = net::bind(&socket, &address);
    umask(previous);
    result?;
    // The kernel limits the backlog to net.core.somaxconn.
    net::listen(&socket, -1)?;
    Ok(UnixListener::from_std(socket.into()))
}

impl Drop for SocketFile {
    /// Needs no lock: while the listener is open, no other server takes the path.
    fn drop(&mut self) {
        if !self.is_missing() {
            // An error means that it is gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes the socket of a dead server. Fails if anything else exists at `path`. A server whose
/// [`LifeLock`] is held lives, also if it refuses connections.
fn remove_stale_socket(path: &Path, is_lock_held: bool) -> Result<(), String> {
    let shown = Shown(path);
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if metadata.is_dir() {
        return Err(format!(
            "{shown} is a directory: give the path of a socket in it, such as {}",
            Shown(&path.join("claude-observatory.sock"))
        ));
    }
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "{shown} exists and is not a socket: it was left alone. Remove it, or choose another path"
        ));
    }
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    // mio connects without blocking: a live server with a full backlog gives EAGAIN.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && !is_lock_held => {
            fs::remove_file(path).map_err(|error| {
                format!(
                    "{shown} was left by a dead server of user {owner}, and user {user} cannot \
                     remove it: {error}. Choose another path"
                )
            })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(format!(
            "{shown} is a socket of user {owner}, and user {user} may not use it. Choose another path"
        )),
        result => {
            let server = result.and_then(|stream| peer::credentials(stream.as_fd()));
            Err(in_use(path, server.ok().and_then(|server| server.pid)))
        }
    }
}

/// The error for a path at which a server listens.
fn in_use(path: &Path, pid: Option<u32>) -> String {
    let shown = Shown(path);
    if pid == Some(process::id()) {
        return format!(
            "{shown} is the path of both sockets: give --socket and --output-socket two paths"
        );
    }
    let pid = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    format!("{shown} is in use by a live server{pid}: stop that server, or choose another path")
}

/// Explains an error of bind(2) to the user who chose the path.
fn explain_bind_error(path: &Path, error: io::Error) -> String {
    let directory = directory(path);
    let shown = Shown(directory);
    match error.kind() {
        io::ErrorKind::NotFound if !directory.exists() => {
            format!("the directory {shown} does not exist. Create it first")
        }
        io::ErrorKind::NotADirectory => format!("{shown} is not a directory. Choose another path"),
        io::ErrorKind::PermissionDenied => format!(
            "user {} may not create files in {shown}. Choose another path",
            geteuid().as_raw()
        ),
        io::ErrorKind::InvalidFilename => format!(
            "the path of a socket has at most {MAX_SOCKET_PATH} bytes, and this one has {}. Choose a \
             shorter one",
            path.as_os_str().len()
        ),
        io::ErrorKind::AddrInUse => "another program created it just now. Try again".into(),
        _ => format!("{error}. Choose another path"),
    }
}

/// The directory that contains `path`.
fn directory(path: &Path) -> &Path {
    let parent = path.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn identity(path: &Path) -> io::Result<Identity> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Locks the directory that contains `path`, until the returned file is dropped. Any
/// process that may read the directory can hold this lock, so it waits for `timeout` at
/// most. Without a lock only the check of the path protects other servers.
fn lock_directory(path: &Path, timeout: Duration) -> Option<File> {
    let directory = File::open(directory(path)).ok()?;
    let deadline = Instant::now() + timeout;
    loop {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener as StdListener;

    /// As on macOS, where a full backlog refuses.
    #[test]
    fn a_server_that_refuses_is_alive_while_its_lock_is_held() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let listen = || listen(&path, 0o600, Duration::ZERO);
        let (listener, file) = listen().unwrap();
        drop(listener);
        let error = listen().unwrap_err();
        assert!(error.contains("live server"), "{error}");
        assert!(path.exists());
        drop(file);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        // A dead server leaves its file, and no lock.
        drop(StdListener::bind(&path).unwrap());
        listen().unwrap();
    }
}
