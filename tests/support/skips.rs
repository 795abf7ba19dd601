//! The file that lists the skipped tests of one run of cargo.
//!
//! Each test target is a process of its own, and cargo is the parent of all of them. So the
//! name of the file contains cargo's pid.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

/// A folder for the files of tests, in cargo's target directory.
pub const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
pub const PREFIX: &str = "skipped-tests-";

/// Appends a line to the file of this run. Tests in other threads may do the same: one write
/// with `O_APPEND` keeps the line whole (write(2)).
pub fn record(line: &str) {
    let file = path(parent_id());
    let file = File::options().create(true).append(true).open(file);
    let result = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
    result.expect("cannot record a skipped test");
}

/// The path of the file for the cargo with this pid. It also contains the time at which that
/// process started, because pids are reused.
pub fn path(pid: u32) -> PathBuf {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Field 22 of proc_pid_stat(5). Field 2 ends with `)`, and may contain spaces.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let started_at = fields.split_whitespace().nth(19).unwrap_or_default();
    Path::new(FOLDER).join(format!("{PREFIX}{pid}-{started_at}"))
}
