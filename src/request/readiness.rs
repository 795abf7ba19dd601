//! Waiting for descriptors, with a deadline.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Calls `operation` on a descriptor until it does not fail with `WouldBlock`, and waits
/// for `readiness` in between. Fails with `TimedOut` after the deadline, if there is one.
pub fn retry_until_ready<T>(
    fd: BorrowedFd,
    readiness: PollFlags,
    deadline: Option<Instant>,
    mut operation: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match operation() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let left = left.and_then(|left| Timespec::try_from(left).ok());
                // Whatever this returns, the next attempt finds out more.
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(fd, readiness)],
                    left.as_ref(),
                );
            }
            result => return result,
        }
    }
}

/// Reads what there is, and waits until there is something. Fails with `TimedOut` after the
/// deadline, if there is one. `fd` must not block.
pub fn read(fd: impl AsFd, room: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
    let fd = fd.as_fd();
    retry_until_ready(fd, PollFlags::IN, deadline, || {
        Ok(rustix::io::read(fd, &mut *room)?)
    })
}
