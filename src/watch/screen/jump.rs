//! Goes to the terminal of a session: by which command, from the terminal of this screen.
//!
//! A program that shows both terminals is told to show the other one. From outside of a
//! multiplexer, its own client runs here, and has the terminal as long as it runs.
//!
//! What a session's environment says is passed as arguments, never as a part of a shell's text.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;
use std::mem::discriminant;
use std::os::fd::AsFd;
use std::process::{self, Command};
use std::time::{Duration, Instant};

use crate::cli::WatchOptions;
use crate::hooks::quote_text;
use crate::watch::client_files::{Panes, Place, Terminal};
use crate::watch::session::client::Status;
use crate::watch::session::{Session, State};
use crate::watch::{command, source, table};

/// The time that a command has. The server that it talks to can be stopped.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What the user wants Enter to do.
pub struct Jump {
    /// The command that replaces all this.
    command: Option<String>,
    /// Whether the sessions are of now. In a record they are not: nothing is read for them.
    is_live: bool,
}

/// How to get to a terminal.
enum Way {
    /// A command that goes there at once.
    Switch(Vec<String>),
    /// A command that shows it here as long as it runs.
    Attach(Vec<String>),
}

impl Jump {
    pub fn new(options: &WatchOptions) -> Jump {
        Jump {
            command: options.jump.clone(),
            is_live: source::is_live(&options.source),
        }
    }

    /// Goes to the terminal of a session at once, or returns a command that is to have the terminal
    /// of the screen as long as it runs. The error says where the session is, and how to get there.
    pub fn go(&self, session: &Session) -> Result<Option<Command>, String> {
        match &self.command {
            Some(text) => {
                let command = self.custom(text, session).map(Some);
                command.map_err(|error| format!("The command of --jump cannot run: {error}"))
            }
            None if !self.is_live => Err("This is a record: its sessions are not of now.".into()),
            None => go_to(session),
        }
    }

    /// The user's command, with the session on its stdin.
    fn custom(&self, text: &str, session: &Session) -> io::Result<Command> {
        let details = self
            .is_live
            .then(|| Place::of(session).read(&mut Panes::new()));
        let json = table::json(session, &details.unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", text]).stdin(command::input(&json)?);
        Ok(shell)
    }
}

fn go_to(session: &Session) -> Result<Option<Command>, String> {
    let mut panes = Panes::with_patience();
    let target = &find(session, &mut panes)?;
    let own = Terminal::find(process::id(), None, &mut panes);
    if own.as_ref() == Some(target) {
        return Err(
            "The session runs in the terminal of this view, suspended or in the background.\n\
             Quit the view, and continue it with fg."
                .into(),
        );
    }
    leave_mode(target);
    let own = own.as_ref();
    let is_elsewhere = own.is_some_and(|own| discriminant(own) == discriminant(target));
    match way(own, target)? {
        Way::Switch(words) => run(&words).map(|_| None),
        Way::Attach(words) if is_elsewhere => Err(format!(
            "The session is in another server or session of {name}.\n\
             In a terminal outside of {name}, this command shows it:\n\n{}",
            shell_text(&words),
            name = words[0],
        )),
        Way::Attach(words) => attach(&words).map(Some),
    }
}

/// The terminal that shows a session.
fn find(session: &Session, panes: &mut Panes) -> Result<Terminal, String> {
    let Some(client) = session.client() else {
        if session.state() >= State::Ended {
            return Err("The session has ended. y copies the command that resumes it.".into());
        }
        return Err(
            "It is not known where this session runs: Claude Code has no session file \
             of it here. It may run on another machine or in a container."
                .into(),
        );
    };
    let pid = client.pid;
    if client.status == Some(Status::Ended) {
        return Err(format!(
            "The session's process, {pid}, has ended. y copies the command that resumes it."
        ));
    }
    Terminal::find(pid, client.tmux.as_deref(), panes).ok_or_else(|| {
        format!(
            "The session's process, {pid}, is in no pane or window that can be shown: it runs \
             in none of tmux, GNU screen, Zellij, WezTerm and a kitty with listen_on. Or its pane \
             is closed, or its tmux does not answer."
        )
    })
}

fn way(own: Option<&Terminal>, target: &Terminal) -> Result<Way, String> {
    use Terminal::{Kitty, Screen, Tmux, WezTerm, Zellij};
    use Way::{Attach, Switch};
    let (host, place) = parts(target);
    // The own place, if the same server or session shows it.
    let own = own.map(parts).filter(|own| own.0 == host);
    Ok(match (target, own) {
        (Tmux { .. }, Some((_, own))) => {
            let client = client_of(host, own)?;
            let values = [host, &client, place];
            Switch(words("tmux -S {} switch-client -c {} -t {}", &values))
        }
        (Tmux { .. }, None) => Attach(words("tmux -S {} attach-session -t {}", &[host, place])),
        (Screen { .. }, Some(_)) => {
            let values = [host, place, place];
            Switch(words("screen -S {} -p {} -X select {}", &values))
        }
        (Screen { .. }, None) => Attach(words("screen -x {} -p {}", &[host, place])),
        (Zellij { .. }, Some(_)) => {
            let values = [host, place];
            Switch(words(
                "zellij --session {} action focus-pane-id {}",
                &values,
            ))
        }
        // No option of it names a pane.
        (Zellij { .. }, None) => Attach(words("zellij attach {}", &[host])),
        (Kitty { .. }, _) => {
            let values = [host, place];
            Switch(words("kitty @ --to {} focus-window --match id:{}", &values))
        }
        (WezTerm { .. }, _) => {
            let template = "env WEZTERM_UNIX_SOCKET={} wezterm cli activate-pane --pane-id {}";
            Switch(words(template, &[host, place]))
        }
    })
}

/// The server or the session that shows a terminal, and the pane or the window in it.
fn parts(terminal: &Terminal) -> (&str, &str) {
    use Terminal::{Kitty, Screen, Tmux, WezTerm, Zellij};
    match terminal {
        Tmux { server, pane } | WezTerm { server, pane } => (server, pane),
        Kitty { server, window } => (server, window),
        Zellij { session, pane } => (session, pane),
        Screen { session, window } => (session, window),
    }
}

/// The client that shows a pane of tmux. Of several, it is the one that had the last key. Without
/// `-c`, `switch-client` would take another session's client if this one's has none.
fn client_of(server: &str, pane: &str) -> Result<String, String> {
    let format = "#{?session_attached,#{client_name},}";
    let show = words(
        "tmux -S {} display-message -p -t {} {}",
        &[server, pane, format],
    );
    match run(&show)? {
        client if client.is_empty() => Err("No client of tmux shows this view.".into()),
        client => Ok(client),
    }
}

/// Ends the copy mode of a pane, which would take the user's answer for its own keys.
fn leave_mode(target: &Terminal) {
    if let Terminal::Tmux { server, pane } = target {
        // It fails before tmux 3.2.
        let _ = run(&words("tmux -S {} copy-mode -q -t {}", &[server, pane]));
    }
}

/// The words of a command. Each `{}` stands for the next value, whatever that contains.
fn words(template: &str, values: &[&str]) -> Vec<String> {
    let mut values = values.iter();
    let fill = |word: &str| match word.split_once("{}") {
        Some((before, _)) => before.to_owned() + values.next().unwrap_or(&""),
        None => word.to_owned(),
    };
    template.split(' ').map(fill).collect()
}

/// Words as a shell reads them.
fn shell_text(words: &[String]) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./@%:=".contains(char);
    let quote = |word: &String| match word.chars().all(is_plain) {
        true => word.clone(),
        false => quote_text(word),
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

/// A command that shows a terminal here. Its stdin is the terminal of stdout: that of this program
/// may be a record, and tmux refuses `/dev/tty`. This program may have inherited the variables of a
/// multiplexer that does not show it: by them, GNU screen and Zellij would believe that it does.
fn attach(words: &[String]) -> Result<Command, String> {
    let terminal = io::stdout().as_fd().try_clone_to_owned();
    let terminal = terminal.map_err(|error| format!("The terminal cannot be used: {error}"))?;
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(terminal);
    command.env_remove("STY").env_remove("ZELLIJ");
    Ok(command)
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
