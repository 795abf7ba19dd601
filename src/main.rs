//! Reads the command line, does what it asks for, and says with the exit code how that went.
//!
//! Stop 1 of EDU_NOTES.md.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use hooks_observatory::args::{self, Options, Stop, Task};
use hooks_observatory::format::Format;
use hooks_observatory::stderr::{finish_saying, say};
use hooks_observatory::{activation, send, server, settings, trace};

fn main() -> ExitCode {
    let code = run();
    finish_saying();
    code
}

fn run() -> ExitCode {
    match args::parse(env::args_os(), env::var_os(args::SOCKET_VARIABLE)) {
        Ok(Task::Serve(options)) => serve(options),
        Ok(Task::Send(sending)) => {
            send::run(&sending);
            ExitCode::SUCCESS
        }
        Ok(Task::PrintHooks(printing)) => match settings::json(&printing) {
            Ok(text) => print(&text),
            Err(error) => fail(&error),
        },
        Err(Stop::Answer(text)) => print(&text),
        Err(Stop::Usage(text)) => {
            say(format_args!(
                "{}\nSee hooks-observatory --help",
                text.trim_end()
            ));
            ExitCode::from(2)
        }
        Err(Stop::Refused(text)) => fail(&text),
    }
}

fn serve(mut options: Options) -> ExitCode {
    let handed = match activation::take(&mut options) {
        Ok(handed) => handed,
        Err(error) => return fail(&error),
    };
    keep_freed_memory();
    trace::start(options.trace);
    // Readers get the same bytes as stdout, and need no colour.
    let on_terminal = options.output_socket.is_none() && io::stdout().is_terminal();
    let colours = on_terminal && trace::allows_colours(&io::stdout());
    match &mut options.format {
        Format::PrettyYaml { colour } => *colour = colours,
        Format::PrettyLine { colour, cut } => (*colour, *cut) = (colours, on_terminal),
        Format::Compact | Format::PrettyJson => {}
    }
    match server::run(&options, handed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Writes what was asked for. Nobody is there to be told when its reader has left.
fn print(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            fail(&format!("cannot write to stdout: {error}"))
        }
        _ => ExitCode::SUCCESS,
    }
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

fn fail(error: &str) -> ExitCode {
    say(format_args!("Error: {error}"));
    ExitCode::FAILURE
}
