//! What the mouse does.
//!
//! Stop 17 of EDU_NOTES.md.

use ratatui::crossterm::event::{MouseButton, MouseEvent, MouseEventKind};
use ratatui::layout::Position;

use super::app::{App, Focus};
use super::draw::{Picture, Target, page_height};

/// Rows of text by which one step of the wheel scrolls.
const SCROLL: isize = 3;

impl App {
    /// Takes an event of the mouse. The wheel moves as the arrow keys do, in the list under the pointer.
    pub fn point(&mut self, mouse: MouseEvent) {
        let place = Position::new(mouse.column, mouse.row);
        match (mouse.kind, &mut self.page) {
            (MouseEventKind::ScrollDown, Some(page)) => page.scroll(SCROLL, page_height(self.size)),
            (MouseEventKind::ScrollUp, Some(page)) => page.scroll(-SCROLL, page_height(self.size)),
            (MouseEventKind::ScrollDown, None) => self.roll(place, 1),
            (MouseEventKind::ScrollUp, None) => self.roll(place, -1),
            (MouseEventKind::Down(MouseButton::Left), None) => self.click(place),
            _ => {}
        }
    }

    fn roll(&mut self, place: Position, rows: isize) {
        match Picture::of(self).at(place) {
            Target::Session(_) | Target::Folded | Target::Sessions => {
                self.focus_on(Focus::Sessions)
            }
            Target::Entry(_) | Target::Events => self.focus_on(Focus::Events),
            Target::Nothing => return,
        }
        self.select(rows);
    }

    fn click(&mut self, place: Position) {
        match Picture::of(self).at(place) {
            Target::Session(id) => {
                self.focus_on(Focus::Sessions);
                (self.selected, self.entry) = (Some(id), None);
                self.select(0);
            }
            Target::Folded => self.is_unfolded = true,
            Target::Entry(number) => {
                self.focus_on(Focus::Events);
                self.entry = Some(number);
                self.select(0);
            }
            Target::Sessions | Target::Events | Target::Nothing => {}
        }
    }
}
