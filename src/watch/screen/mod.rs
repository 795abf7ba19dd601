//! The full-screen view.
//!
//! - `app` is the state, with `history`: the events as lines. `keys` changes it.
//! - `draw` makes the screen from it, with `table`, `events`, `list` and `page`.
//! - `terminal` takes the terminal, and gives it back.
//! - `inputs`: the threads that wait for keys and for signals. Those that wait for the source and for
//!   the client's files are in `watch/inputs.rs`.
//! - This file is the loop, and says how often the screen is redrawn at most.
//!
//! The server's loop waits for descriptors, since it has any number of them and must not block.
//! This one waits for a channel: there are always four inputs, and each may block its thread.
//!
//! Stop 17 of EDU_NOTES.md.

mod app;
mod draw;
mod events;
mod history;
mod inputs;
mod keys;
mod list;
mod page;
mod table;
mod terminal;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::ops::ControlFlow::{self, Break, Continue};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use rustix::process::{Signal, getpid, kill_process};

use self::app::{App, ScreenLook};
use self::inputs::{Inputs, UserInput};
use self::terminal::Screen;
use super::alerts::Alerts;
use super::clock::now;
use super::inputs::Message;
use crate::cli::WatchOptions;
use crate::terminal::supports_colours;

/// The time between two redraws: 20 a second.
const FRAME: Duration = Duration::from_millis(50);

/// Shows the screen until the user quits. The error is for the user.
pub fn run(options: &WatchOptions, alerts: Option<Alerts>) -> Result<(), String> {
    let explain = |error: io::Error| format!("cannot use the terminal: {error}");
    let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(explain)?;
    let screen = Screen::enter(File::from(stdout)).map_err(explain)?;
    let mut inputs = inputs::start(&options.source).map_err(explain)?;
    let look = ScreenLook {
        has_colours: supports_colours(&io::stdout()),
        zone: TimeZone::system(),
    };
    let size = screen.size().map_err(explain)?;
    let app = App::new(options.filter.clone(), look, size);
    let mut watch = Watch {
        app,
        screen,
        alerts,
        is_live: false,
        is_changed: true,
        result: Ok(()),
    };
    let drawn = watch.run(&mut inputs);
    watch.result.and(drawn.map_err(explain))
}

struct Watch {
    app: App,
    screen: Screen,
    alerts: Option<Alerts>,
    /// Whether the past events have been read.
    is_live: bool,
    /// Whether the screen shows an old state.
    is_changed: bool,
    result: Result<(), String>,
}

impl Watch {
    /// Runs until the user quits, or the terminal fails.
    fn run(&mut self, inputs: &mut Inputs) -> io::Result<()> {
        let mut drawn: Option<Instant> = None;
        loop {
            let frame = drawn.map(|drawn| drawn + FRAME);
            if self.is_changed && frame.is_none_or(|frame| frame <= Instant::now()) {
                self.draw()?;
                drawn = Some(Instant::now());
                continue;
            }
            let due = if self.is_changed {
                frame
            } else {
                self.next_change()
            };
            let now = Instant::now();
            let look = self
                .alerts
                .as_ref()
                .and_then(|alerts| alerts.next_look(now));
            let next = due.into_iter().chain(look).min();
            let message = inputs.receive(next.map(|next| next.saturating_duration_since(now)));
            self.is_changed |= message.is_some() || due.is_some_and(|due| due <= Instant::now());
            if let Some(message) = message
                && self.take(message, inputs)?.is_break()
            {
                return Ok(());
            }
            self.raise_alerts();
        }
    }

    fn raise_alerts(&mut self) {
        let now = Instant::now();
        if let Some(alerts) = &mut self.alerts {
            self.app.settle(now);
            if let Some(failure) = alerts.look(self.app.sessions(), now).pop() {
                self.app.failure = failure;
                self.is_changed = true;
            }
        }
    }

    fn draw(&mut self) -> io::Result<()> {
        self.app.settle(Instant::now());
        let (app, time) = (&self.app, now());
        self.is_changed = false;
        self.screen
            .draw(&app.title(), |frame| draw::draw(app, time, frame))
    }

    /// When the screen changes by itself.
    fn next_change(&mut self) -> Option<Instant> {
        let settled = self.app.settle(Instant::now());
        let age = self.app.next_change(now());
        let age = age.map(|seconds| Instant::now() + Duration::from_secs(seconds));
        settled.into_iter().chain(age).min()
    }

    /// Takes a message. Breaks at the end.
    fn take(
        &mut self,
        message: Message<UserInput>,
        inputs: &mut Inputs,
    ) -> io::Result<ControlFlow<()>> {
        match message {
            Message::Lines(lines, damaged) => {
                self.app.take_damaged(damaged);
                self.take_lines(&lines, inputs);
            }
            Message::Notice(notice) => self.app.notice = notice,
            Message::NoServer(notice) => {
                self.app.has_no_server = true;
                self.app.notice = notice;
            }
            Message::ClientWords(words) => self.app.take_client_words(words),
            Message::Live(sessions) => {
                self.is_live = true;
                self.app.has_no_server = false;
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
            Message::User(input) => return self.take_user_input(input),
        }
        Ok(Continue(()))
    }

    fn take_user_input(&mut self, input: UserInput) -> io::Result<ControlFlow<()>> {
        match input {
            UserInput::Key(key) => return Ok(self.app.press(key, now())),
            UserInput::NoKeys(error) => {
                self.result = Err(format!("cannot read keys: {error}. Use --lines"));
                return Ok(Break(()));
            }
            UserInput::Quit => return Ok(Break(())),
            UserInput::Suspend => {
                self.screen.suspend();
                kill_process(getpid(), Signal::STOP)?;
            }
            UserInput::Resume => {
                self.screen.resume()?;
                self.app.resize(self.screen.size()?);
            }
            UserInput::Resize => {
                self.screen.resize()?;
                self.app.resize(self.screen.size()?);
            }
        }
        Ok(Continue(()))
    }

    fn take_lines(&mut self, lines: &[u8], inputs: &mut Inputs) {
        let lines = lines.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.is_empty()) {
            if let Some((session, _)) = self.app.take(line, self.is_live.then(Instant::now)) {
                inputs.add_folder_of(session);
            }
        }
    }
}
