//! Files of JSON lines, in order, and stdin. The last file is followed while it is written.
//!
//! A record that is kept for long is rotated: its file is renamed and created again, or
//! truncated, or continued in a file with the next name (`events.2026-02-10.jsonl`). All three
//! are noticed. Polling finds them on any file system; it costs a few system calls at each look.
//!
//! A network file system may report a size that the file had before, so a file can be longer than
//! it seems. And the server can forget a file that is open: then its handle is stale.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime};

use super::input::{Input, Mode, Stop, Taker, error};
use super::line_splitter::LineSplitter;
use crate::cli::STDIN;

/// The time between two looks at a file that has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// After so many looks in a row that found nothing new, the file may continue in the next one.
const IDLE_LOOKS: u64 = 20;

/// Reads files as if they were one: a line can begin in one and end in the next.
pub fn read(paths: &[PathBuf], mode: Mode, taker: &mut Taker) -> Result<(), Stop> {
    let mut splitter = LineSplitter::default();
    let mut paths = paths.iter().peekable();
    while let Some(path) = paths.next() {
        let mut file = open(path).map_err(|cause| error("open", path, cause))?;
        let size = file.metadata().ok().filter(Metadata::is_file);
        let size = size.map(|file| file.len());
        let is_followed = paths.peek().is_none() && mode == Mode::Follow;
        if is_followed && size.is_none() {
            // A pipe brings what happens now.
            taker.take(Input::Live)?;
        }
        read_to_end(&mut file, &mut splitter, taker)?
            .map_err(|cause| error("read", path, cause))?;
        if let Some(size) = size.filter(|_| is_followed && path != Path::new(STDIN)) {
            taker.take(Input::Live)?;
            let followed = Followed::new(path.clone(), file, size);
            follow(followed, &mut splitter, taker)?;
        }
    }
    splitter.take_rest(|line| taker.take(line))
}

fn open(path: &Path) -> io::Result<File> {
    if path == Path::new(STDIN) {
        // Opening the path would fail if stdin is a socket.
        Ok(File::from(rustix::io::dup(io::stdin())?))
    } else {
        File::open(path)
    }
}

/// Returns how many bytes it has read. The inner error is about the file.
fn read_to_end(
    file: &mut File,
    splitter: &mut LineSplitter,
    taker: &mut Taker,
) -> Result<io::Result<usize>, Stop> {
    let mut total = 0;
    loop {
        taker.take(Input::Pause)?;
        match splitter.fill(|room| file.read(room)) {
            Ok(0) => return Ok(Ok(total)),
            Ok(count) => {
                total += count;
                splitter.take_lines(|line| taker.take(line))?;
            }
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Ok(Err(cause)),
        }
    }
}

/// A file that is followed.
struct Followed {
    path: PathBuf,
    /// `None`: its handle is stale.
    file: Option<File>,
    /// What it had when it was last looked at.
    size: u64,
    /// Looks in a row that have found nothing new.
    idle_looks: u64,
}

impl Followed {
    fn new(path: PathBuf, file: File, size: u64) -> Followed {
        Followed {
            path,
            file: Some(file),
            size,
            idle_looks: 0,
        }
    }

    /// Reads what is new.
    fn read(&mut self, splitter: &mut LineSplitter, taker: &mut Taker) -> Result<(), Stop> {
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let size = file.metadata().map_or(self.size, |now| now.len());
        if size < self.size {
            *splitter = LineSplitter::default();
            file.rewind()
                .map_err(|cause| error("read", &self.path, cause))?;
        }
        self.size = size;
        match read_to_end(file, splitter, taker)? {
            Ok(0) => self.idle_looks += 1,
            Ok(_) => self.idle_looks = 0,
            Err(cause) if cause.kind() == io::ErrorKind::StaleNetworkFileHandle => {
                *splitter = LineSplitter::default();
                self.file = None;
            }
            Err(cause) => return Err(error("read", &self.path, cause)),
        }
        Ok(())
    }

    /// The file that is to be read instead: another one has the path, or this one is no longer
    /// written and continues in another one.
    fn next(&self) -> Option<PathBuf> {
        let own = self.file.as_ref().and_then(|file| file.metadata().ok());
        let named = fs::metadata(&self.path).ok().filter(Metadata::is_file);
        let identity = |file: &Metadata| (file.dev(), file.ino());
        if named.is_some() && named.as_ref().map(identity) != own.as_ref().map(identity) {
            return Some(self.path.clone());
        }
        let is_idle = self.idle_looks > 0 && self.idle_looks.is_multiple_of(IDLE_LOOKS);
        successor(&self.path, own.filter(|_| is_idle)?.modified().ok()?)
    }
}

/// Reads on, for ever.
fn follow(
    mut followed: Followed,
    splitter: &mut LineSplitter,
    taker: &mut Taker,
) -> Result<(), Stop> {
    loop {
        thread::sleep(POLL_INTERVAL);
        // Look before reading: what the file gets until it is given up is read then.
        let next = followed.next();
        followed.read(splitter, taker)?;
        let Some(path) = next else {
            continue;
        };
        match File::open(&path) {
            Ok(file) => followed = Followed::new(path, file, 0),
            // It was renamed meanwhile.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => return Err(error("open", &path, cause)),
        }
    }
}

/// The file beside `path` with the next numbers in its name, of those that are not older than
/// `time`. All else in their names is the same: `events.2026-02-09.jsonl` and
/// `events.2026-02-10.jsonl`.
fn successor(path: &Path, time: SystemTime) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let entries = fs::read_dir(folder.unwrap_or(Path::new("."))).ok()?;
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let later = names.filter(|other| {
        numbers(other) > numbers(name)
            && without_numbers(other) == without_numbers(name)
            && fs::metadata(path.with_file_name(other)).is_ok_and(|file| {
                file.is_file() && file.modified().is_ok_and(|modified| modified >= time)
            })
    });
    Some(path.with_file_name(later.min_by_key(|other| numbers(other))?))
}

/// The numbers in a name. Compared as numbers, 10 comes after 9.
fn numbers(name: &str) -> Vec<u128> {
    let digits = name.split(|char: char| !char.is_ascii_digit());
    let digits = digits.filter(|digits| !digits.is_empty());
    digits
        .map(|digits| digits.parse().unwrap_or(u128::MAX))
        .collect()
}

/// What is before, between and after the numbers in a name.
fn without_numbers(name: &str) -> Vec<&str> {
    let texts = name.split(|char: char| char.is_ascii_digit());
    texts.filter(|text| !text.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_file_is_the_one_with_the_next_number() {
        let folder = tempfile::tempdir().unwrap();
        let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (name, written) in [
            ("e.2-9.log", 5),
            ("e.2-9b1.log", 9),
            ("e.2-10.log", 6),
            ("e.2-11.log", 5),
            ("e.11-1.log", 7),
            ("f.2-9.log", 9),
        ] {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(time(written)).unwrap();
        }
        for (name, written, next) in [
            ("e.2-9.log", 5, Some("e.2-10.log")),
            ("e.2-10.log", 6, Some("e.11-1.log")),
            ("e.11-1.log", 7, None),
        ] {
            let next = next.map(|next| folder.path().join(next));
            let found = successor(&folder.path().join(name), time(written));
            assert_eq!(found, next, "{name}");
        }
    }
}
