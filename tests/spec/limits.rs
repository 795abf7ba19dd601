//! How much a client may ask for, and how long it may take.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::*;

/// The status that a head of one line and these fields gets.
fn answered(server: &Server, line: &str, fields: &str) -> String {
    status(&server.exchange(format!("{line}\r\n{fields}\r\n"))).to_owned()
}

#[test]
fn a_head_has_64_kib() {
    let server = Server::start(&[]);
    // Line, field name and line ends: 36 bytes.
    let field = |length: usize| format!("A: {}\r\n", "x".repeat(length - 24 - 3));
    let line = "POST / HTTP/1.1";
    assert_eq!(answered(&server, line, &field((64 << 10) + 3)), "200");
    assert_eq!(answered(&server, line, &field((64 << 10) + 4)), "431");
    assert_eq!(answered(&server, line, &"x".repeat(100_000)), "431");
    assert_eq!(server.health(), "200");
}

#[test]
fn a_head_has_100_fields() {
    let server = Server::start(&[]);
    assert_eq!(
        answered(&server, "POST / HTTP/1.1", &"A: b\r\n".repeat(100)),
        "200"
    );
    assert_eq!(
        answered(&server, "POST / HTTP/1.1", &"A: b\r\n".repeat(101)),
        "431"
    );
}

#[test]
fn a_target_has_16_kib() {
    let server = Server::start(&[]);
    let line = |length: usize| format!("POST /{} HTTP/1.1", "x".repeat(length - 1));
    assert_eq!(answered(&server, &line(16 << 10), ""), "200");
    assert_eq!(answered(&server, &line((16 << 10) + 1), ""), "414");
    assert_eq!(
        status(&server.exchange(format!("POST /{}", "x".repeat(60_000)))),
        "414"
    );
}

#[test]
fn a_body_has_max_body_however_it_is_framed() {
    let server = Server::start(&["--max-body", "10"]);
    let length = |length: &str| format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let chunks = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, expected) in [
        (length("10") + "{\"n\":1234}", "200"),
        // At the announcement: nothing of it need have come.
        (length("11"), "413"),
        (length("18446744073709551615"), "413"),
        (
            format!("{chunks}5\r\n{{\"n\":\r\n5\r\n1234}}\r\n0\r\n\r\n"),
            "200",
        ),
        (format!("{chunks}5\r\n{{\"n\":\r\n6\r\n"), "413"),
        (format!("{chunks}ffffffffffffffff\r\n"), "413"),
    ] {
        assert_eq!(status(&server.exchange(&request)), expected, "{request:?}");
    }
    assert_eq!(column(&server.stdout.lines(2), "n"), [1234, 1234]);
}

#[test]
fn whoever_takes_too_long_for_a_request_gets_408() {
    let server = Server::start(&["--timeout", "0.2"]);
    let before = server.descriptors();
    for part in [
        "",
        "POST",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{",
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(part.as_bytes()).unwrap();
        let answer = read_until(&mut stream, |text| text.contains("408"));
        assert!(answer.ends_with("\r\n\r\n"), "{answer:?}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "and the end");
    }
    wait_until("all are closed", || server.descriptors() == before);
    assert_eq!(server.stdout.text(), "");
}

#[test]
fn a_byte_now_and_then_does_not_buy_time() {
    let server = Server::start(&["--timeout", "0.3"]);
    let mut stream = server.connect();
    let mut reading = stream.try_clone().unwrap();
    let dripping = thread::spawn(move || {
        for byte in request("/", "{\"a\":1}").chunks(1).cycle() {
            if stream.write_all(byte).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let answer = read_until(&mut reading, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&answer), "408");
    dripping.join().unwrap();
}

#[test]
fn an_idle_kept_connection_closes_silently() {
    let server = Server::start(&["--timeout", "0.2"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        read_until(&mut stream, |text| text.ends_with("}"));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn empty_lines_do_not_keep_an_idle_connection_open() {
    let server = Server::start(&["--timeout", "0.3"]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    read_until(&mut stream, |text| text.ends_with("}"));
    let mut sending = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        while sending.write_all(b"\r\n").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    sender.join().unwrap();
}

#[test]
fn a_client_that_never_reads_its_answers_is_let_go() {
    let server = Server::start(&["--timeout", "0.2"]);
    let before = server.descriptors();
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let request = b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    wait_until("it is let go", || {
        // More than both sides' buffers take.
        while matches!(stream.write(request), Ok(1..)) {}
        server.descriptors() == before
    });
}

#[test]
fn deadlines_do_not_jump_with_the_clock() {
    let Some(faketime) = tool("faketime") else {
        return;
    };
    let folder = folder();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let server = Server::start_in(folder, &["--timeout", "30"], |command| {
        // The wrapper's own idea of the time would go before the file's.
        let own = "unset FAKETIME; exec \"$0\" \"$@\"";
        let faketime = [
            faketime.to_str().unwrap(),
            "-m",
            "-f",
            "+0",
            "sh",
            "-c",
            own,
        ];
        let command = run_under(command, &faketime);
        command
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    let year = |n: usize| server.stdout.lines(n)[n - 1]["_ts"].as_str().unwrap()[..4].to_owned();
    let whole = request("/", "{}");
    let mut stream = server.connect();
    stream.write_all(&whole[..60]).unwrap();
    server.post("Now", "{}");
    let now: i32 = year(1).parse().unwrap();
    for (count, (offset, years)) in [("+3650d", 9..11), ("-3650d", -11..-8)]
        .into_iter()
        .enumerate()
    {
        std::fs::write(&clock, offset).unwrap();
        server.post("Then", "{}");
        let then: i32 = year(count + 2).parse().unwrap();
        assert!(
            years.contains(&(then - now)),
            "the clock has jumped: {now} {then}"
        );
    }
    assert_eq!(
        exchange(stream, &whole[60..]),
        OK,
        "and the request has not timed out"
    );
}

/// 2,000 clients in the middle of a request, and what they cost in memory.
#[test]
fn half_sent_requests_cost_what_has_arrived_and_hold_up_nobody() {
    let server = Server::start(&["--timeout", "600"]);
    server.post("Warm", "{}");
    let before = server.resident_kb();
    let head = "POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n{\"a\":";
    let stalled: Vec<_> = (0..2000)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..100 {
        server.post("Stop", "{}");
    }
    let after = server.resident_kb();
    assert!(
        after < 8_000 && after - before < 2_000,
        "{before} kB before, {after} kB after"
    );
    let ticks = server.cpu_ticks();
    // Nothing to wait for: the assertion is that nothing happens.
    thread::sleep(Duration::from_millis(300));
    assert!(server.cpu_ticks() - ticks <= 1, "it works while they stall");
    drop(stalled);
    wait_until("all are closed", || server.descriptors() < 30);
}

#[test]
fn an_upload_in_progress_holds_up_nobody() {
    let server = Server::start(&[]);
    let body = vec![b' '; 32 << 20];
    let whole = request("/hook?event=Big", &body);
    let mut upload = server.connect();
    upload.write_all(&whole[..16 << 20]).unwrap();
    server.post("Small", "{}");
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Small");
    assert_eq!(exchange(upload, &whole[16 << 20..]), OK);
}

/// With so few descriptors, clients and readers have ten each.
fn with_40_descriptors(arguments: &[&str]) -> Server {
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = [&["--output-socket", output.to_str().unwrap()], arguments].concat();
    Server::start_in(folder, &arguments, |command| {
        run_under(command, &["prlimit", "--nofile=40"])
    })
}

#[test]
fn clients_beyond_the_limit_of_descriptors_wait_and_are_served() {
    let server = with_40_descriptors(&["--timeout", "600"]);
    let stalled: Vec<UnixStream> = (0..30).map(|_| server.connect()).collect();
    server.stderr.wait("the complaint", |text| {
        text.contains("New connections must wait")
    });
    let ticks = server.cpu_ticks();
    // Nothing to wait for: the assertion is that nothing happens.
    thread::sleep(Duration::from_millis(300));
    assert!(server.cpu_ticks() - ticks <= 1, "it spins");
    // Those in the backlog are served as others leave.
    for stream in stalled {
        assert_eq!(exchange(stream, &request("/", "{}")), OK);
    }
}

#[test]
fn readers_cannot_use_up_the_descriptors_of_hooks_nor_hooks_those_of_readers() {
    let server = with_40_descriptors(&["--timeout", "600"]);
    let readers: Vec<_> = (0..30)
        .map(|_| UnixStream::connect(server.output_socket()).unwrap())
        .collect();
    server.stderr.wait("the complaint", |text| {
        text.contains("New connections must wait")
    });
    server.post("Stop", "{}");
    drop(readers);
    server
        .stderr
        .wait("all leave", |text| text.contains("disconnected (0 total)"));

    let clients: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let mut reader = server.reader();
    drop(clients);
    server.post("Stop", "{\"n\":7}");
    assert_eq!(column(&read_lines(&mut reader, 1), "n"), [7]);
}

#[test]
fn the_soft_limit_of_descriptors_is_raised_to_the_hard_one() {
    let server = Server::start_with(&[], |command| {
        run_under(command, &["prlimit", "--nofile=64:512"])
    });
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("512"), "{files}");
}

/// The kernel knows no number here for a process of another pid namespace.
#[test]
fn a_peer_in_another_pid_namespace_has_no_pid() {
    let (true, Some(unshare)) = (is_root(), tool("unshare")) else {
        return;
    };
    let works = Command::new(&unshare)
        .args(["--pid", "--fork", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("namespaces are not allowed here");
    }
    let server = Server::start_with(&[], |command| {
        run_under(
            command,
            &[unshare.to_str().unwrap(), "--pid", "--fork", "--kill-child"],
        )
    });
    server.post("Stop", "{}");
    let event = &server.stdout.lines(1)[0];
    let keys: Vec<_> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["_event", "_peer_gid", "_peer_uid", "_ts"]);
}
