//! The rule for messages: `MessageDisplay` and `Stop` have the same message, in any order, and only
//! the first of the two shows it.
//!
//! Stop 17 of EDU_NOTES.md.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::event::object::Object;

/// The message of a session that was shown last, and that the other event can repeat.
#[derive(Clone, Default)]
pub struct LastMessage {
    /// Whether `Stop` has shown it, and its hash.
    shown: Option<(bool, u64)>,
}

impl LastMessage {
    /// Takes the next event that is shown. Returns whether it repeats the last message.
    pub fn is_repeated_by(&mut self, event: &Object) -> bool {
        let name = event.text("_event").unwrap_or_default();
        let message = match &*name {
            "MessageDisplay" => event.string("delta"),
            "Stop" => event.string("last_assistant_message"),
            // The next turn can have the same message.
            "UserPromptSubmit" => Some(""),
            _ => None,
        };
        let Some(message) = message else {
            return false;
        };
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        let (is_stop, hash) = (name == "Stop", hasher.finish());
        let is_repeated = self.shown == Some((!is_stop, hash));
        self.shown = (!is_repeated && !message.is_empty()).then_some((is_stop, hash));
        is_repeated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_other_event_repeats_a_message_and_only_in_the_same_turn() {
        let mut last = LastMessage::default();
        for (name, field, is_repeated) in [
            ("MessageDisplay", "delta", false),
            ("MessageDisplay", "delta", false),
            ("Stop", "last_assistant_message", true),
            ("Stop", "last_assistant_message", false),
            ("UserPromptSubmit", "prompt", false),
            ("MessageDisplay", "delta", false),
        ] {
            let event = format!(r#"{{"_event":"{name}","{field}":"Done."}}"#);
            let event = Object::parse(&event);
            assert_eq!(last.is_repeated_by(&event), is_repeated, "{name}");
        }
    }
}
