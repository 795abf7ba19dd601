//! What a turn of the event loop may cost: whatever clients and readers send, others are
//! served meanwhile. These tests count system calls and bytes, not time.

use std::io::{Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::harness::*;

/// A server under strace, and the file with the traced system calls of its main thread.
pub struct Traced {
    pub server: Server,
    calls: PathBuf,
}

impl Traced {
    /// `None` if there is no strace.
    pub fn start(calls: &str, stdout: Stdio) -> Option<Traced> {
        Traced::start_with(calls, &[], stdout)
    }

    /// The same, with further options of strace.
    pub fn start_with(calls: &str, options: &[&str], stdout: Stdio) -> Option<Traced> {
        let strace = tool("strace")?;
        let folder = folder();
        let output = folder.path().join("output.sock");
        let arguments = ["--output-socket", output.to_str().unwrap(), "--tee"];
        let path = folder.path().join("calls");
        let filter = format!("trace=epoll_wait,{calls}");
        let server = Server::start_in(folder, &arguments, |command| {
            let strace = [
                strace.to_str().unwrap(),
                "-o",
                path.to_str().unwrap(),
                "-e",
                &filter,
            ];
            run_under(command, &[&strace, options].concat()).stdout(stdout)
        });
        Some(Traced {
            server,
            calls: path,
        })
    }

    /// The process id of the server, which is the child of strace.
    fn pid(&self) -> u32 {
        let parent = self.server.child.id();
        let path = format!("/proc/{parent}/task/{parent}/children");
        std::fs::read_to_string(path)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }

    /// The calls of each turn: the lines between two calls of epoll_wait.
    pub fn turns(&self) -> Vec<Vec<String>> {
        let calls = std::fs::read_to_string(&self.calls).unwrap();
        let turns = calls.split("epoll_wait(").skip(1);
        turns
            .map(|turn| turn.lines().skip(1).map(str::to_owned).collect())
            .collect()
    }
}

impl Drop for Traced {
    /// The end of strace alone would leave the server running.
    fn drop(&mut self) {
        signal(self.pid(), "KILL");
    }
}

/// How many calls of this kind are the most in one turn, and for one descriptor in one turn.
fn most_calls(turns: &[Vec<String>], name: &str) -> (usize, usize) {
    let mut most = (0, 0);
    for turn in turns {
        let calls = turn
            .iter()
            .filter_map(|call| call.strip_prefix(name)?.strip_prefix('('));
        let descriptors: Vec<_> = calls.filter_map(|call| call.split(',').next()).collect();
        let of_one = |fd: &&str| descriptors.iter().filter(|other| *other == fd).count();
        most.0 = most.0.max(descriptors.len());
        most.1 = most
            .1
            .max(descriptors.iter().map(of_one).max().unwrap_or(0));
    }
    most
}

/// The bytes that one turn writes at most, by calls of this kind.
fn most_bytes(turns: &[Vec<String>], name: &str) -> usize {
    let bytes = |turn: &Vec<String>| -> usize {
        let calls = turn.iter().filter(|call| call.starts_with(name));
        let results = calls.filter_map(|call| call.rsplit("= ").next()?.parse::<usize>().ok());
        results.sum()
    };
    turns.iter().map(bytes).max().unwrap_or(0)
}

#[test]
fn a_refused_client_that_floods_is_read_no_more_than_its_share() {
    let Some(traced) = Traced::start("recvfrom", Stdio::null()) else {
        return;
    };
    // The server refuses each client at its first line, and discards the rest.
    let line = &"no request\r\n".repeat(10_000);
    std::thread::scope(|scope| {
        for _ in 0..20 {
            let mut client = traced.server.connect();
            scope.spawn(move || (0..100).all(|_| client.write_all(line.as_bytes()).is_ok()));
        }
    });
    traced.server.post("After", "{}");
    let (all, of_one) = most_calls(&traced.turns(), "recvfrom");
    assert!(of_one <= 8, "{of_one} reads of one client in a turn");
    assert!(all <= 21 * 8, "{all} reads in a turn");
}

#[test]
fn a_reader_that_floods_is_read_once_in_a_turn() {
    let Some(traced) = Traced::start("recvfrom", Stdio::null()) else {
        return;
    };
    let mut readers: Vec<_> = (0..20).map(|_| traced.server.reader()).collect();
    for _ in 0..200 {
        for reader in &mut readers {
            for _ in 0..5 {
                reader.write_all(b"talk\n").unwrap();
            }
        }
    }
    traced.server.post("After", "{}");
    let turns = traced.turns();
    let reader_reads = turns.iter().map(|turn| {
        let calls = turn.iter().filter(|call| call.contains("talk"));
        calls
            .map(|call| call.split(',').next().unwrap().to_owned())
            .collect::<Vec<_>>()
    });
    for reads in reader_reads {
        let mut once = reads.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), reads.len(), "{reads:?}");
    }
}

/// All have sent something before the turn begins, the small hook last.
#[test]
fn a_small_hook_is_read_before_uploads() {
    let Some(traced) = Traced::start("recvfrom", Stdio::null()) else {
        return;
    };
    let server = &traced.server;
    let upload = request("/?event=Upload", "x".repeat(100_000));
    let mut uploads = [(); 10].map(|()| server.connect());
    for stream in &mut uploads {
        stream.write_all(&upload[..1000]).unwrap();
    }
    server.post("Before", "{}");
    signal(traced.pid(), "STOP");
    for stream in &mut uploads {
        stream.write_all(&upload[1000..]).unwrap();
    }
    let mut small = server.connect();
    small.write_all(&request("/?event=Small", "{}")).unwrap();
    signal(traced.pid(), "CONT");
    read_until(&mut small, |text| text.ends_with("\r\n\r\n"));
    let turns = traced.turns();
    let has_small = |call: &String| call.contains("event=Small");
    let turn = turns.iter().find(|turn| turn.iter().any(has_small));
    let before = turn.unwrap().iter().take_while(|call| !has_small(call));
    assert_eq!(before.count(), 0, "{turn:#?}");
}

#[test]
fn a_large_event_is_written_to_stdout_in_pieces_between_which_others_are_served() {
    let events = tempfile::NamedTempFile::new().unwrap();
    let stdout = events.reopen().unwrap();
    let Some(traced) = Traced::start("write", stdout.into()) else {
        return;
    };
    let text = "x".repeat(20 << 20);
    traced
        .server
        .post("Large", format!("{{\"text\":\"{text}\"}}"));
    assert!(events.as_file().metadata().unwrap().len() > 20 << 20);
    let bytes = most_bytes(&traced.turns(), "write(");
    assert!(bytes <= 2 << 20, "{bytes} bytes written in a turn");
}

#[test]
fn expensive_bodies_are_left_to_the_worker() {
    let server = Server::start(&["--trace"]);
    for (length, is_large) in [((128 << 10) - 1, false), (128 << 10, true)] {
        let body = format!("\"{}\"", "x".repeat(length - 2));
        let before = server.stderr.text().matches("passed to the worker").count();
        server.post("Stop", body);
        let after = server
            .stderr
            .wait("the event", |text| text.ends_with("no timeout\n"));
        let count = after.matches("passed to the worker").count() - before;
        assert_eq!(count, usize::from(is_large), "{length} bytes");
    }
}

#[test]
fn a_hook_of_1500_kilobytes_does_not_wait_for_huge_bodies() {
    let server = Server::start(&["--trace"]);
    let huge = format!("{{{}\"\":1}}", "\"\":0,".repeat(430_000));
    let honest = format!("{{\"a\":\"{}\"}}", "x".repeat(1_500_000));
    std::thread::scope(|scope| {
        let posts = [(); 3].map(|()| scope.spawn(|| server.post("Huge", &huge)));
        server.stderr.wait("all huge bodies", |text| {
            text.matches("Huge, passed to").count() == 3
        });
        server.post("Honest", &honest);
        assert!(posts.iter().any(|post| !post.is_finished()));
    });
}

/// A list of sessions that nobody reads stays in memory, so there are few.
#[test]
fn few_unread_lists_of_sessions_are_in_memory() {
    const GET: &[u8] = b"GET /sessions HTTP/1.1\r\n\r\n";
    let server = Server::start(&[]);
    let cwd = "x".repeat(1000);
    for id in 0..512 {
        let body = format!("{{\"session_id\":\"{id}\",\"cwd\":\"{cwd}\"}}");
        server.post("Stop", body);
    }
    // Each begins to read its list, so the turn of the next one is another.
    let ask = |name: &str| {
        server.post(name, "{\"session_id\":\"0\"}");
        let mut client = server.connect();
        client.write_all(GET).unwrap();
        let text = read_until(&mut client, |text| text.contains("\"events\""));
        (client, text)
    };
    let mut lists: Vec<_> = ["a", "b", "c", "d", "e"].map(ask).into();
    let names = lists.iter().map(|(_, text)| {
        text.split('"')
            .skip_while(|part| *part != "last_event")
            .nth(2)
    });
    let names: Vec<_> = names.flatten().collect();
    assert_eq!(
        names,
        ["a", "b", "c", "d", "d"],
        "the fifth gets the newest that is in memory"
    );
    lists.remove(0);
    server.post("Stop", "{}");
    assert!(ask("f").1.contains("\"last_event\":\"f\""));
}

/// Everything that arrives while the server is stopped, within the client's time.
#[test]
fn requests_that_arrived_in_time_are_served_by_a_late_server() {
    let server = Server::start(&["--timeout", "1"]);
    let request = |event: &str, body: &str| {
        let target = format!("/?event={event}");
        String::from_utf8(request(&target, body)).unwrap()
    };
    let kept = |event: &str| {
        let head = format!("POST /?event={event} HTTP/1.1\r\nConnection: keep-alive\r\n");
        head + "Content-Length: 2\r\n\r\n{}"
    };
    let chunked = "POST /?event=Chunked HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
                   2\r\n{}\r\n0\r\n\r\n";
    let large = request("Large", &format!("\"{}\"", "x".repeat(100_000)));
    let whole = [
        request("InHead", "{}"),
        request("InBody", "{}"),
        chunked.to_owned(),
        large,
        kept("Pipelined1") + &kept("Pipelined2"),
    ];
    let cuts = [20, whole[1].len() - 1, chunked.len() - 9, 300, 30];
    let mut clients: Vec<UnixStream> = whole
        .iter()
        .zip(cuts)
        .map(|(request, cut)| {
            let mut client = server.connect();
            client.write_all(&request.as_bytes()[..cut]).unwrap();
            client
        })
        .collect();
    let mut reused = server.connect();
    reused.write_all(kept("First").as_bytes()).unwrap();
    read_until(&mut reused, |text| text.ends_with("\r\n\r\n"));

    // The rest arrives at once, but the server sees it after every deadline.
    server.signal("STOP");
    for (client, (request, cut)) in clients.iter_mut().zip(whole.iter().zip(cuts)) {
        client.write_all(&request.as_bytes()[cut..]).unwrap();
    }
    reused.write_all(kept("Second").as_bytes()).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    server.signal("CONT");

    for (client, request) in clients.iter_mut().zip(&whole) {
        let count = request.matches("HTTP/1.1").count();
        let responses = read_until(client, |text| text.matches("\r\n\r\n").count() == count);
        assert_eq!(responses.matches("200 OK").count(), count, "{request:.60}");
    }
    let response = read_until(&mut reused, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "200");
    let events = server.stdout.lines(8);
    assert_eq!(events.len(), 8);
}

/// Whether the kernel refuses descriptors for this server (Linux 6.16). On an older kernel
/// they arrive, and the kernel closes them.
#[test]
fn descriptors_in_messages_are_refused_at_both_sockets() {
    let server = Server::with_readers(&[]);
    let refuses = kernel_version() >= (6, 16);
    for mut peer in [server.connect(), server.reader()] {
        let sent = send_descriptor(&peer, b"P");
        match refuses {
            true => assert_eq!(sent, Err(rustix::io::Errno::PERM)),
            false => assert_eq!(sent, Ok(1)),
        }
        peer.write_all(b"Q").unwrap();
    }
    server.post("Stop", "{}");
    let mut client = server.connect();
    let sent = send_descriptor(&client, b"P");
    let rest = if sent.is_ok() { "OST" } else { "POST" };
    client
        .write_all(format!("{rest} / HTTP/1.1\r\n\r\n").as_bytes())
        .unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
}

pub fn send_descriptor(peer: &UnixStream, bytes: &[u8]) -> rustix::io::Result<usize> {
    let fds = [peer.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
    let bytes = [std::io::IoSlice::new(bytes)];
    sendmsg(peer, &bytes, &mut ancillary, SendFlags::empty())
}

/// Major and minor version of the running kernel.
fn kernel_version() -> (u32, u32) {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// stdout and stderr are often one terminal. A poll that reported room on it would report each
/// line of the trace, which would cause the next one.
#[test]
fn a_trace_on_the_terminal_of_stdout_comes_to_rest() {
    let (screen, terminal) = terminal();
    let stdout = terminal.try_clone().unwrap();
    let server = Server::start_with(&["--trace"], |command| {
        command.stdout(stdout).stderr(terminal)
    });
    for _ in 0..5 {
        server.post("Stop", "{}");
    }
    let text = screen.wait("all events", |text| {
        text.matches(": event Stop").count() == 5
    });
    let reports = text.matches("stdout: writable").count();
    assert!(reports <= 5, "{reports} reports of room on stdout");
}

/// Both events are ready in one turn. The first one fills stdout, so the second one has to
/// wait, and nothing reports it again.
#[cfg(target_os = "linux")]
#[test]
fn a_second_large_event_is_not_forgotten_when_the_first_one_stalls_stdout() {
    let Some(strace) = tool("strace") else {
        return;
    };
    let (reader, writer) = std::io::pipe().unwrap();
    rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap();
    // The main thread sleeps before each wait, so that the worker finishes both events.
    let inject = "inject=epoll_wait:delay_enter=300000";
    let mut server = Server::start_with(&["--timeout", "1000000"], |command| {
        let strace = [strace.to_str().unwrap(), "-o", "/dev/null", "-e", inject];
        run_under(command, &strace).stdout(writer)
    });
    let body = format!("\"{}\"", "x".repeat(3 << 20));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| server.post("Large", &body));
        }
    });
    // strace does not forward the signal. Closing the pipe ends the server.
    drop(reader);
    server.wait_for_exit();
}
