//! What the loop does for one client, from accept to close.
//!
//! Its [`Connection`] says what comes next; here that is done: read, publish, write,
//! close. Whoever cannot go on is watched by the poll, or stands in a list, or waits for
//! the workshop, and has a deadline in any case.
//!
//! Stop 5 of EDU_NOTES.md.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::time::Instant;

use log::trace;
use mio::Interest;
use mio::net::UnixStream;

use super::{Phase, Server};
use crate::connection::{Connection, Hook, Step};
use crate::event::{self, Event};
use crate::peer::{self, Peer};
use crate::stderr::say;
use crate::tokens::Name;
use crate::workshop::{self, Order};

/// Reads from one client in one turn: a large upload must not hold up the others.
const READS: usize = 4;
/// Clients accepted in one turn.
const ACCEPTS: usize = 256;

/// A connection that posts hooks.
pub(super) struct Client {
    stream: UnixStream,
    peer: Peer,
    pub(super) connection: Connection,
    /// What the poll watches it for: nothing, until it makes us wait.
    watched: Option<Interest>,
    /// Whether its event is in the workshop: until that is out, there is no answer.
    waits_for_event: bool,
    /// Whether the connection is over, and read from only so that the client can
    /// read how it ended.
    pub(super) lingers: bool,
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

    /// What comes next for its connection, after a read if need be. `None` where there
    /// is nothing to be read now.
    fn next_step<'a>(&'a mut self, scratch: &'a mut [u8]) -> Option<Step<'a>> {
        if self.connection.has_unread() {
            return Some(self.connection.received(&[]));
        }
        match self.read(scratch) {
            Ok(0) => Some(self.connection.end_of_input()),
            Ok(count) => Some(self.connection.received(&scratch[..count])),
            Err(error) => match error.kind() {
                io::ErrorKind::WouldBlock => None,
                io::ErrorKind::Interrupted => Some(Step::Read),
                _ => Some(Step::Close),
            },
        }
    }

    /// Reads what nobody wants any more, as much as is its due in a turn. Whether there
    /// may be more; `WouldBlock` where there is nothing now.
    fn throw_away(&mut self, scratch: &mut [u8]) -> io::Result<bool> {
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

    /// What the workshop needs for its hook, which then waits for that.
    fn order(&mut self, key: usize, time: &str, event: String) -> Order {
        self.waits_for_event = true;
        Order {
            client: key,
            time: time.to_owned(),
            event,
            peer: self.peer,
            body: self.connection.take_body(),
        }
    }
}

impl Server {
    /// Lets in who is in the backlog, and asks the kernel who it is.
    pub(super) fn accept_clients(&mut self) {
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
    pub(super) fn heed_deadlines(&mut self) {
        while let Some(key) = self.requests.take_due(self.now) {
            trace!("{}: its time is over", Name::Client(key));
            match self
                .clients
                .get_mut(key)
                .map(|client| client.connection.time_out())
            {
                Some(Step::Write) => self.answerable.push(key),
                _ => self.close_gently(key),
            }
        }
        while let Some(key) = self.farewells.take_due(self.now) {
            self.remove_client(key);
        }
    }

    /// Reads from those of whom the poll has told, or who were not read empty.
    pub(super) fn read_clients(&mut self) {
        for key in std::mem::take(&mut self.readable) {
            match self.clients.get(key) {
                Some(client) if client.lingers => self.hear_out(key),
                Some(_) => self.read_client(key),
                None => {}
            }
        }
        self.take_large_events();
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
            let (peer, was_idle) = (client.peer, client.connection.is_idle());
            let Some(step) = client.next_step(&mut self.scratch) else {
                return self.wait_for_more(key);
            };
            match step {
                // A kept connection's next request has its time from its first byte on.
                Step::Read | Step::Resume => {
                    if was_idle && !client.connection.is_idle() {
                        self.requests.set(key, self.now);
                    }
                }
                Step::Write => return self.answerable.push(key),
                Step::Close | Step::Linger => return self.close_gently(key),
                Step::Hook(Hook { event, body }) if body.len() >= workshop::LARGE => {
                    trace!("{}: event {event}, for the workshop", Name::Client(key));
                    // It has done its part in time.
                    self.requests.clear(key);
                    let order = client.order(key, self.clock.now(), event);
                    return self.workshop.order(order);
                }
                Step::Hook(Hook { event, body }) => {
                    trace!("{}: event {event}", Name::Client(key));
                    let body = event::decode(body);
                    let event = Event::hook(self.clock.now(), &event, &peer, &body);
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
            return self.close_gently(key);
        }
        self.watch(key, Interest::READABLE);
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
            self.remove_client(key);
        }
    }

    /// Publishes what the workshop has made.
    fn take_large_events(&mut self) {
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
    }

    /// Writes to a client what its connection has for it, and does what comes then.
    pub(super) fn respond(&mut self, key: usize) {
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
            Step::Close => self.close_gently(key),
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
    fn close_gently(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.throw_away(&mut self.scratch) {
            Ok(true) => self.linger(key),
            Ok(false) | Err(_) => self.remove_client(key),
        }
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

    /// Reads on from a client whose connection is over, until it has nothing more to say.
    fn hear_out(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else {
            return;
        };
        match client.throw_away(&mut self.scratch) {
            Ok(true) => self.readable.push(key),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.watch(key, Interest::READABLE);
            }
            Ok(false) | Err(_) => self.remove_client(key),
        }
    }

    /// Closes a connection at once.
    pub(super) fn remove_client(&mut self, key: usize) {
        if let Some(client) = self.clients.try_remove(key) {
            let elapsed = client.accepted.elapsed().as_secs_f64() * 1e3;
            trace!("{}: closed after {elapsed:.3} ms", Name::Client(key));
        }
        self.requests.clear(key);
        self.farewells.clear(key);
        self.note_departure();
    }
}
