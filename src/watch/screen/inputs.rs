//! What the loop waits for besides the source and session files: keys, and signals.
//!
//! Each blocks in a thread of its own, which sends what it gets to the channel of
//! `watch/inputs.rs`. They never wait for room.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind};
use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use crate::cli::SourceOption;
use crate::watch::inputs::{self, Message, spawn};

/// A loop that has not ended for so long after a signal is stuck.
const QUIT_TIME: Duration = Duration::from_secs(1);
/// How long crossterm may look for a key that has arrived. With no time at all it does not look.
const KEY_TIME: Duration = Duration::from_millis(10);

/// What the user does.
pub enum UserInput {
    Key(KeyEvent),
    /// The terminal is gone, or keys cannot be read.
    NoKeys(io::Error),
    Quit,
    Suspend,
    Resume,
    Resize,
}

pub type Inputs = inputs::Inputs<UserInput>;

/// Starts the threads. They end with the process.
pub fn start(source: &SourceOption) -> io::Result<Inputs> {
    let signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH])?;
    let inputs = Inputs::start(source)?;
    let own = inputs.sender();
    spawn("signals", move || send_signals(signals, &own))?;
    let own = inputs.sender();
    spawn("keys", move || {
        let error = send_keys(&own);
        // It fails if the program is about to end. The same holds below.
        let _ = own.send(Message::User(UserInput::NoKeys(error)));
    })?;
    Ok(inputs)
}

/// Sends keys until there is an error.
fn send_keys(sender: &Sender<Message<UserInput>>) -> io::Error {
    let terminal = if io::stdin().is_terminal() {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else {
        File::open("/dev/tty")
    };
    let read = |terminal: File| loop {
        // crossterm would try for ever to read from a terminal that is gone.
        let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while event::poll(KEY_TIME)? {
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
                && sender.send(Message::User(UserInput::Key(key))).is_err()
            {
                return Ok(());
            }
        }
    };
    let result: io::Result<()> = terminal.and_then(read);
    result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())
}

fn send_signals(mut signals: Signals, sender: &Sender<Message<UserInput>>) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        let input = match signal {
            SIGTSTP => UserInput::Suspend,
            SIGCONT => UserInput::Resume,
            SIGWINCH => UserInput::Resize,
            _ if first.is_some_and(|first| first.elapsed() > QUIT_TIME) => {
                // The loop is stuck, perhaps in a terminal that takes nothing.
                let _ = emulate_default_handler(signal);
                continue;
            }
            _ => {
                first.get_or_insert_with(Instant::now);
                UserInput::Quit
            }
        };
        let _ = sender.send(Message::User(input));
    }
}
