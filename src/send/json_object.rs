//! Where a JSON object ends, found while its bytes arrive.
//!
//! A writer may leave the pipe open after its object, so the end of input does not mark
//! the end of the object. This file does no I/O.
//!
//! It looks at one byte at a time. `memchr` is faster for megabytes, but first asks the CPU
//! for its features (cpuid), which costs more in a virtual machine than a usual payload.
//!
//! Stop 17 of EDU_NOTES.md.

use std::ops::Range;

use serde::de::IgnoredAny;

/// Finds the end of a JSON object. It reads each byte once, and then `serde_json`
/// validates what may be an object, once.
#[derive(Debug, Default)]
pub struct ObjectScanner {
    state: State,
    /// The number of bytes that were read.
    position: usize,
    /// Where the object begins.
    start: usize,
    /// How many brackets are open.
    depth: usize,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    /// Before the first byte that is not white space.
    #[default]
    Start,
    /// In the object, between strings.
    Structure,
    InString,
    AfterBackslash,
    /// This is not a JSON object, whatever follows.
    NoObject,
}

impl ObjectScanner {
    /// Reads on in `bytes`, which begin with those of the last call. Returns the place of
    /// the object as soon as it is complete.
    pub fn scan(&mut self, bytes: &[u8]) -> Option<Range<usize>> {
        while let Some(&byte) = bytes.get(self.position) {
            self.position += 1;
            self.state = match (self.state, byte) {
                (State::Start, b' ' | b'\t' | b'\r' | b'\n') => State::Start,
                (State::Start, b'{') => {
                    (self.start, self.depth) = (self.position - 1, 1);
                    State::Structure
                }
                (State::Structure, b'"') => State::InString,
                (State::Structure, b'{' | b'[') => {
                    self.depth += 1;
                    State::Structure
                }
                (State::Structure, b'}' | b']') => {
                    self.depth -= 1;
                    let object = self.start..self.position;
                    match self.depth {
                        0 if is_json(&bytes[object.clone()]) => return Some(object),
                        0 => State::NoObject,
                        _ => State::Structure,
                    }
                }
                (State::Structure, _) => State::Structure,
                (State::InString, b'"') => State::Structure,
                (State::InString, b'\\') => State::AfterBackslash,
                (State::InString, _) => State::InString,
                (State::AfterBackslash, _) => State::InString,
                (State::Start | State::NoObject, _) => {
                    self.position = bytes.len();
                    State::NoObject
                }
            };
        }
        None
    }
}

/// Bytes that are not UTF-8 are allowed in strings: the server replaces them.
fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}
