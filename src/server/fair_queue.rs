//! A queue of jobs in which nobody waits for long behind the jobs of others.
//!
//! The server's own user (and root) and strangers take turns, and so do the users of each side. Of
//! one user's jobs the smallest and the oldest are next in turn ([`FairQueue::pop`]): a small one
//! does not wait for all large ones, and a large one is done in the end. Where sizes are not known,
//! the oldest is next ([`FairQueue::pop_oldest`]).
//!
//! Stop 13 of EDU_NOTES.md.

use std::collections::VecDeque;

use crate::peer;

/// Jobs that wait.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// The user whose turn it is. Without jobs only if nobody has any.
    current: User<T>,
    /// The others who have jobs, in the order of their turns.
    others: VecDeque<User<T>>,
}

#[derive(Debug)]
struct User<T> {
    uid: u32,
    /// Sizes and jobs. The oldest is the first.
    jobs: VecDeque<(usize, T)>,
    /// Whether the oldest is next, not the smallest.
    is_oldest_next: bool,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        FairQueue {
            current: User::new(0),
            others: VecDeque::new(),
        }
    }
}

impl<T> FairQueue<T> {
    /// Adds a job of a user.
    pub fn push(&mut self, uid: u32, size: usize, job: T) {
        if self.is_empty() {
            self.current.uid = uid;
        }
        let user = match self.current.uid == uid {
            true => &mut self.current,
            false => self.other(uid),
        };
        user.jobs.push_back((size, job));
    }

    /// One of the others, who is added if necessary.
    fn other(&mut self, uid: u32) -> &mut User<T> {
        let index = self.others.iter().position(|user| user.uid == uid);
        let index = index.unwrap_or_else(|| {
            self.others.push_back(User::new(uid));
            self.others.len() - 1
        });
        &mut self.others[index]
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.current.jobs.is_empty()
    }

    /// The number of jobs.
    pub fn len(&self) -> usize {
        let others = self.others.iter().map(|user| user.jobs.len());
        self.current.jobs.len() + others.sum::<usize>()
    }

    /// Removes and returns the next job.
    pub fn pop(&mut self) -> Option<T> {
        let job = self.current.pop();
        self.end_turn();
        job
    }

    /// The same, but always the oldest of a user, and with the user.
    pub fn pop_oldest(&mut self) -> Option<(u32, T)> {
        let uid = self.current.uid;
        let (_, job) = self.current.jobs.pop_front()?;
        self.end_turn();
        Some((uid, job))
    }

    /// It is the turn of another user, if there is one.
    fn end_turn(&mut self) {
        let is_own = |user: &User<T>| peer::is_self_or_root(user.uid);
        let is_next = |other: &User<T>| is_own(other) != is_own(&self.current);
        let index = self.others.iter().position(is_next).unwrap_or(0);
        if let Some(next) = self.others.remove(index) {
            let previous = std::mem::replace(&mut self.current, next);
            self.others
                .extend(Some(previous).filter(|user| !user.jobs.is_empty()));
        }
    }
}

impl<T> User<T> {
    fn new(uid: u32) -> Self {
        User {
            uid,
            jobs: VecDeque::new(),
            is_oldest_next: false,
        }
    }

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
        let mut queue = FairQueue::default();
        for job in jobs {
            queue.push(job.0, job.1, *job);
        }
        assert_eq!(queue.len(), jobs.len());
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
        assert_eq!(users, [7, 0, 8, 0, 9, 0, 7]);
        let strangers = [(7, 1), (7, 2), (8, 1), (9, 1), (8, 2)];
        assert_eq!(order(&strangers), [(7, 1), (8, 1), (9, 1), (7, 2), (8, 2)]);
    }
}
