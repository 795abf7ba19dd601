//! Parses the arguments of one command with `argh`, and says what is wrong with them.
//!
//! Stop 2 of EDU_NOTES.md.

use std::ffi::OsString;

use argh::{ArgsInfo, FlagInfoKind, FromArgs};

use super::argparse;
use crate::terminal::sanitize;

/// What can follow the program's name.
pub const SUBCOMMANDS: [&str; 7] = [
    "send",
    "hooks",
    "service",
    "sessions",
    "watch",
    "completions",
    "man",
];

/// Why there is no command to run.
#[derive(Debug, PartialEq)]
pub enum Exit {
    /// The answer to `--help` or `--version`: to stdout, exit code 0.
    Print(String),
    /// Wrong usage: to stderr, exit code 2.
    Usage(String),
    /// Wrong usage, but exit code 1. `--tee` without an output socket exits with 1 in
    /// the Python server. `send` must not exit with 2: Claude Code takes exit code 2
    /// of a hook as an order to block the step.
    Error(String),
}

/// Parses the arguments of one command with `argh`. `command` is how the user calls it.
pub fn parse_with_argh<T: FromArgs + ArgsInfo>(
    command: &[&str],
    arguments: &[OsString],
) -> Result<T, Exit> {
    let usage = |text: String| usage(command, &text);
    let arguments = arguments
        .iter()
        .map(|argument| argument.to_str().map(str::to_owned).ok_or(argument))
        .collect::<Result<Vec<String>, _>>()
        .map_err(|argument| usage(format!("{argument:?} is not UTF-8")))?;
    let options = T::get_args_info().flags.iter();
    let valued = options.filter(|option| option.kind != FlagInfoKind::Switch);
    let valued: Vec<&str> = valued.map(|option| option.long).collect();
    let arguments = argparse::normalize(arguments, &valued).map_err(usage)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    T::from_args(command, &arguments).map_err(|exit| match exit.status {
        Ok(()) => Exit::Print(exit.output),
        Err(()) => usage(with_suggestion::<T>(command, exit.output.trim_end())),
    })
}

/// An error of `argh`, with the name that an unknown argument resembles: an option, or a subcommand.
fn with_suggestion<T: ArgsInfo>(command: &[&str], error: &str) -> String {
    let unknown = error.strip_prefix("Unrecognized argument: ");
    let options = T::get_args_info().flags.iter();
    let mut names: Vec<&str> = options.map(|option| option.long).collect();
    if command.len() == 1 {
        names.extend(SUBCOMMANDS);
    }
    let nearest = unknown.and_then(|unknown| nearest(unknown, &names));
    match (nearest, unknown) {
        (Some(name), _) => format!("{error}. Did you mean {name}?"),
        (None, Some(unknown)) if command.len() == 1 && !unknown.starts_with('-') => {
            format!("{error}. The subcommands are {}", SUBCOMMANDS.join(", "))
        }
        (None, _) => error.into(),
    }
}

/// The one of these names that a mistyped one resembles.
pub fn nearest<'n>(typed: &str, names: &[&'n str]) -> Option<&'n str> {
    const LEAST_SIMILARITY: f32 = 0.7;
    let nearest = similar::get_close_matches(typed, names, 1, LEAST_SIMILARITY);
    nearest.first().copied()
}

/// A usage error that points to the help of `command`.
pub fn usage(command: &[&str], error: &str) -> Exit {
    // An argument can be a path.
    let lines = error.trim_end().lines().map(sanitize);
    let error = lines.collect::<Vec<_>>().join("\n");
    Exit::Usage(format!("{error}\nSee {} --help", command.join(" ")))
}

/// A usage error with exit code 1.
pub fn without_code_2(exit: Exit) -> Exit {
    match exit {
        Exit::Usage(text) => Exit::Error(text),
        exit => exit,
    }
}
