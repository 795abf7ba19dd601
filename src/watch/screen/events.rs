//! The rows of the events of one session, and the head above them.
//!
//! Stop 17 of EDU_NOTES.md.

use jiff::Timestamp;
use ratatui::layout::HorizontalAlignment::{Left, Right};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Row;

use super::app::ScreenLook;
use super::history::{Entry, Outcome};
use super::list::{Cell, Column, Columns};
use super::table;
use crate::format::duration::{describe_seconds, time_of_day};
use crate::format::line_writer::columns_of;
use crate::format::summary;
use crate::watch::session::{Session, State};

const TIME: usize = 8;
const DURATION: usize = 6;
const MAX_NAME: usize = 18;
/// Characters of a subagent's id.
const AGENT: usize = 4;

/// The entries of a session, at a time.
pub struct Events<'e> {
    look: &'e ScreenLook,
    session: &'e Session,
    entries: Vec<&'e Entry>,
    now: i64,
    pub columns: Columns,
}

impl<'e> Events<'e> {
    pub fn new(
        look: &'e ScreenLook,
        session: &'e Session,
        entries: Vec<&'e Entry>,
        now: i64,
        width: usize,
    ) -> Events<'e> {
        Events {
            look,
            session,
            now,
            columns: columns(&entries, width),
            entries,
        }
    }

    /// Which session it is.
    pub fn head(&self) -> Row<'static> {
        let session = self.session;
        let project = summary::project(&session.cwd);
        let id: String = session.id.chars().take(8).collect();
        let text = format!(
            "{project} {id} · {} · {} events",
            session.cwd, session.events
        );
        self.columns
            .row([Cell::new(text, Style::new()).span(usize::MAX)])
    }

    pub fn row(&self, index: usize) -> Row<'static> {
        let (entry, plain) = (self.entries[index], Style::new());
        let time = entry.time.seconds.map(Timestamp::from_second);
        let time = time.and_then(Result::ok);
        let time = time.map(|time| time_of_day(time, self.look.zone.clone()));
        let (sign, style, duration) = outcome(entry, self.session, self.now, self.look);
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
    let is_its = |call| entry.call.as_ref().is_some_and(|own| own.is(call));
    let is_asked = session
        .open_questions()
        .iter()
        .any(|question| question.call.as_ref().is_some_and(is_its));
    let running = session.running().find(|tool| is_its(&tool.call));
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
