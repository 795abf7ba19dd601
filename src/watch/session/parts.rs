//! What a session consists of: tool calls that run, questions that wait for the user, subagents.
//!
//! The size of each is limited. Texts and identifiers are short, and safe for a terminal. A path
//! is kept as it is, up to the length that the kernel takes.
//!
//! Stop 17 of EDU_NOTES.md.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Instant;

use jiff::Timestamp;

use crate::event::object::Object;
use crate::format::line_writer::columns_of;
use crate::format::summary::{self, Summarizer};

/// Bytes of a summary.
const SUMMARY_LENGTH: usize = 200;
/// Bytes of a message.
const MESSAGE_LENGTH: usize = 400;
/// Bytes of an identifier or a name. Most have 40 at most.
const ID_LENGTH: usize = 100;
/// Bytes of a time. `2026-02-09T10:30:00.123456789+00:00` has 35.
const TIME_LENGTH: usize = 40;
/// Bytes of a path: more than the kernel takes (`PATH_MAX`).
const MAX_PATH: usize = 4096;

/// How the detail of a question begins that asks for a permission. The tool's name follows.
pub const PERMISSION_FOR: &str = "permission for ";

/// The time of an event: its `_ts`, and the same in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Time {
    pub text: String,
    pub seconds: Option<i64>,
}

impl Time {
    pub fn parse(text: &str) -> Time {
        let time = text.parse::<Timestamp>().ok();
        Time {
            seconds: time.map(Timestamp::as_second),
            text: summary::short(text.chars(), TIME_LENGTH),
        }
    }

    /// Seconds from this time to `now`. A clock that was set back counts as zero.
    pub fn age(&self, now: i64) -> Option<u64> {
        Some(u64::try_from(now.saturating_sub(self.seconds?)).unwrap_or(0))
    }
}

/// What identifies a tool call: its `tool_use_id`, or, in events without one, the agent, the
/// name and the input.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    pub tool_use_id: Option<String>,
    /// `None`: the main thread.
    pub agent_id: Option<String>,
    pub name: String,
    /// A hash of the input.
    pub input: u64,
}

impl Call {
    /// The call that an event is about. `object` is the event, or an element of `tool_calls`.
    pub fn of(object: &Object, agent_id: Option<String>) -> Call {
        let mut hasher = DefaultHasher::new();
        object.get("tool_input").hash(&mut hasher);
        Call {
            tool_use_id: id(object, "tool_use_id"),
            agent_id,
            name: id(object, "tool_name").unwrap_or_default(),
            input: hasher.finish(),
        }
    }

    /// Whether both are the same call, as far as they say.
    pub fn is(&self, other: &Call) -> bool {
        match (&self.tool_use_id, &other.tool_use_id) {
            (Some(one), Some(other)) => one == other,
            _ => self.is_alike(other) && self.input == other.input,
        }
    }

    /// Whether agent and tool are the same.
    pub fn is_alike(&self, other: &Call) -> bool {
        (&self.agent_id, &self.name) == (&other.agent_id, &other.name)
    }
}

/// A tool call that runs, or that waits for a permission.
#[derive(Debug, Clone)]
pub struct RunningCall {
    pub call: Call,
    pub summary: String,
    pub since: Time,
    /// Whether the user has sent a prompt since. After Esc no event says that the tool has
    /// ended, but a prompt that was typed ahead does not end it.
    pub is_doubtful: bool,
    /// Whether the client has said since that it is idle: then the user has pressed Esc.
    pub has_ended: bool,
}

/// A question to the user that no event has ended.
#[derive(Debug, Clone)]
pub struct Question {
    pub kind: QuestionKind,
    /// The call that waits for the answer, if it is known.
    pub call: Option<Call>,
    /// The agent that asks. `None`: the main thread.
    pub agent_id: Option<String>,
    pub detail: String,
    pub since: Time,
    /// Whether a `PermissionRequest` has come for it.
    pub is_requested: bool,
    /// Whether the client has said since that it asks nothing.
    pub is_answered: bool,
    /// When it came here, if it is not a past one.
    pub arrived: Option<Instant>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum QuestionKind {
    /// A permission, a question or a plan: a tool waits for it.
    Tool,
    /// A form of this MCP server.
    Elicitation(String),
    /// Nothing but a `Notification` says that the user is asked.
    Notification,
}

impl Question {
    /// Whether the question is for this call.
    pub fn is_for(&self, call: &Call) -> bool {
        self.call.as_ref().is_some_and(|own| own.is(call))
    }

    /// The detail for so many columns. If it does not fit, it begins with the tool's name, which
    /// stays when the middle is cut.
    pub fn detail_for(&self, columns: usize) -> &str {
        let short = self.detail.strip_prefix(PERMISSION_FOR);
        let short = short.filter(|_| columns_of(&self.detail) > columns);
        short.unwrap_or(&self.detail)
    }
}

/// A subagent that runs.
#[derive(Debug, Clone)]
pub struct Agent {
    pub id: String,
    pub kind: String,
    pub since: Time,
    /// Whether it runs on when the turn of the main thread ends.
    pub is_background: bool,
}

/// An identifier or a name in an event.
pub fn id(object: &Object, name: &str) -> Option<String> {
    let spelled = object.text(name)?;
    Some(summary::short(spelled.chars(), ID_LENGTH))
}

/// A path in an event, as it is.
pub fn path(object: &Object, name: &str) -> String {
    let path = object.text(name).unwrap_or_default();
    let end = (0..=path.len().min(MAX_PATH)).rfind(|end| path.is_char_boundary(*end));
    path[..end.unwrap_or(0)].to_owned()
}

/// A text in an event, such as a message or an error.
pub fn message(object: &Object, name: &str) -> Option<String> {
    let text = summary::short(object.text(name)?.chars(), MESSAGE_LENGTH);
    (!text.is_empty()).then_some(text)
}

/// The summary of a tool call.
pub fn summarize(object: &Object, cwd: &str) -> String {
    let summarizer = Summarizer {
        cwd: Some(cwd),
        is_cut: true,
    };
    summary::short(summarizer.action(object), SUMMARY_LENGTH)
}
