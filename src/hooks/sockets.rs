//! Which socket the installed hooks send to, and which one the commands of this shell use.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::path::{self, Path, PathBuf};

use super::command::{OurCommand, recognise};
use super::{places, settings};
use crate::cli::{SOCKET_VARIABLE, Scope};
use crate::terminal::Shown;
use crate::user_files::TextFile;

/// The events for which a settings file has hooks of ours that the client reads, with their
/// commands.
pub fn hooks_in(path: &Path) -> Result<Vec<(String, OurCommand)>, String> {
    let file = TextFile::read(path)?;
    let entries = settings::entries(&file.text)?.into_iter();
    let ours = entries
        .filter(|entry| entry.is_read)
        .filter_map(|entry| Some((entry.event, recognise(&entry.command)?)));
    Ok(ours.collect())
}

/// What to tell a user whose file has hooks of others that name the socket of ours. They stay.
pub fn explain_others(path: &Path, socket: &Path) -> Option<String> {
    let entries = settings::entries(&TextFile::read(path).ok()?.text).ok()?;
    let socket = socket.to_str()?;
    let sends_there = |command: &str| {
        [socket, SOCKET_VARIABLE]
            .iter()
            .any(|name| command.contains(name))
    };
    let others = entries.iter().filter(|entry| {
        entry.is_read && recognise(&entry.command).is_none() && sends_there(&entry.command)
    });
    let count = others.count();
    (count > 0).then(|| {
        format!(
            "other hooks in {} that send there too: {count}. Their events arrive twice until you \
             remove them",
            Shown(path)
        )
    })
}

/// What to tell a user whose commands use `socket`, if hooks are installed and none sends there.
pub fn explain_difference(socket: &Path) -> Option<String> {
    difference(socket, &installed())
}

/// Where the hooks send to that are installed for the user, and for the current directory.
pub fn installed() -> BTreeSet<PathBuf> {
    let files = [Scope::User, Scope::Project].map(|scope| places::settings(&scope));
    let hooks = files
        .iter()
        .flatten()
        .filter_map(|file| hooks_in(file).ok());
    let sockets = hooks.flatten().map(|(_, command)| command.socket);
    sockets.collect()
}

/// The same for hooks that send to these sockets.
pub fn difference(socket: &Path, sockets: &BTreeSet<PathBuf>) -> Option<String> {
    let socket = path::absolute(socket).ok()?;
    let first = sockets.first()?;
    (!sockets.contains(&socket)).then(|| {
        format!(
            "the hooks send to {}, and this shell uses {}. Give the former with --socket, or set \
             {SOCKET_VARIABLE}",
            Shown(first),
            Shown(&socket)
        )
    })
}
