//! Two threads that make the events of large bodies, and one that frees them.
//!
//! Validating a body of 64 MiB (the default of `--max-body`) and writing it in another format
//! takes seconds at worst, and meanwhile the loop could serve nobody. So the loop passes a large
//! body, with all that its event needs, to a thread. It gets back the text to append to the
//! log. A [`Waker`] makes the poll report the result (eventfd(2)). The threads have no socket
//! and no log.
//!
//! A job cannot be interrupted. So huge bodies (`HUGE_BODY`) have a thread of their own: others
//! do not wait while such an event is made. A [`FairQueue`] decides which job is next: one
//! connection has one job at a time, so any order keeps that of its events. Each thread does one
//! job at a time, so that only four events at a time need memory for more than their bodies: one
//! in each thread, one whose result waits for the loop, and one that waits for room in the log.
//!
//! The memory of a large event comes back when nobody needs it any more. The kernel takes a
//! millisecond for 16 MiB of it, so a third thread does that.
//!
//! Stop 13 of EDU_NOTES.md.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use mio::Waker;

use crate::event::{self, Event, SessionFields};
use crate::format::{Format, Forms};
use crate::peer::Peer;
use crate::server::fair_queue::FairQueue;

/// A body of more bytes is huge. The most expensive bodies take 100 ns of CPU a byte, so this
/// many bytes take 0.2 s at most.
const HUGE_BODY: usize = 2 << 20;

/// What a thread needs to make an event.
#[derive(Debug)]
pub struct Job {
    /// The key of the client. The result comes back with it.
    pub client: usize,
    pub time: String,
    pub event_name: String,
    pub peer: Peer,
    pub body: Vec<u8>,
}

/// What a thread has made of a job.
#[derive(Debug)]
pub struct Finished {
    /// Without its body.
    pub job: Job,
    pub forms: Forms,
    /// The strings `session_id` and `cwd` of the payload, for
    /// [`SessionHook`](super::sessions::SessionHook).
    pub session_id: Option<String>,
    pub cwd: Option<String>,
}

/// The handle of the threads.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
    huge_jobs: Sender<Job>,
    results: Receiver<Finished>,
    garbage: Sender<Vec<u8>>,
    /// A result for which the log has no room yet.
    held: Option<Finished>,
    /// Jobs whose result has not been taken.
    unfinished: usize,
}

impl Worker {
    /// Starts the threads. They wake the poll through `waker` after each job.
    pub fn start(format: Format, waker: Waker) -> io::Result<Self> {
        let waker = Arc::new(waker);
        // A thread waits until the loop has taken the result before: the forms of an event can
        // be several times longer than its body, and must not pile up.
        let (results_sender, results) = mpsc::sync_channel(1);
        let start = |name: &str| {
            let (jobs, new_jobs) = mpsc::channel::<Job>();
            let (results, waker) = (results_sender.clone(), waker.clone());
            thread::Builder::new().name(name.into()).spawn(move || {
                let mut waiting = FairQueue::default();
                while let Some(job) = next_job(&new_jobs, &mut waiting) {
                    let result = finish(format, job);
                    // They fail when the loop has ended.
                    if results.send(result).is_err() || waker.wake().is_err() {
                        break;
                    }
                }
            })?;
            io::Result::Ok(jobs)
        };
        let (garbage, queue) = mpsc::channel();
        let free = move || queue.into_iter().for_each(drop);
        thread::Builder::new().name("freeing".into()).spawn(free)?;
        Ok(Worker {
            garbage,
            jobs: start("worker")?,
            huge_jobs: start("huge worker")?,
            results,
            held: None,
            unfinished: 0,
        })
    }

    /// Queues a job. Its result comes from [`Worker::take_result`].
    pub fn submit(&mut self, job: Job) {
        self.unfinished += 1;
        let is_huge = job.body.len() > HUGE_BODY;
        let queue = if is_huge { &self.huge_jobs } else { &self.jobs };
        // It fails only if the thread has ended, which it does after the loop.
        let _ = queue.send(job);
    }

    /// Frees memory, but not in the loop.
    pub fn free(&self, garbage: Vec<Vec<u8>>) {
        for bytes in garbage {
            // It fails only if the thread has ended, which it does after the loop.
            let _ = self.garbage.send(bytes);
        }
    }

    /// A finished event, if there is one.
    pub fn take_result(&mut self) -> Option<Finished> {
        let held = self.held.take();
        let result = held.or_else(|| self.results.try_recv().ok())?;
        self.unfinished -= 1;
        Some(result)
    }

    /// Takes a result back: [`Worker::take_result`] returns it again.
    pub fn hold(&mut self, result: Finished) {
        self.unfinished += 1;
        self.held = Some(result);
    }

    /// Whether a result was taken back.
    pub fn has_held(&self) -> bool {
        self.held.is_some()
    }

    /// Whether a job's result has not been taken.
    pub fn has_jobs(&self) -> bool {
        self.unfinished > 0
    }
}

/// The next job. Waits for one if there is none. `None`: the loop has ended.
fn next_job(new_jobs: &Receiver<Job>, waiting: &mut FairQueue<Job>) -> Option<Job> {
    let first = match waiting.is_empty() {
        true => Some(new_jobs.recv().ok()?),
        false => None,
    };
    for job in first.into_iter().chain(new_jobs.try_iter()) {
        waiting.push(job.peer.uid, job.body.len(), job);
    }
    waiting.pop()
}

/// Makes an event. A body and its texts can have hundreds of megabytes, so each is freed as
/// soon as the next one is made.
fn finish(format: Format, mut job: Job) -> Finished {
    let body = event::into_utf8(std::mem::take(&mut job.body));
    let event = Event::hook(&job.time, &job.event_name, &job.peer, &body);
    let SessionFields { id, cwd } = event.session();
    let (session_id, cwd) = (id.map(str::to_owned), cwd.map(str::to_owned));
    let event = event.detached();
    drop(body);
    Finished {
        job,
        forms: format.forms(event),
        session_id,
        cwd,
    }
}
