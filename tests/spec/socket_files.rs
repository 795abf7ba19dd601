//! The socket's file: whose it is, what stands in its way, and that it goes.

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

/// Starts a server that must refuse.
fn refused(socket: &Path) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = command(socket, &[]).output().unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!((status.code(), stdout.len()), (Some(1), 0), "{said}");
    assert!(
        said.starts_with("Error: ") && said.lines().count() == 1,
        "{said}"
    );
    said
}

/// A socket's file that a dead server left.
fn leave_behind(path: &Path) {
    drop(UnixListener::bind(path).unwrap());
}

#[test]
fn the_mode_is_what_was_asked_whatever_the_umask() {
    for umask in ["000", "077", "0777"] {
        for (asked, expected) in [
            ("0660", 0o660),
            ("0600", 0o600),
            ("0666", 0o666),
            ("0777", 0o777),
        ] {
            let server = Server::start_with(&["--mode", asked], |command| {
                let script = format!("umask {umask}; exec \"$0\" \"$@\"");
                run_under(command, &["sh", "-c", &script])
            });
            assert_eq!(mode(&server.socket()), expected, "umask {umask}");
        }
    }
}

/// The file must never be open to others, not even before a `chmod`: so there is none.
#[test]
fn the_mode_is_right_from_the_moment_the_file_exists() {
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
    // strace passes the signal on to nobody; its child is the server.
    let children = format!("/proc/{0}/task/{0}/children", server.child.id());
    let pid = fs::read_to_string(children)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    signal(pid, "TERM");
    server.ended();
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
fn a_dead_servers_file_is_taken_over() {
    let folder = folder();
    leave_behind(&folder.path().join("hooks.sock"));
    leave_behind(&folder.path().join("output.sock"));
    let output = folder.path().join("output.sock");
    let arguments = ["--output-socket", output.to_str().unwrap()];
    let mut server = Server::start_in(folder, &arguments, |command| command);
    server.post("Stop", "{}");
    server.reader();
    server.stop();
    assert_eq!(fs::read_dir(server.folder.path()).unwrap().count(), 0);
}

#[test]
fn a_live_servers_socket_is_refused_and_says_whose_it_is() {
    let server = Server::start(&[]);
    let said = refused(&server.socket());
    assert!(
        said.contains(&format!("pid {}", server.child.id())),
        "{said}"
    );
    server.post("Stop", "{}");
    assert_eq!(server.stdout.lines(1).len(), 1, "the probe is no event");
}

/// A server that does not accept has a backlog that fills; it lives all the same.
#[test]
fn a_live_server_with_a_full_backlog_is_refused() {
    let folder = folder();
    let path = folder.path().join("hooks.sock");
    let listener = listener_with_short_backlog(&path);
    let mut waiting = Vec::new();
    while let Ok(stream) = connect_without_waiting(&path) {
        waiting.push(stream);
    }
    assert!(refused(&path).contains("in use by a live server"));
    drop(listener);
}

#[test]
fn what_is_not_a_socket_is_left_alone() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "precious").unwrap();
    assert!(refused(&file).contains("is not a socket"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(refused(folder.path()).contains("is a directory: give the path of a socket in it"));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(refused(&link).contains("is not a socket"));
}

#[test]
fn a_path_that_cannot_be_is_refused_with_advice() {
    let folder = folder();
    let missing = folder.path().join("no/such");
    let advice = format!(
        "the directory {} does not exist. Create it",
        missing.display()
    );
    assert!(refused(&missing.join("x.sock")).contains(&advice));
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let advice = format!("{} is not a directory", file.display());
    assert!(refused(&file.join("x.sock")).contains(&advice));
    assert!(refused(&folder.path().join("x".repeat(108))).contains("shorter"));
    // It exists, and still nothing can be made there.
    assert!(refused(Path::new("/proc/x.sock")).contains("Choose another path"));
}

#[test]
fn what_belongs_to_another_user_is_refused_and_says_whose_it_is() {
    if !is_root() {
        return;
    }
    let folder = folder();
    let refused = |name: &str| {
        let mut command = command(&folder.path().join(name), &[]);
        let output = command.uid(65534).gid(65534).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    let allow = |mode| fs::set_permissions(folder.path(), PermissionsExt::from_mode(mode)).unwrap();
    allow(0o755);
    let directory = folder.path().display();
    let advice = format!("user 65534 may not create files in {directory}. Choose");
    assert!(refused("new.sock").contains(&advice));
    // As /tmp is.
    allow(0o1777);
    let live = Server::start_in(crate::harness::folder(), &["--mode", "0600"], |command| {
        command
    });
    fs::hard_link(live.socket(), folder.path().join("live.sock")).unwrap();
    let advice = "is a socket of user 0, and user 65534 may not use it";
    assert!(refused("live.sock").contains(advice));
    leave_behind(&folder.path().join("dead.sock"));
    let dead = folder.path().join("dead.sock");
    fs::set_permissions(dead, PermissionsExt::from_mode(0o666)).unwrap();
    let advice = "was left by a dead server of user 0, and user 65534 cannot remove it";
    assert!(refused("dead.sock").contains(advice));
}

#[test]
fn one_file_under_two_names_cannot_be_both_sockets() {
    let folder = folder();
    let output = command(Path::new("x.sock"), &["--output-socket", "./x.sock"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("two paths"), "{said}");
    assert!(!folder.path().join("x.sock").exists());
}

#[test]
fn a_refused_hook_socket_leaves_no_output_socket() {
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

fn is_alive(server: &mut Child) -> Option<&mut Child> {
    server.try_wait().unwrap().is_none().then_some(server)
}

#[test]
fn of_eight_started_at_once_on_a_stale_path_one_survives() {
    for _ in 0..5 {
        let folder = folder();
        let socket = folder.path().join("hooks.sock");
        leave_behind(&socket);
        let mut servers: Vec<_> = (0..8)
            .map(|_| command(&socket, &[]).spawn().unwrap())
            .collect();
        let mut alive = 8;
        wait_until("seven have ended", || {
            alive = servers.iter_mut().filter_map(is_alive).count();
            alive <= 1
        });
        assert_eq!(alive, 1);
        let survivor = servers.iter_mut().find_map(is_alive).unwrap();
        wait_until("it listens", || {
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        signal(survivor.id(), "TERM");
        assert!(survivor.wait().unwrap().success());
        assert!(!socket.exists());
    }
}

#[test]
fn only_the_file_that_was_made_is_removed() {
    let mut server = Server::start(&[]);
    let made = fs::metadata(server.socket()).unwrap().ino();
    fs::remove_file(server.socket()).unwrap();
    let other = UnixListener::bind(server.socket()).unwrap();
    assert_ne!(fs::metadata(server.socket()).unwrap().ino(), made);
    server.stop();
    assert!(server.socket().exists());
    drop(other);
}
