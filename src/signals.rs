//! Signals as bytes that the poll can watch.
//!
//! A signal interrupts the program anywhere, and almost nothing may be done
//! there (signal-safety(7)). So the handler only writes a byte into a socket
//! pair, and the loop finds the byte when it next looks: the self-pipe trick.
//!
//! Stop 10 of EDU_NOTES.md.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Catches the signals that end the server. The stream gets a byte for each.
pub fn catch() -> io::Result<UnixStream> {
    let (ours, handlers) = StdStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal != SIGHUP || !is_ignored(signal) {
            pipe::register(signal, handlers.try_clone()?)?;
        }
    }
    // A file at its size limit then answers EFBIG instead of ending the
    // program; that the signal came is of no further interest.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    ours.set_nonblocking(true)?;
    Ok(UnixStream::from_std(ours))
}

/// Whether whoever started the server had the signal ignored, as nohup(1) does.
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all zeroes is a valid `sigaction`, which the call overwrites; a
    // null second argument changes nothing (sigaction(2)).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
