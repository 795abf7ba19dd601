//! The view: what sessions do, from a server or from a record.
//!
//! - [`sessions`] and [`session`] derive states from events and from the client's word, without
//!   I/O.
//! - `source`: where lines come from. `filter`: which of them are shown. `client_files`: the
//!   client's own session files.
//! - `inputs`: the threads that wait for the source and for the client's files.
//! - `lines`: one line for each event. `table`: the sessions, as a table and as JSON.
//! - `messages`: which events repeat a message.
//! - `screen`: the full-screen view. `alerts`: what happens when a session asks the user, or has
//!   ended a long turn.
//! - `command`: runs a program with a deadline.
//! - This file connects them, and writes to stdout.
//!
//! This folder knows a server only by its sockets and its requests. Only `client_files` reads what
//! the client keeps for itself.
//!
//! Stop 17 of EDU_NOTES.md.

mod alerts;
mod client_files;
mod clock;
mod command;
mod filter;
mod inputs;
mod lines;
mod messages;
#[cfg(feature = "screen")]
mod screen;
pub mod session;
pub mod sessions;
mod source;
mod table;

use std::convert::Infallible;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;
use std::time::Instant;

use self::alerts::Alerts;
use self::client_files::{ClientFiles, Panes, Place, directory_of};
use self::clock::now;
use self::filter::{is_shown, parse};
use self::inputs::{Inputs, Message};
use self::lines::Lines;
use self::session::{Session, State};
use self::sessions::Sessions;
use self::source::{Input, Mode};
use crate::cli::{Filter, SessionsOptions, SourceOption, WatchFormat, WatchOptions, nearest};
use crate::diagnostics::stderr::say;
use crate::event::Event;
use crate::event::object::Object;
use crate::format::Format;
use crate::format::line::LineLook;
use crate::hooks::known_events;
use crate::terminal;

/// Output is collected up to this size before it is written.
const BUFFER_SIZE: usize = 64 << 10;

/// Shows events as they happen: the screen until the user quits, lines until the source or stdout
/// ends. The error is for the user.
pub fn run(options: &WatchOptions) -> Result<(), String> {
    warn_of_unknown(&options.filter.events);
    let alerts = Alerts::new(options)?;
    #[cfg(feature = "screen")]
    if options.format.is_none() && terminal::has_screen(&io::stdout()) {
        return screen::run(options, alerts);
    }
    write(options, alerts)
}

/// A later version of the client may have events that are not known here, so a typo is no error.
fn warn_of_unknown(events: &[String]) {
    let known = [
        &known_events()[..],
        &["WorktreeCreate", "_gone", "_dropped"],
    ]
    .concat();
    for event in events
        .iter()
        .filter(|event| !known.contains(&event.as_str()))
    {
        let nearest = nearest(event, &known).map(|name| format!(" Did you mean {name}?"));
        let nearest = nearest.unwrap_or_default();
        say(format_args!(
            "no event with the name {event} is known.{nearest}"
        ));
    }
}

/// Writes events to stdout. Only alerts need to know what the client's files say, and how time
/// passes.
fn write(options: &WatchOptions, alerts: Option<Alerts>) -> Result<(), String> {
    let mut view = View::new(options);
    let result = match alerts {
        None => source::read(&options.source, Mode::Follow, &mut |input| view.take(input)),
        Some(alerts) => view.run(&options.source, alerts),
    };
    view.flush();
    report_damage(view.damaged);
    result.and(view.result)
}

/// Prints the states of the sessions. `print` writes to stdout. Returns whether there are any,
/// among those that the options ask for. The error is for the user.
pub fn list(
    options: &SessionsOptions,
    print: impl Fn(&str) -> Result<(), String>,
) -> Result<bool, String> {
    let sessions = read_sessions(&options.source)?;
    let mut shown = sessions.ordered();
    shown.retain(|session| {
        session.id.starts_with(&options.session)
            && (!options.is_waiting_only || session.state() == State::Waiting)
    });
    if options.is_waiting_only && shown.is_empty() {
        return Ok(false);
    }
    if options.is_json {
        let is_live = source::is_live(&options.source);
        let mut panes = Panes::new();
        for session in &shown {
            let details = is_live.then(|| Place::of(session).read(&mut panes));
            print(&table::json(session, &details.unwrap_or_default()))?;
        }
    } else {
        let width = io::stdout().is_terminal().then(terminal::width);
        print(&table::table(&shown, now(), width))?;
    }
    Ok(!shown.is_empty())
}

/// The sessions of a source, and, if it is live, of the client's files.
fn read_sessions(source: &SourceOption) -> Result<Sessions, String> {
    let mut sessions = Sessions::default();
    let (mut damaged, mut no_server) = (0, None);
    // Requested before the events. If a session begins in between, its events describe it.
    let listed = source::listed_sessions(source);
    source::read(source, Mode::Once, &mut |input| {
        match input {
            Input::Line(line) => match parse(line) {
                Some((_, event)) => drop(sessions.apply(&event, None)),
                None => damaged += 1,
            },
            Input::TooLong => damaged += 1,
            Input::NoServer(error) => no_server = Some(error),
            Input::Notice(notice) => say(notice),
            Input::Live | Input::Pause => {}
        }
        ControlFlow::Continue(())
    })?;
    for listed in listed {
        sessions.add_listed(&Object::parse(&listed));
    }
    if source::is_live(source) {
        add_client_words(&mut sessions);
    }
    if let Some(error) = no_server {
        if sessions.is_empty() {
            return Err(error);
        }
        say(error);
    }
    report_damage(damaged);
    report_losses(&sessions);
    Ok(sessions)
}

/// Adds what the client's session files say now.
fn add_client_words(sessions: &mut Sessions) {
    let mut files = ClientFiles::new();
    for directory in sessions.iter().filter_map(directory_of) {
        files.add(directory);
    }
    files.read_once();
    sessions.set_client_words(files.words());
}

fn report_damage(count: u64) {
    if count > 0 {
        say(format_args!("{count} damaged lines were skipped"));
    }
}

fn report_losses(sessions: &Sessions) {
    if sessions.dropped > 0 {
        say(format_args!(
            "{} events are missing, so a state may be wrong: the server dropped them",
            sessions.dropped
        ));
    }
    if sessions.forgotten > 0 {
        say(format_args!(
            "{} sessions that were active least recently are not shown",
            sessions.forgotten
        ));
    }
}

/// What `watch` writes.
struct View<'o> {
    filter: &'o Filter,
    format: WatchFormat,
    sessions: Sessions,
    lines: Lines,
    has_colours: bool,
    yaml: Format,
    out: String,
    damaged: u64,
    /// Whether nobody reads stdout any more.
    has_ended: bool,
    result: Result<(), String>,
}

impl View<'_> {
    fn new(options: &WatchOptions) -> View<'_> {
        let stdout = io::stdout();
        let has_colours = terminal::supports_colours(&stdout);
        View {
            filter: &options.filter,
            format: options.format.unwrap_or(WatchFormat::Lines),
            sessions: Sessions::default(),
            lines: Lines::default(),
            has_colours,
            yaml: Format::PrettyYaml {
                colour: has_colours,
                cut: stdout.is_terminal(),
            },
            out: String::new(),
            damaged: 0,
            has_ended: false,
            result: Ok(()),
        }
    }

    fn take(&mut self, input: Input) -> ControlFlow<()> {
        match input {
            Input::Line(line) => drop(self.show(line, None)),
            Input::TooLong => self.damaged += 1,
            Input::NoServer(notice) | Input::Notice(notice) => say(notice),
            Input::Live | Input::Pause => self.flush(),
        }
        if self.out.len() > BUFFER_SIZE {
            self.flush();
        }
        if self.has_ended {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    /// Shows a line. Returns its session after it. `arrived` is when it came, if it is not a past
    /// one.
    fn show(&mut self, line: &[u8], arrived: Option<Instant>) -> Option<&Session> {
        let Some((line, object)) = parse(line) else {
            self.damaged += 1;
            return None;
        };
        // States need also the events that are not shown.
        let applied = self.sessions.apply(&object, arrived);
        let session = applied.as_ref().map(|(session, _)| *session);
        let out = &mut self.out;
        match self.format {
            _ if !is_shown(&object, self.filter) => {}
            WatchFormat::Lines => {
                // A window can be resized.
                let look = LineLook {
                    has_colours: self.has_colours,
                    width: io::stdout().is_terminal().then(terminal::width),
                };
                self.lines.write(&object, applied, look, out);
            }
            WatchFormat::Yaml => write_whole(self.yaml, line, out),
            WatchFormat::Json => write_whole(Format::Compact, line, out),
        }
        session
    }

    /// Writes events, and raises alerts.
    fn run(&mut self, source: &SourceOption, mut alerts: Alerts) -> Result<(), String> {
        let inputs = Inputs::start(source);
        let mut inputs = inputs.map_err(|error| format!("cannot start a thread: {error}"))?;
        let mut is_live = false;
        while !self.has_ended {
            let now = Instant::now();
            let due = alerts.next_look();
            let due = due.into_iter().chain(self.sessions.next_settlement()).min();
            match inputs.receive(due.map(|due| due.saturating_duration_since(now))) {
                Some(Message::Lines(lines, damaged)) => {
                    self.damaged += damaged;
                    self.show_all(&lines, is_live, &mut inputs);
                }
                Some(Message::Live(listed)) => {
                    is_live = true;
                    for listed in listed {
                        self.sessions.add_listed(&Object::parse(&listed));
                    }
                }
                Some(Message::ClientWords(words)) => self.sessions.set_client_words(words),
                Some(Message::Ready) => alerts.begin(),
                Some(Message::NoServer(notice)) => {
                    self.sessions.set_connected(false);
                    say(notice);
                }
                Some(Message::Notice(notice)) => say(notice),
                Some(Message::SourceEnded(result)) => return result,
                Some(Message::Other(never)) => match never {},
                None => {}
            }
            let now = Instant::now();
            self.sessions.settle(now);
            alerts.look(&self.sessions, now).into_iter().for_each(say);
        }
        Ok(())
    }

    fn show_all(&mut self, lines: &[u8], is_live: bool, inputs: &mut Inputs<Infallible>) {
        let lines = lines.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some(session) = self.show(line, is_live.then(Instant::now)) {
                inputs.add_folder_of(session);
            }
        }
        self.flush();
    }

    /// Writes what was collected. A closed pipe ends the program without an error.
    fn flush(&mut self) {
        let written = io::stdout().write_all(self.out.as_bytes());
        self.out.clear();
        if let Err(error) = written {
            self.has_ended = true;
            if error.kind() != io::ErrorKind::BrokenPipe {
                self.result = Err(format!("cannot write to stdout: {error}"));
            }
        }
    }
}

fn write_whole(format: Format, line: &str, out: &mut String) {
    if let Some(event) = Event::from_line(line) {
        format.write(&event, out);
    }
}
