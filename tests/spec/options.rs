//! The command line, the environment, and what is said to one who uses them wrongly.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::harness::*;

#[test]
fn the_first_lines_on_stderr_tell_where_it_listens() {
    let server = Server::start(&[]);
    let socket = server.socket();
    assert_eq!(
        first_lines(&server),
        format!(
            "Claude Code Hooks Observatory (mio) listening on {}\nSocket permissions: 0o660\n\
             Press Ctrl+C to stop\n\n",
            socket.display()
        )
    );
}

fn first_lines(server: &Server) -> String {
    server
        .stderr
        .wait("the first lines", |text| text.ends_with("\n\n"))
}

#[test]
fn an_output_socket_is_announced_first() {
    let server = Server::with_readers(&["--mode", "600"]);
    let said = first_lines(&server);
    assert_eq!(
        said.lines().next().unwrap(),
        format!("Output socket: {}", server.output_socket().display())
    );
    assert!(said.contains("\nSocket permissions: 0o600\n"), "{said}");
}

#[test]
fn the_variable_names_the_socket_unless_it_is_empty_or_the_option_does() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let listens_on = |variable: &str, arguments: &[&str], expected: &str| {
        let mut child = Command::new(BINARY)
            .args(arguments)
            .env("CLAUDE_UNIX_HOOK_WATCHER", variable)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Stream::collect(child.stderr.take());
        let said = stderr.wait("an answer", |text| text.contains('\n'));
        // In good order, so that it leaves no file.
        signal(child.id(), "TERM");
        child.wait().unwrap();
        assert!(said.lines().next().unwrap().contains(expected), "{said}");
    };
    listens_on(
        &path("variable"),
        &[],
        &format!("listening on {}", path("variable")),
    );
    let option = path("option");
    listens_on(
        &path("variable"),
        &["--socket", &option],
        &format!("listening on {option}"),
    );
    // Whether or not somebody listens there already.
    listens_on("", &[], "/tmp/claude-observatory.sock");
}

#[test]
fn an_option_may_be_joined_to_its_value_and_the_last_one_wins() {
    let folder = folder();
    let socket = folder.path().join("last.sock");
    let joined = format!("--socket={}", socket.display());
    let first = folder.path().join("first.sock");
    let mut server = command(&first, &["--mode=0666", &joined, "--mode", "0o640"])
        .spawn()
        .unwrap();
    wait_until("the last one is there", || socket.exists());
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(!first.exists());
    signal(server.id(), "TERM");
    server.wait().unwrap();
}

#[test]
fn help_goes_to_stdout_and_names_every_option() {
    for flag in ["--help", "-h"] {
        let output = run(&[flag]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
        let help = String::from_utf8(output.stdout).unwrap();
        for option in [
            "socket",
            "output-socket",
            "tee",
            "mode",
            "pretty-json",
            "pretty-yaml",
            "buffer",
        ] {
            assert!(help.contains(&format!("--{option}")), "{option} in {help}");
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = run(&["--version"]);
    let expected = concat!("hooks-observatory ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output.stdout, expected.as_bytes());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn tee_needs_an_output_socket() {
    let output = run(&["--tee"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"Error: --tee requires --output-socket\n");
    assert_eq!(output.stdout, b"");
}

#[test]
fn wrong_usage_exits_2_and_says_what_is_wrong() {
    let cases: [(&[&str], &str); 14] = [
        (&["--pretty-json", "--pretty-yaml"], "exclude each other"),
        (&["--pretty-yaml", "--pretty-line"], "exclude each other"),
        (&["--mode", "rw"], "rw"),
        (&["--mode", "0888"], "0888"),
        (&["--mode", "01777"], "01777"),
        (&["--socket"], "--socket needs a value"),
        (&["--socket", "--tee"], "--socket needs a value"),
        (&["--socket="], "--socket needs a value"),
        (&["--sock", "/tmp/x"], "--sock"),
        (&["surplus"], "surplus"),
        (&["--events", "Stop"], "--events"),
        (&["--curl"], "--curl"),
        (&["-v"], "-v"),
        (&["--buffer", "much"], "much"),
    ];
    for (arguments, complaint) in cases {
        let output = run(arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{arguments:?} {said}"
        );
        assert!(said.contains(complaint), "{arguments:?}: {said}");
    }
}

#[test]
fn the_two_sockets_need_two_paths() {
    let output = run(&["--socket", "/nowhere/a", "--output-socket", "/nowhere/a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("give two different paths")
    );
}
