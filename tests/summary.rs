//! The end of the output of `cargo test`: the tests that were skipped, with the reasons.
//!
//! This target contains no tests (`harness = false`). It runs last, because cargo runs the
//! test targets in the order of their names.

// Only tests call `record`.
#[allow(dead_code)]
#[path = "support/skips.rs"]
mod skips;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::process::parent_id;
use std::path::Path;

fn main() {
    // `cargo test -- --list` runs no tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    // Without a skipped test there is no file.
    let lines = fs::read_to_string(skips::path(parent_id())).unwrap_or_default();
    let skipped: BTreeSet<&str> = lines.lines().collect();
    println!();
    match skipped.len() {
        0 => println!("No test was skipped."),
        1 => println!("1 test was skipped:"),
        count => println!("{count} tests were skipped:"),
    }
    for test in skipped {
        println!("    {test}");
    }
    println!();
    remove_files();
}

/// Removes the file of this run, and those of earlier runs that did not get as far as this.
/// A run of another cargo at the same time keeps its file.
fn remove_files() {
    for entry in fs::read_dir(skips::FOLDER).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let run = name
            .to_str()
            .and_then(|name| name.strip_prefix(skips::PREFIX));
        let pid = run.and_then(|run| run.split('-').next()?.parse().ok());
        if pid.is_some_and(|pid| is_over(pid, &entry.path())) {
            // It fails if another run has just removed the same file.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether the file belongs to this run, or to a process that has exited.
fn is_over(pid: u32, file: &Path) -> bool {
    pid == parent_id() || skips::path(pid) != file
}
