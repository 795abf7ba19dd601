//! Any body, in every format: a line of JSON in ASCII, and nothing that a
//! terminal would obey.

#![no_main]

use hooks_observatory::event::{Event, decode_utf8};
use hooks_observatory::format::Format;
use hooks_observatory::peer::Peer;
use libfuzzer_sys::fuzz_target;
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    let text = decode_utf8(body);
    let event = Event::hook("T", "E", &Peer { pid: None, uid: 1, gid: 2 }, &text);
    let print = |format: Format| {
        let mut out = String::new();
        format.write(&event, &mut out);
        out
    };
    let compact = print(Format::Compact);
    assert!(compact.strip_suffix('\n').unwrap().bytes().all(|byte| matches!(byte, b' '..=b'~')));
    assert!(compact.starts_with("{\"_ts\":\"T\",\"_event\":\"E\",\"_peer_uid\":1,\"_peer_gid\":2"));
    assert!(serde_json::from_str::<&RawValue>(compact.trim_end()).is_ok(), "{compact}");
    assert!(print(Format::PrettyJson).bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let yaml = print(Format::PrettyYaml { colour: false });
    assert!(yaml.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')));
    let line = print(Format::PrettyLine { colour: false, cut: false });
    assert!(line.strip_suffix('\n').unwrap().chars().all(|char| !char.is_control()));
});
