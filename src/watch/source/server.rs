//! The live events of a server: from its hook socket, with those that it still has
//! (`GET /events?replay=all`), or from its output socket, which only sends.
//!
//! A path does not show which of the two it is. So the request is sent to both: an output
//! socket discards it, and what it sends is never `HTTP/`.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use serde::de::IgnoredAny;

use super::{Input, Line, LineSplitter, Mode, Stop, Taker};
use crate::event::json_text::members;
use crate::request::readiness::retry_until_ready;
use crate::request::{self, Failure};
use crate::terminal::sanitize;

/// The time for the head of the response.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest head of a response.
const MAX_HEAD: usize = 16 << 10;
/// The time between two attempts to reach a server that has ended.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// How long past events are read before their end is looked for.
const ROUND: Duration = Duration::from_millis(25);
/// The past events are over when less than this has come in each of [`QUIET_ROUNDS`]: what
/// comes now is live. A server that has more to send fills the buffer of the socket, which is
/// larger.
const QUIET_SIZE: usize = 64 << 10;
const QUIET_ROUNDS: usize = 2;
/// Lines that are recognised when they come again. The default history of a server holds fewer,
/// even of the shortest events.
const REMEMBERED: usize = 1 << 18;

/// Why the past events of an output socket cannot be read.
const ONLY_LIVE: &str = "there are no past events. If it is an output socket, give the path of \
                         the hook socket";

/// What is known of the socket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Hooks,
    Unknown,
}

/// Reads the events of a server, of the next one too when following.
pub fn read(path: &Path, kind: Kind, mode: Mode, taker: &mut Taker) -> Result<(), Stop> {
    let shown = sanitize(&path.to_string_lossy());
    let mut repeats = Repeats::default();
    let mut is_waiting = false;
    loop {
        let replay = repeats.replay();
        let notice = match request::get(path, &format!("/events?replay={replay}")) {
            Ok(stream) => {
                if std::mem::take(&mut is_waiting) {
                    taker.take(Input::Notice(format!("connected to the server at {shown}")))?;
                }
                let mut events = Events::new(path, stream);
                events.read_head(kind, mode)?;
                if mode == Mode::Once {
                    return events.read_past(taker);
                }
                events.read_lines(&mut repeats, taker)?;
                repeats.begin();
                format!("the server at {shown} has ended: waiting for the next one")
            }
            Err(Failure::NoServer(error)) if mode == Mode::Follow => {
                format!("no server at {shown}: {error}. Waiting for it")
            }
            Err(Failure::NoServer(error) | Failure::Other(error)) => {
                return Err(Stop::Error(format!("no events from {shown}: {error}")));
            }
        };
        if !std::mem::replace(&mut is_waiting, true) {
            taker.take(Input::Notice(notice))?;
        }
        taker.take(Input::Pause)?;
        thread::sleep(RETRY_INTERVAL);
    }
}

/// The elements of the list of `GET /sessions`. None, if there is no list.
pub fn sessions(path: &Path) -> Vec<String> {
    let response = request::response(path, "/sessions").unwrap_or_default();
    let response = String::from_utf8_lossy(&response);
    let list = match response.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => body,
        _ => "",
    };
    match serde_json::from_str::<IgnoredAny>(list) {
        Ok(_) => members(list).map(|(_, value)| value.to_owned()).collect(),
        Err(_) => Vec::new(),
    }
}

/// A connection to a server.
struct Events<'p> {
    path: &'p Path,
    stream: UnixStream,
    splitter: LineSplitter,
}

impl<'p> Events<'p> {
    fn new(path: &'p Path, stream: UnixStream) -> Self {
        Events {
            path,
            stream,
            splitter: LineSplitter::default(),
        }
    }

    /// Reads the head of the response, or what an output socket sends instead. An output
    /// socket may send nothing for long.
    fn read_head(&mut self, kind: Kind, mode: Mode) -> Result<(), Stop> {
        const START: &[u8] = b"HTTP/";
        let deadline = (mode == Mode::Once).then(|| Instant::now() + HEAD_TIMEOUT);
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            match self.read(&mut byte, deadline) {
                Ok(1) => head.extend(byte),
                // It ends just now.
                Ok(_) if mode == Mode::Follow => return Ok(()),
                Ok(_) => return Err(self.error("the server closed the connection")),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && kind == Kind::Hooks => {
                    return Err(self.error("the server did not answer within a second"));
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err(self.error(ONLY_LIVE));
                }
                Err(error) if is_end(&error, mode) => return Ok(()),
                Err(error) => return Err(self.error(&error.to_string())),
            }
            let compared = head.len().min(START.len());
            if head[..compared] != START[..compared] {
                self.splitter.extend(&head);
                return match mode {
                    Mode::Follow => Ok(()),
                    Mode::Once => Err(self.error(ONLY_LIVE)),
                };
            }
            if head.len() > MAX_HEAD {
                return Err(self.error("the head of its response is too long"));
            }
        }
        self.check_status(&String::from_utf8_lossy(&head))
    }

    fn check_status(&self, head: &str) -> Result<(), Stop> {
        let line = head.lines().next().unwrap_or_default();
        match line.split(' ').nth(1) {
            Some("200") => Ok(()),
            Some("403") => Err(self.error(
                "the server refuses: only its own user and root may read events. Run this as \
                 that user",
            )),
            Some("404") => Err(self.error(
                "the server there has no /events, so it is older than this program. Start this \
                 version, or give its output socket or a record",
            )),
            _ => Err(self.error(&format!("the server answered {}", sanitize(line)))),
        }
    }

    /// Reads all events, until the server ends.
    fn read_lines(&mut self, repeats: &mut Repeats, taker: &mut Taker) -> Result<(), Stop> {
        loop {
            self.splitter.take_lines(|line| match line {
                Line::Whole(line) if repeats.contain(line) => Ok(()),
                line => taker.line(line),
            })?;
            taker.take(Input::Pause)?;
            match self.fill(None) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_end(&error, Mode::Follow) => return Ok(()),
                Err(error) => return Err(self.error(&error.to_string())),
            }
        }
    }

    /// Reads the past events. Nothing marks their end, and live ones follow, which may never
    /// pause.
    fn read_past(&mut self, taker: &mut Taker) -> Result<(), Stop> {
        let mut quiet_rounds = 0;
        while quiet_rounds < QUIET_ROUNDS {
            let end = Instant::now() + ROUND;
            let mut size = 0;
            loop {
                match self.fill(Some(end)) {
                    Ok(0) => return Ok(()),
                    Ok(count) => size += count,
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => break,
                    Err(error) => return Err(self.error(&error.to_string())),
                }
                self.splitter.take_lines(|line| taker.line(line))?;
                if Instant::now() > end {
                    break;
                }
            }
            // When the server answers, it has had a turn in which to send more.
            let _ = request::response(self.path, "/health");
            quiet_rounds = if size < QUIET_SIZE {
                quiet_rounds + 1
            } else {
                0
            };
        }
        Ok(())
    }

    fn fill(&mut self, deadline: Option<Instant>) -> io::Result<usize> {
        let stream = &self.stream;
        self.splitter.fill(|room| {
            retry_until_ready(stream.as_fd(), PollFlags::IN, deadline, || {
                (&mut &*stream).read(room)
            })
        })
    }

    fn read(&self, room: &mut [u8], deadline: Option<Instant>) -> io::Result<usize> {
        retry_until_ready(self.stream.as_fd(), PollFlags::IN, deadline, || {
            (&self.stream).read(room)
        })
    }

    fn error(&self, what: &str) -> Stop {
        let path = sanitize(&self.path.to_string_lossy());
        Stop::Error(format!("no events from {path}: {what}"))
    }
}

/// Whether an error means that the server has been killed, for somebody who waits for the next.
fn is_end(error: &io::Error, mode: Mode) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset && mode == Mode::Follow
}

/// Recognises lines that come again, when a connection was lost and the server was not: then
/// the past events begin with lines that have come before.
#[derive(Default)]
struct Repeats {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
    /// Whether lines can be repeated: until the first new one.
    is_possible: bool,
}

impl Repeats {
    /// How many past events to ask for. After a lost connection, no more than would be
    /// recognised: if the first one was not, all would count as new.
    fn replay(&self) -> String {
        match self.is_possible {
            true => REMEMBERED.to_string(),
            false => "all".into(),
        }
    }

    /// A new connection begins.
    fn begin(&mut self) {
        self.is_possible = true;
    }

    /// Whether this line is a repeated one. If not, it is remembered.
    fn contain(&mut self, line: &[u8]) -> bool {
        let hash = self.hasher.hash_one(line);
        if self.is_possible && self.known.contains(&hash) {
            return true;
        }
        self.is_possible = false;
        if self.known.insert(hash) {
            self.order.push_back(hash);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The default history of a server, full of the shortest events.
    #[test]
    fn a_whole_history_is_recognised_when_it_comes_again() {
        const SHORTEST: &str =
            "{'_ts':'2026-02-09T10:30:00+00:00','_event':'','_peer_uid':0,'_peer_gid':0}\n";
        let count = (16 << 20) / SHORTEST.len();
        let mut repeats = Repeats::default();
        let mut new_lines = || {
            repeats.begin();
            let is_new = |number: &usize| !repeats.contain(&number.to_ne_bytes());
            (0..count).filter(is_new).count()
        };
        assert_eq!(new_lines(), count);
        assert_eq!(new_lines(), 0);
    }
}
