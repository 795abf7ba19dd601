//! All sessions of a stream of events, and what each of them does.
//!
//! This is pure: it reads no file and no clock. So a record gives the same states whenever it
//! is read.
//!
//! Memory is bounded whatever the events say: [`MAX_SESSIONS`] sessions, each of limited size
//! (see `session`). When there are more, those that have ended and were active least recently
//! are forgotten, then the others. All that are remembered take 500 MiB at most, and 180 MiB if
//! each has 64 tools and 64 subagents with texts of usual length.
//!
//! Stop 17 of EDU_NOTES.md.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Instant;

use super::session::client::{ClientWord, Status};
use super::session::parts::{Time, id};
use super::session::{Change, Session, State};
use crate::event::object::Object;

/// Sessions that are remembered. A year of one user's sessions fits.
pub const MAX_SESSIONS: usize = 4096;

/// The sessions of one stream of events.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    sessions: HashMap<String, Session>,
    /// What session files say of sessions that have no event yet, and are not shown without one.
    early_words: HashMap<String, ClientWord>,
    /// The number of sessions that have appeared.
    appeared: usize,
    /// The number of events of sessions.
    events: u64,
    /// Events that the stream has missed, according to its `_dropped` lines.
    pub dropped: u64,
    /// Whether events of sessions arrive.
    is_connected: bool,
    /// Sessions that were forgotten.
    pub forgotten: usize,
    /// The time of the last event. Most events share it with the one before.
    time: Time,
}

impl Sessions {
    /// Takes the next event. `None`: it belongs to no session, or is another user's.
    /// `arrived` is when it came, if it is not a past one.
    pub fn apply(
        &mut self,
        event: &Object,
        arrived: Option<Instant>,
    ) -> Option<(&Session, Change)> {
        if let Some(dropped) = event.get("_dropped") {
            let count = dropped.parse::<u64>().unwrap_or_default();
            self.dropped = self.dropped.saturating_add(count);
            self.miss_events();
            return None;
        }
        if event.string("_ts") != Some(&self.time.text) {
            self.time = Time::parse(&event.text("_ts").unwrap_or_default());
        }
        let id = id(event, "session_id")?;
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&id) {
            self.forget_some();
        }
        self.events += 1;
        let early = self.early_words.remove(&id);
        let session = Self::session(&mut self.sessions, &mut self.appeared, id);
        if early.is_some() {
            session.set_client(early);
        }
        session.last_active = self.events;
        let change = session.apply(event, &self.time, arrived)?;
        Some((session, change))
    }

    /// The session with this id, a new one if there is none.
    fn session<'s>(
        sessions: &'s mut HashMap<String, Session>,
        appeared: &mut usize,
        id: String,
    ) -> &'s mut Session {
        sessions.entry(id).or_insert_with_key(|id| {
            *appeared += 1;
            Session::new(id.clone(), *appeared - 1)
        })
    }

    /// Takes what the client's session files say: all of them, by the session's id. Of several
    /// processes that run one session, one counts ([`ClientWord::rank`]).
    pub fn set_client_words(&mut self, words: impl IntoIterator<Item = (String, ClientWord)>) {
        let mut best: HashMap<String, ClientWord> = HashMap::new();
        for (id, word) in words {
            match best.entry(id) {
                Entry::Occupied(mut other) if other.get().rank() < word.rank() => {
                    other.insert(word);
                }
                Entry::Occupied(_) => {}
                Entry::Vacant(vacant) => drop(vacant.insert(word)),
            }
        }
        // A session of which nothing but its file was known goes with its process.
        let runs = |word: &ClientWord| word.status != Some(Status::Ended);
        self.sessions
            .retain(|id, session| session.last_active > 0 || best.get(id).is_some_and(runs));
        for (id, session) in &mut self.sessions {
            let word = best.remove(id);
            session.is_silent |=
                self.is_connected && word.as_ref().is_some_and(|word| session.begins_by(word));
            session.set_client(word);
        }
        self.early_words.clear();
        for (id, word) in best {
            if runs(&word) && self.sessions.len() < MAX_SESSIONS {
                Self::session(&mut self.sessions, &mut self.appeared, id).set_client(Some(word));
            } else {
                self.early_words.insert(id, word);
            }
        }
    }

    /// The source is connected to its server, or not any more: then events are lost.
    pub fn set_connected(&mut self, is_connected: bool) {
        self.is_connected = is_connected;
        if !is_connected {
            self.miss_events();
        }
    }

    /// Events of any session can be missing.
    fn miss_events(&mut self) {
        for session in self.sessions.values_mut() {
            session.can_miss_events = true;
            session.is_silent = false;
        }
    }

    /// Time has passed. See [`Session::settle`].
    pub fn settle(&mut self, now: Instant) {
        for session in self.sessions.values_mut() {
            session.settle(now);
        }
    }

    /// When [`Sessions::settle`] next changes something.
    pub fn next_settlement(&self) -> Option<Instant> {
        self.sessions
            .values()
            .filter_map(Session::next_settlement)
            .min()
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

    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// The session with this id.
    pub fn get(&self, id: &str) -> Option<&Session> {
        self.sessions.get(id)
    }

    /// The sessions, in any order.
    pub fn iter(&self) -> impl Iterator<Item = &Session> {
        self.sessions.values()
    }

    /// The sessions, those first that need the user: those that wait the longest, then those that
    /// failed, then those that are idle, the latest first.
    pub fn ordered(&self) -> Vec<&Session> {
        let mut sessions: Vec<&Session> = self.sessions.values().collect();
        sessions.sort_by_cached_key(|session| {
            let since = session.since().seconds;
            // Within a second, the client's file tells more.
            let version = session.client().map_or(0, |client| client.version);
            let (latest, longest) = match session.state() {
                State::Idle | State::Ended | State::Gone => (Some(Reverse((since, version))), None),
                _ => (None, Some((since.unwrap_or(i64::MAX), version))),
            };
            (session.state(), latest, longest, session.number)
        });
        sessions
    }

    /// Adds what the server knows of a session: its process, and the last event of a session
    /// whose events are not in the past events any more.
    pub fn add_listed(&mut self, listed: &Object) {
        let Some(id) = id(listed, "session_id") else {
            return;
        };
        let session = Self::session(&mut self.sessions, &mut self.appeared, id);
        if !session.takes_from(listed.get("uid")) {
            return;
        }
        if session.events == 0 {
            session.last_active = 1;
            session.set_listed(listed);
        } else {
            session.set_pid(listed);
        }
    }
}
