//! Whether the process that a session file names still runs, and is the one that wrote it.
//!
//! A client that was killed leaves its file behind, and another process can get its number.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, test_kill_process};

use super::file::ClientFile;

/// Clock ticks in a second, as /proc counts them (`USER_HZ`, proc_pid_stat(5)): 100 on every
/// system that Linux runs on today.
const TICKS: u64 = 100;
/// Milliseconds by which a process can seem to have begun after it wrote `startedAt`: the time
/// of the system's start is known in whole seconds.
const START_TOLERANCE: i64 = 2000;

/// What is known of the process of a file.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Life {
    /// It runs here, and began when the file says.
    Runs,
    /// It ran here, and has ended.
    Ended,
    /// It does not run here. It may run in a container, or on another machine.
    Unknown,
}

/// Whether the file's process runs here.
pub fn life(file: &ClientFile) -> Life {
    let domain = file.pid_domain.as_deref();
    match (is_of_this_namespace(domain), has_begun_then(file)) {
        (Some(true) | None, true) => Life::Runs,
        (Some(true), false) if is_of_this_machine(domain) => Life::Ended,
        _ => Life::Unknown,
    }
}

/// Whether a file's number is that of a process here, not of one in a container. `None`: the file
/// does not say.
fn is_of_this_namespace(domain: Option<&str>) -> Option<bool> {
    let named = domain.and_then(|domain| Some(&domain[domain.find("pid:[")?..]))?;
    let own = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(own.to_str() == Some(named))
}

/// Whether a file's domain, `linux:MACHINE:NAMESPACE`, names this machine (machine-id(5)): the initial
/// namespace has the same number everywhere, and a home directory can be shared.
fn is_of_this_machine(domain: Option<&str>) -> bool {
    let own = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let named = domain.and_then(|domain| domain.split(':').nth(1));
    named.is_some_and(|named| named == own.trim() && !named.is_empty())
}

fn has_begun_then(file: &ClientFile) -> bool {
    let Ok(stat) = fs::read(format!("/proc/{}/stat", file.pid)) else {
        // Without /proc (macOS) only this is known.
        return !cfg!(target_os = "linux") && runs(file.pid);
    };
    let Some((state, start)) = parse(&String::from_utf8_lossy(&stat)) else {
        return false;
    };
    // A zombie has ended.
    if matches!(state, 'Z' | 'X') {
        return false;
    }
    match (file.proc_start, file.started_at) {
        (Some(expected), _) => start == expected,
        (None, Some(started_at)) => {
            began_at(start).is_none_or(|began| began <= started_at.saturating_add(START_TOLERANCE))
        }
        (None, None) => true,
    }
}

/// The state of a process and when it began: fields 3 and 22 of proc_pid_stat(5). Field 2 is the
/// name in parentheses, which may contain any character.
fn parse(stat: &str) -> Option<(char, u64)> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let state = fields.chars().next()?;
    let start = fields.split(' ').nth(22 - 3)?.parse().ok()?;
    Some((state, start))
}

/// Milliseconds since 1970 for clock ticks since the system started.
fn began_at(ticks: u64) -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let boot = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    let boot: i64 = boot.parse().ok()?;
    Some(boot * 1000 + i64::try_from(ticks * 1000 / TICKS).ok()?)
}

/// A descriptor that becomes readable when the process ends: pidfd_open(2), Linux 5.3.
#[cfg(target_os = "linux")]
pub fn open_pidfd(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
pub fn open_pidfd(_: u32) -> Option<OwnedFd> {
    None
}

/// Whether there is such a process: kill(2) with the signal 0.
fn runs(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

// They read /proc.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;
    use std::process;

    fn own() -> (ClientFile, u64) {
        let stat = fs::read_to_string("/proc/self/stat").unwrap();
        let (_, start) = parse(&stat).unwrap();
        let file = ClientFile {
            pid: process::id(),
            ..ClientFile::default()
        };
        (file, start)
    }

    #[test]
    fn a_process_counts_if_it_began_when_the_file_says() {
        let (file, start) = own();
        let began = began_at(start).unwrap();
        for (proc_start, started_at, expected) in [
            (Some(start), Some(0), true),
            (Some(start + 1), Some(began), false),
            (None, Some(began), true),
            (None, Some(began - START_TOLERANCE - 1), false),
            (None, None, true),
        ] {
            let file = ClientFile {
                proc_start,
                started_at,
                ..file.clone()
            };
            assert_eq!(life(&file) == Life::Runs, expected, "{file:?}");
        }
        let mut child = process::Command::new("true").spawn().unwrap();
        let ended = ClientFile {
            pid: child.id(),
            ..file
        };
        let is_zombie = || {
            fs::read_to_string(format!("/proc/{}/stat", ended.pid))
                .is_ok_and(|stat| stat.contains(") Z "))
        };
        while !is_zombie() {
            std::thread::yield_now();
        }
        assert_eq!(life(&ended), Life::Unknown, "a zombie");
        child.wait().unwrap();
        assert_eq!(life(&ended), Life::Unknown, "no process");
    }

    #[test]
    fn a_process_of_another_pid_namespace_does_not_count() {
        let own_namespace = fs::read_link("/proc/self/ns/pid").unwrap();
        let own_namespace = own_namespace.to_str().unwrap();
        let machine = fs::read_to_string("/etc/machine-id").unwrap_or_default();
        let machine = machine.trim();
        // Not every container has a number for its machine.
        let has_ended = if machine.is_empty() {
            Life::Unknown
        } else {
            Life::Ended
        };
        for (domain, expected) in [
            (
                format!("linux:{machine}:{own_namespace}"),
                [Life::Runs, has_ended],
            ),
            (
                format!("linux:0001:{own_namespace}"),
                [Life::Runs, Life::Unknown],
            ),
            ("linux:0001:pid:[1]".into(), [Life::Unknown; 2]),
            ("unknown".into(), [Life::Runs, Life::Unknown]),
        ] {
            let mut file = ClientFile {
                pid_domain: Some(domain),
                ..own().0
            };
            let running = life(&file);
            file.proc_start = Some(1);
            assert_eq!([running, life(&file)], expected, "{file:?}");
        }
    }

    #[test]
    fn a_name_may_contain_anything() {
        let stat = "7 (a) R 1 2 (\n) S 6 5 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0\n";
        assert_eq!(parse(stat), Some(('S', 99)));
        assert_eq!(parse("7 (a) S 6 5"), None);
    }
}
