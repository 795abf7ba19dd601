//! Processes that the bench starts from its own executable: one that posts hooks, and one that runs a
//! server which may not open pidfds.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::client::{self, Latencies, Load};

/// With this first argument, the bench executable posts hooks.
pub const POST: &str = "post";
/// With this first argument, it runs the command that follows, in which pidfd_open(2) fails.
pub const WITHOUT_PIDFD: &str = "without-pidfd";

/// Who posts the hooks of a case.
#[derive(Clone, Copy, PartialEq)]
pub enum Sender {
    Bench,
    /// A child of the bench.
    Child,
    /// A process whose parent has ended, like a hook whose command ends with `&`.
    Orphan,
}

impl Sender {
    /// Posts the hooks of a load.
    pub fn post(self, load: &Load) -> Result<Latencies, String> {
        let script = match self {
            Sender::Bench => return client::post(load),
            Sender::Child => r#""$0" "$@"; true"#,
            Sender::Orphan => r#"setsid "$0" "$@" &"#,
        };
        let failed = |error: io::Error| format!("the sender failed: {error}");
        let mut command = Command::new("sh");
        command
            .args(["-c", script])
            .arg(std::env::current_exe().map_err(failed)?);
        command.arg(POST).arg(load.socket);
        command.args([load.clients, load.requests].map(|number| number.to_string()));
        // Waits until the sender has closed its stdout: that of an orphan ends the same way.
        let output = command.stderr(Stdio::inherit()).output().map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let latency = |line: &str| line.parse().ok().map(Duration::from_nanos);
        let latencies: Latencies = text.lines().filter_map(latency).collect();
        match latencies.len() == load.requests {
            true => Ok(latencies),
            false => Err(format!(
                "{} of {} hooks were posted",
                latencies.len(),
                load.requests
            )),
        }
    }
}

/// Posts hooks, one connection for each, and prints how long each took, in ns.
pub fn post(socket: &Path, request: &[u8], clients: usize, requests: usize) -> io::Result<()> {
    let load = Load {
        socket,
        request,
        clients,
        keep_alive: false,
        requests,
        stop: None,
    };
    let latencies = client::post(&load).map_err(io::Error::other)?;
    let lines: String = latencies
        .iter()
        .map(|latency| format!("{}\n", latency.as_nanos()))
        .collect();
    io::stdout().write_all(lines.as_bytes())
}

/// Runs a command in which pidfd_open(2) fails with EPERM, as in some containers: seccomp(2).
#[cfg(target_os = "linux")]
pub fn run_without_pidfd(command: &[&str]) -> io::Result<()> {
    use std::os::unix::process::CommandExt;

    let instruction = |code: u32, if_false, operand| libc::sock_filter {
        code: code as u16,
        jt: 0,
        jf: if_false,
        k: operand,
    };
    let refusal = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    let mut filter = [
        // The number of the system call is the first field of `seccomp_data`.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(
            libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K,
            1,
            libc::SYS_pidfd_open as u32,
        ),
        instruction(libc::BPF_RET | libc::BPF_K, 0, refusal),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true)?;
    // SAFETY: the program points to a filter, and both outlive the call, which copies them.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
        0 => Err(Command::new(command[0]).args(&command[1..]).exec()),
        _ => Err(io::Error::last_os_error()),
    }
}
