//! The event log: the events that some sink has not taken yet, and the cursors that read it.
//!
//! Each event is appended once, as one entry, however many sinks there are. Each sink has a
//! [`Cursor`], which is a position in the log. An append that would exceed the limit evicts
//! the oldest entries. A cursor that had not read them computes how many it missed. If a
//! cursor is in the middle of an evicted entry, it keeps the rest of that entry beside the
//! log. So a sink that stays connected never skips the rest of an entry.
//!
//! ```text
//!       evicted      │ oldest                            end
//!  ─── entry 3 ──────┼─ entry 4 ─┬─ entry 5 ─┬─ entry 6 ─┤
//!        ↑           │           ↑                       ↑
//!   cursor A:        │           cursor B:               cursor C:
//!   gets the rest of │           has 4, gets 5 next      has everything
//!   its partial 3,   │
//!   then 4           │
//! ```
//!
//! The bytes are in segments. Small entries share one, so that a single write can take many
//! of them. A large entry is a segment of its own: it is moved into the log, and a cursor
//! keeps the rest of it by reference. So no step copies more than [`LARGE_ENTRY`] bytes of an
//! entry.
//!
//! This file does not know what an entry contains, nor how a sink is written to.
//!
//! Stop 7 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::rc::Rc;

/// An entry of at least this many bytes is a segment of its own.
pub const LARGE_ENTRY: usize = 64 << 10;
/// Bytes of small entries in one segment.
const SEGMENT_SIZE: usize = 256 << 10;

/// A bounded queue of entries, numbered from 0 in the order of appending.
#[derive(Debug)]
pub struct EventLog {
    segments: VecDeque<Segment>,
    /// The offset at which each entry ends. Offsets count all bytes ever appended.
    ends: VecDeque<u64>,
    /// The start of the oldest entry that is still here.
    oldest: Position,
    /// Bytes that the log may hold. One entry may exceed it.
    limit: usize,
}

/// Consecutive entries in one piece of memory. No entry is in two segments.
#[derive(Debug)]
struct Segment {
    /// The offset of the first byte.
    start: u64,
    bytes: Rc<Vec<u8>>,
}

/// The boundary before an entry: the number of the entry, and the offset of its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Position {
    entry: u64,
    offset: u64,
}

/// How far one sink has read the log.
#[derive(Debug)]
pub struct Cursor {
    /// The entry that the sink gets next, or a part of which it has.
    entry: u64,
    /// The next byte for the sink.
    offset: u64,
    /// What the sink gets before it reads on in the log.
    partial: Option<Partial>,
}

/// Bytes that a cursor reads beside the log: an entry that was evicted while the sink had a
/// part of it, or a notice of missed entries.
#[derive(Debug)]
struct Partial {
    /// Shared by all cursors that are in the middle of the same entry.
    bytes: Rc<Vec<u8>>,
    read: usize,
    /// How many entries these bytes stand for.
    entries: u64,
}

impl EventLog {
    /// An empty log that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        EventLog {
            segments: VecDeque::new(),
            ends: VecDeque::new(),
            oldest: Position::default(),
            limit,
        }
    }

    /// The boundary after the newest entry.
    pub fn end(&self) -> Position {
        Position {
            entry: self.oldest.entry + self.ends.len() as u64,
            offset: self.ends.back().copied().unwrap_or(self.oldest.offset),
        }
    }

    /// Bytes of the entries that are here.
    fn length(&self) -> usize {
        (self.end().offset - self.oldest.offset) as usize
    }

    /// Whether `length` bytes can be appended without evicting an entry.
    pub fn has_room_for(&self, length: usize) -> bool {
        self.ends.is_empty() || self.length() + length <= self.limit
    }

    /// The number of the first entry that stays if `length` bytes are appended.
    pub fn first_kept(&self, length: usize) -> u64 {
        self.oldest.entry + self.evicted_by(length) as u64
    }

    /// How many entries an append of `length` bytes evicts.
    fn evicted_by(&self, length: usize) -> usize {
        if self.has_room_for(length) {
            return 0;
        }
        let excess = self.length() + length - self.limit;
        let offset = self.oldest.offset + excess.min(self.length()) as u64;
        // The entries that end before `offset`, and the one that contains it.
        1 + self.ends.partition_point(|end| *end < offset)
    }

    /// Appends an entry, leaves the string empty, and returns the boundary after the entry.
    /// `cursors` must be all cursors: those in the middle of an evicted entry keep the rest
    /// of it.
    pub fn append<'c>(
        &mut self,
        entry: &mut String,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) -> Position {
        let evicted = self.evicted_by(entry.len());
        if evicted > 0 {
            self.keep_partial_entries(evicted, cursors);
            self.drop_oldest(evicted);
        }
        let start = self.end().offset;
        self.ends.push_back(start + entry.len() as u64);
        if entry.len() >= LARGE_ENTRY {
            let mut bytes = std::mem::take(entry).into_bytes();
            bytes.shrink_to_fit();
            let bytes = Rc::new(bytes);
            self.segments.push_back(Segment { start, bytes });
        } else {
            self.small_segment(start, entry.len())
                .extend(entry.as_bytes());
            entry.clear();
        }
        self.end()
    }

    /// A segment with room for a small entry that begins at `start`: the last one, or a new one.
    fn small_segment(&mut self, start: u64, length: usize) -> &mut Vec<u8> {
        let has_room = |segment: &mut Segment| {
            let has_room = segment.bytes.len() + length <= SEGMENT_SIZE;
            // A segment that a cursor shares cannot grow.
            has_room && Rc::get_mut(&mut segment.bytes).is_some()
        };
        if !self.segments.back_mut().is_some_and(has_room) {
            let bytes = Rc::default();
            self.segments.push_back(Segment { start, bytes });
        }
        let last = self.segments.len() - 1;
        Rc::make_mut(&mut self.segments[last].bytes)
    }

    /// Drops the entries before the one with this number. Every cursor must have read them.
    pub fn release(&mut self, entry: u64) {
        let count = entry.saturating_sub(self.oldest.entry) as usize;
        if count > 0 {
            self.drop_oldest(count);
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        /// Entries whose ends an empty log keeps memory for.
        const SPARE_CAPACITY: usize = 64 << 10;
        let Some(offset) = self.ends.drain(..count).next_back() else {
            return;
        };
        self.oldest = Position {
            entry: self.oldest.entry + count as u64,
            offset,
        };
        let ends_before = |next: &Segment| next.start <= offset;
        while self.segments.get(1).is_some_and(ends_before) {
            self.segments.pop_front();
        }
        if self.ends.is_empty() {
            self.ends.shrink_to(SPARE_CAPACITY);
            self.recycle_last_segment();
        }
    }

    /// Empties the only segment of an empty log, and keeps its memory for the next entries.
    fn recycle_last_segment(&mut self) {
        let start = self.oldest.offset;
        let recycle = |segment: &mut Segment| {
            segment.start = start;
            let bytes = Rc::get_mut(&mut segment.bytes);
            let bytes = bytes.filter(|bytes| bytes.capacity() <= 2 * SEGMENT_SIZE);
            bytes.map(Vec::clear).is_some()
        };
        if !self.segments.front_mut().is_some_and(recycle) {
            self.segments.clear();
        }
    }

    /// For each cursor in the middle of one of the oldest `count` entries: keeps the rest of
    /// that entry, and moves the cursor behind it. A small entry is copied, once.
    fn keep_partial_entries<'c>(
        &self,
        count: usize,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) {
        let mut copies: Vec<Option<Rc<Vec<u8>>>> = vec![None; count];
        for cursor in cursors.filter(|cursor| cursor.entry >= self.oldest.entry) {
            let index = (cursor.entry - self.oldest.entry) as usize;
            if index >= count || cursor.offset == self.start_of(index) {
                continue;
            }
            let (start, end) = (self.start_of(index), self.ends[index]);
            let bytes = copies[index].get_or_insert_with(|| self.share_entry(start, end));
            cursor.partial = Some(Partial {
                bytes: bytes.clone(),
                read: (cursor.offset - start) as usize,
                entries: 1,
            });
            cursor.entry += 1;
            cursor.offset = end;
        }
    }

    /// The bytes of one entry: the segment itself, if the entry is large.
    fn share_entry(&self, start: u64, end: u64) -> Rc<Vec<u8>> {
        let segment = self.segment_at(start);
        let length = (end - start) as usize;
        if segment.start == start && segment.bytes.len() == length {
            return segment.bytes.clone();
        }
        let index = (start - segment.start) as usize;
        Rc::new(segment.bytes[index..index + length].to_vec())
    }

    /// The segment that contains the byte at `offset`, which must be in the log.
    fn segment_at(&self, offset: u64) -> &Segment {
        let next = self
            .segments
            .partition_point(|segment| segment.start <= offset);
        &self.segments[next - 1]
    }

    /// The offset at which the entry with this index in `ends` begins.
    fn start_of(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .map_or(self.oldest.offset, |previous| self.ends[previous])
    }
}

impl Position {
    /// The number of the entry after this boundary.
    pub fn entry(self) -> u64 {
        self.entry
    }
}

impl Cursor {
    /// A cursor that gets everything after `position`.
    pub fn new(position: Position) -> Self {
        Cursor {
            entry: position.entry,
            offset: position.offset,
            partial: None,
        }
    }

    /// The number of the entry that the sink gets next, or a part of which it has.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether the sink has everything before `position`.
    pub fn has_reached(&self, position: Position) -> bool {
        self.partial.is_none() && self.entry >= position.entry
    }

    /// How many entries were evicted before the sink received them.
    pub fn missed(&self, log: &EventLog) -> u64 {
        log.oldest.entry.saturating_sub(self.entry)
    }

    /// Gives the sink `notice` instead of the entries that it missed. Call it when
    /// [`Cursor::unread`] is empty.
    pub fn skip_missed(&mut self, log: &EventLog, notice: &[u8]) {
        let partial = Partial {
            bytes: Rc::new(notice.to_vec()),
            read: 0,
            entries: self.missed(log),
        };
        *self = Cursor::new(log.oldest);
        self.partial = Some(partial);
    }

    /// How many entries the sink has not received completely.
    pub fn outstanding(&self, log: &EventLog) -> u64 {
        let partial = self.partial.as_ref().map_or(0, |partial| partial.entries);
        partial + log.end().entry.saturating_sub(self.entry)
    }

    /// The next bytes for the sink, not always all of them. Empty if it has everything, or
    /// if it missed entries and needs a notice first.
    pub fn unread<'a>(&'a self, log: &'a EventLog) -> &'a [u8] {
        if let Some(Partial { bytes, read, .. }) = &self.partial {
            return &bytes[*read..];
        }
        if self.missed(log) > 0 {
            return &[];
        }
        if self.offset == log.end().offset {
            return &[];
        }
        let segment = log.segment_at(self.offset);
        &segment.bytes[(self.offset - segment.start) as usize..]
    }

    /// The sink has received the first `count` bytes of [`Cursor::unread`].
    pub fn advance(&mut self, log: &EventLog, count: usize) {
        if let Some(Partial { bytes, read, .. }) = &mut self.partial {
            *read += count;
            if *read == bytes.len() {
                self.partial = None;
            }
            return;
        }
        self.offset += count as u64;
        let index = log.ends.partition_point(|end| *end <= self.offset);
        self.entry = log.oldest.entry + index as u64;
    }

    /// Bytes of the log that the sink has not received. The rest of a partial entry is not
    /// in the log.
    pub fn bytes_behind(&self, log: &EventLog) -> usize {
        (log.end().offset - self.offset.max(log.oldest.offset)) as usize
    }

    /// The memory that is kept for this cursor beside the log: its address, which cursors in
    /// the middle of the same entry share, and its length in bytes.
    pub fn partial_memory(&self) -> Option<(*const u8, usize)> {
        let partial = self.partial.as_ref()?;
        Some((partial.bytes.as_ptr(), partial.bytes.len()))
    }
}
