//! A queue of jobs in which nobody waits for long behind the jobs of others.
//!
//! The server's own user (and root) and strangers take turns, and so do the users of each side. Of
//! one user's jobs the smallest and the oldest are next in turn: a small one does not wait for all
//! large ones, and a large one is done in the end.
//!
//! Stop 13 of EDU_NOTES.md.

use std::collections::VecDeque;

use crate::peer;

/// Jobs that wait.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// Those who have jobs, in the order of their turns.
    users: VecDeque<User<T>>,
    /// Whether the last job was of the server's own user or root.
    was_own: bool,
}

#[derive(Debug)]
struct User<T> {
    uid: u32,
    /// Sizes and jobs. The oldest is the first.
    jobs: VecDeque<(usize, T)>,
    /// Whether the oldest is next, not the smallest.
    is_oldest_next: bool,
}

impl<T> FairQueue<T> {
    /// No jobs.
    pub fn new() -> Self {
        FairQueue {
            users: VecDeque::new(),
            was_own: false,
        }
    }

    /// Adds a job of a user.
    pub fn push(&mut self, uid: u32, size: usize, job: T) {
        match self.users.iter_mut().find(|user| user.uid == uid) {
            Some(user) => user.jobs.push_back((size, job)),
            None => self.users.push_back(User {
                uid,
                jobs: [(size, job)].into(),
                is_oldest_next: false,
            }),
        }
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }

    /// Removes and returns the next job.
    pub fn pop(&mut self) -> Option<T> {
        let is_next = |user: &User<T>| peer::is_self_or_root(user.uid) != self.was_own;
        let index = self.users.iter().position(is_next).unwrap_or(0);
        let mut user = self.users.remove(index)?;
        self.was_own = peer::is_self_or_root(user.uid);
        let job = user.pop();
        if !user.jobs.is_empty() {
            self.users.push_back(user);
        }
        job
    }
}

impl<T> User<T> {
    fn pop(&mut self) -> Option<T> {
        let sizes = self.jobs.iter().map(|(size, _)| *size).enumerate();
        let smallest = sizes.min_by_key(|(_, size)| *size)?.0;
        let next = if self.is_oldest_next { 0 } else { smallest };
        self.is_oldest_next = !self.is_oldest_next;
        let (_, job) = self.jobs.remove(next)?;
        Some(job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The jobs in the order in which they are done. Each is its user and its size.
    fn order(jobs: &[(u32, usize)]) -> Vec<(u32, usize)> {
        let mut queue = FairQueue::new();
        for job in jobs {
            queue.push(job.0, job.1, *job);
        }
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn the_smallest_and_the_oldest_job_of_a_user_take_turns() {
        let jobs = [(7, 9), (7, 8), (7, 1), (7, 2), (7, 3)];
        assert_eq!(order(&jobs), [(7, 1), (7, 9), (7, 2), (7, 8), (7, 3)]);
    }

    #[test]
    fn users_take_turns_and_the_own_side_every_second_one() {
        let jobs = [(7, 1), (7, 2), (8, 1), (0, 1), (9, 1), (0, 2), (0, 3)];
        let users: Vec<u32> = order(&jobs).iter().map(|(uid, _)| *uid).collect();
        assert_eq!(users, [0, 7, 0, 8, 0, 9, 7]);
    }
}
