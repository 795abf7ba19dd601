//! Editing a text file of the user: read, shown as a diff, asked about, and replaced in one step.
//!
//! This folder knows no file's format. [`hooks`](crate::hooks) edits the client's settings with it,
//! and [`service`](crate::service) the units of systemd.
//!
//! Stop 17 of EDU_NOTES.md.

mod exchange;
mod question;
mod text_file;

use std::path::Path;

use similar::TextDiff;

pub use self::exchange::Outcome;
pub use self::question::confirm;
pub use self::text_file::TextFile;
use crate::terminal::for_stdout;

/// The change of a file as a unified diff.
pub fn diff(path: &Path, old: &str, new: &str) -> String {
    let name = path.to_string_lossy();
    let diff = TextDiff::from_lines(old, new);
    for_stdout(diff.unified_diff().header(&name, &name).to_string())
}
