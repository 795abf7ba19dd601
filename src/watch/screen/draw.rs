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
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;

use super::app::{App, Focus};
use super::events::{self, Events};
use super::page::Page;
use super::row::{Row, fit};
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
    let has_foot = is_full || app.is_typing || !app.notice.is_empty();
    let (status, rest) = split(area, 1);
    let (body, foot) = split(rest, rest.height.saturating_sub(u16::from(has_foot)));

    let table = Table::new(app, &shown, now, area.width.into());
    let needed = table.rows.len() + usize::from(is_full);
    let events = app.entries(&shown).len() + 1;
    let (above, below) = split(body, table_height(app, needed, events, body.height));

    put(status, [status_line(app, area.width.into())], buffer);
    draw_table(app, &table, is_full, above, buffer);
    draw_events(app, &shown, now, below, buffer);
    put(foot, [foot_line(app, area.width.into())], buffer);
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

/// Divides an area after this many rows.
fn split(area: Rect, rows: u16) -> (Rect, Rect) {
    let rows = rows.min(area.height);
    let above = Rect {
        height: rows,
        ..area
    };
    let below = Rect {
        y: area.y + rows,
        height: area.height - rows,
        ..area
    };
    (above, below)
}

/// Writes lines into an area, each in a row.
fn put<'l>(area: Rect, lines: impl IntoIterator<Item = Line<'l>>, buffer: &mut Buffer) {
    for (y, line) in (area.top()..area.bottom()).zip(lines) {
        buffer.set_line(area.x, y, &line, area.width);
    }
}

/// Writes the head of a part, and returns the area below it.
fn put_head(area: Rect, head: Line, has_focus: bool, buffer: &mut Buffer) -> Rect {
    let (head_area, rest) = split(area, 1);
    put(head_area, [head], buffer);
    let weight = if has_focus {
        Modifier::BOLD
    } else {
        Modifier::DIM
    };
    buffer.set_style(head_area, Modifier::UNDERLINED | weight);
    rest
}

/// A list of which one line is selected.
struct List {
    count: usize,
    selected: usize,
    has_focus: bool,
}

/// Writes those lines of a list that fit, among them the selected one.
fn put_list<'l>(area: Rect, list: List, line: impl Fn(usize) -> Line<'l>, buffer: &mut Buffer) {
    let height = usize::from(area.height);
    let last = list.count.saturating_sub(height);
    let top = list.selected.saturating_sub(height / 2).min(last);
    put(area, (top..list.count).map(line), buffer);
    let row = area.y + u16::try_from(list.selected - top).unwrap_or(u16::MAX);
    if list.has_focus && row < area.bottom() {
        let row = Rect {
            y: row,
            height: 1,
            ..area
        };
        buffer.set_style(row, Modifier::REVERSED);
    }
}

fn draw_table(app: &App, table: &Table, has_head: bool, mut area: Rect, buffer: &mut Buffer) {
    let has_focus = app.focus == Focus::Sessions;
    if table.rows.is_empty() {
        let width = area.width.into();
        let lines = explain_emptiness(app).map(|text| Line::from(fit(text, width)));
        return put(area, lines, buffer);
    }
    if has_head {
        area = put_head(area, table.head(), has_focus, buffer);
    }
    let list = List {
        count: table.rows.len(),
        selected: table.selected_row(),
        has_focus,
    };
    put_list(area, list, |row| table.line(row), buffer);
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
    let has_focus = app.focus == Focus::Events;
    let width = area.width.into();
    let head = events::head(session, width);
    let area = put_head(area, head, has_focus, buffer);
    let entries = app.entries(shown);
    let list = List {
        count: entries.len(),
        selected: app.selected_entry(&entries),
        has_focus,
    };
    let events = Events::new(&app.look, session, entries, now, width);
    put_list(area, list, |row| events.line(row), buffer);
}

/// How many sessions are in which state, and what hides some.
fn status_line(app: &App, width: usize) -> Line<'static> {
    let mut parts = Vec::new();
    if app.is_paused() {
        parts.push("PAUSED".to_owned());
    }
    let counts = State::ALL.map(|state| (app.count(state), state.name()));
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    let counts = counts.map(|(count, name)| format!("{count} {name}"));
    parts.push(counts.collect::<Vec<_>>().join(", "));
    if app.is_following {
        parts.push("one session".into());
    }
    if app.is_urgent_only {
        parts.push("only waiting and failed".into());
    }
    if !app.search.is_empty() {
        parts.push(format!("filter: {}", app.search));
    }
    if app.model().sessions.dropped > 0 {
        parts.push(format!(
            "{} events are missing",
            app.model().sessions.dropped
        ));
    }
    if app.model().damaged > 0 {
        parts.push(format!("{} damaged lines", app.model().damaged));
    }
    parts.retain(|part| !part.is_empty());
    let mut row = Row::new(width);
    row.rest(&parts.join(" · "), Modifier::BOLD.into());
    row.into()
}

/// What the user types, what the source reports, or the keys.
fn foot_line(app: &App, width: usize) -> Line<'static> {
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
    let mut row = Row::new(width);
    if app.is_typing {
        row.rest(&format!("/{}_", app.search), Modifier::BOLD.into());
    } else if !app.notice.is_empty() {
        row.rest(&app.notice, Modifier::BOLD.into());
    } else {
        let mut text = String::new();
        for key in KEYS {
            let separator = if text.is_empty() { "" } else { " | " };
            if text.len() + separator.len() + key.len() <= width {
                text = text + separator + key;
            }
        }
        row.rest(&text, Modifier::DIM.into());
    }
    row.into()
}

fn draw_page(page: &Page, area: Rect, buffer: &mut Buffer) {
    let width = area.width.into();
    let (head, body) = split(area, 1);
    let height = usize::from(body.height);
    let mut row = Row::new(width);
    let seen = (page.top + height).min(page.rows.len());
    let title = format!("{} · {seen}/{} · Esc closes", page.title, page.rows.len());
    row.rest(&title, Style::new());
    put(head, [row.into()], buffer);
    buffer.set_style(head, Modifier::REVERSED);
    let rows = page.rows.iter().skip(page.top).take(height);
    put(body, rows.map(|row| Line::from(row.as_str())), buffer);
}
