//! `hooks-observatory` shows, live, what Claude Code is doing.
//!
//! It is a program: `cargo install --locked hooks-observatory` installs it, and README.md says how
//! to use it. This library is what the program consists of, for its tests, its benches and its
//! readers. Its interface can change with each version.
//!
//! Claude Code runs a hook at every step. The hook's command posts JSON to a
//! Unix socket. This server adds the time and the caller's identity to each
//! event, and streams it to stdout and to readers on this socket or a second one.
//!
//! Data flows one way:
//!
//! ```text
//! client bytes → http::Connection → Event → entry of the EventLog → sinks: stdout, readers
//! ```
//!
//! The binary holds the server, and what its users run beside it. [`cli`] reads the command line of
//! both.
//!
//! The **server** is these folders. A hook passes through them in this order, and EDU_NOTES.md
//! visits them in this order:
//!
//! 1. [`server`]: the event loop, which moves all bytes. Start reading here.
//! 2. [`listen`]: listening sockets. [`peer`]: who connected.
//! 3. [`http`]: bytes to requests, without I/O. Then `server/clients/`: what the loop does
//!    for each client.
//! 4. [`event`]: payload and metadata. [`mod@format`]: events as text. [`terminal`]: what is safe
//!    to write to a terminal.
//! 5. [`output`]: the log of events, and the sinks that read it. Then `server/publisher.rs`: what
//!    the loop does for sinks.
//! 6. [`nonblocking`]: writing to a descriptor that other programs share. [`diagnostics`]: the
//!    messages on stderr.
//! 7. The rest of `server`: time, the budget of a turn, `server/sessions/`, other descriptors, the
//!    shutdown.
//!
//! Beside it is what its users run. All of it knows the server only by its sockets:
//!
//! - [`send`] posts one event. Each hook runs it.
//! - [`hooks`] prints, installs and removes the settings that contain the hooks.
//! - [`service`] makes the server a service of the user's systemd. Both edit files by [`user_files`].
//! - [`watch`] shows events, and what sessions do.
//! - [`request`] makes requests to the server, for all of them.
//!
//! They share `cli`, `peer`, `diagnostics`, `terminal`, `format` and `event` with the server.
//!
//! No two files import each other. From the bottom up: `http`, `nonblocking`, `peer`, `terminal`;
//! `diagnostics`, `event`, `user_files`; `format`; `cli`, `request`; `hooks`, `listen`, `output`,
//! `send`; `service`, `watch`; `server`.
//!
//! EDU_NOTES.md is a walkthrough of the source in stops. Each file names its stop.
//!
//! Stop 2 of EDU_NOTES.md.

// The first comments of folders name their files, also private ones.
#![allow(rustdoc::private_intra_doc_links)]

pub mod cli;
pub mod diagnostics;
pub mod event;
pub mod format;
pub mod hooks;
pub mod http;
pub mod listen;
pub mod nonblocking;
pub mod output;
pub mod peer;
pub mod request;
pub mod send;
pub mod server;
pub mod service;
pub mod terminal;
pub mod user_files;
pub mod watch;
