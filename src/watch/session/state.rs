//! The state of a session by both: what its events say, and what the client says in its session
//! file. The client's word holds, except in the second after an event.
//!
//! Stop 17 of EDU_NOTES.md.

use std::time::Instant;

use super::client::{ClientWord, DIALOG, Status};
use super::parts::{Agent, Question, RunningCall, Time};
use super::{Session, State, Turn};

impl Session {
    /// The state: a function of the events and of the client's word.
    ///
    /// | the events say | file: busy | file: idle | file: waiting | file of an ended process |
    /// | --- | --- | --- | --- | --- |
    /// | waiting | working: it was allowed | idle: it was refused, or Esc | waiting | gone |
    /// | working | working | idle: Esc | waiting | gone |
    /// | idle, failed | working | unchanged | waiting | gone |
    /// | unknown | working | idle | waiting | gone |
    /// | ended, gone | working | idle | waiting | unchanged |
    pub fn state(&self) -> State {
        let told = self.state_by_events();
        match (self.client_status(), told) {
            (None, _) => told,
            (Some(Status::Waiting(_)), _) => State::Waiting,
            (Some(Status::Busy), _) => State::Working,
            (Some(Status::Idle), State::Idle | State::Failed) => told,
            (Some(Status::Idle), _) => State::Idle,
            (Some(Status::Ended), State::Ended) => told,
            (Some(Status::Ended), _) => State::Gone,
        }
    }

    /// What the client says that the session does, if that counts now.
    pub fn client_status(&self) -> Option<&Status> {
        match self.event_counts_until {
            Some(_) => None,
            None => self.client.as_ref()?.status.as_ref(),
        }
    }

    /// The state by the events alone. Any events give one.
    pub(super) fn state_by_events(&self) -> State {
        match self.turn {
            Turn::Ended => State::Ended,
            Turn::Gone => State::Gone,
            _ if !self.questions.is_empty() => State::Waiting,
            Turn::Failed => State::Failed,
            Turn::Running => State::Working,
            _ if self.is_compacting || !self.agents.is_empty() => State::Working,
            Turn::New | Turn::Over => State::Idle,
            Turn::Unknown => State::Unknown,
        }
    }

    /// Whether a turn runs or asks. The client is also busy with a command such as `/rename`, and
    /// waits in a dialog that the user opens: these have no event.
    pub fn has_turn(&self) -> bool {
        let is_turn = |state| matches!(state, State::Waiting | State::Working);
        let is_told = self.events > 0 && !self.can_miss_events;
        is_turn(self.state()) && (!is_told || is_turn(self.state_by_events()))
    }

    /// Whether the client says that a turn is over of which no event has shown the end: the user has
    /// refused something, or pressed Esc. Not if the event may be missing.
    pub fn is_interrupted(&self) -> bool {
        let told = self.state_by_events();
        self.client_status() == Some(&Status::Idle)
            && !self.can_miss_events
            && matches!(told, State::Waiting | State::Working)
    }

    /// The question that the session waits for, as far as events tell it.
    pub fn question(&self) -> Option<&Question> {
        let questions = self.open_questions();
        let unanswered = questions.iter().find(|question| !question.is_answered);
        // The client says that it asks, so it has asked again.
        unanswered.or(questions.last())
    }

    /// The questions that are open. None, if the client says that it does not ask.
    pub fn open_questions(&self) -> &[Question] {
        match self.client_status() {
            Some(Status::Busy | Status::Idle | Status::Ended) => &[],
            _ => &self.questions,
        }
    }

    /// The tools that run. After Esc no event says that they have ended, but the client does.
    pub fn running(&self) -> impl Iterator<Item = &RunningCall> {
        let is_gone = self.client_status() == Some(&Status::Ended);
        let running = self.running.iter();
        running.filter(move |tool| !tool.has_ended && !is_gone)
    }

    /// The subagents that run. Those in the foreground end with the turn.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        let status = self.client_status();
        let is_idle = status == Some(&Status::Idle);
        let has_ended = status == Some(&Status::Ended);
        let runs = move |agent: &&Agent| !has_ended && (!is_idle || agent.is_background);
        self.agents.iter().filter(runs)
    }

    /// When the state began. A session that is idle may have had a turn since, of which no event has
    /// arrived.
    pub fn since(&self) -> &Time {
        let is_idle = self.client_status() == Some(&Status::Idle);
        let may_be_later = is_idle && self.can_miss_events;
        match (&self.client, self.question()) {
            (Some(client), _) if client.status == Some(Status::Ended) => &self.last,
            (Some(client), _) if may_be_later || self.state() != self.state_by_events() => {
                &client.since
            }
            (_, Some(question)) => &question.since,
            _ => &self.since,
        }
    }

    /// What the client says, whether or not it counts now.
    pub fn client(&self) -> Option<&ClientWord> {
        self.client.as_ref()
    }

    /// Whether the client has a file of the session, and what it says counts.
    pub fn is_by_client(&self) -> bool {
        self.client_status().is_some()
    }

    /// The client's word, or that it has no file of the session any more.
    pub fn set_client(&mut self, client: Option<ClientWord>) {
        let version = |client: &Option<ClientWord>| client.as_ref().map(|client| client.version);
        let has_ended = |client: &ClientWord| client.status == Some(Status::Ended);
        // A process that has ended writes nothing.
        if version(&self.client) != version(&client) && !client.as_ref().is_some_and(has_ended) {
            self.event_counts_until = None;
        }
        if let Some(client) = &client {
            if self.cwd.is_empty() {
                self.cwd.clone_from(&client.cwd);
            }
            // It stays when the file goes.
            if !client.name.is_empty() {
                self.title.clone_from(&client.name);
            }
        }
        self.client = client;
        self.hear();
    }

    /// Whether the client begins by this word to do something of which a hook tells at once: to work
    /// on a prompt, or to ask. An answer and Esc have no hook, nor has a dialog that the user opens.
    pub fn begins_by(&self, word: &ClientWord) -> bool {
        let before = self.client.as_ref().and_then(|word| word.status.as_ref());
        match (before, &word.status) {
            (Some(Status::Idle), Some(Status::Busy)) => true,
            (Some(Status::Idle | Status::Busy), Some(Status::Waiting(what))) => what != DIALOG,
            _ => false,
        }
    }

    /// If the client says that it is busy or idle, the open questions are answered. If it is idle,
    /// tools have ended, but for those of subagents in the background.
    fn hear(&mut self) {
        let status = self.client_status();
        let is_busy = status == Some(&Status::Busy);
        let is_idle = matches!(status, Some(Status::Idle | Status::Ended));
        for question in &mut self.questions {
            question.is_answered |= is_busy || is_idle;
        }
        let agents: Vec<String> = self.agents().map(|agent| agent.id.clone()).collect();
        for tool in &mut self.running {
            let agent = tool.call.agent_id.as_ref();
            tool.has_ended |= is_idle && !agent.is_some_and(|agent| agents.contains(agent));
        }
    }

    /// When the client's word begins to count again.
    pub fn next_settlement(&self) -> Option<Instant> {
        self.event_counts_until.filter(|_| self.client.is_some())
    }

    /// Time has passed: the client's word counts again, if it is due.
    pub fn settle(&mut self, now: Instant) {
        if self
            .event_counts_until
            .take_if(|until| *until <= now)
            .is_some()
        {
            self.hear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::object::Object;
    use std::time::Duration;

    /// A session after these events, each a name and its fields.
    fn session(events: &[(&str, &str)]) -> Session {
        let mut session = Session::new("s".into(), 0);
        events
            .iter()
            .for_each(|event| apply(&mut session, event, EVENTS, None));
        session
    }

    fn apply(
        session: &mut Session,
        (name, fields): &(&str, &str),
        time: &str,
        arrived: Option<Instant>,
    ) {
        let event = format!(r#"{{"_event":"{name}"{fields}}}"#);
        let event = Object::validate(&event).unwrap();
        session.apply(&event, &Time::parse(time), arrived);
    }

    /// When the events came, and when the client's status began.
    const EVENTS: &str = "2026-02-09T10:30:00+00:00";
    const FILE: &str = "2026-02-09T10:31:00+00:00";

    fn word(status: Status) -> Option<ClientWord> {
        Some(ClientWord {
            status: Some(status),
            since: Time::parse(FILE),
            cwd: "/file".into(),
            ..ClientWord::default()
        })
    }

    fn waiting() -> Status {
        Status::Waiting("permission prompt".into())
    }

    /// The main thread, a subagent in the foreground and one in the background run a tool each.
    fn with_agents() -> Session {
        let call = |id: &str, agent: &str| {
            format!(r#","tool_name":"Bash","tool_use_id":"{id}","tool_input":{{}}{agent}"#)
        };
        let launch = r#","tool_name":"Agent","tool_response":{"isAsync":true,"agentId":"b"}"#;
        let own = call("own", "");
        let [foreground, background] =
            ["f", "b"].map(|agent| call(agent, &format!(r#","agent_id":"{agent}""#)));
        session(&[
            ("UserPromptSubmit", r#","prompt":"go""#),
            ("PostToolUse", launch),
            ("PreToolUse", &own),
            ("PreToolUse", &foreground),
            ("PreToolUse", &background),
        ])
    }

    fn tools(session: &Session) -> String {
        let ids = session.running().map(|tool| tool.call.tool_use_id.clone());
        ids.flatten().collect::<Vec<_>>().join(" ")
    }

    fn agents(session: &Session) -> String {
        let ids = session.agents().map(|agent| &*agent.id);
        ids.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_the_client_says_ends_tools_and_subagents() {
        for (status, tools_then, agents_then, tools_later) in [
            (Status::Busy, "own f b", "b f", "own f b"),
            (waiting(), "own f b", "b f", "own f b"),
            (Status::Idle, "b", "b", "b"),
            (Status::Ended, "", "", ""),
        ] {
            let mut session = with_agents();
            session.set_client(word(status));
            assert_eq!(tools(&session), tools_then, "{:?}", session.client());
            assert_eq!(agents(&session), agents_then, "{:?}", session.client());
            // They do not run again.
            session.set_client(word(Status::Busy));
            assert_eq!(tools(&session), tools_later);
        }
    }

    /// A late event.
    #[test]
    fn no_tool_of_an_ended_process_runs() {
        let mut session = with_agents();
        session.set_client(word(Status::Ended));
        let late = r#","tool_name":"Bash","tool_use_id":"late""#;
        apply(&mut session, &("PreToolUse", late), EVENTS, None);
        assert_eq!(tools(&session), "");
    }

    #[test]
    fn what_the_client_says_answers_questions() {
        let ask = |command: &str| {
            format!(r#","tool_name":"Bash","tool_input":{{"command":"{command}"}}"#)
        };
        for (status, is_open, shown) in [
            (Status::Busy, false, "second"),
            (Status::Idle, false, "second"),
            (Status::Ended, false, "second"),
            (waiting(), true, "first"),
        ] {
            let mut session = session(&[("PermissionRequest", &ask("first"))]);
            session.set_client(word(status));
            assert_eq!(session.open_questions().len(), usize::from(is_open));
            let second = ask("second");
            apply(&mut session, &("PermissionRequest", &second), FILE, None);
            session.set_client(word(waiting()));
            let since = if is_open { EVENTS } else { FILE };
            assert_eq!(session.detail(), format!("permission for Bash: {shown}"));
            assert_eq!(session.since().text, since);
            // It asks again, and no event has told of it.
            session.set_client(word(Status::Busy));
            session.set_client(word(waiting()));
            assert_eq!(session.detail(), "permission for Bash: second");
        }
    }

    #[test]
    fn a_state_began_when_that_says_so_which_tells_it() {
        for (event, status, since) in [
            ("UserPromptSubmit", Status::Busy, EVENTS),
            ("UserPromptSubmit", Status::Idle, FILE),
            ("UserPromptSubmit", waiting(), FILE),
            ("UserPromptSubmit", Status::Ended, EVENTS),
            ("Stop", Status::Idle, EVENTS),
            ("Stop", Status::Busy, FILE),
        ] {
            let mut session = session(&[(event, "")]);
            session.set_client(word(status));
            assert_eq!(
                session.since().text,
                since,
                "{event} {:?}",
                session.client()
            );
        }
    }

    /// Only an event that has just come, and only while there is a file.
    #[test]
    fn an_event_counts_for_a_second() {
        let now = Instant::now();
        let second = now + Duration::from_secs(1);
        let mut session = session(&[("Stop", "")]);
        let prompt = ("UserPromptSubmit", "");
        apply(&mut session, &prompt, EVENTS, Some(now));
        assert_eq!(session.next_settlement(), None);
        session.set_client(word(Status::Idle));
        assert_eq!(session.next_settlement(), None, "it was written since");
        apply(&mut session, &("Stop", ""), EVENTS, None);
        apply(&mut session, &prompt, EVENTS, Some(now));
        assert_eq!(session.next_settlement(), Some(second));
        assert!(!session.is_by_client() && session.state() == State::Working);
        session.settle(second - Duration::from_nanos(1));
        assert_eq!(session.state(), State::Working);
        session.settle(second);
        assert!(session.is_by_client() && session.state() == State::Idle);
    }

    #[test]
    fn the_directory_is_the_files_until_an_event_has_told() {
        let mut unknown = session(&[]);
        unknown.set_client(word(Status::Idle));
        assert_eq!(unknown.cwd, "/file");
        let mut known = session(&[("Stop", r#","cwd":"/event""#)]);
        known.set_client(word(Status::Idle));
        assert_eq!(known.cwd, "/event");
    }
}
