//! Socket activation: a service manager keeps the listening sockets and passes them to each
//! server (sd_listen_fds(3)). A server can restart without a client noticing.

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

/// Passes one or two descriptors to the command, numbered from 3. A shell sets the variables
/// and becomes the program, so that `LISTEN_PID` is right. With two descriptors, stdout is
/// appended to the file `$EVENTS`.
fn pass_on<'c>(command: &'c mut Command, fds: &[OwnedFd], names: &str) -> &'c mut Command {
    // The shell gets them as stdin and stdout, and moves them to 3 and 4.
    let redirections = match fds.len() {
        1 => "3<&0 </dev/null",
        _ => "3<&0 4<&1 </dev/null >>\"$EVENTS\"",
    };
    let count = fds.len();
    let script =
        format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" \"$@\" {redirections}");
    run_under(command, &["sh", "-c", &script]).env("LISTEN_FDNAMES", names);
    command.stdin(fds[0].try_clone().unwrap());
    if let Some(second) = fds.get(1) {
        command
            .stdout(second.try_clone().unwrap())
            .env("EVENTS", "/dev/null");
    }
    command
}

fn listener(folder: &TempDir, name: &str) -> OwnedFd {
    UnixListener::bind(folder.path().join(name)).unwrap().into()
}

/// Starts a server that must fail because of these descriptors. Returns its stderr.
fn startup_error(fds: &[OwnedFd], names: &str) -> String {
    let folder = folder();
    let mut command = command(&folder.path().join("own.sock"), &[]);
    let mut child = pass_on(&mut command, fds, names).spawn().unwrap();
    // Dropping a `Server` kills the child, should it start after all.
    let mut server = Server {
        stdout: Stream::collect(child.stdout.take()),
        stderr: Stream::collect(child.stderr.take()),
        child,
        folder,
    };
    let code = server.wait_for_exit().code();
    let stderr = server.stderr.to_end();
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with("Error: "), "{stderr}");
    stderr
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn an_activation_socket_is_used_as_it_is_and_not_removed() {
    let folder = folder();
    let fds = [listener(&folder, "hooks.sock")];
    let path = folder.path().join("hooks.sock");
    fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
    // A server that binds a socket itself waits for this lock.
    let lock = File::open(folder.path()).unwrap();
    lock.lock().unwrap();
    let mut server = Server::start_in(
        folder,
        &["--socket", "/nowhere/x", "--mode=0666"],
        |command| pass_on(command, &fds, "hooks"),
    );
    server.post("Stop", "{}");
    let stderr = server
        .stderr
        .wait("the startup messages", |text| text.ends_with("\n\n"));
    let socket = path.display();
    assert!(stderr.contains(&format!(
        "listening on {socket}\nSocket permissions: 0o640\n"
    )));
    let flags = fs::read_to_string(format!("/proc/{}/fdinfo/3", server.child.id())).unwrap();
    let flags = flags.lines().find_map(|line| line.strip_prefix("flags:\t"));
    let flags = i32::from_str_radix(flags.unwrap(), 8).unwrap();
    assert_eq!(flags & 0o2000000, 0o2000000, "O_CLOEXEC");
    server.stop();
    assert_eq!(mode(&path), 0o640);
    // A client that connects between two servers waits for the next one.
    let mut waiting = UnixStream::connect(&path).unwrap();
    waiting
        .write_all(&request("/hook?event=Between", "{}"))
        .unwrap();
    let mut command = command(&path, &[]);
    let mut next = pass_on(&mut command, &fds, "hooks").spawn().unwrap();
    let mut response = String::new();
    waiting.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
    signal(next.id(), "TERM");
    assert!(next.wait().unwrap().success());
}

#[test]
fn the_second_socket_is_for_readers_unless_the_names_say_otherwise() {
    for (names, order) in [
        ("", ["hooks.sock", "output.sock"]),
        ("x.socket:x.socket", ["hooks.sock", "output.sock"]),
        ("output:hooks", ["output.sock", "hooks.sock"]),
    ] {
        let folder = folder();
        let fds = order.map(|name| listener(&folder, name));
        let events = folder.path().join("events");
        let mut server = Server::start_in(folder, &["--socket", "/nowhere/x"], |command| {
            pass_on(command, &fds, names).env("EVENTS", &events)
        });
        let mut reader = server.reader();
        server.post("Stop", "{\"n\":1}");
        assert_eq!(column(&read_lines(&mut reader, 1), "n"), [1]);
        let stderr = server.stderr.text();
        let output = server.output_socket();
        assert!(
            stderr.starts_with(&format!("Output socket: {}\n", output.display())),
            "{stderr}"
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
        |command| pass_on(command, &fds, "").env("EVENTS", &events),
    );
    server.post("Stop", "{}");
    server.stop();
    assert_eq!(fs::read_to_string(&events).unwrap().lines().count(), 1);
}

/// The variables reach the server if another child of the service manager starts it.
#[test]
fn sockets_for_another_process_are_ignored() {
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
fn unusable_sockets_and_names_are_refused_with_the_reason() {
    let folder = folder();
    let file = File::open(folder.path()).unwrap();
    let datagram = UnixDatagram::bind(folder.path().join("datagram")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (connected, _other) = UnixStream::pair().unwrap();
    for (fd, reason) in [
        (
            file.into(),
            "descriptor 3 was passed on as hooks: it is not a socket",
        ),
        (datagram.into(), "it is not a stream socket"),
        (tcp.into(), "it is not a Unix socket"),
        (connected.into(), "it is not listening"),
    ] {
        let stderr = startup_error(&[fd], "");
        assert!(stderr.contains(reason), "{stderr}");
    }
    let two = || ["a", "b"].map(|name| listener(&crate::harness::folder(), name));
    for (names, reason) in [
        ("hooks:hooks", "Pass on one of each"),
        ("hooks:inputs", "the names must be hooks and output"),
    ] {
        let stderr = startup_error(&two(), names);
        assert!(stderr.contains(reason), "{stderr}");
    }
    let [one, _] = two();
    let twice = [one.try_clone().unwrap(), one];
    let stderr = startup_error(&twice, "hooks:output");
    assert!(
        stderr.contains("both descriptors are the same socket"),
        "{stderr}"
    );
}

#[test]
fn missing_descriptors_and_invalid_counts_are_refused() {
    let startup_error = |count: &str| {
        let folder = folder();
        let mut command = command(&folder.path().join("own.sock"), &[]);
        let script = format!("export LISTEN_PID=$$ LISTEN_FDS={count}; exec \"$0\" \"$@\"");
        let output = run_under(&mut command, &["sh", "-c", &script]).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(startup_error("1").contains("descriptor 3 was passed on as hooks: it is not open"));
    for count in ["3", "-1", "many"] {
        assert!(startup_error(count).contains(&format!("LISTEN_FDS is {count:?}")));
    }
}

/// `send` gives up after a second, but the request that it wrote stays in the backlog.
#[test]
fn the_event_of_a_hook_that_gave_up_reaches_the_next_server() {
    let folder = folder();
    let fds = [listener(&folder, "hooks.sock")];
    let status = command(&folder.path().join("hooks.sock"), &["send", "Between"]).status();
    assert!(status.unwrap().success());
    let server = Server::start_in(folder, &[], |command| pass_on(command, &fds, ""));
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Between");
}

/// Posts hooks numbered from `first` until `stop` is set. Each must get a 200. Returns their
/// numbers.
fn post_until_stopped(
    socket: &Path,
    first: i64,
    posted: &AtomicUsize,
    stop: &AtomicBool,
) -> Vec<i64> {
    let mut acknowledged = Vec::new();
    for n in first.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let stream = UnixStream::connect(socket).expect("no hook is refused");
        let response = exchange(stream, &request("/", format!("{{\"n\":{n}}}")));
        assert_eq!(response, OK);
        acknowledged.push(n);
        posted.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

#[test]
fn restarts_under_load_refuse_no_hook_and_lose_no_event() {
    let folder = folder();
    let (socket, path) = (
        folder.path().join("hooks.sock"),
        folder.path().join("events"),
    );
    let fds = [listener(&folder, "hooks.sock")];
    let (posted, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let start = || {
        let events = File::options().create(true).append(true).open(&path);
        let mut command = command(&socket, &[]);
        let command = pass_on(&mut command, &fds, "hooks").stdout(events.unwrap());
        command.spawn().unwrap()
    };
    let mut acknowledged: Vec<i64> = thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (socket, posted, stop) = (&socket, &posted, &stop);
                scope.spawn(move || post_until_stopped(socket, client * 1_000_000, posted, stop))
            })
            .collect();
        for round in 0..20 {
            let mut server = start();
            let before = posted.load(Ordering::SeqCst);
            // Each round stops the server after a different number of hooks.
            wait_until("there is load", || {
                posted.load(Ordering::SeqCst) > before + 100 + 37 * round
                    || clients.iter().any(|client| client.is_finished())
            });
            signal(server.id(), "TERM");
            assert!(server.wait().unwrap().success());
        }
        let mut last = start();
        stop.store(true, Ordering::SeqCst);
        let acknowledged = clients.into_iter().map(|client| client.join().unwrap());
        let acknowledged = acknowledged.flatten().collect();
        signal(last.id(), "TERM");
        assert!(last.wait().unwrap().success());
        acknowledged
    });
    let mut written = column(&events(&fs::read_to_string(&path).unwrap()), "n");
    written.sort();
    acknowledged.sort();
    assert!(acknowledged.len() > 20 * 100);
    assert_eq!(written, acknowledged);
}
