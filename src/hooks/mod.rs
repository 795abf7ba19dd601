//! The hooks in Claude Code's settings: printed, installed, removed, or described.
//!
//! - `command` is the shell command of a hook. `events` lists the events by the client's
//!   version, which `client_version` finds. `places` knows where the client's files are.
//! - [`settings`] edits the text of settings, with `json_edit`. Both do no I/O.
//! - `edit` edits a settings file: it says what changes (`summary`), asks, and replaces the file
//!   ([`user_files`](crate::user_files)). `status` describes what is installed.
//! - `sockets` compares where hooks send to with where this shell looks.
//! - `switches` finds the settings that keep hooks from running.
//! - This file decides what to do.
//!
//! A fault here harms the user: a client rejects a whole settings file, permission rules
//! included, if it names an event that the client does not know.
//!
//! This folder knows no event's content, and of the server only its socket and two requests.
//!
//! Stop 17 of EDU_NOTES.md.

mod client_version;
mod command;
mod edit;
mod events;
mod json_edit;
mod places;
pub mod settings;
mod sockets;
mod status;
mod summary;
mod switches;

use std::collections::BTreeSet;
use std::path::Path;

use self::client_version::Client;
use self::command::{Sender, absolute_socket, destination, recognise};
pub use self::command::{program_path, quote_text};
use self::edit::Edit;
pub use self::events::known as known_events;
use self::settings::Hook;
pub use self::sockets::{explain_difference, installed as installed_sockets};
use crate::cli::{Change, HooksAction, HooksOptions, Version, default_socket};
use crate::diagnostics::stderr::say;
use crate::request::{Error, check_health};
use crate::terminal::{Shown, for_stdout};

/// Does what the options say. `print` writes to stdout.
pub fn run(
    options: &HooksOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    match &options.action {
        HooksAction::Print => {
            let client = client(options)?;
            if client.has_others {
                say(format_args!("the events are those of {}", client.name));
            }
            let hooks = hooks(options, client.version)?;
            print(&for_stdout(settings::install("", &hooks, |_| false)?))
        }
        HooksAction::Install(change) => install(options, change, print),
        HooksAction::Remove(change) => Edit {
            change,
            new_text: &|text| settings::remove(text, is_ours),
            summary: &summary::of_removal,
            notes: "",
            done: "Removed.",
            undo: "--install",
            next: "",
        }
        .run(print),
        HooksAction::Status => print(&status::report(&find_client(options), &options.socket)?),
    }
}

fn install(
    options: &HooksOptions,
    change: &Change,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let client = client(options)?;
    let hooks = hooks(options, client.version)?;
    let socket = absolute_socket(&options.socket)?;
    let destination = destination(&socket, options.host.as_deref());
    let installed = (hooks.len(), &*client.name, &*destination);
    Edit {
        change,
        new_text: &|text| settings::install(text, &hooks, is_ours),
        summary: &|path, old| summary::of_installation(installed, path, old),
        notes: &notes(options, change, &socket)?,
        done: "Installed.",
        undo: "--remove",
        next: &missing_server(&socket),
    }
    .run(print)
}

/// What keeps the events from arriving, or from being seen.
fn notes(options: &HooksOptions, change: &Change, socket: &Path) -> Result<String, String> {
    let installed = BTreeSet::from([socket.to_owned()]);
    let difference = sockets::difference(&options.shell_socket, &installed);
    let others = sockets::explain_others(&places::settings(&change.scope)?, socket);
    let lines = [difference, others].into_iter().flatten();
    let lines: String = lines.map(|line| line + "\n").collect();
    Ok(lines + &switches::effective(&change.scope)?)
}

/// How to start the server, if none answers at the socket of the hooks. Otherwise nothing.
fn missing_server(socket: &Path) -> String {
    let shown = Shown(socket);
    match check_health(socket) {
        Ok(()) => String::new(),
        Err(Error::NoServer(_)) if socket == default_socket(None) => format!(
            "no server answers at {shown} yet, and any user can listen there first. Safer: \
             hooks-observatory service --install, then hooks --install again\n"
        ),
        Err(Error::NoServer(_)) => format!(
            "no server answers at {shown} yet: hooks-observatory --socket {}\n",
            quote_text(&shown.to_string())
        ),
        Err(Error::Other(reason)) => format!("no event arrives at {shown}: {reason}\n"),
    }
}

/// The hooks that the options ask for.
fn hooks(options: &HooksOptions, client: Version) -> Result<Vec<Hook>, String> {
    if client < events::FIRST_CLIENT {
        say(format_args!(
            "the events of version {client} are not known: using those of {}. Check that the \
             client still reads its settings",
            events::FIRST_CLIENT
        ));
    }
    let known: Vec<&str> = events::known_to(client).collect();
    let events = match &options.events {
        None => known,
        Some(chosen) => {
            let is_installed = matches!(options.action, HooksAction::Install(_));
            check_chosen(chosen, &known, client, is_installed)?;
            chosen.iter().map(String::as_str).collect()
        }
    };
    let sender = if options.uses_curl {
        Sender::curl(&options.socket)?
    } else {
        Sender::this_program(&options.socket, options.host.as_deref())?
    };
    let hook = |event: &str| Hook {
        event: event.to_owned(),
        matcher: events::matcher(event),
        command: sender.command(event),
    };
    Ok(events.into_iter().map(hook).collect())
}

/// The client that the options name, or the oldest that is installed.
fn find_client(options: &HooksOptions) -> Result<Client, String> {
    match options.client {
        Some(version) => Ok(Client::of_version(version)),
        None => Client::oldest(),
    }
}

/// The client whose events to send.
fn client(options: &HooksOptions) -> Result<Client, String> {
    let is_installed = matches!(options.action, HooksAction::Install(_));
    match find_client(options) {
        Ok(client) => Ok(client),
        Err(reason) if is_installed => Err(format!(
            "{reason}. A client that does not know an event may reject the whole settings file, \
             permission rules included: give the client's version with --client VERSION"
        )),
        Err(reason) => {
            let first = events::FIRST_CLIENT;
            say(format_args!(
                "{reason}: using the events of version {first}. For another version, give \
                 --client VERSION"
            ));
            Ok(Client::of_version(first))
        }
    }
}

/// The user may know of an event that is newer than the table. Printed settings are for
/// the user to check, so it is a warning; in installed ones it is an error.
fn check_chosen(
    chosen: &[String],
    known: &[&str],
    client: Version,
    is_installed: bool,
) -> Result<(), String> {
    let is_unknown = |event: &&String| !known.contains(&event.as_str());
    for event in chosen.iter().filter(is_unknown) {
        let problem = format!(
            "{event} is not known to be an event of version {client}, and a client that does \
             not know an event may reject the whole settings file, permission rules included"
        );
        if is_installed {
            return Err(format!(
                "{problem}. Leave {event} out, or give the version that knows it with \
                 --client VERSION"
            ));
        }
        say(problem);
    }
    Ok(())
}

fn is_ours(command: &str) -> bool {
    recognise(command).is_some()
}
