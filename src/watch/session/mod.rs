//! The state of one session, derived from its events alone.
//!
//! Claude Code sends no event when the user grants a permission, refuses one without a text,
//! or presses Esc. Neighbouring events can arrive in another order, and a record can begin in
//! the middle. So each event is taken for what it surely shows, and the state is the best that
//! the events allow.
//!
//! A session is in a turn or not, and beside that questions are open and subagents run:
//!
//! | event | turn | questions | tools and subagents |
//! | --- | --- | --- | --- |
//! | `SessionStart`, not after `/compact` | new | all end | all end |
//! | `UserPromptSubmit` by the user | running | all end: no dialog was open | foreground subagents end; tools of the main thread are doubtful |
//! | … `<task-notification>` | running | those of the main thread end | the same |
//! | `PreToolUse` | running | opens one for a question or a plan | the tool runs; doubtful ones end |
//! | `PermissionRequest` | running | opens one for the tool before it | |
//! | `PostToolUse`, `PostToolUseFailure` | running if new | those for the tool end, and earlier ones | the tool ends; a subagent was launched |
//! | `PostToolBatch` | running if new | those for its calls end | its tools end |
//! | `Elicitation` | | opens one | |
//! | `ElicitationResult` | | that of the server ends | |
//! | `Notification` that needs input | | opens one if none is open | |
//! | … `idle_prompt` | over if running | those of the main thread end | tools of the main thread end |
//! | `SubagentStart` | | | the subagent runs |
//! | `SubagentStop`, `StopFailure` of a subagent | | those of the subagent end | it ends, and its tools |
//! | `Stop` | over | those of the main thread end | tools of the main thread end; subagents end that `background_tasks` does not list |
//! | `StopFailure` | failed | those of the main thread end | tools of the main thread end |
//! | `PreCompact` | over if by the user | then those of the main thread end | then tools of the main thread end; compacting |
//! | `PostCompact`, `SessionStart` after it | | | not compacting |
//! | `SessionEnd`, `_gone` | ended, gone | all end | all end |
//!
//! "Running" is for events of the main thread: those of a subagent show only that the
//! subagent runs. After the end, only `SessionStart` and `UserPromptSubmit` begin again: other
//! events are late. Events that are not in the table, also unknown ones, change nothing, such
//! as `MessageDisplay`, which can come after `Stop`.
//!
//! Stop 17 of EDU_NOTES.md.

mod agents;
mod calls;
pub mod parts;
mod questions;

use self::parts::{Agent, Question, RunningCall, Time, id, message};
use crate::event::claude;
use crate::event::object::Object;

/// Tools, questions, subagents and identifiers that one session can have. Real sessions have
/// a few; beyond this the oldest is forgotten.
const MAX_PARTS: usize = 64;
/// A `SessionStart` can arrive this many seconds after an event that it precedes.
const LATE_START: i64 = 2;
/// Requests this many seconds apart surely arrived in their order.
const SURE_ORDER: i64 = 2;
/// A session without an event for this many seconds is quiet.
const QUIET: u64 = 60;

/// The states, in the order in which a table shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    Failed,
    Idle,
    Working,
    Ended,
    Gone,
}

impl State {
    /// In their order.
    pub const ALL: [State; 6] = [
        State::Waiting,
        State::Failed,
        State::Idle,
        State::Working,
        State::Ended,
        State::Gone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Failed => "failed",
            State::Idle => "idle",
            State::Working => "working",
            State::Ended => "ended",
            State::Gone => "gone",
        }
    }
}

/// The turn of the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Turn {
    /// The session has begun, or nothing is known.
    #[default]
    New,
    Running,
    Over,
    Failed,
    Ended,
    Gone,
}

/// What an event says beyond its own text, together with the events before it.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// Seconds since the `PreToolUse` of the tool that has ended.
    pub seconds: Option<u64>,
    /// The calls of a `PostToolBatch`, by number, whose failure no other event has shown.
    pub failures: Vec<usize>,
    /// Whether the event asks the user.
    pub asks_user: bool,
    /// Whether no event before has asked the same.
    pub is_new_question: bool,
}

/// One session.
#[derive(Debug, Clone, Default)]
pub struct Session {
    pub id: String,
    /// Sessions are numbered as they appear.
    pub number: usize,
    /// The directory in which it began.
    pub cwd: String,
    /// The process, if it is known.
    pub pid: Option<u32>,
    pub events: u64,
    pub tool_calls: u64,
    /// Tool calls that failed or were refused.
    pub failures: u64,
    pub last_event: String,
    pub last: Time,
    pub running: Vec<RunningCall>,
    pub questions: Vec<Question>,
    pub agents: Vec<Agent>,
    /// Background commands that ran when the last turn ended.
    pub commands: usize,
    turn: Turn,
    is_compacting: bool,
    /// The number of the last event among those of all sessions.
    pub(super) last_active: u64,
    /// When the current state began.
    since: Time,
    /// The last message, the error, or the reason of the end.
    message: String,
    /// When the first event came, if that was not a `SessionStart`.
    began_without_start: Option<i64>,
    /// Subagents that have ended: their late events do not start them again.
    ended_agents: Vec<String>,
    /// Calls that `PostToolUse` or `PostToolUseFailure` has ended, and no `PostToolBatch` yet.
    ended_calls: Vec<String>,
    /// Whether one of these two events has ever come. If not, their hooks may not be installed,
    /// and a call that only its `PostToolBatch` ends need not have failed.
    shows_ends: bool,
}

impl Session {
    pub fn new(id: String, number: usize) -> Session {
        Session {
            id,
            number,
            ..Session::default()
        }
    }

    /// The state, of which there is one for every history.
    pub fn state(&self) -> State {
        match self.turn {
            Turn::Ended => State::Ended,
            Turn::Gone => State::Gone,
            _ if !self.questions.is_empty() => State::Waiting,
            Turn::Failed => State::Failed,
            Turn::Running => State::Working,
            _ if self.is_compacting || !self.agents.is_empty() => State::Working,
            Turn::New | Turn::Over => State::Idle,
        }
    }

    /// When the state began.
    pub fn since(&self) -> &Time {
        match (self.state(), self.questions.first()) {
            (State::Waiting, Some(question)) => &question.since,
            _ => &self.since,
        }
    }

    /// Of a subagent: its state, when that began, and what it asks the user.
    pub fn agent_state<'s>(&'s self, agent: &'s Agent) -> (State, &'s Time, Option<&'s Question>) {
        let is_its = |question: &&Question| question.agent_id.as_ref() == Some(&agent.id);
        match self.questions.iter().find(is_its) {
            Some(question) => (State::Waiting, &question.since, Some(question)),
            None => (State::Working, &agent.since, None),
        }
    }

    /// What a person wants to know about the state.
    pub fn detail(&self) -> String {
        match (self.state(), self.questions.first()) {
            (State::Waiting, Some(question)) => self.with_agent(question),
            (State::Working, _) => self.work(),
            (State::Idle, _) if self.commands > 0 => {
                let separator = if self.message.is_empty() { "" } else { " · " };
                let commands = count(
                    self.commands,
                    "background command runs",
                    "background commands run",
                );
                format!("{}{separator}{commands}", self.message)
            }
            (State::Gone, _) => match self.pid {
                Some(pid) => format!("process {pid} has ended without SessionEnd"),
                None => "its process has ended without SessionEnd".into(),
            },
            _ => self.message.clone(),
        }
    }

    fn with_agent(&self, question: &Question) -> String {
        let Some(agent_id) = &question.agent_id else {
            return question.detail.clone();
        };
        let agent = self.agents.iter().find(|agent| agent.id == *agent_id);
        let kind = agent.map_or("", |agent| &agent.kind);
        let space = if kind.is_empty() { "" } else { " " };
        format!(
            "{} (asked by subagent {kind}{space}{agent_id})",
            question.detail
        )
    }

    fn work(&self) -> String {
        if self.is_compacting {
            return "compacting".into();
        }
        let tools: Vec<String> = self.running.iter().map(RunningCall::describe).collect();
        match (tools.is_empty(), self.turn) {
            (false, _) => tools.join(", "),
            (true, Turn::Running) => "thinking".into(),
            (true, _) => count(self.agents.len(), "subagent runs", "subagents run"),
        }
    }

    /// For how many seconds a session that should be working has been silent, with no tool
    /// known to run. `None`: less than a minute, or it need not be working.
    pub fn quiet(&self, now: i64) -> Option<u64> {
        let is_expected = self.state() == State::Working && self.running.is_empty();
        let age = self.last.age(now)?;
        (is_expected && age >= QUIET).then_some(age)
    }

    /// Takes the next event of the session.
    pub fn apply(&mut self, event: &Object, time: &Time) -> Change {
        let name = event.text("_event").unwrap_or_default();
        let (before, questions) = (self.state(), self.questions.len());
        self.events += 1;
        self.last.clone_from(time);
        self.last_event = id(event, "_event").unwrap_or_default();
        if self.events == 1 && name != "SessionStart" {
            self.began_without_start = time.seconds;
        }
        let mut change = Change::default();
        let begins = matches!(&*name, "SessionStart" | "UserPromptSubmit");
        let is_over = matches!(self.turn, Turn::Ended | Turn::Gone);
        if !is_over || begins || name == "SessionEnd" {
            change = self.transition(&name, event, time);
            change.is_new_question = self.questions.len() > questions;
        }
        if self.cwd.is_empty() {
            self.cwd = parts::path(event, "cwd");
        }
        if self.state() != before || self.events == 1 {
            self.since.clone_from(time);
        }
        change
    }

    fn transition(&mut self, name: &str, event: &Object, time: &Time) -> Change {
        let agent_id = id(event, "agent_id");
        let mut change = Change::default();
        match name {
            "SessionStart" => self.start(event, time),
            "UserPromptSubmit" => self.submit(event, time),
            "PreToolUse" => self.start_tool(event, agent_id, time),
            "PermissionRequest" => change.asks_user = self.ask_permission(event, agent_id, time),
            "PostToolUse" => change.seconds = self.end_tool(event, agent_id, time),
            "PostToolUseFailure" => {
                change.seconds = self.end_tool(event, agent_id, time);
                self.failures += 1;
            }
            "PostToolBatch" => change.failures = self.end_batch(event, agent_id, time),
            "Elicitation" => change.asks_user = self.ask_elicitation(event, agent_id, time),
            "ElicitationResult" => self.end_elicitation(event),
            "Notification" => change.asks_user = self.notify(event, time),
            "SubagentStart" => {
                if let Some(agent_id) = &agent_id {
                    self.start_agent(agent_id, event, time);
                }
            }
            "SubagentStop" | "StopFailure" | "Stop" if agent_id.is_some() => {
                self.end_agent(&agent_id.unwrap_or_default());
            }
            "Stop" => self.stop(event, time),
            "StopFailure" => self.fail(event),
            "PreCompact" if agent_id.is_none() => self.compact(event),
            "PostCompact" => self.is_compacting = false,
            "SessionEnd" => self.end(event),
            "_gone" => {
                self.pid = event.get("_gone").and_then(|pid| pid.parse().ok());
                self.reset(Turn::Gone);
            }
            _ => {}
        }
        change
    }
}

/// The turn.
impl Session {
    fn start(&mut self, event: &Object, time: &Time) {
        let has_ended = matches!(self.turn, Turn::Ended | Turn::Gone);
        if event.string("source") == Some("compact") && !has_ended {
            self.is_compacting = false;
            return;
        }
        let began = self.began_without_start.take().zip(time.seconds);
        if began.is_some_and(|(began, now)| now - began <= LATE_START) && !has_ended {
            return;
        }
        self.reset(Turn::New);
        self.pid = None;
        self.message.clear();
        self.cwd.clear();
        self.since.clone_from(time);
    }

    fn submit(&mut self, event: &Object, time: &Time) {
        if matches!(self.turn, Turn::Ended | Turn::Gone) {
            self.began_without_start = time.seconds;
            self.pid = None;
        }
        let prompt = event.string("prompt").unwrap_or_default();
        let is_by_user = claude::is_by_user(prompt);
        self.is_compacting = false;
        self.turn = Turn::Running;
        self.end_foreground_agents();
        if is_by_user {
            // The user cannot type while a dialog is open, not even one of a subagent.
            self.questions.clear();
            self.since.clone_from(time);
        } else {
            self.questions
                .retain(|question| question.agent_id.is_some());
        }
        for tool in &mut self.running {
            tool.is_doubtful |= tool.call.agent_id.is_none();
        }
    }

    fn stop(&mut self, event: &Object, time: &Time) {
        match event.get("background_tasks") {
            Some(tasks) => self.keep_agents(tasks, time),
            None => self.end_foreground_agents(),
        }
        self.end_turn(Turn::Over);
        self.since.clone_from(time);
        self.message = message(event, "last_assistant_message").unwrap_or_default();
    }

    fn fail(&mut self, event: &Object) {
        self.end_turn(Turn::Failed);
        let message = |name| message(event, name);
        let text = message("last_assistant_message").or_else(|| message("error"));
        self.message = text.unwrap_or_default();
    }

    fn compact(&mut self, event: &Object) {
        // The user calls /compact at the prompt.
        if event.string("trigger") == Some("manual") {
            self.end_turn(Turn::Over);
            self.message.clear();
        }
        self.is_compacting = true;
    }

    fn end(&mut self, event: &Object) {
        self.reset(Turn::Ended);
        self.message = message(event, "reason").unwrap_or_default();
    }

    /// Ends what the main thread does.
    fn end_turn(&mut self, turn: Turn) {
        self.turn = turn;
        self.is_compacting = false;
        self.running.retain(|tool| tool.call.agent_id.is_some());
        self.questions
            .retain(|question| question.agent_id.is_some());
    }

    /// Ends all that the session does.
    fn reset(&mut self, turn: Turn) {
        self.turn = turn;
        self.is_compacting = false;
        self.commands = 0;
        self.running = Vec::new();
        self.questions = Vec::new();
        self.agents = Vec::new();
        self.ended_agents = Vec::new();
        self.ended_calls = Vec::new();
    }

    /// An event of the main thread, or of a subagent, shows that it works.
    fn wake(&mut self, event: &Object, agent_id: Option<&str>, time: &Time) {
        match agent_id {
            Some(agent_id) => self.start_agent(agent_id, event, time),
            None => self.turn = Turn::Running,
        }
    }

    /// The same for an event that can be late.
    fn wake_if_new(&mut self, event: &Object, agent_id: Option<&str>, time: &Time) {
        match agent_id {
            Some(agent_id) if self.ended_agents.iter().any(|ended| ended == agent_id) => {}
            None if self.turn != Turn::New => {}
            agent_id => self.wake(event, agent_id, time),
        }
    }
}

fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// Adds a part, and forgets the oldest one if there are too many.
fn push<T>(parts: &mut Vec<T>, part: T) {
    if parts.len() == MAX_PARTS {
        parts.remove(0);
    }
    parts.push(part);
}
