//! The rows of the events of one session.
//!
//! Stop 17 of EDU_NOTES.md.

use jiff::Timestamp;
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::app::ScreenLook;
use super::history::{Entry, Outcome};
use super::row::Row;
use super::table::Sign;
use crate::format::duration::{describe_seconds, time_of_day};
use crate::format::line_writer::columns_of;
use crate::format::summary;
use crate::watch::session::{Session, State};

const DURATION: usize = 6;
const MAX_NAME: usize = 18;
/// Characters of a subagent's id.
const AGENT: usize = 4;

/// Which session it is.
pub fn head(session: &Session, width: usize) -> Line<'static> {
    let project = summary::project(&session.cwd);
    let id: String = session.id.chars().take(8).collect();
    let text = format!(
        "{project} {id} · {} · {} events",
        session.cwd, session.events
    );
    let mut row = Row::new(width);
    row.rest(&text, Style::new());
    row.into()
}

/// The entries of a session, and which cells there is room for.
pub struct Events<'e> {
    look: &'e ScreenLook,
    session: &'e Session,
    entries: Vec<&'e Entry>,
    now: i64,
    width: usize,
    names: usize,
    has_agents: bool,
}

impl<'e> Events<'e> {
    pub fn new(
        look: &'e ScreenLook,
        session: &'e Session,
        entries: Vec<&'e Entry>,
        now: i64,
        width: usize,
    ) -> Events<'e> {
        let name = |entry: &&Entry| columns_of(&entry.name).min(MAX_NAME);
        Events {
            look,
            session,
            now,
            width,
            names: entries.iter().map(name).max().unwrap_or(0),
            has_agents: entries.iter().any(|entry| entry.agent_id.is_some()),
            entries,
        }
    }

    /// The row of an entry.
    pub fn line(&self, index: usize) -> Line<'static> {
        let (entry, plain) = (self.entries[index], Style::new());
        let mut row = Row::new(self.width);
        if self.width >= 50 {
            let time = entry.time.seconds.map(Timestamp::from_second);
            let time = time.and_then(Result::ok);
            let time = time.map(|time| time_of_day(time, self.look.zone.clone()));
            row.cell(8, &time.unwrap_or_default(), Modifier::DIM.into());
        }
        let (sign, style, duration) = outcome(entry, self.session, self.now, self.look);
        row.cell(1, sign, style);
        if self.width >= 32 {
            row.cell_right(DURATION, &duration, plain);
        }
        if self.has_agents && self.width >= 50 {
            let agent: String = entry
                .agent_id
                .iter()
                .flat_map(|id| id.chars())
                .take(AGENT)
                .collect();
            row.cell(AGENT, &agent, plain);
        }
        let weight = match entry.outcome {
            Outcome::None => Modifier::DIM,
            _ => Modifier::BOLD,
        };
        row.cell(self.names, &entry.name, weight.into());
        row.rest(&entry.text, plain);
        row.into()
    }
}

/// The sign of an entry, its style, and for how long the tool has run.
fn outcome(
    entry: &Entry,
    session: &Session,
    now: i64,
    look: &ScreenLook,
) -> (&'static str, Style, String) {
    let colour = |colour| match look.has_colours {
        true => Style::new().fg(colour),
        false => Style::new(),
    };
    let is_its = |call| entry.call.as_ref().is_some_and(|own| own.is(call));
    let is_asked = session
        .questions
        .iter()
        .any(|question| question.call.as_ref().is_some_and(is_its));
    let running = session.running.iter().find(|tool| is_its(&tool.call));
    let state = |state| (Sign::of(state).sign, Sign::of(state).style(look));
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
        Outcome::Open => elapsed.map(|age| describe_seconds(age.unsigned_abs())),
        _ => Some(entry.duration.clone()),
    };
    (sign, style, duration.unwrap_or_default())
}
