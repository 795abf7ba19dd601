//! The hooks in Claude Code's settings: printed, installed, removed, or described.
//!
//! - `command` is the shell command of a hook. `events` lists the events by the client's
//!   version, which `client_version` finds. `places` knows where the client's files are.
//! - [`settings`] edits the text of settings, with `json_edit`. Both do no I/O.
//! - `file` reads and replaces a settings file, with `exchange`. `edit` edits one: it says what
//!   changes (`summary`), and asks (`question`). `status` describes what is installed.
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
mod exchange;
mod file;
mod json_edit;
mod places;
mod question;
pub mod settings;
mod status;
mod summary;
mod switches;

use self::client_version::Clients;
pub use self::command::quote_text;
use self::command::{Sender, recognise};
use self::edit::Edit;
pub use self::events::known as known_events;
use self::settings::Hook;
use crate::cli::{Change, HooksAction, HooksOptions, Version};
use crate::diagnostics::stderr::say;
use crate::terminal::for_stdout;

/// Does what the options say. `print` writes to stdout.
pub fn run(
    options: &HooksOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    match &options.action {
        HooksAction::Print => {
            let hooks = hooks(options, client(options)?.0)?;
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
        }
        .run(print),
        HooksAction::Status => {
            let client = match options.client {
                Some(version) => Ok(version),
                None => Clients::find().map(|clients| clients.oldest),
            };
            print(&status::report(&client)?)
        }
    }
}

fn install(
    options: &HooksOptions,
    change: &Change,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let (client, name) = client(options)?;
    let hooks = hooks(options, client)?;
    let installed = (hooks.len(), &*name, &*options.socket);
    Edit {
        change,
        new_text: &|text| settings::install(text, &hooks, is_ours),
        summary: &|path, old| summary::of_installation(installed, path, old),
        notes: &switches::effective(&change.scope)?,
        done: "Installed.",
        undo: "--remove",
    }
    .run(print)
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
        Sender::this_program(&options.socket)?
    };
    let hook = |event: &str| Hook {
        event: event.to_owned(),
        matcher: events::matcher(event),
        command: sender.command(event),
    };
    Ok(events.into_iter().map(hook).collect())
}

/// The client whose events to send, and how to name it.
fn client(options: &HooksOptions) -> Result<(Version, String), String> {
    if let Some(version) = options.client {
        return Ok((version, version.to_string()));
    }
    let is_installed = matches!(options.action, HooksAction::Install(_));
    match Clients::find() {
        Ok(clients) => {
            if clients.are_several() && !is_installed {
                say(format_args!("the events are those of {clients}"));
            }
            Ok((clients.oldest, clients.to_string()))
        }
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
            Ok((first, first.to_string()))
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
