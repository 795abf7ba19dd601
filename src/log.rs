//! The log: events that some sink has not taken yet, and the cursors that read it.
//!
//! An event is appended once, however many sinks there are; each sink is a
//! [`Cursor`], a position in the log. Memory is bounded by one number: an
//! append that would pass it pushes the oldest events out, whole, and a cursor
//! that stood before them knows by counting how many it missed. An event that
//! some cursor has begun is copied, once for all of them, and kept beside the
//! log until they have read the rest, so that no reader ever sees half a line.
//!
//! ```text
//!    pushed out    │ oldest                            end
//!  ─ event 3 ──────┼─ event 4 ─┬─ event 5 ─┬─ event 6 ─┤
//!        ↑         │           ↑                       ↑
//!   aside: its     │           has 4,                  has everything
//!   rest; then     │           gets 5 next
//!   goes on at 4   │
//! ```
//!
//! Stop 7 of EDU_NOTES.md.

use std::collections::VecDeque;
use std::rc::Rc;

/// A bounded queue of events, numbered from 0 in the order of their arrival.
#[derive(Debug)]
pub struct Log {
    bytes: VecDeque<u8>,
    /// Where each event ends: a position, in bytes since the first event began.
    ends: VecDeque<u64>,
    /// The oldest event still here, and where it begins.
    oldest: Mark,
    /// Bytes that may wait here. One event always may, however long.
    limit: usize,
}

/// The boundary before an event: its number, and its position in bytes since
/// the first event began.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Mark {
    event: u64,
    position: u64,
}

/// A sink's place in a [`Log`].
#[derive(Debug)]
pub struct Cursor {
    /// The event that the sink gets next, or is in the middle of.
    event: u64,
    position: u64,
    /// What the sink gets before it reads on in the log.
    aside: Option<Aside>,
}

/// Bytes kept for a cursor beside the log: a notice, or an event that was
/// pushed out while the sink was in the middle of it.
#[derive(Debug)]
struct Aside {
    bytes: Rc<[u8]>,
    read: usize,
    /// How many events it is, or stands for.
    events: u64,
}

impl Log {
    pub fn new(limit: usize) -> Self {
        Log {
            bytes: VecDeque::new(),
            ends: VecDeque::new(),
            oldest: Mark::default(),
            limit,
        }
    }

    /// The boundary after the newest event.
    pub fn end(&self) -> Mark {
        Mark {
            event: self.oldest.event + self.ends.len() as u64,
            position: self.oldest.position + self.bytes.len() as u64,
        }
    }

    /// Whether `length` bytes can be appended without pushing anything out.
    pub fn fits(&self, length: usize) -> bool {
        self.bytes.is_empty() || self.bytes.len() + length <= self.limit
    }

    /// Appends an event, and leaves it empty. What it pushes out is taken care of
    /// for `cursors`, which must be all there are.
    pub fn append<'c>(
        &mut self,
        event: &mut String,
        cursors: impl Iterator<Item = &'c mut Cursor>,
    ) {
        /// From this many bytes on, an event is moved instead of copied, if it can be.
        const LARGE: usize = 64 << 10;
        if !self.fits(event.len()) {
            let excess = self.bytes.len() + event.len() - self.limit;
            let position = self.oldest.position + excess.min(self.bytes.len()) as u64;
            // Those that end before `position`, and the one that it lies in.
            let events = 1 + self.ends.partition_point(|end| *end < position);
            self.set_aside_begun(events, cursors);
            self.drop_oldest(events);
        }
        if self.bytes.is_empty() && event.len() >= LARGE {
            self.bytes = std::mem::take(event).into_bytes().into();
        } else {
            self.bytes.extend(event.as_bytes());
            event.clear();
        }
        self.ends.push_back(self.end().position);
    }

    /// Drops what every cursor has read: all before the event number `event`.
    pub fn release(&mut self, event: u64) {
        let events = event.saturating_sub(self.oldest.event) as usize;
        if events > 0 {
            self.drop_oldest(events);
        }
    }

    fn drop_oldest(&mut self, events: usize) {
        const SPARE: usize = 1 << 20;
        let Some(position) = self.ends.drain(..events).next_back() else {
            return;
        };
        self.bytes
            .drain(..(position - self.oldest.position) as usize);
        self.oldest = Mark {
            event: self.oldest.event + events as u64,
            position,
        };
        if self.bytes.is_empty() && self.bytes.capacity() > SPARE {
            self.bytes.shrink_to(SPARE);
            self.ends.shrink_to(SPARE / size_of::<u64>());
        }
    }

    /// Keeps for each cursor what is left of the event that it is in the middle
    /// of, if that is one of the oldest `events`. Each such event is copied once.
    fn set_aside_begun<'c>(&self, events: usize, cursors: impl Iterator<Item = &'c mut Cursor>) {
        let mut copies = vec![None; events];
        for cursor in cursors.filter(|cursor| cursor.event >= self.oldest.event) {
            let index = (cursor.event - self.oldest.event) as usize;
            if index >= events || cursor.position == self.start_of(index) {
                continue;
            }
            let (start, end) = (self.start_of(index), self.ends[index]);
            let bytes: &Rc<[u8]> = copies[index].get_or_insert_with(|| {
                let offset = |position| (position - self.oldest.position) as usize;
                self.bytes
                    .range(offset(start)..offset(end))
                    .copied()
                    .collect()
            });
            let read = (cursor.position - start) as usize;
            cursor.aside = Some(Aside {
                bytes: bytes.clone(),
                read,
                events: 1,
            });
            cursor.event += 1;
            cursor.position = end;
        }
    }

    /// Where the event at `index` in `ends` begins.
    fn start_of(&self, index: usize) -> u64 {
        index
            .checked_sub(1)
            .map_or(self.oldest.position, |before| self.ends[before])
    }
}

impl Mark {
    /// The number of the event after this boundary.
    pub fn event(self) -> u64 {
        self.event
    }
}

impl Cursor {
    /// A cursor that gets everything after `mark`.
    pub fn new(mark: Mark) -> Self {
        Cursor {
            event: mark.event,
            position: mark.position,
            aside: None,
        }
    }

    /// The event that the sink gets next, or is in the middle of.
    pub fn event(&self) -> u64 {
        self.event
    }

    /// Whether the sink has everything before `mark`.
    pub fn has_reached(&self, mark: Mark) -> bool {
        self.aside.is_none() && self.event >= mark.event
    }

    /// How many events were pushed out before the sink could have them.
    pub fn missed(&self, log: &Log) -> u64 {
        log.oldest.event.saturating_sub(self.event)
    }

    /// Gives the sink `notice` in place of what it missed. To be called where
    /// [`Cursor::unread`] is empty.
    pub fn skip_missed(&mut self, log: &Log, notice: &[u8]) {
        let aside = Aside {
            bytes: notice.into(),
            read: 0,
            events: self.missed(log),
        };
        let Mark { event, position } = log.oldest;
        *self = Cursor {
            event,
            position,
            aside: Some(aside),
        };
    }

    /// How many events the sink has not got, or not to the end.
    pub fn outstanding(&self, log: &Log) -> u64 {
        let aside = self.aside.as_ref().map_or(0, |aside| aside.events);
        aside + log.end().event.saturating_sub(self.event)
    }

    /// The next bytes for the sink; not always all of them. Empty when it has
    /// everything, or must first be told what it missed.
    pub fn unread<'a>(&'a self, log: &'a Log) -> &'a [u8] {
        if let Some(Aside { bytes, read, .. }) = &self.aside {
            return &bytes[*read..];
        }
        if self.missed(log) > 0 {
            return &[];
        }
        let (front, back) = log.bytes.as_slices();
        let at = (self.position - log.oldest.position) as usize;
        if at < front.len() {
            &front[at..]
        } else {
            &back[at - front.len()..]
        }
    }

    /// Takes note that the sink has the first `count` bytes of [`Cursor::unread`].
    pub fn advance(&mut self, log: &Log, count: usize) {
        if let Some(Aside { bytes, read, .. }) = &mut self.aside {
            *read += count;
            if *read == bytes.len() {
                self.aside = None;
            }
            return;
        }
        self.position += count as u64;
        let index = log.ends.partition_point(|end| *end <= self.position);
        self.event = log.oldest.event + index as u64;
    }

    /// Bytes that are kept for this cursor beside the log. Cursors in the middle of the
    /// same event share them, so a sum of these is an upper bound.
    pub fn aside_length(&self) -> usize {
        self.aside
            .as_ref()
            .map_or(0, |aside| aside.bytes.len() - aside.read)
    }
}
