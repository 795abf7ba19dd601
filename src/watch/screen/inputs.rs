//! What the loop waits for: lines of the source, session files, details of the sessions on the
//! screen, keys and the mouse, and signals.
//!
//! Each blocks in a thread of its own, which sends what it gets to one channel. A source that
//! is faster than the screen waits for room; keys and signals never do.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind, MouseEvent};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Pid;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::details::Request;
use super::guest;
use super::terminal::keyboard;
use crate::cli::SourceOption;
use crate::watch::client_files::{ClientFiles, Details, Panes};
use crate::watch::session::client::ClientWord;
use crate::watch::source::{self, Input, Mode};

/// Lines are collected up to this size.
const BATCH_SIZE: usize = 256 << 10;
/// Batches of lines that wait for the loop.
const MAX_BATCHES: usize = 2;
/// A loop that has not ended for so long after a signal is stuck.
const QUIT_TIME: Duration = Duration::from_secs(1);
/// How long crossterm may look for a key that has arrived. With no time at all it does not look.
const KEY_TIME: Duration = Duration::from_millis(10);

pub enum Message {
    /// Lines, each with its newline, and the number of those that were damaged.
    Lines(Vec<u8>, u64),
    Notice(String),
    /// No server answers: why.
    NoServer(String),
    /// What the client's session files say.
    ClientWords(Vec<(String, ClientWord)>),
    /// The past events have been read. With the sessions that the server knows.
    Listed(Vec<String>),
    SourceEnded(Result<(), String>),
    /// What was read of the session with this number.
    Details(usize, Details),
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// The terminal is gone, or keys cannot be read.
    NoKeys(io::Error),
    Quit,
    Suspend,
    Resume,
    Resize,
    /// The guest has ended.
    GuestEnded,
}

/// The receiving end.
pub struct Inputs {
    /// Takes further folders of session files, each as a datagram.
    folders: UnixDatagram,
    /// Takes the sessions of which details are to be read.
    requests: Sender<Vec<Request>>,
    messages: Receiver<Message>,
    sender: Sender<Message>,
    loan: Arc<Loan>,
    /// Has an element for each batch that was sent and not received.
    batches: Receiver<()>,
}

impl Inputs {
    /// Starts the threads. They end with the process.
    pub fn start(source: &SourceOption) -> io::Result<Inputs> {
        let (sender, messages) = mpsc::channel();
        let (room, batches) = mpsc::sync_channel(MAX_BATCHES);
        let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH])?;
        let loan = Arc::<Loan>::default();
        let (own, shared) = (sender.clone(), Arc::clone(&loan));
        spawn("signals", move || send_signals(signals, &shared, &own))?;
        let (own, shared) = (sender.clone(), Arc::clone(&loan));
        spawn("keys", move || {
            let error = send_keys(&shared, &own);
            // It fails if the program is about to end. The same holds below.
            let _ = own.send(Message::NoKeys(error));
        })?;
        let (folders, receiver) = UnixDatagram::pair()?;
        folders.set_nonblocking(true)?;
        if source::is_live(source) {
            let own = sender.clone();
            spawn("files", move || send_client_words(&receiver, &own))?;
        }
        let (requests, receiver) = mpsc::channel();
        let own = sender.clone();
        spawn("details", move || send_details(&receiver, &own))?;
        let (source, own) = (source.clone(), sender.clone());
        spawn("source", move || {
            let read = || send_lines(&source, &own, &room);
            let result = catch_unwind(AssertUnwindSafe(read));
            let result = result.unwrap_or_else(|_| Err("reading events failed".into()));
            let _ = own.send(Message::SourceEnded(result));
        })?;
        Ok(Inputs {
            folders,
            requests,
            messages,
            sender,
            loan,
            batches,
        })
    }

    /// Reads the session files of this configuration directory too.
    pub fn add_folder(&self, directory: &Path) {
        // It fails if the source is a record, or if there are more than the thread takes.
        let _ = self.folders.send(directory.as_os_str().as_bytes());
    }

    /// Reads the details of these sessions, one after the other.
    pub fn read_details(&self, requests: Vec<Request>) {
        // It fails if the thread has ended, and then nothing is known of them.
        let _ = self.requests.send(requests);
    }

    /// Lends the terminal to another program: until it is taken back, keys are not read, and the
    /// signals of keys are ignored.
    pub fn lend_terminal(&self) {
        *self.loan.lock() = true;
    }

    pub fn take_terminal_back(&self) {
        *self.loan.lock() = false;
        self.loan.is_over.notify_one();
    }

    /// Reports the end of the guest, and asks to suspend this program each time that it stops.
    pub fn watch_guest(&self, pid: Pid) -> io::Result<()> {
        let own = self.sender.clone();
        spawn("guest", move || {
            guest::wait(pid, || drop(own.send(Message::Suspend)));
            let _ = own.send(Message::GuestEnded);
        })
    }

    /// Waits for the next message. `None`: none has come in time.
    pub fn receive(&self, timeout: Option<Duration>) -> Option<Message> {
        let message = match timeout {
            Some(timeout) => self.messages.recv_timeout(timeout),
            None => self.messages.recv().map_err(RecvTimeoutError::from),
        };
        if let Ok(Message::Lines(..)) = message {
            // There is one.
            let _ = self.batches.try_recv();
        }
        message.ok()
    }
}

/// Whether another program has the terminal. The thread of keys holds the lock while it reads.
#[derive(Default)]
struct Loan {
    is_lent: Mutex<bool>,
    is_over: Condvar,
}

impl Loan {
    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this program has the terminal. It keeps it as long as the guard is there.
    fn wait(&self) -> MutexGuard<'_, bool> {
        let guard = self.is_over.wait_while(self.lock(), |is_lent| *is_lent);
        guard.unwrap_or_else(PoisonError::into_inner)
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run)?;
    Ok(())
}

fn send_lines(
    source: &SourceOption,
    sender: &Sender<Message>,
    room: &SyncSender<()>,
) -> Result<(), String> {
    let mut batch = Batch {
        lines: Vec::new(),
        damaged: 0,
        sender,
        room,
    };
    // Asked for before the events: what it names and the past events do not has left the history.
    // (An output socket would not answer, so a path is not asked.)
    let mut listed = match source {
        SourceOption::Server(_) => source::listed_sessions(source),
        SourceOption::Paths(_) => Vec::new(),
    };
    source::read(source, Mode::Follow, &mut |input| {
        match input {
            Input::Line(line) => batch.add(line)?,
            Input::TooLong => batch.damaged += 1,
            Input::NoServer(notice) => drop(sender.send(Message::NoServer(notice))),
            Input::Notice(notice) => drop(sender.send(Message::Notice(notice))),
            Input::Pause => batch.send()?,
            Input::Live => {
                batch.send()?;
                drop(sender.send(Message::Listed(std::mem::take(&mut listed))));
            }
        }
        ControlFlow::Continue(())
    })?;
    let _ = batch.send();
    Ok(())
}

/// Lines that are sent together.
struct Batch<'s> {
    lines: Vec<u8>,
    damaged: u64,
    sender: &'s Sender<Message>,
    room: &'s SyncSender<()>,
}

impl Batch<'_> {
    fn add(&mut self, line: &[u8]) -> ControlFlow<()> {
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
        if self.lines.len() < BATCH_SIZE {
            return ControlFlow::Continue(());
        }
        self.send()
    }

    /// Waits for room, and sends what there is. Breaks when the loop has ended.
    fn send(&mut self) -> ControlFlow<()> {
        if self.lines.is_empty() && self.damaged == 0 {
            return ControlFlow::Continue(());
        }
        let lines = std::mem::take(&mut self.lines);
        let batch = Message::Lines(lines, std::mem::take(&mut self.damaged));
        if self.room.send(()).is_ok() && self.sender.send(batch).is_ok() {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    }
}

/// Sends what the client's session files say, now and when they change.
fn send_client_words(folders: &UnixDatagram, sender: &Sender<Message>) {
    let mut files = ClientFiles::new();
    files.read();
    let mut last = None;
    while folders.set_nonblocking(true).is_ok() {
        let words = files.words();
        if last.as_ref() != Some(&words) {
            last = Some(words.clone());
            if sender.send(Message::ClientWords(words)).is_err() {
                return;
            }
        }
        if files.wait(folders.as_fd()).is_err() {
            return;
        }
        let mut path = [0; 4096];
        while let Ok(length) = folders.recv(&mut path) {
            files.add(Path::new(OsStr::from_bytes(&path[..length])));
            files.read();
        }
    }
}

fn send_details(requests: &Receiver<Vec<Request>>, sender: &Sender<Message>) {
    while let Ok(requests) = requests.recv() {
        let mut panes = Panes::new();
        for (number, place) in requests {
            let details = place.read(&mut panes);
            if sender.send(Message::Details(number, details)).is_err() {
                return;
            }
        }
    }
}

/// Sends keys until there is an error.
fn send_keys(loan: &Loan, sender: &Sender<Message>) -> io::Error {
    let read = |terminal: File| loop {
        // crossterm would try for ever to read from a terminal that is gone.
        let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What has come meanwhile may be read already, by the other program.
        let _reading = loan.wait();
        while event::poll(KEY_TIME)? {
            let message = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => Message::Key(key),
                Event::Mouse(mouse) => Message::Mouse(mouse),
                _ => continue,
            };
            if sender.send(message).is_err() {
                return Ok(());
            }
        }
    };
    let result: io::Result<()> = keyboard().and_then(read);
    result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())
}

fn send_signals(mut signals: Signals, loan: &Loan, sender: &Sender<Message>) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        let message = match signal {
            // The terminal sends them to the program that has it, and to this one.
            SIGINT | SIGQUIT | SIGTSTP if *loan.lock() => continue,
            SIGTSTP => Message::Suspend,
            SIGCONT => Message::Resume,
            SIGWINCH => Message::Resize,
            _ if first.is_some_and(|first| first.elapsed() > QUIT_TIME) => {
                // The loop is stuck, perhaps in a terminal that takes nothing.
                let _ = emulate_default_handler(signal);
                continue;
            }
            _ => {
                first.get_or_insert_with(Instant::now);
                Message::Quit
            }
        };
        let _ = sender.send(message);
    }
}
