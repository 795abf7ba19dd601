//! What a 200 is worth: kill the server at any moment, and nothing that it
//! acknowledged is missing.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::*;

/// Posts hooks until there is no server; the numbers of those that got their 200.
fn post_until_the_end(socket: &Path, first: i64, count: &AtomicUsize) -> Vec<i64> {
    let mut answered = Vec::new();
    for n in first.. {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            break;
        };
        let mut answer = Vec::new();
        let sent = stream.write_all(&request("/", format!("{{\"n\":{n}}}")));
        if sent.is_err() || stream.read_to_end(&mut answer).is_err() || answer != OK.as_bytes() {
            break;
        }
        answered.push(n);
        count.fetch_add(1, Ordering::SeqCst);
    }
    answered
}

#[test]
fn sigkill_under_load_loses_no_acknowledged_event() {
    for round in 0..10 {
        let folder = folder();
        let path = folder.path().join("events");
        let file = fs::File::create(&path).unwrap();
        let mut server = Server::start_in(folder, &[], |command| command.stdout(file));
        let (socket, count) = (server.socket(), AtomicUsize::new(0));
        let answered: Vec<i64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let (socket, count) = (&socket, &count);
                    scope.spawn(move || post_until_the_end(socket, client * 1_000_000, count))
                })
                .collect();
            // Another moment each round.
            wait_until("there is load", || {
                count.load(Ordering::SeqCst) > 100 + 37 * round
            });
            server.child.kill().unwrap();
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        server.ended();

        let text = fs::read_to_string(&path).unwrap();
        let whole = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let written: HashSet<i64> = column(&events(whole), "n").into_iter().collect();
        let missing: Vec<_> = answered.iter().filter(|n| !written.contains(n)).collect();
        assert!(
            missing.is_empty(),
            "round {round}: {missing:?} of {}",
            answered.len()
        );
    }
}
