//! How the server ends: in phases, each as long as it must be and no longer.
//!
//! Stop 10 of EDU_NOTES.md.

use std::io::Read;
use std::time::{Duration, Instant};

use log::trace;

use super::Server;
use crate::stderr::say;

/// How long requests in flight may take at the end, and then the sinks.
const PATIENCE: Duration = Duration::from_secs(2);

/// How near the end is.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Phase {
    Serving,
    /// Told to stop: requests in flight may finish.
    Finishing(Instant),
    /// No more requests: sinks may take what is left.
    Draining(Instant),
    /// This long may what is left to do still take.
    Done(Duration),
}

impl Server {
    /// The first signal ends the service in good order, the second one at once.
    pub(super) fn heed_signal(&mut self) {
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
    pub(super) fn stop(&mut self) {
        say("\nShutting down...");
        trace!("server: lets nobody new in, finishes what is under way, in {PATIENCE:?} at most");
        self.phase = Phase::Finishing(Instant::now() + PATIENCE);
        if self.hooks.as_mut().is_some_and(|hooks| !hooks.shut()) {
            self.hooks = None;
        }
        for (key, client) in &mut self.clients {
            client.connection.let_end();
            // One that is idle, now and when it is next read, may go.
            self.readable.push(key);
        }
    }

    /// Goes from one phase to the next when it is time.
    pub(super) fn move_on(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Serving if !self.output.has_stdout() && self.readers.is_none() => self.stop(),
            Phase::Finishing(end) => {
                // The backlog is served when accept has nothing more.
                self.hooks.take_if(|hooks| hooks.is_exhausted());
                if self.hooks.is_none() && self.clients.is_empty() || now >= end {
                    self.abandon_clients();
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

    /// Closes the connections of those who have taken too long.
    fn abandon_clients(&mut self) {
        self.hooks = None;
        let late: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        let unanswered = self.clients.iter().filter(|(_, client)| !client.lingers);
        let count = unanswered.count();
        if count > 0 {
            say(format_args!(
                "{count} client(s) could not be answered within {PATIENCE:?}"
            ));
        }
        late.into_iter().for_each(|key| self.remove_client(key));
    }
}
