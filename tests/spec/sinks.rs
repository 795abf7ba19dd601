//! stdout and stderr of every kind: none ever holds up a hook.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::harness::*;

/// A pipe's reading end and what a child gets as the writing end.
fn pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// Whether somebody set `O_NONBLOCK` on a description.
fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd)
        .unwrap()
        .contains(rustix::fs::OFlags::NONBLOCK)
}

/// More than a pipe and a socket hold, so that a sink that waits would wait.
fn post_more_than_fits(server: &Server) -> usize {
    let text = "x".repeat(1000);
    for n in 0..1000 {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    1000
}

/// Reads until every event has come.
fn read_all(mut from: impl Read + Send + 'static, sent: usize) {
    let mut buffer = vec![0; 1 << 16];
    let mut text = String::new();
    while text.lines().count() < sent || !text.ends_with('\n') {
        let count = from.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended early");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert_eq!(tally(&text), (sent, 0));
    assert!(column(&events(&text), "n").is_sorted());
}

#[test]
fn stdout_may_be_a_file_that_others_append_to() {
    let folder = folder();
    let path = folder.path().join("events");
    std::fs::write(&path, "before\n").unwrap();
    let file = File::options().append(true).open(&path).unwrap();
    let server = Server::start_with(&[], |command| command.stdout(file));
    server.post("A", "{}");
    File::options()
        .append(true)
        .open(&path)
        .unwrap()
        .write_all(b"between\n")
        .unwrap();
    server.post("B", "{}");
    let text = std::fs::read_to_string(&path).unwrap();
    let starts: Vec<_> = text.lines().map(|line| &line[..3]).collect();
    assert_eq!(starts, ["bef", "{\"_", "bet", "{\"_"]);
}

#[test]
fn a_stalled_pipe_holds_up_nobody_and_stays_as_it_was() {
    let (reader, writer) = pipe();
    let shared = writer.try_clone().unwrap();
    let server = Server::start_with(&[], |command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    assert!(!is_nonblocking(&shared));
    read_all(reader, sent);
}

#[test]
fn a_stalled_socket_holds_up_nobody_and_stays_as_it_was() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let shared = writer.try_clone().unwrap();
    let server = Server::start_with(&[], |command| command.stdout(OwnedFd::from(writer)));
    let sent = post_more_than_fits(&server);
    assert!(!is_nonblocking(&shared));
    read_all(reader, sent);
}

#[test]
fn a_stalled_terminal_holds_up_nobody_and_stays_as_it_was() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    let shared = slave.try_clone().unwrap();
    let server = Server::start_with(&[], |command| command.stdout(slave));
    let sent = post_more_than_fits(&server);
    assert!(!is_nonblocking(&shared));
    read_all(File::from(master), sent);
}

/// A server as another user, who may not open again what root has given it, as
/// after `su`. Its folder is open to all.
fn server_of_another_user(outputs: impl FnOnce(&mut Command) -> &mut Command) -> Server {
    let folder = folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    Server::start_in(folder, &["--mode", "0666"], |command| {
        outputs(command.uid(65534).gid(65534))
    })
}

#[test]
fn a_stalled_pipe_of_another_user_holds_up_nobody() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    let mut server = server_of_another_user(|command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    server.signal("TERM");
    read_all(reader, sent);
    assert!(server.ended().success());
}

#[test]
fn a_pipe_that_somebody_made_nonblocking_is_waited_for_all_the_same() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let server = server_of_another_user(|command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    read_all(reader, sent);
}

#[test]
fn a_pipe_of_another_user_that_loses_its_reader_ends_the_server_cleanly() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    let mut server = server_of_another_user(|command| command.stdout(writer));
    drop(reader);
    assert!(server.ended().success());
}

#[test]
fn the_last_words_arrive_on_a_stderr_of_another_user() {
    if !is_root() {
        return;
    }
    for _ in 0..20 {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(BINARY);
        command.arg("--tee").stderr(writer).uid(65534).gid(65534);
        assert_eq!(command.status().unwrap().code(), Some(1));
        drop(command);
        let mut said = String::new();
        reader.read_to_string(&mut said).unwrap();
        assert_eq!(said, "Error: --tee requires --output-socket\n");
    }
}

#[test]
fn a_pipe_that_loses_its_reader_ends_the_server_cleanly() {
    let (reader, writer) = pipe();
    let mut server = Server::start_with(&[], |command| command.stdout(writer));
    server.post("Stop", "{}");
    drop(reader);
    // Without any event to write to it.
    assert!(server.ended().success());
    assert!(!server.socket().exists());
    assert!(server.stderr.to_end().ends_with("\nShutting down...\n"));
}

#[test]
fn a_closed_pipe_with_tee_costs_the_readers_nothing() {
    let (reader, writer) = pipe();
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = ["--tee", "--output-socket", output.to_str().unwrap()];
    let mut server = Server::start_in(folder, &arguments, |command| command.stdout(writer));
    let mut events = server.reader();
    drop(reader);
    server.stderr.wait("the loss", |text| {
        text.contains("stdout was closed by its reader")
    });
    server.post("Stop", "{\"n\":1}");
    assert_eq!(column(&read_lines(&mut events, 1), "n"), [1]);
    server.stop();
}

#[test]
fn a_closed_stdout_stops_nothing() {
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "exec \"$0\" \"$@\" >&-"])
    });
    server.post("Stop", "{}");
    server.stop();
}

#[test]
fn a_full_disk_is_said_once_and_costs_no_hook() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut server = Server::start_with(&[], |command| command.stdout(full));
    for _ in 0..20 {
        server.post("Stop", "{}");
    }
    // The clock brings further tries, of which nothing is said.
    let writes = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", server.child.id())).unwrap();
        let count = io
            .lines()
            .find_map(|line| line.strip_prefix("syscw: "))
            .unwrap();
        count.parse::<u64>().unwrap()
    };
    let before = writes();
    wait_until("it has been tried again", || writes() >= before + 2);
    server.stop();
    let said = server.stderr.to_end();
    assert_eq!(said.matches("No space left on device").count(), 1, "{said}");
    assert!(
        said.contains("stdout did not take the last 20 event(s)"),
        "{said}"
    );
}

/// A limit on the size of files is a disk that gets full at a known byte.
#[test]
fn a_file_at_its_limit_is_continued_at_the_byte_where_it_stopped() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = File::create(&path).unwrap();
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["prlimit", "--fsize=1000:unlimited"]).stdout(file)
    });
    for n in 0..20 {
        server.post("Stop", format!("{{\"n\":{n}}}"));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
    let pid = server.child.id().to_string();
    let unlimited = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &pid])
        .status();
    assert!(unlimited.unwrap().success());
    // With no further event: the clock alone brings it back.
    let mut text = String::new();
    let mut file = File::open(&path).unwrap();
    wait_until("the rest is written", || {
        text.clear();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        text.lines().count() == 20 && text.ends_with('\n')
    });
    assert_eq!(column(&events(&text), "n"), (0..20).collect::<Vec<_>>());
    server.stop();
}

#[test]
fn a_file_that_has_room_again_has_everything_that_is_acknowledged() {
    let folder = folder();
    let path = folder.path().join("events");
    let file = File::create(&path).unwrap();
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["prlimit", "--fsize=1000:unlimited"]).stdout(file)
    });
    let text = "x".repeat(1 << 20);
    for _ in 0..10 {
        server.post("Stop", format!("{{\"text\":\"{text}\"}}"));
    }
    let pid = server.child.id().to_string();
    let unlimited = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &pid])
        .status();
    assert!(unlimited.unwrap().success());
    server.post("Last", "{}");
    server.child.kill().unwrap();
    server.ended();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(events(&text)[10]["_event"], "Last");
}

#[test]
fn a_stalled_stderr_holds_up_nobody() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let shared = writer.try_clone().unwrap();
    // Fill the pipe to the last byte but one page.
    writer.write_all(&[b'-'; 61_440]).unwrap();
    let mut server = {
        let folder = folder();
        let output = folder.path().join("output.sock");
        let arguments = ["--output-socket", output.to_str().unwrap()];
        Server::start_in(folder, &arguments, |command| {
            command.stderr(OwnedFd::from(writer))
        })
    };
    for _ in 0..300 {
        drop(UnixStream::connect(server.output_socket()).unwrap());
        server.post("Stop", "{}");
    }
    assert!(!is_nonblocking(&shared));
    server.stop();
    drop(shared);
    let mut said = String::new();
    { reader }.read_to_string(&mut said).unwrap();
    let said = said.trim_start_matches('-');
    assert!(
        said.starts_with("Output socket: ") && said.ends_with('\n'),
        "{said}"
    );
    let torn = said.lines().skip(5).find(|line| {
        !line.is_empty() && !line.starts_with("Output reader ") && *line != "Shutting down..."
    });
    assert_eq!(torn, None);
}

#[test]
fn a_closed_stderr_stops_nothing() {
    let (reader, writer) = pipe();
    drop(reader);
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = ["--output-socket", output.to_str().unwrap()];
    let mut server = Server::start_in(folder, &arguments, |command| command.stderr(writer));
    let mut reader = UnixStream::connect(server.output_socket()).unwrap();
    server.post("Stop", "{\"n\":1}");
    assert_eq!(column(&read_lines(&mut reader, 1), "n"), [1]);
    server.stop();
}
