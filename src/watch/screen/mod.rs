//! The full-screen view.
//!
//! - `app` is the state, with `history`: the events as lines, and `marks`. `keys` and `mouse`
//!   change it.
//! - `draw` makes the screen from it, with `table`, `events`, `list` and `page`.
//! - `details` says when to read what the events do not tell.
//! - `jump` goes to the terminal of a session. `guest` is a program that shows it here.
//! - `terminal` takes the terminal, and gives it back.
//! - `inputs`: the threads that wait for keys and for signals, and the one that reads the details.
//!   Those that wait for the source and for the client's files are in `watch/inputs.rs`.
//! - This file is the loop, and says how often the screen is redrawn at most.
//!
//! The server's loop waits for descriptors, since it has any number of them and must not block.
//! This one waits for a channel: there are always five inputs, and each may block its thread.
//!
//! Stop 17 of EDU_NOTES.md.

mod app;
mod details;
mod draw;
mod events;
mod guest;
mod history;
mod inputs;
mod jump;
mod keys;
mod list;
mod marks;
mod mouse;
mod page;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::process::{Signal, getpid, kill_process};

use self::app::{App, ScreenLook};
use self::details::Readings;
use self::draw::Picture;
use self::guest::{Change, Guest};
use self::inputs::{Inputs, ScreenInput};
use self::jump::Jump;
use self::page::Page;
use self::terminal::Screen;
use super::alerts::Alerts;
use super::clock::now;
use super::inputs::Message;
use crate::cli::WatchOptions;
use crate::terminal::{supports_colours, supports_unicode};
use crate::watch::source;

/// The time between two redraws: 20 a second.
const FRAME: Duration = Duration::from_millis(50);
/// After fewer bytes of lines than this, the loop rests until the next frame.
const SMALL: usize = 32 << 10;

/// Shows the screen until the user quits. The error is for the user.
pub fn run(options: &WatchOptions, alerts: Option<Alerts>) -> Result<(), String> {
    let explain = |error: io::Error| format!("cannot use the terminal: {error}");
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(explain)?;
    let mut screen = Screen::enter(File::from(stdout)).map_err(explain)?;
    let mut inputs = Inputs::start(&options.source).map_err(explain)?;
    let look = ScreenLook {
        has_colours: supports_colours(&io::stdout()),
        is_ascii: !supports_unicode(),
        zone: TimeZone::system(),
    };
    let mut app = App::new(options.filter.clone(), look, screen.size());
    app.now = now();
    app.setup = source::setup(&options.source);
    let mut watch = Watch {
        app,
        jump: Jump::new(options),
        guest: None,
        screen,
        alerts,
        readings: source::is_live(&options.source).then(Readings::default),
        is_changed: true,
        result: Ok(()),
    };
    let drawn = watch.run(&mut inputs);
    watch.result.and(drawn.map_err(explain))
}

struct Watch {
    app: App,
    jump: Jump,
    /// The program that has the terminal instead of the screen.
    guest: Option<Guest>,
    screen: Screen,
    alerts: Option<Alerts>,
    /// The readings of details. From a record nothing is read.
    readings: Option<Readings>,
    /// Whether the screen shows an old state.
    is_changed: bool,
    result: Result<(), String>,
}

impl Watch {
    /// Runs until the user quits, or the terminal fails.
    fn run(&mut self, inputs: &mut Inputs) -> io::Result<()> {
        let mut frame = Instant::now();
        loop {
            self.app.now = now();
            if self.is_changed && frame <= Instant::now() {
                self.draw()?;
                frame = Instant::now() + FRAME;
                continue;
            }
            let due = match self.guest {
                Some(_) => None,
                None if self.is_changed => Some(frame),
                None => self.next_change(inputs),
            };
            let message = self.receive(due, inputs);
            self.app.now = now();
            self.is_changed |= message.is_some() || due.is_some_and(|due| due <= Instant::now());
            let is_small =
                matches!(&message, Some(Message::Lines(lines, _)) if lines.len() < SMALL);
            if let Some(message) = message
                && self.take(message, inputs)?.is_break()
            {
                return Ok(());
            }
            self.raise_alerts();
            if is_small {
                // What comes meanwhile is one batch. Otherwise each event would wake two threads.
                thread::sleep(frame.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// Waits for a message, until something is due, here or of the alerts.
    fn receive(&self, due: Option<Instant>, inputs: &Inputs) -> Option<Message<ScreenInput>> {
        let look = self.alerts.as_ref().and_then(Alerts::next_look);
        let next = due.into_iter().chain(look).min();
        let wait = next.map(|next| next.saturating_duration_since(Instant::now()));
        inputs.common.receive(wait)
    }

    fn raise_alerts(&mut self) {
        let now = Instant::now();
        if let Some(alerts) = &mut self.alerts
            && let Some(failure) = alerts.look(self.app.sessions(), now).pop()
        {
            self.app.answer = failure;
            self.is_changed = true;
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        self.app.settle(Instant::now());
        self.app.refresh();
        let app = &self.app;
        self.is_changed = false;
        self.screen
            .draw(&app.title(), |frame| draw::draw(app, frame.buffer_mut()))
    }

    /// When the screen changes by itself.
    fn next_change(&mut self, inputs: &Inputs) -> Option<Instant> {
        let settled = self.app.settle(Instant::now());
        let age = self.app.next_change();
        let age = age.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        let read = self.read_details(inputs);
        [settled, age, read].into_iter().flatten().min()
    }

    /// Reads what is due of the sessions on the screen. Returns when something is due next.
    fn read_details(&mut self, inputs: &Inputs) -> Option<Instant> {
        let picture = Picture::of(&self.app);
        let readings = self.readings.as_mut()?;
        let (requests, next) = readings.begin(picture.visible_sessions(), Instant::now());
        if !requests.is_empty() {
            inputs.read_details(requests);
        }
        next
    }

    /// Takes a message. Breaks at the end.
    fn take(
        &mut self,
        message: Message<ScreenInput>,
        inputs: &mut Inputs,
    ) -> io::Result<ControlFlow<()>> {
        match message {
            Message::Lines(lines, damaged) => {
                self.app.take_damaged(damaged);
                self.take_lines(&lines, inputs);
            }
            Message::Notice(notice) => self.app.notice = notice,
            Message::NoServer(notice) => self.app.lose_server(notice),
            Message::ClientWords(words) => self.app.take_client_words(words),
            Message::Live(sessions) => {
                self.app.connect();
                for session in sessions {
                    self.app.take_listed(&session);
                }
            }
            Message::SourceEnded(Ok(())) => self.app.notice = "the source has ended".into(),
            Message::SourceEnded(Err(error)) => {
                self.result = Err(error);
                return Ok(Break(()));
            }
            Message::Ready => {
                if let Some(alerts) = &mut self.alerts {
                    alerts.begin();
                }
            }
            Message::Other(input) => return self.take_input(input, inputs),
        }
        Ok(Continue(()))
    }

    fn take_input(&mut self, input: ScreenInput, inputs: &Inputs) -> io::Result<ControlFlow<()>> {
        match input {
            // The guest has the terminal.
            ScreenInput::Key(_)
            | ScreenInput::Mouse(_)
            | ScreenInput::Resume
            | ScreenInput::Resize
                if self.guest.is_some() => {}
            ScreenInput::ChildChanged => self.look_at_guest(inputs)?,
            ScreenInput::Details(number, details) => self.app.take_details(number, details),
            ScreenInput::Key(key) => {
                let next = self.app.press(key);
                if std::mem::take(&mut self.app.is_jump_wanted) {
                    self.jump(inputs)?;
                }
                if let Some(text) = self.app.copied.take() {
                    self.screen.copy(&text)?;
                }
                return Ok(next);
            }
            ScreenInput::Mouse(mouse) => self.app.point(mouse),
            ScreenInput::NoKeys(error) => {
                self.result = Err(format!("cannot read keys: {error}. Use --lines"));
                return Ok(Break(()));
            }
            ScreenInput::Quit => return Ok(Break(())),
            ScreenInput::Suspend => self.suspend()?,
            ScreenInput::Resume => self.resume()?,
            ScreenInput::Resize => {
                self.screen.resize()?;
                self.app.resize(self.screen.size());
            }
        }
        Ok(Continue(()))
    }

    /// Gives the terminal back, and stops this program until it is continued.
    fn suspend(&mut self) -> io::Result<()> {
        self.screen.suspend();
        Ok(kill_process(getpid(), Signal::STOP)?)
    }

    /// Takes the terminal again. Its size can be another one.
    fn resume(&mut self) -> io::Result<()> {
        self.screen.resume()?;
        self.app.resize(self.screen.size());
        Ok(())
    }

    /// Goes to the terminal of the selected session.
    fn jump(&mut self, inputs: &Inputs) -> io::Result<()> {
        let Some(session) = self.app.selected_session() else {
            return Ok(());
        };
        match self.jump.go(session) {
            Ok(None) => {}
            Ok(Some(command)) => self.lend_terminal(command, inputs)?,
            Err(text) => {
                let title = format!("Terminal of {}", session.name());
                self.app.page = Some(Page::new(title, text, self.app.size));
            }
        }
        Ok(())
    }

    /// Runs a command on the terminal, in place of the screen.
    fn lend_terminal(&mut self, command: Command, inputs: &Inputs) -> io::Result<()> {
        inputs.lend_terminal();
        self.screen.suspend();
        match Guest::start(command) {
            Ok(guest) => self.guest = Some(guest),
            Err(error) => self.take_terminal_back(Err(error), inputs)?,
        }
        Ok(())
    }

    fn look_at_guest(&mut self, inputs: &Inputs) -> io::Result<()> {
        match self.guest.as_mut().map(Guest::change).transpose()? {
            None | Some(Change::None) => Ok(()),
            // A shell that runs both would wait for this program.
            Some(Change::Stopped) => self.suspend(),
            Some(Change::Ended(result)) => {
                self.guest = None;
                self.take_terminal_back(result, inputs)
            }
        }
    }

    /// Shows the screen again, and why the guest has failed, if it has.
    fn take_terminal_back(&mut self, result: io::Result<()>, inputs: &Inputs) -> io::Result<()> {
        self.resume()?;
        inputs.take_terminal_back();
        if let Err(error) = result {
            self.app.answer = format!("cannot go to the session: {error}");
        }
        Ok(())
    }

    fn take_lines(&mut self, lines: &[u8], inputs: &mut Inputs) {
        let lines = lines.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some((session, _)) = self.app.take(line, self.app.is_live.then(Instant::now)) {
                inputs.common.add_folder_of(session);
            }
        }
    }
}
