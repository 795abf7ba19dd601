//! The bytes of the responses: heads, and bodies that never change, such as that of `/health`.
//!
//! Stop 6 of EDU_NOTES.md.

use std::borrow::Cow;

/// The status of a response that ends a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Status {
    /// 200 to a hook.
    Ok,
    /// 200 to `GET /health`.
    Healthy,
    /// 400: a malformed or ambiguous request.
    BadRequest,
    /// 400 to a request that is well-formed. The connection may stay open.
    BadQuery,
    /// 403: the peer may post hooks, but not read events.
    Forbidden,
    /// 404: there is no such route.
    NotFound,
    /// 408: the request was not complete in time.
    RequestTimeout,
    /// 413: the body is longer than `--max-body`.
    ContentTooLarge,
    /// 414: the target is longer than [`MAX_TARGET`](super::request::MAX_TARGET).
    UriTooLong,
    /// 431: the head is longer than [`MAX_HEAD`](super::request::MAX_HEAD), or has too many
    /// fields, or a chunked body has too many extensions or trailers.
    HeaderTooLarge,
    /// 501: the server does not know the transfer coding.
    NotImplemented,
    /// 503: the limit of descriptors allows no more readers.
    Unavailable,
}

/// What follows a response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AfterResponse {
    KeepAlive,
    Close,
    /// The request was refused: see [`Step::Linger`](super::step::Step::Linger).
    Linger,
}

/// The head of the response to `GET /events`. The end of the connection ends the body (RFC 9112
/// section 6.3).
///
/// `server` is the name of this start of the server. `first` is the number of the first event that
/// follows, and `live` that of the first one that is not a past one.
pub fn events_head(server: u64, first: u64, live: u64) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\
         Observatory-Server: {server:016x}\r\nObservatory-First: {first}\r\n\
         Observatory-Live: {live}\r\n\r\n"
    )
    .into_bytes()
}

/// The head of a response to `GET /sessions`, whose body has this many bytes.
pub fn json_head(length: usize, after: AfterResponse) -> Vec<u8> {
    begin("200 OK", after, length, "")
}

/// Any other response. One to `POST` has no body: a hook that runs `curl -s` would print it, and
/// Claude Code reads what hooks print.
pub fn response(status: Status, after: AfterResponse) -> Cow<'static, [u8]> {
    let line = match status {
        Status::Ok if after == AfterResponse::KeepAlive => return OK_KEEP_ALIVE.into(),
        Status::Ok => return OK_CLOSE.into(),
        Status::Healthy => return with_body("200 OK", after, "{\"status\": \"ok\"}"),
        Status::BadRequest | Status::BadQuery => "400 Bad Request",
        Status::Forbidden => "403 Forbidden",
        Status::NotFound => "404 Not Found",
        Status::RequestTimeout => "408 Request Timeout",
        Status::ContentTooLarge => "413 Content Too Large",
        Status::UriTooLong => "414 URI Too Long",
        Status::HeaderTooLarge => "431 Request Header Fields Too Large",
        Status::NotImplemented => "501 Not Implemented",
        Status::Unavailable => "503 Service Unavailable",
    };
    with_body(line, after, "")
}

fn with_body(line: &str, after: AfterResponse, body: &str) -> Cow<'static, [u8]> {
    begin(line, after, body.len(), body).into()
}

/// The head of a response with a body of this length, and its body or nothing.
fn begin(line: &str, after: AfterResponse, length: usize, body: &str) -> Vec<u8> {
    let connection = match after {
        AfterResponse::KeepAlive => "keep-alive",
        AfterResponse::Close | AfterResponse::Linger => "close",
    };
    format!(
        "HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\
         Connection: {connection}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// The response to a hook: nearly every one, so it is not made each time.
const OK_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const OK_KEEP_ALIVE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";

/// Asks a client that sent `Expect: 100-continue` for its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
