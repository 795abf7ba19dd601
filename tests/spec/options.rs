//! The command line and the environment: options, startup messages, and usage errors.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use crate::harness::*;

#[test]
fn the_startup_messages_on_stderr_name_the_socket() {
    let server = Server::start(&[]);
    let socket = server.socket();
    assert_eq!(
        startup_messages(&server),
        format!(
            "Claude Code Hooks Observatory (mio) listening on {}\nSocket permissions: 0o660\n\
             Press Ctrl+C to stop\n\n",
            socket.display()
        )
    );
}

fn startup_messages(server: &Server) -> String {
    server
        .stderr
        .wait("the startup messages", |text| text.ends_with("\n\n"))
}

#[test]
fn the_first_startup_message_names_the_output_socket() {
    let server = Server::with_readers(&["--mode", "600"]);
    let stderr = startup_messages(&server);
    assert_eq!(
        stderr.lines().next().unwrap(),
        format!("Output socket: {}", server.output_socket().display())
    );
    assert!(stderr.contains("\nSocket permissions: 0o600\n"), "{stderr}");
}

#[test]
fn the_socket_is_that_of_the_option_then_of_the_variable_then_the_default() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let check = |variable: &str, arguments: &[&str], expected: &str| {
        let mut child = program()
            .args(arguments)
            .env("CLAUDE_UNIX_HOOK_WATCHER", variable)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Stream::collect(child.stderr.take());
        let stderr = stderr.wait("the first message", |text| text.contains('\n'));
        // A graceful shutdown removes the socket file.
        signal(child.id(), "TERM");
        child.wait().unwrap();
        assert!(
            stderr.lines().next().unwrap().contains(expected),
            "{stderr}"
        );
    };
    check(
        &path("variable"),
        &[],
        &format!("listening on {}", path("variable")),
    );
    let option = path("option");
    check(
        &path("variable"),
        &["--socket", &option],
        &format!("listening on {option}"),
    );
    // If another server listens there, the error message contains the path.
    check("", &[], "/tmp/claude-observatory.sock");
}

#[test]
fn an_option_may_be_joined_to_its_value_with_an_equals_sign_and_the_last_one_wins() {
    let folder = folder();
    let socket = folder.path().join("a=b.sock");
    let joined = format!("--socket={}", socket.display());
    let first = folder.path().join("first.sock");
    let mut server = command(
        &first,
        &[
            "--mode=0666",
            "--pretty-json",
            &joined,
            "--mode",
            "0o640",
            "--pretty-json",
        ],
    )
    .spawn()
    .unwrap();
    wait_until("the socket of the last option exists", || socket.exists());
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
    assert!(!first.exists());
    signal(server.id(), "TERM");
    server.wait().unwrap();
}

#[test]
fn help_goes_to_stdout_and_lists_the_options() {
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
fn version_prints_the_version_of_the_package() {
    let output = run(&["--version"]);
    let expected = concat!("hooks-observatory ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(output.stdout, expected.as_bytes());
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
}

#[test]
fn tee_requires_an_output_socket() {
    let output = run(&["--tee"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stderr, b"Error: --tee requires --output-socket\n");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_usage_error_exits_with_2_and_names_the_mistake() {
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
    for (arguments, message) in cases {
        let output = run(arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), output.stdout.len()),
            (Some(2), 0),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
    }
}

/// What the program writes to stdout and to stderr.
fn output(arguments: &str) -> (String, String) {
    let output = program()
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

#[test]
fn help_and_version_are_words_too() {
    for word in ["version", "-V"] {
        assert_eq!(output(word), output("--version"));
    }
    assert_eq!(output("help"), output("--help"));
    assert_eq!(output("help watch"), output("watch --help"));
}

#[test]
fn of_a_typo_the_nearest_name_is_suggested() {
    for (typed, expected) in [
        ("watc", "watc. Did you mean watch?"),
        ("--hystory 5", "--hystory. Did you mean --history?"),
        ("sessions --wating", "--wating. Did you mean --waiting?"),
        ("hooks --instal", "--instal. Did you mean --install?"),
        (
            "xyz",
            "xyz. The subcommands are send, hooks, service, sessions, watch, completions, man",
        ),
        ("sessions --xyz", "--xyz"),
        ("--xyz", "--xyz"),
    ] {
        let (_, stderr) = output(typed);
        let first = stderr.lines().next().unwrap();
        assert_eq!(first, format!("Unrecognized argument: {expected}"));
    }
}

/// A later client may have it, so it is no error.
#[test]
fn an_event_name_that_is_not_known_is_warned_of() {
    for (names, expected) in [
        (
            "Stopp,Stop",
            "no event with the name Stopp is known. Did you mean Stop?\n",
        ),
        ("Xyz", "no event with the name Xyz is known.\n"),
        ("WorktreeCreate,_gone,_dropped,PostToolBatch", ""),
    ] {
        let (_, stderr) = output(&format!("watch --event {names} -"));
        assert_eq!(stderr, expected);
    }
}

#[test]
fn the_two_sockets_must_have_different_paths() {
    let output = run(&["--socket", "/nowhere/a", "--output-socket", "/nowhere/a"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("give two different paths")
    );
}
