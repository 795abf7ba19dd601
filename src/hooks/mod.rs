//! The hooks in Claude Code's settings: printed, installed, removed, or described.
//!
//! - `command` is the shell command of a hook. `events` lists the events by the client's
//!   version, which `client_version` finds. `places` knows where the client's files are.
//! - [`settings`] edits the text of settings, with `json_edit`. Both do no I/O.
//! - `file` reads and replaces a settings file. `status` describes what is installed.
//! - This file decides what to do, and talks to the user.
//!
//! A fault here harms the user: a client rejects a whole settings file, permission rules
//! included, if it names an event that the client does not know.
//!
//! This folder knows no event's content, and of the server only its socket and two requests.
//!
//! Stop 17 of EDU_NOTES.md.

mod client_version;
mod command;
mod events;
mod file;
mod json_edit;
mod places;
pub mod settings;
mod status;

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use similar::TextDiff;

use self::client_version::Clients;
pub use self::command::quote_text;
use self::command::{Sender, recognise};
use self::file::SettingsFile;
use self::settings::Hook;
use crate::cli::{Change, HooksAction, HooksOptions, Scope, Version};
use crate::diagnostics::stderr::say;
use crate::terminal::sanitize_char;

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
            edit(change, install, &done, "--remove", print)
        }
        HooksAction::Remove(change) => {
            let remove = |text: &str| settings::remove(text, is_ours);
            edit(change, remove, "Removed the hooks from", "--install", print)
        }
        HooksAction::Status => {
            let client = match options.client {
                Some(version) => Ok(version),
                None => Clients::find().map(|clients| clients.oldest),
            };
            print(&format!(
                "{}{}",
                status::describe("User settings", &places::settings(&Scope::User)?, &client),
                status::describe(
                    "Project settings",
                    &places::settings(&Scope::Project)?,
                    &client
                ),
            ))
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

/// Edits a settings file, and reports what changed and which option undoes it.
fn edit(
    change: &Change,
    new_text: impl Fn(&str) -> Result<String, String>,
    done: &str,
    undo: &str,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<(), String> {
    let path = places::settings(&change.scope)?;
    let shown = path.display();
    let unchanged = |error: String| format!("{shown} was left as it was: {error}");
    let file = SettingsFile::read(&path).map_err(unchanged)?;
    let text = new_text(&file.text)
        .map_err(|error| unchanged(format!("{error}. Correct it, and run the command again")))?;
    if text == file.text {
        return print(&format!("Nothing to change in {shown}\n"));
    }
    print(&diff(&path, &file.text, &text))?;
    if change.is_dry_run {
        return Ok(());
    }
    if !change.is_confirmed && io::stdin().is_terminal() && !ask(&path) {
        return Err(unchanged("you did not confirm the change".into()));
    }
    file.replace(&text).map_err(unchanged)?;
    let scope = match &change.scope {
        Scope::User => "--user".to_owned(),
        Scope::Project => "--project".to_owned(),
        Scope::File(_) => format!("--file {}", quote_text(&shown.to_string())),
    };
    print(&format!(
        "{done} {shown}. To undo it: hooks-observatory hooks {undo} {scope}\n"
    ))
}

/// The change as a unified diff. On a terminal it shows no byte that the terminal would
/// obey.
fn diff(path: &Path, old: &str, new: &str) -> String {
    let name = path.display().to_string();
    let diff = TextDiff::from_lines(old, new);
    let diff = diff.unified_diff().header(&name, &name).to_string();
    if !io::stdout().is_terminal() {
        return diff;
    }
    let lines = diff.split('\n').map(sanitize_line);
    lines.collect::<Vec<_>>().join("\n")
}

fn sanitize_line(line: &str) -> String {
    let sanitize = |char| match char {
        '\t' => '\t',
        char => sanitize_char(char),
    };
    line.trim_end_matches('\r').chars().map(sanitize).collect()
}

/// Asks on stderr, since stdout may be a file. Only a yes is a yes.
fn ask(path: &Path) -> bool {
    let mut answer = String::new();
    let question = format!("Write this to {}? [y/N] ", path.display());
    let asked = io::stderr().write_all(question.as_bytes());
    asked.is_ok()
        && io::stdin().read_line(&mut answer).is_ok()
        && matches!(answer.trim(), "y" | "Y" | "yes")
}
