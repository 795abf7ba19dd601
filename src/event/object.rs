//! An object whose members are looked up by name.
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_text::{decode, members, unquoted};

/// Members that can be looked up. Real objects have fewer. A bound, since a client can send
/// millions.
const MAX_MEMBERS: usize = 256;

/// An object in JSON text, and its members: names are decoded, values are as spelled.
#[derive(Debug)]
pub struct Object<'a> {
    text: &'a str,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

impl<'a> Object<'a> {
    /// Validates text and reads its members. `None`: the text is not a JSON object.
    pub fn validate(text: &'a str) -> Option<Self> {
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(MembersVisitor).ok()?;
        json.end().ok()?;
        Some(Object { text, members })
    }

    /// The object in a value that is valid JSON. A value that is not an object has no members.
    pub fn parse(text: &'a str) -> Self {
        let text = if text.starts_with('{') { text } else { "" };
        let members = members(text).take(MAX_MEMBERS);
        let members = members.map(|(key, value)| (decode(key), value));
        Object {
            text,
            members: members.collect(),
        }
    }

    /// The bytes of its text.
    pub fn length(&self) -> usize {
        self.text.len()
    }

    /// All members in order, each as it is spelled.
    pub fn members(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        members(self.text)
    }

    /// The value of a member: the last one, if the name is repeated.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let member = self.members.iter().rfind(|(key, _)| key == name);
        member.map(|(_, value)| *value)
    }

    /// The value of a member that is a non-empty string: as spelled, without its quotes.
    pub fn string(&self, name: &str) -> Option<&'a str> {
        let text = unquoted(self.get(name)?)?;
        (!text.is_empty()).then_some(text)
    }

    /// The text of a member that is a non-empty string.
    pub fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        self.string(name).map(decode)
    }
}

/// Reads the members of an object.
struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Vec<(Cow<'de, str>, &'de str)>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(32);
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            if members.len() < MAX_MEMBERS {
                members.push((decode(unquoted(key.get()).unwrap_or_default()), value.get()));
            }
        }
        Ok(members)
    }
}
