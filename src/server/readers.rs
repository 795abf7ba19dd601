//! What a turn does for readers: accept them, discard their input, and watch those that
//! have no room.
//!
//! Their events are written by [`Output`](crate::output::Output).
//!
//! Stop 7 of EDU_NOTES.md.

use log::trace;
use mio::Interest;
use mio::event::Event as Report;

use super::Server;
use super::source::Source;
use crate::diagnostics::stderr::say;

impl Server {
    pub(super) fn handle_reader_report(&mut self, key: usize, report: &Report) {
        // EPOLLHUP, which mio reports as write closed: the reader is gone. A reader that is
        // only read closed has nothing to send, and still receives.
        if report.is_write_closed() || report.is_error() {
            return self.remove_reader(key);
        }
        if report.is_writable() {
            self.output.set_reader_writable(key);
        }
        if report.is_readable() {
            self.readers_with_input.push(key);
        }
    }

    /// Discards what readers send.
    pub(super) fn discard_reader_input(&mut self) {
        let output = &mut self.output;
        self.readers_with_input
            .retain(|key| output.discard_reader_input(*key));
    }

    /// Accepts all readers in the backlog. It runs between reading this turn's hooks and
    /// writing their events: a reader whose `connect` returned before a hook was posted is
    /// in the backlog by then, whether or not the poll has reported it.
    pub(super) fn accept_readers(&mut self) {
        let Some(listener) = &mut self.output_listener else {
            return;
        };
        if self.output.needs_flush() {
            listener.set_readable();
        }
        while let Some(stream) = listener.accept(self.output.reader_count(), self.now) {
            let (key, stream) = self.output.add_reader(stream);
            let source = Source::Reader(key);
            trace!("{source}: accepted");
            let registry = self.poll.registry();
            if let Err(error) = registry.register(stream, source.token(), Interest::READABLE) {
                say(format_args!(
                    "cannot register a reader with the poll: {error}"
                ));
                self.output.remove_reader(key);
            }
        }
    }

    /// Registers readers for writability when they first have no room. Before that, the
    /// poll would report every line that a reader takes.
    pub(super) fn watch_stalled_readers(&mut self) {
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        let mut failed = Vec::new();
        for (key, stream) in self.output.newly_stalled() {
            let token = Source::Reader(key).token();
            if let Err(error) = registry.reregister(stream, token, interest) {
                say(format_args!(
                    "cannot register a reader with the poll: {error}"
                ));
                failed.push(key);
            }
        }
        failed.into_iter().for_each(|key| self.remove_reader(key));
    }

    fn remove_reader(&mut self, key: usize) {
        self.output.remove_reader(key);
        self.on_fd_freed();
    }
}
