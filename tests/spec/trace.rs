//! `--trace`: the server reports each step on stderr.

use std::io::{Read, Write};

use crate::harness::*;

/// The trace since the last client was accepted.
fn since_accepted(trace: &str) -> &str {
    trace.rsplit(": accepted, ").next().unwrap()
}

#[test]
fn the_trace_shows_each_step_of_a_request() {
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
        let step = format!(": read {} bytes", piece.len());
        stderr.wait(&step, |trace| since_accepted(trace).contains(&step));
    }
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert_eq!(response, OK);
    server.stop();

    let trace = stderr.to_end();
    let mut rest = since_accepted(&trace);
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
        let Some((_, after)) = rest.split_once(step) else {
            panic!("{step:?} is missing, or in the wrong place:\n{trace}");
        };
        rest = after;
    }
    assert!(!trace.contains('\x1b'), "stderr is not a terminal");
}

#[test]
fn control_characters_in_an_event_name_are_replaced() {
    let mut server = Server::start(&["--trace"]);
    server.post("a%0Ab%1B%5B31mc%C2%9Bd%E2%80%AE", "{}");
    server.stop();
    let trace = server.stderr.to_end();
    let event = "event a\u{fffd}b\u{fffd}[31mc\u{fffd}d\u{fffd}\n";
    assert!(trace.contains(event), "{trace:?}");
}

#[test]
fn without_the_option_there_is_no_trace() {
    let mut server = Server::start(&[]);
    server.post("Stop", "{}");
    server.stop();
    assert_eq!(server.stderr.to_end().lines().count(), 6);
}

#[test]
fn rust_log_chooses_the_modules_of_the_trace() {
    let mut server = Server::start_with(&[], |command| command.env("RUST_LOG", "trace"));
    server.stop();
    let trace = server.stderr.to_end();
    assert!(
        trace.contains("mio::poll: registering event source with poller: token=Token(0)"),
        "{trace}"
    );
    assert!(trace.contains(": accepted, pid "), "{trace}");

    // It may be set for other programs.
    for (options, is_traced) in [(&["--trace"][..], true), (&[], false)] {
        let mut server = Server::start_with(options, |command| command.env("RUST_LOG", "info"));
        server.stop();
        let stderr = server.stderr.to_end();
        assert_eq!(stderr.contains(": accepted, pid "), is_traced, "{stderr}");
        assert!(!stderr.contains("mio::poll"), "{stderr}");
    }
}

#[test]
fn an_invalid_rust_log_is_reported_and_ignored() {
    let mut server = Server::start_with(&["--trace"], |command| command.env("RUST_LOG", "a=b=c"));
    server.stop();
    let stderr = server.stderr.to_end();
    assert!(stderr.starts_with("ignoring RUST_LOG: "), "{stderr}");
    assert!(stderr.contains(": accepted, pid "), "{stderr}");
    // The report may fail.
    let full = std::fs::File::options().write(true).open("/dev/full");
    let server = Server::start_with(&[], |command| {
        command.env("RUST_LOG", "a=b=c").stderr(full.unwrap())
    });
    server.post("Stop", "{}");
}

#[test]
fn on_a_terminal_the_trace_is_coloured_unless_no_color_is_set_or_the_terminal_is_dumb() {
    for (no_color, term, is_coloured) in [
        ("", "xterm", true),
        ("1", "xterm", false),
        ("", "dumb", false),
    ] {
        let (screen, slave) = terminal();
        let server = Server::start_with(&["--trace"], |command| {
            command.env("NO_COLOR", no_color).env("TERM", term);
            command.stderr(slave)
        });
        server.post("Stop", "{}");
        let trace = screen.wait("the event", |text| text.contains(": event Stop"));
        assert_eq!(
            trace.contains("\x1b[0m: event Stop"),
            is_coloured,
            "{trace}"
        );
    }
}

#[test]
fn a_trace_that_nobody_reads_blocks_nobody_and_reports_the_dropped_lines() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Server::start_with(&["--trace"], |command| command.stderr(writer));
    // Ten lines for each hook, more than a pipe can hold.
    for _ in 0..500 {
        server.post("Stop", "{}");
    }
    let trace = Stream::collect(Some(reader));
    wait_until("the trace continues and reports the dropped lines", || {
        server.post("Stop", "{}");
        trace.text().contains(" lines dropped here)\n")
    });
}
