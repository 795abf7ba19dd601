//! A notification: the bell, and the one escape sequence that the terminal knows.
//!
//! There are three sequences, and many terminals know more than one. With two of them they would
//! notify twice.
//!
//! | sequence | chosen for |
//! | --- | --- |
//! | OSC 9 | iTerm2, where it is from |
//! | OSC 99 | kitty, where it is from |
//! | OSC 777 | all others: rxvt, foot, Ghostty, WezTerm, Konsole, Windows Terminal and more know it |
//! | none | Alacritty, Apple's Terminal, VS Code and the Linux console, which know none. tmux and GNU screen, which pass on the bell only |
//!
//! No terminal can be asked, so its name in the environment decides.
//!
//! Stop 17 of EDU_NOTES.md.

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;

use crate::format::summary;
use crate::watch::session::Session;
use crate::watch::session::parts::Question;

/// Bytes of the title, and of the text. kitty takes 2,048 bytes for both.
const MAX_LENGTH: usize = 200;

/// The terminal, and what it knows.
pub struct Notifier {
    terminal: File,
    sequence: Option<Sequence>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Sequence {
    Osc9,
    Osc99,
    Osc777,
}

impl Notifier {
    /// For the terminal on stdout, or else on stderr. The error is for the user.
    pub fn new() -> Result<Notifier, String> {
        let (stdout, stderr) = (io::stdout(), io::stderr());
        let fd = match (stdout.is_terminal(), stderr.is_terminal()) {
            (true, _) => stdout.as_fd().try_clone_to_owned(),
            (_, true) => stderr.as_fd().try_clone_to_owned(),
            _ => {
                return Err("--notify needs a terminal: neither stdout nor stderr is one".into());
            }
        };
        let terminal = fd.map_err(|error| format!("cannot use the terminal: {error}"))?;
        Ok(Notifier {
            terminal: File::from(terminal),
            sequence: Sequence::of(|name| env::var(name).unwrap_or_default()),
        })
    }

    /// Notifies the user of a question. The error is for the user.
    pub fn notify(&mut self, session: &Session, question: Option<&Question>) -> Result<(), String> {
        let title = format!("{} waits", summary::project(&session.cwd));
        let text = question.map_or_else(|| session.detail(), |own| session.describe(own));
        let notification = notification(self.sequence, &title, &text);
        let written = self.terminal.write_all(notification.as_bytes());
        written.map_err(|error| format!("cannot notify: {error}"))
    }
}

fn notification(sequence: Option<Sequence>, title: &str, text: &str) -> String {
    // A semicolon would end the title.
    let plain = |text: &str| summary::short(text.replace(';', ",").chars(), MAX_LENGTH);
    let (title, text) = (plain(title), plain(text));
    match sequence {
        Some(Sequence::Osc9) => format!("\x07\x1b]9;{title}: {text}\x07"),
        Some(Sequence::Osc99) => format!("\x07\x1b]99;;{title}: {text}\x1b\\"),
        Some(Sequence::Osc777) => format!("\x07\x1b]777;notify;{title};{text}\x07"),
        None => "\x07".into(),
    }
}

impl Sequence {
    /// The sequence that the terminal knows, by the variables that it sets. A terminal that was
    /// started from another one inherits the variables of that, but never its `TERM`.
    fn of(variable: impl Fn(&str) -> String) -> Option<Sequence> {
        const WITHOUT: [&str; 5] = ["alacritty", "linux", "dumb", "tmux", "screen"];
        let (term, program) = (variable("TERM"), variable("TERM_PROGRAM"));
        let is_set = |name: &str| !variable(name).is_empty();
        if term == "xterm-kitty" {
            return Some(Sequence::Osc99);
        }
        if WITHOUT.iter().any(|name| term.starts_with(name)) {
            return None;
        }
        // Inside of them, a user can set another TERM.
        if term.starts_with("xterm") && (is_set("TMUX") || is_set("STY")) {
            return None;
        }
        match &*program {
            "Apple_Terminal" | "vscode" => None,
            "iTerm.app" => Some(Sequence::Osc9),
            // ssh passes this one on.
            _ if variable("LC_TERMINAL") == "iTerm2" => Some(Sequence::Osc9),
            _ if term.starts_with("xterm") && is_set("KITTY_WINDOW_ID") => Some(Sequence::Osc99),
            _ => Some(Sequence::Osc777),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_tells_which_sequence_the_terminal_knows() {
        let of = |variables: &[(&str, &str)]| {
            let found = |name: &str| variables.iter().find(|(own, _)| *own == name);
            Sequence::of(|name| found(name).map_or(String::new(), |(_, value)| (*value).into()))
        };
        let xterm = ("TERM", "xterm-256color");
        let kitty = ("KITTY_WINDOW_ID", "1");
        for (variables, expected) in [
            (&[][..], Some(Sequence::Osc777)),
            (&[xterm], Some(Sequence::Osc777)),
            (&[("TERM", "foot"), kitty], Some(Sequence::Osc777)),
            (
                &[("TERM", "foot"), ("TMUX", "/tmp/t,1,0")],
                Some(Sequence::Osc777),
            ),
            (&[("TERM", "xterm-kitty")], Some(Sequence::Osc99)),
            (
                &[("TERM", "xterm-kitty"), ("TMUX", "/tmp/t,1,0")],
                Some(Sequence::Osc99),
            ),
            (&[xterm, kitty], Some(Sequence::Osc99)),
            (
                &[xterm, ("TERM_PROGRAM", "iTerm.app")],
                Some(Sequence::Osc9),
            ),
            (&[xterm, ("LC_TERMINAL", "iTerm2")], Some(Sequence::Osc9)),
            (&[xterm, ("TERM_PROGRAM", "vscode")], None),
            (&[xterm, ("TERM_PROGRAM", "Apple_Terminal")], None),
            (&[("TERM", "alacritty")], None),
            (&[("TERM", "linux")], None),
            (&[("TERM", "dumb")], None),
            (&[("TERM", "tmux-256color"), kitty], None),
            (&[("TERM", "screen.xterm-256color"), kitty], None),
            (&[xterm, kitty, ("TMUX", "/tmp/t,1,0")], None),
            (&[xterm, ("STY", "1.pts-0")], None),
        ] {
            assert_eq!(of(variables), expected, "{variables:?}");
        }
    }
    #[test]
    fn a_notification_is_short_and_has_nothing_that_a_terminal_would_obey() {
        let osc777 = Some(Sequence::Osc777);
        let hostile = notification(osc777, "a;b\x1b[31m\x07", "c;d\x1b\\\n\u{9b}m");
        let shown = "\x07\x1b]777;notify;a,b\u{fffd}[31m\u{fffd};c,d\u{fffd}\\ \u{fffd}m\x07";
        assert_eq!(hostile, shown);
        let long = notification(Some(Sequence::Osc99), &"x".repeat(300), &"y".repeat(300));
        assert!(long.len() < 2048 / 4 && long.contains("xx…: yy"), "{long}");
    }
}
