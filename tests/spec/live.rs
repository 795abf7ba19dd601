//! `GET /events`: events as they happen, and the recent past.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::thread;

use serde_json::Value;

use crate::harness::*;

/// The numbers of the first `count` events.
fn numbers(reader: &mut UnixStream, count: usize) -> Vec<i64> {
    column(&read_lines(reader, count), "n")
}

/// The status of the response to a request with this method and target.
fn status_of(server: &Server, method: &str, target: &str) -> String {
    let response = server.exchange(format!("{method} {target} HTTP/1.1\r\n\r\n"));
    let body = response.split("\r\n\r\n").nth(1);
    assert_eq!(body, Some(""), "{response}");
    status(&response).to_owned()
}

#[test]
fn a_reader_gets_compact_lines_whatever_the_format_of_stdout() {
    for format in ["--tee", "--pretty-json", "--pretty-yaml", "--pretty-line"] {
        let server = Server::with_readers(&[format]);
        let mut reader = server.live_reader("");
        server.post("Stop", "{\"a\": \"\u{e9}\"}");
        let line = read_until(&mut reader, |text| text.ends_with('\n'));
        assert!(line.ends_with(",\"a\":\"\\u00e9\"}\n"), "{line}");
        assert_eq!(line.lines().count(), 1);
    }
}

#[test]
fn a_replay_begins_with_the_last_events_and_continues_without_a_gap() {
    for (query, first) in [
        ("", 20),
        ("?replay=0", 20),
        ("?replay=3", 17),
        ("?replay=100", 0),
        ("?replay=all", 0),
    ] {
        let server = Server::start(&[]);
        server.post_numbered(0..20);
        let mut reader = server.live_reader(query);
        server.post_numbered(20..25);
        let expected: Vec<_> = (first..25).collect();
        assert_eq!(numbers(&mut reader, expected.len()), expected, "{query}");
    }
}

#[test]
fn the_history_keeps_the_last_events_up_to_its_size() {
    let server = Server::start(&["--history", "3000"]);
    server.post_numbered(0..1000);
    let mut reader = server.live_reader("?replay=all");
    server.post_numbered(1000..1001);
    let text = read_until(&mut reader, |text| text.contains("\"n\":1000}\n"));
    let received = column(&events(&text), "n");
    assert_eq!(received, (received[0]..=1000).collect::<Vec<_>>());
    let (kept, _new) = text.split_at(text.trim_end().rfind('\n').unwrap() + 1);
    assert!((2800..=3050).contains(&kept.len()), "{} bytes", kept.len());
}

#[test]
fn the_head_says_which_events_follow_and_after_continues_behind_one() {
    let server = Server::start(&[]);
    server.post_numbered(0..20);
    let (mut reader, beginning) = server.live_reader_from("?replay=3");
    assert_eq!((beginning.first, beginning.live), (17, 20));
    assert_eq!(numbers(&mut reader, 3), [17, 18, 19]);
    let name = beginning.server;
    let other = "0123456789abcdef";
    for (live, after, first) in [
        (20, format!("{name}:9"), 10),
        (21, format!("{name}:20"), 21),
        (22, format!("{name}:{}", u64::MAX), 22),
        (23, format!("{other}:9"), 0),
    ] {
        let (mut reader, beginning) = server.live_reader_from(&format!("?after={after}"));
        assert_eq!((beginning.first, beginning.live), (first, live), "{after}");
        assert_eq!(beginning.server, name);
        server.post_numbered(live as i64..live as i64 + 1);
        let expected: Vec<i64> = (first as i64..=live as i64).collect();
        assert_eq!(numbers(&mut reader, expected.len()), expected, "{after}");
    }
    assert_ne!(Server::start(&[]).live_reader_from("").1.server, name);
}

#[test]
fn after_an_event_that_has_left_the_history_the_oldest_one_follows() {
    let server = Server::start(&["--history", "2000"]);
    server.post_numbered(0..100);
    let (_, oldest) = server.live_reader_from("?replay=all");
    assert!(oldest.first > 50 && oldest.live == 100);
    let (_, beginning) = server.live_reader_from(&format!("?after={}:0", oldest.server));
    assert_eq!((beginning.first, beginning.live), (oldest.first, 100));
}

#[test]
fn without_a_history_nothing_is_replayed() {
    let server = Server::start(&["--history", "0"]);
    server.post_numbered(0..5);
    let mut reader = server.live_reader("?replay=all");
    server.post_numbered(5..6);
    assert_eq!(numbers(&mut reader, 1), [5]);
}

#[test]
fn a_replay_larger_than_the_buffer_is_complete() {
    let server = Server::start(&["--buffer", "1000"]);
    let text = "x".repeat(1000);
    for n in 0..2000 {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    let mut reader = server.live_reader("?replay=all");
    for n in 2000..2010 {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    assert_eq!(numbers(&mut reader, 2010), (0..2010).collect::<Vec<_>>());
}

#[test]
fn readers_that_join_at_any_time_get_contiguous_events() {
    const EVENTS: i64 = 30_000;
    let server = Server::start(&["--pretty-yaml"]);
    thread::scope(|scope| {
        scope.spawn(|| {
            // One kept connection, with pipelined requests.
            let mut stream = server.connect();
            let mut responses = stream.try_clone().unwrap();
            scope.spawn(move || responses.read_to_end(&mut Vec::new()).unwrap());
            for n in 0..EVENTS {
                let body = format!("{{\"n\":{n}}}");
                let head = "POST /?event=Stop HTTP/1.1\r\nConnection: keep-alive\r\n";
                let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                stream.write_all(request.as_bytes()).unwrap();
            }
            stream.shutdown(Shutdown::Write).unwrap();
        });
        for number in 0..8 {
            let server = &server;
            scope.spawn(move || {
                // They join one after the other, while events arrive.
                let mut first = server.live_reader("?replay=1");
                while numbers(&mut first, 1)[0] < number * EVENTS / 10 {}
                let query = ["?replay=all", "?replay=10", ""][number as usize % 3];
                let mut reader = server.live_reader(query);
                let last = format!("\"n\":{}}}\n", EVENTS - 1);
                let text = read_until(&mut reader, |text| text.ends_with(&last));
                let received = column(&events(&text), "n");
                assert_eq!(received, (received[0]..EVENTS).collect::<Vec<_>>());
                assert!(query != "?replay=all" || received[0] == 0);
            });
        }
    });
}

#[test]
fn only_get_events_with_a_valid_replay_is_the_stream() {
    let server = Server::start(&[]);
    for (method, target, expected) in [
        ("HEAD", "/events", "404"),
        ("PUT", "/events", "404"),
        ("GET", "/events/", "404"),
        ("GET", "/Events", "404"),
        ("GET", "/events?replay=-1", "400"),
        ("GET", "/events?replay=", "400"),
        ("GET", "/events?replay=1.5", "400"),
        ("GET", "/events?after=7", "400"),
        ("GET", "/events?replay=1&after=0123456789abcdef:7", "400"),
    ] {
        assert_eq!(status_of(&server, method, target), expected, "{target}");
    }
    // As for any path, a POST is a hook.
    server.post("Stop", "{}");
    let posted = server.exchange("POST /events?event=A HTTP/1.1\r\n\r\n");
    assert_eq!(status(&posted), "200");
    assert_eq!(server.stdout.lines(2)[1]["_event"], "A");
    let _reader = server.live_reader("?x=1&replay=5");
}

#[test]
fn a_client_becomes_a_reader_after_other_requests_on_the_same_connection() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    let hook =
        "POST /?event=A HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 7\r\n\r\n{\"n\":1}";
    let subscribe = "GET /events?replay=1 HTTP/1.1\r\nContent-Length: 2\r\n\r\nxx";
    let ignored = "POST /?event=Ignored HTTP/1.1\r\n\r\n";
    let requests = [hook, subscribe, ignored].concat();
    stream.write_all(requests.as_bytes()).unwrap();
    let ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\
              Connection: keep-alive\r\n\r\n";
    let mut response = vec![0; ok.len()];
    stream.read_exact(&mut response).unwrap();
    assert_eq!(String::from_utf8(response).unwrap(), ok);
    let beginning = read_events_head(&mut stream);
    assert_eq!((beginning.first, beginning.live), (0, 1));
    assert_eq!(numbers(&mut stream, 1), [1]);
    server.post_numbered(2..3);
    assert_eq!(numbers(&mut stream, 1), [2]);
    let names: Vec<Value> = server.stdout.lines(2);
    assert_eq!(names[1]["n"], 2, "what follows the request is discarded");
}

#[test]
fn a_reader_that_shuts_down_its_sending_side_at_once_stays() {
    let server = Server::start(&[]);
    let mut stream = server.connect();
    stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    read_events_head(&mut stream);
    server.post_numbered(0..3);
    assert_eq!(numbers(&mut stream, 3), [0, 1, 2]);
}

#[test]
fn another_user_may_post_but_not_read() {
    if !is_root() {
        return skip("another user needs root");
    }
    let folder = folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    let server = Server::start_in(folder, &["--mode", "0666"], |command| command);
    let curl = |arguments: &str, uid: u32| {
        let socket = server.socket();
        let socket = socket.display();
        let command = format!(
            "curl -s -m 1 -o /dev/null -w '%{{http_code}}' --unix-socket {socket} {arguments}"
        );
        let output = shell(&command).uid(uid).gid(uid).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    // The second one is the overflow uid, which is anybody's.
    for uid in [1234, 65534] {
        assert_eq!(curl("http://localhost/events", uid), "403");
        assert_eq!(curl("http://localhost/sessions", uid), "403");
        assert_eq!(curl("-d '{}' http://localhost/?event=A", uid), "200");
    }
}

#[test]
fn readers_leave_connections_for_hooks() {
    let server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""])
    });
    let mut readers = Vec::new();
    let refused = loop {
        let mut stream = server.connect();
        stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
        let head = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
        if status(&head) != "200" {
            break status(&head).to_owned();
        }
        readers.push(stream);
    };
    // A third of the 20 descriptors is for sessions' processes, and half of the rest for readers.
    assert_eq!((refused.as_str(), readers.len()), ("503", 4));
    server.post_numbered(0..3);
    for reader in &mut readers {
        assert_eq!(numbers(reader, 3), [0, 1, 2]);
    }
    // Sessions take no descriptor before their process is known.
    for n in 0..30 {
        server.post("Stop", format!("{{\"session_id\":\"{n}\"}}"));
    }
    readers.pop();
    wait_until("a place is free", || {
        let mut stream = server.connect();
        stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
        status(&read_until(&mut stream, |text| text.ends_with("\r\n\r\n"))) == "200"
    });
}

/// The server reads all requests in one turn.
#[test]
fn readers_that_come_at_once_leave_connections_for_hooks() {
    let server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""])
    });
    server.signal("STOP");
    let streams: Vec<_> = (0..20)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(b"GET /events HTTP/1.1\r\n\r\n").unwrap();
            stream
        })
        .collect();
    server.signal("CONT");
    let statuses = streams.into_iter().map(|mut stream| {
        let head = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
        (status(&head).to_owned(), stream)
    });
    let statuses: Vec<_> = statuses.collect();
    let granted = statuses.iter().filter(|(status, _)| status == "200");
    assert_eq!(granted.count(), 4);
    server.post("Stop", "{}");
}

#[test]
fn many_readers_that_join_at_once_get_their_replay_whatever_the_buffer() {
    let server = Server::start(&["--buffer", "1000"]);
    let text = "x".repeat(1000);
    for n in 0..1000 {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    let mut readers: Vec<_> = (0..50).map(|_| server.live_reader("?replay=all")).collect();
    for n in 1000..1005 {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    for reader in &mut readers {
        assert_eq!(numbers(reader, 1005), (0..1005).collect::<Vec<_>>());
    }
}

#[test]
fn at_the_end_readers_get_all_events_and_then_the_end_of_input() {
    let mut server = Server::start(&[]);
    let mut reader = server.live_reader("");
    server.post_numbered(0..100);
    server.stop();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(column(&events(&text), "n"), (0..100).collect::<Vec<_>>());
}

#[test]
fn the_server_goes_on_for_its_readers_when_stdout_is_closed() {
    let (stdout, writer) = std::io::pipe().unwrap();
    let mut server = Server::start_with(&[], |command| command.stdout(writer));
    let mut reader = server.live_reader("");
    drop(stdout);
    server.post_numbered(0..3);
    assert_eq!(numbers(&mut reader, 3), [0, 1, 2]);
    drop(reader);
    assert!(server.wait_for_exit().success());
}

#[test]
fn curl_shows_events_as_they_happen() {
    let Some(curl) = tool("curl") else { return };
    let server = Server::start(&[]);
    server.post_numbered(0..2);
    let mut child = std::process::Command::new(curl)
        .args(["-sN", "--unix-socket"])
        .arg(server.socket())
        .arg("http://localhost/events?replay=all")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = Stream::collect(child.stdout.take());
    stdout.lines(2);
    server.post_numbered(2..3);
    assert_eq!(column(&stdout.lines(3), "n"), [0, 1, 2]);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_sessions_that_have_not_ended_are_listed() {
    let server = Server::start(&[]);
    for (event, body) in [
        ("SessionStart", r#"{"session_id":"a\u00e9","cwd":"/tmp"}"#),
        ("Stop", r#"{"session_id":"b","cwd":7}"#),
        ("Stop", r#"{"session_id":"a\u00e9","cwd":"/home"}"#),
        ("Stop", r#"{"session_id":"c"}"#),
        ("SessionEnd", r#"{"session_id":"c"}"#),
        ("Stop", r#"{"session_id":7}"#),
        ("Stop", "no JSON"),
    ] {
        server.post(event, body);
    }
    let response = server.exchange("GET /sessions HTTP/1.1\r\n\r\n");
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("\r\nContent-Type: application/json\r\n"),
        "{head}"
    );
    assert!(body.is_ascii());
    let sessions: Value = serde_json::from_str(body).unwrap();
    let [a, b] = &sessions.as_array().unwrap()[..] else {
        panic!("{sessions}")
    };
    assert_eq!(
        (&a["session_id"], &a["cwd"]),
        (&"a\u{e9}".into(), &"/home".into())
    );
    assert_eq!(
        (&a["events"], &a["last_event"]),
        (&2.into(), &"Stop".into())
    );
    assert_eq!(a["uid"], rustix::process::getuid().as_raw());
    assert_eq!(
        (&b["session_id"], &b["cwd"], &b["pid"]),
        (&"b".into(), &Value::Null, &Value::Null)
    );
    assert_eq!(
        a["started"].as_str().unwrap().len(),
        "2026-02-09T10:30:00+00:00".len()
    );
    for target in ["/sessions/", "/sessions?a=b"] {
        assert_eq!(status_of(&server, "GET", target), "404");
    }
}

#[test]
fn every_sink_learns_of_a_session_that_is_gone() {
    let server = Server::start(&[]);
    let mut reader = server.live_reader("");
    // A client that posts two hooks, a second apart, through children of its own.
    let hook = format!(
        "echo '{{\"session_id\":\"a\"}}' | {BINARY} send Stop --socket {}",
        server.socket().display()
    );
    let mut client = shell(&format!("({hook}); sleep 1.1; ({hook}); read wait"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(read_lines(&mut reader, 2).len(), 2);
    client.kill().unwrap();
    client.wait().unwrap();
    let gone = &read_lines(&mut reader, 1)[0];
    assert_eq!(
        (&gone["_event"], &gone["session_id"]),
        (&"_gone".into(), &"a".into())
    );
    assert_eq!(gone["_gone"], client.id());
    server.post("Last", "{}");
    assert_eq!(read_lines(&mut reader, 1)[0]["_event"], "Last");
    let names: Vec<Value> = server
        .stdout
        .lines(4)
        .iter()
        .map(|event| event["_event"].clone())
        .collect();
    assert_eq!(names, ["Stop", "Stop", "_gone", "Last"]);
}
