//! Sockets that a service manager holds: servers come and go, and nobody notices.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use crate::harness::*;

/// Has a shell hand descriptors over, from 3 on, to the process that it becomes.
fn hand_over<'c>(command: &'c mut Command, fds: &[OwnedFd], names: &str) -> &'c mut Command {
    // The child's stdin is the first, its stdout the second; then they move.
    let count = fds.len();
    let move_them = match count {
        0 => "",
        1 => "3<&0 </dev/null",
        _ => "3<&0 4<&1 </dev/null >>\"$EVENTS\"",
    };
    let script = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" \"$@\" {move_them}");
    run_under(command, &["sh", "-c", &script]).env("LISTEN_FDNAMES", names);
    let mut fds = fds.iter().map(|fd| fd.try_clone().unwrap());
    if let Some(first) = fds.next() {
        command.stdin(first);
    }
    if let Some(second) = fds.next() {
        command.stdout(second).env("EVENTS", "/dev/null");
    }
    command
}

fn listener(folder: &TempDir, name: &str) -> OwnedFd {
    UnixListener::bind(folder.path().join(name)).unwrap().into()
}

/// What the server says that will not start with these.
fn refused(fds: &[OwnedFd], names: &str) -> String {
    let folder = folder();
    let mut command = command(&folder.path().join("own.sock"), &[]);
    let mut child = hand_over(&mut command, fds, names).spawn().unwrap();
    // One that starts all the same ends with the test.
    let mut server = Server {
        stdout: Stream::collect(child.stdout.take()),
        stderr: Stream::collect(child.stderr.take()),
        child,
        folder,
    };
    let code = server.ended().code();
    let said = server.stderr.to_end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.starts_with("Error: "), "{said}");
    said
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn a_socket_that_is_handed_over_is_used_as_it_is_and_left_as_it_was() {
    let folder = folder();
    let fds = [listener(&folder, "hooks.sock")];
    let path = folder.path().join("hooks.sock");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    // The lock that a server which binds would wait for.
    let lock = File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    let mut server = Server::start_in(
        folder,
        &["--socket", "/nowhere/x", "--mode=0666"],
        |command| hand_over(command, &fds, "hooks"),
    );
    server.post("Stop", "{}");
    let said = server
        .stderr
        .wait("the first lines", |text| text.ends_with("\n\n"));
    let socket = path.display();
    assert!(said.contains(&format!(
        "listening on {socket}\nSocket permissions: 0o640\n"
    )));
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", server.child.id())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t"));
    let flags = i32::from_str_radix(flags.unwrap(), 8).unwrap();
    assert_eq!(flags & 0o2000000, 0o2000000, "O_CLOEXEC");
    server.stop();
    assert_eq!(mode(&path), 0o640);
    // Nobody is refused between two servers.
    let mut waiting = UnixStream::connect(&path).unwrap();
    waiting
        .write_all(&request("/hook?event=Between", "{}"))
        .unwrap();
    let mut command = command(&path, &[]);
    let mut next = hand_over(&mut command, &fds, "hooks").spawn().unwrap();
    let mut answer = String::new();
    waiting.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    signal(next.id(), "TERM");
    assert!(next.wait().unwrap().success());
}

#[test]
fn the_second_is_for_readers_and_names_say_more_than_places() {
    for (names, order) in [
        ("", ["hooks.sock", "output.sock"]),
        ("x.socket:x.socket", ["hooks.sock", "output.sock"]),
        ("output:hooks", ["output.sock", "hooks.sock"]),
    ] {
        let folder = folder();
        let fds = order.map(|name| listener(&folder, name));
        let events = folder.path().join("events");
        let mut server = Server::start_in(folder, &["--socket", "/nowhere/x"], |command| {
            hand_over(command, &fds, names).env("EVENTS", &events)
        });
        let mut reader = server.reader();
        server.post("Stop", "{\"n\":1}");
        assert_eq!(column(&read_lines(&mut reader, 1), "n"), [1]);
        let said = server.stderr.text();
        let output = server.output_socket();
        assert!(
            said.starts_with(&format!("Output socket: {}\n", output.display())),
            "{said}"
        );
        server.stop();
        assert_eq!(
            fs::read_to_string(&events).unwrap(),
            "",
            "stdout gets nothing"
        );
        assert!(server.socket().exists() && server.output_socket().exists());
    }
}

#[test]
fn with_tee_stdout_gets_the_events_too() {
    let folder = folder();
    let fds = ["hooks.sock", "output.sock"].map(|name| listener(&folder, name));
    let events = folder.path().join("events");
    let mut server = Server::start_in(
        folder,
        &["--tee", "--output-socket=/nowhere/x"],
        |command| hand_over(command, &fds, "").env("EVENTS", &events),
    );
    server.post("Stop", "{}");
    server.stop();
    assert_eq!(fs::read_to_string(&events).unwrap().lines().count(), 1);
}

/// As when a service manager's other child runs the server.
#[test]
fn what_was_handed_to_another_process_is_not_touched() {
    let mut server = Server::start_with(&[], |command| {
        command
            .env("LISTEN_PID", std::process::id().to_string())
            .env("LISTEN_FDS", "1")
    });
    server.post("Stop", "{}");
    server.stop();
    assert!(!server.socket().exists());
}

#[test]
fn what_is_no_listener_is_refused_and_says_what_is_wrong() {
    let folder = folder();
    let file = File::open(folder.path()).unwrap();
    let datagram = UnixDatagram::bind(folder.path().join("datagram")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (accepted, _other) = UnixStream::pair().unwrap();
    for (fd, complaint) in [
        (
            file.into(),
            "descriptor 3 was passed on as hooks: it is not a socket",
        ),
        (datagram.into(), "it is not a stream socket"),
        (tcp.into(), "it is not a Unix socket"),
        (accepted.into(), "it is not listening"),
    ] {
        let said = refused(&[fd], "");
        assert!(said.contains(complaint), "{said}");
    }
    let two = || ["a", "b"].map(|name| listener(&crate::harness::folder(), name));
    assert!(refused(&two(), "hooks:hooks").contains("Pass on one of each"));
    assert!(refused(&two(), "hooks:inputs").contains("the names must be hooks and output"));
    let [one, _] = two();
    let twice = [one.try_clone().unwrap(), one];
    assert!(refused(&twice, "hooks:output").contains("it is the same socket as the other one"));
}

#[test]
fn descriptors_that_are_not_there_are_refused() {
    let absent = |count: &str| {
        let folder = folder();
        let mut command = command(&folder.path().join("own.sock"), &[]);
        let script = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" \"$@\"");
        let output = run_under(&mut command, &["sh", "-c", &script]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(absent("1").contains("descriptor 3 was passed on as hooks: it is not open"));
    for count in ["3", "-1", "many"] {
        assert!(absent(count).contains(&format!("LISTEN_FDS is {count:?}")));
    }
}

/// `send` waits for a second only, but what it has written stays in the backlog.
#[test]
fn a_hook_that_gave_up_waiting_between_two_servers_arrives_all_the_same() {
    let folder = folder();
    let fds = [listener(&folder, "hooks.sock")];
    let status = command(&folder.path().join("hooks.sock"), &["send", "Between"]).status();
    assert!(status.unwrap().success());
    let server = Server::start_in(folder, &[], |command| hand_over(command, &fds, ""));
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Between");
}

/// Posts hooks without end; the numbers of all of them, each of which got its 200.
fn post(socket: &Path, first: i64, count: &AtomicUsize, is_over: &AtomicBool) -> Vec<i64> {
    let mut answered = Vec::new();
    for n in first.. {
        if is_over.load(Ordering::SeqCst) {
            break;
        }
        let stream = UnixStream::connect(socket).expect("no hook is refused");
        let answer = exchange(stream, &request("/", format!("{{\"n\":{n}}}")));
        assert_eq!(answer, OK);
        answered.push(n);
        count.fetch_add(1, Ordering::SeqCst);
    }
    answered
}

#[test]
fn restarts_under_load_refuse_no_hook_and_lose_no_event() {
    let folder = folder();
    let (socket, path) = (
        folder.path().join("hooks.sock"),
        folder.path().join("events"),
    );
    let fds = [listener(&folder, "hooks.sock")];
    let (count, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = || {
        let events = File::options().create(true).append(true).open(&path);
        let mut command = command(&socket, &[]);
        let command = hand_over(&mut command, &fds, "hooks").stdout(events.unwrap());
        command.spawn().unwrap()
    };
    let mut answered: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (socket, count, is_over) = (&socket, &count, &is_over);
                scope.spawn(move || post(socket, client * 1_000_000, count, is_over))
            })
            .collect();
        for round in 0..20 {
            let mut server = start();
            let before = count.load(Ordering::SeqCst);
            // Another moment each round.
            wait_until("there is load", || {
                count.load(Ordering::SeqCst) > before + 100 + 37 * round
                    || clients.iter().any(|client| client.is_finished())
            });
            signal(server.id(), "TERM");
            assert!(server.wait().unwrap().success());
        }
        let mut last = start();
        is_over.store(true, Ordering::SeqCst);
        let answered = clients.into_iter().map(|client| client.join().unwrap());
        let answered = answered.flatten().collect();
        signal(last.id(), "TERM");
        assert!(last.wait().unwrap().success());
        answered
    });
    let mut written = column(&events(&fs::read_to_string(&path).unwrap()), "n");
    written.sort();
    answered.sort();
    assert!(answered.len() > 20 * 100);
    assert_eq!(written, answered);
}
