//! Walks JSON text: its tokens, its members, and the meaning of its strings.
//!
//! These functions take text that `serde_json` has validated. For other text the result is
//! meaningless, but they return.
//!
//! Stop 8 of EDU_NOTES.md.

use std::borrow::Cow;

/// A token of JSON text (RFC 8259 section 2). White space is not a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Token<'a> {
    /// `{` or `[`.
    Open(char),
    /// `}` or `]`.
    Close(char),
    Comma,
    Colon,
    /// A string as it is spelled, without its quotes.
    String(&'a str),
    /// A number, `true`, `false` or `null`, as it is spelled.
    Literal(&'a str),
}

/// The tokens of `text` in order.
pub fn tokens(text: &str) -> Tokens<'_> {
    Tokens { text }
}

/// An iterator over tokens.
#[derive(Clone)]
pub struct Tokens<'a> {
    text: &'a str,
}

impl<'a> Tokens<'a> {
    /// Takes `length` bytes from the front.
    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.text.split_at(length);
        self.text = rest;
        taken
    }

    /// The first byte of the next token.
    pub fn peek(&self) -> Option<u8> {
        self.text.trim_ascii_start().bytes().next()
    }

    /// Consumes the next member of an object: its key (as spelled, without its quotes) and its
    /// value.
    pub fn take_member(&mut self) -> Option<(&'a str, &'a str)> {
        let (Some(Token::String(key)), Some(_colon)) = (self.next(), self.next()) else {
            return None;
        };
        Some((key, self.take_value()))
    }

    /// Consumes the next value, which may be a whole container.
    fn take_value(&mut self) -> &'a str {
        self.text = self.text.trim_ascii_start();
        if !self.text.starts_with(['{', '[']) {
            let text = self.text;
            self.next();
            return &text[..text.len() - self.text.len()];
        }
        let bytes = self.text.as_bytes();
        let (mut depth, mut at) = (0, 0);
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => at += string_length(&bytes[at..]) + 1,
                b'{' | b'[' => depth += 1,
                b'}' | b']' if depth == 1 => break,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
        }
        self.take(at.min(bytes.len()))
    }
}

/// The members of an object, each as its key (as spelled, without its quotes) and its
/// value. The elements of an array have empty keys. Other values have no members.
pub fn members(container: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut tokens = tokens(container);
    let opened = tokens.next();
    std::iter::from_fn(move || {
        let member = match (opened?, tokens.peek()?) {
            (_, b'}' | b']') => return None,
            (Token::Open('['), _) => ("", tokens.take_value()),
            (Token::Open(_), _) => tokens.take_member()?,
            _ => return None,
        };
        // The comma, or the closing bracket.
        tokens.next();
        Some(member)
    })
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.text = self.text.trim_ascii_start();
        let first = *self.text.as_bytes().first()?;
        Some(match first {
            b'{' | b'[' | b'}' | b']' | b',' | b':' => {
                self.take(1);
                match first {
                    b'{' | b'[' => Token::Open(first.into()),
                    b',' => Token::Comma,
                    b':' => Token::Colon,
                    _ => Token::Close(first.into()),
                }
            }
            b'"' => {
                self.take(1);
                let string = self.take(string_length(self.text.as_bytes()));
                self.take(self.text.len().min(1));
                Token::String(string)
            }
            _ => {
                let ends =
                    |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
                let length = self.text.bytes().position(|byte| ends(&byte));
                Token::Literal(self.take(length.unwrap_or(self.text.len())))
            }
        })
    }
}

/// The number of bytes before the quote that ends a string: the first quote after an even
/// number of backslashes. It searches for quotes, not for backslashes, because texts have
/// many more escapes than quotes.
pub fn string_length(bytes: &[u8]) -> usize {
    let ends = |quote: &usize| {
        let before = bytes[..*quote].iter().rev();
        before.take_while(|byte| **byte == b'\\').count() % 2 == 0
    };
    memchr::memchr_iter(b'"', bytes)
        .find(ends)
        .unwrap_or(bytes.len())
}

/// A string value without its quotes. `None` for any other value.
pub fn unquoted(value: &str) -> Option<&str> {
    value.strip_prefix('"')?.strip_suffix('"')
}

fn has_escapes(spelled: &str) -> bool {
    memchr::memchr(b'\\', spelled.as_bytes()).is_some()
}

/// A character of a decoded string.
enum Unit {
    Char(char),
    /// Half of a surrogate pair. JSON can spell it alone (RFC 8259 section 8.2), but it is
    /// not a `char`.
    LoneSurrogate(u32),
}

/// Decodes a string that is given as spelled.
fn units(spelled: &str) -> impl Iterator<Item = Unit> {
    let mut rest = spelled;
    std::iter::from_fn(move || {
        let mut chars = rest.chars();
        let mut unit = chars.next()?;
        if unit == '\\' {
            unit = match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => {
                    let (unit, length) = unicode_escape(rest)?;
                    rest = rest.get(length..)?;
                    return Some(unit);
                }
                itself => itself,
            };
        }
        rest = chars.as_str();
        Some(Unit::Char(unit))
    })
}

/// Decodes the `\uXXXX` at the start of `text`, or the two that make a surrogate pair.
/// Returns also the number of bytes.
fn unicode_escape(text: &str) -> Option<(Unit, usize)> {
    let code = |at: usize| {
        let digits = text.get(at..)?.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = code(0)?;
    if let Some(unit) = char::from_u32(first) {
        return Some((Unit::Char(unit), 6));
    }
    if let (0xd800..0xdc00, Some(second @ 0xdc00..0xe000)) = (first, code(6)) {
        let pair = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((Unit::Char(char::from_u32(pair)?), 12));
    }
    Some((Unit::LoneSurrogate(first), 6))
}

/// The first position from `from` on at which a character or an escape surely begins.
pub fn boundary(spelled: &str, from: usize) -> usize {
    // `\u1234` is the longest escape. The second half of a pair counts as an escape.
    const LONGEST: usize = 6;
    let bytes = spelled.as_bytes();
    let is_boundary = |&at: &usize| {
        let before = &bytes[at.saturating_sub(LONGEST)..at];
        let begins_escape = bytes.get(at) == Some(&b'\\') && !before.ends_with(b"\\");
        spelled.is_char_boundary(at) && (begins_escape || !before.contains(&b'\\'))
    };
    (from..bytes.len()).find(is_boundary).unwrap_or(bytes.len())
}

/// The characters of a string that is given as spelled. A lone surrogate becomes U+FFFD.
pub fn chars(spelled: &str) -> impl Iterator<Item = char> {
    units(spelled).map(|unit| match unit {
        Unit::Char(char) => char,
        Unit::LoneSurrogate(_) => char::REPLACEMENT_CHARACTER,
    })
}

/// The characters of any JSON text as it is spelled, except that the escape of a character
/// that is not ASCII becomes that character.
pub fn readable_chars(json: &str) -> impl Iterator<Item = char> {
    let mut rest = json;
    let mut is_escaped = false;
    std::iter::from_fn(move || {
        if !is_escaped
            && let Some((Unit::Char(char), length)) = unicode_escape(rest)
            && !char.is_ascii()
        {
            rest = rest.get(length..)?;
            return Some(char);
        }
        let mut chars = rest.chars();
        let char = chars.next()?;
        is_escaped = char == '\\' && !is_escaped;
        rest = chars.as_str();
        Some(char)
    })
}

/// The text of a string that is given as spelled. A lone surrogate becomes U+FFFD.
pub fn decode(spelled: &str) -> Cow<'_, str> {
    if !has_escapes(spelled) {
        return spelled.into();
    }
    chars(spelled).collect::<String>().into()
}

/// One spelling for all spellings of a string: equal exactly if the strings are. A
/// backslash stays doubled, so that the text `\\ud83d` and the lone surrogate `\ud83d`
/// differ.
pub fn canonical(spelled: &str) -> Cow<'_, str> {
    if !has_escapes(spelled) {
        return spelled.into();
    }
    let mut text = String::with_capacity(spelled.len());
    for unit in units(spelled) {
        match unit {
            Unit::Char('\\') => text.push_str("\\\\"),
            Unit::Char(char) => text.push(char),
            Unit::LoneSurrogate(code) => text.push_str(&format!("\\u{code:x}")),
        }
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_omit_white_space_and_nothing_else() {
        let found: Vec<_> = tokens(" { \"a\\\"\" :\t[1.50,\r\nnull ] } ").collect();
        use Token::*;
        assert_eq!(found[..4], [Open('{'), String("a\\\""), Colon, Open('[')]);
        assert_eq!(
            found[4..],
            [
                Literal("1.50"),
                Comma,
                Literal("null"),
                Close(']'),
                Close('}')
            ]
        );
    }

    #[test]
    fn members_are_returned_whole() {
        let found: Vec<_> = members(r#" { "a" : [ 1, {"b":"]"} ] ,"c\"":"x" , "d":{}} "#).collect();
        assert_eq!(
            found,
            [
                ("a", r#"[ 1, {"b":"]"} ]"#),
                (r#"c\""#, r#""x""#),
                ("d", "{}")
            ]
        );
        let found: Vec<_> = members("[[1],2]").collect();
        assert_eq!(found, [("", "[1]"), ("", "2")]);
        for text in ["{}", "[]", "7", "\"{\"", "", "{1:2}"] {
            assert_eq!(members(text).next(), None, "{text}");
        }
    }

    #[test]
    fn strings_are_decoded_as_rfc_8259_says() {
        let escapes = r#"\u0041\/\\\"\b\f\n\r\t"#;
        assert_eq!(decode(escapes), "A/\\\"\u{8}\u{c}\n\r\t");
        let surrogates = r"\ud83d\ude00 \ud83d \ude00\ud83d";
        assert_eq!(decode(surrogates), "😀 \u{fffd} \u{fffd}\u{fffd}");
    }

    #[test]
    fn readable_text_has_only_the_escapes_of_ascii_and_of_lone_surrogates() {
        let json = r#"["\\u00e9\u00E9\\\u00e9\n\u0041\ud83d\ude00\ud83d"]"#;
        let readable: String = readable_chars(json).collect();
        assert_eq!(readable, r#"["\\u00e9é\\é\n\u0041😀\ud83d"]"#);
    }

    #[test]
    fn equal_strings_have_one_canonical_spelling() {
        assert_eq!(canonical(r"\u0061\/"), canonical("a/"));
        assert_ne!(canonical(r"\ud83d"), canonical(r"\ud83e"));
        assert_ne!(canonical(r"\ud83d"), canonical(r"\\ud83d"));
        assert_ne!(canonical(r"\\\\ud83d"), canonical(r"\\ud83d"));
    }

    #[test]
    fn invalid_json_does_not_loop_or_panic() {
        for text in ["\"", "\"\\", "\"a\\\"", "\\", "\\u12", "\"\\u", "tru\u{e9}"] {
            tokens(text).for_each(drop);
            members(&format!("[{text}")).for_each(drop);
            members(&format!("{{{text}")).for_each(drop);
            decode(text);
            canonical(text);
            readable_chars(text).for_each(drop);
        }
    }
}
