//! What the server does, seen from outside: the real binary over real sockets.
//!
//! Each module is a chapter of the specification, each test's name a sentence
//! of it.

mod crash;
mod events;
mod formats;
mod harness;
mod http;
mod options;
mod readers;
mod recipes;
mod shutdown;
mod sinks;
mod socket_files;
