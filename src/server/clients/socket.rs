//! A client's socket, as far as the loop uses it.
//!
//! The loop works with a [`UnixStream`]. The model test works with a simulated one.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io::{self, Read, Write};
use std::net::Shutdown;

use mio::net::UnixStream;
use mio::{Interest, Registry, Token};

/// A non-blocking stream socket.
pub trait Socket: Read + Write {
    /// What sockets are registered with.
    type Registry;

    /// Registers the socket.
    fn register(
        &mut self,
        registry: &Self::Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// Changes what the socket is registered for.
    fn reregister(
        &mut self,
        registry: &Self::Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()>;

    /// The number of bytes that have arrived and are not read yet.
    fn unread(&self) -> u64;

    /// Shuts down writing (shutdown(2)).
    fn shutdown_write(&self);
}

impl Socket for UnixStream {
    type Registry = Registry;

    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.register(self, token, interest)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        registry.reregister(self, token, interest)
    }

    /// `FIONREAD` of unix(7).
    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or(0)
    }

    fn shutdown_write(&self) {
        // ENOTCONN: the peer has disconnected, and the next read reports that.
        let _ = self.shutdown(Shutdown::Write);
    }
}
