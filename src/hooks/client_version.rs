//! The version of the installed client: what `claude --version` prints.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cli::Version;
use crate::request::readiness;

/// The time in which the client must print its version. It takes less than a second.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The version of the `claude` on the PATH.
pub fn installed() -> Result<Version, String> {
    let mut client = Command::new("claude")
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // `claude` may be a script: its group is what must end after the timeout.
        .process_group(0)
        .spawn()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => "there is no claude on the PATH".to_owned(),
            _ => format!("cannot run claude --version: {error}"),
        })?;
    let output = client.stdout.take().map_or(Ok(String::new()), read_output);
    end(&mut client);
    match output {
        Ok(text) => Version::parse(&text).ok_or_else(|| {
            let text = text.trim_end();
            format!("claude --version printed {text:?}, not a version")
        }),
        Err(error) => Err(format!("claude --version did not answer: {error}")),
    }
}

/// Reads to the end, which a client reaches when it exits. After the timeout, a whole line
/// is enough.
fn read_output(pipe: ChildStdout) -> io::Result<String> {
    const MAX_LENGTH: usize = 256;
    let deadline = Instant::now() + TIMEOUT;
    ioctl_fionbio(&pipe, true)?;
    let mut output = Vec::new();
    let mut buffer = [0; MAX_LENGTH];
    while output.len() < MAX_LENGTH {
        match readiness::read(&pipe, &mut buffer, Some(deadline)) {
            Ok(0) => break,
            Ok(count) => output.extend(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::TimedOut && output.contains(&b'\n') => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&output).into_owned())
}

/// Ends the client if it has not ended by itself.
fn end(client: &mut Child) {
    // It fails if all processes of the group have ended.
    let _ = kill_process_group(Pid::from_child(client), Signal::KILL);
    let _ = client.wait();
}
