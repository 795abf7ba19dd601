//! What the client itself says of a session, in its session file: its status, name, directory,
//! process and pane. `client_files/file.rs` decides which of its words mean which status.
//!
//! No event tells that the user has granted or refused a permission, or pressed Esc. The client's
//! own word does, half a second later.
//!
//! Stop 17 of EDU_NOTES.md.

use super::parts::Time;

/// The client's word on one session.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientWord {
    /// `None`: the file has no status (of an old client), or one that this program does not know.
    pub status: Option<Status>,
    /// When the status began.
    pub since: Time,
    /// What the client shows as the session's name.
    pub name: String,
    pub cwd: String,
    pub pid: u32,
    /// Its pane in tmux: `SESSION:@WINDOW.%PANE`.
    pub tmux: Option<String>,
    /// Another one each time that the file is written.
    pub version: u64,
}

/// What a client does.
#[derive(Debug, Clone, PartialEq)]
pub enum Status {
    Busy,
    Idle,
    /// It asks the user. What for, in the client's words.
    Waiting(String),
    /// Its process has ended, and left the file.
    Ended,
}

impl ClientWord {
    /// How much it counts among the words of several processes of the same session: the one that
    /// waits first, then the newest that runs.
    pub fn rank(&self) -> (u8, Option<i64>) {
        let urgency = match &self.status {
            Some(Status::Waiting(what)) if what == DIALOG => 2,
            Some(Status::Waiting(_)) => 3,
            Some(Status::Ended) => 0,
            _ => 1,
        };
        (urgency, self.since.seconds)
    }
}

/// The user has opened a dialog: nobody asks.
pub const DIALOG: &str = "dialog open";
