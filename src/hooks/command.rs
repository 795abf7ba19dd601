//! The shell command of a hook: how it is written, and how one of ours is recognised.
//!
//! The client runs each command with a shell and waits for it. So the command quotes its
//! paths, prints nothing, and succeeds also if the program or the server is gone.
//!
//! Stop 17 of EDU_NOTES.md.

use std::env;
use std::ffi::OsStr;
use std::os::unix::net::SocketAddr;
use std::path::{self, Path, PathBuf};

use super::places::find_on_path;
use crate::cli::MAX_SOCKET_PATH;
use crate::terminal::{Shown, sanitize};

/// Every command ends so, also those of earlier versions.
const SILENT_SUCCESS: &str = " >/dev/null 2>&1 || true";

/// The arguments of curl before and after the socket. `-q` must be the first: it makes curl
/// ignore `~/.curlrc`. `--data-binary`, since `-d` removes newlines.
const CURL: [&str; 2] = [
    "curl -q -s --connect-timeout 0.5 --max-time 1 --unix-socket ",
    " -X POST -H 'Content-Type: application/json' --data-binary @- 'http://localhost/hook?event=",
];

/// The program whose name commands contain.
const PROGRAM: &str = "hooks-observatory";

/// Writes the commands of hooks.
#[derive(Debug)]
pub struct Sender {
    /// The path of this program in quotes. `None`: curl sends.
    program: Option<String>,
    /// The path of the socket in quotes.
    socket: String,
    /// The option of `send` that names the host, or nothing.
    host: String,
}

impl Sender {
    /// This program sends. Like [`Sender::curl`] it checks the paths: hooks report nothing.
    pub fn this_program(socket: &Path, host: Option<&str>) -> Result<Sender, String> {
        let host = host.map(|host| format!(" --host {}", quote_text(host)));
        Ok(Sender {
            program: Some(quote(&program_path()?)?),
            host: host.unwrap_or_default(),
            ..Sender::curl(socket)?
        })
    }

    /// curl sends.
    pub fn curl(socket: &Path) -> Result<Sender, String> {
        Ok(Sender {
            program: None,
            socket: quote(&absolute_socket(socket)?)?,
            host: String::new(),
        })
    }

    /// The command that sends `event`.
    pub fn command(&self, event: &str) -> String {
        let (socket, host) = (&self.socket, &self.host);
        let [before, after] = CURL;
        match &self.program {
            Some(program) => {
                format!("{program} send {event} --socket {socket}{host}{SILENT_SUCCESS}")
            }
            None => format!("{before}{socket}{after}{event}'{SILENT_SUCCESS}"),
        }
    }
}

/// A command that this program wrote, now or in an earlier version.
#[derive(Debug, PartialEq)]
pub struct OurCommand {
    /// `None`: curl sends.
    pub program: Option<PathBuf>,
    pub socket: PathBuf,
    /// The host that each event names.
    pub host: Option<String>,
}

/// Recognises the commands of every version:
///
/// - `'PATH/hooks-observatory' send EVENT --socket 'PATH' >/dev/null 2>&1 || true`, also with
///   `--host 'NAME'` after the socket
/// - the command with curl, also without `-q`
///
/// A program with another name counts if this one runs under that name too.
pub fn recognise(command: &str) -> Option<OurCommand> {
    let words = words(command.strip_suffix(SILENT_SUCCESS)?)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    if let [program, "send", _, "--socket", socket, ref rest @ ..] = words[..] {
        let host = match *rest {
            [] => None,
            ["--host", host] => Some(host.to_owned()),
            _ => return None,
        };
        return is_this_program(Path::new(program)).then(|| OurCommand {
            program: Some(program.into()),
            socket: socket.into(),
            host,
        });
    }
    let option = words.iter().position(|word| *word == "--unix-socket")?;
    let socket = words.get(option + 1)?;
    let event = words.last()?.rsplit_once("?event=")?.1;
    let by_curl = Sender {
        program: None,
        socket: quote(Path::new(socket)).ok()?,
        host: String::new(),
    };
    let current = by_curl.command(event);
    let earlier = current.replacen("curl -q ", "curl ", 1);
    (command == current || command == earlier).then(|| OurCommand {
        program: None,
        socket: socket.into(),
        host: None,
    })
}

fn is_this_program(path: &Path) -> bool {
    let name = path.file_name();
    let is_named = |argument: PathBuf| name.is_some() && argument.file_name() == name;
    name == Some(OsStr::new(PROGRAM)) || first_argument().is_some_and(is_named)
}

/// The name by which this program was started.
fn first_argument() -> Option<PathBuf> {
    env::args_os().next().map(PathBuf::from)
}

/// The path by which this program was started. An upgrade keeps it valid where
/// `current_exe` would name the replaced file, behind the symlink of a package manager.
pub fn program_path() -> Result<PathBuf, String> {
    let error = |reason: &str| format!("cannot find the path of this program: {reason}");
    let name = first_argument().ok_or_else(|| error("it was started without a name"))?;
    let found = if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        Some(name.clone())
    } else {
        find_on_path(&name)
    };
    let found = found.ok_or_else(|| {
        let shown = Shown(&name);
        error(&format!("{shown} is not on the PATH. Start it by its path"))
    })?;
    path::absolute(found).map_err(|reason| error(&reason.to_string()))
}

/// The socket's path from any directory. A path that no socket can have is an error now.
pub fn absolute_socket(path: &Path) -> Result<PathBuf, String> {
    let path = path::absolute(path)
        .map_err(|error| format!("cannot make {} absolute: {error}", Shown(path)))?;
    match SocketAddr::from_pathname(&path) {
        Ok(_) => Ok(path),
        Err(_) => Err(format!(
            "the path {} is too long for a socket ({MAX_SOCKET_PATH} bytes at most): choose a shorter \
             one",
            Shown(&path)
        )),
    }
}

/// Where hooks send their events, and as which host, for a person.
pub fn destination(socket: &Path, host: Option<&str>) -> String {
    let host = host.map(|host| format!(" as host {}", sanitize(host)));
    format!("{}{}", Shown(socket), host.unwrap_or_default())
}

/// A path as one word of a shell command.
fn quote(path: &Path) -> Result<String, String> {
    let text = path.to_str().ok_or_else(|| {
        format!(
            "{} is not UTF-8, as JSON requires: choose another path",
            Shown(path)
        )
    })?;
    Ok(quote_text(text))
}

/// A text as one word of a shell command. In single quotes every character but the quote
/// stands for itself (POSIX, Shell Command Language, section 2.2.2).
pub fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The words of a simple command that uses no quoting but that of [`quote`]. `None` if it
/// contains anything else that a shell would interpret.
fn words(command: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut chars = command.chars();
    while let Some(char) = chars.next() {
        let word = words.last_mut()?;
        match char {
            '\'' => loop {
                match chars.next()? {
                    '\'' => break,
                    char => word.push(char),
                }
            },
            '\\' => word.push(chars.next()?),
            ' ' => words.push(String::new()),
            '-' | '_' | '.' | ',' | '/' | ':' | '@' | '=' | '+' => word.push(char),
            char if char.is_alphanumeric() => word.push(char),
            _ => return None,
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sender(program: Option<&str>, socket: &str, host: Option<&str>) -> Sender {
        let quote = |path: &str| quote(Path::new(path)).unwrap();
        let host = host.map(|host| format!(" --host {}", quote_text(host)));
        Sender {
            program: program.map(quote),
            socket: quote(socket),
            host: host.unwrap_or_default(),
        }
    }

    proptest! {
        #[test]
        fn every_command_is_recognised_whatever_its_paths(
            folder in "(/\\PC{0,9}){1,3}",
            socket in "(/[^\0]{0,9}){1,3}",
            event in "[A-Za-z]{1,20}",
            has_program: bool,
            host in proptest::option::of("[^\0]{1,9}"),
        ) {
            let host = host.filter(|_| has_program);
            let program = has_program.then(|| format!("{folder}/{PROGRAM}"));
            let expected = OurCommand {
                program: program.clone().map(PathBuf::from),
                socket: PathBuf::from(&socket),
                host: host.clone(),
            };
            let command = sender(program.as_deref(), &socket, host.as_deref()).command(&event);
            prop_assert_eq!(recognise(&command), Some(expected));
        }

        #[test]
        fn no_command_panics(command in "\\PC*") {
            let _ = recognise(&(command + SILENT_SUCCESS));
        }
    }

    #[test]
    fn other_commands_are_not_ours() {
        for command in [
            "",
            "true",
            " >/dev/null 2>&1 || true",
            "hooks-observatory send Stop",
            "'/bin/hooks-observatory' send Stop --socket '/x' -v >/dev/null 2>&1 || true",
            "'/bin/hooks-observatory' send Stop --socket '/x' --host >/dev/null 2>&1 || true",
            "'/bin/hooks-observatory' send Stop --socket '/x' --host a b >/dev/null 2>&1 || true",
            "'/bin/hooks-observatory' send Stop --socket '/x'; rm x >/dev/null 2>&1 || true",
            "'/bin/hooks-observatory' send Stop --socket \"$X\" >/dev/null 2>&1 || true",
            "'/bin/other' send Stop --socket '/x' >/dev/null 2>&1 || true",
            "echo '/bin/hooks-observatory' send Stop --socket '/x' >/dev/null 2>&1 || true",
            "curl -s --unix-socket '/x' -d @- 'http://localhost/hook?event=Stop' >/dev/null 2>&1 || true",
            "curl --unix-socket >/dev/null 2>&1 || true",
            "'/bin/hooks-observatory' send Stop --socket '/x >/dev/null 2>&1 || true",
        ] {
            assert_eq!(recognise(command), None, "{command}");
        }
    }
}
