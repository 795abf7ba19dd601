//! The events of each session as lines: a tool call is one line, from its start to its outcome.
//!
//! This is pure, like the states. Its memory is bounded: for each session, and for all of them
//! together, with the whole events that the lines open.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;

use crate::event::claude;
use crate::event::object::Object;
use crate::format::duration::{describe, describe_seconds};
use crate::format::summary::{self, Summarizer};
use crate::watch::messages::LastMessage;
use crate::watch::session::parts::{Call, Time, id};
use crate::watch::session::{Change, Session};
use crate::watch::sessions::Sessions;

/// Lines that one session keeps.
const MAX_ENTRIES: usize = 500;
/// Failed calls of one batch that have lines of their own.
const MAX_CALLS: usize = 100;
/// Events that one line keeps. A call has four at most.
const MAX_EVENTS: usize = 8;
/// Bytes that one session keeps. Its newest event is kept, whatever its size.
const MAX_SESSION_BYTES: usize = 8 << 20;
/// Bytes that all sessions keep together.
const MAX_BYTES: usize = 48 << 20;
/// Bytes that an entry takes beside its events.
const ENTRY_SIZE: usize = 1 << 10;
/// Bytes of a text.
const TEXT_LENGTH: usize = 400;

/// One line: a tool call, or an event that belongs to none.
#[derive(Clone)]
pub struct Entry {
    /// Entries of all sessions are numbered in their order.
    pub number: u64,
    pub time: Time,
    pub agent_id: Option<String>,
    /// The name of the tool, or else of the event.
    pub name: String,
    /// Safe for a terminal, on one line.
    pub text: String,
    pub outcome: Outcome,
    /// For how long the tool ran.
    pub duration: String,
    pub call: Option<Call>,
    /// The events of the line, as they came.
    pub events: Vec<Rc<str>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// The entry is no tool call.
    None,
    /// No event has shown the end of the call.
    Open,
    Success,
    Failure,
}

/// The entries of one session. Copies share them.
#[derive(Clone, Default)]
pub struct History {
    entries: VecDeque<Rc<Entry>>,
    bytes: usize,
    message: LastMessage,
}

/// The entries of all sessions, by the number of the session.
#[derive(Clone, Default)]
pub struct Histories {
    histories: HashMap<usize, History>,
    entries: u64,
    bytes: usize,
}

impl Histories {
    /// The entries of a session, the oldest first.
    pub fn of(&self, session: &Session) -> Vec<&Entry> {
        let history = self.histories.get(&session.number).into_iter();
        let entries = history.flat_map(|history| &history.entries);
        entries.map(Rc::as_ref).collect()
    }

    /// Adds an event. `session` is its session after it, with what has changed.
    pub fn add(&mut self, line: &str, event: &Object, session: &Session, change: &Change) {
        let mut history = self.histories.remove(&session.number).unwrap_or_default();
        self.bytes -= history.bytes;
        self.entries += 1;
        let new = Entry::new(self.entries, line, event, session);
        history.add(new, event, session, change);
        self.bytes += history.bytes;
        self.histories.insert(session.number, history);
        while self.bytes > MAX_BYTES && self.histories.len() > 1 {
            self.shrink(session.number);
        }
    }

    pub fn len(&self) -> usize {
        self.histories.len()
    }

    /// Forgets the entries of all sessions but these.
    pub fn keep(&mut self, sessions: &Sessions) {
        let numbers: HashSet<usize> = sessions.iter().map(|session| session.number).collect();
        self.histories.retain(|number, _| numbers.contains(number));
        self.bytes = self.histories.values().map(|history| history.bytes).sum();
    }

    /// Forgets half of the largest history, but not the newest entry of all, which is the last
    /// one of the session `current`. So a session that is silent keeps its entries.
    fn shrink(&mut self, current: usize) {
        let largest = self.histories.iter_mut().max_by_key(|(number, history)| {
            let can_shrink = history.entries.len() > 1 || **number != current;
            (can_shrink, history.bytes)
        });
        let Some((&number, history)) = largest else {
            return;
        };
        self.bytes -= history.bytes;
        for _ in 0..history.entries.len().div_ceil(2) {
            history.pop();
        }
        self.bytes += history.bytes;
        if history.entries.is_empty() {
            self.histories.remove(&number);
        }
    }
}

impl History {
    fn add(&mut self, new: Entry, event: &Object, session: &Session, change: &Change) {
        let is_repeated = self.message.is_repeated_by(event);
        match &*new.name {
            _ if claude::batch(event).is_some() => self.add_batch(new, event, session, change),
            "PreToolUse" | "PermissionRequest" => self.open(event, new),
            "PostToolUse" | "PostToolUseFailure" => self.close(event, new, change),
            _ if is_repeated => self.repeat_message(new),
            _ => self.push(new),
        }
        self.limit();
    }

    /// Calls have failed that no other event has shown.
    fn add_batch(&mut self, new: Entry, event: &Object, session: &Session, change: &Change) {
        let count = change.failures.len().min(MAX_CALLS);
        for call in claude::calls(event, &change.failures[..count]) {
            let text = text(event, &call, session);
            let new = Entry {
                text,
                ..new.clone()
            };
            self.close(&call, new, change);
        }
        let more = change.failures.len() - count;
        if more > 0 {
            self.push(Entry {
                text: format!("{more} more calls have failed"),
                outcome: Outcome::Failure,
                ..new
            });
        }
    }

    /// A call begins, or the user is asked for a permission for it.
    fn open(&mut self, event: &Object, new: Entry) {
        let call = Call::of(event, new.agent_id.clone());
        match self.find(&call) {
            Some(index) => {
                let entry = self.join(index, new.events);
                if let Some(own) = entry.call.as_mut().filter(|own| own.tool_use_id.is_none()) {
                    own.tool_use_id = call.tool_use_id;
                }
            }
            None => self.push(Entry {
                outcome: Outcome::Open,
                ..new.of_call(call)
            }),
        }
    }

    /// A call ends. `action` is the event, or an element of `tool_calls`.
    fn close(&mut self, action: &Object, new: Entry, change: &Change) {
        let call = Call::of(action, new.agent_id.clone());
        let seconds = change.seconds.map(describe_seconds);
        let duration = claude::duration(action).map(describe).or(seconds);
        let duration = duration.unwrap_or_default();
        let outcome = match &*new.name {
            "PostToolUse" => Outcome::Success,
            _ => Outcome::Failure,
        };
        match self.find(&call) {
            Some(index) => {
                let entry = self.join(index, new.events);
                (entry.text, entry.outcome, entry.duration) = (new.text, outcome, duration);
            }
            None => self.push(Entry {
                outcome,
                duration,
                ..new.of_call(call)
            }),
        }
    }

    /// The open entry of a call.
    fn find(&self, call: &Call) -> Option<usize> {
        self.entries
            .iter()
            .rposition(|entry| entry.outcome == Outcome::Open && entry.is_of(call))
    }

    /// The second event that shows a message.
    fn repeat_message(&mut self, new: Entry) {
        let is_message = |entry: &Rc<Entry>| matches!(&*entry.name, "MessageDisplay" | "Stop");
        match self.entries.iter().rposition(is_message) {
            Some(index) => self.join(index, new.events).name = "Stop".into(),
            None => self.push(new),
        }
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.size();
        self.entries.push_back(Rc::new(entry));
    }

    /// Adds events to an entry.
    fn join(&mut self, index: usize, events: Vec<Rc<str>>) -> &mut Entry {
        let entry = Rc::make_mut(&mut self.entries[index]);
        self.bytes -= entry.size();
        entry.events.extend(events);
        while entry.events.len() > 1
            && (entry.events.len() > MAX_EVENTS || entry.size() > MAX_SESSION_BYTES)
        {
            entry.events.remove(0);
        }
        self.bytes += entry.size();
        entry
    }

    fn limit(&mut self) {
        while self.entries.len() > 1
            && (self.entries.len() > MAX_ENTRIES || self.bytes > MAX_SESSION_BYTES)
        {
            self.pop();
        }
    }

    /// Forgets the oldest entry.
    fn pop(&mut self) {
        if let Some(oldest) = self.entries.pop_front() {
            self.bytes -= oldest.size();
        }
    }
}

impl Entry {
    fn new(number: u64, line: &str, event: &Object, session: &Session) -> Entry {
        Entry {
            number,
            time: session.last.clone(),
            agent_id: id(event, "agent_id"),
            name: id(event, "_event").unwrap_or_default(),
            text: text(event, event, session),
            outcome: Outcome::None,
            duration: String::new(),
            call: None,
            events: vec![line.into()],
        }
    }

    /// Whether it is the entry of this call.
    pub fn is_of(&self, call: &Call) -> bool {
        self.call.as_ref().is_some_and(|own| own.is(call))
    }

    fn of_call(self, call: Call) -> Entry {
        Entry {
            name: call.name.clone(),
            call: Some(call),
            ..self
        }
    }

    fn size(&self) -> usize {
        let events: usize = self.events.iter().map(|event| event.len()).sum();
        ENTRY_SIZE + events
    }
}

/// The summary of an action, after its error. `action` is the event or one of its calls.
fn text(event: &Object, action: &Object, session: &Session) -> String {
    if event.string("_event") == Some("SubagentStart") {
        return id(event, "agent_type").unwrap_or_default();
    }
    let summarizer = Summarizer {
        cwd: Some(&session.cwd),
        is_cut: true,
    };
    let mut summary = summarizer.action(action).peekable();
    match summarizer.error(event, action) {
        None => summary::short(summary, TEXT_LENGTH),
        Some(error) if summary.peek().is_none() => summary::short(error, TEXT_LENGTH),
        Some(error) => summary::short(error.chain(" · ".chars()).chain(summary), TEXT_LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds events, and returns the bytes that all their histories keep.
    fn bytes(events: impl Iterator<Item = String>) -> (usize, Histories) {
        let (mut sessions, mut histories) = (Sessions::default(), Histories::default());
        for line in events {
            let event = Object::parse(&line);
            let (session, change) = sessions.apply(&event, None).unwrap();
            histories.add(&line, &event, session, &change);
        }
        let mut bytes = 0;
        for history in histories.histories.values() {
            let entries = &history.entries;
            assert!(entries.len() <= MAX_ENTRIES);
            assert!(entries.len() <= 1 || history.bytes <= MAX_SESSION_BYTES);
            bytes += entries.iter().map(|entry| entry.size()).sum::<usize>();
        }
        assert_eq!(bytes, histories.bytes);
        (bytes, histories)
    }

    fn event(session: usize, name: &str, text: &str) -> String {
        format!(
            r#"{{"_event":"{name}","session_id":"{session}","tool_name":"T","tool_input":{{"command":"{text}"}}}}"#
        )
    }

    #[test]
    fn memory_is_limited_for_each_session_and_for_all() {
        let names = ["PreToolUse", "PostToolUse", "Stop"];
        let (few, _) = bytes((0..30_000).map(|number| event(number % 3, names[number % 2], "x")));
        assert!(few < 3 << 20, "{few}");
        let text = "x".repeat(100 << 10);
        let (large, _) =
            bytes((0..2000).map(|number| event(number % 20, names[number % 3], &text)));
        assert!(large <= MAX_BYTES, "{large}");
        // One call whose requests never end.
        let (one, _) = bytes((0..1000).map(|_| event(0, "PermissionRequest", &text)));
        assert!(one < 1 << 20, "{one}");
    }

    #[test]
    fn of_many_failures_in_a_batch_the_first_are_entries_and_the_others_a_number() {
        let call = |number| format!(r#"{{"tool_use_id":"{number}","tool_response":"Error: x"}}"#);
        let calls: Vec<String> = (0..300).map(call).collect();
        let calls = calls.join(",");
        let batch =
            format!(r#"{{"_event":"PostToolBatch","session_id":"0","tool_calls":[{calls}]}}"#);
        let (_, histories) = bytes([event(0, "Stop", "x"), batch].into_iter());
        let entries = &histories.histories[&0].entries;
        assert_eq!(entries.len(), 1 + MAX_CALLS + 1);
        assert_eq!(entries[0].name, "Stop");
        let call = entries[MAX_CALLS].call.as_ref();
        assert_eq!(call.unwrap().tool_use_id.as_deref(), Some("99"));
        let last = &entries[MAX_CALLS + 1];
        assert_eq!(last.text, "200 more calls have failed");
        assert_eq!(last.outcome, Outcome::Failure);
    }

    #[test]
    fn a_busy_session_does_not_cost_a_silent_one_its_entries() {
        let text = "x".repeat(100 << 10);
        let silent = (0..3).map(|_| event(0, "Stop", "x"));
        let busy = (0..2000).map(|number| event(1 + number % 9, "Stop", &text));
        let (bytes, histories) = bytes(silent.chain(busy));
        assert!((MAX_BYTES / 2..=MAX_BYTES).contains(&bytes), "{bytes}");
        assert_eq!(histories.histories[&0].entries.len(), 3);
    }

    #[test]
    fn the_entries_of_forgotten_sessions_are_forgotten() {
        let (_, mut histories) = bytes((0..10).map(|number| event(number, "Stop", "x")));
        histories.keep(&Sessions::default());
        assert_eq!((histories.len(), histories.bytes), (0, 0));
    }

    #[test]
    fn an_event_of_any_size_is_kept_while_it_is_the_newest() {
        let text = "x".repeat(2 * MAX_SESSION_BYTES);
        let events = [event(0, "Stop", "x"), event(0, "Stop", &text)];
        let (_, histories) = bytes(events.into_iter());
        let entries = &histories.histories[&0].entries;
        assert_eq!(entries.len(), 1);
        assert!(entries[0].events[0].len() > text.len());
    }
}
