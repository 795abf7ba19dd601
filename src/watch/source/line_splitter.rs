//! Bytes in, lines out, in bounded memory.
//!
//! Stop 17 of EDU_NOTES.md.

use std::io;

use memchr::memchr;

use super::input::Input;

/// The room for one read.
const READ_SIZE: usize = 1 << 20;
/// The longest line, in bytes. A body may have 64 MiB by default, and text that is not ASCII has
/// up to three times as many bytes when it is escaped. Only bytes that are not UTF-8, and control
/// characters in a body that is not JSON, grow more.
const MAX_LINE: usize = 192 << 20;

/// Splits bytes into lines without their newlines. A line may arrive in any number of pieces, and
/// of one that is too long only this fact is known.
#[derive(Default)]
pub struct LineSplitter {
    buffer: Vec<u8>,
    /// How many bytes of the buffer are filled: lines that were not taken yet.
    filled: usize,
    /// How many of them are known to contain no newline.
    scanned: usize,
    /// Whether bytes are skipped up to the end of a line that is too long.
    is_skipping: bool,
}

impl LineSplitter {
    /// Calls `read` once for more bytes. Returns their number.
    pub fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        if self.buffer.len() - self.filled < READ_SIZE / 2 {
            self.buffer.resize(self.filled + READ_SIZE, 0);
        }
        let count = read(&mut self.buffer[self.filled..])?;
        self.filled += count;
        Ok(count)
    }

    /// Adds bytes that were read before.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.buffer.truncate(self.filled);
        self.buffer.extend_from_slice(bytes);
        self.filled = self.buffer.len();
    }

    /// Gives the complete lines to `take`, until it returns an error.
    pub fn take_lines<E>(&mut self, mut take: impl FnMut(Input) -> Result<(), E>) -> Result<(), E> {
        let mut start = 0;
        while let Some(length) = memchr(b'\n', &self.buffer[self.scanned..self.filled]) {
            let end = self.scanned + length;
            self.scanned = end + 1;
            let line = &self.buffer[start..end];
            start = self.scanned;
            let is_too_long = std::mem::take(&mut self.is_skipping);
            take(if is_too_long {
                Input::TooLong
            } else {
                Input::Line(line)
            })?;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        if self.filled > MAX_LINE || self.is_skipping {
            self.is_skipping = true;
            self.buffer = Vec::new();
            self.filled = 0;
        }
        self.scanned = self.filled;
        Ok(())
    }

    /// Gives the rest at the end of input to `take`: a line without a newline.
    pub fn take_rest<E>(&mut self, take: impl FnOnce(Input) -> Result<(), E>) -> Result<(), E> {
        let rest = std::mem::take(self);
        match rest.buffer.get(..rest.filled) {
            _ if rest.is_skipping => take(Input::TooLong),
            Some(line) if !line.is_empty() => take(Input::Line(line)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<String> {
        let mut splitter = LineSplitter::default();
        let mut lines = Vec::new();
        let mut take = |line: Input| {
            lines.push(match line {
                Input::Line(line) => String::from_utf8_lossy(line).into_owned(),
                _ => "too long".into(),
            });
            Ok::<(), ()>(())
        };
        for piece in pieces {
            let read = |room: &mut [u8]| {
                room[..piece.len()].copy_from_slice(piece);
                Ok(piece.len())
            };
            splitter.fill(read).unwrap();
            splitter.take_lines(&mut take).unwrap();
        }
        splitter.take_rest(&mut take).unwrap();
        lines
    }

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let text = b"one\n\ntwo three\nfour\nfi";
        for size in 1..text.len() {
            let pieces: Vec<&[u8]> = text.chunks(size).collect();
            let lines = split(&pieces);
            assert_eq!(lines, ["one", "", "two three", "four", "fi"], "{size}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let piece = vec![b'x'; READ_SIZE / 2];
        let mut pieces = vec![piece.as_slice(); 2 * MAX_LINE / READ_SIZE + 2];
        pieces.insert(0, b"one\n");
        pieces.push(b"end\ntwo\n");
        assert_eq!(split(&pieces), ["one", "too long", "two"]);
        pieces.pop();
        assert_eq!(split(&pieces), ["one", "too long"]);
    }
}
