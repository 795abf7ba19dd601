//! One file in the place of another that other programs write too.
//!
//! Between reading a file and replacing it, another program may write it, and rename(2) would
//! undo that. So the two are exchanged in one step, and what comes out is compared with what was
//! read. If it is something else, it goes back.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::Path;

use crate::terminal::Shown;
use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;
use tempfile::TempPath;

/// What became of the new file.
#[derive(Debug, PartialEq)]
pub enum Outcome {
    InPlace,
    /// Another program has changed the old one since it was read, and its change stands.
    Refused,
}

/// A regular file: what another program can change of it.
#[derive(Debug, PartialEq)]
pub struct Content {
    pub mode: u32,
    uid: u32,
    gid: u32,
    pub bytes: Vec<u8>,
}

impl Content {
    pub fn read(path: &Path) -> io::Result<Content> {
        Content::of(&open(path)?)
    }

    fn of(mut file: &File) -> io::Result<Content> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other(
                "it is not a regular file. Give the path of one",
            ));
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(Content {
            mode: metadata.mode(),
            uid: metadata.uid(),
            gid: metadata.gid(),
            bytes,
        })
    }

    /// Gives a file the same mode and owner.
    pub fn keep_attributes(&self, file: &File) -> io::Result<()> {
        let new = file.metadata()?;
        if (new.uid(), new.gid()) != (self.uid, self.gid) {
            fchown(file.as_fd(), Some(self.uid), Some(self.gid))?;
        }
        file.set_permissions(Permissions::from_mode(self.mode & 0o7777))
    }
}

/// Opens a file, and never waits as for the writer of a pipe.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW;
    let mut options = File::options();
    options
        .custom_flags(flags.bits().cast_signed())
        .read(true)
        .open(path)
}

/// Puts `new` in the place of the file at `path`. `old` is what was read there, `None` if there
/// was no file.
pub fn replace(new: TempPath, path: &Path, old: Option<&Content>) -> io::Result<Outcome> {
    let Some(old) = old else {
        return create(new, path);
    };
    let written = Content::read(&new)?;
    if !is_still(path, old) {
        return Ok(Outcome::Refused);
    }
    match exchange(&new, path) {
        Ok(()) if is_still(&new, old) => return Ok(Outcome::InPlace),
        Ok(()) => {}
        Err(Errno::NOENT) => return Ok(Outcome::Refused),
        // This file system has no exchange. What is written just now is lost.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            new.persist(path)?;
            return Ok(Outcome::InPlace);
        }
        Err(error) => return Err(error.into()),
    }
    let back = exchange(&new, path);
    if back.is_ok() && is_still(&new, &written) {
        return Ok(Outcome::Refused);
    }
    if back.is_ok() {
        // Another program has written over the new file. What is newest counts.
        let _ = exchange(&new, path);
    }
    let kept = new.keep()?;
    Err(io::Error::other(format!(
        "other programs write it too. What one of them wrote is in {}",
        Shown(&kept)
    )))
}

fn exchange(new: &Path, path: &Path) -> Result<(), Errno> {
    renameat_with(CWD, new, CWD, path, RenameFlags::EXCHANGE)
}

/// Whether a file is what it was, and nobody is about to change it.
fn is_still(path: &Path, content: &Content) -> bool {
    open(path).is_ok_and(|file| {
        !is_open_for_writing(&file) && Content::of(&file).is_ok_and(|now| now == *content)
    })
}

/// Whether another process has the file open for writing: the kernel then refuses a read lease
/// (fcntl(2)). False where it knows no leases.
#[cfg(target_os = "linux")]
fn is_open_for_writing(file: &File) -> bool {
    use std::os::fd::AsRawFd;
    // SAFETY: the call takes two numbers, and the descriptor is open. The lease ends with it.
    let lease = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) };
    lease == -1 && io::Error::last_os_error().kind() == ErrorKind::WouldBlock
}

#[cfg(not(target_os = "linux"))]
fn is_open_for_writing(_: &File) -> bool {
    false
}

/// Where there was no file.
fn create(new: TempPath, path: &Path) -> io::Result<Outcome> {
    match new.persist_noclobber(path) {
        Ok(()) => Ok(Outcome::InPlace),
        Err(error) if error.error.kind() == ErrorKind::AlreadyExists => Ok(Outcome::Refused),
        Err(error) => Err(error.into()),
    }
}
