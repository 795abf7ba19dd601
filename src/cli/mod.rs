//! The command line: which command to run, and with which options.
//!
//! Without a subcommand the program serves (`serve.rs`). `send`, `hooks`, `watch` and
//! `sessions` (`watch.rs`) are subcommands with options of their own. `argh` parses them all;
//! `parser.rs` calls it, and `argparse.rs` adds what Python's argparse does and `argh` does not.
//!
//! This folder only reads arguments: it opens nothing and prints nothing. `main.rs` may still
//! change the server's options: a service manager's sockets replace paths, and a terminal
//! turns on colours.
//!
//! Stop 2 of EDU_NOTES.md.

mod argparse;
mod hooks;
mod parser;
mod send;
mod serve;
mod version;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;

pub use self::hooks::{Change, HooksAction, HooksOptions, Scope, WORKTREE_CREATE};
pub use self::parser::Exit;
pub use self::parser::nearest;
use self::parser::without_code_2;
pub use self::send::SendOptions;
pub use self::serve::ServerOptions;
pub use self::version::Version;
pub use self::watch::{Filter, STDIN, SessionsOptions, SourceOption, WatchFormat, WatchOptions};

/// The environment variable that names the hook socket if `--socket` does not.
pub const SOCKET_VARIABLE: &str = "CLAUDE_UNIX_HOOK_WATCHER";
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
    Watch(WatchOptions),
    Sessions(SessionsOptions),
}

/// Parses `arguments`, of which the first is the program's name. `socket_variable`
/// is the value of [`SOCKET_VARIABLE`].
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    socket_variable: Option<OsString>,
) -> Result<Command, Exit> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let default_socket = default_socket(socket_variable);
    match arguments.first().and_then(|first| first.to_str()) {
        Some("send") => {
            let options = send::parse(&arguments[1..], default_socket);
            options.map(Command::Send).map_err(without_code_2)
        }
        Some("hooks") => hooks::parse(&arguments[1..], default_socket).map(Command::Hooks),
        Some("watch") => watch::parse_watch(&arguments[1..], default_socket).map(Command::Watch),
        Some("sessions") => {
            watch::parse_sessions(&arguments[1..], default_socket).map(Command::Sessions)
        }
        Some("help") => parse(with(&arguments[1..], "--help"), None),
        Some("version" | "-V") => parse(with(&[], "--version"), None),
        _ => serve::parse(&arguments, default_socket).map(Command::Serve),
    }
}

/// The program's name, these arguments, and another one.
fn with(arguments: &[OsString], last: &str) -> Vec<OsString> {
    let program = OsString::from("hooks-observatory");
    let arguments = [&[program], arguments].concat();
    arguments.into_iter().chain([last.into()]).collect()
}

/// The hook socket, if no option says which. `variable` is the value of [`SOCKET_VARIABLE`].
pub fn default_socket(variable: Option<OsString>) -> PathBuf {
    match variable {
        Some(path) if !path.is_empty() => path.into(),
        _ => DEFAULT_SOCKET.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_lists_its_options_that_take_a_value() {
        for (command, valued) in [
            (&[][..], &serve::VALUED[..]),
            (&["send"], &send::VALUED),
            (&["hooks"], &hooks::VALUED),
            (&["watch"], &watch::WATCH_VALUED),
            (&["sessions"], &watch::SESSIONS_VALUED),
        ] {
            let arguments = [&["hooks-observatory"], command, &["--help"]].concat();
            let Err(Exit::Print(help)) = parse(arguments.iter().map(OsString::from), None) else {
                panic!()
            };
            let usage = help.lines().next().unwrap();
            // The positional argument follows `[--]`.
            let usage = usage.split("[--]").next().unwrap();
            let options = usage
                .split('[')
                .filter_map(|option| option.split_once(" <"));
            let names: Vec<_> = options.map(|(name, _)| name).collect();
            assert_eq!(names, valued);
        }
    }
}
