//! The command line: what a user may ask for, and what is said to one who asks wrongly.
//!
//! `argh` reads the options. Two habits of argparse, which the users of the
//! Python server have in their scripts, `argh` lacks: `--name=value`, and that
//! the last of a repeated option wins. `normalize` gives it the arguments as
//! if nobody had used either.
//!
//! On a first reading, [`Options`] is all that matters here.
//!
//! Stop 1 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use argh::FromArgs;

use crate::format::Format;

/// The environment variable that names the hook socket where `--socket` does not.
pub const SOCKET_VARIABLE: &str = "CLAUDE_UNIX_HOOK_WATCHER";
const DEFAULT_SOCKET: &str = "/tmp/claude-observatory.sock";

/// What the program is to do.
#[derive(Debug)]
pub enum Task {
    Serve(Options),
    Send(Sending),
    PrintHooks(Printing),
}

/// What [`send`](crate::send) is to send.
#[derive(Debug)]
pub struct Sending {
    /// Where the server listens.
    pub socket: PathBuf,
    /// The event's name, as it is: not yet fit for a query.
    pub event: String,
    /// Whether stderr is told how that went.
    pub is_verbose: bool,
}

/// What [`settings`](crate::settings) is to print.
#[derive(Debug)]
pub struct Printing {
    /// Where the server will listen.
    pub socket: PathBuf,
    /// The events to be sent; `None` is all.
    pub events: Option<Vec<String>>,
    /// Whether curl sends them, and not this program.
    pub by_curl: bool,
}

/// Everything that the server lets its user decide.
#[derive(Debug)]
pub struct Options {
    /// Where hooks are posted.
    pub socket: PathBuf,
    /// Permissions of the hook socket's file, as for chmod(1), up to 0o777.
    pub mode: u32,
    /// Where readers connect, if anywhere.
    pub output_socket: Option<PathBuf>,
    /// Permissions of the output socket's file.
    pub output_mode: u32,
    /// Whether stdout gets the events.
    pub stdout: bool,
    /// How events are written.
    pub format: Format,
    /// Bytes of events that may wait in memory for slow sinks.
    pub buffer: usize,
    /// Bytes of one request's body that are kept.
    pub max_body: u64,
    /// How long a client may take for a whole request.
    pub timeout: Duration,
    /// Whether the server tells on stderr what it does.
    pub trace: bool,
}

/// Why there is no [`Task`].
#[derive(Debug, PartialEq)]
pub enum Stop {
    /// The user asked for help or for the version, and this is it: stdout, exit 0.
    Answer(String),
    /// The options make no sense: stderr, exit 2.
    Usage(String),
    /// They make no sense, and the exit code must be 1. `--tee` without an output
    /// socket: so the Python server has it. `--send`: to Claude Code a hook that exits
    /// with 2 forbids what it was told of.
    Refused(String),
}

/// Shows, live, what Claude Code is doing: hooks are posted to one Unix socket,
/// events come out as JSON lines on stdout or on a second socket.
#[derive(FromArgs)]
#[argh(help_triggers("-h", "--help"))]
struct CommandLine {
    /// where hooks are posted (default: $CLAUDE_UNIX_HOOK_WATCHER, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<String>,

    /// permissions of the hook socket (default: 0660)
    #[argh(option, arg_name = "octal", from_str_fn(octal), default = "0o660")]
    mode: u32,

    /// where readers connect to receive every event; stdout then gets nothing
    #[argh(option, arg_name = "path")]
    output_socket: Option<String>,

    /// permissions of the output socket (default: 0600)
    #[argh(option, arg_name = "octal", from_str_fn(octal), default = "0o600")]
    output_mode: u32,

    /// with an output socket: write to stdout as well
    #[argh(switch)]
    tee: bool,

    /// write indented JSON instead of a line an event
    #[argh(switch)]
    pretty_json: bool,

    /// write YAML, for people
    #[argh(switch)]
    pretty_yaml: bool,

    /// write the essence of each event on one line, for people
    #[argh(switch)]
    pretty_line: bool,

    /// bytes of events that wait in memory for slow readers (default: 67108864)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes), default = "64 << 20")]
    buffer: usize,

    /// bytes of body in one request, at most (default: 67108864)
    #[argh(option, arg_name = "bytes", from_str_fn(bytes), default = "64 << 20")]
    max_body: usize,

    /// seconds that a client may take for a whole request (default: 10)
    #[argh(
        option,
        arg_name = "seconds",
        from_str_fn(seconds),
        default = "Duration::from_secs(10)"
    )]
    timeout: Duration,

    /// tell on stderr what the server does, a line a step (RUST_LOG chooses what)
    #[argh(switch)]
    trace: bool,

    /// do not serve: post the payload on stdin to the socket as this event, say nothing, exit with 0
    #[argh(option, arg_name = "event")]
    send: Option<String>,

    /// with --send: say on stderr whether the event was taken, and why if not
    #[argh(switch, short = 'v')]
    verbose: bool,

    /// do not serve: print Claude Code settings that send every event to the socket
    #[argh(switch)]
    print_hooks: bool,

    /// with --print-hooks: only these events, such as PreToolUse,Stop
    #[argh(option, arg_name = "names", from_str_fn(events))]
    events: Option<Vec<String>>,

    /// with --print-hooks: have curl send them, where this program is not installed
    #[argh(switch)]
    curl: bool,

    /// print the version
    #[argh(switch)]
    version: bool,
}

/// The options of [`CommandLine`] that are followed by a value.
const VALUED: [&str; 9] = [
    "--socket",
    "--mode",
    "--output-socket",
    "--output-mode",
    "--buffer",
    "--max-body",
    "--timeout",
    "--send",
    "--events",
];

/// Reads the arguments (the program's name first) and the value of [`SOCKET_VARIABLE`].
pub fn parse(
    arguments: impl IntoIterator<Item = OsString>,
    socket_variable: Option<OsString>,
) -> Result<Task, Stop> {
    let arguments: Vec<OsString> = arguments.into_iter().skip(1).collect();
    let is_hook = arguments
        .iter()
        .any(|argument| argument.as_encoded_bytes().starts_with(b"--send"));
    read(arguments, socket_variable).map_err(|stop| match stop {
        Stop::Usage(text) if is_hook => Stop::Refused(text.trim_end().into()),
        stop => stop,
    })
}

fn read(arguments: Vec<OsString>, socket_variable: Option<OsString>) -> Result<Task, Stop> {
    let arguments = arguments
        .into_iter()
        .map(|argument| argument.into_string())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|odd| Stop::Usage(format!("{odd:?} is not UTF-8\n")))?;
    let arguments = normalize(arguments)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let line =
        CommandLine::from_args(&["hooks-observatory"], &arguments).map_err(|early| match early
            .status
        {
            Ok(()) => Stop::Answer(early.output),
            Err(()) => Stop::Usage(early.output),
        })?;
    if line.version {
        let version = env!("CARGO_PKG_VERSION");
        return Err(Stop::Answer(format!("hooks-observatory {version}\n")));
    }
    task(line, socket_variable)
}

fn task(mut line: CommandLine, socket_variable: Option<OsString>) -> Result<Task, Stop> {
    let (sends, prints) = (line.send.is_some(), line.print_hooks);
    for (option, is_given, other, fits) in [
        ("--print-hooks", prints, "without --send", !sends),
        ("--verbose", line.verbose, "with --send", sends),
        (
            "--events",
            line.events.is_some(),
            "with --print-hooks",
            prints,
        ),
        ("--curl", line.curl, "with --print-hooks", prints),
    ] {
        if is_given && !fits {
            return Err(Stop::Usage(format!("{option} can be given {other} only\n")));
        }
    }
    let socket = line
        .socket
        .take()
        .map(PathBuf::from)
        .or(socket_variable
            .filter(|path| !path.is_empty())
            .map(PathBuf::from))
        .unwrap_or(DEFAULT_SOCKET.into());
    if let Some(event) = line.send {
        let is_verbose = line.verbose;
        return Ok(Task::Send(Sending {
            socket,
            event,
            is_verbose,
        }));
    }
    if line.print_hooks {
        return Ok(Task::PrintHooks(Printing {
            socket,
            events: line.events,
            by_curl: line.curl,
        }));
    }
    options(line, socket).map(Task::Serve)
}

fn options(line: CommandLine, socket: PathBuf) -> Result<Options, Stop> {
    let format = match (line.pretty_json, line.pretty_yaml, line.pretty_line) {
        (false, false, false) => Format::Compact,
        (true, false, false) => Format::PrettyJson,
        (false, true, false) => Format::PrettyYaml { colour: false },
        (false, false, true) => Format::PrettyLine {
            colour: false,
            cut: false,
        },
        _ => {
            return Err(Stop::Usage(
                "--pretty-json, --pretty-yaml and --pretty-line exclude each other: \
                 give one of them\n"
                    .into(),
            ));
        }
    };
    if line.tee && line.output_socket.is_none() {
        return Err(Stop::Refused("--tee requires --output-socket".into()));
    }
    let output_socket = line.output_socket.map(PathBuf::from);
    if output_socket.as_ref() == Some(&socket) {
        let path = socket.display();
        return Err(Stop::Usage(format!(
            "--socket and --output-socket are both {path}: give them two paths\n"
        )));
    }
    Ok(Options {
        socket,
        mode: line.mode,
        stdout: output_socket.is_none() || line.tee,
        output_socket,
        output_mode: line.output_mode,
        format,
        buffer: line.buffer,
        max_body: line.max_body as u64,
        timeout: line.timeout,
        trace: line.trace,
    })
}

/// `0660`, `660` and `0o660` are the same permissions.
fn octal(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && digits.starts_with(|c: char| c.is_ascii_digit()) => Ok(mode),
        _ => Err("give octal digits up to 0777, such as 0660".into()),
    }
}

fn bytes(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "give a whole number of bytes, such as 67108864".into())
}

/// Fractions are allowed; no time at all, and more than anybody waits, are not.
fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..1e9).contains(seconds));
    let seconds = seconds.map(Duration::from_secs_f64);
    seconds.ok_or("give a number of seconds from 0.001 up, such as 10".into())
}

/// Names between commas, each once. There may be others than the client has today:
/// it passes over those that it does not know.
fn events(text: &str) -> Result<Vec<String>, String> {
    let mut events: Vec<String> = Vec::new();
    for name in text.split(',') {
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err("give names of events with commas between, such as PreToolUse,Stop".into());
        }
        if name == "WorktreeCreate" {
            return Err(
                "a hook for WorktreeCreate replaces the client's own making of worktrees, \
                 and who only watches must not do that: leave it out"
                    .into(),
            );
        }
        if !events.iter().any(|event| event == name) {
            events.push(name.into());
        }
    }
    Ok(events)
}

/// Takes `--name=value` apart and keeps the last of each repeated option.
fn normalize(arguments: Vec<String>) -> Result<Vec<String>, Stop> {
    let mut options: Vec<(String, Option<String>)> = Vec::new();
    let mut arguments = arguments.into_iter();
    while let Some(argument) = arguments.next() {
        let option = match argument.split_once('=') {
            Some((name, value)) if VALUED.contains(&name) => (name.into(), Some(value.into())),
            _ if VALUED.contains(&argument.as_str()) => {
                let value = arguments.next().unwrap_or_default();
                if value.starts_with('-') {
                    return Err(Stop::Usage(format!(
                        "{argument} needs a value, and {value} looks like an option: \
                         if it is the value, write {argument}={value}"
                    )));
                }
                (argument, Some(value))
            }
            _ => (argument, None),
        };
        if option.1.as_ref().is_some_and(String::is_empty) {
            return Err(Stop::Usage(format!("{} needs a value", option.0)));
        }
        options.retain(|(name, _)| *name != option.0);
        options.push(option);
    }
    Ok(options
        .into_iter()
        .flat_map(|(name, value)| [Some(name), value])
        .flatten()
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str]) -> Result<Task, Stop> {
        parse(
            ["hooks-observatory"]
                .iter()
                .chain(arguments)
                .map(OsString::from),
            None,
        )
    }

    fn served(arguments: &[&str]) -> Options {
        match given(arguments) {
            Ok(Task::Serve(options)) => options,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_mode_is_octal_however_it_is_prefixed() {
        for text in ["0600", "600", "0o600"] {
            assert_eq!(octal(text), Ok(0o600));
        }
        for text in ["", "0o", "9", "rw", "01000", "-600", "+600"] {
            assert!(octal(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_value_may_follow_an_equals_sign_and_hold_more_of_them() {
        let options = served(&["--socket=/tmp/a=b", "--mode=0600"]);
        assert_eq!((options.socket, options.mode), ("/tmp/a=b".into(), 0o600));
    }

    #[test]
    fn the_last_of_a_repeated_option_wins() {
        let options = served(&[
            "--socket",
            "/a",
            "--pretty-json",
            "--socket=/b",
            "--pretty-json",
        ]);
        assert_eq!(options.socket, PathBuf::from("/b"));
    }

    #[test]
    fn an_option_is_no_value() {
        for arguments in [&["--socket", "--tee"][..], &["--socket"], &["--socket="]] {
            let Err(Stop::Usage(said)) = given(arguments) else {
                panic!("{arguments:?}")
            };
            assert!(said.starts_with("--socket needs a value"), "{said}");
        }
    }

    #[test]
    fn every_option_that_takes_a_value_is_known_to_do_so() {
        let Err(Stop::Answer(help)) = given(&["--help"]) else {
            panic!()
        };
        let usage = help.lines().next().unwrap();
        let valued: Vec<_> = usage
            .split('[')
            .filter_map(|option| option.split_once(" <"))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(valued, VALUED);
    }
}
