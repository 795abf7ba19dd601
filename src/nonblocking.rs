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
//! | socket, on Linux | `send` with `MSG_DONTWAIT`, send(2) |
//! | pipe, terminal, on Linux | a new description with `O_NONBLOCK`, opened through `/proc/self/fd` (proc(5)) |
//! | pipe or terminal that this process may not open (another user's, after `su`), and all of these on macOS | a thread that may block, fed through a non-blocking pipe |
//!
//! A descriptor that no poll can report has no [`NonblockingFd::pollable_fd`]: its user tries
//! again after a pause.
//!
//! This file does not know what is written.
//!
//! Stop 10 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use mio::unix::pipe;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
        if !kind.is_socket() && !kind.is_fifo() && !file.is_terminal() {
            return Ok(NonblockingFd::File(file));
        }
        without_thread(file).or_else(spawn_writer_thread)
    }

    /// The descriptor whose writability a poll can report. `None` for a file.
    pub fn pollable_fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            NonblockingFd::File(_) => None,
            NonblockingFd::Reopened(file) => Some(file.as_fd()),
            NonblockingFd::Socket(socket) => Some(socket.as_fd()),
            NonblockingFd::WriterThread(pipe, _) => Some(pipe.as_fd()),
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

/// A way to write to a socket, pipe or terminal without a thread. Gives the file back if there is
/// none.
#[cfg(target_os = "linux")]
fn without_thread(file: File) -> Result<NonblockingFd, File> {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    if file
        .metadata()
        .is_ok_and(|file| file.file_type().is_socket())
    {
        return Ok(NonblockingFd::Socket(file.into()));
    }
    // O_NOCTTY: opening a terminal must not make it our controlling terminal.
    let reopened = File::options()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", file.as_raw_fd()));
    reopened.map(NonblockingFd::Reopened).map_err(|_| file)
}

/// On macOS `/dev/fd` opens the same description, and a send with `MSG_DONTWAIT` blocks all the
/// same.
#[cfg(not(target_os = "linux"))]
fn without_thread(file: File) -> Result<NonblockingFd, File> {
    Err(file)
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
        // poll(2) reports a closed reader without being asked (POLLERR), on macOS only if it is
        // asked for POLLHUP.
        let input = (from.as_fd(), PollFlags::IN);
        let output = (to.as_fd(), PollFlags::HUP);
        if wait_for_any(&[input, output])? == 1 && has_lost_reader(to.as_fd()) {
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

/// Whether nobody will read what is written to `fd`: asks for writability, and whether it was
/// closed instead. macOS reports a reader that has gone as the end of its input, which may also be
/// the half of the connection that a living reader has shut down.
pub fn has_lost_reader(fd: BorrowedFd) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::OUT)];
    let result = rustix::io::retry_on_intr(|| poll(&mut fds, Some(&Timespec::default())));
    let closed = PollFlags::HUP | PollFlags::ERR;
    result.is_ok() && fds[0].revents().intersects(closed)
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;

    /// As on macOS, where the thread writes to sockets too.
    #[test]
    fn a_writer_thread_writes_to_a_socket_until_its_reader_has_gone() {
        let (stdout, mut reader) = UnixStream::pair().unwrap();
        // It has nothing to send, and reads on.
        reader.shutdown(Shutdown::Write).unwrap();
        let file = File::from(OwnedFd::from(stdout));
        let mut fd = spawn_writer_thread(file).unwrap();
        fd.write_all(b"event\n").unwrap();
        let mut line = [0; 6];
        reader.read_exact(&mut line).unwrap();
        assert_eq!(&line, b"event\n");
        assert!(!has_lost_reader(fd.pollable_fd().unwrap()));
        drop(reader);
        let NonblockingFd::WriterThread(pipe, is_done) = fd else {
            panic!("no thread");
        };
        is_done.recv().unwrap();
        assert!(has_lost_reader(pipe.as_fd()));
    }

    /// macOS reports both as read closed.
    #[test]
    fn a_reader_that_has_gone_is_told_from_one_that_only_sends_no_more() {
        let (sink, reader) = UnixStream::pair().unwrap();
        assert!(!has_lost_reader(sink.as_fd()));
        reader.shutdown(Shutdown::Write).unwrap();
        assert!(!has_lost_reader(sink.as_fd()));
        // Also without room.
        sink.set_nonblocking(true).unwrap();
        while (&sink).write(&[0; 4096]).is_ok() {}
        assert!(!has_lost_reader(sink.as_fd()));
        drop(reader);
        assert!(has_lost_reader(sink.as_fd()));
    }
}
