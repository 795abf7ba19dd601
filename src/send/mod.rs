//! Sends one event: the program that each hook runs.
//!
//! Claude Code waits for its hooks, reads what they print, and obeys their exit codes.
//! So a failure prints nothing and exits with 0, the request takes one second at most, and
//! nothing is set up that it does not need: starting the process is nearly the whole cost.
//!
//! Stop 17 of EDU_NOTES.md.

pub mod json_object;

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::PollFlags;
use serde_json::Value;

use self::json_object::ObjectScanner;
use crate::cli::SendOptions;
use crate::diagnostics::stderr::say;
use crate::request::readiness::retry_until_ready;
use crate::request::{Error, exchange};
use crate::terminal::{Shown, sanitize};

/// A longer payload is not sent: collecting it would take memory without bound.
const MAX_PAYLOAD: usize = 64 << 20;
/// The room for one read: what a pipe holds.
const READ_SIZE: usize = 64 << 10;

/// Sends the payload on stdin. A closed stdin is an empty payload. So is a terminal: a
/// person who tries the command wants to see an event, not to type one.
pub fn run(options: &SendOptions) {
    let result = send(options);
    if !options.is_verbose {
        return;
    }
    let event = sanitize(&options.event_name);
    let path = Shown(&options.socket);
    match result {
        Ok(()) => say(format_args!("{event} was taken at {path}")),
        Err(error) => say(format_args!("{event} was not taken at {path}: {error}")),
    }
}

/// Returns when the server has taken the event.
fn send(options: &SendOptions) -> Result<(), String> {
    // Read it also if there is no server: the writer of one object must not meet a closed pipe.
    let payload = read_payload(io::stdin().as_fd(), options.host.as_deref())?;
    post(&options.socket, &options.event_name, &payload).map_err(|error| error.to_string())
}

/// Posts one event, and returns when the server has taken it.
pub fn post(socket: &Path, event_name: &str, payload: &[u8]) -> Result<(), Error> {
    exchange(socket, &request_head(event_name, payload.len()), payload)
}

/// Reads one JSON object, and ignores what follows it. Reads text that is not a JSON
/// object to its end. An object, or an empty payload, gets a member with the host.
fn read_payload(stdin: BorrowedFd, host: Option<&str>) -> Result<Vec<u8>, String> {
    let mut payload = Vec::new();
    if stdin.is_terminal() {
        return Ok(with_host(payload, host));
    }
    let mut scanner = ObjectScanner::default();
    while payload.len() <= MAX_PAYLOAD {
        payload.reserve(READ_SIZE);
        let count = retry_until_ready(stdin, PollFlags::IN, None, || {
            Ok(rustix::io::read(stdin, spare_capacity(&mut payload))?)
        })
        .map_err(|error| format!("cannot read the payload on stdin: {error}"))?;
        if count == 0 {
            let host = host.filter(|_| payload.is_empty());
            return Ok(with_host(payload, host));
        }
        if let Some(object) = scanner.scan(&payload)
            && object.end <= MAX_PAYLOAD
        {
            payload.truncate(object.end);
            payload.drain(..object.start);
            return Ok(with_host(payload, host));
        }
    }
    Err("the payload is longer than 64 MiB. Send a shorter one".into())
}

/// Adds the member `_host` at the end of an object. Empty bytes are an empty object.
fn with_host(mut object: Vec<u8>, host: Option<&str>) -> Vec<u8> {
    let Some(host) = host else {
        return object;
    };
    object.pop();
    let separator = match object.trim_ascii() {
        b"" => "{",
        b"{" => "",
        _ => ",",
    };
    object.extend(format!("{separator}\"_host\":{}}}", Value::from(host)).bytes());
    object
}

fn request_head(event_name: &str, length: usize) -> String {
    let event: String = form_urlencoded::byte_serialize(event_name.as_bytes()).collect();
    format!(
        "POST /hook?event={event} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}
