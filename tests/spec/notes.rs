//! EDU_NOTES.md is true: its excerpts stand in the source, its commands print what it
//! says, its links lead somewhere, and every file of the source says which stop tells of it.
//!
//! A section of the notes is one shell session, in a folder of its own. Each command
//! is given once what the one before it should print has come, so nothing is waited for
//! by the clock. `…` on a line by itself stands for any lines, or none. What differs from
//! run to run (times, pids, users, lengths with such numbers in them) is not compared.

use std::fs;
use std::io::{PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};

use regex_lite::Regex;
use tempfile::TempDir;

use crate::harness::*;

const NOTES: &str = include_str!("../../EDU_NOTES.md");
const README: &str = include_str!("../../README.md");
const SOURCE_FOLDERS: &str = "src src/cli src/server src/listen src/http src/event src/format src/output \
     src/diagnostics src/client";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced block: the section that it stands in, its language, its lines.
struct Block {
    section: &'static str,
    language: &'static str,
    lines: Vec<&'static str>,
}

fn blocks() -> Vec<Block> {
    let (mut section, mut blocks, mut open) = ("", Vec::new(), None::<Block>);
    for line in NOTES.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let lines = Vec::new();
                open = Some(Block {
                    section,
                    language,
                    lines,
                });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line),
            (None, None) => section = line.strip_prefix("## ").unwrap_or(section),
        }
    }
    blocks
}

/// The source files, as paths from the root.
fn sources() -> Vec<PathBuf> {
    let list = |folder: &str| {
        let files = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
        let paths = files.map(|file| Path::new(folder).join(file.unwrap().file_name()));
        paths
            .filter(|path| path.extension().is_some_and(|end| end == "rs"))
            .collect::<Vec<_>>()
    };
    let folders = SOURCE_FOLDERS.split(' ');
    folders.flat_map(list).collect()
}

#[test]
fn every_excerpt_stands_in_the_file_that_it_names() {
    let excerpts: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.language == "rust")
        .collect();
    assert!(excerpts.len() >= 15);
    for block in excerpts {
        let name = block.lines[0]
            .strip_prefix("// ")
            .expect("an excerpt begins with its file's name");
        let source = fs::read_to_string(Path::new(ROOT).join(name)).expect(name);
        let source: Vec<&str> = source.lines().map(str::trim).collect();
        let mut from = 0;
        for piece in block.lines[1..].split(|line| line.trim() == "…") {
            let piece: Vec<&str> = piece.iter().map(|line| line.trim()).collect();
            let found = source[from..]
                .windows(piece.len().max(1))
                .position(|lines| lines == piece);
            from += found.unwrap_or_else(|| panic!("{name} no longer has {piece:#?}"));
        }
    }
}

#[test]
fn every_link_and_file_name_leads_somewhere() {
    for document in [README, NOTES] {
        check_links(document);
        check_names(document);
    }
}

/// What the pattern's group matches, everywhere in a document.
fn found<'d>(pattern: &str, document: &'d str) -> Vec<&'d str> {
    let pattern = Regex::new(pattern).unwrap();
    let found = pattern.captures_iter(document);
    found.map(|found| found.get(1).unwrap().as_str()).collect()
}

fn check_links(document: &str) {
    let anchor = |heading: &str| {
        let kept = |char: &char| char.is_alphanumeric() || " -".contains(*char);
        let kept: String = heading.chars().filter(kept).collect();
        kept.to_lowercase().replace(' ', "-")
    };
    for link in found(r"\]\(([^)]+)\)", document) {
        if link.starts_with("https://") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = Path::new(ROOT).join(file);
        assert!(path.exists(), "{link} leads nowhere");
        if !heading.is_empty() {
            let text = match file {
                "" => document.to_owned(),
                _ => fs::read_to_string(path).unwrap(),
            };
            let headings = found(r"(?m)^#+ (.*)$", &text);
            let is_there = headings.iter().any(|text| anchor(text) == heading);
            assert!(is_there, "{link} leads nowhere");
        }
    }
}

fn check_names(document: &str) {
    let folders = format!("{SOURCE_FOLDERS} tests tests/spec benches benches/load");
    for name in found(r"`([a-z_/]+\.rs)`", document) {
        let mut folders = folders.split(' ').chain([""]);
        let exists = folders.any(|folder| Path::new(ROOT).join(folder).join(name).exists());
        assert!(exists, "there is no {name}");
    }
}

#[test]
fn every_source_file_says_which_stop_tells_of_it() {
    let stop = Regex::new(r"(?m)^//! Stop (\d+) of EDU_NOTES\.md\.$").unwrap();
    for path in sources() {
        let source = fs::read_to_string(Path::new(ROOT).join(&path)).unwrap();
        let found = stop.captures(&source);
        let found = found.unwrap_or_else(|| panic!("{} names no stop", path.display()));
        let heading = format!("\n## {}. ", &found[1]);
        assert!(
            NOTES.contains(&heading),
            "{}: there is no stop {}",
            path.display(),
            &found[1]
        );
    }
}

#[test]
fn every_command_prints_what_the_notes_say() {
    let tools = ["bash", "curl", "socat", "jq", "strace"];
    if !tools.iter().all(|name| tool(name).is_some()) {
        return;
    }
    let console: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.language == "console")
        .collect();
    assert!(console.len() >= 10);
    for section in console.chunk_by(|one, next| one.section == next.section) {
        let mut shell = Shell::open(section[0].section);
        for block in section {
            for (command, printed) in commands(&block.lines) {
                shell.run(&command, &printed);
            }
        }
        shell.close();
    }
}

/// What is given after each `$`, and what comes then.
fn commands(lines: &[&'static str]) -> Vec<(String, Vec<&'static str>)> {
    let mut commands: Vec<(String, Vec<&str>)> = Vec::new();
    for line in lines {
        match (line.strip_prefix("$ "), line.strip_prefix("> ")) {
            (Some(command), _) => commands.push((command.into(), Vec::new())),
            (None, Some(more)) => {
                let command = &mut commands.last_mut().expect("a command comes first").0;
                *command = format!("{command}\n{more}");
            }
            (None, None) => commands
                .last_mut()
                .expect("a command comes first")
                .1
                .push(line),
        }
    }
    commands
}

/// A shell, and what it and its jobs have printed.
struct Shell {
    section: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    printed: Stream,
    /// Lines of it that were expected and have come.
    seen: usize,
    _folder: TempDir,
}

impl Shell {
    fn open(section: &'static str) -> Shell {
        let folder = folder();
        let (reader, writer): (PipeReader, _) = std::io::pipe().unwrap();
        let binaries = Path::new(BINARY).parent().unwrap().to_owned();
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = [binaries].into_iter().chain(std::env::split_paths(&path));
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile"])
            .current_dir(folder.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("LC_ALL", "C")
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env_remove("RUST_LOG")
            .stdin(std::process::Stdio::piped())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer)
            // All that it starts ends with it.
            .process_group(0);
        let mut child = command.spawn().unwrap();
        drop(command);
        let stdin = child.stdin.take();
        let mut shell = Shell {
            section,
            child,
            stdin,
            printed: Stream::collect(Some(reader)),
            seen: 0,
            _folder: folder,
        };
        shell.give("umask 022");
        shell
    }

    fn give(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
    }

    /// Gives a command, and waits until all that it should print has come.
    fn run(&mut self, command: &str, expected: &[&str]) {
        self.give(command);
        let expected: Vec<String> = expected.iter().map(|line| masked(line)).collect();
        let what = format!("{:?} after {command:?}: {expected:#?}", self.section);
        let seen = self.seen;
        let printed = self.printed.wait(&what, |printed| {
            matched(&new_lines(printed, seen), &expected).is_some()
        });
        self.seen += matched(&new_lines(&printed, seen), &expected).unwrap_or_default();
    }

    /// There should be nothing more.
    fn close(mut self) {
        self.give("echo 'the end'");
        let printed = self
            .printed
            .wait("the end", |printed| printed.contains("the end\n"));
        let rest = new_lines(&printed, self.seen);
        assert_eq!(rest, ["the end"], "in {:?}", self.section);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Whatever still runs was meant to run until now.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The whole lines after the first `seen`.
fn new_lines(printed: &str, seen: usize) -> Vec<String> {
    let lines = printed.split_inclusive('\n').skip(seen);
    lines
        .filter(|line| line.ends_with('\n'))
        .map(|line| masked(line.trim_end_matches('\n')))
        .collect()
}

/// How many of the lines it takes to match all that is expected.
fn matched(lines: &[String], expected: &[String]) -> Option<usize> {
    match expected {
        [] => Some(0),
        [gap, rest @ ..] if gap == "…" => (0..=lines.len())
            .find_map(|skipped| matched(&lines[skipped..], rest).map(|count| skipped + count)),
        [line, rest @ ..] => (lines.first() == Some(line))
            .then(|| matched(&lines[1..], rest))?
            .map(|count| count + 1),
    }
}

/// A line without what differs from run to run.
fn masked(line: &str) -> String {
    let masks = [
        // The time in a trace, and how long something took or may take.
        (r"^ +\d+\.\d{6} ", ""),
        (r"(after|timeout) [\d.]+ ?(s|ms|µs)\b", "$1 TIME"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME"),
        (r"([pug]id) \d+", "$1 ID"),
        (r#"("_peer_[pug]id"):\d+"#, "$1:ID"),
        // The length of an event, which has the numbers above in it; of what curl sends.
        (r"(appended|wrote|read) \d+ bytes", "$1 LENGTH bytes"),
    ];
    masks
        .iter()
        .fold(line.trim_end().to_owned(), |line, (pattern, mask)| {
            Regex::new(pattern)
                .unwrap()
                .replace_all(&line, *mask)
                .into_owned()
        })
}
