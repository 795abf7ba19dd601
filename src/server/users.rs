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

    /// The user who has most. Of two who have the same, the server's own user and root have less.
    pub fn with_most(&self) -> Option<u32> {
        let order = |(uid, amount): &(&u32, &usize)| (**amount, !peer::is_self_or_root(**uid));
        self.0.iter().max_by_key(order).map(|(uid, _)| *uid)
    }

    /// The stranger who has most, if strangers have their share of `limit`: half. Strangers are all
    /// users but the server's own and root. They share that half if `is_wanted`, because the server's
    /// own user wants some too. Otherwise each of them may have it.
    pub fn with_excess(&self, limit: usize, is_wanted: bool) -> Option<u32> {
        let is_stranger = |(uid, _): &(&u32, &usize)| !peer::is_self_or_root(**uid);
        let strangers = || self.0.iter().filter(is_stranger);
        let (uid, most) = strangers().max_by_key(|(_, amount)| **amount)?;
        let all = || strangers().map(|(_, amount)| amount).sum();
        let amount = if is_wanted { all() } else { *most };
        (amount >= limit / 2).then_some(*uid)
    }

    /// The same among those who have something: one user alone may have everything.
    pub fn with_excess_of(&self, limit: usize) -> Option<u32> {
        let has_own = || self.0.keys().any(|uid| peer::is_self_or_root(*uid));
        (self.0.len() > 1).then(|| self.with_excess(limit, has_own()))?
    }
}
