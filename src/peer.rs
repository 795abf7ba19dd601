//! The identity of the process at the other end of a Unix socket.
//!
//! The kernel records it when a client connects, so nothing that the client sends can
//! change it. It is the process that called `connect`: for a hook, its command, not the
//! Claude Code that started the command. That process may have ended by now. A client can
//! ask about a server in the same way: then it is the process that called `listen`.
//! (macOS records only the user. It knows the pid of a peer that is still connected.)
//!
//! Stop 5 of EDU_NOTES.md.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::LazyLock;

use rustix::process::geteuid;

/// A process, its user and its group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Peer {
    /// `None` if the process has no number in this pid namespace (pid_namespaces(7)), or on macOS
    /// if it has left.
    pub pid: Option<u32>,
    pub uid: u32,
    pub gid: u32,
}

/// For the trace.
impl fmt::Display for Peer {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(formatter, "pid {pid}, ")?,
            None => formatter.write_str("pid unknown, ")?,
        }
        write!(formatter, "uid {}, gid {}", self.uid, self.gid)
    }
}

/// Reads a socket option of the fixed-size type `T`.
fn socket_option<T: Copy>(
    socket: BorrowedFd,
    level: libc::c_int,
    name: libc::c_int,
    mut value: T,
) -> io::Result<T> {
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: `value` is writable and outlives the call, and `length` is its size. The
    // callers use integers and structs of integers, for which every bit pattern is valid.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw mut value).cast(),
            &mut length,
        )
    };
    match result {
        0 => Ok(value),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The peer of a connected socket: `SO_PEERCRED`, unix(7).
#[cfg(target_os = "linux")]
pub fn credentials(socket: BorrowedFd) -> io::Result<Peer> {
    let empty = libc::ucred {
        pid: 0,
        uid: 0,
        gid: 0,
    };
    let ucred = socket_option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED, empty)?;
    Ok(Peer {
        pid: known_pid(Ok(ucred.pid)),
        uid: ucred.uid,
        gid: ucred.gid,
    })
}

/// The peer of a connected socket: getpeereid(3), which tells who connected, and `LOCAL_PEERPID`,
/// which tells the process that used the peer's socket last. That pid is known only while the peer
/// is connected (ENOTCONN), so a hook that does not wait for its response has none.
#[cfg(target_os = "macos")]
pub fn credentials(socket: BorrowedFd) -> io::Result<Peer> {
    let pid = socket_option(socket, libc::SOL_LOCAL, libc::LOCAL_PEERPID, 0);
    let (mut uid, mut gid) = (0, 0);
    // SAFETY: both pointers are to integers that outlive the call.
    match unsafe { libc::getpeereid(socket.as_raw_fd(), &mut uid, &mut gid) } {
        0 => Ok(Peer {
            pid: known_pid(pid),
            uid,
            gid,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a user is this process's own or root. The overflow uid is neither.
pub fn is_self_or_root(uid: u32) -> bool {
    static OWN: LazyLock<u32> = LazyLock::new(|| geteuid().as_raw());
    (uid == 0 || uid == *OWN) && uid != overflow_uid()
}

/// The uid that the kernel reports for every user who has no uid in this user namespace
/// (user_namespaces(7)). It identifies nobody.
pub fn overflow_uid() -> u32 {
    static UID: LazyLock<u32> = LazyLock::new(|| {
        let text = fs::read_to_string("/proc/sys/kernel/overflowuid").unwrap_or_default();
        text.trim().parse().unwrap_or(65534)
    });
    *UID
}

/// A peer without a pid is still somebody: on Linux the kernel reports 0 for a process that has no
/// number in this namespace, on macOS an error for one that has left.
fn known_pid(pid: io::Result<libc::pid_t>) -> Option<u32> {
    u32::try_from(pid.ok()?).ok().filter(|pid| *pid > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_can_have_no_pid() {
        assert_eq!(known_pid(Ok(7)), Some(7));
        assert_eq!(known_pid(Ok(0)), None);
        assert_eq!(known_pid(Ok(-1)), None);
        let left = io::Error::from_raw_os_error(libc::ENOTCONN);
        assert_eq!(known_pid(Err(left)), None);
    }
}
