//! Text of limited length: the pretty forms of an event.
//!
//! Indentation can make a short text a hundred times longer. So a pretty form has at most four
//! times the bytes of the compact form plus 64 KiB. If the form of an event would be longer,
//! the same rule, without the 64 KiB, applies to each member of its object: a member that
//! would be longer is written compact. Then the sum is within the limit, too.
//!
//! Each member is tried once more at most, and a trial ends at its limit. So the time is
//! proportional to the length of the compact form.
//!
//! Stop 6 of EDU_NOTES.md.

use std::fmt::{self, Write};

/// How many times longer than the compact form a pretty form may be.
const MAX_GROWTH: usize = 4;
/// How many bytes longer than that the pretty form of an event may be.
pub const ALLOWANCE: usize = 64 << 10;
/// Text that is this much longer than its compact form is first measured, then written. So
/// text that turns out too long has not used much memory.
const MAX_DRAFT: usize = 1 << 20;

/// The end of a [`String`], where text of limited length is written.
pub struct Bounded<'o> {
    out: &'o mut String,
    start: usize,
    /// Bytes that may still be written.
    left: usize,
    /// The text becomes longer than a draft: it is only measured.
    is_measuring: bool,
    max_draft: usize,
}

impl<'o> Bounded<'o> {
    fn new(out: &'o mut String, limit: usize, max_draft: usize) -> Self {
        Bounded {
            start: out.len(),
            out,
            left: limit,
            is_measuring: false,
            max_draft,
        }
    }

    /// Writes text that does not count: an escape sequence for a colour.
    pub fn write_uncounted(&mut self, text: &str) {
        if self.is_measuring {
            return;
        }
        if self.out.len() - self.start + text.len() > self.max_draft {
            self.is_measuring = true;
            self.out.truncate(self.start);
        } else {
            self.out.push_str(text);
        }
    }

    /// Writes spaces.
    pub fn indent(&mut self, columns: usize) -> fmt::Result {
        const SPACES: &str = "                                                                ";
        let mut left = columns;
        while left > 0 {
            let count = left.min(SPACES.len());
            self.write_str(&SPACES[..count])?;
            left -= count;
        }
        Ok(())
    }
}

impl Write for Bounded<'_> {
    /// Fails if the text exceeds its limit.
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.left = self.left.checked_sub(text.len()).ok_or(fmt::Error)?;
        self.write_uncounted(text);
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
    let was_measured = text.is_measuring;
    if !fits {
        out.truncate(start);
    } else if was_measured {
        write_unbounded(out, write);
    }
    fits
}

/// Appends what `write` writes, without a limit.
pub fn write_unbounded(out: &mut String, write: impl Fn(&mut Bounded) -> fmt::Result) {
    // It fails only at a limit.
    let _ = write(&mut Bounded::new(out, usize::MAX, usize::MAX));
}
