//! The specification: what the program does, tested from outside with the real binary and
//! real sockets.
//!
//! Each module is a chapter, and the name of each test is a sentence.

mod activation;
mod alerts;
mod architecture;
mod client_files;
#[cfg(target_os = "linux")]
mod containers;
mod crash;
mod events;
mod fleet;
#[cfg(feature = "screen")]
mod followed_files;
mod following;
mod formats;
mod framing;
mod harness;
mod hooks;
mod hosts;
mod http;
mod install;
#[cfg(feature = "screen")]
mod jump;
mod limits;
mod lines;
mod live;
mod lost_files;
mod notes;
mod options;
mod processes;
#[cfg(target_os = "linux")]
mod races;
mod readers;
mod recipes;
#[cfg(feature = "screen")]
mod screen;
mod send;
mod service;
mod sessions;
mod shells;
mod shutdown;
mod sinks;
mod soak;
mod socket_files;
mod ssh;
#[cfg(feature = "screen")]
mod terminals;
mod trace;
mod turns;
mod watch;
