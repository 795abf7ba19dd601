//! A folder of session files, and how a file in it is read.
//!
//! Other users may be able to create files there, or links from there. So nothing is read but
//! small regular files of this user, no link to a file is followed, and nothing can wait.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::process::geteuid;

/// Bytes of the longest session file that is read. Real ones have less than one KiB.
const MAX_FILE: u64 = 64 << 10;

/// An open folder.
pub struct Folder {
    fd: OwnedFd,
    /// Device and inode: the same folder can have several paths.
    pub id: (u64, u64),
}

/// Tells whether a file was written: its inode, its size, and when it was last modified.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stamp {
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    pub modified: u64,
}

impl Folder {
    pub fn open(path: &Path) -> io::Result<Folder> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat(CWD, path, flags, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Folder {
            fd,
            id: (stat.st_dev as u64, stat.st_ino),
        })
    }

    /// The processes that have a file here: `PID.json`. Other files are not opened, in particular
    /// not the keys beside these.
    pub fn pids(&self) -> Vec<u32> {
        let Ok(entries) = Dir::read_from(&self.fd) else {
            return Vec::new();
        };
        let names = entries.filter_map(Result::ok);
        let pids = names.filter_map(|entry| pid_of(entry.file_name().to_str().ok()?));
        pids.collect()
    }

    /// The stamp of the file of a process, without opening it.
    pub fn stamp(&self, pid: u32) -> io::Result<Stamp> {
        let stat = statat(&self.fd, name(pid), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stamp(&stat))
    }

    /// The file of a process.
    pub fn read(&self, pid: u32) -> io::Result<(Vec<u8>, Stamp)> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(openat(&self.fd, name(pid), flags, Mode::empty())?);
        let stat = fstat(&file)?;
        let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !is_regular || stat.st_uid != geteuid().as_raw() || stat.st_size as u64 > MAX_FILE {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let mut text = Vec::new();
        file.take(MAX_FILE).read_to_end(&mut text)?;
        Ok((text, stamp(&stat)))
    }
}

fn name(pid: u32) -> String {
    format!("{pid}.json")
}

/// The process that a file is named after.
pub fn pid_of(file_name: &str) -> Option<u32> {
    let digits = file_name.strip_suffix(".json")?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number)
}

fn stamp(stat: &Stat) -> Stamp {
    let modified = i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec);
    Stamp {
        inode: stat.st_ino,
        size: stat.st_size as u64,
        modified: modified as u64,
    }
}
