//! The hooks in Claude Code's settings: printed, installed, removed, or described.
//!
//! - `command` is the shell command of a hook. `events` lists the events by the client's
//!   version, which `client_version` finds. `places` knows where the client's files are.
//! - [`settings`] edits the text of settings, with `json_edit`. Both do no I/O.
//! - `file` reads and replaces a settings file, with `exchange`. `edit` edits one, and talks to
//!   the user. `status` describes what is installed.
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
pub mod settings;
mod status;
mod switches;

use self::client_version::Clients;
pub use self::command::quote_text;
use self::command::{Sender, recognise};
pub use self::events::known as known_events;
use self::settings::Hook;
use crate::cli::{HooksAction, HooksOptions, Version};
use crate::diagnostics::stderr::say;

/// Does what the options say. `print` writes to stdout.
pub fn run(
    options: &HooksOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    match &options.action {
        HooksAction::Print => {
            let hooks = hooks(options)?;
            print(&settings::install("", &hooks, |_| false)?)
        }
        HooksAction::Install(change) => {
            let hooks = hooks(options)?;
            let install = |text: &str| settings::install(text, &hooks, is_ours);
            let done = format!(
                "Installed hooks for {} in",
                events::count_events(hooks.len())
            );
            edit::edit(change, install, &done, "--remove", print)?;
            switches::effective(&change.scope)?
                .into_iter()
                .for_each(say);
            Ok(())
        }
        HooksAction::Remove(change) => {
            let remove = |text: &str| settings::remove(text, is_ours);
            edit::edit(change, remove, "Removed the hooks from", "--install", print)
        }
        HooksAction::Status => {
            let client = match options.client {
                Some(version) => Ok(version),
                None => Clients::find().map(|clients| clients.oldest),
            };
            print(&status::report(&client)?)
        }
    }
}

/// The hooks that the options ask for.
fn hooks(options: &HooksOptions) -> Result<Vec<Hook>, String> {
    let client = client(options)?;
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

/// The client whose events to send, with a message where the user may want another one.
fn client(options: &HooksOptions) -> Result<Version, String> {
    if let Some(version) = options.client {
        return Ok(version);
    }
    match Clients::find() {
        Ok(clients) => {
            if clients.are_several() {
                say(format_args!(
                    "several clients are installed: {clients}. The events are those of the \
                     oldest. For another version, give --client VERSION"
                ));
            }
            Ok(clients.oldest)
        }
        Err(reason) if matches!(options.action, HooksAction::Install(_)) => Err(format!(
            "{reason}. A client that does not know an event may reject the whole settings file, \
             permission rules included: give the client's version with --client VERSION"
        )),
        Err(reason) => {
            let first = events::FIRST_CLIENT;
            say(format_args!(
                "{reason}: using the events of version {first}. For another version, give \
                 --client VERSION"
            ));
            Ok(first)
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
