//! The fields of an event: the metadata of the server, then the payload of the client.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::SystemTime;

use serde_json::json;

use crate::harness::*;

/// The line that a server prints for one body, without the newline.
fn printed(body: impl AsRef<[u8]>) -> String {
    let server = Server::start(&[]);
    server.post("E", body);
    server
        .stdout
        .wait("a line", |text| text.ends_with('\n'))
        .trim_end()
        .to_owned()
}

/// The part of a line after the metadata.
fn payload(line: &str) -> &str {
    let gid = line.find("\"_peer_gid\":").unwrap();
    &line[gid + line[gid..].find([',', '}']).unwrap()..]
}

/// Seconds since the epoch.
pub fn unix_time() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since_epoch.unwrap().as_secs()
}

#[test]
fn metadata_comes_first_and_the_payload_keeps_its_order() {
    let line = printed(r#"{"z":1,"a":{"y":[1, 2]},"m":null}"#);
    let (uid, gid) = (
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
    );
    let pid = std::process::id();
    let rest = line.strip_prefix("{\"_ts\":\"").unwrap().get(25..).unwrap();
    let expected = format!(
        "\",\"_event\":\"E\",\"_peer_pid\":{pid},\"_peer_uid\":{uid},\"_peer_gid\":{gid},\
         \"z\":1,\"a\":{{\"y\":[1,2]}},\"m\":null}}"
    );
    assert_eq!(rest, expected);
}

#[test]
fn the_timestamp_is_utc_in_whole_seconds() {
    let before = unix_time();
    let event = &events(&printed("{}"))[0];
    let after = unix_time();
    let date = Command::new("date")
        .args(["-u", "+%s", "-d"])
        .arg(event["_ts"].as_str().unwrap())
        .output();
    let timestamp: u64 = String::from_utf8(date.unwrap().stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    assert!((before..=after).contains(&timestamp), "{event}");
    assert!(event["_ts"].as_str().unwrap().ends_with("+00:00"));
}

#[test]
fn a_payload_cannot_set_reserved_fields() {
    let line = printed(
        r#"{"a":1,"_peer_uid":0,"_ts":"x","_peer_\u0075id":7,"_claimed":[1, 2],"_dropped":9,"_raw":2,"_gone":3,"b":3}"#,
    );
    let claimed = r#","_claimed":{"_peer_uid":7,"_ts":"x","_claimed":[1,2],"_dropped":9,"_gone":3},"a":1,"_raw":2,"b":3}"#;
    assert_eq!(payload(&line), claimed);
    let event = &events(&line)[0];
    assert_eq!(event["_peer_uid"], rustix::process::getuid().as_raw());
}

/// By such an event a reader would take a living session for gone.
#[test]
fn a_client_cannot_post_the_events_of_the_server() {
    let server = Server::start(&[]);
    for (name, body) in [
        ("_gone", r#"{"session_id":"s","_gone":7}"#),
        ("_dropped", ""),
        ("_gone", "text"),
        ("%5fgone", "[1]"),
        ("_gon", "{}"),
    ] {
        server.post(name, body);
    }
    let lines = server
        .stdout
        .wait("the events", |text| text.lines().count() == 5);
    let payloads: Vec<&str> = lines.lines().map(payload).collect();
    assert_eq!(
        payloads,
        [
            r#","_claimed":{"_event":"_gone","_gone":7},"session_id":"s"}"#,
            r#","_claimed":{"_event":"_dropped"}}"#,
            r#","_claimed":{"_event":"_gone"},"_raw":"text"}"#,
            r#","_claimed":{"_event":"_gone"},"_raw":"[1]"}"#,
            "}",
        ]
    );
    let names = events(&server.stdout.text());
    let names: Vec<_> = names
        .iter()
        .map(|event| event["_event"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["Unknown", "Unknown", "Unknown", "Unknown", "_gon"]);
}

#[test]
fn reserved_names_are_allowed_below_the_top_level() {
    assert_eq!(
        payload(&printed(r#"{"a":{"_ts":1,"_peer_uid":2}}"#)),
        r#","a":{"_ts":1,"_peer_uid":2}}"#
    );
}

#[test]
fn an_empty_body_is_an_empty_payload() {
    assert_eq!(payload(&printed("")), "}");
}

#[test]
fn a_body_that_is_not_a_json_object_is_kept_as_text() {
    for (body, raw) in [
        ("plain text", r#""plain text""#),
        ("[1,2]", r#""[1,2]""#),
        ("42", r#""42""#),
        ("null", r#""null""#),
        ("\"a\"", r#""\"a\"""#),
        ("  ", r#""  ""#),
        ("{\"a\":1} x", r#""{\"a\":1} x""#),
        (
            "{\"a\":\u{1}\n\u{7f}é😀",
            r#""{\"a\":\u0001\n\u007f\u00e9\ud83d\ude00""#,
        ),
        ("{\"a\":NaN}", r#""{\"a\":NaN}""#),
        ("\u{feff}{}", r#""\ufeff{}""#),
    ] {
        assert_eq!(
            payload(&printed(body)),
            format!(",\"_raw\":{raw}}}"),
            "{body:?}"
        );
    }
}

#[test]
fn invalid_utf_8_becomes_replacement_characters() {
    assert_eq!(
        payload(&printed(b"{\"a\":\"x\xff\xe9y\"}")),
        r#","a":"x\ufffd\ufffdy"}"#
    );
    assert_eq!(
        payload(&printed(b"\xed\xa0\x80")),
        r#","_raw":"\ufffd\ufffd\ufffd"}"#
    );
}

#[test]
fn numbers_and_escapes_are_kept_as_the_client_wrote_them() {
    let body = r#"{"n":[1.0,1e5,1E+05,-0,0.10,123456789012345678901234567890.123],"s":"\/\u00E9\ud83d\"","d":{"a":1,"a":2}}"#;
    assert_eq!(payload(&printed(body)), format!(",{}", &body[1..]));
}

#[test]
fn a_repeated_key_keeps_its_first_position_and_its_last_value() {
    assert_eq!(
        payload(&printed(
            r#"{"a":1,"b":2,"\u0061":3,"\ud83d":4,"\ud83e":5,"\uD83D":6}"#
        )),
        r#","a":3,"b":2,"\ud83d":6,"\ud83e":5}"#
    );
}

#[test]
fn the_depth_of_nesting_is_not_limited() {
    let depth = 100_000;
    let body = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(payload(&printed(&body)), format!(",{}", &body[1..]));
}

#[test]
fn each_event_has_the_pid_uid_and_gid_of_its_client() {
    let (true, Some(curl)) = (is_root(), tool("curl")) else {
        return;
    };
    let server = Server::start(&["--mode", "0666"]);
    server.open_folder();
    for (uid, gid) in [(65534, 65533), (1234, 1235)] {
        let mut child = Command::new(&curl)
            .args(["-s", "--data", "{}", "--unix-socket"])
            .arg(server.socket())
            .arg(format!("http://localhost/hook?event={uid}"))
            .uid(uid)
            .gid(gid)
            .spawn()
            .unwrap();
        let pid = child.id();
        assert!(child.wait().unwrap().success());
        let event = server.stdout.wait("the event", |text| {
            text.contains(&format!("\"_event\":\"{uid}\""))
        });
        let event = events(&event).pop().unwrap();
        let peer = ["_peer_pid", "_peer_uid", "_peer_gid"].map(|field| event[field].clone());
        assert_eq!(peer, [json!(pid), json!(uid), json!(gid)]);
    }
}
