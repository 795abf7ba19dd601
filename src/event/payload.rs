//! The payload: what becomes of a client's body in its event.
//!
//! `serde_json` validates the body, and splits its top level into keys and values, which are
//! the text that the client sent ([`RawValue`]). In nearly all bodies no key is repeated or reserved.
//! Then the members are written as they are.
//!
//! To find repeated keys, a few keys are compared with each other. More are hashed and sorted,
//! eight bytes for each, which takes about as long as reading the body. A hash table would be
//! slower, because each look-up in a large one is a cache miss.
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::compact;
use super::json_text::{self, string_length, tokens};

/// The top-level names that only the server uses. A reader that trusts `_peer_uid` trusts
/// the kernel, so a payload's own members with these names move into `_claimed`. (All but
/// `_claimed` are also in `HIDDEN_FIELDS` of `format/summary.rs`: no summary shows them.)
pub(crate) const RESERVED_NAMES: [&str; 8] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_claimed",
    "_dropped",
    "_gone",
];
/// Real payloads have fewer keys. So few are compared faster than hashed.
const FEW_KEYS: usize = 32;
/// No offset. A body of this length or more is kept as text.
const NO_OFFSET: u32 = u32::MAX;

/// What a payload says about the session that it is from: JSON strings as the client spelled
/// them, with their quotes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SessionFields<'a> {
    pub id: Option<&'a str>,
    pub cwd: Option<&'a str>,
}

/// Writes the members of a payload, each after a comma. A body that is not a JSON object
/// becomes the text of `_raw`. Returns what the payload says about its session. `event_name` is
/// the event's name, as a JSON string, if that is reserved: it moves into `_claimed`.
pub fn write<'a>(
    body: &'a str,
    event_name: Option<&'static str>,
    out: &mut String,
) -> SessionFields<'a> {
    let object = if body.is_empty() { "{}" } else { body };
    let Some(members) = Members::read(object, event_name) else {
        write_claimed(&claimed(event_name), out);
        out.push_str(",\"_raw\":");
        compact::write_string(body, out);
        return SessionFields::default();
    };
    let repeated = find_repeated(members.keys, members.has_escapes, object);
    if !members.claimed.is_empty() || !repeated.is_empty() {
        write_members(object, &members.claimed, &repeated, out);
        return members.session;
    }
    let object = object.trim_ascii();
    let inside = object[1..object.len() - 1].trim_ascii();
    if !inside.is_empty() {
        out.push(',');
        let write = if members.is_compact {
            compact::escape
        } else {
            compact::write
        };
        write(inside, out);
    }
    members.session
}

/// The first member of `_claimed`.
fn claimed(event_name: Option<&'static str>) -> Vec<(&'static str, &'static str)> {
    let name = event_name.map(|name| ("_event", name));
    name.into_iter().collect()
}

fn write_claimed(claimed: &[(&str, &str)], out: &mut String) {
    for (number, (key, value)) in claimed.iter().enumerate() {
        out.push_str(if number == 0 { ",\"_claimed\":{" } else { "," });
        compact::write_member(key, value, out);
    }
    if !claimed.is_empty() {
        out.push('}');
    }
}

/// The members of a body: the keys, those that are special, and what says which session it is
/// from.
struct Members<'a> {
    body: &'a str,
    /// Whether keys may have escapes.
    has_escapes: bool,
    /// The keys that are not reserved, in order.
    keys: Vec<Key>,
    /// The members with reserved names, each name once: the key as it is spelled, without its
    /// quotes, and the last value.
    claimed: Vec<(&'a str, &'a str)>,
    session: SessionFields<'a>,
    /// Whether there is no white space between the tokens of the members.
    is_compact: bool,
    /// Where the last member ends.
    end: usize,
}

/// A key that is not reserved. This and the next two structs have the same size, so that a `Vec` of
/// one becomes a `Vec` of the next in place.
#[derive(Clone, Copy)]
struct Key {
    /// Where in the body its text is, after the quote.
    offset: u32,
    length: u32,
}

/// A key, and the hash of its name.
#[derive(Clone, Copy)]
struct HashedKey {
    offset: u32,
    hash: u32,
}

/// A key that occurs more than once.
#[derive(Clone, Copy)]
struct RepeatedKey {
    offset: u32,
    /// The offset of the key whose value it gets. [`NO_OFFSET`]: it is not written.
    value_offset: u32,
}

impl<'a> Members<'a> {
    /// Reads a body. `None`: it is not a JSON object, or so long that offsets do not fit.
    ///
    /// `serde_json` reads a key faster as a `&str` than as a [`RawValue`], but refuses one with an
    /// escape. So a body with such a key, or that is not JSON, is read twice.
    fn read(body: &'a str, event_name: Option<&'static str>) -> Option<Self> {
        if body.len() >= NO_OFFSET as usize {
            return None;
        }
        let read = |has_escapes| {
            let mut json = serde_json::Deserializer::from_str(body);
            let mut members = Members {
                body,
                has_escapes,
                keys: Vec::with_capacity(FEW_KEYS),
                claimed: claimed(event_name),
                session: SessionFields::default(),
                is_compact: true,
                end: 0,
            };
            json.deserialize_map(&mut members).ok()?;
            json.end().ok()?;
            Some(members)
        };
        read(false).or_else(|| read(true))
    }

    fn add(&mut self, key: &'a str, value: &'a str) {
        let (key_at, value_at) = (offset_in(self.body, key), offset_in(self.body, value));
        // `{"` or `,"`, the key, `":`, and the value.
        self.is_compact &= key_at == self.end + 2
            && value_at == key_at + key.len() + 2
            && !compact::has_white_space(value);
        self.end = value_at + value.len();
        // Of a repeated key, the last value counts.
        let string = value.starts_with('"').then_some(value);
        match key {
            "session_id" => self.session.id = string,
            "cwd" => self.session.cwd = string,
            _ if is_reserved(key) => return self.add_claimed(key, value),
            _ => {}
        }
        self.keys.push(Key {
            offset: key_at as u32,
            length: key.len() as u32,
        });
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

/// Writes `_claimed`, and then the other members.
fn write_members(body: &str, claimed: &[(&str, &str)], repeated: &[RepeatedKey], out: &mut String) {
    write_claimed(claimed, out);
    let mut repeated = repeated.iter().peekable();
    for (key, mut value) in json_text::members(body) {
        if let Some(key) = repeated.next_if(|other| other.offset as usize == offset_in(body, key)) {
            if key.value_offset == NO_OFFSET {
                continue;
            }
            // From the quote before the key.
            let last = tokens(&body[key.value_offset as usize - 1..]).take_member();
            value = last.map_or(value, |(_, value)| value);
        } else if is_reserved(key) {
            continue;
        }
        out.push(',');
        compact::write_member(key, value, out);
    }
}

/// The keys that occur more than once, in order. The first one gets the value of the last one and
/// the others are not written, as in Python's `dict`.
fn find_repeated(keys: Vec<Key>, has_escapes: bool, body: &str) -> Vec<RepeatedKey> {
    // An escape can spell equal keys differently.
    if !has_escapes && are_distinct(&keys, body) {
        return Vec::new();
    }
    let mut keys = link_to_last(sort_by_name(keys, body), body);
    for same_name in keys.chunk_by_mut(|a, b| a.value_offset == b.value_offset) {
        if let Some((_, later)) = same_name.split_last_mut() {
            later
                .iter_mut()
                .for_each(|key| key.value_offset = NO_OFFSET);
        }
    }
    keys.retain(|key| key.value_offset != key.offset);
    keys.sort_unstable_by_key(|key| key.offset);
    keys
}

/// Sorts keys so that those with the same name follow each other, the last one in the body first.
fn sort_by_name(keys: Vec<Key>, body: &str) -> Vec<HashedKey> {
    // Random: no client can choose many keys with the same hash.
    let hasher = RandomState::new();
    let hashed = keys.into_iter().map(|key| HashedKey {
        offset: key.offset,
        hash: hasher.hash_one(json_text::canonical(text(key, body))) as u32,
    });
    let mut keys: Vec<HashedKey> = hashed.collect();
    keys.sort_unstable_by_key(|key| (key.hash, Reverse(key.offset)));
    for same_hash in keys.chunk_by_mut(|a, b| a.hash == b.hash) {
        let first = same_hash[0].offset;
        if !same_hash
            .iter()
            .all(|key| have_same_name(key.offset, first, body))
        {
            same_hash.sort_unstable_by_key(|key| (name_at(key.offset, body), Reverse(key.offset)));
        }
    }
    keys
}

/// Gives each key the value of the last key with the same name. The keys come from
/// [`sort_by_name`], and their order stays.
fn link_to_last(keys: Vec<HashedKey>, body: &str) -> Vec<RepeatedKey> {
    let mut last = keys.first().copied();
    let linked = keys.into_iter().map(|key| {
        let is_same = |last: &HashedKey| {
            last.hash == key.hash && have_same_name(last.offset, key.offset, body)
        };
        let last = match last.filter(is_same) {
            Some(last) => last,
            None => *last.insert(key),
        };
        RepeatedKey {
            offset: key.offset,
            value_offset: last.offset,
        }
    });
    linked.collect()
}

/// Whether it is clear without hashes that no key is repeated. Keys differ mostly in their lengths,
/// so these are compared first.
fn are_distinct(keys: &[Key], body: &str) -> bool {
    // As bytes: a slice of a `str` would be checked for character boundaries.
    let name = |key: &Key| &body.as_bytes()[key.offset as usize..][..key.length as usize];
    let is_new = |(number, key): (usize, &Key)| {
        let is_equal = |other: &Key| other.length == key.length && name(other) == name(key);
        !keys[..number].iter().any(is_equal)
    };
    keys.len() <= FEW_KEYS && keys.iter().enumerate().all(is_new)
}

/// A key as it is spelled.
fn text(key: Key, body: &str) -> &str {
    let start = key.offset as usize;
    &body[start..start + key.length as usize]
}

/// The key at this offset as it is spelled.
fn text_at(offset: u32, body: &str) -> &str {
    let rest = &body[offset as usize..];
    &rest[..string_length(rest.as_bytes())]
}

/// The name of the key at this offset: the same for all spellings.
fn name_at(offset: u32, body: &str) -> Cow<'_, str> {
    json_text::canonical(text_at(offset, body))
}

/// Whether the keys at these offsets have the same name.
fn have_same_name(a: u32, b: u32, body: &str) -> bool {
    a == b || text_at(a, body) == text_at(b, body) || name_at(a, body) == name_at(b, body)
}

/// The offset of a text in the body that it is a part of.
fn offset_in(body: &str, text: &str) -> usize {
    text.as_ptr().addr() - body.as_ptr().addr()
}

/// Whether a key has a reserved name. All reserved names begin with `_`, which an escape can
/// spell too.
fn is_reserved(key: &str) -> bool {
    key.starts_with(['_', '\\']) && RESERVED_NAMES.contains(&json_text::decode(key).as_ref())
}

impl<'de> Visitor<'de> for &mut Members<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        loop {
            let key = if self.has_escapes {
                let key = map.next_key::<&RawValue>()?;
                key.map(|key| json_text::unquoted(key.get()).unwrap_or_default())
            } else {
                map.next_key::<&str>()?
            };
            let Some(key) = key else { return Ok(()) };
            self.add(key, map.next_value::<&RawValue>()?.get());
        }
    }
}
