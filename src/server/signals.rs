//! The signals that shut down the server, as bytes that the poll can report, and those that must not
//! disturb it.
//!
//! A signal interrupts the program anywhere, and a handler may call almost nothing
//! (signal-safety(7)). So the handler only writes a byte to a socket pair, and the poll
//! reports the other end as readable: the self-pipe trick. The byte does not say which
//! signal came, since all mean the same: [`shutdown`](super::shutdown) handles them.
//!
//! Stop 14 of EDU_NOTES.md.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use mio::net::UnixStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Catches the signals that shut down the server. Returns a stream that receives one byte
/// for each. Those that a write can raise no longer kill or stop the process.
pub fn catch() -> io::Result<UnixStream> {
    let (receiver, sender) = StdStream::pair()?;
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if signal != SIGHUP || !is_ignored(signal) {
            pipe::register(signal, sender.try_clone()?)?;
        }
    }
    // A write past the file size limit then fails with EFBIG instead of killing the
    // process. The flag itself is not used.
    signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
    // After `stty tostop`, a terminal stops background processes that write to it, unless they ignore
    // this (termios(3)). A stopped server would hold up every hook. The server starts no process
    // that could inherit it.
    // SAFETY: no handler is installed.
    if unsafe { libc::signal(libc::SIGTTOU, libc::SIG_IGN) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    receiver.set_nonblocking(true)?;
    Ok(UnixStream::from_std(receiver))
}

/// Whether the process was started with the signal ignored, as nohup(1) does.
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: all zeroes is a valid `sigaction`, which the call overwrites. A null second
    // argument changes nothing (sigaction(2)).
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
