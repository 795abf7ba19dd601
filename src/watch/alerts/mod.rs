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

use std::time::Instant;

use self::commands::{Cause, Commands};
use self::decision::{Alert, Observer};
use self::notification::Notifier;
use super::sessions::Sessions;
use crate::cli::WatchOptions;

/// What the user wants to happen.
pub struct Alerts {
    /// How the ids of the sessions begin that the user wants to know of.
    prefix: String,
    observer: Observer,
    notifier: Option<Notifier>,
    commands: Commands,
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
        }))
    }

    /// All that there was at the start has been seen.
    pub fn begin(&mut self) {
        self.observer.begin();
    }

    /// Looks at the sessions, after something has changed or at [`Alerts::next_look`]. Returns what
    /// failed, for the user.
    pub fn look(&mut self, sessions: &Sessions, now: Instant) -> Vec<String> {
        let mut errors = Vec::new();
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
    pub fn next_look(&self, now: Instant) -> Option<Instant> {
        let due = self.observer.next_due();
        due.into_iter().chain(self.commands.next_look(now)).min()
    }
}
