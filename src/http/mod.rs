//! HTTP/1.1 without I/O: bytes in, requests and responses out.
//!
//! - [`connection`] is the state machine of one client's connection.
//! - [`request`] parses the head of a request, and finds out where its body ends.
//! - [`route`] decides what a request asks for.
//! - [`chunked`] decodes chunked bodies.
//! - [`response`] has the bytes of every response.
//!
//! This folder knows no socket, no poll and no event: it takes and returns bytes.

pub mod chunked;
pub mod connection;
pub mod request;
pub mod response;
pub mod route;
