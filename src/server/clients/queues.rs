//! The queues in which clients wait, their deadlines and how long these are, and what else they
//! share: the poll, the bodies in flight, the buffer for reading, the clock.
//!
//! Nothing here knows a client's fields: clients are keys.
//!
//! Stop 7 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::time::Duration;

use mio::Registry;

use super::inflight::Inflight;
use super::publish::LiveReader;
use super::session_lists::SessionLists;
use crate::event::Clock;
use crate::output::event_log::Position;
use crate::server::budget::{LARGE_BODY, SMALL_BODY};
use crate::server::deadlines::Deadlines;
use crate::server::ready_queue::ReadyQueue;
use crate::server::worker::Job;

/// How long a closing connection waits for its client to close its side.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a body has for its progress while others wait for its room.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes that one read can return. All clients share one buffer of this size.
const SCRATCH_SIZE: usize = 64 << 10;

// A large body never lies in the scratch buffer: `take_body` finds it in the inbox.
const _: () = assert!(SMALL_BODY < SCRATCH_SIZE && SCRATCH_SIZE < LARGE_BODY);

/// What the clients wait in.
pub struct Queues<S> {
    pub registry: Registry,
    /// Clients to read from: those that have not been read yet in their request, and the others.
    /// Indexed by [`Client::has_begun`](super::client::Client::has_begun).
    pub readable: [ReadyQueue; 2],
    /// Clients to write to, in two queues like those of `readable`.
    pub writable: [ReadyQueue; 2],
    /// Clients whose body must wait for room, in the order in which they began to wait: ordinary
    /// bodies and uploads.
    pub waiting_for_room: [ReadyQueue; 2],
    /// Clients that are gone and wait for room: they are closed, unless they find some.
    pub lost: ReadyQueue,
    /// By when more of a client's body must have arrived, if others wait for the room of that: of
    /// ordinary bodies and of uploads.
    pub stall_deadlines: [Deadlines; 2],
    pub inflight: Inflight,
    /// Clients whose event is in the log and not flushed: the position after the event and the
    /// client's key, in the order of the log.
    pub unflushed: VecDeque<(Position, usize)>,
    /// Events for the worker.
    pub jobs: Vec<Job>,
    /// Clients that have become readers.
    pub live_readers: Vec<LiveReader<S>>,
    /// By when a client's request must be complete and its response written.
    pub request_deadlines: Deadlines,
    /// By when a lingering client is closed.
    pub linger_deadlines: Deadlines,
    pub is_shutting_down: bool,
    pub session_lists: SessionLists,
    /// A buffer for reading, which belongs to nobody between two calls.
    pub scratch: Box<[u8]>,
    pub clock: Clock,
}

impl<S> Queues<S> {
    /// Empty queues. A request may take `timeout`, and its body what `inflight` allows.
    pub fn new(registry: Registry, timeout: Duration, inflight: Inflight) -> Self {
        Queues {
            registry,
            readable: Default::default(),
            writable: Default::default(),
            waiting_for_room: Default::default(),
            lost: ReadyQueue::default(),
            stall_deadlines: [(); 2].map(|()| Deadlines::new(STALL_TIMEOUT)),
            inflight,
            unflushed: VecDeque::new(),
            jobs: Vec::new(),
            live_readers: Vec::new(),
            request_deadlines: Deadlines::new(timeout),
            linger_deadlines: Deadlines::new(LINGER_TIMEOUT),
            is_shutting_down: false,
            session_lists: SessionLists::default(),
            scratch: vec![0; SCRATCH_SIZE].into(),
            clock: Clock::default(),
        }
    }

    /// Whether bodies that wait may find room.
    pub fn may_resume(&self) -> bool {
        let waiting = &self.waiting_for_room;
        self.inflight.has_freed_room && waiting.iter().any(|queue| !queue.is_empty())
    }
}
