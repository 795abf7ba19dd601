//! Sessions: the process that each lives in, and whether it is still there.
//!
//! Claude Code fires no hook when it is killed. So events alone do not show whether a session
//! still runs. The kernel knows which process posted a hook (`SO_PEERCRED`), which process
//! started that one (/proc), and when a process ends (a pidfd, in the same poll as all other
//! descriptors). What is known about a session's process only moves forward:
//!
//! ```text
//! Unknown ── a hook ──> Candidates ── a hook a second later ──> Watched ── it ends ──> Ended
//! ```
//!
//! A hook from elsewhere, a second later, begins with candidates again: the session goes on in
//! another process. `SessionEnd` removes the session in any state. Without it, an ended process is reported
//! half a second later, as the event `_gone` (see [`gone`]). A hook after that begins again.
//!
//! - This file holds all sessions, and [`session`] one.
//! - [`ancestors`] finds a session's process among the ancestors of its hooks' peers.
//! - [`proc_fs`] asks the kernel about a process.
//!
//! The peer waits for its response, so it is still there while its ancestors are read.
//!
//! Stop 14 of EDU_NOTES.md.

mod ancestors;
mod gone;
mod proc_fs;
mod session;

use std::collections::BTreeMap;
use std::time::Instant;

use log::trace;
use mio::Registry;
use slab::Slab;

use self::gone::Gone;
pub use self::session::SessionHook;
use self::session::{Session, State};
use crate::peer;
use crate::server::budget::Turn;
use crate::server::token::Token;
use crate::server::users::Users;

/// Sessions that are known at a time. The least recently active one of the user with most makes
/// room for another.
pub const MAX_SESSIONS: usize = 512;
/// A session whose id is longer than this, as spelled, is not followed. Real ones have 38 bytes.
const MAX_ID: usize = 256;

/// The sessions that have not ended, as far as they are known.
#[derive(Debug)]
pub struct Sessions {
    sessions: Slab<Session>,
    /// The keys of the sessions, by their users and ids: an id is no secret, so another user can use
    /// it first. There are few: comparing is faster than hashing.
    keys: BTreeMap<(u32, String), usize>,
    capacity: usize,
    /// How many sessions each user has.
    users: Users,
    /// Hooks so far.
    hook_count: u64,
    pub gone: Gone,
    /// Whether processes can be identified here.
    has_proc: bool,
}

impl Sessions {
    /// `capacity` is how many descriptors the sessions may use.
    pub fn new(capacity: usize) -> Self {
        Sessions {
            sessions: Slab::new(),
            keys: BTreeMap::new(),
            capacity: capacity.min(MAX_SESSIONS),
            users: Users::default(),
            hook_count: 0,
            gone: Gone::default(),
            has_proc: proc_fs::is_readable(),
        }
    }

    /// The number of sessions whose process is watched. Each uses a descriptor.
    pub fn watched(&self) -> usize {
        let states = self.sessions.iter().map(|(_, session)| &session.state);
        states
            .filter(|state| matches!(state, State::Watched { .. }))
            .count()
    }

    /// Removes the session of a `SessionStart` whose process has ended: it was resumed before the
    /// server could report that. Returns what [`Sessions::take_gone`] would.
    pub fn take_replaced(&mut self, hook: &SessionHook) -> Option<(u32, String)> {
        if hook.event_name != "SessionStart" {
            return None;
        }
        let key = self.key(hook)?;
        let is_ended = matches!(self.sessions[key].state, State::Ended(_));
        is_ended.then(|| self.remove_ended(key))?
    }

    /// The key of a hook's session, if there is one.
    fn key(&self, hook: &SessionHook) -> Option<usize> {
        let key = (hook.peer.uid, hook.session_id.to_owned());
        self.keys.get(&key).copied()
    }

    /// A hook was read, and its peer waits for the response.
    pub fn handle_hook(&mut self, hook: &SessionHook, registry: &Registry, turn: &mut Turn) {
        if hook.session_id.len() > MAX_ID {
            return;
        }
        let key = self.key(hook);
        if hook.event_name == "SessionEnd" {
            key.map(|key| self.remove(key));
            return;
        }
        let Some(key) = key.or_else(|| self.add(hook)) else {
            return;
        };
        let session = &mut self.sessions[key];
        self.hook_count += 1;
        session.record(hook, self.hook_count);
        if self.has_proc {
            session.identify(key, hook, registry, turn);
        }
    }

    /// Adds a session, if necessary in place of the least recently active one of some user.
    fn add(&mut self, hook: &SessionHook) -> Option<usize> {
        let uid = hook.peer.uid;
        let is_full = self.sessions.len() >= self.capacity;
        let excess = self.users.with_excess_of(self.capacity);
        let excess = excess.filter(|_| is_full || !peer::is_self_or_root(uid));
        if is_full || excess.is_some() {
            let gives_way = excess.or_else(|| self.users.with_most())?;
            self.remove(self.oldest_of(gives_way)?);
        }
        let key = self.sessions.insert(Session::new(hook));
        self.keys.insert((uid, hook.session_id.to_owned()), key);
        self.users.add(uid, 1);
        Some(key)
    }

    /// The least recently active session of a user.
    fn oldest_of(&self, uid: u32) -> Option<usize> {
        let sessions = self
            .sessions
            .iter()
            .filter(|(_, session)| session.uid == uid);
        let oldest = sessions.min_by_key(|(_, session)| session.last_hook);
        oldest.map(|(key, _)| key)
    }

    fn remove(&mut self, key: usize) -> Option<Session> {
        let session = self.sessions.try_remove(key)?;
        self.keys.remove(&(session.uid, session.id.clone()));
        self.users.remove(session.uid, 1);
        self.gone.deadlines.clear(key);
        Some(session)
    }

    /// The poll reported the process of a session: it has ended.
    pub fn handle_report(&mut self, key: usize, now: Instant) {
        if let Some(session) = self.sessions.get_mut(key)
            && let State::Watched { process, .. } = session.state
        {
            trace!("{}: process {} has ended", Token::Session(key), process.pid);
            session.state = State::Ended(process.pid);
            self.gone.deadlines.set(key, now);
        }
    }

    /// Removes a session whose process ended without a `SessionEnd`, if there is one. Returns the
    /// process and the id of the session. Call it after the reads of a turn: what the server
    /// reads late may have come in time.
    pub fn take_gone(&mut self, now: Instant) -> Option<(u32, String)> {
        while let Some(key) = self.gone.deadlines.take_expired(now) {
            trace!("{}: gone", Token::Session(key));
            let gone = self.remove_ended(key);
            if gone.is_some() {
                return gone;
            }
        }
        None
    }

    /// Removes a session whose process has ended. Returns the process and the id. `None`: a
    /// stranger uses the id of another user's session, which `_gone` could not tell from this one.
    fn remove_ended(&mut self, key: usize) -> Option<(u32, String)> {
        let session = self.remove(key)?;
        let State::Ended(pid) = session.state else {
            return None;
        };
        let has_same_id = |(_, other): (usize, &Session)| other.id == session.id;
        let is_shared = self.sessions.iter().any(has_same_id);
        let is_told = !is_shared || peer::is_self_or_root(session.uid);
        is_told.then_some((pid, session.id))
    }

    /// The sessions as a JSON array, for `GET /sessions`.
    pub fn to_json(&self) -> String {
        let mut text = String::from("[");
        for (number, (_, session)) in self.sessions.iter().enumerate() {
            text.push_str(if number == 0 { "" } else { "," });
            session.write_json(&mut text);
        }
        text.push(']');
        text
    }
}

// Without /proc no session is identified.
#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::gone::SESSION_END_DELAY;
    use super::session::MAX_CWD;
    use super::*;
    use crate::peer::Peer;
    use crate::server::budget::SimulatedClock;
    use mio::Poll;
    use std::process::{Child, Command, Stdio, id};
    use std::time::Duration;

    const TIME: &str = "2026-02-09T10:30:00+00:00";

    /// Sessions and a poll. The hooks come from children of this process, so this process is
    /// what they have in common.
    struct World {
        children: [Child; 2],
        sessions: Sessions,
        poll: Poll,
        peer: Peer,
        now: Instant,
    }

    impl World {
        fn new(capacity: usize) -> Self {
            // They wait until their stdin is closed.
            let child = |_| Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
            let children = [0, 1].map(child);
            World {
                sessions: Sessions::new(capacity),
                poll: Poll::new().unwrap(),
                peer: Peer {
                    pid: Some(children[0].id()),
                    uid: rustix::process::getuid().as_raw(),
                    gid: 0,
                },
                children,
                now: Instant::now(),
            }
        }

        fn post(&mut self, event_name: &str, session_id: &str) {
            let hook = hook(&self.peer, event_name, session_id);
            let registry = self.poll.registry();
            let turn = &mut Turn::begin(SimulatedClock::at(self.now));
            self.sessions.handle_hook(&hook, registry, turn);
        }

        /// The next hook comes a second later, from another process.
        fn pass_second(&mut self) {
            self.now += Duration::from_secs(1);
            self.children.reverse();
            self.peer.pid = Some(self.children[0].id());
        }

        /// Posts two hooks of each session, a second apart: they identify its process.
        fn identify(&mut self, session_ids: &[&str]) {
            session_ids.iter().for_each(|id| self.post("Stop", id));
            self.pass_second();
            session_ids.iter().for_each(|id| self.post("Stop", id));
        }

        fn ids(&self) -> Vec<&str> {
            let sessions = self.sessions.sessions.iter();
            let mut ids: Vec<_> = sessions.map(|(_, session)| &*session.id).collect();
            ids.sort_unstable();
            ids
        }
    }

    fn hook<'a>(peer: &'a Peer, event_name: &'a str, session_id: &'a str) -> SessionHook<'a> {
        SessionHook {
            peer,
            time: TIME,
            event_name,
            session_id,
            cwd: Some(r#""/x""#),
        }
    }

    impl Drop for World {
        fn drop(&mut self) {
            for child in &mut self.children {
                drop(child.stdin.take());
                let _ = child.wait();
            }
        }
    }

    #[test]
    fn the_least_recently_active_session_makes_room() {
        let mut world = World::new(2);
        for id in ["a", "b", "a", "c"] {
            world.post("Stop", id);
        }
        assert_eq!(world.ids(), ["a", "c"]);
        world.post("SessionEnd", "a");
        world.post("Stop", "d");
        assert_eq!(world.ids(), ["c", "d"]);
        assert_eq!(world.sessions.keys.len(), 2);
        World::new(0).post("Stop", "a");
    }

    /// The stranger is first, or second.
    #[test]
    fn sessions_of_two_users_with_one_id_are_two() {
        for [first, second] in [[0, 1], [1, 0]] {
            let mut world = World::new(4);
            let own = world.peer.uid;
            world.peer.uid = own + first;
            world.post("Stop", "a");
            world.peer.uid = own + second;
            world.post("Stop", "a");
            world.pass_second();
            world.post("Stop", "a");
            assert_eq!(world.ids(), ["a", "a"]);
            let count = |key: usize| world.sessions.sessions[key].event_count;
            assert_eq!([count(0), count(1)], [1, 2]);
            world.post("SessionEnd", "a");
            assert_eq!(world.sessions.sessions[0].uid, own + first);
            assert_eq!(world.ids(), ["a"]);
        }
    }

    #[test]
    fn the_end_of_a_strangers_process_is_not_that_of_a_session_with_the_same_id() {
        let mut world = World::new(4);
        let own = world.peer.uid;
        world.post("Stop", "a");
        world.peer.uid += 1;
        world.post("Stop", "a");
        for (key, expected) in [(1, None), (0, Some((7, "a".to_owned())))] {
            world.sessions.sessions[key].state = State::Ended(7);
            world.sessions.gone.deadlines.set(key, world.now);
            let later = world.now + SESSION_END_DELAY;
            assert_eq!(world.sessions.take_gone(later), expected);
            world.peer.uid = own + 1;
            world.post("Stop", "a");
        }
    }

    #[test]
    fn a_stranger_has_half_and_of_a_full_table_the_user_with_most_gives_way() {
        let mut world = World::new(4);
        let own = world.peer.uid;
        let mut post = |uid, ids: &[&str]| {
            world.peer.uid = uid;
            ids.iter().for_each(|id| world.post("Stop", id));
            world.ids().join(" ")
        };
        assert_eq!(
            post(7, &["1", "2", "3", "4"]),
            "1 2 3 4",
            "nobody else wants any"
        );
        assert_eq!(post(own, &["a"]), "2 3 4 a");
        assert_eq!(post(7, &["5"]), "3 4 5 a");
        assert_eq!(post(own, &["b", "c"]), "5 a b c");
        assert_eq!(
            post(own, &["d"]),
            "5 b c d",
            "the server's own user has most"
        );
        assert_eq!(post(7, &["6"]), "5 6 c d");
        assert_eq!(
            post(own, &["e"]),
            "6 c d e",
            "of two that have the same, a stranger"
        );
        assert_eq!(post(0, &["r"]), "6 d e r");
    }

    #[test]
    fn a_stranger_has_half_also_where_there_is_room() {
        let mut world = World::new(4);
        world.post("Stop", "a");
        world.peer.uid = 7;
        ["1", "2", "3"].iter().for_each(|id| world.post("Stop", id));
        assert_eq!(world.ids(), ["2", "3", "a"]);
    }

    #[test]
    fn strangers_together_have_half() {
        let mut world = World::new(8);
        let own = world.peer.uid;
        let mut post = |uid, id: &str| {
            world.peer.uid = uid;
            world.post("Stop", id);
        };
        ["a", "b", "c", "d"].iter().for_each(|id| post(own, id));
        (0..100).for_each(|number| post(10_000 + number, &number.to_string()));
        assert_eq!(world.ids()[4..], ["a", "b", "c", "d"]);
    }

    #[test]
    fn a_long_id_is_not_followed() {
        let mut world = World::new(2);
        world.post("Stop", &"a".repeat(MAX_ID + 1));
        assert!(world.ids().is_empty());
    }

    #[test]
    fn a_directory_with_a_long_path_is_not_kept() {
        let mut world = World::new(2);
        world.post("Stop", "a");
        let long = "x".repeat(MAX_CWD + 1);
        let mut hook = hook(&world.peer, "Stop", "a");
        hook.cwd = Some(&long);
        let turn = &mut Turn::begin(SimulatedClock::at(world.now));
        world
            .sessions
            .handle_hook(&hook, world.poll.registry(), turn);
        assert!(world.sessions.to_json().contains(r#""cwd":null"#));
    }

    #[test]
    fn a_session_is_an_object_with_its_process_once_that_is_known() {
        let mut world = World::new(2);
        world.post("Start \"1\"", r#""a""#);
        let object = |pid: &str, event: &str, events: u64| {
            let uid = world.peer.uid;
            format!(
                r#"[{{"session_id":"a","pid":{pid},"uid":{uid},"cwd":"/x","started":"{TIME}","last":"{TIME}","last_event":"{event}","events":{events}}}]"#
            )
        };
        let first = object("null", r#"Start \"1\""#, 1);
        let second = object(&id().to_string(), "Stop", 2);
        assert_eq!(world.sessions.to_json(), first);
        world.pass_second();
        world.post("Stop", r#""a""#);
        assert_eq!(world.sessions.to_json(), second);
    }

    /// `ssh -R`, `socat` or an app that posts itself. What is behind it is not known.
    #[test]
    fn a_process_that_posts_several_hooks_identifies_nothing() {
        let mut world = World::new(2);
        for _ in 0..3 {
            world.post("Stop", "a");
            world.now += Duration::from_secs(1);
        }
        assert_eq!(world.sessions.watched(), 0);
        world.pass_second();
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 1, "another process posts");
    }

    #[test]
    fn a_hook_from_the_process_or_without_ancestors_ends_no_watch() {
        let mut world = World::new(2);
        world.identify(&["a"]);
        world.pass_second();
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 1);
        world.pass_second();
        world.peer.pid = Some(1);
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 1);
    }

    #[test]
    fn a_process_is_looked_for_once_a_second() {
        let mut world = World::new(2);
        world.post("Stop", "a");
        world.pass_second();
        world.now -= Duration::from_nanos(1);
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 0);
        world.now += Duration::from_nanos(1);
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 1);
    }

    #[test]
    fn a_peer_that_has_ended_counts_as_a_look() {
        let mut world = World::new(2);
        let pid = world.peer.pid.replace(u32::MAX);
        world.post("Stop", "a");
        world.peer.pid = pid;
        world.now += Duration::from_millis(999);
        world.identify(&["a"]);
        assert_eq!(world.sessions.watched(), 0);
        world.pass_second();
        world.post("Stop", "a");
        assert_eq!(world.sessions.watched(), 1);
    }

    #[test]
    fn a_session_that_is_resumed_at_once_is_gone_before_it_starts_again() {
        let mut world = World::new(2);
        world.identify(&["a"]);
        let [start, stop] = ["SessionStart", "Stop"].map(|name| hook(&world.peer, name, "a"));
        assert_eq!(world.sessions.take_replaced(&start), None, "it is alive");
        world.sessions.handle_report(0, world.now);
        assert_eq!(world.sessions.take_replaced(&stop), None);
        let other = Peer {
            uid: world.peer.uid + 1,
            ..world.peer
        };
        let others = hook(&other, "SessionStart", "a");
        assert_eq!(world.sessions.take_replaced(&others), None);
        let gone = (id(), "a".to_owned());
        assert_eq!(world.sessions.take_replaced(&start), Some(gone));
        assert_eq!(world.sessions.take_replaced(&start), None);
    }

    #[test]
    fn an_ended_process_is_gone_after_half_a_second() {
        let mut world = World::new(2);
        world.identify(&["a", "b"]);
        let ended_at = world.now;
        (0..2).for_each(|key| world.sessions.handle_report(key, ended_at));
        world.now += SESSION_END_DELAY;
        assert_eq!(world.sessions.gone.next_deadline(), Some(world.now));
        let before = world.now - Duration::from_nanos(1);
        assert_eq!(world.sessions.take_gone(before), None);
        world.post("Stop", "a");
        world.post("SessionEnd", "b");
        let gone = (id(), "a".to_owned());
        assert_eq!(world.sessions.take_gone(world.now), Some(gone));
        assert_eq!(world.sessions.take_gone(world.now), None);
        assert!(world.ids().is_empty() && world.sessions.gone.next_deadline().is_none());
    }

    #[test]
    fn a_turn_identifies_few_sessions_and_the_others_later() {
        let mut world = World::new(MAX_SESSIONS);
        let clock = SimulatedClock::at(world.now);
        let mut turn = Turn::begin(clock.clone());
        let ids: Vec<String> = (0..MAX_SESSIONS).map(|id| id.to_string()).collect();
        let mut post_all = |turn: &mut Turn, time| {
            for session_id in &ids {
                clock.run(time);
                let hook = hook(&world.peer, "Stop", session_id);
                let registry = world.poll.registry();
                world.sessions.handle_hook(&hook, registry, turn);
            }
            let sessions = world.sessions.sessions.iter();
            let is_unknown = |session: &Session| matches!(session.state, State::Unknown);
            sessions.filter(|(_, session)| is_unknown(session)).count()
        };
        let time = Duration::from_micros(100);
        let unknown = post_all(&mut turn, time);
        assert!(unknown > MAX_SESSIONS / 2);
        assert_eq!(post_all(&mut turn, time), unknown);
        let mut next_turn = Turn::begin(clock.clone());
        assert!(post_all(&mut next_turn, Duration::ZERO) < unknown);
    }
}
