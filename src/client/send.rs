//! Sends one event: the program that each hook runs.
//!
//! Claude Code waits for its hooks, reads what they print, and obeys their exit codes.
//! So a failure prints nothing and exits with 0, connecting and sending take one second
//! at most, and nothing is set up that one request does not need: starting the process is
//! nearly the whole cost.
//!
//! A payload contains prompts and files, and in `/tmp` anybody can create a socket of the
//! expected name. So the kernel is asked who listens before a byte is sent.
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
use rustix::net::sockopt::{self, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::geteuid;

use crate::cli::SendOptions;
use crate::diagnostics::stderr::say;
use crate::format::sanitize_char;
use crate::peer;

/// The time for connecting, sending and the response together.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Sends the payload on stdin. A closed stdin is an empty payload. So is a terminal: a
/// person who tries the command wants to see an event, not to type one.
pub fn run(options: &SendOptions) {
    let result = send(options);
    if !options.is_verbose {
        return;
    }
    let (event, path) = (&options.event_name, options.socket.display());
    match result {
        Ok(()) => say(format_args!("{event} was taken at {path}")),
        Err(error) => say(format_args!("{event} was not taken at {path}: {error}")),
    }
}

/// Returns when the server has taken the event. The error says why it has not.
fn send(options: &SendOptions) -> Result<(), String> {
    // Read to the end, whether or not there is a server: the writer must not meet a closed pipe.
    let payload = read_payload(io::stdin().as_fd())
        .map_err(|error| format!("cannot read the payload on stdin: {error}"))?;
    let deadline = Instant::now() + TIMEOUT;
    let explain = |error| explain_failure(&options.socket, error);
    let server = connect(&options.socket).map_err(explain)?;
    check_owner(&server)?;
    let head = request_head(&options.event_name, payload.len());
    let written = write_request(&server, &head, &payload, deadline);
    // A server that refuses may have answered before everything was sent.
    match (written, read_status_line(&server, deadline)) {
        (_, Ok(line)) if line.starts_with("HTTP/1.1 200 ") => Ok(()),
        (_, Ok(line)) if !line.is_empty() => Err(format!("the server answered {line}")),
        (Err(error), _) | (_, Err(error)) => Err(explain(error)),
        (Ok(()), Ok(_)) => Err("the server closed the connection without a response".into()),
    }
}

fn read_payload(stdin: BorrowedFd) -> io::Result<Vec<u8>> {
    let mut payload = Vec::new();
    let mut file = File::from(stdin.try_clone_to_owned()?);
    if !stdin.is_terminal() {
        retry_until_ready(stdin, PollFlags::IN, None, || {
            file.read_to_end(&mut payload)
        })?;
    }
    Ok(payload)
}

fn connect(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // poll(2) does not report room in a full backlog. A blocking connect waits for it, for
    // as long as SO_SNDTIMEO says, and then fails with EAGAIN (socket(7), connect(2)).
    set_socket_timeout(&socket, sockopt::Timeout::Send, Some(TIMEOUT))?;
    retry_on_intr(|| net::connect(&socket, &address))?;
    let stream = UnixStream::from(socket);
    stream.set_nonblocking(true)?;
    Ok(stream)
}

/// Checks that the listener belongs to this user or to root. The kernel recorded its
/// owner at listen(2) (`SO_PEERCRED`, unix(7)).
fn check_owner(server: &UnixStream) -> Result<(), String> {
    let owner = peer::of(server.as_fd())
        .map_err(|error| format!("cannot find out who listens there: {error}"))?;
    let user = geteuid().as_raw();
    if owner.uid != user && owner.uid != 0 {
        return Err(format!(
            "user {} listens there, and user {user} sends only to itself and to root",
            owner.uid
        ));
    }
    Ok(())
}

fn request_head(event_name: &str, length: usize) -> String {
    let event: String = form_urlencoded::byte_serialize(event_name.as_bytes()).collect();
    format!(
        "POST /hook?event={event} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

/// Writes head and payload with as few system calls as possible: a request that arrives
/// in one piece costs the server least.
fn write_request(
    server: &UnixStream,
    head: &str,
    payload: &[u8],
    deadline: Instant,
) -> io::Result<()> {
    let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(payload)];
    let mut parts = &mut parts[..];
    while !parts.is_empty() {
        let count = retry_until_ready(server.as_fd(), PollFlags::OUT, Some(deadline), || {
            (&*server).write_vectored(parts)
        })?;
        IoSlice::advance_slices(&mut parts, count);
    }
    Ok(())
}

/// Reads the first line of the response, which the server sends in one piece. Empty if the
/// server closed the connection.
fn read_status_line(server: &UnixStream, deadline: Instant) -> io::Result<String> {
    let mut response = [0; 256];
    let count = retry_until_ready(server.as_fd(), PollFlags::IN, Some(deadline), || {
        (&*server).read(&mut response)
    })?;
    let response = String::from_utf8_lossy(&response[..count]);
    let line = response.lines().next().unwrap_or_default();
    Ok(line.chars().map(sanitize_char).collect())
}

/// Calls `operation` on a descriptor until it does not fail with `WouldBlock`, and waits
/// for `readiness` in between. Fails with `TimedOut` after the deadline, if there is one.
fn retry_until_ready<T>(
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

/// Explains to the user why the server was not reached, or not in time.
fn explain_failure(path: &Path, error: io::Error) -> String {
    let is_socket = |file: Metadata| file.file_type().is_socket();
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket. Is the server running?".into(),
        io::ErrorKind::ConnectionRefused if !fs::metadata(path).is_ok_and(is_socket) => {
            "that is not a socket. Give the path of the server's hook socket".into()
        }
        io::ErrorKind::ConnectionRefused => "its server has ended. Start it again".into(),
        io::ErrorKind::PermissionDenied => {
            "this user may not send to it. Give the server another --mode".into()
        }
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
            "the server did not answer within a second".into()
        }
        io::ErrorKind::InvalidFilename => {
            "the path is too long for a socket (107 bytes at most)".into()
        }
        _ => error.to_string(),
    }
}
