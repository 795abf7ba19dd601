//! The options of `hooks-observatory hooks`.
//!
//! Stop 1 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;

use argh::FromArgs;

use super::{Exit, parse_with_argh, socket_path};

/// What [`client::hooks`](crate::client::hooks) prints.
#[derive(Debug)]
pub struct HooksOptions {
    /// The path of the hook socket.
    pub socket: PathBuf,
    /// The names of the events to send. `None`: all.
    pub events: Option<Vec<String>>,
    /// Whether the hooks run curl instead of this program.
    pub uses_curl: bool,
}

/// Prints Claude Code settings that send every event to the hook socket.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help"))]
struct Arguments {
    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<String>,

    /// send only these events, such as PreToolUse,Stop
    #[argh(option, arg_name = "names", from_str_fn(event_names))]
    events: Option<Vec<String>>,

    /// use curl to send events, where this program is not installed
    #[argh(switch)]
    curl: bool,
}

/// The options that take a value.
pub(super) const VALUED: [&str; 2] = ["--socket", "--events"];

pub(super) fn parse(arguments: &[OsString], default_socket: PathBuf) -> Result<HooksOptions, Exit> {
    let arguments: Arguments =
        parse_with_argh(&["hooks-observatory", "hooks"], arguments, &VALUED)?;
    Ok(HooksOptions {
        socket: socket_path(arguments.socket, default_socket),
        events: arguments.events,
        uses_curl: arguments.curl,
    })
}

/// Names separated by commas; a repeated one counts once.
fn event_names(text: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',') {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err("give event names separated by commas, such as PreToolUse,Stop".into());
        }
        if name == "WorktreeCreate" {
            return Err(
                "a hook for WorktreeCreate replaces the client's own creation of worktrees, \
                 so an observer must not install one: leave it out"
                    .into(),
            );
        }
        if !names.iter().any(|earlier| earlier == name) {
            names.push(name.into());
        }
    }
    Ok(names)
}
