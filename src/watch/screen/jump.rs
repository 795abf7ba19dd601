//! Goes to the terminal of a session: by which command, from the terminal of this screen.
//!
//! A program that shows both terminals is told to show the other one. From outside of a
//! multiplexer, its own client runs here, and has the terminal as long as it runs.
//!
//! What a session's environment says is passed as arguments, never as a part of a shell's text.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use crate::hooks::quote_text;
use crate::watch::client_files::{Panes, Terminal};
use crate::watch::command;
use crate::watch::session::Session;
use crate::watch::session::client::Status;

/// The time that a command has. The server that it talks to can be stopped.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Goes to the terminal of a session. The error tells the user where that is, and how to get there.
pub fn go(session: &Session) -> Result<(), String> {
    let mut panes = Panes::new();
    let target = find(session, &mut panes)?;
    let own = Terminal::find(process::id(), None, &mut panes);
    if own.as_ref() == Some(&target) {
        return Err(
            "The session runs in the terminal of this view, suspended or in the background.\n\
             Quit the view, and continue it with fg."
                .into(),
        );
    }
    let switch = switch(own.as_ref(), &target)?;
    match switch {
        Some(words) => run(&words).map(drop),
        None => Err(describe(&target)),
    }
}

/// The terminal that shows a session.
fn find(session: &Session, panes: &mut Panes) -> Result<Terminal, String> {
    let Some(client) = session.client() else {
        return Err(
            "It is not known where this session runs: Claude Code has no session file \
             of it here. It may run on another machine or in a container."
                .into(),
        );
    };
    let pid = client.pid;
    if client.status == Some(Status::Ended) {
        return Err(format!("The session's process, {pid}, has ended."));
    }
    Terminal::find(pid, client.tmux.as_deref(), panes).ok_or_else(|| {
        format!(
            "The session's process, {pid}, is in no pane or window that can be shown: it runs \
             outside of tmux, GNU screen, Zellij, kitty and WezTerm, or its pane is closed."
        )
    })
}

/// The command that goes from one terminal to the other at once. `None`: there is none.
fn switch(own: Option<&Terminal>, target: &Terminal) -> Result<Option<Vec<String>>, String> {
    use Terminal::{Kitty, Screen, Tmux, WezTerm, Zellij};
    Ok(Some(match (own, target) {
        (
            Some(Tmux {
                server: here,
                pane: own,
            }),
            Tmux { server, pane },
        ) if here == server => {
            let client = client_of(server, own)?;
            words(&[
                "tmux",
                "-S",
                server,
                "switch-client",
                "-c",
                &client,
                "-t",
                pane,
            ])
        }
        (Some(Screen { session: here, .. }), Screen { session, window }) if here == session => {
            words(&[
                "screen", "-S", session, "-p", window, "-X", "select", window,
            ])
        }
        (Some(Zellij { session: here, .. }), Zellij { session, pane }) if here == session => {
            words(&[
                "zellij",
                "--session",
                session,
                "action",
                "focus-pane-id",
                pane,
            ])
        }
        (_, Kitty { server, window }) => {
            let window = format!("id:{window}");
            words(&[
                "kitty",
                "@",
                "--to",
                server,
                "focus-window",
                "--match",
                &window,
            ])
        }
        (_, WezTerm { server, pane }) => {
            let socket = format!("WEZTERM_UNIX_SOCKET={server}");
            words(&[
                "env",
                &socket,
                "wezterm",
                "cli",
                "activate-pane",
                "--pane-id",
                pane,
            ])
        }
        _ => return Ok(None),
    }))
}

/// The client that shows a pane of tmux. Of several, it is the one that had the last key. Without
/// `-c`, `switch-client` would take another session's client if this one's has none.
fn client_of(server: &str, pane: &str) -> Result<String, String> {
    let format = "#{?session_attached,#{client_name},}";
    let show = [
        "tmux",
        "-S",
        server,
        "display-message",
        "-p",
        "-t",
        pane,
        format,
    ];
    match run(&words(&show))? {
        client if client.is_empty() => Err("No client of tmux shows this view.".into()),
        client => Ok(client),
    }
}

/// Where a session is, and the command that shows it in a terminal outside of multiplexers.
fn describe(target: &Terminal) -> String {
    let (place, command) = match target {
        Terminal::Tmux { server, pane } => (
            format!("pane {pane} of another server of tmux"),
            words(&["tmux", "-S", server, "attach-session", "-t", pane]),
        ),
        Terminal::Screen { session, window } => (
            format!("window {window} of another session of GNU screen"),
            words(&["screen", "-x", session, "-p", window]),
        ),
        Terminal::Zellij { session, pane } => (
            format!("pane {pane} of another session of Zellij"),
            words(&["zellij", "attach", session]),
        ),
        Terminal::Kitty { .. } | Terminal::WezTerm { .. } => return String::new(),
    };
    format!(
        "The session is in {place}. Outside of this one:\n\n{}",
        shell_text(&command)
    )
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Words as a shell reads them.
fn shell_text(words: &[String]) -> String {
    let is_plain = |word: &str| {
        word.chars()
            .all(|char| char.is_ascii_alphanumeric() || "-_./@%:".contains(char))
    };
    let quoted: Vec<String> = words
        .iter()
        .map(|word| {
            if is_plain(word) {
                word.clone()
            } else {
                quote_text(word)
            }
        })
        .collect();
    quoted.join(" ")
}

/// Runs a command. Returns what it prints.
fn run(words: &[String]) -> Result<String, String> {
    let mut command = Command::new(&words[0]);
    let output = command::output(command.args(&words[1..]), "", Instant::now() + TIMEOUT);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(text(&output.stdout)),
        Ok(output) => format!("{}\n{}", output.status, text(&output.stderr)),
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            format!("It did not end in {} seconds.", TIMEOUT.as_secs())
        }
        Err(error) => error.to_string(),
    };
    Err(format!(
        "This command failed:\n\n{}\n\n{reason}",
        shell_text(words)
    ))
}
