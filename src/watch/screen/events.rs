//! The rows of the events of one session, and above them what else tells it apart.
//!
//! Stop 17 of EDU_NOTES.md.

use jiff::Timestamp;
use ratatui::layout::HorizontalAlignment::{Left, Right};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Row;

use super::app::{App, ScreenLook};
use super::history::{Entry, Outcome};
use super::list::{Cell, Column, Columns, fit};
use super::table;
use crate::format::duration::{describe_seconds, time_of_day};
use crate::format::line_writer::columns_of;
use crate::watch::client_files::Terminal;
use crate::watch::session::{Session, State};

const TIME: usize = 8;
const DURATION: usize = 6;
const MAX_NAME: usize = 18;
/// Characters of a subagent's id.
const AGENT: usize = 4;

/// The entries of a session.
pub struct Events<'e> {
    app: &'e App,
    session: &'e Session,
    entries: &'e [&'e Entry],
    pub columns: Columns,
}

impl<'e> Events<'e> {
    pub fn new(
        app: &'e App,
        session: &'e Session,
        entries: &'e [&'e Entry],
        width: usize,
    ) -> Events<'e> {
        Events {
            app,
            session,
            columns: columns(entries, width),
            entries,
        }
    }

    /// Which session it is, and, on the right, the position in the list.
    pub fn head(&self, position: &str, width: usize) -> Row<'static> {
        let facts = fit(&self.facts(), width.saturating_sub(position.len()));
        let gap = width.saturating_sub(columns_of(&facts) + position.len());
        let text = format!("{facts}{}{position}", " ".repeat(gap));
        self.columns
            .row([Cell::new(text, Style::new()).span(usize::MAX)])
    }

    /// Its last prompt.
    pub fn prompt(&self) -> Row<'static> {
        let text = format!("prompt: {}", self.session.prompt);
        self.columns
            .row([Cell::new(text, Style::new()).span(usize::MAX)])
    }

    fn facts(&self) -> String {
        let (session, name) = (self.session, self.session.name());
        let short_id: String = session.id.chars().take(8).collect();
        let details = self.app.details(session);
        let transcript = details.map(|details| &details.transcript);
        let model = transcript.and_then(|transcript| transcript.model.clone());
        let branch = transcript.and_then(|transcript| transcript.branch.clone());
        let terminal = details.and_then(|details| details.terminal.as_ref());
        let facts = [
            Some(short_id).filter(|id| *id != name),
            Some(session.cwd.clone()),
            branch,
            model,
            terminal.map(Terminal::place),
        ];
        let facts = facts.into_iter().flatten();
        facts.fold(name, |text, fact| text + " · " + &fact)
    }

    pub fn row(&self, index: usize) -> Row<'static> {
        let (entry, plain) = (self.entries[index], Style::new());
        let look = &self.app.look;
        let time = entry.time.seconds.map(Timestamp::from_second);
        let time = time.and_then(Result::ok);
        let time = time.map(|time| time_of_day(time, look.zone.clone()));
        let now = self.app.time(self.session);
        let (sign, style, duration) = outcome(entry, self.session, now, look);
        let agent = entry.agent_id.as_deref().unwrap_or_default();
        let agent: String = agent.chars().take(AGENT).collect();
        let weight = match entry.outcome {
            Outcome::None => Modifier::DIM,
            _ => Modifier::BOLD,
        };
        self.columns.row([
            Cell::new(time.unwrap_or_default(), Modifier::DIM),
            Cell::new(sign, style),
            Cell::new(duration, plain),
            Cell::new(agent, plain),
            Cell::new(&*entry.name, weight),
            Cell::new(&*entry.text, plain),
        ])
    }
}

/// Those columns for which there is room.
fn columns(entries: &[&Entry], width: usize) -> Columns {
    let name = |entry: &&Entry| columns_of(&entry.name).min(MAX_NAME);
    let has_agents = entries.iter().any(|entry| entry.agent_id.is_some());
    let from = |least: usize, columns: usize| if width >= least { columns } else { 0 };
    let columns = vec![
        Column(from(50, TIME), Left),
        Column(1, Left),
        Column(from(32, DURATION), Right),
        Column(if has_agents { from(50, AGENT) } else { 0 }, Left),
        Column(entries.iter().map(name).max().unwrap_or(0), Left),
    ];
    Columns::new(columns, width)
}

/// The sign of an entry, its style, and for how long the tool has run.
fn outcome(
    entry: &Entry,
    session: &Session,
    now: i64,
    look: &ScreenLook,
) -> (&'static str, Style, String) {
    let colour = |colour| {
        if look.has_colours {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    };
    let questions = session.open_questions().iter();
    let mut calls = questions.filter_map(|question| question.call.as_ref());
    let is_asked = calls.any(|call| entry.is_of(call));
    let running = session.running().find(|tool| entry.is_of(&tool.call));
    let state = |state| (table::sign(state), table::style(state, look));
    let (sign, style) = match entry.outcome {
        Outcome::None if entry.name == "StopFailure" => state(State::Failed),
        Outcome::None => ("", Style::new()),
        Outcome::Success => ("✓", colour(Color::Green)),
        Outcome::Failure => ("✗", colour(Color::Red)),
        Outcome::Open if is_asked => state(State::Waiting),
        Outcome::Open if running.is_some() => state(State::Working),
        Outcome::Open => ("?", Style::new()),
    };
    let elapsed = running.and_then(|tool| tool.since.age(now));
    let duration = match entry.outcome {
        Outcome::Open => elapsed.map(describe_seconds),
        _ => Some(entry.duration.clone()),
    };
    (sign, style, duration.unwrap_or_default())
}
