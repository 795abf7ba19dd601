//! The rows of the sessions, with their subagents below them.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;

use super::app::{App, ScreenLook};
use super::row::Row;
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

/// Which cells there is room for.
struct Cells {
    has_state: bool,
    project: usize,
    /// None: 0.
    id: usize,
    has_counts: bool,
}

impl Cells {
    fn new(shown: &[&Session], width: usize) -> Cells {
        let columns = |session: &&Session| columns_of(summary::project(&session.cwd));
        let longest = shown.iter().map(columns).max().unwrap_or(0);
        let ids = shown.iter().map(|session| &*session.id);
        Cells {
            has_state: width >= 32,
            project: longest.clamp(7, MAX_PROJECT.min(width / 5).max(7)),
            id: match width {
                ..46 => 0,
                _ => distinct_length(ids).clamp(MIN_ID, MAX_ID),
            },
            has_counts: width >= 70,
        }
    }

    /// Columns of the cells between the age and the detail.
    fn middle(&self) -> usize {
        let id = if self.id > 0 { self.id + 1 } else { 0 };
        let counts = if self.has_counts { 2 * (COUNT + 1) } else { 0 };
        self.project + id + counts
    }
}

/// How a state is shown.
pub struct Sign {
    pub sign: &'static str,
    word: &'static str,
    state: State,
}

impl Sign {
    pub fn of(state: State) -> Sign {
        let sign = match state {
            State::Waiting => "!",
            State::Failed => "✗",
            State::Idle => "-",
            State::Working => "*",
            State::Ended => ".",
            State::Gone => "x",
        };
        Sign {
            sign,
            word: state.name(),
            state,
        }
    }

    /// Colours that those who are colour-blind can tell apart.
    pub fn style(&self, look: &ScreenLook) -> Style {
        let style = Style::new();
        match self.state {
            State::Waiting if look.has_colours => style.fg(Color::Black).bg(Color::Yellow),
            State::Waiting => style.add_modifier(Modifier::BOLD | Modifier::REVERSED),
            State::Failed if look.has_colours => style.fg(Color::White).bg(Color::Red),
            State::Failed => style.add_modifier(Modifier::BOLD),
            State::Working if look.has_colours => style.fg(Color::Cyan),
            State::Idle | State::Working => style,
            State::Ended | State::Gone => style.add_modifier(Modifier::DIM),
        }
    }
}

/// The sessions that are shown, at a time, in this width.
pub struct Table<'s> {
    look: &'s ScreenLook,
    now: i64,
    width: usize,
    selected: usize,
    cells: Cells,
    pub rows: Vec<TableRow<'s>>,
}

pub enum TableRow<'s> {
    /// A session, by its index among those shown.
    Session(usize, &'s Session),
    Agent(&'s Session, &'s Agent),
}

impl<'s> Table<'s> {
    pub fn new(app: &'s App, shown: &[&'s Session], now: i64, width: usize) -> Table<'s> {
        let mut rows = Vec::new();
        for (index, session) in shown.iter().enumerate() {
            rows.push(TableRow::Session(index, session));
            let agents = session.agents.iter();
            rows.extend(agents.map(|agent| TableRow::Agent(session, agent)));
        }
        Table {
            look: &app.look,
            now,
            width,
            selected: app.selection(shown),
            cells: Cells::new(shown, width),
            rows,
        }
    }

    /// The row of the selected session.
    pub fn selected_row(&self) -> usize {
        let mut rows = self.rows.iter();
        let is_selected =
            |row: &TableRow| matches!(row, TableRow::Session(index, _) if *index == self.selected);
        rows.position(is_selected).unwrap_or(0)
    }

    /// The names of the columns.
    pub fn head(&self) -> Line<'static> {
        let (cells, plain) = (&self.cells, Style::new());
        let mut row = Row::new(self.width);
        row.cell(1, "", plain);
        match cells.has_state {
            true => {
                row.cell(1, "", plain);
                row.cell(STATE, "STATE", plain);
            }
            false => row.cell(1, "", plain),
        }
        row.cell_right(AGE, "AGE", plain);
        row.cell(cells.project, "PROJECT", plain);
        if cells.id > 0 {
            row.cell(cells.id, "SESSION", plain);
        }
        if cells.has_counts {
            row.cell_right(COUNT, "CALLS", plain);
            row.cell_right(COUNT, "FAIL", plain);
        }
        row.rest("DETAIL", plain);
        row.into()
    }

    pub fn line(&self, row: usize) -> Line<'static> {
        match &self.rows[row] {
            TableRow::Session(index, session) => self.session_line(*index, session),
            TableRow::Agent(session, agent) => self.agent_line(session, agent),
        }
    }

    /// Begins a row: the state, in a sign and a word, and its age.
    fn begin(&self, marker: &str, sign: &Sign, age: Option<i64>) -> Row {
        let mut row = Row::new(self.width);
        row.cell(1, marker, Style::new());
        let style = sign.style(self.look);
        match self.cells.has_state {
            true => row.cell(STATE + 2, &format!("{} {}", sign.sign, sign.word), style),
            false => row.cell(1, sign.sign, style),
        }
        let age = age.map(|age| describe_age(age.unsigned_abs()));
        row.cell_right(AGE, &age.unwrap_or_default(), Style::new());
        row
    }

    fn session_line(&self, index: usize, session: &Session) -> Line<'static> {
        let (cells, state) = (&self.cells, session.state());
        let quiet = session.quiet(self.now);
        let mut sign = Sign::of(state);
        if quiet.is_some() {
            (sign.sign, sign.word) = ("~", "quiet");
        }
        let marker = if index == self.selected { ">" } else { "" };
        let age = quiet.or_else(|| session.since().age(self.now));
        let mut row = self.begin(marker, &sign, age);
        let (style, project_style) = match state {
            State::Ended | State::Gone => (Modifier::DIM.into(), Modifier::DIM.into()),
            _ => (Style::new(), Style::from(Modifier::BOLD)),
        };
        row.cell(cells.project, summary::project(&session.cwd), project_style);
        if cells.id > 0 {
            let id: String = session.id.chars().take(cells.id).collect();
            row.cell(cells.id, &id, style);
        }
        if cells.has_counts {
            row.cell_right(COUNT, &count(session.tool_calls), style);
            row.cell_right(COUNT, &count(session.failures), style);
        }
        row.rest(&detail(session, self.now), style);
        row.into()
    }

    fn agent_line(&self, session: &Session, agent: &Agent) -> Line<'static> {
        let is_its = |owner: &Option<String>| owner.as_ref() == Some(&agent.id);
        let (state, since, question) = session.agent_state(agent);
        let plain = Style::new();
        let mut row = self.begin("", &Sign::of(state), since.age(self.now));
        row.cell(1, "", plain);
        let id: String = agent.id.chars().take(AGENT_ID).collect();
        let name = format!("{} {id}", agent.kind);
        row.cell(self.cells.middle() - 2, &name, plain);
        let tools = session.running.iter();
        let tools = tools.filter(|tool| is_its(&tool.call.agent_id));
        let tools: Vec<String> = tools.map(|tool| describe(tool, self.now)).collect();
        let detail = match question {
            Some(question) => question.detail.clone(),
            None if tools.is_empty() => "thinking".into(),
            None => tools.join(", "),
        };
        row.rest(&detail, plain);
        row.into()
    }
}

/// What a session does: for one that works, the tools of its main thread.
fn detail(session: &Session, now: i64) -> String {
    let own = session
        .running
        .iter()
        .filter(|tool| tool.call.agent_id.is_none());
    let own: Vec<String> = own.map(|tool| describe(tool, now)).collect();
    match (session.state(), session.agents.len()) {
        (State::Working, _) if !own.is_empty() => own.join(", "),
        (State::Working, 1) => "1 subagent runs".into(),
        (State::Working, agents @ 2..) => format!("{agents} subagents run"),
        _ => session.detail(),
    }
}

/// A tool that runs, and for how long.
fn describe(tool: &RunningCall, now: i64) -> String {
    let age = tool.since.age(now).unwrap_or_default();
    let age = describe_seconds(age.unsigned_abs());
    format!("{age} {} {}", tool.call.name, tool.summary)
}

fn count(number: u64) -> String {
    match number {
        ..100_000 => number.to_string(),
        _ => format!("{}k", number / 1000),
    }
}
