//! A long time in a short one: after it, everything is where it was.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::*;

const HOOKS: usize = 200_000;
const CLIENTS: usize = 4;

/// Posts a share of the hooks: half of them on kept connections.
fn post_share(server: &Server) {
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(300));
    let kept = format!(
        "POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let share = HOOKS / CLIENTS;
    for _ in 0..share / 200 {
        let mut stream = server.connect();
        let mut answer = vec![0; 1024];
        for _ in 0..100 {
            stream.write_all(kept.as_bytes()).unwrap();
            let count = stream.read(&mut answer).unwrap();
            assert!(answer[..count].starts_with(b"HTTP/1.1 200 OK"));
        }
        for _ in 0..100 {
            server.post("Stop", &body);
        }
    }
}

#[test]
fn after_200_000_hooks_with_readers_coming_and_going_all_is_as_it_was() {
    let server = Server::with_readers(&["--buffer", "1000000"]);
    for _ in 0..1000 {
        server.post("Warm", "{}");
    }
    let (descriptors, resident) = (server.descriptors(), server.resident_kb());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| post_share(&server)))
            .collect();
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            let mut stalled = Vec::new();
            while !over.load(Ordering::SeqCst) {
                let mut reader = UnixStream::connect(server.output_socket()).unwrap();
                assert!(reader.read(&mut buffer).unwrap() > 0);
                // Every other one goes on without reading for a while.
                stalled.push(reader);
                if stalled.len() > 5 {
                    stalled.drain(..5);
                }
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        over.store(true, Ordering::SeqCst);
        server.post("Last", "{}");
    });
    wait_until("all descriptors are closed", || {
        server.descriptors() == descriptors
    });
    server.post("Stop", "{}");
    let now = server.resident_kb();
    assert!(
        now < resident + 4_000,
        "{resident} kB before, {now} kB after"
    );
}
