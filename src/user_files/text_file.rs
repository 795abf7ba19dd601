//! A text file: read, and replaced in one step.
//!
//! The new content is written to a temporary file in the same directory, synced, and put in place
//! of the old one (`exchange`). A full disk or a crash leaves the old file, and perhaps the
//! temporary one. Through a symlink its target is replaced, so that the link stays.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, fchown, lchown};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use super::exchange::{self, Content, Outcome};
use crate::terminal::Shown;

/// A file as it was when it was read.
#[derive(Debug)]
pub struct TextFile {
    /// The file itself, behind all symlinks.
    path: PathBuf,
    /// `None` if there is no file.
    content: Option<Content>,
    /// Empty if there is no file.
    pub text: String,
}

impl TextFile {
    /// Reads the file with this absolute path. A file that does not exist is empty. The
    /// error does not contain the path.
    pub fn read(path: &Path) -> Result<TextFile, String> {
        let error = |error: io::Error| format!("cannot read it: {error}");
        let path = resolve(path).map_err(error)?;
        let content = match Content::read(&path) {
            Ok(content) => Some(content),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(reason) => return Err(error(reason)),
        };
        let bytes = content.as_ref().map_or(&[][..], |content| &content.bytes);
        let text = str::from_utf8(bytes).map_err(|error| {
            let valid = &bytes[..error.valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("it is not UTF-8 at line {line}")
        })?;
        let text = text.to_owned();
        Ok(TextFile {
            path,
            content,
            text,
        })
    }

    /// The folder of the file, behind all symlinks.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Replaces the content, if nobody has changed the file since. It keeps its mode and its
    /// owner. A new file is for its owner only, and so is a directory that is missing. The
    /// error does not contain the path.
    pub fn replace(&self, text: &str) -> Result<Outcome, String> {
        self.check_writable()?;
        self.write(text).map_err(|error| match error.kind() {
            ErrorKind::ResourceBusy => {
                "it is a mount of its own, as containers have, and cannot be replaced in one step. \
                 Edit the file that is mounted there, outside of the container, or mount the \
                 whole folder"
                    .into()
            }
            _ => format!("cannot write it: {error}"),
        })
    }

    /// A file without write permission is meant to stay as it is. Renaming would replace it
    /// all the same: that needs only the directory's permission.
    fn check_writable(&self) -> Result<(), String> {
        let Some(content) = &self.content else {
            return Ok(());
        };
        // To root, access(2) permits everything.
        if content.mode & 0o222 == 0 || access(&self.path, Access::WRITE_OK).is_err() {
            return Err("it is read-only. Make it writable first: chmod u+w".into());
        }
        Ok(())
    }

    fn write(&self, text: &str) -> io::Result<Outcome> {
        let folder = self.folder();
        make_folder(folder)?;
        let mut new = tempfile::Builder::new()
            .prefix(".hooks-observatory.")
            .tempfile_in(folder)?;
        if let Some(old) = &self.content {
            old.keep_attributes(new.as_file())?;
        } else if let Some((uid, gid)) = owner_for_root(folder)? {
            fchown(new.as_file(), uid, gid)?;
        }
        new.write_all(text.as_bytes())?;
        new.as_file().sync_all()?;
        let outcome = exchange::replace(new.into_temp_path(), &self.path, self.content.as_ref())?;
        // Puts the exchange on the disk. Where a directory cannot be opened or synced, a crash
        // may still bring back the old file.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(outcome)
    }
}

/// Makes the folder, if it is missing.
fn make_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(()),
        Err(error) => {
            let folder = Shown(folder);
            return Err(io::Error::other(format!("cannot make {folder}: {error}")));
        }
        Ok(()) => {}
    }
    let parent = folder.parent().unwrap_or(Path::new("/"));
    match owner_for_root(parent)? {
        // It follows no symlink that somebody else has put there meanwhile.
        Some((uid, gid)) => lchown(folder, uid, gid),
        None => Ok(()),
    }
}

/// Whose a new file in `folder` must be. In a user's folder, that user's programs could not read what
/// is root's. Who is not root can only make own files.
fn owner_for_root(folder: &Path) -> io::Result<Option<(Option<u32>, Option<u32>)>> {
    let folder = fs::metadata(folder)?;
    let owner = (Some(folder.uid()), Some(folder.gid()));
    Ok(geteuid().is_root().then_some(owner))
}

/// The path of the file that `path` names, behind all symlinks, whether or not it exists.
fn resolve(path: &Path) -> io::Result<PathBuf> {
    /// The kernel's own limit: path_resolution(7).
    const MAX_SYMLINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MAX_SYMLINKS {
        match fs::read_link(&path) {
            // A relative target begins in the symlink's directory.
            Ok(target) => path = path.parent().unwrap_or(Path::new("")).join(target),
            Err(error) => match error.kind() {
                // There is no file, or it is no symlink.
                ErrorKind::NotFound | ErrorKind::InvalidInput => return Ok(path),
                _ => return Err(error),
            },
        }
    }
    Err(io::Error::from_raw_os_error(libc::ELOOP))
}
