//! One event, sent: what a hook's command runs.
//!
//! A client waits for its hooks, and heeds their exit codes and what they print. So
//! whatever fails here is silence and success; nothing is waited for longer than a
//! second, but for the payload; and nothing is set up that one request does not
//! need, for starting is nearly all that this costs.
//!
//! A payload holds prompts and files, and in `/tmp` anybody can make a socket of
//! the expected name. So before a byte is sent the kernel is asked who listens.
//!
//! Stop 4 of EDU_NOTES.md.

use std::fs::{self, File, Metadata};
use std::io::{self, IoSlice, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::geteuid;

use crate::args::Sending;
use crate::format::harmless;
use crate::peer;
use crate::stderr::say;

/// How long connecting, sending and the answer may take together.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sends the payload on stdin. Whatever goes wrong, the caller is to go on as if
/// nothing had. A stdin that is closed is an empty payload, and so is a terminal:
/// who tries this by hand wants to see an event, not to type one.
pub fn run(sending: &Sending) {
    let sent = send(sending);
    if !sending.is_verbose {
        return;
    }
    let (event, path) = (&sending.event, sending.socket.display());
    match sent {
        Ok(()) => say(format_args!("{event} was taken at {path}")),
        Err(why) => say(format_args!("{event} was not taken at {path}: {why}")),
    }
}

/// Returns when the server has taken the event. The error says why it has not.
fn send(sending: &Sending) -> Result<(), String> {
    // To its end, whether or not there is a server: whoever is still writing must
    // not meet a closed pipe.
    let payload = read_payload(io::stdin().as_fd())
        .map_err(|error| format!("the payload on stdin cannot be read: {error}"))?;
    let deadline = Instant::now() + PATIENCE;
    let unreachable = |error| unreachable(&sending.socket, error);
    let server = reach(&sending.socket).map_err(unreachable)?;
    check_owner(&server)?;
    let sent = write(&server, &head(&sending.event, &payload), &payload, deadline);
    // One that refuses may have answered before all was sent.
    match (sent, read_status(&server, deadline)) {
        (_, Ok(line)) if line.starts_with("HTTP/1.1 200 ") => Ok(()),
        (_, Ok(line)) if !line.is_empty() => Err(format!("the server answered {line}")),
        (Err(error), _) | (_, Err(error)) => Err(unreachable(error)),
        (Ok(()), Ok(_)) => Err("the server closed the connection without an answer".into()),
    }
}

fn read_payload(stdin: BorrowedFd) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let mut file = File::from(stdin.try_clone_to_owned()?);
    if !stdin.is_terminal() {
        patiently(stdin, PollFlags::IN, None, || {
            file.read_to_end(&mut payload)
        })?;
    }
    Ok(payload)
}

fn reach(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // No poll tells of room in a full backlog, but connect waits for it, as long as
    // sending may take, and then fails with EAGAIN (socket(7), connect(2)).
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    retry_on_intr(|| connect(&socket, &address))?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Whoever listens must be this user or root: the kernel noted at listen(2) who
/// that is (`SO_PEERCRED`, unix(7)).
fn check_owner(server: &UnixStream) -> Result<(), String> {
    let owner = peer::of(server.as_fd())
        .map_err(|error| format!("there is no telling whose it is: {error}"))?;
    let user = geteuid().as_raw();
    if owner.uid != user && owner.uid != 0 {
        return Err(format!(
            "user {} listens there, and user {user} sends only to itself and to root",
            owner.uid
        ));
    }
    Ok(())
}

fn head(event: &str, payload: &[u8]) -> String {
    let event: String = form_urlencoded::byte_serialize(event.as_bytes()).collect();
    format!(
        "POST /hook?event={event} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        payload.len()
    )
}

/// Writes both in as few calls as there can be: a request that comes whole costs
/// the server least.
fn write(server: &UnixStream, head: &str, payload: &[u8], deadline: Instant) -> io::Result<()> {
    let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(payload)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        let count = patiently(server.as_fd(), PollFlags::OUT, Some(deadline), || {
            (&*server).write_vectored(parts)
        })?;
        IoSlice::advance_slices(&mut parts, count);
    }
    Ok(())
}

/// The first line of the answer, which comes in one piece; nothing where there is none.
fn read_status(server: &UnixStream, deadline: Instant) -> io::Result<String> {
    let mut answer = [0; 256];
    let count = patiently(server.as_fd(), PollFlags::IN, Some(deadline), || {
        (&*server).read(&mut answer)
    })?;
    let answer = String::from_utf8_lossy(&answer[..count]);
    let line = answer.lines().next().unwrap_or_default();
    Ok(line.chars().map(harmless).collect())
}

/// Does what a descriptor may not be ready for, and waits for that, until the
/// deadline if there is one.
fn patiently<T>(
    fd: BorrowedFd,
    readiness: PollFlags,
    deadline: Option<Instant>,
    mut act: impl FnMut() -> io::Result<T>,
) -> io::Result<T> {
    loop {
        match act() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
                if left == Some(Duration::ZERO) {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let left = left.and_then(|left| Timespec::try_from(left).ok());
                // However this ends, trying again tells.
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(fd, readiness)],
                    left.as_ref(),
                );
            }
            result => return result,
        }
    }
}

/// What it means to a user that the server was not reached, or not in time.
fn unreachable(path: &Path, error: io::Error) -> String {
    let is_socket = |file: Metadata| file.file_type().is_socket();
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket. Is the server running?".into(),
        io::ErrorKind::ConnectionRefused if !fs::metadata(path).is_ok_and(is_socket) => {
            "that is no socket. Give the path that the server has".into()
        }
        io::ErrorKind::ConnectionRefused => "its server is gone. Start it again".into(),
        io::ErrorKind::PermissionDenied => {
            "this user may not send to it. Give the server another --mode".into()
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "the server did not answer within a second".into()
        }
        io::ErrorKind::InvalidFilename => {
            "no socket can have this path: it has room for 107 bytes".into()
        }
        _ => error.to_string(),
    }
}
