//! Compact JSON, `--pretty-json` and `--pretty-yaml`. The reference is the output of the
//! Python server for the same requests.

use std::fs::File;
use std::io::Write;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::collection::vec;
use proptest::prelude::{Strategy, any, prop_oneof};
use proptest::sample::select;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
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

/// Asserts that PyYAML, libyaml and js-yaml read the YAML of each case as the expected value.
/// See `same_meaning.py` for the fields of a case.
fn assert_same_meaning(cases: &[Value]) {
    if let Some(python) = python_with_yaml() {
        assert_same_meaning_by(python, "same_meaning.py", cases);
    }
    if let Some(node) = node_with_yaml() {
        assert_same_meaning_by(node, "same_meaning.js", cases);
    }
}

fn assert_same_meaning_by(mut command: Command, script: &str, cases: &[Value]) {
    let mut child = command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/").to_owned() + script)
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
    for result in results.lines() {
        assert_eq!(result, "same", "{script}");
    }
    assert_eq!(results.lines().count(), cases.len(), "{script}");
}

#[test]
fn pretty_yaml_has_the_same_meaning_as_pythons() {
    // js-yaml does not read all of Python's YAML as Python does.
    let Some(python) = python_with_yaml() else {
        return;
    };
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let cases = golden("pretty-yaml").into_iter().map(|row| {
        let printed = printer.print(&row.target, &row.body);
        let expected = with_current_metadata(&row.output, &printed);
        json!({"yaml": printed, "expected_yaml": expected})
    });
    assert_same_meaning_by(python, "same_meaning.py", &cases.collect::<Vec<_>>());
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

/// JSON text of a random payload. Names and strings contain what YAML could take for something
/// else. No object has the same name twice: js-yaml does not accept that.
fn random_payload() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "a", "a", "b", " ", " ", r"\n", r"\n", r"\t", r"\r", ":", "#", "-", "'", r#"\""#, r"\\",
        r"\/", "|", ">", "%", "@", "`", "?", "=", "<", "~", "!", "&", "*", ",", "[", "]", "{", "}",
        "0", "1", "7", "_", "+", ".", "e", "x", "o", "no", "null", "true", "---", "...", "<<", "é",
        "日", "😀", r"\ud83d", r"\u0041", r"\u0000", r"\u001b", "\u{7f}", "\u{85}", "\u{a0}",
        "\u{301}", "\u{200d}", "\u{2028}", "\u{feff}",
    ];
    let piece = || {
        let spelled = |char: char| json!(char).to_string().trim_matches('"').to_owned();
        prop_oneof![
            9 => select(PIECES).prop_map(str::to_owned),
            1 => any::<char>().prop_filter_map("a quote", move |char| (char != '"').then(|| spelled(char))),
        ]
    };
    let text = move || vec(piece(), 0..9).prop_map(|pieces| pieces.concat());
    let leaf = prop_oneof![
        4 => text().prop_map(|text| format!("\"{text}\"")),
        1 => "null|true|false",
        1 => "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?",
    ];
    let object = move |members: Vec<(String, String)>| {
        let members = members.into_iter().enumerate();
        let members = members.map(|(number, (name, value))| match number {
            0 => format!("\"{name}\":{value}"),
            _ => format!("\"{name}q{number}\":{value}"),
        });
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    let value = leaf.prop_recursive(4, 16, 4, move |value| {
        let items = vec(value.clone(), 0..4);
        prop_oneof![
            8 => items.prop_map(|items| format!("[{}]", items.join(","))),
            8 => vec((text(), value.clone()), 0..4).prop_map(object),
            1 => value.prop_map(|value| format!("{}{value}{}", "[".repeat(64), "]".repeat(64))),
        ]
    });
    vec((text(), value), 0..5).prop_map(object)
}

#[test]
fn random_yaml_is_read_back_exactly_by_three_readers() {
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let mut runner = TestRunner::deterministic();
    let strategy = random_payload();
    let cases = (0..3000).map(|_| {
        let payload = strategy.new_tree(&mut runner).unwrap().current();
        let yaml = printer.print("/?event=E", &payload);
        // Without members, YAML would read an empty document.
        json!({"yaml": without_metadata(&yaml) + "end: 1\n", "expected_json": with_end(&payload)})
    });
    assert_same_meaning(&cases.collect::<Vec<_>>());
}

/// The payload with a last member.
fn with_end(payload: &str) -> String {
    let members = payload.strip_suffix('}').unwrap();
    let comma = if members.len() > 1 { "," } else { "" };
    format!("{members}{comma}\"end\":1}}")
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

#[test]
fn a_member_that_would_make_the_yaml_too_long_is_in_flow_style() {
    let deep = format!(
        "{}{}\"a\\nb\"{}",
        "[".repeat(20),
        "1e5,".repeat(3000),
        "]".repeat(20)
    );
    let payload =
        format!("{{\"a\":{{\"b\":{deep},\"c\":\"x\\n\"}},\"d\":{{\"e\":[7]}},\"f\":\"x\\n\"}}");
    let mut printer = Printer::new(&["--pretty-yaml"]);
    let yaml = without_metadata(&printer.print("/", &payload));
    assert!(yaml.starts_with("a: {\"b\": [[[["), "{}", &yaml[..40]);
    assert!(yaml.ends_with("}\nd:\n  e:\n  - 7\nf: |\n  x\n"));
    assert_same_meaning(&[json!({"yaml": yaml, "expected_json": payload})]);
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

/// Each line names the project. If the server read the path for each call, this would take minutes.
#[test]
fn a_long_path_is_read_once_for_all_calls_of_a_batch() {
    const CALLS: usize = 40_000;
    let mut printer = Printer::new(&["--pretty-line"]);
    let path = "/\\u0070".to_owned() + &"p".repeat(2 << 20);
    let calls = vec![r#"{"tool_response":"Error: "}"#; CALLS].join(",");
    let body = format!(r#"{{"cwd":"{path}","tool_calls":[{calls}]}}"#);
    let lines = printer.print("/?event=PostToolBatch", body);
    assert_eq!(lines.lines().count(), CALLS);
}
