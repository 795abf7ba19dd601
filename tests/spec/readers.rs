//! The output socket: every reader gets every event, whole and in order.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::harness::*;

fn post_numbered(server: &Server, numbers: std::ops::Range<i64>) {
    for n in numbers {
        server.post("Stop", format!("{{\"n\":{n}}}"));
    }
}

#[test]
fn a_reader_gets_every_event_from_the_moment_it_connects() {
    let server = Server::with_readers(&[]);
    post_numbered(&server, 0..10);
    // No waiting: a connect that has returned is enough.
    let mut reader = UnixStream::connect(server.output_socket()).unwrap();
    post_numbered(&server, 10..60);
    let got = read_lines(&mut reader, 50);
    assert_eq!(column(&got, "n"), (10..60).collect::<Vec<_>>());
    assert_eq!(server.stdout.text(), "", "stdout gets nothing");
}

#[test]
fn many_readers_get_the_same_bytes() {
    let server = Server::with_readers(&[]);
    let mut readers: Vec<_> = (0..100).map(|_| server.reader()).collect();
    post_numbered(&server, 0..50);
    let texts = readers
        .iter_mut()
        .map(|reader| read_until(reader, |text| text.lines().count() == 50));
    let texts: Vec<_> = texts.collect();
    assert!(texts.iter().all(|text| *text == texts[0]));
    assert!(
        server
            .stderr
            .text()
            .contains("Output reader connected (100 total)\n")
    );
}

#[test]
fn a_reader_that_leaves_is_dropped_at_once_and_no_other_notices() {
    let server = Server::with_readers(&[]);
    let mut stays = server.reader();
    let leaves = server.reader();
    drop(leaves);
    // Without any event to write to it.
    server.stderr.wait("the departure", |text| {
        text.contains("Output reader disconnected (1 total)\n")
    });
    post_numbered(&server, 0..3);
    assert_eq!(column(&read_lines(&mut stays, 3), "n"), [0, 1, 2]);
}

#[test]
fn a_reader_that_only_stops_sending_is_kept() {
    let server = Server::with_readers(&[]);
    let mut reader = server.reader();
    reader.shutdown(Shutdown::Write).unwrap();
    post_numbered(&server, 0..3);
    assert_eq!(column(&read_lines(&mut reader, 3), "n"), [0, 1, 2]);
    assert!(!server.stderr.text().contains("disconnected"));
}

#[test]
fn what_a_reader_says_is_ignored() {
    let server = Server::with_readers(&[]);
    let mut reader = server.reader();
    reader.write_all(&vec![b'x'; 1 << 20]).unwrap();
    post_numbered(&server, 0..3);
    reader.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(column(&read_lines(&mut reader, 3), "n"), [0, 1, 2]);
}

#[test]
fn a_reader_that_cannot_be_written_to_is_dropped() {
    let server = Server::with_readers(&[]);
    let reader = server.reader();
    reader.shutdown(Shutdown::Read).unwrap();
    post_numbered(&server, 0..1);
    server.stderr.wait("the departure", |text| {
        text.contains("Output reader disconnected (0 total)\n")
    });
}

#[test]
fn tee_writes_to_stdout_as_well() {
    let server = Server::with_readers(&["--tee"]);
    let mut reader = server.reader();
    post_numbered(&server, 0..3);
    let got = read_until(&mut reader, |text| text.lines().count() == 3);
    assert_eq!(
        server
            .stdout
            .wait("three lines", |text| text.lines().count() == 3),
        got
    );
}

#[test]
fn readers_get_the_chosen_format() {
    let server = Server::with_readers(&["--pretty-yaml"]);
    let mut reader = server.reader();
    server.post("Stop", "{\"a\":\"b\"}");
    assert!(read_until(&mut reader, |text| text.ends_with("a: b\n")).starts_with("---\n_ts: '"));
}

#[test]
fn the_output_socket_has_a_mode_of_its_own() {
    let mode = |server: &Server| {
        let metadata = std::fs::metadata(server.output_socket()).unwrap();
        metadata.permissions().mode() & 0o7777
    };
    assert_eq!(mode(&Server::with_readers(&["--mode", "0666"])), 0o600);
    assert_eq!(
        mode(&Server::with_readers(&["--output-mode", "0640"])),
        0o640
    );
}

fn complaints(stderr: &str) -> usize {
    stderr.matches("too slow").count()
}

#[test]
fn a_stalled_reader_holds_up_nobody_and_is_told_what_it_missed() {
    const SENT: usize = 3000;
    let server = Server::with_readers(&["--buffer", "100000"]);
    let mut stalled = server.reader();
    let mut reads = server.reader();
    let text = "x".repeat(500);
    for n in 0..SENT {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        assert_eq!(column(&read_lines(&mut reads, 1), "n"), [n as i64]);
    }
    let got = read_until(&mut stalled, |text| {
        text.ends_with('\n') && {
            let (received, dropped) = tally(text);
            received as u64 + dropped == SENT as u64
        }
    });
    let (received, dropped) = tally(&got);
    assert!(
        received > 0 && dropped > 0,
        "{received} received, {dropped} dropped"
    );
    // Oldest first: what it has are the first ones and the last ones.
    let numbers = column(&events(&got), "n");
    assert!(numbers.is_sorted() && numbers[0] == 0 && numbers[received - 1] == SENT as i64 - 1);
    assert_eq!(
        complaints(
            &server
                .stderr
                .wait("a complaint", |text| complaints(text) > 0)
        ),
        1
    );

    // It has caught up: the next time is another incident.
    post_numbered(&server, 0..1);
    assert_eq!(column(&read_lines(&mut stalled, 1), "n"), [0]);
}

#[test]
fn the_newest_event_always_fits() {
    let server = Server::with_readers(&["--buffer", "1000000"]);
    let mut reader = server.reader();
    let text = "x".repeat(1_000_001);
    for n in 0..2 {
        server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    let got = read_until(&mut reader, |text| {
        text.ends_with('\n') && tally(text).0 == 2
    });
    assert_eq!(
        tally(&got),
        (2, 0),
        "the first is in the middle of being read, the second is the newest"
    );
}

#[test]
fn no_line_is_torn_where_events_fall_out_in_the_middle_of_one() {
    let server = Server::with_readers(&["--buffer", "600000"]);
    let mut stalled = server.reader();
    let text = "x".repeat(400_000);
    for n in 0..10 {
        server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    let got = read_until(&mut stalled, |text| {
        text.ends_with('\n') && text.contains("\"n\":9")
    });
    assert_eq!(
        tally(&got),
        (2, 8),
        "every line is JSON, the first and the last event among them"
    );
}

#[test]
fn remainders_beyond_the_buffer_cost_the_reader_that_holds_most() {
    let server = Server::with_readers(&["--buffer", "500000"]);
    let mut stalled: Vec<_> = (0..3).map(|_| server.reader()).collect();
    let text = "x".repeat(400_000);
    for n in 0..3 {
        server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    server.stderr.wait("one is dropped", |text| {
        text.contains("Output reader disconnected (2 total)\n")
    });
    let ended = stalled.iter_mut().filter_map(|reader| {
        reader.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut got = Vec::new();
        let mut buffer = [0; 1 << 16];
        loop {
            match reader.read(&mut buffer).unwrap() {
                0 => return Some(()),
                count => got.extend(&buffer[..count]),
            }
            if got.ends_with(b"}\n") && String::from_utf8_lossy(&got).contains("\"n\":2") {
                return None;
            }
        }
    });
    assert_eq!(ended.count(), 1);
}
