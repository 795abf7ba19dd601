//! Instructions of the server per hook, counted by callgrind. Other activity on the machine does not
//! change them. They include those of the C library and not those of the kernel.
//!
//! A server that runs twice, with more hooks the second time, shows what a hook costs without the
//! start.

use crate::cases::{CASES, Case};
use crate::server::{Candidate, Server, Setup};

/// The argument that asks for instructions.
pub const INSTRUCTIONS: &str = "instructions";

/// The cases whose instructions are counted.
const COUNTED: [&str; 7] = [
    "one connection per hook, 64 clients",
    "keep-alive connections, 64 clients",
    "bodies of 64 KiB, 8 clients",
    "bodies of 1 MiB, 4 clients",
    "one event to 200 readers of /events",
    "hooks that have lost their parent, 64 clients",
    "hooks while pidfd_open fails, 64 clients",
];

/// Counts the instructions of each server, and prints them as a table.
pub fn print_table(candidates: &[Candidate], is_selected: impl Fn(&&Case) -> bool) {
    let names: Vec<&str> = candidates.iter().map(Candidate::name).collect();
    println!("| case | {} |", names.join(" | "));
    println!("| --- |{}", " ---: |".repeat(names.len()));
    let cases = CASES.iter().filter(|case| COUNTED.contains(&case.name));
    for case in cases.filter(is_selected) {
        let count = |candidate| match count(case, candidate) {
            Ok(count) => format!("{count:.0}"),
            Err(error) => error,
        };
        let counts: Vec<String> = candidates.iter().map(count).collect();
        println!("| {} | {} |", case.name, counts.join(" | "));
    }
}

/// The instructions of a server per hook.
fn count(case: &Case, candidate: &Candidate) -> Result<f64, String> {
    let run = |rounds: usize| {
        let setup = Setup {
            counts_instructions: true,
            ..case.setup()
        };
        let server = Server::start(candidate, &setup)?;
        let sent = case.post_rounds(candidate, &server, rounds)?;
        Ok::<_, String>((server.stop_and_count()?, sent))
    };
    let ((few, few_sent), (many, many_sent)) = (run(5)?, run(25)?);
    Ok((many as f64 - few as f64) / (many_sent - few_sent) as f64)
}
