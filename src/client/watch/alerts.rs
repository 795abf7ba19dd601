//! What happens when a session asks the user: the terminal rings, a command runs.
//!
//! Only for what happens now: the past events that a source begins with cause nothing.
//!
//! Stop 10 of EDU_NOTES.md.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::session::{Change, Session};
use super::{now, table};
use crate::cli::WatchOptions;
use crate::format::summary;

/// An event that is older, in seconds, belongs to the past.
const RECENT: i64 = 5;
/// The time that a command has.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time between two looks at a command that runs. std cannot wait with a timeout.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// Commands that run at once, each for another session.
const MAX_COMMANDS: usize = 16;

/// What the user wants to happen.
pub struct Alerts {
    /// How the ids of the sessions begin that the user wants to know of.
    prefix: String,
    /// Where to ring.
    terminal: Option<File>,
    /// What to run.
    command: Option<String>,
    running: Running,
}

/// The commands that run, by the session's id. A command is in here until it was waited for, so
/// its process group exists as long as it is.
type Running = Arc<Mutex<HashMap<String, Child>>>;

impl Alerts {
    /// The error is for the user.
    pub fn new(options: &WatchOptions) -> Result<Alerts, String> {
        Ok(Alerts {
            prefix: options.filter.session.clone(),
            terminal: options.notifies.then(terminal).transpose()?,
            command: options.on_wait.clone(),
            running: Running::default(),
        })
    }

    /// Takes what an event has changed in its session. The error is for the user.
    pub fn take(&mut self, session: &Session, change: &Change) -> Result<(), String> {
        let is_recent = || session.last.age(now()).is_some_and(|age| age <= RECENT);
        if !change.is_new_ask || !session.id.starts_with(&self.prefix) || !is_recent() {
            return Ok(());
        }
        if let Some(terminal) = &mut self.terminal {
            let text = notification(session);
            let written = terminal.write_all(text.as_bytes());
            written.map_err(|error| format!("cannot notify: {error}"))?;
        }
        match &self.command {
            Some(command) => run(command, session, &self.running)
                .map_err(|error| format!("cannot run the command of --on-wait: {error}")),
            None => Ok(()),
        }
    }
}

impl Drop for Alerts {
    /// Ends the commands that still run.
    fn drop(&mut self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.drain().for_each(|(_, child)| kill(child));
    }
}

/// The terminal on stdout, or else on stderr.
fn terminal() -> Result<File, String> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let fd = match (stdout.is_terminal(), stderr.is_terminal()) {
        (true, _) => stdout.as_fd().try_clone_to_owned(),
        (_, true) => stderr.as_fd().try_clone_to_owned(),
        _ => return Err("--notify needs a terminal: neither stdout nor stderr is one".into()),
    };
    fd.map(File::from)
        .map_err(|error| format!("cannot use the terminal: {error}"))
}

/// Rings the bell, and shows a text in the ways that iTerm2 (OSC 9) and rxvt (OSC 777) brought
/// up. Many terminals know one of them, and those that know none ignore them.
fn notification(session: &Session) -> String {
    let project = summary::project(&session.cwd);
    // A semicolon would end the title.
    let plain = |text: &str| summary::short(text.replace(';', ",").chars(), 200);
    let title = plain(&format!("{project} waits"));
    let text = plain(&session.detail());
    format!("\x07\x1b]9;{title}: {text}\x07\x1b]777;notify;{title};{text}\x07")
}

/// Runs the command, unless one still runs for this session.
fn run(command: &str, session: &Session, running: &Running) -> io::Result<()> {
    let mut children = running.lock().unwrap_or_else(PoisonError::into_inner);
    if children.contains_key(&session.id) || children.len() >= MAX_COMMANDS {
        return Ok(());
    }
    // A file, since writing to a pipe could block.
    let mut input = tempfile::tempfile()?;
    input.write_all(table::json(session).as_bytes())?;
    input.rewind()?;
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // So that all its processes can be ended.
        .process_group(0)
        .spawn()?;
    children.insert(session.id.clone(), child);
    let (id, running) = (session.id.clone(), Arc::clone(running));
    thread::Builder::new()
        .name("command".into())
        .spawn(move || wait(&id, &running))?;
    Ok(())
}

/// Waits until a command has ended, and ends it when its time is over.
fn wait(id: &str, running: &Running) {
    let end = Instant::now() + TIMEOUT;
    loop {
        thread::sleep(POLL_INTERVAL);
        let mut children = running.lock().unwrap_or_else(PoisonError::into_inner);
        match children.get_mut(id).map(Child::try_wait) {
            Some(Ok(None)) if Instant::now() < end => {}
            Some(Ok(None)) => return children.remove(id).map_or((), kill),
            _ => {
                children.remove(id);
                return;
            }
        }
    }
}

/// Ends a command and the processes that it has started.
fn kill(mut child: Child) {
    // They fail if it ends just now.
    let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
    let _ = child.wait();
}
