//! The load: clients that post hooks, and readers that receive the events.
//!
//! All clients run in one thread around one poll, so the generator costs little and stays on
//! one core. It is a closed loop: each client posts its next hook when it has the response
//! to the previous one.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

/// A server that makes no progress for this long has stalled.
const STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What to post.
pub struct Load<'a> {
    pub socket: &'a Path,
    pub request: &'a [u8],
    pub clients: usize,
    /// Whether a client posts all its hooks on one connection.
    pub keep_alive: bool,
    pub requests: usize,
    /// Ends the load early when it becomes true.
    pub stop: Option<&'a AtomicBool>,
}

/// How long each request took, from before connect until the response was received.
pub type Latencies = Vec<Duration>;

struct Generator<'a> {
    load: &'a Load<'a>,
    poll: Poll,
    clients: Vec<Client>,
    /// Clients that found the backlog full. The poll does not report when it has room again.
    to_connect: Vec<usize>,
    started: usize,
    latencies: Latencies,
}

struct Client {
    stream: Option<UnixStream>,
    started_at: Instant,
    unsent: usize,
    response: Vec<u8>,
}

/// Posts all requests of the load.
pub fn post(load: &Load) -> Result<Latencies, String> {
    let client = || Client {
        stream: None,
        started_at: Instant::now(),
        unsent: 0,
        response: Vec::new(),
    };
    let mut generator = Generator {
        load,
        poll: Poll::new().map_err(|error| error.to_string())?,
        clients: std::iter::repeat_with(client).take(load.clients).collect(),
        to_connect: Vec::new(),
        started: 0,
        latencies: Vec::with_capacity(load.requests),
    };
    for key in 0..load.clients {
        generator.start_request(key)?;
    }
    let mut reports = Events::with_capacity(1024);
    while !generator.is_done() {
        let must_connect = !generator.to_connect.is_empty();
        let timeout = if must_connect {
            Duration::ZERO
        } else {
            STALL_TIMEOUT
        };
        match generator.poll.poll(&mut reports, Some(timeout)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.to_string()),
            _ => {}
        }
        if reports.is_empty() && !must_connect {
            let count = generator.latencies.len();
            return Err(format!("stalled after {count} responses"));
        }
        for report in &reports {
            generator.continue_request(report.token().0)?;
        }
        for key in std::mem::take(&mut generator.to_connect) {
            generator.connect(key)?;
        }
    }
    Ok(generator.latencies)
}

impl Generator<'_> {
    fn is_done(&self) -> bool {
        let is_set = |stop: &AtomicBool| stop.load(Ordering::Relaxed);
        self.latencies.len() == self.load.requests || self.load.stop.is_some_and(is_set)
    }

    /// Starts a client's next request, if any are left.
    fn start_request(&mut self, key: usize) -> Result<(), String> {
        if self.started == self.load.requests {
            return Ok(());
        }
        self.started += 1;
        let client = &mut self.clients[key];
        client.started_at = Instant::now();
        client.unsent = self.load.request.len();
        client.response.clear();
        if client.stream.is_some() {
            self.continue_request(key)
        } else {
            self.connect(key)
        }
    }

    fn connect(&mut self, key: usize) -> Result<(), String> {
        let client = &mut self.clients[key];
        match UnixStream::connect(self.load.socket) {
            Ok(mut stream) => {
                // Sends before it registers: then there is rarely a need to wait for
                // writability.
                let _ = send(&mut stream, self.load.request, &mut client.unsent);
                let interest = if client.unsent > 0 {
                    Interest::READABLE | Interest::WRITABLE
                } else {
                    Interest::READABLE
                };
                let registry = self.poll.registry();
                registry
                    .register(&mut stream, Token(key), interest)
                    .map_err(|error| format!("cannot register a client: {error}"))?;
                client.stream = Some(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.to_connect.push(key),
            Err(error) => return Err(format!("connect failed: {error}")),
        }
        Ok(())
    }

    /// Sends the rest of a client's request, or reads its response.
    fn continue_request(&mut self, key: usize) -> Result<(), String> {
        let client = &mut self.clients[key];
        let Some(stream) = &mut client.stream else {
            return Ok(());
        };
        if client.unsent > 0 {
            return send(stream, self.load.request, &mut client.unsent);
        }
        let mut buffer = [0; 1024];
        match stream.read(&mut buffer) {
            Ok(0) if client.response.is_empty() && self.load.keep_alive => client.stream = None,
            Ok(0) => return Err("closed a connection without a response".into()),
            Ok(count) => client.response.extend(&buffer[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("reading a response failed: {error}")),
        }
        // The response to a hook has no body, so it ends with its head.
        if !client.response.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        self.latencies.push(client.started_at.elapsed());
        if !client.response.starts_with(b"HTTP/1.1 200") {
            return Err(format!("responded {}", client.response.escape_ascii()));
        }
        let server_closes = client.response.windows(7).any(|bytes| bytes == b": close");
        if !self.load.keep_alive || server_closes {
            client.stream = None;
        }
        self.start_request(key)
    }
}

fn send(stream: &mut UnixStream, request: &[u8], unsent: &mut usize) -> Result<(), String> {
    while *unsent > 0 {
        match stream.write(&request[request.len() - *unsent..]) {
            Ok(count) => *unsent -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(format!("sending a request failed: {error}")),
        }
    }
    Ok(())
}

/// Opens `count` connections, sends `bytes` on each, and leaves them idle.
pub fn open_connections(
    socket: &Path,
    count: usize,
    bytes: &[u8],
) -> Result<Vec<UnixStream>, String> {
    let open = |_| {
        let mut stream = connect_with_retries(socket)?;
        // It does not block: so few bytes fit into the socket's buffer.
        stream.write_all(bytes)?;
        Ok(stream)
    };
    let streams: std::io::Result<Vec<_>> = (0..count).map(open).collect();
    streams.map_err(|error| format!("opening {count} connections failed: {error}"))
}

/// Connects without blocking, and retries while the backlog is full.
fn connect_with_retries(socket: &Path) -> std::io::Result<UnixStream> {
    let started_at = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Err(error)
                if error.kind() == ErrorKind::WouldBlock
                    && started_at.elapsed() < STALL_TIMEOUT =>
            {
                thread::sleep(Duration::from_micros(100));
            }
            result => return result,
        }
    }
}

/// A thread that posts a large request several times.
pub struct Uploads {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Uploads {
    pub fn start(socket: &Path, request: Vec<u8>, count: usize) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (socket, thread_done) = (socket.to_owned(), done.clone());
        let thread = thread::spawn(move || {
            let result = (0..count).try_for_each(|_| upload(&socket, &request));
            thread_done.store(true, Ordering::Relaxed);
            result.map_err(|error| format!("an upload failed: {error}"))
        });
        Uploads { done, thread }
    }

    /// Becomes true when all uploads have ended.
    pub fn done(&self) -> &AtomicBool {
        &self.done
    }

    pub fn join(self) -> Result<(), String> {
        let result = self.thread.join();
        result.unwrap_or_else(|_| Err("the upload thread panicked".into()))
    }
}

fn upload(socket: &Path, request: &[u8]) -> std::io::Result<()> {
    let mut response = [0; 256];
    let mut stream = StdStream::connect(socket)?;
    stream.set_read_timeout(Some(STALL_TIMEOUT))?;
    stream.write_all(request)?;
    // One read gets the whole response. A read until the end could wait: not every server
    // closes the connection.
    let count = stream.read(&mut response)?;
    if response.starts_with(b"HTTP/1.1 200") {
        Ok(())
    } else {
        let response = String::from_utf8_lossy(&response[..count]);
        Err(std::io::Error::other(response))
    }
}

/// Asks for all past events, of which the server must have `count`. Returns the time from before
/// connect until the last one was received.
pub fn replay(socket: &Path, count: usize) -> Result<Duration, String> {
    let started_at = Instant::now();
    let result = receive_replay(socket, count);
    result.map_err(|error| format!("a replay failed: {error}"))?;
    Ok(started_at.elapsed())
}

fn receive_replay(socket: &Path, count: usize) -> std::io::Result<()> {
    let mut stream = StdStream::connect(socket)?;
    stream.set_read_timeout(Some(STALL_TIMEOUT))?;
    stream.write_all(b"GET /events?replay=all HTTP/1.1\r\n\r\n")?;
    let (mut buffer, mut events) = (vec![0; 64 << 10], 0);
    while events < count as isize {
        let bytes = match stream.read(&mut buffer)? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            length => &buffer[..length],
        };
        // Only the lines of the head end with a CR.
        events += bytes.iter().fold(0, |sum, byte| match byte {
            b'\n' => sum + 1,
            b'\r' => sum - 1,
            _ => sum,
        });
    }
    Ok(())
}

/// A thread that receives events as readers.
pub struct Readers {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Readers {
    /// Connects readers to this socket. Each sends `request` first.
    pub fn connect(socket: &Path, count: usize, request: &str) -> Result<Self, String> {
        let connect = |_| {
            let mut stream = UnixStream::connect(socket)?;
            stream.write_all(request.as_bytes())?;
            Ok(stream)
        };
        let streams: std::io::Result<Vec<_>> = (0..count).map(connect).collect();
        let streams = streams.map_err(|error| format!("connecting readers failed: {error}"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread_stop = stop.clone();
        let thread = thread::spawn(move || receive_events(streams, &thread_stop));
        Ok(Readers { stop, thread })
    }

    pub fn disconnect(self) {
        self.stop.store(true, Ordering::Relaxed);
        // An error is a panic, which has been printed.
        let _ = self.thread.join();
    }
}

fn receive_events(mut streams: Vec<UnixStream>, stop: &AtomicBool) {
    let Ok(mut poll) = Poll::new() else { return };
    for (key, stream) in streams.iter_mut().enumerate() {
        let registry = poll.registry();
        if registry
            .register(stream, Token(key), Interest::READABLE)
            .is_err()
        {
            return;
        }
    }
    let mut reports = Events::with_capacity(1024);
    let mut buffer = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        if poll
            .poll(&mut reports, Some(Duration::from_millis(10)))
            .is_err()
        {
            return;
        }
        for report in &reports {
            while let Ok(count @ 1..) = streams[report.token().0].read(&mut buffer) {
                if count < buffer.len() {
                    break;
                }
            }
        }
    }
}
