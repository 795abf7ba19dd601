//! `--trace`: the server says on stderr what it does, a line a step.
//!
//! Whoever does a step says so with [`log::trace!`](::log::trace): first who it
//! is about, a [`Name`](crate::tokens::Name), then what happened. While nobody
//! listens, that costs a comparison. Here is who listens: it puts the time before
//! the line, and hands it to [`say`], which never waits; so a trace that nobody
//! reads on loses lines and holds up nothing.
//!
//! `RUST_LOG` in the environment chooses what is told besides, as `env_filter` has
//! it: `RUST_LOG=trace` adds what mio registers with the kernel.
//!
//! Stop 1 of EDU_NOTES.md.

use std::env;
use std::io::{self, IsTerminal};
use std::time::Instant;

use env_filter::{Builder, FilteredLog};
use log::{LevelFilter, Log, Metadata, Record};

use crate::format::harmless;
use crate::stderr::say;

/// Begins to tell, if it is wanted or `RUST_LOG` is set.
pub fn start(is_wanted: bool) {
    let chosen = env::var("RUST_LOG").unwrap_or_default();
    if !is_wanted && chosen.is_empty() {
        return;
    }
    let mut filter = Builder::new();
    if let Err(error) = filter.try_parse(&chosen) {
        say(format_args!("RUST_LOG is not heeded: {error}"));
        filter.filter_level(LevelFilter::Off);
    }
    if is_wanted {
        filter.filter_module("hooks_observatory", LevelFilter::Trace);
    }
    let filter = filter.build();
    log::set_max_level(filter.filter());
    let trace = Trace {
        began: Instant::now(),
        colours: allows_colours(&io::stderr()),
    };
    // It fails only where somebody listens already.
    let _ = log::set_boxed_logger(Box::new(FilteredLog::new(trace, filter)));
}

struct Trace {
    began: Instant,
    colours: bool,
}

impl Log for Trace {
    fn enabled(&self, _: &Metadata) -> bool {
        true
    }

    fn log(&self, record: &Record) {
        let seconds = self.began.elapsed().as_secs_f64();
        let target = record.target();
        // Clients give their events names.
        let told: String = record.args().to_string().chars().map(harmless).collect();
        match told.split_once(": ") {
            _ if !target.starts_with("hooks_observatory") => {
                say(format_args!("{seconds:10.6} {target}: {told}"));
            }
            Some((who, what))
                if self.colours
                    && let Some(colour) = colour(who) =>
            {
                say(format_args!(
                    "{seconds:10.6} \x1b[{colour}m{who}\x1b[0m: {what}"
                ))
            }
            _ => say(format_args!("{seconds:10.6} {told}")),
        }
    }

    fn flush(&self) {}
}

/// Whether what is written there may have colours: a terminal that knows of them, and
/// nobody minds (<https://no-color.org>).
pub fn allows_colours(to: &impl IsTerminal) -> bool {
    to.is_terminal()
        && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|value| value != "dumb")
}

/// One of the terminal's colours for each client and reader, so that one's lines can
/// be told from another's.
fn colour(who: &str) -> Option<usize> {
    let (_, token) = who.split_once(' ')?;
    let token: usize = token.parse().ok()?;
    Some(31 + token % 6)
}
