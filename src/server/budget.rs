//! The budget of a turn: how much work one turn of the loop does at most.
//!
//! Clients and readers decide how much they send. The loop decides how much of it one turn
//! handles, with the goal that no turn takes more than 25 ms of CPU time. Work beyond the budget
//! stays queued for the next turn, in order, so nobody is starved.
//!
//! Until the shutdown, three things have no budget. All readers in the backlog of the output socket
//! are accepted at once: at most `somaxconn` (listen(2)), 4,096 by default. The memory of large
//! events is freed at once. And before an append evicts what a prompt sink has not got, the loop
//! writes whatever these sinks have room for ([`FlushBudget::PROMPT_SINKS`]).
//!
//! The limits of a turn are in this file. A large body ([`LARGE_BODY`]) would exceed them, so it
//! goes to the [`worker`](super::worker). The buffer for one read (`clients/queues.rs`) must be
//! smaller than a large body.
//!
//! Stop 13 of EDU_NOTES.md.

use std::io;
use std::time::{Duration, Instant};

use log::{debug, log_enabled};
use rustix::time::{ClockId, clock_gettime};

use crate::output::flush::FlushBudget;

/// Clients accepted in one turn.
pub const ACCEPTS: usize = 256;
/// Reads from one client or reader in one turn. More would let one large upload hold up all
/// others.
pub const READS_PER_CLIENT: usize = 4;
/// Reads of all clients and readers together.
const READS: usize = 1024;
/// Bytes read from all clients and readers together. Each is copied twice: out of the kernel
/// and into an inbox.
const READ_BYTES: usize = 8 << 20;
/// Bytes of bodies that are made into events. The most expensive bodies take 100 ns of CPU a
/// byte (deep nesting in a pretty format).
const EVENT_BYTES: usize = 128 << 10;
/// Walks from a hook's peer to its ancestors. Each asks /proc about up to 17 processes,
/// which takes 10 us of CPU for each.
const WALKS: usize = 16;
/// A body of at least this many bytes is made into an event by the worker.
pub const LARGE_BODY: usize = 128 << 10;
/// Clients written to in one turn.
pub const WRITES: usize = 1024;
/// Connections closed in one turn because of their deadline.
pub const CLOSES: usize = 512;
/// Bytes written to sinks, and readers written to. A file on a slow disk takes 3 ms of CPU for a
/// MiB, and a write to a reader 2 us.
pub const FLUSH: FlushBudget = FlushBudget {
    stdout: 1 << 20,
    reader: 1 << 20,
    all_readers: 4 << 20,
    writes: 4096,
    skips_slow_readers: false,
};
/// Clients are not read while a sink that is not slow is this many bytes behind: the log would
/// grow faster than one turn's flush writes it.
pub const CONGESTION: usize = 1 << 20;

/// One turn of the loop: when it began, and what is left of its budget for input.
#[derive(Debug)]
pub struct Turn {
    /// When the turn began. All that it does counts as done then.
    pub now: Instant,
    reads: usize,
    read_bytes: usize,
    event_bytes: usize,
    walks: usize,
}

impl Turn {
    /// A turn that begins at this time, with a whole budget.
    pub fn new(now: Instant) -> Self {
        Turn {
            now,
            reads: READS,
            read_bytes: READ_BYTES,
            event_bytes: EVENT_BYTES,
            walks: WALKS,
        }
    }

    /// Whether the budget for reading is used up. Walks do not count.
    pub fn is_spent(&self) -> bool {
        self.reads == 0 || self.read_bytes == 0 || self.event_bytes == 0
    }

    /// One read had this result.
    pub fn charge_read(&mut self, result: &io::Result<usize>) {
        let bytes = *result.as_ref().unwrap_or(&0);
        self.reads = self.reads.saturating_sub(1);
        self.read_bytes = self.read_bytes.saturating_sub(bytes);
    }

    /// A body of `bytes` bytes was made into an event.
    pub fn charge_event(&mut self, bytes: usize) {
        self.event_bytes = self.event_bytes.saturating_sub(bytes);
    }

    /// Takes one walk to a peer's ancestors, if any are left. Walks can wait, so reading goes
    /// on without them.
    pub fn take_walk(&mut self) -> bool {
        let left = self.walks.checked_sub(1);
        self.walks = left.unwrap_or(0);
        left.is_some()
    }
}

/// Measures the longest turn in CPU time, if `RUST_LOG=turns=debug` asks for it: the bench
/// does. Otherwise it costs a comparison.
#[derive(Debug, Default)]
pub struct LongestTurn {
    began: Option<Duration>,
    longest: Duration,
}

impl LongestTurn {
    /// A turn begins.
    pub fn begin(&mut self) {
        self.began = log_enabled!(target: "turns", log::Level::Debug).then(cpu_time);
    }

    /// The turn ends. A new longest turn is reported.
    pub fn end(&mut self) {
        let elapsed = self.began.take().map(|began| cpu_time() - began);
        if let Some(elapsed) = elapsed.filter(|elapsed| *elapsed > self.longest) {
            self.longest = elapsed;
            debug!(target: "turns", "longest so far: {} us of CPU", elapsed.as_micros());
        }
    }
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
