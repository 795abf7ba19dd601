//! Which sessions have ended a turn since the user last looked at them.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{HashMap, HashSet};

use crate::watch::session::{Session, State};
use crate::watch::sessions::Sessions;

/// Sessions by their numbers.
#[derive(Clone, Default)]
pub struct Marks {
    /// What each session did at the last update.
    states: HashMap<usize, State>,
    marked: HashSet<usize>,
}

impl Marks {
    /// Marks the sessions whose turn has ended since the last update. The user looks at the one
    /// with the id `selected`.
    pub fn update(&mut self, sessions: &Sessions, selected: Option<&str>) {
        let now = sessions.iter();
        let now = now.map(|session| (session.number, session.state()));
        let before = std::mem::replace(&mut self.states, now.collect());
        let had_turn = |number| matches!(before.get(number), Some(State::Waiting | State::Working));
        for (number, state) in &self.states {
            if !matches!(state, State::Idle | State::Failed) {
                self.marked.remove(number);
            } else if had_turn(number) {
                self.marked.insert(*number);
            }
        }
        let mut sessions = sessions.iter();
        let selected = sessions.find(|session| Some(&*session.id) == selected);
        let selected = selected.map(|session| session.number);
        self.marked
            .retain(|number| self.states.contains_key(number) && Some(*number) != selected);
    }

    pub fn contains(&self, session: &Session) -> bool {
        self.marked.contains(&session.number)
    }
}
