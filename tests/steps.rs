//! The five small servers of EDU_NOTES.md: what each does right, its flaw, and that the next one
//! does not have it.
//!
//! cargo builds them for `cargo test`. For `cargo test --test steps`, run `cargo build --examples`
//! first.
#![cfg(target_os = "linux")]

#[allow(dead_code)]
#[path = "spec/harness.rs"]
mod harness;
#[path = "support/step.rs"]
mod step;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use harness::*;
use serde_json::json;
use step::*;

/// The steps that print events. The others write them to readers.
const PRINTING: [u32; 3] = [1, 2, 3];
const WITH_READERS: [u32; 2] = [4, 5];

/// What a hook of this process becomes.
fn event(payload: serde_json::Value) -> serde_json::Value {
    json!({
        "_event": "Stop",
        "_peer_pid": std::process::id(),
        "_peer_uid": rustix::process::getuid().as_raw(),
        "payload": payload,
    })
}

#[test]
fn every_step_says_who_sent_what_and_answers_200() {
    for number in PRINTING {
        let server = Step::start(number);
        assert_eq!(server.post(stop("{\"a\":1}")), "200");
        assert_eq!(server.post(stop("no JSON")), "200");
        let events = [event(json!({"a": 1})), event(json!("no JSON"))];
        assert_eq!(server.stdout.lines(2), events);
    }
    for number in WITH_READERS {
        let server = Step::start(number);
        let mut readers = [server.reader(), server.reader()];
        assert_eq!(server.post(stop("{\"a\":1}")), "200");
        assert_eq!(server.post(stop("no JSON")), "200");
        for reader in &mut readers {
            let events = [event(json!({"a": 1})), event(json!("no JSON"))];
            assert_eq!(read_lines(reader, 2), events);
        }
        let mut late = server.reader();
        assert_eq!(server.post(stop("2")), "200");
        assert_eq!(read_lines(&mut late, 1), [event(json!(2))]);
    }
}

#[test]
fn step_1_waits_for_a_silent_client_and_step_2_does_not() {
    let server = Step::start(1);
    let silent = server.connect();
    let other = server.send(stop("{}"));
    assert_eq!(server.status_now(&other), None);
    drop(silent);
    assert_eq!(read_status(other), "200");

    let server = Step::start(2);
    let _silent = server.connect();
    // Otherwise it could forget the other one, which is its own flaw.
    server.wait_until_at_rest();
    assert_eq!(server.post(stop("{}")), "200");
}

#[test]
fn step_1_and_2_tear_a_body_in_two_pieces_and_step_3_does_not() {
    let request = stop("[1,2]");
    let (first, second) = request.split_at(request.len() - 2);
    for number in [1, 2] {
        let server = Step::start(number);
        assert_eq!(server.post(first), "200", "it has not the whole body");
        assert_eq!(server.stdout.lines(1), [event(json!("[1,"))]);
    }
    let server = Step::start(3);
    let mut client = server.send(first);
    assert_eq!(server.status_now(&client), None);
    client.write_all(second).unwrap();
    assert_eq!(read_status(client), "200");
    assert_eq!(server.stdout.lines(1), [event(json!([1, 2]))]);
}

#[test]
fn step_2_forgets_a_client_and_step_3_does_not() {
    // Two clients connect before the poll is asked. It reports the listener once.
    let two_clients = |server: &Step| {
        server.pause();
        let clients = [server.send(stop("1")), server.send(stop("2"))];
        server.signal("CONT");
        clients
    };
    let server = Step::start(2);
    let [first, second] = two_clients(&server);
    assert_eq!(read_status(first), "200");
    assert_eq!(server.status_now(&second), None);
    // The next client that connects is one report more.
    let _third = server.connect();
    assert_eq!(read_status(second), "200");

    let server = Step::start(3);
    for client in two_clients(&server) {
        assert_eq!(read_status(client), "200");
    }
}

#[test]
fn from_step_3_on_a_request_may_arrive_in_any_pieces() {
    for number in [3, 4, 5] {
        let server = Step::start(number);
        // Larger than the buffer for one read.
        assert_eq!(server.post(stop(&"x".repeat(1 << 20))), "200");
        let mut client = server.connect();
        for byte in stop("[1,2]") {
            assert_eq!(server.status_now(&client), None);
            client.write_all(&[byte]).unwrap();
        }
        assert_eq!(read_status(client), "200");
    }
}

#[test]
fn from_step_3_on_a_wrong_request_is_refused() {
    for number in [3, 4, 5] {
        let server = Step::start(number);
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("POST /\r\n\r\n", "400"),
            ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", "400"),
        ] {
            assert_eq!(server.post(request), status, "{request}");
        }
        for (part, status) in [("POST / HT", "400"), ("", "")] {
            let client = server.send(part);
            client.shutdown(std::net::Shutdown::Write).unwrap();
            assert_eq!(read_status(client), status, "{part:?}");
        }
    }
}

/// It takes ten seconds, the time for a request.
#[test]
fn from_step_3_on_a_silent_client_is_refused() {
    let servers = [3, 4, 5].map(Step::start);
    let clients = servers.each_ref().map(|server| server.send("POST / HT"));
    for client in clients {
        assert_eq!(read_status(client), "408");
    }
}

#[test]
fn step_3_waits_for_a_stdout_that_nobody_reads_and_step_4_does_not() {
    // More than a pipe takes.
    let large = stop(&"x".repeat(1 << 20));
    let (_unread, pipe) = std::io::pipe().unwrap();
    let server = Step::start_with(3, |command| command.stdout(pipe));
    let first = server.send(&large);
    let other = server.send(stop("{}"));
    assert_eq!(server.status_now(&first), None);
    assert_eq!(server.status_now(&other), None);

    let (_unread, pipe) = std::io::pipe().unwrap();
    let server = Step::start_with(4, |command| command.stdout(pipe));
    assert_eq!(server.post(&large), "200");
    assert_eq!(server.post(stop("{}")), "200");
}

#[test]
fn a_reader_that_disconnects_is_removed() {
    for number in WITH_READERS {
        let server = Step::start(number);
        let descriptors = || {
            server.wait_until_at_rest();
            let folder = format!("/proc/{}/fd", server.child.id());
            std::fs::read_dir(folder).unwrap().count()
        };
        let before = descriptors();
        let reader = server.reader();
        assert_eq!(descriptors(), before + 1);
        drop(reader);
        // A child that another test starts just now may have the reader open until it runs.
        wait_until("the reader is removed", || descriptors() == before);
    }
}

/// Posts events of 100,000 bytes. A socket takes about two.
fn post_many(server: &Step, count: u64) {
    for _ in 0..count {
        assert_eq!(server.post(stop(&"x".repeat(100_000))), "200");
    }
}

#[test]
fn step_4_cuts_a_slow_reader_off_in_the_middle_of_a_line_and_step_5_does_not() {
    const POSTED: u64 = 40;
    let server = Step::start(4);
    let mut reader = server.reader();
    // More than a socket takes.
    assert_eq!(server.post(stop(&"x".repeat(1 << 20))), "200");
    let mut text = String::new();
    reader.set_read_timeout(Some(TIMEOUT)).unwrap();
    reader.read_to_string(&mut text).unwrap();
    assert!(!text.is_empty() && !text.ends_with('\n'), "a whole line");

    let server = Step::start(5);
    let mut reader = server.reader();
    let mut other = server.reader();
    let mut kept_up = 0;
    for _ in 0..POSTED {
        post_many(&server, 1);
        kept_up += read_lines(&mut other, 1).len() as u64;
    }
    assert_eq!(kept_up, POSTED, "the other reader does not wait");
    let text = read_until(&mut reader, |text| {
        let (received, missed) = tally_of_whole_lines(text);
        assert!(received + missed <= POSTED, "{missed} are too many");
        received + missed == POSTED
    });
    let (received, missed) = tally_of_whole_lines(&text);
    // What the buffer holds comes after the notice.
    assert!(missed > 0 && received > 10, "received {received}");
    post_many(&server, 1);
    assert_eq!(read_lines(&mut reader, 1).len(), 1);
}

/// How many events a reader got, and how many it has missed.
fn tally_of_whole_lines(text: &str) -> (u64, u64) {
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    let (received, missed) = tally(whole);
    (received as u64, missed)
}

#[test]
fn step_5_answers_after_the_flush() {
    let Some(strace) = tool("strace") else { return };
    let folder = folder();
    let calls = folder.path().join("calls");
    let server = Step::start_with(5, |command| {
        let program = command.get_program().to_owned();
        *command = std::process::Command::new(strace);
        command
            .args(["-D", "-e", "trace=write,sendto", "-o"])
            .arg(&calls)
            .arg(program)
            .args(["hooks.sock", "output.sock"])
            .stdout(Stdio::null())
    });
    let mut reader = UnixStream::connect(server.folder.path().join("output.sock")).unwrap();
    assert_eq!(server.post(stop("{}")), "200");
    read_lines(&mut reader, 1);
    let order = || {
        let calls = std::fs::read_to_string(&calls).unwrap();
        let event = calls.find("_event")?;
        Some(event < calls.find("HTTP/1.1 200")?)
    };
    wait_until("the calls are written", || order().is_some());
    assert_eq!(order(), Some(true));
}

/// What the notes say that step 5 lacks.
#[test]
fn step_5_is_not_the_whole_server() {
    let mut server = Step::start(5);
    let mut reader = server.reader();
    assert_eq!(server.post(stop("1.50")), "200");
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n0\r\n\r\n";
    assert_eq!(server.post(chunked), "200");
    let events = read_until(&mut reader, |text| text.lines().count() == 2);
    assert!(events.contains("\"payload\":1.5}"), "a number has changed");
    assert!(
        events.contains("\"payload\":\"\"}"),
        "a chunked body is lost"
    );
    // The file stays, and the next server cannot start.
    server.signal("TERM");
    server.child.wait().unwrap();
    assert!(server.folder.path().join("hooks.sock").exists());
}
