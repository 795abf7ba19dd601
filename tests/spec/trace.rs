//! `--trace`: the server tells what it does, to whoever wants to know.

use std::io::{Read, Write};

use crate::harness::*;

/// What was told since the newest client was accepted.
fn since_accepted(told: &str) -> &str {
    told.rsplit(": accepted, ").next().unwrap()
}

#[test]
fn a_trace_tells_each_step_of_a_hook() {
    let mut server = Server::start(&["--trace"]);
    let stderr = server.stderr.clone();
    let mut client = server.connect();
    let pieces = [
        "POST /?event=Stop HT",
        "TP/1.1\r\nContent-Length: 2\r\n\r\n{",
        "}",
    ];
    for piece in pieces {
        client.write_all(piece.as_bytes()).unwrap();
        let read = format!(": read {} bytes", piece.len());
        stderr.wait(&read, |told| since_accepted(told).contains(&read));
    }
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, OK);
    server.stop();

    let told = stderr.to_end();
    let mut rest = since_accepted(&told);
    for step in [
        ": read 20 bytes",
        ": read 30 bytes",
        ": ReadingHead → ReadingBody",
        ": read 1 bytes",
        ": ReadingBody → WritingResponse (200 OK)",
        ": event Stop",
        " log: appended ",
        " stdout: wrote ",
        ": wrote 89 bytes",
        ": closed after ",
        " poll: waiting, no timeout",
        " signals: readable",
        " server: serving requests in flight",
    ] {
        let at = rest.find(step);
        let at = at.unwrap_or_else(|| panic!("no {step:?} in the rest of\n{told}"));
        rest = &rest[at + step.len()..];
    }
    assert!(!told.contains('\x1b'));
}

#[test]
fn what_a_client_calls_its_event_neither_moves_the_cursor_nor_begins_a_line() {
    let mut server = Server::start(&["--trace"]);
    server.post("a%0Ab%1B%5B31mc%C2%9Bd%E2%80%AE", "{}");
    server.stop();
    let told = server.stderr.to_end();
    let event = "event a\u{fffd}b\u{fffd}[31mc\u{fffd}d\u{fffd}\n";
    assert!(told.contains(event), "{told:?}");
}

#[test]
fn nothing_is_told_unless_it_is_wanted() {
    let mut server = Server::start(&[]);
    server.post("Stop", "{}");
    server.stop();
    assert_eq!(server.stderr.to_end().lines().count(), 6);
}

#[test]
fn rust_log_chooses_what_is_told() {
    let mut server = Server::start_with(&[], |command| command.env("RUST_LOG", "trace"));
    server.stop();
    let told = server.stderr.to_end();
    assert!(
        told.contains("mio::poll: registering event source with poller: token=Token(0)"),
        "{told}"
    );
    assert!(told.contains(": accepted, pid "), "{told}");

    // Some have it set for other programs.
    for (trace, is_told) in [(&["--trace"][..], true), (&[], false)] {
        let mut server = Server::start_with(trace, |command| command.env("RUST_LOG", "info"));
        server.stop();
        let told = server.stderr.to_end();
        assert_eq!(told.contains(": accepted, pid "), is_told, "{told}");
        assert!(!told.contains("mio::poll"), "{told}");
    }
}

#[test]
fn a_rust_log_that_makes_no_sense_is_remarked_on_and_stops_nothing() {
    let mut server = Server::start_with(&["--trace"], |command| command.env("RUST_LOG", "a=b=c"));
    server.stop();
    let told = server.stderr.to_end();
    assert!(told.starts_with("ignoring RUST_LOG: "), "{told}");
    assert!(told.contains(": accepted, pid "), "{told}");
    let full = std::fs::File::options().write(true).open("/dev/full");
    let server = Server::start_with(&[], |command| {
        command.env("RUST_LOG", "a=b=c").stderr(full.unwrap())
    });
    server.post("Stop", "{}");
}

#[test]
fn a_terminal_shows_each_client_in_a_colour_unless_no_color_is_set() {
    for (no_color, term, is_coloured) in [
        ("", "xterm", true),
        ("1", "xterm", false),
        ("", "dumb", false),
    ] {
        let (shown, slave) = terminal();
        let server = Server::start_with(&["--trace"], |command| {
            command.env("NO_COLOR", no_color).env("TERM", term);
            command.stderr(slave)
        });
        server.post("Stop", "{}");
        let told = shown.wait("the event", |text| text.contains(": event Stop"));
        assert_eq!(told.contains("\x1b[0m: event Stop"), is_coloured, "{told}");
    }
}

#[test]
fn a_trace_that_nobody_reads_holds_up_nobody() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Server::start_with(&["--trace"], |command| command.stderr(writer));
    // Ten lines each: more than a pipe holds.
    for _ in 0..500 {
        server.post("Stop", "{}");
    }
    let told = Stream::collect(Some(reader));
    wait_until("it goes on, and says what is missing", || {
        server.post("Stop", "{}");
        told.text().contains(" lines dropped here)\n")
    });
}
