//! How fast the pure parts are: heads, bodies, events, formats, the log.
//!
//! No socket and no process is in the way, so a part that became slower shows
//! here by name, where a load on the whole server would only show that
//! something did.
//!
//! ```text
//! cargo bench --bench micro
//! ```

use std::fs;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hooks_observatory::event::{self, Event};
use hooks_observatory::format::Format;
use hooks_observatory::http::connection::{Connection, Step};
use hooks_observatory::http::request::parse_head;
use hooks_observatory::output::event_log::{Cursor, EventLog};
use hooks_observatory::peer::Peer;
use serde_json::json;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Bytes that arrive at once.
const PIECE: usize = 64 * KIB;
/// Not a power of two, so that pieces end within chunks.
const CHUNK: usize = 10_000;

const TIME: &str = "2026-02-09T10:30:00+00:00";
const PEER: Peer = Peer {
    pid: Some(4242),
    uid: 1000,
    gid: 1000,
};
const PAYLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/payloads");
const SOURCE: &str = "    println!(\"{name} has {count} lines\");\n";
const PROSE: &str = "Съешь же ещё этих мягких французских булок, いろはにほへと 🦀\n";

const CURL: &str = "POST /hook?event=PostToolUse HTTP/1.1\r\n\
    Host: localhost\r\n\
    User-Agent: curl/8.5.0\r\n\
    Accept: */*\r\n\
    Content-Type: application/json\r\n";
const SHORT: &str = "POST /?event=Stop HTTP/1.1\r\n";

fn head(criterion: &mut Criterion) {
    let many_fields: String = (1..100)
        .map(|number| format!("X-Field-{number}: some value\r\n"))
        .collect();
    let mut group = criterion.benchmark_group("head");
    for (name, start) in [
        ("curl", CURL),
        ("short", SHORT),
        ("100 fields", &[SHORT, &many_fields].concat()),
    ] {
        let head = with_length(start, b"");
        assert!(matches!(parse_head(&head), Ok(Some(_))), "{name}");
        group.throughput(Throughput::Bytes(head.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| parse_head(black_box(&head)));
        });
    }
}

fn framing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("framing");
    let (medium, large) = (written(SOURCE, 64 * KIB), written(SOURCE, MIB));
    for (name, request) in [
        ("small", with_length(CURL, &written(SOURCE, 300))),
        ("length/64 KiB", with_length(CURL, &medium)),
        ("length/1 MiB", with_length(CURL, &large)),
        ("chunked/64 KiB", chunked(&medium)),
        ("chunked/1 MiB", chunked(&large)),
    ] {
        group.throughput(Throughput::Bytes(request.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| receive(black_box(&request)));
        });
    }
}

/// Feeds a request to a new connection. The length of its body.
fn receive(request: &[u8]) -> usize {
    let mut connection = Connection::new(0, 2 * MIB as u64);
    for piece in request.chunks(PIECE) {
        if let Step::Hook(hook) = connection.received(piece) {
            return black_box(hook.body).len();
        }
    }
    panic!("the request is no whole hook");
}

/// A request: `start` is its head as far as the fields that frame the body.
fn with_length(start: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("{start}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut request = format!("{CURL}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    for chunk in body.chunks(CHUNK) {
        request.extend(format!("{:x}\r\n", chunk.len()).as_bytes());
        request.extend([chunk, b"\r\n"].concat());
    }
    request.extend(b"0\r\n\r\n");
    request
}

fn enrich(criterion: &mut Criterion) {
    each_input(criterion, "enrich", |event| {
        black_box(event);
    });
}

fn format(criterion: &mut Criterion) {
    for (name, format) in [
        ("format/compact", Format::Compact),
        ("format/pretty-json", Format::PrettyJson),
        ("format/pretty-yaml", Format::PrettyYaml { colour: false }),
        (
            "format/pretty-line",
            Format::PrettyLine {
                colour: false,
                cut: false,
            },
        ),
    ] {
        // The server, too, writes every event into the same bytes.
        let mut out = String::new();
        each_input(criterion, name, |event| {
            out.clear();
            format.write(event, &mut out);
            black_box(&out);
        });
    }
}

/// Makes events of bodies of every kind, and does `then` with each.
fn each_input(criterion: &mut Criterion, group: &str, mut then: impl FnMut(&Event)) {
    let mut group = criterion.benchmark_group(group);
    for (name, bodies) in [
        ("recorded", recorded()),
        ("ascii/64 KiB", vec![written(SOURCE, 64 * KIB)]),
        ("ascii/1 MiB", vec![written(SOURCE, MIB)]),
        ("non-ascii/64 KiB", vec![written(PROSE, 64 * KIB)]),
        ("non-ascii/1 MiB", vec![written(PROSE, MIB)]),
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

/// What Claude Code sent in a session.
fn recorded() -> Vec<Vec<u8>> {
    let files = fs::read_dir(PAYLOADS).expect("the payloads are in the repository");
    files
        .map(|file| fs::read(file.expect("the folder can be listed").path()))
        .map(|payload| payload.expect("a payload can be read"))
        .collect()
}

/// The hook for a tool that wrote a file, about `size` bytes long, of these lines.
fn written(line: &str, size: usize) -> Vec<u8> {
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

fn log(criterion: &mut Criterion) {
    const LINE: usize = 600;
    const EVENTS: usize = 64;
    let mut group = criterion.benchmark_group("log");
    for (name, events, readers) in [
        ("read along", 1, 1),
        ("fan-out/1", EVENTS, 1),
        ("fan-out/10", EVENTS, 10),
        ("fan-out/200", EVENTS, 200),
    ] {
        let mut log = EventLog::new(MIB);
        let mut cursors: Vec<Cursor> = (0..readers).map(|_| Cursor::new(log.end())).collect();
        group.throughput(Throughput::Bytes((events * LINE) as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched_ref(
                || vec!["x".repeat(LINE); events],
                |events| pass_on(&mut log, events, &mut cursors),
                BatchSize::SmallInput,
            );
        });
    }
}

/// Appends events, has every cursor read them, and lets them go.
fn pass_on(log: &mut EventLog, events: &mut [String], cursors: &mut [Cursor]) {
    for event in events {
        log.append(event, cursors.iter_mut());
    }
    for cursor in cursors {
        while !cursor.has_reached(log.end()) {
            let count = black_box(cursor.unread(log)).len();
            cursor.advance(log, count);
        }
    }
    log.release(log.end().entry());
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = head, framing, enrich, format, log
}
criterion_main!(benches);
