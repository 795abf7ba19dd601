//! A settings file: read, and replaced in one step.
//!
//! The new content is written to a temporary file in the same directory, synced and
//! renamed (rename(2) is atomic). A full disk or a crash leaves the old file, and perhaps
//! the temporary one. Through a symlink its target is replaced, so that the link stays.
//!
//! Stop 17 of EDU_NOTES.md.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Access, access};
use signal_hook::flag;

/// A file as it was when it was read.
#[derive(Debug)]
pub struct SettingsFile {
    /// The file itself, behind all symlinks.
    path: PathBuf,
    /// Its attributes, which a new file gets too. `None` if there is no file.
    metadata: Option<Metadata>,
    /// The content. Empty if there is no file.
    pub text: String,
}

impl SettingsFile {
    /// Reads the file with this absolute path. A file that does not exist is empty. The
    /// error does not contain the path.
    pub fn read(path: &Path) -> Result<SettingsFile, String> {
        let error = |error: io::Error| format!("cannot read it: {error}");
        let path = resolve(path).map_err(error)?;
        let (metadata, bytes) = match fs::metadata(&path) {
            // Reading a pipe could take for ever.
            Ok(metadata) if !metadata.is_file() => {
                return Err("it is not a regular file. Give the path of one".into());
            }
            Ok(metadata) => (Some(metadata), fs::read(&path).map_err(error)?),
            Err(error) if error.kind() == ErrorKind::NotFound => (None, Vec::new()),
            Err(reason) => return Err(error(reason)),
        };
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
            format!("it is not UTF-8 at line {line}")
        })?;
        Ok(SettingsFile {
            path,
            metadata,
            text,
        })
    }

    /// Replaces the content. The file keeps its mode and its owner. A new file is for its
    /// owner only, and so is a directory that is missing. The error does not contain the
    /// path.
    pub fn replace(&self, text: &str) -> Result<(), String> {
        self.check_writable()?;
        if SettingsFile::read(&self.path)?.text != self.text {
            return Err("it was changed in the meantime. Run the command again".into());
        }
        self.write_and_rename(text)
            .map_err(|error| format!("cannot write it: {error}"))
    }

    /// A file without write permission is meant to stay as it is. Renaming would replace it
    /// all the same: that needs only the directory's permission.
    fn check_writable(&self) -> Result<(), String> {
        let Some(metadata) = &self.metadata else {
            return Ok(());
        };
        // To root, access(2) permits everything.
        if metadata.mode() & 0o222 == 0 || access(&self.path, Access::WRITE_OK).is_err() {
            return Err("it is read-only. Make it writable first: chmod u+w".into());
        }
        Ok(())
    }

    fn write_and_rename(&self, text: &str) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)?;
        let mut file = tempfile::Builder::new()
            .prefix(".hooks-observatory.")
            .tempfile_in(folder)?;
        if let Some(old) = &self.metadata {
            keep_owner(file.as_file(), old)?;
            file.as_file()
                .set_permissions(fs::Permissions::from_mode(old.mode() & 0o7777))?;
        }
        // Without a handler, a limit on the size of files would end the program with this
        // signal (setrlimit(2)) before it could remove the temporary file.
        flag::register(libc::SIGXFSZ, Arc::default())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path)?;
        // Puts the rename on the disk. Where a directory cannot be opened or synced, a crash
        // may still bring back the old file.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }
}

fn keep_owner(file: &File, old: &Metadata) -> io::Result<()> {
    let new = file.metadata()?;
    if (new.uid(), new.gid()) == (old.uid(), old.gid()) {
        return Ok(());
    }
    fchown(file.as_fd(), Some(old.uid()), Some(old.gid()))
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
