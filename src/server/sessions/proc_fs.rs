//! What the kernel says about processes: /proc, and pidfds.
//!
//! Only Linux has both. Elsewhere nothing is known, so no session is identified.
//!
//! Stop 14 of EDU_NOTES.md.

#[cfg(target_os = "linux")]
pub use self::linux::{is_readable, open_pidfd, status};
#[cfg(not(target_os = "linux"))]
pub use self::unsupported::{is_readable, open_pidfd, status};

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsStr;
    use std::fs;
    use std::io;
    use std::os::fd::OwnedFd;
    use std::path::Path;
    use std::process;

    use rustix::io::Errno;
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    use crate::server::sessions::ancestors::{Process, Status};

    /// The names of shells. busybox is one under another name.
    const SHELLS: [&str; 9] = [
        "sh", "ash", "bash", "busybox", "dash", "fish", "ksh", "mksh", "zsh",
    ];

    /// Whether /proc shows the processes by the pids that the kernel reports here. It does not
    /// if it was mounted in another pid namespace (pid_namespaces(7)).
    pub fn is_readable() -> bool {
        let own = fs::read_link("/proc/self");
        own.is_ok_and(|own| own == Path::new(&process::id().to_string()))
    }

    /// The status of a process. `None` if there is no such process, or /proc hides it
    /// (`hidepid`, proc(5)).
    pub fn status(pid: u32) -> Option<Status> {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let status = fs::read(format!("/proc/{pid}/status")).ok()?;
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        parse(
            &String::from_utf8_lossy(&stat),
            &String::from_utf8_lossy(&status),
            program.as_deref(),
        )
    }

    /// Reads the two files: proc_pid_stat(5) and proc_pid_status(5).
    fn parse(stat: &str, status: &str, program: Option<&Path>) -> Option<Status> {
        // Field 2 is the name in parentheses, and may contain any character. Field 3 is the state.
        let (start, fields) = stat.rsplit_once(") ")?;
        let (pid, name) = start.split_once(" (")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        let line = |name: &str| status.lines().find_map(|line| line.strip_prefix(name));
        // Its pid in this namespace, and in each one below in which it is.
        let pids = line("NSpid:").unwrap_or(pid);
        let ignored = line("SigIgn:").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        let interrupts = 1 << (libc::SIGINT - 1) | 1 << (libc::SIGQUIT - 1);
        let program_name = program.and_then(Path::file_name).and_then(OsStr::to_str);
        Some(Status {
            parent: field(4)? as u32,
            process_group: field(5)? as u32,
            session: field(6)? as u32,
            started_at: field(22)?,
            uid: line("Uid:")?.split_whitespace().next()?.parse().ok()?,
            is_init: pids.split('\t').next_back() == Some("1") || name == "systemd",
            ignores_interrupts: ignored.is_some_and(|mask| mask & interrupts == interrupts),
            is_shell: program_name.is_none_or(|name| SHELLS.contains(&name)),
            program: program.map(Path::to_owned),
        })
    }

    /// A descriptor that becomes readable when the process ends: pidfd_open(2), Linux 5.3.
    ///
    /// The pid may have passed to another process before it was opened. If the start time is the
    /// same afterwards, it has not.
    pub fn open_pidfd(process: Process) -> io::Result<OwnedFd> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(pid.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
        match status(process.pid) {
            Some(now) if now.started_at == process.started_at => Ok(pidfd),
            _ => Err(Errno::SRCH.into()),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_name_may_contain_anything() {
            let stat = "7 (a) R 1 2 (\n) S 6 5 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0\n";
            let status = "Name:\ta) R 1\\n\nUid:\t1000\t0\t0\t0\nNSpid:\t7\n";
            let status = parse(stat, status, None).unwrap();
            assert_eq!((status.parent, status.process_group), (6, 5));
            assert_eq!((status.session, status.started_at), (4, 99));
            assert_eq!((status.uid, status.is_init), (1000, false));
        }

        #[test]
        fn the_init_of_a_namespace_and_systemd_are_recognized() {
            let is_init = |name: &str, pids: &str| {
                let stat = format!("1 ({name}) S 6 5 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0\n");
                let status = format!("Uid:\t0\t0\t0\t0\n{pids}\n");
                parse(&stat, &status, None).unwrap().is_init
            };
            assert!(is_init("init", "NSpid:\t1"));
            assert!(is_init("sh", "NSpid:\t7\t1"));
            assert!(is_init("systemd", "NSpid:\t7"));
            assert!(!is_init("sh", "NSpid:\t7\t11"));
            assert!(is_init("init", ""), "a kernel without namespaces");
        }

        #[test]
        fn ignored_signals_and_shells_are_recognized() {
            let stat = "7 (a) S 6 5 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0\n";
            let parse = |mask: &str, program| {
                let status = format!("Uid:\t0\t0\t0\t0\nSigIgn:\t00000000{mask}\n");
                let status = parse(stat, &status, Some(Path::new(program))).unwrap();
                (status.ignores_interrupts, status.is_shell)
            };
            assert_eq!(parse("00000006", "/usr/bin/dash"), (true, true));
            assert_eq!(parse("00381007", "/bin/claude"), (true, false));
            assert_eq!(parse("00000004", "/bin/sh/claude"), (false, false));
        }

        #[test]
        fn incomplete_text_is_no_status() {
            let (stat, status) = ("7 (a) S 6 5 4 0", "Uid:\t0\n");
            for length in 0..stat.len() {
                assert!(parse(&stat[..length], status, None).is_none());
            }
        }

        #[test]
        fn the_status_of_this_process_is_found() {
            let own = status(process::id()).unwrap();
            assert_eq!(own.parent, std::os::unix::process::parent_id());
            assert!(is_readable());
        }

        #[test]
        fn a_later_process_with_the_same_pid_is_not_opened() {
            let pid = process::id();
            let started_at = status(pid).unwrap().started_at;
            let open = |started_at| open_pidfd(Process { pid, started_at });
            assert!(open(started_at).is_ok());
            assert!(open(started_at - 1).is_err());
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod unsupported {
    use std::io;
    use std::os::fd::OwnedFd;

    use crate::server::sessions::ancestors::{Process, Status};

    pub fn is_readable() -> bool {
        false
    }

    pub fn status(_: u32) -> Option<Status> {
        None
    }

    pub fn open_pidfd(_: Process) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
