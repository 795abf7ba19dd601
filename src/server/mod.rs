//! The event loop: one thread and one [`Poll`] serve all sockets.
//!
//! Each turn of the loop waits only for the poll, and takes these steps:
//!
//! 1. **wait** until a source is ready, and **handle the reports** of the poll;
//! 2. **restore files**: listen again where a socket's file has disappeared;
//! 3. **reserve descriptors** for sessions;
//! 4. **accept clients** from the backlog;
//! 5. **read clients** that have sent something, and append the event of each complete
//!    request to the log. Then append `_gone` for each session whose process has ended;
//! 6. **expire deadlines**: refuse clients that took too long;
//! 7. **commit**: accept readers, write the log to stdout and to the readers, and only then
//!    send the responses;
//! 8. **advance the shutdown**, if one has begun;
//! 9. **retry accept**, if a descriptor was closed.
//!
//! So a client that sees 200 knows that its event was given to every sink that had room.
//! Under load one write carries the events of many clients (group commit). Each step has a
//! budget, so that no turn takes long. The rest waits for the next turn.
//!
//! What mio calls an event is a report here, since an event is what a hook becomes. Reports
//! are edge-triggered (epoll(7), `EPOLLET`): each change is reported once.
//! Code that stops before `WouldBlock` must remember to continue without a report.
//!
//! The loop is spread over four files: this one; [`clients`], what a turn does for each
//! client; [`publisher`], what it does for stdout and readers; and [`shutdown`]. The others
//! are parts that the loop uses: [`client`], [`budget`], [`ready_queue`], [`inflight`],
//! [`deadlines`], [`socket`], [`source`], [`signals`], [`worker`], and [`processes`], which
//! finds out whether sessions are still there.
//!
//! This folder moves bytes. It knows neither the grammar of HTTP nor that of JSON, except that
//! [`processes`] writes the list of sessions.
//!
//! Stop 3 of EDU_NOTES.md.

mod budget;
mod client;
mod clients;
mod deadlines;
mod inflight;
#[cfg(test)]
mod model;
mod processes;
mod publisher;
mod ready_queue;
mod shutdown;
mod signals;
mod socket;
mod source;
mod worker;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::trace;
use mio::event::{Event as Report, Source as Pollable};
use mio::net::UnixStream;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};

use self::budget::{Budget, LongestTurn};
use self::clients::Clients;
use self::inflight::Inflight;
use self::processes::Sessions;
use self::publisher::{Publish, Publisher};
use self::shutdown::Phase;
use self::source::Source;
use self::worker::Worker;
use crate::cli::ServerOptions;
use crate::diagnostics::stderr::say;
use crate::listen::activation::ActivationSockets;
use crate::listen::file_watch::FileWatch;
use crate::listen::listener::{self, DescriptorLimits, Listener};
use crate::nonblocking::NonblockingFd;
use crate::output::Output;
use crate::peer;

/// Serves until a signal, or until nobody can receive events any more. Uses the activation
/// sockets, and opens those that are missing. The error says what failed and what to do.
pub fn run(options: &ServerOptions, activated: ActivationSockets) -> Result<(), String> {
    let mut server = Server::start(options, activated)?;
    announce(options);
    let result = server.serve();
    let Server {
        hook_listener,
        publisher: Publisher {
            listener, output, ..
        },
        ..
    } = server;
    // Remove the socket files before waiting for the sinks.
    drop((hook_listener, listener));
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

/// How long a session is not reported as gone because its `SessionEnd` may be unread.
const GONE_TIMEOUT: Duration = Duration::from_secs(2);

struct Server {
    poll: Poll,
    signals: UnixStream,
    /// `None` once no more clients are accepted.
    hook_listener: Option<Listener>,
    /// `None` if the system has no watch left: then a lost socket file is not noticed.
    file_watch: Option<FileWatch>,
    clients: Clients<UnixStream>,
    publisher: Publisher,
    worker: Worker,
    /// Whether the worker may have results: it woke the poll, and not all were taken since.
    has_results: bool,
    phase: Phase,
    /// Since when some session is to be reported as gone, but input waits that may be its end.
    gone_since: Option<Instant>,
    /// When this turn began.
    now: Instant,
}

impl Server {
    fn start(options: &ServerOptions, activated: ActivationSockets) -> Result<Self, String> {
        let poll = Poll::new().map_err(context("create an epoll"))?;
        let registry = || {
            poll.registry()
                .try_clone()
                .map_err(context("share an epoll"))
        };
        // Before a socket file exists that a signal could leave behind.
        let mut signals = signals::catch().map_err(context("catch signals"))?;
        register(&poll, &mut signals, Source::Signals)?;
        let limits = listener::descriptor_limits(options.output_socket.is_some());
        let (mut hook_listener, mut output_listener) =
            open_listeners(&poll, options, activated, limits)?;
        let listeners = [Some(&mut hook_listener), output_listener.as_mut()];
        let file_watch = watch_files(&poll, listeners.into_iter().flatten());
        let stdout = options.stdout.then(|| NonblockingFd::new(io::stdout()));
        let stdout = stdout.transpose().map_err(context("write to stdout"))?;
        let inflight = Inflight::new(options.max_inflight, options.max_body);
        let output = Output::new(options.format, options.buffer, options.history, stdout);
        let waker = Waker::new(poll.registry(), Source::Worker.token());
        let waker = waker.map_err(context("create a waker"))?;
        Ok(Server {
            signals,
            hook_listener: Some(hook_listener),
            file_watch: file_watch.inspect_err(|error| say(error)).ok(),
            clients: Clients::new(registry()?, options.timeout, inflight),
            publisher: Publisher::new(
                registry()?,
                output,
                output_listener,
                limits.live_readers,
                Sessions::new(limits.sessions),
                options.sessions,
            )?,
            worker: Worker::start(options.format, waker).map_err(context("start a thread"))?,
            has_results: false,
            phase: Phase::Serving,
            gone_since: None,
            now: Instant::now(),
            poll,
        })
    }

    /// Runs until shutdown. Returns the time left for flushing.
    fn serve(&mut self) -> io::Result<Duration> {
        let mut reports = Events::with_capacity(1024);
        let mut longest_turn = LongestTurn::default();
        loop {
            if let Phase::Done(time_left) = self.phase {
                return Ok(time_left);
            }
            self.wait(&mut reports)?;
            longest_turn.begin();
            self.now = Instant::now();
            for report in &reports {
                self.handle_report(report);
            }
            self.restore_files();
            self.reserve_descriptors();
            let mut budget = Budget::new();
            self.accept_clients();
            self.read_clients(&mut budget);
            self.clients.expire_deadlines(&mut budget, self.now);
            self.commit(&mut budget);
            self.advance_shutdown();
            self.retry_accept();
            longest_turn.end();
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
        // A signal interrupts the wait (epoll_wait(2)), and so does SIGCONT after a stop
        // (signal(7)). Deadlines may have passed, so this turn must know what is ready.
        for timeout in [timeout, Some(Duration::ZERO)] {
            match self.poll.poll(reports, timeout) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
        Ok(())
    }

    /// The timeout for the poll. `None`: no timeout.
    fn poll_timeout(&self) -> Option<Duration> {
        let now = Instant::now();
        if self.has_work(now) {
            return Some(Duration::ZERO);
        }
        let listeners = [&self.hook_listener, &self.publisher.listener];
        let listener_retries = listeners.into_iter().flatten().map(Listener::retry_at);
        let deadlines = [
            self.phase.deadline(),
            self.clients.next_deadline(),
            self.publisher.output.retry_at(),
            self.gone_deadline(),
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
        self.has_results
            || self.clients.has_work()
            || self.publisher.has_work()
            || can_accept(&self.hook_listener, self.hook_connections())
            || can_accept(
                &self.publisher.listener,
                self.publisher.output_reader_count(),
            )
    }

    /// Records what one report of the poll says, for the steps that follow.
    fn handle_report(&mut self, report: &Report) {
        let (source, now) = (Source::from(report.token()), self.now);
        trace!("{source}: {}", describe(report));
        match source {
            Source::HookListener => set_readable(&mut self.hook_listener),
            Source::OutputListener => set_readable(&mut self.publisher.listener),
            Source::Worker => self.has_results = true,
            Source::SocketFiles => {
                if let Some(file_watch) = &self.file_watch {
                    file_watch.drain();
                }
                for listener in self.listeners() {
                    listener.set_file_changed(now);
                }
            }
            Source::Signals => self.handle_signal(),
            Source::Stdout => self.publisher.handle_stdout_report(report),
            Source::Session(key) => self.publisher.sessions.handle_report(key, now),
            Source::Client(key) => {
                let (is_readable, is_writable) = (report.is_readable(), report.is_writable());
                self.clients.handle_report(key, is_readable, is_writable);
            }
            Source::Reader(key) => self.publisher.handle_reader_report(key, report),
        }
    }

    /// The connections that came through the hook socket: clients, and readers of live events.
    fn hook_connections(&self) -> usize {
        self.clients.len() + self.publisher.output.live_reader_count()
    }

    /// Leaves a descriptor to each session: both listeners give up the same number.
    fn reserve_descriptors(&mut self) {
        let sessions = self.publisher.sessions.watched();
        let share = sessions.div_ceil(self.listeners().count().max(1));
        self.listeners()
            .for_each(|listener| listener.reserve(share));
    }

    /// Accepts clients from the backlog, and reads their credentials.
    fn accept_clients(&mut self) {
        let live_readers = self.publisher.output.live_reader_count();
        let Some(listener) = &mut self.hook_listener else {
            return;
        };
        for _ in 0..budget::ACCEPTS {
            let open = self.clients.len() + live_readers;
            let Some(stream) = listener.accept(open, self.now) else {
                return;
            };
            // Without an identity there can be no event.
            if let Ok(peer) = peer::credentials(stream.as_fd()) {
                self.clients.add(stream, peer, self.now);
            }
        }
    }

    /// Publishes `_gone` for each session whose process has ended without a `SessionEnd`. If the
    /// server is late, its `SessionEnd` may have come in time and still be unread: then this waits
    /// until nothing is unread, or for [`GONE_TIMEOUT`].
    fn publish_gone(&mut self) {
        let deadline = self.publisher.sessions.next_deadline();
        if deadline.is_none_or(|deadline| deadline > self.now) {
            self.gone_since = None;
            return;
        }
        let open = self.hook_connections();
        let listener = self.hook_listener.as_ref();
        let has_backlog = listener.is_some_and(|listener| listener.can_accept(open, self.now));
        let has_unread = has_backlog || self.clients.has_unread() || self.worker.has_jobs();
        let since = *self.gone_since.get_or_insert(self.now);
        if !has_unread || self.now >= since + GONE_TIMEOUT {
            self.publisher.publish_gone_until(self.now);
            self.gone_since = None;
        }
    }

    /// When [`Server::publish_gone`] has something to do.
    fn gone_deadline(&self) -> Option<Instant> {
        match self.gone_since {
            Some(since) => Some(since + GONE_TIMEOUT),
            None => self.publisher.sessions.next_deadline(),
        }
    }

    /// Reads from clients, and publishes the events that the worker has made.
    fn read_clients(&mut self, budget: &mut Budget) {
        self.clients.read(&mut self.publisher, budget, self.now);
        for job in self.clients.take_jobs() {
            self.worker.submit(job);
        }
        self.publisher
            .add_subscribers(self.clients.take_subscribers());
        while self.has_results && !self.publisher.is_congested() {
            match self.worker.take_result() {
                Some(finished) => {
                    let events = &mut self.publisher;
                    self.clients.finish_job(finished, events, budget, self.now);
                }
                None => self.has_results = false,
            }
        }
        self.publish_gone();
    }

    /// Writes this turn's events, then the responses.
    fn commit(&mut self, budget: &mut Budget) {
        self.publisher
            .discard_reader_input(self.clients.scratch(), budget);
        self.publisher.accept_readers(self.now);
        let flushed = self.publisher.flush();
        self.clients.acknowledge(flushed, self.now);
        self.clients.write(budget, self.now);
    }

    /// If a descriptor was closed in this turn, listeners that lacked one may accept again.
    fn retry_accept(&mut self) {
        if self.clients.take_freed_fd() | self.publisher.take_freed_fd() {
            for listener in self.listeners() {
                listener.on_fd_freed();
            }
        }
    }

    /// Listens again where a socket's file has disappeared.
    fn restore_files(&mut self) {
        let listeners = [
            (&mut self.hook_listener, Source::HookListener),
            (&mut self.publisher.listener, Source::OutputListener),
        ];
        for (listener, source) in listeners {
            let Some(listener) = listener else { continue };
            let Some(path) = listener.restore_file(self.now) else {
                continue;
            };
            let watched = match &self.file_watch {
                Some(file_watch) => file_watch.add(path).map_err(context(WATCH)),
                None => Ok(()),
            };
            let registered = register(&self.poll, listener.socket(), source);
            // It may have disappeared again before it was watched.
            listener.check_file_later(self.now);
            if let Err(error) = watched.and(registered) {
                say(error);
            }
        }
    }

    fn listeners(&mut self) -> impl Iterator<Item = &mut Listener> {
        let listeners = [&mut self.hook_listener, &mut self.publisher.listener];
        listeners.into_iter().flatten()
    }
}

/// Opens the output listener and then the hook listener, so that the output socket exists as
/// soon as the hook socket does.
fn open_listeners(
    poll: &Poll,
    options: &ServerOptions,
    activated: ActivationSockets,
    limits: DescriptorLimits,
) -> Result<(Listener, Option<Listener>), String> {
    let mut output_listener = match &options.output_socket {
        Some(path) => Some(Listener::open(
            activated.output,
            path,
            options.output_mode,
            limits.readers,
        )?),
        None => None,
    };
    if let Some(listener) = &mut output_listener {
        let socket = listener.socket();
        register(poll, socket, Source::OutputListener)?;
    }
    let mut hook_listener = Listener::open(
        activated.hooks,
        &options.socket,
        options.mode,
        limits.clients,
    )?;
    let socket = hook_listener.socket();
    register(poll, socket, Source::HookListener)?;
    Ok((hook_listener, output_listener))
}

/// The action named in the error when inotify has no free instance (inotify(7),
/// `max_user_instances`).
const WATCH: &str = "watch the socket files";

/// Watches the files of listeners. A service manager's sockets are not watched.
fn watch_files<'l>(
    poll: &Poll,
    listeners: impl Iterator<Item = &'l mut Listener>,
) -> Result<FileWatch, String> {
    let file_watch = FileWatch::new().map_err(context(WATCH))?;
    register(poll, &mut SourceFd(&file_watch.fd()), Source::SocketFiles)?;
    for listener in listeners {
        let result = listener.path().map_or(Ok(()), |path| file_watch.add(path));
        if let Err(error) = result {
            // The file may have disappeared already.
            say(context(WATCH)(error));
            listener.set_file_changed(Instant::now());
        }
    }
    Ok(file_watch)
}

fn register(poll: &Poll, socket: &mut dyn Pollable, source: Source) -> Result<(), String> {
    let registry = poll.registry();
    let result = registry.register(socket, source.token(), Interest::READABLE);
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
