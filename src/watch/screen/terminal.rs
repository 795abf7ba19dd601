//! The terminal: taken over, and given back as it was.
//!
//! It is given back at the end, also after a panic, and while the program is suspended.
//! Ctrl+C and Ctrl+Z stay signals, so a key and kill(1) do the same.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::clipboard::CopyToClipboard;
use ratatui::crossterm::cursor::{Hide, MoveTo, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::Print;
use ratatui::crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, SetTitle,
};
use ratatui::layout::Rect;
use ratatui::{Frame, Terminal, TerminalOptions, Viewport};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

// The title on xterm's stack (ctlseqs, "Window manipulation"). Other terminals ignore this.
const SAVE_TITLE: &str = "\x1b[22;0t";
const RESTORE_TITLE: &str = "\x1b[23;0t";
// Clicks and the wheel, with coordinates as numbers (ctlseqs, "Mouse Tracking"). crossterm would
// also have the terminal report each move.
const REPORT_MOUSE: &str = "\x1b[?1000h\x1b[?1006h";
const IGNORE_MOUSE: &str = "\x1b[?1006l\x1b[?1000l";

/// Below the last row of any terminal: the cursor stops there.
const LAST_ROW: u16 = 9999;

/// The terminal while the program has it. Dropping this gives it back.
pub struct Screen {
    /// When it is dropped, ratatui shows the cursor again, and panics if the terminal is gone.
    terminal: ManuallyDrop<Terminal<CrosstermBackend<BufWriter<File>>>>,
    modes: Arc<Modes>,
    title: String,
}

impl Screen {
    /// Takes the terminal that is open as `file`.
    pub fn enter(file: File) -> io::Result<Screen> {
        let modes = Arc::new(Modes::of(&file)?);
        // With any other viewport, the size would be that of the controlling terminal.
        let viewport = Viewport::Fixed(modes.size()?);
        let backend = CrosstermBackend::new(BufWriter::new(file));
        let terminal = Terminal::with_options(backend, TerminalOptions { viewport })?;
        let screen = Screen {
            terminal: ManuallyDrop::new(terminal),
            modes,
            title: String::new(),
        };
        leave_on_panic(&screen.modes);
        screen.modes.enter()?;
        Ok(screen)
    }

    /// Takes the terminal again, after the program was suspended.
    pub fn resume(&mut self) -> io::Result<()> {
        self.modes.enter()?;
        self.title.clear();
        self.resize()
    }

    /// Draws all of the terminal again, which can have another size.
    pub fn resize(&mut self) -> io::Result<()> {
        self.terminal.resize(self.modes.size()?)
    }

    /// Gives the terminal back until [`Screen::resume`].
    pub fn suspend(&mut self) {
        self.modes.leave();
    }

    /// Columns and rows.
    pub fn size(&mut self) -> (u16, u16) {
        let Rect { width, height, .. } = self.terminal.get_frame().area();
        (width, height)
    }

    /// Puts a text into the clipboard (OSC 52). Terminals that do not know this, or do not allow it,
    /// ignore it.
    pub fn copy(&mut self, text: &str) -> io::Result<()> {
        let copy = CopyToClipboard::to_clipboard_from(text);
        execute!(self.terminal.backend_mut(), copy)
    }

    /// Draws, and shows this title. While suspended it does nothing.
    pub fn draw(&mut self, title: &str, draw: impl FnOnce(&mut Frame)) -> io::Result<()> {
        if !self.modes.is_entered.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.terminal.draw(draw)?;
        if self.title != title {
            title.clone_into(&mut self.title);
            execute!(self.terminal.backend_mut(), SetTitle(title))?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.modes.leave();
    }
}

/// Gives the terminal back before the message of a panic is printed, which would vanish with
/// the screen.
fn leave_on_panic(modes: &Arc<Modes>) {
    let (modes, print) = (Arc::clone(modes), panic::take_hook());
    panic::set_hook(Box::new(move |panic| {
        modes.leave();
        print(panic);
    }));
}

/// The modes of the terminal: those before, and those of the screen.
struct Modes {
    file: File,
    before: Termios,
    is_entered: AtomicBool,
}

impl Modes {
    fn of(file: &File) -> io::Result<Modes> {
        Ok(Modes {
            before: tcgetattr(file)?,
            file: File::from(file.as_fd().try_clone_to_owned()?),
            is_entered: AtomicBool::new(false),
        })
    }

    fn size(&self) -> io::Result<Rect> {
        let size = tcgetwinsize(&self.file)?;
        Ok(match (size.ws_col, size.ws_row) {
            // The terminal does not know its own size.
            (0, _) | (_, 0) => Rect::new(0, 0, 80, 24),
            (width, height) => Rect::new(0, 0, width, height),
        })
    }

    fn enter(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        raw.local_modes |= LocalModes::ISIG;
        tcsetattr(&self.file, OptionalActions::Now, &raw)?;
        let mut file = &self.file;
        if !self.is_entered.swap(true, Ordering::SeqCst) {
            file.write_all(SAVE_TITLE.as_bytes())?;
        }
        // Where there is no alternate screen (GNU screen by default), the old text is in the way.
        execute!(file, EnterAlternateScreen, Clear(ClearType::All), Hide)?;
        file.write_all(REPORT_MOUSE.as_bytes())
    }

    /// Errors do not matter: the terminal may be gone.
    fn leave(&self) {
        if self.is_entered.swap(false, Ordering::SeqCst) {
            let mut file = &self.file;
            let _ = file.write_all(IGNORE_MOUSE.as_bytes());
            // Without an alternate screen, what follows comes below the picture.
            let _ = execute!(file, MoveTo(0, LAST_ROW), Print("\r\n"));
            let _ = execute!(file, LeaveAlternateScreen, Show);
            let _ = file.write_all(RESTORE_TITLE.as_bytes());
            let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read;

    /// Both sides of a terminal.
    fn pty() -> (File, File) {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = File::options()
            .read(true)
            .write(true)
            .open(name.to_str().unwrap());
        (File::from(master), slave.unwrap())
    }

    #[test]
    fn a_panic_gives_the_terminal_back() {
        let (mut master, slave) = pty();
        let modes = |slave| format!("{:?}", tcgetattr(slave).unwrap());
        let before = modes(&slave);
        let screen = Arc::new(Modes::of(&slave).unwrap());
        screen.enter().unwrap();
        assert_ne!(modes(&slave), before);
        leave_on_panic(&screen);
        let _ = panic::catch_unwind(|| panic!("as a test"));
        assert_eq!(modes(&slave), before);
        let mut written = [0; 1000];
        let count = master.read(&mut written).unwrap();
        let written = String::from_utf8_lossy(&written[..count]);
        assert_eq!(
            written,
            format!(
                "{SAVE_TITLE}\x1b[?1049h\x1b[2J\x1b[?25l{REPORT_MOUSE}\
                 {IGNORE_MOUSE}\x1b[10000;1H\r\n\x1b[?1049l\x1b[?25h{RESTORE_TITLE}"
            )
        );
        // Leaving again changes nothing.
        screen.leave();
    }
}
