//! Which lines are JSON objects, and which of these the user wants to see.
//!
//! Stop 17 of EDU_NOTES.md.

use crate::cli::Filter;
use crate::event::claude;
use crate::event::object::Object;

/// The text and the event of a line. `None`: the line is damaged.
pub fn parse(line: &[u8]) -> Option<(&str, Object<'_>)> {
    let text = str::from_utf8(line).ok()?;
    Some((text, Object::validate(text)?))
}

/// Whether the filter lets an event pass. Notices of missing events always pass.
pub fn is_shown(event: &Object, filter: &Filter) -> bool {
    let has = |names: &[String], name: &str| names.iter().any(|own| own == name);
    let uses_tool = |object: &Object| {
        let tool = object.text("tool_name");
        tool.is_some_and(|tool| has(&filter.tools, &tool))
    };
    let text = |name| event.text(name).unwrap_or_default();
    event.get("_dropped").is_some()
        || text("session_id").starts_with(&filter.session)
            && (filter.events.is_empty() || has(&filter.events, &text("_event")))
            && (filter.tools.is_empty()
                || uses_tool(event)
                || claude::batch(event).is_some_and(|mut calls| calls.any(|call| uses_tool(&call))))
}
