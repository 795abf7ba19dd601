//! Deadlines with one common timeout.
//!
//! All keys in a queue (of connections or sessions) have the same timeout, so the one whose
//! deadline is set last expires last: a queue in the order of setting is sorted already. It is a
//! linked list through an array, indexed by the keys. So setting, clearing and finding the
//! earliest deadline are O(1). Another timeout needs another queue.
//!
//! Stop 12 of EDU_NOTES.md.

use std::time::{Duration, Instant};

/// A queue of keys, ordered by deadline.
#[derive(Debug)]
pub struct Deadlines {
    timeout: Duration,
    links: Vec<Link>,
    first: Option<usize>,
    last: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// `None` for a key without a deadline.
    deadline: Option<Instant>,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Deadlines {
    /// An empty queue. Each deadline is `timeout` after it is set.
    pub fn new(timeout: Duration) -> Self {
        Deadlines {
            timeout,
            links: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// Sets the deadline of `key` to `now` plus the timeout, and replaces an earlier one.
    /// `now` must not go back from call to call.
    pub fn set(&mut self, key: usize, now: Instant) {
        self.clear(key);
        if key >= self.links.len() {
            self.links.resize(key + 1, Link::default());
        }
        self.links[key] = Link {
            deadline: Some(now + self.timeout),
            previous: self.last,
            next: None,
        };
        match self.last.replace(key) {
            Some(last) => self.links[last].next = Some(key),
            None => self.first = Some(key),
        }
    }

    /// Removes the deadline of `key`, if it has one.
    pub fn clear(&mut self, key: usize) {
        let link = self.links.get_mut(key).map(std::mem::take);
        let Some(Link {
            deadline: Some(_),
            previous,
            next,
        }) = link
        else {
            return;
        };
        match previous {
            Some(previous) => self.links[previous].next = next,
            None => self.first = next,
        }
        match next {
            Some(next) => self.links[next].previous = previous,
            None => self.last = previous,
        }
    }

    /// Whether `key` has no deadline.
    pub fn is_unset(&self, key: usize) -> bool {
        let link = self.links.get(key);
        link.is_none_or(|link| link.deadline.is_none())
    }

    /// The earliest deadline.
    pub fn earliest(&self) -> Option<Instant> {
        self.first.and_then(|first| self.links[first].deadline)
    }

    /// All keys with a deadline, the earliest first.
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        std::iter::successors(self.first, |key| self.links[*key].next)
    }

    /// Removes and returns a key whose deadline is not after `now`, the earliest first.
    pub fn take_expired(&mut self, now: Instant) -> Option<usize> {
        let has_expired = self.earliest().is_some_and(|deadline| deadline <= now);
        let first = self.first.filter(|_| has_expired)?;
        self.clear(first);
        Some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn keys_expire_in_order_once_and_only_while_they_have_a_deadline(
            steps in proptest::collection::vec((0..8_usize, 0..3_u8, 0..4_u64), 0..100),
        ) {
            const TIMEOUT: Duration = Duration::from_secs(10);
            let (mut deadlines, mut model) = (Deadlines::new(TIMEOUT), BTreeMap::new());
            let mut now = Instant::now();
            for (key, action, seconds) in steps {
                now += Duration::from_secs(seconds);
                match action {
                    0 => {
                        deadlines.set(key, now);
                        model.insert(key, now + TIMEOUT);
                    }
                    1 => {
                        deadlines.clear(key);
                        model.remove(&key);
                    }
                    _ => while let Some(key) = deadlines.take_expired(now) {
                        prop_assert!(model.remove(&key).unwrap() <= now);
                    }
                }
                prop_assert_eq!(deadlines.earliest(), model.values().min().copied());
                prop_assert!(deadlines.keys().is_sorted_by_key(|key| model[&key]));
                prop_assert_eq!(deadlines.keys().count(), model.len());
            }
        }
    }
}
