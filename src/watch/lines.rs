//! One line for each event, as `watch --lines` writes it.
//!
//! The form is that of the server's `--pretty-line` ([`line`]). This file adds what only the
//! events before tell: short names that are distinct, colours in turn, durations, and which
//! failures and messages are new.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound::{Excluded, Unbounded};

use super::messages::LastMessage;
use super::session::{Change, Session};
use super::sessions::MAX_SESSIONS;
use crate::event::object::Object;
use crate::format::line::{
    self, Context, LineLook, MAX_HOST_COLUMNS, MAX_PROJECT_COLUMNS, SESSION_COLOURS,
};
use crate::format::line_writer::columns_of;
use crate::format::summary;

/// Writes lines, and remembers what they have shown.
#[derive(Default)]
pub struct Lines {
    project_columns: usize,
    hosts: Hosts,
    session_ids: ShortIds,
    agent_ids: ShortIds,
    /// By the number of the session.
    messages: HashMap<usize, LastMessage>,
}

impl Lines {
    /// Writes the lines of an event. `session` is its session after it, with what has changed.
    pub fn write(
        &mut self,
        event: &Object,
        session: Option<(&Session, Change)>,
        look: LineLook,
        out: &mut String,
    ) {
        let mut context = Context {
            host: "",
            host_columns: self.hosts.columns(),
            project: "",
            project_columns: self.project_columns,
            session_length: self.session_ids.length,
            session_colour: SESSION_COLOURS[0],
            agent_length: self.agent_ids.length,
            seconds: None,
            failures: Vec::new(),
            asks_user: false,
            has_summary: true,
        };
        if let Some((session, change)) = session {
            context.has_summary = !self.is_repeated(event, session);
            if !context.has_summary && event.string("_event") == Some("MessageDisplay") {
                return;
            }
            let project = summary::project(&session.cwd);
            let columns = columns_of(project).min(MAX_PROJECT_COLUMNS);
            self.project_columns = self.project_columns.max(columns);
            self.hosts.add(&session.host);
            context.host = &session.host;
            context.host_columns = self.hosts.columns();
            context.project = project;
            context.project_columns = self.project_columns;
            context.session_length = self.session_ids.length_with(&session.id);
            context.session_colour = SESSION_COLOURS[session.number % SESSION_COLOURS.len()];
            if let Some(agent_id) = event.text("agent_id") {
                context.agent_length = self.agent_ids.length_with(&agent_id);
            }
            context.seconds = change.seconds;
            context.failures = change.failures;
            context.asks_user = change.asks_user;
        }
        line::write_in(&context, event, look, out);
    }

    /// Whether a line has shown the message of the event.
    fn is_repeated(&mut self, event: &Object, session: &Session) -> bool {
        if self.messages.len() >= MAX_SESSIONS {
            self.messages.clear();
        }
        let last = self.messages.entry(session.number).or_default();
        last.is_repeated_by(event)
    }
}

/// The hosts of the sessions that lines have shown.
#[derive(Default)]
struct Hosts {
    first: Option<String>,
    has_several: bool,
    /// Those of the longest name.
    columns: usize,
}

impl Hosts {
    fn add(&mut self, host: &str) {
        let first = self.first.get_or_insert_with(|| host.to_owned());
        self.has_several |= first != host;
        let columns = columns_of(host).min(MAX_HOST_COLUMNS);
        self.columns = self.columns.max(columns);
    }

    /// The columns for a host: none as long as there is only one.
    fn columns(&self) -> usize {
        if self.has_several { self.columns } else { 0 }
    }
}

/// The identifiers that lines have shown, and how many characters tell them apart.
struct ShortIds {
    ids: BTreeSet<String>,
    length: usize,
}

impl Default for ShortIds {
    fn default() -> Self {
        ShortIds {
            ids: BTreeSet::new(),
            length: line::SHORT_ID_LENGTH,
        }
    }
}

impl ShortIds {
    /// The length, when this identifier is shown too.
    fn length_with(&mut self, id: &str) -> usize {
        /// Characters of a UUID.
        const MAX_LENGTH: usize = 36;
        if !self.ids.contains(id) {
            if self.ids.len() >= MAX_SESSIONS {
                self.ids.clear();
            }
            let before = self.ids.range::<str, _>((Unbounded, Excluded(id)));
            let after = self.ids.range::<str, _>((Excluded(id), Unbounded));
            let neighbours = before.rev().take(1).chain(after.take(1));
            let needed = distinct_length(neighbours.map(String::as_str).chain([id]));
            self.length = self.length.max(needed.min(MAX_LENGTH));
            self.ids.insert(id.to_owned());
        }
        self.length
    }
}

/// How many characters tell the identifiers apart: four at least.
fn distinct_length<'i>(ids: impl Iterator<Item = &'i str>) -> usize {
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
