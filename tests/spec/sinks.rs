//! stdout and stderr: files, pipes, sockets and terminals. None of them can block a hook,
//! whether it stalls, is closed, or is full.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use crate::harness::*;

/// A pipe: the read end, and the write end for a child.
fn pipe() -> (std::io::PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().unwrap();
    (reader, writer.into())
}

/// Whether `O_NONBLOCK` is set. The flag belongs to the open file description, which processes
/// share.
fn is_nonblocking(fd: impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(fd)
        .unwrap()
        .contains(rustix::fs::OFlags::NONBLOCK)
}

/// Posts more than a pipe or a socket can hold, so that a blocking write would block. Returns
/// the number of events.
fn post_more_than_fits(server: &Server) -> usize {
    const EVENTS: usize = 1000;
    let text = "x".repeat(1000);
    for n in 0..EVENTS {
        server.post("Stop", format!("{{\"n\":{n},\"text\":\"{text}\"}}"));
    }
    EVENTS
}

/// Reads until there are `sent` events. None may be missing, and they must be in order.
fn read_all(mut reader: impl Read, sent: usize) {
    let mut buffer = vec![0; 1 << 16];
    let mut text = String::new();
    while text.lines().count() < sent || !text.ends_with('\n') {
        let count = reader.read(&mut buffer).unwrap();
        assert!(count > 0, "the stream ended early");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    assert_eq!(tally(&text), (sent, 0));
    assert!(column(&events(&text), "n").is_sorted());
}

#[test]
fn stdout_may_be_a_file_to_which_others_append() {
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
fn a_stalled_pipe_blocks_nobody_and_its_flags_do_not_change() {
    let (reader, writer) = pipe();
    let shared = writer.try_clone().unwrap();
    let server = Server::start_with(&[], |command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    assert!(!is_nonblocking(&shared));
    read_all(reader, sent);
}

#[test]
fn a_stalled_socket_blocks_nobody_and_its_flags_do_not_change() {
    let (reader, writer) = UnixStream::pair().unwrap();
    let shared = writer.try_clone().unwrap();
    let server = Server::start_with(&[], |command| command.stdout(OwnedFd::from(writer)));
    let sent = post_more_than_fits(&server);
    assert!(!is_nonblocking(&shared));
    read_all(reader, sent);
}

#[test]
fn a_stalled_terminal_blocks_nobody_and_its_flags_do_not_change() {
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

/// Starts a server as another user. As after `su`, that user may write to the stdout that root
/// has opened, but may not reopen it.
fn start_as_another_user(prepare: impl FnOnce(&mut Command) -> &mut Command) -> Server {
    let folder = folder();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o777)).unwrap();
    Server::start_in(folder, &["--mode", "0666"], |command| {
        prepare(command.uid(65534).gid(65534))
    })
}

#[test]
fn a_stalled_pipe_of_another_user_blocks_nobody() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    let mut server = start_as_another_user(|command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    server.signal("TERM");
    read_all(reader, sent);
    assert!(server.wait_for_exit().success());
}

#[test]
fn a_nonblocking_pipe_of_another_user_gets_all_events() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    rustix::fs::fcntl_setfl(&writer, rustix::fs::OFlags::NONBLOCK).unwrap();
    let server = start_as_another_user(|command| command.stdout(writer));
    let sent = post_more_than_fits(&server);
    read_all(reader, sent);
}

#[test]
fn the_server_exits_cleanly_if_the_reader_of_another_users_pipe_disconnects() {
    if !is_root() {
        return;
    }
    let (reader, writer) = pipe();
    let mut server = start_as_another_user(|command| command.stdout(writer));
    drop(reader);
    assert!(server.wait_for_exit().success());
}

#[test]
fn an_error_message_reaches_a_stderr_of_another_user_before_the_exit() {
    if !is_root() {
        return;
    }
    for _ in 0..20 {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let mut command = program();
        command.arg("--tee").stderr(writer).uid(65534).gid(65534);
        assert_eq!(command.status().unwrap().code(), Some(1));
        drop(command);
        let mut stderr = String::new();
        reader.read_to_string(&mut stderr).unwrap();
        assert_eq!(stderr, "Error: --tee requires --output-socket\n");
    }
}

#[test]
fn the_server_exits_cleanly_if_the_reader_of_its_pipe_disconnects() {
    let (reader, writer) = pipe();
    let mut server = Server::start_with(&[], |command| command.stdout(writer));
    server.post("Stop", "{}");
    drop(reader);
    // There is no further event that would cause a write.
    assert!(server.wait_for_exit().success());
    assert!(!server.socket().exists());
    assert!(server.stderr.to_end().ends_with("\nShutting down...\n"));
}

#[test]
fn with_tee_a_closed_pipe_does_not_affect_readers() {
    let (reader, writer) = pipe();
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = ["--tee", "--output-socket", output.to_str().unwrap()];
    let mut server = Server::start_in(folder, &arguments, |command| command.stdout(writer));
    let mut output_reader = server.reader();
    drop(reader);
    server.stderr.wait("the report", |text| {
        text.contains("stdout was closed by its reader")
    });
    server.post("Stop", "{\"n\":1}");
    assert_eq!(column(&read_lines(&mut output_reader, 1), "n"), [1]);
    server.stop();
}

#[test]
fn the_server_works_with_a_closed_stdout() {
    let mut server = Server::start_with(&[], |command| {
        run_under(command, &["sh", "-c", "exec \"$0\" \"$@\" >&-"])
    });
    server.post("Stop", "{}");
    server.stop();
}

#[test]
fn a_full_disk_is_reported_once_and_blocks_no_hook() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    let mut server = Server::start_with(&[], |command| command.stdout(full));
    for _ in 0..20 {
        server.post("Stop", "{}");
    }
    // The server tries again every second, without a further report.
    let writes = || {
        let io = std::fs::read_to_string(format!("/proc/{}/io", server.child.id())).unwrap();
        let count = io
            .lines()
            .find_map(|line| line.strip_prefix("syscw: "))
            .unwrap();
        count.parse::<u64>().unwrap()
    };
    let before = writes();
    wait_until("the server has tried again", || writes() >= before + 2);
    server.stop();
    let stderr = server.stderr.to_end();
    assert_eq!(
        stderr.matches("No space left on device").count(),
        1,
        "{stderr}"
    );
    assert!(
        stderr.contains("stdout did not receive the last 20 event(s)"),
        "{stderr}"
    );
}

/// Starts a server whose stdout is a file that can hold 1,000 bytes. The limit simulates a
/// disk that becomes full.
fn start_with_limited_file(path: &Path) -> Server {
    let file = File::create(path).unwrap();
    Server::start_with(&[], |command| {
        run_under(command, &["prlimit", "--fsize=1000:unlimited"]).stdout(file)
    })
}

fn remove_file_limit(server: &Server) {
    let pid = server.child.id().to_string();
    let prlimit = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &pid])
        .status();
    assert!(prlimit.unwrap().success());
}

#[test]
fn after_a_full_disk_writing_continues_at_the_same_byte() {
    let folder = folder();
    let path = folder.path().join("events");
    let mut server = start_with_limited_file(&path);
    for n in 0..20 {
        server.post("Stop", format!("{{\"n\":{n}}}"));
    }
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
    remove_file_limit(&server);
    // There is no further event: a timer makes the server try again.
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
fn after_a_full_disk_the_next_200_means_that_all_events_are_written() {
    let folder = folder();
    let path = folder.path().join("events");
    let mut server = start_with_limited_file(&path);
    let text = "x".repeat(1 << 20);
    for _ in 0..10 {
        server.post("Stop", format!("{{\"text\":\"{text}\"}}"));
    }
    remove_file_limit(&server);
    server.post("Last", "{}");
    server.child.kill().unwrap();
    server.wait_for_exit();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(events(&text)[10]["_event"], "Last");
}

#[test]
fn a_stalled_stderr_blocks_nobody_and_gets_only_whole_lines() {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let shared = writer.try_clone().unwrap();
    // Fills the pipe except for one page.
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
    let mut stderr = String::new();
    { reader }.read_to_string(&mut stderr).unwrap();
    let stderr = stderr.trim_start_matches('-');
    assert!(
        stderr.starts_with("Output socket: ") && stderr.ends_with('\n'),
        "{stderr}"
    );
    let torn = stderr.lines().skip(5).find(|line| {
        !line.is_empty() && !line.starts_with("Output reader ") && *line != "Shutting down..."
    });
    assert_eq!(torn, None);
}

#[test]
fn the_server_works_if_the_reader_of_its_stderr_has_disconnected() {
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

/// After `stty tostop`, a terminal stops background processes that write to it.
#[test]
fn a_server_in_the_background_is_not_stopped_by_what_it_writes_to_its_terminal() {
    if tool("setsid").is_none() {
        return;
    }
    let (screen, terminal) = terminal();
    let copy = || terminal.try_clone().unwrap();
    let script = "stty tostop; setpriv --pdeathsig KILL \"$0\" \"$@\" & wait";
    let server = Server::start_with(&[], |command| {
        run_under(command, &["setsid", "--ctty", "sh", "-mc", script])
            .stdin(copy())
            .stdout(copy())
            .stderr(copy())
    });
    server.post("Stop", "{}");
    let text = screen.wait("the event", |text| text.contains("\"_event\":\"Stop\""));
    assert!(text.contains("Press Ctrl+C to stop"), "{text}");
}
