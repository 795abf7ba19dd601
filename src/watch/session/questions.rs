//! Questions to the user other than permissions: forms of MCP servers, and notifications.
//!
//! Stop 17 of EDU_NOTES.md.

use super::calls::is_of_server;
use super::parts::{Call, Question, QuestionKind, RunningCall, Time, id, message};
use super::{MAX_QUESTIONS, Session, Turn, push};
use crate::event::claude::needs_input;
use crate::event::object::Object;

/// The client notifies the user this many seconds after it has asked.
const NOTIFICATION_DELAY: u64 = 5;

impl Session {
    /// A form belongs to the tool of its server that runs, and ends with it.
    pub(super) fn ask_elicitation(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> bool {
        let server = id(event, "mcp_server_name").unwrap_or_default();
        let is_its = |tool: &&RunningCall| is_of_server(&tool.call.name, &server);
        let call = self
            .running
            .iter()
            .rfind(is_its)
            .map(|tool| tool.call.clone());
        let message = message(event, "message").unwrap_or_default();
        let question = Question {
            agent_id: agent_of(&call).or(agent_id),
            call,
            detail: format!("elicitation by {server}: {message}"),
            kind: QuestionKind::Elicitation(server),
            since: time.clone(),
            is_requested: true,
            is_answered: false,
            arrived: None,
        };
        push(&mut self.questions, question, MAX_QUESTIONS);
        true
    }

    pub(super) fn end_elicitation(&mut self, event: &Object) {
        let server = id(event, "mcp_server_name").unwrap_or_default();
        let kind = QuestionKind::Elicitation(server);
        if let Some(index) = self
            .questions
            .iter()
            .position(|question| question.kind == kind)
        {
            self.questions.remove(index);
        }
    }

    /// Returns whether the notification asks the user.
    pub(super) fn notify(&mut self, event: &Object, time: &Time) -> bool {
        if event.string("notification_type") == Some("idle_prompt") {
            if matches!(self.turn, Turn::Running | Turn::Unknown) {
                self.end_turn(Turn::Over);
            }
            // If a compaction fails, no event says so.
            self.is_compacting = false;
            return false;
        }
        if !needs_input(event) {
            return false;
        }
        if self.questions.is_empty() {
            let call = self.call_that_asks(time);
            let message = message(event, "message").unwrap_or_default();
            let summary = call.as_ref().and_then(|call| {
                let tool = self.running.iter().find(|tool| tool.call == *call)?;
                Some(format!(": {}", tool.describe()))
            });
            let question = Question {
                kind: QuestionKind::Notification,
                agent_id: agent_of(&call),
                call,
                detail: message + &summary.unwrap_or_default(),
                since: time.clone(),
                is_requested: true,
                is_answered: false,
                arrived: None,
            };
            push(&mut self.questions, question, MAX_QUESTIONS);
        }
        true
    }

    /// The call that a notification is probably about: the last one that has run for as long
    /// as the client waits before it notifies the user.
    fn call_that_asks(&self, time: &Time) -> Option<Call> {
        let is_old = |tool: &&RunningCall| {
            let age = time.seconds.and_then(|now| tool.since.age(now));
            age.is_some_and(|age| age >= NOTIFICATION_DELAY)
        };
        let tools = || self.running.iter();
        let tool = tools().rfind(is_old).or_else(|| tools().next_back());
        tool.map(|tool| tool.call.clone())
    }
}

fn agent_of(call: &Option<Call>) -> Option<String> {
    call.as_ref().and_then(|call| call.agent_id.clone())
}
