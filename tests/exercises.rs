//! The tests of the exercises in EDU_NOTES.md. A test passes when its exercise is solved.
//!
//! Until then it fails. So these tests are ignored unless you ask for them:
//!
//! ```text
//! cargo test --test exercises stats -- --ignored
//! ```
//!
//! `head` and `count` are about the small servers in `tests/steps`, which need
//! `cargo build --examples` first.

// The exercises do not use all helpers of the specification.
#[allow(dead_code)]
#[path = "spec/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "support/step.rs"]
mod step;

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;

use harness::*;
use serde_json::{Value, json};
use step::{Step, stop};

/// Step 3 answers `HEAD` to any target with 200, and publishes no event.
#[test]
#[ignore = "an exercise"]
fn head_is_answered_and_is_no_event() {
    let server = Step::start(3);
    for target in ["/", "/hook?event=Stop"] {
        let request = format!("HEAD {target} HTTP/1.1\r\n\r\n");
        assert_eq!(server.post(request), "200", "{target}");
    }
    assert_eq!(server.post("GET / HTTP/1.1\r\n\r\n"), "404");
    assert_eq!(server.post(stop("1")), "200");
    assert_eq!(server.stdout.lines(1)[0]["payload"], 1);
}

/// Step 4 answers `GET /readers` with the number of readers.
#[test]
#[ignore = "an exercise"]
fn the_count_of_readers_is_answered() {
    let server = Step::start(4);
    let count = || {
        let response = exchange(server.connect(), b"GET /readers HTTP/1.1\r\n\r\n");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert_eq!(status(head), "200");
        let length = format!("Content-Length: {}", body.len());
        assert!(head.contains(&length), "{head}");
        body.to_owned()
    };
    assert_eq!(count(), "0");
    let _readers: Vec<_> = (0..11).map(|_| server.reader()).collect();
    assert_eq!(count(), "11");
    drop(server.reader());
    wait_until("it is removed", || count() == "11");
    assert_eq!(server.post("GET / HTTP/1.1\r\n\r\n"), "404");
}

/// `GET /stats` returns the number of events so far, and the numbers of connected clients and
/// readers.
#[test]
#[ignore = "an exercise"]
fn stats_returns_the_numbers_of_events_clients_and_readers() {
    // The events so far are not those that the log still has.
    let server = Server::with_readers(&["--history", "0"]);
    let stats = || -> Value {
        let response = server.exchange("GET /stats HTTP/1.1\r\n\r\n");
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(
            head.contains(&format!("Content-Length: {}", body.len())),
            "{head}"
        );
        serde_json::from_str(body).unwrap()
    };
    // The numbers decrease only after the server has noticed that a peer has disconnected.
    let wait_for = |events: u64, clients: usize, readers: usize| {
        let numbers = json!({"events": events, "clients": clients, "readers": readers});
        wait_until(&format!("the numbers are {numbers}"), || stats() == numbers);
    };
    // The client that asks is included.
    wait_for(0, 1, 0);
    for _ in 0..3 {
        server.post("Stop", "{}");
    }
    let (reader, _live_reader) = (server.reader(), server.live_reader(""));
    let idle = server.connect();
    wait_for(3, 2, 2);
    drop((reader, idle));
    server.post("Stop", "{}");
    wait_for(4, 1, 1);
    // The connection stays open if the client asks for it, as after any other response.
    let kept = "GET /stats HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let responses = server.exchange(kept.repeat(2));
    let head = "200 OK\r\nContent-Type: application/json\r\nContent-Length: 36\r\nConnection: keep-alive\r\n";
    assert_eq!(responses.matches(head).count(), 2, "{responses}");
}

/// With `--per-uid 2`, a user can have two connections at a time. A third one gets 429 at once,
/// and does not affect the others.
#[test]
#[ignore = "an exercise"]
fn a_user_over_the_connection_limit_gets_429() {
    let server = Server::start_with(&["--per-uid", "2", "--mode", "0666"], |command| command);
    let mut first = server.connect();
    let second = server.connect();
    first
        .write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
        .unwrap();
    // The response comes before any request, and also if the request is not read.
    let mut third = server.connect();
    third.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut response = String::new();
    third.read_to_string(&mut response).unwrap();
    assert_eq!(status(&response), "429", "{response}");
    for _ in 0..20 {
        let response = server.exchange(request("/", "x".repeat(1 << 20)));
        assert_eq!(status(&response), "429", "{response}");
    }
    // Other users have their own limit.
    if let (true, Some(curl)) = (is_root(), tool("curl")) {
        std::fs::set_permissions(server.folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let mut curl = std::process::Command::new(curl);
        curl.args(["-sf", "http://localhost/health", "--unix-socket"])
            .arg(server.socket())
            .uid(65534)
            .stdout(std::process::Stdio::null());
        assert!(curl.status().unwrap().success());
    }
    // The accepted clients are served.
    first.write_all(b"}").unwrap();
    let mut response = String::new();
    first.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
    // An accepted client that disconnects makes room for one other. A refused client makes none.
    drop((first, second));
    wait_until("there is room again", || server.health() == "200");
    let _accepted = [server.connect(), server.connect()];
    assert_eq!(server.health(), "429");
}

/// Level triggers: the poll, not the list `readable`, reports a client that has unread input.
/// mio is edge-triggered only, but registering a socket again makes it report its state again.
#[test]
#[ignore = "an exercise"]
fn the_poll_reports_a_client_with_unread_input_again() {
    if tool("strace").is_none() {
        return;
    }
    let folder = folder();
    let calls = folder.path().join("calls");
    let mut server = Server::start_with(&[], |command| {
        let strace = [
            "strace",
            // Makes the tracer the child of the server, not its parent.
            "-D",
            "-f",
            "-o",
            calls.to_str().unwrap(),
            "-e",
            // On some architectures the C library uses epoll_pwait for epoll_wait.
            "trace=/^(epoll_(ctl|p?wait)|recvfrom)$",
            // Makes the server read more slowly than the client sends.
            "-e",
            "inject=recvfrom:delay_exit=2000",
        ];
        run_under(command, &strace)
    });
    // Many turns, at four reads of 64 KiB a turn.
    server.post("Stop", format!("{{\"a\":\"{}\"}}", "x".repeat(8 << 20)));
    // The tracer may still be writing.
    server.stop();
    let end = format!("{} +++ exited", server.child.id());
    let mut trace = String::new();
    wait_until("the tracer has written the exit", || {
        trace = std::fs::read_to_string(&calls).unwrap();
        trace.contains(&end)
    });
    let registrations = trace.matches("EPOLL_CTL_MOD").count();
    assert!(
        registrations >= 8,
        "sockets were registered again {registrations} times:\n{trace}"
    );
    // While a client is in the list `readable`, the timeout of the poll is 0.
    let zero_timeouts = trace.matches(", 1024, 0) = ").count();
    assert!(
        zero_timeouts <= 3,
        "the timeout of the poll was 0 {zero_timeouts} times:\n{trace}"
    );
}

/// `--also PATH` opens a second hook socket, which behaves like the first.
#[test]
#[ignore = "an exercise"]
fn hooks_can_be_posted_in_two_places() {
    let other_folder = folder();
    let other = other_folder.path().join("other.sock");
    // There is a stale socket.
    drop(UnixListener::bind(&other).unwrap());
    let mut server = Server::start(&["--also", other.to_str().unwrap(), "--mode", "0606"]);
    let mode = std::fs::metadata(&other).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o606, "both sockets have the same mode");
    let connect = || UnixStream::connect(&other).unwrap();
    server.post("A", "{}");
    assert_eq!(exchange(connect(), &request("/?event=B", "{}")), OK);
    let events = server.stdout.lines(2);
    assert_eq!([&events[0]["_event"], &events[1]["_event"]], ["A", "B"]);
    // The poll reports many new connections only once, and a turn may not accept all of them.
    server.signal("STOP");
    let mut streams: Vec<_> = (0..300).map(|_| connect()).collect();
    server.signal("CONT");
    while let Some(stream) = streams.pop() {
        assert_eq!(exchange(stream, &request("/?event=C", "{}")), OK);
    }
    // If its file disappears, the server binds it again.
    std::fs::remove_file(&other).unwrap();
    wait_until("the second socket is back", || {
        UnixStream::connect(&other).is_ok()
    });
    // The shutdown removes its file at once, and serves its backlog, which can take several turns.
    server.signal("STOP");
    let waiting: Vec<_> = (0..300)
        .map(|_| {
            let mut stream = connect();
            stream
                .write_all(b"POST /?event=D HTTP/1.1\r\nContent-Length: 2\r\n\r\n{")
                .unwrap();
            stream
        })
        .collect();
    server.signal("TERM");
    server.signal("CONT");
    wait_until("the second socket file is removed", || !other.exists());
    for mut stream in waiting {
        stream.write_all(b"}").unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert_eq!(response, OK);
    }
    assert!(server.wait_for_exit().success());
}
