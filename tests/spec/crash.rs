//! Durability: whenever the server is killed, every event that it acknowledged with a 200 is
//! in the file.

use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::*;

/// Posts hooks numbered from `first` until the server is gone. Returns the numbers of those
/// that got a 200.
fn post_until_killed(socket: &Path, first: i64, posted: &AtomicUsize) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for n in first.. {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            break;
        };
        let mut response = Vec::new();
        let sent = stream.write_all(&request("/", format!("{{\"n\":{n}}}")));
        if sent.is_err() || stream.read_to_end(&mut response).is_err() || response != OK.as_bytes()
        {
            break;
        }
        acknowledged.push(n);
        posted.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

#[test]
fn sigkill_under_load_loses_no_acknowledged_event() {
    for round in 0..10 {
        let folder = folder();
        let path = folder.path().join("events");
        let file = fs::File::create(&path).unwrap();
        let mut server = Server::start_in(folder, &[], |command| command.stdout(file));
        let (socket, posted) = (server.socket(), AtomicUsize::new(0));
        let acknowledged: Vec<i64> = thread::scope(|scope| {
            let clients: Vec<_> = (0..8)
                .map(|client| {
                    let (socket, posted) = (&socket, &posted);
                    scope.spawn(move || post_until_killed(socket, client * 1_000_000, posted))
                })
                .collect();
            // Each round kills the server after a different number of hooks.
            wait_until("there is load", || {
                posted.load(Ordering::SeqCst) > 100 + 37 * round
            });
            server.child.kill().unwrap();
            clients
                .into_iter()
                .flat_map(|client| client.join().unwrap())
                .collect()
        });
        server.wait_for_exit();

        let text = fs::read_to_string(&path).unwrap();
        let whole_lines = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
        let written: HashSet<i64> = column(&events(whole_lines), "n").into_iter().collect();
        let missing: Vec<_> = acknowledged
            .iter()
            .filter(|n| !written.contains(n))
            .collect();
        assert!(
            missing.is_empty(),
            "round {round}: {missing:?} of {} are missing",
            acknowledged.len()
        );
    }
}
