//! Text of limited length: the pretty forms of an event.
//!
//! Indentation can make a short text a hundred times longer. So a pretty form has at most four
//! times the bytes of the compact form plus 64 KiB, colours not counted. If the form would be
//! longer, the same rule, without the 64 KiB, applies to each member of its object: a member that
//! would be longer is written compact. Then the sum is within the limit, too.
//!
//! Of lines for the calls of a batch, those within the limit are written, and then how many more
//! there are (`line.rs`). Any other event is one line, which is not much longer than its text.
//!
//! Each member is tried once more at most, and a trial ends at its limit. So the time is
//! proportional to the length of the compact form.
//!
//! Stop 8 of EDU_NOTES.md.

use std::fmt::{self, Write};

/// The pretty formats write containers nested deeper than this in compact form. The total
/// indentation grows with the square of the depth: 20 kB of brackets would become 200 MB.
pub const MAX_PRETTY_DEPTH: usize = 64;
/// How many times longer than the compact form a pretty form may be.
pub const MAX_GROWTH: usize = 4;
/// How many bytes longer than that the pretty form of an event may be.
pub const ALLOWANCE: usize = 64 << 10;
/// Text that is this much longer than its compact form is first measured, then written. So
/// text that turns out too long has not used much memory.
const MAX_DRAFT: usize = 1 << 20;

/// The end of a [`String`], where text of limited length is written.
pub struct Bounded<'o> {
    out: &'o mut String,
    /// Where the text begins.
    start: usize,
    /// The length of `out` up to which the text is written without a further check.
    unchecked: usize,
    /// Bytes that the text may have.
    limit: usize,
    /// The bytes of a text that has become longer than a draft: it is only measured.
    measured: Option<usize>,
}

impl<'o> Bounded<'o> {
    fn new(out: &'o mut String, limit: usize, draft: usize) -> Self {
        let start = out.len();
        Bounded {
            out,
            start,
            unchecked: start.saturating_add(limit.min(draft)),
            limit,
            measured: None,
        }
    }

    /// Writes text that does not count: an escape sequence for a colour.
    pub fn write_uncounted(&mut self, text: &str) {
        if self.measured.is_none() {
            self.out.push_str(text);
            self.unchecked = self.unchecked.saturating_add(text.len());
            self.limit = self.limit.saturating_add(text.len());
        }
    }

    /// Writes an even number of spaces.
    pub fn indent(&mut self, columns: usize) -> fmt::Result {
        (0..columns / 2).try_for_each(|_| self.write_str("  "))
    }

    /// Counts text that is longer than a draft. Fails at the limit.
    #[cold]
    fn measure(&mut self, text: &str) -> fmt::Result {
        let length = self.measured.unwrap_or(self.out.len() - self.start) + text.len();
        self.measured = Some(length);
        self.out.truncate(self.start);
        self.unchecked = 0;
        if length > self.limit {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

impl Write for Bounded<'_> {
    /// Fails if the text exceeds its limit.
    #[inline]
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.out.len() + text.len() > self.unchecked {
            return self.measure(text);
        }
        self.out.push_str(text);
        Ok(())
    }
}

/// Appends what `write` writes, unless that is too long for text whose compact form has
/// `length` bytes. Returns whether it fits.
pub fn write_within(
    length: usize,
    allowance: usize,
    out: &mut String,
    write: impl Fn(&mut Bounded) -> fmt::Result,
) -> bool {
    let start = out.len();
    let limit = length.saturating_mul(MAX_GROWTH).saturating_add(allowance);
    let mut text = Bounded::new(out, limit, length.saturating_add(MAX_DRAFT));
    let fits = write(&mut text).is_ok();
    let is_written = text.measured.is_none();
    if !fits {
        out.truncate(start);
    } else if !is_written {
        write_unbounded(out, write);
    }
    fits
}

/// Appends what `write` writes, without a limit.
pub fn write_unbounded(out: &mut String, write: impl Fn(&mut Bounded) -> fmt::Result) {
    // It fails only at a limit.
    let _ = write(&mut Bounded::new(out, usize::MAX, usize::MAX));
}
