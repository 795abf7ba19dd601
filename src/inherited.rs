//! A descriptor that the server was started with, written without ever waiting.
//!
//! Setting `O_NONBLOCK` on an inherited descriptor would be simple and wrong:
//! the flag belongs to the open file description, which is shared with the
//! shell and with every other program started from it. So each kind of file is
//! written in the way that leaves the shared description as it was:
//!
//! | what it is | how it is written |
//! | --- | --- |
//! | regular file, `/dev/null` | `write`: it takes what it is given (a slow disk is waited for: no poll can tell) |
//! | socket | `send` with `MSG_DONTWAIT`, send(2) |
//! | pipe, terminal | opened again through `/proc/self/fd` (proc(5)): a description of our own, with `O_NONBLOCK` |
//! | one that cannot be opened again (another user's, after `su`), or no `/proc` | a thread that may wait, behind a pipe that we do not wait for |
//!
//! Stop 8 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mio::unix::pipe;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};

/// A descriptor that whoever started the server gave it.
#[derive(Debug)]
pub enum Inherited {
    /// Takes what it is given; a poll has nothing to tell about it.
    Immediate(File),
    /// A description of our own, with `O_NONBLOCK`.
    Reopened(File),
    Socket(OwnedFd),
    /// A thread that may wait copies what comes out of the pipe, and says when it is done.
    Courier(pipe::Sender, Receiver<()>),
}

impl Inherited {
    /// Finds the way to write to `fd`, which stays as it is.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        let is_terminal = std::io::IsTerminal::is_terminal(&file);
        if kind.is_socket() {
            Ok(Inherited::Socket(file.into()))
        } else if !kind.is_fifo() && !is_terminal {
            Ok(Inherited::Immediate(file))
        } else if let Ok(own) = reopen(fd.as_fd()) {
            Ok(Inherited::Reopened(own))
        } else {
            courier(file)
        }
    }

    /// The descriptor by which a poll can tell that there is room again.
    pub fn watchable(&self) -> Option<RawFd> {
        match self {
            Inherited::Immediate(_) => None,
            Inherited::Reopened(file) => Some(file.as_raw_fd()),
            Inherited::Socket(socket) => Some(socket.as_raw_fd()),
            Inherited::Courier(pipe, _) => Some(pipe.as_raw_fd()),
        }
    }

    /// Waits until all that was written has left this process, `patience` at most.
    pub fn finish(self, patience: Duration) {
        if let Inherited::Courier(pipe, done) = self {
            drop(pipe);
            // Either the thread is done or it is late; both end the waiting.
            let _ = done.recv_timeout(patience);
        }
    }
}

impl Write for Inherited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Inherited::Immediate(file) | Inherited::Reopened(file) => file.write(bytes),
            Inherited::Socket(socket) => Ok(send(socket, bytes, SendFlags::DONTWAIT)?),
            Inherited::Courier(pipe, _) => pipe.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn reopen(fd: BorrowedFd) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // O_NOCTTY: a terminal must not become ours by being opened.
    std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// `/dev/fd` elsewhere hands out the same description, so there is no own one to be had.
#[cfg(not(target_os = "linux"))]
fn reopen(_: BorrowedFd) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn courier(to: File) -> io::Result<Inherited> {
    let (sender, from) = pipe::new()?;
    from.set_nonblocking(false)?;
    let (done, finished) = mpsc::channel();
    thread::Builder::new()
        .name("courier".into())
        .spawn(move || {
            // An error ends the errand: that `from` is dropped tells the other end.
            let _ = carry(from, to);
            // Nobody may be left to hear this.
            let _ = done.send(());
        })?;
    Ok(Inherited::Courier(sender, finished))
}

/// Copies until there is no more, or nobody to take it.
fn carry(mut from: pipe::Receiver, mut to: File) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        // Asked for nothing, poll(2) still tells when the other end is gone.
        if wait(&[
            (from.as_fd(), PollFlags::IN),
            (to.as_fd(), PollFlags::empty()),
        ])? == 1
        {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let mut rest = &buffer[..count];
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody else has set O_NONBLOCK.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait(&[(to.as_fd(), PollFlags::OUT)])?;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// Waits until something is to be told of a descriptor, and says of which. Of
/// several it is the last: that nobody takes anything any more matters more than what
/// there is to be taken.
fn wait(what: &[(BorrowedFd, PollFlags)]) -> io::Result<usize> {
    let mut polled: Vec<_> = what
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    loop {
        match poll(&mut polled, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(polled
        .iter()
        .rposition(|fd| !fd.revents().is_empty())
        .unwrap_or(0))
}
