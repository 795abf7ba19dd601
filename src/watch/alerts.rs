//! What happens when a session asks the user: the terminal rings, a command runs.
//!
//! Only for what happens now: events that are more than a few seconds old cause nothing.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::client_files::Details;
use super::clock::now;
use super::session::{Change, Session};
use super::table;
use crate::cli::WatchOptions;
use crate::format::summary;

/// An event that is older, in seconds, belongs to the past.
const RECENT: u64 = 5;
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
type Running = Arc<Mutex<HashMap<String, Job>>>;

struct Job {
    child: Child,
    /// What the command gets when it runs again: the session asked for something else.
    next: Option<String>,
}

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
        if !change.is_new_question || !session.id.starts_with(&self.prefix) || !is_recent() {
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
        for (_, mut job) in lock(&self.running).drain() {
            kill(&mut job.child);
        }
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

/// Runs the command for a session, or again when the one ends that runs for it now.
fn run(command: &str, session: &Session, running: &Running) -> io::Result<()> {
    let mut jobs = lock(running);
    let input = table::json(session, &Details::default());
    if let Some(job) = jobs.get_mut(&session.id) {
        job.next = Some(input);
        return Ok(());
    }
    if jobs.len() >= MAX_COMMANDS {
        return Err(io::Error::other("16 others still run"));
    }
    jobs.insert(session.id.clone(), start(command, &input)?);
    let (command, id) = (command.to_owned(), session.id.clone());
    let running = Arc::clone(running);
    thread::Builder::new()
        .name("command".into())
        .spawn(move || while wait(&command, &id, &running).is_some() {})?;
    Ok(())
}

fn start(command: &str, input: &str) -> io::Result<Job> {
    // A file, since writing to a pipe could block.
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let child = Command::new("sh")
        .args(["-c", command])
        .stdin(file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // So that all its processes can be ended.
        .process_group(0)
        .spawn()?;
    Ok(Job { child, next: None })
}

/// Waits until the command of a session has ended, and ends it when its time is over. `None`:
/// it does not run again.
fn wait(command: &str, id: &str, running: &Running) -> Option<()> {
    let end = Instant::now() + TIMEOUT;
    loop {
        thread::sleep(POLL_INTERVAL);
        let mut jobs = lock(running);
        match jobs.get_mut(id)?.child.try_wait() {
            Ok(None) if Instant::now() < end => continue,
            Ok(None) => kill(&mut jobs.get_mut(id)?.child),
            _ => {}
        }
        let input = jobs.remove(id)?.next?;
        jobs.insert(id.to_owned(), start(command, &input).ok()?);
        return Some(());
    }
}

fn lock(running: &Running) -> MutexGuard<'_, HashMap<String, Job>> {
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends a command and the processes that it has started.
fn kill(child: &mut Child) {
    // They fail if it ends just now.
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
    let _ = child.wait();
}
