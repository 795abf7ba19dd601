//! What happens when a session asks the user, or has ended a long turn: the terminal notifies, a
//! command runs.
//!
//! - `decision` says which sessions need that. `notification` writes to the terminal, `commands`
//!   runs commands.
//! - This file asks the first, and tells the others.
//!
//! What there was at the start causes nothing.
//!
//! Stop 17 of EDU_NOTES.md.

mod commands;
mod decision;
mod notification;

use std::time::{Duration, Instant};

use self::commands::{Cause, Commands};
use self::decision::{Alert, Observer};
use self::notification::Notifier;
use super::sessions::Sessions;
use crate::cli::WatchOptions;

/// The time between two looks at the sessions, of which there can be thousands.
const INTERVAL: Duration = Duration::from_millis(50);

/// What the user wants to happen.
pub struct Alerts {
    /// How the ids of the sessions begin that the user wants to know of.
    prefix: String,
    observer: Observer,
    notifier: Option<Notifier>,
    commands: Commands,
    /// When the last look was.
    looked_at: Option<Instant>,
    /// Whether something can have changed since.
    is_stale: bool,
}

impl Alerts {
    /// `None`: no alert is wanted. The error is for the user.
    pub fn new(options: &WatchOptions) -> Result<Option<Alerts>, String> {
        let has_command = options.on_wait.is_some() || options.on_idle.is_some();
        if !options.notifies && !has_command {
            return Ok(None);
        }
        Ok(Some(Alerts {
            prefix: options.filter.session.clone(),
            observer: Observer::default(),
            notifier: options.notifies.then(Notifier::new).transpose()?,
            commands: Commands::new(options),
            looked_at: None,
            is_stale: false,
        }))
    }

    /// What the next look sees is what there was at the start.
    pub fn begin(&mut self) {
        self.observer.begin();
    }

    /// Looks at the sessions, after something has changed or at [`Alerts::next_look`], but not too
    /// often. Returns what failed, for the user.
    pub fn look(&mut self, sessions: &Sessions, now: Instant) -> Vec<String> {
        let mut errors = Vec::new();
        let next = self.looked_at.map(|looked_at| looked_at + INTERVAL);
        self.is_stale = next.is_some_and(|next| now < next);
        if self.is_stale {
            return errors;
        }
        self.looked_at = Some(now);
        for (session, alert) in self.observer.look(sessions, now) {
            if !session.id.starts_with(&self.prefix) {
                continue;
            }
            let cause = match alert {
                Alert::TurnEnd => Cause::TurnEnd,
                Alert::Question(question) => {
                    if let Some(notifier) = &mut self.notifier {
                        errors.extend(notifier.notify(session, question).err());
                    }
                    Cause::Question(question.and_then(|question| question.arrived))
                }
            };
            self.commands.add(session, cause);
        }
        errors.extend(self.commands.run(sessions, now));
        errors
    }

    /// When to look although nothing has changed.
    pub fn next_look(&self) -> Option<Instant> {
        let soon = self.looked_at.map(|looked_at| looked_at + INTERVAL);
        // std cannot wait for a command with a timeout.
        if self.is_stale || self.commands.is_running() {
            return soon;
        }
        let due = self.observer.next_due();
        due.and_then(|due| Some(due).max(soon))
    }
}
