//! The flush: writes to each sink what it has not received, within a budget. A file on stdout that
//! could not be written is tried again each second.
//!
//! Stop 9 of EDU_NOTES.md.

use std::time::{Duration, Instant};

use super::Output;
use super::event_log::Position;
use crate::diagnostics::stderr::say;

/// The delay before a failed write to a file on stdout (a full disk) is tried again, if no new
/// event causes a flush earlier.
const STDOUT_RETRY_DELAY: Duration = Duration::from_secs(1);

/// Up to where a flush has written the events: these may be acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct Flushed(Position);

impl Flushed {
    /// Whether an event is flushed, after which the log ended at this position.
    pub fn includes(self, position: Position) -> bool {
        position.is_within(self.0)
    }

    /// For a test without an output.
    #[cfg(test)]
    pub fn up_to(position: Position) -> Self {
        Flushed(position)
    }
}

impl Output {
    /// Writes to stdout and the prompt readers what they have not received, as far as they have
    /// room: at most `bytes` to each. Between readers it asks `has_time` whether to go on. Returns
    /// which events may be acknowledged.
    pub fn flush(&mut self, bytes: usize, has_time: &mut dyn FnMut() -> bool) -> Flushed {
        let now = Instant::now();
        if self.retry_stdout_at.is_some_and(|at| at <= now) {
            self.retry_stdout_at = None;
            self.needs_flush = true;
        }
        if self.needs_flush {
            self.flush_stdout(bytes, now);
            self.flush_readers(false, bytes, now, has_time);
            self.end_at_last_flush = self.log.end();
            self.finish_flush();
        }
        self.flushed()
    }

    /// The same for the slow readers. No response waits for these. Also disconnects readers if
    /// partial events need too much memory.
    pub fn flush_slow_readers(&mut self, bytes: usize, has_time: &mut dyn FnMut() -> bool) {
        let now = Instant::now();
        self.flush_readers(true, bytes, now, has_time);
        self.finish_flush();
        if self.has_partial_events {
            self.bound_partial_events(now, has_time);
        }
    }

    fn finish_flush(&mut self) {
        let can_continue = |(has_room, cursor)| has_room && !self.log.is_done(cursor);
        let needs_flush = self.sinks().any(can_continue);
        self.needs_flush = needs_flush;
        self.log.release();
        self.bytes_behind = self.count_bytes_behind();
    }

    /// Writes to the prompt or the slow readers, and removes those that have disconnected. It begins
    /// where the last such flush used up its time, so that each reader has its turn.
    fn flush_readers(
        &mut self,
        is_slow: bool,
        bytes: usize,
        now: Instant,
        has_time: &mut dyn FnMut() -> bool,
    ) {
        let first = std::mem::take(&mut self.next_reader[usize::from(is_slow)]);
        let end = self.readers.capacity();
        let mut is_over = false;
        for key in (first..end).chain(0..first.min(end)) {
            let Some(reader) = self.readers.get_mut(key) else {
                continue;
            };
            if reader.is_slow != is_slow {
                continue;
            }
            if is_over {
                self.next_reader[usize::from(is_slow)] = key;
                break;
            }
            let name = format_args!("reader {key}");
            match reader.flush(name, &mut self.log, self.format, bytes, now) {
                Ok(0) => continue,
                Ok(_) => {}
                Err(_) => self.remove_reader(key),
            }
            is_over = !has_time();
        }
    }

    /// Writes to stdout. An error of a pipe or terminal closes it: its reader is gone. A file is
    /// tried again later.
    fn flush_stdout(&mut self, budget: usize, now: Instant) {
        let Some(stdout) = &mut self.stdout else {
            return;
        };
        let is_file = stdout.writer.pollable_fd().is_none();
        stdout.has_room |= is_file;
        match stdout.flush("stdout", &mut self.log, self.format, budget, now) {
            Ok(_) => {
                let waits = is_file && !stdout.has_room;
                self.retry_stdout_at = waits.then(|| now + STDOUT_RETRY_DELAY);
                self.stdout_failed = false;
            }
            Err(error) if is_file => {
                stdout.set_full();
                self.retry_stdout_at = Some(now + STDOUT_RETRY_DELAY);
                if !std::mem::replace(&mut self.stdout_failed, true) {
                    say(format_args!(
                        "cannot write to stdout ({error}): up to {} bytes of events wait in \
                         memory, and the server tries again every second",
                        self.buffer
                    ));
                }
            }
            Err(_) => self.close_stdout(),
        }
    }

    /// What all prompt sinks have received. A slow sink gets the rest when it has room.
    pub fn flushed(&self) -> Flushed {
        Flushed(self.log.common_position(self.prompt_cursors()))
    }

    /// Computes [`Output::bytes_behind`]. A slow stdout does not count, also when it has room: the
    /// hooks would wait until it has everything.
    fn count_bytes_behind(&self) -> usize {
        let stdout = self.stdout.iter().map(|sink| (sink.is_slow, sink.cursor));
        let readers = self.readers.iter();
        let sinks = stdout.chain(readers.map(|(_, sink)| (sink.is_slow, sink.cursor)));
        let not_slow = sinks.filter(|(is_slow, _)| !is_slow);
        let bytes = not_slow.map(|(_, cursor)| self.log.bytes_behind(cursor));
        bytes.max().unwrap_or(0)
    }
}
