//! Properties of the parts that do no I/O, checked with random inputs: the formats, the
//! connection's state machine, the event log and the states of sessions.

#[path = "support/feed.rs"]
mod feed;

use std::ops::Range;
use std::time::{Duration, Instant};

use feed::{Outcome, feed};
use hooks_observatory::event::object::Object;
use hooks_observatory::event::{self, Event};
use hooks_observatory::format::{Format, Forms};
use hooks_observatory::hooks::settings::{self, Hook};
use hooks_observatory::output::event_log::{CursorKey, EventLog, Form, Next};
use hooks_observatory::peer::Peer;
use hooks_observatory::send::json_object::ObjectScanner;
use hooks_observatory::watch::session::client::{ClientWord, Status};
use hooks_observatory::watch::session::parts::Time;
use hooks_observatory::watch::session::{Session, State};
use hooks_observatory::watch::sessions::Sessions;
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

/// The text of a random JSON value with white space, and the same text without white space
/// between its tokens.
fn value() -> impl Strategy<Value = (String, String)> {
    let leaf = prop_oneof![
        "null|true|false".prop_map(|word| (word.clone(), word)),
        "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,30})?([eE][+-]?[0-9]{1,3})?"
            .prop_map(|n| (n.clone(), n)),
        string().prop_map(|string| (string.clone(), string)),
    ];
    leaf.prop_recursive(8, 64, 8, |value| {
        let space = "[ \t\r\n]{0,3}";
        let items = vec((space, value.clone(), space), 0..5).prop_map(|items| {
            let spaced = items
                .iter()
                .map(|(before, (spaced, _), after)| format!("{before}{spaced}{after}"));
            let compact = items.iter().map(|(_, (_, compact), _)| compact.clone());
            (
                format!("[{}]", join(spaced)),
                format!("[{}]", join(compact)),
            )
        });
        prop_oneof![items, object(value)]
    })
}

fn object(
    value: impl Strategy<Value = (String, String)>,
) -> impl Strategy<Value = (String, String)> {
    let space = || "[ \t\r\n]{0,3}";
    vec((space(), string(), space(), value, space()), 0..5).prop_map(|members| {
        let spaced = members
            .iter()
            .map(|(before, key, after, (spaced, _), end)| {
                format!("{before}{key}{after}:{after}{spaced}{end}")
            });
        let compact = members
            .iter()
            .map(|(_, key, _, (_, compact), _)| format!("{key}:{compact}"));
        (
            format!("{{{}}}", join(spaced)),
            format!("{{{}}}", join(compact)),
        )
    })
}

fn join(parts: impl Iterator<Item = String>) -> String {
    parts.collect::<Vec<_>>().join(",")
}

/// The text of a JSON string in ASCII, which the JSON formats do not change.
fn string() -> impl Strategy<Value = String> {
    "\"([ !#-\\[\\]-~]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F]{4}){0,12}\""
}

/// A key of an object as it is spelled, and its name.
fn key() -> impl Strategy<Value = (String, String)> {
    let spellings = [
        ("a", "a"),
        ("\\u0061", "a"),
        ("", ""),
        ("é", "é"),
        ("\\u00e9", "é"),
        ("\\u00E9", "é"),
        ("\\ud83d", "half"),
        ("\\uD83D", "half"),
        ("\\\\ud83d", "text"),
        ("_ts", "_ts"),
        ("\\u005fts", "_ts"),
        ("/", "/"),
        ("\\/", "/"),
    ];
    let pair = |(spelled, name): (&str, &str)| (spelled.to_owned(), name.to_owned());
    prop_oneof![
        1 => prop::sample::select(spellings.map(pair).to_vec()),
        4 => "[b-z]{1,2}".prop_map(|name| (name.clone(), name)),
    ]
}

/// Whether the payload has reserved or repeated keys at its top level. The formats move or
/// merge these.
fn has_special_keys(object: &str) -> bool {
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(object) else {
        return true;
    };
    map.len() != count_members(object) || map.keys().any(|key| key.starts_with('_'))
}

/// The number of members at the top level. Repeated keys count each time.
fn count_members(object: &str) -> usize {
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

/// The limit applies to the target, however the request line arrives.
#[test]
fn a_target_at_the_limit_is_accepted_in_any_pieces() {
    for (length, expected) in [(16 << 10, "200"), ((16 << 10) + 1, "414")] {
        let request = format!("POST /{} HTTP/1.1\r\n\r\n", "x".repeat(length - 1));
        for piece in [request.len(), 1000, 7] {
            let outcome = feed(request.as_bytes().chunks(piece));
            let responses = String::from_utf8(outcome.responses).unwrap();
            let status = responses.split(' ').nth(1).unwrap_or_default();
            assert_eq!(status, expected, "{length} bytes in pieces of {piece}");
        }
    }
}

/// Between any two tokens.
#[test]
fn white_space_in_one_place_is_removed() {
    let body = r#"{"a":[1,"b c"],"d":{"e":null},"f":"g"}"#;
    for at in 0..=body.len() {
        let in_token = |text: &str| {
            body.match_indices(text)
                .any(|(from, _)| (from + 1..from + text.len()).contains(&at))
        };
        if [
            r#""a""#, r#""b c""#, r#""d""#, r#""e""#, "null", r#""f""#, r#""g""#,
        ]
        .into_iter()
        .any(in_token)
        {
            continue;
        }
        let (before, after) = body.split_at(at);
        let printed = printed(Format::Compact, format!("{before} {after}").as_bytes());
        assert_eq!(printed, format!("{METADATA},{}\n", &body[1..]), "at {at}");
    }
}

proptest! {
    #[test]
    fn compact_json_only_removes_the_white_space((spaced, compact) in object(value())) {
        prop_assume!(!has_special_keys(&spaced));
        let rest = match compact.strip_prefix("{}") {
            Some(_) => "}".into(),
            None => compact.replacen('{', ",", 1),
        };
        prop_assert_eq!(printed(Format::Compact, spaced.as_bytes()), format!("{METADATA}{rest}\n"));
    }

    #[test]
    fn a_repeated_key_has_its_first_place_and_its_last_value(keys in vec(key(), 0..120)) {
        let member = |(number, (spelled, _)): (usize, &(String, String))| format!("\"{spelled}\": [{number}]");
        let body = format!("{{{}}}", join(keys.iter().enumerate().map(member)));
        let mut names: Vec<&String> = Vec::new();
        for (_, name) in &keys {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let members = names.iter().map(|name| {
            let is_same = |(_, other): &(String, String)| other == *name;
            let (first, last) = (keys.iter().find(|key| is_same(key)), keys.iter().rposition(is_same));
            let spelled = first.unwrap().0.replace('é', "\\u00e9");
            (*name == "_ts", format!("\"{spelled}\":[{}]", last.unwrap()))
        });
        let (claimed, members): (Vec<_>, Vec<_>) = members.partition(|(is_reserved, _)| *is_reserved);
        let claimed = claimed.iter().map(|(_, member)| format!(",\"_claimed\":{{{member}}}"));
        let members = members.iter().map(|(_, member)| format!(",{member}"));
        let expected: String = claimed.chain(members).collect();
        prop_assert_eq!(printed(Format::Compact, body.as_bytes()), format!("{METADATA}{expected}}}\n"));
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
    fn pretty_json_without_white_space_equals_compact_json((spaced, _) in object(value())) {
        let (compact, pretty) =
            (printed(Format::Compact, spaced.as_bytes()), printed(Format::PrettyJson, spaced.as_bytes()));
        prop_assert_eq!(without_white_space(&pretty), without_white_space(&compact));
        prop_assert!(pretty.lines().all(|line| !line.ends_with(' ')));
    }

    #[test]
    fn pretty_yaml_contains_no_control_characters_except_newlines_and_tabs(body in ".{0,60}", wrapped in any::<bool>()) {
        let body = if wrapped { Value::from(vec![body]).to_string() } else { body };
        let yaml = printed(Format::PrettyYaml { colour: false, cut: false }, body.as_bytes());
        prop_assert!(yaml.chars().all(|char| !char.is_control() || matches!(char, '\n' | '\t')), "{yaml:?}");
    }
}

/// JSON without the white space between its tokens.
fn without_white_space(json: &str) -> String {
    let (mut in_string, mut escaped) = (false, false);
    let is_kept = |char: &char| {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ => {}
        }
        in_string || !char.is_ascii_whitespace()
    };
    json.chars().filter(is_kept).collect()
}

/// The most bytes that the pretty form of this event may have.
fn max_pretty_length(compact: &str) -> usize {
    4 * compact.len() + (64 << 10)
}

/// A payload whose members have deep values of many short items, and others.
fn expensive_payload() -> impl Strategy<Value = String> {
    const ITEMS: &[&str] = &[
        "1",
        "1e5",
        "\"\"",
        "\"a\\n\"",
        "\"\\n\\n\\n\\n\"",
        "\"\\b\\n\"",
        "\"\\u0001\"",
        "\"'\"",
        "\"é\"",
        "[]",
        "{}",
        "[1,2]",
        "{\"\":1e5}",
        "{\"\\b\":[{\"'\":\"\\b\"}]}",
        "\"a longer string, which needs no escapes\"",
    ];
    let brackets = prop_oneof![Just(("[", "]")), Just(("{\"k\":[", "]}"))];
    let deep = (
        brackets,
        0..70_usize,
        prop::sample::select(ITEMS),
        0..5000_usize,
    );
    let deep = deep.prop_map(|((open, close), depth, item, count)| {
        let items = vec![item; count].join(",");
        format!("{}[{items}]{}", open.repeat(depth), close.repeat(depth))
    });
    let value = prop_oneof![
        4 => deep,
        1 => (0..5000_usize).prop_map(|count| format!("\"{}\"", "\\b\\n".repeat(count))),
        1 => Just("1".to_owned()),
    ];
    vec(("[a-z']{0,3}", value), 0..6).prop_map(|members| {
        let members = members.into_iter().enumerate();
        let members = members.map(|(number, (key, value))| format!("\"{key}{number}\":{value}"));
        format!("{{{}}}", join(members))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn pretty_forms_have_at_most_four_times_the_bytes_of_the_compact_form_and_64_kib(body in expensive_payload()) {
        let compact = printed(Format::Compact, body.as_bytes());
        let json = printed(Format::PrettyJson, body.as_bytes());
        prop_assert!(json.len() <= max_pretty_length(&compact), "{} of {}", json.len(), compact.len());
        prop_assert_eq!(without_white_space(&json), without_white_space(&compact));
        let yaml = printed(Format::PrettyYaml { colour: false, cut: false }, body.as_bytes());
        prop_assert!(yaml.len() <= max_pretty_length(&compact), "{} of {}", yaml.len(), compact.len());
        let coloured = printed(Format::PrettyYaml { colour: true, cut: false }, body.as_bytes());
        let plain = coloured.replace("\x1b[1;36m", "").replace("\x1b[1;7m", "").replace("\x1b[0m", "");
        prop_assert_eq!(plain, yaml);
    }

    #[test]
    fn the_lines_of_a_batch_have_no_more_and_the_last_one_counts_the_rest(
        name in 1..16_000_usize, count in 1..2000_usize, colour in any::<bool>(),
    ) {
        let calls = vec![r#"{"tool_response":"Error: "}"#; count].join(",");
        let body = format!(r#"{{"cwd":"/日本語日本語日本語","session_id":"abcd","agent_id":"abcd","tool_calls":[{calls}]}}"#);
        let event = Event::hook("T", &"x".repeat(name), &PEER, &body);
        // Other lines may wait in the same buffer.
        let mut text = "x".repeat(1 << 20);
        Format::PrettyLine { colour, cut: false }.write(&event, &mut text);
        let text = text.split_off(1 << 20);
        let (compact, lines) = (event.line().len(), text.lines().count());
        let first = text.lines().next().unwrap().len();
        prop_assert!(text.len() <= max_pretty_length(event.line()), "{} of {compact}", text.len());
        let last = text.lines().last().unwrap().strip_suffix(" more calls have failed");
        match last.and_then(|last| last.rsplit(' ').next()) {
            None => prop_assert_eq!(lines, count),
            Some(rest) => {
                prop_assert_eq!(lines - 1 + rest.parse::<usize>().unwrap(), count);
                prop_assert!(text.len() + first > 4 * compact, "one more line would fit");
            }
        }
    }
}

#[test]
fn a_member_is_written_compact_only_if_the_pretty_form_would_be_too_long() {
    let (open, close) = ("[".repeat(20), "]".repeat(20));
    let body = |count: usize| {
        format!(
            "{{\"a\":{open}{}0{close},\"b\":{{\"c\":[7]}}}}",
            "1,".repeat(count)
        )
    };
    let pretty = |count: usize| printed(Format::PrettyJson, body(count).as_bytes());
    let line = "\n".len() + 2 * 21 + "1,".len();
    let mut switched = false;
    for count in 1600..2000 {
        let compact = printed(Format::Compact, body(count).as_bytes());
        let whole = pretty(0).len() + count * line;
        let fits = whole <= max_pretty_length(&compact);
        let text = pretty(count);
        assert_eq!(text.len() == whole, fits, "{count}");
        assert_eq!(text.contains(",1,1,0]]]"), !fits, "{count}");
        assert!(text.ends_with("\"b\": {\n    \"c\": [\n      7\n    ]\n  }\n}\n"));
        switched |= !fits;
    }
    assert!(switched && pretty(1600).lines().count() > 1600);
}

/// The non-empty pieces of `bytes` between `splits`.
fn pieces<'b>(bytes: &'b [u8], splits: &[prop::sample::Index]) -> Vec<&'b [u8]> {
    let index = |split: &prop::sample::Index| split.index(bytes.len() + 1);
    let mut offsets: Vec<usize> = splits.iter().map(index).collect();
    offsets.extend([0, bytes.len()]);
    offsets.sort();
    offsets
        .windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .filter(|piece| !piece.is_empty())
        .collect()
}

/// A request whose body has a Content-Length or is chunked. With `keep_alive` it asks to keep
/// the connection open.
fn request(keep_alive: bool) -> impl Strategy<Value = Vec<u8>> {
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
            if keep_alive {
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

/// The body in chunks. Their sizes repeat.
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

/// The requests of one connection. All but the last one ask for keep-alive.
fn pipeline() -> impl Strategy<Value = Vec<u8>> {
    (vec(request(true), 0..4), request(false))
        .prop_map(|(kept, last)| [kept.concat(), last].concat())
}

proptest! {
    #[test]
    fn requests_split_anywhere_give_the_same_events_and_responses(
        requests in pipeline(), splits in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        prop_assert_eq!(feed(pieces(&requests, &splits)), feed([&requests[..]]));
    }

    #[test]
    fn requests_byte_by_byte_give_the_same_events_and_responses(requests in pipeline()) {
        prop_assert_eq!(feed(requests.chunks(1)), feed([&requests[..]]));
    }

    #[test]
    fn the_requests_of_a_connection_are_answered_in_order(kept in vec(request(true), 0..5), last in request(false)) {
        let outcome = feed([&[kept.concat(), last.clone()].concat()[..]]);
        let separate: Vec<Outcome> =
            kept.iter().chain([&last]).map(|request| feed([&request[..]])).collect();
        prop_assert_eq!(
            outcome.hooks,
            separate.iter().flat_map(|outcome| outcome.hooks.clone()).collect::<Vec<_>>()
        );
        prop_assert_eq!(
            outcome.responses,
            separate.iter().flat_map(|outcome| outcome.responses.clone()).collect::<Vec<_>>()
        );
        prop_assert!(outcome.closed);
    }

    #[test]
    fn an_incomplete_request_is_never_an_event(request in request(false), end in any::<prop::sample::Index>()) {
        let outcome = feed([&request[..end.index(request.len())]]);
        prop_assert_eq!(outcome.hooks, vec![]);
    }

    #[test]
    fn a_chunked_body_is_decoded_exactly(body in vec(any::<u8>(), 0..300), sizes in vec(1..40_usize, 1..5)) {
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
            feed(pieces.iter().map(Vec::as_slice)).assert_valid();
        }
    }

    #[test]
    fn corrupted_requests_are_answered_or_refused(
        requests in pipeline(),
        edits in vec(vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4), 200),
    ) {
        for edits in edits {
            feed([&corrupted(&requests, &edits)[..]]).assert_valid();
        }
    }
}

/// The bytes after some of them were replaced, inserted or removed.
fn corrupted(bytes: &[u8], edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for (index, byte, kind) in edits {
        let index = index.index(bytes.len());
        match kind {
            0 => bytes[index] = *byte,
            1 => bytes.insert(index, *byte),
            _ => drop(bytes.remove(index)),
        }
    }
    bytes
}

/// An operation on a log and its sinks.
#[derive(Debug, Clone)]
enum Operation {
    /// Append an entry whose two forms have this many bytes of text. Without the second, stdout
    /// and the output socket do not show it.
    Append(usize, Option<usize>),
    /// The sink of this index reads at most this many bytes.
    Read(prop::sample::Index, usize),
    /// A reader of this form joins, and asks for this many past entries.
    Join(Form, u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let form = prop_oneof![Just(Form::Compact), Just(Form::Shown)];
    let replay = prop_oneof![Just(0), 0..20_u64, Just(u64::MAX)];
    // Small entries share a segment, large ones do not.
    let length = || prop_oneof![6 => 1..150_usize, 2 => 1..20_000_usize];
    let shown = proptest::option::weighted(0.9, length());
    prop_oneof![
        8 => (length(), shown).prop_map(|(compact, shown)| Operation::Append(compact, shown)),
        8 => (any::<prop::sample::Index>(), prop_oneof![1..300_usize, 1..20_000_usize])
            .prop_map(|(sink, room)| Operation::Read(sink, room)),
        1 => (form, replay).prop_map(|(form, replay)| Operation::Join(form, replay)),
    ]
}

/// A log, its sinks, and what was appended.
struct Model {
    log: EventLog,
    sinks: Vec<Sink>,
    /// For each event, whether stdout and the output socket show it.
    shown: Vec<bool>,
    has_shown_form: bool,
    history: usize,
    /// The length of each compact line.
    lengths: Vec<usize>,
}

struct Sink {
    cursor: CursorKey,
    form: Form,
    /// The number of the first entry that it asked for and that was there.
    first: u64,
    /// The head of a reader of live events precedes all entries.
    received: String,
}

const HEAD: &str = "head\n";

impl Model {
    fn run(&mut self, operation: Operation) {
        match operation {
            Operation::Append(compact, shown) => {
                let number = self.log.end();
                let line = |length| format!("{number} {}\n", "x".repeat(length));
                let shown = shown.filter(|_| self.has_shown_form);
                let forms = Forms {
                    compact: line(compact),
                    shown: shown.map(line),
                };
                self.lengths.push(forms.compact.len());
                self.shown.push(shown.is_some() || !self.has_shown_form);
                self.log.append(forms);
            }
            Operation::Read(sink, room) => {
                if !self.sinks.is_empty() {
                    sink.get_mut(&mut self.sinks).read(&mut self.log, room);
                }
                self.log.release();
            }
            Operation::Join(form, replay) => self.join(form, replay),
        }
    }

    fn join(&mut self, form: Form, replay: u64) {
        let end = self.log.end();
        let first = match form {
            Form::Shown => end,
            Form::Compact => end.saturating_sub(replay).max(self.log.oldest()),
        };
        let cursor = match form {
            Form::Shown => self.log.add_cursor(form, first),
            Form::Compact => self.log.add_cursor_with_head(form, first, HEAD.as_bytes()),
        };
        self.sinks.push(Sink {
            cursor,
            form,
            first,
            received: String::new(),
        });
    }

    /// The rules for the entries that the history keeps.
    fn check_history(&self) -> Result<(), TestCaseError> {
        let kept = |first: &usize| self.lengths[*first..].iter().sum::<usize>() <= self.history;
        let first = (0..self.lengths.len())
            .find(kept)
            .unwrap_or(self.lengths.len());
        prop_assert!(
            self.log.oldest() <= first as u64,
            "entries of the history are missing"
        );
        Ok(())
    }
}

impl Sink {
    /// Reads at most `room` bytes of entries and notices.
    fn read(&mut self, log: &mut EventLog, mut room: usize) {
        while room > 0 {
            match log.next(self.cursor) {
                Next::Bytes(bytes) => {
                    let count = bytes.len().min(room);
                    self.received
                        .push_str(std::str::from_utf8(&bytes[..count]).unwrap());
                    log.advance(self.cursor, count);
                    room -= count;
                }
                Next::Missed(missed) => {
                    log.skip_missed(self.cursor, format!("missed {missed}\n").as_bytes());
                }
                Next::Done => return,
            }
        }
    }

    /// What the lines say: the numbers of entries, and `Err` with the count of missed ones.
    fn lines(&self) -> impl Iterator<Item = Result<u64, u64>> {
        let whole = self.received.rfind('\n').map_or(0, |end| end + 1);
        let lines = self.received[..whole].lines();
        lines.filter(|line| *line != HEAD.trim()).map(|line| {
            let (first, rest) = line.split_once(' ').unwrap();
            match first.parse() {
                Ok(number) => {
                    assert!(rest.bytes().all(|byte| byte == b'x'), "a torn line: {line}");
                    Ok(number)
                }
                Err(_) => Err(rest.parse().unwrap()),
            }
        })
    }

    /// Whether the sink gets this entry, if it does not lose it.
    fn wants(&self, shown: &[bool], entry: u64) -> bool {
        self.form == Form::Compact || shown[entry as usize]
    }

    /// The rules for what a sink has received: whole lines, in order, from the first entry that
    /// it asked for, without repetition, and each gap counted.
    fn check(&mut self, log: &mut EventLog, shown: &[bool]) -> Result<(), TestCaseError> {
        let wanted = (self.first..log.end())
            .filter(|entry| self.wants(shown, *entry))
            .count();
        let handled: u64 = self
            .lines()
            .map(|line| line.map_or_else(|count| count, |_| 1))
            .sum();
        prop_assert_eq!(handled + log.outstanding(self.cursor), wanted as u64);
        self.read(log, usize::MAX);
        prop_assert!(log.is_done(self.cursor));
        if self.form == Form::Compact {
            prop_assert!(self.received.starts_with(HEAD));
        }
        let wanted = (self.first..log.end()).filter(|entry| self.wants(shown, *entry));
        let mut wanted = wanted.collect::<Vec<_>>().into_iter();
        for line in self.lines() {
            match line {
                Ok(number) => prop_assert_eq!(Some(number), wanted.next()),
                Err(count) => {
                    prop_assert!(wanted.by_ref().take(count as usize).count() as u64 == count)
                }
            }
        }
        prop_assert_eq!(wanted.next(), None);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn every_sink_gets_whole_lines_in_order_and_the_number_of_missed_ones(
        buffer in prop_oneof![0..3_000_usize, 0..400_000_usize],
        history in prop_oneof![Just(0), 0..3_000_usize, 0..400_000_usize],
        has_shown_form in any::<bool>(),
        operations in vec(operation(), 0..300),
    ) {
        let format = if has_shown_form { Format::PrettyJson } else { Format::Compact };
        let log = EventLog::new(buffer, history, format);
        let (sinks, shown, lengths) = (vec![], vec![], vec![]);
        let mut model = Model { log, sinks, shown, has_shown_form, history, lengths };
        model.join(Form::Shown, 0);
        for operation in operations {
            model.run(operation);
            model.check_history()?;
        }
        for sink in &mut model.sinks {
            sink.check(&mut model.log, &model.shown)?;
        }
    }
}

/// The scanner reads the bytes in pieces of these lengths, repeated, and reports how many
/// bytes it needed and where the object is.
fn scan(bytes: &[u8], lengths: &[usize]) -> Option<(usize, Range<usize>)> {
    let mut scanner = ObjectScanner::default();
    let mut end = 0;
    for length in lengths.iter().cycle() {
        end = bytes.len().min(end + length);
        if let Some(object) = scanner.scan(&bytes[..end]) {
            return Some((end, object));
        }
        if end == bytes.len() {
            return None;
        }
    }
    None
}

proptest! {
    #[test]
    fn the_end_of_any_object_is_found_at_once_whatever_follows(
        space in "[ \t\r\n]{0,3}",
        (object, _) in object(value()),
        rest in vec(any::<u8>(), 0..30),
        lengths in vec(1..40_usize, 1..5),
    ) {
        let place = space.len()..space.len() + object.len();
        let bytes = [space.as_bytes(), object.as_bytes(), &rest].concat();
        prop_assert_eq!(scan(&bytes, &[1]), Some((place.end, place.clone())));
        let (needed, found) = scan(&bytes, &lengths).unwrap();
        prop_assert_eq!(found, place.clone());
        prop_assert!(needed < place.end + 40);
        prop_assert_eq!(scan(&bytes[..place.end - 1], &lengths), None);
    }

    #[test]
    fn only_an_object_is_found_in_any_bytes(
        bytes in "[ {}\\[\\]\":,0a\\\\]{0,12}",
        lengths in vec(1..9_usize, 1..4),
    ) {
        let found = scan(bytes.as_bytes(), &lengths).map(|(_, place)| place);
        let prefixes = (0..=bytes.len()).map(|end| &bytes[..end]);
        let is_object = |text: &&str| serde_json::from_str::<serde_json::Map<_, Value>>(text).is_ok();
        let expected = prefixes.filter(is_object).map(str::len).next();
        prop_assert_eq!(found.map(|place| place.end), expected);
    }

    #[test]
    fn removing_hooks_gives_back_the_settings_byte_for_byte(
        (settings, _) in object(value()),
        [before, after] in prop::array::uniform2("[ \t\r\n]{0,3}"),
    ) {
        prop_assume!(settings.contains(':'));
        let settings = format!("{before}{settings}{after}");
        prop_assert_eq!(remove(&install(&settings, "a")), settings);
    }

    #[test]
    fn foreign_hooks_stay_byte_for_byte(
        [a, b, c, d, e] in prop::array::uniform5("[ \t\r\n]{0,3}"),
        (value, _) in value(),
        (group, _) in object(value()),
    ) {
        let settings = format!(
            "{{{a}\"x\"{b}:{value},{c}\"hooks\":{{{d}\"Stop\":[{e}{group}{a}]{b},{c}\"Own\":{value}{d}}}{e}}}"
        );
        let installed = install(&settings, "a");
        prop_assert_eq!(&install(&installed, "a"), &installed, "again");
        let upgraded = install(&installed, "b");
        prop_assert_eq!(&upgraded, &installed.replace("ours a", "ours b"));
        prop_assert_eq!(remove(&upgraded), settings);
    }
}

fn install(settings: &str, version: &str) -> String {
    let hook = |event: &str| Hook {
        event: event.into(),
        matcher: None,
        command: format!("ours {version}"),
    };
    settings::install(settings, &["Stop", "Setup"].map(hook), is_ours).unwrap()
}

fn remove(settings: &str) -> String {
    settings::remove(settings, is_ours).unwrap()
}

fn is_ours(command: &str) -> bool {
    command.starts_with("ours ")
}

/// Everything that can be seen of a session, except that sessions are numbered.
fn seen(session: &Session) -> String {
    let shown = (
        session.state(),
        session.since(),
        session.detail(),
        &session.last,
    );
    let counts = (session.events, session.tool_calls, session.failures);
    let running: Vec<_> = session.running().collect();
    let agents: Vec<_> = session.agents().collect();
    let parts = (running, agents, session.open_questions());
    format!("{shown:?} {counts:?} {parts:?}")
}

fn states(lines: &[String]) -> Vec<(String, String)> {
    let mut sessions = Sessions::default();
    for line in lines {
        if let Some(event) = Object::validate(line) {
            sessions.apply(&event, None);
        }
    }
    let ordered = sessions.ordered();
    let mut states: Vec<_> = ordered
        .iter()
        .map(|one| (one.id.clone(), seen(one)))
        .collect();
    states.sort();
    states
}

/// An event of a session with few different identifiers, so that they meet.
fn session_event(session: &'static str) -> impl Strategy<Value = String> {
    const NAMES: [&str; 20] = [
        "SessionStart",
        "UserPromptSubmit",
        "PreToolUse",
        "PreToolUse",
        "PermissionRequest",
        "PostToolUse",
        "PostToolUseFailure",
        "PostToolBatch",
        "Elicitation",
        "ElicitationResult",
        "Notification",
        "SubagentStart",
        "SubagentStop",
        "Stop",
        "StopFailure",
        "PreCompact",
        "PostCompact",
        "SessionEnd",
        "_gone",
        "Unheard",
    ];
    let member = prop_oneof![
        "\"agent_id\":\"[ab]\"",
        "\"tool_use_id\":\"[tuv]\"",
        "\"tool_name\":\"(Bash|AskUserQuestion|mcp__m__x|Agent)\"",
        "\"tool_input\":\\{\"command\":\"[xy]\"\\}",
        "\"tool_response\":\\{\"isAsync\":true,\"agentId\":\"[ab]\"\\}",
        "\"tool_calls\":\\[\\{\"tool_use_id\":\"[tuv]\",\"tool_response\":\"(Error: |)x\"\\}\\]",
        "\"background_tasks\":\\[\\{\"id\":\"[ab]\",\"type\":\"(subagent|shell)\"\\}\\]",
        "\"notification_type\":\"(permission_prompt|idle_prompt)\"",
        "\"source\":\"(startup|resume|compact)\"",
        "\"prompt\":\"(go|<task-notification>)\"",
        "\"mcp_server_name\":\"m\"",
        "\"trigger\":\"(manual|auto)\"",
        "\"_gone\":7",
        // Of the wrong type.
        "\"(agent_id|tool_name|tool_calls|background_tasks|message)\":(7|null|\\[\\[\\]\\]|\\{\\})",
    ];
    let members = vec(member, 0..6).prop_map(|members| members.join(","));
    (proptest::sample::select(&NAMES[..]), 0..60u8, members).prop_map(
        move |(name, second, members)| {
            let comma = if members.is_empty() { "" } else { "," };
            format!(
                "{{\"_ts\":\"2026-02-09T10:30:{second:02}+00:00\",\"_event\":\"{name}\",\
                 \"session_id\":\"{session}\"{comma}{members}}}"
            )
        },
    )
}

/// What the state of a session is a function of.
#[derive(Debug, Clone)]
enum StateInput {
    Event(String),
    /// The client writes its file, with a status that is known or not, or removes it. Its clock
    /// shows any time.
    File(Option<Option<Status>>, u32),
    Second,
}

fn state_input() -> impl Strategy<Value = StateInput> {
    let status = prop_oneof![
        Just(None),
        Just(Some(Status::Busy)),
        Just(Some(Status::Idle)),
        Just(Some(Status::Waiting("permission prompt".into()))),
        Just(Some(Status::Ended)),
    ];
    prop_oneof![
        4 => session_event("one").prop_map(StateInput::Event),
        2 => (proptest::option::weighted(0.9, status), any::<u32>())
            .prop_map(|(status, time)| StateInput::File(status, time)),
        2 => Just(StateInput::Second),
    ]
}

/// The state of the only session.
fn one_state(sessions: &Sessions) -> Option<State> {
    sessions.iter().next().map(Session::state)
}

/// Two streams in an order that `choices` gives.
fn interleaved(one: &[String], other: &[String], choices: &[bool]) -> Vec<String> {
    let (mut one, mut other) = (one.iter(), other.iter());
    let mut lines = Vec::new();
    for choice in choices {
        let next = if *choice { one.next() } else { other.next() };
        lines.extend(next.cloned());
    }
    lines.extend(one.chain(other).cloned());
    lines
}

/// A line that is no event of a session, or one with control characters in every field.
fn hostile_line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "\\PC{0,40}",
        8 => ".{0,40}",
        1 => Just("x".repeat(1 << 20)),
        1 => Just(format!("{{\"a\":\"{}\"}}", "y".repeat(1 << 20))),
        8 => Just("{\"_ts\":\"\\u001b\",\"_event\":\"\\u0007\",\"session_id\":\"\\u001b\\u0000\",\"agent_id\":\"\\u009b\",\"tool_name\":\"\\n\",\"tool_use_id\":\"\\r\",\"tool_input\":\"\\u202e\",\"cwd\":\"\\b\"}".to_owned()),
    ]
}

/// Also if all that is known of them is what the client says.
#[test]
fn sessions_keep_their_order_when_the_client_says_more() {
    let mut sessions = Sessions::default();
    let ids = |sessions: &Sessions| -> Vec<String> {
        let ordered = sessions.ordered().into_iter();
        ordered.map(|session| session.id.clone()).collect()
    };
    let word = |id: usize| (id.to_string(), ClientWord::default());
    sessions.set_client_words((0..20).map(word));
    let before = ids(&sessions);
    sessions.set_client_words((0..20).map(word));
    assert_eq!(ids(&sessions), before);
}

/// The user answers one question after the other, and no event tells of the first answer.
#[test]
fn after_an_answer_the_next_question_is_shown() {
    let mut sessions = Sessions::default();
    let ask = |sessions: &mut Sessions, command: &str| {
        let event = format!(
            r#"{{"_ts":"","_event":"PermissionRequest","session_id":"one","tool_name":"Bash","tool_input":{{"command":"{command}"}}}}"#
        );
        let event = Object::validate(&event).unwrap();
        sessions.apply(&event, Some(Instant::now()));
    };
    let write = |sessions: &mut Sessions, version, status| {
        let word = ClientWord {
            status: Some(status),
            version,
            ..ClientWord::default()
        };
        sessions.set_client_words([("one".to_owned(), word)]);
    };
    let waiting = || Status::Waiting("permission prompt".into());
    ask(&mut sessions, "first");
    write(&mut sessions, 1, waiting());
    let detail = |sessions: &Sessions| sessions.iter().next().unwrap().detail();
    assert_eq!(detail(&sessions), "permission for Bash: first");
    write(&mut sessions, 2, Status::Busy);
    ask(&mut sessions, "second");
    write(&mut sessions, 3, waiting());
    assert_eq!(detail(&sessions), "permission for Bash: second");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn each_session_has_the_state_that_it_has_alone(
        one in vec(session_event("one"), 0..30),
        other in vec(session_event("other"), 0..30),
        choices in vec(any::<bool>(), 60),
    ) {
        let alone = [states(&one), states(&other)].concat();
        prop_assert_eq!(states(&interleaved(&one, &other, &choices)), alone);
    }

    #[test]
    fn hostile_lines_change_no_other_session(
        one in vec(session_event("one"), 0..20),
        hostile in vec(hostile_line(), 0..5),
        choices in vec(any::<bool>(), 30),
    ) {
        let mut found = states(&interleaved(&one, &hostile, &choices));
        found.retain(|(id, _)| id == "one");
        prop_assert_eq!(found, states(&one));
    }

    /// With any order of events, of what the client writes into its file, and of seconds that pass,
    /// the state is what the table of both says. For a second after an event that has changed the
    /// state, that event counts, unless the file was written since.
    #[test]
    fn the_state_follows_from_events_and_the_client(inputs in vec(state_input(), 1..40)) {
        let (mut both, mut events) = (Sessions::default(), Sessions::default());
        let mut now = Instant::now();
        let (mut status, mut since, mut version, mut fresh_until) = (None, Time::default(), 0, now);
        for (number, input) in (1..).zip(inputs) {
            use State::*;
            match input {
                StateInput::Event(line) => {
                    let event = Object::validate(&line).expect("the lines are valid");
                    let before = one_state(&events);
                    let (_, change) = events.apply(&event, None).expect("it has a session");
                    if one_state(&events) != before.or(Some(Unknown)) || change.is_new_question {
                        fresh_until = now + Duration::from_secs(1);
                    }
                    both.apply(&event, Some(now));
                }
                StateInput::File(new, time) => {
                    since.seconds = Some(time.into());
                    // No two writes have the same one.
                    version = u64::from(time) * 1000 + number;
                    let is_written = status.is_some() || new.is_some();
                    if is_written && new != Some(Some(Status::Ended)) {
                        fresh_until = now;
                    }
                    status = new;
                    let word = status.clone().map(|status| ClientWord {
                        status,
                        since: since.clone(),
                        version,
                        ..ClientWord::default()
                    });
                    both.set_client_words(word.map(|word| ("one".to_owned(), word)));
                }
                StateInput::Second => now += Duration::from_secs(1),
            }
            both.settle(now);
            let (told, found) = (one_state(&events), one_state(&both));
            let status = status.clone().flatten().filter(|_| fresh_until <= now);
            let expected = match (told, &status) {
                (told, None) => told,
                (_, Some(Status::Busy)) => Some(Working),
                (Some(Idle | Failed), Some(Status::Idle)) => told,
                (_, Some(Status::Idle)) => Some(Idle),
                (_, Some(Status::Waiting(_))) => Some(Waiting),
                (None | Some(Ended), Some(Status::Ended)) => told,
                (_, Some(Status::Ended)) => Some(Gone),
            };
            // A file that says nothing of the state shows that the session is there.
            let is_row = version > 0 && found == Some(Unknown) && told.is_none();
            prop_assert!(found == expected || is_row, "{found:?}, expected {expected:?}");
        }
    }

    /// The parts of a session fit its state, wherever a record ends.
    #[test]
    fn every_prefix_has_a_valid_state(lines in vec(session_event("one"), 1..60)) {
        let mut sessions = Sessions::default();
        for line in &lines {
            sessions.apply(&Object::validate(line).expect("the lines are valid"), None);
            let session = sessions.ordered()[0];
            let state = session.state();
            let is_over = matches!(state, State::Ended | State::Gone);
            prop_assert_eq!(!session.open_questions().is_empty(), state == State::Waiting);
            prop_assert!(!is_over || session.running().count() + session.agents().count() == 0);
            prop_assert!(state != State::Idle || session.agents().count() == 0);
            let owners = session.running().filter_map(|tool| tool.call.agent_id.as_ref());
            for owner in owners {
                prop_assert!(session.agents().any(|agent| agent.id == *owner));
            }
            prop_assert!(session.quiet(i64::MAX).is_none() || state == State::Working);
        }
    }
}
