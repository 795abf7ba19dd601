//! Framing: where a request ends (RFC 9112). Content-Length, chunked bodies, keep-alive and
//! pipelining. An ambiguous request is refused.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rustix::net::sockopt::set_socket_send_buffer_size;

use crate::harness::*;

const OK_KEEP_ALIVE: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                             Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";

fn assert_accepted(server: &Server, request: &str) {
    assert_eq!(server.exchange(request), OK, "{request:?}");
}

/// Asserts that each request gets this status and makes no event, and that the server
/// continues to work and leaves no descriptor open.
fn assert_refused(server: &Server, expected: &str, requests: &[&str]) {
    let before = server.descriptors();
    for request in requests {
        let response = server.exchange(request);
        assert_eq!(status(&response), expected, "{request:?}");
        assert!(
            response.contains("Connection: close\r\n") && response.ends_with("\r\n\r\n"),
            "{response:?}"
        );
        assert_eq!(server.health(), "200");
    }
    wait_until("all connections are closed", || {
        server.descriptors() == before
    });
    server.post("Whole", "{}");
    let printed = server
        .stdout
        .wait("the valid event", |text| text.contains("Whole"));
    assert_eq!(
        printed.matches("Whole").count(),
        printed.lines().count(),
        "{printed}"
    );
}

/// Reads a response without a body.
fn read_head(stream: &mut UnixStream) -> String {
    read_until(stream, |text| text.ends_with("\r\n\r\n"))
}

fn read_to_end(stream: &mut UnixStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn equal_repeated_content_lengths_are_accepted() {
    let server = Server::start(&[]);
    assert_accepted(
        &server,
        "POST / HTTP/1.1\r\nContent-Length: 7\r\ncontent-length:7\r\n\r\n{\"n\":1}",
    );
    assert_accepted(
        &server,
        "POST / HTTP/1.1\r\nContent-Length: 007 \r\n\r\n{\"n\":2}",
    );
    assert_eq!(column(&server.stdout.lines(2), "n"), [1, 2]);
}

#[test]
fn a_chunked_body_may_have_extensions_and_trailers() {
    let server = Server::start(&[]);
    assert_accepted(
        &server,
        "POST /hook?event=Chunked HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n\
         3;name=\"v\"\r\n{\"n\r\n4 ;x\r\n\":12\r\n0001\r\n}\r\n0\r\nTrailer: yes\r\n\r\n",
    );
    assert_eq!(column(&server.stdout.lines(1), "n"), [12]);
}

#[test]
fn an_ambiguous_request_is_refused() {
    let server = Server::start(&[]);
    assert_refused(
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
fn an_unknown_transfer_coding_gets_501() {
    let server = Server::start(&[]);
    assert_refused(
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
fn a_target_may_have_the_absolute_form() {
    let server = Server::start(&[]);
    assert_accepted(
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
fn a_client_that_expects_100_continue_gets_it() {
    let server = Server::start(&[]);
    let head = "POST /hook?event=A HTTP/1.1\r\nContent-Length: 7\r\n\
                Expect: 100-Continue\r\nExpect: x\r\n\r\n";
    let mut stream = server.connect();
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(read_head(&mut stream), "HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(exchange(stream, b"{\"n\":1}"), OK);

    // It is omitted if the body has arrived already, and in HTTP/1.0, which has no such
    // response (RFC 9110 section 10.1.1).
    assert_accepted(&server, &format!("{head}{{\"n\":2}}"));
    let head = head.replace("HTTP/1.1", "HTTP/1.0");
    assert_accepted(&server, &format!("{head}{{\"n\":3}}"));
    assert_eq!(status(&server.exchange(head)), "400");
    assert_eq!(column(&server.stdout.lines(3), "n"), [1, 2, 3]);
}

#[test]
fn a_body_that_is_too_large_gets_413_instead_of_100_continue() {
    let server = Server::start(&["--max-body", "6"]);
    let head = "POST / HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n";
    assert_eq!(status(&server.exchange(head)), "413");
}

#[test]
fn a_connection_is_kept_open_only_if_the_client_asks() {
    let server = Server::start(&[]);
    for (version, fields, keep_alive) in [
        ("1.1", "", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: x, Keep-Alive\r\n", true),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        (
            "1.1",
            "Connection: keep-alive\r\nConnection: close\r\n",
            false,
        ),
        (
            "1.1",
            "Connection: close\r\nConnection: keep-alive\r\n",
            false,
        ),
        ("1.1", "Connection: keep-alive\r\nConnection: x\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
    ] {
        let request = format!("POST / HTTP/{version}\r\n{fields}Content-Length: 2\r\n\r\n{{}}");
        let mut stream = server.connect();
        stream.write_all(request.as_bytes()).unwrap();
        let expected = if keep_alive { OK_KEEP_ALIVE } else { OK };
        assert_eq!(read_head(&mut stream), expected, "{request:?}");
        if keep_alive {
            stream.write_all(request.as_bytes()).unwrap();
            assert_eq!(read_head(&mut stream), OK_KEEP_ALIVE);
        } else {
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
        }
    }
}

#[test]
fn a_kept_connection_serves_requests_of_any_kind() {
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
        let response = read_until(&mut stream, |text| {
            text.ends_with(expected) && text.contains("\r\n\r\n")
        });
        assert!(
            response.contains("Connection: keep-alive\r\n"),
            "{response:?}"
        );
    }
    assert_eq!(server.stdout.lines(2)[1]["_event"], "B");
}

/// Numbered hook requests. The last one asks to close the connection.
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
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(&[]);
    let responses = server.exchange(pipeline(500));
    assert_eq!(responses, format!("{}{OK}", OK_KEEP_ALIVE.repeat(499)));
    assert_eq!(
        column(&server.stdout.lines(500), "n"),
        (0..500).collect::<Vec<_>>()
    );
}

#[test]
fn a_large_body_keeps_its_place_among_pipelined_requests() {
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
    assert_eq!(
        read_to_end(&mut stream),
        format!("{}{OK}", OK_KEEP_ALIVE.repeat(2))
    );
    let printed = server.stdout.lines(3);
    assert_eq!(column(&printed, "n"), [0, 2, 1]);
    assert_eq!(printed[0]["text"], text);
}

/// The server waits until it can write to this client, while the client's next requests have
/// already arrived. It must remember both.
#[test]
fn a_client_that_pipelines_and_reads_late_gets_every_response() {
    let server = Server::start(&["--timeout", "600"]);
    for _ in 0..5 {
        let mut stream = server.connect();
        let mut sending = stream.try_clone().unwrap();
        let sender =
            std::thread::spawn(move || sending.write_all(pipeline(1500).as_bytes()).unwrap());
        // The buffer is full if the server answers others and sends this client nothing more.
        wait_until("the client's socket buffer is full", || {
            let before = unread(&stream);
            (0..50).for_each(|_| assert_eq!(server.health(), "200"));
            before > 0 && unread(&stream) == before
        });
        let mut responses = Vec::new();
        let mut piece = [0; 200];
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        while let count @ 1.. = stream.read(&mut piece).unwrap() {
            responses.extend(&piece[..count]);
        }
        sender.join().unwrap();
        assert_eq!(
            String::from_utf8(responses).unwrap(),
            format!("{}{OK}", OK_KEEP_ALIVE.repeat(1499))
        );
    }
}

/// The number of bytes in the receive buffer of a socket.
fn unread(stream: &UnixStream) -> u64 {
    rustix::io::ioctl_fionread(stream).unwrap()
}

#[test]
fn pipelined_requests_are_not_buffered_for_a_client_that_never_reads() {
    let server = Server::start(&["--timeout", "600"]);
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let request = b"POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    let mut sent = 0;
    let mut full = 0;
    // Writes until the socket buffers stay full while the server answers others.
    while full < 20 {
        match stream.write(&request[sent % request.len()..]) {
            Ok(count) => (sent, full) = (sent + count, 0),
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                full += 1;
                server.post("Other", "{}");
            }
        }
    }
    assert!(server.resident_kb() < 20_000, "{} kB", server.resident_kb());
    // Once the client reads, it gets a response to each complete request.
    stream.set_nonblocking(false).unwrap();
    let expected = sent / request.len() * OK_KEEP_ALIVE.len();
    let responses = read_until(&mut stream, |text| text.len() >= expected);
    assert_eq!(responses.len(), expected);
}

#[test]
fn a_half_closed_client_gets_its_response() {
    let server = Server::start(&[]);
    assert_eq!(server.exchange(request("/hook?event=A", "{}")), OK);
    let keep_alive = "POST / HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    assert_eq!(server.exchange(keep_alive), OK_KEEP_ALIVE);
    assert_eq!(
        server.exchange(keep_alive.repeat(2)),
        OK_KEEP_ALIVE.repeat(2)
    );
    let responses = server.exchange(format!("{keep_alive}POST"));
    let last = responses.rsplit("\r\n\r\nHTTP").next().unwrap();
    assert_eq!(status(last), "400");
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let server = Server::start(&[]);
    assert_accepted(&server, "\r\n\n\r\nPOST / HTTP/1.1\r\n\r\n");
    assert_eq!(server.exchange("\r\n"), "");
}

#[test]
fn a_request_may_be_split_at_any_byte() {
    let server = Server::start(&[]);
    for whole in [
        String::from_utf8(request("/hook?event=A", "{\"n\":1}")).unwrap(),
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7;x\r\n{\"n\":1}\r\n0\r\nT: x\r\n\r\n".into(),
    ] {
        for split in 1..whole.len() {
            let mut stream = server.connect();
            stream.write_all(&whole.as_bytes()[..split]).unwrap();
            // Once the server has answered a later client, it has read the first part.
            assert_eq!(server.health(), "200");
            assert_eq!(exchange(stream, &whole.as_bytes()[split..]), OK, "{split}");
        }
    }
}

#[test]
fn a_refused_client_that_keeps_sending_can_read_the_response() {
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
            // This fails if the server closes the connection first. It may do so once it has
            // sent the response.
            let _ = sending.write_all(&vec![b'x'; 20_000_000]);
            let _ = sending.shutdown(Shutdown::Write);
        });
        let response = read_to_end(&mut stream);
        assert!(
            ["400", "413", "501"].contains(&status(&response)),
            "{response:?}"
        );
        sender.join().unwrap();
    }
    wait_until("all connections are closed", || {
        server.descriptors() == before
    });
}

#[test]
fn a_refused_client_that_never_stops_sending_is_disconnected() {
    let server = Server::start(&["--trace"]);
    let mut client = server.connect();
    // The input must exceed what the server discards in one turn.
    set_socket_send_buffer_size(&client, 1 << 20).unwrap();
    client.write_all(b"BAD\r\n\r\n").unwrap();
    let lingering = ": lingering\n";
    server
        .stderr
        .wait("the refusal", |trace| trace.contains(lingering));
    server.signal("STOP");
    client.set_nonblocking(true).unwrap();
    while client.write(&[b'x'; 64 << 10]).is_ok() {}
    // The server lingers for two seconds.
    std::thread::sleep(Duration::from_secs(2));
    server.signal("CONT");
    let trace = server.stderr.wait("the end of the connection", |trace| {
        trace
            .rsplit(lingering)
            .next()
            .unwrap()
            .contains(": closed after ")
    });
    assert_eq!(trace.matches(lingering).count(), 1, "{trace}");
}

#[test]
fn curl_delivers_1500_kilobytes_within_a_second() {
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
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert!(
        stderr.contains("Expect: 100-continue") && stderr.contains("100 Continue"),
        "{stderr}"
    );
    assert_eq!(
        server.stdout.lines(1)[0]["text"].as_str().unwrap().len(),
        1_500_000
    );
}

#[test]
fn clients_that_disconnect_in_any_state_leave_no_descriptor_open() {
    let server = Server::start(&[]);
    let before = server.descriptors();
    let pipelined = pipeline(3);
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n\
                   7\r\n{\"n\":1}\r\n0\r\n\r\n";
    for whole in [
        &pipelined,
        chunked,
        "GET /health HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: x\r\n\r\nxx",
    ] {
        for length in 0..=whole.len() {
            let mut stream: UnixStream = server.connect();
            stream.write_all(&whole.as_bytes()[..length]).unwrap();
        }
    }
    wait_until("all connections are closed", || {
        server.descriptors() == before
    });
    assert_eq!(server.health(), "200");
}
