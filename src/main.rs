//! Reads the command line, runs the server, and says with its exit code how that went.

use std::env;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use hooks_observatory::args::{self, Stop};
use hooks_observatory::format::Format;
use hooks_observatory::inherited::{finish_saying, say};
use hooks_observatory::server;

fn main() -> ExitCode {
    keep_freed_memory();
    let code = run();
    finish_saying();
    code
}

/// Has malloc keep up to 16 MiB of what it frees, and not give it back to the
/// system by buffers of a hundred kilobytes: each page of the next large body
/// would have to be had from there anew, at more than it costs to copy it
/// (mallopt(3)).
#[cfg(target_env = "gnu")]
fn keep_freed_memory() {
    // SAFETY: it sets two numbers, before there is a second thread.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 20);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_memory() {}

fn run() -> ExitCode {
    let mut options = match args::parse(env::args_os(), env::var_os(args::SOCKET_VARIABLE)) {
        Ok(options) => options,
        Err(Stop::Help(text)) => {
            // stdout may be closed; there is nobody to tell then.
            let _ = std::io::stdout().write_all(text.as_bytes());
            return ExitCode::SUCCESS;
        }
        Err(Stop::Usage(text)) => {
            say(format_args!(
                "{}\nSee hooks-observatory --help",
                text.trim_end()
            ));
            return ExitCode::from(2);
        }
        Err(Stop::Refused(text)) => return fail(&text),
    };
    // Readers get the same bytes as stdout, and need no colour.
    let on_terminal = options.output_socket.is_none() && std::io::stdout().is_terminal();
    let colours = on_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    match &mut options.format {
        Format::PrettyYaml { colour } => *colour = colours,
        Format::PrettyLine { colour, cut } => (*colour, *cut) = (colours, on_terminal),
        Format::Compact | Format::PrettyJson => {}
    }
    match server::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    say(format_args!("Error: {error}"));
    ExitCode::FAILURE
}
