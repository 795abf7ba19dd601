//! The event loop: one thread, one [`Poll`], every socket.
//!
//! Nothing in a turn of the loop waits for anybody but the poll. `serve` calls
//! the steps by name:
//!
//! 1. **wait** until something is ready, and **note** what it is;
//! 2. **accept clients** that are in the backlog;
//! 3. **heed deadlines**: refuse whoever has taken too long;
//! 4. **read clients** that have sent something, and append the event of every
//!    request that is whole to the log;
//! 5. **commit**: accept readers until there are no more, write the log to
//!    stdout and the readers, and only then send the responses;
//! 6. **move on** towards the end, if the server was told to stop.
//!
//! What a step does for one client is in `clients`, how it all ends in `ending`.
//!
//! So a client that sees 200 knows that its event has been given to every sink
//! that had room, and under load one write carries the events of many clients
//! (group commit).
//!
//! mio's events are edge-triggered (epoll(7), `EPOLLET`): each change is told
//! once. Whoever stops before `WouldBlock` must remember to come back unasked.
//!
//! Stop 3 of EDU_NOTES.md.

mod clients;
mod ending;

use std::io;
use std::time::{Duration, Instant};

use log::trace;
use mio::event::{Event as Report, Source};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use slab::Slab;

use self::clients::Client;
use self::ending::Phase;
use crate::activation::Handed;
use crate::args::Options;
use crate::deadlines::Deadlines;
use crate::event::Clock;
use crate::inherited::Inherited;
use crate::listening::{self, Listening};
use crate::output::Output;
use crate::signals;
use crate::stderr::say;
use crate::tokens::Name;
use crate::workshop::Workshop;

/// Bytes that one read takes at most. Every connection reads into the same buffer.
const SCRATCH: usize = 64 << 10;
/// How long a refused client that goes on sending is listened to.
const LINGER: Duration = Duration::from_secs(2);

/// Serves until it is told to stop, at the listeners that were handed over and
/// otherwise at its own. The error says what failed and what to do.
pub fn run(options: &Options, handed: Handed) -> Result<(), String> {
    let mut server = Server::start(options, handed)?;
    announce(options);
    let served = server.serve();
    let Server {
        output,
        hooks,
        readers,
        ..
    } = server;
    // Their files go, whatever the sinks may take yet.
    drop((hooks, readers));
    output.finish(served.as_ref().copied().unwrap_or_default());
    served
        .map(drop)
        .map_err(|error| format!("the event loop failed: {error}"))
}

fn announce(options: &Options) {
    if let Some(path) = &options.output_socket {
        say(format_args!("Output socket: {}", path.display()));
    }
    say(format_args!(
        "Claude Code Hooks Observatory (mio) listening on {}",
        options.socket.display()
    ));
    say(format_args!("Socket permissions: {:#o}", options.mode));
    say("Press Ctrl+C to stop\n");
}

struct Server {
    poll: Poll,
    signals: UnixStream,
    /// `None` once nobody more is accepted.
    hooks: Option<Listening>,
    readers: Option<Listening>,
    clients: Slab<Client>,
    /// By when a client's request must be whole and its response read.
    requests: Deadlines,
    /// By when a client that lingers must be gone.
    farewells: Deadlines,
    max_body: u64,
    output: Output,
    /// Where large events are made.
    workshop: Workshop,
    /// Clients to be read from in this turn.
    readable: Vec<usize>,
    /// Clients to be written to when this turn's events are out.
    answerable: Vec<usize>,
    /// Readers that may have more to say.
    talking: Vec<usize>,
    scratch: Box<[u8]>,
    clock: Clock,
    phase: Phase,
    /// When this turn began.
    now: Instant,
}

impl Server {
    fn start(options: &Options, handed: Handed) -> Result<Self, String> {
        let needs = |what| move |error: io::Error| format!("cannot {what}: {error}");
        let poll = Poll::new().map_err(needs("make an epoll"))?;
        let watch = |source: &mut dyn Source, name: Name, interest| {
            let registered = poll.registry().register(source, name.token(), interest);
            registered.map_err(|error| format!("cannot watch {name}: {error}"))
        };
        // Before there are files to leave behind.
        let mut signals = signals::catch().map_err(needs("catch signals"))?;
        watch(&mut signals, Name::Signals, Interest::READABLE)?;

        let Options {
            socket,
            output_socket,
            mode,
            output_mode,
            ..
        } = options;
        let (clients, readers) = listening::capacities(output_socket.is_some());
        // Readers first: one that waits for the hook socket to appear and then
        // connects must be let in.
        let open = |path| Listening::open(handed.output, path, *output_mode, readers);
        let mut readers = output_socket.as_deref().map(open).transpose()?;
        if let Some(readers) = &mut readers {
            watch(readers.source(), Name::Readers, Interest::READABLE)?;
        }
        let mut hooks = Listening::open(handed.hooks, socket, *mode, clients)?;
        watch(hooks.source(), Name::Hooks, Interest::READABLE)?;

        let stdout = options.stdout.then(|| Inherited::new(io::stdout()));
        let stdout = stdout.transpose().map_err(needs("write to stdout"))?;
        if let Some(fd) = stdout.as_ref().and_then(Inherited::watchable) {
            watch(&mut SourceFd(&fd), Name::Stdout, Interest::WRITABLE)?;
        }
        let waker = Waker::new(poll.registry(), Name::Workshop.token());
        let waker = waker.map_err(needs("make a waker"))?;
        let workshop = Workshop::open(options.format, waker).map_err(needs("start a thread"))?;
        Ok(Server {
            poll,
            signals,
            hooks: Some(hooks),
            readers,
            clients: Slab::new(),
            requests: Deadlines::new(options.timeout),
            farewells: Deadlines::new(LINGER),
            max_body: options.max_body,
            output: Output::new(options.format, options.buffer, stdout),
            workshop,
            readable: Vec::new(),
            answerable: Vec::new(),
            talking: Vec::new(),
            scratch: vec![0; SCRATCH].into(),
            clock: Clock::default(),
            phase: Phase::Serving,
            now: Instant::now(),
        })
    }

    /// Turns until the end. How long what is left to do may take after that.
    fn serve(&mut self) -> io::Result<Duration> {
        let mut reports = Events::with_capacity(1024);
        loop {
            if let Phase::Done(patience) = self.phase {
                return Ok(patience);
            }
            self.wait(&mut reports)?;
            self.now = Instant::now();
            for report in &reports {
                self.note(report);
            }
            self.accept_clients();
            self.heed_deadlines();
            self.read_clients();
            self.commit();
            self.move_on();
        }
    }

    fn wait(&mut self, reports: &mut Events) -> io::Result<()> {
        let patience = self.time_to_wait();
        if patience != Some(Duration::ZERO) {
            trace!(
                "poll: waits, {}",
                patience.map_or("for ever".into(), |time| format!("{time:.1?} at most"))
            );
        }
        match self.poll.poll(reports, patience) {
            // A signal came (epoll_wait(2)). The handler has left a byte for the next turn.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// How long there is nothing to do but what the poll reports; `None` is for ever.
    fn time_to_wait(&self) -> Option<Duration> {
        let now = Instant::now();
        let is_due = |listening: &Option<Listening>, open| {
            listening
                .as_ref()
                .is_some_and(|listening| listening.is_due(open, now))
        };
        let busy = !self.readable.is_empty()
            || !self.answerable.is_empty()
            || !self.talking.is_empty()
            || self.output.is_unfinished()
            || is_due(&self.hooks, self.clients.len())
            || is_due(&self.readers, self.output.readers());
        if busy {
            return Some(Duration::ZERO);
        }
        let end = match self.phase {
            Phase::Finishing(end) | Phase::Draining(end) => Some(end),
            Phase::Serving | Phase::Done(_) => None,
        };
        let resting = [&self.hooks, &self.readers].into_iter().flatten();
        let resting = resting.filter_map(Listening::rests_until);
        let due = [
            end,
            self.requests.next(),
            self.farewells.next(),
            self.output.retry_at(),
        ];
        let next = resting.chain(due.into_iter().flatten()).min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Takes note of what the poll reported.
    fn note(&mut self, report: &Report) {
        let name = Name::from(report.token());
        trace!("{name}: {}", in_words(report));
        match name {
            Name::Hooks => {
                if let Some(hooks) = &mut self.hooks {
                    hooks.note_arrival();
                }
            }
            Name::Readers => {
                if let Some(readers) = &mut self.readers {
                    readers.note_arrival();
                }
            }
            // Every turn asks the workshop.
            Name::Workshop => {}
            Name::Signals => self.heed_signal(),
            Name::Stdout if report.is_error() || report.is_write_closed() => {
                self.output.stdout_is_gone();
            }
            Name::Stdout => self.output.stdout_has_room(),
            Name::Client(key) => {
                if report.is_readable() {
                    self.readable.push(key);
                }
                if report.is_writable() {
                    self.answerable.push(key);
                }
            }
            Name::Reader(key) => self.note_reader(key, report),
        }
    }

    fn note_reader(&mut self, key: usize, report: &Report) {
        // Closed for writing is EPOLLHUP: gone. Closed for reading alone is a
        // reader that has nothing to say.
        if report.is_write_closed() || report.is_error() {
            return self.remove_reader(key);
        }
        if report.is_writable() {
            self.output.reader_has_room(key);
        }
        if report.is_readable() {
            self.talking.push(key);
        }
    }

    /// The second half of a turn: events out, then answers.
    fn commit(&mut self) {
        self.hear_readers();
        self.accept_readers();
        self.output.offer();
        self.watch_stalled_readers();
        for key in std::mem::take(&mut self.answerable) {
            self.respond(key);
        }
    }

    /// Throws away what readers say.
    fn hear_readers(&mut self) {
        let output = &mut self.output;
        self.talking.retain(|key| output.hear_reader(*key));
    }

    /// A reader whose connect returned before one of this turn's hooks was posted is
    /// in the backlog by now, whether or not the poll has told.
    fn accept_readers(&mut self) {
        let Some(readers) = &mut self.readers else {
            return;
        };
        if self.output.is_unfinished() {
            readers.note_arrival();
        }
        while let Some(stream) = readers.accept(self.output.readers(), self.now) {
            let (key, stream) = self.output.add_reader(stream);
            trace!("{}: accepted", Name::Reader(key));
            let (registry, token) = (self.poll.registry(), Name::Reader(key).token());
            if let Err(error) = registry.register(stream, token, Interest::READABLE) {
                say(format_args!("cannot watch a reader: {error}"));
                self.output.remove_reader(key);
            }
        }
    }

    /// A reader that keeps up is not watched for room: the poll would tell of each
    /// line that it takes.
    fn watch_stalled_readers(&mut self) {
        let both = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        let mut lost = Vec::new();
        for (key, stream) in self.output.newly_stalled() {
            if let Err(error) = registry.reregister(stream, Name::Reader(key).token(), both) {
                say(format_args!("cannot watch a reader: {error}"));
                lost.push(key);
            }
        }
        lost.into_iter().for_each(|key| self.remove_reader(key));
    }

    /// Appends the staged event; where the log is full of events that nobody
    /// was offered yet, these go out first.
    fn publish(&mut self) {
        if !self.output.has_room() {
            self.accept_readers();
            self.output.offer();
        }
        self.output.append();
    }

    fn remove_reader(&mut self, key: usize) {
        self.output.remove_reader(key);
        self.note_departure();
    }

    /// A descriptor is free: whoever waits for one may be let in.
    fn note_departure(&mut self) {
        for listening in [&mut self.hooks, &mut self.readers].into_iter().flatten() {
            listening.note_departure();
        }
    }
}

/// What the poll tells of a socket, for the trace.
fn in_words(report: &Report) -> String {
    let told = [
        (report.is_readable(), "readable"),
        (report.is_read_closed(), "read to its end"),
        (report.is_writable(), "writable"),
        (report.is_write_closed(), "closed for writing"),
        (report.is_error(), "broken"),
    ];
    let told = told.iter().filter(|(is_so, _)| *is_so);
    let words: Vec<&str> = told.map(|(_, word)| *word).collect();
    format!("is {}", words.join(", "))
}
