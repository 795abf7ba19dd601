//! The options of `hooks-observatory watch` and `hooks-observatory sessions`.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};

use super::parser::{Exit, parse_with_argh, usage};

const WATCH: [&str; 2] = ["hooks-observatory", "watch"];
const SESSIONS: [&str; 2] = ["hooks-observatory", "sessions"];
/// The path that `-` means. `argh` would take `-` for an option.
pub const STDIN: &str = "/dev/stdin";

/// What [`watch`](crate::watch) shows.
#[derive(Debug)]
pub struct WatchOptions {
    pub source: SourceOption,
    /// `None`: the screen on a terminal, else lines.
    pub format: Option<WatchFormat>,
    pub filter: Filter,
    /// Whether the terminal notifies the user when a session asks.
    pub notifies: bool,
    /// The command that runs then.
    pub on_wait: Option<String>,
    /// The command that goes to the terminal of a session.
    pub jump: Option<String>,
    /// The command that runs when a long turn has ended.
    pub on_idle: Option<String>,
}

/// What [`watch`](crate::watch) lists.
#[derive(Debug)]
pub struct SessionsOptions {
    pub source: SourceOption,
    pub is_json: bool,
    /// Whether only the sessions are listed that wait for the user.
    pub is_waiting_only: bool,
    /// How the ids of the sessions begin that are listed.
    pub session: String,
}

/// Where events come from.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceOption {
    /// The server of this hook socket.
    Server(PathBuf),
    /// Sockets or files, at least one. What they are, only opening them shows.
    Paths(Vec<PathBuf>),
}

/// The format in which `watch` writes events.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum WatchFormat {
    Lines,
    Yaml,
    Json,
}

/// Which events are shown. Empty lists mean all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// How the session's id begins.
    pub session: String,
    pub events: Vec<String>,
    pub tools: Vec<String>,
}

/// Shows the sessions and their events on the whole terminal, or writes events as they happen.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "SOURCE is the path of a hook socket, of an output socket, or of files of JSON lines \
            (several in order; the last one is followed), or - for stdin. Without SOURCE it is \
            the running server."
)]
pub(super) struct WatchArguments {
    /// where events come from (default: the server of --socket)
    #[argh(positional, arg_name = "source")]
    sources: Vec<PathBuf>,

    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else that of the service, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,

    /// write one line for each event (default, if stdout is no terminal)
    #[argh(switch)]
    lines: bool,

    /// write whole events as YAML
    #[argh(switch)]
    yaml: bool,

    /// write events as JSON lines, as the server has them
    #[argh(switch)]
    json: bool,

    /// show only sessions whose id begins so
    #[argh(option, arg_name = "prefix", default = "String::new()")]
    session: String,

    /// show only these events, such as PreToolUse,Stop
    #[argh(option, arg_name = "names", from_str_fn(parse_names))]
    event: Option<Vec<String>>,

    /// show only events of these tools, such as Bash,Edit
    #[argh(option, arg_name = "names", from_str_fn(parse_names))]
    tool: Option<Vec<String>>,

    /// ring the bell and show a notification for each question of a session
    #[argh(switch)]
    notify: bool,

    /// run a shell command for each question of a session, with the session as JSON on stdin
    #[argh(option, arg_name = "command")]
    on_wait: Option<String>,

    /// run a shell command when you press Enter on a session, with the session as JSON on stdin,
    /// instead of going to its terminal
    #[argh(option, arg_name = "command")]
    jump: Option<String>,
    /// run a shell command when a turn of 10 seconds or more has ended, in the same way
    #[argh(option, arg_name = "command")]
    on_idle: Option<String>,
}

/// Prints which sessions wait for the user, failed, are idle or work, and exits.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "SOURCE is the path of a hook socket or of files of JSON lines (several in order), \
            or - for stdin. Without SOURCE it is the running server."
)]
pub(super) struct SessionsArguments {
    /// where events come from (default: the server of --socket)
    #[argh(positional, arg_name = "source")]
    sources: Vec<PathBuf>,

    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else that of the service, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,

    /// print a JSON object for each session, one a line
    #[argh(switch)]
    json: bool,

    /// print only the sessions that wait for you, and exit with 1 if none does
    #[argh(switch)]
    waiting: bool,

    /// show only sessions whose id begins so
    #[argh(option, arg_name = "prefix", default = "String::new()")]
    session: String,
}

pub(super) fn parse_watch(
    arguments: &[OsString],
    default_socket: PathBuf,
) -> Result<WatchOptions, Exit> {
    let arguments: WatchArguments = parse_with_argh(&WATCH, &with_stdin(arguments))?;
    let format = match (arguments.lines, arguments.yaml, arguments.json) {
        (false, false, false) => None,
        (true, false, false) => Some(WatchFormat::Lines),
        (false, true, false) => Some(WatchFormat::Yaml),
        (false, false, true) => Some(WatchFormat::Json),
        _ => return Err(usage(&WATCH, "give one of --lines, --yaml and --json")),
    };
    Ok(WatchOptions {
        source: source(arguments.sources, arguments.socket, default_socket, &WATCH)?,
        format,
        filter: Filter {
            session: arguments.session,
            events: arguments.event.unwrap_or_default(),
            tools: arguments.tool.unwrap_or_default(),
        },
        notifies: arguments.notify,
        on_wait: arguments.on_wait,
        jump: arguments.jump,
        on_idle: arguments.on_idle,
    })
}

pub(super) fn parse_sessions(
    arguments: &[OsString],
    default_socket: PathBuf,
) -> Result<SessionsOptions, Exit> {
    let arguments: SessionsArguments = parse_with_argh(&SESSIONS, &with_stdin(arguments))?;
    Ok(SessionsOptions {
        source: source(
            arguments.sources,
            arguments.socket,
            default_socket,
            &SESSIONS,
        )?,
        is_json: arguments.json,
        is_waiting_only: arguments.waiting,
        session: arguments.session,
    })
}

fn with_stdin(arguments: &[OsString]) -> Vec<OsString> {
    let path = |argument: &OsString| match argument.as_encoded_bytes() {
        b"-" => STDIN.into(),
        _ => argument.clone(),
    };
    arguments.iter().map(path).collect()
}

/// Where events come from, according to the arguments of `command`.
fn source(
    paths: Vec<PathBuf>,
    socket: Option<PathBuf>,
    default_socket: PathBuf,
    command: &[&str],
) -> Result<SourceOption, Exit> {
    match socket {
        socket if paths.is_empty() => Ok(SourceOption::Server(socket.unwrap_or(default_socket))),
        None => Ok(SourceOption::Paths(paths)),
        Some(_) => Err(usage(command, "give SOURCE or --socket, not both")),
    }
}

/// Names separated by commas.
fn parse_names(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = text.split(',').map(str::to_owned).collect();
    if names.iter().any(String::is_empty) {
        return Err("give names separated by commas, such as Bash,Edit".into());
    }
    Ok(names)
}
