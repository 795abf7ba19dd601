//! What a loop of the view waits for: lines of the source, and the client's session files.
//!
//! Each blocks in a thread of its own, which sends what it gets to one channel. The screen adds
//! details, keys, the mouse and signals to it (`screen/inputs.rs`). A source that is faster than the loop waits for
//! room.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use super::client_files::{ClientFiles, directory_of};
use super::session::Session;
use super::session::client::ClientWord;
use super::source::{self, Input, Mode};
use crate::cli::SourceOption;

/// Lines are collected up to this size.
const BATCH_SIZE: usize = 256 << 10;
/// Batches of lines that wait for the loop.
const MAX_BATCHES: usize = 1;

/// `U` is what else the loop waits for.
pub enum Message<U> {
    /// Lines, each with its newline, and the number of those that were damaged.
    Lines(Vec<u8>, u64),
    Notice(String),
    /// No server answers: why.
    NoServer(String),
    /// What the client's session files say.
    ClientWords(Vec<(String, ClientWord)>),
    /// The past events have been read. With the sessions that the server knows.
    Live(Vec<String>),
    /// All that there was at the start has been read, also the session files.
    Ready,
    SourceEnded(Result<(), String>),
    #[cfg_attr(not(feature = "screen"), expect(dead_code))]
    Other(U),
}

/// The receiving end.
pub struct Inputs<U> {
    /// Takes further folders of session files, each as a datagram.
    folders: UnixDatagram,
    /// The sessions whose transcript has told where their client keeps its files.
    with_folder: HashSet<usize>,
    /// These folders.
    known: HashSet<PathBuf>,
    messages: Receiver<Message<U>>,
    /// Has an element for each batch that was sent and not received.
    batches: Receiver<()>,
    sender: Sender<Message<U>>,
}

impl<U: Send + 'static> Inputs<U> {
    /// Starts the threads. They end with the process.
    pub fn start(source: &SourceOption) -> io::Result<Self> {
        let (sender, messages) = mpsc::channel();
        let (room, batches) = mpsc::sync_channel(MAX_BATCHES);
        let (folders, receiver) = UnixDatagram::pair()?;
        folders.set_nonblocking(true)?;
        if source::is_live(source) {
            let own = sender.clone();
            spawn("files", move || send_client_words(&receiver, &own))?;
        }
        let (source, own) = (source.clone(), sender.clone());
        spawn("source", move || {
            let read = || send_lines(&source, &own, &room);
            let result = catch_unwind(AssertUnwindSafe(read));
            let result = result.unwrap_or_else(|_| Err("reading events failed".into()));
            // It fails if the program is about to end.
            let _ = own.send(Message::SourceEnded(result));
        })?;
        Ok(Inputs {
            folders,
            with_folder: HashSet::new(),
            known: HashSet::new(),
            messages,
            batches,
            sender,
        })
    }

    /// Where else messages can come from.
    #[cfg(feature = "screen")]
    pub fn sender(&self) -> Sender<Message<U>> {
        self.sender.clone()
    }

    /// Reads the session files of the client of this session too.
    pub fn add_folder_of(&mut self, session: &Session) {
        if !session.transcript.is_empty()
            && self.with_folder.insert(session.number)
            && let Some(directory) = directory_of(session)
            && self.known.insert(directory.to_owned())
        {
            // It fails if the source is a record, or if there are more than the thread takes.
            let _ = self.folders.send(directory.as_os_str().as_bytes());
        }
    }

    /// Waits for the next message. `None`: none has come in time.
    pub fn receive(&self, timeout: Option<Duration>) -> Option<Message<U>> {
        let message = match timeout {
            Some(timeout) => self.messages.recv_timeout(timeout),
            None => self.messages.recv().map_err(RecvTimeoutError::from),
        };
        match message {
            // There is one.
            Ok(Message::Lines(..)) => drop(self.batches.try_recv()),
            Ok(Message::Live(_) | Message::NoServer(_)) => self.ask_for_files(),
            _ => {}
        }
        message.ok()
    }

    /// Asks for [`Message::Ready`] after the folders that past events have named: with an empty
    /// datagram, since the thread takes them in their order.
    fn ask_for_files(&self) {
        if self.folders.send(&[]).is_err() {
            // There is no such thread, since the source is a record, or it does not keep up.
            let _ = self.sender.send(Message::Ready);
        }
    }
}

pub fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(run)?;
    Ok(())
}

fn send_lines<U>(
    source: &SourceOption,
    sender: &Sender<Message<U>>,
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
                drop(sender.send(Message::Live(std::mem::take(&mut listed))));
            }
        }
        ControlFlow::Continue(())
    })?;
    let _ = batch.send();
    Ok(())
}

/// Lines that are sent together.
struct Batch<'s, U> {
    lines: Vec<u8>,
    damaged: u64,
    sender: &'s Sender<Message<U>>,
    room: &'s SyncSender<()>,
}

impl<U> Batch<'_, U> {
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
fn send_client_words<U>(folders: &UnixDatagram, sender: &Sender<Message<U>>) {
    let mut files = ClientFiles::new();
    files.read();
    let mut last = None;
    let mut is_asked = false;
    while folders.set_nonblocking(true).is_ok() {
        let words = files.words();
        if last.as_ref() != Some(&words) {
            last = Some(words.clone());
            if sender.send(Message::ClientWords(words)).is_err() {
                return;
            }
        }
        if std::mem::take(&mut is_asked) && sender.send(Message::Ready).is_err() {
            return;
        }
        if files.wait(folders.as_fd()).is_err() {
            return;
        }
        let mut path = [0; 4096];
        while let Ok(length) = folders.recv(&mut path) {
            if length == 0 {
                is_asked = true;
            } else {
                files.add(Path::new(OsStr::from_bytes(&path[..length])));
                files.read();
            }
        }
    }
}
