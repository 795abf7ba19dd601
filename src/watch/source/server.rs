//! The live events of a server: from its hook socket, with those that it still has, or from its
//! output socket, which only sends.
//!
//! A path does not show which of the two it is. So the request is sent to both: an output
//! socket discards it, and what it sends is never `HTTP/`.
//!
//! The server numbers its events, and says which number comes first and which one is the first live
//! one. So after a lost connection the next request asks for what follows the last event
//! (`?after=`), and the end of the past events is known.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use memchr::memmem;
use serde::de::IgnoredAny;

use super::input::{Input, Mode, Stop, Taker};
use super::line_splitter::LineSplitter;
use super::missing::start_command;
use crate::cli::default_socket;
use crate::event::json_text::members;
use crate::event::object::Object;
use crate::event::{self, Event};
use crate::hooks::explain_difference;
use crate::request::{self, readiness};
use crate::service::present_socket;
use crate::terminal::{Shown, sanitize};

/// The time for the head of the response.
const HEAD_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest head of a response.
const MAX_HEAD: usize = 16 << 10;
/// The time between two attempts to reach a server that has ended.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);
/// Why the past events of an output socket cannot be read.
const ONLY_LIVE: &str = "there are no past events. If it is an output socket, give the path of \
                         the hook socket";
/// Why it is not known where the past events end.
const UNNUMBERED: &str =
    "the server does not number its events, so it is older than this program. Start this version";

/// What is known of the socket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Hooks,
    Unknown,
}

/// Reads the events of a server, of the next one too when following.
pub fn read(path: &Path, kind: Kind, mode: Mode, taker: &mut Taker) -> Result<(), Stop> {
    let mut path = path.to_owned();
    let mut position = None;
    let mut is_waiting = false;
    loop {
        let shown = Shown(&path);
        let notice = match request::get(&path, &target(position.as_ref())) {
            Ok(stream) => {
                let mut events = Events::new(&path, stream);
                let end = || {
                    let advice = start_advice(&path, kind);
                    format!("the server at {shown} has ended: waiting for the next one{advice}")
                };
                match events.read_head(kind, mode) {
                    // Another process may accept connections for a server, and close them.
                    Ok(Head::Nothing) => end(),
                    // It has served this reader before, so it may do so again.
                    Err(Stop::Error(error)) if position.is_some() && mode == Mode::Follow => {
                        format!("{error}. Waiting for it")
                    }
                    Err(stop) => return Err(stop),
                    Ok(head) => {
                        if std::mem::take(&mut is_waiting) {
                            let notice = format!("connected to the server at {shown}");
                            taker.take(Input::Notice(notice))?;
                        }
                        resume(&mut position, head, taker)?;
                        events.read_lines(&mut position, mode, taker)?;
                        if mode == Mode::Once {
                            return Ok(());
                        }
                        end()
                    }
                }
            }
            // It was said already.
            Err(request::Error::NoServer(_)) if is_waiting => String::new(),
            Err(request::Error::NoServer(error)) => {
                let error = format!("{error}{}", explain_absence(&path, kind));
                if mode == Mode::Once {
                    let notice = format!("no events from {shown}: {error}");
                    return taker.take(Input::NoServer(notice));
                }
                format!("no server at {shown}, waiting for it: {error}")
            }
            Err(error) => {
                return Err(Stop::Error(format!("no events from {shown}: {error}")));
            }
        };
        if !std::mem::replace(&mut is_waiting, true) {
            taker.take(Input::NoServer(notice))?;
        }
        taker.take(Input::Pause)?;
        thread::sleep(RETRY_INTERVAL);
        if kind == Kind::Hooks && path == default_socket(None) {
            // The service may have begun meanwhile: then its socket is the default.
            path = present_socket().unwrap_or(path);
        }
    }
}

/// Why no server may answer, and what to do.
fn explain_absence(path: &Path, kind: Kind) -> String {
    let difference = match kind {
        Kind::Hooks => explain_difference(path),
        Kind::Unknown => None,
    };
    let difference = difference.map(|text| format!(". But {text}"));
    difference.unwrap_or_default() + &start_advice(path, kind)
}

/// How to start a server. Of an output socket, its hook socket is not known.
fn start_advice(path: &Path, kind: Kind) -> String {
    match kind {
        Kind::Hooks => format!(". To start it: {}", start_command(path)),
        Kind::Unknown => String::new(),
    }
}

/// Where a reader is in the numbered events of a server.
struct Position {
    /// The name of the server: another start has another one.
    server: String,
    /// The number of the next event.
    next: u64,
    /// The number of the first event that is not a past one.
    live: u64,
}

impl Position {
    /// A line was read: an event, or a notice that some are missing.
    fn advance(&mut self, line: &Input) {
        let missing = match line {
            Input::Line(line) => missing_events(line),
            _ => None,
        };
        self.next = self.next.saturating_add(missing.unwrap_or(1));
    }
}

/// How many events a `_dropped` line stands for. `None`: it is an event.
fn missing_events(line: &[u8]) -> Option<u64> {
    memmem::find(line, b"\"_dropped\":")?;
    let event = Object::validate(str::from_utf8(line).ok()?)?;
    event.get("_dropped")?.parse().ok()
}

/// The request for all past events, or for those after a position.
fn target(position: Option<&Position>) -> String {
    let last = position.and_then(|position| Some((position, position.next.checked_sub(1)?)));
    match last {
        Some((position, last)) => format!("/events?after={}:{last}", position.server),
        None => "/events?replay=all".into(),
    }
}

/// A connection begins, at a position if the server numbers its events. Reports the events that
/// have left the history since the last connection: of another server, all before its first one.
fn resume(position: &mut Option<Position>, head: Head, taker: &mut Taker) -> Result<(), Stop> {
    let begin = match head {
        Head::Server(begin) => Some(begin),
        Head::OutputSocket | Head::Nothing => None,
    };
    let before = std::mem::replace(position, begin);
    let (Some(before), Some(begin)) = (before, position) else {
        return Ok(());
    };
    let is_same = before.server == begin.server;
    let missed = begin.next
        - if is_same {
            before.next.min(begin.next)
        } else {
            0
        };
    if missed > 0 {
        let notice = Event::dropped(&event::timestamp(SystemTime::now()), missed);
        taker.take(Input::Line(notice.line().trim_end().as_bytes()))?;
    }
    Ok(())
}

/// The elements of the list of `GET /sessions`. None, if there is no list.
pub fn sessions(path: &Path) -> Vec<String> {
    let list = request::body(path, "/sessions").unwrap_or_default();
    match serde_json::from_str::<IgnoredAny>(&list) {
        Ok(_) => members(&list).map(|(_, value)| value.to_owned()).collect(),
        Err(_) => Vec::new(),
    }
}

/// How a connection begins.
enum Head {
    /// With the head of a response, which says where the events begin.
    Server(Position),
    /// With events.
    OutputSocket,
    /// It ends at once.
    Nothing,
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

    /// Reads the head of the response, or what an output socket sends instead. An output socket may
    /// send nothing for long.
    fn read_head(&mut self, kind: Kind, mode: Mode) -> Result<Head, Stop> {
        const START: &[u8] = b"HTTP/";
        let deadline = (mode == Mode::Once).then(|| Instant::now() + HEAD_TIMEOUT);
        let mut head = Vec::new();
        let mut byte = [0; 1];
        while !head.ends_with(b"\r\n\r\n") {
            match readiness::read(&self.stream, &mut byte, deadline) {
                Ok(1) => head.extend(byte),
                Ok(_) if mode == Mode::Follow => return Ok(Head::Nothing),
                Err(error) if is_end(&error, mode) => return Ok(Head::Nothing),
                Ok(_) => return Err(self.error("the server closed the connection")),
                Err(error) => return Err(self.explain_silence(kind, &error)),
            }
            let compared = head.len().min(START.len());
            if head[..compared] != START[..compared] {
                self.splitter.extend(&head);
                return match mode {
                    Mode::Follow => Ok(Head::OutputSocket),
                    Mode::Once => Err(self.error(ONLY_LIVE)),
                };
            }
            if head.len() > MAX_HEAD {
                return Err(self.error("the head of its response is too long"));
            }
        }
        let head = String::from_utf8_lossy(&head);
        self.check_status(&head)?;
        position(&head)
            .map(Head::Server)
            .ok_or_else(|| self.error(UNNUMBERED))
    }

    /// Why no head has come.
    fn explain_silence(&self, kind: Kind, error: &io::Error) -> Stop {
        match (error.kind(), kind) {
            (io::ErrorKind::TimedOut, Kind::Hooks) => {
                self.error("the server did not answer within a second")
            }
            (io::ErrorKind::TimedOut, Kind::Unknown) => self.error(ONLY_LIVE),
            _ => self.error(&error.to_string()),
        }
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

    /// Reads events until the server ends, or the past ones only.
    fn read_lines(
        &mut self,
        position: &mut Option<Position>,
        mode: Mode,
        taker: &mut Taker,
    ) -> Result<(), Stop> {
        let mut is_past = true;
        let mut end_past = |position: &Option<Position>, taker: &mut Taker| {
            // An output socket has no past events.
            let is_live = |position: &Position| position.next >= position.live;
            if !is_past || !position.as_ref().is_none_or(is_live) {
                return Ok(());
            }
            is_past = false;
            taker.take(Input::Live)?;
            match mode {
                Mode::Once => Err(Stop::Enough),
                Mode::Follow => Ok(()),
            }
        };
        end_past(position, taker)?;
        loop {
            self.splitter.take_lines(|line| {
                if let Some(position) = position {
                    position.advance(&line);
                }
                taker.take(line)?;
                // Live events can come with the last past one.
                end_past(position, taker)
            })?;
            taker.take(Input::Pause)?;
            let fill = |room: &mut [u8]| readiness::read(&self.stream, room, None);
            match self.splitter.fill(fill) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_end(&error, Mode::Follow) => return Ok(()),
                Err(error) => return Err(self.error(&error.to_string())),
            }
        }
    }

    fn error(&self, what: &str) -> Stop {
        let path = Shown(self.path);
        Stop::Error(format!("no events from {path}: {what}"))
    }
}

/// Whether an error means that the server has been killed, for somebody who waits for the next.
fn is_end(error: &io::Error, mode: Mode) -> bool {
    error.kind() == io::ErrorKind::ConnectionReset && mode == Mode::Follow
}

/// Where the events begin, according to the head of the response.
fn position(head: &str) -> Option<Position> {
    let field = |wanted: &str| {
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        let field = fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        field.map(|(_, value)| value)
    };
    Some(Position {
        server: field("Observatory-Server")?.to_owned(),
        next: field("Observatory-First")?.parse().ok()?,
        live: field("Observatory-Live")?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_event_or_as_many_as_are_missing() {
        let mut position = Position {
            server: "a".into(),
            next: 0,
            live: 0,
        };
        for (line, next) in [
            (r#"{"_ts":"","_event":"Stop"}"#, 1),
            (r#"{"_ts":"","_event":"_dropped","_dropped":5}"#, 6),
            (r#"{"_event":"Stop","_claimed":{"_dropped":7}}"#, 7),
            (r#"{"_event":"Stop","text":"\"_dropped\":7"}"#, 8),
            ("damaged", 9),
        ] {
            position.advance(&Input::Line(line.as_bytes()));
            assert_eq!(position.next, next, "{line}");
        }
        position.advance(&Input::TooLong);
        assert_eq!(position.next, 10);
    }
}
