//! One session: what its hooks say, and which process it lives in.
//!
//! Stop 14 of EDU_NOTES.md.

use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use log::trace;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::ancestors::{self, Process, Walk};
use super::proc_fs;
use crate::event::compact;
use crate::peer::Peer;
use crate::server::budget::Turn;
use crate::server::token::Token;

/// A longer path of a directory is not kept: `GET /sessions` writes those of all sessions.
pub(super) const MAX_CWD: usize = 1 << 10;
/// How many characters of an event's name are kept.
const MAX_NAME: usize = 64;
/// The hooks that identify a process are at least this far apart. One script may post several.
const MIN_DISTANCE: Duration = Duration::from_secs(1);

/// What a hook says about its session.
#[derive(Debug, Clone, Copy)]
pub struct SessionHook<'a> {
    pub peer: &'a Peer,
    /// The event's `_ts`.
    pub time: &'a str,
    pub event_name: &'a str,
    /// Two strings as the payload spells them, with quotes.
    pub session_id: &'a str,
    pub cwd: Option<&'a str>,
}

/// What is known about the process of a session.
#[derive(Debug)]
pub(super) enum State {
    Unknown,
    /// It is one of the ancestors of a hook's peer.
    Candidates(Walk),
    /// The poll will report its end. Closing the descriptor would end that.
    Watched {
        process: Process,
        _pidfd: OwnedFd,
    },
    /// It has ended, and the deadline for a `SessionEnd` runs.
    Ended(u32),
    /// The kernel gives no descriptor for it (seccomp(2), or an old kernel).
    Refused,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: String,
    /// Another user's session with the same id is another one.
    pub(super) uid: u32,
    cwd: Option<String>,
    first_time: String,
    last_time: String,
    last_event: String,
    pub(super) event_count: u64,
    /// The number of its last hook among those of all sessions.
    pub(super) last_hook: u64,
    pub(super) state: State,
    /// When its process was last looked for.
    looked_at: Option<Instant>,
}

impl Session {
    pub(super) fn new(hook: &SessionHook) -> Self {
        Session {
            id: hook.session_id.to_owned(),
            uid: hook.peer.uid,
            cwd: None,
            first_time: hook.time.to_owned(),
            last_time: String::new(),
            last_event: String::new(),
            event_count: 0,
            last_hook: 0,
            state: State::Unknown,
            looked_at: None,
        }
    }

    /// Records a hook, which has this number among those of all sessions.
    pub(super) fn record(&mut self, hook: &SessionHook, number: u64) {
        self.event_count += 1;
        self.last_hook = number;
        hook.time.clone_into(&mut self.last_time);
        let mut name = hook.event_name;
        if name.len() > MAX_NAME
            && let Some((end, _)) = name.char_indices().nth(MAX_NAME)
        {
            name = &name[..end];
        }
        name.clone_into(&mut self.last_event);
        let cwd = hook.cwd.filter(|cwd| cwd.len() <= MAX_CWD);
        if self.cwd.as_deref() != cwd {
            self.cwd = cwd.map(str::to_owned);
        }
    }

    /// Tries to identify the session's process, at most once a second. Reads /proc only if this
    /// hook can help.
    pub(super) fn identify(
        &mut self,
        key: usize,
        hook: &SessionHook,
        registry: &Registry,
        turn: &mut Turn,
    ) {
        // Another process may have resumed the session, from the same shell: that would be what the
        // two have in common.
        if matches!(self.state, State::Candidates(_)) && hook.event_name == "SessionStart" {
            self.state = State::Unknown;
        }
        let is_early = self
            .looked_at
            .is_some_and(|at| turn.now < at + MIN_DISTANCE);
        if is_early || matches!(self.state, State::Ended(_) | State::Refused) {
            return;
        }
        // The peer may have no pid in this namespace, or the turn no time: a later hook may help.
        let Some(pid) = hook.peer.pid.filter(|_| turn.has_time_for_walk()) else {
            return;
        };
        self.looked_at = Some(turn.now);
        let Some(walk) = ancestors::walk(pid, hook.peer.uid, proc_fs::status) else {
            return;
        };
        let common = match &self.state {
            State::Watched { process, .. } if walk.ancestors.contains(process) => return,
            State::Candidates(first) => first.nearest_common(&walk),
            _ => None,
        };
        if let Some(process) = common {
            self.watch(key, process, registry);
        } else if !walk.ancestors.is_empty() {
            // Also if the session goes on in another process than the one that is watched.
            self.state = State::Candidates(walk);
        }
    }

    /// Watches this process, unless it has ended by now: then a later hook tries again.
    fn watch(&mut self, key: usize, process: Process, registry: &Registry) {
        match proc_fs::open_pidfd(process) {
            Ok(Some(pidfd)) if register(&pidfd, key, registry) => {
                trace!("{}: lives in process {}", Token::Session(key), process.pid);
                self.state = State::Watched {
                    process,
                    _pidfd: pidfd,
                };
            }
            Ok(_) => {}
            Err(_) => self.state = State::Refused,
        }
    }

    fn pid(&self) -> Option<u32> {
        match self.state {
            State::Watched { process, .. } => Some(process.pid),
            State::Ended(pid) => Some(pid),
            State::Unknown | State::Candidates(_) | State::Refused => None,
        }
    }

    /// Writes the session as a JSON object.
    pub(super) fn write_json(&self, out: &mut String) {
        out.push_str("{\"session_id\":");
        compact::write(&self.id, out);
        let pid = self.pid().map_or("null".into(), |pid| pid.to_string());
        out.push_str(&format!(",\"pid\":{pid},\"uid\":{},\"cwd\":", self.uid));
        compact::write(self.cwd.as_deref().unwrap_or("null"), out);
        for (name, text) in [
            ("started", &self.first_time),
            ("last", &self.last_time),
            ("last_event", &self.last_event),
        ] {
            out.push_str(&format!(",\"{name}\":"));
            compact::write_string(text, out);
        }
        out.push_str(&format!(",\"events\":{}}}", self.event_count));
    }
}

/// Registers a pidfd with the poll. Closing it ends that.
fn register(pidfd: &OwnedFd, key: usize, registry: &Registry) -> bool {
    let (fd, token) = (pidfd.as_raw_fd(), Token::Session(key).into());
    let result = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
    result.is_ok()
}
