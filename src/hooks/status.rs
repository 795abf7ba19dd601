//! What is installed, and whether it works: a paragraph for each settings file, one for this shell
//! (servers are asked for `/health`), and what keeps events from arriving.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use super::client_version::Client;
use super::command::OurCommand;
use super::events::{count_events, known_to};
use super::sockets::{explain_difference, explain_others, hooks_in};
use super::{places, switches};
use crate::cli::{Scope, Version};
use crate::request::state;
use crate::terminal::{Shown, sanitize};

/// Describes the user's settings, those of the project, and what the commands of this shell use: the
/// client, if it is known, with its name, and the socket.
pub fn report(client: &Result<Client, String>, socket: &Path) -> Result<String, String> {
    let version = client.as_ref().map(|client| client.version);
    let user = places::settings(&Scope::User)?;
    let mut text = describe("User settings", &user, version);
    let project = places::settings(&Scope::Project)?;
    text += &describe("Project settings", &project, version);
    text += "This shell\n";
    line(&mut text, "socket", &state(socket));
    match client {
        Ok(client) => line(&mut text, "client", &client.name),
        Err(reason) => line(&mut text, "client", &format!("unknown: {reason}")),
    }
    if let Some(difference) = explain_difference(socket) {
        text += &format!("{difference}\n");
    }
    text += &switches::effective(&Scope::User)?;
    Ok(text)
}

fn describe(name: &str, path: &Path, client: Result<Version, &String>) -> String {
    let mut text = format!("{name}: {}\n", Shown(path));
    match hooks_in(path) {
        Err(error) => line(&mut text, "hooks", &format!("unknown: {error}")),
        Ok(installed) if installed.is_empty() => line(&mut text, "hooks", "not installed"),
        Ok(installed) => describe_installed(&mut text, path, installed, client),
    }
    text
}

fn describe_installed(
    text: &mut String,
    path: &Path,
    installed: Vec<(String, OurCommand)>,
    client: Result<Version, &String>,
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
        line(text, "socket", &state(socket));
        if let Some(others) = explain_others(path, socket) {
            line(text, "twice", &others);
        }
    }
    let hosts = commands.iter().filter_map(|command| command.host.as_ref());
    for host in hosts.collect::<BTreeSet<_>>() {
        line(text, "host", host);
    }
    if let Ok(version) = client {
        line(text, "client", &compare(&events, version));
    }
}

/// What the client makes of the installed events.
fn compare(events: &[String], version: Version) -> String {
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
