//! The event loop: one thread and one [`Poll`] for every socket.
//!
//! Each turn of the loop waits only for the poll, and takes these steps:
//!
//! 1. **wait** until a source is ready, and **handle the reports** of the poll;
//! 2. **accept clients** from the backlog;
//! 3. **expire deadlines**: refuse clients that took too long;
//! 4. **read clients** that have sent something, and append the event of each complete
//!    request to the log;
//! 5. **commit**: accept readers, write the log to stdout and to the readers, and only then
//!    send the responses;
//! 6. **advance the shutdown**, if one has begun.
//!
//! So a client that sees 200 knows that its event was given to every sink that had room.
//! Under load one write carries the events of many clients (group commit).
//!
//! mio's reports are edge-triggered (epoll(7), `EPOLLET`): each change is reported once.
//! Code that stops before `WouldBlock` must remember to continue without a report.
//!
//! The loop is spread over four files: this one, [`clients`] and [`readers`] with what a
//! turn does for one client or reader, and [`shutdown`]. The others are parts that the loop
//! uses: [`source`], [`deadlines`], [`signals`] and [`worker`].
//!
//! This folder moves bytes. It knows neither the grammar of HTTP nor that of JSON.
//!
//! Stop 3 of EDU_NOTES.md.

mod clients;
mod deadlines;
mod readers;
mod shutdown;
mod signals;
mod source;
mod worker;

use std::io;
use std::time::{Duration, Instant};

use log::trace;
use mio::event::{self, Event as Report};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use slab::Slab;

use self::clients::Client;
use self::deadlines::Deadlines;
use self::shutdown::Phase;
use self::source::Source;
use self::worker::Worker;
use crate::cli::ServerOptions;
use crate::diagnostics::stderr::say;
use crate::event::Clock;
use crate::listen::activation::ActivationSockets;
use crate::listen::listener::{self, Listener};
use crate::nonblocking::NonblockingFd;
use crate::output::Output;

/// Bytes that one read can return. All connections share one buffer of this size.
const SCRATCH: usize = 64 << 10;
/// How long a closing connection is read from, if its client goes on sending.
const LINGER: Duration = Duration::from_secs(2);

/// Serves until a signal, or until nobody can receive events any more. Uses the activation
/// sockets, and opens those that are missing. The error says what failed and what to do.
pub fn run(options: &ServerOptions, activated: ActivationSockets) -> Result<(), String> {
    let mut server = Server::start(options, activated)?;
    announce(options);
    let result = server.serve();
    let Server {
        output,
        hook_listener,
        output_listener,
        ..
    } = server;
    // The socket files go first, however long the sinks may still take.
    drop((hook_listener, output_listener));
    output.finish(result.as_ref().copied().unwrap_or_default());
    result
        .map(drop)
        .map_err(|error| format!("the event loop failed: {error}"))
}

fn announce(options: &ServerOptions) {
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
    /// `None` once no more clients are accepted.
    hook_listener: Option<Listener>,
    /// `None` without an output socket.
    output_listener: Option<Listener>,
    clients: Slab<Client>,
    /// By when a client's request must be complete and its response read.
    request_deadlines: Deadlines,
    /// By when a lingering client is closed.
    linger_deadlines: Deadlines,
    max_body: u64,
    output: Output,
    worker: Worker,
    /// Clients to read from in this turn.
    readable: Vec<usize>,
    /// Clients to write to once this turn's events are written.
    writable: Vec<usize>,
    /// Readers whose input is to be discarded.
    readers_with_input: Vec<usize>,
    scratch: Box<[u8]>,
    clock: Clock,
    phase: Phase,
    /// When this turn began.
    now: Instant,
}

impl Server {
    fn start(options: &ServerOptions, activated: ActivationSockets) -> Result<Self, String> {
        let poll = Poll::new().map_err(context("create an epoll"))?;
        // Before a socket file exists that a signal could leave behind.
        let mut signals = signals::catch().map_err(context("catch signals"))?;
        register(&poll, &mut signals, Source::Signals, Interest::READABLE)?;
        let (hook_listener, output_listener) = open_listeners(&poll, options, activated)?;
        let stdout = options.stdout.then(|| open_stdout(&poll)).transpose()?;
        let waker = Waker::new(poll.registry(), Source::Worker.token());
        let waker = waker.map_err(context("create a waker"))?;
        let worker = Worker::start(options.format, waker).map_err(context("start a thread"))?;
        Ok(Server {
            poll,
            signals,
            hook_listener: Some(hook_listener),
            output_listener,
            clients: Slab::new(),
            request_deadlines: Deadlines::new(options.timeout),
            linger_deadlines: Deadlines::new(LINGER),
            max_body: options.max_body,
            output: Output::new(options.format, options.buffer, stdout),
            worker,
            readable: Vec::new(),
            writable: Vec::new(),
            readers_with_input: Vec::new(),
            scratch: vec![0; SCRATCH].into(),
            clock: Clock::default(),
            phase: Phase::Serving,
            now: Instant::now(),
        })
    }

    /// Runs until shutdown. Returns the time left for flushing.
    fn serve(&mut self) -> io::Result<Duration> {
        let mut reports = Events::with_capacity(1024);
        loop {
            if let Phase::Done(time_left) = self.phase {
                return Ok(time_left);
            }
            self.wait(&mut reports)?;
            self.now = Instant::now();
            for report in &reports {
                self.handle_report(report);
            }
            self.accept_clients();
            self.expire_deadlines();
            self.read_clients();
            self.commit();
            self.advance_shutdown();
        }
    }

    /// Waits until the poll has something to report, or something is due.
    fn wait(&mut self, reports: &mut Events) -> io::Result<()> {
        let timeout = self.poll_timeout();
        match timeout {
            Some(Duration::ZERO) => {}
            Some(timeout) => trace!("poll: waiting, timeout {timeout:.1?}"),
            None => trace!("poll: waiting, no timeout"),
        }
        match self.poll.poll(reports, timeout) {
            // A signal came (epoll_wait(2)). Its byte is reported in the next turn.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            result => result,
        }
    }

    /// How long there is nothing to do without a report. `None`: without end.
    fn poll_timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        if self.has_work(now) {
            return Some(Duration::ZERO);
        }
        let listeners = [&self.hook_listener, &self.output_listener];
        let listener_retries = listeners.into_iter().flatten().map(Listener::retry_at);
        let deadlines = [
            self.phase.deadline(),
            self.request_deadlines.next(),
            self.linger_deadlines.next(),
            self.output.retry_at(),
        ];
        let next = listener_retries.chain(deadlines).flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Whether the next turn has something to do without a report.
    fn has_work(&self, now: Instant) -> bool {
        let can_accept = |listener: &Option<Listener>, open| {
            listener
                .as_ref()
                .is_some_and(|listener| listener.can_accept(open, now))
        };
        !self.readable.is_empty()
            || !self.writable.is_empty()
            || !self.readers_with_input.is_empty()
            || self.output.needs_flush()
            || can_accept(&self.hook_listener, self.clients.len())
            || can_accept(&self.output_listener, self.output.reader_count())
    }

    /// Records what one report of the poll says, for the steps that follow.
    fn handle_report(&mut self, report: &Report) {
        let source = Source::from(report.token());
        trace!("{source}: {}", describe(report));
        match source {
            Source::HookListener => set_readable(&mut self.hook_listener),
            Source::OutputListener => set_readable(&mut self.output_listener),
            // Each turn asks the worker for results.
            Source::Worker => {}
            Source::Signals => self.handle_signal(),
            Source::Stdout if report.is_error() || report.is_write_closed() => {
                self.output.close_stdout();
            }
            Source::Stdout => self.output.set_stdout_writable(),
            Source::Client(key) => {
                if report.is_readable() {
                    self.readable.push(key);
                }
                if report.is_writable() {
                    self.writable.push(key);
                }
            }
            Source::Reader(key) => self.handle_reader_report(key, report),
        }
    }

    /// Writes this turn's events, then the responses.
    fn commit(&mut self) {
        self.discard_reader_input();
        self.accept_readers();
        self.output.flush();
        self.watch_stalled_readers();
        for key in std::mem::take(&mut self.writable) {
            self.write_client(key);
        }
    }

    /// Appends the staged event to the log. If the log is full of events that were not
    /// written to any sink yet, it writes these first.
    fn publish(&mut self) {
        if !self.output.has_room() {
            self.accept_readers();
            self.output.flush();
        }
        self.output.append();
    }

    /// Lets listeners accept again that lacked descriptors: one was closed.
    fn on_fd_freed(&mut self) {
        let listeners = [&mut self.hook_listener, &mut self.output_listener];
        for listener in listeners.into_iter().flatten() {
            listener.on_fd_freed();
        }
    }
}

/// Opens the output listener and the hook listener, in this order: a reader that waits for
/// the hook socket to appear and then connects must find its own.
fn open_listeners(
    poll: &Poll,
    options: &ServerOptions,
    activated: ActivationSockets,
) -> Result<(Listener, Option<Listener>), String> {
    let (client_limit, reader_limit) = listener::connection_limits(options.output_socket.is_some());
    let mut output_listener = match &options.output_socket {
        Some(path) => Some(Listener::open(
            activated.output,
            path,
            options.output_mode,
            reader_limit,
        )?),
        None => None,
    };
    if let Some(listener) = &mut output_listener {
        let socket = listener.socket();
        register(poll, socket, Source::OutputListener, Interest::READABLE)?;
    }
    let mut hook_listener =
        Listener::open(activated.hooks, &options.socket, options.mode, client_limit)?;
    let socket = hook_listener.socket();
    register(poll, socket, Source::HookListener, Interest::READABLE)?;
    Ok((hook_listener, output_listener))
}

fn open_stdout(poll: &Poll) -> Result<NonblockingFd, String> {
    let stdout = NonblockingFd::new(io::stdout()).map_err(context("write to stdout"))?;
    if let Some(fd) = stdout.pollable_fd() {
        register(poll, &mut SourceFd(&fd), Source::Stdout, Interest::WRITABLE)?;
    }
    Ok(stdout)
}

fn register(
    poll: &Poll,
    socket: &mut dyn event::Source,
    source: Source,
    interest: Interest,
) -> Result<(), String> {
    let result = poll.registry().register(socket, source.token(), interest);
    result.map_err(|error| format!("cannot register {source} with the poll: {error}"))
}

/// Adds to an error what the program cannot do because of it.
fn context(what: &str) -> impl Fn(io::Error) -> String {
    move |error| format!("cannot {what}: {error}")
}

fn set_readable(listener: &mut Option<Listener>) {
    if let Some(listener) = listener {
        listener.set_readable();
    }
}

/// The flags of a report, for the trace.
fn describe(report: &Report) -> String {
    let flags = [
        (report.is_readable(), "readable"),
        (report.is_read_closed(), "read closed"),
        (report.is_writable(), "writable"),
        (report.is_write_closed(), "write closed"),
        (report.is_error(), "error"),
    ];
    let is_set = flags.iter().filter(|(is_set, _)| *is_set);
    is_set.map(|(_, name)| *name).collect::<Vec<_>>().join(", ")
}
