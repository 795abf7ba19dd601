//! A question to the user, on the terminal.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// The time between two looks at the terminal.
const INTERVAL: Duration = Duration::from_millis(200);

/// Asks whether to do what `question` says. Any answer but yes is an error.
pub fn confirm(question: &str) -> Result<(), String> {
    match ask(&format!("{question} [y/N] ")) {
        Ok(true) => Ok(()),
        Ok(false) => Err("you did not confirm the change".into()),
        Err(error) => Err(format!(
            "there is no terminal to ask on ({error}). Give --yes to write without a question, or \
             --dry-run to see the change"
        )),
    }
}

/// Asks on the terminal, whatever stdin and stdout are, and returns whether the answer is yes. It
/// fails if there is no terminal.
///
/// A pager that reads stdout changes the terminal's modes when it starts, and then clears the
/// screen. So the question is asked again when they have changed. The pager does not read the
/// terminal before it has something to show.
fn ask(question: &str) -> io::Result<bool> {
    let mut terminal = File::options().read(true).write(true).open("/dev/tty")?;
    let mut answer = String::new();
    let others = loop {
        let others = tcgetattr(&terminal)?;
        let mut own = others.clone();
        own.local_modes |= LocalModes::ICANON | LocalModes::ECHO;
        own.input_modes |= InputModes::ICRNL;
        tcsetattr(&terminal, OptionalActions::Now, &own)?;
        terminal.write_all(question.as_bytes())?;
        if wait(&terminal, &own)? {
            break others;
        }
        thread::sleep(INTERVAL);
    };
    let read = BufReader::new(&terminal).read_line(&mut answer);
    tcsetattr(&terminal, OptionalActions::Now, &others)?;
    read?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Waits for a line. Returns false when the modes have changed.
fn wait(terminal: &File, modes: &Termios) -> io::Result<bool> {
    let interval = Timespec::try_from(INTERVAL).ok();
    loop {
        let mut terminals = [PollFd::new(terminal, PollFlags::IN)];
        if retry_on_intr(|| poll(&mut terminals, interval.as_ref()))? > 0 {
            return Ok(true);
        }
        if tcgetattr(terminal)?.local_modes != modes.local_modes {
            return Ok(false);
        }
    }
}
