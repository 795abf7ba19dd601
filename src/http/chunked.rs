//! Chunked bodies (RFC 9112 section 7.1), decoded as they arrive.
//!
//! Every byte except chunk data goes through a table of states, so it does not matter where
//! a read ends. (A state that ends in `Cr` or `Lf` expects that character.) The decoder is
//! strict where lenient ones were exploited for request smuggling: lines end in CRLF, and sizes
//! are hexadecimal digits.
//!
//! Stop 6 of EDU_NOTES.md.

use super::request::MAX_HEAD;
use super::response::Status;

/// Bytes of extensions and trailer fields that one body can have, and that are discarded: as
/// many as those of a head, which has fields too.
const MAX_OVERHEAD: usize = MAX_HEAD;

/// The decoder of one body.
#[derive(Debug, Default)]
pub struct Chunked {
    state: State,
    overhead: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum State {
    /// Before a chunk's size.
    #[default]
    Start,
    /// In the size: its value, and its number of digits.
    Size(u64, u8),
    /// In white space before an extension, which a recipient must accept.
    Space(u64),
    Extension(u64),
    SizeLf(u64),
    Data(u64),
    DataCr,
    DataLf,
    /// Before a trailer field or the last line.
    Trailers,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    Done,
}

impl Chunked {
    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes `bytes` up to the end of the body, and appends the data to `body`. Returns
    /// how many of the bytes belong to the body. The error is the status of the refusal:
    /// 400 if this is not a chunk, 413 if the body would have more than `max_body` bytes,
    /// 431 if there are too many extensions or trailers.
    pub fn decode(
        &mut self,
        bytes: &[u8],
        body: &mut Vec<u8>,
        max_body: u64,
    ) -> Result<usize, Status> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first()
            && !self.is_done()
        {
            if let State::Data(left) = self.state {
                let (data, after) =
                    rest.split_at(rest.len().min(usize::try_from(left).unwrap_or(usize::MAX)));
                body.extend(data);
                let left = left - data.len() as u64;
                self.state = if left > 0 {
                    State::Data(left)
                } else {
                    State::DataCr
                };
                rest = after;
                continue;
            }
            self.state = self.next_state(byte)?;
            if let State::SizeLf(size) = self.state
                && size > max_body.saturating_sub(body.len() as u64)
            {
                return Err(Status::ContentTooLarge);
            }
            rest = after;
        }
        Ok(bytes.len() - rest.len())
    }

    fn next_state(&mut self, byte: u8) -> Result<State, Status> {
        use State::*;
        if matches!(
            self.state,
            Space(_) | Extension(_) | Trailers | TrailerName | TrailerValue
        ) {
            self.overhead += 1;
            if self.overhead > MAX_OVERHEAD {
                return Err(Status::HeaderTooLarge);
            }
        }
        let digit = char::from(byte).to_digit(16).map(u64::from);
        Ok(match (self.state, byte) {
            (Start, _) => Size(digit.ok_or(Status::BadRequest)?, 1),
            (Size(size, digits @ ..16), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                Size(size << 4 | digit.unwrap_or(0), digits + 1)
            }
            (Size(size, _) | Space(size), b' ' | b'\t') => Space(size),
            (Size(size, _) | Space(size), b';') => Extension(size),
            (Size(size, _) | Extension(size), b'\r') => SizeLf(size),
            (Extension(size), _) if is_text(byte) => Extension(size),
            (SizeLf(0), b'\n') => Trailers,
            (SizeLf(size), b'\n') => Data(size),
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => Start,
            (Trailers, b'\r') => LastLf,
            (Trailers | TrailerName, _) if is_token(byte) => TrailerName,
            (TrailerName, b':') => TrailerValue,
            (TrailerValue, b'\r') => TrailerLf,
            (TrailerValue, _) if is_text(byte) => TrailerValue,
            (TrailerLf, b'\n') => Trailers,
            (LastLf, b'\n') => Done,
            _ => return Err(Status::BadRequest),
        })
    }
}

/// A byte of a field's value or of an extension (RFC 9110 section 5.5).
fn is_text(byte: u8) -> bool {
    byte == b'\t' || byte >= b' ' && byte != 0x7f
}

/// A byte of a field's name (RFC 9110 section 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, and what follows it.
    fn decoded(text: &str) -> Result<(String, &str), Status> {
        let (mut chunked, mut body) = (Chunked::default(), Vec::new());
        let used = chunked.decode(text.as_bytes(), &mut body, 100)?;
        assert!(chunked.is_done(), "{text:?} goes on");
        Ok((String::from_utf8(body).unwrap(), &text[used..]))
    }

    #[test]
    fn chunks_are_joined_and_bytes_after_the_body_are_left() {
        let whole = "3\r\n{\"a\r\n0a;x=\"y\";z\r\n\":\"123456\"\r\n01 ;q\r\n}\r\n000\r\nA: b\r\nC:\r\n\r\nGET";
        assert_eq!(decoded(whole), Ok(("{\"a\":\"123456\"}".into(), "GET")));
        assert_eq!(decoded("0\r\n\r\n"), Ok(("".into(), "")));
    }

    #[test]
    fn a_malformed_chunk_is_refused() {
        for text in [
            "\r\n",
            "g\r\n",
            "-1\r\n",
            "+1\r\n",
            "0x1\r\n",
            " 1\r\n",
            "1 \r\n",
            "1\n",
            "1\r\nab",
            "1\r\na\n",
            "1\r\na\rb",
            "1;\n",
            "1;a\u{1}",
            "0\r\n\n",
            "0\r\n A: b",
            "0\r\nA : b",
            "0\r\nA\r\n",
            "0\r\n: b",
            "10000000000000000\r\n",
            "00000000000000001\r\n",
        ] {
            assert_eq!(decoded(text), Err(Status::BadRequest), "{text:?}");
        }
    }

    #[test]
    fn sizes_extensions_and_trailers_have_limits() {
        assert_eq!(decoded("65\r\n"), Err(Status::ContentTooLarge));
        assert_eq!(
            decoded("1\r\na\r\nffffffffffffffff\r\n"),
            Err(Status::ContentTooLarge)
        );
        assert_eq!(
            decoded(&format!("1;{}", "x".repeat(70_000))),
            Err(Status::HeaderTooLarge)
        );
        assert_eq!(
            decoded(&format!("0\r\n{}", "A: b\r\n".repeat(20_000))),
            Err(Status::HeaderTooLarge)
        );
    }
}
