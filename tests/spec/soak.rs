//! Endurance: 200,000 hooks leak neither memory nor descriptors.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crate::harness::*;

const HOOKS: usize = 200_000;
const CLIENTS: usize = 4;

/// Posts one client's share of the hooks, half of them on kept connections.
fn post_share(server: &Server) {
    let body = format!("{{\"text\":\"{}\"}}", "x".repeat(300));
    let kept = format!(
        "POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let share = HOOKS / CLIENTS;
    for _ in 0..share / 200 {
        let mut stream = server.connect();
        let mut response = vec![0; 1024];
        for _ in 0..100 {
            stream.write_all(kept.as_bytes()).unwrap();
            let count = stream.read(&mut response).unwrap();
            assert!(response[..count].starts_with(b"HTTP/1.1 200 OK"));
        }
        for _ in 0..100 {
            server.post("Stop", &body);
        }
    }
}

#[test]
fn memory_and_descriptors_do_not_grow_over_200_000_hooks_with_short_lived_readers() {
    let server = Server::with_readers(&["--buffer", "1000000", "--history", "1000000"]);
    for _ in 0..1000 {
        server.post("WarmUp", "{}");
    }
    let (descriptors, resident) = (server.descriptors(), server.resident_kb());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| post_share(&server)))
            .collect();
        scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            let mut stalled = Vec::new();
            while !is_done.load(Ordering::SeqCst) {
                let mut reader = UnixStream::connect(server.output_socket()).unwrap();
                assert!(reader.read(&mut buffer).unwrap() > 0);
                // It stays connected for a while, and does not read.
                stalled.push(reader);
                if stalled.len() > 5 {
                    stalled.drain(..5);
                }
            }
        });
        for client in clients {
            client.join().unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
        server.post("Last", "{}");
    });
    wait_until("all descriptors are closed", || {
        server.descriptors() == descriptors
    });
    server.post("Stop", "{}");
    let resident_after = server.resident_kb();
    assert!(
        resident_after < resident + 6_000,
        "{resident} kB before, {resident_after} kB after"
    );
}
