//! Claude Code settings that send every event to the hook socket.
//!
//! The client runs each hook's command with a shell and waits for it. So the command
//! quotes its paths, prints nothing, and always succeeds.
//!
//! - This file prints settings. [`settings`] edits the text of existing ones, with
//!   `json_edit`. Both do no I/O.
//!
//! Stop 1 of EDU_NOTES.md.

mod json_edit;
pub mod settings;

use std::env;
use std::os::unix::net::SocketAddr;
use std::path::{self, Path, PathBuf};

use serde::{Serialize, Serializer};
use serde_json::json;

use crate::cli::HooksOptions;
use crate::diagnostics::stderr::say;

/// The events of the current client, except `WorktreeCreate`: a hook for that one
/// replaces the client's own creation of worktrees, which an observer must not do.
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

/// Seconds after which the client ends a hook. Both commands give up earlier by
/// themselves.
const TIMEOUT: u32 = 5;

/// Returns the settings as indented JSON with a newline at the end. The error says what
/// is wrong with a path.
pub fn settings(options: &HooksOptions) -> Result<String, String> {
    let socket = quote(&absolute_socket(&options.socket)?)?;
    let program = match options.uses_curl {
        true => None,
        false => Some(quote(&program_path()?)?),
    };
    let entry = |event: &str| {
        let command = match &program {
            Some(program) => send_command(program, event, &socket),
            None => curl_command(event, &socket),
        };
        let hook = json!({"type": "command", "command": command, "timeout": TIMEOUT});
        (event.to_owned(), json!([{"hooks": [hook]}]))
    };
    let hooks = match &options.events {
        Some(events) => {
            warn_of_unknown(events);
            events.iter().map(|event| entry(event)).collect()
        }
        None => EVENTS.iter().map(|event| entry(event)).collect(),
    };
    let settings = Object(vec![("hooks".to_owned(), Object(hooks))]);
    serde_json::to_string_pretty(&settings)
        .map(|text| text + "\n")
        .map_err(|error| format!("cannot write the settings: {error}"))
}

/// The socket's path from any directory. A path that no socket can have is an error
/// now: the hooks themselves report nothing.
fn absolute_socket(path: &Path) -> Result<PathBuf, String> {
    let path = path::absolute(path)
        .map_err(|error| format!("cannot make {} absolute: {error}", path.display()))?;
    match SocketAddr::from_pathname(&path) {
        Ok(_) => Ok(path),
        Err(_) => Err(format!(
            "the path {} is too long for a socket (107 bytes at most): choose a shorter one",
            path.display()
        )),
    }
}

fn program_path() -> Result<PathBuf, String> {
    env::current_exe()
        .map_err(|error| format!("cannot find the path of this program: {error}. Use --curl"))
}

fn warn_of_unknown(events: &[String]) {
    let is_unknown = |event: &&String| !EVENTS.contains(&event.as_str());
    for event in events.iter().filter(is_unknown) {
        say(format_args!(
            "{event} is not an event that this version knows: its hook is printed all the same"
        ));
    }
}

fn send_command(program: &str, event: &str, socket: &str) -> String {
    format!("{program} send {event} --socket {socket} >/dev/null 2>&1 || true")
}

/// `--data-binary`, since `-d` removes newlines.
fn curl_command(event: &str, socket: &str) -> String {
    format!(
        "curl -s --connect-timeout 0.5 --max-time 1 --unix-socket {socket} -X POST \
         -H 'Content-Type: application/json' --data-binary @- \
         'http://localhost/hook?event={event}' >/dev/null 2>&1 || true"
    )
}

/// A path as one word of a shell command. In single quotes every character but the quote
/// stands for itself (POSIX, Shell Command Language, section 2.2.2).
fn quote(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or(format!(
        "{} is not UTF-8, as JSON requires: choose another path",
        path.display()
    ))?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

/// A JSON object whose members keep this order. `serde_json`'s own map sorts them.
struct Object<V>(Vec<(String, V)>);

impl<V: Serialize> Serialize for Object<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}
