//! Readers: each gets every event, complete and in order. Only a reader that is too slow misses
//! events. The rules are the same for readers of the output socket and of `GET /events`.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;

use crate::harness::*;

#[test]
fn a_reader_gets_every_event_from_the_moment_it_connects() {
    let server = Server::with_readers(&[]);
    server.post_numbered(0..10);
    // The server need not have accepted it: a completed connect(2) is enough.
    let mut reader = UnixStream::connect(server.output_socket()).unwrap();
    server.post_numbered(10..60);
    let received = read_lines(&mut reader, 50);
    assert_eq!(column(&received, "n"), (10..60).collect::<Vec<_>>());
    assert_eq!(
        server.stdout.text(),
        "",
        "without --tee, stdout gets nothing"
    );
}

#[test]
fn readers_of_the_output_socket_are_counted_on_stderr() {
    let server = Server::with_readers(&[]);
    let _live = server.live_reader("");
    let _first = server.reader();
    drop(server.reader());
    server.stderr.wait("the counts", |text| {
        let lines = "Output reader connected (1 total)\n\
                     Output reader connected (2 total)\n\
                     Output reader disconnected (1 total)\n";
        text.ends_with(lines)
    });
}

#[test]
fn all_readers_get_the_same_bytes() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&[]);
        let mut readers: Vec<_> = (0..100).map(|_| server.reader_of(kind)).collect();
        server.post_numbered(0..50);
        let texts = readers
            .iter_mut()
            .map(|reader| read_until(reader, |text| text.lines().count() == 50));
        let texts: Vec<_> = texts.collect();
        assert!(texts.iter().all(|text| *text == texts[0]));
    });
}

#[test]
fn a_reader_that_disconnects_is_removed_at_once_and_the_others_continue() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&[]);
        let mut reader = server.reader_of(kind);
        let before = server.descriptors();
        drop(server.reader_of(kind));
        // There is no event yet that would cause a write.
        wait_until("the removal", || server.descriptors() == before);
        server.post_numbered(0..3);
        assert_eq!(column(&read_lines(&mut reader, 3), "n"), [0, 1, 2]);
    });
}

#[test]
fn a_reader_may_shut_down_its_sending_side() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&[]);
        let mut reader = server.reader_of(kind);
        reader.shutdown(Shutdown::Write).unwrap();
        server.post_numbered(0..3);
        assert_eq!(column(&read_lines(&mut reader, 3), "n"), [0, 1, 2]);
        assert!(!server.stderr.text().contains("disconnected"));
    });
}

#[test]
fn input_from_a_reader_is_discarded() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&[]);
        let mut reader = server.reader_of(kind);
        reader.write_all(&vec![b'x'; 1 << 20]).unwrap();
        server.post_numbered(0..3);
        reader.write_all(b"POST / HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(column(&read_lines(&mut reader, 3), "n"), [0, 1, 2]);
    });
}

#[test]
fn a_reader_that_shuts_down_its_receiving_side_is_removed() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&[]);
        let before = server.descriptors();
        let reader = server.reader_of(kind);
        reader.shutdown(Shutdown::Read).unwrap();
        server.post_numbered(0..1);
        wait_until("the removal", || server.descriptors() == before);
    });
}

#[test]
fn with_tee_stdout_and_readers_get_the_same_bytes() {
    let server = Server::with_readers(&["--tee"]);
    let mut reader = server.reader();
    server.post_numbered(0..3);
    let received = read_until(&mut reader, |text| text.lines().count() == 3);
    assert_eq!(
        server
            .stdout
            .wait("three lines", |text| text.lines().count() == 3),
        received
    );
}

#[test]
fn readers_get_the_format_of_the_option() {
    let server = Server::with_readers(&["--pretty-yaml"]);
    let mut reader = server.reader();
    server.post("Stop", "{\"a\":\"b\"}");
    assert!(read_until(&mut reader, |text| text.ends_with("a: b\n")).starts_with("---\n_ts: '"));
}

#[test]
fn the_output_socket_has_its_own_mode() {
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

#[test]
fn a_stalled_reader_blocks_nobody_and_gets_the_number_of_missed_events() {
    KINDS.into_iter().for_each(|kind| {
        const EVENTS: usize = 3000;
        let server = Server::with_readers(&["--buffer", "100000"]);
        let mut stalled = server.reader_of(kind);
        let mut reading = server.reader_of(kind);
        let text = "x".repeat(500);
        for n in 0..EVENTS {
            server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
            assert_eq!(column(&read_lines(&mut reading, 1), "n"), [n as i64]);
        }
        let text = read_until(&mut stalled, |text| {
            text.ends_with('\n') && {
                let (received, dropped) = tally(text);
                received as u64 + dropped == EVENTS as u64
            }
        });
        let (received, dropped) = tally(&text);
        assert!(
            received > 0 && dropped > 0,
            "{received} received, {dropped} dropped"
        );
        // The socket's buffer holds the first events. Of the others, the oldest are dropped.
        let numbers = column(&events(&text), "n");
        assert!(
            numbers.is_sorted() && numbers[0] == 0 && numbers[received - 1] == EVENTS as i64 - 1
        );
        let stderr = server
            .stderr
            .wait("the report", |text| text.contains("too slow"));
        assert_eq!(stderr.matches("too slow").count(), 1);

        // It has caught up.
        server.post_numbered(0..1);
        assert_eq!(column(&read_lines(&mut stalled, 1), "n"), [0]);
    });
}

#[test]
fn an_event_larger_than_the_buffer_is_delivered() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&["--buffer", "1000000"]);
        let mut reader = server.reader_of(kind);
        let text = "x".repeat(1_000_001);
        for n in 0..2 {
            server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        }
        let received = read_until(&mut reader, |text| {
            text.ends_with('\n') && tally(text).0 == 2
        });
        assert_eq!(
            tally(&received),
            (2, 0),
            "the reader has a part of the first event, and the second is the newest"
        );
    });
}

#[test]
fn a_partly_sent_event_is_completed_even_if_it_is_evicted() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&["--buffer", "600000"]);
        let mut stalled = server.reader_of(kind);
        let text = "x".repeat(400_000);
        for n in 0..10 {
            server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        }
        let received = read_until(&mut stalled, |text| {
            text.ends_with('\n') && text.contains("\"n\":9")
        });
        assert_eq!(
            tally(&received),
            (2, 8),
            "the first event was partly sent, and the last is the newest"
        );
    });
}

/// Four readers, each in the middle of another event. Together these exceed `--buffer`.
fn readers_in_partial_events(server: &Server, kind: Kind) -> Vec<UnixStream> {
    let text = "x".repeat(400_000);
    let stalled = (0..4).map(|n| {
        let reader = server.reader_of(kind);
        server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        reader
    });
    stalled.collect()
}

/// Whether a reader is disconnected before it has got the last of the four events.
fn is_disconnected(mut reader: UnixStream) -> bool {
    reader.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut received = Vec::new();
    let mut buffer = [0; 1 << 16];
    loop {
        match reader.read(&mut buffer).unwrap() {
            0 => return true,
            count => received.extend(&buffer[..count]),
        }
        if received.ends_with(b"}\n") && String::from_utf8_lossy(&received).contains("\"n\":3") {
            return false;
        }
    }
}

#[test]
fn readers_that_read_are_not_disconnected_however_large_the_events_are() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&["--buffer", "500000"]);
        let readers = readers_in_partial_events(&server, kind);
        let disconnected: Vec<bool> = readers.into_iter().map(is_disconnected).collect();
        assert_eq!(disconnected, [false; 4]);
    });
}

#[test]
fn if_partial_events_exceed_the_buffer_the_reader_that_stopped_first_is_disconnected() {
    let check = |kind| {
        let server = Server::with_readers(&["--buffer", "500000"]);
        let stalled = readers_in_partial_events(&server, kind);
        let name = match kind {
            Kind::Output => "An output reader",
            Kind::Live => "A reader of /events",
        };
        let reason = format!(
            "{name} (pid {}) is disconnected in the middle of an event",
            std::process::id()
        );
        // They have stopped when they have taken nothing for ten seconds.
        wait_until("the reason", || {
            std::thread::sleep(std::time::Duration::from_millis(100));
            server.post("Stop", "{}");
            server.stderr.text().contains(&reason)
        });
        let disconnected: Vec<bool> = stalled.into_iter().map(is_disconnected).collect();
        assert_eq!(disconnected, [true, false, false, false]);
    };
    std::thread::scope(|scope| {
        for kind in KINDS {
            scope.spawn(move || check(kind));
        }
    });
}

#[test]
fn readers_that_fall_behind_together_are_reported_in_one_line() {
    let server = Server::with_readers(&["--buffer", "100000"]);
    let _stalled: Vec<_> = (0..50).map(|_| server.reader()).collect();
    let text = "x".repeat(200_000);
    for _ in 0..4 {
        server.post("Big", format!("\"{text}\""));
    }
    let is_reported = |text: &str| text.ends_with('\n') && text.contains("too slow");
    let stderr = server.stderr.wait("the line", is_reported);
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| line.contains("too slow"))
        .collect();
    let [line] = lines[..] else {
        panic!("{lines:?}")
    };
    assert!(line.ends_with(" and 49 more readers are too slow: their oldest events are dropped"));
}

#[test]
fn readers_that_share_the_rest_of_an_event_are_not_disconnected() {
    KINDS.into_iter().for_each(|kind| {
        let server = Server::with_readers(&["--buffer", "1000000"]);
        let mut stalled: Vec<_> = (0..50).map(|_| server.reader_of(kind)).collect();
        let text = "x".repeat(900_000);
        for n in 0..5 {
            server.post("Big", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
        }
        for reader in &mut stalled {
            let received = read_until(reader, |text| {
                text.ends_with('\n') && text.contains("\"n\":4")
            });
            assert_eq!(tally(&received), (2, 3));
        }
        assert!(!server.stderr.text().contains("disconnected"));
    });
}
