//! What keys do.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ops::ControlFlow::{self, Break, Continue};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::{App, Focus};
use super::draw::page_height;
use super::page::{HELP, Page};

/// The most characters that the user can search for.
const MAX_SEARCH: usize = 100;

impl App {
    /// Takes a key. Breaks when the user quits.
    pub fn press(&mut self, key: KeyEvent) -> ControlFlow<()> {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        self.failure.clear();
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
        // Another session may become the first one meanwhile.
        self.select(0);
        self.focus = focus;
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
                let selected = shown.get(index).map(|session| session.id.clone());
                self.selected = selected;
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

    fn open_entry(&mut self) {
        let entries = self.entries(&self.shown());
        let entry = entries.get(self.selected_entry(&entries));
        self.page = entry.map(|entry| Page::of(entry, self.size));
    }

    fn toggle_following(&mut self) {
        self.focus = Focus::Sessions;
        self.select(0);
        self.is_following = !self.is_following && self.selected.is_some();
    }

    /// Leaves what was entered last.
    fn leave(&mut self) {
        if self.focus == Focus::Events {
            self.focus = Focus::Sessions;
            self.entry = None;
        } else if self.is_following {
            self.is_following = false;
        } else if !self.search.is_empty() {
            self.search.clear();
        } else {
            self.is_urgent_only = false;
        }
    }

    fn press_in_page(&mut self, code: KeyCode) {
        let rows = self.movement(code);
        match (&mut self.page, rows) {
            (Some(page), Some(rows)) => page.scroll(rows, page_height(self.size)),
            _ if matches!(code, KeyCode::Char('q') | KeyCode::Esc | KeyCode::Enter) => {
                self.page = None;
            }
            (Some(page), None) if code == KeyCode::Char(' ') => {
                let height = page_height(self.size);
                page.scroll(height.cast_signed(), height);
            }
            _ => {}
        }
    }

    fn type_key(&mut self, code: KeyCode, is_control: bool) {
        match code {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.search.clear();
            }
            KeyCode::Backspace if self.search.is_empty() => self.is_typing = false,
            KeyCode::Backspace => drop(self.search.pop()),
            KeyCode::Char('u') if is_control => self.search.clear(),
            KeyCode::Char(char) if !is_control && self.search.chars().count() < MAX_SEARCH => {
                self.search.push(char);
            }
            _ => {}
        }
    }
}
