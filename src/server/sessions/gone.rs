//! How long the server waits before it reports a session as gone whose process has ended.
//!
//! The hook that posts its `SessionEnd` can outlive the process, so the session has until a
//! deadline. And if the server is late, the `SessionEnd` may have come in time and still be unread.
//! So nothing is reported while anything is unread, but not for longer than
//! [`UNREAD_INPUT_TIMEOUT`].
//!
//! Stop 14 of EDU_NOTES.md.

use std::time::{Duration, Instant};

use crate::server::deadlines::Deadlines;

/// How long a `SessionEnd` may still come after the process has ended.
pub const SESSION_END_DELAY: Duration = Duration::from_millis(500);
/// How long a session is not reported as gone because its `SessionEnd` may be unread.
const UNREAD_INPUT_TIMEOUT: Duration = Duration::from_secs(2);

/// The sessions, by key, whose process has ended.
#[derive(Debug)]
pub struct Gone {
    /// Until when the `SessionEnd` of each may still come.
    pub deadlines: Deadlines,
    /// Since when one is due, but unread input may be its `SessionEnd`.
    due_since: Option<Instant>,
}

impl Default for Gone {
    fn default() -> Self {
        Gone {
            deadlines: Deadlines::new(SESSION_END_DELAY),
            due_since: None,
        }
    }
}

impl Gone {
    /// Whether sessions are to be reported now. `has_unread` is whether input is unread, which may
    /// be a `SessionEnd`.
    pub fn is_due(&mut self, has_unread: bool, now: Instant) -> bool {
        if self
            .deadlines
            .earliest()
            .is_none_or(|deadline| deadline > now)
        {
            self.due_since = None;
            return false;
        }
        let since = *self.due_since.get_or_insert(now);
        let is_due = now >= since + UNREAD_INPUT_TIMEOUT || !has_unread;
        self.due_since.take_if(|_| is_due);
        is_due
    }

    /// When [`Gone::is_due`] may become true.
    pub fn next_deadline(&self) -> Option<Instant> {
        match self.due_since {
            Some(since) => Some(since + UNREAD_INPUT_TIMEOUT),
            None => self.deadlines.earliest(),
        }
    }
}
