//! Routing: what a request asks for, by its method and target. `POST` to any path is a hook.
//! `GET /events`, `/sessions` and `/health` are the other requests. A new parameter of
//! `/events` passes through `connection.rs`, `step.rs`, `server/clients/` (`client`, `mod` and
//! `publish`) and `server/publisher.rs`.
//!
//! Stop 6 of EDU_NOTES.md.

/// What a request asks for.
#[derive(Debug, PartialEq)]
pub enum Route {
    /// `POST` to any path: an event with this name.
    Hook { event_name: String },
    /// `GET /health`.
    Health,
    /// `GET /events`: past events, and all later ones.
    Events { replay: Replay },
    /// `GET /sessions`.
    Sessions,
    /// `GET /events` with a `replay` that is neither `all` nor a number, with an `after` that is
    /// no position, or with both.
    BadReplay,
    /// Anything else.
    NotFound,
}

/// Which past events a reader of live events gets first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Replay {
    /// This many, the last ones.
    Last(u64),
    /// All after the one with this number, if this server has numbered them, else all.
    After { server: u64, number: u64 },
}

/// Finds the route of a request with this method and target.
pub fn route(method: &str, target: &str) -> Route {
    let target = origin_form(target);
    match method {
        "GET" if target == "/health" => Route::Health,
        "GET" if target == "/sessions" => Route::Sessions,
        "GET" if path_and_query(target).0 == "/events" => events_route(target),
        "POST" => Route::Hook {
            event_name: event_name(target),
        },
        _ => Route::NotFound,
    }
}

/// The path and the query. A fragment is no part of either.
fn path_and_query(target: &str) -> (&str, &str) {
    let (target, _fragment) = cut(target, b'#');
    cut(target, b'?')
}

/// What is before and after the first such character, which is ASCII. `memchr` finds it faster than
/// `str::split_once` does.
fn cut(text: &str, separator: u8) -> (&str, &str) {
    let at = memchr::memchr(separator, text.as_bytes());
    at.map_or((text, ""), |at| (&text[..at], &text[at + 1..]))
}

fn events_route(target: &str) -> Route {
    let (_path, query) = path_and_query(target);
    let field = |wanted: &str| {
        let mut fields = form_urlencoded::parse(query.as_bytes());
        fields.find_map(|(name, value)| (name == wanted).then_some(value))
    };
    let replay = match (field("replay"), field("after")) {
        (None, None) => Some(Replay::Last(0)),
        (Some(count), None) if count == "all" => Some(Replay::Last(u64::MAX)),
        (Some(count), None) => parse_decimal(count.as_bytes()).map(Replay::Last),
        (None, Some(position)) => parse_position(&position),
        (Some(_), Some(_)) => None,
    };
    replay.map_or(Route::BadReplay, |replay| Route::Events { replay })
}

/// A position in the events of a server: its name in hexadecimal digits, and a number.
fn parse_position(text: &str) -> Option<Replay> {
    let (server, number) = text.split_once(':')?;
    let is_name = server.len() == 16 && server.bytes().all(|byte| byte.is_ascii_hexdigit());
    Some(Replay::After {
        server: u64::from_str_radix(server, 16).ok().filter(|_| is_name)?,
        number: parse_decimal(number.as_bytes())?,
    })
}

/// Digits and nothing else: `str::parse` would accept a `+`.
pub(super) fn parse_decimal(digits: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(digits).ok()?;
    digits.parse().ok().filter(|_| !digits.starts_with('+'))
}

/// The path and query of a target, which may have a scheme and an authority before them
/// (RFC 9112 section 3.2.2).
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
    rest.find(['/', '?']).map_or("/", |start| &rest[start..])
}

/// The first non-empty `event` in the query, decoded, or else `Unknown`.
fn event_name(target: &str) -> String {
    let (_path, query) = path_and_query(target);
    // Most queries are a name alone, without anything to decode.
    if let Some(name) = query.strip_prefix("event=")
        && !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return name.to_owned();
    }
    form_urlencoded::parse(query.as_bytes())
        .find(|(name, value)| name == "event" && !value.is_empty())
        .map_or("Unknown".into(), |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_the_event() {
        assert_eq!(event_name("/hook?event=Stop"), "Stop");
        assert_eq!(event_name("/any/path?a=1&event=&event=B&event=C"), "B");
        assert_eq!(event_name("/?event=a+b%20c%2Bd"), "a b c+d");
        assert_eq!(event_name("/?event=%ff"), "\u{fffd}");
        assert_eq!(event_name("/?event=a?b#event=c"), "a?b");
        for target in ["/", "/?", "/?event", "/?event=", "/?Event=x", "/#?event=x"] {
            assert_eq!(event_name(target), "Unknown", "{target}");
        }
    }

    #[test]
    fn a_number_is_digits_that_fit_in_64_bits() {
        assert_eq!(parse_decimal(b"0042"), Some(42));
        for text in ["", "+1", "-1", "1 ", "1,1", "0x1", "18446744073709551616"] {
            assert_eq!(parse_decimal(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn the_query_says_after_which_event_the_replay_begins() {
        let after = |server, number| Route::Events {
            replay: Replay::After { server, number },
        };
        let route = |value: &str| route("GET", &format!("/events?after={value}"));
        assert_eq!(route("00000000000000ff:7"), after(255, 7));
        assert_eq!(route("ffffffffffffffff%3A0"), after(u64::MAX, 0));
        for value in [
            "",
            "7",
            ":7",
            "ff:7",
            "000000000000000g:7",
            "+00000000000000f:7",
            "00000000000000ff:",
            "00000000000000ff:-1",
            "00000000000000ff:+1",
            "00000000000000ff:7:7",
            "00000000000000ff:7&replay=1",
        ] {
            assert_eq!(route(value), Route::BadReplay, "{value}");
        }
    }

    #[test]
    fn the_query_says_how_many_events_are_replayed() {
        let events = |count| Route::Events {
            replay: Replay::Last(count),
        };
        assert_eq!(route("GET", "/events"), events(0));
        assert_eq!(route("GET", "/events?x=1&replay=10&replay=2#x"), events(10));
        assert_eq!(route("GET", "http://h/events?replay=all"), events(u64::MAX));
        for value in ["", "-1", "+1", "1.5", "ALL", "99999999999999999999"] {
            let target = format!("/events?replay={value}");
            assert_eq!(route("GET", &target), Route::BadReplay, "{target}");
        }
        for target in ["/events/", "/Events", "/eventsx", "/x/events", "events"] {
            assert_eq!(route("GET", target), Route::NotFound, "{target}");
        }
        assert_eq!(route("HEAD", "/events"), Route::NotFound);
    }

    #[test]
    fn a_target_may_include_the_authority() {
        for target in ["http://localhost/health", "HTTP://x:80/health", "/health"] {
            assert_eq!(route("GET", target), Route::Health, "{target}");
        }
        let hook = |event_name: &str| Route::Hook {
            event_name: event_name.into(),
        };
        assert_eq!(route("POST", "http://h/a?event=A"), hook("A"));
        assert_eq!(route("POST", "http://h?event=A"), hook("A"));
        assert_eq!(route("GET", "http://health"), Route::NotFound);
        assert_eq!(route("GET", "ftp://h/health"), Route::NotFound);
    }
}
