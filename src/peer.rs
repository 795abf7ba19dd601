//! Who is at the other end of a Unix socket, in the kernel's words.
//!
//! The kernel notes a client's identity when it connects, so nothing that the
//! client sends can change it. It is the identity of the process that called
//! `connect`: for a hook that is its command, not the Claude Code that started it, and
//! by the time anybody looks, that process may have ended. A client can ask the same of a
//! server: then it is the process that called `listen`.
//!
//! Stop 4 of EDU_NOTES.md.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// A process, its user and its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peer {
    /// `None` where the process has no number here: it lives in a pid
    /// namespace that this one cannot see (pid_namespaces(7)).
    pub pid: Option<u32>,
    pub uid: u32,
    pub gid: u32,
}

/// In a trace.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(formatter, "pid {pid}, ")?,
            None => formatter.write_str("no pid here, ")?,
        }
        write!(formatter, "uid {}, gid {}", self.uid, self.gid)
    }
}

/// Reads one socket option of the fixed-size type `T`.
fn option<T: Copy>(
    socket: BorrowedFd,
    level: libc::c_int,
    name: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable, lives through the call, and `length` is its
    // size; only types of plain integers are asked for.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    if answer == 0 {
        Ok(value)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// The peer of a connected socket: `SO_PEERCRED`, unix(7).
#[cfg(target_os = "linux")]
pub fn of(socket: BorrowedFd) -> io::Result<Peer> {
    let nobody = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let ucred = option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, nobody)?;
    Ok(Peer {
        pid: seen(ucred.pid),
        uid: ucred.uid,
        gid: ucred.gid,
    })
}

/// The peer of a connected socket: `LOCAL_PEERPID`, and getpeereid(3).
#[cfg(target_os = "macos")]
pub fn of(socket: BorrowedFd) -> io::Result<Peer> {
    let pid: libc::pid_t = option(socket, libc::SOL_LOCAL, libc::LOCAL_PEERPID, 0)?;
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both pointers are to integers that live through the call.
    match unsafe { libc::getpeereid(socket.as_raw_fd(), &mut uid, &mut gid) } {
        0 => Ok(Peer {
            pid: seen(pid),
            uid,
            gid,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The kernel says pid 0 for a process that has no number in this namespace.
fn seen(pid: libc::pid_t) -> Option<u32> {
    u32::try_from(pid).ok().filter(|pid| *pid > 0)
}
