//! Shutdown: every accepted client gets its response, no acknowledged event is lost, and no
//! file is left behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::*;

#[test]
fn sigint_sigterm_and_sighup_shut_the_server_down_gracefully() {
    for name in ["INT", "TERM", "HUP"] {
        let mut server = Server::with_readers(&[]);
        server.signal(name);
        assert_eq!(server.wait_for_exit().code(), Some(0), "{name}");
        assert!(
            server
                .stderr
                .to_end()
                .ends_with("Press Ctrl+C to stop\n\n\nShutting down...\n")
        );
        assert_eq!(
            fs::read_dir(server.folder.path()).unwrap().count(),
            0,
            "{name}"
        );
    }
}

#[test]
fn a_server_started_with_nohup_ignores_sighup() {
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""])
    });
    server.signal("HUP");
    server.post("Stop", "{}");
    server.stop();
}

#[test]
fn clients_in_the_backlog_are_served() {
    let mut server = Server::start(&[]);
    server.post("First", "{}");
    // A stopped process cannot accept: new connections stay in the backlog.
    server.signal("STOP");
    let waiting: Vec<_> = (0..50)
        .map(|n| {
            let mut stream = server.connect();
            stream
                .write_all(&request("/hook?event=Waiting", format!("{{\"n\":{n}}}")))
                .unwrap();
            stream
        })
        .collect();
    server.signal("TERM");
    server.signal("CONT");
    for mut stream in waiting {
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        assert_eq!(response, OK);
    }
    assert!(server.wait_for_exit().success());
    assert_eq!(events(&server.stdout.to_end()).len(), 51);
}

#[test]
fn a_lock_on_the_directory_does_not_block_the_shutdown() {
    let mut server = Server::start(&[]);
    let folder = std::fs::File::open(server.folder.path()).unwrap();
    folder.lock().unwrap();
    let _silent = server.connect();
    let mut slow = server.connect();
    let request = request("/hook?event=Slow", "{}");
    slow.write_all(&request[..50]).unwrap();
    server.post("Other", "{}");
    server.signal("TERM");
    wait_until("the socket file is removed", || !server.socket().exists());
    slow.write_all(&request[50..]).unwrap();
    let mut response = String::new();
    slow.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
    server.signal("TERM");
    server.wait_for_exit();
}

#[test]
fn a_request_in_flight_is_completed() {
    let mut server = Server::start(&[]);
    let request = request("/hook?event=Slow", "{\"a\":1}");
    let mut stream = server.connect();
    stream.write_all(&request[..request.len() - 3]).unwrap();
    server.post("Other", "{}");
    server.signal("TERM");
    wait_until("the socket file is removed", || !server.socket().exists());
    stream.write_all(&request[request.len() - 3..]).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
    assert!(server.wait_for_exit().success());
    assert_eq!(events(&server.stdout.to_end())[1]["_event"], "Slow");
}

#[test]
fn clients_without_a_complete_request_are_disconnected_after_two_seconds() {
    let folder = folder();
    let output = folder.path().join("output.sock");
    // The request timeout ends while the server still drains the reader.
    let arguments = [
        "--timeout",
        "3",
        "--output-socket",
        output.to_str().unwrap(),
    ];
    let mut server = Server::start_in(folder, &arguments, |command| command);
    let _reader = server.reader();
    let text = "x".repeat(1 << 20);
    server.post("Big", format!("{{\"text\":\"{text}\"}}"));
    let _silent = server.connect();
    server.stop();
    let stderr = server.stderr.to_end();
    let report = "\n1 client(s) did not get a response within 2s\n";
    assert!(stderr.contains(report), "{stderr}");
}

#[test]
fn a_stalled_client_and_a_stalled_reader_do_not_prevent_the_exit() {
    let mut server = Server::with_readers(&[]);
    let _reader = server.reader();
    let _silent = server.connect();
    let text = "x".repeat(1 << 20);
    server.post("Big", format!("{{\"text\":\"{text}\"}}"));
    server.stop();
    let stderr = server.stderr.to_end();
    let pid = std::process::id();
    let report = format!("An output reader (pid {pid}) did not receive the last 1 event(s)\n");
    assert!(stderr.ends_with(&report), "{stderr}");
}

#[test]
fn a_slow_reader_gets_all_events_before_the_exit() {
    let mut server = Server::with_readers(&[]);
    let mut reader = server.reader();
    let text = "x".repeat(1 << 20);
    server.post("Big", format!("{{\"text\":\"{text}\"}}"));
    server.signal("TERM");
    wait_until("the hook socket file is removed", || {
        !server.socket().exists()
    });
    let mut received = String::new();
    reader.read_to_string(&mut received).unwrap();
    assert_eq!(events(&received)[0]["text"], text);
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_second_signal_ends_the_server_at_once() {
    let mut server = Server::with_readers(&[]);
    let _silent = server.connect();
    server.signal("TERM");
    wait_until("the shutdown begins", || !server.socket().exists());
    server.signal("INT");
    server.wait_for_exit();
    assert!(!server.output_socket().exists());
}

/// Each client that could connect gets a 200, and the file has exactly the events that got one.
#[test]
fn sigterm_under_load_loses_no_event_and_no_response() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = fs::File::create(&path).unwrap();
    let mut server = Server::start_in(folder, &[], |command| command.stdout(file));
    let socket = server.socket();
    let is_stopping = AtomicBool::new(false);
    let mut acknowledged: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (socket, is_stopping) = (&socket, &is_stopping);
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for n in (client..).step_by(8) {
                        let Ok(stream) = UnixStream::connect(socket) else {
                            break;
                        };
                        let response = exchange(stream, &request("/", format!("{{\"n\":{n}}}")));
                        assert_eq!(response, OK);
                        acknowledged.push(n);
                    }
                    assert!(is_stopping.load(Ordering::SeqCst));
                    acknowledged
                })
            })
            .collect();
        wait_until("there are events", || {
            fs::metadata(&path).unwrap().len() > 100_000
        });
        is_stopping.store(true, Ordering::SeqCst);
        server.stop();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    let mut written = column(&events(&fs::read_to_string(&path).unwrap()), "n");
    written.sort();
    acknowledged.sort();
    assert_eq!(written, acknowledged);
}
