//! Which sessions have begun to ask the user, or have ended a long turn, since the last look.
//!
//! This is pure, and its clock is handed in: when something has arrived here. The times in events
//! and in session files are by other clocks, and are not looked at.
//!
//! - Where the client has a session file, that says whether it asks. A request for a permission
//!   alone says little: another hook may answer it.
//! - Where there is none, a question counts if nothing has answered it for a second.
//! - Each question causes one alert. The file tells of one question, and its event may come before
//!   or after. Other questions that are open then count after a second, too.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::watch::session::client::{DIALOG, Status};
use crate::watch::session::parts::Question;
use crate::watch::session::{Session, State};
use crate::watch::sessions::Sessions;

/// The time in which something may answer a question before the user needs to.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// A user who has started a turn that takes this long has turned to something else.
const LONG_TURN: Duration = Duration::from_secs(10);

/// What the user wants to know of a session.
#[derive(Debug, Clone, Copy)]
pub enum Alert<'s> {
    /// It asks. `None`: only the client's file tells.
    Question(Option<&'s Question>),
    /// A long turn has ended.
    TurnEnd,
}

/// What the last look has seen.
#[derive(Default)]
pub struct Observer {
    /// By the number of the session.
    seen: HashMap<usize, Seen>,
    next_due: Option<Instant>,
    /// Whether the next look sees all that there was at the start.
    is_ready: bool,
    /// Whether a look has seen that.
    has_begun: bool,
}

impl Observer {
    /// What the next look sees is what there was at the start.
    pub fn begin(&mut self) {
        self.is_ready = true;
    }

    /// What is new since the last look.
    pub fn look<'s>(
        &mut self,
        sessions: &'s Sessions,
        now: Instant,
    ) -> Vec<(&'s Session, Alert<'s>)> {
        let mut before = std::mem::take(&mut self.seen);
        let mut alerts = Vec::new();
        self.next_due = None;
        for session in sessions.iter() {
            let mut seen = before.remove(&session.number).unwrap_or_default();
            let mut new = seen.look(session, now);
            // A question that an event has brought is no past one, whatever is still to be read.
            new.retain(|alert| self.has_begun || matches!(alert, Alert::Question(Some(_))));
            alerts.extend(new.into_iter().map(|alert| (session, alert)));
            self.next_due = seen.next_due.into_iter().chain(self.next_due).min();
            self.seen.insert(session.number, seen);
        }
        self.has_begun = self.is_ready;
        alerts
    }

    /// When a question counts that nothing answers until then.
    pub fn next_due(&self) -> Option<Instant> {
        self.next_due
    }
}

/// What was seen of one session.
#[derive(Default)]
struct Seen {
    /// What the client's file says that it waits for.
    asked: Option<String>,
    /// When the last question arrived that has caused an alert.
    covered: Option<Instant>,
    /// Whether the file has told of a question of which no event has come.
    is_ahead: bool,
    /// When the turn was first seen that runs.
    turn: Option<Instant>,
    next_due: Option<Instant>,
}

impl Seen {
    fn look<'s>(&mut self, session: &'s Session, now: Instant) -> Vec<Alert<'s>> {
        self.next_due = None;
        let turn = match Activity::of(session) {
            Activity::Dialog => return Vec::new(),
            Activity::Asks(what) => {
                self.turn.get_or_insert(now);
                return self.questions(session, what, now);
            }
            Activity::Works => {
                self.turn.get_or_insert(now);
                None
            }
            Activity::Rests => self.turn.take(),
            Activity::Other => {
                self.turn = None;
                None
            }
        };
        self.asked = None;
        self.is_ahead = false;
        let is_long = turn.is_some_and(|began| now - began >= LONG_TURN);
        is_long.then_some(Alert::TurnEnd).into_iter().collect()
    }

    /// The new questions. `what` is what the client's file says.
    fn questions<'s>(
        &mut self,
        session: &'s Session,
        what: Option<&str>,
        now: Instant,
    ) -> Vec<Alert<'s>> {
        let mut alerts = Vec::new();
        if what.is_some() && what != self.asked.as_deref() {
            self.asked = what.map(str::to_owned);
            let question = unanswered(session).find(|question| question.arrived > self.covered);
            self.is_ahead = unanswered(session).next().is_none();
            self.covered = question.map_or(self.covered, |question| question.arrived);
            alerts.push(Alert::Question(question));
        }
        let covered = self.covered;
        for question in unanswered(session).filter(|question| question.arrived > covered) {
            let due = question.arrived.map(|arrived| arrived + ANSWER_TIME);
            if due > Some(now) {
                self.next_due = due;
                break;
            }
            self.covered = question.arrived;
            if !std::mem::take(&mut self.is_ahead) {
                alerts.push(Alert::Question(Some(question)));
            }
        }
        alerts
    }
}

/// What a session does: what the client's file says, else what the events say. The file counts
/// here also in the second in which an event counts more for the state.
enum Activity<'s> {
    /// It asks. `None`: there is no file that says what.
    Asks(Option<&'s str>),
    /// The user has opened a dialog, whatever the session does.
    Dialog,
    Works,
    Rests,
    Other,
}

impl Activity<'_> {
    fn of(session: &Session) -> Activity<'_> {
        let status = session.client().and_then(|client| client.status.as_ref());
        match (status, session.state()) {
            (Some(Status::Waiting(what)), _) if what == DIALOG => Activity::Dialog,
            (Some(Status::Waiting(what)), _) => Activity::Asks(Some(what)),
            (Some(Status::Busy), _) | (None, State::Working) => Activity::Works,
            (Some(Status::Idle), _) | (None, State::Idle | State::Failed) => Activity::Rests,
            (None, State::Waiting) => Activity::Asks(None),
            (Some(Status::Ended), _) | (None, State::Unknown | State::Ended | State::Gone) => {
                Activity::Other
            }
        }
    }
}

/// The questions that nothing has answered, as they have arrived.
fn unanswered(session: &Session) -> impl Iterator<Item = &Question> {
    let open = session.open_questions().iter();
    open.filter(|question| !question.is_answered)
}

/// Whether a session still asks what has caused an alert: a question that arrived then or before.
/// `None`: what only the client's file tells.
pub fn still_asks(session: &Session, arrived: Option<Instant>) -> bool {
    match (Activity::of(session), arrived) {
        (Activity::Asks(what), None) => what.is_some(),
        (Activity::Asks(_), Some(_)) => unanswered(session)
            .any(|question| question.arrived.is_some() && question.arrived <= arrived),
        _ => false,
    }
}

/// Whether the turn of a session is over, and no other one has begun.
pub fn still_rests(session: &Session) -> bool {
    matches!(Activity::of(session), Activity::Rests)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::object::Object;
    use crate::watch::session::client::ClientWord;

    /// The session `s`, on a clock that the test sets, in milliseconds.
    struct Script {
        sessions: Sessions,
        observer: Observer,
        start: Instant,
        version: u64,
    }

    impl Script {
        fn new() -> Script {
            let mut script = Script::before_the_start();
            script.observer.begin();
            script.look(0);
            script
        }

        fn before_the_start() -> Script {
            Script {
                sessions: Sessions::default(),
                observer: Observer::default(),
                start: Instant::now(),
                version: 0,
            }
        }

        fn at(&self, time: u64) -> Instant {
            self.start + Duration::from_millis(time)
        }

        fn look(&mut self, time: u64) -> Vec<String> {
            let now = self.at(time);
            self.sessions.settle(now);
            let alerts = self.observer.look(&self.sessions, now).into_iter();
            let text = |alert| match alert {
                Alert::Question(Some(question)) => question.detail.clone(),
                Alert::Question(None) => "the file".into(),
                Alert::TurnEnd => "the end".into(),
            };
            alerts.map(|(_, alert)| text(alert)).collect()
        }

        fn event(&mut self, time: u64, name: &str, tool: &str) -> Vec<String> {
            let event = format!(
                r#"{{"_ts":"","_event":"{name}","session_id":"s","tool_name":"{tool}","tool_use_id":"{tool}"}}"#
            );
            let arrived = Some(self.at(time));
            self.sessions.apply(&Object::parse(&event), arrived);
            self.look(time)
        }

        fn add_past_question(&mut self) {
            let event =
                r#"{"_ts":"","_event":"PermissionRequest","session_id":"s","tool_name":"P"}"#;
            self.sessions.apply(&Object::parse(event), None);
        }

        fn ask(&mut self, time: u64, tool: &str) -> Vec<String> {
            self.event(time, "PreToolUse", tool);
            self.event(time, "PermissionRequest", tool)
        }

        /// `None`: there is no file any more.
        fn file(&mut self, time: u64, status: Option<Status>) -> Vec<String> {
            self.version += 1;
            let word = status.map(|status| ClientWord {
                status: Some(status),
                version: self.version,
                ..ClientWord::default()
            });
            let words = word.map(|word| ("s".to_owned(), word));
            self.sessions.set_client_words(words);
            self.look(time)
        }
    }

    fn waiting(what: &str) -> Option<Status> {
        Some(Status::Waiting(what.into()))
    }

    const NOTHING: [&str; 0] = [];

    #[test]
    fn without_a_file_a_question_counts_after_a_second_in_which_nothing_answers_it() {
        let mut script = Script::new();
        assert_eq!(script.ask(0, "A"), NOTHING);
        assert_eq!(script.observer.next_due(), Some(script.at(1000)));
        assert_eq!(script.look(999), NOTHING);
        assert_eq!(script.look(1000), ["permission for A"]);
        assert_eq!(script.observer.next_due(), None);
        assert_eq!(script.event(1100, "Notification", ""), NOTHING);
        assert_eq!(script.look(9000), NOTHING);
        script.ask(9000, "B");
        script.event(9500, "PostToolUse", "B");
        script.ask(9600, "C");
        script.ask(9700, "D");
        assert_eq!(script.look(10_600), ["permission for C"]);
        assert_eq!(script.observer.next_due(), Some(script.at(10_700)));
        script.ask(10_650, "E");
        assert_eq!(
            script.look(12_000),
            ["permission for D", "permission for E"]
        );
    }

    #[test]
    fn a_past_question_does_not_count() {
        let mut script = Script::new();
        script.add_past_question();
        assert_eq!(script.look(5000), NOTHING);
    }

    #[test]
    fn what_there_was_at_the_start_does_not_count() {
        let mut script = Script::before_the_start();
        script.event(0, "UserPromptSubmit", "");
        assert_eq!(script.event(10_000, "Stop", ""), NOTHING);
        assert_eq!(script.file(11_000, waiting("p")), NOTHING);
        // But this event has come after the past ones.
        script.ask(12_000, "A");
        script.ask(12_000, "B");
        assert_eq!(script.look(13_000), ["permission for B"]);
        script.observer.begin();
        assert_eq!(script.look(14_000), NOTHING);
        assert_eq!(script.file(15_000, waiting("q")), ["the file"]);
    }

    #[test]
    fn where_there_is_a_file_it_says_whether_the_session_asks() {
        let mut script = Script::new();
        script.file(0, Some(Status::Busy));
        script.ask(0, "A");
        assert_eq!(script.look(5000), NOTHING, "another hook has answered");
        assert_eq!(script.ask(5000, "B"), NOTHING);
        assert_eq!(script.file(5300, waiting("p")), ["permission for B"]);
        assert_eq!(script.look(8000), NOTHING);
        assert_eq!(script.file(8000, waiting(DIALOG)), NOTHING);
        assert_eq!(
            script.file(8100, waiting("p")),
            NOTHING,
            "the same question"
        );
        script.ask(9000, "C");
        assert_eq!(script.look(9999), NOTHING);
        assert_eq!(script.look(10_000), ["permission for C"]);
        assert_eq!(script.file(11_000, waiting("q")), ["the file"]);
        assert_eq!(script.file(12_000, None), NOTHING);
        assert_eq!(script.look(20_000), NOTHING);
    }

    #[test]
    fn the_file_can_tell_of_a_question_before_its_event_comes() {
        let mut script = Script::new();
        script.file(0, Some(Status::Busy));
        assert_eq!(script.file(1000, waiting("p")), ["the file"]);
        script.ask(1100, "A");
        script.ask(1200, "B");
        assert_eq!(script.look(5000), ["permission for B"]);
        script.file(6000, Some(Status::Busy));
        assert_eq!(script.file(7000, waiting("p")), ["the file"], "another one");
        script.file(8000, Some(Status::Busy));
        script.ask(9000, "C");
        assert_eq!(script.file(9100, waiting("p")), ["permission for C"]);
        script.ask(9200, "D");
        assert_eq!(script.look(20_000), ["permission for D"]);
        script.file(21_000, Some(Status::Busy));
        assert_eq!(script.file(21_500, waiting("q")), ["the file"]);
        script.file(22_000, Some(Status::Busy));
        script.file(23_000, None);
        script.ask(24_000, "E");
        assert_eq!(script.look(25_000), ["permission for E"]);
    }

    #[test]
    fn the_end_of_a_turn_counts_after_ten_seconds() {
        let mut script = Script::new();
        script.event(0, "UserPromptSubmit", "");
        assert_eq!(script.event(9999, "Stop", ""), NOTHING);
        script.event(10_000, "UserPromptSubmit", "");
        script.ask(12_000, "A");
        script.look(13_000);
        assert_eq!(script.event(20_000, "Stop", ""), ["the end"]);
        assert_eq!(script.event(40_000, "Stop", ""), NOTHING);
        script.event(50_000, "UserPromptSubmit", "");
        assert_eq!(script.event(70_000, "StopFailure", ""), ["the end"]);
        script.event(80_000, "UserPromptSubmit", "");
        assert_eq!(script.event(99_000, "SessionEnd", ""), NOTHING);
        assert_eq!(script.event(99_000, "SessionStart", ""), NOTHING);
        script.file(100_000, Some(Status::Busy));
        script.file(105_000, waiting(DIALOG));
        assert_eq!(script.file(110_000, Some(Status::Idle)), ["the end"]);
        assert_eq!(script.file(130_000, waiting(DIALOG)), NOTHING);
        assert_eq!(script.file(150_000, Some(Status::Idle)), NOTHING);
        script.file(160_000, waiting("p"));
        assert_eq!(script.file(170_000, Some(Status::Idle)), ["the end"]);
    }

    #[test]
    fn a_question_is_still_asked_until_it_is_answered() {
        let mut script = Script::new();
        let asks = |script: &Script, time: Option<u64>| {
            let session = script.sessions.get("s").unwrap();
            still_asks(session, time.map(|time| script.at(time)))
        };
        script.add_past_question();
        script.ask(1000, "A");
        assert!(asks(&script, Some(1000)) && !asks(&script, Some(999)));
        assert!(!asks(&script, None), "there is no file");
        script.ask(2000, "B");
        script.event(3000, "PostToolUse", "A");
        assert!(asks(&script, Some(2000)) && !asks(&script, Some(1000)));
        script.file(4000, waiting("p"));
        assert!(asks(&script, None) && asks(&script, Some(2000)));
        assert!(!still_rests(script.sessions.get("s").unwrap()));
        script.file(5000, Some(Status::Idle));
        assert!(!asks(&script, None) && !asks(&script, Some(2000)));
        assert!(still_rests(script.sessions.get("s").unwrap()));
    }
}
