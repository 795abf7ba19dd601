//! Requests to the server, each with a timeout.
//!
//! A payload contains prompts and files, and in `/tmp` anybody can create a socket of the
//! expected name. So the kernel is asked who listens before a byte is sent.
//!
//! Stop 17 of EDU_NOTES.md.

pub mod readiness;

use std::fmt;
use std::fs;
use std::io::{self, IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use rustix::io::{Errno, retry_on_intr};
use rustix::net::sockopt::{self, set_socket_timeout};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType};
use rustix::process::geteuid;

use self::readiness::retry_until_ready;
use crate::cli::MAX_SOCKET_PATH;
use crate::peer;
use crate::terminal::{Shown, sanitize};

/// The time for a whole [`exchange`], and for each step of the others: connecting, sending, and
/// the response.
const TIMEOUT: Duration = Duration::from_secs(1);
/// How often a connection that is refused is tried again. On Linux a refusal means that the server
/// has ended. On macOS its backlog can be full.
const REFUSALS: u32 = if cfg!(target_os = "linux") { 0 } else { 4 };
/// The pause before each of these tries.
const REFUSAL_PAUSE: Duration = Duration::from_millis(20);
/// How the response to an accepted request begins.
const OK: &str = "HTTP/1.1 200 ";
/// The room for one read of a response.
const READ_SIZE: usize = 64 << 10;
/// A longer response is not read: a list of the sessions of a server is much shorter.
const MAX_RESPONSE: usize = 16 << 20;

/// Why a request failed. Shown to the user, it says what to do.
#[derive(Debug)]
pub enum Error {
    /// No server listens there now.
    NoServer(String),
    Other(String),
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        let (Error::NoServer(text) | Error::Other(text)) = self;
        formatter.write_str(text)
    }
}

/// Sends a request, and waits for the response. Any status but 200 is an error.
pub fn exchange(socket: &Path, head: &str, body: &[u8]) -> Result<(), Error> {
    let deadline = Instant::now() + TIMEOUT;
    let server = connect_to_trusted(socket)?;
    let written = write_request(&server, head, body, deadline);
    // A server that refuses may have answered before everything was sent.
    let problem = match (written, read_status_line(&server, deadline)) {
        (_, Ok(line)) if line.starts_with(OK) => return Ok(()),
        (_, Ok(line)) if !line.is_empty() => format!("the server answered {line}"),
        (Err(error), _) | (_, Err(error)) => return Err(failure(socket, error)),
        (Ok(()), Ok(_)) => "the server closed the connection without a response".into(),
    };
    Err(Error::Other(problem))
}

/// Whether a server answers at a socket, in words.
pub fn state(socket: &Path) -> String {
    let shown = Shown(socket);
    match check_health(socket) {
        Ok(()) => format!("{shown}: a server answers"),
        Err(error) => format!("{shown}: {error}"),
    }
}

/// Asks the server for nothing but its answer.
pub fn check_health(socket: &Path) -> Result<(), Error> {
    exchange(socket, &get_head("/health"), b"")
}

/// Sends a request whose response the caller reads. The stream does not block.
pub fn get(socket: &Path, target: &str) -> Result<UnixStream, Error> {
    let server = connect_to_trusted(socket)?;
    write_request(&server, &get_head(target), b"", Instant::now() + TIMEOUT)
        .map_err(|error| failure(socket, error))?;
    Ok(server)
}

/// The head of a request without a body.
fn get_head(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The body of the response to a request. `None`: there is none in time, or its status is not 200.
pub fn body(socket: &Path, target: &str) -> Option<String> {
    let server = get(socket, target).ok()?;
    let deadline = Instant::now() + TIMEOUT;
    let mut response = Vec::new();
    loop {
        response.reserve(READ_SIZE);
        let read = || Ok(rustix::io::read(&server, spare_capacity(&mut response))?);
        let count = retry_until_ready(server.as_fd(), PollFlags::IN, Some(deadline), read);
        match count.ok()? {
            0 => break,
            _ if response.len() > MAX_RESPONSE => return None,
            _ => {}
        }
    }
    let response = String::from_utf8_lossy(&response);
    let (head, body) = response.split_once("\r\n\r\n")?;
    head.starts_with(OK).then(|| body.to_owned())
}

fn connect_to_trusted(socket: &Path) -> Result<UnixStream, Error> {
    let server = connect(socket).map_err(|error| failure(socket, error))?;
    check_owner(&server).map_err(Error::Other)?;
    Ok(server)
}

/// Connects, with a few tries where a live server can refuse.
fn connect(path: &Path) -> io::Result<UnixStream> {
    retry_refused(REFUSALS, || connect_once(path))
}

/// Calls `connect` again, up to `refusals` times, while it is refused.
fn retry_refused<T>(refusals: u32, mut connect: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for _ in 0..refusals {
        match connect() {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                thread::sleep(REFUSAL_PAUSE);
            }
            result => return result,
        }
    }
    connect()
}

fn connect_once(path: &Path) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    // poll(2) does not report room in a full backlog. A blocking connect waits for it, for
    // as long as SO_SNDTIMEO says, and then fails with EAGAIN (socket(7), connect(2)). On macOS it
    // does not wait: see REFUSALS.
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
    let count = readiness::read(server, &mut response, Some(deadline))?;
    let response = String::from_utf8_lossy(&response[..count]);
    Ok(sanitize(response.lines().next().unwrap_or_default()))
}

/// Why the server was not reached, or not in time.
fn failure(socket: &Path, error: io::Error) -> Error {
    // Without room in its backlog for a second, a server is stopped. One that closes the connection
    // before it has the request is about to end.
    let is_without_server = matches!(
        Errno::from_io_error(&error),
        Some(Errno::NOENT | Errno::CONNREFUSED | Errno::AGAIN | Errno::PIPE | Errno::CONNRESET)
    );
    let explanation = explain(socket, error);
    if is_without_server && !is_other_file(socket) {
        Error::NoServer(explanation)
    } else {
        Error::Other(explanation)
    }
}

/// Explains to the user why the server was not reached, or not in time.
fn explain(path: &Path, error: io::Error) -> String {
    let explanation = match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NOTDIR) => {
            "there is no such file: either no server has started there, or its file was deleted. \
             Start the server, or give the path of its hook socket"
        }
        // Linux refuses to connect to another file. macOS gives ENOTSOCK.
        Some(Errno::CONNREFUSED | Errno::NOTSOCK) if is_other_file(path) => {
            "that is not a socket. Give the path of the server's hook socket"
        }
        Some(Errno::CONNREFUSED) if is_removed(path) => {
            "that file was mounted here by itself, and the server has removed it. Mount its folder, \
             so that the file of the next server appears"
        }
        Some(Errno::CONNREFUSED) => "its server has ended. Start it again",
        Some(Errno::ACCESS) => explain_no_access(path),
        Some(Errno::PERM) => {
            "a sandbox forbids Unix sockets to this process. Allow it this one, or send from \
             outside"
        }
        Some(Errno::NAMETOOLONG) => {
            return format!("the path is too long for a socket ({MAX_SOCKET_PATH} bytes at most)");
        }
        _ => match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                "the server did not answer within a second"
            }
            _ => return error.to_string(),
        },
    };
    explanation.to_owned()
}

fn is_other_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| !file.file_type().is_socket())
}

/// Whether the file has no name any more: it was mounted (`mount --bind`, a volume that is a file).
fn is_removed(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.nlink() == 0)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As on macOS, where a full backlog refuses.
    #[test]
    fn a_refused_connection_is_tried_again_a_few_times() {
        let connect = |refusals, works_after| {
            let mut calls = 0;
            let result = retry_refused(refusals, || {
                calls += 1;
                match calls > works_after {
                    true => Ok(()),
                    false => Err(io::ErrorKind::ConnectionRefused.into()),
                }
            });
            (result.is_ok(), calls)
        };
        assert_eq!(connect(2, 2), (true, 3));
        assert_eq!(connect(2, 3), (false, 3));
        assert_eq!(connect(0, 1), (false, 1));
        let mut calls = 0;
        let absent = retry_refused(2, || {
            calls += 1;
            Err::<(), _>(io::ErrorKind::NotFound.into())
        });
        assert_eq!((absent.is_err(), calls), (true, 1));
    }

    #[test]
    fn no_socket_is_no_socket_on_both_systems() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for errno in [Errno::CONNREFUSED, Errno::NOTSOCK] {
            let text = explain(file.path(), errno.into());
            assert!(text.contains("not a socket"), "{text}");
        }
    }
}
