//! The options of `hooks-observatory send`.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::parser::{Exit, parse_with_argh, usage};

const COMMAND: [&str; 2] = ["hooks-observatory", "send"];

/// What [`send`](crate::send) sends, and where.
#[derive(Debug)]
pub struct SendOptions {
    /// The path of the hook socket.
    pub socket: PathBuf,
    /// The event's name, not yet encoded for a query.
    pub event_name: String,
    /// The host that the payload is to name as its own.
    pub host: Option<String>,
    /// Whether to report on stderr whether the event was taken.
    pub is_verbose: bool,
}

/// Posts the payload on stdin to the hook socket as one event. Prints nothing (without -v)
/// and exits with 0, whether or not the server takes it.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
pub(super) struct Arguments {
    /// name of the event, such as PreToolUse
    #[argh(positional, arg_name = "event")]
    event_name: String,

    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else that of the service, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,

    /// name of this machine: adds the member _host to the payload
    #[argh(option, arg_name = "name")]
    host: Option<String>,

    /// report on stderr whether the event was taken, and why not
    #[argh(switch, short = 'v')]
    verbose: bool,
}

pub(super) fn parse(arguments: &[OsString], default_socket: PathBuf) -> Result<SendOptions, Exit> {
    let arguments: Arguments = parse_with_argh(&COMMAND, arguments)?;
    if arguments.event_name.is_empty() {
        return Err(usage(
            &COMMAND,
            "the event needs a name, such as PreToolUse",
        ));
    }
    Ok(SendOptions {
        socket: arguments.socket.unwrap_or(default_socket),
        event_name: arguments.event_name,
        host: arguments.host,
        is_verbose: arguments.verbose,
    })
}
