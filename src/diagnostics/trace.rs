//! `--trace`: one line on stderr for each step of the server.
//!
//! The code that takes a step reports it with [`log::trace!`]: first what the step is about
//! (`client 3`, `stdout`, `poll`, `log`, `server`), then what happened. Without `--trace`
//! that costs one comparison. This file holds the logger: it puts the time before the line, gives
//! each client a colour, and passes the line to [`say`], which never blocks. If nobody reads the trace, lines are lost
//! and the server goes on.
//!
//! The environment variable `RUST_LOG` selects further lines, in the syntax of
//! `env_filter`: `RUST_LOG=trace` adds what mio registers with the kernel.
//!
//! Stop 10 of EDU_NOTES.md.

use std::env;
use std::io;
use std::time::Instant;

use env_filter::{Builder, FilteredLog};
use log::{LevelFilter, Log, Metadata, Record};

use super::stderr::say;
use crate::terminal::{sanitize, supports_colours};

/// Installs the logger, if `--trace` is given (`is_requested`) or `RUST_LOG` is set.
pub fn init(is_requested: bool) {
    let directives = env::var("RUST_LOG").unwrap_or_default();
    if !is_requested && directives.is_empty() {
        return;
    }
    let mut filter = Builder::new();
    if let Err(error) = filter.try_parse(&directives) {
        say(format_args!("ignoring RUST_LOG: {error}"));
        filter.filter_level(LevelFilter::Off);
    }
    if is_requested {
        filter.filter_module("hooks_observatory", LevelFilter::Trace);
    }
    let filter = filter.build();
    log::set_max_level(filter.filter());
    let logger = Logger {
        started_at: Instant::now(),
        has_colours: supports_colours(&io::stderr()),
    };
    // It fails only if there is a logger already.
    let _ = log::set_boxed_logger(Box::new(FilteredLog::new(logger, filter)));
}

struct Logger {
    started_at: Instant,
    has_colours: bool,
}

impl Log for Logger {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let seconds = self.started_at.elapsed().as_secs_f64();
        let module = record.target();
        // A message may contain an event's name, which comes from a client.
        let message = sanitize(&record.args().to_string());
        if !module.starts_with("hooks_observatory") {
            return say(format_args!("{seconds:10.6} {module}: {message}"));
        }
        if self.has_colours
            && let Some((source, step)) = message.split_once(": ")
            && let Some(colour) = colour_of(source)
        {
            return say(format_args!(
                "{seconds:10.6} \x1b[{colour}m{source}\x1b[0m: {step}"
            ));
        }
        say(format_args!("{seconds:10.6} {message}"));
    }

    fn flush(&self) {}
}

/// The colour of a client or reader, by its number, so that neighbours differ: a
/// parameter of SGR (ECMA-48 section 8.3.117).
fn colour_of(source: &str) -> Option<usize> {
    let (_, key) = source.split_once(' ')?;
    let key: usize = key.parse().ok()?;
    Some(31 + key % 6)
}
