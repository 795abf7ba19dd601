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
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;

use harness::*;
use serde_json::{Value, json};

/// `HEAD /health` is answered as `GET` is, but for the body (RFC 9110 section 9.3.2).
#[test]
#[ignore = "an exercise"]
fn head_has_the_fields_of_get_and_no_body() {
    let server = Server::start(&[]);
    let get = server.exchange("GET /health HTTP/1.1\r\n\r\n");
    let head = server.exchange("HEAD /health HTTP/1.1\r\n\r\n");
    assert_eq!(head, get.strip_suffix("{\"status\": \"ok\"}").unwrap());
    // What follows on a kept connection must not be taken for a body.
    let kept = |method| format!("{method} /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n");
    let get = server.exchange(kept("GET"));
    let heads = server.exchange(kept("HEAD").repeat(2));
    assert_eq!(
        heads,
        get.strip_suffix("{\"status\": \"ok\"}").unwrap().repeat(2)
    );
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
    // Who has left is gone from the numbers when the server has noticed.
    let expect = |events: u64, clients: usize, readers: usize| {
        let numbers = json!({"events": events, "clients": clients, "readers": readers});
        wait_until(&format!("the numbers are {numbers}"), || stats() == numbers);
    };
    // The one that asks is a client.
    expect(0, 1, 0);
    for _ in 0..3 {
        server.post("Stop", "{}");
    }
    let [reader, _other] = [server.reader(), server.reader()];
    let idle = server.connect();
    expect(3, 2, 2);
    drop((reader, idle));
    server.post("Stop", "{}");
    expect(4, 1, 1);
    // The connection stays open after it, as after any other answer.
    let kept = "GET /stats HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let answers = server.exchange(kept.repeat(2));
    let head = "200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\nConnection: keep-alive\r\n";
    assert_eq!(answers.matches(head).count(), 2, "{answers}");
}

/// With `--per-uid 2`, a user has two connections at a time; a third one is answered 429
/// at once, and disturbs nobody.
#[test]
#[ignore = "an exercise"]
fn a_user_has_so_many_connections_and_no_more() {
    let server = Server::start_with(&["--per-uid", "2", "--mode", "0666"], |command| command);
    let mut first = server.connect();
    let second = server.connect();
    first
        .write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    // At once: it need not say anything, nor be heard to the end.
    let mut third = server.connect();
    third.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = String::new();
    third.read_to_string(&mut answer).unwrap();
    assert_eq!(status(&answer), "429", "{answer}");
    for _ in 0..20 {
        let answer = server.exchange(request("/", "x".repeat(1 << 20)));
        assert_eq!(status(&answer), "429", "{answer}");
    }
    // Others are other users.
    if let (true, Some(curl)) = (is_root(), tool("curl")) {
        std::fs::set_permissions(server.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut curl = std::process::Command::new(curl);
        curl.args(["-sf", "http://localhost/health", "--unix-socket"])
            .arg(server.socket())
            .uid(65534)
            .stdout(std::process::Stdio::null());
        assert!(curl.status().unwrap().success());
    }
    // Who is in is served.
    first.write_all(b"}").unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    // Who leaves makes room, once, and who was refused makes none.
    drop((first, second));
    wait_until("there is a place again", || server.health() == "200");
    let _in = [server.connect(), server.connect()];
    assert_eq!(server.health(), "429");
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
    let mut server = Server::start_with(&[], |command| {
        let strace = [
            "strace",
            // The tracer is the child of the server, not the other way round.
            "-D",
            "-f",
            "-o",
            calls.to_str().unwrap(),
            "-e",
            // On some machines epoll_wait is made of epoll_pwait.
            "trace=/^(epoll_(ctl|p?wait)|recvfrom)$",
            // So that whoever sends is faster than the server reads.
            "-e",
            "inject=recvfrom:delay_exit=2000",
        ];
        run_under(command, &strace)
    });
    // Many turns, at four reads of 64 KiB a turn.
    server.post("Stop", format!("{{\"a\":\"{}\"}}", "x".repeat(8 << 20)));
    // The tracer may be behind.
    server.stop();
    let end = format!("{} +++ exited", server.child.id());
    let mut told = String::new();
    wait_until("the tracer has told of the end", || {
        told = std::fs::read_to_string(&calls).unwrap();
        told.contains(&end)
    });
    let anew = told.matches("EPOLL_CTL_MOD").count();
    assert!(anew >= 8, "the poll was asked anew {anew} times:\n{told}");
    // While somebody is on the list, the poll is asked not to wait.
    let unwaiting = told.matches(", 1024, 0) = ").count();
    assert!(
        unwaiting <= 3,
        "the poll did not wait {unwaiting} times:\n{told}"
    );
}

/// `--also PATH` is a second place where hooks can be posted, as good as the first.
#[test]
#[ignore = "an exercise"]
fn hooks_can_be_posted_in_two_places() {
    let other_folder = folder();
    let other = other_folder.path().join("other.sock");
    // A dead server's socket is in the way.
    drop(UnixListener::bind(&other).unwrap());
    let mut server = Server::start(&["--also", other.to_str().unwrap(), "--mode", "0606"]);
    let mode = std::fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o606, "its mode is that of the first");
    let connect = || UnixStream::connect(&other).unwrap();
    server.post("A", "{}");
    assert_eq!(exchange(connect(), &request("/?event=B", "{}")), OK);
    let events = server.stdout.lines(2);
    assert_eq!([&events[0]["_event"], &events[1]["_event"]], ["A", "B"]);
    // Of many who come at once the poll tells once.
    server.signal("STOP");
    let crowd: Vec<_> = (0..100).map(|_| connect()).collect();
    server.signal("CONT");
    for stream in crowd {
        assert_eq!(exchange(stream, &request("/?event=C", "{}")), OK);
    }
    // At the end its file goes at once, and who is in the backlog is served.
    server.signal("STOP");
    let mut last = connect();
    last.write_all(b"POST /?event=D HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    server.signal("TERM");
    server.signal("CONT");
    wait_until("its file goes too", || !other.exists());
    last.write_all(b"}").unwrap();
    let mut answer = String::new();
    last.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    assert!(server.ended().success());
}
