//! Step 2: many clients in one thread.
//!
//! No call on a socket blocks. The server waits only in one place, for all sockets at once, with a
//! poll. The poll reports which one is ready: the listener when a client has connected, a client
//! when it has sent something.

use std::env;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use mio::event::Event as Report;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Token};
use serde_json::{Value, json};
use slab::Slab;

/// A token is the number by which the poll reports a socket. The token of a client follows from
/// its key, which is its place in the slab.
const HOOK_LISTENER: Token = Token(0);
const FIRST_CLIENT: usize = 1;

struct Server {
    poll: Poll,
    hook_listener: UnixListener,
    /// A slab is a table that reuses its free places.
    clients: Slab<Client>,
    /// A buffer for reading.
    scratch: Vec<u8>,
}

struct Client {
    socket: UnixStream,
    peer: Peer,
}

fn main() -> io::Result<()> {
    let path = env::args().nth(1).unwrap_or("hooks.sock".into());
    let mut server = Server::start(&path)?;
    eprintln!("listening on {path}");
    server.serve()
}

impl Server {
    fn start(path: &str) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut hook_listener = UnixListener::bind(path)?;
        let registry = poll.registry();
        registry.register(&mut hook_listener, HOOK_LISTENER, Interest::READABLE)?;
        Ok(Server {
            poll,
            hook_listener,
            clients: Slab::new(),
            scratch: vec![0; 65536],
        })
    }

    /// Waits for reports, and handles them, for ever. One pass is a turn.
    fn serve(&mut self) -> io::Result<()> {
        let mut reports = Events::with_capacity(1024);
        loop {
            self.wait(&mut reports)?;
            for report in &reports {
                if let Err(error) = self.handle_report(report) {
                    eprintln!("lost a client: {error}");
                }
            }
        }
    }

    /// A signal interrupts the wait: then there are no reports.
    fn wait(&mut self, reports: &mut Events) -> io::Result<()> {
        match self.poll.poll(reports, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn handle_report(&mut self, report: &Report) -> io::Result<()> {
        match report.token() {
            HOOK_LISTENER => self.accept_client(),
            Token(number) => self.serve_client(number - FIRST_CLIENT),
        }
    }

    fn accept_client(&mut self) -> io::Result<()> {
        let (mut socket, _) = self.hook_listener.accept()?;
        let peer = credentials(&socket)?;
        let entry = self.clients.vacant_entry();
        let token = Token(FIRST_CLIENT + entry.key());
        let registry = self.poll.registry();
        registry.register(&mut socket, token, Interest::READABLE)?;
        entry.insert(Client { socket, peer });
        Ok(())
    }

    /// One request, one event, one response. The end of this function closes the socket, and so
    /// the poll forgets it.
    fn serve_client(&mut self, key: usize) -> io::Result<()> {
        let mut client = self.clients.remove(key);
        let count = client.socket.read(&mut self.scratch)?;
        let request = String::from_utf8_lossy(&self.scratch[..count]);
        let (head, body) = request.split_once("\r\n\r\n").unwrap_or((&request, ""));
        let target = head.split(' ').nth(1).unwrap_or_default();
        println!("{}", event(&client.peer, event_name(target), body));
        client.socket.write_all(&response("200 OK"))
    }
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
