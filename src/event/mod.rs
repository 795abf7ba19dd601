//! An event: the server's metadata, then the client's payload.
//!
//! The payload is never parsed into values and printed again. `serde_json` validates it
//! and splits its top level into pairs of [`RawValue`], which are the text that the client
//! sent. So every digit of a number, every escape and every lone surrogate pass unchanged,
//! and no nesting is too deep: nothing recurses.
//!
//! The names of the metadata begin with `_` and are reserved: a payload's own members with
//! these names move into `_claimed`.
//!
//! - This file makes events.
//! - [`json_text`] walks JSON text without parsing it into values.
//!
//! This folder knows no HTTP, and about sinks only that they can miss events.
//!
//! Stop 6 of EDU_NOTES.md.

pub mod json_text;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use self::json_text::Object;
use crate::peer::Peer;

/// The top-level names that only the server uses. A reader that trusts `_peer_uid` trusts
/// the kernel, so a payload's own members with these names move into `_claimed`. (Names
/// that a summary does not show are also in `HIDDEN_FIELDS` of `format/line.rs`.)
pub(crate) const RESERVED_NAMES: [&str; 7] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_claimed",
    "_dropped",
];
/// The capacity reserved for a payload's members: real payloads have fewer.
const MEMBERS_CAPACITY: usize = 16;

/// A member of the event's JSON object. Key and value are valid JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// The key with its quotes.
    pub key: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

impl<'a> Field<'a> {
    /// A field of the metadata. `key` includes its quotes.
    fn new(key: &'static str, value: String) -> Self {
        Field {
            key: key.into(),
            value: value.into(),
        }
    }

    /// The key as the client spelled it, without its quotes.
    pub fn name(&self) -> &str {
        let inside = self
            .key
            .strip_prefix('"')
            .and_then(|key| key.strip_suffix('"'));
        inside.unwrap_or(&self.key)
    }
}

/// The content of one entry of the output.
#[derive(Debug)]
pub struct Event<'a> {
    /// From the server.
    metadata: Vec<Field<'a>>,
    /// From the client.
    payload: Vec<Field<'a>>,
}

impl<'a> Event<'a> {
    /// The event of one hook. `time` is a [`timestamp`], `name` comes from the target of the
    /// request, and `body` from [`decode_utf8`].
    pub fn hook(time: &str, name: &str, peer: &Peer, body: &'a str) -> Self {
        let mut payload = payload(body);
        let claimed: Vec<Field> = payload.extract_if(.., |field| is_reserved(field)).collect();

        let mut metadata = Vec::with_capacity(RESERVED_NAMES.len());
        metadata.push(Field::new(r#""_ts""#, json_string(time)));
        metadata.push(Field::new(r#""_event""#, json_string(name)));
        let pid = peer.pid.map(|pid| pid.to_string());
        metadata.extend(pid.map(|pid| Field::new(r#""_peer_pid""#, pid)));
        metadata.push(Field::new(r#""_peer_uid""#, peer.uid.to_string()));
        metadata.push(Field::new(r#""_peer_gid""#, peer.gid.to_string()));
        if !claimed.is_empty() {
            let members = claimed
                .iter()
                .map(|field| format!("{}:{}", field.key, field.value));
            let object = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            metadata.push(Field::new(r#""_claimed""#, object));
        }
        Event { metadata, payload }
    }

    /// The notice that a sink missed `count` events.
    pub fn dropped(time: &str, count: u64) -> Self {
        let metadata = vec![
            Field::new(r#""_ts""#, json_string(time)),
            Field::new(r#""_event""#, r#""_dropped""#.into()),
            Field::new(r#""_dropped""#, count.to_string()),
        ];
        Event {
            metadata,
            payload: Vec::new(),
        }
    }

    /// The event of a line of the output, which keeps its order. `None`: the line is not a
    /// JSON object.
    pub fn from_line(line: &'a str) -> Option<Self> {
        let Members(members) = serde_json::from_str(line).ok()?;
        Some(Event {
            metadata: Vec::new(),
            payload: merge_repeated_keys(members),
        })
    }

    /// The members by name.
    pub fn object(&self) -> Object<'_> {
        Object::new(self.fields().map(|field| (field.name(), &*field.value)))
    }

    /// All members of the event's JSON object, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field<'a>> {
        self.metadata.iter().chain(&self.payload)
    }
}

/// The text of a body. Bytes that are not UTF-8 become U+FFFD.
pub fn decode_utf8(body: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(body) {
        Ok(text) => text.into(),
        // This one alone would do. It is several times slower on ASCII.
        Err(_) => String::from_utf8_lossy(body),
    }
}

/// The time in UTC, to the second: `2026-02-09T10:30:00+00:00`.
pub fn timestamp(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The clock behind `_ts`. It formats the time once a second.
#[derive(Debug, Default)]
pub struct Clock {
    /// The second that `text` shows, since 1970.
    second: u64,
    text: String,
}

impl Clock {
    /// The current [`timestamp`].
    pub fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.text.is_empty() || self.second != second {
            (self.second, self.text) = (second, timestamp(now));
        }
        &self.text
    }
}

/// The members of a payload. A body that is not a JSON object becomes the text of `_raw`.
fn payload(body: &str) -> Vec<Field<'_>> {
    if body.is_empty() {
        return Vec::new();
    }
    match serde_json::from_str::<Members>(body) {
        Ok(Members(members)) => merge_repeated_keys(members),
        Err(_) => vec![Field::new(r#""_raw""#, json_string(body))],
    }
}

/// A repeated key keeps its first place and its last value, as in Python's `dict`.
fn merge_repeated_keys(members: Vec<Field>) -> Vec<Field> {
    if !may_have_repeated_keys(&members) {
        return members;
    }
    let mut indices = HashMap::new();
    let mut fields: Vec<Field> = Vec::new();
    for field in members {
        let name = json_text::canonical(field.name()).into_owned();
        let index = *indices.entry(name).or_insert(fields.len());
        match fields.get_mut(index) {
            Some(first) => first.value = field.value,
            None => fields.push(field),
        }
    }
    fields
}

/// Whether some key may occur more than once. Sorted keys that are equal are neighbours;
/// comparing lengths first is faster than comparing texts. Escapes can spell equal keys
/// differently, so any escape counts as a yes.
fn may_have_repeated_keys(members: &[Field]) -> bool {
    let mut names: Vec<_> = members.iter().map(Field::name).collect();
    names.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let has_no_escape = |name: &&str| name.bytes().all(|byte| byte != b'\\');
    !names.iter().all(has_no_escape) || names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether a field has a reserved name. All reserved names begin with `_`, which an escape
/// can spell too.
fn is_reserved(field: &Field) -> bool {
    let name = field.name();
    name.starts_with(['_', '\\']) && RESERVED_NAMES.contains(&json_text::decode(name).as_ref())
}

/// `text` as a JSON string, with quotes.
fn json_string(text: &str) -> String {
    // It cannot fail: every text has a JSON form, and writing to memory succeeds.
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON object as its members in order, each as it is spelled.
struct Members<'a>(Vec<Field<'a>>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Vec::with_capacity(MEMBERS_CAPACITY);
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (key, value) = (key.get().into(), value.get().into());
            members.push(Field { key, value });
        }
        Ok(Members(members))
    }
}
