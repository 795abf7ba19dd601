//! The lists of sessions that clients are reading.
//!
//! A list can have megabytes, and a client can read it slowly. So all who ask in one turn get the
//! same list, and only a few lists are in memory.
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
    /// The list of this turn, which `make` makes for the first who asks. While too many older ones
    /// are still being read, it is the newest of these.
    pub fn get(&mut self, make: impl FnOnce() -> String) -> Rc<str> {
        if let Some(list) = &self.current {
            return list.clone();
        }
        self.lists.retain(|list| list.strong_count() > 0);
        let newest = self.lists.last().and_then(Weak::upgrade);
        let is_full = self.lists.len() >= MAX_LISTS;
        let list = newest.filter(|_| is_full).unwrap_or_else(|| {
            let list: Rc<str> = make().into();
            self.lists.push(Rc::downgrade(&list));
            list
        });
        self.current.insert(list).clone()
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
                read.push(lists.get(|| number.to_string()));
            }
            lists.end_turn();
        }
        let texts: Vec<&str> = read.iter().map(|list| &**list).collect();
        assert_eq!(texts, ["0", "0", "1", "1", "2", "2", "3", "3"]);
        assert_eq!(&*lists.get(|| "4".into()), "3");
        lists.end_turn();
        read.drain(..2);
        assert_eq!(&*lists.get(|| "4".into()), "4");
    }
}
