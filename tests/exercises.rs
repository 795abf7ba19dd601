//! The exercises of EDU_NOTES.md: each test tells when one is right.
//!
//! They fail until you have done them, so they do not run by themselves:
//!
//! ```text
//! cargo test --test exercises head -- --ignored
//! ```

// Not all that the specification needs is needed here.
#[allow(dead_code)]
#[path = "spec/harness.rs"]
mod harness;

use std::io::{Read, Write};

use harness::*;
use serde_json::Value;

/// `HEAD /health` is answered as `GET` is, but for the body (RFC 9110 section 9.3.2).
#[test]
#[ignore = "an exercise"]
fn head_has_the_fields_of_get_and_no_body() {
    let server = Server::start(&[]);
    let get = server.exchange("GET /health HTTP/1.1\r\n\r\n");
    let head = server.exchange("HEAD /health HTTP/1.1\r\n\r\n");
    assert_eq!(head, get.strip_suffix("{\"status\": \"ok\"}").unwrap());
    // What follows on a kept connection must not be taken for a body.
    let keep = "HEAD /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let answers = server.exchange(format!("{keep}{keep}"));
    assert_eq!(answers.matches("200 OK").count(), 2);
    assert!(answers.ends_with("\r\n\r\n"));
    let other = server.exchange("HEAD /elsewhere HTTP/1.1\r\n\r\n");
    assert_eq!(status(&other), "404");
}

/// `GET /stats` says how many events there were, and how many clients and readers there are.
#[test]
#[ignore = "an exercise"]
fn stats_count_events_clients_and_readers() {
    let server = Server::with_readers(&[]);
    let stats = || -> Value {
        let answer = server.exchange("GET /stats HTTP/1.1\r\n\r\n");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        serde_json::from_str(body).unwrap()
    };
    for _ in 0..3 {
        server.post("Stop", "{}");
    }
    let _readers = [server.reader(), server.reader()];
    let _idle = server.connect();
    wait_until(
        "the idle client is counted beside the one that asks",
        || stats()["clients"] == 2,
    );
    assert_eq!(stats()["events"], 3);
    assert_eq!(stats()["readers"], 2);
}

/// With `--per-uid 2`, a user has two connections at a time; a third one is answered 429
/// at once, and disturbs nobody.
#[test]
#[ignore = "an exercise"]
fn a_user_has_so_many_connections_and_no_more() {
    let server = Server::start_with(&["--per-uid", "2"], |command| command);
    let mut first = server.connect();
    let second = server.connect();
    first
        .write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    wait_until("there is no third place", || {
        status(&server.exchange("GET /health HTTP/1.1\r\n\r\n")) == "429"
    });
    // Who is in is served.
    first.write_all(b"}").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    // Who leaves makes room.
    drop((first, second));
    wait_until("there is a place again", || {
        status(&server.exchange("GET /health HTTP/1.1\r\n\r\n")) == "200"
    });
}

/// Level triggers: the poll, and not the list `readable`, tells of a client that was not
/// read empty. mio has edges only; but to register a socket again is to ask anew.
#[test]
#[ignore = "an exercise"]
fn the_poll_tells_again_of_who_was_not_read_empty() {
    if tool("strace").is_none() {
        return;
    }
    let folder = folder();
    let calls = folder.path().join("calls");
    let server = Server::start_with(&[], |command| {
        let strace = [
            "strace",
            // The tracer is the child of the server, not the other way round.
            "-D",
            "-f",
            "-o",
            calls.to_str().unwrap(),
            "-e",
            "trace=epoll_ctl",
        ];
        run_under(command, &strace)
    });
    // Many turns, at four reads of 64 KiB a turn.
    server.post("Stop", format!("{{\"a\":\"{}\"}}", "x".repeat(8 << 20)));
    wait_until("epoll_ctl is called again and again for one client", || {
        let calls = std::fs::read_to_string(&calls).unwrap();
        calls.matches("EPOLL_CTL_MOD").count() >= 8
    });
}

/// `--also PATH` is a second place where hooks can be posted.
#[test]
#[ignore = "an exercise"]
fn hooks_can_be_posted_in_two_places() {
    let other_folder = folder();
    let other = other_folder.path().join("other.sock");
    let mut server = Server::start(&["--also", other.to_str().unwrap()]);
    server.post("A", "{}");
    let stream = std::os::unix::net::UnixStream::connect(&other).unwrap();
    assert_eq!(exchange(stream, &request("/?event=B", "{}")), OK);
    let events = server.stdout.lines(2);
    assert_eq!([&events[0]["_event"], &events[1]["_event"]], ["A", "B"]);
    server.stop();
    assert!(!other.exists(), "its file goes too");
}
