//! What is measured: each case a load, and what to ask of a server under it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::{self, Latencies, Load, Readers, Uploads};
use crate::server::{Candidate, Server, Setup, Stdout};
use crate::tools::Tool;

/// One row of the table.
pub struct Case {
    pub name: &'static str,
    what: What,
    clients: usize,
    keeps: bool,
    /// Bytes of body; 0 for a hook as a client sent it.
    body: usize,
    readers: usize,
    /// Connections that say nothing meanwhile.
    idle: usize,
    stdout: Stdout,
    /// Requests a round. A fifth of them in a quick run.
    requests: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum What {
    /// Hooks, posted by our own load.
    Hooks,
    /// Hooks, posted by a load generator that others made.
    Tool(Tool),
    /// Hooks while somebody uploads.
    Uploads,
    /// Starting, again and again.
    Starts,
    /// Connections that have sent these bytes and no more.
    Held(&'static str),
}

const HOOKS: Case = Case {
    name: "",
    what: What::Hooks,
    clients: 64,
    keeps: false,
    body: 0,
    readers: 0,
    idle: 0,
    stdout: Stdout::File,
    requests: 50_000,
};

/// All cases, in the order of the table.
#[rustfmt::skip]
pub const CASES: &[Case] = &[
    Case { name: "a connection each, 1 client", clients: 1, requests: 20_000, ..HOOKS },
    Case { name: "a connection each, 64 clients", ..HOOKS },
    Case { name: "a connection each, 1,000 clients", clients: 1000, ..HOOKS },
    Case { name: "kept connections, 64 clients", keeps: true, requests: 100_000, ..HOOKS },
    Case { name: "bodies of 64 KiB, 8 clients", clients: 8, body: 64 << 10, requests: 5_000, ..HOOKS },
    Case { name: "bodies of 1 MiB, 4 clients", clients: 4, body: 1 << 20, requests: 400, ..HOOKS },
    Case { name: "1 reader, CPU a line", clients: 1, readers: 1, requests: 20_000, ..HOOKS },
    Case { name: "10 readers, CPU a line", clients: 1, readers: 10, requests: 10_000, ..HOOKS },
    Case { name: "200 readers, CPU a line", clients: 1, readers: 200, requests: 1_500, ..HOOKS },
    Case { name: "hooks during uploads of 64 MiB", what: What::Uploads, clients: 8, requests: 5, ..HOOKS },
    Case { name: "beside 1 idle connection", idle: 1, ..HOOKS },
    Case { name: "beside 1,000 idle connections", idle: 1_000, ..HOOKS },
    Case { name: "beside 10,000 idle connections", idle: 10_000, ..HOOKS },
    Case { name: "stdout is a file on disk", stdout: Stdout::Disk, ..HOOKS },
    Case { name: "stdout is a pipe", stdout: Stdout::Pipe, ..HOOKS },
    Case { name: "stdout is /dev/null", stdout: Stdout::Null, ..HOOKS },
    Case { name: "oha, a connection each, 64 clients", what: What::Tool(Tool::Oha), ..HOOKS },
    Case { name: "oha, kept connections, 64 clients", what: What::Tool(Tool::Oha), keeps: true, ..HOOKS },
    Case { name: "h2load, kept connections, 64 clients", what: What::Tool(Tool::H2load), keeps: true, ..HOOKS },
    Case { name: "start-up, until it accepts", what: What::Starts, requests: 50, ..HOOKS },
    Case { name: "10,000 idle connections", what: What::Held(""), ..HOOKS },
    Case { name: "10,000 half-sent requests", what: What::Held(HALF), ..HOOKS },
];

const HELD: usize = 10_000;
const HALF: &str =
    "POST /hook?event=PreToolUse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{";

/// What one round of a case found out about one server.
#[derive(Clone, Default)]
pub struct Sample {
    pub latencies: Latencies,
    /// Requests a second.
    pub rate: Option<f64>,
    /// Time on a processor for each request, line or start.
    pub cpu: Option<Duration>,
    /// Bytes resident, at most.
    pub peak: u64,
    /// Bytes resident for each connection that is held.
    pub held: Option<f64>,
}

impl Sample {
    /// The same, with the latencies in order.
    pub fn sorted(mut self) -> Self {
        self.latencies.sort_unstable();
        self
    }
}

impl Case {
    /// Why it cannot be measured here, if so.
    pub fn obstacle(&self) -> Option<String> {
        match self.what {
            What::Tool(tool) => tool.obstacle(),
            _ => None,
        }
    }

    /// Whether it has anything to say of this server: the floor's memory is no
    /// measure for anybody's.
    pub fn suits(&self, candidate: &Candidate) -> bool {
        !matches!((self.what, candidate), (What::Held(_), Candidate::Floor))
    }

    /// One round with a server that is started for it.
    pub fn run(&self, candidate: &Candidate, is_quick: bool) -> Result<Sample, String> {
        let requests = (self.requests / if is_quick { 5 } else { 1 }).max(1);
        if self.what == What::Starts {
            return self.start_up(candidate, requests);
        }
        let server = Server::start(candidate, &self.setup())?;
        match self.what {
            What::Uploads => self.upload(&server, requests),
            What::Held(begin) => self.hold(&server, begin),
            What::Tool(tool) => self.measure(&server, requests, |requests| {
                tool.post(
                    &server.socket(),
                    &body(self.body),
                    self.clients,
                    self.keeps,
                    requests,
                )
            }),
            What::Hooks | What::Starts => {
                let request = request(&body(self.body), self.keeps);
                let _idle = client::linger(&server.socket(), self.idle, b"")?;
                let readers = Readers::connect(&server.output(), self.readers)?;
                let sample = self.measure(&server, requests, |requests| {
                    let load = Load {
                        socket: &server.socket(),
                        request: &request,
                        clients: self.clients,
                        keeps: self.keeps,
                        requests,
                        stop: None,
                    };
                    client::post(&load)
                });
                readers.leave();
                sample
            }
        }
    }

    fn setup(&self) -> Setup {
        Setup {
            stdout: self.stdout,
            has_readers: self.readers > 0,
            keeps: self.keeps,
        }
    }

    /// Warms the server up, then takes its measure while it serves.
    fn measure(
        &self,
        server: &Server,
        requests: usize,
        post: impl Fn(usize) -> Result<Latencies, String>,
    ) -> Result<Sample, String> {
        post((requests / 10).max(1))?;
        let (cpu, began) = (server.cpu_at_rest(), Instant::now());
        let latencies = post(requests)?;
        let elapsed = began.elapsed();
        let units = latencies.len() * self.readers.max(1);
        Ok(Sample {
            rate: Some(latencies.len() as f64 / elapsed.as_secs_f64()),
            cpu: Some((server.cpu_at_rest() - cpu) / units as u32),
            peak: server.peak(),
            latencies,
            held: None,
        })
    }

    fn upload(&self, server: &Server, uploads: usize) -> Result<Sample, String> {
        let large = Arc::new(request(&body(64 << 20), false));
        let uploads = Uploads::start(&server.socket(), large, uploads);
        let load = Load {
            socket: &server.socket(),
            request: &request(&body(0), false),
            clients: self.clients,
            keeps: false,
            requests: 1_000_000,
            stop: Some(uploads.done()),
        };
        let latencies = client::post(&load);
        uploads.join()?;
        Ok(Sample {
            latencies: latencies?,
            peak: server.peak(),
            ..Sample::default()
        })
    }

    fn start_up(&self, candidate: &Candidate, times: usize) -> Result<Sample, String> {
        let mut sample = Sample::default();
        for _ in 0..times {
            let server = Server::start(candidate, &self.setup())?;
            sample.latencies.push(server.took_to_start);
            *sample.cpu.get_or_insert_default() += server.cpu_at_rest() / times as u32;
            sample.peak = server.peak();
        }
        Ok(sample)
    }

    fn hold(&self, server: &Server, begin: &str) -> Result<Sample, String> {
        // What the first connections cost once is none of the others' cost.
        let _warm = client::linger(&server.socket(), HELD / 100, begin.as_bytes())?;
        server.cpu_at_rest();
        let before = server.resident();
        let _held = client::linger(&server.socket(), HELD, begin.as_bytes())?;
        server.cpu_at_rest();
        Ok(Sample {
            held: Some((server.resident() - before) as f64 / HELD as f64),
            peak: server.peak(),
            ..Sample::default()
        })
    }
}

/// A request as curl sends it. It ends with a newline: see [`crate::floor`].
fn request(body: &str, keeps: bool) -> Vec<u8> {
    let connection = if keeps {
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

/// A hook's payload: as a client sent it, or that of a tool that writes a source
/// file, `length` bytes at most.
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
    let times = (length - payload("").len()) / (payload(SOURCE).len() - payload("").len());
    payload(&SOURCE.repeat(times))
}
