//! The command line: which command to run, and with which options.
//!
//! Without a subcommand the program serves (`serve.rs`). `send`, `hooks`, `service`, `watch` and
//! `sessions` (`watch.rs`) are subcommands with options of their own. `argh` parses them all;
//! `parser.rs` calls it, and `argparse.rs` adds what Python's argparse does and `argh` does not.
//! `completions.rs` and `man.rs` make texts of what `argh` knows of all of them.
//!
//! This folder only reads arguments: it opens nothing and prints nothing. `main.rs` may still
//! change the server's options: a service manager's sockets replace paths, and a terminal
//! turns on colours.
//!
//! Stop 2 of EDU_NOTES.md.

mod argparse;
mod completions;
mod hooks;
mod man;
mod parser;
mod send;
mod serve;
mod service;
mod version;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

use argh::{ArgsInfo, CommandInfoWithArgs, SubCommandInfo};

pub use self::hooks::{Change, HooksAction, HooksOptions, Scope, WORKTREE_CREATE};
pub use self::parser::Exit;
pub use self::parser::nearest;
use self::parser::without_code_2;
pub use self::send::SendOptions;
pub use self::serve::ServerOptions;
pub use self::service::{ServiceAction, ServiceOptions};
pub use self::version::Version;
pub use self::watch::{Filter, STDIN, SessionsOptions, SourceOption, WatchFormat, WatchOptions};

/// The environment variable that names the hook socket if `--socket` does not.
pub const SOCKET_VARIABLE: &str = "CLAUDE_UNIX_HOOK_WATCHER";
const PROGRAM: &str = "hooks-observatory";
const DEFAULT_SOCKET: &str = "/tmp/claude-observatory.sock";
/// The longest path of a socket, in bytes without the NUL: 107 on Linux (unix(7)), 103 on macOS.
pub const MAX_SOCKET_PATH: usize =
    size_of::<libc::sockaddr_un>() - std::mem::offset_of!(libc::sockaddr_un, sun_path) - 1;

/// The command that the user chose.
#[derive(Debug)]
pub enum Command {
    Serve(ServerOptions),
    Send(SendOptions),
    Hooks(HooksOptions),
    Service(ServiceOptions),
    Watch(WatchOptions),
    Sessions(SessionsOptions),
}

/// Parses `arguments`, of which the first is the program's name. `socket_variable`
/// is the value of [`SOCKET_VARIABLE`], and `service_socket` the hook socket of the user's service,
/// if there is one.
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    socket_variable: Option<OsString>,
    service_socket: Option<PathBuf>,
) -> Result<Command, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let is_unset = socket_variable.as_ref().is_none_or(|path| path.is_empty());
    let server_socket = default_socket(socket_variable);
    // The server's own default is that of the Python server.
    let default_socket = service_socket.filter(|_| is_unset);
    let default_socket = default_socket.unwrap_or_else(|| server_socket.clone());
    match arguments.first().and_then(|first| first.to_str()) {
        Some("send") => {
            let options = send::parse(&arguments[1..], default_socket);
            options.map(Command::Send).map_err(without_code_2)
        }
        Some("hooks") => hooks::parse(&arguments[1..], default_socket).map(Command::Hooks),
        Some("service") => service::parse(&arguments[1..]).map(Command::Service),
        Some("watch") => watch::parse_watch(&arguments[1..], default_socket).map(Command::Watch),
        Some("sessions") => {
            watch::parse_sessions(&arguments[1..], default_socket).map(Command::Sessions)
        }
        Some("completions") => Err(completions::parse(&arguments[1..], &description())),
        Some("man") => Err(man::parse(&arguments[1..], &description())),
        Some("help") => parse(with(&arguments[1..], "--help"), None, None),
        Some("version" | "-V") => parse(with(&[], "--version"), None, None),
        _ => serve::parse(&arguments, server_socket).map(Command::Serve),
    }
}

/// The program's name, these arguments, and another one.
fn with(arguments: &[OsString], last: &str) -> Vec<OsString> {
    let program = OsString::from(PROGRAM);
    let arguments = [&[program], arguments].concat();
    arguments.into_iter().chain([last.into()]).collect()
}

/// The hook socket of a server, if no option says which. `variable` is the value of [`SOCKET_VARIABLE`].
pub fn default_socket(variable: Option<OsString>) -> PathBuf {
    match variable {
        Some(path) if !path.is_empty() => path.into(),
        _ => DEFAULT_SOCKET.into(),
    }
}

/// What `argh` knows of the command line: the server's options, and the subcommands with theirs.
fn description() -> CommandInfoWithArgs {
    let named = |name, command| SubCommandInfo {
        name,
        command: CommandInfoWithArgs { name, ..command },
    };
    CommandInfoWithArgs {
        name: PROGRAM,
        commands: vec![
            named("send", send::Arguments::get_args_info()),
            named("hooks", hooks::Arguments::get_args_info()),
            named("service", service::Arguments::get_args_info()),
            named("sessions", watch::SessionsArguments::get_args_info()),
            named("watch", watch::WatchArguments::get_args_info()),
            named("completions", completions::Arguments::get_args_info()),
            named("man", man::Arguments::get_args_info()),
        ],
        ..serve::Arguments::get_args_info()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subcommands_that_are_suggested_are_those_that_there_are() {
        let described = description().commands;
        let described: Vec<&str> = described.iter().map(|command| command.name).collect();
        assert_eq!(described, parser::SUBCOMMANDS);
    }
}
