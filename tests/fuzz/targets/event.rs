//! Any body, in every format. Compact JSON is one line of printable ASCII, and no format
//! contains control characters that a terminal would obey.

#![no_main]

use hooks_observatory::event::{Event, decode_utf8};
use hooks_observatory::format::Format;
use hooks_observatory::peer::Peer;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

const PEER: Peer = Peer {
    pid: None,
    uid: 1,
    gid: 2,
};
const METADATA: &str = "{\"_ts\":\"T\",\"_event\":\"E\",\"_peer_uid\":1,\"_peer_gid\":2";

/// Whether no character is a control character, except for those in `allowed`.
fn is_safe(text: &str, allowed: &[char]) -> bool {
    text.chars()
        .all(|char| !char.is_control() || allowed.contains(&char))
}

fuzz_target!(|body: &[u8]| {
    let body = decode_utf8(body);
    let event = Event::hook("T", "E", &PEER, &body);
    let print = |format: Format| {
        let mut out = String::new();
        format.write(&event, &mut out);
        out
    };
    let compact = print(Format::Compact);
    let json = compact.strip_suffix('\n').unwrap();
    assert!(json.is_ascii() && is_safe(json, &[]));
    assert!(json.starts_with(METADATA));
    assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "{json}");

    let pretty_json = print(Format::PrettyJson);
    assert!(pretty_json.is_ascii() && is_safe(&pretty_json, &['\n']));

    let yaml = print(Format::PrettyYaml { colour: false, cut: false });
    assert!(is_safe(&yaml, &['\n', '\t']));

    let line = print(Format::PrettyLine {
        colour: false,
        cut: false,
    });
    assert!(is_safe(line.strip_suffix('\n').unwrap(), &[]));
});
