//! One session: what its hooks say, and which process it lives in.
//!
//! Stop 14 of EDU_NOTES.md.

use std::os::fd::{AsRawFd, OwnedFd};

use log::trace;
use mio::unix::SourceFd;
use mio::{Interest, Registry};

use super::ancestors::{self, Candidates, Process};
use super::proc_fs;
use crate::event::compact;
use crate::peer::Peer;
use crate::server::budget::Turn;
use crate::server::token::Token;

/// A longer path of a directory is not kept: `GET /sessions` writes those of all sessions.
pub(super) const MAX_CWD: usize = 1 << 10;
/// How many characters of an event's name are kept.
const MAX_NAME: usize = 64;

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
pub(super) struct Session {
    pub(super) id: String,
    /// The user whose hooks count. Other users cannot end the session.
    pub(super) uid: u32,
    cwd: Option<String>,
    first_time: String,
    last_time: String,
    last_event: String,
    pub(super) event_count: u64,
    pub(super) state: State,
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
            state: State::Unknown,
        }
    }

    pub(super) fn record(&mut self, hook: &SessionHook) {
        self.event_count += 1;
        hook.time.clone_into(&mut self.last_time);
        let mut name = hook.event_name;
        if let Some((end, _)) = name.char_indices().nth(MAX_NAME) {
            name = &name[..end];
        }
        name.clone_into(&mut self.last_event);
        let cwd = hook.cwd.filter(|cwd| cwd.len() <= MAX_CWD);
        if self.cwd.as_deref() != cwd {
            self.cwd = cwd.map(str::to_owned);
        }
    }

    /// Tries to identify the session's process. Reads /proc only if this hook can help.
    pub(super) fn identify(
        &mut self,
        key: usize,
        hook: &SessionHook,
        registry: &Registry,
        turn: &mut Turn,
    ) {
        let first = match &self.state {
            // Another process may have resumed the session, from the same shell: that would be
            // what the two have in common.
            State::Candidates(_) if hook.event_name == "SessionStart" => None,
            State::Candidates(first) if !first.can_be_confirmed(turn.now) => return,
            State::Candidates(first) => Some(first),
            State::Unknown => None,
            State::Watched { .. } | State::Ended(_) => return,
        };
        let Some(ancestors) = walk(hook.peer, turn) else {
            return;
        };
        let common = first.and_then(|first| first.nearest_common(&ancestors));
        let Some(common) = common else {
            if let Some(candidates) = Candidates::new(ancestors, turn.now) {
                self.state = State::Candidates(candidates);
            }
            return;
        };
        if let Some((pid, pidfd)) = open(hook.peer, &ancestors[..=common], turn)
            && watch(&pidfd, key, registry)
        {
            trace!("{}: lives in process {pid}", Token::Session(key));
            self.state = State::Watched { pid, _pidfd: pidfd };
        }
    }

    fn pid(&self) -> Option<u32> {
        match self.state {
            State::Watched { pid, .. } | State::Ended(pid) => Some(pid),
            State::Unknown | State::Candidates(_) => None,
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

/// The ancestors of a peer. `None` if the turn has no time for another walk, or the peer has
/// no pid in this namespace: then a later hook may help.
fn walk(peer: &Peer, turn: &mut Turn) -> Option<Vec<Process>> {
    let pid = peer.pid.filter(|_| turn.take_walk())?;
    Some(ancestors::ancestors(pid, peer.uid, proc_fs::status))
}

/// Opens the last of these ancestors of a peer, by its pid. That may belong to another process
/// by now, so the ancestors must still be the same once it is open.
fn open(peer: &Peer, ancestors: &[Process], turn: &mut Turn) -> Option<(u32, OwnedFd)> {
    let pid = ancestors.last()?.pid;
    let pidfd = proc_fs::open_pidfd(pid)?;
    let again = walk(peer, turn)?;
    again.starts_with(ancestors).then_some((pid, pidfd))
}

/// Registers a pidfd with the poll. Closing it ends that.
fn watch(pidfd: &OwnedFd, key: usize, registry: &Registry) -> bool {
    let (fd, token) = (pidfd.as_raw_fd(), Token::Session(key).into());
    let result = registry.register(&mut SourceFd(&fd), token, Interest::READABLE);
    result.is_ok()
}
