//! A thread that makes the events of large bodies.
//!
//! Validating a body of 64 MiB (the default of `--max-body`) and writing it in another format takes long enough to
//! notice, and meanwhile the loop could serve nobody. So the loop passes such a body, with
//! all that its event needs, to this thread. It gets back the text to append to the log. A
//! [`Waker`] makes the poll report the result (eventfd(2)). The thread has no socket and no
//! log.
//!
//! Stop 9 of EDU_NOTES.md.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use mio::Waker;

use crate::event::{self, Event};
use crate::format::{Format, Forms};
use crate::peer::Peer;

/// What the worker needs to make an event.
#[derive(Debug)]
pub struct Job {
    /// The key of the client. The result comes back with it.
    pub client: usize,
    pub time: String,
    pub event_name: String,
    pub peer: Peer,
    pub body: Vec<u8>,
}

/// The handle of the thread. It does its jobs one after the other.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
    results: Receiver<(usize, Forms)>,
}

impl Worker {
    /// Starts the thread. It wakes the poll through `waker` after each job.
    pub fn start(format: Format, waker: Waker) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let (results_sender, results) = mpsc::channel();
        thread::Builder::new()
            .name("worker".into())
            .spawn(move || {
                for job in queue {
                    let result = (job.client, make_forms(format, job));
                    // They fail when the loop has ended.
                    if results_sender.send(result).is_err() || waker.wake().is_err() {
                        break;
                    }
                }
            })?;
        Ok(Worker { jobs, results })
    }

    /// Queues a job. Its result comes from [`Worker::take_result`].
    pub fn submit(&self, job: Job) {
        // It fails only if the thread has ended, which it does after the loop.
        let _ = self.jobs.send(job);
    }

    /// A finished event with the key of its client, if there is one.
    pub fn take_result(&self) -> Option<(usize, Forms)> {
        self.results.try_recv().ok()
    }
}

/// Makes an event. Nothing that it was made from is kept longer than necessary: a body, its
/// text, the compact line and another form may have 64 MiB each, or several times that.
fn make_forms(format: Format, job: Job) -> Forms {
    let body = event::into_utf8(job.body);
    let event = Event::hook(&job.time, &job.event_name, &job.peer, &body);
    drop(body);
    format.forms(event)
}
