//! The load bench: what the server costs per hook, compared with the floor that the kernel
//! sets ([`floor`]) and with other servers. benches/README.md shows how to run it and how to
//! read the table.
//!
//! Every round starts each server once, one after the other, so other activity on the
//! machine affects all of them alike. A figure is the median of the rounds. A ratio is
//! between two figures of one run. With two cores or more, the servers and the load run on
//! different cores.

mod cases;
mod chart;
mod client;
mod floor;
mod hostile;
mod instructions;
mod report;
mod sender;
mod server;
mod tools;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use argh::{EarlyExit, FromArgs};
use rustix::process::{Resource, getrlimit, setrlimit};

use cases::{CASES, Case};
use instructions::INSTRUCTIONS;
use report::Row;
use sender::POST;
use server::Candidate;

/// The command in the usage line of `--help`.
const COMMAND: &str = "cargo bench --bench load --";

/// Measures what the server costs per hook, compared with a floor and with other servers.
#[derive(FromArgs)]
struct Options {
    /// run 5 rounds with all requests, which takes several minutes; the default is 3 rounds with
    /// a fifth of them
    #[argh(switch)]
    full: bool,
    /// another server to compare with, as NAME=COMMAND; {socket} in COMMAND becomes the path
    /// of the hook socket, and cases with readers add --output-socket PATH
    #[argh(option, arg_name = "NAME=COMMAND", from_str_fn(parse_peer))]
    peer: Vec<Candidate>,
    /// rounds of each case, with all requests
    #[argh(option, arg_name = "N")]
    rounds: Option<usize>,
    /// run only cases whose name contains one of these texts; after the word "instructions", count
    /// the server's instructions per hook with callgrind
    #[argh(positional, arg_name = "FILTER")]
    filters: Vec<String>,
}

fn parse_peer(option: &str) -> Result<Candidate, String> {
    let (name, command) = option.split_once('=').ok_or("expected NAME=COMMAND")?;
    Ok(Candidate::Peer(name.into(), command.into()))
}

fn main() -> ExitCode {
    // cargo adds --bench to the arguments of every bench.
    let arguments = std::env::args().filter(|argument| argument != "--bench");
    let arguments: Vec<String> = arguments.collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        #[cfg(target_os = "linux")]
        [_, server::FLOOR, socket, connection, ref output @ ..] => {
            let output = output.first().map(std::path::Path::new);
            floor::run(socket.as_ref(), output, connection == server::KEEP_ALIVE)
        }
        #[cfg(target_os = "linux")]
        [_, sender::WITHOUT_PIDFD, ref command @ ..] => sender::run_without_pidfd(command),
        [_, POST, socket, clients, requests] => {
            cases::post_recorded(socket.as_ref(), clients, requests)
        }
        _ => match Options::from_args(&[COMMAND], arguments.get(1..).unwrap_or_default()) {
            Ok(options) => run_cases(&options),
            Err(EarlyExit { output, status }) => status
                .map(|()| println!("{output}"))
                .map_err(|()| std::io::Error::other(output)),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_cases(options: &Options) -> std::io::Result<()> {
    if !cfg!(target_os = "linux") {
        return Err(std::io::Error::other(
            "this bench needs Linux: the floor uses epoll, and /proc tells what a server uses",
        ));
    }
    // 10,000 connections need as many descriptors, here and in the server. If the limit
    // stays too low, the case fails with its error.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);

    std::fs::create_dir_all(server::results_directory())?;
    // Counts the cores, so it comes before this thread is pinned to one.
    let machine = report::describe_machine();
    let candidates = [
        &[Candidate::Floor, Candidate::HooksObservatory],
        &options.peer[..],
    ]
    .concat();
    let counts_instructions = options
        .filters
        .first()
        .is_some_and(|word| word == INSTRUCTIONS);
    let filters = &options.filters[usize::from(counts_instructions)..];
    let is_selected = |case: &&Case| {
        filters.is_empty() || filters.iter().any(|filter| case.name.contains(filter))
    };
    if counts_instructions {
        instructions::print_table(&candidates[1..], is_selected);
        return Ok(());
    }
    let cases: Vec<&Case> = CASES.iter().filter(is_selected).collect();
    let is_quick = !options.full && options.rounds.is_none();
    let rounds = options.rounds.unwrap_or(if is_quick { 3 } else { 5 });
    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        if let Some(reason) = case.skip_reason() {
            show_progress("");
            eprintln!("{}: skipped, {reason}", case.name);
            continue;
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("{}", case.name);
        }
        let prefix = format!("{}/{} {}", index + 1, cases.len(), case.name);
        rows.extend(run_case(case, &candidates, rounds, is_quick, |status| {
            show_progress(&format!("{prefix}: {status}"))
        }));
    }
    show_progress("");
    println!("{machine}\n\n{}", report::format_table(&rows));
    let directory = server::results_directory();
    report::save(&rows, &machine, &directory)?;
    println!("Raw figures and charts: {}", directory.display());
    Ok(())
}

/// Runs all rounds of a case. Each round runs every server once, in turn.
fn run_case(
    case: &Case,
    candidates: &[Candidate],
    rounds: usize,
    is_quick: bool,
    show_progress: impl Fn(&str),
) -> Vec<Row> {
    let applies = |candidate: &&Candidate| case.applies_to(candidate);
    let candidates: Vec<&Candidate> = candidates.iter().filter(applies).collect();
    let row = |candidate: &&Candidate| Row {
        case: case.name,
        server: candidate.name().into(),
        rounds: Ok(Vec::new()),
    };
    let mut rows: Vec<Row> = candidates.iter().map(row).collect();
    for round in 1..=rounds {
        for (row, candidate) in rows.iter_mut().zip(&candidates) {
            show_progress(&format!("{}, round {round} of {rounds}", candidate.name()));
            if let Ok(samples) = &mut row.rounds {
                match case.run(candidate, is_quick) {
                    Ok(sample) => samples.push(sample.sorted()),
                    Err(error) => row.rounds = Err(error),
                }
            }
        }
    }
    rows
}

/// Shows the status on a terminal, in one line that is overwritten each time.
fn show_progress(status: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // An error here cannot be reported anywhere.
        let _ = write!(stderr, "\r\x1b[K{status}").and_then(|()| stderr.flush());
    }
}
