//! The hooks in a text of settings: ours are added, replaced, removed and listed, and
//! everything else stays as it is, byte for byte. This file does no I/O. Its callers say
//! which command is ours.
//!
//! ```json
//! {"hooks": {"Stop": [{"matcher": "…",
//!     "hooks": [{"type": "command", "command": "…", "timeout": 5}]}]}}
//! ```
//!
//! The client reads the last of several equal keys, so hooks are added to that one, and
//! removed from all.
//!
//! Stop 17 of EDU_NOTES.md.

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::json_edit::{Container, Edits, Item};
use crate::event::json_text;

/// Seconds after which the client ends a hook. Our commands give up earlier by themselves.
const TIMEOUT: u32 = 5;

/// A hook to install.
#[derive(Debug, Clone)]
pub struct Hook {
    pub event: String,
    /// `None`: for every occurrence of the event.
    pub matcher: Option<&'static str>,
    /// The shell command.
    pub command: String,
}

/// A command that an event runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub event: String,
    pub matcher: Option<String>,
    pub command: String,
    /// Whether the client reads it: no later key takes its place.
    pub is_read: bool,
}

/// Adds `hooks`. Commands that are ours already are replaced, or removed if no hook needs
/// them. The error says what is wrong with the text, and where.
pub fn install(
    text: &str,
    hooks: &[Hook],
    is_ours: impl Fn(&str) -> bool,
) -> Result<String, String> {
    let mut missing: Vec<&Hook> = hooks.iter().collect();
    let text = edit(text, |entry| {
        if !is_ours(&entry.command) {
            return Verdict::Keep;
        }
        match missing.iter().position(|hook| hook.fits(entry)) {
            Some(index) => Verdict::Replace(missing.remove(index)),
            None => Verdict::Remove,
        }
    })?;
    let (mark, text) = split_mark(&text);
    let text = add_hooks_object(text)?;
    Ok(mark.to_owned() + &add(&text, &missing)?)
}

/// Removes the commands that are ours, and then the groups, arrays and objects that held
/// nothing else.
pub fn remove(text: &str, is_ours: impl Fn(&str) -> bool) -> Result<String, String> {
    edit(text, |entry| {
        if is_ours(&entry.command) {
            Verdict::Remove
        } else {
            Verdict::Keep
        }
    })
}

/// All commands, in order.
pub fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut entries = Vec::new();
    edit(text, |entry| {
        entries.push(entry.clone());
        Verdict::Keep
    })?;
    Ok(entries)
}

/// A setting that is true or false. `None`: it is neither.
pub fn switch(text: &str, name: &str) -> Option<bool> {
    let root = root(split_mark(text).1).ok()?;
    root.member(name)?.value.parse().ok()
}

/// What becomes of an entry.
enum Verdict<'h> {
    Keep,
    Remove,
    Replace(&'h Hook),
}

impl Hook {
    /// Whether an entry stands where this hook belongs. The user may choose the matcher of
    /// a hook that needs one.
    fn fits(&self, entry: &Entry) -> bool {
        let matches_all = matches!(entry.matcher.as_deref(), None | Some("" | "*"));
        entry.is_read && entry.event == self.event && matches_all == self.matcher.is_none()
    }

    fn json(&self) -> HookJson<'_> {
        HookJson {
            r#type: "command",
            command: &self.command,
            timeout: TIMEOUT,
        }
    }

    fn group(&self) -> GroupJson<'_> {
        GroupJson {
            matcher: self.matcher,
            hooks: [self.json()],
        }
    }
}

#[derive(Serialize)]
struct HookJson<'h> {
    r#type: &'static str,
    command: &'h str,
    timeout: u32,
}

#[derive(Serialize)]
struct GroupJson<'h> {
    #[serde(skip_serializing_if = "Option::is_none")]
    matcher: Option<&'static str>,
    hooks: [HookJson<'h>; 1],
}

/// Passes each command to `verdict`, and does what it returns. What does not look like
/// hooks is left alone.
fn edit<'h>(original: &str, verdict: impl FnMut(&Entry) -> Verdict<'h>) -> Result<String, String> {
    let (mark, text) = split_mark(original);
    let root = root(text)?;
    let mut edits = Edits::of(&root);
    let mut editor = Editor { text, verdict };
    let is_empty = root.remove(&mut edits, |member, edits| {
        let is_read = is_last(&root, member);
        member.key == "hooks" && editor.empties_events(member, is_read, edits)
    });
    if is_empty {
        root.clear(&mut edits);
    }
    if edits.is_empty() {
        return Ok(original.to_owned());
    }
    Ok(mark.to_owned() + &edits.apply())
}

/// Edits the levels below the outermost object. Each method returns whether it removes all
/// that its item held, so that the item goes too.
struct Editor<'t, F> {
    text: &'t str,
    verdict: F,
}

impl<'t, 'h, F: FnMut(&Entry) -> Verdict<'h>> Editor<'t, F> {
    fn empties_events(&mut self, member: &Item<'t>, is_read: bool, edits: &mut Edits) -> bool {
        object(self.text, member).is_some_and(|events| {
            events.remove(edits, |event, edits| {
                let is_read = is_read && is_last(&events, event);
                array(self.text, event).is_some_and(|groups| {
                    groups.remove(edits, |group, edits| {
                        self.empties_group(group, &event.key, is_read, edits)
                    })
                })
            })
        })
    }

    fn empties_group(
        &mut self,
        group: &Item<'t>,
        event: &str,
        is_read: bool,
        edits: &mut Edits,
    ) -> bool {
        let Some((matcher, hooks)) = group_hooks(self.text, group) else {
            return false;
        };
        hooks.remove(edits, |hook, edits| {
            let Some(command) = command(self.text, hook) else {
                return false;
            };
            let verdict = (self.verdict)(&Entry {
                event: event.to_owned(),
                matcher: matcher.clone(),
                command,
                is_read,
            });
            if let Verdict::Replace(new) = verdict
                && !is_same(hook.value, new)
            {
                hook.replace(edits, &new.json());
            }
            matches!(verdict, Verdict::Remove)
        })
    }
}

/// Whether no later member has the same key.
fn is_last(object: &Container, member: &Item) -> bool {
    let last = object.member(&member.key);
    last.is_some_and(|last| last.span == member.span)
}

/// Makes sure that there is an object for hooks. `null` counts as absent.
fn add_hooks_object(text: &str) -> Result<String, String> {
    let root = root(text)?;
    let mut edits = Edits::of(&root);
    let empty = json!({});
    match root.member("hooks") {
        None => root.append(&mut edits, Some(""), &[("hooks", empty)]),
        Some(hooks) if hooks.value == "null" => hooks.replace(&mut edits, &empty),
        Some(_) => {}
    }
    Ok(edits.apply())
}

/// Adds hooks to the object for hooks, each in a group of its own.
fn add(text: &str, hooks: &[&Hook]) -> Result<String, String> {
    let root = root(text)?;
    let mut edits = Edits::of(&root);
    let Some(member) = root.member("hooks") else {
        return Ok(text.to_owned());
    };
    let events = object(text, member).ok_or_else(|| misplaced(text, member, "an object"))?;
    let mut new_events = Vec::new();
    for hook in hooks {
        match events.member(&hook.event) {
            None => new_events.push((hook.event.as_str(), [hook.group()])),
            Some(event) if event.value == "null" => {
                event.replace(&mut edits, &[hook.group()]);
            }
            Some(event) => {
                let groups =
                    array(text, event).ok_or_else(|| misplaced(text, event, "an array"))?;
                let new = [("", hook.group())];
                groups.append(&mut edits, event.indentation, &new);
            }
        }
    }
    if !new_events.is_empty() {
        events.append(&mut edits, member.indentation, &new_events);
    }
    Ok(edits.apply())
}

/// The outermost object.
fn root(text: &str) -> Result<Container<'_>, String> {
    let value: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
    Container::new(text, value.get(), '{')
        .ok_or_else(|| "the settings are not a JSON object, such as {}".to_owned())
}

fn object<'t>(text: &'t str, item: &Item<'t>) -> Option<Container<'t>> {
    Container::new(text, item.value, '{')
}

fn array<'t>(text: &'t str, item: &Item<'t>) -> Option<Container<'t>> {
    Container::new(text, item.value, '[')
}

/// A group's matcher and the array of its hooks. `None` for what the client would not read
/// as a group, or would read in part.
fn group_hooks<'t>(text: &'t str, group: &Item<'t>) -> Option<(Option<String>, Container<'t>)> {
    let group = object(text, group)?;
    let mut hooks = group.items.iter().filter(|item| item.key == "hooks");
    let (Some(only), None) = (hooks.next(), hooks.next()) else {
        return None;
    };
    let matcher = group.member("matcher").and_then(|item| string(item.value));
    Some((matcher, array(text, only)?))
}

/// The command of a hook. `None` for other types of hooks.
fn command(text: &str, hook: &Item) -> Option<String> {
    let hook = object(text, hook)?;
    let is_command = string(hook.member("type")?.value)? == "command";
    string(hook.member("command")?.value).filter(|_| is_command)
}

fn string(value: &str) -> Option<String> {
    json_text::unquoted(value).map(|spelled| json_text::decode(spelled).into_owned())
}

fn is_same(value: &str, hook: &Hook) -> bool {
    let value: Option<Value> = serde_json::from_str(value).ok();
    value == serde_json::to_value(hook.json()).ok()
}

/// The byte order mark that an editor may have put first, and the rest. An empty file
/// counts as an empty object.
fn split_mark(text: &str) -> (&str, &str) {
    let rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mark = &text[..text.len() - rest.len()];
    match rest.trim_ascii() {
        "" => (mark, "{}\n"),
        _ => (mark, rest),
    }
}

fn misplaced(text: &str, item: &Item, expected: &str) -> String {
    let before = &text[..item.span.start];
    let line = before.matches('\n').count() + 1;
    let column = before.len() - before.rfind('\n').map_or(0, |newline| newline + 1) + 1;
    format!(
        "\"{}\" is not {expected} at line {line} column {column}",
        item.key
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn removed(text: &str) -> Result<String, String> {
        remove(text, |command| command == "ours")
    }

    /// The client reads the last one, and would read the other one if that were removed.
    #[test]
    fn a_group_with_two_arrays_of_hooks_is_left_alone() {
        let ours = r#"[{"type":"command","command":"ours"}]"#;
        for [first, last] in [[ours, "[7]"], ["[7]", ours]] {
            let group = format!(r#"{{"hooks":{first},"hooks":{last}}}"#);
            let text = format!(r#"{{"hooks":{{"Stop":[{group}]}}}}"#);
            assert_eq!(removed(&text), Ok(text));
        }
    }

    #[test]
    fn a_hook_of_another_type_is_left_alone() {
        let text = r#"{"hooks":{"Stop":[{"hooks":[{"type":"x","command":"ours"}]}]}}"#;
        assert_eq!(removed(text).as_deref(), Ok(text));
        assert_eq!(
            removed(&text.replace("\"x\"", "\"command\"")),
            Ok("{}".into())
        );
    }
}
