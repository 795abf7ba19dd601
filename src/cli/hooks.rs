//! The options of `hooks-observatory hooks`.
//!
//! Stop 1 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;

use argh::FromArgs;

use super::version::Version;
use super::{Exit, parse_with_argh, socket_path};

const COMMAND: [&str; 2] = ["hooks-observatory", "hooks"];

/// A hook for this event replaces the client's own creation of worktrees, which an
/// observer must not do.
pub const WORKTREE_CREATE: &str = "WorktreeCreate";

/// What [`client::hooks`](crate::client::hooks) prints.
#[derive(Debug)]
pub struct HooksOptions {
    /// The path of the hook socket.
    pub socket: PathBuf,
    /// The version of the client. `None`: the installed one.
    pub client: Option<Version>,
    /// The names of the events to send. `None`: all that the client knows.
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

    /// send only these events, such as PreToolUse,Stop (default: all that the client knows)
    #[argh(option, arg_name = "names", from_str_fn(event_names))]
    events: Option<Vec<String>>,

    /// version of Claude Code, such as 2.1.119 (default: what `claude --version` prints)
    #[argh(option, arg_name = "version", from_str_fn(version))]
    client: Option<Version>,

    /// use curl to send events, where this program is not installed
    #[argh(switch)]
    curl: bool,
}

/// The options that take a value.
pub(super) const VALUED: [&str; 3] = ["--socket", "--events", "--client"];

pub(super) fn parse(arguments: &[OsString], default_socket: PathBuf) -> Result<HooksOptions, Exit> {
    let arguments: Arguments = parse_with_argh(&COMMAND, arguments, &VALUED)?;
    Ok(HooksOptions {
        socket: socket_path(arguments.socket, default_socket),
        client: arguments.client,
        events: arguments.events,
        uses_curl: arguments.curl,
    })
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).ok_or_else(|| "give a version such as 2.1.119".into())
}

/// Names separated by commas; a repeated one counts once.
fn event_names(text: &str) -> Result<Vec<String>, String> {
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',') {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err("give event names separated by commas, such as PreToolUse,Stop".into());
        }
        if name == WORKTREE_CREATE {
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
