//! Writes to an inherited descriptor without blocking and without changing its flags.
//!
//! stdout and stderr come from the shell. Setting `O_NONBLOCK` on them would be simple and
//! wrong: the flag belongs to the open file description, which the shell and its other
//! programs share. So each kind of file is written in a way that leaves the shared
//! description as it was:
//!
//! | kind | written by |
//! | --- | --- |
//! | regular file, and any device but a terminal, such as `/dev/null` | `write`, which for a file waits only for the disk. No poll can report that |
//! | socket | `send` with `MSG_DONTWAIT`, send(2) |
//! | pipe, terminal | a new description with `O_NONBLOCK`, opened through `/proc/self/fd` (proc(5)) |
//! | pipe or terminal that this process may not open (another user's, after `su`), or no `/proc` | a thread that may block, fed through a non-blocking pipe |
//!
//! A descriptor that no poll can report has no [`NonblockingFd::pollable_fd`]: its user tries
//! again after a pause.
//!
//! This file does not know what is written.
//!
//! Stop 10 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mio::unix::pipe;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SendFlags, send};

/// A descriptor that other programs may share.
#[derive(Debug)]
pub enum NonblockingFd {
    /// A regular file or a device. It is never registered with a poll.
    File(File),
    /// A pipe or terminal, opened again with `O_NONBLOCK`.
    Reopened(File),
    Socket(OwnedFd),
    /// A thread copies what is written to the pipe. The channel signals that it has ended.
    WriterThread(pipe::Sender, Receiver<()>),
}

impl NonblockingFd {
    /// Finds the way to write to `fd`. `fd` itself is not changed.
    pub fn new(fd: impl AsFd) -> io::Result<Self> {
        let file = File::from(fd.as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        if kind.is_socket() {
            Ok(NonblockingFd::Socket(file.into()))
        } else if !kind.is_fifo() && !file.is_terminal() {
            Ok(NonblockingFd::File(file))
        } else if let Ok(reopened) = reopen(fd.as_fd()) {
            Ok(NonblockingFd::Reopened(reopened))
        } else {
            spawn_writer_thread(file)
        }
    }

    /// The descriptor whose writability a poll can report. `None` for a file.
    pub fn pollable_fd(&self) -> Option<RawFd> {
        match self {
            NonblockingFd::File(_) => None,
            NonblockingFd::Reopened(file) => Some(file.as_raw_fd()),
            NonblockingFd::Socket(socket) => Some(socket.as_raw_fd()),
            NonblockingFd::WriterThread(pipe, _) => Some(pipe.as_raw_fd()),
        }
    }

    /// Closes the descriptor. Waits up to `timeout` for a writer thread to write the rest.
    pub fn finish(self, timeout: Duration) {
        if let NonblockingFd::WriterThread(pipe, done) = self {
            drop(pipe);
            // An error means that the thread has ended or the time is over.
            let _ = done.recv_timeout(timeout);
        }
    }
}

impl Write for NonblockingFd {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            NonblockingFd::File(file) | NonblockingFd::Reopened(file) => file.write(bytes),
            NonblockingFd::Socket(socket) => Ok(send(socket, bytes, SendFlags::DONTWAIT)?),
            NonblockingFd::WriterThread(pipe, _) => pipe.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(target_os = "linux")]
fn reopen(fd: BorrowedFd) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // O_NOCTTY: opening a terminal must not make it our controlling terminal.
    std::fs::OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// Elsewhere `/dev/fd` opens the same description, so there is no new one.
#[cfg(not(target_os = "linux"))]
fn reopen(_: BorrowedFd) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

fn spawn_writer_thread(file: File) -> io::Result<NonblockingFd> {
    let (sender, receiver) = pipe::new()?;
    receiver.set_nonblocking(false)?;
    let (done, is_done) = mpsc::channel();
    thread::Builder::new()
        .name("writer".into())
        .spawn(move || {
            // After an error the pipe is closed, and the next write to it fails.
            let _ = copy(receiver, file);
            // It fails if nobody waits for the thread.
            let _ = done.send(());
        })?;
    Ok(NonblockingFd::WriterThread(sender, is_done))
}

/// Copies until the input ends or the output is closed by its reader.
fn copy(mut from: pipe::Receiver, mut to: File) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        // Without any flags, poll(2) still reports a closed reader (POLLERR).
        let input = (from.as_fd(), PollFlags::IN);
        let output = (to.as_fd(), PollFlags::empty());
        if wait_for_any(&[input, output])? == 1 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = from.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        write_all(&mut to, &buffer[..count])?;
    }
}

/// Like [`Write::write_all`], but also on a description on which another program has set
/// `O_NONBLOCK`.
fn write_all(to: &mut File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for_any(&[(to.as_fd(), PollFlags::OUT)])?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Blocks until a descriptor is ready. Returns the index of the last one that is: a closed
/// output matters more than new input.
fn wait_for_any(fds: &[(BorrowedFd, PollFlags)]) -> io::Result<usize> {
    let mut fds: Vec<_> = fds
        .iter()
        .map(|(fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
        .collect();
    rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
    let is_ready = |fd: &PollFd| !fd.revents().is_empty();
    Ok(fds.iter().rposition(is_ready).unwrap_or(0))
}
