//! The shutdown, which a signal begins. Its phases: serve requests in flight, then drain the
//! sinks.
//!
//! Stop 10 of EDU_NOTES.md.

use std::io::Read;
use std::time::{Duration, Instant};

use log::trace;

use super::Server;
use crate::diagnostics::stderr::say;

/// The time for requests in flight, and then again for the sinks.
const TIMEOUT: Duration = Duration::from_secs(2);

/// How far the shutdown has come.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// No shutdown has begun.
    Serving,
    /// Clients in the backlog and requests in flight are served, until this deadline.
    ServingInFlight(Instant),
    /// There are no more clients. Sinks take what is left, until this deadline.
    Draining(Instant),
    /// The loop ends. This much time is left for flushing.
    Done(Duration),
}

impl Phase {
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Phase::ServingInFlight(deadline) | Phase::Draining(deadline) => Some(deadline),
            Phase::Serving | Phase::Done(_) => None,
        }
    }
}

impl Server {
    /// The first signal begins the shutdown. The second one ends the server at once.
    pub(super) fn handle_signal(&mut self) {
        let mut signals = [0; 64];
        while let Ok(count @ 1..) = self.signals.read(&mut signals) {
            for _ in 0..count {
                match self.phase {
                    Phase::Serving => self.begin_shutdown(),
                    _ => self.phase = Phase::Done(Duration::ZERO),
                }
            }
        }
    }

    /// Refuses new clients, and lets each accepted one finish its request.
    fn begin_shutdown(&mut self) {
        say("\nShutting down...");
        trace!("server: serving requests in flight, {TIMEOUT:?} at most");
        self.phase = Phase::ServingInFlight(Instant::now() + TIMEOUT);
        self.hook_listener
            .take_if(|listener| !listener.stop_accepting());
        for (key, client) in &mut self.clients {
            client.connection.disable_keep_alive();
            // Reading finds out whether the connection is idle and can be closed.
            self.readable.push(key);
        }
    }

    /// Enters the next phase, if it is time. With no sink left, it begins the shutdown.
    pub(super) fn advance_shutdown(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving if !self.output.has_stdout() && self.output_listener.is_none() => {
                self.begin_shutdown();
            }
            Phase::ServingInFlight(deadline) => {
                // The whole backlog has been served when accept finds it empty.
                self.hook_listener
                    .take_if(|listener| listener.is_backlog_empty());
                let is_finished = self.hook_listener.is_none() && self.clients.is_empty();
                if is_finished || now >= deadline {
                    self.abandon_clients();
                    trace!("server: draining sinks, {TIMEOUT:?} at most");
                    self.phase = Phase::Draining(now + TIMEOUT);
                    self.advance_shutdown();
                }
            }
            Phase::Draining(deadline) if self.output.is_drained() || now >= deadline => {
                self.phase = Phase::Done(deadline.saturating_duration_since(now));
            }
            _ => {}
        }
    }

    /// Closes the connections that took too long.
    fn abandon_clients(&mut self) {
        self.hook_listener = None;
        let unanswered = self.clients.iter().filter(|(_, client)| !client.lingers);
        let count = unanswered.count();
        if count > 0 {
            say(format_args!(
                "{count} client(s) did not get a response within {TIMEOUT:?}"
            ));
        }
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.remove_client(key));
    }
}
