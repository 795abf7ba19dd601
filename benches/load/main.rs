//! What a hook costs: the server under load, beside the floor that the kernel
//! sets ([`floor`]) and beside any other server.
//!
//! ```sh
//! cargo bench --bench load                  # a table; raw figures and drawings in target/load
//! cargo bench --bench load -- --quick       # the same in under a minute, less exact
//! cargo bench --bench load -- 'kept'        # only cases with this in their name
//! cargo bench --bench load -- --peer 'python=python3 server_selectors.py --socket {socket}'
//! ```
//!
//! In every round each server is started anew, one after the other, so that
//! whatever else the machine does meets all of them; a figure is the median of
//! the rounds, and a ratio is between two of one run. Server and load have a
//! core each where there are two. stdout is a file in memory unless the case
//! says otherwise.

mod cases;
mod client;
mod drawing;
mod floor;
mod report;
mod server;
mod tools;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use argh::FromArgs;
use rustix::process::{Resource, getrlimit, setrlimit};

use cases::{CASES, Case};
use report::Row;
use server::{Candidate, FLOOR};

/// Measures what a hook costs.
#[derive(FromArgs)]
struct Options {
    /// fewer rounds and requests
    #[argh(switch)]
    quick: bool,
    /// another server to compare with, as NAME=COMMAND, with {{socket}} for the
    /// socket's path; it is given --output-socket PATH where a case has readers
    #[argh(option, from_str_fn(peer))]
    peer: Vec<Candidate>,
    /// rounds of each case (5)
    #[argh(option)]
    rounds: Option<usize>,
    /// what cargo gives to every bench
    #[argh(switch, hidden_help)]
    #[expect(dead_code)]
    bench: bool,
    /// only cases with one of these in their name
    #[argh(positional, greedy)]
    names: Vec<String>,
}

fn peer(option: &str) -> Result<Candidate, String> {
    let (name, command) = option.split_once('=').ok_or("NAME=COMMAND is wanted")?;
    Ok(Candidate::Peer(name.into(), command.into()))
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        [_, FLOOR, socket, stay, ref output @ ..] => {
            let output = output.first().map(Path::new);
            floor::run(Path::new(socket), output, stay == "keep")
        }
        _ => measure(&argh::from_env()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(options: &Options) -> std::io::Result<()> {
    // Ten thousand connections are as many descriptors, here and in the server.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Where it is not enough, the case says so.
    let _ = setrlimit(Resource::Nofile, limit);

    std::fs::create_dir_all(server::results())?;
    // Before this thread is kept on one core.
    let machine = report::machine();
    let candidates = [&[Candidate::Floor, Candidate::Ours], &options.peer[..]].concat();
    let is_wanted = |case: &&Case| {
        options.names.is_empty() || options.names.iter().any(|name| case.name.contains(name))
    };
    let cases: Vec<&Case> = CASES.iter().filter(is_wanted).collect();
    let rounds = options.rounds.unwrap_or(if options.quick { 3 } else { 5 });
    let mut rows = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        if let Some(obstacle) = case.obstacle() {
            eprintln!("{}: left out, {obstacle}", case.name);
            continue;
        }
        if !std::io::stderr().is_terminal() {
            eprintln!("{}", case.name);
        }
        rows.extend(run(case, &candidates, rounds, options.quick, |what| {
            progress(&format!(
                "{}/{} {}: {what}",
                number + 1,
                cases.len(),
                case.name
            ));
        }));
    }
    progress("");
    println!("{machine}\n\n{}", report::table(&rows));
    report::save(&rows, &machine, &server::results())?;
    println!("Raw figures and drawings: {}", server::results().display());
    Ok(())
}

/// Runs a case with each server in turn, again and again.
fn run(
    case: &Case,
    candidates: &[Candidate],
    rounds: usize,
    is_quick: bool,
    progress: impl Fn(&str),
) -> Vec<Row> {
    let suits = |candidate: &&Candidate| case.suits(candidate);
    let candidates: Vec<&Candidate> = candidates.iter().filter(suits).collect();
    let row = |candidate: &&Candidate| Row {
        case: case.name,
        server: candidate.name().into(),
        rounds: Ok(Vec::new()),
    };
    let mut rows: Vec<Row> = candidates.iter().map(row).collect();
    for round in 1..=rounds {
        for (row, candidate) in rows.iter_mut().zip(&candidates) {
            progress(&format!("{}, round {round} of {rounds}", candidate.name()));
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

/// Shows what is going on, in one line that is written over and over.
fn progress(what: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // Nobody is there to be told of an error.
        let _ = write!(stderr, "\r\x1b[K{what}").and_then(|()| stderr.flush());
    }
}
