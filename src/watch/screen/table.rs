//! The rows of the sessions, with their subagents below them.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::layout::HorizontalAlignment::{Left, Right};
use ratatui::style::{Color, Modifier, Style};
use ratatui::widgets::Row;

use super::app::{App, ScreenLook};
use super::list::{Cell, Column, Columns};
use crate::format::duration::{describe_age, describe_seconds};
use crate::format::line_writer::columns_of;
use crate::format::summary;
use crate::watch::session::parts::{Agent, RunningCall};
use crate::watch::session::{Session, State};
use crate::watch::table::distinct_length;

// Columns of the cells.
const STATE: usize = 7;
const AGE: usize = 4;
const MAX_PROJECT: usize = 20;
const MIN_ID: usize = 7;
const MAX_ID: usize = 12;
/// Characters of a subagent's id.
const AGENT_ID: usize = 4;
const COUNT: usize = 5;

/// The sign of a state.
pub fn sign(state: State) -> &'static str {
    match state {
        State::Waiting => "!",
        State::Failed => "✗",
        State::Idle => "-",
        State::Working => "*",
        State::Unknown => "?",
        State::Ended => ".",
        State::Gone => "x",
    }
}

/// Colours that those who are colour-blind can tell apart.
pub fn style(state: State, look: &ScreenLook) -> Style {
    let style = Style::new();
    match state {
        State::Waiting if look.has_colours => style.fg(Color::Black).bg(Color::Yellow),
        State::Waiting => style.add_modifier(Modifier::BOLD | Modifier::REVERSED),
        State::Failed if look.has_colours => style.fg(Color::White).bg(Color::Red),
        State::Failed => style.add_modifier(Modifier::BOLD),
        State::Working if look.has_colours => style.fg(Color::Cyan),
        State::Idle | State::Working => style,
        State::Unknown | State::Ended | State::Gone => style.add_modifier(Modifier::DIM),
    }
}

/// Those columns for which there is room.
fn columns(shown: &[&Session], id: usize, width: usize) -> Columns {
    let project = |session: &&Session| columns_of(summary::project(&session.cwd));
    let longest = shown.iter().map(project).max().unwrap_or(0);
    let from = |least: usize, columns: usize| if width >= least { columns } else { 0 };
    let columns = vec![
        Column(1, Left),
        Column(1, Left),
        Column(from(32, STATE), Left),
        Column(AGE, Right),
        Column(longest.clamp(7, MAX_PROJECT.min(width / 5).max(7)), Left),
        Column(from(46, id), Left),
        Column(from(70, COUNT), Right),
        Column(from(70, COUNT), Right),
    ];
    Columns::new(columns, width)
}

/// The sessions that are shown, at a time.
pub struct Table<'s> {
    look: &'s ScreenLook,
    now: i64,
    selected: usize,
    /// Characters of an identifier.
    id: usize,
    pub columns: Columns,
    /// A session, by its index among those shown, and below it its subagents.
    rows: Vec<(usize, &'s Session, Option<&'s Agent>)>,
}

impl<'s> Table<'s> {
    pub fn new(app: &'s App, shown: &[&'s Session], now: i64, width: usize) -> Table<'s> {
        let ids = shown.iter().map(|session| &*session.id);
        let id = distinct_length(ids).clamp(MIN_ID, MAX_ID);
        let mut rows = Vec::new();
        for (index, session) in shown.iter().enumerate() {
            rows.push((index, *session, None));
            let agents = session.agents();
            rows.extend(agents.map(|agent| (index, *session, Some(agent))));
        }
        Table {
            look: &app.look,
            now,
            selected: app.selection(shown),
            id,
            columns: columns(shown, id, width),
            rows,
        }
    }

    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// The row of the selected session.
    pub fn selected_row(&self) -> usize {
        let mut rows = self.rows.iter();
        let row = rows.position(|(index, ..)| *index == self.selected);
        row.unwrap_or(0)
    }

    /// The names of the columns.
    pub fn head(&self) -> Row<'static> {
        const NAMES: [&str; 9] = [
            "", "", "STATE", "AGE", "PROJECT", "SESSION", "CALLS", "FAIL", "DETAIL",
        ];
        self.columns
            .row(NAMES.map(|name| Cell::new(name, Style::new())))
    }

    pub fn row(&self, row: usize) -> Row<'static> {
        match self.rows[row] {
            (index, session, None) => self.session_row(index, session),
            (_, session, Some(agent)) => self.agent_row(session, agent),
        }
    }

    fn session_row(&self, index: usize, session: &Session) -> Row<'static> {
        let state = session.state();
        let quiet = session.quiet(self.now);
        let (sign, word) = if quiet.is_some() {
            ("~", "quiet")
        } else {
            (sign(state), state.name())
        };
        let marker = if index == self.selected { ">" } else { "" };
        let age = quiet.or_else(|| session.since().age(self.now));
        let (text_style, project_style) = match state {
            State::Ended | State::Gone => (Modifier::DIM, Modifier::DIM),
            _ => (Modifier::empty(), Modifier::BOLD),
        };
        let id: String = session.id.chars().take(self.id).collect();
        self.columns.row([
            Cell::new(marker, Style::new()),
            Cell::new(sign, style(state, self.look)),
            Cell::new(word, style(state, self.look)),
            Cell::new(age.map(describe_age).unwrap_or_default(), Style::new()),
            Cell::new(summary::project(&session.cwd), project_style),
            Cell::new(id, text_style),
            Cell::new(count(session.tool_calls), text_style),
            Cell::new(count(session.failures), text_style),
            Cell::new(detail(session, self.now, self.columns.rest()), text_style),
        ])
    }

    fn agent_row(&self, session: &Session, agent: &Agent) -> Row<'static> {
        let (state, since, question) = session.agent_state(agent);
        let age = since.age(self.now).map(describe_age);
        let id: String = agent.id.chars().take(AGENT_ID).collect();
        let is_its = |tool: &&RunningCall| tool.call.agent_id.as_ref() == Some(&agent.id);
        let tools = session.running().filter(is_its);
        let tools: Vec<String> = tools.map(|tool| describe(tool, self.now)).collect();
        let detail = match question {
            Some(question) => question.detail_for(self.columns.rest()).to_owned(),
            None if tools.is_empty() => "thinking".into(),
            None => tools.join(", "),
        };
        self.columns.row([
            Cell::new("", Style::new()),
            Cell::new(sign(state), style(state, self.look)),
            Cell::new(state.name(), style(state, self.look)),
            Cell::new(age.unwrap_or_default(), Style::new()),
            // From the project to the failures.
            Cell::new(format!("└ {} {id}", agent.kind), Style::new()).span(4),
            Cell::new(detail, Style::new()),
        ])
    }
}

/// What a session does: for one that works, the tools of its main thread. It is for so many columns.
fn detail(session: &Session, now: i64, columns: usize) -> String {
    let own = session
        .running()
        .filter(|tool| tool.call.agent_id.is_none());
    let own: Vec<String> = own.map(|tool| describe(tool, now)).collect();
    match (session.state(), session.agents().count()) {
        (State::Working, _) if !own.is_empty() => own.join(", "),
        (State::Working, 1) => "1 subagent runs".into(),
        (State::Working, agents @ 2..) => format!("{agents} subagents run"),
        _ => session.detail_for(columns),
    }
}

/// A tool that runs, and for how long.
fn describe(tool: &RunningCall, now: i64) -> String {
    let age = describe_seconds(tool.since.age(now).unwrap_or_default());
    format!("{age} {} {}", tool.call.name, tool.summary)
}

fn count(number: u64) -> String {
    match number {
        ..100_000 => number.to_string(),
        _ => format!("{}k", number / 1000),
    }
}
