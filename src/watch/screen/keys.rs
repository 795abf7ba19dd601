//! What keys do.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ops::ControlFlow::{self, Break, Continue};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Focus};
use super::draw::page_height;
use super::history::Entry;
use super::page::{HELP, Page};
use crate::hooks::quote_text;
use crate::terminal::is_printable;
use crate::watch::session::Session;

/// The most characters that the user can search for.
const MAX_SEARCH: usize = 100;

impl App {
    /// Takes a key. Breaks when the user quits.
    pub fn press(&mut self, key: KeyEvent) -> ControlFlow<()> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        self.answer.clear();
        match key.code {
            // Terminals that do not make it a signal.
            KeyCode::Char('c') if is_control => return Break(()),
            _ if self.is_typing => self.type_key(key.code, is_control),
            _ if is_control => {}
            code if self.page.is_some() => self.press_in_page(code),
            KeyCode::Char('q') => return Break(()),
            code => self.press_in_lists(code),
        }
        Continue(())
    }

    fn press_in_lists(&mut self, code: KeyCode) {
        match code {
            KeyCode::Tab | KeyCode::BackTab => self.focus_on(match self.focus {
                Focus::Sessions => Focus::Events,
                Focus::Events => Focus::Sessions,
            }),
            KeyCode::Enter if self.focus == Focus::Sessions => self.is_jump_wanted = true,
            KeyCode::Enter | KeyCode::Char('o') => self.open_entry(),
            KeyCode::Esc => self.leave(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('f') => self.is_urgent_only = !self.is_urgent_only,
            KeyCode::Char('s') => self.toggle_following(),
            KeyCode::Char('y') => self.copy_command(),
            KeyCode::Char('e') => self.is_unfolded = !self.is_unfolded,
            KeyCode::Char(' ') => self.toggle_pause(),
            KeyCode::Char('?') => {
                self.page = Some(Page::new("Help".into(), HELP.into(), self.size));
            }
            code => {
                if let Some(rows) = self.movement(code) {
                    self.select(rows);
                }
            }
        }
    }

    /// By how many rows a key moves.
    fn movement(&self, code: KeyCode) -> Option<isize> {
        let page = (usize::from(self.size.1) / 2).max(1).cast_signed();
        match code {
            KeyCode::Char('j') | KeyCode::Down => Some(1),
            KeyCode::Char('k') | KeyCode::Up => Some(-1),
            KeyCode::PageDown => Some(page),
            KeyCode::PageUp => Some(-page),
            KeyCode::Char('g') | KeyCode::Home => Some(isize::MIN),
            KeyCode::Char('G') | KeyCode::End => Some(isize::MAX),
            _ => None,
        }
    }

    /// Selects in this list from now on.
    pub fn focus_on(&mut self, focus: Focus) {
        self.hold();
        self.focus = focus;
    }

    /// Keeps the session that is selected, whichever becomes the first one.
    fn hold(&mut self) {
        let selected = self.selected_session().map(|session| session.id.clone());
        self.selected = selected;
    }

    /// Selects another session or entry.
    pub fn select(&mut self, rows: isize) {
        let shown = self.shown();
        let moved = |index: usize, count: usize| {
            index
                .saturating_add_signed(rows)
                .min(count.saturating_sub(1))
        };
        match self.focus {
            Focus::Sessions => {
                let index = moved(self.selection(&shown), shown.len());
                // The first session is followed.
                let selected = shown.get(index).filter(|_| index > 0);
                self.selected = selected.map(|session| session.id.clone());
                self.entry = None;
            }
            Focus::Events => {
                let entries = self.entries(&shown);
                let index = moved(self.selected_entry(&entries), entries.len());
                // The last entry is followed.
                let is_last = index + 1 >= entries.len();
                self.entry = (!is_last).then(|| entries[index].number);
            }
        }
    }

    /// Opens the selected event. While sessions are selected, it is the call that waits for the user,
    /// if there is one.
    fn open_entry(&mut self) {
        let shown = self.shown();
        let entries = self.entries(&shown);
        let waits = self.selected_session().and_then(Session::question);
        let waits = waits.filter(|_| self.focus == Focus::Sessions);
        let call = waits.and_then(|question| question.call.as_ref());
        let is_its = |entry: &&&Entry| call.is_some_and(|call| entry.is_of(call));
        let selected = || entries.get(self.selected_entry(&entries));
        let entry = entries.iter().rfind(is_its).or_else(selected);
        self.page = entry.map(|entry| Page::of(entry, self.size));
        if self.page.is_none() {
            self.answer = "there is no event to open".into();
        }
    }

    /// Opens the next event instead of the open one, or another one so many rows away.
    fn turn_page(&mut self, rows: isize) {
        let Some(number) = self.page.as_ref().and_then(|page| page.entry) else {
            return;
        };
        let entries = self.entries(&self.shown());
        let index = entries.partition_point(|entry| entry.number < number);
        let index = index.saturating_add_signed(rows);
        if let Some(entry) = entries.get(index) {
            let (page, number) = (Page::of(entry, self.size), entry.number);
            (self.page, self.entry) = (Some(page), Some(number));
        }
    }

    /// Puts the command that resumes the selected session into the clipboard.
    fn copy_command(&mut self) {
        let Some(session) = self.selected_session() else {
            return;
        };
        match resume_command(session) {
            Some(command) => {
                self.answer = format!("copied, if the terminal allows it: {command}");
                self.copied = Some(command);
            }
            None => self.answer = "its id or directory cannot be part of a command".into(),
        }
    }

    fn toggle_following(&mut self) {
        (self.focus, self.entry) = (Focus::Sessions, None);
        self.hold();
        self.is_following = !self.is_following && self.selected.is_some();
    }

    /// Leaves what was entered last.
    fn leave(&mut self) {
        if self.focus == Focus::Events {
            self.focus = Focus::Sessions;
            self.select(0);
        } else if self.is_following {
            self.is_following = false;
        } else if !self.search.is_empty() {
            self.search.clear();
            self.find();
        } else if self.is_urgent_only {
            self.is_urgent_only = false;
        } else {
            self.selected = None;
        }
    }

    fn press_in_page(&mut self, code: KeyCode) {
        let (rows, height) = (self.movement(code), page_height(self.size));
        let Some(page) = &mut self.page else { return };
        match (code, rows) {
            (_, Some(rows)) => page.scroll(rows, height),
            (KeyCode::Char('/'), _) => self.is_typing = true,
            (KeyCode::Char('n'), _) => self.turn_page(1),
            (KeyCode::Char('p'), _) => self.turn_page(-1),
            (KeyCode::Char(' '), _) => page.scroll(height.cast_signed(), height),
            (KeyCode::Enter, _) if !page.search.is_empty() => {
                page.find_next(height);
            }
            (KeyCode::Esc, _) if !page.search.is_empty() => {
                page.search.clear();
                page.find(height);
            }
            // The page can be about a session that has ended.
            (KeyCode::Char('y'), _) if page.entry.is_none() => {
                self.page = None;
                self.copy_command();
            }
            (KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter, _) => self.page = None,
            _ => {}
        }
    }

    /// A key while the user types what is searched, among the sessions or in the page.
    fn type_key(&mut self, code: KeyCode, is_control: bool) {
        let text = match &mut self.page {
            Some(page) => &mut page.search,
            None => &mut self.search,
        };
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                text.clear();
            }
            KeyCode::Backspace if text.is_empty() => self.is_typing = false,
            KeyCode::Backspace => drop(text.pop()),
            KeyCode::Char('u') if is_control => text.clear(),
            KeyCode::Char(char) if !is_control && text.chars().count() < MAX_SEARCH => {
                text.push(char);
            }
            _ => return,
        }
        match &mut self.page {
            Some(page) => page.find(page_height(self.size)),
            None => self.find(),
        }
    }
}

/// The command that resumes a session in its directory. `None`: there is none that could be pasted
/// safely.
fn resume_command(session: &Session) -> Option<String> {
    let lengths = session.id.split('-').map(str::len);
    let is_uuid = lengths.eq([8, 4, 4, 4, 12])
        && session
            .id
            .chars()
            .all(|char| char == '-' || char.is_ascii_hexdigit());
    if !is_uuid || !session.cwd.chars().all(is_printable) {
        return None;
    }
    let resume = format!("claude --resume {}", session.id);
    match &*session.cwd {
        "" => Some(resume),
        cwd => Some(format!("cd {} && {resume}", quote_text(cwd))),
    }
}
