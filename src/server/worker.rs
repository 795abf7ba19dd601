//! A thread that makes the events of large bodies.
//!
//! Validating a body of 64 MiB (the default of `--max-body`) and writing it in another format
//! takes long enough to notice, and meanwhile the loop could serve nobody. So the loop passes a
//! body of [`LARGE_BODY`](super::budget::LARGE_BODY) bytes or more, with all that its event
//! needs, to this thread. It gets back the text to append to the log. A
//! [`Waker`] makes the poll report the result (eventfd(2)). The thread has no socket and no
//! log.
//!
//! Stop 13 of EDU_NOTES.md.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use mio::Waker;

use crate::event::{self, Event, SessionFields};
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

/// What the worker has made of a job.
#[derive(Debug)]
pub struct Finished {
    /// Without its body.
    pub job: Job,
    pub forms: Forms,
    /// The strings `session_id` and `cwd` of the payload, for
    /// [`SessionHook`](super::processes::SessionHook).
    pub session_id: Option<String>,
    pub cwd: Option<String>,
}

/// The handle of the thread. It does its jobs one after the other.
#[derive(Debug)]
pub struct Worker {
    jobs: Sender<Job>,
    results: Receiver<Finished>,
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
                    let result = finish(format, job);
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

    /// A finished event, if there is one.
    pub fn take_result(&self) -> Option<Finished> {
        self.results.try_recv().ok()
    }
}

/// Makes an event. Nothing that it was made from is kept longer than necessary: a body, its
/// text, the compact line and another form may have 64 MiB each, or several times that.
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
