//! The state of a session by both: what its events say, and what the client says in its session
//! file. The client's word holds, except in the second after an event.
//!
//! Stop 17 of EDU_NOTES.md.

use std::time::Instant;

use super::client::{ClientWord, Status};
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

    /// The state by the events alone, of which there is one for every history.
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

    /// When the state began.
    pub fn since(&self) -> &Time {
        match (&self.client, self.question()) {
            (Some(client), _) if client.status == Some(Status::Ended) => &self.last,
            (Some(client), _) if self.state() != self.state_by_events() => &client.since,
            (_, Some(question)) if self.state() == State::Waiting => &question.since,
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
        if let Some(client) = client.as_ref().filter(|_| self.cwd.is_empty()) {
            self.cwd.clone_from(&client.cwd);
        }
        self.client = client;
        self.hear();
    }

    /// If the client says that it is busy or idle, the open questions are answered. If it is idle,
    /// the tools of the main thread have ended.
    fn hear(&mut self) {
        let status = self.client_status();
        let is_busy = status == Some(&Status::Busy);
        let is_idle = matches!(status, Some(Status::Idle | Status::Ended));
        for question in &mut self.questions {
            question.is_answered |= is_busy || is_idle;
        }
        for tool in &mut self.running {
            tool.has_ended |= is_idle && tool.call.agent_id.is_none();
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
