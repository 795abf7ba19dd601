//! The load: clients that post hooks, and readers that take the events.
//!
//! All clients live in one thread around one poll, so that the generator costs
//! little and never runs on the server's core. It is a closed loop: each client
//! posts its next hook when it has the answer to the last one.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream as StdStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

/// A server that does nothing for so long has stalled.
const STALLED: Duration = Duration::from_secs(10);

/// What to post.
pub struct Load<'a> {
    pub socket: &'a Path,
    pub request: &'a [u8],
    pub clients: usize,
    /// Whether a client posts all its hooks on one connection.
    pub keeps: bool,
    pub requests: usize,
    /// Ends the load early, once it is set.
    pub stop: Option<&'a AtomicBool>,
}

/// How long each request took, from before connect to after its answer.
pub type Latencies = Vec<Duration>;

struct Generator<'a> {
    load: &'a Load<'a>,
    poll: Poll,
    clients: Vec<Client>,
    /// Clients that found the backlog full: no poll tells when it is not.
    shut_out: Vec<usize>,
    begun: usize,
    took: Latencies,
}

struct Client {
    stream: Option<UnixStream>,
    began: Instant,
    unsent: usize,
    answer: Vec<u8>,
}

/// Posts all there is to post.
pub fn post(load: &Load) -> Result<Latencies, String> {
    let client = || Client {
        stream: None,
        began: Instant::now(),
        unsent: 0,
        answer: Vec::new(),
    };
    let mut generator = Generator {
        load,
        poll: Poll::new().map_err(|error| error.to_string())?,
        clients: std::iter::repeat_with(client).take(load.clients).collect(),
        shut_out: Vec::new(),
        begun: 0,
        took: Vec::with_capacity(load.requests),
    };
    for key in 0..load.clients {
        generator.begin(key)?;
    }
    let mut events = Events::with_capacity(1024);
    while !generator.is_done() {
        let busy = !generator.shut_out.is_empty();
        let patience = if busy { Duration::ZERO } else { STALLED };
        match generator.poll.poll(&mut events, Some(patience)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.to_string()),
            _ => {}
        }
        if events.is_empty() && !busy {
            return Err(format!("stalls after {} answers", generator.took.len()));
        }
        for event in &events {
            generator.go_on(event.token().0)?;
        }
        for key in std::mem::take(&mut generator.shut_out) {
            generator.connect(key)?;
        }
    }
    Ok(generator.took)
}

impl Generator<'_> {
    fn is_done(&self) -> bool {
        let is_stopped = |stop: &AtomicBool| stop.load(Ordering::Relaxed);
        self.took.len() == self.load.requests || self.load.stop.is_some_and(is_stopped)
    }

    /// Has a client post its next hook, if there is any left to post.
    fn begin(&mut self, key: usize) -> Result<(), String> {
        if self.begun == self.load.requests {
            return Ok(());
        }
        self.begun += 1;
        let client = &mut self.clients[key];
        client.began = Instant::now();
        client.unsent = self.load.request.len();
        client.answer.clear();
        if client.stream.is_some() {
            self.go_on(key)
        } else {
            self.connect(key)
        }
    }

    fn connect(&mut self, key: usize) -> Result<(), String> {
        let client = &mut self.clients[key];
        match UnixStream::connect(self.load.socket) {
            Ok(mut stream) => {
                // Sent before it is watched: seldom is there anything left to watch for.
                let _ = send(&mut stream, self.load.request, &mut client.unsent);
                let interest = if client.unsent > 0 {
                    Interest::READABLE | Interest::WRITABLE
                } else {
                    Interest::READABLE
                };
                let registry = self.poll.registry();
                registry
                    .register(&mut stream, Token(key), interest)
                    .map_err(|error| format!("cannot watch a client: {error}"))?;
                client.stream = Some(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.shut_out.push(key),
            Err(error) => return Err(format!("cannot connect: {error}")),
        }
        Ok(())
    }

    fn go_on(&mut self, key: usize) -> Result<(), String> {
        let client = &mut self.clients[key];
        let Some(stream) = &mut client.stream else {
            return Ok(());
        };
        if client.unsent > 0 {
            return send(stream, self.load.request, &mut client.unsent);
        }
        let mut piece = [0; 1024];
        match stream.read(&mut piece) {
            Ok(0) if client.answer.is_empty() && self.load.keeps => client.stream = None,
            Ok(0) => return Err("closes without an answer".into()),
            Ok(count) => client.answer.extend(&piece[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("cannot be read from: {error}")),
        }
        // No answer to a hook has a body.
        if !client.answer.ends_with(b"\r\n\r\n") {
            return Ok(());
        }
        self.took.push(client.began.elapsed());
        if !client.answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("answers {}", client.answer.escape_ascii()));
        }
        let closes = client.answer.windows(7).any(|word| word == b": close");
        if !self.load.keeps || closes {
            client.stream = None;
        }
        self.begin(key)
    }
}

fn send(stream: &mut UnixStream, request: &[u8], unsent: &mut usize) -> Result<(), String> {
    while *unsent > 0 {
        match stream.write(&request[request.len() - *unsent..]) {
            Ok(count) => *unsent -= count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(format!("does not take a request: {error}")),
        }
    }
    Ok(())
}

/// Connections that say nothing, or only `begin` to.
pub fn linger(socket: &Path, count: usize, begin: &[u8]) -> Result<Vec<UnixStream>, String> {
    let failed = |error: std::io::Error| format!("does not hold {count} connections: {error}");
    let connect = |_| {
        let mut stream = connect_patiently(socket)?;
        // So little fits into any socket.
        stream.write_all(begin)?;
        Ok(stream)
    };
    (0..count)
        .map(connect)
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// Connects, and waits for a place in the backlog, but not for ever.
fn connect_patiently(socket: &Path) -> std::io::Result<UnixStream> {
    let began = Instant::now();
    loop {
        match UnixStream::connect(socket) {
            Err(error) if error.kind() == ErrorKind::WouldBlock && began.elapsed() < STALLED => {
                thread::sleep(Duration::from_micros(100));
            }
            result => return result,
        }
    }
}

/// Posts `request` again and again, from a thread of its own.
pub struct Uploads {
    done: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), String>>,
}

impl Uploads {
    pub fn start(socket: &Path, request: Arc<Vec<u8>>, count: usize) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let (socket, finished) = (socket.to_owned(), done.clone());
        let thread = thread::spawn(move || {
            let upload = || {
                let mut answer = [0; 256];
                let mut stream = StdStream::connect(&socket)?;
                stream.set_read_timeout(Some(STALLED))?;
                stream.write_all(&request)?;
                // It comes in one piece, and not every server closes after it.
                let count = stream.read(&mut answer)?;
                match answer.starts_with(b"HTTP/1.1 200") {
                    true => Ok(()),
                    false => Err(std::io::Error::other(
                        String::from_utf8_lossy(&answer[..count]).into_owned(),
                    )),
                }
            };
            let result = (0..count).try_for_each(|_| upload());
            finished.store(true, Ordering::Relaxed);
            result.map_err(|error| format!("does not take an upload: {error}"))
        });
        Uploads { done, thread }
    }

    /// Set when all are uploaded.
    pub fn done(&self) -> &AtomicBool {
        &self.done
    }

    pub fn join(self) -> Result<(), String> {
        let result = self.thread.join();
        result.unwrap_or_else(|_| Err("the uploading thread panicked".into()))
    }
}

/// Readers, drained by a thread of their own.
pub struct Readers {
    done: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Readers {
    pub fn connect(socket: &Path, count: usize) -> Result<Self, String> {
        let connect = |_| UnixStream::connect(socket);
        let streams: Result<Vec<_>, _> = (0..count).map(connect).collect();
        let streams = streams.map_err(|error| format!("takes no {count} readers: {error}"))?;
        let done = Arc::new(AtomicBool::new(false));
        let stop = done.clone();
        let thread = thread::spawn(move || drain(streams, &stop));
        Ok(Readers { done, thread })
    }

    pub fn leave(self) {
        self.done.store(true, Ordering::Relaxed);
        // It ends of itself, and a panic in it has been printed.
        let _ = self.thread.join();
    }
}

fn drain(mut streams: Vec<UnixStream>, stop: &AtomicBool) {
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
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; 64 << 10];
    while !stop.load(Ordering::Relaxed) {
        if poll
            .poll(&mut events, Some(Duration::from_millis(10)))
            .is_err()
        {
            return;
        }
        for event in &events {
            while let Ok(count @ 1..) = streams[event.token().0].read(&mut scratch) {
                if count < scratch.len() {
                    break;
                }
            }
        }
    }
}
