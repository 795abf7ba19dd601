//! An event: what the server knows of a request, then what the client said.
//!
//! The payload is never rebuilt. `serde_json` validates it and cuts its top
//! level into `(key, value)` pairs of [`RawValue`], the text as the client
//! spelled it, so every digit of a number, every escape and half an emoji pass
//! untouched, and no nesting is too deep: nothing recurses.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::format::text;
use crate::peer::Peer;

/// The top-level names that only the server may use. A reader that trusts
/// `_peer_uid` trusts the kernel: what a payload claims under these names
/// moves into `_claimed`.
const RESERVED: [&str; 7] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    "_claimed",
    "_dropped",
];
/// Members for which there is room before a payload's memory must grow.
const MEMBERS: usize = 16;

/// A member of the event's object: two pieces of valid JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// With its quotes.
    pub key: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

impl<'a> Field<'a> {
    /// A field of the server's own. The key comes with its quotes.
    fn new(key: &'static str, value: String) -> Self {
        Field {
            key: key.into(),
            value: value.into(),
        }
    }

    /// The key as spelled, without its quotes.
    pub fn name(&self) -> &str {
        let inside = self
            .key
            .strip_prefix('"')
            .and_then(|key| key.strip_suffix('"'));
        inside.unwrap_or(&self.key)
    }
}

/// What one line of output says.
#[derive(Debug)]
pub struct Event<'a> {
    /// What the server says.
    metadata: Vec<Field<'a>>,
    /// What the client says.
    payload: Vec<Field<'a>>,
}

impl<'a> Event<'a> {
    /// The event of one hook. `time` is a [`timestamp`], `name` comes from the
    /// request's target, `body` from [`decode`].
    pub fn hook(time: &str, name: &str, peer: &Peer, body: &'a str) -> Self {
        let mut payload = payload(body);
        let claimed: Vec<Field> = payload.extract_if(.., |field| is_reserved(field)).collect();

        let mut metadata = Vec::with_capacity(RESERVED.len());
        metadata.push(Field::new(r#""_ts""#, quoted(time)));
        metadata.push(Field::new(r#""_event""#, quoted(name)));
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

    /// Says that a reader did not get `count` events.
    pub fn dropped(time: &str, count: u64) -> Self {
        let metadata = vec![
            Field::new(r#""_ts""#, quoted(time)),
            Field::new(r#""_event""#, r#""_dropped""#.into()),
            Field::new(r#""_dropped""#, count.to_string()),
        ];
        Event {
            metadata,
            payload: Vec::new(),
        }
    }

    /// The members of the event's object, in order.
    pub fn fields(&self) -> impl Iterator<Item = &Field<'a>> {
        self.metadata.iter().chain(&self.payload)
    }
}

/// A body as text: UTF-8, with U+FFFD for what is not.
pub fn decode(body: &[u8]) -> Cow<'_, str> {
    match str::from_utf8(body) {
        Ok(text) => text.into(),
        // This finds what is wrong, many times more slowly than the other that
        // nothing is.
        Err(_) => String::from_utf8_lossy(body),
    }
}

/// `2026-02-09T10:30:00+00:00`.
pub fn timestamp(now: SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The time as events tell it. It is put into words once a second.
#[derive(Debug, Default)]
pub struct Clock {
    /// Since 1970.
    second: u64,
    text: String,
}

impl Clock {
    /// The [`timestamp`] of this moment.
    pub fn now(&mut self) -> &str {
        let now = SystemTime::now();
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.text.is_empty() || self.second != second {
            (self.second, self.text) = (second, timestamp(now));
        }
        &self.text
    }
}

/// The payload's members; for a body that is not a JSON object, `_raw` with its text.
fn payload(body: &str) -> Vec<Field<'_>> {
    if body.is_empty() {
        return Vec::new();
    }
    match serde_json::from_str::<Members>(body) {
        Ok(Members(members)) => last_of_each(members),
        Err(_) => vec![Field::new(r#""_raw""#, quoted(body))],
    }
}

/// A repeated key keeps its first place and its last value, as in Python's `dict`.
fn last_of_each(members: Vec<Field>) -> Vec<Field> {
    if !may_have_repeats(&members) {
        return members;
    }
    let mut places = HashMap::new();
    let mut fields: Vec<Field> = Vec::new();
    for field in members {
        let name = text::canonical(field.name()).into_owned();
        let place = *places.entry(name).or_insert(fields.len());
        match fields.get_mut(place) {
            Some(first) => first.value = field.value,
            None => fields.push(field),
        }
    }
    fields
}

/// Whether some key may come more than once: in any order, two that are the same
/// stand side by side (most differ in length already). Where a key is spelled
/// with escapes, that takes a closer look.
fn may_have_repeats(members: &[Field]) -> bool {
    let mut names: Vec<_> = members.iter().map(Field::name).collect();
    names.sort_unstable_by(|a, b| (a.len(), a).cmp(&(b.len(), b)));
    let is_spelled_plainly = |name: &&str| name.bytes().all(|byte| byte != b'\\');
    !names.iter().all(is_spelled_plainly) || names.windows(2).any(|pair| pair[0] == pair[1])
}

/// Whether a field has a name that is the server's alone. All of these begin
/// with `_`, which an escape can stand for.
fn is_reserved(field: &Field) -> bool {
    let name = field.name();
    name.starts_with(['_', '\\']) && RESERVED.contains(&text::decode(name).as_ref())
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    // It cannot fail: a string has a form in JSON, and memory takes it.
    serde_json::to_string(text).unwrap_or_default()
}

/// A JSON object as its keys and values in order, each as it is spelled.
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
        let mut members = Vec::with_capacity(MEMBERS);
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            let (key, value) = (key.get().into(), value.get().into());
            members.push(Field { key, value });
        }
        Ok(Members(members))
    }
}
