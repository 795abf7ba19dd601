//! Edits of JSON text: items of a container are removed, replaced and added, and every
//! byte around them stays. This file knows nothing of settings.
//!
//! Crates that edit JSON as a tree change more than that: they reformat containers that
//! are written on one line, and refuse lone surrogates and deep nesting, which the client
//! reads.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ops::Range;

use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};

use crate::event::json_text;

/// An object or an array, as places in a text.
#[derive(Debug, Clone)]
pub struct Container<'t> {
    text: &'t str,
    span: Range<usize>,
    pub items: Vec<Item<'t>>,
}

/// A member of an object or an element of an array.
#[derive(Debug, Clone)]
pub struct Item<'t> {
    /// The key, decoded. Empty for an element of an array.
    pub key: String,
    pub value: &'t str,
    /// From the start of the key, or of the value in an array, to the end of the value.
    pub span: Range<usize>,
    /// The indentation of the item. `None` if it does not begin its line.
    pub indentation: Option<&'t str>,
}

impl<'t> Container<'t> {
    /// The container that is `value`, which is a part of `text`. `opening` is its first
    /// character. `None` if `value` is something else.
    pub fn new(text: &'t str, value: &'t str, opening: char) -> Option<Container<'t>> {
        if !value.starts_with(opening) {
            return None;
        }
        let items = json_text::members(value).map(|(key, value)| {
            let value_span = place(text, value);
            let start = match opening {
                // The quote comes before the key.
                '{' => place(text, key).start - 1,
                _ => value_span.start,
            };
            Item {
                key: json_text::decode(key).into_owned(),
                value,
                span: start..value_span.end,
                indentation: indentation_before(text, start),
            }
        });
        Some(Container {
            text,
            span: place(text, value),
            items: items.collect(),
        })
    }

    /// The member with this key that counts: the last one (ECMA-262, `JSON.parse`).
    pub fn member(&self, key: &str) -> Option<&Item<'t>> {
        self.items.iter().rev().find(|item| item.key == key)
    }

    /// Removes the items for which `is_unwanted` is true. Where all of them are, returns
    /// true and removes none: then the container itself has no purpose any more.
    pub fn remove(
        &self,
        edits: &mut Edits,
        mut is_unwanted: impl FnMut(&Item<'t>, &mut Edits) -> bool,
    ) -> bool {
        let items = &self.items;
        let unwanted: Vec<bool> = items.iter().map(|item| is_unwanted(item, edits)).collect();
        if !items.is_empty() && !unwanted.contains(&false) {
            return true;
        }
        let mut end = 0;
        for run in unwanted.chunk_by(|a, b| a == b) {
            let start = end;
            end += run.len();
            // One comma goes too: the one after the items if they are the first ones.
            if run[0] && start == 0 {
                edits.remove(items[0].span.start..items[end].span.start);
            } else if run[0] {
                edits.remove(items[start - 1].span.end..items[end - 1].span.end);
            }
        }
        false
    }

    /// Removes everything between the brackets.
    pub fn clear(&self, edits: &mut Edits) {
        edits.remove(self.content());
    }

    /// Adds items with their keys (empty in an array) at the end, formatted like the last
    /// one. An empty container takes the format from `indentation`, which is that of the
    /// item that contains it.
    pub fn append<V: Serialize>(
        &self,
        edits: &mut Edits,
        indentation: Option<&str>,
        new: &[(&str, V)],
    ) {
        let Some(last) = self.items.last() else {
            return self.fill(edits, indentation, new);
        };
        let line = edits.style.line(last.indentation);
        for (key, value) in new {
            let item = edits.style.item(key, value, last.indentation);
            edits.insert(last.span.end, format!(",{line}{item}"));
        }
    }

    /// Adds items to an empty container.
    fn fill<V: Serialize>(&self, edits: &mut Edits, indentation: Option<&str>, new: &[(&str, V)]) {
        let style = &edits.style;
        let inner = indentation.map(|outer| format!("{outer}{}", style.unit));
        let line = style.line(inner.as_deref());
        let items = new
            .iter()
            .map(|(key, value)| line.clone() + &style.item(key, value, inner.as_deref()));
        let items = items.collect::<Vec<_>>().join(",") + &style.line(indentation);
        edits.replace(self.content(), items);
    }

    fn content(&self) -> Range<usize> {
        self.span.start + 1..self.span.end - 1
    }
}

impl Item<'_> {
    /// Replaces the value.
    pub fn replace(&self, edits: &mut Edits, value: &impl Serialize) {
        let start = self.span.end - self.value.len();
        let text = edits.style.value(value, self.indentation);
        edits.replace(start..self.span.end, text);
    }
}

/// The place of `part` in `text`, of which it is a slice.
fn place(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

/// The white space between the start of the line and `position`, if nothing else is there.
fn indentation_before(text: &str, position: usize) -> Option<&str> {
    let before = &text[..position];
    let indentation = &before[before.trim_end_matches([' ', '\t']).len()..];
    before[..position - indentation.len()]
        .ends_with('\n')
        .then_some(indentation)
}

/// How a text is formatted.
#[derive(Debug)]
struct Style {
    newline: &'static str,
    /// The indentation of one level.
    unit: String,
}

impl Style {
    /// The style of a text whose outermost container is `root`. Without a hint in the
    /// text: how the client writes it.
    fn of(root: &Container) -> Style {
        let first_line = root.text.split_once('\n').map(|(line, _)| line);
        let unit = root.items.first().and_then(|item| item.indentation);
        Style {
            newline: match first_line {
                Some(line) if line.ends_with('\r') => "\r\n",
                _ => "\n",
            },
            unit: unit.unwrap_or("  ").to_owned(),
        }
    }

    /// The start of a line with this indentation. Empty where items share a line.
    fn line(&self, indentation: Option<&str>) -> String {
        match indentation {
            Some(indentation) => format!("{}{indentation}", self.newline),
            None => String::new(),
        }
    }

    fn item(&self, key: &str, value: &impl Serialize, indentation: Option<&str>) -> String {
        let value = self.value(value, indentation);
        match (key, indentation) {
            ("", _) => value,
            (key, Some(_)) => format!("{}: {value}", to_json(key)),
            (key, None) => format!("{}:{value}", to_json(key)),
        }
    }

    /// A value in an item with this indentation: on several lines if the item has one of
    /// its own.
    fn value(&self, value: &impl Serialize, indentation: Option<&str>) -> String {
        match indentation {
            // A newline in a string is escaped, so each one here separates two lines.
            Some(_) => pretty(value, &self.unit).replace('\n', &self.line(indentation)),
            None => to_json(value),
        }
    }
}

fn to_json(value: &(impl Serialize + ?Sized)) -> String {
    // It cannot fail: keys are strings, and writing to memory succeeds.
    serde_json::to_string(value).unwrap_or_default()
}

fn pretty(value: &impl Serialize, unit: &str) -> String {
    let mut json = Vec::new();
    let formatter = PrettyFormatter::with_indent(unit.as_bytes());
    // It cannot fail, as above. JSON is UTF-8.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut json, formatter));
    String::from_utf8(json).unwrap_or_default()
}

/// Changes to a text, in its style, applied together. They do not overlap.
#[derive(Debug)]
pub struct Edits<'t> {
    text: &'t str,
    style: Style,
    changes: Vec<(Range<usize>, String)>,
}

impl<'t> Edits<'t> {
    /// No changes yet to the text whose outermost container is `root`.
    pub fn of(root: &Container<'t>) -> Edits<'t> {
        Edits {
            text: root.text,
            style: Style::of(root),
            changes: Vec::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    fn replace(&mut self, span: Range<usize>, text: String) {
        self.changes.push((span, text));
    }

    fn insert(&mut self, position: usize, text: String) {
        self.replace(position..position, text);
    }

    fn remove(&mut self, span: Range<usize>) {
        self.replace(span, String::new());
    }

    /// The text with the changes. Insertions at one place keep their order.
    pub fn apply(mut self) -> String {
        self.changes.sort_by_key(|(span, _)| span.start);
        let mut edited = String::with_capacity(self.text.len());
        let mut end = 0;
        for (span, new) in &self.changes {
            edited += &self.text[end..span.start];
            edited += new;
            end = span.end;
        }
        edited + &self.text[end..]
    }
}
