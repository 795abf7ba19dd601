//! The event loop: one thread, one [`Poll`], every socket.
//!
//! Nothing in a turn of the loop waits for anybody but the poll. `serve` calls
//! the steps by name:
//!
//! 1. **wait** until something is ready, and **note** what it is;
//! 2. **accept clients** that are in the backlog;
//! 3. **read clients** that have sent something, and append the event of every
//!    request that is whole to the log;
//! 4. **commit**: accept readers until there are no more, write the log to
//!    stdout and the readers, and only then send the responses;
//! 5. **move on** towards the end, if the server was told to stop.
//!
//! So a client that sees 200 knows that its event has been given to every sink
//! that had room, and under load one write carries the events of many clients
//! (group commit).
//!
//! mio's events are edge-triggered (epoll(7), `EPOLLET`): each change is told
//! once. Whoever stops before `WouldBlock` must remember to come back unasked.
//!
//! Stop 3 of EDU_NOTES.md.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use log::trace;
use mio::event::Event as Readiness;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use slab::Slab;

use crate::activation::Handed;
use crate::args::Options;
use crate::connection::{Connection, Step};
use crate::deadlines::Deadlines;
use crate::event::{self, Clock, Event};
use crate::inherited::{Inherited, say};
use crate::listening::{self, Listening};
use crate::output::Output;
use crate::peer::{self, Peer};
use crate::signals;
use crate::socket_file;
use crate::tokens::Name;
use crate::workshop::{self, Order, Workshop};

/// Bytes that one read takes at most. Every connection reads into the same buffer.
const SCRATCH: usize = 64 << 10;
/// Reads from one client in one turn: a large upload must not hold up the others.
const READS: usize = 4;
/// Clients accepted in one turn.
const ACCEPTS: usize = 256;
/// How long a refused client that goes on sending is listened to.
const LINGER: Duration = Duration::from_secs(2);
/// How long requests in flight may take at the end, and then the sinks.
const PATIENCE: Duration = Duration::from_secs(2);

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
    /// `None` once the server is stopping.
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

struct Client {
    stream: UnixStream,
    peer: Peer,
    connection: Connection,
    /// What the poll watches it for: nothing, until it makes us wait.
    watched: Option<Interest>,
    /// Whether its event is in the workshop: until that is out, there is no answer.
    waits_for_event: bool,
    /// Whether the connection is over, and read from only so that the client can
    /// read how it ended.
    lingers: bool,
    accepted: Instant,
}

impl Client {
    /// Reads what is there. A short read is no sign that nothing more is: on a Unix
    /// socket it also ends where a message came with descriptors (`SCM_RIGHTS`, unix(7)).
    fn read(&mut self, scratch: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(scratch);
        let name = self.connection.name();
        match &read {
            Ok(0) => trace!("{name}: read the end of what it sends"),
            Ok(count) => trace!("{name}: read {count} bytes"),
            Err(error) => trace!("{name}: read nothing: {:?}", error.kind()),
        }
        read
    }
}

/// What the poll tells of a socket, for the trace.
fn in_words(readiness: &Readiness) -> String {
    let told = [
        (readiness.is_readable(), "readable"),
        (readiness.is_read_closed(), "read to its end"),
        (readiness.is_writable(), "writable"),
        (readiness.is_write_closed(), "closed for writing"),
        (readiness.is_error(), "broken"),
    ];
    let told = told.iter().filter(|(is_so, _)| *is_so);
    let words: Vec<&str> = told.map(|(_, word)| *word).collect();
    format!("is {}", words.join(", "))
}

/// How near the end is.
#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Serving,
    /// Told to stop: requests in flight may finish.
    Finishing(Instant),
    /// No more requests: sinks may take what is left.
    Draining(Instant),
    /// This long may what is left to do still take.
    Done(Duration),
}

impl Server {
    fn start(options: &Options, handed: Handed) -> Result<Self, String> {
        let needs = |what| move |error: io::Error| format!("cannot {what}: {error}");
        // Before there are files to leave behind.
        let mut signals = signals::catch().map_err(needs("catch signals"))?;
        let poll = Poll::new().map_err(needs("make an epoll"))?;
        let registry = poll.registry();
        registry
            .register(&mut signals, Name::Signals.token(), Interest::READABLE)
            .map_err(needs("watch for signals"))?;

        let (clients, readers) = listening::capacities(options.output_socket.is_some());
        let listen = |handed, path, mode, name: Name, capacity| {
            let (mut listener, file) = match handed {
                Some(listener) => (UnixListener::from_std(listener), None),
                None => socket_file::listen(path, mode).map(|(own, file)| (own, Some(file)))?,
            };
            registry
                .register(&mut listener, name.token(), Interest::READABLE)
                .map_err(needs("watch a listener"))?;
            Ok::<_, String>(Listening::new(listener, file, capacity))
        };
        // Readers first: one that waits for the hook socket to appear and then
        // connects must be let in.
        let output = options.output_socket.as_ref();
        let mode = options.output_mode;
        let readers = output.map(|path| listen(handed.output, path, mode, Name::Readers, readers));
        let readers = readers.transpose()?;
        let hooks = listen(
            handed.hooks,
            &options.socket,
            options.mode,
            Name::Hooks,
            clients,
        )?;

        let stdout = options
            .stdout
            .then(|| Inherited::new(io::stdout()))
            .transpose();
        let stdout = stdout.map_err(needs("write to stdout"))?;
        if let Some(fd) = stdout.as_ref().and_then(Inherited::watchable) {
            registry
                .register(&mut SourceFd(&fd), Name::Stdout.token(), Interest::WRITABLE)
                .map_err(needs("watch stdout"))?;
        }
        let waker =
            Waker::new(poll.registry(), Name::Workshop.token()).map_err(needs("make a waker"))?;
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
        let mut events = Events::with_capacity(1024);
        loop {
            if let Phase::Done(patience) = self.phase {
                return Ok(patience);
            }
            self.wait(&mut events)?;
            self.now = Instant::now();
            for readiness in &events {
                self.note(readiness);
            }
            self.accept_clients();
            self.heed_deadlines();
            self.read_clients();
            self.commit();
            self.move_on();
        }
    }

    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = self.time_to_wait();
        if patience != Some(Duration::ZERO) {
            trace!(
                "poll: waits, {}",
                patience.map_or("for ever".into(), |time| format!("{time:.1?} at most"))
            );
        }
        match self.poll.poll(events, patience) {
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
    fn note(&mut self, readiness: &Readiness) {
        let name = Name::from(readiness.token());
        trace!("{name}: {}", in_words(readiness));
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
            Name::Stdout if readiness.is_error() || readiness.is_write_closed() => {
                self.output.stdout_is_gone();
            }
            Name::Stdout => self.output.stdout_has_room(),
            Name::Client(key) => self.note_client(key, readiness),
            Name::Reader(key) => self.note_reader(key, readiness),
        }
    }

    fn note_client(&mut self, key: usize, readiness: &Readiness) {
        if readiness.is_readable() {
            self.readable.push(key);
        }
        if readiness.is_writable() {
            self.answerable.push(key);
        }
    }

    fn note_reader(&mut self, key: usize, readiness: &Readiness) {
        // Closed for writing is EPOLLHUP: gone. Closed for reading alone is a
        // reader that has nothing to say.
        if readiness.is_write_closed() || readiness.is_error() {
            return self.remove_reader(key);
        }
        if readiness.is_writable() {
            self.output.reader_has_room(key);
        }
        if readiness.is_readable() {
            self.talking.push(key);
        }
    }

    fn accept_clients(&mut self) {
        let Some(hooks) = &mut self.hooks else { return };
        for _ in 0..ACCEPTS {
            let Some(stream) = hooks.accept(self.clients.len(), self.now) else {
                return;
            };
            // Without an identity there can be no event.
            let Ok(peer) = peer::of(stream.as_fd()) else {
                continue;
            };
            let name = Name::Client(self.clients.vacant_key());
            trace!("{name}: accepted: {peer}");
            let mut connection = Connection::new(name, self.max_body);
            if self.phase != Phase::Serving {
                connection.let_end();
            }
            let client = Client {
                stream,
                peer,
                connection,
                watched: None,
                waits_for_event: false,
                lingers: false,
                accepted: self.now,
            };
            let key = self.clients.insert(client);
            self.requests.set(key, self.now);
            // Its request has often arrived already.
            self.readable.push(key);
        }
    }

    /// Ends the waiting of those whose time is over.
    fn heed_deadlines(&mut self) {
        while let Some(key) = self.requests.take_due(self.now) {
            trace!("{}: its time is over", Name::Client(key));
            match self
                .clients
                .get_mut(key)
                .map(|client| client.connection.time_out())
            {
                Some(Step::Write) => self.answerable.push(key),
                _ => self.close(key),
            }
        }
        while let Some(key) = self.farewells.take_due(self.now) {
            self.forget(key);
        }
    }

    fn read_clients(&mut self) {
        for key in std::mem::take(&mut self.readable) {
            match self.clients.get(key) {
                Some(client) if client.lingers => self.hear_out(key),
                Some(_) => self.read_client(key),
                None => {}
            }
        }
        while let Some((key, event)) = self.workshop.take() {
            self.output.stage_made(event);
            self.publish();
            // Nobody else can have got its key: it is not closed while it waits,
            // and when the waiting is over for all, nobody is let in any more.
            if let Some(client) = self.clients.get_mut(key) {
                client.waits_for_event = false;
                self.requests.set(key, self.now);
                self.answerable.push(key);
            }
        }
        let output = &mut self.output;
        self.talking.retain(|key| output.hear_reader(*key));
    }

    /// Reads from a client until its request is whole and published, or nothing
    /// more is there, or others should have their turn.
    fn read_client(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            // A client's next request waits until it has its response.
            if !client.connection.unsent().is_empty() {
                return;
            }
            let was_idle = client.connection.is_idle();
            let step = if client.connection.has_unread() {
                client.connection.received(&[])
            } else {
                match client.read(&mut self.scratch) {
                    Ok(0) => client.connection.end_of_input(),
                    Ok(count) => client.connection.received(&self.scratch[..count]),
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => return self.wait_for_more(key),
                        io::ErrorKind::Interrupted => Step::Read,
                        _ => Step::Close,
                    },
                }
            };
            match step {
                // A kept connection's next request has its time from its first byte on.
                Step::Read | Step::Resume => {
                    if was_idle && !client.connection.is_idle() {
                        self.requests.set(key, self.now);
                    }
                }
                Step::Write => return self.answerable.push(key),
                Step::Close | Step::Linger => return self.close(key),
                Step::Hook(hook) if hook.body.len() >= workshop::LARGE => {
                    trace!(
                        "{}: event {}, for the workshop",
                        Name::Client(key),
                        hook.event
                    );
                    let (time, event) = (self.clock.now().to_owned(), hook.event);
                    let (peer, body) = (client.peer, client.connection.take_body());
                    // It has done its part in time.
                    self.requests.clear(key);
                    client.waits_for_event = true;
                    return self.workshop.order(Order {
                        client: key,
                        time,
                        event,
                        peer,
                        body,
                    });
                }
                Step::Hook(hook) => {
                    trace!("{}: event {}", Name::Client(key), hook.event);
                    let body = event::decode(hook.body);
                    let event = Event::hook(self.clock.now(), &hook.event, &client.peer, &body);
                    self.output.stage(&event);
                    self.answerable.push(key);
                    return self.publish();
                }
            }
        }
        self.readable.push(key);
    }

    /// Nothing more of a request is there: the poll will tell when there is, unless
    /// the server is stopping and there is no request.
    fn wait_for_more(&mut self, key: usize) {
        let is_idle = self
            .clients
            .get(key)
            .is_some_and(|client| client.connection.is_idle());
        if is_idle && self.phase != Phase::Serving {
            return self.close(key);
        }
        self.watch(key, Interest::READABLE);
    }

    /// Throws away what a client sends whose connection is over.
    fn hear_out(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            match client.stream.read(&mut self.scratch) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.watch(key, Interest::READABLE);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => return self.forget(key),
            }
        }
        self.readable.push(key);
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

    /// The second half of a turn: events out, then answers.
    fn commit(&mut self) {
        self.accept_readers();
        self.output.offer();
        self.watch_stalled_readers();
        for key in std::mem::take(&mut self.answerable) {
            self.answer(key);
        }
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
        for (key, stream) in self.output.unwatched() {
            if let Err(error) = registry.reregister(stream, Name::Reader(key).token(), both) {
                say(format_args!("cannot watch a reader: {error}"));
                lost.push(key);
            }
        }
        lost.into_iter().for_each(|key| self.remove_reader(key));
    }

    /// Writes to a client what its connection has for it, and does what comes then.
    fn answer(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // It may be on the list twice, or ready for what is not ready for it.
        if client.waits_for_event || client.connection.unsent().is_empty() {
            return;
        }
        let step = loop {
            match client.stream.write(client.connection.unsent()) {
                Ok(count) => {
                    trace!("{}: written {count} bytes", Name::Client(key));
                    match client.connection.written(count) {
                        Step::Write => {}
                        step => break step,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.watch(key, Interest::WRITABLE);
                }
                Err(_) => break Step::Close,
            }
        };
        match step {
            Step::Linger => self.linger(key),
            Step::Close => self.close(key),
            step => {
                if step == Step::Resume || client.connection.is_idle() {
                    self.requests.set(key, self.now);
                }
                self.readable.push(key);
            }
        }
    }

    /// Closes a connection, once what has arrived is read away: closing a Unix
    /// socket with unread bytes turns the peer's end of file into ECONNRESET.
    fn close(&mut self, key: usize) {
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            match client.stream.read(&mut self.scratch) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return self.forget(key),
            }
        }
        self.linger(key);
    }

    /// Stops writing to a client that may still be sending, and goes on reading
    /// for a while.
    fn linger(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        trace!("{}: nothing more is written to it", Name::Client(key));
        // If the client is gone, reading will tell.
        let _ = client.stream.shutdown(Shutdown::Write);
        client.lingers = true;
        self.requests.clear(key);
        self.farewells.set(key, self.now);
        self.readable.push(key);
    }

    /// Closes a connection at once.
    fn forget(&mut self, key: usize) {
        if let Some(client) = self.clients.try_remove(key) {
            let elapsed = client.accepted.elapsed().as_secs_f64() * 1e3;
            trace!("{}: closed after {elapsed:.3} ms", Name::Client(key));
        }
        self.requests.clear(key);
        self.farewells.clear(key);
        self.note_departure();
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

    /// Has the poll tell when a client is ready for `interest`. Nothing is lost
    /// by asking only now: epoll reports at once what is ready when it is added.
    fn watch(&mut self, key: usize, interest: Interest) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let watched = client.watched.replace(interest);
        if watched == Some(interest) {
            return;
        }
        trace!(
            "{}: the poll is to watch it: {interest:?}",
            Name::Client(key)
        );
        let (registry, token) = (self.poll.registry(), Name::Client(key).token());
        let result = match watched {
            Some(_) => registry.reregister(&mut client.stream, token, interest),
            None => registry.register(&mut client.stream, token, interest),
        };
        if let Err(error) = result {
            say(format_args!("cannot watch a client: {error}"));
            self.forget(key);
        }
    }

    /// The first signal ends the service in good order, the second one at once.
    fn heed_signal(&mut self) {
        let mut signals = [0; 64];
        while let Ok(count @ 1..) = self.signals.read(&mut signals) {
            for _ in 0..count {
                match self.phase {
                    Phase::Serving => self.stop(),
                    _ => self.phase = Phase::Done(Duration::ZERO),
                }
            }
        }
    }

    /// Lets nobody new in, and goes on with those who are.
    fn stop(&mut self) {
        say("\nShutting down...");
        trace!("server: lets nobody new in, finishes what is under way, in {PATIENCE:?} at most");
        self.phase = Phase::Finishing(Instant::now() + PATIENCE);
        self.hooks.take_if(|hooks| !hooks.shut());
        for (key, client) in &mut self.clients {
            client.connection.let_end();
            // One that is idle, now and when it is next read, may go.
            self.readable.push(key);
        }
    }

    /// Goes from one phase to the next when it is time.
    fn move_on(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving if !self.output.has_stdout() && self.readers.is_none() => self.stop(),
            Phase::Finishing(end) => {
                // The backlog is served when accept has nothing more.
                self.hooks.take_if(|hooks| hooks.is_exhausted());
                if self.hooks.is_none() && self.clients.is_empty() || now >= end {
                    let late: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
                    late.into_iter().for_each(|key| self.forget(key));
                    self.hooks = None;
                    trace!("server: gives the sinks what is left, in {PATIENCE:?} at most");
                    self.phase = Phase::Draining(now + PATIENCE);
                    self.move_on();
                }
            }
            Phase::Draining(end) if self.output.is_drained() || now >= end => {
                self.phase = Phase::Done(end.saturating_duration_since(now));
            }
            _ => {}
        }
    }
}
