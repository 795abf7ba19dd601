//! Other programs write the settings while `hooks` edits them, at every moment: what they write
//! stays, and so does the edit.
//!
//! The writers here are careful in the same way, so that they undo nothing either: they exchange
//! files, and look at what comes out. Those that write in place write only before the edit does.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::Value;

use crate::harness::*;
use crate::install::*;

const SOCKET: &str = "/run/a.sock";

fn with_key(text: &str, key: &str) -> String {
    let mut settings: Value = serde_json::from_str(text).unwrap();
    settings[key] = 1.into();
    settings.to_string()
}

/// Adds a key to the settings, as a program does that replaces the file.
fn add(path: &Path, key: &str) {
    let new = path.with_extension(key);
    let exchange = || renameat_with(CWD, &new, CWD, path, RenameFlags::EXCHANGE).unwrap();
    loop {
        let text = fs::read_to_string(path).unwrap();
        fs::write(&new, with_key(&text, key)).unwrap();
        exchange();
        if fs::read_to_string(&new).unwrap() == text {
            return fs::remove_file(new).unwrap();
        }
        exchange();
    }
}

/// Adds a key in place. The file is empty meanwhile.
fn add_in_place(path: &Path, key: &str, takes: Duration) {
    let text = fs::read_to_string(path).unwrap();
    let mut file = fs::File::create(path).unwrap();
    thread::sleep(takes);
    file.write_all(with_key(&text, key).as_bytes()).unwrap();
}

/// The files beside the settings, without the settings.
fn others(path: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(path.parent().unwrap()).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files.filter(|file| file != path).collect()
}

/// Starts an installation, with whose system calls strace interferes. The installation is the
/// child, and not strace.
fn start(user: &User, injections: &[&str]) -> Child {
    let injections: Vec<String> = injections
        .iter()
        .map(|what| format!("-einject={what}"))
        .collect();
    let injections: Vec<&str> = injections.iter().map(String::as_str).collect();
    let strace = [&["strace", "-D", "-o", "/dev/null"], &injections[..]].concat();
    let install = [&INSTALL[..], &["--socket", SOCKET]].concat();
    let mut command = user.command(&strace, Place::Home, &install);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Waits until the new content is in a file beside the settings, and returns its path.
fn new_file(path: &Path) -> PathBuf {
    let find = || {
        let is_written = |file: &PathBuf| fs::metadata(file).is_ok_and(|file| file.len() > 0);
        others(path).into_iter().find(is_written)
    };
    wait_until("there is a new file", || find().is_some());
    find().unwrap()
}

/// Whether a process is in renameat2(2), which strace makes slow (proc_pid_syscall(5)).
fn is_in_exchange(process: &Child) -> bool {
    let call = fs::read_to_string(format!("/proc/{}/syscall", process.id()));
    let number = libc::SYS_renameat2.to_string();
    call.is_ok_and(|call| call.split(' ').next() == Some(&number))
}

/// Asserts that the settings have the hooks, the user's own content and `key`, and that nothing
/// else is left.
fn assert_all_there(path: &Path, key: &str, name: &str) {
    let text = fs::read_to_string(path).unwrap();
    let mut expected: Value = serde_json::from_str(CLIENTS_OWN).unwrap();
    expected[key] = 1.into();
    assert_eq!(foreign(&text, SOCKET, name), expected, "{name}");
    assert_eq!(others(path), [] as [PathBuf; 0], "{name}");
}

#[test]
fn what_another_program_writes_while_the_hooks_are_written_stays() {
    if tool("strace").is_none() {
        return;
    }
    let at_once = Duration::ZERO;
    let late = Duration::from_millis(500);
    // While the new file is synced, and where the file system has no exchange.
    for injections in [
        &["fsync:delay_enter=300000:when=1"][..],
        &["fsync:delay_exit=300000:when=1"],
        &["renameat2:error=EINVAL", "fsync:delay_exit=300000:when=1"],
    ] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut child = start(&user, injections);
        new_file(&path);
        add(&path, "mine");
        assert!(child.wait().unwrap().success(), "{injections:?}");
        assert_all_there(&path, "mine", &format!("{injections:?}"));
    }
    // Between the look at the old file and the exchange, and right after the exchange.
    for moment in ["enter", "exit"] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut child = start(&user, &[&format!("renameat2:delay_{moment}=300000:when=1")]);
        wait_until("the exchange", || is_in_exchange(&child));
        add(&path, "mine");
        assert!(child.wait().unwrap().success(), "{moment}");
        assert_all_there(&path, "mine", moment);
    }
    // The file is empty when the exchange comes, or is written when it has come.
    for takes in [at_once, late] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut child = start(&user, &["fsync:delay_enter=300000:when=1"]);
        new_file(&path);
        add_in_place(&path, "mine", takes);
        assert!(child.wait().unwrap().success());
        assert_all_there(&path, "mine", "in place");
    }
}

/// It can be open already when the hooks are written, and no look at its content tells.
#[test]
fn a_file_that_another_program_has_open_for_writing_is_left_to_it() {
    if tool("strace").is_none() {
        return;
    }
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let mut writer = fs::File::options().write(true).open(&path).unwrap();
    let mut child = start(&user, &[]);
    let mut attempts = BTreeSet::new();
    wait_until("it has tried three times", || {
        attempts.extend(others(&path));
        assert!(child.try_wait().unwrap().is_none(), "it waits");
        attempts.len() > 2
    });
    writer
        .write_all(with_key(CLIENTS_OWN, "mine").as_bytes())
        .unwrap();
    let length = with_key(CLIENTS_OWN, "mine").len() as u64;
    writer.set_len(length).unwrap();
    drop(writer);
    assert!(child.wait().unwrap().success());
    assert_all_there(&path, "mine", "open");
}

#[test]
fn a_file_that_appears_disappears_or_becomes_a_link_meanwhile_stays_so() {
    if tool("strace").is_none() {
        return;
    }
    let slow = ["fsync:delay_enter=300000:when=1"];
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    fs::remove_file(&path).unwrap();
    let mut child = start(&user, &slow);
    new_file(&path);
    fs::write(&path, with_key(CLIENTS_OWN, "mine")).unwrap();
    assert!(child.wait().unwrap().success());
    assert_all_there(&path, "mine", "appears");
    let slow_exchange = ["renameat2:delay_enter=300000:when=1"];
    for injections in [slow, slow_exchange] {
        fs::write(&path, CLIENTS_OWN).unwrap();
        let mut child = start(&user, &injections);
        match injections == slow {
            true => drop(new_file(&path)),
            false => wait_until("the exchange", || is_in_exchange(&child)),
        }
        fs::remove_file(&path).unwrap();
        assert!(child.wait().unwrap().success());
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(foreign(&text, SOCKET, "disappears"), serde_json::json!({}));
    }
    let target = user.home.path().join("target.json");
    fs::write(&path, CLIENTS_OWN).unwrap();
    let mut child = start(&user, &slow);
    new_file(&path);
    fs::rename(&path, &target).unwrap();
    symlink(&target, &path).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(fs::read_link(&path).unwrap(), target);
    foreign(
        &fs::read_to_string(target).unwrap(),
        SOCKET,
        "becomes a link",
    );
}

/// Of three writers at one moment, the exchange can keep the newest, and one more in a file.
#[test]
fn where_two_other_programs_write_at_one_moment_nothing_of_theirs_is_lost() {
    if tool("strace").is_none() {
        return;
    }
    let (user, path) = User::with(Place::Home, CLIENTS_OWN);
    let slow = "renameat2:delay_enter=300000:delay_exit=300000:when=1";
    let child = start(&user, &[slow]);
    wait_until("the exchange", || is_in_exchange(&child));
    let before = fs::metadata(&path).unwrap().ino();
    let is_same = || fs::metadata(&path).unwrap().ino() == before;
    fs::write(&path, with_key(CLIENTS_OWN, "first")).unwrap();
    wait_until("the end of the exchange", || !is_same());
    fs::write(&path, with_key(CLIENTS_OWN, "second")).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        with_key(CLIENTS_OWN, "second")
    );
    let kept = &others(&path)[0];
    assert!(
        stderr.contains(&format!("is in {}", kept.display())),
        "{stderr}"
    );
    assert_eq!(
        fs::read_to_string(kept).unwrap(),
        with_key(CLIENTS_OWN, "first")
    );
}

#[test]
fn a_signal_while_the_hooks_are_written_leaves_no_file_behind() {
    if tool("strace").is_none() {
        return;
    }
    for name in ["INT", "TERM", "HUP"] {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut child = start(&user, &["fsync:delay_enter=300000:when=1"]);
        new_file(&path);
        assert!(signal(child.id(), name));
        assert!(child.wait().unwrap().success(), "{name}");
        assert_eq!(others(&path), [] as [PathBuf; 0], "{name}");
    }
}

/// The writer begins later and later in an installation. `RACES` says how many times: a thousand
/// take 20 seconds.
#[test]
fn at_every_moment_of_an_installation_another_program_can_write() {
    let races = std::env::var("RACES").map_or(100, |count| count.parse().unwrap());
    let install = [&INSTALL[..], &["--socket", SOCKET]].concat();
    let start = |user: &User| {
        let mut command = user.command(&[], Place::Home, &install);
        command.stdout(Stdio::null()).spawn().unwrap()
    };
    let (user, _) = User::with(Place::Home, CLIENTS_OWN);
    let begin = Instant::now();
    assert!(start(&user).wait().unwrap().success());
    let duration = begin.elapsed();
    for n in 0..races {
        let (user, path) = User::with(Place::Home, CLIENTS_OWN);
        let mut child = start(&user);
        let begin = Instant::now();
        let delay = duration.mul_f64(1.1 * f64::from(n) / f64::from(races));
        while begin.elapsed() < delay {
            std::hint::spin_loop();
        }
        add(&path, "mine");
        assert!(child.wait().unwrap().success(), "{n}");
        assert_all_there(&path, "mine", &format!("{n} of {races}"));
    }
}
