//! The client side: what hooks run, and how Claude Code learns of them.
//!
//! - [`send`] posts one event. Each hook runs it.
//! - [`hooks`] prints the settings that contain the hooks.
//!
//! This folder knows nothing of the server, but for its socket.

pub mod hooks;
pub mod send;
