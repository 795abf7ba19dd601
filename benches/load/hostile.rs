//! Hostile loads: clients and readers that send what costs the server most, as fast as it
//! takes it, beside the ordinary hooks whose latencies are measured.
//!
//! All connections of a hostile load are the same: they write a message again and again, and
//! discard what they receive. One thread does it, so that the generator of the ordinary hooks
//! gets its share of their common core.

use std::io::{ErrorKind, Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use mio::net::UnixStream;

#[derive(Clone, Copy)]
pub enum Hostile {
    /// So many clients that are refused, and go on sending.
    RefusedClients(usize),
    /// So many clients with bodies just below 128 KiB: the loop itself makes these into events.
    HeavyBodies(usize),
    /// Clients that stop in the middle of such a body.
    StalledBodies,
    /// Clients that ask for the list of sessions, of which there are as many as the server keeps.
    Lists,
    /// Events that `--pretty-line` does not show, between others, for readers that never read.
    HiddenEvents,
    /// Readers that send.
    SendingReaders,
    /// Bodies with many short keys, of which one is repeated.
    RepeatedKeys,
    /// Deeply nested bodies, for the option `--pretty-json`.
    DeepNesting,
    /// Hooks of another session each time: the server reads the ancestors of the peer.
    NewSessions,
    /// Events of 64 MiB, for stdout and for readers that never read.
    LargeEvents,
}

/// Just below 1 MiB.
const BODY: usize = (1 << 20) - 1000;
/// Just below 128 KiB.
const HEAVY_BODY: usize = (128 << 10) - 1000;

impl Hostile {
    /// The number of connections.
    fn connections(self) -> usize {
        match self {
            Hostile::RefusedClients(count) | Hostile::HeavyBodies(count) => count,
            Hostile::StalledBodies => 640,
            Hostile::Lists => 200,
            Hostile::SendingReaders => 100,
            Hostile::RepeatedKeys
            | Hostile::DeepNesting
            | Hostile::NewSessions
            | Hostile::HiddenEvents => 16,
            Hostile::LargeEvents => 1,
        }
    }

    /// The options of the server.
    pub fn options(self) -> &'static [&'static str] {
        match self {
            Hostile::DeepNesting => &["--pretty-json"],
            Hostile::LargeEvents => &["--tee"],
            Hostile::HiddenEvents => &["--tee", "--pretty-line"],
            _ => &[],
        }
    }

    /// Whether a connection writes its message once.
    fn stalls(self) -> bool {
        matches!(self, Hostile::StalledBodies)
    }

    /// The number of readers that never read.
    fn stalled_readers(self) -> usize {
        match self {
            Hostile::LargeEvents | Hostile::HiddenEvents => 10,
            _ => 0,
        }
    }

    /// What each connection writes, again and again.
    fn message(self) -> Vec<u8> {
        let post = |body: &str| {
            let length = body.len();
            format!(
                "POST /?event=Hostile HTTP/1.1\r\nConnection: keep-alive\r\n\
                 Content-Length: {length}\r\n\r\n{body}"
            )
        };
        let body = match self {
            Hostile::RefusedClients(_) | Hostile::SendingReaders => {
                return b"this is not a request\r\n".repeat(3000);
            }
            Hostile::HeavyBodies(_) => format!("{{\"a\":\"{}\"}}", "x".repeat(HEAVY_BODY)),
            Hostile::StalledBodies => {
                let mut request = post(&"x".repeat(HEAVY_BODY));
                request.truncate(HEAVY_BODY);
                return request.into();
            }
            Hostile::Lists => {
                let posts = (0..512).map(|id| post(&format!("{{\"session_id\":\"{id}\"}}")));
                let get = "GET /sessions HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
                return (posts.collect::<String>() + &get.repeat(2000)).into();
            }
            Hostile::HiddenEvents => {
                let bodies = ["{}", "{\"tool_calls\":[]}"].map(post);
                return bodies.concat().repeat(1000).into();
            }
            Hostile::RepeatedKeys => {
                let keys = (0..BODY / 11).map(|number| format!("\"{number:06}\":0,"));
                format!("{{{}\"000000\":0}}", keys.collect::<String>())
            }
            Hostile::DeepNesting => {
                let ones = "1,".repeat(BODY / 2);
                format!("{{\"a\":{}{ones}1{}}}", "[".repeat(62), "]".repeat(62))
            }
            Hostile::NewSessions => {
                // More than the server keeps, so each is new to it each time.
                let requests = (0..2000).map(|id| post(&format!("{{\"session_id\":\"{id}\"}}")));
                return requests.collect::<String>().into();
            }
            Hostile::LargeEvents => format!("{{\"a\":\"{}\"}}", "x".repeat((64 << 20) - 1000)),
        };
        post(&body).into()
    }
}

/// A running hostile load.
pub struct Attack {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
    _stalled_readers: Vec<UnixStream>,
}

impl Attack {
    /// Starts the load on a server with this hook socket and this output socket.
    pub fn start(hostile: Hostile, socket: &Path, output: &Path) -> Result<Self, String> {
        let path = match hostile {
            Hostile::SendingReaders => output,
            _ => socket,
        };
        let readers = 0..hostile.stalled_readers();
        let stalled_readers = readers.map(|_| UnixStream::connect(output));
        let stalled_readers: Result<Vec<_>, _> = stalled_readers.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (thread_stop, path) = (stop.clone(), path.to_owned());
        let thread = thread::spawn(move || flood(hostile, &path, &thread_stop));
        Ok(Attack {
            stop,
            thread,
            _stalled_readers: stalled_readers
                .map_err(|error| format!("connecting readers failed: {error}"))?,
        })
    }

    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        // An error is a panic, which has been printed.
        let _ = self.thread.join();
    }
}

/// A hostile connection, and how much of the current message it has written.
#[derive(Default)]
struct Connection {
    stream: Option<UnixStream>,
    written: usize,
}

fn flood(hostile: Hostile, path: &Path, stop: &AtomicBool) {
    let message = hostile.message();
    let mut connections: Vec<Connection> = Vec::new();
    connections.resize_with(hostile.connections(), Connection::default);
    while !stop.load(Ordering::Relaxed) {
        let mut has_progress = false;
        for connection in &mut connections {
            has_progress |= connection.exchange(path, &message, hostile.stalls());
        }
        if !has_progress {
            thread::sleep(Duration::from_micros(200));
        }
    }
}

impl Connection {
    /// Connects if necessary, writes what there is room for, and discards input. Writes the
    /// message again at its end, unless it stalls. Returns whether it wrote or read anything.
    fn exchange(&mut self, path: &Path, message: &[u8], stalls: bool) -> bool {
        if self.stream.is_none() {
            // It fails while the backlog is full.
            self.stream = UnixStream::connect(path).ok();
            self.written = 0;
        }
        let Some(stream) = &mut self.stream else {
            return false;
        };
        if self.written == message.len() && !stalls {
            self.written = 0;
        }
        let written = match &message[self.written..] {
            [] => Err(ErrorKind::WouldBlock.into()),
            rest => stream.write(rest),
        };
        self.written += written.as_ref().unwrap_or(&0);
        let read = stream.read(&mut [0; 64 << 10]);
        let is_over = |error: &std::io::Error| error.kind() != ErrorKind::WouldBlock;
        if matches!(read, Ok(0)) || written.as_ref().is_err_and(is_over) {
            self.stream = None;
        }
        written.is_ok() || read.is_ok()
    }
}
