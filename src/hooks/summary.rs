//! What an edit changes, in a few lines: the whole diff would fill several screens.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::path::Path;

use super::command::{OurCommand, destination, recognise};
use super::events::count_events;
use super::settings;
use crate::terminal::Shown;

/// The hooks for `count` events are added to `path`. `client` says for which client, and `old` is
/// the text of the file.
pub fn of_installation(
    (count, client, destination): (usize, &str, &str),
    path: &Path,
    old: &str,
) -> String {
    let replaced = ours(old);
    let replaced = match replaced.len() {
        0 => "nothing".to_owned(),
        count => format!(
            "hooks for {} to {}",
            count_events(count),
            destinations(&replaced)
        ),
    };
    format!(
        "This adds hooks for {} to {}\n  client: {client}\n  socket: {destination}\n  \
         replaces: {replaced}\n",
        count_events(count),
        Shown(path),
    )
}

/// The hooks are removed from `path`, which has the text `old`.
pub fn of_removal(path: &Path, old: &str) -> String {
    let removed = ours(old);
    format!(
        "This removes hooks for {} from {}\n  socket: {}\n",
        count_events(removed.len()),
        Shown(path),
        destinations(&removed),
    )
}

fn ours(text: &str) -> Vec<OurCommand> {
    let entries = settings::entries(text).unwrap_or_default().into_iter();
    entries
        .filter_map(|entry| recognise(&entry.command))
        .collect()
}

fn destinations(commands: &[OurCommand]) -> String {
    let destinations = commands
        .iter()
        .map(|command| destination(&command.socket, command.host.as_deref()));
    let destinations: BTreeSet<String> = destinations.collect();
    destinations.into_iter().collect::<Vec<_>>().join(", ")
}
