//! Tool calls of a session: which run, how they end, and which failures only a batch shows.
//!
//! Stop 17 of EDU_NOTES.md.

use super::parts::{Ask, AskKind, Call, Time, Tool, id, summarize};
use super::{SURE_ORDER, Session, push};
use crate::event::json_text::members;
use crate::event::object::Object;
use crate::format::summary::batch_error;

impl Session {
    pub(super) fn start_tool(&mut self, event: &Object, agent_id: Option<String>, time: &Time) {
        self.wake(event, agent_id.as_deref(), time);
        let call = Call::of(event, agent_id);
        if call.tool_use_id.is_some() && self.tools.iter().any(|tool| tool.call.is(&call)) {
            return;
        }
        if call.agent_id.is_none() {
            // The model goes on, so what it waited for has ended.
            self.tools.retain(|tool| !tool.is_doubtful);
        }
        self.tool_calls += 1;
        // The request can arrive before the call.
        let is_early = |ask: &&mut Ask| {
            let own = ask.call.as_ref().filter(|own| own.tool_use_id.is_none());
            own.is_some_and(|own| own.is(&call))
        };
        if let Some(ask) = self.asks.iter_mut().find(is_early) {
            ask.call = Some(call.clone());
        } else if is_question(&call.name) {
            self.ask_for(&call, event, time, false);
        }
        let tool = Tool {
            summary: summarize(event, &self.cwd),
            call,
            since: time.clone(),
            is_doubtful: false,
        };
        push(&mut self.tools, tool);
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
        // A question opened its ask when it was called.
        let opened = self
            .asks
            .iter_mut()
            .find(|ask| !ask.is_requested && ask.is_for(&request));
        if let Some(ask) = opened {
            ask.is_requested = true;
            return true;
        }
        let is_asked = |tool: &&Tool| self.asks.iter().any(|ask| ask.is_for(&tool.call));
        let same = |tool: &&Tool| tool.call.is(&request);
        let unasked = || self.tools.iter().filter(|tool| !is_asked(tool));
        let call = unasked().find(same).or_else(|| {
            // Another hook can have changed the input.
            unasked().rfind(|tool| tool.call.is_alike(&request))
        });
        if call.is_none() && self.asks.iter().any(|ask| ask.is_for(&request)) {
            return false;
        }
        let call = call.map_or(request, |tool| tool.call.clone());
        self.ask_for(&call, event, time, true);
        true
    }

    fn ask_for(&mut self, call: &Call, event: &Object, time: &Time, is_requested: bool) {
        let summary = summarize(event, &self.cwd);
        let what = match call.name.as_str() {
            "AskUserQuestion" => "question".to_owned(),
            "ExitPlanMode" => "plan approval".to_owned(),
            "" => "permission".to_owned(),
            name => format!("permission for {name}"),
        };
        let separator = if summary.is_empty() { "" } else { ": " };
        let ask = Ask {
            kind: AskKind::Tool,
            call: Some(call.clone()),
            agent_id: call.agent_id.clone(),
            detail: format!("{what}{separator}{summary}"),
            since: time.clone(),
            is_requested,
        };
        push(&mut self.asks, ask);
    }

    /// Returns the seconds since the tool started.
    pub(super) fn end_tool(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> Option<i64> {
        self.shows_ends = true;
        self.wake_if_new(event, agent_id.as_deref(), time);
        self.launch_agent(event, time);
        let call = Call::of(event, agent_id);
        let found = self.tools.iter().position(|tool| tool.call.is(&call));
        let tool = found.map(|index| self.tools.remove(index));
        if tool.is_none() {
            self.tool_calls += 1;
        }
        if let Some(id) = &call.tool_use_id {
            push(&mut self.ended_calls, id.clone());
        }
        self.end_earlier_asks(&call);
        self.end_asks(&call);
        tool?.since.age(time.seconds?)
    }

    /// Ends the asks for a call, and those of which only the agent is known.
    fn end_asks(&mut self, call: &Call) {
        self.asks.retain(|ask| match (&ask.kind, &ask.call) {
            (_, Some(own)) => !own.is(call),
            (AskKind::Notification, None) => call.agent_id.is_some(),
            _ => true,
        });
    }

    /// The user answers one dialog after the other. So when a permitted call ends, those
    /// requested before it have been answered.
    fn end_earlier_asks(&mut self, call: &Call) {
        let requested = self.asks.iter().find(|ask| ask.is_for(call));
        let Some(requested) = requested.and_then(|ask| ask.since.seconds) else {
            return;
        };
        let is_earlier = |ask: &Ask| {
            let before = ask.since.seconds.map(|since| requested - since);
            ask.kind == AskKind::Tool && before.is_some_and(|before| before >= SURE_ORDER)
        };
        self.asks.retain(|ask| !is_earlier(ask));
    }

    /// Returns the numbers of the calls whose failure no other event has shown.
    pub(super) fn end_batch(
        &mut self,
        event: &Object,
        agent_id: Option<String>,
        time: &Time,
    ) -> Vec<usize> {
        self.wake_if_new(event, agent_id.as_deref(), time);
        let calls = event.get("tool_calls").unwrap_or_default();
        let mut failures = Vec::new();
        for (number, (_, call)) in members(calls).enumerate() {
            if self.end_call_of_batch(&Object::parse(call), agent_id.clone()) {
                failures.push(number);
            }
        }
        // All calls of the batch have ended, also those that a request could not be paired with.
        let is_over = |ask: &Ask| {
            let id = ask.call.as_ref().and_then(|call| call.tool_use_id.as_ref());
            id.is_none() && ask.agent_id == agent_id && !matches!(ask.kind, AskKind::Elicitation(_))
        };
        self.asks.retain(|ask| !is_over(ask));
        failures
    }

    /// Whether the call has failed, and no other event has shown it.
    fn end_call_of_batch(&mut self, object: &Object, agent_id: Option<String>) -> bool {
        let call = Call::of(object, agent_id);
        let shown = |ended: &String| Some(ended) == call.tool_use_id.as_ref();
        if let Some(index) = self.ended_calls.iter().position(shown) {
            self.ended_calls.swap_remove(index);
            return false;
        }
        let has_error = batch_error(object).is_some();
        let was_asked = self.asks.iter().any(|ask| ask.is_for(&call));
        self.end_asks(&call);
        let found = self.tools.iter().position(|tool| tool.call.is(&call));
        let has_failed = match found.map(|index| self.tools.remove(index)) {
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

impl Tool {
    pub(super) fn describe(&self) -> String {
        let separator = if self.summary.is_empty() { "" } else { " " };
        format!("{}{separator}{}", self.call.name, self.summary)
    }
}

/// Whether the tool does nothing but ask the user.
fn is_question(name: &str) -> bool {
    matches!(name, "AskUserQuestion" | "ExitPlanMode")
}

/// The name of the MCP server in the name of a tool, as far as the name shows it.
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
