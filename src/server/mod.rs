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
//! 7. **commit**: discard what readers have sent, accept readers, write the log to stdout and to the
//!    readers, and only then send the responses;
//! 8. **advance the shutdown**, if one has begun;
//! 9. **retry accept**, if a descriptor was closed.
//!
//! So a client that sees 200 knows that its event was given to stdout if that had room, and to
//! every reader that keeps up. Under load one write carries the events of many clients (group
//! commit). Each step has a budget, so that no turn takes long. The rest waits for the next turn.
//!
//! What mio calls an event is a report here, since an event is what a hook becomes. Reports
//! are edge-triggered (epoll(7), `EPOLLET`): each change is reported once.
//! Code that stops before `WouldBlock` must remember to continue without a report.
//!
//! The loop is spread over these files:
//!
//! - This file: the steps of a turn. [`setup`]: the start. [`shutdown`]: the end.
//! - [`clients`]: what a turn does for each client.
//! - [`publisher`]: what a turn does for stdout and readers.
//! - [`sessions`]: finds out whether sessions are still there.
//!
//! The others are parts that these use: [`budget`], [`deadlines`], [`fair_queue`], [`ready_queue`],
//! [`signals`], [`token`], [`users`], and [`worker`].
//!
//! This folder moves bytes. It knows neither the grammar of HTTP nor that of JSON, except that
//! [`sessions`] writes the list of sessions.
//!
//! Stop 3 of EDU_NOTES.md.

mod budget;
mod clients;
mod deadlines;
mod fair_queue;
mod publisher;
mod ready_queue;
mod sessions;
mod setup;
mod shutdown;
mod signals;
mod token;
mod users;
mod worker;

use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::trace;
use mio::event::Event as Report;
use mio::net::UnixStream;
use mio::{Events, Poll};

use self::budget::{ACCEPT, LongestTurn, PUBLISH, SystemClock, Turn};
use self::clients::Clients;
use self::clients::publish::Publish;
use self::publisher::Publisher;
use self::shutdown::Phase;
use self::token::{Token, context, register};
use self::worker::Worker;
use crate::cli::ServerOptions;
use crate::diagnostics::stderr::say;
use crate::listen::activation::ActivationSockets;
use crate::listen::file_watch::{FileWatch, WATCH};
use crate::listen::listener::Listener;
use crate::peer;

/// Serves until a signal, or until nobody can receive events any more. Uses the activation
/// sockets, and opens those that are missing. The error says what failed and what to do.
pub fn run(options: &ServerOptions, activated: ActivationSockets) -> Result<(), String> {
    let mut server = Server::start(options, activated)?;
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

struct Server {
    poll: Poll,
    signals: UnixStream,
    /// `None` once no more clients are accepted.
    hook_listener: Option<Listener>,
    /// `None` if the system has no watch left: then a lost socket file is not noticed. Also where
    /// there are no watches, and listeners look themselves.
    file_watch: Option<FileWatch>,
    clients: Clients<UnixStream>,
    publisher: Publisher,
    worker: Worker,
    /// Whether the worker may have results: it woke the poll, and not all were taken since.
    has_results: bool,
    phase: Phase,
}

impl Server {
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
            let mut turn = Turn::begin(SystemClock);
            for report in &reports {
                self.handle_report(report, turn.now);
            }
            self.restore_files(turn.now);
            self.reserve_descriptors();
            self.accept_clients(&mut turn);
            self.read_clients(&mut turn);
            self.clients.expire_deadlines(&mut turn);
            self.commit(&mut turn);
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
            self.publisher.output.retry_stdout_at,
            self.publisher.sessions.gone.next_deadline(),
        ];
        let next = listener_retries.chain(deadlines).flatten().min()?;
        Some(next.saturating_duration_since(now))
    }

    /// Whether the next turn has something to do without a report.
    fn has_work(&self, now: Instant) -> bool {
        self.has_results
            || self.clients.has_work()
            || self.publisher.has_work(now)
            || self.can_accept_clients(now)
    }

    /// Whether the backlog of the hook socket may hold a client that can be accepted.
    fn can_accept_clients(&self, now: Instant) -> bool {
        let listener = self.hook_listener.as_ref();
        listener.is_some_and(|listener| {
            let (open, excess) = self.open_connections(listener);
            listener.can_accept(open - usize::from(excess.is_some()), now)
        })
    }

    /// How many connections are open, and, if there may be no more, the user of whom one gives way
    /// to the next.
    fn open_connections(&self, listener: &Listener) -> (usize, Option<u32>) {
        let open = self.clients.len() + self.publisher.output.live_readers;
        let excess = || self.clients.user_with_excess(open);
        (open, (!listener.has_room(open)).then(excess).flatten())
    }

    /// Records what one report of the poll says, for the steps that follow.
    fn handle_report(&mut self, report: &Report, now: Instant) {
        let token = Token::from(report.token());
        trace!("{token}: {}", describe(report));
        match token {
            Token::HookListener => set_readable(&mut self.hook_listener),
            Token::OutputListener => set_readable(&mut self.publisher.listener),
            Token::Worker => self.has_results = true,
            Token::SocketFiles => {
                if let Some(file_watch) = &self.file_watch {
                    file_watch.drain();
                }
                for listener in self.listeners() {
                    listener.set_file_changed(now);
                }
            }
            Token::Signals => self.handle_signals(),
            Token::Stdout => self.publisher.handle_stdout_report(report),
            Token::Session(key) => self.publisher.sessions.handle_report(key, now),
            Token::Client(key) => {
                let is_gone = report.is_write_closed();
                let (is_readable, is_writable) = (report.is_readable(), report.is_writable());
                let clients = &mut self.clients;
                clients.handle_report(key, is_readable, is_writable, is_gone);
            }
            Token::Reader(key) => self.publisher.handle_reader_report(key, report),
        }
    }

    /// Leaves a descriptor to each session: both listeners give up the same number.
    fn reserve_descriptors(&mut self) {
        let sessions = self.publisher.sessions.watched();
        let share = sessions.div_ceil(self.listeners().count().max(1));
        self.listeners()
            .for_each(|listener| listener.reserved = share);
    }

    /// Accepts clients from the backlog, and reads their credentials.
    fn accept_clients(&mut self, turn: &mut Turn) {
        turn.begin_step(ACCEPT);
        // Not in `self`, which is asked for the connections meanwhile.
        let Some(mut listener) = self.hook_listener.take() else {
            return;
        };
        while turn.has_time() {
            let (open, excess) = self.open_connections(&listener);
            let stay_open = open - usize::from(excess.is_some());
            let Some(stream) = listener.accept(stay_open, turn.now) else {
                break;
            };
            if let Some(uid) = excess {
                self.clients.refuse_one_of(uid);
            }
            // Without an identity there can be no event.
            if let Ok(peer) = peer::credentials(stream.as_fd()) {
                self.clients.add(stream, peer, turn.now);
            }
        }
        self.hook_listener = Some(listener);
    }

    /// Reads from clients, and publishes what comes of it.
    fn read_clients(&mut self, turn: &mut Turn) {
        if !self.publisher.is_congested() && !self.worker.has_held() {
            self.clients.read(&mut self.publisher, turn);
        }
        if !self.publisher.is_congested() {
            self.finish_jobs(turn);
        }
        for job in self.clients.take_jobs() {
            self.worker.submit(job);
        }
        self.publisher
            .add_live_readers(self.clients.take_live_readers());
        self.publish_gone(turn.now);
    }

    /// Publishes the events that the worker has made.
    fn finish_jobs(&mut self, turn: &mut Turn) {
        turn.begin_step(PUBLISH);
        while self.has_results && turn.has_time() {
            let Some(finished) = self.worker.take_result() else {
                self.has_results = false;
                return;
            };
            // The sinks get first what it would evict, and meanwhile no client is read.
            if !self.publisher.output.has_room_for(&finished.forms) {
                return self.worker.hold(finished);
            }
            let publisher = &mut self.publisher;
            self.clients.finish_job(finished, publisher, turn);
            if self.publisher.is_congested() {
                return;
            }
        }
    }

    /// Publishes `_gone` for each session whose process has ended without a `SessionEnd`.
    fn publish_gone(&mut self, now: Instant) {
        let has_unread =
            self.can_accept_clients(now) || self.clients.has_unread() || self.worker.has_jobs();
        if self.publisher.sessions.gone.is_due(has_unread, now) {
            self.publisher.publish_gone_until(now);
        }
    }

    /// The first signal begins the shutdown. Another one during it ends the server at once.
    fn handle_signals(&mut self) {
        for _ in 0..shutdown::count_signals(&mut self.signals) {
            match self.phase {
                Phase::Serving => self.begin_shutdown(),
                _ => self.phase = Phase::Done(Duration::ZERO),
            }
        }
    }

    fn begin_shutdown(&mut self) {
        // From now on the server itself removes the files.
        self.file_watch = None;
        self.phase.begin(&mut self.hook_listener, &mut self.clients);
    }

    /// Advances the shutdown. With no sink left, it begins.
    fn advance_shutdown(&mut self) {
        if self.phase == Phase::Serving && !self.publisher.has_sinks() {
            self.begin_shutdown();
        }
        self.phase
            .advance(&mut self.hook_listener, &mut self.clients, &self.publisher);
    }

    /// Discards readers' input, writes this turn's events, then the responses.
    fn commit(&mut self, turn: &mut Turn) {
        self.publisher.close_removed_readers(turn);
        self.publisher
            .discard_reader_input(self.clients.scratch(), turn);
        self.publisher.accept_readers(turn);
        let flushed = self.publisher.flush(turn);
        self.clients.acknowledge(flushed, turn.now);
        self.clients.write(turn);
        self.publisher.flush_slow_readers(turn);
        self.worker.free(self.publisher.output.take_garbage());
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
    fn restore_files(&mut self, now: Instant) {
        let listeners = [
            (&mut self.hook_listener, Token::HookListener),
            (&mut self.publisher.listener, Token::OutputListener),
        ];
        for (listener, token) in listeners {
            let Some(listener) = listener else { continue };
            let Some(path) = listener.restore_file(now) else {
                continue;
            };
            let watched = match &self.file_watch {
                Some(file_watch) => file_watch.add(path).map_err(context(WATCH)),
                None => Ok(()),
            };
            let registered = register(self.poll.registry(), &mut listener.socket, token);
            // It may have disappeared again before it was watched.
            listener.check_file_later(now);
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

fn set_readable(listener: &mut Option<Listener>) {
    if let Some(listener) = listener {
        listener.is_readable = true;
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
