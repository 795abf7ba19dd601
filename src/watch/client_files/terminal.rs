//! The terminal in which a session runs: which program shows it, and where.
//!
//! The environment of a process tells. It also holds API keys, so only the variables named here
//! are looked at, and only of processes of this user.
//!
//! Stop 17 of EDU_NOTES.md.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use serde::Serialize;

use crate::watch::command;

/// Bytes of an environment that are read.
const MAX_ENVIRONMENT: u64 = 256 << 10;
/// The time to ask all tmux servers. tmux waits for its server, which can be stopped.
const TIMEOUT: Duration = Duration::from_secs(1);
/// The variables that are looked at.
const VARIABLES: [&str; 10] = [
    "TMUX",
    "TMUX_PANE",
    "ZELLIJ_SESSION_NAME",
    "ZELLIJ_PANE_ID",
    "KITTY_LISTEN_ON",
    "KITTY_WINDOW_ID",
    "WEZTERM_UNIX_SOCKET",
    "WEZTERM_PANE",
    "STY",
    "WINDOW",
];

/// Where a session is shown, as `sessions --json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Terminal {
    /// The socket of the tmux server, and the pane, such as `%3`.
    Tmux {
        server: String,
        pane: String,
    },
    Zellij {
        session: String,
        pane: String,
    },
    /// GNU screen.
    Screen {
        session: String,
        window: String,
    },
    /// The address that kitty listens on, such as `unix:/tmp/kitty`.
    Kitty {
        server: String,
        window: String,
    },
    WezTerm {
        server: String,
        pane: String,
    },
}

impl Terminal {
    /// The terminal of a process of this user. `tmux` is the pane that its session file names.
    pub fn find(pid: u32, tmux: Option<&str>, panes: &mut Panes) -> Option<Terminal> {
        let terminals = Terminal::of(&environment(pid)?);
        let named = tmux.and_then(Terminal::of_file);
        let mut terminals = terminals.into_iter().chain(named);
        terminals.find(|terminal| terminal.shows(pid, panes))
    }

    /// Whether the terminal is this user's, and shows a process, as far as that can be found out.
    fn shows(&self, pid: u32, panes: &mut Panes) -> bool {
        let server = match self {
            Terminal::Tmux { server, .. } | Terminal::WezTerm { server, .. } => server,
            Terminal::Kitty { server, .. } => match server.strip_prefix("unix:") {
                Some(server) => server,
                None => return false,
            },
            Terminal::Zellij { .. } | Terminal::Screen { .. } => return true,
        };
        // In the abstract namespace (`@`) a name belongs to nobody.
        let is_own = server.starts_with('@')
            || fs::metadata(server).is_ok_and(|file| file.uid() == geteuid().as_raw());
        match self {
            Terminal::Tmux { server, pane } => is_own && panes.show(server, pane, pid),
            _ => is_own,
        }
    }

    /// Where it is, for people.
    #[cfg(feature = "screen")]
    pub fn place(&self) -> String {
        match self {
            Terminal::Tmux { pane, .. } => format!("tmux pane {pane}"),
            Terminal::Zellij { session, pane } => format!("Zellij {session}, pane {pane}"),
            Terminal::Screen { session, window } => format!("screen {session}, window {window}"),
            Terminal::Kitty { window, .. } => format!("kitty window {window}"),
            Terminal::WezTerm { pane, .. } => format!("WezTerm pane {pane}"),
        }
    }

    /// The terminals that the variables name, those first that can run inside of the others: a
    /// program inside of another inherits its variables.
    fn of(variables: &HashMap<String, String>) -> Vec<Terminal> {
        let get = |name: &str| variables.get(name).cloned();
        let both = |one, other| Some((get(one)?, get(other)?));
        let tmux = both("TMUX", "TMUX_PANE").map(|(server, pane)| {
            // SOCKET,PID,SESSION
            let socket = server.rsplitn(3, ',').last().unwrap_or_default();
            let server = socket.to_owned();
            Terminal::Tmux { server, pane }
        });
        let zellij = both("ZELLIJ_SESSION_NAME", "ZELLIJ_PANE_ID")
            .map(|(session, pane)| Terminal::Zellij { session, pane });
        let screen =
            both("STY", "WINDOW").map(|(session, window)| Terminal::Screen { session, window });
        let kitty = both("KITTY_LISTEN_ON", "KITTY_WINDOW_ID")
            .map(|(server, window)| Terminal::Kitty { server, window });
        let wezterm = both("WEZTERM_UNIX_SOCKET", "WEZTERM_PANE")
            .map(|(server, pane)| Terminal::WezTerm { server, pane });
        let all = [tmux, zellij, screen, kitty, wezterm];
        all.into_iter().flatten().collect()
    }

    /// The pane that a session file names, `SESSION:@WINDOW.%PANE`, on the default server.
    fn of_file(tmux: &str) -> Option<Terminal> {
        let (_, pane) = tmux.rsplit_once('.')?;
        let folder = std::env::var("TMUX_TMPDIR").unwrap_or_else(|_| "/tmp".into());
        Some(Terminal::Tmux {
            server: format!("{folder}/tmux-{}/default", geteuid().as_raw()),
            pane: pane.to_owned(),
        })
    }
}

/// The variables of a process, if it belongs to this user. What they contain goes to commands
/// and to the user's terminal, so control characters are not taken.
fn environment(pid: u32) -> Option<HashMap<String, String>> {
    let file = File::open(format!("/proc/{pid}/environ")).ok()?;
    if file.metadata().ok()?.uid() != geteuid().as_raw() {
        return None;
    }
    let mut text = Vec::new();
    file.take(MAX_ENVIRONMENT).read_to_end(&mut text).ok()?;
    Some(variables(&text))
}

fn variables(environment: &[u8]) -> HashMap<String, String> {
    let lines = environment.split(|byte| *byte == 0);
    let texts = lines.filter_map(|line| str::from_utf8(line).ok());
    let pairs = texts.filter_map(|text| text.split_once('='));
    let wanted = pairs.filter(|(name, value)| {
        VARIABLES.contains(name) && !value.is_empty() && !value.contains(char::is_control)
    });
    wanted
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// The panes of the tmux servers that were asked. Panes end, and their numbers are used again by
/// the next server.
pub struct Panes {
    /// By the server's socket, a line for each pane: its number and its terminal.
    servers: HashMap<String, String>,
    /// The time that is left to ask further servers. Each has half of it, so one that is stopped
    /// leaves time for the others.
    left: Duration,
}

impl Panes {
    pub fn new() -> Panes {
        Panes {
            servers: HashMap::new(),
            left: TIMEOUT,
        }
    }

    /// Whether a pane shows the terminal of a process.
    fn show(&mut self, server: &str, pane: &str, pid: u32) -> bool {
        let left = &mut self.left;
        let ask = || {
            let asked_at = Instant::now();
            let panes = list_panes(server, asked_at + *left / 2).unwrap_or_default();
            *left = left.saturating_sub(asked_at.elapsed());
            panes
        };
        let panes = self.servers.entry(server.to_owned()).or_insert_with(ask);
        let panes = panes.lines();
        let mut ttys = panes.filter_map(|line| line.strip_prefix(pane)?.strip_prefix(' '));
        let device = ttys.next().and_then(|tty| fs::metadata(tty).ok());
        device.is_some_and(|device| tty_of(pid) == Some(device.rdev()))
    }
}

fn list_panes(server: &str, deadline: Instant) -> io::Result<String> {
    let mut tmux = Command::new("tmux");
    tmux.args(["-S", server, "list-panes", "-a", "-F"]);
    let output = command::output(tmux.arg("#{pane_id} #{pane_tty}"), "", deadline)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The device of a process's terminal: field 7 of proc_pid_stat(5).
fn tty_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(7 - 3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_terminal_comes_first() {
        let of = |text: &str| {
            let terminals = Terminal::of(&variables(text.replace('|', "\0").as_bytes()));
            terminals.into_iter().next()
        };
        let kitty = "KITTY_LISTEN_ON=unix:@k|KITTY_WINDOW_ID=2|";
        let tmux = "TMUX=/tmp/a,b/default,77,0|TMUX_PANE=%3|";
        assert_eq!(
            of(&(kitty.to_owned() + tmux)),
            Some(Terminal::Tmux {
                server: "/tmp/a,b/default".into(),
                pane: "%3".into()
            })
        );
        assert_eq!(
            of(kitty),
            Some(Terminal::Kitty {
                server: "unix:@k".into(),
                window: "2".into()
            })
        );
        assert_eq!(of("TMUX=/tmp/x,7,0|"), None);
        assert_eq!(of("STY=a\nb|WINDOW=1|"), None, "a control character");
    }

    #[test]
    fn a_session_file_names_the_pane() {
        let Some(Terminal::Tmux { pane, server }) = Terminal::of_file("r:@0.%12") else {
            panic!("no terminal")
        };
        assert_eq!(pane, "%12");
        assert!(server.ends_with("/default"), "{server}");
        assert_eq!(Terminal::of_file("nothing"), None);
    }
}
