//! Socket files: their mode, what is already at their path, and their removal.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Output};

use crate::harness::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Starts a server that must fail because of this path. Returns its error message.
fn startup_error(socket: &Path) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command(socket, &[]).output().unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{stderr}");
    assert!(
        stderr.starts_with("Error: ") && stderr.lines().count() == 1,
        "{stderr}"
    );
    stderr
}

/// Creates a stale socket file, as a killed server leaves one behind.
fn create_stale_socket(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn the_mode_of_the_socket_does_not_depend_on_the_umask() {
    for umask in ["000", "077", "0777"] {
        for (mode_option, expected) in [
            ("0660", 0o660),
            ("0600", 0o600),
            ("0666", 0o666),
            ("0777", 0o777),
        ] {
            let server = Server::start_with(&["--mode", mode_option], |command| {
                let script = format!("umask {umask}; exec \"$0\" \"$@\"");
                run_under(command, &["sh", "-c", &script])
            });
            assert_eq!(mode(&server.socket()), expected, "umask {umask}");
        }
    }
}

/// With a `chmod` after `bind`, other users could connect in between.
#[test]
fn the_socket_has_its_mode_from_the_moment_of_its_creation() {
    let Some(strace) = tool("strace") else { return };
    let folder = folder();
    let trace = folder.path().join("trace");
    let mut server = Server::start_with(&[], |command| {
        let calls = "trace=bind,umask,/chmod";
        let strace = [
            strace.to_str().unwrap(),
            "-f",
            "-e",
            calls,
            "-o",
            trace.to_str().unwrap(),
        ];
        run_under(command, &strace)
    });
    assert_eq!(mode(&server.socket()), 0o660);
    // strace does not forward the signal. The server is its child.
    let children = format!("/proc/{0}/task/{0}/children", server.child.id());
    let pid = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    signal(pid, "TERM");
    server.wait_for_exit();
    let calls = fs::read_to_string(trace).unwrap();
    let calls: Vec<_> = calls
        .lines()
        .filter_map(|line| line.split_whitespace().nth(1))
        .collect();
    let expected = ["umask(0117)", "bind(", "umask("];
    assert!(
        calls
            .iter()
            .zip(expected)
            .all(|(call, start)| call.starts_with(start)),
        "{calls:?}"
    );
}

#[test]
fn stale_sockets_are_replaced() {
    let folder = folder();
    create_stale_socket(&folder.path().join("hooks.sock"));
    create_stale_socket(&folder.path().join("output.sock"));
    let output = folder.path().join("output.sock");
    let arguments = ["--output-socket", output.to_str().unwrap()];
    let mut server = Server::start_in(folder, &arguments, |command| command);
    server.post("Stop", "{}");
    server.reader();
    server.stop();
    assert_eq!(fs::read_dir(server.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_socket_in_use_is_refused_and_the_error_names_the_pid() {
    let server = Server::start(&[]);
    let stderr = startup_error(&server.socket());
    assert!(
        stderr.contains(&format!("pid {}", server.child.id())),
        "{stderr}"
    );
    server.post("Stop", "{}");
    let events = server.stdout.lines(1);
    assert_eq!(
        events.len(),
        1,
        "the connection of the other server is not an event"
    );
}

#[test]
fn a_socket_whose_backlog_is_full_counts_as_in_use() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let listener = listener_with_short_backlog(&path);
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_without_waiting(&path) {
        waiting.push(stream);
    }
    assert!(startup_error(&path).contains("in use by a live server"));
    drop(listener);
}

#[test]
fn a_file_that_is_not_a_socket_is_never_replaced() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "content").unwrap();
    assert!(startup_error(&file).contains("is not a socket"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "content");
    let error = startup_error(folder.path());
    assert!(error.contains("is a directory: give the path of a socket in it"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(startup_error(&link).contains("is not a socket"));
}

#[test]
fn an_impossible_path_is_refused_with_advice() {
    let folder = folder();
    let missing = folder.path().join("no/such");
    let advice = format!(
        "the directory {} does not exist. Create it",
        missing.display()
    );
    assert!(startup_error(&missing.join("x.sock")).contains(&advice));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let advice = format!("{} is not a directory", file.display());
    assert!(startup_error(&file.join("x.sock")).contains(&advice));
    let too_long = folder.path().join("x".repeat(108));
    assert!(startup_error(&too_long).contains("shorter"));
    // The directory exists, but no file can be created in it.
    assert!(startup_error(Path::new("/proc/x.sock")).contains("Choose another path"));
}

#[test]
fn files_of_another_user_are_refused_and_the_error_names_the_user() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let startup_error = |name: &str| {
        let mut command = command(&folder.path().join(name), &[]);
        let output = command.uid(65534).gid(65534).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let set_mode =
        |mode| fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
    set_mode(0o755);
    let directory = folder.path().display();
    let advice = format!("user 65534 may not create files in {directory}. Choose");
    assert!(startup_error("new.sock").contains(&advice));
    // The mode of /tmp.
    set_mode(0o1777);
    let live = Server::start_in(crate::harness::folder(), &["--mode", "0600"], |command| {
        command
    });
    fs::hard_link(live.socket(), folder.path().join("live.sock")).unwrap();
    let advice = "is a socket of user 0, and user 65534 may not use it";
    assert!(startup_error("live.sock").contains(advice));
    create_stale_socket(&folder.path().join("dead.sock"));
    let dead = folder.path().join("dead.sock");
    fs::set_permissions(dead, PermissionsExt::from_mode(0o666)).unwrap();
    let advice = "was left by a dead server of user 0, and user 65534 cannot remove it";
    assert!(startup_error("dead.sock").contains(advice));
}

#[test]
fn two_spellings_of_one_path_are_refused() {
    let folder = folder();
    let output = command(Path::new("x.sock"), &["--output-socket", "./x.sock"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("two paths"), "{stderr}");
    assert!(!folder.path().join("x.sock").exists());
}

#[test]
fn if_the_hook_socket_is_refused_no_output_socket_remains() {
    let folder = folder();
    let socket = folder.path().join("hooks.sock");
    fs::write(&socket, "").unwrap();
    let output = folder.path().join("output.sock");
    let status = command(&socket, &["--output-socket", output.to_str().unwrap()])
        .output()
        .unwrap()
        .status;
    assert_eq!(status.code(), Some(1));
    assert!(!output.exists());
}

fn is_running(server: &mut Child) -> bool {
    server.try_wait().unwrap().is_none()
}

#[test]
fn if_eight_servers_start_at_once_on_a_stale_socket_one_runs() {
    for _ in 0..5 {
        let folder = folder();
        let socket = folder.path().join("hooks.sock");
        create_stale_socket(&socket);
        let mut servers: Vec<_> = (0..8)
            .map(|_| command(&socket, &[]).spawn().unwrap())
            .collect();
        wait_until("seven servers have exited", || {
            servers.retain_mut(is_running);
            servers.len() <= 1
        });
        assert_eq!(servers.len(), 1);
        let server = &mut servers[0];
        wait_until("the server listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        signal(server.id(), "TERM");
        assert!(server.wait().unwrap().success());
        assert!(!socket.exists());
    }
}

#[test]
fn a_server_removes_only_the_socket_file_that_it_has_created() {
    let mut server = Server::start(&[]);
    let created = fs::metadata(server.socket()).unwrap().ino();
    // In one step: the server would create a removed file again.
    let path = server.folder.path().join("other.sock");
    let other = UnixListener::bind(&path).unwrap();
    fs::rename(&path, server.socket()).unwrap();
    assert_ne!(fs::metadata(server.socket()).unwrap().ino(), created);
    server.stop();
    assert!(server.socket().exists());
    drop(other);
}
