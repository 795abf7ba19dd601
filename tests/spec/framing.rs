//! Where a request ends (RFC 9112): every framing, and nothing that can be
//! read in two ways.

use std::io::{IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::harness::*;

const KEPT: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                    Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";

/// Posts by this head and body and expects 200; the payload's `n`.
fn accepted(server: &Server, request: &str) {
    assert_eq!(server.exchange(request), OK, "{request:?}");
}

/// Expects this status for each, no event, and a server as it was.
fn refused(server: &Server, expected: &str, requests: &[&str]) {
    let before = server.descriptors();
    for request in requests {
        let answer = server.exchange(request);
        assert_eq!(status(&answer), expected, "{request:?}");
        assert!(
            answer.contains("Connection: close\r\n") && answer.ends_with("\r\n\r\n"),
            "{answer:?}"
        );
        assert_eq!(server.health(), "200");
    }
    wait_until("all are closed", || server.descriptors() == before);
    server.post("Whole", "{}");
    let printed = server
        .stdout
        .wait("the good one", |text| text.contains("Whole"));
    assert_eq!(
        printed.matches("Whole").count(),
        printed.lines().count(),
        "{printed}"
    );
}

#[test]
fn a_length_may_be_repeated_but_not_differ() {
    let server = Server::start(&[]);
    accepted(
        &server,
        "POST / HTTP/1.1\r\nContent-Length: 7\r\ncontent-length:7\r\n\r\n{\"n\":1}",
    );
    accepted(
        &server,
        "POST / HTTP/1.1\r\nContent-Length: 007 \r\n\r\n{\"n\":2}",
    );
    assert_eq!(column(&server.stdout.lines(2), "n"), [1, 2]);
}

#[test]
fn chunks_are_decoded_with_extensions_and_trailers() {
    let server = Server::start(&[]);
    accepted(
        &server,
        "POST /hook?event=Chunked HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
         3;name=\"v\"\r\n{\"n\r\n4 ;x\r\n\":12\r\n0001\r\n}\r\n0\r\nTrailer: yes\r\n\r\n",
    );
    assert_eq!(column(&server.stdout.lines(1), "n"), [12]);
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let server = Server::start(&[]);
    refused(
        &server,
        "400",
        &[
            "POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n{}",
            "POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}",
            "POST / HTTP/1.1\r\nContent-Length: 0x2\r\n\r\n{}",
            "POST / HTTP/1.1\r\nContent-Length:\r\n\r\n{}",
            "POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
            "POST / HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}",
            "POST / HTTP/1.1\r\nA: b\r\n Content-Length: 2\r\n\r\n{}",
            "POST / HTTP/1.1\r\n A: b\r\n\r\n",
            "POST / HTTP/1.1\r\nA: b\rContent-Length: 2\r\n\r\n{}",
            "POST / HTTP/1.1\rA: b\r\n\r\n",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        ],
    );
}

#[test]
fn an_unknown_coding_is_501() {
    let server = Server::start(&[]);
    refused(
        &server,
        "501",
        &[
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n",
        ],
    );
}

#[test]
fn a_target_may_name_the_server() {
    let server = Server::start(&[]);
    accepted(
        &server,
        "POST http://localhost:80/hook?event=A HTTP/1.1\r\n\r\n",
    );
    assert_eq!(
        status(&server.exchange("GET http://localhost/health HTTP/1.1\r\n\r\n")),
        "200"
    );
    assert_eq!(server.stdout.lines(1)[0]["_event"], "A");
}

#[test]
fn a_client_that_waits_for_it_is_told_to_continue() {
    let server = Server::start(&[]);
    let head = "POST /hook?event=A HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-Continue\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    let interim = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(interim, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(exchange(stream, b"{\"n\":1}"), OK);

    // Not where the body is there already, nor in HTTP/1.0, which has no such answer.
    accepted(&server, &format!("{head}{{\"n\":2}}"));
    accepted(
        &server,
        &format!("{}{{\"n\":3}}", head.replace("HTTP/1.1", "HTTP/1.0")),
    );
    assert_eq!(column(&server.stdout.lines(3), "n"), [1, 2, 3]);
}

#[test]
fn a_client_that_waits_with_too_much_is_refused_instead() {
    let server = Server::start(&["--max-body", "6"]);
    let head = "POST / HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(status(&server.exchange(head)), "413");
}

#[test]
fn a_connection_is_kept_when_the_client_asks() {
    let server = Server::start(&[]);
    for (version, asks, kept) in [
        ("1.1", "", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: x, Keep-Alive\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let request = format!("POST / HTTP/{version}\r\n{asks}Content-Length: 2\r\n\r\n{{}}");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let answer = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
        assert_eq!(answer, if kept { KEPT } else { OK }, "{request:?}");
        if kept {
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(
                read_until(&mut stream, |text| text.ends_with("\r\n\r\n")),
                KEPT
            );
        } else {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_kept_connection_serves_whatever_is_asked() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    for (request, expected) in [
        ("GET /health HTTP/1.1\r\n", "{\"status\": \"ok\"}"),
        ("GET /nothing HTTP/1.1\r\n", "\r\n\r\n"),
        (
            "POST /?event=A HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            "\r\n\r\n",
        ),
        ("POST /?event=B HTTP/1.1\r\n", "\r\n\r\n"),
    ] {
        let body = if request.contains("chunked") {
            "2\r\n{}\r\n0\r\n\r\n"
        } else {
            ""
        };
        stream
            .write_all(format!("{request}Connection: keep-alive\r\n\r\n{body}").as_bytes())
            .unwrap();
        let answer = read_until(&mut stream, |text| {
            text.ends_with(expected) && text.contains("\r\n\r\n")
        });
        assert!(answer.contains("Connection: keep-alive\r\n"), "{answer:?}");
    }
    assert_eq!(server.stdout.lines(2)[1]["_event"], "B");
}

/// Numbered hooks in one go, the last of which asks for the end.
fn pipeline(count: usize) -> String {
    let request = |n: usize| {
        let connection = if n + 1 < count { "keep-alive" } else { "close" };
        let body = format!("{{\"n\":{n}}}");
        let length = body.len();
        format!(
            "POST / HTTP/1.1\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    (0..count).map(request).collect()
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let server = Server::start(&[]);
    let answers = server.exchange(pipeline(500));
    assert_eq!(answers, format!("{}{OK}", KEPT.repeat(499)));
    assert_eq!(
        column(&server.stdout.lines(500), "n"),
        (0..500).collect::<Vec<_>>()
    );
}

#[test]
fn a_large_body_keeps_its_place_among_the_requests_of_its_connection() {
    let server = Server::start(&[]);
    let text = "é".repeat(1 << 20);
    let large = format!("{{\"n\":0,\"text\":\"{text}\"}}");
    let head = format!(
        "POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n",
        large.len()
    );
    let small = pipeline(2).replace("{\"n\":0}", "{\"n\":2}");
    let mut stream = server.connect();
    stream
        .write_all(format!("{head}{large}{small}").as_bytes())
        .unwrap();
    let mut answers = String::new();
    stream.read_to_string(&mut answers).unwrap();
    assert_eq!(answers, format!("{}{OK}", KEPT.repeat(2)));
    let printed = server.stdout.lines(3);
    assert_eq!(column(&printed, "n"), [0, 2, 1]);
    assert_eq!(printed[0]["text"], text);
}

/// The client that reads late is watched for room to write and has its next
/// requests read at the same time: none may be forgotten over the other.
#[test]
fn a_client_that_pipelines_and_reads_late_gets_every_answer() {
    let server = Server::start(&["--timeout", "600"]);
    for _ in 0..5 {
        let mut stream = server.connect();
        let mut sending = stream.try_clone().unwrap();
        let sender =
            std::thread::spawn(move || sending.write_all(pipeline(1500).as_bytes()).unwrap());
        // Until the server waits for room: it answers others, and not this one.
        wait_until("the server waits for room", || {
            let before = unread(&stream);
            (0..50).for_each(|_| assert_eq!(server.health(), "200"));
            before > 0 && unread(&stream) == before
        });
        let mut answers = Vec::new();
        let mut piece = [0; 200];
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while let count @ 1.. = stream.read(&mut piece).unwrap() {
            answers.extend(&piece[..count]);
        }
        sender.join().unwrap();
        assert_eq!(
            String::from_utf8(answers).unwrap(),
            format!("{}{OK}", KEPT.repeat(1499))
        );
    }
}

/// Bytes that wait to be read.
fn unread(stream: &UnixStream) -> u64 {
    rustix::io::ioctl_fionread(stream).unwrap()
}

#[test]
fn a_client_that_pipelines_and_never_reads_costs_nothing() {
    let server = Server::start(&["--timeout", "600"]);
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let request = b"POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let mut sent = 0;
    let mut refusals = 0;
    // Until neither side takes any more, while others are served.
    while refusals < 20 {
        match stream.write(&request[sent % request.len()..]) {
            Ok(count) => (sent, refusals) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                refusals += 1;
                server.post("Other", "{}");
            }
        }
    }
    assert!(server.resident_kb() < 20_000, "{} kB", server.resident_kb());
    // Now it reads, and every request that is whole has its answer.
    stream.set_nonblocking(false).unwrap();
    let expected = sent / request.len() * KEPT.len();
    let answers = read_until(&mut stream, |text| text.len() >= expected);
    assert_eq!(answers.len(), expected);
}

#[test]
fn a_half_closed_client_is_answered() {
    let server = Server::start(&[]);
    assert_eq!(server.exchange(request("/hook?event=A", "{}")), OK);
    let kept = "POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(server.exchange(kept), KEPT);
    assert_eq!(server.exchange(format!("{kept}{kept}")), KEPT.repeat(2));
    assert_eq!(
        status(
            server
                .exchange(format!("{kept}POST"))
                .rsplit("\r\n\r\nHTTP")
                .next()
                .unwrap()
        ),
        "400"
    );
}

#[test]
fn empty_lines_before_a_request_are_passed_over() {
    let server = Server::start(&[]);
    accepted(&server, "\r\n\n\r\nPOST / HTTP/1.1\r\n\r\n");
    assert_eq!(server.exchange("\r\n"), "");
}

#[test]
fn a_request_split_at_every_byte_is_the_same_request() {
    let server = Server::start(&[]);
    for whole in [
        String::from_utf8(request("/hook?event=A", "{\"n\":1}")).unwrap(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7;x\r\n{\"n\":1}\r\n0\r\nT: x\r\n\r\n".into(),
    ] {
        for place in 1..whole.len() {
            let mut stream = server.connect();
            stream.write_all(&whole.as_bytes()[..place]).unwrap();
            // The server has read the first part when it has answered somebody after it.
            assert_eq!(server.health(), "200");
            assert_eq!(exchange(stream, &whole.as_bytes()[place..]), OK, "{place}");
        }
    }
}

#[test]
fn a_refused_client_that_goes_on_sending_can_read_why() {
    let server = Server::start(&["--max-body", "1000"]);
    let before = server.descriptors();
    for head in [
        "Content-Length: abc",
        "Content-Length: 20000000",
        "Transfer-Encoding: gzip",
    ] {
        let mut stream = server.connect();
        let mut sending = stream.try_clone().unwrap();
        let head = format!("POST / HTTP/1.1\r\n{head}\r\n\r\n");
        let sender = std::thread::spawn(move || {
            sending.write_all(head.as_bytes()).unwrap();
            // The server may close before the last of it, but not before it has answered.
            let _ = sending.write_all(&vec![b'x'; 20_000_000]);
            let _ = sending.shutdown(Shutdown::Write);
        });
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(
            ["400", "413", "501"].contains(&status(&answer)),
            "{answer:?}"
        );
        sender.join().unwrap();
    }
    wait_until("all are closed", || server.descriptors() == before);
}

#[test]
fn a_refused_client_that_never_stops_sending_is_cut_off() {
    let server = Server::start(&["--trace"]);
    let mut client = server.connect();
    // More than the server reads away in a turn.
    set_socket_send_buffer_size(&client, 1 << 20).unwrap();
    client.write_all(b"BAD\r\n\r\n").unwrap();
    let farewell = ": lingering\n";
    server
        .stderr
        .wait("it is refused", |told| told.contains(farewell));
    server.signal("STOP");
    client.set_nonblocking(true).unwrap();
    while client.write(&[b'x'; 64 << 10]).is_ok() {}
    // Its two seconds go by.
    std::thread::sleep(Duration::from_secs(2));
    server.signal("CONT");
    let told = server.stderr.wait("it is closed", |told| {
        told.rsplit(farewell)
            .next()
            .unwrap()
            .contains(": closed after ")
    });
    assert_eq!(told.matches(farewell).count(), 1, "{told}");
}

/// A read from a Unix socket ends where a message came with descriptors, though
/// more is there (unix(7), `SCM_RIGHTS`).
#[test]
fn what_comes_after_passed_descriptors_is_read() {
    let server = Server::start(&["--trace"]);
    let mut client = server.connect();
    let request = request("/", "{}");
    let (first, rest) = request.split_at(5);
    client.write_all(first).unwrap();
    server.stderr.wait("the first piece", |told| {
        told.rsplit(": read 5 bytes\n")
            .next()
            .unwrap()
            .contains("poll: waiting")
    });
    server.signal("STOP");
    let (second, third) = rest.split_at(15);
    let passed = [client.as_fd()];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
    let sent = sendmsg(
        &client,
        &[IoSlice::new(second)],
        &mut ancillary,
        SendFlags::empty(),
    );
    assert_eq!(sent, Ok(15));
    client.write_all(third).unwrap();
    server.signal("CONT");
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
}

#[test]
fn curl_delivers_a_megabyte_and_a_half_within_its_second() {
    let Some(curl) = tool("curl") else { return };
    let server = Server::start(&[]);
    let file = server.folder.path().join("body");
    std::fs::write(
        &file,
        serde_json::json!({"text": "x".repeat(1_500_000)}).to_string(),
    )
    .unwrap();
    let output = std::process::Command::new(curl)
        .args([
            "-sv",
            "--connect-timeout",
            "0.5",
            "--max-time",
            "1",
            "--unix-socket",
        ])
        .arg(server.socket())
        .args(["-X", "POST", "-H", "Content-Type: application/json", "-d"])
        .arg(format!("@{}", file.display()))
        .arg("http://localhost/hook?event=Big")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("Expect: 100-continue") && said.contains("100 Continue"),
        "{said}"
    );
    assert_eq!(
        server.stdout.lines(1)[0]["text"].as_str().unwrap().len(),
        1_500_000
    );
}

#[test]
fn clients_that_vanish_in_any_state_leave_nothing_behind() {
    let server = Server::start(&[]);
    let before = server.descriptors();
    let kept = pipeline(3);
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
                   7\r\n{\"n\":1}\r\n0\r\n\r\n";
    for whole in [
        &kept,
        chunked,
        "GET /health HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nxx",
    ] {
        for length in 0..=whole.len() {
            let mut stream: UnixStream = server.connect();
            stream.write_all(&whole.as_bytes()[..length]).unwrap();
        }
    }
    wait_until("all are closed", || server.descriptors() == before);
    assert_eq!(server.health(), "200");
}
