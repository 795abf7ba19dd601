//! The server's options: those of the Python server, and those that this one adds.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use argh::{ArgsInfo, FromArgs};

use super::parser::{Exit, parse_with_argh, usage};
use crate::format::Format;
use crate::terminal::Shown;

const COMMAND: [&str; 1] = ["hooks-observatory"];

/// The server's options.
#[derive(Debug)]
pub struct ServerOptions {
    /// The path of the hook socket, where clients post hooks.
    pub socket: PathBuf,
    /// Permissions of the hook socket's file, as for chmod(1), up to 0o777.
    pub mode: u32,
    /// The path of the output socket, where readers connect. `None`: no such socket.
    pub output_socket: Option<PathBuf>,
    /// Permissions of the output socket's file.
    pub output_mode: u32,
    /// Whether events are written to stdout.
    pub stdout: bool,
    /// The format of events on stdout and on the output socket.
    pub format: Format,
    /// Bytes of events that may wait in memory for slow sinks.
    pub buffer: usize,
    /// Bytes of past events that are kept for readers of live events.
    pub history: usize,
    /// The largest body of a request, in bytes.
    pub max_body: u64,
    /// Bytes that the bodies in flight may take together.
    pub max_inflight: usize,
    /// The time that a client has for a whole request.
    pub timeout: Duration,
    /// Whether the server traces its steps on stderr.
    pub trace: bool,
}

/// Shows, live, what Claude Code is doing: receives its hooks on one Unix socket,
/// and writes events as JSON lines to stdout or to a second socket.
#[derive(FromArgs, ArgsInfo)]
#[argh(
    help_triggers("-h", "--help"),
    note = "Without a subcommand, {command_name} is the server. Its subcommands:\n\n  \
            {command_name} send EVENT   post the payload on stdin as this event\n  \
            {command_name} hooks        print Claude Code settings that send every event\n  \
            {command_name} service      run the server as a service of systemd\n  \
            {command_name} sessions     print which sessions wait, work or failed\n  \
            {command_name} watch        show events as they happen\n  \
            {command_name} completions  print completions for bash, zsh or fish\n  \
            {command_name} man          print the manual page\n\n\
            Each has its own --help."
)]
pub(super) struct Arguments {
    /// path of the hook socket (default: $CLAUDE_UNIX_HOOK_WATCHER, else /tmp/claude-observatory.sock)
    #[argh(option, arg_name = "path")]
    socket: Option<PathBuf>,

    /// permissions of the hook socket (default: 0660)
    #[argh(option, arg_name = "octal", from_str_fn(parse_mode), default = "0o660")]
    mode: u32,

    /// path of a socket whose readers receive every event; stdout then gets nothing
    #[argh(option, arg_name = "path")]
    output_socket: Option<PathBuf>,

    /// permissions of the output socket (default: 0600)
    #[argh(option, arg_name = "octal", from_str_fn(parse_mode), default = "0o600")]
    output_mode: u32,

    /// with an output socket: write to stdout as well
    #[argh(switch)]
    tee: bool,

    /// write indented JSON instead of one line for each event
    #[argh(switch)]
    pretty_json: bool,

    /// write YAML, for people
    #[argh(switch)]
    pretty_yaml: bool,

    /// write a one-line summary of each event, for people
    #[argh(switch)]
    pretty_line: bool,

    /// bytes of events that may wait in memory for slow readers and stdout (default: 67108864)
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(parse_bytes),
        default = "64 << 20"
    )]
    buffer: usize,

    /// bytes of past events kept for GET /events?replay=N (default: 16777216; 0: none)
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(parse_bytes),
        default = "16 << 20"
    )]
    history: usize,

    /// bytes that the body of one request may have (default: 67108864)
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(parse_bytes),
        default = "64 << 20"
    )]
    max_body: usize,

    /// bytes of bodies that may be in flight together (default: 268435456)
    #[argh(
        option,
        arg_name = "bytes",
        from_str_fn(parse_bytes),
        default = "256 << 20"
    )]
    max_inflight: usize,

    /// seconds that a client has for a whole request, and that a kept connection may be idle
    /// (default: 10)
    #[argh(
        option,
        arg_name = "seconds",
        from_str_fn(parse_timeout),
        default = "Duration::from_secs(10)"
    )]
    timeout: Duration,

    /// report each step of the server on stderr (RUST_LOG selects what else); redirect it with 2>FILE
    #[argh(switch)]
    trace: bool,

    /// print the version
    #[argh(switch)]
    version: bool,
}

pub(super) fn parse(
    arguments: &[OsString],
    default_socket: PathBuf,
) -> Result<ServerOptions, Exit> {
    let arguments: Arguments = parse_with_argh(&COMMAND, arguments)?;
    if arguments.version {
        let version = env!("CARGO_PKG_VERSION");
        return Err(Exit::Print(format!("hooks-observatory {version}\n")));
    }
    let format = choose_format(&arguments)?;
    if arguments.tee && arguments.output_socket.is_none() {
        return Err(Exit::Error("--tee requires --output-socket".into()));
    }
    let socket = arguments.socket.unwrap_or(default_socket);
    if arguments.output_socket.as_ref() == Some(&socket) {
        let error = format!(
            "--socket and --output-socket are both {}: give two different paths",
            Shown(&socket)
        );
        return Err(usage(&COMMAND, &error));
    }
    Ok(ServerOptions {
        socket,
        mode: arguments.mode,
        stdout: arguments.output_socket.is_none() || arguments.tee,
        output_socket: arguments.output_socket,
        output_mode: arguments.output_mode,
        format,
        buffer: arguments.buffer,
        history: arguments.history,
        max_body: arguments.max_body as u64,
        max_inflight: arguments.max_inflight,
        timeout: arguments.timeout,
        trace: arguments.trace,
    })
}

/// The format, without colours: whether the output is a terminal is not known here.
fn choose_format(arguments: &Arguments) -> Result<Format, Exit> {
    match (
        arguments.pretty_json,
        arguments.pretty_yaml,
        arguments.pretty_line,
    ) {
        (false, false, false) => Ok(Format::Compact),
        (true, false, false) => Ok(Format::PrettyJson),
        (false, true, false) => Ok(Format::PrettyYaml {
            colour: false,
            cut: false,
        }),
        (false, false, true) => Ok(Format::PrettyLine {
            colour: false,
            cut: false,
        }),
        _ => Err(usage(
            &COMMAND,
            "--pretty-json, --pretty-yaml and --pretty-line exclude each other: give one of them",
        )),
    }
}

/// Permissions: `0660`, `660` and `0o660` are the same.
fn parse_mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    match u32::from_str_radix(digits, 8) {
        Ok(mode) if mode <= 0o777 && digits.starts_with(|c: char| c.is_ascii_digit()) => Ok(mode),
        _ => Err("give octal digits up to 0777, such as 0660".into()),
    }
}

fn parse_bytes(text: &str) -> Result<usize, String> {
    text.parse()
        .map_err(|_| "give a whole number of bytes, such as 67108864".into())
}

/// A timeout: fractions are allowed, zero is not. The upper bound keeps the sum with an
/// `Instant` in range.
fn parse_timeout(text: &str) -> Result<Duration, String> {
    let seconds = text
        .parse()
        .ok()
        .filter(|seconds| (0.001..1e9).contains(seconds));
    let seconds = seconds.map(Duration::from_secs_f64);
    seconds.ok_or("give a number of seconds from 0.001 up, such as 10".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_with_any_prefix() {
        for text in ["0600", "600", "0o600"] {
            assert_eq!(parse_mode(text), Ok(0o600));
        }
        for text in ["", "0o", "9", "rw", "01000", "-600", "+600"] {
            assert!(parse_mode(text).is_err(), "{text:?}");
        }
    }
}
