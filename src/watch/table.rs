//! The sessions as a table, and as JSON lines.
//!
//! Stop 17 of EDU_NOTES.md.

use std::{array, iter};

use serde::Serialize;

use super::client_files::{Details, Terminal};
use super::session::Session;
use crate::event::compact;
use crate::format::duration::describe_seconds;
use crate::format::line_writer::{LineWriter, columns_of, cut_middle};
use crate::format::summary;

/// The most columns for the name of a host, a project or a session.
const NAME_COLUMNS: usize = 20;

/// A line for each session, with its age at `now`, in seconds since 1970. `width` is that of
/// the terminal, if there is one.
pub fn table(sessions: &[&Session], now: i64, width: Option<usize>) -> String {
    const HEAD: [&str; 7] = ["STATE", "AGE", "HOST", "PROJECT", "NAME", "CALLS", "FAIL"];
    const HOST: usize = 2;
    if sessions.is_empty() {
        return "No sessions\n".into();
    }
    let mut rows = vec![HEAD.map(str::to_owned)];
    rows.extend(sessions.iter().map(|session| row(session, now)));
    let has_hosts = have_several_hosts(sessions.iter().copied());
    let widest = |column: usize| rows.iter().map(|row| columns_of(&row[column])).max();
    // With a space, and another one before the next column.
    let widths: [usize; HEAD.len()] = array::from_fn(|column| match column {
        HOST if !has_hosts => 0,
        _ => widest(column).unwrap_or(0) + 1,
    });
    let used = widths.iter().sum::<usize>() + widths.len();
    let room = width.map_or(usize::MAX, |width| width.saturating_sub(used));
    let details = sessions.iter().map(|session| session.detail_for(room));
    let details = iter::once("DETAIL".to_owned()).chain(details);
    let mut text = String::new();
    for (row, detail) in rows.iter().zip(details) {
        let mut line = LineWriter::new(&mut text, false, width);
        for (cell, width) in row.iter().zip(widths) {
            line.column(width, "", cell.chars());
        }
        line.ends(detail.chars());
        line.end();
    }
    text
}

/// Whether sessions are from more than one host. Those that name none share one.
pub fn have_several_hosts<'s>(mut sessions: impl Iterator<Item = &'s Session>) -> bool {
    let first = sessions.next();
    first.is_some_and(|first| sessions.any(|session| session.host != first.host))
}

fn row(session: &Session, now: i64) -> [String; 7] {
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
        cut_middle(session.host.chars(), NAME_COLUMNS),
        cut_middle(project.chars(), NAME_COLUMNS),
        cut_middle(session.name().chars(), NAME_COLUMNS),
        session.tool_calls.to_string(),
        session.failures.to_string(),
    ]
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
    /// Only of a session whose events name it.
    #[serde(skip_serializing_if = "str::is_empty")]
    host: &'s str,
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
        host: &session.host,
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
