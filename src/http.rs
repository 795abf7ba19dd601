//! HTTP/1.1 as bytes: what a request's head asks for, and the answers.
//!
//! `httparse` finds the parts of a head; what they mean is decided here. A
//! request that could be read in two ways is refused, never guessed at.

/// What a request's head says.
#[derive(Debug, PartialEq)]
pub struct Head {
    pub target: Target,
    /// Bytes of body that follow the head.
    pub body: u64,
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
    /// 413: a longer body than the server keeps.
    TooLarge,
    /// 431: a longer head than the server reads.
    HeadTooLarge,
    /// 501: a transfer coding that the server does not know.
    NotImplemented,
}

/// Bytes of head that are read: what does not end within them is refused.
pub const MAX_HEAD: usize = 64 << 10;
/// Header fields that are read.
const MAX_FIELDS: usize = 100;

/// Reads the head at the start of `bytes`: its length in bytes and what it
/// says, or `None` where its end has not arrived.
pub fn head(bytes: &[u8]) -> Result<Option<(usize, Head)>, Status> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(httparse::Status::Partial) if bytes.len() < MAX_HEAD => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(Status::HeadTooLarge),
        Err(_) => return Err(Status::BadRequest),
    };
    let target = target(
        request.method.unwrap_or_default(),
        request.path.unwrap_or_default(),
    );
    let body = body_length(request.headers)?;
    Ok(Some((length, Head { target, body })))
}

fn target(method: &str, target: &str) -> Target {
    match (method, target) {
        ("GET", "/health") => Target::Health,
        ("POST", _) => Target::Hook {
            event: event_name(target),
        },
        _ => Target::Unknown,
    }
}

/// The first `event` in the query that is not empty.
fn event_name(target: &str) -> String {
    let target = target.split('#').next().unwrap_or_default();
    let (_path, query) = target.split_once('?').unwrap_or_default();
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "event" && !value.is_empty())
        .map_or("Unknown".into(), |(_, value)| value.into_owned())
}

/// How long the body is (RFC 9112 section 6.3).
fn body_length(fields: &[httparse::Header]) -> Result<u64, Status> {
    let named = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
    };
    if named("transfer-encoding").next().is_some() {
        return Err(Status::NotImplemented);
    }
    let mut length = None;
    for field in named("content-length") {
        let announced = decimal(field.value).ok_or(Status::BadRequest)?;
        if length
            .replace(announced)
            .is_some_and(|before| before != announced)
        {
            return Err(Status::BadRequest);
        }
    }
    Ok(length.unwrap_or(0))
}

/// Digits and nothing else: `str::parse` would take a `+`.
fn decimal(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?;
    digits.parse().ok()
}

/// The bytes of an answer. Only `/health` has a body: hooks run `curl -s`, and
/// what that prints goes to the client.
pub fn response(status: Status) -> &'static [u8] {
    macro_rules! response {
        ($line:literal, $length:literal, $body:literal) => {
            concat!(
                "HTTP/1.1 ",
                $line,
                "\r\nContent-Type: application/json\r\nContent-Length: ",
                $length,
                "\r\nConnection: close\r\n\r\n",
                $body
            )
        };
        ($line:literal) => {
            response!($line, "0", "")
        };
    }
    let text = match status {
        Status::Ok => response!("200 OK"),
        Status::Healthy => response!("200 OK", "16", "{\"status\": \"ok\"}"),
        Status::BadRequest => response!("400 Bad Request"),
        Status::NotFound => response!("404 Not Found"),
        Status::TooLarge => response!("413 Content Too Large"),
        Status::HeadTooLarge => response!("431 Request Header Fields Too Large"),
        Status::NotImplemented => response!("501 Not Implemented"),
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
    fn a_length_is_digits_and_fits() {
        assert_eq!(decimal(b"0042"), Some(42));
        for odd in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
            assert_eq!(decimal(odd.as_bytes()), None, "{odd:?}");
        }
    }
}
