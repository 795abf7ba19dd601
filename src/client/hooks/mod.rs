//! Claude Code settings with hooks that send every event to the hook socket.
//!
//! - `command` is the shell command of a hook. `events` lists the events by the client's
//!   version, which `client_version` finds.
//! - [`settings`] edits the text of settings, with `json_edit`. Both do no I/O.
//! - This file prints settings.
//!
//! A fault here harms the user: a client rejects a whole settings file, permission rules
//! included, if it names an event that the client does not know.
//!
//! This folder knows no event's content, and of the server only its socket.
//!
//! Stop 1 of EDU_NOTES.md.

mod client_version;
mod command;
mod events;
mod json_edit;
pub mod settings;

use self::command::Sender;
use self::settings::Hook;
use crate::cli::{HooksOptions, Version};
use crate::diagnostics::stderr::say;

/// The settings as indented JSON. The error says what is wrong with a path.
pub fn settings(options: &HooksOptions) -> Result<String, String> {
    settings::install("", &hooks(options)?, |_| false)
}

/// The hooks that the options ask for.
fn hooks(options: &HooksOptions) -> Result<Vec<Hook>, String> {
    let client = client_or_default(options);
    let known: Vec<&str> = events::known_to(client).collect();
    let events = match &options.events {
        None => known,
        Some(chosen) => {
            warn_of_unknown(chosen, &known, client);
            chosen.iter().map(String::as_str).collect()
        }
    };
    let sender = Sender::new(&options.socket, options.uses_curl)?;
    let hook = |event: &str| Hook {
        event: event.to_owned(),
        matcher: events::matcher(event),
        command: sender.command(event),
    };
    Ok(events.into_iter().map(hook).collect())
}

fn client(options: &HooksOptions) -> Result<Version, String> {
    match options.client {
        Some(version) => Ok(version),
        None => client_version::installed(),
    }
}

/// The client whose events to install, with a warning if that is a guess.
fn client_or_default(options: &HooksOptions) -> Version {
    let (default, first) = (events::DEFAULT_CLIENT, events::FIRST_CLIENT);
    match client(options) {
        Ok(version) if version < first => {
            say(format_args!(
                "the events of version {version} are not known: using those of {first}. Check \
                 that the client still reads its settings"
            ));
            version
        }
        Ok(version) => version,
        Err(reason) => {
            say(format_args!(
                "{reason}: using the events of version {default}. For another version, give \
                 --client VERSION"
            ));
            default
        }
    }
}

/// The user may know of an event that is newer than the table.
fn warn_of_unknown(chosen: &[String], known: &[&str], client: Version) {
    let is_unknown = |event: &&String| !known.contains(&event.as_str());
    for event in chosen.iter().filter(is_unknown) {
        say(format_args!(
            "{event} is not known to be an event of version {client}, and a client that does \
             not know an event may reject the whole settings file, permission rules included"
        ));
    }
}
