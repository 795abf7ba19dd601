//! Sessions: the process that each lives in, and whether it is still there.
//!
//! Claude Code fires no hook when it is killed, so events alone do not tell a session that
//! works from one that is gone. The kernel tells: who posts a hook (`SO_PEERCRED`), who
//! started that process (/proc), and when a process ends (a pidfd, in the same poll as all
//! else). What is known of a session's process only moves forward:
//!
//! ```text
//! Unknown ── a hook ──> Candidates ── a hook a second later ──> Watched ── it ends ──> Ended
//! ```
//!
//! `SessionEnd` removes the session in any state. Without it, an ended process is reported
//! half a second later, as the event `_gone`. A hook after that begins again.
//!
//! - This file holds the sessions.
//! - [`ancestors`] finds a session's process among the ancestors of its hooks' peers.
//! - [`proc_fs`] asks the kernel about a process.
//!
//! The peer waits for its response, so it is still there while its ancestors are read.
//!
//! Stop 9 of EDU_NOTES.md.

mod ancestors;
mod proc_fs;

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use log::trace;
use mio::unix::SourceFd;
use mio::{Interest, Registry};
use slab::Slab;

use self::ancestors::{Candidates, Process};
use super::budget::Budget;
use super::deadlines::Deadlines;
use super::source::Source;
use crate::event::{self, Event};
use crate::peer::Peer;

/// Sessions that are known at a time. The least recently heard one makes room for another.
pub const MAX_SESSIONS: usize = 512;
/// How long a `SessionEnd` may still come after the process has ended: the hook that posts it
/// can outlive the client.
const GONE_DELAY: Duration = Duration::from_millis(500);
/// A session whose id is longer than this, as spelled, is not followed. Real ones have 38 bytes.
const MAX_ID: usize = 256;
/// A longer path of a directory is not kept. The longest path has 4,096 bytes (`PATH_MAX`), and
/// escapes make it longer.
const MAX_CWD: usize = 8 << 10;

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

impl<'a> SessionHook<'a> {
    /// `None` for an event without a session.
    pub fn new(
        peer: &'a Peer,
        time: &'a str,
        event_name: &'a str,
        event: &'a Event,
    ) -> Option<Self> {
        Some(SessionHook {
            peer,
            time,
            event_name,
            session_id: event.payload_string("session_id")?,
            cwd: event.payload_string("cwd"),
        })
    }
}

/// What is known about the process of a session.
#[derive(Debug)]
enum State {
    Unknown,
    /// It is one of these.
    Candidates(Candidates),
    /// The poll will report its end. Closing the descriptor would end that.
    Watched {
        pid: u32,
        _pidfd: OwnedFd,
    },
    /// It has ended, and the deadline for a `SessionEnd` runs.
    Ended(u32),
}

#[derive(Debug)]
struct Session {
    id: String,
    /// The user whose hooks count. Other users cannot end the session.
    uid: u32,
    cwd: Option<String>,
    started: String,
    last: String,
    last_event: String,
    events: u64,
    state: State,
}

/// The sessions that have not ended, as far as they are known.
#[derive(Debug)]
pub struct Sessions {
    sessions: Slab<Session>,
    /// The keys of the sessions, by their ids.
    keys: HashMap<String, usize>,
    capacity: usize,
    /// Sessions by when they were last heard. With no timeout, the least recent has expired.
    recency: Deadlines,
    gone_deadlines: Deadlines,
    /// Whether processes can be identified here.
    has_proc: bool,
}

impl Sessions {
    /// `capacity` is how many descriptors the sessions may use.
    pub fn new(capacity: usize) -> Self {
        Sessions {
            sessions: Slab::new(),
            keys: HashMap::new(),
            capacity: capacity.min(MAX_SESSIONS),
            recency: Deadlines::new(Duration::ZERO),
            gone_deadlines: Deadlines::new(GONE_DELAY),
            has_proc: proc_fs::is_readable(),
        }
    }

    /// The number of sessions. Each uses a descriptor at most.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// A hook was read, and its peer waits for the response.
    pub fn handle_hook(
        &mut self,
        hook: &SessionHook,
        registry: &Registry,
        budget: &mut Budget,
        now: Instant,
    ) {
        if hook.session_id.len() > MAX_ID {
            return;
        }
        let key = self.keys.get(hook.session_id).copied();
        if hook.event_name == "SessionEnd" {
            let key = key.filter(|key| self.sessions[*key].uid == hook.peer.uid);
            key.map(|key| self.remove(key));
            return;
        }
        let Some(key) = key.or_else(|| self.add(hook, now)) else {
            return;
        };
        let session = &mut self.sessions[key];
        if session.uid != hook.peer.uid {
            return;
        }
        session.count(hook);
        self.recency.set(key, now);
        if self.has_proc {
            session.identify(key, hook, registry, budget, now);
        }
    }

    /// Adds a session, in place of the least recently heard one if there are too many.
    fn add(&mut self, hook: &SessionHook, now: Instant) -> Option<usize> {
        if self.sessions.len() >= self.capacity {
            let oldest = self.recency.take_expired(now)?;
            self.remove(oldest);
        }
        let key = self.sessions.insert(Session::new(hook));
        self.keys.insert(hook.session_id.to_owned(), key);
        Some(key)
    }

    fn remove(&mut self, key: usize) -> Option<Session> {
        let session = self.sessions.try_remove(key)?;
        self.keys.remove(&session.id);
        self.recency.clear(key);
        self.gone_deadlines.clear(key);
        Some(session)
    }

    /// The poll reported the process of a session: it has ended.
    pub fn handle_report(&mut self, key: usize, now: Instant) {
        if let Some(session) = self.sessions.get_mut(key)
            && let State::Watched { pid, .. } = session.state
        {
            trace!("{}: process {pid} has ended", Source::Session(key));
            session.state = State::Ended(pid);
            self.gone_deadlines.set(key, now);
        }
    }

    /// The earliest deadline for a `SessionEnd`.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.gone_deadlines.earliest()
    }

    /// Removes a session whose process ended without a `SessionEnd`, if there is one. Returns the
    /// process and the id of the session. Call it after the reads of a turn: what the server
    /// reads late may have come in time.
    pub fn take_gone(&mut self, now: Instant) -> Option<(u32, String)> {
        let key = self.gone_deadlines.take_expired(now)?;
        let session = self.remove(key)?;
        trace!("{}: gone", Source::Session(key));
        match session.state {
            State::Ended(pid) => Some((pid, session.id)),
            _ => None,
        }
    }

    /// The sessions as a JSON array, for `GET /sessions`.
    #[allow(dead_code)]
    pub fn to_json(&self) -> String {
        let sessions = self.sessions.iter();
        let objects: Vec<String> = sessions.map(|(_, session)| session.to_json()).collect();
        format!("[{}]", objects.join(","))
    }
}

impl Session {
    fn new(hook: &SessionHook) -> Self {
        Session {
            id: hook.session_id.to_owned(),
            uid: hook.peer.uid,
            cwd: None,
            started: hook.time.to_owned(),
            last: String::new(),
            last_event: String::new(),
            events: 0,
            state: State::Unknown,
        }
    }

    fn count(&mut self, hook: &SessionHook) {
        self.events += 1;
        hook.time.clone_into(&mut self.last);
        hook.event_name.clone_into(&mut self.last_event);
        let cwd = hook.cwd.filter(|cwd| cwd.len() <= MAX_CWD);
        if self.cwd.as_deref() != cwd {
            self.cwd = cwd.map(str::to_owned);
        }
    }

    /// Comes closer to the process of the session, if this hook can help. Reads /proc only then.
    fn identify(
        &mut self,
        key: usize,
        hook: &SessionHook,
        registry: &Registry,
        budget: &mut Budget,
        now: Instant,
    ) {
        let first = match &self.state {
            // Another process may have resumed the session, from the same shell: that would be
            // what the two have in common.
            State::Candidates(_) if hook.event_name == "SessionStart" => None,
            State::Candidates(first) if !first.can_be_confirmed(now) => return,
            State::Candidates(first) => Some(first),
            State::Unknown => None,
            State::Watched { .. } | State::Ended(_) => return,
        };
        let Some(ancestors) = walk(hook.peer, budget) else {
            return;
        };
        let common = first.and_then(|first| first.nearest_common(&ancestors));
        let Some(common) = common else {
            if let Some(candidates) = Candidates::new(ancestors, now) {
                self.state = State::Candidates(candidates);
            }
            return;
        };
        if let Some((pid, pidfd)) = open(hook.peer, &ancestors[..=common], budget)
            && watch(&pidfd, key, registry)
        {
            trace!("{}: lives in process {pid}", Source::Session(key));
            self.state = State::Watched { pid, _pidfd: pidfd };
        }
    }

    fn pid(&self) -> Option<u32> {
        match self.state {
            State::Watched { pid, .. } | State::Ended(pid) => Some(pid),
            State::Unknown | State::Candidates(_) => None,
        }
    }

    fn to_json(&self) -> String {
        format!(
            r#"{{"session_id":{},"pid":{},"uid":{},"cwd":{},"started":{},"last":{},"last_event":{},"events":{}}}"#,
            self.id,
            self.pid().map_or("null".into(), |pid| pid.to_string()),
            self.uid,
            self.cwd.as_deref().unwrap_or("null"),
            event::json_string(&self.started),
            event::json_string(&self.last),
            event::json_string(&self.last_event),
            self.events,
        )
    }
}

/// The ancestors of a peer. `None` if the turn has no time for another walk, or the peer has
/// no pid in this namespace: then a later hook may help.
fn walk(peer: &Peer, budget: &mut Budget) -> Option<Vec<Process>> {
    let pid = peer.pid.filter(|_| budget.take_walk())?;
    Some(ancestors::ancestors(pid, peer.uid, proc_fs::status))
}

/// Opens the last of these ancestors of a peer, by its pid. That may belong to another process
/// by now, so the ancestors must still be the same once it is open.
fn open(peer: &Peer, ancestors: &[Process], budget: &mut Budget) -> Option<(u32, OwnedFd)> {
    let pid = ancestors.last()?.pid;
    let pidfd = proc_fs::open_pidfd(pid)?;
    let again = walk(peer, budget)?;
    again.starts_with(ancestors).then_some((pid, pidfd))
}

/// Registers a pidfd with the poll. Closing it ends that.
fn watch(pidfd: &OwnedFd, key: usize, registry: &Registry) -> bool {
    let (fd, token) = (pidfd.as_raw_fd(), Source::Session(key).token());
    let result = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
    result.is_ok()
}
