//! All sessions of a stream of events, and what each of them does.
//!
//! This is pure: it reads no file and no clock. So a record gives the same states whenever it
//! is read.
//!
//! Memory is bounded whatever the events say: [`MAX_SESSIONS`] sessions, each of limited size
//! (see `session`). When there are more, those that have ended and were active least recently
//! are forgotten, then the others.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashMap;

use super::session::parts::{Time, id};
use super::session::{Change, Session, State};
use crate::event::object::Object;

/// Sessions that are remembered. A year of one user's sessions fits.
pub const MAX_SESSIONS: usize = 4096;

/// The sessions of one stream of events.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    sessions: HashMap<String, Session>,
    /// The number of sessions that have appeared.
    appeared: usize,
    /// The number of events of sessions.
    events: u64,
    /// Events that the stream has missed, according to its `_dropped` lines.
    pub dropped: u64,
    /// Sessions that were forgotten.
    pub forgotten: usize,
    /// The time of the last event. Most events share it with the one before.
    time: Time,
}

impl Sessions {
    /// Takes the next event. `None`: it belongs to no session.
    pub fn apply(&mut self, event: &Object) -> Option<(&Session, Change)> {
        if let Some(dropped) = event.get("_dropped") {
            let count = dropped.parse::<u64>().unwrap_or_default();
            self.dropped = self.dropped.saturating_add(count);
            return None;
        }
        if event.string("_ts") != Some(&self.time.text) {
            self.time = Time::parse(id(event, "_ts").unwrap_or_default());
        }
        let id = id(event, "session_id")?;
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&id) {
            self.forget_some();
        }
        self.events += 1;
        let number = self.appeared;
        let session = self.sessions.entry(id).or_insert_with_key(|id| {
            self.appeared += 1;
            Session::new(id.clone(), number)
        });
        session.last_active = self.events;
        let change = session.apply(event, &self.time);
        Some((session, change))
    }

    /// Forgets an eighth of the sessions at once, so that a new session costs little.
    fn forget_some(&mut self) {
        let order = |session: &Session| (session.state() < State::Ended, session.last_active);
        let mut orders: Vec<_> = self.sessions.values().map(order).collect();
        orders.sort_unstable();
        let kept = orders[MAX_SESSIONS / 8];
        self.sessions.retain(|_, session| order(session) >= kept);
        self.forgotten += orders.len() - self.sessions.len();
    }

    /// The sessions, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The sessions, those first that need the user, and of these the longest in their state.
    pub fn ordered(&self) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.sessions.values().collect();
        sessions.sort_by_cached_key(|session| {
            let since = session.since().seconds.unwrap_or(i64::MAX);
            (session.state(), since, session.number)
        });
        sessions
    }

    /// Adds what the server knows of a session: its process, and the last event of a session
    /// whose events are not in the past events any more.
    pub fn add_listed(&mut self, listed: &Object) {
        let Some(id) = id(listed, "session_id") else {
            return;
        };
        if !self.sessions.contains_key(&id) {
            let value = |name| listed.get(name).unwrap_or("null");
            let event = format!(
                r#"{{"_ts":{},"_event":{},"session_id":{},"cwd":{}}}"#,
                value("last"),
                value("last_event"),
                value("session_id"),
                value("cwd"),
            );
            self.apply(&Object::parse(&event));
            let events = listed.get("events").and_then(|count| count.parse().ok());
            if let Some((session, events)) = self.sessions.get_mut(&id).zip(events) {
                session.events = events;
            }
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.pid = listed.get("pid").and_then(|pid| pid.parse().ok());
        }
    }
}
