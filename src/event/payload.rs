//! The payload: what becomes of a client's body in its event.
//!
//! `serde_json` validates the body, and splits its top level into pairs of [`RawValue`], which
//! are the text that the client sent. In nearly all bodies no key is repeated or reserved.
//! Then the members are written as they are.
//!
//! To know that costs about as much as reading the body: eight bytes for each key, which are
//! sorted. A hash table would not do, because each look-up in a large one is a cache miss.
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::json_text::{self, string_length, tokens};
use super::{RESERVED_NAMES, SessionFields, compact};

/// Real payloads have fewer keys. So few are compared faster than hashed.
const FEW_KEYS: usize = 32;
/// No offset. A longer body is kept as text.
const NOWHERE: u32 = u32::MAX;

/// Writes the members of a payload, each after a comma. A body that is not a JSON object
/// becomes the text of `_raw`. Returns what the payload says about its session.
pub fn write<'a>(body: &'a str, out: &mut String) -> SessionFields<'a> {
    if body.is_empty() {
        return SessionFields::default();
    }
    let Some(members) = Members::read(body) else {
        out.push_str(",\"_raw\":");
        compact::write_string(body, out);
        return SessionFields::default();
    };
    if !members.claimed.is_empty() || !members.repeated.is_empty() {
        members.write(out);
        return members.session;
    }
    let object = body.trim_ascii();
    let inside = object[1..object.len() - 1].trim_ascii();
    if !inside.is_empty() {
        out.push(',');
        compact::write(inside, out);
    }
    members.session
}

/// What is special about the members of a body.
struct Members<'a> {
    body: &'a str,
    /// The members with reserved names, each name once: the key as it is spelled, without its
    /// quotes, and the last value.
    claimed: Vec<(&'a str, &'a str)>,
    /// The other keys that occur more than once, in order.
    repeated: Vec<Key>,
    session: SessionFields<'a>,
}

/// A key that is not reserved.
#[derive(Clone, Copy)]
struct Key {
    /// Where in the body its text is, after the quote.
    offset: u32,
    /// The length of its text. Then a hash. For a repeated key, then the offset of the key
    /// whose value it gets, or [`NOWHERE`].
    tag: u32,
}

impl<'a> Members<'a> {
    /// Reads a body. `None`: it is not a JSON object, or so long that offsets do not fit.
    fn read(body: &'a str) -> Option<Self> {
        if body.len() >= NOWHERE as usize {
            return None;
        }
        let mut json = serde_json::Deserializer::from_str(body);
        let mut reader = KeyReader {
            body,
            keys: Vec::with_capacity(FEW_KEYS),
            claimed: Vec::new(),
            session: SessionFields::default(),
        };
        json.deserialize_map(&mut reader).ok()?;
        json.end().ok()?;
        Some(Members {
            body,
            claimed: reader.claimed,
            repeated: find_repeated(reader.keys, body),
            session: reader.session,
        })
    }

    /// Writes `_claimed`, and then the other members.
    fn write(&self, out: &mut String) {
        for (number, (key, value)) in self.claimed.iter().enumerate() {
            out.push_str(if number == 0 { ",\"_claimed\":{" } else { "," });
            compact::write_member(key, value, out);
        }
        if !self.claimed.is_empty() {
            out.push('}');
        }
        let mut repeated = self.repeated.iter().peekable();
        for (key, mut value) in json_text::members(self.body) {
            if let Some(key) = repeated.next_if(|other| other.offset == offset(key, self.body)) {
                if key.tag == NOWHERE {
                    continue;
                }
                // From the quote before the key.
                let last = tokens(&self.body[key.tag as usize - 1..]).take_member();
                value = last.map_or(value, |(_, value)| value);
            } else if is_reserved(key) {
                continue;
            }
            out.push(',');
            compact::write_member(key, value, out);
        }
    }
}

/// The keys that occur more than once. The first one gets the value of the last one and the
/// others are not written, as in Python's `dict`.
fn find_repeated(mut keys: Vec<Key>, body: &str) -> Vec<Key> {
    if are_distinct(&keys, body) {
        return Vec::new();
    }
    // Random: no client can choose many keys with the same hash.
    let hasher = RandomState::new();
    for key in &mut keys {
        key.tag = hasher.hash_one(json_text::canonical(text(*key, body))) as u32;
    }
    keys.sort_unstable_by_key(|key| key.tag);
    for same_hash in keys.chunk_by_mut(|a, b| a.tag == b.tag) {
        if same_hash.len() > 1 {
            same_hash.sort_unstable_by_key(|key| (name(*key, body), key.offset));
        }
        for same_name in same_hash.chunk_by_mut(|a, b| name(*a, body) == name(*b, body)) {
            let last = same_name.last().map(|key| key.offset);
            same_name.iter_mut().for_each(|key| key.tag = NOWHERE);
            same_name[0].tag = last.unwrap_or(NOWHERE);
        }
    }
    keys.retain(|key| key.tag != key.offset);
    keys.sort_unstable_by_key(|key| key.offset);
    keys
}

/// Whether it is clear without hashes that no key is repeated. An escape can spell equal keys
/// differently. Keys differ mostly in their lengths, which are their tags.
fn are_distinct(keys: &[Key], body: &str) -> bool {
    let is_new = |(number, key): (usize, &Key)| {
        let is_same = |other: &Key| other.tag == key.tag && text(*other, body) == text(*key, body);
        !text(*key, body).contains('\\') && !keys[..number].iter().any(is_same)
    };
    keys.len() <= FEW_KEYS && keys.iter().enumerate().all(is_new)
}

/// The text of a key whose tag is its length.
fn text(key: Key, body: &str) -> &str {
    &body[key.offset as usize..][..key.tag as usize]
}

/// The name of a key: the same for all spellings.
fn name(key: Key, body: &str) -> Cow<'_, str> {
    let rest = &body[key.offset as usize..];
    json_text::canonical(&rest[..string_length(rest.as_bytes())])
}

/// Where in the body a key is.
fn offset(key: &str, body: &str) -> u32 {
    (key.as_ptr().addr() - body.as_ptr().addr()) as u32
}

/// Whether a key has a reserved name. All reserved names begin with `_`, which an escape can
/// spell too.
fn is_reserved(key: &str) -> bool {
    key.starts_with(['_', '\\']) && RESERVED_NAMES.contains(&json_text::decode(key).as_ref())
}

/// Reads the keys of a body, and the members that are special.
struct KeyReader<'a> {
    body: &'a str,
    keys: Vec<Key>,
    claimed: Vec<(&'a str, &'a str)>,
    session: SessionFields<'a>,
}

impl<'a> KeyReader<'a> {
    fn add(&mut self, key: &'a str, value: &'a str) {
        // Of a repeated key, the last value counts.
        let string = value.starts_with('"').then_some(value);
        match key {
            "session_id" => self.session.id = string,
            "cwd" => self.session.cwd = string,
            _ if is_reserved(key) => return self.add_claimed(key, value),
            _ => {}
        }
        let (offset, tag) = (offset(key, self.body), key.len() as u32);
        self.keys.push(Key { offset, tag });
    }

    fn add_claimed(&mut self, key: &'a str, value: &'a str) {
        let name = json_text::decode(key);
        let mut claimed = self.claimed.iter_mut();
        match claimed.find(|(key, _)| json_text::decode(key) == name) {
            Some((_, last)) => *last = value,
            None => self.claimed.push((key, value)),
        }
    }
}

impl<'de> Visitor<'de> for &mut KeyReader<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let key = json_text::unquoted(key.get()).unwrap_or_default();
            self.add(key, value.get());
        }
        Ok(())
    }
}
