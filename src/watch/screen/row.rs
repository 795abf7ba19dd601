//! One row of the screen, made of cells.
//!
//! Whatever a text contains, it stays inside its row: see [`cut_middle`]. Characters that join
//! others are left out, since terminals disagree on the columns that the result takes.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use crate::format::line_writer::{columns_of, cut_middle};

pub struct Row {
    spans: Vec<Span<'static>>,
    /// Columns that are left.
    room: usize,
}

impl Row {
    pub fn new(width: usize) -> Row {
        Row {
            spans: Vec::new(),
            room: width,
        }
    }

    /// Adds text in this many columns, and a space.
    pub fn cell(&mut self, columns: usize, text: &str, style: Style) {
        let text = fit(text, columns.min(self.room));
        let padding = columns - columns_of(&text);
        self.push(text, style);
        self.space(padding + 1);
    }

    /// The same, with the text on the right side.
    pub fn cell_right(&mut self, columns: usize, text: &str, style: Style) {
        let text = fit(text, columns.min(self.room));
        self.space(columns - columns_of(&text));
        self.push(text, style);
        self.space(1);
    }

    /// Adds text in the columns that are left.
    pub fn rest(&mut self, text: &str, style: Style) {
        self.push(fit(text, self.room), style);
    }

    fn space(&mut self, columns: usize) {
        self.push(" ".repeat(columns.min(self.room)), Style::new());
    }

    fn push(&mut self, text: String, style: Style) {
        self.room = self.room.saturating_sub(columns_of(&text));
        self.spans.push(Span::styled(text, style));
    }
}

impl From<Row> for Line<'static> {
    fn from(row: Row) -> Self {
        Line::from(row.spans)
    }
}

/// The text in at most this many columns.
pub fn fit(text: &str, columns: usize) -> String {
    if columns == 0 {
        return String::new();
    }
    let is_joiner = |char: &char| matches!(char, '\u{200d}' | '\u{fe0f}');
    cut_middle(text.chars().filter(|char| !is_joiner(char)), columns)
}
