//! Runs the commands of `--on-wait` and `--on-idle`: a few at once, one for each session, and none
//! for longer than its deadline.
//!
//! A command that must wait is for a session, not for what the session said: when it starts, it
//! gets the session as it is then. If that does not ask any more, it does not start.
//!
//! The loop asks now and then whether a command has ended, so this needs no thread.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::decision::{still_asks, still_rests};
use crate::cli::WatchOptions;
use crate::format::summary;
use crate::watch::client_files::{Panes, Place};
use crate::watch::command::{self, Running};
use crate::watch::session::Session;
use crate::watch::sessions::Sessions;
use crate::watch::source;
use crate::watch::table;

/// The time that a command has.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Commands that run at once.
const MAX_RUNNING: usize = 16;
/// Bytes of what a failed command has written to stderr that the user sees.
const ERROR_LENGTH: usize = 100;

/// Why a command runs.
#[derive(Clone, Copy)]
pub enum Cause {
    /// A question, and when it arrived. `None`: only the client's file tells.
    Question(Option<Instant>),
    TurnEnd,
}

impl Cause {
    fn still_holds(self, session: &Session) -> bool {
        match self {
            Cause::Question(arrived) => still_asks(session, arrived),
            Cause::TurnEnd => still_rests(session),
        }
    }

    fn option(self) -> &'static str {
        match self {
            Cause::Question(_) => "--on-wait",
            Cause::TurnEnd => "--on-idle",
        }
    }
}

/// The commands that run, and those that wait for their turn.
pub struct Commands {
    on_wait: Option<String>,
    on_idle: Option<String>,
    /// Whether the sessions run on this machine now.
    is_live: bool,
    /// The sessions whose commands wait, by their ids.
    queue: Vec<(String, Cause)>,
    jobs: Vec<Job>,
}

impl Commands {
    pub fn new(options: &WatchOptions) -> Commands {
        Commands {
            on_wait: options.on_wait.clone(),
            on_idle: options.on_idle.clone(),
            is_live: source::is_live(&options.source),
            queue: Vec::new(),
            jobs: Vec::new(),
        }
    }

    /// A command is to run for a session. If one still waits, this is the reason now: a session
    /// asks, or its turn is over.
    pub fn add(&mut self, session: &Session, cause: Cause) {
        match self.queue.iter_mut().find(|(id, _)| *id == session.id) {
            Some((_, waiting)) => *waiting = cause,
            None => self.queue.push((session.id.clone(), cause)),
        }
    }

    /// Ends and starts the commands whose time has come. Returns what failed, for the user.
    pub fn run(&mut self, sessions: &Sessions, now: Instant) -> Vec<String> {
        let mut errors = Vec::new();
        self.jobs.retain_mut(|job| match job.outcome(now) {
            None => true,
            Some(outcome) => {
                errors.extend(outcome.err());
                false
            }
        });
        let mut panes = Panes::new();
        while let Some(next) = self.next() {
            let (id, cause) = self.queue.remove(next);
            let session = sessions.get(&id);
            if let Some(session) = session.filter(|session| cause.still_holds(session))
                && let Some(command) = self.command(cause)
            {
                match self.start(command, session, cause, &mut panes, now) {
                    Ok(job) => self.jobs.push(job),
                    Err(error) => errors.push(error),
                }
            }
        }
        errors
    }

    /// The next one in the queue that may start.
    fn next(&self) -> Option<usize> {
        let is_free = |id: &str| self.jobs.iter().all(|job| job.id != id);
        let next = self.queue.iter().position(|(id, _)| is_free(id));
        next.filter(|_| self.jobs.len() < MAX_RUNNING)
    }

    /// The error is for the user.
    fn start(
        &self,
        command: &str,
        session: &Session,
        cause: Cause,
        panes: &mut Panes,
        now: Instant,
    ) -> Result<Job, String> {
        let name = format!("the command of {} for {}", cause.option(), session.name());
        let details = self.is_live.then(|| Place::of(session).read(panes));
        let input = table::json(session, &details.unwrap_or_default());
        match spawn(command, &input, now + TIMEOUT) {
            Ok((running, stderr)) => Ok(Job {
                running,
                stderr,
                id: session.id.clone(),
                name,
            }),
            Err(error) => Err(format!("{name} cannot run: {error}")),
        }
    }

    fn command(&self, cause: Cause) -> Option<&str> {
        match cause {
            Cause::Question(_) => self.on_wait.as_deref(),
            Cause::TurnEnd => self.on_idle.as_deref(),
        }
    }

    pub fn is_running(&self) -> bool {
        !self.jobs.is_empty()
    }
}

/// A command that runs. It is killed when this is dropped.
struct Job {
    running: Running,
    stderr: File,
    /// The session's.
    id: String,
    /// For the user.
    name: String,
}

impl Job {
    /// How the command has ended. `None`: it runs. The error is for the user.
    fn outcome(&mut self, now: Instant) -> Option<Result<(), String>> {
        let what = match self.running.status(now) {
            Ok(None) => return None,
            Ok(Some(status)) if status.success() => return Some(Ok(())),
            Ok(Some(status)) => format!("failed ({status}){}", self.first_error()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                format!("was killed: it took {} seconds", TIMEOUT.as_secs())
            }
            Err(error) => format!("is lost: {error}"),
        };
        Some(Err(format!("{} {what}", self.name)))
    }

    /// The first line that the command has written to stderr.
    fn first_error(&mut self) -> String {
        let mut text = Vec::new();
        // If it cannot be read, the user sees less.
        let _ = self.stderr.rewind();
        // A character has four bytes at most.
        let mut start = (&self.stderr).take(4 * ERROR_LENGTH as u64);
        let _ = start.read_to_end(&mut text);
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().next().unwrap_or_default();
        let separator = if line.is_empty() { "" } else { ": " };
        format!("{separator}{}", summary::short(line.chars(), ERROR_LENGTH))
    }
}

/// Runs a command with its output discarded, and stderr in a file.
fn spawn(command: &str, input: &str, deadline: Instant) -> io::Result<(Running, File)> {
    let stderr = tempfile::tempfile()?;
    let mut sh = Command::new("sh");
    sh.args(["-c", command]).stdout(Stdio::null());
    let running = command::start(sh.stderr(stderr.try_clone()?), input, deadline)?;
    Ok((running, stderr))
}
