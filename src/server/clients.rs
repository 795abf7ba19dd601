//! What a turn does for one client, from accept to close.
//!
//! The client's [`Connection`] decides what comes next. This file does it: read, publish,
//! write, close. A client that cannot go on is either registered with the poll, or in the
//! list `readable` or `writable`, or waits for the worker. Each has a deadline, except
//! while it waits for the worker.
//!
//! Stop 5 of EDU_NOTES.md.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Instant;

use log::trace;
use mio::Interest;
use mio::net::UnixStream;

use super::source::Source;
use super::worker::{Job, LARGE_BODY};
use super::{Phase, Server};
use crate::diagnostics::stderr::say;
use crate::event::{self, Event};
use crate::http::connection::{Connection, Hook, Step};
use crate::peer::{self, Peer};

/// Reads from one client in one turn. More would let one large upload hold up all others.
const READS: usize = 4;
/// Clients accepted in one turn.
const ACCEPTS: usize = 256;

/// A connection to the hook socket.
pub(super) struct Client {
    stream: UnixStream,
    peer: Peer,
    pub(super) connection: Connection,
    /// What it is registered for. `None` until a call first returns `WouldBlock`.
    interest: Option<Interest>,
    /// Whether the worker makes its event. The response waits for that.
    waits_for_worker: bool,
    /// Whether the connection is over, and is read from only so that the client can read
    /// its response (RFC 9112 section 9.6).
    pub(super) lingers: bool,
    accepted_at: Instant,
}

impl Client {
    /// Reads what is there, and traces it.
    ///
    /// A short read does not mean that the socket is empty: on a Unix socket a read also
    /// ends where descriptors were passed (`SCM_RIGHTS`, unix(7)).
    fn read(&mut self, source: Source, scratch: &mut [u8]) -> io::Result<usize> {
        let result = self.stream.read(scratch);
        match &result {
            Ok(0) => trace!("{source}: read end of input"),
            Ok(count) => trace!("{source}: read {count} bytes"),
            Err(error) => trace!("{source}: read: {:?}", error.kind()),
        }
        result
    }

    /// The next step of the connection. Reads first, unless the connection still has bytes
    /// that it has not parsed. `None`: there is nothing to read now.
    fn next_step<'a>(&'a mut self, source: Source, scratch: &'a mut [u8]) -> Option<Step<'a>> {
        if self.connection.has_unparsed() {
            return Some(self.connection.received(&[]));
        }
        match self.read(source, scratch) {
            Ok(0) => Some(self.connection.end_of_input()),
            Ok(count) => Some(self.connection.received(&scratch[..count])),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => None,
                io::ErrorKind::Interrupted => Some(Step::Read),
                _ => Some(Step::Close),
            },
        }
    }

    /// Discards input, at most [`READS`] reads a turn. Returns true if there may be more,
    /// false at the end of input, and `WouldBlock` if there is nothing now.
    fn discard_input(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
        for _ in 0..READS {
            match self.stream.read(scratch) {
                Ok(0) => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Server {
    /// Accepts clients from the backlog, and asks the kernel who they are.
    pub(super) fn accept_clients(&mut self) {
        let Some(listener) = &mut self.hook_listener else {
            return;
        };
        for _ in 0..ACCEPTS {
            let Some(stream) = listener.accept(self.clients.len(), self.now) else {
                return;
            };
            // Without an identity there can be no event.
            let Ok(peer) = peer::of(stream.as_fd()) else {
                continue;
            };
            let key = self.clients.vacant_key();
            trace!("{}: accepted, {peer}", Source::Client(key));
            let mut connection = Connection::new(key, self.max_body);
            if self.phase != Phase::Serving {
                connection.disable_keep_alive();
            }
            self.clients.insert(Client {
                stream,
                peer,
                connection,
                interest: None,
                waits_for_worker: false,
                lingers: false,
                accepted_at: self.now,
            });
            self.request_deadlines.set(key, self.now);
            // Its request has often arrived already.
            self.readable.push(key);
        }
    }

    /// Refuses or closes clients whose deadline has passed.
    pub(super) fn expire_deadlines(&mut self) {
        while let Some(key) = self.request_deadlines.take_expired(self.now) {
            trace!("{}: deadline passed", Source::Client(key));
            let client = self.clients.get_mut(key);
            match client.map(|client| client.connection.time_out()) {
                Some(Step::Write) => self.writable.push(key),
                _ => self.drain_and_close(key),
            }
        }
        while let Some(key) = self.linger_deadlines.take_expired(self.now) {
            self.remove_client(key);
        }
    }

    /// Reads from the clients in `readable`: the poll reported them, or an earlier turn
    /// stopped before `WouldBlock`.
    pub(super) fn read_clients(&mut self) {
        for key in std::mem::take(&mut self.readable) {
            match self.clients.get(key) {
                Some(client) if client.lingers => self.drain_lingering(key),
                Some(_) => self.read_client(key),
                None => {}
            }
        }
        self.publish_worker_results();
    }

    /// Reads from a client until its request is complete, or there is nothing to read, or
    /// it has had its share of this turn.
    fn read_client(&mut self, key: usize) {
        let source = Source::Client(key);
        for _ in 0..READS {
            let Some(client) = self.clients.get_mut(key) else {
                return;
            };
            // The next request waits until the client has its response.
            if !client.connection.unsent().is_empty() {
                return;
            }
            let (peer, was_idle) = (client.peer, client.connection.is_idle());
            let Some(step) = client.next_step(source, &mut self.scratch) else {
                return self.wait_for_input(key);
            };
            match step {
                // On a reused connection the time runs from the first byte of a request.
                Step::Read | Step::Resume => {
                    if was_idle && !client.connection.is_idle() {
                        self.request_deadlines.set(key, self.now);
                    }
                }
                Step::Write => return self.writable.push(key),
                Step::Close | Step::Linger => return self.drain_and_close(key),
                Step::Hook(Hook { event_name, body }) if body.len() >= LARGE_BODY => {
                    return self.submit_job(key, event_name);
                }
                Step::Hook(Hook { event_name, body }) => {
                    trace!("{source}: event {event_name}");
                    let body = event::decode_utf8(body);
                    let event = Event::hook(self.clock.now(), &event_name, &peer, &body);
                    self.output.stage(&event);
                    self.writable.push(key);
                    return self.publish();
                }
            }
        }
        self.readable.push(key);
    }

    /// There is nothing to read: waits for the poll's report. During the shutdown an idle
    /// connection is closed instead.
    fn wait_for_input(&mut self, key: usize) {
        let client = self.clients.get(key);
        let is_idle = client.is_some_and(|client| client.connection.is_idle());
        if is_idle && self.phase != Phase::Serving {
            return self.drain_and_close(key);
        }
        self.register_client(key, Interest::READABLE);
    }

    /// Registers a client with the poll, or changes its interest. Nothing that happened
    /// before is missed: epoll reports at once what is ready when it is added.
    fn register_client(&mut self, key: usize, interest: Interest) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        let previous = client.interest.replace(interest);
        if previous == Some(interest) {
            return;
        }
        let source = Source::Client(key);
        trace!("{source}: registered for {interest:?}");
        let (registry, token) = (self.poll.registry(), source.token());
        let result = match previous {
            Some(_) => registry.reregister(&mut client.stream, token, interest),
            None => registry.register(&mut client.stream, token, interest),
        };
        if let Err(error) = result {
            say(format_args!(
                "cannot register a client with the poll: {error}"
            ));
            self.remove_client(key);
        }
    }

    /// Has the worker make the event of the client's large body.
    fn submit_job(&mut self, key: usize, event_name: String) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        trace!("{}: event {event_name}, by the worker", Source::Client(key));
        client.waits_for_worker = true;
        // The client was in time: what follows is up to the server.
        self.request_deadlines.clear(key);
        self.worker.submit(Job {
            client: key,
            time: self.clock.now().to_owned(),
            event_name,
            peer: client.peer,
            body: client.connection.take_body(),
        });
    }

    /// Publishes the events that the worker has made.
    fn publish_worker_results(&mut self) {
        while let Some((key, event)) = self.worker.take_result() {
            self.output.stage_text(event);
            self.publish();
            // The key still belongs to the same client: a client that waits for the worker
            // is closed only at the end of the shutdown, when no more are accepted.
            if let Some(client) = self.clients.get_mut(key) {
                client.waits_for_worker = false;
                self.request_deadlines.set(key, self.now);
                self.writable.push(key);
            }
        }
    }

    /// Writes what the client's connection has to send, and takes the step after that.
    pub(super) fn write_client(&mut self, key: usize) {
        let source = Source::Client(key);
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        // The key may be in the list twice, and a report of writability may come any time.
        if client.waits_for_worker || client.connection.unsent().is_empty() {
            return;
        }
        let step = loop {
            match client.stream.write(client.connection.unsent()) {
                Ok(count) => {
                    trace!("{source}: wrote {count} bytes");
                    match client.connection.written(count) {
                        Step::Write => {}
                        step => break step,
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.register_client(key, Interest::WRITABLE);
                }
                Err(_) => break Step::Close,
            }
        };
        match step {
            Step::Linger => self.linger(key),
            Step::Close => self.drain_and_close(key),
            step => {
                if step == Step::Resume || client.connection.is_idle() {
                    self.request_deadlines.set(key, self.now);
                }
                self.readable.push(key);
            }
        }
    }

    /// Discards the input that has arrived, then closes the connection. Closing a Unix
    /// socket with unread input turns the peer's end of file into ECONNRESET.
    fn drain_and_close(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.discard_input(&mut self.scratch) {
            Ok(true) => self.linger(key),
            Ok(false) | Err(_) => self.remove_client(key),
        }
    }

    /// Shuts down writing, and discards what the client still sends until it closes its
    /// side, or for [`LINGER`](super::LINGER).
    fn linger(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        trace!("{}: lingering", Source::Client(key));
        // It fails if the client is gone, which the next read finds out.
        let _ = client.stream.shutdown(Shutdown::Write);
        client.lingers = true;
        self.request_deadlines.clear(key);
        self.linger_deadlines.set(key, self.now);
        self.readable.push(key);
    }

    /// Discards the input of a lingering client, and closes it at the end of input.
    fn drain_lingering(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.discard_input(&mut self.scratch) {
            Ok(true) => self.readable.push(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.register_client(key, Interest::READABLE);
            }
            Ok(false) | Err(_) => self.remove_client(key),
        }
    }

    /// Closes a connection at once.
    pub(super) fn remove_client(&mut self, key: usize) {
        if let Some(client) = self.clients.try_remove(key) {
            let elapsed = client.accepted_at.elapsed().as_secs_f64() * 1e3;
            trace!("{}: closed after {elapsed:.3} ms", Source::Client(key));
        }
        self.request_deadlines.clear(key);
        self.linger_deadlines.clear(key);
        self.on_fd_freed();
    }
}
