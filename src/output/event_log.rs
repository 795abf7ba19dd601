//! The event log: the events that some sink has not taken yet or that a reader can still ask
//! for, and the cursors that read them.
//!
//! Each event is appended once, as one entry, however many sinks there are. An entry has two
//! forms: the compact line, and the form that stdout and the output socket show. Each sink has
//! a [`Cursor`], which is a position in the entries of one form.
//!
//! - The **floor** is the first entry that a lagging sink can still get. An append that would
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
//! This file does not know what an entry contains, nor how a sink is written to.
//!
//! Stop 9 of EDU_NOTES.md.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

use super::segments::Segments;
use crate::format::Forms;

/// When a limit is exceeded, at least 1/64 of it is evicted at once, if entries are small.
const STEP: usize = 64;

/// A bounded queue of entries, numbered from 0 in the order of appending.
#[derive(Debug)]
pub struct EventLog {
    compact: Segments,
    /// `None`: the compact line is shown.
    display: Option<Segments>,
    /// The entries that have no form to show.
    hidden: VecDeque<u64>,
    /// Bytes of entries that may wait for sinks. One entry may exceed it.
    buffer: usize,
    /// Bytes of compact lines that stay when every sink has them.
    history: usize,
    /// The first entry that a sink can still get, if it lags.
    floor: u64,
    /// The first entry that belongs to the history.
    history_start: u64,
    /// The first entry that some sink has not received, in each form.
    unread: Unread,
}

/// One of the two forms of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The compact line.
    Compact,
    /// What stdout and the output socket show.
    Display,
}

/// An entry's number for each form.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unread {
    pub compact: u64,
    pub display: u64,
}

/// How far one sink has read the log.
#[derive(Debug)]
pub struct Cursor {
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
    /// Shared by all cursors that are in the middle of the same entry.
    bytes: Rc<Vec<u8>>,
    read: usize,
    /// How many entries these bytes stand for.
    entries: u64,
    /// Whether it is the rest of an entry.
    is_rest_of_entry: bool,
}

impl EventLog {
    /// An empty log. `buffer` and `history` are in bytes. `has_display` is whether the shown
    /// form differs from the compact line.
    pub fn new(buffer: usize, history: usize, has_display: bool) -> Self {
        EventLog {
            compact: Segments::default(),
            display: has_display.then(Segments::default),
            hidden: VecDeque::new(),
            buffer,
            history,
            floor: 0,
            history_start: 0,
            unread: Unread::default(),
        }
    }

    /// The number of the entry that is appended next.
    pub fn end(&self) -> u64 {
        self.compact.end()
    }

    /// The number of the oldest entry whose compact line is here.
    pub fn oldest(&self) -> u64 {
        self.compact.oldest()
    }

    /// The first entry that a sink can still get, if it lags.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// Whether the shown form differs from the compact line.
    pub fn has_display_form(&self) -> bool {
        self.display.is_some()
    }

    /// Keeps the entries of a form from this one on, for a sink that joins.
    pub fn keep_from(&mut self, form: Form, entry: u64) {
        let unread = match (form, &self.display) {
            (Form::Display, Some(_)) => &mut self.unread.display,
            _ => &mut self.unread.compact,
        };
        *unread = entry.min(*unread);
    }

    /// The floor after an append of `length` bytes. It moves in large steps, because each step
    /// costs a visit to every sink.
    pub fn floor_after(&self, length: usize) -> u64 {
        let mut floor = self.floor;
        let fits = |floor, limit| self.waiting_from(floor) + length <= limit;
        if !fits(floor, self.buffer) {
            while floor < self.end() && !fits(floor, self.buffer - self.buffer / STEP) {
                floor += 1;
            }
        }
        floor
    }

    /// Bytes that sinks have not received, from this entry on.
    fn waiting_from(&self, entry: u64) -> usize {
        let length = |segments: &Segments, unread| segments.length_from(entry.max(unread));
        let display = self.display.as_ref();
        length(&self.compact, self.unread.compact)
            + display.map_or(0, |display| length(display, self.unread.display))
    }

    /// Appends an entry. `cursors` must be all cursors: those in the middle of an entry that
    /// they lose keep the rest of it. Returns whether some sink may have lost entries.
    pub fn append<'c>(
        &mut self,
        forms: Forms,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) -> bool {
        let before = (self.floor, self.first_kept(Form::Compact));
        self.floor = self.floor_after(forms.length());
        if forms.display.as_ref().is_some_and(String::is_empty) {
            self.hidden.push_back(self.end());
        }
        self.compact.append(forms.compact);
        if let Some(display) = &mut self.display {
            display.append(forms.display.unwrap_or_default());
        }
        if self.compact.length_from(self.history_start) > self.history + self.history / STEP {
            while self.compact.length_from(self.history_start) > self.history {
                self.history_start += 1;
            }
        }
        let is_losing = before != (self.floor, self.first_kept(Form::Compact))
            && self.floor > self.unread.compact.min(self.unread.display);
        if is_losing {
            self.keep_partial_entries(cursors);
        }
        self.trim();
        is_losing
    }

    /// Records up to where every sink has read, and drops what is needed no more.
    pub fn release(&mut self, mut unread: Unread) {
        while self
            .hidden
            .front()
            .is_some_and(|entry| *entry < unread.display)
        {
            self.hidden.pop_front();
        }
        if self.display.is_none() {
            unread.compact = unread.compact.min(unread.display);
        }
        self.unread = unread;
        self.floor = self.floor.max(unread.compact.min(unread.display));
        self.trim();
    }

    /// The first entry of a form that is kept: for a sink that has not received it, or for the
    /// history.
    fn first_kept(&self, form: Form) -> u64 {
        match form {
            Form::Compact => self.history_start.min(self.floor.max(self.unread.compact)),
            Form::Display => self.floor.max(self.unread.display),
        }
    }

    fn trim(&mut self) {
        self.compact.drop_before(self.first_kept(Form::Compact));
        let first = self.first_kept(Form::Display);
        if let Some(display) = &mut self.display {
            display.drop_before(first);
        }
    }

    /// For each cursor in the middle of an entry that it loses: keeps the rest of that entry,
    /// and moves the cursor behind it. A small entry is copied, once.
    fn keep_partial_entries<'c>(&self, cursors: impl Iterator<Item = &'c mut Cursor>) {
        let mut shared = HashMap::new();
        for cursor in cursors {
            let (form, entry) = (cursor.form, cursor.entry);
            let segments = self.segments(form);
            let start = segments.start_of(entry);
            // A cursor that has missed this entry already is not in the middle of it.
            if entry >= cursor.first_available(self)
                || entry < segments.oldest()
                || cursor.offset == start
            {
                continue;
            }
            let bytes = shared.entry((form, entry));
            let bytes = bytes.or_insert_with(|| segments.share_entry(entry));
            cursor.prefix = Some(Prefix {
                bytes: bytes.clone(),
                read: (cursor.offset - start) as usize,
                entries: 1,
                is_rest_of_entry: true,
            });
            cursor.entry += 1;
            cursor.offset = segments.start_of(cursor.entry);
        }
    }

    fn segments(&self, form: Form) -> &Segments {
        match (form, &self.display) {
            (Form::Display, Some(display)) => display,
            _ => &self.compact,
        }
    }

    /// The first entry from number `entry` on that sinks of this form do not get.
    fn next_hidden(&self, form: Form, entry: u64) -> Option<u64> {
        let newest = self.hidden.back()?;
        if form == Form::Compact || *newest < entry {
            return None;
        }
        let index = self.hidden.partition_point(|hidden| *hidden < entry);
        self.hidden.get(index).copied()
    }

    /// How many of the entries in this range sinks of this form do not get.
    fn hidden_between(&self, form: Form, start: u64, end: u64) -> u64 {
        if form == Form::Compact {
            return 0;
        }
        let before = |number: u64| self.hidden.partition_point(|entry| *entry < number);
        before(end.max(start)) as u64 - before(start) as u64
    }
}

impl Cursor {
    /// A cursor that gets every entry from number `entry` on, which must be in the log.
    pub fn new(log: &EventLog, form: Form, entry: u64) -> Self {
        Cursor {
            form,
            entry,
            offset: log.segments(form).start_of(entry),
            is_replaying: entry < log.end() && form == Form::Compact,
            prefix: None,
        }
    }

    /// A cursor whose sink gets `head` before all entries.
    pub fn with_head(self, head: &[u8]) -> Self {
        let prefix = Prefix {
            bytes: Rc::new(head.to_vec()),
            read: 0,
            entries: 0,
            is_rest_of_entry: false,
        };
        Cursor {
            prefix: Some(prefix),
            ..self
        }
    }

    /// The form that the sink gets.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The number of the entry that the sink gets next, or a part of which it has.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// Whether the sink has every entry before number `end`.
    pub fn has_reached(&self, end: u64) -> bool {
        self.prefix.is_none() && self.entry >= end
    }

    /// The first entry that the sink can get.
    fn first_available(&self, log: &EventLog) -> u64 {
        let first = log.first_kept(self.form);
        if self.is_replaying {
            first
        } else {
            first.max(log.floor)
        }
    }

    /// How many entries the sink has lost.
    pub fn missed(&self, log: &EventLog) -> u64 {
        let first = self.first_available(log);
        first.saturating_sub(self.entry) - log.hidden_between(self.form, self.entry, first)
    }

    /// Gives the sink `notice` instead of the entries that it missed. Call it when
    /// [`Cursor::unread`] is empty.
    pub fn skip_missed(&mut self, log: &EventLog, notice: &[u8]) {
        self.prefix = Some(Prefix {
            bytes: Rc::new(notice.to_vec()),
            read: 0,
            entries: self.missed(log),
            is_rest_of_entry: false,
        });
        self.entry = self.first_available(log);
        self.offset = log.segments(self.form).start_of(self.entry);
    }

    /// How many entries the sink has not received completely.
    pub fn outstanding(&self, log: &EventLog) -> u64 {
        let prefix = self.prefix.as_ref().map_or(0, |prefix| prefix.entries);
        let rest = log.end().saturating_sub(self.entry);
        prefix + rest - log.hidden_between(self.form, self.entry, log.end())
    }

    /// Moves over entries that have no form for this sink. Call it before
    /// [`Cursor::unread`].
    pub fn skip_hidden(&mut self, log: &EventLog) {
        while log.next_hidden(self.form, self.entry) == Some(self.entry) {
            self.entry += 1;
            self.offset = log.segments(self.form).start_of(self.entry);
        }
    }

    /// The next bytes for the sink, not always all of them. Empty if it has everything, or
    /// if it missed entries and needs a notice first.
    pub fn unread<'a>(&'a self, log: &'a EventLog) -> &'a [u8] {
        if let Some(Prefix { bytes, read, .. }) = &self.prefix {
            return &bytes[*read..];
        }
        if self.entry < self.first_available(log) {
            return &[];
        }
        let segments = log.segments(self.form);
        let bytes = segments.bytes_at(self.offset);
        match log.next_hidden(self.form, self.entry) {
            Some(hidden) => {
                let length = segments.start_of(hidden) - self.offset;
                &bytes[..bytes.len().min(length as usize)]
            }
            None => bytes,
        }
    }

    /// The sink has received the first `count` bytes of [`Cursor::unread`].
    pub fn advance(&mut self, log: &EventLog, count: usize) {
        if let Some(Prefix { bytes, read, .. }) = &mut self.prefix {
            *read += count;
            if *read == bytes.len() {
                self.prefix = None;
            }
            return;
        }
        self.offset += count as u64;
        self.entry = log.segments(self.form).entry_at(self.offset);
        self.is_replaying &= self.entry < log.floor;
    }

    /// Bytes of the log that the sink has not received. The rest of a partial entry is not
    /// in the log.
    pub fn bytes_behind(&self, log: &EventLog) -> usize {
        let segments = log.segments(self.form);
        let offset = self.offset.max(segments.start_of(self.entry));
        (segments.end_offset() - offset) as usize
    }

    /// The rest of an entry that is kept for this cursor beside the log: its address, which
    /// cursors in the middle of the same entry share, and the length of that memory in bytes.
    pub fn partial_memory(&self) -> Option<(*const u8, usize)> {
        let prefix = self.prefix.as_ref();
        let rest = prefix.filter(|prefix| prefix.is_rest_of_entry)?;
        Some((rest.bytes.as_ptr(), rest.bytes.len()))
    }
}
