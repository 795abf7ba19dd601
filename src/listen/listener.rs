//! A listener: accepts connections, pauses when descriptors run out, and creates its file again
//! if that disappears. This file also raises and divides the limit of open descriptors.
//!
//! Stop 5 of EDU_NOTES.md.

use std::fmt::Display;
use std::io;
use std::os::unix::net::{SocketAddr, UnixListener as StdListener};
use std::path::Path;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use rustix::net::Shutdown;
use rustix::process::{Resource, getrlimit, setrlimit};

use super::socket_file::{self, SocketFile};
use crate::diagnostics::stderr::say;
use crate::terminal::Shown;

/// The pause after accept failed for lack of a resource that others may free: memory, or
/// descriptors of the whole system.
const ACCEPT_BACKOFF: Duration = Duration::from_secs(1);
/// How long a starting server waits for another one that is checking the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// The pause before another attempt to bind a file that disappeared.
const RESTORE_BACKOFF: Duration = Duration::from_secs(1);
/// Descriptors kept for other things than connections: stdio and its reopened copies, the
/// poll, the listeners, the signals, and a few to spare. On macOS also two writer threads
/// (`nonblocking.rs`) and the locks of two sockets.
const RESERVED_FDS: u64 = if cfg!(target_os = "linux") { 20 } else { 32 };

/// A listening socket and its file. Fields are dropped in this order, and the file must be
/// removed first: see [`SocketFile`].
#[derive(Debug)]
pub struct Listener {
    /// `None` if a service manager owns the socket: then this process neither removes the
    /// file nor shuts down the socket.
    file: Option<SocketFile>,
    /// To be registered with the poll.
    pub socket: UnixListener,
    /// The listener of a file that disappeared, until its backlog is empty.
    previous: Option<UnixListener>,
    /// Connections that may be open at a time.
    capacity: usize,
    /// How many of these must stay closed now, because their descriptors have another use.
    pub reserved: usize,
    /// Whether the backlog may hold a connection: accept has not returned `WouldBlock` yet.
    pub is_readable: bool,
    /// When to call accept again after an error.
    retry_at: Option<Instant>,
    /// Whether the shortage is reported on stderr already.
    shortage_reported: bool,
    /// When to check the file, and to bind it again if it has disappeared.
    check_file_at: Option<Instant>,
    /// Whether the file is checked each second, because nothing reports that it has disappeared.
    is_unwatched: bool,
    /// Whether stderr says already that the file has disappeared.
    loss_reported: bool,
}

impl Listener {
    /// Uses the socket that a service manager passed on, or else listens on `path` with
    /// the permissions `mode`. Accepts up to `capacity` connections at a time. Fails as
    /// [`socket_file::listen`] does.
    pub fn open(
        activated: Option<StdListener>,
        path: &Path,
        mode: u32,
        capacity: usize,
    ) -> Result<Self, String> {
        let (socket, file) = match activated {
            Some(socket) => (UnixListener::from_std(socket), None),
            None => {
                let (socket, file) = socket_file::listen(path, mode, LOCK_TIMEOUT)?;
                (socket, Some(file))
            }
        };
        Ok(Listener {
            file,
            socket,
            previous: None,
            capacity,
            reserved: 0,
            is_readable: true,
            retry_at: None,
            shortage_reported: false,
            check_file_at: None,
            is_unwatched: false,
            loss_reported: false,
        })
    }

    /// The path of the file. `None` if a service manager owns the socket.
    pub fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|file| &*file.path)
    }

    /// Whether there is a descriptor for another connection, with `open` connections open.
    pub fn has_room(&self, open: usize) -> bool {
        open + self.reserved < self.capacity
    }

    /// Records that a descriptor was closed. accept may have failed for lack of one.
    pub fn on_fd_freed(&mut self) {
        self.retry_at = None;
    }

    /// When to call accept again after an error, or to check the file.
    pub fn retry_at(&self) -> Option<Instant> {
        [self.retry_at, self.check_file_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether to call accept now, with `open` connections open.
    pub fn can_accept(&self, open: usize, now: Instant) -> bool {
        self.is_readable && self.has_room(open) && self.retry_at.is_none_or(|at| at <= now)
    }

    /// The next connection in the backlog, if there is one and it may be opened. A
    /// connection stays in the backlog when accept(2) fails, but macOS drops it if there is no
    /// descriptor: `capacity` leaves some free.
    pub fn accept(&mut self, open: usize, now: Instant) -> Option<UnixStream> {
        self.retry_at.take_if(|at| *at <= now);
        if self.is_readable && !self.has_room(open) {
            self.report_shortage(format_args!(
                "{open} are open, and the limit of descriptors allows no more"
            ));
        }
        while self.can_accept(open, now) {
            match self.accept_any() {
                Ok((stream, _)) => return Some(stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // EINVAL: a listener that was shut down, and whose backlog is empty.
                    io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput => {
                        self.is_readable = false;
                        self.shortage_reported = false;
                    }
                    _ => {
                        self.retry_at = Some(now + ACCEPT_BACKOFF);
                        self.report_shortage(error);
                    }
                },
            }
        }
        None
    }

    /// Accepts from the previous listener, until its backlog is empty, and then from this one.
    fn accept_any(&mut self) -> io::Result<(UnixStream, SocketAddr)> {
        if let Some(previous) = &self.previous {
            match previous.accept() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.previous = None,
                result => return result,
            }
        }
        self.socket.accept()
    }

    /// Records that the file may have disappeared.
    pub fn set_file_changed(&mut self, now: Instant) {
        self.check_file_at = self.file.is_some().then_some(now);
    }

    /// Checks the file now, and then each second.
    pub fn check_file_each_second(&mut self, now: Instant) {
        self.is_unwatched = true;
        self.set_file_changed(now);
    }

    /// Schedules a check of the file.
    pub fn check_file_later(&mut self, now: Instant) {
        self.check_file_at = Some(now + RESTORE_BACKOFF);
    }

    /// If the file has disappeared, listens on its path again, now or once a second until that
    /// works. Returns the path if there is a new socket, which must be registered.
    pub fn restore_file(&mut self, now: Instant) -> Option<&Path> {
        self.check_file_at.take_if(|at| *at <= now)?;
        if self.is_unwatched && self.file.is_some() {
            self.check_file_later(now);
        }
        if self.previous.is_some() {
            // Replacing it would reset the clients in its backlog.
            self.check_file_later(now);
            return None;
        }
        let file = self.file.as_mut().filter(|file| file.is_missing())?;
        file.release_lock();
        let path = Shown(&file.path);
        // Without waiting for another server: this is the event loop.
        match socket_file::listen(&file.path, file.mode, Duration::ZERO) {
            Ok((socket, file)) => {
                say(format_args!(
                    "{path} disappeared, and the server has created it again"
                ));
                self.previous = Some(std::mem::replace(&mut self.socket, socket));
                self.is_readable = true;
                self.loss_reported = false;
                Some(&self.file.insert(file).path)
            }
            Err(error) => {
                self.check_file_at = Some(now + RESTORE_BACKOFF);
                if !std::mem::replace(&mut self.loss_reported, true) {
                    say(format_args!(
                        "{path} disappeared: nobody can connect. The server tries every second to \
                         create it again: {error}"
                    ));
                }
                None
            }
        }
    }

    /// Removes the socket's file and refuses new connections. Returns whether the backlog is
    /// still to be accepted: that of a service manager's socket belongs to the next server, and
    /// nothing is done to that socket.
    pub fn stop_accepting(&mut self) -> bool {
        let Some(file) = self.file.take() else {
            return false;
        };
        // Dropping it removes the file.
        drop(file);
        // A client that has found the file but not connected is now refused. On Linux this cannot
        // fail on a listening socket. On macOS it does nothing (ENOTCONN): such a client is accepted,
        // or reset when the socket is closed.
        let _ = rustix::net::shutdown(&self.socket, Shutdown::Read);
        self.is_readable = true;
        self.retry_at = None;
        true
    }

    /// Reports on stderr that connections wait, once until the backlog is empty again.
    fn report_shortage(&mut self, reason: impl Display) {
        if !std::mem::replace(&mut self.shortage_reported, true) {
            say(format_args!("New connections must wait: {reason}"));
        }
    }
}

/// How many descriptors there are for each purpose.
#[derive(Debug, Clone, Copy)]
pub struct DescriptorLimits {
    /// Connections that the hook listener may have open.
    pub clients: usize,
    /// How many of these may be readers of live events. Hooks always keep some.
    pub live_readers: usize,
    /// Connections that the output listener may have open.
    pub readers: usize,
    /// Descriptors that sessions may use at most, see [`Listener::reserved`].
    pub sessions: usize,
}

/// Raises the limit of open descriptors, and divides it. Each listener gets half, so that neither
/// can use up the other's. Without an output socket, the hook listener gets all.
pub fn descriptor_limits(has_output_socket: bool) -> DescriptorLimits {
    let available = raise_descriptor_limit().saturating_sub(RESERVED_FDS);
    let available = usize::try_from(available).unwrap_or(usize::MAX);
    let listeners = if has_output_socket { 2 } else { 1 };
    let (share, sessions) = (available / listeners, available / 3 * 2);
    DescriptorLimits {
        clients: share.max(1),
        live_readers: (share - sessions / listeners) / 2,
        readers: share.max(1),
        sessions,
    }
}

/// Raises the limit of open descriptors as far as the system allows (getrlimit(2)), and returns it.
fn raise_descriptor_limit() -> u64 {
    let system_limit = system_limit();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = lowest([limit.maximum, system_limit]);
    // If this is not permitted, the limit stays as it was.
    let _ = setrlimit(Resource::Nofile, limit);
    let current = getrlimit(Resource::Nofile).current;
    lowest([current, system_limit]).unwrap_or(u64::MAX)
}

/// The lowest of limits, of which `None` is infinite.
fn lowest(limits: [Option<u64>; 2]) -> Option<u64> {
    limits.into_iter().flatten().min()
}

/// What a process may open at most, whatever its own limit says. On Linux its own limit cannot be
/// higher (`fs.nr_open`).
#[cfg(target_os = "linux")]
fn system_limit() -> Option<u64> {
    None
}

/// On macOS it often is: the limit of a shell can be infinite.
#[cfg(target_os = "macos")]
fn system_limit() -> Option<u64> {
    let mut limit: libc::c_int = 0;
    let mut size = size_of::<libc::c_int>();
    // SAFETY: the name ends with a NUL, `limit` and `size` outlive the call, and `size` is the size
    // of `limit`. Nothing is set.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.maxfilesperproc".as_ptr(),
            (&raw mut limit).cast(),
            &mut size,
            std::ptr::null_mut(),
            0,
        )
    };
    u64::try_from(limit).ok().filter(|_| result == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::life_lock::LifeLock;
    use std::fs;

    /// As on macOS, where no poll reports it.
    #[test]
    fn an_unwatched_file_is_looked_at_each_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.sock");
        let mut listener = Listener::open(None, &path, 0o600, 1).unwrap();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        listener.check_file_each_second(start);
        assert_eq!(listener.restore_file(start), None);
        assert_eq!(listener.retry_at(), Some(after(1)));
        for second in [1, 3] {
            fs::remove_file(&path).unwrap();
            assert!(listener.restore_file(after(second)).is_some());
            assert!(path.exists());
            // The backlog of the previous listener is empty.
            assert!(listener.accept(0, after(second)).is_none());
            assert!(LifeLock::take(&path).is_err(), "the new file has no lock");
            assert_eq!(listener.restore_file(after(second + 1)), None);
        }
        listener.stop_accepting();
        assert_eq!(listener.restore_file(after(5)), None);
        assert_eq!(listener.retry_at(), None);
    }

    #[test]
    fn the_system_can_allow_less_than_the_limit_of_the_process() {
        for (limits, expected) in [
            ([None, None], None),
            ([None, Some(10_240)], Some(10_240)),
            ([Some(256), Some(10_240)], Some(256)),
            ([Some(20_000), Some(10_240)], Some(10_240)),
        ] {
            assert_eq!(lowest(limits), expected);
        }
    }
}
