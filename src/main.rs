//! Reads the command line, runs the command, and returns its exit code.
//!
//! What must happen before the server starts is here too: receiving a service manager's
//! sockets, setting up malloc and the trace, and turning on colours for a terminal.
//!
//! Stop 2 of EDU_NOTES.md.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use hooks_observatory::cli::{self, Command, Exit, ServerOptions};
use hooks_observatory::diagnostics::{stderr, trace};
use hooks_observatory::format::Format;
use hooks_observatory::listen::activation;
use hooks_observatory::{hooks, send, server, service, terminal, watch};

fn main() -> ExitCode {
    let code = run();
    stderr::finish();
    code
}

fn run() -> ExitCode {
    let variable = env::var_os(cli::SOCKET_VARIABLE);
    match cli::parse(env::args_os(), variable, service::present_socket()) {
        Ok(Command::Serve(options)) => exit_code(serve(options)),
        Ok(Command::Send(options)) => {
            send::run(&options);
            ExitCode::SUCCESS
        }
        Ok(Command::Hooks(options)) => exit_code(hooks::run(&options, print)),
        Ok(Command::Service(options)) => exit_code(service::run(&options, print)),
        Ok(Command::Watch(options)) => exit_code(watch::run(&options)),
        Ok(Command::Sessions(options)) => match watch::list(&options, print) {
            Ok(false) if options.is_waiting_only => ExitCode::FAILURE,
            result => exit_code(result.map(drop)),
        },
        Err(Exit::Print(text)) => exit_code(print(&text)),
        Err(Exit::Usage(text)) => {
            stderr::say(text);
            ExitCode::from(2)
        }
        Err(Exit::Error(text)) => fail(&text),
    }
}

fn serve(mut options: ServerOptions) -> Result<(), String> {
    let activated = activation::receive()?;
    activated.override_options(&mut options);
    keep_freed_memory();
    trace::init(options.trace);
    style_for_terminal(&mut options);
    server::run(&options, activated)
}

/// Turns on colours and truncation for a format that a terminal shows. With an
/// output socket they stay off: readers get the same bytes as stdout.
fn style_for_terminal(options: &mut ServerOptions) {
    let stdout = io::stdout();
    let is_terminal = options.output_socket.is_none() && stdout.is_terminal();
    let has_colours = is_terminal && terminal::supports_colours(&stdout);
    match &mut options.format {
        Format::PrettyYaml { colour, cut } | Format::PrettyLine { colour, cut } => {
            (*colour, *cut) = (has_colours, is_terminal);
        }
        Format::Compact | Format::PrettyJson => {}
    }
}

/// Writes to stdout. EPIPE is not an error: the reader has what it wants.
fn print(text: &str) -> Result<(), String> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(format!("cannot write to stdout: {error}"))
        }
        _ => Ok(()),
    }
}

fn exit_code(result: Result<(), String>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Makes malloc keep up to 16 MiB of freed memory (mallopt(3)). By default it
/// returns buffers of 128 KiB and more to the system, and then every page of the
/// next large body costs a page fault, which is more than copying the page.
#[cfg(target_env = "gnu")]
fn keep_freed_memory() {
    // SAFETY: the calls set two numbers, and no second thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 16 << 20);
    }
}

#[cfg(not(target_env = "gnu"))]
fn keep_freed_memory() {}

fn fail(error: &str) -> ExitCode {
    stderr::say(format_args!("Error: {error}"));
    ExitCode::FAILURE
}
