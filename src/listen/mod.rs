//! Listening sockets: opening them, and accepting connections.
//!
//! - [`listener`] accepts connections, and copes with a lack of descriptors.
//! - [`socket_file`] binds a socket to a path, and removes its file at the end.
//! - [`life_lock`] tells whether the server of a socket lives, where connecting does not.
//! - [`activation`] receives listening sockets from a service manager.
//! - [`file_watch`] notices when a socket's file disappears.
//! - [`pass_rights`] refuses descriptors in messages.
//!
//! This folder does not know who connects. What the two sockets are for, only [`activation`]
//! and [`listener::descriptor_limits`] know, and the messages of [`socket_file`].
//!
//! Stop 4 of EDU_NOTES.md.

pub mod activation;
pub mod file_watch;
pub mod life_lock;
pub mod listener;
pub mod pass_rights;
pub mod socket_file;
