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
    /// The user for whom each key is in the queue.
    users: Vec<Option<u32>>,
}

impl ReadyQueue {
    /// Adds the `key` of a user behind the others of that user, unless it is in the queue already.
    /// If it is there for another user, that one's connection was closed: its place does not count.
    pub fn push(&mut self, uid: u32, key: usize) {
        if key >= self.users.len() {
            self.users.resize(key + 1, None);
        }
        if self.users[key].replace(uid) != Some(uid) {
            self.keys.push(uid, 0, key);
        }
    }

    /// Removes and returns the next key. The key of a connection that was closed meanwhile is still
    /// returned, and may belong to a newer one of the same user: reading from that is harmless.
    pub fn pop(&mut self) -> Option<usize> {
        loop {
            let (uid, key) = self.keys.pop_oldest()?;
            if self.users[key].take_if(|user| *user == uid).is_some() {
                return Some(key);
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys in the order in which they are served.
    fn order(pushed: &[(u32, usize)]) -> Vec<usize> {
        let mut queue = ReadyQueue::default();
        pushed.iter().for_each(|(uid, key)| queue.push(*uid, *key));
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn a_key_is_in_the_queue_once() {
        let mut queue = ReadyQueue::default();
        [1, 2, 1].into_iter().for_each(|key| queue.push(7, key));
        assert_eq!(queue.len(), 2);
    }

    #[test]
    fn a_key_that_belongs_to_another_user_now_has_a_turn_of_that_user() {
        assert_eq!(order(&[(7, 1), (7, 2), (7, 3), (8, 3)]), [1, 3, 2]);
        assert_eq!(order(&[(7, 1), (8, 2), (8, 1)]), [2, 1]);
    }
}
