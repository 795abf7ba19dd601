//! The view: what sessions do, from a server or from a record.
//!
//! - [`sessions`] and [`session`] derive states from events and from the client's word, without
//!   I/O.
//! - `source`: where lines come from. `filter`: which of them are shown. `client_files`: the
//!   client's own session files.
//! - `lines`: one line for each event. `table`: the sessions, as a table and as JSON.
//! - `messages`: which events repeat a message.
//! - `screen`: the full-screen view. `alerts`: what happens when a session asks the user.
//! - This file connects them, and writes to stdout.
//!
//! This folder knows a server only by its sockets and its requests. Only `client_files` reads what
//! the client keeps for itself.
//!
//! Stop 17 of EDU_NOTES.md.

mod alerts;
mod client_files;
mod clock;
mod filter;
mod lines;
mod messages;
#[cfg(feature = "screen")]
mod screen;
pub mod session;
pub mod sessions;
mod source;
mod table;

use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

use self::alerts::Alerts;
use self::client_files::{ClientFiles, Details, directory_of};
use self::clock::now;
use self::filter::{is_shown, parse};
use self::lines::Lines;
use self::session::State;
use self::sessions::Sessions;
use self::source::{Input, Mode};
use crate::cli::{Filter, SessionsOptions, SourceOption, WatchFormat, WatchOptions};
use crate::diagnostics::stderr::say;
use crate::event::Event;
use crate::event::object::Object;
use crate::format::Format;
use crate::format::line::LineLook;
use crate::terminal;

/// Output is collected up to this size before it is written.
const BUFFER_SIZE: usize = 64 << 10;

/// Shows events as they happen, until the source or stdout ends, or the user quits. The error
/// is for the user.
pub fn run(options: &WatchOptions) -> Result<(), String> {
    let alerts = Alerts::new(options)?;
    #[cfg(feature = "screen")]
    if options.format.is_none() && terminal::has_screen(&io::stdout()) {
        return screen::run(options, alerts);
    }
    write(options, alerts)
}

/// Writes events to stdout.
fn write(options: &WatchOptions, alerts: Alerts) -> Result<(), String> {
    let mut view = View::new(options, alerts);
    let result = source::read(&options.source, Mode::Follow, &mut |input| view.take(input));
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
        for session in &shown {
            let details = is_live.then(|| Details::of(session));
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
    match no_server {
        Some(error) if sessions.is_empty() => return Err(error),
        Some(error) => say(error),
        None => {}
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
    files.read();
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
    alerts: Alerts,
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
    fn new(options: &WatchOptions, alerts: Alerts) -> View<'_> {
        let stdout = io::stdout();
        let has_colours = terminal::supports_colours(&stdout);
        View {
            filter: &options.filter,
            format: options.format.unwrap_or(WatchFormat::Lines),
            alerts,
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
            Input::Line(line) => self.show(line),
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

    fn show(&mut self, line: &[u8]) {
        let Some((line, object)) = parse(line) else {
            self.damaged += 1;
            return;
        };
        let is_shown = is_shown(&object, self.filter);
        // States need also the events that are not shown.
        let session = self.sessions.apply(&object, None);
        if let Some((session, change)) = &session
            && let Err(error) = self.alerts.take(session, change)
        {
            say(error);
        }
        match self.format {
            _ if !is_shown => {}
            WatchFormat::Lines => {
                // A window can be resized.
                let look = LineLook {
                    has_colours: self.has_colours,
                    width: io::stdout().is_terminal().then(terminal::width),
                };
                self.lines.write(&object, session, look, &mut self.out);
            }
            WatchFormat::Yaml => self.write_whole(self.yaml, line),
            WatchFormat::Json => self.write_whole(Format::Compact, line),
        }
    }

    fn write_whole(&mut self, format: Format, line: &str) {
        if let Some(event) = Event::from_line(line) {
            format.write(&event, &mut self.out);
        }
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
