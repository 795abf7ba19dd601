//! Files that `watch` follows as `tail -F` does: what is a new file, and what is not.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use crate::harness::*;
use crate::watch::{Watch, event};

fn watch(path: &Path) -> Watch {
    Watch::start(&[path.to_str().unwrap()])
}

fn append(path: &Path, text: &str) {
    let mut file = File::options().append(true).open(path).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

fn make_fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status();
    assert!(made.unwrap().success());
}

/// The sessions of the lines that were shown.
fn shown(watch: &Watch) -> Vec<String> {
    let text = watch.stdout.text();
    let ids = text.lines().map(|line| line.split_whitespace().nth(1));
    ids.map(|id| id.unwrap().to_owned()).collect()
}

/// Waits until it has looked at its file so many times.
fn wait_for_looks(watch: &Watch, looks: u64) {
    let calls = || {
        let io = fs::read_to_string(format!("/proc/{}/io", watch.child.id())).unwrap();
        let calls = io.lines().find_map(|line| line.strip_prefix("syscr: "));
        calls.unwrap().parse::<u64>().unwrap()
    };
    let before = calls();
    wait_until("it looks again", || calls() >= before + looks);
}

#[test]
fn a_copy_a_fifo_and_an_older_file_are_no_successors() {
    let copy = |folder: &Path| {
        fs::write(folder.join("e.2026-02-09.bak1.jsonl"), event("no", "Stop")).unwrap();
    };
    let fifo = |folder: &Path| make_fifo(&folder.join("e.2026-02-10.jsonl"));
    // As in the folder of `logrotate`, where the numbers of older files are higher.
    let older = |folder: &Path| {
        let path = folder.join("e.2026-02-10.jsonl");
        fs::write(&path, event("no", "Stop")).unwrap();
        let file = File::options().append(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - Duration::from_secs(60))
            .unwrap();
    };
    let cases: [&dyn Fn(&Path); 3] = [&copy, &fifo, &older];
    let watched = cases.map(|make| {
        let folder = folder();
        let path = folder.path().join("e.2026-02-09.jsonl");
        fs::write(&path, event("one", "Stop")).unwrap();
        make(folder.path());
        (watch(&path), folder)
    });
    for (watch, folder) in &watched {
        watch.wait_for("one  Stop");
        let next = folder.path().join("e.2026-02-11.jsonl");
        fs::write(next, event("two", "Stop")).unwrap();
    }
    for (watch, _folder) in &watched {
        watch.wait_for("two  Stop");
        assert_eq!(shown(watch), ["one", "two"]);
    }
}

#[test]
fn a_file_that_is_still_written_is_not_left_for_a_newer_one() {
    let folder = folder();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("e.1.jsonl"), "").unwrap();
    let watch = watch(&path("e.1.jsonl"));
    for number in 10..20 {
        append(&path("e.1.jsonl"), &event(&number.to_string(), "Stop"));
        // Always newer.
        fs::write(path("e.2.jsonl"), event("next", "Stop")).unwrap();
        watch.wait_for(&format!("{number}   Stop"));
        wait_for_looks(&watch, 3);
    }
    watch.wait_for("next Stop");
    assert_eq!(shown(&watch).len(), 11);
}

/// The kernel says that a file in `/proc` is empty. A network file system can report a size that a
/// file had before.
#[test]
fn a_file_that_is_longer_than_its_size_is_read_once() {
    let line = format!("\n{}", event("one", "Stop"));
    let mut shell = Command::new("sh")
        .args(["-c", "read line", &line])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/cmdline", shell.id());
    wait_until("the shell runs", || {
        fs::read_to_string(&path).unwrap().contains("one")
    });
    let watch = Watch::start(&[&path]);
    watch.wait_for("one  Stop");
    wait_for_looks(&watch, 5);
    assert_eq!(shown(&watch), ["one"]);
    shell.kill().unwrap();
    shell.wait().unwrap();
}

#[test]
fn a_file_whose_handle_is_stale_is_opened_again() {
    let Some(strace) = tool("strace") else {
        return;
    };
    let folder = folder();
    let path = folder.path().join("events");
    fs::write(&path, event("one", "Stop") + "{").unwrap();
    // The first two calls read the file to its end. It cannot be opened again at once.
    let stale = "inject=read:error=ESTALE:when=3";
    let missing = "inject=openat:error=ENOENT:when=2";
    let strace = [
        strace.to_str().unwrap(),
        // The program is the child, and not strace.
        "-D",
        "-o",
        "/dev/null",
        "-P",
        path.to_str().unwrap(),
        "-e",
        stale,
        "-e",
        missing,
    ];
    let watch = Watch::start_with(&[path.to_str().unwrap()], |command| {
        run_under(command, &strace)
    });
    watch
        .stdout
        .wait("the file again", |text| text.matches("one").count() == 2);
    let rest = "\n".to_owned() + &event("two", "Stop");
    append(&path, &rest);
    watch.wait_for("two  Stop");
    assert_eq!(shown(&watch), ["one", "one", "two"]);
}

#[test]
fn of_a_truncated_file_the_unfinished_line_is_forgotten() {
    let folder = folder();
    let path = folder.path().join("events");
    fs::write(&path, event("one", "Stop") + "{").unwrap();
    let watch = watch(&path);
    watch.wait_for("one  Stop");
    fs::write(&path, "").unwrap();
    wait_for_looks(&watch, 2);
    append(&path, &event("two", "Stop"));
    watch.wait_for("two  Stop");
}

#[test]
fn a_fifo_in_the_place_of_the_file_is_not_opened() {
    let folder = folder();
    let [path, renamed] = ["events", "renamed"].map(|name| folder.path().join(name));
    fs::write(&path, event("one", "Stop")).unwrap();
    let watch = watch(&path);
    watch.wait_for("one  Stop");
    fs::rename(&path, &renamed).unwrap();
    make_fifo(&path);
    append(&renamed, &event("two", "Stop"));
    watch.wait_for("two  Stop");
    fs::remove_file(&path).unwrap();
    fs::write(&path, event("thre", "Stop")).unwrap();
    watch.wait_for("thre Stop");
}
