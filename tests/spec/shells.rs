//! `completions` and `man`: the shells complete, and the page is correct roff.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::harness::*;
use crate::recipes::block;

/// A folder with the output of `hooks-observatory ARGUMENTS` in `name`, and a file to complete.
fn folder_with(name: &str, arguments: &[&str]) -> TempDir {
    let folder = folder();
    let output = run(arguments);
    assert!(output.status.success());
    fs::write(folder.path().join(name), output.stdout).unwrap();
    fs::write(folder.path().join("record.jsonl"), "").unwrap();
    folder
}

/// What is typed after the program's name, and the arguments that the program then gets.
const TYPED: [(&str, &str); 8] = [
    ("ho\t--inst\t", "<hooks><--install>"),
    ("completions z\t", "<completions><zsh>"),
    ("watch --no\t", "<watch><--notify>"),
    ("watch reco\t", "<watch><record.jsonl>"),
    ("watch --socket reco\t", "<watch><--socket><record.jsonl>"),
    ("--output-s\treco\t", "<--output-socket><record.jsonl>"),
    ("--pretty-l\t", "<--pretty-line>"),
    ("send --ver\t", "<send><--verbose>"),
];

/// The line of src/README.md that contains `text`.
fn readme(text: &str) -> &'static str {
    block("Completions and the manual page", text).trim()
}

/// Types lines into an interactive shell that has run `load`.
fn check_completions(shell: &[&str], folder: &TempDir, load: &str) {
    let (mut keys, screen, terminal) = terminal_with_keys();
    let copy = || terminal.try_clone().unwrap();
    let mut child = Command::new("setsid")
        .args(["--ctty"])
        .args(shell)
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("XDG_CONFIG_HOME", folder.path())
        .env("PATH", path_with_program())
        .env("TERM", "xterm")
        .stdin(copy())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap();
    // What is typed shows the prompt with quotes in it.
    let print = "hooks-observatory() { printf '<%s>' \"$@\"; echo; }; PS1='REA''DY> '";
    writeln!(keys, "{load}; {print}").unwrap();
    let wait_for_prompt = |count| {
        screen.wait("the prompt", |text| {
            text.matches("READY> ").count() >= count
        });
    };
    for (index, (typed, expected)) in TYPED.iter().enumerate() {
        wait_for_prompt(index + 1);
        write!(keys, "hooks-observatory {typed}\r").unwrap();
        screen.wait(expected, |text| text.contains(expected));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn bash_completes() {
    if tool("bash").is_none() || tool("setsid").is_none() {
        return;
    }
    let shell = ["bash", "--norc", "--noprofile", "-i"];
    let load = readme("completions bash");
    check_completions(&shell, &folder_with("unused", &["man"]), load);
}

#[test]
fn zsh_completes_from_a_folder_of_fpath_and_from_the_line_in_the_readme() {
    if tool("zsh").is_none() || tool("setsid").is_none() {
        return;
    }
    let folder = folder_with("_hooks-observatory", &["completions", "zsh"]);
    let line = readme("completions zsh");
    for load in [
        "fpath=($PWD $fpath); autoload -U compinit; compinit -u -D",
        &format!("autoload -U compinit; compinit -u -D; {line}"),
    ] {
        check_completions(&["zsh", "-f", "-i"], &folder, load);
    }
}

#[test]
fn fish_completes() {
    if tool("fish").is_none() {
        return;
    }
    let folder = folder_with("unused", &["man"]);
    let load = readme("completions fish");
    let complete = |typed: &str| {
        let output = Command::new("fish")
            .arg("--no-config")
            .arg("-c")
            .arg(format!("{load}; complete -C 'hooks-observatory {typed}'"))
            .current_dir(folder.path())
            .env("HOME", folder.path())
            .env("PATH", path_with_program())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && stderr.is_empty(), "{stderr}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (typed, expected) in TYPED {
        // It completes one word at a time.
        let word = typed.trim_end_matches('\t').replace('\t', " ");
        let word = word
            .replace("ho --", "hooks --")
            .replace("-s reco", "-socket reco");
        let expected = expected.trim_end_matches('>').rsplit('<').next().unwrap();
        let found = complete(&word);
        let found: Vec<&str> = found.split_whitespace().collect();
        assert_eq!(found.first(), Some(&expected), "{word}");
    }
    assert_eq!(complete("hooks reco"), "", "this command takes no path");
}

#[test]
fn the_manual_page_is_correct_and_has_every_option() {
    let (Some(_), Some(_)) = (tool("man"), tool("mandoc")) else {
        return;
    };
    let folder = folder_with("page.1", &["man"]);
    let page = folder.path().join("page.1");
    let lint = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .arg(&page)
        .output();
    let lint = String::from_utf8(lint.unwrap().stdout).unwrap();
    // The page has no date.
    let problems = lint.lines().filter(|line| !line.contains("missing date"));
    assert_eq!(problems.collect::<Vec<_>>(), [""; 0]);
    let line = readme("man -l").replace("man -l", "man --warnings -l");
    let mut man = shell(&line);
    let man = man
        .env("LC_ALL", "C")
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&man.stderr), "");
    let shown = String::from_utf8(man.stdout).unwrap();
    assert!(shown.contains(" -v, --verbose\n"), "{shown}");
    for command in [
        "",
        "send",
        "hooks",
        "service",
        "sessions",
        "watch",
        "completions",
        "man",
    ] {
        let arguments = format!("{command} --help");
        let help = run(&arguments.split_whitespace().collect::<Vec<_>>()).stdout;
        let help = String::from_utf8(help).unwrap();
        for word in help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
        {
            let option = word.trim_end_matches(|char: char| !char.is_ascii_lowercase());
            assert!(shown.contains(option), "{command} {option}");
        }
        assert!(shown.contains(&format!("hooks-observatory {command}")));
    }
}
