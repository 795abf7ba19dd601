//! Whose time runs out when, for one kind of waiting.
//!
//! Everybody who waits for the same thing has the same patience, so whoever
//! begins to wait later is due later: a queue is all it takes. It is a linked
//! list through an array indexed by the connections' keys, so that setting,
//! clearing and finding the next cost O(1), however many there are, and nothing
//! is due for those who have left.
//!
//! Stop 9 of EDU_NOTES.md.

use std::time::{Duration, Instant};

/// The keys that wait, in the order in which they are due.
#[derive(Debug)]
pub struct Deadlines {
    patience: Duration,
    links: Vec<Link>,
    first: Option<usize>,
    last: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Link {
    /// `None` for a key that does not wait.
    due: Option<Instant>,
    previous: Option<usize>,
    next: Option<usize>,
}

impl Deadlines {
    /// Everybody set here is due after `patience`.
    pub fn new(patience: Duration) -> Self {
        Deadlines {
            patience,
            links: Vec::new(),
            first: None,
            last: None,
        }
    }

    /// Has `key` be due `patience` after `now`, whatever it was set to before.
    /// `now` must not go back from call to call.
    pub fn set(&mut self, key: usize, now: Instant) {
        self.clear(key);
        if key >= self.links.len() {
            self.links.resize(key + 1, Link::default());
        }
        self.links[key] = Link {
            due: Some(now + self.patience),
            previous: self.last,
            next: None,
        };
        match self.last.replace(key) {
            Some(last) => self.links[last].next = Some(key),
            None => self.first = Some(key),
        }
    }

    /// Has `key` wait no more.
    pub fn clear(&mut self, key: usize) {
        let Some(link) = self.links.get_mut(key) else {
            return;
        };
        let Link {
            due: Some(_),
            previous,
            next,
        } = std::mem::take(link)
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

    /// When the next one is due.
    pub fn next(&self) -> Option<Instant> {
        self.first.and_then(|first| self.links[first].due)
    }

    /// The next key that is due by `now`; it waits no more.
    pub fn take_due(&mut self, now: Instant) -> Option<usize> {
        let first = self
            .first
            .filter(|_| self.next().is_some_and(|due| due <= now))?;
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
        fn keys_are_due_in_order_each_once_and_only_while_they_wait(
            steps in proptest::collection::vec((0..8_usize, 0..3_u8, 0..4_u64), 0..100),
        ) {
            let (mut deadlines, mut model) = (Deadlines::new(Duration::from_secs(10)), BTreeMap::new());
            let mut now = Instant::now();
            for (key, action, seconds) in steps {
                now += Duration::from_secs(seconds);
                match action {
                    0 => {
                        deadlines.set(key, now);
                        model.insert(key, now + Duration::from_secs(10));
                    }
                    1 => {
                        deadlines.clear(key);
                        model.remove(&key);
                    }
                    _ => while let Some(key) = deadlines.take_due(now) {
                        prop_assert!(model.remove(&key).unwrap() <= now);
                    }
                }
                prop_assert_eq!(deadlines.next(), model.values().min().copied());
            }
        }
    }
}
