//! A client's socket, as far as the loop uses it.
//!
//! The loop works with a [`UnixStream`]. The model test works with a simulated one.
//!
//! Stop 7 of EDU_NOTES.md.

use std::io::{Read, Write};
use std::net::Shutdown;

use mio::event::Source;
use mio::net::UnixStream;

/// A non-blocking stream socket.
pub trait Socket: Read + Write + Source {
    /// The number of bytes that have arrived and are not read yet.
    fn unread(&self) -> u64;

    /// Shuts down writing (shutdown(2)).
    fn shutdown_write(&self);
}

impl Socket for UnixStream {
    /// `FIONREAD` of unix(7).
    fn unread(&self) -> u64 {
        rustix::io::ioctl_fionread(self).unwrap_or(0)
    }

    fn shutdown_write(&self) {
        // ENOTCONN: the peer has disconnected, and the next read reports that.
        let _ = self.shutdown(Shutdown::Write);
    }
}
