//! Limits: the size of a request, the time for it, and the number of connections.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::harness::*;

const REQUEST_LINE: &str = "POST / HTTP/1.1";

/// The status of the response to a head with this request line and these fields.
fn status_of(server: &Server, request_line: &str, fields: &str) -> String {
    status(&server.exchange(format!("{request_line}\r\n{fields}\r\n"))).to_owned()
}

/// Asserts that the server uses no CPU for a while.
fn assert_idle(server: &Server) {
    let ticks = server.cpu_ticks();
    // There is no condition to wait for: nothing may happen.
    thread::sleep(Duration::from_millis(300));
    let ticks = server.cpu_ticks() - ticks;
    assert!(ticks <= 1, "the server used {ticks} ticks of CPU");
}

#[test]
fn a_head_of_more_than_64_kib_gets_431() {
    let server = Server::start(&[]);
    // The rest of the head has 24 bytes.
    let field = |head: usize| format!("A: {}\r\n", "x".repeat(head - 24));
    for (fields, expected) in [
        (field(64 << 10), "200"),
        (field((64 << 10) + 1), "431"),
        ("x".repeat(100_000), "431"),
    ] {
        assert_eq!(status_of(&server, REQUEST_LINE, &fields), expected);
    }
    assert_eq!(server.health(), "200");
}

#[test]
fn a_head_of_more_than_100_fields_gets_431() {
    let server = Server::start(&[]);
    for (count, expected) in [(100, "200"), (101, "431")] {
        let fields = "A: b\r\n".repeat(count);
        assert_eq!(status_of(&server, REQUEST_LINE, &fields), expected);
    }
}

#[test]
fn a_target_of_more_than_16_kib_gets_414() {
    let server = Server::start(&[]);
    let request_line = |target: usize| format!("POST /{} HTTP/1.1", "x".repeat(target - 1));
    assert_eq!(status_of(&server, &request_line(16 << 10), ""), "200");
    assert_eq!(status_of(&server, &request_line((16 << 10) + 1), ""), "414");
    // The server does not wait for the end of the line.
    assert_eq!(
        status(&server.exchange(format!("POST /{}", "x".repeat(60_000)))),
        "414"
    );
}

#[test]
fn a_body_of_more_than_max_body_gets_413() {
    let server = Server::start(&["--max-body", "10"]);
    let length = |length: &str| format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (request, expected) in [
        (length("10") + "{\"n\":1234}", "200"),
        // The response does not wait for the body.
        (length("11"), "413"),
        (length("18446744073709551615"), "413"),
        (
            format!("{chunked}5\r\n{{\"n\":\r\n5\r\n1234}}\r\n0\r\n\r\n"),
            "200",
        ),
        (format!("{chunked}5\r\n{{\"n\":\r\n6\r\n"), "413"),
        (format!("{chunked}ffffffffffffffff\r\n"), "413"),
    ] {
        assert_eq!(status(&server.exchange(&request)), expected, "{request:?}");
    }
    assert_eq!(column(&server.stdout.lines(2), "n"), [1234, 1234]);
}

/// Uploads that do not fit together wait for each other. Ordinary hooks do not wait for them,
/// and every upload is answered.
#[test]
fn bodies_in_flight_stay_within_max_inflight() {
    const UPLOADS: usize = 20;
    const SIZE: usize = 5_000_000;
    let server = Server::start(&["--max-inflight", "12000000", "--max-body", "5000000"]);
    let before = server.resident_kb();
    let text = "x".repeat(SIZE - 8);
    let request = request("/?event=Big", format!("{{\"a\":\"{text}\"}}"));
    let (last, first) = request.split_last().unwrap();
    thread::scope(|scope| {
        let uploads = (0..UPLOADS).map(|_| {
            let mut stream = server.connect();
            scope.spawn(move || {
                // It blocks while the server does not read.
                stream.write_all(first).unwrap();
                stream.write_all(&[*last]).unwrap();
                read_until(&mut stream, |text| text.ends_with("\r\n\r\n"))
            })
        });
        let uploads: Vec<_> = uploads.collect();
        // A body of several reads.
        server.post("Ordinary", format!("{{\"b\":\"{}\"}}", &text[..100_000]));
        for upload in uploads {
            assert_eq!(status(&upload.join().unwrap()), "200");
        }
    });
    let peak = server.peak_kb() - before;
    // The bodies, the forms of the events that are made, and the log until stdout has them.
    assert!(peak < 60_000, "{peak} kB");
    server.stdout.lines(UPLOADS + 1);
}

/// The deadline of a body that waits for room stops.
#[test]
fn an_upload_that_waits_for_another_is_not_refused() {
    let server = Server::start(&["--timeout", "1", "--max-inflight", "400000"]);
    let upload = || {
        let mut stream = server.connect();
        let head = "POST /?event=Big HTTP/1.1\r\nContent-Length: 250000\r\n\r\n\"";
        stream.write_all(head.as_bytes()).unwrap();
        stream
    };
    let mut late = upload();
    assert_eq!(server.health(), "200");
    let mut waiting = upload();
    waiting.write_all(&[b'x'; 150_000]).unwrap();
    // The first upload is late. Until then, the second one waits.
    let response = read_until(&mut late, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "408");
    waiting.write_all(&[b'x'; 99_998]).unwrap();
    waiting.write_all(b"\"").unwrap();
    let response = read_until(&mut waiting, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "200");
}

/// Sends the head of an upload, and more of its body than the room that another one leaves it.
fn begin_upload(server: &Server) -> UnixStream {
    let mut stream = server.connect();
    let head = "POST /?event=Big HTTP/1.1\r\nContent-Length: 250000\r\n\r\n\"";
    let begin = head.to_owned() + &"x".repeat(60_000);
    stream.write_all(begin.as_bytes()).unwrap();
    stream
}

fn end_upload(stream: &mut UnixStream) {
    let rest = "x".repeat(250_000 - 60_002) + "\"";
    stream.write_all(rest.as_bytes()).unwrap();
}

#[test]
fn a_body_that_stalls_gives_way_to_one_that_waits_for_its_room() {
    let server = Server::start(&["--timeout", "1000", "--max-inflight", "400000"]);
    let stalled = [(); 2].map(|()| begin_upload(&server));
    let mut waiting = begin_upload(&server);
    end_upload(&mut waiting);
    let response = read_until(&mut waiting, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "200");
    // The first two waited too, for each other or for the third.
    for mut stream in stalled {
        let response = read_until(&mut stream, |text| text.ends_with("\r\n\r\n"));
        assert_eq!(status(&response), "408");
    }
}

#[test]
fn a_client_that_is_gone_does_not_wait_for_room() {
    let server = Server::start(&["--timeout", "1000", "--max-inflight", "400000"]);
    let mut slow = begin_upload(&server);
    assert_eq!(server.health(), "200");
    let before = server.descriptors();
    let waiting = begin_upload(&server);
    wait_until("the second upload", || server.descriptors() == before + 1);
    drop(waiting);
    wait_until("the end of the second upload", || {
        // The first one does not stall meanwhile.
        slow.write_all(&[b'x'; 2000]).unwrap();
        server.descriptors() == before
    });
}

#[test]
fn a_client_that_takes_too_long_gets_408() {
    let server = Server::start(&["--timeout", "0.2"]);
    let before = server.descriptors();
    for part in [
        "",
        "POST",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n{",
        "POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream.write_all(part.as_bytes()).unwrap();
        let response = read_until(&mut stream, |text| text.contains("408"));
        assert!(response.ends_with("\r\n\r\n"), "{response:?}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "end of input");
    }
    wait_until("all connections are closed", || {
        server.descriptors() == before
    });
    assert_eq!(server.stdout.text(), "");
}

#[test]
fn sending_slowly_does_not_extend_the_timeout() {
    let server = Server::start(&["--timeout", "0.3"]);
    let mut stream = server.connect();
    let mut reading = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        for byte in request("/", "{\"a\":1}").chunks(1).cycle() {
            if stream.write_all(byte).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
    });
    let response = read_until(&mut reading, |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "408");
    sender.join().unwrap();
}

#[test]
fn an_idle_kept_connection_is_closed_without_a_response() {
    let server = Server::start(&["--timeout", "0.2"]);
    let mut stream = server.connect();
    for _ in 0..2 {
        stream
            .write_all(b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
            .unwrap();
        read_until(&mut stream, |text| text.ends_with("}"));
    }
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn empty_lines_do_not_keep_an_idle_connection_open() {
    let server = Server::start(&["--timeout", "0.3"]);
    let mut stream = server.connect();
    stream
        .write_all(b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n")
        .unwrap();
    read_until(&mut stream, |text| text.ends_with("}"));
    let mut sending = stream.try_clone().unwrap();
    let sender = thread::spawn(move || {
        while sending.write_all(b"\r\n").is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
    });
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    sender.join().unwrap();
}

#[test]
fn a_client_that_never_reads_its_responses_is_disconnected() {
    let server = Server::start(&["--timeout", "0.2"]);
    let before = server.descriptors();
    let mut stream = server.connect();
    stream.set_nonblocking(true).unwrap();
    let request = b"GET /health HTTP/1.1\r\nConnection: keep-alive\r\n\r\n";
    wait_until("the client is disconnected", || {
        // Fills the socket buffers of both sides.
        while matches!(stream.write(request), Ok(1..)) {}
        server.descriptors() == before
    });
}

#[test]
fn deadlines_do_not_depend_on_the_system_clock() {
    let Some(faketime) = tool("faketime") else {
        return;
    };
    let folder = folder();
    let clock = folder.path().join("clock");
    std::fs::write(&clock, "+0").unwrap();
    let server = Server::start_in(folder, &["--timeout", "30"], |command| {
        // The wrapper sets FAKETIME, which would override the file.
        let unset = "unset FAKETIME; exec \"$0\" \"$@\"";
        let faketime = [
            faketime.to_str().unwrap(),
            "-m",
            "-f",
            "+0",
            "sh",
            "-c",
            unset,
        ];
        let command = run_under(command, &faketime);
        command
            .env("FAKETIME_TIMESTAMP_FILE", &clock)
            .env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    let year = |line: usize| -> i32 {
        let events = server.stdout.lines(line);
        events[line - 1]["_ts"].as_str().unwrap()[..4]
            .parse()
            .unwrap()
    };
    let whole = request("/", "{}");
    let mut stream = server.connect();
    stream.write_all(&whole[..60]).unwrap();
    server.post("Now", "{}");
    let now = year(1);
    for (count, (offset, years)) in [("+3650d", 9..11), ("-3650d", -11..-8)]
        .into_iter()
        .enumerate()
    {
        std::fs::write(&clock, offset).unwrap();
        server.post("Then", "{}");
        let then = year(count + 2);
        assert!(
            years.contains(&(then - now)),
            "faketime did not move the clock: {now}, then {then}"
        );
    }
    assert_eq!(
        exchange(stream, &whole[60..]),
        OK,
        "the request must not time out"
    );
}

/// 2,000 clients stall in the middle of a request.
#[test]
fn incomplete_requests_use_little_memory_and_do_not_block_others() {
    let server = Server::start(&["--timeout", "600"]);
    server.post("WarmUp", "{}");
    let before = server.resident_kb();
    let head = "POST / HTTP/1.1\r\nContent-Length: 60000000\r\n\r\n{\"a\":";
    let stalled: Vec<_> = (0..2000)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(head.as_bytes()).unwrap();
            stream
        })
        .collect();
    for _ in 0..100 {
        server.post("Stop", "{}");
    }
    let after = server.resident_kb();
    assert!(
        after < 12_000 && after - before < 2_000,
        "{before} kB before, {after} kB after"
    );
    assert_idle(&server);
    drop(stalled);
    wait_until("all connections are closed", || server.descriptors() < 30);
}

#[test]
fn a_large_upload_does_not_block_others() {
    let server = Server::start(&[]);
    let body = vec![b' '; 32 << 20];
    let whole = request("/hook?event=Big", &body);
    let mut upload = server.connect();
    upload.write_all(&whole[..16 << 20]).unwrap();
    server.post("Small", "{}");
    assert_eq!(server.stdout.lines(1)[0]["_event"], "Small");
    assert_eq!(exchange(upload, &whole[16 << 20..]), OK);
}

/// A server whose limit of 40 descriptors allows ten clients and ten readers.
fn start_with_40_descriptors(arguments: &[&str]) -> Server {
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = [&["--output-socket", output.to_str().unwrap()], arguments].concat();
    Server::start_in(folder, &arguments, |command| {
        run_under(command, &["prlimit", "--nofile=40"])
    })
}

fn wait_for_shortage_report(server: &Server) {
    server.stderr.wait("the report of the shortage", |text| {
        text.contains("New connections must wait")
    });
}

#[test]
fn clients_over_the_descriptor_limit_wait_in_the_backlog_and_are_served() {
    let server = start_with_40_descriptors(&["--timeout", "600"]);
    let stalled: Vec<UnixStream> = (0..30).map(|_| server.connect()).collect();
    wait_for_shortage_report(&server);
    assert_idle(&server);
    // As clients disconnect, those in the backlog are served.
    for stream in stalled {
        assert_eq!(exchange(stream, &request("/", "{}")), OK);
    }
}

/// Another user connects, and sends nothing.
#[cfg(target_os = "linux")]
fn connect_as(uid: u32, server: &Server) -> UnixStream {
    let path = server.socket();
    // Only this thread becomes that user.
    let connect = thread::spawn(move || {
        let uid = rustix::process::Uid::from_raw(uid);
        rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
        UnixStream::connect(path).unwrap()
    });
    connect.join().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn another_user_cannot_hold_all_descriptors() {
    if !is_root() {
        return skip("another user needs root");
    }
    let server = start_with_40_descriptors(&["--timeout", "600", "--mode", "0666"]);
    server.open_folder();
    let own = server.connect();
    let mut others: Vec<_> = (0..30).map(|_| connect_as(1234, &server)).collect();
    // The clients that have waited longest give way.
    let response = read_until(&mut others[0], |text| text.ends_with("\r\n\r\n"));
    assert_eq!(status(&response), "408");
    server.post("Stop", "{}");
    // Also where those of the other user have no deadline, because they are read no more.
    assert_eq!(exchange(own, &request("/", "{}")), OK);
}

#[cfg(target_os = "linux")]
#[test]
fn other_users_together_cannot_hold_all_descriptors() {
    if !is_root() {
        return skip("other users need root");
    }
    let server = start_with_40_descriptors(&["--timeout", "600", "--mode", "0666"]);
    server.open_folder();
    // None of the three has half of them.
    let others: Vec<_> = (0..30)
        .map(|number| connect_as(1234 + number % 3, &server))
        .collect();
    server.post("Stop", "{}");
    drop(others);
}

#[cfg(target_os = "linux")]
#[test]
fn a_hook_waits_for_one_hook_of_another_user_and_not_for_all_of_them() {
    if !is_root() {
        return skip("another user needs root");
    }
    let mut server = Server::start(&["--mode", "0666"]);
    server.open_folder();
    let mut clients: Vec<_> = (0..50).map(|_| connect_as(1234, &server)).collect();
    clients.push(server.connect());
    // All are accepted by then, and all send in the same turn.
    server.post("Before", "{}");
    server.signal("STOP");
    wait_until("the server to stop", || {
        process_state(server.child.id()) == 'T'
    });
    for (number, client) in clients.iter_mut().enumerate() {
        let hook = request("/", format!("{{\"n\":{number}}}"));
        client.write_all(&hook).unwrap();
    }
    server.signal("CONT");
    for client in &mut clients {
        read_until(client, |text| text.contains(OK));
    }
    server.stop();
    let order = column(&server.stdout.lines(52)[1..], "n");
    assert_eq!(order.iter().position(|number| *number == 50), Some(1));
}

#[test]
fn hooks_and_readers_cannot_use_up_each_others_descriptors() {
    let server = start_with_40_descriptors(&["--timeout", "600"]);
    let readers: Vec<_> = (0..30)
        .map(|_| UnixStream::connect(server.output_socket()).unwrap())
        .collect();
    wait_for_shortage_report(&server);
    server.post("Stop", "{}");
    drop(readers);
    server.stderr.wait("the readers to disconnect", |text| {
        text.contains("disconnected (0 total)")
    });

    let clients: Vec<_> = (0..30).map(|_| server.connect()).collect();
    let mut reader = server.reader();
    drop(clients);
    server.post("Stop", "{\"n\":7}");
    assert_eq!(column(&read_lines(&mut reader, 1), "n"), [7]);
}

#[test]
fn the_soft_descriptor_limit_is_raised_to_the_hard_limit() {
    let server = Server::start_with(&[], |command| {
        run_under(command, &["prlimit", "--nofile=64:512"])
    });
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).unwrap();
    let files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    assert_eq!(files.split_whitespace().nth(3), Some("512"), "{files}");
}

/// A process of a parent pid namespace has no pid in the server's namespace.
#[test]
fn a_peer_in_another_pid_namespace_has_no_pid() {
    let (true, Some(unshare)) = (is_root(), tool("unshare")) else {
        return;
    };
    let works = Command::new(&unshare)
        .args(["--pid", "--fork", "true"])
        .status();
    if !works.is_ok_and(|status| status.success()) {
        return skip("unshare may not create a pid namespace");
    }
    let server = Server::start_with(&[], |command| {
        run_under(
            command,
            &[unshare.to_str().unwrap(), "--pid", "--fork", "--kill-child"],
        )
    });
    server.post("Stop", "{}");
    let event = &server.stdout.lines(1)[0];
    let keys: Vec<_> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(keys, ["_event", "_peer_gid", "_peer_uid", "_ts"]);
}

/// The bound of benches/memory.rs: twice the body and its line, and 32 MiB.
#[test]
fn many_keys_of_which_one_is_repeated_need_little_memory() {
    let mut printer = Printer::new(&[]);
    let keys = (0..600_000).map(|number| format!("\"{number:x}\":0,"));
    let body = format!("{{{}\"0\":1}}", keys.collect::<String>());
    let line = printer.print("/?event=E", &body);
    assert!(line.contains(",\"0\":1,\"1\":0,"));
    let (peak, bound) = (
        printer.server.peak_kb(),
        2 * (body.len() + line.len()) + (32 << 20),
    );
    assert!(peak << 10 <= bound as u64, "{peak} kB of {bound} bytes");
}

#[test]
fn bytes_that_are_not_utf_8_are_decoded_once_and_then_freed() {
    let mut printer = Printer::new(&[]);
    let body = vec![0xff; 8 << 20];
    let line = printer.print("/?event=E", &body);
    let decoded = 3 * body.len();
    let (peak, bound) = (printer.server.peak_kb(), decoded + line.len() + (32 << 20));
    assert!(peak << 10 <= bound as u64, "{peak} kB of {bound} bytes");
}
