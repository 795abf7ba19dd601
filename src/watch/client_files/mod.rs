//! The session files of the client: which there are, and what they say.
//!
//! Claude Code keeps a file for each of its running processes, `sessions/PID.json` in its
//! configuration directory, and writes its status there. Only this folder reads what the client
//! keeps for itself. The server never does: it opens no path that a payload names.
//!
//! - `folder` opens a folder and reads a file of it. `changes` tells when to look again.
//! - `file` is what a file says. `process` finds out whether its process still runs.
//! - `transcript` reads the end of a transcript, `terminal` the environment of a process.
//! - This file holds all files that count. `follow` waits until they change.
//!
//! Stop 17 of EDU_NOTES.md.

mod changes;
mod file;
mod folder;
mod follow;
mod process;
mod terminal;
mod transcript;

use std::collections::HashMap;
use std::env;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::geteuid;

use self::changes::Changes;
use self::file::ClientFile;
use self::folder::{Folder, Stamp};
use self::process::Life;
pub use self::terminal::{Panes, Terminal};
pub use self::transcript::Transcript;
use crate::watch::session::Session;
use crate::watch::session::client::{ClientWord, Status};

/// Folders that are read. Payloads name some of them.
const MAX_FOLDERS: usize = 16;
/// How often a file that is half written is read again, if nobody waits for reports, and how soon.
const RETRIES: usize = 10;
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// The session files of some folders.
pub struct ClientFiles {
    /// The paths of the folders. They need not exist.
    folders: Vec<PathBuf>,
    entries: HashMap<((u64, u64), u32), Entry>,
    changes: Changes,
    /// Whether the kernel reports changes of all folders.
    is_watched: bool,
}

/// A file.
struct Entry {
    /// `None`: its content was no session. It is read again.
    stamp: Option<Stamp>,
    /// What it last said.
    file: Option<ClientFile>,
    /// Reports the end of its process, if that runs.
    process: Process,
}

enum Process {
    /// It does not run here.
    Unknown,
    /// It has ended, and left its file.
    Ended,
    /// It runs, and the descriptor (a pidfd) reports its end. Only `follow` waits for it.
    Watched(OwnedFd),
    /// It runs. The kernel has no such descriptor.
    Running,
}

impl ClientFiles {
    /// The files in the client's configuration directories: `$CLAUDE_CONFIG_DIR` and `~/.claude`.
    pub fn new() -> ClientFiles {
        let home = env::var_os("HOME").map(|home| Path::new(&home).join(".claude"));
        let own = env::var_os("CLAUDE_CONFIG_DIR").map(PathBuf::from);
        let mut files = ClientFiles {
            folders: Vec::new(),
            entries: HashMap::new(),
            changes: Changes::new(),
            is_watched: false,
        };
        for directory in own.into_iter().chain(home) {
            files.add(&directory);
        }
        files
    }

    /// Reads the files of this configuration directory too.
    pub fn add(&mut self, directory: &Path) {
        let folder = directory.join("sessions");
        if directory.is_absolute()
            && self.folders.len() < MAX_FOLDERS
            && !self.folders.contains(&folder)
        {
            self.folders.push(folder);
        }
    }

    /// What the clients say, with the ids of their sessions. One that has ended says that. Those of
    /// which nothing is known say nothing.
    pub fn words(&self) -> Vec<(String, ClientWord)> {
        let word = |entry: &Entry| {
            let file = entry.file.as_ref().filter(|file| !file.is_spare)?;
            let mut word = file.word.clone();
            match entry.process {
                Process::Unknown => return None,
                Process::Ended => word.status = Some(Status::Ended),
                Process::Watched(_) | Process::Running => {}
            }
            Some((file.session_id.clone(), word))
        };
        self.entries.values().filter_map(word).collect()
    }

    /// Reads what has changed.
    pub fn read(&mut self) {
        let changed = self.changes.take();
        let mut before = std::mem::take(&mut self.entries);
        self.is_watched = true;
        for path in &self.folders {
            self.is_watched &= self.changes.watch(path);
            let Ok(folder) = Folder::open(path) else {
                continue;
            };
            for pid in folder.pids() {
                let key = (folder.id, pid);
                if self.entries.contains_key(&key) {
                    continue;
                }
                let mut entry = before.remove(&key);
                if changed
                    .as_ref()
                    .is_none_or(|changed| changed.contains(&pid))
                    && let Some(entry) = &mut entry
                {
                    entry.stamp = None;
                }
                let entry = Entry::read(entry, &folder, pid);
                self.entries.extend(entry.map(|entry| (key, entry)));
            }
        }
    }

    /// Reads all files, those that are half written a few times: nobody waits for the report that
    /// they are complete.
    pub fn read_once(&mut self) {
        self.read();
        for _ in 0..RETRIES {
            if self.entries.values().all(|entry| entry.stamp.is_some()) {
                return;
            }
            thread::sleep(RETRY_INTERVAL);
            self.read();
        }
    }
}

impl Entry {
    /// The file as it is now. `before` is what it was. `None`: it is no file to be read.
    fn read(before: Option<Entry>, folder: &Folder, pid: u32) -> Option<Entry> {
        let mut entry = before.unwrap_or(Entry {
            stamp: None,
            file: None,
            process: Process::Unknown,
        });
        if entry.stamp.is_none() || entry.stamp != folder.stamp(pid).ok() {
            let (text, stamp) = folder.read(pid).ok()?;
            if let Some(file) = parse(pid, &text, stamp) {
                return Some(Entry::new(stamp, file));
            }
            // The client writes it just now: what it said last holds.
            entry.stamp = None;
        }
        entry.check_process();
        Some(entry)
    }

    fn new(stamp: Stamp, file: ClientFile) -> Entry {
        Entry {
            stamp: Some(stamp),
            process: Process::find(&file),
            file: Some(file),
        }
    }

    fn check_process(&mut self) {
        let life = self.file.as_ref().map(process::life);
        if self.process.runs() && life != Some(Life::Runs) {
            self.process = Process::Ended;
        }
    }
}

fn parse(pid: u32, text: &[u8], stamp: Stamp) -> Option<ClientFile> {
    let mut file = ClientFile::parse(pid, text)?;
    file.word.version = stamp.modified;
    Some(file)
}

impl Process {
    /// The process of a file. The descriptor is opened before the check: it reports the end of the
    /// process that is checked, even if that ends now.
    fn find(file: &ClientFile) -> Process {
        let pidfd = process::open_pidfd(file.pid);
        match (process::life(file), pidfd) {
            (Life::Ended, _) => Process::Ended,
            (Life::Unknown, _) => Process::Unknown,
            (Life::Runs, Some(pidfd)) => Process::Watched(pidfd),
            (Life::Runs, None) => Process::Running,
        }
    }

    fn runs(&self) -> bool {
        matches!(self, Process::Watched(_) | Process::Running)
    }
}

/// The configuration directory of the client that writes the transcript of a session:
/// `DIRECTORY/projects/PROJECT/SESSION.jsonl`. Only a session of this user is believed.
pub fn directory_of(session: &Session) -> Option<&Path> {
    let is_projects = |folder: &&Path| folder.file_name().is_some_and(|name| name == "projects");
    let mut ancestors = Path::new(&session.transcript).ancestors();
    let projects = ancestors.find(is_projects)?;
    (session.uid == Some(geteuid().as_raw())).then(|| projects.parent())?
}

/// What else tells a session apart: the end of its transcript, and its terminal.
#[derive(Debug, Clone, Default)]
pub struct Details {
    pub transcript: Transcript,
    pub terminal: Option<Terminal>,
}

/// Where the details of a session are.
#[derive(Debug)]
pub struct Place {
    transcript: Option<PathBuf>,
    /// The process, and the pane that its session file names.
    client: Option<(u32, Option<String>)>,
}

impl Place {
    /// Only the transcript of a session of this user is read, and only the client's file has shown
    /// which process it is.
    pub fn of(session: &Session) -> Place {
        let is_own = session.uid == Some(geteuid().as_raw());
        let client = session.client();
        Place {
            transcript: is_own.then(|| PathBuf::from(&session.transcript)),
            client: client.map(|client| (client.pid, client.tmux.clone())),
        }
    }

    #[cfg(feature = "screen")]
    pub fn without_terminal(self) -> Place {
        Place {
            client: None,
            ..self
        }
    }

    pub fn read(&self, panes: &mut Panes) -> Details {
        let client = self.client.as_ref();
        let terminal = client.and_then(|(pid, tmux)| Terminal::find(*pid, tmux.as_deref(), panes));
        Details {
            transcript: self
                .transcript
                .as_deref()
                .map(Transcript::read)
                .unwrap_or_default(),
            terminal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::object::Object;
    use crate::watch::sessions::Sessions;
    use std::io::Write;

    #[test]
    fn only_a_session_of_this_user_names_a_directory() {
        let own = geteuid().as_raw();
        for (uid, path, expected) in [
            (own, "/h/.claude/projects/a/s.jsonl", Some("/h/.claude")),
            (own, "/h/.claude/a/s.jsonl", None),
            (own + 1, "/h/.claude/projects/a/s.jsonl", None),
        ] {
            let event = format!(
                r#"{{"_ts":"","_event":"Stop","_peer_uid":{uid},"session_id":"s","transcript_path":"{path}"}}"#
            );
            let mut sessions = Sessions::default();
            let (session, _) = sessions.apply(&Object::parse(&event), None).unwrap();
            assert_eq!(
                directory_of(session),
                expected.map(Path::new),
                "{uid} {path}"
            );
        }
    }

    #[test]
    fn only_a_session_of_this_user_names_a_transcript() {
        let own = geteuid().as_raw();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(br#"{"gitBranch":"main"}"#).unwrap();
        for (uid, expected) in [(own, Some("main")), (own + 1, None)] {
            let mut session = Session::new("s".into(), 0);
            session.uid = Some(uid);
            session.transcript = file.path().to_str().unwrap().into();
            let details = Place::of(&session).read(&mut Panes::new());
            assert_eq!(details.transcript.branch.as_deref(), expected);
        }
    }

    #[test]
    fn only_absolute_paths_are_read() {
        let mut files = ClientFiles::new();
        let before = files.folders.len();
        files.add(Path::new("relative"));
        assert_eq!(files.folders.len(), before);
    }
}
