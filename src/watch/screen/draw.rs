//! The picture on the screen: a pure function of the state.
//!
//! ```text
//! 1 waiting, 2 working                   status
//!     STATE    AGE PROJECT …             sessions, those first that need the user
//! > ! waiting  12s webshop …
//! webshop-2e · a47624fd · …              the selected session, and its last prompt
//! prompt: Clean up
//! 10:30:02 ✓   34ms Bash git status      its events
//! the server at … has ended              what the source reports
//! ? help | q quit | …                    keys
//! ```
//!
//! `table` and `events` make the rows of the two parts. Colours only repeat what signs and
//! words say. A colour of the background always comes with one of the text, so the screen is
//! readable on light and dark terminals.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Position, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Paragraph, Widget, Wrap};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::app::{App, Focus};
use super::events::Events;
use super::history::Entry;
use super::list::{List, fit, visible};
use super::page::{Page, wrap};
use super::table::{Item, Table};
use crate::format::line_writer::columns_of;
use crate::watch::session::{Session, State};

/// With fewer rows, the line of keys and the heads of the lists are left out.
const FULL_HEIGHT: u16 = 10;
/// With fewer rows, only the part that has the focus is shown.
const SPLIT_HEIGHT: u16 = 7;

/// Draws what the state shows.
pub fn draw(app: &App, buffer: &mut Buffer) {
    match &app.page {
        Some(page) => draw_page(app, page, buffer),
        None => Picture::of(app).draw(buffer),
    }
    for cell in &mut buffer.content {
        if let Some(symbol) = replacement(cell.symbol(), app.look.is_ascii) {
            cell.set_symbol(symbol);
        }
    }
}

/// What is drawn instead of a symbol, if the terminal could take another number of columns for it
/// than ratatui counts, or cannot show it.
fn replacement(symbol: &str, is_ascii: bool) -> Option<&'static str> {
    let columns: usize = symbol.chars().map(|char| char.width().unwrap_or(0)).sum();
    match symbol {
        _ if symbol.is_ascii() => None,
        _ if !is_ascii => (columns != symbol.width()).then_some("?"),
        "✗" => Some("X"),
        "✓" => Some("+"),
        "└" => Some("`"),
        "…" => Some("~"),
        "·" | "•" => Some("-"),
        "↑" | "↓" => Some("|"),
        _ => Some("?"),
    }
}

/// The two lists, and where they are.
pub struct Picture<'a> {
    app: &'a App,
    shown: Vec<&'a Session>,
    table: Table<'a>,
    entries: Vec<&'a Entry>,
    status: Rect,
    sessions: Rect,
    events: Rect,
    notice: Rect,
    foot: Rect,
    /// Rows of the heads of the two lists.
    heads: (usize, usize),
}

impl<'a> Picture<'a> {
    pub fn of(app: &'a App) -> Picture<'a> {
        let area = Rect::new(0, 0, app.size.0, app.size.1);
        let shown = app.shown();
        let entries = app.entries(&shown);
        let table = Table::new(app, &shown, area.width.into());
        let is_full = area.height >= FULL_HEIGHT;
        let selected = shown.get(table.selected);
        let has_prompt = selected.is_some_and(|session| !session.prompt.is_empty());
        let heads = (is_full.into(), 1 + usize::from(is_full && has_prompt));
        let notice = u16::try_from(notice_rows(app).len()).unwrap_or(0);
        let foot = u16::from(is_full || app.is_typing);
        let rows = [Length(1), Fill(1), Length(notice), Length(foot)];
        let [status, body, notice, foot] = Layout::vertical(rows).areas(area);
        let needed = (table.items.len() + heads.0, entries.len() + heads.1);
        let height = if shown.is_empty() {
            body.height
        } else {
            table_height(app, needed, body.height)
        };
        let rows = [Length(height), Fill(1)];
        let [sessions, events] = Layout::vertical(rows).areas(body);
        Picture {
            app,
            shown,
            table,
            entries,
            status,
            sessions,
            events,
            notice,
            foot,
            heads,
        }
    }

    fn draw(&self, buffer: &mut Buffer) {
        put(&status_text(self.app), Modifier::BOLD, self.status, buffer);
        self.draw_sessions(buffer);
        self.draw_events(buffer);
        let notice = Text::from_iter(notice_rows(self.app)).style(Modifier::BOLD);
        notice.render(self.notice, buffer);
        draw_foot(self.app, self.foot, buffer);
    }

    fn draw_sessions(&self, buffer: &mut Buffer) {
        if self.table.items.is_empty() {
            let text = Paragraph::new(explain_emptiness(self.app)).wrap(Wrap { trim: true });
            return text.render(self.sessions, buffer);
        }
        let rows = self.visible_items();
        let is_cut = rows.len() < self.table.items.len();
        let list = List {
            columns: &self.table.columns,
            head: (0..self.heads.0).map(|_| self.table.head()).collect(),
            rows,
            selected: self.table.selected_row(),
            has_focus: self.app.focus == Focus::Sessions,
        };
        list.draw(self.sessions, buffer, |row| self.table.row(row));
        if is_cut && self.heads.0 > 0 {
            let text = position(self.table.selected, self.shown.len());
            Line::raw(text)
                .right_aligned()
                .render(self.sessions, buffer);
        }
    }

    fn draw_events(&self, buffer: &mut Buffer) {
        let Some(session) = self.shown.get(self.table.selected) else {
            return;
        };
        let events = Events::new(self.app, session, &self.entries, self.events.width.into());
        let (rows, selected) = (self.visible_entries(), self.selected_entry());
        let is_cut = rows.len() < self.entries.len();
        let position = is_cut.then(|| position(selected, self.entries.len()));
        let head = events.head(&position.unwrap_or_default(), self.events.width.into());
        let head = [head, events.prompt()].into_iter();
        let list = List {
            columns: &events.columns,
            head: head.take(self.heads.1).collect(),
            rows,
            selected,
            has_focus: self.app.focus == Focus::Events,
        };
        list.draw(self.events, buffer, |row| events.row(row));
    }

    fn selected_entry(&self) -> usize {
        self.app.selected_entry(&self.entries)
    }

    fn visible_items(&self) -> Range<usize> {
        let height = usize::from(self.sessions.height).saturating_sub(self.heads.0);
        visible(self.table.items.len(), self.table.selected_row(), height)
    }

    fn visible_entries(&self) -> Range<usize> {
        let height = usize::from(self.events.height).saturating_sub(self.heads.1);
        visible(self.entries.len(), self.selected_entry(), height)
    }

    /// The sessions that are on the screen, and whether each of them is the selected one.
    pub fn visible_sessions(&self) -> impl Iterator<Item = (&'a Session, bool)> {
        let items = self.table.items[self.visible_items()].iter();
        items.filter_map(|item| match *item {
            Item::Session(index, session) => Some((session, index == self.table.selected)),
            Item::Agent(..) | Item::Folded(_) => None,
        })
    }

    /// What is at a place of the screen.
    pub fn at(&self, place: Position) -> Target {
        let row = |area: Rect, head: usize, mut rows: Range<usize>| {
            let row = usize::from(place.y - area.y).checked_sub(head)?;
            rows.nth(row)
        };
        if self.sessions.contains(place) {
            let row = row(self.sessions, self.heads.0, self.visible_items());
            match row.map(|row| self.table.items[row]) {
                Some(Item::Session(_, session) | Item::Agent(_, session, _)) => {
                    Target::Session(session.id.clone())
                }
                Some(Item::Folded(_)) => Target::Folded,
                None => Target::Sessions,
            }
        } else if self.events.contains(place) {
            let row = row(self.events, self.heads.1, self.visible_entries());
            row.map_or(Target::Events, |row| {
                Target::Entry(self.entries[row].number)
            })
        } else {
            Target::Nothing
        }
    }
}

/// What is at a place of the screen.
pub enum Target {
    /// The id of a session.
    Session(String),
    /// The row that counts the sessions that ended long ago.
    Folded,
    /// The rest of the list of sessions.
    Sessions,
    /// The number of an entry.
    Entry(u64),
    /// The rest of the list of events.
    Events,
    Nothing,
}

/// The rows of the page that are shown, on a screen of this size.
pub fn page_height((_, height): (u16, u16)) -> usize {
    usize::from(height.saturating_sub(1))
}

/// The rows for the sessions: at most half of the height, or more if the events need less.
fn table_height(app: &App, (sessions, events): (usize, usize), height: u16) -> u16 {
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    match app.focus {
        _ if height >= SPLIT_HEIGHT => {
            let most = height.saturating_sub(rows(events)).max(height / 2);
            rows(sessions.max(1)).min(most)
        }
        Focus::Sessions => height,
        Focus::Events => 0,
    }
}

/// Where a list is that does not fit.
fn position(selected: usize, count: usize) -> String {
    format!(" {} of {count}", selected + 1)
}

/// Draws a text in one row.
fn put(text: &str, style: impl Into<Style>, area: Rect, buffer: &mut Buffer) {
    Line::styled(fit(text, area.width.into()), style).render(area, buffer);
}

fn explain_emptiness(app: &App) -> String {
    if app.has_sessions() {
        return "No session matches the filter. Esc removes it.".into();
    }
    if !app.prefix().is_empty() {
        return format!("The id of no session begins with {} yet.", app.prefix());
    }
    let commands = match app.lost_at {
        None => "hooks-observatory hooks --install".into(),
        Some(_) => app.setup.join("\n"),
    };
    format!("No sessions yet. Start Claude Code. To see its events too:\n\n{commands}")
}

/// How many sessions are in which state, and what hides some.
fn status_text(app: &App) -> String {
    let counts = State::ALL.map(|state| (app.count(state), state.name()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, name)| format!("{count} {name}"));
    let counts = counts.collect::<Vec<_>>().join(", ");
    let (dropped, damaged) = (app.model().sessions.dropped, app.model().damaged);
    let silent = app.without_events();
    let advice = format!("{silent} without events: hooks-observatory hooks --status");
    let has_none = app.lost_at.is_some();
    let parts = [
        (app.is_paused(), "PAUSED".into()),
        (has_none && app.is_live, "NO SERVER".into()),
        (has_none && !app.is_live, "no server".into()),
        (!counts.is_empty(), counts),
        (silent > 0 && !has_none, advice),
        (app.is_following, "one session".into()),
        (app.is_urgent_only, "only waiting and failed".into()),
        (!app.search.is_empty(), format!("filter: {}", app.search)),
        (dropped > 0, format!("{dropped} events are missing")),
        (damaged > 0, format!("{damaged} damaged lines")),
    ];
    let shown = parts.into_iter().filter(|(is_shown, _)| *is_shown);
    let shown: Vec<String> = shown.map(|(_, text)| text).collect();
    shown.join(" · ")
}

/// What the user types, or the keys.
fn draw_foot(app: &App, area: Rect, buffer: &mut Buffer) {
    let [enter, open, tab] = match app.focus {
        Focus::Sessions => ["Enter terminal", "o open", "Tab events"],
        Focus::Events => ["Enter open", "y copy", "Tab sessions"],
    };
    let keys = [
        "? help",
        "q quit",
        enter,
        open,
        tab,
        "/ filter",
        "f needs you",
        "s one session",
        "Space pause",
    ];
    if app.is_typing {
        return put(&format!("/{}_", app.search), Modifier::BOLD, area, buffer);
    }
    let mut text = String::new();
    for key in keys {
        let separator = if text.is_empty() { "" } else { " | " };
        if text.len() + separator.len() + key.len() <= area.width.into() {
            text = text + separator + key;
        }
    }
    put(&text, Modifier::DIM, area, buffer);
}

/// What came of a key, else what the source reports, else what to do if it has never answered. In
/// the rows that it needs: a third of the screen at most.
fn notice_rows(app: &App) -> Vec<String> {
    let (width, height) = app.size;
    let setup = match app.lost_at {
        Some(_) if !app.is_live && app.has_sessions() => {
            let commands = app.setup.join(", then ");
            format!("sessions only; for events: {commands}")
        }
        _ => String::new(),
    };
    let texts = [&app.answer, &app.notice, &setup];
    let text = texts.into_iter().find(|text| !text.is_empty());
    let mut rows = wrap(text.map_or("", |text| text), width.into());
    rows.truncate(usize::from(height / 3).max(1));
    rows
}

fn draw_page(app: &App, page: &Page, buffer: &mut Buffer) {
    let [head, body] = Layout::vertical([Length(1), Fill(1)]).areas(buffer.area);
    let height = usize::from(body.height);
    let seen = (page.top + height).min(page.rows.len());
    let title = format!("{} · {seen}/{} · ", page.title, page.rows.len());
    let keys = match (app.is_typing, page.search.is_empty()) {
        (true, _) => format!("/{}_", page.search),
        (false, true) => page.keys().into(),
        (false, false) if page.found.is_empty() => format!("/{}: not found", page.search),
        (false, false) => format!(
            "/{}: {} of {} · Enter next",
            page.search,
            page.current + 1,
            page.found.len()
        ),
    };
    // A title that is too long leaves the end of what is typed.
    let width = usize::from(head.width);
    let room = width.saturating_sub(columns_of(&title)).max(width / 4);
    let text = title + &fit(&keys, room);
    put(&text, Modifier::REVERSED, head, buffer);
    let rows = page.rows.iter().enumerate().skip(page.top).take(height);
    let lines = rows.map(|(number, row)| match page.found.binary_search(&number) {
        Ok(_) => Line::styled(row.as_str(), Modifier::BOLD | Modifier::UNDERLINED),
        Err(_) => Line::raw(row.as_str()),
    });
    Text::from_iter(lines).render(body, buffer);
}
