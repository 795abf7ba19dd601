//! Micro benches of the parts that make no system calls: heads, bodies, events, formats, the
//! event log, and the states of sessions.
//!
//! They show which part has become slower. The load bench shows only that the server has.

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hooks_observatory::event::object::Object;
use hooks_observatory::event::{self, Event};
use hooks_observatory::format::{Format, Forms};
use hooks_observatory::http::connection::{Connection, Step};
use hooks_observatory::http::request::parse_head;
use hooks_observatory::output::event_log::{CursorKey, EventLog, Form, Next};
use hooks_observatory::peer::Peer;
use hooks_observatory::watch::sessions::Sessions;
use serde_json::json;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Bytes that a connection receives at once.
const READ_SIZE: usize = 64 * KIB;
/// Bytes of a chunk. Not a power of two, so that chunks extend over two reads.
const CHUNK_SIZE: usize = 10_000;

const TIME: &str = "2026-02-09T10:30:00+00:00";
const PEER: Peer = Peer {
    pid: Some(4242),
    uid: 1000,
    gid: 1000,
};
const PAYLOADS_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/payloads");
const RECORDINGS_DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/recordings");
const ASCII_LINE: &str = "    println!(\"{name} has {count} lines\");\n";
const NON_ASCII_LINE: &str = "Съешь же ещё этих мягких французских булок, いろはにほへと 🦀\n";

/// Heads without the fields that frame the body.
const CURL_HEAD: &str = "POST /hook?event=PostToolUse HTTP/1.1\r\n\
    Host: localhost\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\
    Content-Type: application/json\r\n";
const SHORT_HEAD: &str = "POST /?event=Stop HTTP/1.1\r\n";

fn head(criterion: &mut Criterion) {
    let many_fields: String = (1..100)
        .map(|number| format!("X-Field-{number}: some value\r\n"))
        .collect();
    let mut group = criterion.benchmark_group("head");
    for (name, head) in [
        ("curl", CURL_HEAD),
        ("short", SHORT_HEAD),
        ("100 fields", &[SHORT_HEAD, &many_fields].concat()),
    ] {
        let head = with_length(head, b"");
        assert!(matches!(parse_head(&head), Ok(Some(_))), "{name}");
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse_head(black_box(&head)));
        });
    }
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    let (medium, large) = (payload(ASCII_LINE, 64 * KIB), payload(ASCII_LINE, MIB));
    for (name, request) in [
        ("small", with_length(CURL_HEAD, &payload(ASCII_LINE, 300))),
        ("length/64 KiB", with_length(CURL_HEAD, &medium)),
        ("length/1 MiB", with_length(CURL_HEAD, &large)),
        ("chunked/64 KiB", chunked(&medium)),
        ("chunked/1 MiB", chunked(&large)),
    ] {
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| receive(black_box(&request)));
        });
    }
}

/// Feeds a request to a new connection. Returns the length of the body.
fn receive(request: &[u8]) -> usize {
    let mut connection = Connection::new(0, 2 * MIB as u64);
    for bytes in request.chunks(READ_SIZE) {
        if let Step::Hook(hook) = connection.received(bytes) {
            return black_box(hook.body).len();
        }
    }
    panic!("the request is not a complete hook");
}

/// A request with a Content-Length.
fn with_length(head: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{head}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A request with a chunked body.
fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request = format!("{CURL_HEAD}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(CHUNK_SIZE) {
        request.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

fn enrich(criterion: &mut Criterion) {
    bench_events(criterion, "enrich", |event| {
        black_box(event);
    });
}

fn format(criterion: &mut Criterion) {
    for (name, format) in [
        ("format/compact", Format::Compact),
        ("format/pretty-json", Format::PrettyJson),
        (
            "format/pretty-yaml",
            Format::PrettyYaml {
                colour: false,
                cut: false,
            },
        ),
        (
            "format/pretty-line",
            Format::PrettyLine {
                colour: false,
                cut: false,
            },
        ),
    ] {
        // One buffer for all events, as in the server.
        let mut out = String::new();
        bench_events(criterion, name, |event| {
            out.clear();
            format.write(event, &mut out);
            black_box(&out);
        });
    }
}

/// Benches the making of events from bodies of each kind. `then` gets each event.
fn bench_events(criterion: &mut Criterion, group: &str, mut then: impl FnMut(&Event)) {
    let mut group = criterion.benchmark_group(group);
    for (name, bodies) in [
        ("recorded", recorded_payloads()),
        ("ascii/64 KiB", vec![payload(ASCII_LINE, 64 * KIB)]),
        ("ascii/1 MiB", vec![payload(ASCII_LINE, MIB)]),
        ("non-ascii/64 KiB", vec![payload(NON_ASCII_LINE, 64 * KIB)]),
        ("non-ascii/1 MiB", vec![payload(NON_ASCII_LINE, MIB)]),
    ] {
        let length: usize = bodies.iter().map(Vec::len).sum();
        group.throughput(Throughput::Bytes(length as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for body in &bodies {
                    let body = event::decode_utf8(black_box(body));
                    then(&Event::hook(TIME, "PostToolUse", &PEER, &body));
                }
            });
        });
    }
}

/// The payloads of a recorded session.
fn recorded_payloads() -> Vec<Vec<u8>> {
    read_files(PAYLOADS_DIRECTORY)
}

fn read_files(directory: &str) -> Vec<Vec<u8>> {
    let files = fs::read_dir(directory).expect("the directory is in the repository");
    files
        .map(|file| fs::read(file.expect("the directory can be listed").path()))
        .map(|content| content.expect("a file can be read"))
        .collect()
}

/// The payload of a tool that wrote a file, about `size` bytes long: `line`, repeated.
fn payload(line: &str, size: usize) -> Vec<u8> {
    let payload = json!({
        "session_id": "a47624fd-6670-4906-970f-6089849cc4ab",
        "hook_event_name": "PostToolUse",
        "tool_name": "Write",
        "tool_input": {
            "file_path": "/home/dev/app/src/main.rs",
            "content": line.repeat(size / line.len()),
        },
    });
    payload.to_string().into_bytes()
}

fn event_log(criterion: &mut Criterion) {
    const EVENT_SIZE: usize = 600;
    const BATCH: usize = 64;
    let mut group = criterion.benchmark_group("event log");
    for (name, events, readers) in [
        ("1 event/1 reader", 1, 1),
        ("64 events/1 reader", BATCH, 1),
        ("64 events/10 readers", BATCH, 10),
        ("64 events/200 readers", BATCH, 200),
    ] {
        let mut log = EventLog::new(MIB, 0, Format::Compact);
        let cursor = |_| log.add_cursor(Form::Shown, 0);
        let cursors: Vec<CursorKey> = (0..readers).map(cursor).collect();
        group.throughput(Throughput::Bytes((events * EVENT_SIZE) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || vec!["x".repeat(EVENT_SIZE); events],
                |events| append_and_read(&mut log, events, &cursors),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Appends the events, reads them with every cursor, and releases them.
fn append_and_read(log: &mut EventLog, events: &mut [String], cursors: &[CursorKey]) {
    for event in events {
        let forms = Forms {
            compact: std::mem::take(event),
            shown: None,
        };
        log.append(forms);
    }
    for cursor in cursors {
        while let Next::Bytes(bytes) = log.next(*cursor) {
            let count = black_box(bytes).len();
            log.advance(*cursor, count);
        }
    }
    log.release();
}

/// The states of all recorded sessions, from their events.
fn sessions(criterion: &mut Criterion) {
    let recordings = String::from_utf8(read_files(RECORDINGS_DIRECTORY).concat());
    let recordings = recordings.expect("recordings are UTF-8");
    // What the screens showed is in a file beside the recordings.
    let is_event = |line: &&str| line.starts_with('{');
    let lines: Vec<&str> = recordings.lines().filter(is_event).collect();
    let mut group = criterion.benchmark_group("sessions");
    group.throughput(Throughput::Elements(lines.len() as u64));
    group.bench_function("recorded", |bencher| {
        bencher.iter(|| {
            let mut sessions = Sessions::default();
            for line in black_box(&lines) {
                sessions.apply(&Object::parse(line), None);
            }
            sessions.iter().count()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_millis(1500));
    targets = head, framing, enrich, format, event_log, sessions
}
criterion_main!(benches);
