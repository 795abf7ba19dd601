//! The event log: the events that some sink has not taken yet or that a reader can still ask
//! for, and the cursors that read them.
//!
//! Each event is appended once, however many sinks there are: its compact line, and, where stdout
//! and the output socket show another format, what they show of it, if anything. So there are one
//! or two sequences of entries. Each sink has a [`Cursor`], which is a position in one of them.
//!
//! - The **floor** is the first event that a lagging sink can still get. An append that would
//!   make the entries that wait for sinks exceed `--buffer` raises it. A cursor below the floor
//!   computes how many entries it missed, and its sink gets a **notice** with that number.
//! - If a cursor that loses an entry is in the middle of it, the cursor keeps the rest beside the
//!   log, as a **partial** entry. So a sink that stays connected never skips the rest of an entry.
//! - The **history** is the last `--history` bytes of compact lines. They stay, also when every
//!   sink has them. A cursor can begin there: a **replay**. Until it has reached the floor, it
//!   loses only what leaves the log.
//!
//! ```text
//!       dropped      │ oldest        floor                             end
//!  ─── entry 3 ──────┼─ entry 4 ─┬─ entry 5 ─┬─ entry 6 ─┬─ entry 7 ─┤
//!        ↑           │           ↑           ↑                       ↑
//!   cursor A:        │           │           cursor B:               cursor C:
//!   gets the rest of │           │           has 5, gets 6 next      has everything
//!   its partial 3,   │           │
//!   then a notice,   │           the entries from here on fit into --buffer:
//!   then 5           │           what is older is lost to a sink that lags
//! ```
//!
//! Nothing moves entry by entry: entries end at cumulative offsets, so the floor, a cursor and a
//! count are found by a binary search, and entries leave the log by the segment.
//!
//! This file does not know what an entry contains, nor how a sink is written to.
//!
//! Stop 9 of EDU_NOTES.md.

use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;

use slab::Slab;

use super::segments::{INDEX_COST, Segments, SharedEntry, discard};
use crate::format::{Format, Forms};

/// When a limit is exceeded, at least 1/64 of it is evicted at once, if entries are small.
const STEP: usize = 64;

/// A bounded queue of events, numbered from 0 in the order of appending.
#[derive(Debug)]
pub struct EventLog {
    /// The compact line of each event.
    compact: Segments,
    /// What stdout and the output socket show: an entry for each event that they do not pass over.
    /// `None`: they show the compact lines.
    shown: Option<Segments>,
    cursors: Slab<Cursor>,
    /// Bytes of entries that may wait for sinks. One entry may exceed it.
    buffer: usize,
    /// Bytes of compact lines that stay when every sink has them.
    history: usize,
    /// The first event that a sink can still get, if it lags.
    pub floor: u64,
    /// The first event that belongs to the history.
    history_start: u64,
    /// Up to where every sink has read.
    read: Position,
    /// Memory of large entries that is to be freed by somebody who has time.
    pub garbage: Vec<Vec<u8>>,
}

/// Which entries a sink gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The compact line of each event.
    Compact,
    /// What stdout and the output socket show.
    Shown,
}

/// A number of entries from the beginning, in each form.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Position {
    pub compact: u64,
    /// 0 if the compact lines are shown.
    pub shown: u64,
}

/// Identifies a cursor of a log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CursorKey(usize);

/// What a sink gets next.
#[derive(Debug, PartialEq)]
pub enum Next<'l> {
    /// These bytes, of which it may take a part: see [`EventLog::advance`].
    Bytes(&'l [u8]),
    /// It has lost this many entries, and needs a notice: see [`EventLog::skip_missed`].
    Missed(u64),
    /// It has everything.
    Done,
}

/// How far one sink has read the log.
#[derive(Debug)]
struct Cursor {
    form: Form,
    /// The entry that the sink gets next, or a part of which it has.
    entry: u64,
    /// The next byte for the sink.
    offset: u64,
    /// Whether the sink began with a replay and has not reached the floor since.
    is_replaying: bool,
    /// What the sink gets before it reads on in the log.
    prefix: Option<Prefix>,
}

/// Bytes that a cursor reads beside the log: an entry that it lost while the sink had a part
/// of it, a notice of missed entries, or what precedes all entries.
#[derive(Debug)]
struct Prefix {
    /// Shared by all cursors that are in the middle of the same entry, or of entries in one
    /// segment.
    bytes: Rc<Vec<u8>>,
    /// Which of these bytes the sink has not taken yet.
    unread: Range<usize>,
    /// How many entries these bytes stand for.
    entries: u64,
    /// Whether it is the rest of an entry.
    is_rest_of_entry: bool,
}

impl Position {
    /// Whether all before this position is before the other one, too.
    pub fn is_within(self, other: Position) -> bool {
        self.compact <= other.compact && self.shown <= other.shown
    }

    /// What is before both positions.
    fn common(self, other: Position) -> Position {
        Position {
            compact: self.compact.min(other.compact),
            shown: self.shown.min(other.shown),
        }
    }
}

impl EventLog {
    /// An empty log. `buffer` and `history` are in bytes. `format` is what stdout and the output
    /// socket show.
    pub fn new(buffer: usize, history: usize, format: Format) -> Self {
        EventLog {
            compact: Segments::default(),
            shown: (format != Format::Compact).then(Segments::default),
            cursors: Slab::new(),
            buffer,
            history,
            floor: 0,
            history_start: 0,
            read: Position::default(),
            garbage: Vec::new(),
        }
    }

    /// The number of the event that is appended next.
    pub fn end(&self) -> u64 {
        self.compact.end()
    }

    /// The number of the oldest event whose compact line is here.
    pub fn oldest(&self) -> u64 {
        self.compact.oldest
    }

    /// The position after the newest event.
    pub fn end_position(&self) -> Position {
        Position {
            compact: self.compact.end(),
            shown: self.shown.as_ref().map_or(0, Segments::end),
        }
    }

    /// The floor after an append of entries with `length` bytes. It moves in large steps, because each step
    /// costs a visit to every sink.
    pub fn floor_after(&self, length: usize) -> u64 {
        let memory = length + INDEX_COST * (1 + usize::from(self.shown.is_some()));
        let fits = |floor, limit| self.waiting_from(floor) + memory <= limit;
        if fits(self.floor, self.buffer) {
            return self.floor;
        }
        let (mut first, mut last) = (self.floor, self.end());
        while first < last {
            let middle = first + (last - first) / 2;
            if fits(middle, self.buffer - self.buffer / STEP) {
                last = middle;
            } else {
                first = middle + 1;
            }
        }
        first
    }

    /// Bytes of memory for what sinks have not received, from this event on.
    fn waiting_from(&self, event: u64) -> usize {
        let compact = self.compact.memory_from(event.max(self.read.compact));
        let shown = self.shown.as_ref().map_or(0, |shown| {
            let entry = shown.entry_of(event).max(self.read.shown);
            shown.memory_from(entry)
        });
        compact + shown
    }

    /// Appends an event. Returns whether some sink may have lost entries.
    pub fn append(&mut self, forms: Forms) -> bool {
        let event = self.end();
        let before = (self.floor, self.first_kept(Form::Compact));
        self.floor = self.floor_after(forms.length());
        self.compact.append(event, forms.compact);
        if let (Some(shown), Some(text)) = (&mut self.shown, forms.shown) {
            shown.append(event, text);
        }
        if self.compact.length_from(self.history_start) > self.history + self.history / STEP {
            self.history_start = self.compact.last_within(self.history);
        }
        let floor = self.entry_of(Form::Shown, self.floor);
        let is_losing = before != (self.floor, self.first_kept(Form::Compact))
            && (self.floor > self.read.compact || self.shown.is_some() && floor > self.read.shown);
        if is_losing {
            self.keep_partial_entries();
        }
        self.trim();
        is_losing
    }

    /// Drops what every sink has received and the history does not need. Call it after a flush.
    pub fn release(&mut self) {
        let cursors = self.cursors.iter().map(|(key, _)| CursorKey(key));
        self.read = self.common_position(cursors);
        let shown = self.shown.as_ref();
        let shown = shown.and_then(|shown| shown.event_from(self.read.shown));
        let first_unread = self.read.compact.min(shown.unwrap_or(self.end()));
        self.floor = self.floor.max(first_unread);
        self.trim();
    }

    /// The first entry of a form that is kept: for a sink that has not received it, or for the
    /// history.
    fn first_kept(&self, form: Form) -> u64 {
        let floor = self.entry_of(form, self.floor);
        if self.reads_shown(form) {
            floor.max(self.read.shown)
        } else {
            self.history_start.min(floor.max(self.read.compact))
        }
    }

    fn trim(&mut self) {
        let first = self.first_kept(Form::Compact);
        self.compact.drop_before(first, &mut self.garbage);
        let first = self.first_kept(Form::Shown);
        if let Some(shown) = &mut self.shown {
            shown.drop_before(first, &mut self.garbage);
        }
    }

    /// For each cursor in the middle of an entry that it loses: keeps the rest of that entry,
    /// and moves the cursor behind it.
    fn keep_partial_entries(&mut self) {
        let mut shared = HashMap::new();
        let mut cursors = std::mem::take(&mut self.cursors);
        for (_, cursor) in &mut cursors {
            let (form, entry) = (cursor.form, cursor.entry);
            let entries = self.entries(form);
            let start = entries.start_of(entry);
            // A cursor that has missed this entry already is not in the middle of it.
            if entry >= self.first_available(cursor)
                || entry < entries.oldest
                || cursor.offset == start
            {
                continue;
            }
            let shared = shared.entry((form, entry));
            let SharedEntry { bytes, range } = shared.or_insert_with(|| entries.share_entry(entry));
            let read = (cursor.offset - start) as usize;
            cursor.prefix = Some(Prefix {
                bytes: bytes.clone(),
                unread: range.start + read..range.end,
                entries: 1,
                is_rest_of_entry: true,
            });
            cursor.entry += 1;
            cursor.offset = entries.start_of(cursor.entry);
        }
        self.cursors = cursors;
    }

    /// Whether sinks of this form have a sequence of entries of their own.
    fn reads_shown(&self, form: Form) -> bool {
        form == Form::Shown && self.shown.is_some()
    }

    /// The entries of a form.
    fn entries(&self, form: Form) -> &Segments {
        match (form, &self.shown) {
            (Form::Shown, Some(shown)) => shown,
            _ => &self.compact,
        }
    }

    /// The first entry of a form that is from an event with this number or a later one.
    fn entry_of(&self, form: Form, event: u64) -> u64 {
        match (form, &self.shown) {
            (Form::Shown, Some(shown)) => shown.entry_of(event),
            _ => event,
        }
    }
}

/// The cursors.
impl EventLog {
    /// Adds a cursor. It gets every event from number `first` on, which must be in the log.
    pub fn add_cursor(&mut self, form: Form, first: u64) -> CursorKey {
        let entry = self.entry_of(form, first);
        let cursor = Cursor {
            form,
            entry,
            offset: self.entries(form).start_of(entry),
            is_replaying: first < self.end() && form == Form::Compact,
            prefix: None,
        };
        self.read = self.read.common(self.position(&cursor));
        CursorKey(self.cursors.insert(cursor))
    }

    /// Adds a cursor whose sink gets `head` before all entries.
    pub fn add_cursor_with_head(&mut self, form: Form, first: u64, head: &[u8]) -> CursorKey {
        let key = self.add_cursor(form, first);
        self.cursors[key.0].prefix = Some(Prefix {
            bytes: Rc::new(head.to_vec()),
            unread: 0..head.len(),
            entries: 0,
            is_rest_of_entry: false,
        });
        key
    }

    /// Removes a cursor.
    pub fn remove_cursor(&mut self, CursorKey(key): CursorKey) {
        let cursor = self.cursors.try_remove(key);
        if let Some(prefix) = cursor.and_then(|cursor| cursor.prefix) {
            discard(prefix.bytes, &mut self.garbage);
        }
    }

    /// The form that the sink gets.
    pub fn form(&self, CursorKey(key): CursorKey) -> Form {
        self.cursors[key].form
    }

    /// What the sink has received completely, and all of the other form.
    fn position(&self, cursor: &Cursor) -> Position {
        let end = self.end_position();
        if self.reads_shown(cursor.form) {
            Position {
                shown: cursor.entry,
                ..end
            }
        } else {
            Position {
                compact: cursor.entry,
                ..end
            }
        }
    }

    /// What all these sinks have received completely.
    pub fn common_position(&self, cursors: impl Iterator<Item = CursorKey>) -> Position {
        let positions = cursors.map(|CursorKey(key)| self.position(&self.cursors[key]));
        positions.fold(self.end_position(), Position::common)
    }

    /// Whether the sink has every event before number `event`, but for a prefix.
    pub fn has_reached(&self, CursorKey(key): CursorKey, event: u64) -> bool {
        let cursor = &self.cursors[key];
        cursor.entry >= self.entry_of(cursor.form, event)
    }

    /// Whether the sink has everything.
    pub fn is_done(&self, CursorKey(key): CursorKey) -> bool {
        let cursor = &self.cursors[key];
        cursor.prefix.is_none() && cursor.entry >= self.entries(cursor.form).end()
    }

    /// The first entry that the sink can get.
    fn first_available(&self, cursor: &Cursor) -> u64 {
        let first = self.first_kept(cursor.form);
        if cursor.is_replaying {
            first
        } else {
            first.max(self.entry_of(cursor.form, self.floor))
        }
    }

    /// How many entries the sink has lost.
    pub fn missed(&self, CursorKey(key): CursorKey) -> u64 {
        let cursor = &self.cursors[key];
        self.first_available(cursor).saturating_sub(cursor.entry)
    }

    /// How many entries the sink has not received completely.
    pub fn outstanding(&self, CursorKey(key): CursorKey) -> u64 {
        let cursor = &self.cursors[key];
        let prefix = cursor.prefix.as_ref().map_or(0, |prefix| prefix.entries);
        prefix + self.entries(cursor.form).end() - cursor.entry
    }

    /// What the sink gets next.
    pub fn next(&self, CursorKey(key): CursorKey) -> Next<'_> {
        let cursor = &self.cursors[key];
        if let Some(Prefix { bytes, unread, .. }) = &cursor.prefix {
            return Next::Bytes(&bytes[unread.clone()]);
        }
        let entries = self.entries(cursor.form);
        match self.missed(CursorKey(key)) {
            0 if cursor.entry >= entries.end() => Next::Done,
            0 => Next::Bytes(entries.bytes_at(cursor.offset)),
            missed => Next::Missed(missed),
        }
    }

    /// The sink has taken the first `count` bytes of [`Next::Bytes`].
    pub fn advance(&mut self, CursorKey(key): CursorKey, count: usize) {
        let cursor = &mut self.cursors[key];
        if let Some(mut prefix) = cursor.prefix.take() {
            prefix.unread.start += count;
            if prefix.unread.start < prefix.unread.end {
                cursor.prefix = Some(prefix);
            } else {
                discard(prefix.bytes, &mut self.garbage);
            }
            return;
        }
        cursor.offset += count as u64;
        let (form, offset) = (cursor.form, cursor.offset);
        let (entry, floor) = (self.entries(form).entry_at(offset), self.floor);
        let cursor = &mut self.cursors[key];
        cursor.entry = entry;
        cursor.is_replaying &= entry < floor;
    }

    /// Gives the sink `notice` instead of the entries that it missed: see [`Next::Missed`].
    pub fn skip_missed(&mut self, CursorKey(key): CursorKey, notice: &[u8]) {
        let missed = self.missed(CursorKey(key));
        let entry = self.cursors[key].entry + missed;
        let offset = self.entries(self.cursors[key].form).start_of(entry);
        let cursor = &mut self.cursors[key];
        (cursor.entry, cursor.offset) = (entry, offset);
        cursor.prefix = Some(Prefix {
            bytes: Rc::new(notice.to_vec()),
            unread: 0..notice.len(),
            entries: missed,
            is_rest_of_entry: false,
        });
    }

    /// Bytes of the log that the sink has not received. The rest of a partial entry is not
    /// in the log.
    pub fn bytes_behind(&self, CursorKey(key): CursorKey) -> usize {
        let cursor = &self.cursors[key];
        let entries = self.entries(cursor.form);
        let offset = cursor.offset.max(entries.start_of(cursor.entry));
        (entries.end_offset() - offset) as usize
    }

    /// The rest of an entry that is kept for a cursor beside the log: the address of that memory,
    /// which other cursors may share, and its length in bytes.
    pub fn partial_memory(&self, CursorKey(key): CursorKey) -> Option<(*const u8, usize)> {
        let prefix = self.cursors[key].prefix.as_ref();
        let rest = prefix.filter(|prefix| prefix.is_rest_of_entry)?;
        Some((rest.bytes.as_ptr(), rest.bytes.len()))
    }
}
