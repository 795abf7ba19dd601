//! A listening socket's file: bound safely, with the right mode, removed when done.
//!
//! A Unix socket has a name in the file system, and the name outlives the
//! process. So before binding one must tell a dead server's leftover, which
//! may go, from a live server's socket, somebody's regular file and the like,
//! which may not. The directory is locked (flock(2)) while that is decided, or
//! two servers started at once could each remove the other's new socket.
//!
//! Stop 2 of EDU_NOTES.md.

use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use rustix::fs::Mode;
use rustix::process::{geteuid, umask};

use crate::peer;

/// The file of a bound socket. Dropping it removes the file, if it is still the
/// one that was made; drop it before the listener, while its inode cannot be
/// given to another file.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

/// Listens on `path` with the permissions `mode`. The error says what is wrong
/// and what to do.
pub fn listen(path: &Path, mode: u32) -> Result<(UnixListener, SocketFile), String> {
    let _lock = lock_directory(path);
    remove_leftover(path)?;
    let failed = |error: io::Error| {
        format!(
            "cannot listen on {}: {}",
            path.display(),
            advice(path, error)
        )
    };
    // bind(2) makes the file with mode 0777 less the umask: so it never has
    // another mode than this, not for an instant.
    let before = umask(Mode::from_raw_mode(!mode & 0o777));
    let listener = UnixListener::bind(path);
    umask(before);
    let listener = listener.map_err(failed)?;
    let identity = identity(path).map_err(failed)?;
    Ok((
        listener,
        SocketFile {
            path: path.into(),
            identity,
        },
    ))
}

impl Drop for SocketFile {
    /// Without a lock: while the listener lives, no other server takes the path.
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // It may have been removed meanwhile, which is as well.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes way for a new socket, or says why that must not be.
fn remove_leftover(path: &Path) -> Result<(), String> {
    let shown = path.display();
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if metadata.is_dir() {
        return Err(format!(
            "{shown} is a directory: give the path of a socket in it, such as {}",
            path.join("claude-observatory.sock").display()
        ));
    }
    if !metadata.file_type().is_socket() {
        return Err(format!(
            "{shown} exists and is not a socket: it was left alone. Remove it, or choose another path"
        ));
    }
    let (owner, user) = (metadata.uid(), geteuid().as_raw());
    // Without waiting: a live server whose backlog is full answers EAGAIN.
    match UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
            .map_err(|error| {
                format!(
                    "{shown} was left by a dead server of user {owner}, and user {user} cannot \
                     remove it: {error}. Choose another path"
                )
            }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(format!(
            "{shown} is a socket of user {owner}, and user {user} may not use it. Choose another path"
        )),
        Ok(stream) => {
            let pid = peer::of(stream.as_fd()).ok().and_then(|server| server.pid);
            Err(in_use(path, pid))
        }
        Err(_) => Err(in_use(path, None)),
    }
}

fn in_use(path: &Path, pid: Option<u32>) -> String {
    let shown = path.display();
    match pid {
        Some(pid) if pid == process::id() => {
            format!("{shown} was to be both sockets: give --socket and --output-socket two paths")
        }
        Some(pid) => format!(
            "{shown} is in use by a live server (pid {pid}): stop that one, or choose another path"
        ),
        None => {
            format!("{shown} is in use by a live server: stop that one, or choose another path")
        }
    }
}

/// What the error of a bind means to whoever chose the path.
fn advice(path: &Path, error: io::Error) -> String {
    let directory = directory(path);
    let shown = directory.display();
    match error.kind() {
        io::ErrorKind::NotFound if !directory.exists() => {
            format!("there is no such directory as {shown}. Make it first")
        }
        io::ErrorKind::NotADirectory => format!("{shown} is no directory. Choose another path"),
        io::ErrorKind::PermissionDenied => format!(
            "user {} may not make files in {shown}. Choose another path",
            geteuid().as_raw()
        ),
        io::ErrorKind::InvalidInput => format!(
            "a socket's path has room for 107 bytes and this has {}. Choose a shorter one",
            path.as_os_str().len()
        ),
        io::ErrorKind::AddrInUse => "something else made it just now. Try again".into(),
        _ => format!("{error}. Choose another path"),
    }
}

/// The directory that is to hold `path`.
fn directory(path: &Path) -> &Path {
    let parent = path.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Locks the directory that holds `path` until the file is dropped. Anybody who
/// may read the directory can hold that lock, so it is not waited for for ever;
/// where there can be none, the check alone must do.
fn lock_directory(path: &Path) -> Option<File> {
    let directory = File::open(directory(path)).ok()?;
    let patience = Instant::now() + Duration::from_secs(2);
    loop {
        match directory.try_lock() {
            Ok(()) => return Some(directory),
            Err(fs::TryLockError::WouldBlock) if Instant::now() < patience => {
                thread::sleep(Duration::from_millis(5));
            }
            Err(_) => return None,
        }
    }
}
