//! Requests to the server. One that is answered at once has one second.
//!
//! A payload contains prompts and files, and in `/tmp` anybody can create a socket of the
//! expected name. So the kernel is asked who listens before a byte is sent.
//!
//! Stop 17 of EDU_NOTES.md.

pub mod readiness;

use std::fs;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{self, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::geteuid;

use self::readiness::retry_until_ready;
use crate::peer;
use crate::terminal::sanitize;

/// The time for connecting, sending and the response together.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The room for one read of a response.
const READ_SIZE: usize = 64 << 10;
/// A longer response is not read: a list of the sessions of a server is much shorter.
const MAX_RESPONSE: usize = 16 << 20;

/// Sends a request, and returns the status line of the response. The error explains to the
/// user why there is none.
pub fn exchange(socket: &Path, head: &str, body: &[u8]) -> Result<String, String> {
    let deadline = Instant::now() + TIMEOUT;
    let explain = |error| explain_failure(socket, error);
    let server = connect(socket).map_err(explain)?;
    check_owner(&server)?;
    let written = write_request(&server, head, body, deadline);
    // A server that refuses may have answered before everything was sent.
    match (written, read_status_line(&server, deadline)) {
        (_, Ok(line)) if !line.is_empty() => Ok(line),
        (Err(error), _) | (_, Err(error)) => Err(explain(error)),
        (Ok(()), Ok(_)) => Err("the server closed the connection without a response".into()),
    }
}

/// Why a request was not sent.
pub enum Failure {
    /// No server listens there now.
    NoServer(String),
    Other(String),
}

/// Connects, and sends a request whose response the caller reads. The stream does not block.
pub fn get(socket: &Path, target: &str) -> Result<UnixStream, Failure> {
    let explain = |error: io::Error| {
        // Without room in its backlog for a second, a server is stopped.
        let is_refused = matches!(
            Errno::from_io_error(&error),
            Some(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN)
        );
        let is_file = fs::metadata(socket).is_ok_and(|file| !file.file_type().is_socket());
        let explanation = explain_failure(socket, error);
        match is_refused && !is_file {
            true => Failure::NoServer(explanation),
            false => Failure::Other(explanation),
        }
    };
    let server = connect(socket).map_err(explain)?;
    check_owner(&server).map_err(Failure::Other)?;
    let head = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    write_request(&server, &head, b"", Instant::now() + TIMEOUT).map_err(explain)?;
    Ok(server)
}

/// The whole response to a request, within one second. `None`: there is none.
pub fn response(socket: &Path, target: &str) -> Option<Vec<u8>> {
    let server = get(socket, target).ok()?;
    let deadline = Instant::now() + TIMEOUT;
    let mut response = Vec::new();
    loop {
        response.reserve(READ_SIZE);
        let read = || Ok(rustix::io::read(&server, spare_capacity(&mut response))?);
        let count = retry_until_ready(server.as_fd(), PollFlags::IN, Some(deadline), read);
        match count.ok()? {
            0 => return Some(response),
            _ if response.len() > MAX_RESPONSE => return None,
            _ => {}
        }
    }
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
    let owner = peer::credentials(server.as_fd())
        .map_err(|error| format!("cannot find out who listens there: {error}"))?;
    if peer::is_self_or_root(owner.uid) {
        return Ok(());
    }
    // Every user without a number in this user namespace has this one, so that it may be
    // anybody's, even if it is this user's too (user_namespaces(7)).
    if owner.uid == peer::overflow_uid() {
        return Err(format!(
            "the kernel gives no number of this user namespace for the user who listens \
             there (it says {}), so it may be anybody. Send from outside the namespace, or \
             start the server inside",
            owner.uid
        ));
    }
    Err(format!(
        "user {} listens there, and user {} trusts only its own servers and those of root",
        owner.uid,
        geteuid().as_raw()
    ))
}

/// Writes head and body with as few system calls as possible: a request that arrives in
/// one piece costs the server least.
fn write_request(
    server: &UnixStream,
    head: &str,
    body: &[u8],
    deadline: Instant,
) -> io::Result<()> {
    let mut parts = [IoSlice::new(head.as_bytes()), IoSlice::new(body)];
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
    Ok(sanitize(response.lines().next().unwrap_or_default()))
}

/// Explains to the user why the server was not reached, or not in time.
fn explain_failure(path: &Path, error: io::Error) -> String {
    let explanation = match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            "there is no such file: either no server has started there, or its file was deleted. \
             Start the server, or give the path of its hook socket"
        }
        Some(Errno::CONNREFUSED) => explain_refusal(path),
        Some(Errno::ACCESS) => explain_no_access(path),
        Some(Errno::PERM) => {
            "a sandbox forbids Unix sockets to this process. Allow it this one, or send from \
             outside"
        }
        Some(Errno::NAMETOOLONG) => "the path is too long for a socket (107 bytes at most)",
        _ if matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
        ) =>
        {
            "the server did not answer within a second"
        }
        _ => return error.to_string(),
    };
    explanation.to_owned()
}

fn explain_refusal(path: &Path) -> &'static str {
    match fs::metadata(path) {
        Ok(file) if !file.file_type().is_socket() => {
            "that is not a socket. Give the path of the server's hook socket"
        }
        _ => "its server has ended. Start it again",
    }
}

fn explain_no_access(path: &Path) -> &'static str {
    match fs::metadata(path) {
        Err(_) => {
            "this user may not enter a directory on the path. Choose a socket in a directory \
             that is open to this user"
        }
        Ok(_) => "this user may not write to the socket. Give the server another --mode",
    }
}
