//! The versions of the installed clients: what `claude --version` prints.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::io::ioctl_fionbio;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};

use super::places;
use crate::cli::Version;
use crate::request::readiness;
use crate::terminal::Shown;

/// The time in which a client must print its version. It takes less than a second.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The client for which settings are made.
#[derive(Debug)]
pub struct Client {
    pub version: Version,
    /// The version, with the path if it is installed, and the others that are.
    pub name: String,
    pub has_others: bool,
}

impl Client {
    /// A client that need not be installed here.
    pub fn of_version(version: Version) -> Client {
        Client {
            version,
            name: version.to_string(),
            has_others: false,
        }
    }

    /// The oldest of the installed ones: all of them read the same settings. One that does not say
    /// its version is an error, since it may be the oldest.
    pub fn oldest() -> Result<Client, String> {
        let client = |path: PathBuf| Ok((version(&path)?, path));
        let all = places::clients().into_iter().map(client);
        let mut all = all.collect::<Result<Vec<_>, String>>()?;
        all.sort();
        let names = all.iter();
        let names = names.map(|(version, path)| format!("{version} ({})", Shown(path)));
        let names: Vec<String> = names.collect();
        match (all.first(), &names[..]) {
            (Some((version, _)), [name, others @ ..]) => Ok(Client {
                version: *version,
                name: match others {
                    [] => name.clone(),
                    others => format!(
                        "{name}, the oldest; also {}. For another one, give --client VERSION",
                        others.join(", ")
                    ),
                },
                has_others: !others.is_empty(),
            }),
            _ => {
                Err("there is no claude on the PATH, in ~/.local/bin or in ~/.claude/local".into())
            }
        }
    }
}

fn version(path: &Path) -> Result<Version, String> {
    let shown = Shown(path);
    let mut client = Command::new(path);
    if geteuid().is_root()
        && let Ok(file) = path.metadata()
    {
        // Root need not trust the programs in a user's home.
        client.uid(file.uid()).gid(file.gid());
    }
    let mut client = client
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // `claude` may be a script: its group is what must end after the timeout.
        .process_group(0)
        .spawn()
        .map_err(|error| format!("cannot run {shown} --version: {error}"))?;
    let output = client.stdout.take().map_or(Ok(String::new()), read_output);
    end(&mut client);
    match output {
        Ok(text) => Version::parse(&text).ok_or_else(|| {
            let text = text.trim_end();
            format!("{shown} --version printed {text:?}, not a version")
        }),
        Err(error) => Err(format!("{shown} --version did not answer: {error}")),
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
