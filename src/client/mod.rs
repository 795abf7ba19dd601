//! The client side: what hooks run, and the settings that make Claude Code run them.
//!
//! - [`send`] posts one event. Each hook runs it.
//! - [`hooks`] makes the settings that contain the hooks.
//!
//! This folder knows nothing about the server except its socket and the request for one
//! event.
//!
//! Stop 1 of EDU_NOTES.md.

pub mod hooks;
pub mod send;
