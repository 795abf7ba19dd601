//! The bytes of consecutive entries, in segments of memory.
//!
//! Small entries share a segment, so that a single write can take many of them. A large entry
//! is a segment of its own. It is moved in. A cursor that still needs it after it has left the
//! log shares its memory. So no step copies more than [`LARGE_ENTRY`] bytes of an entry.
//!
//! This file knows no cursor and no limit.
//!
//! Stop 9 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::rc::Rc;

/// An entry of at least this many bytes is a segment of its own.
pub const LARGE_ENTRY: usize = 64 << 10;
/// Bytes of small entries in one segment.
const SEGMENT_SIZE: usize = 256 << 10;

/// A queue of entries, numbered from 0 in the order of appending. An offset counts all bytes
/// ever appended.
#[derive(Debug, Default)]
pub struct Segments {
    segments: VecDeque<Segment>,
    /// The offset at which each entry ends.
    ends: VecDeque<u64>,
    /// The number of the oldest entry that is still here.
    pub oldest: u64,
    /// The offset of its first byte.
    oldest_offset: u64,
    /// The memory of the last small segment that was dropped. It is still in the cache.
    spare: Option<Vec<u8>>,
}

/// Consecutive entries in one piece of memory. No entry is in two segments.
#[derive(Debug)]
struct Segment {
    /// The offset of the first byte.
    start: u64,
    bytes: Rc<Vec<u8>>,
}

impl Segments {
    /// The number of the entry that is appended next.
    pub fn end(&self) -> u64 {
        self.oldest + self.ends.len() as u64
    }

    /// The offset after the newest entry.
    pub fn end_offset(&self) -> u64 {
        self.ends.back().copied().unwrap_or(self.oldest_offset)
    }

    /// The offset of the first byte of an entry, or of the next entry to be appended. For an
    /// entry that is no longer here, the offset of the oldest one.
    pub fn start_of(&self, entry: u64) -> u64 {
        match entry.saturating_sub(self.oldest) {
            0 => self.oldest_offset,
            index => self.ends[index as usize - 1],
        }
    }

    /// The number of bytes from the start of an entry to the end.
    pub fn length_from(&self, entry: u64) -> usize {
        (self.end_offset() - self.start_of(entry)) as usize
    }

    /// The first entry from which at most `length` bytes follow.
    pub fn last_within(&self, length: usize) -> u64 {
        let offset = self.end_offset().saturating_sub(length as u64);
        if offset <= self.oldest_offset {
            return self.oldest;
        }
        self.oldest + self.ends.partition_point(|end| *end < offset) as u64 + 1
    }

    /// The number of the first entry that ends after `offset`.
    pub fn entry_at(&self, offset: u64) -> u64 {
        // A sink that keeps up is at the end. The search takes longer, the longer the history.
        if offset == self.end_offset() {
            return self.end();
        }
        self.oldest + self.ends.partition_point(|end| *end <= offset) as u64
    }

    /// The bytes from `offset` to the end of its segment. Empty at the end.
    pub fn bytes_at(&self, offset: u64) -> &[u8] {
        if offset == self.end_offset() {
            return &[];
        }
        let segment = self.segment_at(offset);
        &segment.bytes[(offset - segment.start) as usize..]
    }

    /// The bytes of one entry: the segment itself if the entry is large, else a copy.
    pub fn share_entry(&self, entry: u64) -> Rc<Vec<u8>> {
        let start = self.start_of(entry);
        let length = (self.start_of(entry + 1) - start) as usize;
        let segment = self.segment_at(start);
        if segment.start == start && segment.bytes.len() == length {
            return segment.bytes.clone();
        }
        let index = (start - segment.start) as usize;
        Rc::new(segment.bytes[index..index + length].to_vec())
    }

    /// The segment that contains the byte at `offset`, which must be here.
    fn segment_at(&self, offset: u64) -> &Segment {
        let next = self
            .segments
            .partition_point(|segment| segment.start <= offset);
        &self.segments[next - 1]
    }

    /// Appends an entry.
    pub fn append(&mut self, entry: String) {
        let start = self.end_offset();
        self.ends.push_back(start + entry.len() as u64);
        if entry.len() >= LARGE_ENTRY {
            // The small segment before it is complete.
            let last = self.segments.back_mut();
            let bytes = last.and_then(|segment| Rc::get_mut(&mut segment.bytes));
            bytes.into_iter().for_each(Vec::shrink_to_fit);
            let mut bytes = entry.into_bytes();
            bytes.shrink_to_fit();
            let bytes = Rc::new(bytes);
            self.segments.push_back(Segment { start, bytes });
        } else {
            self.small_segment(start, entry.len())
                .extend(entry.as_bytes());
        }
    }

    /// A segment with room for a small entry that begins at `start`: the last one, or a new one.
    fn small_segment(&mut self, start: u64, length: usize) -> &mut Vec<u8> {
        let has_room = |segment: &mut Segment| {
            // A large entry has a segment to itself. One that a cursor shares cannot grow.
            let is_small = segment.bytes.capacity() == SEGMENT_SIZE;
            let has_room = segment.bytes.len() + length <= SEGMENT_SIZE;
            is_small && has_room && Rc::get_mut(&mut segment.bytes).is_some()
        };
        if !self.segments.back_mut().is_some_and(has_room) {
            let spare = self.spare.take();
            let bytes = spare.unwrap_or_else(|| Vec::with_capacity(SEGMENT_SIZE));
            let bytes = Rc::new(bytes);
            self.segments.push_back(Segment { start, bytes });
        }
        let last = self.segments.len() - 1;
        Rc::make_mut(&mut self.segments[last].bytes)
    }

    /// Drops the entries before the one with this number.
    pub fn drop_before(&mut self, entry: u64) {
        /// Entries whose ends an empty queue keeps memory for.
        const SPARE_CAPACITY: usize = 64 << 10;
        let count = entry.saturating_sub(self.oldest) as usize;
        let Some(offset) = self.ends.drain(..count).next_back() else {
            return;
        };
        self.oldest = entry;
        self.oldest_offset = offset;
        let is_used = |segment: &Segment| segment.start + segment.bytes.len() as u64 > offset;
        let unused = self.segments.iter().position(is_used);
        for _ in 0..unused.unwrap_or(self.segments.len()) {
            self.recycle_oldest();
        }
        if self.ends.is_empty() {
            self.ends.shrink_to(SPARE_CAPACITY);
        }
    }

    /// Removes the oldest segment. The memory of a small one is kept for the next.
    fn recycle_oldest(&mut self) {
        let segment = self.segments.pop_front();
        let bytes = segment.and_then(|segment| Rc::into_inner(segment.bytes));
        if let Some(mut bytes) = bytes.filter(|bytes| bytes.capacity() == SEGMENT_SIZE) {
            bytes.clear();
            self.spare = Some(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_entry_has_a_segment_to_itself_and_small_ones_share() {
        let mut segments = Segments::default();
        for length in [LARGE_ENTRY, 10, 10, LARGE_ENTRY, 10] {
            segments.append("x".repeat(length));
        }
        let lengths = segments.segments.iter().map(|segment| segment.bytes.len());
        let expected = [LARGE_ENTRY, 20, LARGE_ENTRY, 10];
        assert_eq!(lengths.collect::<Vec<_>>(), expected);
    }
}
