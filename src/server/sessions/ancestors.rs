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

use std::path::PathBuf;

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
    /// The effective uid, which is also what the kernel says of a peer.
    pub uid: u32,
    /// Whether it is pid 1, or a systemd: a process that exists to be a reaper.
    pub is_init: bool,
    /// Whether SIGINT and SIGQUIT are ignored.
    pub ignores_interrupts: bool,
    /// Whether it runs a shell, or is not known to run something else.
    pub is_shell: bool,
    /// The path of the program that it runs, if that can be read.
    pub program: Option<PathBuf>,
}

/// What a walk from a peer has found.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    pub peer: Process,
    /// The nearest first, as far as they can be the process that the peer's session lives in.
    pub ancestors: Vec<Process>,
}

/// Walks from a peer with this pid and uid. `read` returns the status of a process. `None`: there
/// is no such process.
///
/// A peer that runs the same program as its parent is a copy of a forwarder (`socat …,fork`). What
/// is behind that is not known.
pub fn walk(pid: u32, uid: u32, mut read: impl FnMut(u32) -> Option<Status>) -> Option<Walk> {
    let status = read(pid)?;
    let mut walk = Walk {
        peer: process(pid, &status),
        ancestors: Vec::new(),
    };
    let (mut child_pid, mut child) = (pid, Some(status));
    while let Some(status) = child.take()
        && walk.ancestors.len() < MAX_ANCESTORS
        && let Some(parent) = read(status.parent)
        && !parent.is_init
        && parent.uid == uid
        && may_be_started_by(child_pid, &status, &parent)
        && (child_pid != pid || status.program.is_none() || status.program != parent.program)
    {
        walk.ancestors.push(process(status.parent, &parent));
        (child_pid, child) = (status.parent, Some(parent));
    }
    Some(walk)
}

fn process(pid: u32, status: &Status) -> Process {
    Process {
        pid,
        started_at: status.started_at,
    }
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

impl Walk {
    /// The nearest ancestor of the peer of a second hook that the first one has too. None, if it is
    /// the same peer: a process that posts the hooks of others (`ssh -R`).
    pub fn nearest_common(&self, second: &Walk) -> Option<Process> {
        let mut ancestors = second.ancestors.iter();
        let nearest = ancestors.find(|ancestor| self.ancestors.contains(ancestor));
        nearest.copied().filter(|_| self.peer != second.peer)
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
        program: None,
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

    fn walk_from(table: &Table, pid: usize) -> Walk {
        let read = |pid: u32| table.get(pid as usize).cloned().flatten();
        walk(pid as u32, UID, read).unwrap()
    }

    proptest! {
        #[test]
        fn a_walk_passes_only_living_processes_of_the_uid_that_started_each_other(
            actions in actions(),
        ) {
            let (table, started_by) = run(actions);
            for pid in (1..table.len()).filter(|pid| table[*pid].is_some()) {
                let ancestors = walk_from(&table, pid).ancestors;
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
                let walk = walk_from(&table, peer);
                // The wrappers end with their hook.
                (client + 1..=peer).for_each(|pid| table[pid] = None);
                walk
            });
            let (first, second) = (hooks.next().unwrap(), hooks.next().unwrap());
            let common = first.nearest_common(&second);
            prop_assert_eq!(common.map(|process| process.pid), Some(client as u32));
        }

        #[test]
        fn the_nearest_common_ancestor_is_the_first_that_both_have(
            first in vec((1..9_u32, 0..2_u64), 1..6),
            second in vec((1..9_u32, 0..2_u64), 0..6),
        ) {
            let process = |(pid, started_at)| Process { pid, started_at };
            let first: Vec<_> = first.into_iter().map(process).collect();
            let second: Vec<_> = second.into_iter().map(process).collect();
            let of = |pid, ancestors: &Vec<Process>| Walk {
                peer: process((pid, 0)),
                ancestors: ancestors.clone(),
            };
            prop_assert_eq!(of(1, &first).nearest_common(&of(1, &second)), None);
            match of(1, &first).nearest_common(&of(2, &second)) {
                Some(nearest) => {
                    prop_assert!(first.contains(&nearest));
                    let index = second.iter().position(|process| *process == nearest).unwrap();
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

    /// `socat …,fork` posts each hook from a copy of itself.
    #[test]
    fn a_peer_that_runs_the_program_of_its_parent_says_nothing() {
        let status = |parent, program: &str| Status {
            parent,
            is_init: false,
            program: (!program.is_empty()).then(|| program.into()),
            ..INIT
        };
        for (peer, parent, above, expected) in [
            ("/bin/curl", "/bin/claude", "/bin/sh", vec![3, 2]),
            ("/bin/socat", "/bin/socat", "/bin/sh", vec![]),
            ("", "", "/bin/sh", vec![3, 2]),
            ("/bin/curl", "/bin/claude", "/bin/claude", vec![3, 2]),
        ] {
            let table = vec![
                None,
                Some(INIT),
                Some(status(1, above)),
                Some(status(2, parent)),
                Some(status(3, peer)),
            ];
            let ancestors = walk_from(&table, 4).ancestors;
            let pids: Vec<u32> = ancestors.iter().map(|process| process.pid).collect();
            assert_eq!(pids, expected, "{peer} {parent} {above}");
        }
    }
}
