//! The notes are correct: the excerpts in EDU_NOTES.md are in the source, its commands print
//! what it shows, its links and those of README.md lead somewhere, and every source file names
//! its stop.
//!
//! The commands of one section run in one shell session, in a folder of their own. A command
//! runs after the previous one has printed its expected lines, so no test sleeps. A line with
//! only `…` matches any number of lines. What differs from run to run is masked: times, pids,
//! users, and lengths that depend on them.

use std::fs;
use std::io::{PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};

use regex_lite::Regex;
use tempfile::TempDir;

use crate::harness::*;

const NOTES: &str = include_str!("../../EDU_NOTES.md");
const SOURCE_FOLDERS: &str = "src src/cli src/server src/server/processes src/listen src/http src/event src/format src/output \
     src/diagnostics src/client src/client/hooks src/client/watch src/client/watch/session \
     src/client/watch/screen src/client/watch/source";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A fenced code block, and the section that contains it.
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

/// The source files, as paths relative to the root.
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
fn every_excerpt_is_in_the_file_that_it_names() {
    let excerpts: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.language == "rust")
        .collect();
    assert!(excerpts.len() >= 15);
    for block in excerpts {
        let name = block.lines[0]
            .strip_prefix("// ")
            .expect("an excerpt begins with a comment that names its file");
        let source = fs::read_to_string(Path::new(ROOT).join(name)).expect(name);
        let source: Vec<&str> = source.lines().map(str::trim).collect();
        let mut from = 0;
        for piece in block.lines[1..].split(|line| line.trim() == "…") {
            let piece: Vec<&str> = piece.iter().map(|line| line.trim()).collect();
            let found = source[from..]
                .windows(piece.len().max(1))
                .position(|lines| lines == piece);
            from += found.unwrap_or_else(|| panic!("{name} does not contain {piece:#?}"));
        }
    }
}

#[test]
fn the_state_table_is_the_one_in_the_source() {
    let source = fs::read_to_string(Path::new(ROOT).join("src/http/connection.rs")).unwrap();
    let comments = source.lines().filter_map(|line| line.strip_prefix("//! "));
    let table: Vec<&str> = comments.filter(|line| line.starts_with('|')).collect();
    assert!(table.len() >= 15);
    let table = table.join("\n");
    assert!(NOTES.contains(&format!("\n\n{table}\n\n")), "{table}");
}

#[test]
fn every_link_and_every_file_name_is_valid() {
    for path in [
        "README.md",
        "EDU_NOTES.md",
        "tests/README.md",
        "benches/README.md",
    ] {
        let path = Path::new(ROOT).join(path);
        let document = fs::read_to_string(&path).unwrap();
        check_links(&document, path.parent().unwrap());
        check_names(&document);
    }
}

/// The text of the pattern's group in each of its matches.
fn captures<'d>(pattern: &str, document: &'d str) -> Vec<&'d str> {
    let pattern = Regex::new(pattern).unwrap();
    let matches = pattern.captures_iter(document);
    matches
        .map(|captures| captures.get(1).unwrap().as_str())
        .collect()
}

/// Links are relative to the folder of the document.
fn check_links(document: &str, folder: &Path) {
    let anchor = |heading: &str| {
        let is_kept = |char: &char| char.is_alphanumeric() || " -".contains(*char);
        let text: String = heading.chars().filter(is_kept).collect();
        text.to_lowercase().replace(' ', "-")
    };
    for link in captures(r"\]\(([^)]+)\)", document) {
        if link.starts_with("https://") {
            continue;
        }
        let (file, heading) = link.split_once('#').unwrap_or((link, ""));
        let path = folder.join(file);
        assert!(path.exists(), "{link} leads nowhere");
        if !heading.is_empty() {
            let text = match file {
                "" => document.to_owned(),
                _ => fs::read_to_string(path).unwrap(),
            };
            let headings = captures(r"(?m)^#+ (.*)$", &text);
            let exists = headings.iter().any(|text| anchor(text) == heading);
            assert!(exists, "{link} leads nowhere");
        }
    }
}

fn check_names(document: &str) {
    let folders = format!("{SOURCE_FOLDERS} tests tests/spec benches benches/load");
    for name in captures(r"`([a-z_/]+\.rs)`", document) {
        let mut folders = folders.split(' ').chain([""]);
        let exists = folders.any(|folder| Path::new(ROOT).join(folder).join(name).exists());
        assert!(exists, "there is no {name}");
    }
}

#[test]
fn every_source_file_names_its_stop() {
    let stop = Regex::new(r"(?m)^//! Stop (\d+) of EDU_NOTES\.md\.$").unwrap();
    for path in sources() {
        let source = fs::read_to_string(Path::new(ROOT).join(&path)).unwrap();
        let captures = stop.captures(&source);
        let captures = captures.unwrap_or_else(|| panic!("{} names no stop", path.display()));
        let heading = format!("\n## {}. ", &captures[1]);
        assert!(
            NOTES.contains(&heading),
            "{}: there is no stop {}",
            path.display(),
            &captures[1]
        );
    }
}

#[test]
fn every_command_prints_what_the_notes_show() {
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
            for (command, output) in commands(&block.lines) {
                shell.run(&command, &output);
            }
        }
        shell.close();
    }
}

/// The commands of a block (after `$`, continued after `>`), each with its expected output.
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

/// A shell, and the output of the shell and its jobs.
struct Shell {
    section: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    output: Stream,
    /// The number of output lines that were matched.
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
            // So that `drop` can kill all processes of the session.
            .process_group(0);
        let mut child = command.spawn().unwrap();
        drop(command);
        let stdin = child.stdin.take();
        let mut shell = Shell {
            section,
            child,
            stdin,
            output: Stream::collect(Some(reader)),
            seen: 0,
            _folder: folder,
        };
        shell.send("umask 022");
        shell
    }

    fn send(&mut self, command: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "{command}").unwrap();
    }

    /// Runs a command, and waits until it has printed the expected lines.
    fn run(&mut self, command: &str, expected: &[&str]) {
        self.send(command);
        let expected: Vec<String> = expected.iter().map(|line| masked(line)).collect();
        let what = format!("{:?} after {command:?}: {expected:#?}", self.section);
        let seen = self.seen;
        let output = self.output.wait(&what, |output| {
            matched(&new_lines(output, seen), &expected).is_some()
        });
        self.seen += matched(&new_lines(&output, seen), &expected).unwrap_or_default();
    }

    /// Asserts that there is no further output.
    fn close(mut self) {
        self.send("echo 'the end'");
        let output = self
            .output
            .wait("the end", |output| output.contains("the end\n"));
        let rest = new_lines(&output, self.seen);
        assert_eq!(rest, ["the end"], "in {:?}", self.section);
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Servers and readers in the background still run.
        let group = rustix::process::Pid::from_child(&self.child);
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The complete lines after the first `seen` lines, masked.
fn new_lines(output: &str, seen: usize) -> Vec<String> {
    let lines = output.split_inclusive('\n').skip(seen);
    lines
        .filter(|line| line.ends_with('\n'))
        .map(|line| masked(line.trim_end_matches('\n')))
        .collect()
}

/// The number of lines that match the expected lines. `None` if they do not match (yet).
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

/// Replaces what differs from run to run.
fn masked(line: &str) -> String {
    let masks = [
        // The time in a trace. Durations and timeouts.
        (r"^ +\d+\.\d{6} ", ""),
        (r"(after|timeout) [\d.]+ ?(s|ms|µs)\b", "$1 TIME"),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", "TIME"),
        (r"([pug]id) \d+", "$1 ID"),
        (r#"("_peer_[pug]id"):\d+"#, "$1:ID"),
        // The length of an event, which contains the numbers above, and of a request of curl,
        // which contains its version.
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
