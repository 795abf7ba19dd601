//! The events that each version of the client knows, from the table in `events.tsv`.
//!
//! Stop 17 of EDU_NOTES.md.

use crate::cli::{Version, WORKTREE_CREATE};

const TABLE: &str = include_str!("events.tsv");

/// The first version in the table. Earlier ones are treated like it.
pub const FIRST_CLIENT: Version = Version::new(2, 0, 13);

/// The events that `client` knows and an observer can watch, in the order in which they
/// usually happen.
pub fn known_to(client: Version) -> impl Iterator<Item = &'static str> {
    table()
        .filter(move |(_, since)| *since <= client.max(FIRST_CLIENT))
        .map(|(event, _)| event)
        .filter(|event| *event != WORKTREE_CREATE)
}

/// The events that any version knows.
pub fn known() -> Vec<&'static str> {
    table().map(|(event, _)| event).collect()
}

/// Each event and the first version that knows it.
fn table() -> impl Iterator<Item = (&'static str, Version)> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| {
        let (event, since) = line.split_once('\t')?;
        Some((event, Version::parse(since)?))
    })
}

/// The matcher that an event needs. `FileChanged` fires only for the files that its
/// matcher names, separated by `|`, in the session's directory. These are the ones in the
/// client's documentation; watching more costs the client more.
pub fn matcher(event: &str) -> Option<&'static str> {
    (event == "FileChanged").then_some(".env|.envrc")
}

/// How many events, in words.
pub fn count_events(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} event{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(table().count(), lines.count());
        assert_eq!(table().map(|(_, since)| since).min(), Some(FIRST_CLIENT));
    }

    /// The numbers of events in the packages, without `WorktreeCreate`.
    #[test]
    fn a_version_knows_the_events_of_the_last_one_in_the_table_before_it() {
        for (version, expected) in [
            ("1.0.0", 9),
            ("2.0.13", 9),
            ("2.0.59", 9),
            ("2.0.60", 12),
            ("2.1.49", 12),
            ("2.1.50", 17),
            ("2.1.88", 26),
            ("2.1.100", 26),
            ("2.1.118", 26),
            ("2.1.119", 28),
            ("2.1.150", 28),
            ("2.1.152", 29),
            ("2.1.218", 29),
            ("2.1.219", 30),
            ("2.1.250", 30),
            ("2.1.251", 32),
            ("2.1.331", 32),
            ("2.1.332", 33),
            ("3.0.0", 33),
        ] {
            let known = known_to(Version::parse(version).unwrap());
            assert_eq!(known.count(), expected, "{version}");
        }
    }
}
