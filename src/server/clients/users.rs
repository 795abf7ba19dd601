//! How much each user has of something that all share: connections, memory for bodies, or sessions.
//!
//! Stop 13 of EDU_NOTES.md.

use std::collections::BTreeMap;

use crate::peer;

/// What each user has, by uid.
#[derive(Debug, Default)]
pub struct Users(BTreeMap<u32, usize>);

impl Users {
    /// A user has this much more.
    pub fn add(&mut self, uid: u32, amount: usize) {
        *self.0.entry(uid).or_default() += amount;
    }

    /// A user has this much less.
    pub fn remove(&mut self, uid: u32, amount: usize) {
        let left = self.0.entry(uid).or_default();
        *left = left.saturating_sub(amount);
        if *left == 0 {
            self.0.remove(&uid);
        }
    }

    /// How much a user has.
    pub fn amount(&self, uid: u32) -> usize {
        self.0.get(&uid).copied().unwrap_or(0)
    }

    /// The user who has most. Of two who have the same, the server's own user and root have less.
    pub fn with_most(&self) -> Option<u32> {
        let order = |(uid, amount): &(&u32, &usize)| (**amount, !peer::is_self_or_root(**uid));
        self.0.iter().max_by_key(order).map(|(uid, _)| *uid)
    }

    /// Whether nobody or one user has something.
    pub fn is_single(&self) -> bool {
        self.0.len() < 2
    }

    /// The user who has more than half of `limit`, unless that is the server's own user or root.
    pub fn with_excess(&self, limit: usize) -> Option<u32> {
        let (uid, amount) = self.0.iter().max_by_key(|(_, amount)| **amount)?;
        (*amount > limit / 2 && !peer::is_self_or_root(*uid)).then_some(*uid)
    }
}
