//! HTTP/1.1 as bytes: what a request's head asks for, and the answers.
//!
//! `httparse` finds the parts of a head; what they mean is decided here. A
//! request that could be read in two ways is refused, never guessed at.
//!
//! Stop 5 of EDU_NOTES.md.

use std::mem::MaybeUninit;

/// What a request's head says.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub target: Target,
    pub framing: Framing,
    /// Whether the client asks for the connection to stay open.
    pub keeps_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub expects_continue: bool,
}

/// What the client wants.
#[derive(Debug, PartialEq)]
pub enum Target {
    /// `POST` to any path: an event of this name.
    Hook { event: String },
    /// `GET /health`.
    Health,
    /// Anything else.
    Unknown,
}

/// How the body's end is told (RFC 9112 section 6.3).
#[derive(Debug, PartialEq)]
pub enum Framing {
    /// After this many bytes.
    Length(u64),
    /// By the chunk of size 0.
    Chunked,
}

/// An answer that ends a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Status {
    /// 200 to a hook.
    Ok,
    /// 200 to `GET /health`.
    Healthy,
    /// 400: what arrived is no request, or could be read as two different ones.
    BadRequest,
    /// 404: a request for something that is not here.
    NotFound,
    /// 408: the request was not whole in time.
    TimedOut,
    /// 413: a longer body than the server keeps.
    TooLarge,
    /// 414: a longer target than the server reads.
    TargetTooLong,
    /// 431: a longer head than the server reads.
    HeadTooLarge,
    /// 501: a transfer coding that the server does not know.
    NotImplemented,
}

/// Bytes of head that are read: what does not end within them is refused.
pub const MAX_HEAD: usize = 64 << 10;
/// Bytes of target that are read.
pub const MAX_TARGET: usize = 16 << 10;
/// Header fields that are read.
const MAX_FIELDS: usize = 100;

/// Reads the head at the start of `bytes`: its length in bytes and what it
/// says, or `None` where its end has not arrived. The error is how to refuse it.
pub fn head(bytes: &[u8]) -> Result<Option<(usize, Head)>, Status> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut []);
    let parsed = request.parse_with_uninit_headers(bytes, &mut fields);
    let target = request.path.unwrap_or_default();
    if target.len() > MAX_TARGET {
        return Err(Status::TargetTooLong);
    }
    let length = match parsed {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        // Its first line goes on and on.
        Ok(_) if !bytes.contains(&b'\n') => return Err(Status::TargetTooLong),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let is_http_1_1 = request.version == Some(1);
    let fields = Fields(request.headers);
    let head = Head {
        target: wanted(request.method.unwrap_or_default(), target),
        framing: framing(&fields, is_http_1_1)?,
        keeps_alive: fields.list("connection", "keep-alive") && !fields.list("connection", "close"),
        expects_continue: is_http_1_1 && fields.list("expect", "100-continue"),
    };
    Ok(Some((length, head)))
}

fn wanted(method: &str, target: &str) -> Target {
    match (method, origin_form(target)) {
        ("GET", "/health") => Target::Health,
        ("POST", target) => Target::Hook {
            event: event_name(target),
        },
        _ => Target::Unknown,
    }
}

/// The path and query of a target, which may come with a scheme and an
/// authority before it (RFC 9112 section 3.2.2).
fn origin_form(target: &str) -> &str {
    if target.starts_with('/') {
        return target;
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return target;
    };
    if !scheme.eq_ignore_ascii_case("http") {
        return target;
    }
    rest.find(['/', '?'])
        .map_or("/", |authority| &rest[authority..])
}

/// The first `event` in the query that is not empty.
fn event_name(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let (_path, query) = target.split_once('?').unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "event" && !value.is_empty())
        .map_or("Unknown".into(), |(_, value)| value.into_owned())
}

/// How the body's end is told. Whatever two servers could tell differently is
/// refused (RFC 9112 sections 6.1 and 6.3).
fn framing(fields: &Fields, is_http_1_1: bool) -> Result<Framing, Status> {
    let mut length = None;
    for value in fields.named("content-length") {
        let announced = decimal(value).ok_or(Status::BadRequest)?;
        if length
            .replace(announced)
            .is_some_and(|before| before != announced)
        {
            return Err(Status::BadRequest);
        }
    }
    let mut codings = fields.named("transfer-encoding");
    match (codings.next(), codings.next()) {
        (None, _) => Ok(Framing::Length(length.unwrap_or(0))),
        (Some(_), _) if length.is_some() || !is_http_1_1 => Err(Status::BadRequest),
        (Some(coding), None) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
        _ => Err(Status::NotImplemented),
    }
}

/// Digits and nothing else: `str::parse` would take a `+`.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok()?;
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| digits.parse().ok())?
}

/// A head's fields.
struct Fields<'a>(&'a [httparse::Header<'a>]);

impl Fields<'_> {
    /// The values of the fields of a name, which is given in lower case.
    fn named(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self
            .0
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.map(|field| field.value)
    }

    /// Whether a field that is a list of words has this one (RFC 9110 section 5.6.1).
    fn list(&self, name: &str, word: &str) -> bool {
        let has_word = |value: &[u8]| {
            value
                .split(|byte| *byte == b',')
                .any(|item| item.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        self.named(name).any(has_word)
    }
}

/// Asks a client that waits for it to send its body (RFC 9110 section 15.2.1).
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The bytes of an answer, which says whether the connection stays open. Only
/// `/health` has a body: hooks run `curl -s`, and what that prints goes to the
/// client.
pub fn response(status: Status, stays_open: bool) -> &'static [u8] {
    macro_rules! bytes {
        ($connection:literal, $line:literal, $length:literal, $body:literal) => {
            concat!(
                "HTTP/1.1 ",
                $line,
                "\r\nContent-Type: application/json\r\nContent-Length: ",
                $length,
                "\r\nConnection: ",
                $connection,
                "\r\n\r\n",
                $body
            )
        };
    }
    macro_rules! either {
        ($line:literal, $length:literal, $body:literal) => {
            if stays_open {
                bytes!("keep-alive", $line, $length, $body)
            } else {
                bytes!("close", $line, $length, $body)
            }
        };
    }
    let text = match status {
        Status::Ok => either!("200 OK", "0", ""),
        Status::Healthy => either!("200 OK", "16", "{\"status\": \"ok\"}"),
        Status::NotFound => either!("404 Not Found", "0", ""),
        Status::BadRequest => bytes!("close", "400 Bad Request", "0", ""),
        Status::TimedOut => bytes!("close", "408 Request Timeout", "0", ""),
        Status::TooLarge => bytes!("close", "413 Content Too Large", "0", ""),
        Status::TargetTooLong => bytes!("close", "414 URI Too Long", "0", ""),
        Status::HeadTooLarge => bytes!("close", "431 Request Header Fields Too Large", "0", ""),
        Status::NotImplemented => bytes!("close", "501 Not Implemented", "0", ""),
    };
    text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(target: &str) -> String {
        event_name(target)
    }

    #[test]
    fn the_event_is_named_by_the_query() {
        assert_eq!(named("/hook?event=Stop"), "Stop");
        assert_eq!(named("/any/path?a=1&event=&event=B&event=C"), "B");
        assert_eq!(named("/?event=a+b%20c%2Bd"), "a b c+d");
        assert_eq!(named("/?event=%ff"), "\u{fffd}");
        assert_eq!(named("/?event=a?b#event=c"), "a?b");
        for target in ["/", "/?", "/?event", "/?event=", "/?Event=x", "/#?event=x"] {
            assert_eq!(named(target), "Unknown", "{target}");
        }
    }

    #[test]
    fn a_target_may_come_with_its_authority() {
        for target in ["http://localhost/health", "HTTP://x:80/health", "/health"] {
            assert_eq!(wanted("GET", target), Target::Health, "{target}");
        }
        let hook = |event: &str| Target::Hook {
            event: event.into(),
        };
        assert_eq!(wanted("POST", "http://h/a?event=A"), hook("A"));
        assert_eq!(wanted("POST", "http://h?event=A"), hook("A"));
        assert_eq!(wanted("GET", "http://health"), Target::Unknown);
        assert_eq!(wanted("GET", "ftp://h/health"), Target::Unknown);
    }

    #[test]
    fn a_length_is_digits_and_fits() {
        assert_eq!(decimal(b"0042"), Some(42));
        for odd in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(odd.as_bytes()), None, "{odd:?}");
        }
    }
}
