//! Step 4: readers.
//!
//! The events go to every process that connects to a second socket, the output socket. The poll
//! waits for that one and for its connections too. No event is printed: nobody waits for a
//! terminal.

use std::env;
use std::io::{self, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::event::Event as Report;
use mio::net::{UnixListener, UnixStream};
use mio::{Events, Interest, Poll, Registry};
use serde_json::{Value, json};
use slab::Slab;

/// How long a client may take for its request and the response.
const TIMEOUT: Duration = Duration::from_secs(10);

struct Server {
    poll: Poll,
    hook_listener: UnixListener,
    /// A slab is a table that reuses its free places.
    clients: Slab<Client>,
    publisher: Publisher,
    /// A buffer for reading.
    scratch: Vec<u8>,
}

struct Publisher {
    listener: UnixListener,
    readers: Slab<UnixStream>,
}

struct Client {
    socket: UnixStream,
    peer: Peer,
    connection: Connection,
    deadline: Instant,
}

/// What becomes of a client after its steps.
#[derive(PartialEq)]
enum Outcome {
    Stay,
    Close,
}

fn main() -> io::Result<()> {
    let path = env::args().nth(1).unwrap_or("hooks.sock".into());
    let output_path = env::args().nth(2).unwrap_or("output.sock".into());
    let mut server = Server::start(&path, &output_path)?;
    eprintln!("listening on {path}, readers on {output_path}");
    server.serve()
}

impl Server {
    fn start(path: &str, output_path: &str) -> io::Result<Server> {
        let poll = Poll::new()?;
        let mut hook_listener = UnixListener::bind(path)?;
        let mut listener = UnixListener::bind(output_path)?;
        let (hooks, output) = (Token::HookListener, Token::OutputListener);
        let registry = poll.registry();
        registry.register(&mut hook_listener, hooks.into(), Interest::READABLE)?;
        registry.register(&mut listener, output.into(), Interest::READABLE)?;
        Ok(Server {
            poll,
            hook_listener,
            clients: Slab::new(),
            publisher: Publisher {
                listener,
                readers: Slab::new(),
            },
            scratch: vec![0; 65536],
        })
    }

    /// Waits for reports, and handles them, for ever. One pass is a turn.
    fn serve(&mut self) -> io::Result<()> {
        let mut reports = Events::with_capacity(1024);
        loop {
            self.wait(&mut reports)?;
            for report in &reports {
                self.handle_report(report);
            }
            self.expire_deadlines();
        }
    }

    /// Waits until the poll has reports, or a deadline passes. A signal interrupts the wait: then
    /// there are no reports.
    fn wait(&mut self, reports: &mut Events) -> io::Result<()> {
        let deadlines = self.clients.iter().map(|(_, client)| client.deadline);
        let next = deadlines.min();
        let timeout = next.map(|at| at.saturating_duration_since(Instant::now()));
        match self.poll.poll(reports, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    fn handle_report(&mut self, report: &Report) {
        match report.token().into() {
            Token::HookListener => self.accept_clients(),
            Token::OutputListener => self.publisher.accept_readers(self.poll.registry()),
            Token::Client(key) => self.serve_client(key),
            Token::Reader(key) => self.publisher.handle_reader_report(key, report),
        }
    }

    /// Accepts until accept would block (nobody is left), or fails.
    fn accept_clients(&mut self) {
        while let Ok((socket, _)) = self.hook_listener.accept() {
            if let Err(error) = self.add_client(socket) {
                eprintln!("lost a client: {error}");
            }
        }
    }

    fn add_client(&mut self, mut socket: UnixStream) -> io::Result<()> {
        let peer = credentials(&socket)?;
        let entry = self.clients.vacant_entry();
        let token = Token::Client(entry.key()).into();
        let registry = self.poll.registry();
        // Writable, too: a report comes when a full socket has room again.
        registry.register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        entry.insert(Client {
            socket,
            peer,
            connection: Connection::new(),
            deadline: Instant::now() + TIMEOUT,
        });
        Ok(())
    }

    fn serve_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if client.take_steps(&mut self.scratch, &mut self.publisher) == Outcome::Close {
            // This closes the socket, and so the poll forgets it.
            self.clients.remove(key);
        }
    }

    /// Refuses the clients that took too long.
    fn expire_deadlines(&mut self) {
        let now = Instant::now();
        self.clients.retain(|_, client| {
            let is_late = client.deadline <= now;
            if is_late {
                client.connection.time_out();
                // If it does not take the response, it gets none.
                let _ = client.write();
            }
            !is_late
        });
    }
}

impl Client {
    /// Reads until there is a response, and writes that. Ends when a call would block. The poll
    /// reports the socket when it is ready again.
    fn take_steps(&mut self, scratch: &mut [u8], publisher: &mut Publisher) -> Outcome {
        loop {
            let step = match self.connection.unsent() {
                [] => self.read(scratch),
                _ => self.write(),
            };
            match step {
                Ok(Step::Read | Step::Write) => {}
                Ok(Step::Hook { event_name, body }) => {
                    let body = String::from_utf8_lossy(&body);
                    publisher.publish(event(&self.peer, &event_name, &body));
                }
                Ok(Step::Close) => return Outcome::Close,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Outcome::Stay,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Outcome::Close,
            }
        }
    }

    fn read(&mut self, scratch: &mut [u8]) -> io::Result<Step> {
        Ok(match self.socket.read(scratch)? {
            0 => self.connection.end_of_input(),
            count => self.connection.received(&scratch[..count]),
        })
    }

    fn write(&mut self) -> io::Result<Step> {
        let count = self.socket.write(self.connection.unsent())?;
        Ok(self.connection.written(count))
    }
}

impl Publisher {
    fn accept_readers(&mut self, registry: &Registry) {
        while let Ok((mut socket, _)) = self.listener.accept() {
            let entry = self.readers.vacant_entry();
            let token = Token::Reader(entry.key()).into();
            if let Err(error) = registry.register(&mut socket, token, Interest::READABLE) {
                eprintln!("lost a reader: {error}");
                continue;
            }
            entry.insert(socket);
        }
    }

    /// A reader that has closed its connection is removed. (One that has only closed its sending
    /// half still reads. Then only our reading half is closed.)
    fn handle_reader_report(&mut self, key: usize, report: &Report) {
        if report.is_write_closed() {
            // `publish` may have removed it in this turn.
            self.readers.try_remove(key);
        }
    }

    /// Writes an event to each reader. One that does not take all of it has a part of a line, and
    /// the next line would follow that. So it is disconnected.
    fn publish(&mut self, event: Value) {
        let line = format!("{event}\n");
        self.readers.retain(|_, reader| {
            let result = reader.write(line.as_bytes());
            result.is_ok_and(|count| count == line.len())
        });
    }
}

/// The number by which the poll reports a socket. For a client or a reader it follows from its
/// key, which is its place in the slab.
enum Token {
    HookListener,
    OutputListener,
    Client(usize),
    Reader(usize),
}

/// Clients have the even numbers from here on, readers the odd ones.
const FIRST_KEYED: usize = 2;

impl From<Token> for mio::Token {
    fn from(token: Token) -> mio::Token {
        mio::Token(match token {
            Token::HookListener => 0,
            Token::OutputListener => 1,
            Token::Client(key) => FIRST_KEYED + 2 * key,
            Token::Reader(key) => FIRST_KEYED + 2 * key + 1,
        })
    }
}

impl From<mio::Token> for Token {
    fn from(mio::Token(number): mio::Token) -> Token {
        match number {
            0 => Token::HookListener,
            1 => Token::OutputListener,
            _ if number % 2 == 0 => Token::Client((number - FIRST_KEYED) / 2),
            _ => Token::Reader((number - FIRST_KEYED) / 2),
        }
    }
}

/// The state of one client's connection.
struct Connection {
    state: State,
    /// Received bytes: of the head, or of the body.
    inbox: Vec<u8>,
}

enum State {
    ReadingHead,
    ReadingBody { event_name: String, length: usize },
    WritingResponse { response: Vec<u8>, written: usize },
}

/// What is to be done next for a connection.
enum Step {
    Read,
    /// Publish this event, then write the response.
    Hook {
        event_name: String,
        body: Vec<u8>,
    },
    Write,
    Close,
}

impl Connection {
    fn new() -> Connection {
        Connection {
            state: State::ReadingHead,
            inbox: Vec::new(),
        }
    }

    /// Takes bytes as they arrived: a part of a request, or all of it.
    fn received(&mut self, bytes: &[u8]) -> Step {
        self.inbox.extend(bytes);
        match self.state {
            State::ReadingHead => self.read_head(),
            State::ReadingBody { .. } => self.read_body(),
            State::WritingResponse { .. } => Step::Write,
        }
    }

    fn read_head(&mut self) -> Step {
        let mut fields = [httparse::EMPTY_HEADER; 100];
        let mut request = httparse::Request::new(&mut fields);
        let head_length = match request.parse(&self.inbox) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Step::Read,
            Err(_) => return self.answer("400 Bad Request"),
        };
        let Some(length) = content_length(request.headers) else {
            return self.answer("400 Bad Request");
        };
        if request.method != Some("POST") {
            return self.answer("404 Not Found");
        }
        let event_name = event_name(request.path.unwrap_or_default()).to_owned();
        self.inbox.drain(..head_length);
        self.state = State::ReadingBody { event_name, length };
        self.read_body()
    }

    fn read_body(&mut self) -> Step {
        match &mut self.state {
            State::ReadingBody { event_name, length } if self.inbox.len() >= *length => {
                let event_name = mem::take(event_name);
                let body = self.inbox.drain(..*length).collect();
                // The response is ready, but the event comes first.
                self.answer("200 OK");
                Step::Hook { event_name, body }
            }
            _ => Step::Read,
        }
    }

    /// Nothing more will arrive. The client may still read.
    fn end_of_input(&mut self) -> Step {
        match self.state {
            State::ReadingHead if self.inbox.is_empty() => Step::Close,
            _ => self.answer("400 Bad Request"),
        }
    }

    /// The time is over.
    fn time_out(&mut self) {
        if self.unsent().is_empty() {
            self.answer("408 Request Timeout");
        }
    }

    fn answer(&mut self, status: &str) -> Step {
        self.state = State::WritingResponse {
            response: response(status),
            written: 0,
        };
        Step::Write
    }

    /// The bytes to write.
    fn unsent(&self) -> &[u8] {
        match &self.state {
            State::WritingResponse { response, written } => &response[*written..],
            _ => &[],
        }
    }

    /// The first `count` bytes of [`Connection::unsent`] were written.
    fn written(&mut self, count: usize) -> Step {
        if let State::WritingResponse { written, .. } = &mut self.state {
            *written += count;
        }
        match self.unsent() {
            [] => Step::Close,
            _ => Step::Write,
        }
    }
}

/// The length of the body. `None`: the field has no number. Without the field there is no body.
fn content_length(fields: &[httparse::Header]) -> Option<usize> {
    let is_length = |field: &&httparse::Header| field.name.eq_ignore_ascii_case("content-length");
    match fields.iter().find(is_length) {
        Some(field) => str::from_utf8(field.value).ok()?.parse().ok(),
        None => Some(0),
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
