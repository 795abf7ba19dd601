//! Consecutive entries, in segments of memory.
//!
//! Small entries share a segment, so that a single write can take many of them. A large entry
//! is a segment of its own. It is moved in. A cursor that still needs an entry after it has left the
//! log shares the memory of its segment, or gets a copy if that is only a small part of it. So no
//! step copies more than [`LARGE_ENTRY`] bytes of an entry.
//!
//! Each segment has the index of its entries. So entries leave with their segment, however many it
//! has, and no index moves or grows with the whole log.
//!
//! This file knows no cursor and no limit.
//!
//! Stop 9 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

/// An entry of at least this many bytes is a segment of its own.
pub const LARGE_ENTRY: usize = 16 << 10;
/// Bytes of small entries in one segment.
const SEGMENT_SIZE: usize = 64 << 10;
/// A smaller part of a segment is copied: a segment may be kept for an entry of a sixteenth of it.
const MIN_SHARED: usize = SEGMENT_SIZE / 16;

/// A queue of entries, numbered from 0 in the order of appending. An offset counts all bytes
/// ever appended.
#[derive(Debug, Default)]
pub struct Segments {
    segments: VecDeque<Segment>,
    /// The number of the oldest entry that is still here.
    pub oldest: u64,
    /// The offset of its first byte.
    oldest_offset: u64,
    /// The number of the entry that is appended next.
    end: u64,
    /// The offset after the newest entry.
    end_offset: u64,
    /// The memory of the last small segment that was dropped. It is still in the cache.
    spare: Option<Vec<u8>>,
}

/// Consecutive entries in one piece of memory. No entry is in two segments.
#[derive(Debug)]
struct Segment {
    /// The number of the first entry.
    first: u64,
    /// The offset of the first byte.
    start: u64,
    bytes: Rc<Vec<u8>>,
    index: Vec<Place>,
}

/// An entry in the index of its segment.
#[derive(Debug)]
struct Place {
    /// The offset at which it ends.
    end: u64,
    /// The number of the event that it is from. Some events have no entry.
    event: u64,
}

/// Bytes of memory that an entry needs in addition to its own.
pub const INDEX_COST: usize = size_of::<Place>();

/// An entry that is kept although it has left the log.
#[derive(Debug)]
pub struct SharedEntry {
    /// Other entries may be in the same memory.
    pub bytes: Rc<Vec<u8>>,
    /// Where the entry is in it.
    pub range: Range<usize>,
}

impl Segment {
    /// The offset of the first byte of an entry that is here.
    fn start_of(&self, entry: u64) -> u64 {
        match entry - self.first {
            0 => self.start,
            number => self.index[number as usize - 1].end,
        }
    }

    /// The number of the entry after the last one.
    fn end(&self) -> u64 {
        self.first + self.index.len() as u64
    }
}

impl Segments {
    /// The number of the entry that is appended next.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The offset after the newest entry.
    pub fn end_offset(&self) -> u64 {
        self.end_offset
    }

    /// The offset of the first byte of an entry, or of the next entry to be appended. For an
    /// entry that is no longer here, the offset of the oldest one.
    pub fn start_of(&self, entry: u64) -> u64 {
        if entry <= self.oldest {
            return self.oldest_offset;
        }
        let segment = self.segment_of(entry);
        segment.map_or(self.end_offset, |segment| segment.start_of(entry))
    }

    /// The number of bytes from the start of an entry to the end.
    pub fn length_from(&self, entry: u64) -> usize {
        (self.end_offset - self.start_of(entry)) as usize
    }

    /// Bytes of memory that the entries from this one on need.
    pub fn memory_from(&self, entry: u64) -> usize {
        let count = self.end - entry.clamp(self.oldest, self.end);
        self.length_from(entry) + count as usize * INDEX_COST
    }

    /// The first entry from which at most `length` bytes follow.
    pub fn last_within(&self, length: usize) -> u64 {
        let offset = self.end_offset.saturating_sub(length as u64);
        if offset <= self.oldest_offset {
            return self.oldest;
        }
        self.entry_at(offset - 1) + 1
    }

    /// The number of the first entry that ends after `offset`.
    pub fn entry_at(&self, offset: u64) -> u64 {
        // A sink that keeps up is at the end. The search takes longer, the longer the history.
        if offset >= self.end_offset {
            return self.end;
        }
        let segment = self.segment_at(offset);
        let places = &segment.index;
        segment.first + places.partition_point(|place| place.end <= offset) as u64
    }

    /// The number of the event of the first entry from this one on that is here.
    pub fn event_from(&self, entry: u64) -> Option<u64> {
        let entry = entry.max(self.oldest);
        let segment = self.segment_of(entry)?;
        let place = segment.index.get((entry - segment.first) as usize)?;
        Some(place.event)
    }

    /// The first entry that is from an event with this number or a later one.
    pub fn entry_of(&self, event: u64) -> u64 {
        let is_before = |place: &Place| place.event < event;
        let has_none = |segment: &Segment| segment.index.last().is_none_or(is_before);
        let Some(segment) = self.segments.get(self.segments.partition_point(has_none)) else {
            return self.end;
        };
        let entry = segment.first + segment.index.partition_point(is_before) as u64;
        entry.max(self.oldest)
    }

    /// The bytes from `offset` to the end of its segment. Empty at the end.
    pub fn bytes_at(&self, offset: u64) -> &[u8] {
        if offset == self.end_offset {
            return &[];
        }
        let segment = self.segment_at(offset);
        &segment.bytes[(offset - segment.start) as usize..]
    }

    /// One entry, which must be here: its segment if the entry is a good part of it, else a copy.
    pub fn share_entry(&self, entry: u64) -> SharedEntry {
        let (start, end) = (self.start_of(entry), self.start_of(entry + 1));
        let segment = self.segment_at(start);
        let range = (start - segment.start) as usize..(end - segment.start) as usize;
        if range.len() >= MIN_SHARED {
            let bytes = segment.bytes.clone();
            return SharedEntry { bytes, range };
        }
        SharedEntry {
            bytes: Rc::new(segment.bytes[range.clone()].to_vec()),
            range: 0..range.len(),
        }
    }

    /// The segment that contains the byte at `offset`, which must be here.
    fn segment_at(&self, offset: u64) -> &Segment {
        let next = self
            .segments
            .partition_point(|segment| segment.start <= offset);
        &self.segments[next - 1]
    }

    /// The segment that contains an entry. `None` if the entry is not here.
    fn segment_of(&self, entry: u64) -> Option<&Segment> {
        // Most of those that are looked for are in the last one.
        let last = self.segments.back().filter(|last| entry >= last.first);
        let segment = last.or_else(|| {
            let is_before = |segment: &Segment| segment.end() <= entry;
            let segment = self.segments.partition_point(is_before);
            self.segments.get(segment)
        });
        segment.filter(|segment| (segment.first..segment.end()).contains(&entry))
    }

    /// Appends an entry, which is from the event with this number.
    pub fn append(&mut self, event: u64, entry: String) {
        let end = self.end_offset + entry.len() as u64;
        let place = Place { end, event };
        if entry.len() >= LARGE_ENTRY {
            self.complete_last();
            let mut bytes = entry.into_bytes();
            bytes.shrink_to_fit();
            self.push_segment(bytes, vec![place]);
        } else {
            let segment = self.small_segment(entry.len());
            Rc::make_mut(&mut segment.bytes).extend(entry.as_bytes());
            segment.index.push(place);
        }
        self.end += 1;
        self.end_offset = end;
    }

    fn push_segment(&mut self, bytes: Vec<u8>, index: Vec<Place>) {
        self.segments.push_back(Segment {
            first: self.end,
            start: self.end_offset,
            bytes: Rc::new(bytes),
            index,
        });
    }

    /// Frees the memory that the last segment has in reserve.
    fn complete_last(&mut self) {
        if let Some(last) = self.segments.back_mut() {
            last.index.shrink_to_fit();
            if let Some(bytes) = Rc::get_mut(&mut last.bytes) {
                bytes.shrink_to_fit();
            }
        }
    }

    /// The last segment, with room for a small entry, or a new one.
    fn small_segment(&mut self, length: usize) -> &mut Segment {
        let has_room = |segment: &mut Segment| {
            // A large entry has a segment to itself. One that a cursor shares cannot grow.
            let is_small = segment.bytes.capacity() == SEGMENT_SIZE;
            let has_room = segment.bytes.len() + length <= SEGMENT_SIZE;
            is_small && has_room && Rc::get_mut(&mut segment.bytes).is_some()
        };
        if !self.segments.back_mut().is_some_and(has_room) {
            if let Some(last) = self.segments.back_mut() {
                last.index.shrink_to_fit();
            }
            let spare = self.spare.take();
            let bytes = spare.unwrap_or_else(|| Vec::with_capacity(SEGMENT_SIZE));
            self.push_segment(bytes, Vec::new());
        }
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    /// Drops the entries before the one with this number. Adds the memory of large ones to `garbage`.
    pub fn drop_before(&mut self, entry: u64, garbage: &mut Vec<Vec<u8>>) {
        if entry <= self.oldest {
            return;
        }
        self.oldest_offset = self.start_of(entry);
        self.oldest = entry;
        let is_unused = |segment: &Segment| segment.end() <= entry;
        let unused = self.segments.partition_point(is_unused);
        for segment in self.segments.drain(..unused) {
            // The memory of a small segment is kept for the next one.
            if segment.bytes.capacity() != SEGMENT_SIZE {
                discard(segment.bytes, garbage);
            } else if let Some(mut bytes) = Rc::into_inner(segment.bytes) {
                bytes.clear();
                self.spare = Some(bytes);
            }
        }
    }
}

/// Adds memory to `garbage` if nobody else needs it and freeing it would take long.
pub fn discard(bytes: Rc<Vec<u8>>, garbage: &mut Vec<Vec<u8>>) {
    /// The kernel takes back about this much in 0.1 ms.
    const MIN_GARBAGE: usize = 1 << 20;
    let bytes = Rc::into_inner(bytes);
    garbage.extend(bytes.filter(|bytes| bytes.capacity() >= MIN_GARBAGE));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_entry_has_a_segment_to_itself_and_small_ones_share() {
        let mut segments = Segments::default();
        for length in [LARGE_ENTRY, 10, 10, LARGE_ENTRY, 10] {
            segments.append(0, "x".repeat(length));
        }
        let lengths = segments.segments.iter().map(|segment| segment.bytes.len());
        let expected = [LARGE_ENTRY, 20, LARGE_ENTRY, 10];
        assert_eq!(lengths.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_entry_is_kept_with_its_segment_if_it_is_a_good_part_of_it() {
        let mut segments = Segments::default();
        let lengths = [MIN_SHARED - 1, MIN_SHARED, LARGE_ENTRY];
        for length in lengths {
            segments.append(0, "x".repeat(length));
        }
        for (entry, length) in (0..).zip(lengths) {
            let shared = segments.share_entry(entry);
            let is_copy = Rc::strong_count(&shared.bytes) == 1;
            assert_eq!(shared.range.len(), length);
            assert_eq!(is_copy, length < MIN_SHARED, "{length} bytes");
        }
    }

    #[test]
    fn the_index_of_an_entry_leaves_with_its_segment() {
        let mut segments = Segments::default();
        for event in 0..1_000_000 {
            segments.append(event, "line\n".to_owned());
        }
        let count = segments.segments.len();
        let longest = segments
            .segments
            .iter()
            .map(|segment| segment.index.capacity())
            .max();
        assert!(count > 50 && longest.unwrap() <= 2 * SEGMENT_SIZE / 5);
        segments.drop_before(999_999, &mut Vec::new());
        assert_eq!(segments.segments.len(), 1);
        assert_eq!(segments.entry_of(5), 999_999);
    }

    #[test]
    fn the_memory_of_a_large_entry_is_not_freed_here() {
        let mut segments = Segments::default();
        let (mut garbage, lengths) = (Vec::new(), [5, LARGE_ENTRY, 1 << 20]);
        for length in lengths {
            segments.append(0, "x".repeat(length));
        }
        segments.drop_before(3, &mut garbage);
        assert_eq!(garbage.iter().map(Vec::len).collect::<Vec<_>>(), [1 << 20]);
    }
}
