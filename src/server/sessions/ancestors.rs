//! Which process a session lives in, found from the ancestors of its hooks' peers.
//!
//! A hook's peer ends soon. What two hooks of a session have in common is above their peers:
//!
//! ```text
//! systemd ─ bash ─ client ─┬─ sh ─ curl     the peer of the first hook
//!                          └─ sh ─ curl     the peer of a hook a second later
//! ```
//!
//! The nearest common ancestor is the client. Two hooks that follow each other at once could
//! also come from one script, which would then be the nearest. So the two hooks must be at least
//! one second apart.
//!
//! A walk goes from parent to parent, and ends where the parent need not be the process that
//! started the child. If a process ends, its children get another parent, a reaper: pid 1, or
//! an ancestor that asked for it (`PR_SET_CHILD_SUBREAPER`, prctl(2)), such as `systemd
//! --user`. A reaper says nothing about its child. /proc does not show who is one, but it
//! shows what a child inherits, see [`may_be_started_by`].
//!
//! This file is pure: what /proc says comes in as [`Status`].
//!
//! Stop 14 of EDU_NOTES.md.

use std::time::{Duration, Instant};

/// The hooks that identify a process are at least this far apart.
const MIN_DISTANCE: Duration = Duration::from_secs(1);
/// The longest walk. A client is a few steps above its hooks.
const MAX_ANCESTORS: usize = 16;

/// A process. pids are reused: the start time distinguishes a process from an earlier one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Process {
    pub pid: u32,
    /// In ticks since boot.
    pub started_at: u64,
}

/// What /proc says about a process.
#[derive(Debug, Clone)]
pub struct Status {
    pub parent: u32,
    pub process_group: u32,
    pub session: u32,
    pub started_at: u64,
    /// The real uid.
    pub uid: u32,
    /// Whether it is the init of a pid namespace, or a systemd: a process that exists to be a
    /// reaper.
    pub is_init: bool,
    /// Whether SIGINT and SIGQUIT are ignored.
    pub ignores_interrupts: bool,
    /// Whether it runs a shell, or is not known to run something else.
    pub is_shell: bool,
}

/// The ancestors of a peer with this pid and uid, the nearest first, as far as they can be
/// the process that its session lives in. `read` returns the status of a process.
pub fn ancestors(pid: u32, uid: u32, mut read: impl FnMut(u32) -> Option<Status>) -> Vec<Process> {
    let mut ancestors = Vec::new();
    let (mut child_pid, mut child) = (pid, read(pid));
    while let Some(status) = child.take()
        && ancestors.len() < MAX_ANCESTORS
        && let Some(parent) = read(status.parent)
        && !parent.is_init
        && parent.uid == uid
        && may_be_started_by(child_pid, &status, &parent)
    {
        ancestors.push(Process {
            pid: status.parent,
            started_at: parent.started_at,
        });
        (child_pid, child) = (status.parent, Some(parent));
    }
    ancestors
}

/// Whether the parent may have started the child. If not, it is a reaper.
///
/// A child inherits its parent's session (setsid(2)) and process group (setpgid(2)), or leads
/// its own. One exception: a job-control shell puts a child into a pipeline's group. The walk
/// then ends early, which does no harm above the client. A child that a shell starts with `&`
/// ignores SIGINT and SIGQUIT (POSIX, asynchronous lists). Only shells do this to a child.
fn may_be_started_by(pid: u32, child: &Status, parent: &Status) -> bool {
    let shares = |own: u32, parents: u32| own == parents || own == pid;
    let is_background = child.ignores_interrupts && !parent.ignores_interrupts;
    shares(child.session, parent.session)
        && shares(child.process_group, parent.process_group)
        && (!is_background || parent.is_shell)
}

/// The ancestors of the first hook of a session, one of which is the session's process.
#[derive(Debug)]
pub struct Candidates {
    ancestors: Vec<Process>,
    found_at: Instant,
}

impl Candidates {
    /// `None` if there are no ancestors.
    pub fn new(ancestors: Vec<Process>, now: Instant) -> Option<Self> {
        (!ancestors.is_empty()).then_some(Candidates {
            ancestors,
            found_at: now,
        })
    }

    /// Whether a hook that comes now is far enough from the first one.
    pub fn can_be_confirmed(&self, now: Instant) -> bool {
        now >= self.found_at + MIN_DISTANCE
    }

    /// The nearest ancestor of a second hook that the first one has too, as an index.
    pub fn nearest_common(&self, ancestors: &[Process]) -> Option<usize> {
        let mut ancestors = ancestors.iter();
        ancestors.position(|ancestor| self.ancestors.contains(ancestor))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const UID: u32 = 1000;

    const INIT: Status = Status {
        parent: 0,
        process_group: 1,
        session: 1,
        started_at: 1,
        uid: UID,
        is_init: true,
        ignores_interrupts: false,
        is_shell: false,
    };

    /// Processes by pid. Index 0 is nobody, 1 is init, and the others are started in order.
    type Table = Vec<Option<Status>>;

    /// Starts a child of a process, which may have ended. Returns the child's pid.
    fn fork(table: &mut Table, parent: usize) -> Option<usize> {
        let child = Status {
            parent: parent as u32,
            started_at: table.len() as u64,
            is_init: false,
            ..table[parent].clone()?
        };
        table.push(Some(child));
        Some(table.len() - 1)
    }

    #[derive(Debug, Clone)]
    enum Action {
        /// A process starts a child.
        Fork(usize),
        /// The newest process leads a session or a group, or changes its uid.
        LeadSession,
        LeadGroup,
        ChangeUid,
        /// The process ends: its children get init as their parent.
        End(usize),
    }

    fn actions() -> impl Strategy<Value = Vec<Action>> {
        let pid = || any::<usize>();
        let action = prop_oneof![
            8 => pid().prop_map(Action::Fork),
            1 => Just(Action::LeadSession),
            1 => Just(Action::LeadGroup),
            1 => Just(Action::ChangeUid),
            2 => pid().prop_map(Action::End),
        ];
        vec(action, 0..80)
    }

    /// Runs the actions. Only the newest process changes its session, group or uid: in all
    /// others this comes before they start children. Returns the processes with the parents
    /// that they have now, and those that started them.
    fn run(actions: Vec<Action>) -> (Table, Vec<usize>) {
        let (mut table, mut started_by) = (vec![None, Some(INIT)], vec![0, 0]);
        for action in actions {
            let newest = table.len() - 1;
            let newest_pid = newest as u32;
            match action {
                Action::Fork(parent) => {
                    let parent = 1 + parent % newest;
                    if fork(&mut table, parent).is_some() {
                        started_by.push(parent);
                    }
                }
                Action::LeadSession => {
                    if let (2.., Some(status)) = (newest, &mut table[newest]) {
                        (status.session, status.process_group) = (newest_pid, newest_pid);
                    }
                }
                Action::LeadGroup => {
                    if let (2.., Some(status)) = (newest, &mut table[newest]) {
                        status.process_group = newest_pid;
                    }
                }
                Action::ChangeUid => {
                    if let (2.., Some(status)) = (newest, &mut table[newest]) {
                        status.uid = UID + 1;
                    }
                }
                Action::End(pid) if newest > 1 => {
                    let pid = 2 + pid % (newest - 1);
                    table[pid] = None;
                    for status in table.iter_mut().flatten() {
                        if status.parent == pid as u32 {
                            status.parent = 1;
                        }
                    }
                }
                Action::End(_) => {}
            }
        }
        (table, started_by)
    }

    fn walk(table: &Table, pid: usize) -> Vec<Process> {
        let read = |pid: u32| table.get(pid as usize).cloned().flatten();
        ancestors(pid as u32, UID, read)
    }

    proptest! {
        #[test]
        fn a_walk_passes_only_living_processes_of_the_uid_that_started_each_other(
            actions in actions(),
        ) {
            let (table, started_by) = run(actions);
            for pid in 1..table.len() {
                let ancestors = walk(&table, pid);
                prop_assert!(ancestors.len() <= MAX_ANCESTORS);
                let mut child = pid;
                for ancestor in ancestors {
                    let status = table[ancestor.pid as usize].as_ref().unwrap();
                    prop_assert_eq!(started_by[child], ancestor.pid as usize);
                    prop_assert_eq!(status.started_at, ancestor.started_at);
                    prop_assert!(!status.is_init && status.uid == UID);
                    child = ancestor.pid as usize;
                }
            }
        }

        #[test]
        fn hooks_through_any_processes_have_the_client_in_common(
            levels in vec(0..3_usize, 2),
            above in 0..4_usize,
        ) {
            let mut table = vec![None, Some(INIT)];
            let client = (0..=above).fold(1, |parent, _| fork(&mut table, parent).unwrap());
            let mut hooks = levels.into_iter().map(|levels| {
                let peer = (0..=levels).fold(client, |parent, _| fork(&mut table, parent).unwrap());
                let ancestors = walk(&table, peer);
                // The wrappers end with their hook.
                (client + 1..=peer).for_each(|pid| table[pid] = None);
                ancestors
            });
            let (first, second) = (hooks.next().unwrap(), hooks.next().unwrap());
            let candidates = Candidates::new(first, Instant::now()).unwrap();
            let common = candidates.nearest_common(&second).map(|index| second[index].pid);
            prop_assert_eq!(common, Some(client as u32));
        }

        #[test]
        fn the_nearest_common_ancestor_is_the_first_that_both_have(
            first in vec((1..9_u32, 0..2_u64), 1..6),
            second in vec((1..9_u32, 0..2_u64), 0..6),
        ) {
            let process = |(pid, started_at)| Process { pid, started_at };
            let first: Vec<_> = first.into_iter().map(process).collect();
            let second: Vec<_> = second.into_iter().map(process).collect();
            let candidates = Candidates::new(first.clone(), Instant::now()).unwrap();
            match candidates.nearest_common(&second) {
                Some(index) => {
                    prop_assert!(first.contains(&second[index]));
                    prop_assert!(second[..index].iter().all(|process| !first.contains(process)));
                }
                None => prop_assert!(second.iter().all(|process| !first.contains(process))),
            }
        }
    }

    #[test]
    fn a_child_has_its_parents_session_and_group_or_leads_its_own() {
        let status = |session, process_group| Status {
            session,
            process_group,
            ..INIT
        };
        for (session, group, may_be) in [
            (1, 2, true),
            (1, 7, true),
            (7, 7, true),
            (1, 3, false),
            (3, 2, false),
            (3, 7, false),
        ] {
            let is_same = may_be_started_by(7, &status(session, group), &status(1, 2));
            assert_eq!(is_same, may_be, "session {session}, group {group}");
        }
    }

    #[test]
    fn only_a_shell_starts_a_child_in_the_background() {
        let status = |ignores_interrupts, is_shell| Status {
            ignores_interrupts,
            is_shell,
            ..INIT
        };
        for (child, parent, is_shell, may_be) in [
            (false, false, false, true),
            (true, true, false, true),
            (true, false, true, true),
            (true, false, false, false),
        ] {
            let (child, parent) = (status(child, false), status(parent, is_shell));
            assert_eq!(may_be_started_by(7, &child, &parent), may_be);
        }
    }

    #[test]
    fn a_process_is_confirmed_after_a_second() {
        let now = Instant::now();
        let process = Process {
            pid: 2,
            started_at: 1,
        };
        let candidates = Candidates::new(vec![process], now).unwrap();
        assert!(!candidates.can_be_confirmed(now + MIN_DISTANCE - Duration::from_nanos(1)));
        assert!(candidates.can_be_confirmed(now + MIN_DISTANCE));
        assert!(Candidates::new(Vec::new(), now).is_none());
    }
}
