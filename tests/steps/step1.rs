//! Step 1: one client at a time.
//!
//! Each call blocks: it returns when it is done, however long that takes. So the program reads
//! like its description: accept a client, read its request, print an event, send a response.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let path = env::args().nth(1).unwrap_or("hooks.sock".into());
    let listener = UnixListener::bind(&path)?;
    eprintln!("listening on {path}");
    loop {
        let (socket, _) = listener.accept()?;
        if let Err(error) = serve_client(socket) {
            eprintln!("lost a client: {error}");
        }
    }
}

/// One request, one event, one response. The end of this function closes the socket.
fn serve_client(mut socket: UnixStream) -> io::Result<()> {
    let peer = credentials(&socket)?;
    let mut scratch = [0; 65536];
    let count = socket.read(&mut scratch)?;
    let request = String::from_utf8_lossy(&scratch[..count]);
    let (head, body) = request.split_once("\r\n\r\n").unwrap_or((&request, ""));
    let target = head.split(' ').nth(1).unwrap_or_default();
    println!("{}", event(&peer, event_name(target), body));
    socket.write_all(&response("200 OK"))
}

/// The target of a hook ends with its name: `/hook?event=Stop`.
fn event_name(target: &str) -> &str {
    target
        .split_once("?event=")
        .map_or("Unknown", |(_, name)| name)
}

/// A response without a body.
fn response(status: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").into_bytes()
}

/// What happened, who says so, and what was sent. A body that is not JSON is kept as text.
fn event(peer: &Peer, name: &str, body: &str) -> Value {
    json!({
        "_event": name,
        "_peer_pid": peer.pid,
        "_peer_uid": peer.uid,
        "payload": serde_json::from_str(body).unwrap_or(Value::from(body)),
    })
}

/// Who is at the other end of a connection.
struct Peer {
    pid: i32,
    uid: u32,
}

/// The kernel's record of the process that has connected (`SO_PEERCRED`, unix(7)).
#[cfg(target_os = "linux")]
fn credentials(socket: &impl AsRawFd) -> io::Result<Peer> {
    let (pid, uid, gid) = (0, 0, 0);
    let mut ucred = libc::ucred { pid, uid, gid };
    let value = (&raw mut ucred).cast();
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    let (fd, level, name) = (socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERCRED);
    // SAFETY: `value` points to integers that outlive the call, and `length` is their size.
    match unsafe { libc::getsockopt(fd, level, name, value, &mut length) } {
        0 => Ok(Peer {
            pid: ucred.pid,
            uid: ucred.uid,
        }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Other systems are asked in other ways: see src/peer.rs.
#[cfg(not(target_os = "linux"))]
fn credentials(_socket: &impl AsRawFd) -> io::Result<Peer> {
    Err(io::ErrorKind::Unsupported.into())
}
