//! What the server does, seen from outside: the real binary over real sockets.
//!
//! Each module is a chapter of the specification, each test's name a sentence
//! of it.

mod activation;
mod crash;
mod events;
mod fleet;
mod formats;
mod framing;
mod harness;
mod hooks;
mod http;
mod limits;
mod lines;
mod notes;
mod options;
mod readers;
mod recipes;
mod send;
mod shutdown;
mod sinks;
mod soak;
mod socket_files;
mod trace;
