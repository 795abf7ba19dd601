//! HTTP/1.1 without I/O: bytes in, requests and responses out.
//!
//! - [`connection`] is the state machine of one client's connection, [`state`] its states, and
//!   [`step`] what it returns to the loop.
//! - [`request`] parses the head of a request, and finds out where its body ends.
//! - [`route`] decides what a request asks for.
//! - [`chunked`] decodes chunked bodies.
//! - [`response`] has the bytes of every response.
//!
//! This folder takes and returns bytes. It knows no socket and no poll, and of an event only
//! its name, which is in the target.
//!
//! Stop 6 of EDU_NOTES.md.

pub mod chunked;
pub mod connection;
pub mod request;
pub mod response;
pub mod route;
mod state;
pub mod step;
