//! The event log: the events that some sink has not taken yet, and the cursors that read it.
//!
//! Each event is appended once, as one entry, however many sinks there are. Each sink has a
//! [`Cursor`], which is a position in the log. An append that would exceed the limit evicts
//! the oldest entries. A cursor before them knows how many it missed, by subtraction. If a
//! cursor is in the middle of an evicted entry, the entry is copied, once for all such
//! cursors, and kept beside the log until they have read the rest. So no reader ever
//! receives half a line.
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
//! This file does not know what an entry contains, nor what a sink is.
//!
//! Stop 7 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::rc::Rc;

/// A bounded queue of entries, numbered from 0 in the order of appending.
#[derive(Debug)]
pub struct EventLog {
    bytes: VecDeque<u8>,
    /// The offset at which each entry ends. Offsets count all bytes ever appended.
    ends: VecDeque<u64>,
    /// The start of the oldest entry that is still here.
    oldest: Position,
    /// Bytes that the log may hold. One entry may exceed it.
    limit: usize,
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
    bytes: Rc<[u8]>,
    read: usize,
    /// How many entries these bytes stand for.
    entries: u64,
}

impl EventLog {
    /// An empty log that holds up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        EventLog {
            bytes: VecDeque::new(),
            ends: VecDeque::new(),
            oldest: Position::default(),
            limit,
        }
    }

    /// The boundary after the newest entry.
    pub fn end(&self) -> Position {
        Position {
            entry: self.oldest.entry + self.ends.len() as u64,
            offset: self.oldest.offset + self.bytes.len() as u64,
        }
    }

    /// Whether `length` bytes can be appended without evicting an entry.
    pub fn has_room_for(&self, length: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + length <= self.limit
    }

    /// Appends an entry, and leaves the string empty. `cursors` must be all cursors: those
    /// in the middle of an evicted entry keep the rest of it.
    pub fn append<'c>(
        &mut self,
        entry: &mut String,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) {
        /// An entry of at least this many bytes is moved instead of copied, if possible.
        const LARGE: usize = 64 << 10;
        if !self.has_room_for(entry.len()) {
            let excess = self.bytes.len() + entry.len() - self.limit;
            let offset = self.oldest.offset + excess.min(self.bytes.len()) as u64;
            // The entries that end before `offset`, and the one that contains it.
            let count = 1 + self.ends.partition_point(|end| *end < offset);
            self.keep_partial_entries(count, cursors);
            self.drop_oldest(count);
        }
        if self.bytes.is_empty() && entry.len() >= LARGE {
            self.bytes = std::mem::take(entry).into_bytes().into();
        } else {
            self.bytes.extend(entry.as_bytes());
            entry.clear();
        }
        self.ends.push_back(self.end().offset);
    }

    /// Drops the entries before the one with this number. Every cursor must have read them.
    pub fn release(&mut self, entry: u64) {
        let count = entry.saturating_sub(self.oldest.entry) as usize;
        if count > 0 {
            self.drop_oldest(count);
        }
    }

    fn drop_oldest(&mut self, count: usize) {
        /// Bytes of memory that an empty log keeps.
        const SPARE: usize = 1 << 20;
        let Some(offset) = self.ends.drain(..count).next_back() else {
            return;
        };
        self.bytes.drain(..(offset - self.oldest.offset) as usize);
        self.oldest = Position {
            entry: self.oldest.entry + count as u64,
            offset,
        };
        if self.bytes.is_empty() && self.bytes.capacity() > SPARE {
            self.bytes.shrink_to(SPARE);
            self.ends.shrink_to(SPARE / size_of::<u64>());
        }
    }

    /// For each cursor in the middle of one of the oldest `count` entries: keeps the rest of
    /// that entry, and moves the cursor behind it. Each entry is copied once.
    fn keep_partial_entries<'c>(
        &self,
        count: usize,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) {
        let mut copies = vec![None; count];
        for cursor in cursors.filter(|cursor| cursor.entry >= self.oldest.entry) {
            let index = (cursor.entry - self.oldest.entry) as usize;
            if index >= count || cursor.offset == self.start_of(index) {
                continue;
            }
            let (start, end) = (self.start_of(index), self.ends[index]);
            let bytes: &Rc<[u8]> = copies[index].get_or_insert_with(|| {
                let index = |offset| (offset - self.oldest.offset) as usize;
                self.bytes
                    .range(index(start)..index(end))
                    .copied()
                    .collect()
            });
            cursor.partial = Some(Partial {
                bytes: bytes.clone(),
                read: (cursor.offset - start) as usize,
                entries: 1,
            });
            cursor.entry += 1;
            cursor.offset = end;
        }
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
            bytes: notice.into(),
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
        let (front, back) = log.bytes.as_slices();
        let index = (self.offset - log.oldest.offset) as usize;
        if index < front.len() {
            &front[index..]
        } else {
            &back[index - front.len()..]
        }
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

    /// Bytes that are kept for this cursor beside the log. Cursors in the middle of the same
    /// entry share them, so a sum over cursors is an upper bound.
    pub fn partial_length(&self) -> usize {
        self.partial
            .as_ref()
            .map_or(0, |partial| partial.bytes.len() - partial.read)
    }
}
