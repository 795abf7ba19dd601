//! Which sessions have ended a turn since the user last looked at them.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{HashMap, HashSet};

use crate::watch::session::{Session, State};
use crate::watch::sessions::Sessions;

/// Sessions by their numbers.
#[derive(Clone, Default)]
pub struct Marks {
    /// What each session did at the last update, and whether that was a turn.
    states: HashMap<usize, (State, bool)>,
    marked: HashSet<usize>,
}

impl Marks {
    /// Marks the sessions whose turn has ended since the last update. The user looks at the one
    /// with the number `selected`.
    pub fn update(&mut self, sessions: &Sessions, selected: Option<usize>) {
        // After `/clear` the client begins a session without a turn.
        let began = |session: &&Session| session.events == 0 || !session.prompt.is_empty();
        let now = sessions.iter().filter(began);
        let now = now.map(|session| (session.number, (session.state(), session.has_turn())));
        let before = std::mem::replace(&mut self.states, now.collect());
        let had_turn = |number| before.get(number).is_some_and(|(_, had_turn)| *had_turn);
        for (number, (state, _)) in &self.states {
            if !matches!(state, State::Idle | State::Failed) {
                self.marked.remove(number);
            } else if had_turn(number) {
                self.marked.insert(*number);
            }
        }
        self.marked
            .retain(|number| self.states.contains_key(number) && Some(*number) != selected);
    }

    pub fn contains(&self, session: &Session) -> bool {
        self.marked.contains(&session.number)
    }
}
