//! The lists of sessions that clients are reading.
//!
//! A list can have megabytes, and whoever asks for one can read it slowly. So all who ask in one
//! turn get the same list, and only a few lists are in memory.
//!
//! Stop 13 of EDU_NOTES.md.

use std::rc::{Rc, Weak};

/// Lists in memory.
const MAX_LISTS: usize = 4;

/// The list of this turn, and those that are still being read.
#[derive(Default)]
pub struct SessionLists {
    current: Option<Rc<str>>,
    lists: Vec<Weak<str>>,
}

impl SessionLists {
    /// The list of this turn, which `make` makes for the first who asks. `None`: too many older
    /// lists are still being read.
    pub fn get(&mut self, make: impl FnOnce() -> String) -> Option<Rc<str>> {
        if self.current.is_none() {
            self.lists.retain(|list| list.strong_count() > 0);
            if self.lists.len() < MAX_LISTS {
                let list: Rc<str> = make().into();
                self.lists.push(Rc::downgrade(&list));
                self.current = Some(list);
            }
        }
        self.current.clone()
    }

    /// The turn is over: sessions may change.
    pub fn end_turn(&mut self) {
        self.current = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_has_one_list_and_few_are_in_memory() {
        let mut lists = SessionLists::default();
        let mut read = Vec::new();
        for number in 0..MAX_LISTS {
            for _ in 0..2 {
                read.extend(lists.get(|| number.to_string()));
            }
            lists.end_turn();
        }
        let texts: Vec<&str> = read.iter().map(|list| &**list).collect();
        assert_eq!(texts, ["0", "0", "1", "1", "2", "2", "3", "3"]);
        assert_eq!(lists.get(|| "4".into()), None);
        read.drain(..2);
        assert_eq!(lists.get(|| "4".into()).as_deref(), Some("4"));
    }
}
