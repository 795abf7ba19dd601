//! What the loop waits for: besides the source and session files (`watch/inputs.rs`), details of the
//! sessions on the screen, keys and the mouse, and signals, of which one tells of a guest's end.
//!
//! Each blocks in a thread of its own, which sends what it gets to the same channel. They never wait
//! for room.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyEvent, KeyEventKind, MouseEvent};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::termios::ttyname;
use signal_hook::consts::{SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;

use super::details::Request;
use crate::cli::SourceOption;
use crate::watch::client_files::{Details, Panes};
use crate::watch::inputs::{self, Message, spawn};

/// A loop that has not ended for so long after a signal is stuck.
const QUIT_TIME: Duration = Duration::from_secs(1);
/// A signal that has ended the program with the terminal can be seen so long after that end: each of
/// the two is handled by whichever thread the kernel chooses.
const SIGNAL_TIME: Duration = Duration::from_secs(1);
/// How long crossterm may look for a key that has arrived. With no time at all it does not look.
const KEY_TIME: Duration = Duration::from_millis(10);

pub enum ScreenInput {
    /// What was read of the session with this number.
    Details(usize, Details),
    Key(KeyEvent),
    Mouse(MouseEvent),
    /// The terminal is gone, or keys cannot be read.
    NoKeys(io::Error),
    Quit,
    Suspend,
    Resume,
    Resize,
    /// A child has ended, or was stopped.
    ChildChanged,
}

type ScreenSender = Sender<Message<ScreenInput>>;

/// The receiving end.
pub struct Inputs {
    pub common: inputs::Inputs<ScreenInput>,
    /// Takes the sessions of which details are to be read.
    requests: Sender<Vec<Request>>,
    loan: Arc<Loan>,
}

impl Inputs {
    /// Starts the threads. They end with the process.
    pub fn start(source: &SourceOption) -> io::Result<Inputs> {
        let signals = Signals::new([
            SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH, SIGCHLD,
        ])?;
        let common = inputs::Inputs::start(source)?;
        let loan = Arc::<Loan>::default();
        let (own, shared) = (common.sender(), Arc::clone(&loan));
        spawn("signals", move || send_signals(signals, &shared, &own))?;
        let (own, shared) = (common.sender(), Arc::clone(&loan));
        spawn("keys", move || {
            let error = send_keys(&shared, &own);
            // It fails if the program is about to end. The same holds below.
            let _ = own.send(Message::Other(ScreenInput::NoKeys(error)));
        })?;
        let (requests, receiver) = mpsc::channel();
        let own = common.sender();
        spawn("details", move || send_details(&receiver, &own))?;
        Ok(Inputs {
            common,
            requests,
            loan,
        })
    }

    /// Reads the details of these sessions, one after the other.
    pub fn read_details(&self, requests: Vec<Request>) {
        // It fails if the thread has ended, and then nothing is known of them.
        let _ = self.requests.send(requests);
    }

    /// Lends the terminal to another program: until it is taken back, keys are not read, and the
    /// signals of keys are ignored.
    pub fn lend_terminal(&self) {
        self.loan.lock().is_lent = true;
    }

    pub fn take_terminal_back(&self) {
        *self.loan.lock() = LoanState {
            is_lent: false,
            ended_at: Some(Instant::now()),
        };
        self.loan.is_over.notify_one();
    }
}

/// Whether another program has the terminal. The thread of keys holds the lock while it reads.
#[derive(Default)]
struct Loan {
    state: Mutex<LoanState>,
    is_over: Condvar,
}

#[derive(Default)]
struct LoanState {
    is_lent: bool,
    /// When the last loan was over.
    ended_at: Option<Instant>,
}

impl Loan {
    fn lock(&self) -> MutexGuard<'_, LoanState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this program has the terminal. It keeps it as long as the guard is there.
    fn wait(&self) -> MutexGuard<'_, LoanState> {
        let guard = self.is_over.wait_while(self.lock(), |state| state.is_lent);
        guard.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the signal of a key is meant for the other program.
    fn has_signals(&self) -> bool {
        let state = self.lock();
        let is_just_over = |ended_at: Instant| ended_at.elapsed() < SIGNAL_TIME;
        state.is_lent || state.ended_at.is_some_and(is_just_over)
    }
}

fn send_details(requests: &Receiver<Vec<Request>>, sender: &ScreenSender) {
    while let Ok(requests) = requests.recv() {
        let mut panes = Panes::new();
        for (number, place) in requests {
            let details = ScreenInput::Details(number, place.read(&mut panes));
            if sender.send(Message::Other(details)).is_err() {
                return;
            }
        }
    }
}

/// Sends keys until there is an error.
fn send_keys(loan: &Loan, sender: &ScreenSender) -> io::Error {
    let terminal = if io::stdin().is_terminal() {
        io::stdin().as_fd().try_clone_to_owned().map(File::from)
    } else if cfg!(target_os = "linux") {
        File::open("/dev/tty")
    } else {
        // For /dev/tty, poll(2) reports POLLNVAL on macOS.
        own_file(io::stdout())
    };
    let read = |terminal: File| loop {
        // crossterm would try for ever to read from a terminal that is gone.
        let mut fds = [PollFd::new(&terminal, PollFlags::IN)];
        rustix::io::retry_on_intr(|| poll(&mut fds, None))?;
        if fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What has come meanwhile may be read already, by the other program.
        let _reading = loan.wait();
        while event::poll(KEY_TIME)? {
            let input = match event::read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => ScreenInput::Key(key),
                Event::Mouse(mouse) => ScreenInput::Mouse(mouse),
                _ => continue,
            };
            if sender.send(Message::Other(input)).is_err() {
                return Ok(());
            }
        }
    };
    let result: io::Result<()> = terminal.and_then(read);
    result.err().unwrap_or(io::ErrorKind::UnexpectedEof.into())
}

/// Opens a terminal by its own name (ttyname(3)).
fn own_file(terminal: impl AsFd) -> io::Result<File> {
    let name = ttyname(terminal, Vec::new())?;
    File::open(OsStr::from_bytes(name.as_bytes()))
}

fn send_signals(mut signals: Signals, loan: &Loan, sender: &ScreenSender) {
    let mut first: Option<Instant> = None;
    for signal in signals.forever() {
        let input = match signal {
            SIGCHLD => ScreenInput::ChildChanged,
            // The terminal sends them to the program that has it, and to this one.
            SIGINT | SIGQUIT | SIGTSTP if loan.has_signals() => continue,
            SIGTSTP => ScreenInput::Suspend,
            SIGCONT => ScreenInput::Resume,
            SIGWINCH => ScreenInput::Resize,
            _ if first.is_some_and(|first| first.elapsed() > QUIT_TIME) => {
                // The loop is stuck, perhaps in a terminal that takes nothing.
                let _ = emulate_default_handler(signal);
                continue;
            }
            _ => {
                first.get_or_insert_with(Instant::now);
                ScreenInput::Quit
            }
        };
        let _ = sender.send(Message::Other(input));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    /// As on macOS, where the controlling terminal cannot be polled.
    #[test]
    fn a_terminal_is_opened_by_its_own_name() {
        let open = |path| File::options().read(true).write(true).open(path);
        let mut master = open("/dev/ptmx").unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let terminal = open(name.to_str().unwrap()).unwrap();
        let mut opened = own_file(&terminal).unwrap();
        master.write_all(b"keys\n").unwrap();
        let mut keys = [0; 5];
        opened.read_exact(&mut keys).unwrap();
        assert_eq!(&keys, b"keys\n");
        assert!(own_file(File::open("/dev/null").unwrap()).is_err());
    }
}
