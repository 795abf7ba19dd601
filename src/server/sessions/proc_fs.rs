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
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::os::unix::fs::MetadataExt;
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
    ///
    /// Another user's process must not make this slow. `/proc/PID/stat` visits all its threads, and
    /// `/proc/PID/status` lists all its groups. The `stat` of its first thread does neither.
    pub fn status(pid: u32) -> Option<Status> {
        let stat = fs::read(format!("/proc/{pid}/task/{pid}/stat")).ok()?;
        let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let program = fs::read_link(format!("/proc/{pid}/exe")).ok();
        parse(&String::from_utf8_lossy(&stat), uid, program.as_deref())
    }

    /// Reads the fields of `stat`: proc_pid_stat(5).
    fn parse(stat: &str, uid: u32, program: Option<&Path>) -> Option<Status> {
        // Field 2 is the name in parentheses, and may contain any character. Field 3 is the state.
        let (start, fields) = stat.rsplit_once(") ")?;
        let (pid, name) = start.split_once(" (")?;
        let fields: Vec<&str> = fields.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse().ok();
        let interrupts = 1 << (libc::SIGINT - 1) | 1 << (libc::SIGQUIT - 1);
        let program_name = program.and_then(Path::file_name).and_then(OsStr::to_str);
        Some(Status {
            parent: field(4)? as u32,
            process_group: field(5)? as u32,
            session: field(6)? as u32,
            started_at: field(22)?,
            uid,
            is_init: pid == "1" || name == "systemd",
            ignores_interrupts: field(33)? & interrupts == interrupts,
            is_shell: program_name.is_none_or(|name| SHELLS.contains(&name)),
            program: program.map(Path::to_owned),
        })
    }

    /// A descriptor that becomes readable when the process ends: pidfd_open(2), Linux 5.3. `None`:
    /// it has ended, or is the init of a pid namespace, which is a reaper. The error is the kernel's
    /// refusal.
    ///
    /// The pid may have passed to another process before it was opened. If the start time is the
    /// same afterwards, it has not.
    pub fn open_pidfd(process: Process) -> io::Result<Option<OwnedFd>> {
        let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
        let pidfd = match pidfd_open(pid.ok_or(Errno::INVAL)?, PidfdFlags::empty()) {
            Err(Errno::SRCH) => return Ok(None),
            result => result?,
        };
        let is_same = status(process.pid).is_some_and(|now| now.started_at == process.started_at);
        Ok((is_same && !is_namespace_init(&pidfd)?).then_some(pidfd))
    }

    /// Whether a process is the init of a pid namespace: its pid there is the last of its pids
    /// (proc_pid_fdinfo(5), Linux 5.5).
    fn is_namespace_init(pidfd: &OwnedFd) -> io::Result<bool> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()))?;
        let mut lines = info.lines();
        Ok(lines.any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")))
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// The text of `stat`, where the process ignores these signals.
        fn stat(process: &str, ignored: u32) -> String {
            let fields = "S 6 5 4 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 0 0 0 0 0 0 0 0 0 0";
            format!("{process} {fields} {ignored} 0 0\n")
        }

        #[test]
        fn a_name_may_contain_anything() {
            let status = parse(&stat("7 (a) R 1 2 (\n)", 0), 1000, None).unwrap();
            assert_eq!((status.parent, status.process_group), (6, 5));
            assert_eq!((status.session, status.started_at), (4, 99));
            assert_eq!((status.uid, status.is_init), (1000, false));
        }

        #[test]
        fn pid_1_and_systemd_are_recognized() {
            let is_init = |process| parse(&stat(process, 0), 0, None).unwrap().is_init;
            assert!(is_init("1 (sh)") && is_init("7 (systemd)"));
            assert!(!is_init("11 (sh)"));
        }

        #[test]
        fn ignored_signals_and_shells_are_recognized() {
            let parse = |ignored, program| {
                let status = parse(&stat("7 (a)", ignored), 0, Some(Path::new(program)));
                let status = status.unwrap();
                (status.ignores_interrupts, status.is_shell)
            };
            assert_eq!(parse(0b0000_0110, "/usr/bin/dash"), (true, true));
            assert_eq!(parse(0b1000_0111, "/bin/claude"), (true, false));
            assert_eq!(parse(0b0000_0100, "/bin/sh/claude"), (false, false));
        }

        #[test]
        fn incomplete_text_is_no_status() {
            let stat = stat("7 (a)", 0);
            let ignored = stat.find(" 0 0 0\n").unwrap();
            for length in 0..ignored {
                assert!(parse(&stat[..length], 0, None).is_none());
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
            assert!(open(started_at).unwrap().is_some());
            assert!(open(started_at - 1).unwrap().is_none());
            let pid = i32::MAX as u32;
            assert!(open_pidfd(Process { pid, started_at }).unwrap().is_none());
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

    pub fn open_pidfd(_: Process) -> io::Result<Option<OwnedFd>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
