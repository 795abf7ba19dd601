//! A socket's file that disappears under a running server: it is noticed, reported, and
//! created again.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Instant;

use crate::harness::*;

/// Waits until a server listens at this path, and returns whether the mode is as before.
fn wait_for_socket(path: &Path) -> u32 {
    wait_until("the socket is back", || {
        std::os::unix::net::UnixStream::connect(path).is_ok()
    });
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_removed_socket_file_is_created_again() {
    let mut server = Server::with_readers(&["--mode", "0640"]);
    let mut old_reader = server.reader();
    for (path, mode) in [(server.socket(), 0o640), (server.output_socket(), 0o600)] {
        fs::remove_file(&path).unwrap();
        assert_eq!(wait_for_socket(&path), mode);
        let report = format!(
            "{} disappeared, and the server has created it again\n",
            path.display()
        );
        server
            .stderr
            .wait("the report", |text| text.contains(&report));
    }
    server.post("After", "{}");
    let events = read_lines(&mut old_reader, 1);
    assert_eq!(events[0]["_event"], "After");
    server.stop();
    assert!(!server.socket().exists() && !server.output_socket().exists());
}

#[test]
fn a_renamed_socket_file_is_created_again() {
    let server = Server::start(&[]);
    fs::rename(server.socket(), server.folder.path().join("moved")).unwrap();
    wait_for_socket(&server.socket());
    server.post("After", "{}");
}

/// Clients that have connected to the old socket wait in its backlog.
#[test]
fn clients_of_a_removed_socket_file_are_served() {
    let server = Server::start(&[]);
    server.signal("STOP");
    let clients: Vec<_> = (0..10).map(|_| server.connect()).collect();
    fs::remove_file(server.socket()).unwrap();
    server.signal("CONT");
    wait_for_socket(&server.socket());
    for client in clients {
        assert_eq!(exchange(client, &request("/", "{}")), OK);
    }
}

#[test]
fn a_change_of_the_mode_is_not_a_loss() {
    let mut server = Server::start(&[]);
    fs::set_permissions(server.socket(), fs::Permissions::from_mode(0o600)).unwrap();
    server.post("Stop", "{}");
    server.stop();
    assert!(!server.stderr.to_end().contains("disappeared"));
}

#[test]
fn a_path_that_is_taken_is_bound_again_when_it_is_free() {
    let server = Server::start(&[]);
    let path = server.socket();
    // In one step: the server never sees the path free.
    let other = server.folder.path().join("other");
    fs::write(&other, "mine").unwrap();
    fs::rename(&other, &path).unwrap();
    let report = format!("{} disappeared: nobody can connect", path.display());
    server
        .stderr
        .wait("the report", |text| text.contains(&report));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
    fs::remove_file(&path).unwrap();
    wait_for_socket(&path);
    server.post("After", "{}");
    let reports = server.stderr.text().matches(&report).count();
    assert_eq!(reports, 1, "it is reported once");
}

/// The file can disappear again before the server watches the new one.
#[test]
fn a_socket_file_that_is_removed_again_and_again_comes_back() {
    let server = Server::start(&[]);
    for _ in 0..30 {
        // As soon as it is there: a pause would give the server time to watch it.
        let end = Instant::now() + TIMEOUT;
        while fs::remove_file(server.socket()).is_err() {
            assert!(Instant::now() < end, "the file does not come back");
            std::thread::yield_now();
        }
    }
    wait_for_socket(&server.socket());
    server.post("After", "{}");
}

/// One turn accepts 256 clients, so the second loss comes before the first backlog is empty.
#[test]
fn a_second_loss_costs_no_client_in_the_backlog_of_the_first() {
    let server = Server::start(&[]);
    server.signal("STOP");
    let request = request("/", "{}");
    let clients: Vec<_> = (0..400)
        .map(|_| {
            let mut client = server.connect();
            client.write_all(&request).unwrap();
            client
        })
        .collect();
    fs::remove_file(server.socket()).unwrap();
    server.signal("CONT");
    wait_until("the file is there", || {
        fs::remove_file(server.socket()).is_ok()
    });
    for client in clients {
        assert_eq!(exchange(client, b""), OK);
    }
    wait_for_socket(&server.socket());
}
