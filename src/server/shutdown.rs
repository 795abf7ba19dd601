//! The shutdown, which a signal begins, or the loss of the last sink. Its phases: serve requests in
//! flight, then drain the sinks.
//!
//! Stop 15 of EDU_NOTES.md.

use std::io::Read;
use std::time::{Duration, Instant};

use log::trace;

use super::Server;
use crate::diagnostics::stderr::say;

/// The longest time that each phase takes.
const PHASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the shutdown has come.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    /// No shutdown has begun.
    Serving,
    /// Clients in the backlog and requests in flight are served, until this deadline.
    ServingInFlight(Instant),
    /// All clients are closed. Sinks take what is left, until this deadline.
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
    /// The first signal begins the shutdown. Another one during it ends the server at once.
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

    /// Refuses new clients (those of a service manager wait for the next server), and lets each
    /// accepted one finish its request.
    fn begin_shutdown(&mut self) {
        say("\nShutting down...");
        trace!("server: serving requests in flight, {PHASE_TIMEOUT:?} at most");
        self.phase = Phase::ServingInFlight(Instant::now() + PHASE_TIMEOUT);
        // The server itself now removes the file.
        self.file_watch = None;
        self.hook_listener
            .take_if(|listener| !listener.stop_accepting());
        self.clients.begin_shutdown();
    }

    /// Enters the next phase, if it is time. With no sink left, it begins the shutdown.
    pub(super) fn advance_shutdown(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving if !self.has_sinks() => self.begin_shutdown(),
            Phase::ServingInFlight(deadline) => {
                // The whole backlog has been accepted when accept finds it empty.
                self.hook_listener
                    .take_if(|listener| listener.is_backlog_empty());
                let is_finished = self.hook_listener.is_none() && self.clients.len() == 0;
                if is_finished || now >= deadline {
                    self.abandon_clients();
                    trace!("server: draining sinks, {PHASE_TIMEOUT:?} at most");
                    self.phase = Phase::Draining(now + PHASE_TIMEOUT);
                    self.advance_shutdown();
                }
            }
            Phase::Draining(deadline) if self.publisher.output.is_drained() || now >= deadline => {
                self.phase = Phase::Done(deadline.saturating_duration_since(now));
            }
            _ => {}
        }
    }

    /// Whether there is stdout or a reader, or the output socket, where readers can come.
    fn has_sinks(&self) -> bool {
        let output = &self.publisher.output;
        output.has_stdout() || output.reader_count() > 0 || self.publisher.listener.is_some()
    }

    /// Closes all connections, and reports how many clients did not get a response.
    fn abandon_clients(&mut self) {
        self.hook_listener = None;
        let count = self.clients.abandon();
        if count > 0 {
            say(format_args!(
                "{count} client(s) did not get a response within {PHASE_TIMEOUT:?}"
            ));
        }
    }
}
