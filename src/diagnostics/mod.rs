//! What the program reports to the person who runs it: lines on stderr.
//!
//! - [`stderr`] writes lines without ever blocking. `send`, `hooks` and `watch` use it too.
//! - [`trace`] adds the time and a colour to the lines of `--trace`.
//!
//! This folder does not know what the lines mean.
//!
//! Stop 10 of EDU_NOTES.md.

pub mod stderr;
pub mod trace;
