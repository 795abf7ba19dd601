//! The client side: what hooks run, the settings that make Claude Code run them, and the
//! view of what arrives.
//!
//! - [`send`] posts one event. Each hook runs it.
//! - [`hooks`] prints, installs and removes the settings that contain the hooks.
//! - [`watch`] shows events and the states of sessions.
//! - [`json_object`] finds the end of a payload, and `request` exchanges one request with
//!   the server. `readiness` waits for descriptors.
//!
//! This folder knows nothing about the server except its socket and its requests.
//!
//! Stop 17 of EDU_NOTES.md.

pub mod hooks;
pub mod json_object;
mod readiness;
mod request;
pub mod send;
pub mod watch;
