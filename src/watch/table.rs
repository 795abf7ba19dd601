//! The sessions as a table, and as JSON lines.
//!
//! Stop 17 of EDU_NOTES.md.

use serde::Serialize;

use super::client_files::{Details, Terminal};
use super::session::Session;
use crate::event::compact;
use crate::format::duration::describe_seconds;
use crate::format::line_writer::{columns_of, cut_middle};
use crate::format::summary;

/// The most columns for the name of a project.
const PROJECT_COLUMNS: usize = 20;

/// A line for each session, with its age at `now`, in seconds since 1970. `width` is that of
/// the terminal, if there is one.
pub fn table(sessions: &[&Session], now: i64, width: Option<usize>) -> String {
    const HEAD: [&str; 7] = [
        "STATE", "AGE", "PROJECT", "SESSION", "CALLS", "FAIL", "DETAIL",
    ];
    if sessions.is_empty() {
        return "No sessions\n".into();
    }
    let id_length = distinct_length(sessions.iter().map(|session| session.id.as_str()));
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(sessions.iter().map(|session| row(session, now, id_length)));
    let widths: Vec<usize> = (0..HEAD.len() - 1)
        .map(|column| {
            rows.iter()
                .map(|row| columns_of(&row[column]))
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - columns_of(cell) + 2));
        }
        let detail = &row[HEAD.len() - 1];
        let room = width.map_or(usize::MAX, |width| width.saturating_sub(columns_of(&line)));
        line.push_str(&cut_middle(detail.chars(), room));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn row(session: &Session, now: i64, id_length: usize) -> [String; 7] {
    let state = match session.quiet(now) {
        Some(_) => "quiet",
        None => session.state().name(),
    };
    let age = session.quiet(now).or_else(|| session.since().age(now));
    let age = age.map(describe_seconds);
    let project = summary::project(&session.cwd);
    [
        state.into(),
        age.unwrap_or_default(),
        cut_middle(project.chars(), PROJECT_COLUMNS),
        session.id.chars().take(id_length).collect(),
        session.tool_calls.to_string(),
        session.failures.to_string(),
        session.detail(),
    ]
}

/// How many characters tell the identifiers apart: four at least.
pub fn distinct_length<'i>(ids: impl Iterator<Item = &'i str>) -> usize {
    const SHORTEST: usize = 4;
    let mut ids: Vec<&str> = ids.collect();
    ids.sort_unstable();
    let common = |pair: &[&str]| {
        let equal = pair[0]
            .chars()
            .zip(pair[1].chars())
            .take_while(|(one, other)| one == other);
        equal.count() + 1
    };
    ids.windows(2).map(common).max().unwrap_or(0).max(SHORTEST)
}

/// A session as `sessions --json` prints it.
#[derive(Serialize)]
struct SessionJson<'s> {
    session_id: &'s str,
    name: String,
    state: &'static str,
    since: &'s str,
    detail: String,
    prompt: Option<&'s str>,
    cwd: &'s str,
    branch: Option<&'s str>,
    model: Option<&'s str>,
    /// Tokens.
    context: Option<u64>,
    pid: Option<u32>,
    terminal: Option<&'s Terminal>,
    /// Whether the client itself tells the state, or the events.
    source: &'static str,
    tools: Vec<ToolJson<'s>>,
    agents: Vec<AgentJson<'s>>,
    events: u64,
    tool_calls: u64,
    failures: u64,
    last_event: &'s str,
    last: &'s str,
}

#[derive(Serialize)]
struct ToolJson<'s> {
    name: &'s str,
    summary: &'s str,
    since: &'s str,
    agent_id: Option<&'s str>,
}

#[derive(Serialize)]
struct AgentJson<'s> {
    agent_id: &'s str,
    agent_type: &'s str,
    state: &'static str,
    since: &'s str,
}

/// One line.
pub fn json(session: &Session, details: &Details) -> String {
    let tools = session.running().map(|tool| ToolJson {
        name: &tool.call.name,
        summary: &tool.summary,
        since: &tool.since.text,
        agent_id: tool.call.agent_id.as_deref(),
    });
    let agents = session.agents().map(|agent| {
        let (state, since, _) = session.agent_state(agent);
        AgentJson {
            agent_id: &agent.id,
            agent_type: &agent.kind,
            state: state.name(),
            since: &since.text,
        }
    });
    let object = SessionJson {
        session_id: &session.id,
        name: session.name(),
        state: session.state().name(),
        since: &session.since().text,
        detail: session.detail(),
        prompt: Some(&*session.prompt).filter(|prompt| !prompt.is_empty()),
        cwd: &session.cwd,
        branch: details.transcript.branch.as_deref(),
        model: details.transcript.model.as_deref(),
        context: details.transcript.context,
        pid: session.pid(),
        terminal: details.terminal.as_ref(),
        source: if session.is_by_client() {
            "client"
        } else {
            "events"
        },
        tools: tools.collect(),
        agents: agents.collect(),
        events: session.events,
        tool_calls: session.tool_calls,
        failures: session.failures,
        last_event: &session.last_event,
        last: &session.last.text,
    };
    // It cannot fail: all values have a JSON form, and writing to memory succeeds.
    let json = serde_json::to_string(&object).unwrap_or_default();
    // In ASCII it is safe for a terminal.
    let mut line = String::new();
    compact::write(&json, &mut line);
    line + "\n"
}
