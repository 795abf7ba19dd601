//! A list: rows of cells below each other, of which one row is selected.
//!
//! Texts are cut before ratatui gets them, since it would cut their ends, and terminals disagree
//! with it on the columns of some characters.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::buffer::Buffer;
use ratatui::layout::HorizontalAlignment::Left;
use ratatui::layout::{Constraint, HorizontalAlignment, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{self, Row, Table, Widget};
use unicode_width::UnicodeWidthStr;

use crate::format::line_writer::{columns_of, cut_middle};

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
        // Columns that some terminals take beyond those that ratatui counts.
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
    pub head: Option<Row<'static>>,
    pub count: usize,
    pub selected: usize,
    pub has_focus: bool,
}

impl List<'_> {
    /// Draws the head and the rows that fit below it, among them the selected one. Only these
    /// are made.
    pub fn draw(self, area: Rect, buffer: &mut Buffer, row: impl Fn(usize) -> Row<'static>) {
        let weight = if self.has_focus {
            Modifier::BOLD
        } else {
            Modifier::DIM
        };
        let style = Modifier::UNDERLINED | weight;
        // ratatui's own head cannot span columns.
        let head = self.head.map(|head| head.style(style));
        let height = usize::from(area.height).saturating_sub(head.iter().len());
        let last = self.count.saturating_sub(height);
        let top = self.selected.saturating_sub(height / 2).min(last);
        let rows = (top..self.count).take(height).map(|index| {
            let is_marked = self.has_focus && index == self.selected;
            let style = is_marked.then_some(Modifier::REVERSED);
            row(index).style(style.unwrap_or_default())
        });
        let rows = head.into_iter().chain(rows);
        Table::new(rows, self.columns.widths()).render(area, buffer);
    }
}

/// The text in at most this many columns, on one line and safe for a terminal. Characters that
/// join others are left out, since terminals disagree on the columns that the result takes.
pub fn fit(text: &str, columns: usize) -> String {
    if columns == 0 {
        return String::new();
    }
    let is_joiner = |char: &char| matches!(char, '\u{200d}' | '\u{fe0f}');
    cut_middle(text.chars().filter(|char| !is_joiner(char)), columns)
}
