//! `--trace`: the server says on stderr what it does, a line a step.
//!
//! Whoever does a step says so with [`log::trace!`](::log::trace): first who it
//! is about, a [`Name`](crate::tokens::Name), then what happened. While nobody
//! listens, that costs a comparison. Here is who listens: it puts the time before
//! the line, and hands it to [`say`], which never waits; so a trace that nobody
//! reads on loses lines and holds up nothing.
//!
//! `RUST_LOG` in the environment chooses what is told besides, as `env_logger` has
//! it: `RUST_LOG=trace` adds what mio registers with the kernel.
//!
//! Stop 1 of EDU_NOTES.md.

use std::env;
use std::io::{self, IsTerminal, Write};
use std::time::Instant;

use env_logger::{Builder, Target};
use log::LevelFilter;

use crate::format::harmless;
use crate::inherited::say;

/// Begins to tell, if it is wanted or `RUST_LOG` is set.
pub fn start(is_wanted: bool) {
    let chosen = env::var("RUST_LOG")
        .ok()
        .filter(|chosen| !chosen.is_empty());
    if !is_wanted && chosen.is_none() {
        return;
    }
    let began = Instant::now();
    let colours = allows_colours(&io::stderr());
    let mut builder = Builder::new();
    builder.parse_filters(chosen.as_deref().unwrap_or_default());
    if is_wanted {
        builder.filter_module("hooks_observatory", LevelFilter::Trace);
    }
    builder
        .target(Target::Pipe(Box::new(Stderr)))
        .format(move |line, record| {
            let seconds = began.elapsed().as_secs_f64();
            // Clients give their events names.
            let told: String = record.args().to_string().chars().map(harmless).collect();
            match told.split_once(": ") {
                _ if !record.target().starts_with("hooks_observatory") => {
                    write!(line, "{seconds:10.6} {}: {told}", record.target())
                }
                Some((who, what)) if colours && let Some(colour) = colour(who) => {
                    write!(line, "{seconds:10.6} \x1b[{colour}m{who}\x1b[0m: {what}")
                }
                _ => write!(line, "{seconds:10.6} {told}"),
            }
        })
        .init();
}

/// Whether what is written there may have colours: a terminal, and nobody minds
/// (<https://no-color.org>).
pub fn allows_colours(to: &impl IsTerminal) -> bool {
    to.is_terminal() && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// One of the terminal's colours for each client and reader, so that one's lines can
/// be told from another's.
fn colour(who: &str) -> Option<usize> {
    let (_, token) = who.split_once(' ')?;
    let token: usize = token.parse().ok()?;
    Some(31 + token % 6)
}

struct Stderr;

impl Write for Stderr {
    /// Takes a whole line, as `env_logger` writes them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        say(String::from_utf8_lossy(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
