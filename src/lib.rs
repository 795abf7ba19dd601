//! `hooks-observatory` shows, live, what Claude Code is doing.
//!
//! Claude Code fires a hook at every step; the hook's command posts JSON to a
//! Unix socket; this server stamps it with the time and with the caller's
//! identity and streams it to stdout and to readers on a second socket.
//!
//! Everything flows one way:
//!
//! ```text
//! client bytes → connection → http → event → format → output → stdout, readers
//! ```
//!
//! Begin with [`server`], which is the loop that moves the bytes; [`tokens`], [`signals`]
//! and [`deadlines`] are short and all that it needs to be understood. Then read the
//! modules in the order in which they meet a hook: [`socket_file`], [`activation`],
//! [`listening`], [`peer`], [`connection`], [`http`], [`chunked`], [`event`], [`workshop`],
//! [`mod@format`], [`log`], [`output`], [`inherited`]. Beside the way stand [`args`],
//! [`stderr`] and [`trace`]. At the other end of the socket are [`send`], which is what a
//! hook runs, and [`settings`], which tell Claude Code so.
//!
//! Stop 1 of EDU_NOTES.md.

pub mod activation;
pub mod args;
pub mod chunked;
pub mod connection;
pub mod deadlines;
pub mod event;
pub mod format;
pub mod http;
pub mod inherited;
pub mod listening;
pub mod log;
pub mod output;
pub mod peer;
pub mod send;
pub mod server;
pub mod settings;
pub mod signals;
pub mod socket_file;
pub mod stderr;
pub mod tokens;
pub mod trace;
pub mod workshop;
