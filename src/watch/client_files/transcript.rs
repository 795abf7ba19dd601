//! The end of a session's transcript: its branch, its model, and how much context it uses. The screen reads it, and whatever prints a session as JSON.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat};
use rustix::process::geteuid;

use crate::event::object::Object;
use crate::watch::session::parts::id;

/// Bytes that are read from the end. Lines before the last reply can be large.
const TAIL: u64 = 256 << 10;

/// What the last lines say. What they do not is `None`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transcript {
    /// The git branch.
    pub branch: Option<String>,
    pub model: Option<String>,
    /// Input tokens of the last reply of the main thread, with those from the cache.
    pub context: Option<u64>,
}

impl Transcript {
    /// Reads the end of a file, if it is a regular file of this user.
    pub fn read(path: &Path) -> Transcript {
        let text = tail(path).unwrap_or_default();
        Transcript::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Transcript {
        let mut found = Transcript::default();
        let lines = text.lines().rev();
        for line in lines.filter_map(Object::validate) {
            found.branch = found.branch.or_else(|| id(&line, "gitBranch"));
            let is_reply =
                line.string("type") == Some("assistant") && line.get("isSidechain") != Some("true");
            if is_reply && found.context.is_none() {
                let message = Object::parse(line.get("message").unwrap_or_default());
                // Errors of the client are replies too, of the model "<synthetic>".
                let model = id(&message, "model").filter(|model| !model.starts_with('<'));
                if model.is_some() {
                    (found.model, found.context) = (model, context(&message));
                }
            }
            if found.branch.is_some() && found.context.is_some() {
                break;
            }
        }
        found
    }
}

/// All tokens of the input of a reply.
fn context(message: &Object) -> Option<u64> {
    const PARTS: [&str; 3] = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
    ];
    let usage = Object::parse(message.get("usage")?);
    let tokens = PARTS.map(|part| usage.get(part).and_then(|count| count.parse::<u64>().ok()));
    let known = tokens.into_iter().flatten();
    known.reduce(u64::saturating_add)
}

fn tail(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mut file = File::from(openat(CWD, path, flags, Mode::empty())?);
    let stat = fstat(&file)?;
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if !is_regular || stat.st_uid != geteuid().as_raw() {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    file.seek(SeekFrom::Start((stat.st_size as u64).saturating_sub(TAIL)))?;
    let mut text = Vec::new();
    file.take(TAIL).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reply_of_the_main_thread_tells() {
        let text = r#"cut off"}
{"type":"assistant","gitBranch":"old","message":{"model":"m1","usage":{"input_tokens":1}}}
{"type":"assistant","gitBranch":"new","message":{"model":"m2","usage":{"input_tokens":3,"cache_creation_input_tokens":20,"cache_read_input_tokens":100,"output_tokens":9}}}
{"type":"assistant","isSidechain":true,"message":{"model":"m3","usage":{"input_tokens":5}}}
{"type":"assistant","message":{"model":"<synthetic>","usage":{"input_tokens":0}}}
{"type":"user","message":{"content":"x"}}
{"type":"user","mess"#;
        let expected = Transcript {
            branch: Some("new".into()),
            model: Some("m2".into()),
            context: Some(123),
        };
        assert_eq!(Transcript::parse(text), expected);
        assert_eq!(Transcript::parse("{}\n7\n"), Transcript::default());
    }

    #[test]
    fn only_the_end_of_a_regular_file_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s.jsonl");
        let reply = |model| {
            format!(
                r#"{{"type":"assistant","gitBranch":"b","message":{{"model":"{model}","usage":{{"input_tokens":1}}}}}}"#
            )
        };
        let filler = "x".repeat(TAIL as usize);
        std::fs::write(&path, reply("m") + "\n" + &filler).unwrap();
        assert_eq!(Transcript::read(&path), Transcript::default());
        std::fs::write(&path, filler + "\n" + &reply("m")).unwrap();
        assert_eq!(Transcript::read(&path).model.as_deref(), Some("m"));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(Transcript::read(&link), Transcript::default());
    }
}
