//! What events of Claude Code mean, where their names alone do not say it: which ask the user,
//! which prompts are not the user's, which responses are errors. Nothing here is about how an
//! event is shown.
//!
//! Stop 8 of EDU_NOTES.md.

use std::time::Duration;

use super::json_text::{self, members};
use super::object::Object;

/// A prompt with this prefix comes from the client: a background task has ended.
const TASK_NOTIFICATION: &str = "<task-notification>";

/// Whether an event asks the user, by itself.
pub fn asks_user(event: &Object) -> bool {
    match event.text("_event").as_deref() {
        Some("PermissionRequest" | "Elicitation") => true,
        Some("Notification") => needs_input(event),
        _ => false,
    }
}

/// Whether a `Notification` needs an input from the user. Older clients send no type.
pub fn needs_input(event: &Object) -> bool {
    match event.string("notification_type") {
        Some("permission_prompt" | "elicitation_dialog" | "agent_needs_input") => true,
        Some("idle_prompt" | "elicitation_response" | "elicitation_complete") => false,
        _ => event
            .text("message")
            .is_some_and(|text| text.contains("needs your")),
    }
}

/// Whether a prompt is the user's: the client itself writes one when a background task has
/// ended.
pub fn is_by_user(prompt: &str) -> bool {
    !prompt.starts_with(TASK_NOTIFICATION)
}

/// What a prompt of the client says about a task. `None`: it is the user's.
pub fn task_summary(prompt: &str) -> Option<&str> {
    let (_, text) = prompt
        .strip_prefix(TASK_NOTIFICATION)?
        .split_once("<summary>")?;
    Some(text.split_once("</summary>")?.0)
}

/// The text of the first question in the input of `AskUserQuestion`.
pub fn first_question(questions: &str) -> Option<&str> {
    let (_, question) = members(questions).next()?;
    Object::parse(question).string("question")
}

/// The calls of a `PostToolBatch`. `None`: the event is none.
pub fn batch<'a>(event: &Object<'a>) -> Option<impl Iterator<Item = Object<'a>> + use<'a>> {
    let calls = event.get("tool_calls")?;
    let parsed = members(calls).map(|(_, call)| Object::parse(call));
    calls.starts_with('[').then_some(parsed)
}

/// Those calls of a batch that have these numbers, which ascend.
pub fn calls<'a>(event: &Object<'a>, numbers: &[usize]) -> impl Iterator<Item = Object<'a>> {
    let mut wanted = numbers.iter().peekable();
    let calls = batch(event).into_iter().flatten().enumerate();
    let calls = calls.filter(move |(number, _)| wanted.next_if_eq(&number).is_some());
    calls.map(|(_, call)| call)
}

/// For how long the tool of a call ran, if the client says it.
pub fn duration(call: &Object) -> Option<Duration> {
    let milliseconds = call.get("duration_ms")?.parse().ok()?;
    Some(Duration::from_millis(milliseconds))
}

/// The error in the response of a call in a `PostToolBatch`, as spelled. The response is a
/// text. An error of the client is marked in it. Of others, such as a refusal or an exit code,
/// only the first words say that it is one.
pub fn batch_error<'a>(call: &Object<'a>) -> Option<&'a str> {
    const ERRORS: [&str; 9] = [
        "Exit code ",
        "Error: ",
        "API Error",
        "The user doesn't want to ",
        "Permission for this ",
        "Permission to use ",
        "Claude requested permission",
        "Cancelled: ",
        "[Request interrupted",
    ];
    let (response, is_marked) = response_and_mark(call)?;
    let start: String = json_text::chars(response).take(300).collect();
    let first_line = start.lines().next().unwrap_or_default();
    let is_error = is_marked
        || ERRORS.iter().any(|error| start.starts_with(error))
        || first_line.contains(" needs approval.");
    is_error.then_some(response)
}

/// The text of a response in a `PostToolBatch`, as spelled.
pub fn response<'a>(call: &Object<'a>) -> Option<&'a str> {
    response_and_mark(call).map(|(response, _)| response)
}

/// The same, and whether the client marked it as an error.
fn response_and_mark<'a>(call: &Object<'a>) -> Option<(&'a str, bool)> {
    let response = call.get("tool_response")?;
    let text = json_text::unquoted(response).or_else(|| {
        let (_, first) = members(response).next()?;
        Object::parse(first).string("text")
    })?;
    let error = text.strip_prefix("<tool_use_error>");
    let text = error.unwrap_or(text);
    let text = text.strip_suffix("</tool_use_error>").unwrap_or(text);
    Some((text, error.is_some()))
}
