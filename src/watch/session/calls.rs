//! Tool calls of a session: which run, which need a permission, how they end, and which failures
//! only a batch shows.
//!
//! Stop 17 of EDU_NOTES.md.

use super::parts::{
    Call, PERMISSION_FOR, Question, QuestionKind, RunningCall, Time, id, summarize,
};
use super::{MAX_PARTS, MAX_QUESTIONS, SURE_ORDER, Session, hash, push};
use crate::event::claude;
use crate::event::object::Object;

impl Session {
    pub(super) fn start_tool(&mut self, event: &Object, agent_id: Option<String>, time: &Time) {
        self.wake(event, agent_id.as_deref(), time);
        let call = Call::of(event, agent_id);
        if call.tool_use_id.is_some() && self.running.iter().any(|tool| tool.call.is(&call)) {
            return;
        }
        if call.agent_id.is_none() {
            // The model goes on, so what it waited for has ended.
            self.running.retain(|tool| !tool.is_doubtful);
            self.is_compacting = false;
        }
        if call.name == "CronCreate" {
            let input = Object::parse(event.get("tool_input").unwrap_or_default());
            self.add_schedule(&input);
        }
        self.tool_calls += 1;
        // The request can arrive before the call.
        let is_early = |question: &&mut Question| {
            let own = question
                .call
                .as_ref()
                .filter(|own| own.tool_use_id.is_none());
            own.is_some_and(|own| own.is(&call))
        };
        if let Some(question) = self.questions.iter_mut().find(is_early) {
            question.call = Some(call.clone());
        } else if only_asks(&call.name) {
            self.ask_for(&call, event, time);
        }
        let tool = RunningCall {
            summary: summarize(event, &self.cwd),
            call,
            since: time.clone(),
            is_doubtful: false,
            has_ended: false,
        };
        push(&mut self.running, tool, MAX_PARTS);
    }

    /// A request has no `tool_use_id`: it is for a call with the same agent, name and input.
    /// Returns whether it is a new one.
    pub(super) fn ask_permission(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> bool {
        self.wake(event, agent_id.as_deref(), time);
        let request = Call::of(event, agent_id);
        // The call of a tool that only asks has opened its question.
        let opened = self
            .questions
            .iter_mut()
            .find(|question| !question.is_requested && question.is_for(&request));
        if let Some(question) = opened {
            question.is_requested = true;
            return true;
        }
        let same = |tool: &&RunningCall| tool.call.is(&request);
        let unasked = || {
            self.running
                .iter()
                .filter(|tool| !self.is_asked(&tool.call))
        };
        let call = unasked().find(same).or_else(|| {
            // Another hook can have changed the input.
            unasked().rfind(|tool| tool.call.is_alike(&request))
        });
        if call.is_none() && self.is_asked(&request) {
            return false;
        }
        let call = call.map_or(request, |tool| tool.call.clone());
        self.ask_for(&call, event, time);
        true
    }

    fn is_asked(&self, call: &Call) -> bool {
        self.questions.iter().any(|question| question.is_for(call))
    }

    fn ask_for(&mut self, call: &Call, event: &Object, time: &Time) {
        let summary = summarize(event, &self.cwd);
        let what = match call.name.as_str() {
            "AskUserQuestion" => "question".to_owned(),
            "ExitPlanMode" => "plan approval".to_owned(),
            "" => "permission".to_owned(),
            name => format!("{PERMISSION_FOR}{name}"),
        };
        let separator = if summary.is_empty() { "" } else { ": " };
        let question = Question {
            kind: QuestionKind::Tool,
            call: Some(call.clone()),
            agent_id: call.agent_id.clone(),
            detail: format!("{what}{separator}{summary}"),
            since: time.clone(),
            is_requested: event.string("_event") == Some("PermissionRequest"),
            is_answered: false,
            arrived: None,
        };
        push(&mut self.questions, question, MAX_QUESTIONS);
    }

    /// Returns the seconds since the tool started.
    pub(super) fn end_tool(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> Option<u64> {
        self.shows_ends = true;
        self.wake_if_new(event, agent_id.as_deref(), time);
        self.launch_agent(event, time);
        let call = Call::of(event, agent_id);
        let found = self.running.iter().position(|tool| tool.call.is(&call));
        let tool = found.map(|index| self.running.remove(index));
        if tool.is_none() {
            self.tool_calls += 1;
        }
        if let Some(id) = &call.tool_use_id {
            push(&mut self.ended_calls, hash(id), MAX_PARTS);
        }
        self.end_earlier_questions(&call);
        self.end_questions(&call);
        tool?.since.age(time.seconds?)
    }

    /// Ends the questions for a call, and those of which only the agent is known.
    fn end_questions(&mut self, call: &Call) {
        self.questions
            .retain(|question| match (&question.kind, &question.call) {
                (_, Some(own)) => !own.is(call),
                (QuestionKind::Notification, None) => call.agent_id.is_some(),
                _ => true,
            });
    }

    /// The user answers one dialog after the other. So when a permitted call ends, those
    /// requested before it have been answered.
    fn end_earlier_questions(&mut self, call: &Call) {
        let mut questions = self.questions.iter();
        let Some(index) = questions.position(|question| question.is_for(call)) else {
            return;
        };
        let later = self.questions.split_off(index);
        let is_answered = |question: &Question| {
            let times = question.since.seconds.zip(later[0].since.seconds);
            question.kind == QuestionKind::Tool
                && times.is_some_and(|(one, other)| one.abs_diff(other) >= SURE_ORDER)
        };
        self.questions.retain(|question| !is_answered(question));
        self.questions.extend(later);
    }

    /// Returns the numbers of the calls whose failure no other event has shown.
    pub(super) fn end_batch(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> Vec<usize> {
        self.wake_if_new(event, agent_id.as_deref(), time);
        let calls = claude::batch(event).into_iter().flatten();
        let mut failures = Vec::new();
        for (number, call) in calls.enumerate() {
            if self.end_call_of_batch(&call, agent_id.clone()) {
                failures.push(number);
            }
        }
        // All calls of the batch have ended, also those that a request could not be paired with.
        let is_over = |question: &Question| {
            let id = question
                .call
                .as_ref()
                .and_then(|call| call.tool_use_id.as_ref());
            id.is_none()
                && question.agent_id == agent_id
                && !matches!(question.kind, QuestionKind::Elicitation(_))
        };
        self.questions.retain(|question| !is_over(question));
        failures
    }

    /// Whether the call has failed, and no other event has shown it.
    fn end_call_of_batch(&mut self, object: &Object, agent_id: Option<String>) -> bool {
        let call = Call::of(object, agent_id);
        let id = call.tool_use_id.as_deref().map(hash);
        let shown = |ended: &u64| Some(*ended) == id;
        if let Some(index) = self.ended_calls.iter().position(shown) {
            self.ended_calls.swap_remove(index);
            return false;
        }
        let has_error = claude::batch_error(object).is_some();
        let was_asked = self.is_asked(&call);
        self.end_questions(&call);
        let found = self.running.iter().position(|tool| tool.call.is(&call));
        let has_failed = match found.map(|index| self.running.remove(index)) {
            Some(_) => has_error || was_asked || self.shows_ends,
            // The client has rejected the call itself.
            None if has_error && call.tool_use_id.is_some() => {
                self.tool_calls += 1;
                true
            }
            None => false,
        };
        self.failures += u64::from(has_failed);
        has_failed
    }
}

impl RunningCall {
    pub(super) fn describe(&self) -> String {
        let separator = if self.summary.is_empty() { "" } else { " " };
        format!("{}{separator}{}", self.call.name, self.summary)
    }
}

/// Whether the tool does nothing but ask the user.
fn only_asks(name: &str) -> bool {
    matches!(name, "AskUserQuestion" | "ExitPlanMode")
}

/// Whether a tool is one of this MCP server, as far as its name shows.
pub(super) fn is_of_server(tool: &str, server: &str) -> bool {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    let plain = server
        .chars()
        .map(|char| if is_plain(char) { char } else { '_' });
    let prefix: String = "mcp__".chars().chain(plain).chain("__".chars()).collect();
    tool.starts_with(&prefix)
}

/// The event's subagent, when a tool has launched one that runs in the background.
pub(super) fn launched(event: &Object) -> Option<String> {
    let response = Object::parse(event.get("tool_response")?);
    let is_async = response.get("isAsync") == Some("true")
        || response.string("status") == Some("async_launched");
    id(&response, "agentId").filter(|_| is_async)
}
