//! Draws the screen: a pure function of the state, its size, and the time.
//!
//! ```text
//! 1 waiting, 2 working                   status
//!     STATE    AGE PROJECT …             sessions, those first that need the user
//! > ! waiting  12s webshop …
//! webshop a47624fd · …                   events of the selected session
//! 10:30:02 ✓   34ms Bash git status
//! ? help | q quit | …                    keys, or what the source reports
//! ```
//!
//! `table` and `events` make the rows of the two parts. Colours only repeat what signs and
//! words say. A colour of the background always comes with one of the text, so the screen is
//! readable on light and dark terminals.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Constraint::{Fill, Length};
use ratatui::layout::{Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::Widget;

use super::app::{App, Focus};
use super::events::Events;
use super::list::{List, fit};
use super::page::Page;
use super::table::Table;
use crate::watch::session::{Session, State};

/// With fewer rows, the line of keys and the head of the table are left out.
const FULL_HEIGHT: u16 = 10;
/// With fewer rows, only the part that has the focus is shown.
const SPLIT_HEIGHT: u16 = 7;

pub fn draw(app: &App, now: i64, frame: &mut Frame) {
    let (area, buffer) = (frame.area(), frame.buffer_mut());
    if let Some(page) = &app.page {
        return draw_page(page, area, buffer);
    }
    let shown = app.shown();
    let now = app.time(now);
    let is_full = area.height >= FULL_HEIGHT;
    let has_foot = is_full || app.is_typing || !notice(app).is_empty();
    let rows = [Length(1), Fill(1), Length(has_foot.into())];
    let [status, body, foot] = Layout::vertical(rows).areas(area);

    let table = Table::new(app, &shown, now, area.width.into());
    let needed = table.count() + usize::from(is_full);
    let events = app.entries(&shown).len() + 1;
    let rows = [
        Length(table_height(app, needed, events, body.height)),
        Fill(1),
    ];
    let [above, below] = Layout::vertical(rows).areas(body);

    put(&status_text(app), Modifier::BOLD, status, buffer);
    draw_table(app, &table, is_full, above, buffer);
    draw_events(app, &shown, now, below, buffer);
    draw_foot(app, foot, buffer);
}

/// The rows of the page that are shown, on a screen of this size.
pub fn page_height((_, height): (u16, u16)) -> usize {
    usize::from(height.saturating_sub(1))
}

/// The rows for the sessions: half of them, or more if the events need less.
fn table_height(app: &App, needed: usize, events: usize, height: u16) -> u16 {
    let rows = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    match app.focus {
        _ if height >= SPLIT_HEIGHT => {
            let most = height.saturating_sub(rows(events)).max(height / 2);
            rows(needed.max(1)).min(most)
        }
        Focus::Sessions => height,
        Focus::Events => 0,
    }
}

/// Draws a text in one row.
fn put(text: &str, style: impl Into<Style>, area: Rect, buffer: &mut Buffer) {
    Line::styled(fit(text, area.width.into()), style).render(area, buffer);
}

fn draw_table(app: &App, table: &Table, has_head: bool, area: Rect, buffer: &mut Buffer) {
    if table.count() == 0 {
        for (text, row) in explain_emptiness(app).iter().zip(area.rows()) {
            put(text, Style::new(), row, buffer);
        }
        return;
    }
    let list = List {
        columns: &table.columns,
        head: has_head.then(|| table.head()),
        count: table.count(),
        selected: table.selected_row(),
        has_focus: app.focus == Focus::Sessions,
    };
    list.draw(area, buffer, |row| table.row(row));
}

fn explain_emptiness(app: &App) -> [&'static str; 2] {
    if app.has_sessions() {
        return ["No session matches the filter.", "Esc removes it."];
    }
    [
        "No sessions yet. They appear when Claude Code runs with the hooks installed:",
        "hooks-observatory hooks --install",
    ]
}

fn draw_events(app: &App, shown: &[&Session], now: i64, area: Rect, buffer: &mut Buffer) {
    let Some(session) = shown.get(app.selection(shown)) else {
        return;
    };
    let entries = app.entries(shown);
    let (count, selected) = (entries.len(), app.selected_entry(&entries));
    let events = Events::new(&app.look, session, entries, now, area.width.into());
    let list = List {
        columns: &events.columns,
        head: Some(events.head()),
        count,
        selected,
        has_focus: app.focus == Focus::Events,
    };
    list.draw(area, buffer, |row| events.row(row));
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
    let parts = [
        (app.is_paused(), "PAUSED".into()),
        (app.has_no_server, "NO SERVER: run hooks-observatory".into()),
        (!counts.is_empty(), counts),
        (silent > 0 && !app.has_no_server, advice),
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

/// What has failed, or what the source reports.
fn notice(app: &App) -> &str {
    match &*app.failure {
        "" => &app.notice,
        failure => failure,
    }
}

/// What the user types, what was reported, or the keys.
fn draw_foot(app: &App, area: Rect, buffer: &mut Buffer) {
    const KEYS: [&str; 8] = [
        "? help",
        "q quit",
        "Enter open",
        "Tab events",
        "/ filter",
        "f needs you",
        "s one session",
        "Space pause",
    ];
    if app.is_typing {
        return put(&format!("/{}_", app.search), Modifier::BOLD, area, buffer);
    }
    if !notice(app).is_empty() {
        return put(notice(app), Modifier::BOLD, area, buffer);
    }
    let mut text = String::new();
    for key in KEYS {
        let separator = if text.is_empty() { "" } else { " | " };
        if text.len() + separator.len() + key.len() <= area.width.into() {
            text = text + separator + key;
        }
    }
    put(&text, Modifier::DIM, area, buffer);
}

fn draw_page(page: &Page, area: Rect, buffer: &mut Buffer) {
    let [head, body] = Layout::vertical([Length(1), Fill(1)]).areas(area);
    let height = usize::from(body.height);
    let seen = (page.top + height).min(page.rows.len());
    let title = format!("{} · {seen}/{} · Esc closes", page.title, page.rows.len());
    put(&title, Modifier::REVERSED, head, buffer);
    let rows = page.rows.iter().skip(page.top).take(height);
    Text::from_iter(rows.map(String::as_str)).render(body, buffer);
}
