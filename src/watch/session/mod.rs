//! The state of one session, derived from its events, and from what the client says in its own
//! session file ([`client`]) where there is one. `state.rs` joins the two. Here are the events.
//!
//! Claude Code sends no event when the user grants a permission, refuses one without a text,
//! or presses Esc. Neighbouring events can arrive in another order, and a record can begin in
//! the middle. So each event is taken for what it surely shows, and the state is the best that
//! the events allow.
//!
//! A session also counts its events, calls and failures, and is quiet if it should be working and no
//! event has come for `QUIET` seconds (the help in `screen/page.rs` names that time).
//!
//! The order of the variants of [`State`] is the order of the sessions in the table and on the
//! screen. A new state is a variant, with its name and its place in `ALL`, a sign and a style in
//! `screen/table.rs`, an arm in `alerts/decision.rs`, a line of the help in `screen/page.rs`, and a
//! row in src/README.md.
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
//! | … `idle_prompt` | over if running or unknown | those of the main thread end | tools of the main thread end |
//! | `SubagentStart` | | | the subagent runs |
//! | `SubagentStop`, `StopFailure` of a subagent | | those of the subagent end | it ends, and its tools |
//! | `Stop` | over | those of the main thread end | tools of the main thread end; subagents end that `background_tasks` does not list |
//! | `StopFailure` | failed | those of the main thread end | tools of the main thread end |
//! | `PreCompact` | over if by the user | then those of the main thread end | then tools of the main thread end; compacting |
//! | `PostCompact`, `SessionStart` after it | | | not compacting |
//! | `SessionEnd`, `_gone` | ended, gone | all end | all end |
//!
//! "Running" is for events of the main thread: those of a subagent show only that the
//! subagent runs. In the first two seconds after the end, only `SessionStart` and
//! `UserPromptSubmit` begin again: other events are late. Any event after that shows that the
//! session goes on. Events that are not in the table, also unknown ones, change nothing, such
//! as `MessageDisplay`, which can come after `Stop`.
//!
//! Stop 17 of EDU_NOTES.md.

mod agents;
mod calls;
pub mod client;
pub mod parts;
mod questions;
mod state;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use rustix::process::geteuid;

use self::client::{ClientWord, Status};
use self::parts::{Agent, Question, RunningCall, Time, id, message};
use crate::event::claude;
use crate::event::json_text::members;
use crate::event::object::Object;
use crate::format::line::SHORT_ID_LENGTH;
use crate::format::line_writer::columns_of;

/// Tools and subagents that one session can have, and that it remembers as ended. Real sessions have
/// a few; beyond this the oldest is forgotten.
const MAX_PARTS: usize = 64;
/// Questions that one session can have.
const MAX_QUESTIONS: usize = 16;

// The clock can be set back between two events: then all that counts is that they are far apart.
/// A `SessionStart` can arrive this many seconds after an event that it precedes.
const LATE_START: u64 = 2;
/// Events of a session that has ended can arrive for so many seconds after its end.
const LATE_END: u64 = 2;
/// Requests this many seconds apart surely arrived in their order.
const SURE_ORDER: u64 = 2;
/// For how long an event counts more than the client's file. The client writes that within half a
/// second.
const CLIENT_DELAY: Duration = Duration::from_secs(1);
/// A session without an event for this many seconds is quiet.
const QUIET: u64 = 60;

/// The states, in the order in which a table shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Waiting,
    Failed,
    Idle,
    Working,
    Unknown,
    Ended,
    Gone,
}

impl State {
    /// In their order.
    pub const ALL: [State; 7] = [
        State::Waiting,
        State::Failed,
        State::Idle,
        State::Working,
        State::Unknown,
        State::Ended,
        State::Gone,
    ];

    pub fn name(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Failed => "failed",
            State::Idle => "idle",
            State::Working => "working",
            State::Unknown => "unknown",
            State::Ended => "ended",
            State::Gone => "gone",
        }
    }
}

/// The turn of the main thread.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Turn {
    /// No event has told.
    #[default]
    Unknown,
    /// The session has begun.
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
    /// The calls of a `PostToolBatch`, by number, whose failure no other event has shown. The
    /// numbers ascend.
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
    /// What a `SessionStart` or a `UserPromptSubmit` calls the session.
    title: String,
    /// The first words of the user's last prompt.
    pub prompt: String,
    /// The client's transcript of the session.
    pub transcript: String,
    /// The user that the events are from. Those of others say nothing.
    pub uid: Option<u32>,
    /// Sessions are numbered as they appear.
    pub number: usize,
    /// The directory in which it began.
    pub cwd: String,
    /// The host that its events name (`send --host`). Without one it is empty.
    pub host: String,
    /// The process, if it is known by its events.
    pid: Option<u32>,
    pub events: u64,
    pub tool_calls: u64,
    /// Tool calls that failed or were refused.
    pub failures: u64,
    pub last_event: String,
    pub last: Time,
    running: Vec<RunningCall>,
    questions: Vec<Question>,
    agents: Vec<Agent>,
    /// Background commands that ran when the last turn ended.
    pub commands: usize,
    turn: Turn,
    is_compacting: bool,
    /// What the client itself says, if it has a file of the session.
    client: Option<ClientWord>,
    /// Until when the last event counts more than the client's file, which was not written since.
    event_counts_until: Option<Instant>,
    /// Whether events after the last one can be missing.
    pub(super) can_miss_events: bool,
    /// Whether the client has begun to work or to ask while events could arrive, and none has come
    /// since.
    pub is_silent: bool,
    /// The number of the last event among those of all sessions.
    pub(super) last_active: u64,
    /// When the current state began.
    since: Time,
    /// The last message, the error, or the reason of the end.
    message: String,
    /// When the first event came, if that was not a `SessionStart`.
    began_without_start: Option<i64>,
    /// Subagents that have ended, as hashes: what comes late of their calls does not start them
    /// again.
    ended_agents: Vec<u64>,
    /// Calls that `PostToolUse` or `PostToolUseFailure` has ended, and no `PostToolBatch` yet. As
    /// hashes.
    ended_calls: Vec<u64>,
    /// Whether one of these two events has ever come. If not, their hooks may not be installed,
    /// and a call that only its `PostToolBatch` ends need not have failed.
    shows_ends: bool,
    /// The prompts that schedules write, as hashes.
    schedules: Vec<u64>,
}

impl Session {
    pub fn new(id: String, number: usize) -> Session {
        Session {
            id,
            number,
            ..Session::default()
        }
    }

    /// The name by which the user knows the session: what the client shows, else what a payload
    /// calls it, else its short id.
    pub fn name(&self) -> String {
        const SHORT_ID: usize = 8;
        let client = self.client.as_ref().map(|client| client.name.as_str());
        let names = [client, Some(&*self.title)].into_iter().flatten();
        match names.into_iter().find(|name| !name.is_empty()) {
            Some(name) => name.into(),
            None => self.id.chars().take(SHORT_ID).collect(),
        }
    }

    /// The process, if it is known.
    pub fn pid(&self) -> Option<u32> {
        self.client.as_ref().map(|client| client.pid).or(self.pid)
    }

    /// Whether what this user says counts. The session's id is no secret, and anybody may be able
    /// to post. So the first user counts, unless the caller's own user has a session with this id.
    pub fn takes_from(&mut self, uid: Option<&str>) -> bool {
        let uid = uid.and_then(|uid| uid.parse().ok());
        let own = Some(geteuid().as_raw());
        if self.uid.is_some_and(|first| Some(first) != own) && uid == own {
            *self = Session {
                id: std::mem::take(&mut self.id),
                number: self.number,
                client: self.client.take(),
                last_active: self.last_active,
                ..Session::default()
            };
        }
        self.uid = self.uid.or(uid);
        self.uid == uid
    }

    /// What the server knows of a session whose events have left its history.
    pub fn set_listed(&mut self, listed: &Object) {
        self.cwd = parts::path(listed, "cwd");
        self.last = Time::parse(&listed.text("last").unwrap_or_default());
        self.since.clone_from(&self.last);
        self.last_event = id(listed, "last_event").unwrap_or_default();
        let events = listed.get("events").and_then(|count| count.parse().ok());
        self.events = events.unwrap_or(1);
        self.set_pid(listed);
    }

    /// The process that the server has found.
    pub fn set_pid(&mut self, listed: &Object) {
        self.pid = listed.get("pid").and_then(|pid| pid.parse().ok());
    }

    /// Of a subagent: its state, when that began, and what it asks the user.
    pub fn agent_state<'s>(&'s self, agent: &'s Agent) -> (State, &'s Time, Option<&'s Question>) {
        let is_its = |question: &&Question| question.agent_id.as_ref() == Some(&agent.id);
        match self.open_questions().iter().find(is_its) {
            Some(question) => (State::Waiting, &question.since, Some(question)),
            None => (State::Working, &agent.since, None),
        }
    }

    /// What a person wants to know about the state.
    pub fn detail(&self) -> String {
        match (self.state(), self.question()) {
            (State::Waiting, Some(question)) => self.describe(question),
            (State::Waiting, None) => match self.client_status() {
                Some(Status::Waiting(what)) => what.clone(),
                _ => String::new(),
            },
            (State::Working, _) => self.work(),
            (State::Unknown, _) if !self.last_event.is_empty() => {
                format!("last event {}", self.last_event)
            }
            (State::Idle, _) if self.is_interrupted() => "interrupted".into(),
            // The message is of an earlier turn.
            (State::Idle, _) if self.state_by_events() != State::Idle => String::new(),
            (State::Idle, _) if self.commands > 0 => {
                let separator = if self.message.is_empty() { "" } else { " · " };
                let commands = count(
                    self.commands,
                    "background command runs",
                    "background commands run",
                );
                format!("{}{separator}{commands}", self.message)
            }
            (State::Gone, _) => match self.pid() {
                Some(pid) => format!("process {pid} has ended without SessionEnd"),
                None => "its process has ended without SessionEnd".into(),
            },
            _ => self.message.clone(),
        }
    }

    /// The same for so many columns. If a question does not fit, the agent that asks is left out.
    pub fn detail_for(&self, columns: usize) -> String {
        let detail = self.detail();
        match self.question() {
            Some(question) if columns_of(&detail) > columns => question.detail_for(columns).into(),
            _ => detail,
        }
    }

    /// What a question asks, and which agent asks it.
    pub fn describe(&self, question: &Question) -> String {
        let Some(agent_id) = &question.agent_id else {
            return question.detail.clone();
        };
        let agent = self.agents.iter().find(|agent| agent.id == *agent_id);
        let kind = agent.map_or("", |agent| &agent.kind);
        let space = if kind.is_empty() { "" } else { " " };
        let id: String = agent_id.chars().take(SHORT_ID_LENGTH).collect();
        format!("{} (asked by subagent {kind}{space}{id})", question.detail)
    }

    fn work(&self) -> String {
        if self.is_compacting {
            return "compacting".into();
        }
        let tools: Vec<String> = self.running().map(RunningCall::describe).collect();
        match (tools.is_empty(), self.turn, self.agents.len()) {
            (false, ..) => tools.join(", "),
            (true, Turn::Running, _) | (true, _, 0) => "thinking".into(),
            (true, _, agents) => count(agents, "subagent runs", "subagents run"),
        }
    }

    /// For how many seconds a session that should be working has been silent, with no tool
    /// known to run. `None`: less than a minute, or it need not be working.
    pub fn quiet(&self, now: i64) -> Option<u64> {
        // A client that says that it is busy is not quiet.
        let is_expected =
            self.state() == State::Working && !self.is_by_client() && self.running.is_empty();
        let age = self.last.age(now)?;
        (is_expected && age >= QUIET).then_some(age)
    }

    /// Takes the next event of the session. `arrived` is when it came, if it is not a past one.
    /// `None`: the event is another user's, so it says nothing.
    pub fn apply(
        &mut self,
        event: &Object,
        time: &Time,
        arrived: Option<Instant>,
    ) -> Option<Change> {
        if !is_by_server(event) && !self.takes_from(event.get("_peer_uid")) {
            return None;
        }
        let name = event.text("_event").unwrap_or_default();
        let (before, questions) = (self.state_by_events(), self.questions.len());
        self.events += 1;
        self.can_miss_events = false;
        self.is_silent = false;
        self.last.clone_from(time);
        self.last_event = id(event, "_event").unwrap_or_default();
        if self.events == 1 && name != "SessionStart" {
            self.began_without_start = time.seconds;
        }
        let goes_on = name != "SessionStart" && !is_by_server(event);
        if self.is_over() && goes_on && self.is_after_end(time) {
            (self.turn, self.pid) = (Turn::Unknown, None);
            self.began_without_start = time.seconds;
        }
        let mut change = Change::default();
        let begins = matches!(&*name, "SessionStart" | "UserPromptSubmit" | "SessionEnd");
        if !self.is_over() || begins {
            change = self.transition(&name, event, time);
            change.is_new_question = self.questions.len() > questions;
            if let Some(question) = self.questions.get_mut(questions) {
                question.arrived = arrived;
            }
        }
        if self.cwd.is_empty() {
            self.cwd = parts::path(event, "cwd");
        }
        if let Some(host) = id(event, "_host") {
            self.host = host;
        }
        if self.transcript.is_empty() {
            self.transcript = parts::path(event, "transcript_path");
        }
        if self.state_by_events() != before || self.events == 1 {
            self.since.clone_from(time);
        }
        if self.state_by_events() != before || change.is_new_question {
            self.event_counts_until = arrived.map(|arrived| arrived + CLIENT_DELAY);
        }
        Some(change)
    }

    fn is_over(&self) -> bool {
        matches!(self.turn, Turn::Ended | Turn::Gone)
    }

    /// Whether an event is not a late one of a session that has ended. Then the session goes on: it
    /// was resumed in another terminal, or its hooks come through a process that has ended.
    fn is_after_end(&self, time: &Time) -> bool {
        let times = time.seconds.zip(self.since.seconds);
        times.is_some_and(|(now, ended)| now.abs_diff(ended) > LATE_END)
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
            "_gone" if is_by_server(event) => {
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
        self.set_title(event);
        let has_ended = matches!(self.turn, Turn::Ended | Turn::Gone);
        if event.string("source") == Some("compact") && !has_ended {
            self.is_compacting = false;
            return;
        }
        let began = self.began_without_start.take().zip(time.seconds);
        if began.is_some_and(|(began, now)| now.abs_diff(began) <= LATE_START) && !has_ended {
            return;
        }
        self.reset(Turn::New);
        self.pid = None;
        self.message.clear();
        self.cwd.clear();
        self.since.clone_from(time);
    }

    fn set_title(&mut self, event: &Object) {
        if let Some(title) = id(event, "session_title") {
            self.title = title;
        }
    }

    fn submit(&mut self, event: &Object, time: &Time) {
        if matches!(self.turn, Turn::Ended | Turn::Gone) {
            self.began_without_start = time.seconds;
            self.pid = None;
        }
        let prompt = event.string("prompt").unwrap_or_default();
        self.add_schedules(event);
        self.set_title(event);
        let is_by_user = claude::is_by_user(prompt) && !self.schedules.contains(&hash(prompt));
        self.is_compacting = false;
        self.turn = Turn::Running;
        self.end_foreground_agents();
        if is_by_user {
            self.prompt = message(event, "prompt").unwrap_or_default();
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
        self.add_schedules(event);
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
        let reason = message(event, "reason").unwrap_or_default();
        self.message = match &*self.message {
            "" => reason,
            last => format!("{reason} · {last}"),
        };
    }

    /// Remembers the prompts that the session's schedules will write.
    fn add_schedules(&mut self, event: &Object) {
        let schedules = event.get("session_crons").unwrap_or_default();
        for (_, schedule) in members(schedules).take(MAX_PARTS) {
            self.add_schedule(&Object::parse(schedule));
        }
    }

    fn add_schedule(&mut self, schedule: &Object) {
        if let Some(prompt) = schedule.string("prompt").map(hash)
            && !self.schedules.contains(&prompt)
        {
            push(&mut self.schedules, prompt, MAX_PARTS);
        }
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
            Some(agent_id) if self.ended_agents.contains(&hash(agent_id)) => {}
            None if !matches!(self.turn, Turn::New | Turn::Unknown) => {}
            agent_id => self.wake(event, agent_id, time),
        }
    }
}

/// Whether the server itself has made the event. Its name alone says nothing: anybody can post one
/// with that name. The member `_gone` is reserved.
fn is_by_server(event: &Object) -> bool {
    event.get("_gone").is_some()
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn count(number: usize, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

/// Adds a part, and forgets the oldest one if there would be more than `most`.
fn push<T>(parts: &mut Vec<T>, part: T, most: usize) {
    if parts.len() == most {
        parts.remove(0);
    }
    parts.push(part);
}
