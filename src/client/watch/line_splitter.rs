//! Bytes in, lines out, in bounded memory.
//!
//! Stop 1 of EDU_NOTES.md.

use std::io;

use memchr::memchr;

/// The room for one read.
const READ_SIZE: usize = 1 << 20;
/// The longest line. An event of 64 MiB, the most that a server takes by default, can have
/// twice as many bytes as a line, since what is not ASCII is escaped.
const MAX_LINE: usize = 192 << 20;

/// Splits bytes into lines. A line may arrive in any number of pieces.
#[derive(Default)]
pub struct LineSplitter {
    /// The bytes of lines that were not taken yet.
    buffer: Vec<u8>,
    /// How many of them are known to contain no newline.
    scanned: usize,
    /// Whether bytes are skipped up to the end of a line that is too long.
    is_skipping: bool,
}

/// A line without its newline, or the fact that it was too long.
pub enum Line<'l> {
    Whole(&'l [u8]),
    TooLong,
}

impl LineSplitter {
    /// Calls `read` once for more bytes. Returns their number.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let length = self.buffer.len();
        self.buffer.resize(length + READ_SIZE, 0);
        let result = read(&mut self.buffer[length..]);
        let count = result.as_ref().map_or(0, |count| *count);
        self.buffer.truncate(length + count);
        result
    }

    /// Adds bytes that were read before.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives the complete lines to `take`, until it returns an error.
    pub fn take_lines<E>(&mut self, mut take: impl FnMut(Line) -> Result<(), E>) -> Result<(), E> {
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &self.buffer[self.scanned..]) {
            let end = self.scanned + length;
            self.scanned = end + 1;
            let line = &self.buffer[start..end];
            start = self.scanned;
            match std::mem::take(&mut self.is_skipping) {
                true => take(Line::TooLong)?,
                false => take(Line::Whole(line))?,
            }
        }
        self.buffer.drain(..start);
        if self.buffer.len() > MAX_LINE || self.is_skipping {
            self.is_skipping = true;
            self.buffer = Vec::new();
        }
        self.scanned = self.buffer.len();
        Ok(())
    }

    /// Takes the rest at the end of input: a line without a newline.
    pub fn take_rest(&mut self) -> Vec<u8> {
        let rest = std::mem::take(self).buffer;
        if self.is_skipping { Vec::new() } else { rest }
    }
}
