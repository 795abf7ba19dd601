//! The terminal: taken over, and given back as it was.
//!
//! It is given back at the end, also after a panic, and while the program is suspended.
//! Ctrl+C and Ctrl+Z stay signals, so a key and kill(1) do the same.
//!
//! Stop 10 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, SetTitle};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

// The title on xterm's stack (ctlseqs, "Window manipulation"). Other terminals ignore this.
const SAVE_TITLE: &str = "\x1b[22;0t";
const RESTORE_TITLE: &str = "\x1b[23;0t";

/// The terminal while the program has it. Dropping this gives it back.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<BufWriter<File>>>,
    modes: Arc<Modes>,
    title: String,
}

impl Screen {
    /// Takes the terminal that is open as `file`.
    pub fn enter(file: File) -> io::Result<Screen> {
        let modes = Arc::new(Modes::of(&file)?);
        let backend = CrosstermBackend::new(BufWriter::new(file));
        let screen = Screen {
            terminal: Terminal::new(backend)?,
            modes: Arc::clone(&modes),
            title: String::new(),
        };
        // The message of a panic shall not vanish with the screen.
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            modes.leave();
            print(panic);
        }));
        screen.modes.enter()?;
        Ok(screen)
    }

    /// Takes the terminal again, after the program was suspended.
    pub fn resume(&mut self) -> io::Result<()> {
        self.modes.enter()?;
        self.title.clear();
        self.terminal.clear()
    }

    /// Gives the terminal back until [`Screen::resume`].
    pub fn suspend(&mut self) {
        self.modes.leave();
    }

    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
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

    fn enter(&self) -> io::Result<()> {
        let mut raw = self.before.clone();
        raw.make_raw();
        raw.local_modes |= LocalModes::ISIG;
        tcsetattr(&self.file, OptionalActions::Now, &raw)?;
        let mut file = &self.file;
        if !self.is_entered.swap(true, Ordering::SeqCst) {
            file.write_all(SAVE_TITLE.as_bytes())?;
        }
        execute!(file, EnterAlternateScreen, Hide)
    }

    /// Errors do not matter: the terminal may be gone.
    fn leave(&self) {
        if self.is_entered.swap(false, Ordering::SeqCst) {
            let mut file = &self.file;
            let _ = execute!(file, LeaveAlternateScreen, Show);
            let _ = file.write_all(RESTORE_TITLE.as_bytes());
            let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
        }
    }
}
