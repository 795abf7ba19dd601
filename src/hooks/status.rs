//! What is installed, and whether it works: a paragraph for each settings file (the server is asked
//! for `/health`), and what keeps hooks from running.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::command::{OurCommand, recognise};
use super::events::{count_events, known_to};
use super::file::SettingsFile;
use super::{places, settings, switches};
use crate::cli::{Scope, Version};
use crate::request::{exchange, get_head};
use crate::terminal::{Shown, sanitize};

/// Describes the user's settings and those of the project. `client` is the installed client, if it
/// is known.
pub fn report(client: &Result<Version, String>) -> Result<String, String> {
    let user = places::settings(&Scope::User)?;
    let mut text = describe("User settings", &user, client);
    let project = places::settings(&Scope::Project)?;
    text += &describe("Project settings", &project, client);
    text += &switches::effective(&Scope::User)?;
    Ok(text)
}

fn describe(name: &str, path: &Path, client: &Result<Version, String>) -> String {
    let mut text = format!("{name}: {}\n", Shown(path));
    match read(path) {
        Err(error) => line(&mut text, "hooks", &format!("unknown: {error}")),
        Ok(installed) if installed.is_empty() => line(&mut text, "hooks", "not installed"),
        Ok(installed) => describe_installed(&mut text, installed, client),
    }
    text
}

/// The events for which our hooks are installed, with their commands.
fn read(path: &Path) -> Result<Vec<(String, OurCommand)>, String> {
    let file = SettingsFile::read(path)?;
    let entries = settings::entries(&file.text)?.into_iter();
    let ours = entries
        .filter(|entry| entry.is_read)
        .filter_map(|entry| Some((entry.event, recognise(&entry.command)?)));
    Ok(ours.collect())
}

fn describe_installed(
    text: &mut String,
    installed: Vec<(String, OurCommand)>,
    client: &Result<Version, String>,
) {
    let (events, commands): (Vec<String>, Vec<OurCommand>) = installed.into_iter().unzip();
    let count = count_events(events.len());
    let names = events.join(", ");
    line(text, "hooks", &format!("installed for {count}: {names}"));
    let programs = commands.iter().map(|command| &command.program);
    for program in programs.collect::<BTreeSet<_>>() {
        let state = match program {
            None => "curl".to_owned(),
            Some(path) if path.exists() => Shown(path).to_string(),
            Some(path) => format!("{} is gone: install the hooks again", Shown(path)),
        };
        line(text, "program", &state);
    }
    let sockets = commands.iter().map(|command| &command.socket);
    for socket in sockets.collect::<BTreeSet<_>>() {
        let state = match exchange(socket, &get_head("/health"), b"") {
            Ok(()) => "a server answers".to_owned(),
            Err(error) => error.to_string(),
        };
        line(text, "socket", &format!("{}: {state}", Shown(socket)));
    }
    line(text, "client", &compare(&events, client));
}

/// What the client makes of the installed events.
fn compare(events: &[String], client: &Result<Version, String>) -> String {
    let version = match client {
        Ok(version) => *version,
        Err(reason) => return format!("unknown: {reason}"),
    };
    let without = |all: &[&str], some: &[&str]| {
        let rest = all.iter().filter(|event| !some.contains(event));
        rest.copied().collect::<Vec<_>>().join(", ")
    };
    let installed: Vec<&str> = events.iter().map(String::as_str).collect();
    let known: Vec<&str> = known_to(version).collect();
    let unknown = without(&installed, &known);
    let missing = without(&known, &installed);
    let mut text = if unknown.is_empty() {
        format!("{version} knows them all")
    } else {
        format!(
            "{version} may not know {unknown}, and then reject the whole file: install the hooks again"
        )
    };
    if !missing.is_empty() {
        // Writing to a string succeeds.
        let _ = write!(text, "; it also knows {missing}");
    }
    text
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string succeeds.
    let _ = writeln!(text, "  {name}: {}", sanitize(value));
}
