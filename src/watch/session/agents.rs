//! Subagents of a session.
//!
//! They run in the background by default: the turn of the main thread ends before them.
//!
//! Stop 17 of EDU_NOTES.md.

use super::calls::launched;
use super::parts::{Agent, Time, id};
use super::{MAX_PARTS, Session, hash, push};
use crate::event::json_text::members;
use crate::event::object::Object;

impl Session {
    /// The subagent runs. It may have been known before.
    pub(super) fn start_agent(&mut self, agent_id: &str, event: &Object, time: &Time) {
        let hash = hash(agent_id);
        self.ended_agents.retain(|ended| *ended != hash);
        let kind = id(event, "agent_type").unwrap_or_default();
        match self.agents.iter_mut().find(|agent| agent.id == agent_id) {
            Some(agent) if agent.kind.is_empty() => agent.kind = kind,
            Some(_) => {}
            None => {
                let agent = Agent {
                    id: agent_id.into(),
                    kind,
                    since: time.clone(),
                    is_background: false,
                };
                if self.agents.len() == MAX_PARTS {
                    let oldest = self.agents[0].id.clone();
                    self.end_agent(&oldest);
                }
                self.agents.push(agent);
            }
        }
    }

    /// The tool that launched a subagent can end before `SubagentStart` arrives.
    pub(super) fn launch_agent(&mut self, event: &Object, time: &Time) {
        let Some(agent_id) = launched(event) else {
            return;
        };
        if self.ended_agents.contains(&hash(&agent_id)) {
            return;
        }
        // This event has no `agent_type`.
        let input = Object::parse(event.get("tool_input").unwrap_or_default());
        self.start_agent(&agent_id, &Object::parse(""), time);
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.id == agent_id) {
            agent.is_background = true;
            if agent.kind.is_empty() {
                agent.kind = id(&input, "subagent_type").unwrap_or_default();
            }
        }
    }

    pub(super) fn end_agent(&mut self, agent_id: &str) {
        self.agents.retain(|agent| agent.id != agent_id);
        let is_its = |owner: &Option<String>| owner.as_deref() == Some(agent_id);
        self.running.retain(|tool| !is_its(&tool.call.agent_id));
        self.questions
            .retain(|question| !is_its(&question.agent_id));
        push(&mut self.ended_agents, hash(agent_id), MAX_PARTS);
    }

    /// Subagents in the foreground end with the turn of the main thread.
    pub(super) fn end_foreground_agents(&mut self) {
        self.end_agents_unless(|agent| agent.is_background);
    }

    fn end_agents_unless(&mut self, is_kept: impl Fn(&Agent) -> bool) {
        let ended = self.agents.iter().filter(|agent| !is_kept(agent));
        let ended: Vec<String> = ended.map(|agent| agent.id.clone()).collect();
        for agent_id in ended {
            self.end_agent(&agent_id);
        }
    }

    /// Keeps the subagents that the client lists as running when a turn ends. The list can be
    /// older than a `SubagentStop`. A workflow or a team is one entry, without its subagents. So if
    /// there is one, all known subagents are kept.
    pub(super) fn keep_agents(&mut self, tasks: &str, time: &Time) {
        self.commands = 0;
        let mut listed = Vec::new();
        let mut has_group = false;
        for (_, task) in members(tasks).take(4 * MAX_PARTS) {
            let task = Object::parse(task);
            if task
                .string("status")
                .is_some_and(|status| status != "running")
            {
                continue;
            }
            match (task.string("type"), id(&task, "id")) {
                (Some("subagent"), Some(agent_id)) => {
                    if !self.ended_agents.contains(&hash(&agent_id)) {
                        self.start_agent(&agent_id, &task, time);
                        listed.push(agent_id);
                    }
                }
                (Some("workflow" | "teammate" | "team"), _) => has_group = true,
                _ => self.commands += 1,
            }
        }
        self.end_agents_unless(|agent| has_group || listed.contains(&agent.id));
        for agent in &mut self.agents {
            agent.is_background = true;
        }
    }
}
