//! What holds of the pure parts whatever they are given: no socket, no process.

#[path = "support/feed.rs"]
mod feed;

use std::borrow::Cow;

use feed::{Outcome, feed};
use hooks_observatory::event::{self, Event};
use hooks_observatory::format::Format;
use hooks_observatory::output::event_log::{Cursor, EventLog};
use hooks_observatory::peer::Peer;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

const PEER: Peer = Peer {
    pid: Some(1),
    uid: 2,
    gid: 3,
};
const METADATA: &str =
    "{\"_ts\":\"T\",\"_event\":\"E\",\"_peer_pid\":1,\"_peer_uid\":2,\"_peer_gid\":3";

fn printed(format: Format, body: &[u8]) -> String {
    let body = event::decode_utf8(body);
    let mut out = String::new();
    format.write(&Event::hook("T", "E", &PEER, &body), &mut out);
    out
}

/// Any JSON value as text in all kinds of spelling, beside the same text
/// without white space between its tokens.
fn spelled() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        "null|true|false".prop_map(|word| (word.clone(), word)),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"
            .prop_map(|n| (n.clone(), n)),
        string().prop_map(|string| (string.clone(), string)),
    ];
    leaf.prop_recursive(8, 64, 8, |value| {
        let space = "[ \t\r\n]{0,3}";
        let items = vec((space, value.clone(), space), 0..5).prop_map(|items| {
            let loose = items
                .iter()
                .map(|(before, (loose, _), after)| format!("{before}{loose}{after}"));
            let tight = items.iter().map(|(_, (_, tight), _)| tight.clone());
            (format!("[{}]", join(loose)), format!("[{}]", join(tight)))
        });
        prop_oneof![items, object(value)]
    })
}

fn object(
    value: impl Strategy<Value = (String, String)>,
) -> impl Strategy<Value = (String, String)> {
    let space = || "[ \t\r\n]{0,3}";
    vec((space(), string(), space(), value, space()), 0..5).prop_map(|members| {
        let loose = members.iter().map(|(before, key, after, (loose, _), end)| {
            format!("{before}{key}{after}:{after}{loose}{end}")
        });
        let tight = members
            .iter()
            .map(|(_, key, _, (_, tight), _)| format!("{key}:{tight}"));
        (
            format!("{{{}}}", join(loose)),
            format!("{{{}}}", join(tight)),
        )
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// A JSON string in ASCII: printed as it is spelled.
fn string() -> impl Strategy<Value = String> {
    "\"([ !#-\\[\\]-~]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\""
}

/// Whether a payload has, at its top level, keys that move or fall together.
fn has_special_keys(object: &str) -> bool {
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(object) else {
        return true;
    };
    let members = object_length(object);
    map.len() != members || map.keys().any(|key| key.starts_with('_'))
}

/// Members at the top level, repeated keys counted as often as they stand there.
fn object_length(object: &str) -> usize {
    let (mut depth, mut count, mut in_string, mut escaped) = (0, 0, false, false);
    for byte in object.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            b':' if depth == 1 => count += 1,
            _ => {}
        }
    }
    count
}

proptest! {
    #[test]
    fn any_object_in_any_white_space_comes_out_compact_and_equal((loose, tight) in object(spelled())) {
        prop_assume!(!has_special_keys(&loose));
        let rest = match tight.strip_prefix("{}") {
            Some(_) => "}".into(),
            None => tight.replacen('{', ",", 1),
        };
        prop_assert_eq!(printed(Format::Compact, loose.as_bytes()), format!("{METADATA}{rest}\n"));
    }

    #[test]
    fn any_bytes_become_one_line_of_printable_ascii(body in vec(any::<u8>(), 0..300)) {
        let line = printed(Format::Compact, &body);
        prop_assert!(line.strip_suffix('\n').unwrap().bytes().all(|byte| matches!(byte, b' '..=b'~')));
        prop_assert!(line.starts_with(METADATA));
        let event: Value = serde_json::from_str(&line).unwrap();
        if !body.is_empty() && serde_json::from_slice::<Value>(&body).is_err() {
            prop_assert_eq!(event["_raw"].as_str().unwrap(), String::from_utf8_lossy(&body));
        }
    }

    #[test]
    fn pretty_json_without_its_white_space_is_compact_json((loose, _) in object(spelled())) {
        let tokens = |text: &str| -> String {
            let (mut in_string, mut escaped) = (false, false);
            text.chars().filter(|char| {
                match char {
                    _ if escaped => escaped = false,
                    '\\' => escaped = true,
                    '"' => in_string = !in_string,
                    _ => {}
                }
                in_string || !char.is_ascii_whitespace()
            }).collect()
        };
        let (compact, pretty) =
            (printed(Format::Compact, loose.as_bytes()), printed(Format::PrettyJson, loose.as_bytes()));
        prop_assert_eq!(tokens(&pretty), tokens(&compact));
        prop_assert!(pretty.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn yaml_holds_no_control_character_but_its_line_ends_and_tabs(body in ".{0,60}", wrapped in any::<bool>()) {
        let body = if wrapped { Value::from(vec![body]).to_string() } else { body };
        let yaml = printed(Format::PrettyYaml { colour: false }, body.as_bytes());
        prop_assert!(yaml.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')), "{yaml:?}");
    }
}

/// The pieces of `bytes` between the places where it is cut.
fn pieces<'b>(bytes: &'b [u8], cuts: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort();
    places
        .windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// A request, and whether it asks to be kept open. `chunks` makes its body chunked.
fn request(keep: bool) -> impl Strategy<Value = Vec<u8>> {
    let field = "[A-Za-z-]{1,10}: ?[ -~]{0,20}\r\n";
    let method = prop_oneof![4 => Just("POST"), 1 => Just("GET"), 1 => Just("PUT")];
    let target = prop_oneof![
        Just("/health".to_owned()),
        "/[a-z]{0,5}(\\?event=[A-Za-z%+0-9]{0,9})?"
    ];
    let chunks = proptest::option::of((
        vec(1..50_usize, 1..5),
        "(;[a-z]=\"[ -~]{0,5}\")?",
        vec(field, 0..2),
    ));
    (
        method,
        target,
        vec(field, 0..5),
        vec(any::<u8>(), 0..200),
        chunks,
    )
        .prop_map(move |(method, target, fields, body, chunks)| {
            let special = [
                "content-length",
                "transfer-encoding",
                "connection",
                "expect",
            ];
            let is_plain = |field: &&String| {
                !special
                    .iter()
                    .any(|name| field.to_lowercase().starts_with(name))
            };
            let mut head: String = fields.iter().filter(is_plain).map(String::as_str).collect();
            if keep {
                head.push_str("Connection: x, Keep-Alive\r\n");
            }
            let (framing, body) = match chunks {
                None => (format!("Content-Length: {}", body.len()), body),
                Some((sizes, extension, trailers)) => (
                    "Transfer-Encoding: chunked".into(),
                    chunked(&body, &sizes, &extension, &trailers),
                ),
            };
            let head = format!("{method} {target} HTTP/1.1\r\n{head}{framing}\r\n\r\n");
            [head.as_bytes(), &body].concat()
        })
}

/// A body in chunks of these sizes, over and over.
fn chunked(mut body: &[u8], sizes: &[usize], extension: &str, trailers: &[String]) -> Vec<u8> {
    let mut text = Vec::new();
    for size in sizes.iter().cycle() {
        let (chunk, rest) = body.split_at(body.len().min(*size));
        body = rest;
        text.extend(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        if chunk.is_empty() {
            break;
        }
        text.extend([chunk, b"\r\n"].concat());
    }
    text.extend(trailers.concat().as_bytes());
    text.extend(b"\r\n");
    text
}

/// Some requests on one connection, of which the last asks for its end.
fn conversation() -> impl Strategy<Value = Vec<u8>> {
    (vec(request(true), 0..4), request(false))
        .prop_map(|(kept, last)| [kept.concat(), last].concat())
}

proptest! {
    #[test]
    fn requests_cut_anywhere_give_the_same_events_and_answers(
        requests in conversation(), cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        prop_assert_eq!(feed(pieces(&requests, &cuts)), feed([&requests[..]]));
    }

    #[test]
    fn requests_in_single_bytes_give_the_same_events_and_answers(requests in conversation()) {
        prop_assert_eq!(feed(requests.chunks(1)), feed([&requests[..]]));
    }

    #[test]
    fn every_request_is_answered_in_its_turn(kept in vec(request(true), 0..5), last in request(false)) {
        let outcome = feed([&[kept.concat(), last.clone()].concat()[..]]);
        let alone: Vec<Outcome> = kept.iter().chain([&last]).map(|one| feed([&one[..]])).collect();
        prop_assert_eq!(outcome.hooks, alone.iter().flat_map(|one| one.hooks.clone()).collect::<Vec<_>>());
        prop_assert_eq!(outcome.answer, alone.iter().flat_map(|one| one.answer.clone()).collect::<Vec<_>>());
        prop_assert!(outcome.closed);
    }

    #[test]
    fn a_request_that_ends_early_is_never_an_event(request in request(false), end in any::<prop::sample::Index>()) {
        let outcome = feed([&request[..end.index(request.len())]]);
        prop_assert_eq!(outcome.hooks, vec![]);
    }

    #[test]
    fn a_chunked_body_is_the_body(body in vec(any::<u8>(), 0..300), sizes in vec(1..40_usize, 1..5)) {
        let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: CHUNKED\r\n\r\n";
        let outcome = feed([&[head, &chunked(&body, &sizes, "", &[])[..]].concat()[..]]);
        prop_assert_eq!(outcome.hooks, vec![("Unknown".into(), body)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn any_bytes_are_answered_or_refused(inputs in vec(vec(vec(any::<u8>(), 1..50), 0..10), 100)) {
        for pieces in inputs {
            feed(pieces.iter().map(Vec::as_slice)).assert_sane();
        }
    }

    #[test]
    fn damaged_requests_are_answered_or_refused(
        requests in conversation(),
        damages in vec(vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4), 200),
    ) {
        for damage in damages {
            feed([&damaged(&requests, &damage)[..]]).assert_sane();
        }
    }
}

/// Bytes of which some are replaced, some added and some missing.
fn damaged(bytes: &[u8], damage: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (place, byte, kind) in damage {
        let place = place.index(bytes.len());
        match kind {
            0 => bytes[place] = *byte,
            1 => bytes.insert(place, *byte),
            _ => drop(bytes.remove(place)),
        }
    }
    bytes
}

/// Something that happens to a log with three sinks.
#[derive(Debug, Clone)]
enum Happening {
    /// An event of this many bytes.
    Append(usize),
    /// A sink takes this many bytes at most.
    Take(usize, usize),
}

/// A sink as the log's user sees it.
struct Sink {
    cursor: Cursor,
    got: String,
}

impl Sink {
    fn take(&mut self, log: &EventLog, mut room: usize) {
        while room > 0 {
            if self.cursor.unread(log).is_empty() {
                match self.cursor.missed(log) {
                    0 => return,
                    missed => self
                        .cursor
                        .skip_missed(log, format!("missed {missed}\n").as_bytes()),
                }
            }
            let bytes = self.cursor.unread(log);
            let count = bytes.len().min(room);
            self.got
                .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
            self.cursor.advance(log, count);
            room -= count;
        }
    }
}

proptest! {
    #[test]
    fn every_sink_gets_whole_lines_in_order_and_knows_what_it_missed(
        limit in 0..400_usize,
        happenings in vec(
            prop_oneof![
                (1..150_usize).prop_map(Happening::Append),
                (0..3_usize, 1..300_usize).prop_map(|(sink, room)| Happening::Take(sink, room)),
            ],
            0..200,
        ),
    ) {
        let mut log = EventLog::new(limit);
        let mut sinks = [(); 3].map(|()| Sink { cursor: Cursor::new(log.end()), got: String::new() });
        let mut appended = 0_u64;
        for happening in happenings {
            match happening {
                Happening::Append(length) => {
                    let mut line = format!("{appended} {}\n", "x".repeat(length));
                    log.append(&mut line, sinks.iter_mut().map(|sink| &mut sink.cursor));
                    appended += 1;
                }
                Happening::Take(sink, room) => {
                    sinks[sink].take(&log, room);
                    let oldest = sinks.iter().map(|sink| sink.cursor.entry()).min().unwrap();
                    log.release(oldest);
                }
            }
        }
        for sink in &mut sinks {
            let outstanding = sink.cursor.outstanding(&log);
            let whole = sink.got.rfind('\n').map_or(0, |end| end + 1);
            let had: u64 = sink.got[..whole].lines().map(|line| match line.strip_prefix("missed ") {
                Some(count) => count.parse::<u64>().unwrap(),
                None => 1,
            }).sum();
            prop_assert_eq!(had + outstanding, appended);
            sink.take(&log, usize::MAX);
            prop_assert!(sink.cursor.has_reached(log.end()));
            let mut next = 0;
            for line in sink.got.lines() {
                let (first, rest): (Cow<str>, &str) = line.split_once(' ').map(|(a, b)| (a.into(), b)).unwrap();
                if first == "missed" {
                    next += rest.parse::<u64>().unwrap();
                } else {
                    prop_assert_eq!(first.parse::<u64>().unwrap(), next);
                    prop_assert!(rest.bytes().all(|byte| byte == b'x'));
                    next += 1;
                }
            }
            prop_assert_eq!(next, appended);
        }
    }
}
