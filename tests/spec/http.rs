//! Requests and responses.

use std::io::{Read, Write};

use crate::harness::*;

const HEALTHY: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
                       Content-Length: 16\r\nConnection: close\r\n\r\n{\"status\": \"ok\"}";

#[test]
fn get_health_is_answered_and_similar_targets_get_404() {
    let server = Server::start(&[]);
    assert_eq!(
        server.exchange("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        HEALTHY
    );
    assert_eq!(server.exchange("GET /health HTTP/1.0\r\n\r\n"), HEALTHY);
    for target in ["/health?", "/health/", "/Health", "/"] {
        assert_eq!(
            status(&server.exchange(format!("GET {target} HTTP/1.1\r\n\r\n"))),
            "404"
        );
    }
}

#[test]
fn a_method_other_than_post_gets_404_with_an_empty_body() {
    let server = Server::start(&[]);
    for method in ["GET", "PUT", "DELETE", "HEAD", "OPTIONS", "post"] {
        let response = server.exchange(format!("{method} /hook?event=A HTTP/1.1\r\n\r\n"));
        assert_eq!(status(&response), "404", "{method}");
        assert!(response.contains("Content-Length: 0\r\n") && response.ends_with("\r\n\r\n"));
    }
    server.post("Stop", "{}");
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Stop");
}

#[test]
fn a_post_to_any_path_is_an_event() {
    let server = Server::start(&[]);
    for target in ["/", "/hook", "/a/b/c?x=1&event=Z", "*"] {
        assert_eq!(server.exchange(request(target, "{}")), OK);
    }
    let names: Vec<_> = server
        .stdout
        .lines(4)
        .iter()
        .map(|event| event["_event"].clone())
        .collect();
    assert_eq!(names, ["Unknown", "Unknown", "Z", "Unknown"]);
}

#[test]
fn a_request_needs_neither_host_nor_content_length() {
    let server = Server::start(&[]);
    assert_eq!(
        server.exchange("POST /hook?event=Bare HTTP/1.1\r\n\r\n"),
        OK
    );
    let event = &server.stdout.lines(1)[0];
    assert_eq!(event.as_object().unwrap().len(), 5, "{event}");
}

#[test]
fn an_event_is_written_before_its_response() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = std::fs::File::create(&path).unwrap();
    let server = Server::start_with(&[], |command| command.stdout(file));
    for n in 1..=50 {
        server.post("Stop", format!("{{\"n\":{n}}}"));
        assert_eq!(events(&std::fs::read_to_string(&path).unwrap()).len(), n);
    }
}

#[test]
fn a_malformed_head_gets_400_and_no_event() {
    let server = Server::start(&[]);
    for head in [
        "garbage\r\n\r\n",
        "POST /\r\n\r\n",
        "POST / HTTP/2.0\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: abc\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST / HTTP/1.1\r\nno colon\r\n\r\n",
        "POST / HTTP/1.1\r\n",
        "POST",
    ] {
        let response = server.exchange(head);
        assert_eq!(status(&response), "400", "{head:?}");
        assert!(
            response.ends_with("\r\n\r\n"),
            "the body must be empty: {response:?}"
        );
    }
    server.post("Whole", "{}");
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Whole");
}

#[test]
fn an_incomplete_body_gets_400_and_no_event() {
    let server = Server::start(&[]);
    let response =
        server.exchange("POST /hook?event=Half HTTP/1.1\r\nContent-Length: 9\r\n\r\n{\"a\"");
    assert_eq!(status(&response), "400");
    server.post("Whole", "{}");
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Whole");
}

#[test]
fn a_client_that_sends_nothing_gets_no_response() {
    let server = Server::start(&[]);
    assert_eq!(server.exchange(""), "");
}

#[test]
fn a_client_that_sends_extra_bytes_can_read_its_response() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let mut bytes = request("/hook?event=A", "{}");
    bytes.extend([b'x'; 100_000]);
    stream.write_all(&bytes).unwrap();
    let mut response = String::new();
    // If the server closed the connection with unread input, this would be ECONNRESET.
    stream.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
}

#[test]
fn a_stalled_client_does_not_block_others() {
    let server = Server::start(&[]);
    let stalled: Vec<_> = [
        &b""[..],
        b"POST",
        &request("/", "{}")[..20],
        &request("/", "{}  ")[..125],
    ]
    .iter()
    .map(|bytes| {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        stream
    })
    .collect();
    server.post("Stop", "{}");
    server.stdout.lines(1);
    drop(stalled);
}

#[test]
fn clients_that_disconnect_after_any_byte_leave_no_descriptor_open() {
    let server = Server::start(&[]);
    server.post("Stop", "{}");
    let before = server.descriptors();
    let whole = request("/hook?event=A", "{\"a\":1}");
    for length in 0..=whole.len() {
        server.connect().write_all(&whole[..length]).unwrap();
    }
    wait_until("all connections are closed", || {
        server.descriptors() == before
    });
    server.post("Stop", "{}");
}

#[test]
fn a_body_of_more_than_a_megabyte_arrives_complete() {
    let server = Server::start(&[]);
    let text = "é😀x".repeat(200_000);
    server.post("Big", serde_json::json!({"text": text}).to_string());
    assert_eq!(server.stdout.lines(1)[0]["text"], text);
}
