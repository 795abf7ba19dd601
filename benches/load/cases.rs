//! The cases: each is a load, and the figures to take while a server is under it.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, Latencies, Load, Readers, Uploads};
use crate::hostile::{Attack, Hostile};
use crate::sender::{self, Sender};
use crate::server::{Candidate, Server, Setup, Stdout};
use crate::tools::Tool;

/// One case: in the table, a row for each server.
pub struct Case {
    pub name: &'static str,
    kind: Kind,
    clients: usize,
    keep_alive: bool,
    /// Bytes of a body. 0 stands for a recorded payload.
    body: usize,
    readers: usize,
    /// Whether the readers use `GET /events`. With the floor they use the output socket.
    is_live: bool,
    /// Idle connections that are open during the load.
    idle_connections: usize,
    stdout: Stdout,
    sender: Sender,
    /// Whether pidfd_open(2) fails in the server.
    has_no_pidfd: bool,
    /// Requests, uploads, replays or starts per round. By default a fifth.
    requests: usize,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Hooks from the generator in [`crate::client`].
    Hooks,
    /// Hooks from an external load generator.
    Tool(Tool),
    /// Hooks during large uploads.
    Uploads,
    /// Hooks beside a hostile load.
    Hostile(Hostile),
    /// Readers of live events that ask for the history, one after the other.
    Replay,
    /// Repeated starts of the server.
    StartUp,
    /// Open connections, each of which has sent only these bytes.
    OpenConnections(&'static str),
}

const HOOKS: Case = Case {
    name: "",
    kind: Kind::Hooks,
    clients: 64,
    keep_alive: false,
    body: 0,
    readers: 0,
    is_live: false,
    idle_connections: 0,
    stdout: Stdout::MemoryFile,
    sender: Sender::Bench,
    has_no_pidfd: false,
    requests: 50_000,
};

/// All cases, in the order of the table.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    Case { name: "one connection per hook, 1 client", clients: 1, requests: 20_000, ..HOOKS },
    Case { name: "one connection per hook, 64 clients", ..HOOKS },
    Case { name: "one connection per hook, 1,000 clients", clients: 1000, ..HOOKS },
    Case { name: "keep-alive connections, 64 clients", keep_alive: true, requests: 100_000, ..HOOKS },
    Case { name: "hooks without a session, 64 clients", body: 1 << 10, ..HOOKS },
    Case { name: "keep-alive connections without a session, 64 clients", keep_alive: true, body: 1 << 10, requests: 100_000, ..HOOKS },
    Case { name: "hooks that have lost their parent, 64 clients", sender: Sender::Orphan, ..HOOKS },
    Case { name: "hooks while pidfd_open fails, 64 clients", sender: Sender::Child, has_no_pidfd: true, ..HOOKS },
    Case { name: "bodies of 64 KiB, 8 clients", clients: 8, body: 64 << 10, requests: 5_000, ..HOOKS },
    Case { name: "bodies of 1 MiB, 4 clients", clients: 4, body: 1 << 20, requests: 400, ..HOOKS },
    Case { name: "one event to 1 reader", clients: 1, readers: 1, requests: 20_000, ..HOOKS },
    Case { name: "one event to 10 readers", clients: 1, readers: 10, requests: 10_000, ..HOOKS },
    Case { name: "one event to 200 readers", clients: 1, readers: 200, requests: 1_500, ..HOOKS },
    Case { name: "one event to 200 readers of /events", clients: 1, readers: 200, is_live: true, requests: 1_500, ..HOOKS },
    Case { name: "replay of 20,000 events", kind: Kind::Replay, requests: 100, ..HOOKS },
    Case { name: "hooks during uploads of 64 MiB", kind: Kind::Uploads, clients: 8, requests: 5, ..HOOKS },
    Case { name: "hostile: 20 refused clients", kind: Kind::Hostile(Hostile::RefusedClients(20)), requests: 150_000, ..HOOKS },
    Case { name: "hostile: 1,000 refused clients", kind: Kind::Hostile(Hostile::RefusedClients(1000)), requests: 150_000, ..HOOKS },
    Case { name: "hostile: 16 clients, bodies of 127 KiB", kind: Kind::Hostile(Hostile::HeavyBodies(16)), stdout: Stdout::Null, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 200 clients, bodies of 127 KiB", kind: Kind::Hostile(Hostile::HeavyBodies(200)), stdout: Stdout::Null, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 640 stalled bodies of 127 KiB", kind: Kind::Hostile(Hostile::StalledBodies), requests: 150_000, ..HOOKS },
    Case { name: "hostile: 200 clients, lists of sessions", kind: Kind::Hostile(Hostile::Lists), stdout: Stdout::Null, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 16 clients, hidden events, 10 stalled readers", kind: Kind::Hostile(Hostile::HiddenEvents), stdout: Stdout::Null, readers: 1, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 100 readers that send", kind: Kind::Hostile(Hostile::SendingReaders), readers: 1, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 16 clients, repeated keys", kind: Kind::Hostile(Hostile::RepeatedKeys), requests: 150_000, ..HOOKS },
    Case { name: "hostile: 16 clients, deep nesting", kind: Kind::Hostile(Hostile::DeepNesting), stdout: Stdout::Null, requests: 150_000, ..HOOKS },
    Case { name: "hostile: 16 clients, new sessions", kind: Kind::Hostile(Hostile::NewSessions), requests: 150_000, ..HOOKS },
    Case { name: "hostile: events of 64 MiB, 10 stalled readers", kind: Kind::Hostile(Hostile::LargeEvents), readers: 1, requests: 150_000, ..HOOKS },
    Case { name: "beside 1 idle connection", idle_connections: 1, ..HOOKS },
    Case { name: "beside 1,000 idle connections", idle_connections: 1_000, ..HOOKS },
    Case { name: "beside 10,000 idle connections", idle_connections: 10_000, ..HOOKS },
    Case { name: "stdout is a file on disk", stdout: Stdout::DiskFile, ..HOOKS },
    Case { name: "stdout is a pipe", stdout: Stdout::Pipe, ..HOOKS },
    Case { name: "stdout is /dev/null", stdout: Stdout::Null, ..HOOKS },
    Case { name: "oha, one connection per hook, 64 clients", kind: Kind::Tool(Tool::Oha), ..HOOKS },
    Case { name: "oha, keep-alive connections, 64 clients", kind: Kind::Tool(Tool::Oha), keep_alive: true, ..HOOKS },
    Case { name: "h2load, keep-alive connections, 64 clients", kind: Kind::Tool(Tool::H2load), keep_alive: true, ..HOOKS },
    Case { name: "start-up until a client can connect", kind: Kind::StartUp, requests: 50, ..HOOKS },
    Case { name: "10,000 idle connections", kind: Kind::OpenConnections(""), ..HOOKS },
    Case { name: "10,000 incomplete requests", kind: Kind::OpenConnections(INCOMPLETE_REQUEST), ..HOOKS },
];

/// How many events a replay gets. Less than `--history` holds.
const REPLAYED_EVENTS: usize = 20_000;
/// The number of open connections in the cases of that kind.
const CONNECTIONS: usize = 10_000;
const INCOMPLETE_REQUEST: &str =
    "POST /hook?event=PreToolUse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{";

/// The figures of one round of a case with one server.
#[derive(Clone, Default)]
pub struct Sample {
    pub latencies: Latencies,
    pub requests_per_second: Option<f64>,
    /// The server's CPU time per request, per delivered line, or per start.
    pub cpu: Option<Duration>,
    pub peak_resident: u64,
    /// Resident bytes per open connection.
    pub bytes_per_connection: Option<f64>,
    /// The CPU time of the longest turn of the server's loop, in hostile cases.
    pub longest_turn: Option<Duration>,
}

impl Sample {
    /// The same sample, with its latencies in ascending order.
    pub fn sorted(mut self) -> Self {
        self.latencies.sort_unstable();
        self
    }
}

impl Case {
    /// Why the case cannot run on this machine, if so.
    pub fn skip_reason(&self) -> Option<String> {
        match self.kind {
            Kind::Tool(tool) => tool.check().err(),
            _ => None,
        }
    }

    /// Whether to run the case with this server. The floor is no reference for memory, does not
    /// survive hostile loads, and keeps no events.
    pub fn applies_to(&self, candidate: &Candidate) -> bool {
        !matches!(
            (self.kind, candidate),
            (
                Kind::OpenConnections(_) | Kind::Hostile(_) | Kind::Replay,
                Candidate::Floor
            )
        )
    }

    /// Runs one round, with a newly started server.
    pub fn run(&self, candidate: &Candidate, is_quick: bool) -> Result<Sample, String> {
        let requests = (self.requests / if is_quick { 5 } else { 1 }).max(1);
        let start = || Server::start(candidate, &self.setup());
        match self.kind {
            Kind::Hooks => self.measure_hooks(candidate, &start()?, requests),
            Kind::Tool(tool) => self.measure_with_tool(&start()?, tool, requests),
            Kind::Uploads => self.measure_during_uploads(&start()?, requests),
            Kind::Hostile(hostile) => self.measure_beside(&start()?, hostile, requests),
            Kind::Replay => self.measure_replays(&start()?, requests),
            Kind::StartUp => measure_start_up(start, requests),
            Kind::OpenConnections(bytes) => measure_memory(&start()?, bytes.as_bytes()),
        }
    }

    /// How the case needs its server to be started.
    pub fn setup(&self) -> Setup {
        Setup {
            stdout: self.stdout,
            has_readers: self.readers > 0,
            keep_alive: self.keep_alive,
            options: match self.kind {
                Kind::Hostile(hostile) => hostile.options(),
                _ => &[],
            },
            measures_turns: matches!(self.kind, Kind::Hostile(_)),
            has_no_pidfd: self.has_no_pidfd,
            counts_instructions: false,
        }
    }

    fn load<'a>(&self, socket: &'a Path, request: &'a [u8], requests: usize) -> Load<'a> {
        Load {
            socket,
            request,
            clients: self.clients,
            keep_alive: self.keep_alive,
            requests,
            stop: None,
        }
    }

    fn measure_hooks(
        &self,
        candidate: &Candidate,
        server: &Server,
        requests: usize,
    ) -> Result<Sample, String> {
        let socket = server.socket();
        let request = request(&body(self.body), self.keep_alive);
        let _idle = client::open_connections(&socket, self.idle_connections, b"")?;
        let readers = match (self.is_live, candidate) {
            (false, _) | (true, Candidate::Floor) => (server.output(), ""),
            (true, _) => (socket.clone(), "GET /events HTTP/1.1\r\n\r\n"),
        };
        let readers = Readers::connect(&readers.0, self.readers, readers.1)?;
        let sample = self.measure(server, requests, |requests| {
            self.sender.post(&self.load(&socket, &request, requests))
        });
        readers.disconnect();
        sample
    }

    /// Has each client post this many hooks. Returns the number of all, with the warm-up.
    pub fn post_rounds(
        &self,
        candidate: &Candidate,
        server: &Server,
        rounds: usize,
    ) -> Result<usize, String> {
        let requests = self.clients.max(8) * rounds;
        self.measure_hooks(candidate, server, requests)?;
        Ok(requests + requests / 10)
    }

    fn measure_with_tool(
        &self,
        server: &Server,
        tool: Tool,
        requests: usize,
    ) -> Result<Sample, String> {
        let (socket, body) = (server.socket(), body(self.body));
        self.measure(server, requests, |requests| {
            tool.post(&socket, &body, self.clients, self.keep_alive, requests)
        })
    }

    /// Warms the server up with a tenth of the requests, then measures it under load.
    fn measure(
        &self,
        server: &Server,
        requests: usize,
        post: impl Fn(usize) -> Result<Latencies, String>,
    ) -> Result<Sample, String> {
        post((requests / 10).max(1))?;
        if self.sender == Sender::Child {
            // The hooks of another process identify the session's process only after a second.
            thread::sleep(Duration::from_millis(1100));
        }
        let (cpu_before, started_at) = (server.cpu_when_idle(), Instant::now());
        let latencies = post(requests)?;
        let elapsed = started_at.elapsed();
        let units = latencies.len() * self.readers.max(1);
        Ok(Sample {
            requests_per_second: Some(latencies.len() as f64 / elapsed.as_secs_f64()),
            cpu: Some((server.cpu_when_idle() - cpu_before) / units as u32),
            peak_resident: server.peak_resident(),
            latencies,
            ..Sample::default()
        })
    }

    fn measure_replays(&self, server: &Server, replays: usize) -> Result<Sample, String> {
        let socket = server.socket();
        client::post(&Load {
            keep_alive: true,
            ..self.load(&socket, &request(&body(0), true), REPLAYED_EVENTS)
        })?;
        let cpu_before = server.cpu_when_idle();
        let replay = |_| client::replay(&socket, REPLAYED_EVENTS);
        let latencies: Result<Latencies, String> = (0..replays).map(replay).collect();
        let lines = (replays * REPLAYED_EVENTS) as u32;
        Ok(Sample {
            latencies: latencies?,
            cpu: Some((server.cpu_when_idle() - cpu_before) / lines),
            peak_resident: server.peak_resident(),
            ..Sample::default()
        })
    }

    /// Every hook must get its 200: otherwise the load fails, and the case with it.
    fn measure_beside(
        &self,
        server: &Server,
        hostile: Hostile,
        requests: usize,
    ) -> Result<Sample, String> {
        let socket = server.socket();
        let attack = Attack::start(hostile, &socket, &server.output())?;
        let started_at = Instant::now();
        let latencies = client::post(&self.load(&socket, &request(&body(0), false), requests));
        let elapsed = started_at.elapsed();
        attack.stop();
        let latencies = latencies?;
        Ok(Sample {
            requests_per_second: Some(latencies.len() as f64 / elapsed.as_secs_f64()),
            peak_resident: server.peak_resident(),
            longest_turn: server.longest_turn(),
            latencies,
            ..Sample::default()
        })
    }

    fn measure_during_uploads(&self, server: &Server, uploads: usize) -> Result<Sample, String> {
        let socket = server.socket();
        let large_request = request(&body(64 << 20), false);
        let uploads = Uploads::start(&socket, large_request, uploads);
        let latencies = client::post(&Load {
            stop: Some(uploads.done()),
            ..self.load(&socket, &request(&body(0), false), 1_000_000)
        });
        uploads.join()?;
        Ok(Sample {
            latencies: latencies?,
            peak_resident: server.peak_resident(),
            ..Sample::default()
        })
    }
}

fn measure_start_up(
    start: impl Fn() -> Result<Server, String>,
    times: usize,
) -> Result<Sample, String> {
    let mut sample = Sample::default();
    for _ in 0..times {
        let server = start()?;
        sample.latencies.push(server.start_up_time);
        *sample.cpu.get_or_insert_default() += server.cpu_when_idle() / times as u32;
        sample.peak_resident = server.peak_resident();
    }
    Ok(sample)
}

fn measure_memory(server: &Server, bytes: &[u8]) -> Result<Sample, String> {
    // The first connections also cause allocations that happen only once.
    let _warm_up = client::open_connections(&server.socket(), CONNECTIONS / 100, bytes)?;
    server.cpu_when_idle();
    let before = server.resident();
    let _connections = client::open_connections(&server.socket(), CONNECTIONS, bytes)?;
    server.cpu_when_idle();
    Ok(Sample {
        bytes_per_connection: Some((server.resident() - before) as f64 / CONNECTIONS as f64),
        peak_resident: server.peak_resident(),
        ..Sample::default()
    })
}

/// Posts the hooks of a [`Sender`] from this process.
pub fn post_recorded(socket: &Path, clients: &str, requests: &str) -> io::Result<()> {
    let [clients, requests] = [clients, requests].map(|number| number.parse().unwrap_or(0));
    sender::post(socket, &request(&body(0), false), clients, requests)
}

/// A request with the header fields of curl. Only the body may end with a newline that does
/// not follow a CR: [`crate::floor`] finds the end of the request by it.
fn request(body: &str, keep_alive: bool) -> Vec<u8> {
    let connection = if keep_alive {
        "Connection: keep-alive\r\n"
    } else {
        ""
    };
    let length = body.len();
    format!(
        "POST /hook?event=PreToolUse HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/8.5.0\r\n\
         Accept: */*\r\nContent-Type: application/json\r\n{connection}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .into()
}

/// A hook's payload. With length 0 it is a recorded one. Otherwise it is that of a tool that
/// writes source text, a little less than `length` bytes long.
fn body(length: usize) -> String {
    const RECORDED: &str = include_str!("../../tests/data/payloads/13-PreToolUse.json");
    const SOURCE: &str = include_str!("cases.rs");
    if length == 0 {
        return format!("{}\n", RECORDED.trim_end());
    }
    let payload = |content: &str| {
        let payload = json!({"tool_name": "Write", "tool_input": {"content": content}});
        format!("{payload}\n")
    };
    let mut room = length - payload("").len();
    let content = SOURCE.chars().cycle().map_while(|char| {
        // Rust escapes what JSON escapes, and single quotes as well.
        room = room.checked_sub(char.escape_default().len())?;
        Some(char)
    });
    payload(&content.collect::<String>())
}
