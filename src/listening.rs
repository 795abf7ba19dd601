//! A listener: who is let in, and what happens when there are no descriptors left.
//!
//! Stop 4 of EDU_NOTES.md.

use std::io;
use std::os::unix::net::UnixListener as StdListener;
use std::path::Path;
use std::time::{Duration, Instant};

use mio::net::{UnixListener, UnixStream};
use rustix::net::Shutdown;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::socket_file::{self, SocketFile};
use crate::stderr::say;

/// How long accept is left alone after it failed for want of something that
/// others may give back: descriptors of the whole system, memory.
const REST: Duration = Duration::from_secs(1);
/// Descriptors that are neither clients nor readers: stdio and what it was
/// reopened as, the poll, the listeners, the signals, some to spare.
const OWN: u64 = 20;

/// A listener and its file. Fields are dropped in this order, and the file must
/// go first: see [`SocketFile`].
#[derive(Debug)]
pub struct Listening {
    /// `None` where the file is not ours to remove, nor the listener to shut down.
    file: Option<SocketFile>,
    listener: UnixListener,
    /// Connections that may be open at a time.
    capacity: usize,
    /// Whether accept may find somebody: it did not say `WouldBlock` last.
    has_more: bool,
    /// Until when accept is left alone, after an error.
    rests_until: Option<Instant>,
    /// Whether somebody has been kept waiting since the backlog was last empty.
    is_short: bool,
}

impl Listening {
    /// Listens at what was handed over, or else on `path` with the permissions `mode`,
    /// and lets in `capacity` connections at a time. The error is that of
    /// [`socket_file::listen`].
    pub fn open(
        handed: Option<StdListener>,
        path: &Path,
        mode: u32,
        capacity: usize,
    ) -> Result<Self, String> {
        let (listener, file) = match handed {
            Some(listener) => (UnixListener::from_std(listener), None),
            None => socket_file::listen(path, mode).map(|(own, file)| (own, Some(file)))?,
        };
        Ok(Listening {
            file,
            listener,
            capacity,
            has_more: true,
            rests_until: None,
            is_short: false,
        })
    }

    /// What the poll is to watch.
    pub fn source(&mut self) -> &mut UnixListener {
        &mut self.listener
    }

    /// Takes note that somebody connected.
    pub fn note_arrival(&mut self) {
        self.has_more = true;
    }

    /// Takes note that a descriptor was closed, for want of which accept may have failed.
    pub fn note_departure(&mut self) {
        self.rests_until = None;
    }

    /// When accept is to be tried again, after an error.
    pub fn rests_until(&self) -> Option<Instant> {
        self.rests_until
    }

    /// Whether accept may find somebody, and may be tried: `open` connections are open.
    pub fn is_due(&self, open: usize, now: Instant) -> bool {
        self.has_more && open < self.capacity && self.rests_until.is_none_or(|end| end <= now)
    }

    /// The next connection in the backlog, if there is one and it may come in.
    /// accept(2) takes nobody out of the backlog when it fails.
    pub fn accept(&mut self, open: usize, now: Instant) -> Option<UnixStream> {
        if self.has_more && open >= self.capacity {
            self.report(format_args!(
                "{open} are open, which is all that the limit of descriptors allows"
            ));
        }
        while self.is_due(open, now) {
            self.rests_until = None;
            match self.listener.accept() {
                Ok((stream, _)) => return Some(stream),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted => {}
                    // EINVAL: the backlog of a listener that was shut down is empty (accept(2)).
                    io::ErrorKind::WouldBlock | io::ErrorKind::InvalidInput => {
                        self.has_more = false;
                        self.is_short = false;
                    }
                    _ => {
                        self.rests_until = Some(now + REST);
                        self.report(error);
                    }
                },
            }
        }
        None
    }

    /// Whether the backlog is known to be empty.
    pub fn is_exhausted(&self) -> bool {
        !self.has_more
    }

    /// Removes the file and refuses who has found it but not connected yet, instead
    /// of leaving them in a backlog that nobody will serve. Who is in the backlog
    /// can still be accepted: true. False where the listener was handed over: then
    /// nobody is refused, and who is in the backlog is the next server's.
    pub fn shut(&mut self) -> bool {
        let Some(file) = self.file.take() else {
            return false;
        };
        // That removes it.
        drop(file);
        // It cannot fail for a socket that listens.
        let _ = rustix::net::shutdown(&self.listener, Shutdown::Read);
        self.has_more = true;
        self.rests_until = None;
        true
    }

    /// Says, once until the backlog is empty again, that somebody has to wait.
    fn report(&mut self, why: impl std::fmt::Display) {
        if !std::mem::replace(&mut self.is_short, true) {
            say(format_args!("New connections must wait: {why}"));
        }
    }
}

/// Raises the limit of open descriptors as far as the system allows (getrlimit(2)),
/// and says how many connections clients and readers may have open: as many each,
/// so that neither can use up the other's. Without readers, clients may have all.
pub fn capacities(has_readers: bool) -> (usize, usize) {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is not allowed, the limit stays what it was.
    let _ = setrlimit(Resource::Nofile, limit);
    let all = getrlimit(Resource::Nofile)
        .current
        .unwrap_or(u64::MAX)
        .saturating_sub(OWN);
    let all = usize::try_from(all).unwrap_or(usize::MAX);
    if has_readers {
        ((all / 2).max(1), (all / 2).max(1))
    } else {
        (all.max(1), 0)
    }
}
