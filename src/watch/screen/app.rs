//! What the screen shows: the sessions and their events, and what the user has chosen to see.
//!
//! This is pure: it draws nothing and reads no clock. `keys` and `mouse` change what the user has
//! chosen, and `draw` makes the screen from it.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use jiff::tz::TimeZone;

use super::history::{Entry, Histories};
use super::marks::Marks;
use super::page::Page;
use crate::cli::Filter;
use crate::event::object::Object;
use crate::format::summary;
use crate::watch::client_files::Details;
use crate::watch::filter::{is_shown, parse};
use crate::watch::session::client::ClientWord;
use crate::watch::session::{Change, Session, State};
use crate::watch::sessions::{MAX_SESSIONS, Sessions};
use crate::watch::table::have_several_hosts;

/// A session that ended longer ago, in seconds, is not in the list until the user wants it.
const FOLD_AGE: u64 = 60;

/// What is known of the sessions.
#[derive(Clone, Default)]
pub struct Model {
    pub sessions: Sessions,
    pub histories: Histories,
    pub marks: Marks,
    /// By the number of the session.
    pub details: HashMap<usize, Details>,
    /// Lines that are no events.
    pub damaged: u64,
}

/// How the screen looks on this terminal.
pub struct ScreenLook {
    pub has_colours: bool,
    /// Whether the terminal shows no other characters than those of ASCII.
    pub is_ascii: bool,
    pub zone: TimeZone,
}

/// The part of the screen in which keys select.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Focus {
    Sessions,
    Events,
}

pub struct App {
    model: Model,
    /// While paused: what is shown, and the time then.
    frozen: Option<(Box<Model>, i64)>,
    options: Filter,
    /// The time, in seconds since 1970. The loop sets it.
    pub now: i64,
    /// Whether the past events have been read.
    pub is_live: bool,
    pub look: ScreenLook,
    /// Columns and rows of the terminal.
    pub size: (u16, u16),
    /// The selected session. `None`: the first one.
    pub selected: Option<String>,
    /// The number of the selected entry. `None`: the newest one.
    pub entry: Option<u64>,
    pub focus: Focus,
    /// What covers the screen.
    pub page: Option<Page>,
    /// Text that a session must contain to be shown.
    pub search: String,
    /// The sessions that contain it, by their numbers.
    found: HashSet<usize>,
    /// Whether keys are written to `search`.
    pub is_typing: bool,
    pub is_urgent_only: bool,
    /// Whether the sessions are listed that ended long ago.
    pub is_unfolded: bool,
    /// Whether only the selected session is shown.
    pub is_following: bool,
    /// Whether the user wants to go to the terminal of the selected session.
    pub is_jump_wanted: bool,
    /// What the user wants in the clipboard.
    pub copied: Option<String>,
    /// What the source last reported.
    pub notice: String,
    /// The commands that lead to events, where no server has answered yet.
    pub setup: Vec<String>,
    /// Since when no server answers, in seconds since 1970.
    pub lost_at: Option<i64>,
    /// What came of what the user has asked for. It stays until a key is pressed.
    pub answer: String,
}

impl App {
    pub fn new(options: Filter, look: ScreenLook, size: (u16, u16)) -> App {
        App {
            model: Model::default(),
            frozen: None,
            options,
            now: 0,
            is_live: false,
            look,
            size,
            selected: None,
            entry: None,
            focus: Focus::Sessions,
            page: None,
            search: String::new(),
            found: HashSet::new(),
            is_typing: false,
            is_urgent_only: false,
            is_unfolded: false,
            is_following: false,
            is_jump_wanted: false,
            copied: None,
            notice: String::new(),
            setup: Vec::new(),
            lost_at: None,
            answer: String::new(),
        }
    }

    /// Takes a line. Returns its session after it, with what has changed.
    /// `arrived` is when it came, if it is not a past one.
    pub fn take(&mut self, line: &[u8], arrived: Option<Instant>) -> Option<(&Session, Change)> {
        let Some((line, event)) = parse(line) else {
            self.model.damaged += 1;
            return None;
        };
        self.notice.clear();
        if self.model.histories.len() > MAX_SESSIONS {
            self.model.histories.keep(&self.model.sessions);
        }
        let (session, change) = self.model.sessions.apply(&event, arrived)?;
        if is_shown(&event, &self.options) {
            self.model.histories.add(line, &event, session, &change);
        }
        Some((session, change))
    }

    pub fn take_damaged(&mut self, count: u64) {
        self.model.damaged += count;
    }

    /// The sessions as they are, also while paused.
    pub fn sessions(&self) -> &Sessions {
        &self.model.sessions
    }

    /// Takes what the server lists of a session.
    pub fn take_listed(&mut self, listed: &str) {
        self.model.sessions.add_listed(&Object::parse(listed));
    }

    /// Takes what the client's session files say: all of them.
    pub fn take_client_words(&mut self, words: Vec<(String, ClientWord)>) {
        self.model.sessions.set_client_words(words);
    }

    /// What was read of a session.
    pub fn details(&self, session: &Session) -> Option<&Details> {
        self.model().details.get(&session.number)
    }

    /// No server answers any more, or none does at the start. That is no news, and `setup` says what
    /// to do.
    pub fn lose_server(&mut self, notice: String) {
        if self.is_live {
            self.notice = notice;
        }
        self.lost_at.get_or_insert(self.now);
        self.model.sessions.set_connected(false);
    }

    /// The past events have been read, and others arrive.
    pub fn connect(&mut self) {
        self.is_live = true;
        self.lost_at = None;
        self.model.sessions.set_connected(true);
    }

    /// Takes what was read of a session with this number.
    pub fn take_details(&mut self, number: usize, details: Details) {
        self.model.details.insert(number, details);
    }

    /// Time has passed. Returns when a state next changes by itself.
    pub fn settle(&mut self, now: Instant) -> Option<Instant> {
        self.model.sessions.settle(now);
        self.model.sessions.next_settlement()
    }

    /// Looks which sessions contain what the user searches, and whose turn has ended.
    pub fn refresh(&mut self) {
        self.find();
        if self.is_live {
            let selected = self.selected_session().map(|session| session.number);
            self.model.marks.update(&self.model.sessions, selected);
        }
    }

    /// Looks which sessions contain what the user searches: what is known of them, or an event.
    pub fn find(&mut self) {
        let search = self.search.to_lowercase();
        self.found.clear();
        if search.is_empty() {
            return;
        }
        let contains = |text: &str| text.to_lowercase().contains(&search);
        let model = self.frozen.as_ref().map_or(&self.model, |(model, _)| model);
        let found = model.sessions.iter().filter(|session| {
            let mut entries = model.histories.of(session).into_iter();
            contains(&searched(session)) || entries.any(|entry| contains(&entry.text))
        });
        self.found.extend(found.map(|session| session.number));
    }

    pub fn resize(&mut self, size: (u16, u16)) {
        self.size = size;
        if let Some(page) = &mut self.page {
            page.resize(size);
        }
    }

    /// What is shown.
    pub fn model(&self) -> &Model {
        self.frozen.as_ref().map_or(&self.model, |(model, _)| model)
    }

    /// The time that the ages of a session are counted to. Without a server, only the client can
    /// tell that they go on.
    pub fn time(&self, session: &Session) -> i64 {
        match (&self.frozen, self.lost_at) {
            (Some((_, time)), _) => *time,
            (None, Some(lost_at)) if !session.is_by_client() => lost_at,
            (None, _) => self.now,
        }
    }

    pub fn is_paused(&self) -> bool {
        self.frozen.is_some()
    }

    pub fn toggle_pause(&mut self) {
        self.frozen = match self.frozen {
            Some(_) => None,
            None => Some((Box::new(self.model.clone()), self.now)),
        };
    }

    /// Whether the options of the command line allow a session.
    fn is_allowed(&self, session: &Session) -> bool {
        session.id.starts_with(&self.options.session)
    }

    /// The sessions that the options allow, in any order.
    fn allowed(&self) -> impl Iterator<Item = &Session> {
        let sessions = self.model().sessions.iter();
        sessions.filter(|session| self.is_allowed(session))
    }

    /// The sessions that are shown, those first that need the user.
    pub fn shown(&self) -> Vec<&Session> {
        let is_shown = |session: &&Session| {
            let state = session.state();
            if !self.is_allowed(session) {
                return false;
            }
            if self.is_following {
                return self.selected.as_ref() == Some(&session.id);
            }
            if self.hides_folded() && self.is_folded(session) {
                return false;
            }
            (!self.is_urgent_only || matches!(state, State::Waiting | State::Failed))
                && (self.search.is_empty() || self.found.contains(&session.number))
        };
        let mut sessions = self.model().sessions.ordered();
        sessions.retain(is_shown);
        sessions
    }

    /// Whether the sessions that ended long ago are counted instead of listed.
    fn hides_folded(&self) -> bool {
        !self.is_unfolded && self.search.is_empty()
    }

    /// Whether a session ended long ago. The selected one stays in the list.
    fn is_folded(&self, session: &Session) -> bool {
        let age = session.since().age(self.time(session));
        session.state() >= State::Ended
            && age.is_some_and(|age| age > FOLD_AGE)
            && self.selected.as_ref() != Some(&session.id)
    }

    /// How many sessions are not listed, since they ended long ago.
    pub fn folded(&self) -> usize {
        if !self.hides_folded() || self.is_following || self.is_urgent_only {
            return 0;
        }
        let folded = self.allowed().filter(|session| self.is_folded(session));
        folded.count()
    }

    /// How the ids of the sessions begin that the options allow.
    pub fn prefix(&self) -> &str {
        &self.options.session
    }

    /// Whether there are any sessions that the options allow.
    pub fn has_sessions(&self) -> bool {
        self.allowed().next().is_some()
    }

    /// Whether the sessions that the options allow are from more than one host.
    pub fn has_several_hosts(&self) -> bool {
        have_several_hosts(self.allowed())
    }

    /// How many sessions have sent no event although they could have.
    pub fn without_events(&self) -> usize {
        let is_silent = |session: &&Session| session.events == 0 && session.is_silent;
        self.allowed().filter(is_silent).count()
    }

    /// How many sessions are in this state.
    pub fn count(&self, state: State) -> usize {
        let sessions = self.allowed();
        sessions.filter(|session| session.state() == state).count()
    }

    /// The selected one of the sessions that are shown.
    pub fn selection(&self, shown: &[&Session]) -> usize {
        let is_selected = |session: &&Session| self.selected.as_ref() == Some(&session.id);
        shown.iter().position(is_selected).unwrap_or(0)
    }

    /// The selected session.
    pub fn selected_session(&self) -> Option<&Session> {
        let shown = self.shown();
        shown.get(self.selection(&shown)).copied()
    }

    /// The entries of the selected session.
    pub fn entries(&self, shown: &[&Session]) -> Vec<&Entry> {
        let session = shown.get(self.selection(shown));
        session.map_or(Vec::new(), |session| self.model().histories.of(session))
    }

    /// The selected one of the entries.
    pub fn selected_entry(&self, entries: &[&Entry]) -> usize {
        let last = entries.len().saturating_sub(1);
        let index = |number| entries.partition_point(|entry| entry.number < number);
        self.entry.map_or(last, |number| index(number).min(last))
    }

    /// The title of the terminal: it counts the sessions that wait, also while paused.
    pub fn title(&self) -> String {
        let sessions = self.model.sessions.iter();
        let waits =
            |session: &&Session| self.is_allowed(session) && session.state() == State::Waiting;
        match sessions.filter(waits).count() {
            0 => "hooks-observatory".into(),
            1 => "1 waits · hooks-observatory".into(),
            count => format!("{count} wait · hooks-observatory"),
        }
    }

    /// In how many seconds a shown age changes by itself, or a session leaves the list. `None`:
    /// never.
    pub fn next_change(&self) -> Option<u64> {
        if self.is_paused() {
            return None;
        }
        let steps = self
            .allowed()
            .filter_map(|session| self.changes_in(session));
        steps.min()
    }

    fn changes_in(&self, session: &Session) -> Option<u64> {
        if self.time(session) != self.now {
            return None;
        }
        let age = session.since().age(self.now)?;
        if session.state() >= State::Ended {
            return (FOLD_AGE + 1).checked_sub(age).filter(|left| *left > 0);
        }
        if session.running().next().is_some() || session.agents().next().is_some() {
            return Some(1);
        }
        let silence = match session.state() {
            State::Working => session.last.age(self.now)?,
            _ => age,
        };
        Some(step(age).min(step(silence)))
    }
}

/// In how many seconds the text of an age changes.
fn step(age: u64) -> u64 {
    let unit = match age {
        ..60 => 1,
        60..3600 => 60,
        _ => 3600,
    };
    unit - age % unit
}

/// The text in which the user searches.
fn searched(session: &Session) -> String {
    let agents: Vec<&str> = session.agents().map(|agent| &*agent.kind).collect();
    let texts = [
        &session.host,
        summary::project(&session.cwd),
        &session.name(),
        &session.id,
        session.state().name(),
        &session.prompt,
        &session.detail(),
        &agents.join(" "),
    ];
    texts.join("\n")
}
