//! Claude Code settings that send every event here: what `--print-hooks` prints.
//!
//! Each command is read by a shell, from a path that may hold anything, and runs
//! in the client's way. So paths are quoted, nothing is printed whatever happens,
//! and success is all that the client ever hears of.
//!
//! Stop 1 of EDU_NOTES.md.

use std::env;
use std::os::unix::net::SocketAddr;
use std::path::{self, Path};

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::args::Printing;
use crate::stderr::say;

/// The events of the current client, but for one: a hook for `WorktreeCreate`
/// replaces the client's own work, and an observer must not.
const EVENTS: [&str; 32] = [
    "SessionStart",
    "Setup",
    "UserPromptSubmit",
    "UserPromptExpansion",
    "PreToolUse",
    "PermissionRequest",
    "PermissionDenied",
    "PostToolUse",
    "PostToolUseFailure",
    "PostToolBatch",
    "Notification",
    "SubagentStart",
    "SubagentStop",
    "Stop",
    "StopFailure",
    "TeammateIdle",
    "TaskCreated",
    "TaskCompleted",
    "InstructionsLoaded",
    "ConfigChange",
    "CwdChanged",
    "FileChanged",
    "WorktreeRemove",
    "PreCompact",
    "PostCompact",
    "Elicitation",
    "ElicitationResult",
    "SessionEnd",
    "MessageDisplay",
    "PreModelSwitch",
    "PostModelSwitch",
    "DirectoryAdded",
];

/// Seconds after which the client ends a hook. It is never needed: both commands
/// give up by themselves.
const TIMEOUT: u32 = 5;

/// The settings, indented, with a newline at the end. The error says why there can be none.
pub fn json(printing: &Printing) -> Result<String, String> {
    let socket = path::absolute(&printing.socket).map_err(|error| {
        format!(
            "cannot tell where {} is: {error}",
            printing.socket.display()
        )
    })?;
    // A hook that cannot work says nothing; so this is the time to.
    SocketAddr::from_pathname(&socket).map_err(|_| {
        format!(
            "no socket can have the path {}: it has room for 107 bytes. Choose a shorter one",
            socket.display()
        )
    })?;
    let socket = quoted(&socket)?;
    let program =
        match printing.by_curl {
            true => String::new(),
            false => quoted(&env::current_exe().map_err(|error| {
                format!("cannot tell where this program is: {error}. Use --curl")
            })?)?,
        };
    let command = |event: &str| match printing.by_curl {
        true => curl(event, &socket),
        false => format!("{program} --send {event} --socket {socket} >/dev/null 2>&1 || true"),
    };
    let entry = |event: &str| {
        let hook = json!({"type": "command", "command": command(event), "timeout": TIMEOUT});
        (event.to_owned(), json!([{"hooks": [hook]}]))
    };
    let hooks = match &printing.events {
        Some(events) => {
            let is_new = |event: &&String| !EVENTS.contains(&event.as_str());
            for event in events.iter().filter(is_new) {
                say(format_args!(
                    "{event} is no event that this version knows of: it is among the hooks all the same"
                ));
            }
            events.iter().map(|event| entry(event)).collect()
        }
        None => EVENTS.iter().map(|event| entry(event)).collect(),
    };
    let settings = InOrder(vec![("hooks".to_owned(), InOrder(hooks))]);
    serde_json::to_string_pretty(&settings)
        .map(|text| text + "\n")
        .map_err(|error| format!("cannot write the settings: {error}"))
}

/// `--data-binary`, since `-d` drops newlines.
fn curl(event: &str, socket: &str) -> String {
    format!(
        "curl -s --connect-timeout 0.5 --max-time 1 --unix-socket {socket} -X POST \
         -H 'Content-Type: application/json' --data-binary @- \
         'http://localhost/hook?event={event}' >/dev/null 2>&1 || true"
    )
}

/// A word of a shell's command: in single quotes all is itself but the quote
/// (POSIX, Shell Command Language, 2.2.2).
fn quoted(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or(format!(
        "{} is not UTF-8, as JSON must be: choose another path",
        path.display()
    ))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// An object whose members stay in this order; `serde_json`'s own map sorts them.
struct InOrder<V>(Vec<(String, V)>);

impl<V: Serialize> Serialize for InOrder<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
