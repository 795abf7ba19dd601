//! The shutdown, which a signal begins, or the loss of the last sink. Its phases: serve requests in
//! flight, then drain the sinks.
//!
//! Stop 15 of EDU_NOTES.md.

use std::io::Read;
use std::time::{Duration, Instant};

use log::trace;
use mio::net::UnixStream;

use super::clients::Clients;
use super::publisher::Publisher;
use crate::diagnostics::stderr::say;
use crate::listen::listener::Listener;

/// The longest time that each phase takes.
const PHASE_TIMEOUT: Duration = Duration::from_secs(2);

/// How far the shutdown has come.
#[derive(Clone, Copy, PartialEq)]
pub enum Phase {
    /// No shutdown has begun.
    Serving,
    /// Clients in the backlog and requests in flight are served, until this deadline.
    ServingInFlight(Instant),
    /// All clients are closed. Sinks take what is left, until this deadline.
    Draining(Instant),
    /// The loop ends. This much time is left for flushing.
    Done(Duration),
}

/// The number of signals that have arrived: each is a byte.
pub fn count_signals(signals: &mut UnixStream) -> usize {
    let (mut total, mut bytes) = (0, [0; 64]);
    while let Ok(count @ 1..) = signals.read(&mut bytes) {
        total += count;
    }
    total
}

impl Phase {
    /// When the phase ends at the latest.
    pub fn deadline(self) -> Option<Instant> {
        match self {
            Phase::ServingInFlight(deadline) | Phase::Draining(deadline) => Some(deadline),
            Phase::Serving | Phase::Done(_) => None,
        }
    }

    /// Refuses new clients (those of a service manager wait for the next server), and lets each
    /// accepted one finish its request.
    pub fn begin(&mut self, listener: &mut Option<Listener>, clients: &mut Clients<UnixStream>) {
        say("\nShutting down...");
        trace!("server: serving requests in flight, {PHASE_TIMEOUT:?} at most");
        *self = Phase::ServingInFlight(Instant::now() + PHASE_TIMEOUT);
        listener.take_if(|listener| !listener.stop_accepting());
        clients.begin_shutdown();
    }

    /// Enters the next phase, if it is time.
    pub fn advance(
        &mut self,
        listener: &mut Option<Listener>,
        clients: &mut Clients<UnixStream>,
        publisher: &Publisher,
    ) {
        let now = Instant::now();
        if let Phase::ServingInFlight(deadline) = *self {
            // The whole backlog has been accepted when accept finds it empty.
            listener.take_if(|listener| !listener.is_readable);
            let is_finished = listener.is_none() && clients.len() == 0;
            if is_finished || now >= deadline {
                *listener = None;
                let abandoned = clients.abandon();
                if abandoned > 0 {
                    say(format_args!(
                        "{abandoned} client(s) did not get a response within {PHASE_TIMEOUT:?}"
                    ));
                }
                trace!("server: draining sinks, {PHASE_TIMEOUT:?} at most");
                *self = Phase::Draining(now + PHASE_TIMEOUT);
            }
        }
        if let Phase::Draining(deadline) = *self
            && (publisher.output.is_drained() || now >= deadline)
        {
            *self = Phase::Done(deadline.saturating_duration_since(now));
        }
    }
}
