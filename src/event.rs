//! An event: what the server knows of a request, then what the client said.
//!
//! The payload is never rebuilt. `serde_json` validates it and cuts its top
//! level into `(key, value)` pairs of [`RawValue`], the text as the client
//! spelled it, so every digit of a number, every escape and half an emoji pass
//! untouched, and no nesting is too deep: nothing recurses.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::format::text;
use crate::peer::Peer;

/// The top-level names that only the server may use. A reader that trusts
/// `_peer_uid` trusts the kernel: what a payload claims under these names
/// moves into [`CLAIMED`].
const RESERVED: [&str; 7] = [
    "_ts",
    "_event",
    "_peer_pid",
    "_peer_uid",
    "_peer_gid",
    CLAIMED,
    DROPPED,
];
const CLAIMED: &str = "_claimed";
const DROPPED: &str = "_dropped";

/// A member of the event's object: two pieces of valid JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct Field<'a> {
    /// With its quotes.
    pub key: Cow<'a, str>,
    pub value: Cow<'a, str>,
}

impl<'a> Field<'a> {
    fn new(name: &str, value: String) -> Self {
        Field {
            key: quoted(name).into(),
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
    fields: Vec<Field<'a>>,
}

impl<'a> Event<'a> {
    /// The event of one hook. `time` is a [`timestamp`], `name` comes from the
    /// request's target, `body` from [`decode`].
    pub fn hook(time: &str, name: &str, peer: &Peer, body: &'a str) -> Self {
        let mut fields = vec![
            Field::new("_ts", quoted(time)),
            Field::new("_event", quoted(name)),
        ];
        fields.extend(peer.pid.map(|pid| Field::new("_peer_pid", pid.to_string())));
        fields.push(Field::new("_peer_uid", peer.uid.to_string()));
        fields.push(Field::new("_peer_gid", peer.gid.to_string()));

        let (claimed, payload) = payload(body)
            .into_iter()
            .partition::<Vec<_>, _>(is_reserved);
        if !claimed.is_empty() {
            let members = claimed
                .iter()
                .map(|field| format!("{}:{}", field.key, field.value));
            let object = format!("{{{}}}", members.collect::<Vec<_>>().join(","));
            fields.push(Field::new(CLAIMED, object));
        }
        fields.extend(payload);
        Event { fields }
    }

    /// Says that a reader did not get `count` events.
    pub fn dropped(time: &str, count: u64) -> Self {
        let fields = vec![
            Field::new("_ts", quoted(time)),
            Field::new("_event", quoted(DROPPED)),
            Field::new(DROPPED, count.to_string()),
        ];
        Event { fields }
    }

    /// The members of the event's object, in order.
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
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
pub fn timestamp(now: std::time::SystemTime) -> String {
    let now = jiff::Timestamp::try_from(now).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    now.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

/// The payload's members; for a body that is not a JSON object, `_raw` with its text.
fn payload(body: &str) -> Vec<Field<'_>> {
    if body.is_empty() {
        return Vec::new();
    }
    match serde_json::from_str::<Members>(body) {
        Ok(Members(members)) => last_of_each(members),
        Err(_) => vec![Field::new("_raw", quoted(body))],
    }
}

/// A repeated key keeps its first place and its last value, as in Python's `dict`.
fn last_of_each<'a>(members: Vec<(&'a str, &'a str)>) -> Vec<Field<'a>> {
    let mut places = HashMap::with_capacity(members.len());
    let mut fields: Vec<Field> = Vec::with_capacity(members.len());
    for (key, value) in members {
        let place = *places.entry(text::canonical(key)).or_insert(fields.len());
        match fields.get_mut(place) {
            Some(field) => field.value = value.into(),
            None => fields.push(Field {
                key: key.into(),
                value: value.into(),
            }),
        }
    }
    fields
}

fn is_reserved(field: &Field) -> bool {
    RESERVED.contains(&text::decode(field.name()).as_ref())
}

/// `text` as a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A JSON object as its keys and values in order, each as it is spelled.
struct Members<'a>(Vec<(&'a str, &'a str)>);

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
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<&RawValue, &RawValue>()? {
            members.push((key.get(), value.get()));
        }
        Ok(Members(members))
    }
}
