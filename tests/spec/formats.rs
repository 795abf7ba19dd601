//! The three formats, against what the Python server prints for the same requests.

use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::harness::*;

/// A request, and what the Python server prints for it at a fixed time for the
/// peer 12345, 1000, 1001.
struct Golden {
    target: String,
    body: Vec<u8>,
    printed: String,
}

fn golden(format: &str) -> Vec<Golden> {
    let rows = events(include_str!("../data/golden.jsonl"));
    assert_eq!(rows.len(), 188);
    let text = |row: &Value, field: &str| row[field].as_str().unwrap().to_owned();
    rows.iter()
        .map(|row| Golden {
            target: text(row, "target"),
            body: BASE64.decode(text(row, "body_base64")).unwrap(),
            printed: text(row, format),
        })
        .collect()
}

/// What Python printed, as it would have printed it now and for this peer.
fn as_of_now(golden: &str, printed: &str) -> String {
    let time = &printed[printed.find("20").unwrap()..][..25];
    let mut text = golden.replacen("2026-02-09T10:30:00+00:00", time, 1);
    for (field, then, now) in [
        ("_peer_pid", 12345, std::process::id()),
        ("_peer_uid", 1000, rustix::process::getuid().as_raw()),
        ("_peer_gid", 1001, rustix::process::getgid().as_raw()),
    ] {
        for colon in ["\":", "\": ", ": "] {
            text = text.replacen(
                &format!("{field}{colon}{then}"),
                &format!("{field}{colon}{now}"),
                1,
            );
        }
    }
    text
}

fn assert_printed_as_by_python(format: &str, arguments: &[&str]) {
    let mut printer = Printer::new(arguments);
    for row in golden(format) {
        let printed = printer.print(&row.target, &row.body);
        assert_eq!(printed, as_of_now(&row.printed, &printed));
    }
}

#[test]
fn compact_json_is_pythons_byte_for_byte() {
    assert_printed_as_by_python("jsonl", &[]);
}

#[test]
fn pretty_json_is_pythons_byte_for_byte() {
    assert_printed_as_by_python("pretty-json", &["--pretty-json"]);
}

/// Asserts for each case, `{"yaml": …, "means": …}`, that PyYAML agrees.
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
    let answers = Stream::collect(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    for case in cases {
        writeln!(stdin, "{case}").unwrap();
    }
    drop(stdin);
    let answers = answers.to_end();
    child.wait().unwrap();
    assert_eq!(answers.lines().count(), cases.len());
    for answer in answers.lines() {
        assert_eq!(answer, "same");
    }
}

#[test]
fn pretty_yaml_means_what_pythons_means() {
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let cases = golden("pretty-yaml").into_iter().map(|row| {
        let printed = printer.print(&row.target, &row.body);
        json!({"means_yaml": as_of_now(&row.printed, &printed), "yaml": printed})
    });
    assert_same_meaning(&cases.collect::<Vec<_>>());
}

#[test]
fn pretty_yaml_is_read_back_exactly() {
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
        json!({"yaml": without_metadata(&yaml), "means": payload})
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
fn pretty_yaml_is_laid_out_to_be_read() {
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
fn deep_nesting_stays_small_in_the_pretty_formats() {
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
        // The last level that is indented is the 64th, the event's own object being the first.
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
        json!({"yaml": without_metadata(&yaml), "means": events(&nested(40))[0]}),
    ]);
}

#[test]
fn keys_stand_out_on_a_terminal_and_nowhere_else() {
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
    // When and what even more.
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

    // With an output socket readers get the same bytes as the terminal.
    let (screen, slave) = terminal();
    let server = Server::start_in(
        folder(),
        &["--pretty-yaml", "--tee", "--output-socket"],
        |command| {
            let socket = command.get_args().nth(1).unwrap().to_owned();
            command
                .arg(format!("{}.out", socket.to_str().unwrap()))
                .stdout(slave)
        },
    );
    server.post("Stop", "{\"a\":1}");
    assert!(
        !screen
            .wait("the event", |text| text.contains("a: 1\r\n"))
            .contains('\x1b')
    );
}
