//! A queue of keys (clients or readers) for the next turn. A key is in the queue at most once.
//!
//! So a key that is pushed several times is served once. Users take turns, and the keys of a user
//! are served in the order in which they were pushed ([`FairQueue`]).
//!
//! Stop 7 of EDU_NOTES.md.

use super::fair_queue::FairQueue;

/// The user of all keys in a queue where users do not take turns.
pub const ANYBODY: u32 = 0;

/// A queue of keys, each at most once.
#[derive(Debug, Default)]
pub struct ReadyQueue {
    keys: FairQueue<usize>,
    /// Whether each key is in the queue.
    is_queued: Vec<bool>,
}

impl ReadyQueue {
    /// Adds the `key` of a user behind the others of that user, unless it is in the queue already.
    pub fn push(&mut self, uid: u32, key: usize) {
        if key >= self.is_queued.len() {
            self.is_queued.resize(key + 1, false);
        }
        if !std::mem::replace(&mut self.is_queued[key], true) {
            self.keys.push(uid, 0, key);
        }
    }

    /// Removes and returns the next key. The key of a connection that was closed meanwhile
    /// is still returned, and may belong to a newer one: reading from that is harmless.
    pub fn pop(&mut self) -> Option<usize> {
        let key = self.keys.pop_oldest()?;
        self.is_queued[key] = false;
        Some(key)
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
