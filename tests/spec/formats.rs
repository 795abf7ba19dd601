//! Compact JSON, `--pretty-json` and `--pretty-yaml`. The reference is the output of the
//! Python server for the same requests.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::harness::*;

/// A request, and the recorded output of the Python server for it. The time is fixed, and the
/// client has the pid 12345, the uid 1000 and the gid 1001.
struct Golden {
    target: String,
    body: Vec<u8>,
    output: String,
}

fn golden(format: &str) -> Vec<Golden> {
    let rows = events(include_str!("../data/golden.jsonl"));
    assert_eq!(rows.len(), 188);
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| Golden {
            target: text(row, "target"),
            body: BASE64.decode(text(row, "body_base64")).unwrap(),
            output: text(row, format),
        })
        .collect()
}

/// The Python server's output, with the time of `printed` and with this process as the
/// client.
fn with_current_metadata(golden: &str, printed: &str) -> String {
    let time = &printed[printed.find("20").unwrap()..][..25];
    let mut text = golden.replacen("2026-02-09T10:30:00+00:00", time, 1);
    for (field, recorded, current) in [
        ("_peer_pid", 12345, std::process::id()),
        ("_peer_uid", 1000, rustix::process::getuid().as_raw()),
        ("_peer_gid", 1001, rustix::process::getgid().as_raw()),
    ] {
        for colon in ["\":", "\": ", ": "] {
            text = text.replacen(
                &format!("{field}{colon}{recorded}"),
                &format!("{field}{colon}{current}"),
                1,
            );
        }
    }
    text
}

fn assert_equals_python(format: &str, arguments: &[&str]) {
    let mut printer = Printer::new(arguments);
    for row in golden(format) {
        let printed = printer.print(&row.target, &row.body);
        assert_eq!(printed, with_current_metadata(&row.output, &printed));
    }
}

#[test]
fn compact_json_equals_pythons_byte_for_byte() {
    assert_equals_python("jsonl", &[]);
}

#[test]
fn pretty_json_equals_pythons_byte_for_byte() {
    assert_equals_python("pretty-json", &["--pretty-json"]);
}

/// Asserts that PyYAML reads the YAML of each case as the expected value. See
/// `same_meaning.py` for the fields of a case.
fn assert_same_meaning(cases: &[Value]) {
    let Some(python) = python_with_yaml() else {
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/same_meaning.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let results = Stream::collect(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    for case in cases {
        writeln!(stdin, "{case}").unwrap();
    }
    drop(stdin);
    let results = results.to_end();
    child.wait().unwrap();
    assert_eq!(results.lines().count(), cases.len());
    for result in results.lines() {
        assert_eq!(result, "same");
    }
}

#[test]
fn pretty_yaml_has_the_same_meaning_as_pythons() {
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let cases = golden("pretty-yaml").into_iter().map(|row| {
        let printed = printer.print(&row.target, &row.body);
        let expected = with_current_metadata(&row.output, &printed);
        json!({"yaml": printed, "expected_yaml": expected})
    });
    assert_same_meaning(&cases.collect::<Vec<_>>());
}

#[test]
fn pretty_yaml_parses_back_to_the_same_values() {
    let strings = [
        "",
        " ",
        "a",
        " a",
        "a ",
        "a b",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "- a",
        "-",
        "?",
        "? a",
        ":",
        "|",
        "y",
        "No",
        "TRUE",
        "null",
        "~",
        "<<",
        "=",
        "1",
        "-1",
        "+1",
        "1.5",
        "1e5",
        "1_000",
        "0x1f",
        "0b1",
        "0o7",
        "017",
        "1:30",
        "1:30:15.5",
        ".5",
        ".inf",
        "-.INF",
        ".nan",
        "2026-02-09",
        "2026-02-09T10:30:00Z",
        "2026-02-09 10:30:00 +1",
        "1 file",
        "...",
        "---",
        "--- a",
        "'",
        "\"",
        "it's",
        "\\",
        "@a",
        "`a",
        "%a",
        "&a",
        "*a",
        "!a",
        "[a]",
        "{a}",
        "a, b",
        "a\tb",
        "\ta",
        "a\nb",
        "a\n",
        "a\n\n",
        "\n",
        "\n\n",
        "\na",
        " a\nb",
        "a\n b",
        "a \nb ",
        "a\n ",
        "\ta\n\tb",
        "a\n\n\nb",
        "a\r\nb",
        "a\u{85}b\n",
        "a\u{2028}b\nc",
        "a\u{0}b",
        "\u{0}\n  a\n\n\tb \n",
        "\u{0}\n\\a\n\"b",
        "a\u{1b}[31mb\nc",
        "\u{feff}a",
        "é",
        "日本",
        "😀",
        "👨\u{200d}👩\nb",
        "e\u{301}",
        "\u{a0}a",
        "a\u{202e}b",
        "a\u{200f}b",
        "\u{fffe}",
        "#!/bin/sh\n\techo \"hi\" # x\n",
        "---\na: b\n...\n",
        "key: |\n  text\n",
    ];
    let mut payloads: Vec<Value> = strings
        .iter()
        .flat_map(|text| {
            let long = format!("{text}{}", "x".repeat(2000));
            [
                json!({"s": text, "list": [text, [text, text], {"k": text}], "map": {"k": {"k": text}}}),
                json!({*text: {*text: [1]}, long: {"after": "a long key"}}),
            ]
        })
        .collect();
    payloads.push(
        json!({"e": [[], {}, [[]], [{}], {"a": []}], "n": [0, -0.0, 1.5, 1e300, null, true]}),
    );
    let numbers: Value = serde_json::from_str("{\"n\":[1e5,1E5,1e-7,1.5e+300,-2E-3]}").unwrap();
    payloads.push(numbers);

    let mut printer = Printer::new(&["--pretty-yaml"]);
    let cases = payloads.into_iter().map(|payload| {
        let yaml = printer.print("/?event=E", payload.to_string());
        json!({"yaml": without_metadata(&yaml), "expected": payload})
    });
    assert_same_meaning(&cases.collect::<Vec<_>>());
}

fn without_metadata(yaml: &str) -> String {
    yaml.lines()
        .skip(6)
        .map(|line| format!("{line}\n"))
        .collect()
}

#[test]
fn pretty_yaml_uses_literal_blocks_and_quotes_only_where_needed() {
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let printed = printer.print(
        "/?event=PostToolUse",
        r##"{"command":"make\tall\n  # then\n","path":"/tmp/x","id":"2a","many":[1,{"a":"b","c":["d"]},[]],
            "none":{},"when":"2026-02-09","emoji":"naïve 😀","half":"\ud83d","red":"\u001b[31m","lines":"\u001b[1mtotal\n  2 files\n\n\tx \nend","tiny":1e-7}"##,
    );
    assert!(printed.starts_with("---\n_ts: '20"), "{printed}");
    let expected = "\
command: |
  make\tall
    # then
path: /tmp/x
id: '2a'
many:
- 1
- a: b
  c:
  - d
- []
none: {}
when: '2026-02-09'
emoji: naïve 😀
half: '\u{fffd}'
red: \"\\x1b[31m\"
lines: \"\\x1b[1mtotal\\n\\
  \\  2 files\\n\\
  \\n\\
  \\tx \\n\\
  end\"
tiny: 1.0e-7
";
    assert_eq!(without_metadata(&printed), expected);
}

#[test]
fn the_pretty_formats_indent_at_most_64_levels() {
    let nested = |depth: usize| {
        format!(
            "{{\"a\":{}7{}}}",
            "[{\"k\":".repeat(depth),
            "}]".repeat(depth)
        )
    };
    for format in ["--pretty-json", "--pretty-yaml"] {
        let mut printer = Printer::new(&[format]);
        let brackets = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        let printed = printer.print("/", brackets);
        assert!(
            printed.len() < 2_000_000,
            "{format}: {} bytes",
            printed.len()
        );
        // The event itself is the first level.
        let printed = printer.print("/", nested(40));
        let deepest = printed
            .lines()
            .map(|line| line.len() - line.trim_start().len())
            .max();
        assert_eq!(
            deepest,
            Some(if format == "--pretty-json" { 128 } else { 62 })
        );
    }
    let mut printer = Printer::new(&["--pretty-json"]);
    let printed = printer.print("/", nested(40));
    assert_eq!(
        events(&printed.replace('\n', ""))[0]["a"],
        events(&nested(40))[0]["a"]
    );
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let yaml = printer.print("/", nested(40));
    assert_same_meaning(&[
        json!({"yaml": without_metadata(&yaml), "expected": events(&nested(40))[0]}),
    ]);
}

/// Starts a server that has an output socket and also writes to stdout.
pub fn start_with_tee(format: &str, stdout: File) -> Server {
    let folder = folder();
    let output = folder.path().join("output.sock");
    let arguments = [format, "--tee", "--output-socket", output.to_str().unwrap()];
    Server::start_in(folder, &arguments, |command| command.stdout(stdout))
}

#[test]
fn yaml_is_coloured_only_on_a_terminal() {
    let shown = |prepare: &dyn Fn(&mut Command) -> &mut Command| {
        let (screen, slave) = terminal();
        let server =
            Server::start_with(&["--pretty-yaml"], |command| prepare(command).stdout(slave));
        server.post("Stop", "{\"a\":{\"b\":1}}");
        screen.wait("the event", |text| text.contains("1\r\n"))
    };
    let coloured = shown(&|command| command);
    for key in ["_ts", "_event", "a", "b"] {
        assert!(
            coloured.contains(&format!("\x1b[1;36m{key}\x1b[0m:")),
            "{coloured:?}"
        );
    }
    // The time and the name of the event are in reverse as well.
    assert!(
        coloured.contains("_event\x1b[0m: \x1b[1;7mStop\x1b[0m\r\n"),
        "{coloured:?}"
    );
    assert!(
        coloured.contains("_ts\x1b[0m: \x1b[1;7m'20"),
        "{coloured:?}"
    );
    assert_eq!(coloured.matches("\x1b[1;7m").count(), 2);
    assert!(shown(&|command| command.env("NO_COLOR", "")).contains('\x1b'));
    assert!(!shown(&|command| command.env("NO_COLOR", "1")).contains('\x1b'));
    assert!(
        !Printer::new(&["--pretty-yaml"])
            .print("/", "{\"a\":1}")
            .contains('\x1b')
    );

    // With an output socket the terminal gets the same bytes as the readers.
    let (screen, slave) = terminal();
    let server = start_with_tee("--pretty-yaml", slave);
    server.post("Stop", "{\"a\":1}");
    assert!(
        !screen
            .wait("the event", |text| text.contains("a: 1\r\n"))
            .contains('\x1b')
    );
}
