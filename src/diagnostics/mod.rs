//! What the server reports to the person who runs it: lines on stderr.
//!
//! - [`stderr`] writes lines without ever blocking.
//! - [`trace`] formats the lines of `--trace`.
//!
//! This folder does not know what the lines mean.

pub mod stderr;
pub mod trace;
