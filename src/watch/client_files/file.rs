//! One session file of the client: what it says about its process and its session, and which of the
//! client's words mean which status. The text of `waitingFor` is not interpreted.
//!
//! Its form is not documented. So every member may be missing or of another type, and what is
//! unknown is passed over.
//!
//! Stop 17 of EDU_NOTES.md.

use jiff::Timestamp;

use crate::event::object::Object;
use crate::watch::session::client::{ClientWord, Status};
use crate::watch::session::parts::{Time, id, path};

/// What a session file says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ClientFile {
    /// The process, by the file's name.
    pub pid: u32,
    pub session_id: String,
    /// Whether the process only waits for a job in the background, so that its session is none.
    pub is_spare: bool,
    pub word: ClientWord,
    /// When the process began, in clock ticks since the system started (field 22 of
    /// proc_pid_stat(5)).
    pub proc_start: Option<u64>,
    /// When the client noted its start, in milliseconds since 1970.
    pub started_at: Option<i64>,
    /// The pid namespace in which `pid` is its number, among other things.
    pub pid_domain: Option<String>,
}

impl ClientFile {
    /// The content of the file of the process `pid`. `None`: it is no JSON object, perhaps
    /// because the client writes it just now, or names no session.
    pub fn parse(pid: u32, text: &[u8]) -> Option<ClientFile> {
        let object = Object::validate(str::from_utf8(text).ok()?)?;
        let number = |name: &str| object.get(name)?.parse::<i64>().ok();
        let updated = number("statusUpdatedAt").or_else(|| number("updatedAt"));
        Some(ClientFile {
            pid,
            session_id: id(&object, "sessionId")?,
            is_spare: object.get("spare") == Some("true"),
            word: ClientWord {
                status: status(&object),
                since: updated.map(time).unwrap_or_default(),
                name: id(&object, "name").unwrap_or_default(),
                cwd: path(&object, "cwd"),
                pid,
                tmux: id(&object, "tmux"),
                version: 0,
            },
            proc_start: object
                .string("procStart")
                .or_else(|| object.get("procStart"))
                .and_then(|start| start.parse().ok()),
            started_at: number("startedAt"),
            pid_domain: id(&object, "pidDomain"),
        })
    }
}

/// `None`: the file has no status, or one that this program does not know.
fn status(object: &Object) -> Option<Status> {
    match object.string("status")? {
        "busy" => Some(Status::Busy),
        // A background command runs.
        "idle" | "shell" => Some(Status::Idle),
        "waiting" => Some(Status::Waiting(
            id(object, "waitingFor").unwrap_or_default(),
        )),
        _ => None,
    }
}

fn time(milliseconds: i64) -> Time {
    match Timestamp::from_millisecond(milliseconds) {
        Ok(time) => Time::parse(&time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
        Err(_) => Time::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WAITING: &str = r#"{"pid":4711,"sessionId":"00000001-0000-4000-8000-000000000001","cwd":"/home/dev/webshop","startedAt":1795915936314,"procStart":"304865","version":"2.1.332","kind":"interactive","pidDomain":"linux:0:pid:[4026531836]","tmux":"r:@0.%0","name":"webshop-2e","status":"waiting","updatedAt":1795915941668,"statusUpdatedAt":1795915941669,"waitingFor":"permission prompt"}"#;

    #[test]
    fn a_file_names_its_session_and_what_that_does() {
        let file = ClientFile::parse(4711, WAITING.as_bytes()).unwrap();
        assert_eq!(file.session_id, "00000001-0000-4000-8000-000000000001");
        let word = &file.word;
        assert_eq!(
            word.status,
            Some(Status::Waiting("permission prompt".into()))
        );
        assert_eq!(
            (&*word.name, &*word.cwd),
            ("webshop-2e", "/home/dev/webshop")
        );
        assert_eq!(word.since.text, "2026-11-29T01:32:21+00:00");
        assert_eq!(
            (file.proc_start, file.started_at),
            (Some(304_865), Some(1_795_915_936_314))
        );
        assert_eq!(word.tmux.as_deref(), Some("r:@0.%0"));
        let status = |text: &str| ClientFile::parse(1, text.as_bytes()).unwrap().word.status;
        for (text, expected) in [
            ("\"busy\"", Some(Status::Busy)),
            ("\"idle\"", Some(Status::Idle)),
            ("\"shell\"", Some(Status::Idle)),
            ("\"waiting\"", Some(Status::Waiting(String::new()))),
            ("\"other\"", None),
            ("7", None),
        ] {
            assert_eq!(
                status(&format!(r#"{{"sessionId":"s","status":{text}}}"#)),
                expected
            );
        }
    }

    proptest! {
        /// A file that is cut, or in which a byte is changed, is read or passed over.
        #[test]
        fn any_content_is_read_or_passed_over(at in 0..WAITING.len(), byte: u8, is_cut: bool) {
            let mut text = WAITING.as_bytes().to_vec();
            if is_cut {
                text.truncate(at);
                prop_assert_eq!(ClientFile::parse(1, &text), None);
            } else {
                text[at] = byte;
                let _ = ClientFile::parse(1, &text);
            }
        }
    }
}
