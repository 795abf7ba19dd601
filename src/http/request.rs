//! The head of a request: where it ends, what it asks for, where its body ends, and the limits of
//! all this.
//!
//! `httparse` splits the head into its parts, and this file decides what they mean. A
//! request that can be read in two ways is refused, never guessed at.
//!
//! Stop 6 of EDU_NOTES.md.

use std::mem::MaybeUninit;

use super::response::{AfterResponse, Status};
use super::route::{Route, parse_decimal, route};

/// What the head of a request says.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub route: Route,
    pub framing: Framing,
    /// What the client wants next. By default HTTP/1.1 keeps the connection open (RFC 9112
    /// section 9.3), but clients of the Python server read until it closes.
    pub after: AfterResponse,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// How the end of the body is found (RFC 9112 section 6.3).
#[derive(Debug, PartialEq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// At the chunk of size 0.
    Chunked,
}

/// Bytes that a head can have. That of a hook has less than 200, and nginx accepts 32 KiB by
/// default (`large_client_header_buffers`).
pub const MAX_HEAD: usize = 64 << 10;
/// Bytes that a target can have. It names an event, and nginx accepts 8 KiB by default.
pub const MAX_TARGET: usize = 16 << 10;
/// Bytes that can arrive without the end of the first line: a target, and room for the
/// method and the version around it.
pub const MAX_LINE: usize = MAX_TARGET + 64;
/// Fields that a head can have: as many as Apache accepts by default (`LimitRequestFields`).
const MAX_FIELDS: usize = 100;

/// Parses the head at the start of `bytes`. Returns its length in bytes and what it says,
/// or `None` if it is not complete. The error is the status of the refusal.
pub fn parse_head(bytes: &[u8]) -> Result<Option<(usize, Head)>, Status> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let result = request.parse_with_uninit_headers(bytes, &mut fields);
    let target = request.path.unwrap_or_default();
    if target.len() > MAX_TARGET {
        return Err(Status::UriTooLong);
    }
    let length = match result {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        // The first line has no end.
        Ok(_) if !bytes.contains(&b'\n') => return Err(Status::UriTooLong),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Status::HeaderTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let is_http_1_1 = request.version == Some(1);
    let fields = Fields::read(request.headers)?;
    let head = Head {
        route: route(request.method.unwrap_or_default(), target),
        framing: fields.framing(is_http_1_1)?,
        after: if fields.asks_keep_alive && !fields.asks_close {
            AfterResponse::KeepAlive
        } else {
            AfterResponse::Close
        },
        expects_continue: is_http_1_1 && fields.expects_continue,
    };
    Ok(Some((length, head)))
}

/// What the fields of a head say, as far as it matters here.
#[derive(Default)]
struct Fields<'a> {
    length: Option<u64>,
    /// The values of `Transfer-Encoding`.
    codings: Vec<&'a [u8]>,
    asks_keep_alive: bool,
    asks_close: bool,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
    fn read(headers: &[httparse::Header<'a>]) -> Result<Self, Status> {
        let mut fields = Fields::default();
        for httparse::Header { name, value } in headers {
            let is_named = |other| name.eq_ignore_ascii_case(other);
            if is_named("content-length") {
                let length = parse_decimal(value).ok_or(Status::BadRequest)?;
                if fields.length.is_some_and(|other| other != length) {
                    return Err(Status::BadRequest);
                }
                fields.length = Some(length);
            } else if is_named("transfer-encoding") {
                fields.codings.push(value);
            } else if is_named("connection") {
                fields.asks_keep_alive |= list_contains(value, "keep-alive");
                fields.asks_close |= list_contains(value, "close");
            } else if is_named("expect") {
                fields.expects_continue |= list_contains(value, "100-continue");
            }
        }
        Ok(fields)
    }

    /// How the end of the body is found. A request is refused if two servers could find
    /// different ends (RFC 9112 sections 6.1 and 6.3).
    fn framing(&self, is_http_1_1: bool) -> Result<Framing, Status> {
        match self.codings[..] {
            [] => Ok(Framing::Length(self.length.unwrap_or(0))),
            _ if self.length.is_some() || !is_http_1_1 => Err(Status::BadRequest),
            [coding] if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            _ => Err(Status::NotImplemented),
        }
    }
}

/// Whether a value that is a list contains `item` (RFC 9110 section 5.6.1).
fn list_contains(value: &[u8], item: &str) -> bool {
    let mut items = value.split(|byte| *byte == b',');
    items.any(|part| part.trim_ascii().eq_ignore_ascii_case(item.as_bytes()))
}
