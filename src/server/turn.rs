//! One turn of the loop: when it began, and what is left of its budget.
//!
//! Stop 13 of EDU_NOTES.md.

use std::time::Instant;

use super::budget::Budget;

/// What the steps of a turn share.
#[derive(Debug)]
pub struct Turn {
    /// When the turn began. All that it does counts as done then.
    pub now: Instant,
    pub budget: Budget,
}

impl Turn {
    /// A turn that begins at this time, with a whole budget.
    pub fn new(now: Instant) -> Self {
        Turn {
            now,
            budget: Budget::new(),
        }
    }
}
