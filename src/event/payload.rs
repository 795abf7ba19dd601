//! The payload: what becomes of a client's body in its event.
//!
//! `serde_json` validates the body, and splits its top level into pairs of [`RawValue`], which
//! are the text that the client sent. In nearly all bodies no key is repeated or reserved.
//! Then the members are written as they are. To know that costs about as much as reading the
//! body, in time and in memory: the table of keys has 5 bytes for each.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_text::{self, string_length, tokens};
use super::{RESERVED_NAMES, compact};

/// Keys that the table has room for at first: real payloads have fewer.
const KEYS_CAPACITY: usize = 28;

/// Writes the members of a payload, each after a comma. A body that is not a JSON object
/// becomes the text of `_raw`.
pub fn write(body: &str, out: &mut String) {
    if body.is_empty() {
        return;
    }
    let mut members = Members::new(body);
    if members.read().is_err() {
        out.push_str(",\"_raw\":");
        compact::write_string(body, out);
    } else if members.has_repeats || !members.claimed.is_empty() {
        members.write(out);
    } else if !members.keys.is_empty() {
        let object = body.trim_ascii();
        out.push(',');
        compact::write(&object[1..object.len() - 1], out);
    }
}

/// The members of a body.
struct Members<'a> {
    body: &'a str,
    /// The offset of each key, of the last one if it is repeated. Without the reserved ones.
    keys: HashTable<u32>,
    /// Random, so that no client can find keys with equal hashes.
    hasher: RandomState,
    has_repeats: bool,
    /// The members with reserved names, each name once: the key as it is spelled, without its
    /// quotes, and the last value.
    claimed: Vec<(&'a str, &'a str)>,
}

impl<'a> Members<'a> {
    fn new(body: &'a str) -> Self {
        Members {
            body,
            keys: HashTable::with_capacity(KEYS_CAPACITY),
            hasher: RandomState::new(),
            has_repeats: false,
            claimed: Vec::new(),
        }
    }

    /// Reads all members. Fails if the body is not a JSON object.
    fn read(&mut self) -> serde_json::Result<()> {
        let mut json = serde_json::Deserializer::from_str(self.body);
        json.deserialize_map(&mut *self)?;
        json.end()
    }

    fn add(&mut self, offset: u32, key: &'a str, value: &'a str) {
        if is_reserved(key) {
            let name = json_text::decode(key);
            let mut claimed = self.claimed.iter_mut();
            match claimed.find(|(key, _)| json_text::decode(key) == name) {
                Some((_, first)) => *first = value,
                None => self.claimed.push((key, value)),
            }
            return;
        }
        let body = self.body;
        let hash = |offset: &u32| self.hasher.hash_one(name_at(body, *offset));
        let is_same = |other: &u32| name_at(body, *other) == json_text::canonical(key);
        match self.keys.entry(hash(&offset), is_same, hash) {
            Entry::Occupied(mut last) => {
                *last.get_mut() = offset;
                self.has_repeats = true;
            }
            Entry::Vacant(entry) => drop(entry.insert(offset)),
        }
    }

    /// Writes `_claimed`, and then the other members. A repeated key keeps its first place
    /// and its last value, as in Python's `dict`.
    fn write(mut self, out: &mut String) {
        for (number, (key, value)) in self.claimed.iter().enumerate() {
            out.push_str(if number == 0 { ",\"_claimed\":{" } else { "," });
            compact::write_member(key, value, out);
        }
        if !self.claimed.is_empty() {
            out.push('}');
        }
        for (key, _) in json_text::members(self.body) {
            let name = json_text::canonical(key);
            let is_same = |other: &u32| name_at(self.body, *other) == name;
            let hash = self.hasher.hash_one(&name);
            // Each key is found once, at its first place. A reserved key is not in the table.
            let last = self.keys.find_entry(hash, is_same).ok();
            let offset = last.map(|last| last.remove().0 as usize);
            let member = offset.and_then(|offset| tokens(&self.body[offset..]).take_member());
            if let Some((_, value)) = member {
                out.push(',');
                compact::write_member(key, value, out);
            }
        }
    }
}

impl<'de> Visitor<'de> for &mut Members<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            // The key is a part of the body. One beyond 4 GiB does not fit the table: then the
            // body is kept as text.
            let offset = key.get().as_ptr().addr() - self.body.as_ptr().addr();
            let offset = u32::try_from(offset).map_err(A::Error::custom)?;
            let key = json_text::unquoted(key.get()).unwrap_or_default();
            self.add(offset, key, value.get());
        }
        Ok(())
    }
}

/// The name that begins, with a quote, at this offset: the same for all spellings.
fn name_at(body: &str, offset: u32) -> Cow<'_, str> {
    let key = &body[offset as usize + 1..];
    json_text::canonical(&key[..string_length(key.as_bytes())])
}

/// Whether a key has a reserved name. All reserved names begin with `_`, which an escape can
/// spell too.
fn is_reserved(key: &str) -> bool {
    key.starts_with(['_', '\\']) && RESERVED_NAMES.contains(&json_text::decode(key).as_ref())
}
