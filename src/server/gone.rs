//! When the server publishes `_gone` for a session whose process has ended.
//!
//! [`Sessions`](super::processes::Sessions) has a deadline for the `SessionEnd` of each such
//! session. But if the server is late, the `SessionEnd` may have come in time and still be unread.
//!
//! Stop 14 of EDU_NOTES.md.

use std::time::{Duration, Instant};

use super::Server;

/// How long a session is not reported as gone because its `SessionEnd` may be unread.
const UNREAD_INPUT_TIMEOUT: Duration = Duration::from_secs(2);

impl Server {
    /// Publishes `_gone` for each session whose process has ended without a `SessionEnd`, once
    /// nothing is unread, or after [`UNREAD_INPUT_TIMEOUT`].
    pub(super) fn publish_gone(&mut self) {
        let deadline = self.publisher.sessions.next_deadline();
        if deadline.is_none_or(|deadline| deadline > self.now) {
            self.gone_since = None;
            return;
        }
        let open = self.hook_connections();
        let listener = self.hook_listener.as_ref();
        let has_backlog = listener.is_some_and(|listener| listener.can_accept(open, self.now));
        let has_unread = has_backlog || self.clients.has_unread() || self.worker.has_jobs();
        let since = *self.gone_since.get_or_insert(self.now);
        if !has_unread || self.now >= since + UNREAD_INPUT_TIMEOUT {
            self.publisher.publish_gone_until(self.now);
            self.gone_since = None;
        }
    }

    /// When [`Server::publish_gone`] has something to do.
    pub(super) fn gone_deadline(&self) -> Option<Instant> {
        match self.gone_since {
            Some(since) => Some(since + UNREAD_INPUT_TIMEOUT),
            None => self.publisher.sessions.next_deadline(),
        }
    }
}
