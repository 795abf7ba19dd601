//! Listening sockets: how they come to be, and how connections are accepted.
//!
//! - [`listener`] accepts connections, and copes with a lack of descriptors.
//! - [`socket_file`] binds a socket to a path, and removes its file at the end.
//! - [`activation`] receives listening sockets from a service manager.
//!
//! This folder does not know who connects, or why.

pub mod activation;
pub mod listener;
pub mod socket_file;
