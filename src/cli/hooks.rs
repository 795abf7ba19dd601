//! The options of `hooks-observatory hooks`.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use argh::{ArgsInfo, FromArgs};
use rustix::system::uname;

use super::parser::{Exit, parse_with_argh, usage};
use super::version::Version;

const COMMAND: [&str; 2] = ["hooks-observatory", "hooks"];

/// A hook for this event replaces the client's own creation of worktrees, which an
/// observer must not do.
pub const WORKTREE_CREATE: &str = "WorktreeCreate";

/// What [`hooks`](crate::hooks) does.
#[derive(Debug)]
pub struct HooksOptions {
    pub action: HooksAction,
    /// The path of the hook socket.
    pub socket: PathBuf,
    /// The one that the other commands of this shell use without `--socket`.
    pub shell_socket: PathBuf,
    /// The version of the client. `None`: the oldest that is installed.
    pub client: Option<Version>,
    /// The names of the events to send. `None`: all that the client knows.
    pub events: Option<Vec<String>>,
    /// The host that each event is to name.
    pub host: Option<String>,
    /// Whether the hooks run curl instead of this program.
    pub uses_curl: bool,
}

#[derive(Debug, PartialEq)]
pub enum HooksAction {
    Print,
    Install(Change),
    Remove(Change),
    Status,
}

/// A change of a settings file.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub scope: Scope,
    /// Whether to show the change only.
    pub is_dry_run: bool,
    /// Whether not to ask the user.
    pub is_confirmed: bool,
}

/// Which settings file.
#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    /// For all sessions of the user.
    User,
    /// For the user's sessions in the current directory.
    Project,
    File(PathBuf),
}

/// Prints Claude Code settings that send every event to the hook socket, or installs them.
#[derive(FromArgs, ArgsInfo)]
#[argh(help_triggers("-h", "--help"))]
pub(super) struct Arguments {
    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else that of the service, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,

    /// send only these events, such as PreToolUse,Stop (default: all that the client knows)
    #[argh(option, arg_name = "names", from_str_fn(parse_event_names))]
    events: Option<Vec<String>>,

    /// version of Claude Code, such as 2.1.119 (default: the oldest that is installed)
    #[argh(option, arg_name = "version", from_str_fn(version))]
    client: Option<Version>,

    /// name of this machine, for a server that several send to: each event has it as _host (default without a name: this machine's own)
    #[argh(option, arg_name = "name")]
    host: Option<String>,

    /// use curl to send events, where this program is not installed
    #[argh(switch)]
    curl: bool,

    /// add the hooks to a settings file, and replace those that are there
    #[argh(switch)]
    install: bool,

    /// remove the hooks from a settings file
    #[argh(switch)]
    remove: bool,

    /// say which hooks are installed, and whether a server answers
    #[argh(switch)]
    status: bool,

    /// the settings file for all sessions (default): settings.json in $CLAUDE_CONFIG_DIR, else in ~/.claude
    #[argh(switch)]
    user: bool,

    /// the settings file for this directory: .claude/settings.local.json
    #[argh(switch)]
    project: bool,

    /// another settings file
    #[argh(option, arg_name = "path")]
    file: Option<PathBuf>,

    /// with --install or --remove: show the change as a diff, and write nothing
    #[argh(switch)]
    dry_run: bool,

    /// with --install or --remove: do not ask. Without a terminal nothing changes otherwise
    #[argh(switch)]
    yes: bool,
}

pub(super) fn parse(arguments: &[OsString], default_socket: PathBuf) -> Result<HooksOptions, Exit> {
    let arguments = with_host_name(arguments);
    let arguments: Arguments = parse_with_argh(&COMMAND, &arguments)?;
    if arguments.curl && arguments.host.is_some() {
        return Err(usage(
            &COMMAND,
            "curl cannot add a host to a payload: leave out --curl or --host",
        ));
    }
    Ok(HooksOptions {
        action: action(&arguments).map_err(|error| usage(&COMMAND, error))?,
        socket: arguments.socket.unwrap_or_else(|| default_socket.clone()),
        shell_socket: default_socket,
        client: arguments.client,
        events: arguments.events,
        host: arguments.host,
        uses_curl: arguments.curl,
    })
}

/// Gives a `--host` without a name that of this machine (uname(2)). argh has no options whose value
/// may be missing.
fn with_host_name(arguments: &[OsString]) -> Vec<OsString> {
    let mut named = arguments.to_vec();
    for (index, argument) in named.iter_mut().enumerate() {
        let next = arguments.get(index + 1);
        let has_no_name = next.is_none_or(|next| next.as_encoded_bytes().starts_with(b"-"));
        if argument == "--host" && has_no_name {
            argument.push("=");
            argument.push(OsStr::from_bytes(uname().nodename().to_bytes()));
        }
    }
    named
}

fn action(arguments: &Arguments) -> Result<HooksAction, &'static str> {
    let has_change_option = arguments.user
        || arguments.project
        || arguments.file.is_some()
        || arguments.dry_run
        || arguments.yes;
    match (arguments.install, arguments.remove, arguments.status) {
        (true, false, false) => Ok(HooksAction::Install(change(arguments)?)),
        (false, true, false) => Ok(HooksAction::Remove(change(arguments)?)),
        (false, false, _) if has_change_option => {
            Err("--user, --project, --file, --dry-run and --yes need --install or --remove")
        }
        (false, false, true) => Ok(HooksAction::Status),
        (false, false, false) => Ok(HooksAction::Print),
        _ => Err("give one of --install, --remove and --status"),
    }
}

fn change(arguments: &Arguments) -> Result<Change, &'static str> {
    let scope = match (arguments.user, arguments.project, &arguments.file) {
        (_, false, None) => Scope::User,
        (false, true, None) => Scope::Project,
        (false, false, Some(path)) => Scope::File(path.clone()),
        _ => return Err("give one of --user, --project and --file"),
    };
    Ok(Change {
        scope,
        is_dry_run: arguments.dry_run,
        is_confirmed: arguments.yes,
    })
}

fn version(text: &str) -> Result<Version, String> {
    Version::parse(text).ok_or_else(|| "give a version such as 2.1.119".into())
}

/// Names separated by commas; a repeated one counts once.
fn parse_event_names(text: &str) -> Result<Vec<String>, String> {
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
