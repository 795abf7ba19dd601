//! The end: nothing that was let in is lost, and nothing is left behind.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::*;

#[test]
fn each_signal_ends_it_in_good_order() {
    for name in ["INT", "TERM", "HUP"] {
        let mut server = Server::with_readers(&[]);
        server.signal(name);
        assert_eq!(server.ended().code(), Some(0), "{name}");
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
fn nohup_keeps_it_alive() {
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "trap '' HUP; exec \"$0\" \"$@\""])
    });
    server.signal("HUP");
    server.post("Stop", "{}");
    server.stop();
}

#[test]
fn what_waits_in_the_backlog_is_served() {
    let mut server = Server::start(&[]);
    server.post("First", "{}");
    // Stopped, it cannot accept: what connects now is in the backlog.
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
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, OK);
    }
    assert!(server.ended().success());
    assert_eq!(events(&server.stdout.to_end()).len(), 51);
}

#[test]
fn nobody_can_hold_up_the_end_by_locking_the_directory() {
    let mut server = Server::start(&[]);
    let folder = std::fs::File::open(server.folder.path()).unwrap();
    folder.lock().unwrap();
    let _silent = server.connect();
    let mut slow = server.connect();
    let whole = request("/hook?event=Slow", "{}");
    slow.write_all(&whole[..50]).unwrap();
    server.post("Other", "{}");
    server.signal("TERM");
    wait_until("the file is gone", || !server.socket().exists());
    slow.write_all(&whole[50..]).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    server.signal("TERM");
    server.ended();
}

#[test]
fn a_request_in_flight_may_finish() {
    let mut server = Server::start(&[]);
    let whole = request("/hook?event=Slow", "{\"a\":1}");
    let mut stream = server.connect();
    stream.write_all(&whole[..whole.len() - 3]).unwrap();
    server.post("Other", "{}");
    server.signal("TERM");
    wait_until("the file is gone", || !server.socket().exists());
    stream.write_all(&whole[whole.len() - 3..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    assert!(server.ended().success());
    assert_eq!(events(&server.stdout.to_end())[1]["_event"], "Slow");
}

#[test]
fn clients_that_are_late_at_the_end_are_let_go() {
    let folder = folder();
    let output = folder.path().join("output.sock");
    // Their time would be over while the reader still drains.
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
    let said = server.stderr.to_end();
    let late = "\n1 client(s) could not be answered within 2s\n";
    assert!(said.contains(late), "{said}");
}

#[test]
fn a_client_that_stalls_and_a_reader_that_stalls_do_not_keep_it_for_ever() {
    let mut server = Server::with_readers(&[]);
    let _reader = server.reader();
    let _silent = server.connect();
    let text = "x".repeat(1 << 20);
    server.post("Big", format!("{{\"text\":\"{text}\"}}"));
    server.stop();
    let said = server.stderr.to_end();
    assert!(
        said.ends_with("An output reader did not take the last 1 event(s): they are lost to it\n"),
        "{said}"
    );
}

#[test]
fn a_slow_reader_gets_the_rest() {
    let mut server = Server::with_readers(&[]);
    let mut reader = server.reader();
    let text = "x".repeat(1 << 20);
    server.post("Big", format!("{{\"text\":\"{text}\"}}"));
    server.signal("TERM");
    wait_until("the hook socket's file is gone", || {
        !server.socket().exists()
    });
    let mut got = String::new();
    reader.read_to_string(&mut got).unwrap();
    assert_eq!(events(&got)[0]["text"], text);
    assert!(server.ended().success());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut server = Server::with_readers(&[]);
    let _silent = server.connect();
    server.signal("TERM");
    wait_until("the first is heeded", || !server.socket().exists());
    server.signal("INT");
    server.ended();
    assert!(!server.output_socket().exists());
}

/// Every hook that got its 200 while the server was told to stop is in the file,
/// and every one that found the server got a 200.
#[test]
fn sigterm_under_load_loses_nothing() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = fs::File::create(&path).unwrap();
    let mut server = Server::start_in(folder, &[], |command| command.stdout(file));
    let socket = server.socket();
    let stopped = AtomicBool::new(false);
    let answered: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (socket, stopped) = (&socket, &stopped);
                scope.spawn(move || {
                    let mut answered = Vec::new();
                    for n in (client..).step_by(8) {
                        let Ok(stream) = UnixStream::connect(socket) else {
                            break;
                        };
                        let answer = exchange(stream, &request("/", format!("{{\"n\":{n}}}")));
                        assert_eq!(answer, OK, "it was let in");
                        answered.push(n);
                    }
                    assert!(stopped.load(Ordering::SeqCst));
                    answered
                })
            })
            .collect();
        wait_until("there are events", || {
            fs::metadata(&path).unwrap().len() > 100_000
        });
        stopped.store(true, Ordering::SeqCst);
        server.stop();
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    });
    let mut written = column(&events(&fs::read_to_string(&path).unwrap()), "n");
    let mut answered = answered;
    written.sort();
    answered.sort();
    assert_eq!(written, answered);
}
