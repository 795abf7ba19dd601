//! The rows of the sessions, with their subagents below them, and a row that counts those that
//! ended long ago.
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

// Columns of the cells.
const STATE: usize = 7;
const AGE: usize = 4;
const MAX_HOST: usize = 16;
const MAX_PROJECT: usize = 20;
const MAX_NAME: usize = 20;
/// Characters of a subagent's id.
const AGENT_ID: usize = 4;
const COUNT: usize = 5;
const CONTEXT: usize = 5;

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
fn columns(app: &App, shown: &[&Session], width: usize) -> Columns {
    let project = |session: &&Session| columns_of(summary::project(&session.cwd));
    let name = |session: &&Session| columns_of(&session.name());
    let longest = |texts: &dyn Fn(&&Session) -> usize| shown.iter().map(texts).max().unwrap_or(0);
    let fit = |longest: usize, most: usize| longest.clamp(7, most.min(width / 5).max(7));
    let from = |least: usize, columns: usize| if width >= least { columns } else { 0 };
    let host = |session: &&Session| columns_of(&session.host);
    let hosts = if app.has_several_hosts() {
        fit(longest(&host), MAX_HOST)
    } else {
        0
    };
    let has_context = shown.iter().any(|session| context(app, session).is_some());
    let columns = vec![
        Column(1, Left),
        Column(1, Left),
        Column(from(32, STATE), Left),
        Column(AGE, Right),
        Column(from(46, hosts), Left),
        Column(fit(longest(&project), MAX_PROJECT), Left),
        Column(from(46, fit(longest(&name), MAX_NAME)), Left),
        Column(if has_context { from(80, CONTEXT) } else { 0 }, Right),
        Column(from(100, COUNT), Right),
        Column(from(100, COUNT), Right),
    ];
    Columns::new(columns, width)
}

/// The tokens that a session uses, if they are known.
fn context(app: &App, session: &Session) -> Option<u64> {
    app.details(session)?.transcript.context
}

/// What a row is about.
#[derive(Clone, Copy)]
pub enum Item<'s> {
    /// With its index among those shown.
    Session(usize, &'s Session),
    Agent(usize, &'s Session, &'s Agent),
    /// So many sessions ended long ago.
    Folded(usize),
}

impl Item<'_> {
    /// The session, by its index among those shown.
    pub fn session(self) -> Option<usize> {
        match self {
            Item::Session(index, _) | Item::Agent(index, ..) => Some(index),
            Item::Folded(_) => None,
        }
    }
}

/// The sessions that are shown.
pub struct Table<'s> {
    app: &'s App,
    /// The selected session, by its index among those shown.
    pub selected: usize,
    pub columns: Columns,
    pub items: Vec<Item<'s>>,
}

impl<'s> Table<'s> {
    pub fn new(app: &'s App, shown: &[&'s Session], width: usize) -> Table<'s> {
        let mut items = Vec::new();
        for (index, session) in shown.iter().enumerate() {
            items.push(Item::Session(index, session));
            let agents = session.agents();
            items.extend(agents.map(|agent| Item::Agent(index, session, agent)));
        }
        let folded = app.folded();
        items.extend((folded > 0).then_some(Item::Folded(folded)));
        Table {
            app,
            selected: app.selection(shown),
            columns: columns(app, shown, width),
            items,
        }
    }

    /// The row of the selected session.
    pub fn selected_row(&self) -> usize {
        let mut items = self.items.iter();
        let row = items.position(|item| item.session() == Some(self.selected));
        row.unwrap_or(0)
    }

    /// The names of the columns.
    pub fn head(&self) -> Row<'static> {
        const NAMES: [&str; 11] = [
            "", "", "STATE", "AGE", "HOST", "PROJECT", "NAME", "CTX", "CALLS", "FAIL", "DETAIL",
        ];
        self.columns
            .row(NAMES.map(|name| Cell::new(name, Style::new())))
    }

    pub fn row(&self, row: usize) -> Row<'static> {
        match self.items[row] {
            Item::Session(index, session) => self.session_row(index, session),
            Item::Agent(_, session, agent) => self.agent_row(session, agent),
            Item::Folded(count) => self.folded_row(count),
        }
    }

    fn session_row(&self, index: usize, session: &Session) -> Row<'static> {
        let now = self.app.time(session);
        let state = session.state();
        let quiet = session.quiet(now);
        let (sign, word) = if quiet.is_some() {
            ("~", "quiet")
        } else {
            (sign(state), state.name())
        };
        let marker = if index == self.selected {
            ">"
        } else if self.app.model().marks.contains(session) {
            "•"
        } else {
            ""
        };
        let age = quiet.or_else(|| session.since().age(now));
        let (text_style, project_style) = match state {
            State::Ended | State::Gone => (Modifier::DIM, Modifier::DIM),
            _ => (Modifier::empty(), Modifier::BOLD),
        };
        let context = context(self.app, session);
        self.columns.row([
            Cell::new(marker, Style::new()),
            Cell::new(sign, style(state, &self.app.look)),
            Cell::new(word, style(state, &self.app.look)),
            Cell::new(age.map(describe_age).unwrap_or_default(), Style::new()),
            Cell::new(&*session.host, text_style),
            Cell::new(summary::project(&session.cwd), project_style),
            Cell::new(session.name(), text_style),
            Cell::new(context.map(tokens).unwrap_or_default(), text_style),
            Cell::new(count(session.tool_calls), text_style),
            Cell::new(count(session.failures), text_style),
            Cell::new(detail(session, now, self.columns.rest()), text_style),
        ])
    }

    fn agent_row(&self, session: &Session, agent: &Agent) -> Row<'static> {
        let now = self.app.time(session);
        let (state, since, question) = session.agent_state(agent);
        let age = since.age(now).map(describe_age);
        let id: String = agent.id.chars().take(AGENT_ID).collect();
        let is_its = |tool: &&RunningCall| tool.call.agent_id.as_ref() == Some(&agent.id);
        let tools = session.running().filter(is_its);
        let tools: Vec<String> = tools.map(|tool| describe(tool, now)).collect();
        let detail = match question {
            Some(question) => question.detail_for(self.columns.rest()).to_owned(),
            None if tools.is_empty() => "thinking".into(),
            None => tools.join(", "),
        };
        self.columns.row([
            Cell::new("", Style::new()),
            Cell::new(sign(state), style(state, &self.app.look)),
            Cell::new(state.name(), style(state, &self.app.look)),
            Cell::new(age.unwrap_or_default(), Style::new()),
            // From the host to the failures.
            Cell::new(format!("└ {} {id}", agent.kind), Style::new()).span(6),
            Cell::new(detail, Style::new()),
        ])
    }

    fn folded_row(&self, count: usize) -> Row<'static> {
        let text = format!("{count} ended · e shows them");
        let sign = Cell::new(sign(State::Ended), Modifier::DIM);
        let text = Cell::new(text, Modifier::DIM).span(usize::MAX);
        self.columns.row([Cell::new("", Style::new()), sign, text])
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

/// A number of tokens.
fn tokens(number: u64) -> String {
    match number {
        ..1000 => number.to_string(),
        1000..1_000_000 => format!("{}k", number / 1000),
        _ => format!("{}.{}M", number / 1_000_000, number / 100_000 % 10),
    }
}

fn count(number: u64) -> String {
    match number {
        ..100_000 => number.to_string(),
        _ => format!("{}k", number / 1000),
    }
}
