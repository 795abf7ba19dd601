//! A list: rows of cells below each other, of which one row is selected.
//!
//! Texts are cut before ratatui gets them, since it would cut their ends, and terminals disagree
//! with it on the columns of some characters.
//!
//! Stop 17 of EDU_NOTES.md.

use std::char::REPLACEMENT_CHARACTER;
use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::HorizontalAlignment::Left;
use ratatui::layout::{Constraint, HorizontalAlignment, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{self, Row, Table, Widget};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::format::line_writer::{columns, columns_of, cut_middle};

/// A column, and on which side its texts are. With a width of 0 it is hidden.
pub struct Column(pub usize, pub HorizontalAlignment);

pub struct Cell {
    text: String,
    style: Style,
    /// Columns that it takes.
    span: usize,
}

impl Cell {
    pub fn new(text: impl Into<String>, style: impl Into<Style>) -> Cell {
        Cell {
            text: text.into(),
            style: style.into(),
            span: 1,
        }
    }

    pub fn span(self, span: usize) -> Cell {
        Cell { span, ..self }
    }
}

/// The columns of a list, with a space between them.
pub struct Columns(Vec<Column>);

impl Columns {
    /// After these, another column takes the rest of `width`.
    pub fn new(mut columns: Vec<Column>, width: usize) -> Columns {
        let shown = columns.iter().filter(|column| column.0 > 0);
        let used: usize = shown.map(|column| column.0 + 1).sum();
        columns.push(Column(width.saturating_sub(used), Left));
        Columns(columns)
    }

    /// The width of the last column.
    pub fn rest(&self) -> usize {
        self.0.last().map_or(0, |column| column.0)
    }

    pub fn row(&self, cells: impl IntoIterator<Item = Cell>) -> Row<'static> {
        let mut columns = self.0.iter();
        // Columns that a terminal takes beyond those that ratatui counts, if it does not combine
        // characters.
        let mut surplus = 0;
        let cells = cells.into_iter().filter_map(|cell| {
            let spanned = columns.by_ref().take(cell.span);
            let spanned: Vec<_> = spanned.filter(|column| column.0 > 0).collect();
            let Column(_, alignment) = spanned.first()?;
            let width = spanned.iter().map(|column| column.0 + 1).sum::<usize>() - 1;
            let text = fit(&cell.text, width.saturating_sub(surplus));
            surplus += columns_of(&text).saturating_sub(text.width());
            let line = Line::from(Span::styled(text, cell.style)).alignment(*alignment);
            let span = u16::try_from(spanned.len()).unwrap_or(u16::MAX);
            Some(widgets::Cell::from(line).column_span(span))
        });
        Row::new(cells.collect::<Vec<_>>())
    }

    fn widths(&self) -> impl Iterator<Item = Constraint> {
        let shown = self.0.iter().filter(|column| column.0 > 0);
        shown.map(|column| Constraint::Length(u16::try_from(column.0).unwrap_or(u16::MAX)))
    }
}

pub struct List<'c> {
    pub columns: &'c Columns,
    /// The rows above those of the list, and which of these are on the screen.
    pub head: Vec<Row<'static>>,
    pub rows: Range<usize>,
    pub selected: usize,
    pub has_focus: bool,
}

/// The rows of a list that are on a screen with room for so many: the first ones, or those around
/// the selected one if it is not among them.
pub fn visible(count: usize, selected: usize, height: usize) -> Range<usize> {
    let last = count.saturating_sub(height);
    let middle = selected.saturating_sub(height / 2).min(last);
    let top = if selected < height { 0 } else { middle };
    top..count.min(top + height)
}

impl List<'_> {
    /// Draws the head, and the rows below it. Only these are made.
    pub fn draw(self, area: Rect, buffer: &mut Buffer, row: impl Fn(usize) -> Row<'static>) {
        let weight = if self.has_focus {
            Modifier::BOLD
        } else {
            Modifier::DIM
        };
        let style = Modifier::UNDERLINED | weight;
        // ratatui's own head cannot span columns.
        let head = self.head.into_iter().map(|head| head.style(style));
        let rows = self.rows.map(|index| {
            let is_marked = self.has_focus && index == self.selected;
            let style = is_marked.then_some(Modifier::REVERSED);
            row(index).style(style.unwrap_or_default())
        });
        Table::new(head.chain(rows), self.columns.widths()).render(area, buffer);
    }
}

/// The text in at most this many columns, on one line and safe for a terminal.
pub fn fit(text: &str, columns: usize) -> String {
    if columns == 0 {
        return String::new();
    }
    cut_middle(text.chars().filter_map(steady), columns)
}

/// The character, or one in its place that takes the same columns on every terminal. `None`: it
/// is left out, since it only changes how the one before looks.
pub fn steady(char: char) -> Option<char> {
    match char {
        // Joiners, variants and colours of the skin.
        '\u{200d}' | '\u{fe00}'..='\u{fe0f}' | '\u{1f3fb}'..='\u{1f3ff}' => None,
        // The halves of flags: A to Z.
        '\u{1f1e6}'..='\u{1f1ff}' => char::from_u32(char as u32 - 0x1f1e6 + u32::from('A')),
        char if columns(char) > char.width().unwrap_or(0).max(1) => Some(REPLACEMENT_CHARACTER),
        char => Some(char),
    }
}
