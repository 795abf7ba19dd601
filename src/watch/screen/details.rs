//! When to read what else tells the sessions on the screen apart: the ends of their transcripts,
//! and the terminal of the selected one.
//!
//! A session is read when its events or its session file have changed, once a second at most, and
//! once more a second later: the client can write its transcript after its hooks have run. One that is selected is
//! read at once, for its terminal.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::watch::client_files::Place;
use crate::watch::session::Session;

/// The time between two readings of a session.
const INTERVAL: Duration = Duration::from_secs(1);

/// A session to read, by its number.
pub type Request = (usize, Place);

/// When each session was read, by its number.
#[derive(Default)]
pub struct Readings(HashMap<usize, Reading>);

struct Reading {
    /// What was known of the session: its events, and the version of its file.
    seen: (u64, u64),
    at: Instant,
    with_terminal: bool,
    /// Whether the session had changed since the reading before.
    is_first: bool,
}

impl Readings {
    /// The sessions to read now, and when the next ones are due. `visible` are those on the
    /// screen, each with whether it is selected.
    pub fn begin<'s>(
        &mut self,
        visible: impl Iterator<Item = (&'s Session, bool)>,
        now: Instant,
    ) -> (Vec<Request>, Option<Instant>) {
        let mut requests = Vec::new();
        let mut next = None;
        for (session, is_selected) in visible {
            let version = session.client().map_or(0, |client| client.version);
            let seen = (session.events, version);
            let last = self.0.get(&session.number);
            let is_changed = last.is_none_or(|last| last.seen != seen);
            let due = match last {
                Some(last) if is_selected && !last.with_terminal => now,
                Some(last) if is_changed || last.is_first => last.at + INTERVAL,
                Some(_) => continue,
                None => now,
            };
            if due > now {
                next = next.map_or(Some(due), |next: Instant| Some(next.min(due)));
                continue;
            }
            let reading = Reading {
                seen,
                at: now,
                with_terminal: is_selected,
                is_first: is_changed,
            };
            self.0.insert(session.number, reading);
            let place = Place::of(session);
            let place = if is_selected {
                place
            } else {
                place.without_terminal()
            };
            requests.push((session.number, place));
        }
        (requests, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::object::Object;
    use crate::watch::sessions::Sessions;

    #[test]
    fn a_session_is_read_when_it_changes_once_a_second_and_once_more() {
        let mut sessions = Sessions::default();
        let happen = |sessions: &mut Sessions| {
            let event = Object::parse(r#"{"_event":"Stop","session_id":"s"}"#);
            assert!(sessions.apply(&event, None).is_some());
        };
        happen(&mut sessions);
        let (mut readings, start) = (Readings::default(), Instant::now());
        let at = |milliseconds: u64| start + Duration::from_millis(milliseconds);
        let mut begin = |sessions: &Sessions, milliseconds, is_selected| {
            let visible = sessions.iter().map(|session| (session, is_selected));
            let (requests, next) = readings.begin(visible, at(milliseconds));
            (requests.len(), next)
        };
        assert_eq!(begin(&sessions, 0, false), (1, None));
        assert_eq!(begin(&sessions, 500, false), (0, Some(at(1000))));
        happen(&mut sessions);
        assert_eq!(begin(&sessions, 999, false), (0, Some(at(1000))));
        assert_eq!(begin(&sessions, 1000, false), (1, None));
        // Once more, and then no more.
        assert_eq!(begin(&sessions, 2000, false), (1, None));
        assert_eq!(begin(&sessions, 9000, false), (0, None));
        // The terminal of the selected one is read at once.
        assert_eq!(begin(&sessions, 9001, true), (1, None));
        assert_eq!(begin(&sessions, 9002, true), (0, None));
        assert_eq!(begin(&sessions, 9003, false), (0, None));
    }
}
