//! The notes are correct: the excerpts in EDU_NOTES.md are in the source, its commands print
//! what it shows, its pictures show what happens, its links and those of the other documents lead
//! somewhere, and every source file names its stop.
//!
//! The commands of one section run in one shell session, in a folder of their own. A command
//! runs after the previous one has printed its expected lines, so no test sleeps. A line with
//! only `…` matches any number of lines. What differs from run to run is masked: times, pids,
//! users, and lengths that depend on them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{PipeReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command};

use hooks_observatory::format::{Format, Forms};
use hooks_observatory::output::event_log::{EventLog, Form, Next};
use regex_lite::Regex;
use tempfile::TempDir;

use crate::harness::*;

const NOTES: &str = include_str!("../../EDU_NOTES.md");
const SOURCE_FOLDERS: &str = "src src/cli src/server src/server/clients src/server/sessions src/listen src/http src/event src/format src/output \
     src/diagnostics src/send src/request src/hooks src/service src/user_files src/watch src/watch/session \
     src/watch/screen src/watch/source";
const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The line with which a file names its stop.
const STOP: &str = r"(?m)^//! Stop (\d+) of EDU_NOTES\.md\.$";

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
    SOURCE_FOLDERS.split(' ').flat_map(rust_files).collect()
}

/// The Rust files in a folder. All paths are relative to the root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(Path::new(ROOT).join(folder)).unwrap();
    let paths = files.map(|file| Path::new(folder).join(file.unwrap().file_name()));
    let is_rust = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs");
    paths.filter(is_rust).collect()
}

/// All source files and tests.
pub fn all_code() -> String {
    let tests = ["tests", "tests/spec"].into_iter().flat_map(rust_files);
    let paths = tests.chain(sources());
    paths.map(|path| source(path.to_str().unwrap())).collect()
}

#[test]
fn every_excerpt_is_in_the_file_that_it_names() {
    let excerpts: Vec<Block> = blocks()
        .into_iter()
        .filter(|block| block.language == "rust")
        .collect();
    assert!(excerpts.len() >= 6);
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

fn source(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(name)).expect(name)
}

/// The edges of the picture are the transitions of the table in `connection.rs`.
#[test]
fn the_state_diagram_has_the_transitions_of_the_source() {
    let names = |cell: &str| -> Vec<String> {
        let names = captures(r"`(\w+)`", cell);
        names.into_iter().map(str::to_owned).collect()
    };
    let mut table = BTreeSet::new();
    let source = source("src/http/connection.rs");
    for row in source
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"))
    {
        let row = format!("`{row}");
        let cells: Vec<&str> = row.split('|').collect();
        // Without a next state, the step ends the connection, or the loop takes the socket.
        let next = [names(cells[2]), names(cells[3])].concat();
        let next = next.first().map_or("Reader", String::as_str);
        for state in names(cells[0]) {
            table.insert((state, next.to_owned()));
        }
    }
    assert!(table.len() >= 10);
    let diagram = blocks()
        .into_iter()
        .find(|block| block.language == "mermaid");
    let diagram = diagram.expect("a diagram").lines.join("\n");
    let edges = Regex::new(r"(\w+) --> (\w+):").unwrap();
    let edges = edges.captures_iter(&diagram);
    let edges: BTreeSet<_> = edges
        .map(|edge| (edge[1].to_owned(), edge[2].to_owned()))
        .collect();
    assert_eq!(edges, table);
}

/// The picture of a turn has the steps of the loop, in their order.
#[test]
fn the_picture_of_a_turn_has_the_steps_of_the_loop() {
    let source = source("src/server/mod.rs");
    let (_, serve) = source.split_once("fn serve(").unwrap();
    let (serve, _) = serve.split_once("\n    }\n").unwrap();
    let steps = captures(r"self\.(?:clients\.)?(\w+)\(", serve);
    let lines = NOTES.lines();
    let start = lines.skip_while(|line| !line.starts_with(" ┌─► "));
    let picture = start.take_while(|line| *line != "```").map(|line| {
        let words = line.trim_start_matches(|char: char| !char.is_ascii_lowercase());
        words.split(' ').next().unwrap()
    });
    assert_eq!(picture.collect::<Vec<_>>(), steps);
}

fn assert_picture(picture: &str) {
    assert!(
        NOTES.contains(&format!("```text\n{picture}```\n")),
        "the notes do not contain this picture:\n{picture}"
    );
}

/// The picture of the two triggers shows what epoll reports.
#[test]
#[cfg(target_os = "linux")]
fn the_picture_of_the_triggers_is_what_epoll_reports() {
    use rustix::event::Timespec;
    use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    let (mut sender, mut receiver) = UnixStream::pair().unwrap();
    let polls = [EventFlags::IN, EventFlags::IN | EventFlags::ET].map(|flags| {
        let poll = epoll::create(CreateFlags::CLOEXEC).unwrap();
        epoll::add(&poll, &receiver, EventData::new_u64(0), flags).unwrap();
        poll
    });
    let mut picture = format!(
        "{:<24}{:<9}{:<18}{}\n",
        "", "unread", "level-triggered", "edge-triggered"
    );
    let steps = [
        ("2 bytes arrive", 2, 0),
        ("nothing happens", 0, 0),
        ("1 byte is read", 0, 1),
        ("1 byte arrives", 1, 0),
        ("all bytes are read", 0, 2),
    ];
    let mut unread = 0;
    for (step, arriving, read) in steps {
        sender.write_all(&vec![0; arriving]).unwrap();
        receiver.read_exact(&mut vec![0; read]).unwrap();
        unread = unread + arriving - read;
        let [level, edge] = polls.each_ref().map(|poll| {
            let mut reports = Vec::with_capacity(1);
            let buffer = rustix::buffer::spare_capacity(&mut reports);
            epoll::wait(poll, buffer, Some(&Timespec::default())).unwrap();
            if reports.is_empty() { "-" } else { "readable" }
        });
        picture += &format!("{step:<24}{unread:>6}   {level:<18}{edge}\n");
    }
    assert_picture(&picture);
}

/// A read ends where descriptors were passed.
#[test]
#[cfg(target_os = "linux")]
fn the_picture_of_a_short_read_is_what_the_kernel_does() {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    let reads = |passes_descriptor: bool| {
        let (mut sender, mut receiver) = UnixStream::pair().unwrap();
        match passes_descriptor {
            true => assert_eq!(crate::turns::send_descriptor(&sender, b"AB"), Ok(2)),
            false => sender.write_all(b"AB").unwrap(),
        }
        sender.write_all(b"CD").unwrap();
        drop(sender);
        let mut reads = Vec::new();
        let mut buffer = [0; 100];
        while let Ok(count @ 1..) = receiver.read(&mut buffer) {
            reads.push(format!("{:?}", String::from_utf8_lossy(&buffer[..count])));
        }
        reads.join(", ")
    };
    let mut picture = format!(
        "{:<43}{}\n",
        "sent", "what each read into a large buffer returns"
    );
    picture += &format!("{:<43}{}\n", "\"AB\", then \"CD\"", reads(false));
    let sent = "\"AB\" with a descriptor, then \"CD\"";
    picture += &format!("{sent:<43}{}\n", reads(true));
    assert_picture(&picture);
}

/// The picture of the log shows a log in which four cursors have read as the notes say.
#[test]
fn the_picture_of_the_log_shows_its_floor_history_and_cursors() {
    const ENTRIES: u64 = 9;
    let mut log = EventLog::new(105, 60, Format::Compact);
    let [a, b, c] = [(); 3].map(|()| log.add_cursor(Form::Compact, 0));
    // Each cursor, and how many bytes it reads at most.
    let mut cursors = [(a, 14), (b, 60), (c, usize::MAX)];
    for entry in 0..ENTRIES {
        let forms = Forms {
            compact: format!("entry {entry:3}\n"),
            shown: None,
        };
        log.append(forms);
        for (cursor, room) in &mut cursors {
            while *room > 0
                && let Next::Bytes(bytes) = log.next(*cursor)
            {
                let count = bytes.len().min(*room);
                log.advance(*cursor, count);
                *room -= count;
            }
        }
        log.release();
    }
    assert_eq!(log.next(a), Next::Bytes(b"y   1\n"), "the rest of entry 1");
    let d = log.add_cursor(Form::Compact, log.oldest());

    let column = |entry: u64| 10 + 9 * entry as usize;
    let put = |line: &mut String, entry: u64, text: &str| {
        *line = format!("{line:<width$}{text}", width = column(entry));
    };
    let mut lines = vec![String::from("entry"), String::new(), String::new()];
    for entry in 0..ENTRIES {
        let state = match entry {
            _ if entry < log.oldest() => "dropped",
            _ if entry < log.floor => "history",
            _ => "waits",
        };
        put(&mut lines[0], entry, &entry.to_string());
        put(&mut lines[1], entry, state);
    }
    put(&mut lines[2], log.oldest(), "^ oldest");
    put(&mut lines[2], log.floor, "^ floor");
    put(&mut lines[2], log.end(), "^ end");
    for (name, cursor) in [("A", a), ("B", b), ("C", c), ("D", d)] {
        let mut line = format!("cursor {name}");
        let missed = log.missed(cursor);
        put(
            &mut line,
            log.common_position([cursor].into_iter()).compact,
            &format!("^ next, missed {missed}"),
        );
        lines.push(line);
    }
    assert_picture(&(lines.join("\n") + "\n"));
}

/// `lib.rs` lists the modules in the order of their stops.
#[test]
fn the_stops_visit_the_modules_in_the_order_of_lib_rs() {
    let source_of = |module: &str| {
        let paths = [format!("src/{module}.rs"), format!("src/{module}/mod.rs")];
        let path = paths
            .iter()
            .find(|path| Path::new(ROOT).join(path).exists());
        source(path.expect(module))
    };
    let lib = source("src/lib.rs");
    let modules = captures(r"\[`(?:mod@)?(\w+)`\]", &lib);
    assert!(modules.len() >= 10);
    let stops = modules.iter().map(|module| {
        let stop: usize = captures(STOP, &source_of(module))[0].parse().unwrap();
        (stop, module)
    });
    let stops: Vec<_> = stops.collect();
    assert!(stops.is_sorted_by_key(|(stop, _)| stop), "{stops:?}");
}

#[test]
fn every_link_and_every_file_name_is_valid() {
    for path in [
        "README.md",
        "src/README.md",
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
fn every_test_that_the_notes_name_exists() {
    let code = all_code();
    let names = captures(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})`", NOTES);
    assert!(names.len() >= 10);
    for name in names {
        assert!(code.contains(&format!("fn {name}(")), "there is no {name}");
    }
}

#[test]
fn every_source_file_names_its_stop() {
    let stop = Regex::new(STOP).unwrap();
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
        let path = [binaries, steps_folder()]
            .into_iter()
            .chain(std::env::split_paths(&path));
        let mut command = Command::new("bash");
        command
            .args(["--norc", "--noprofile"])
            .current_dir(folder.path())
            .env("PATH", std::env::join_paths(path).unwrap())
            .env("LC_ALL", "C")
            .env_remove("CLAUDE_UNIX_HOOK_WATCHER")
            .env_remove("XDG_RUNTIME_DIR")
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
