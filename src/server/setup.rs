//! The start of the server: opens the sockets, registers everything with the poll, and says on
//! stderr where it listens.
//!
//! Stop 3 of EDU_NOTES.md.

use std::io;
use std::time::Instant;

use mio::unix::SourceFd;
use mio::{Poll, Registry, Waker};

use super::clients::Clients;
use super::clients::inflight::Inflight;
use super::publisher::Publisher;
use super::sessions::Sessions;
use super::shutdown::Phase;
use super::token::{Token, context, register};
use super::worker::Worker;
use super::{Server, signals};
use crate::cli::ServerOptions;
use crate::diagnostics::stderr::say;
use crate::listen::activation::ActivationSockets;
use crate::listen::file_watch::{FileWatch, WATCH};
use crate::listen::listener::{self, DescriptorLimits, Listener};
use crate::nonblocking::NonblockingFd;
use crate::output::Output;
use crate::terminal::Shown;

impl Server {
    /// Opens everything. The error says what failed and what to do.
    pub(super) fn start(
        options: &ServerOptions,
        activated: ActivationSockets,
    ) -> Result<Self, String> {
        let poll = Poll::new().map_err(context("create a poll"))?;
        // Before a socket file exists that a signal could leave behind.
        let mut signals = signals::catch().map_err(context("catch signals"))?;
        register(poll.registry(), &mut signals, Token::Signals)?;
        let limits = listener::descriptor_limits(options.output_socket.is_some());
        let (mut hook_listener, mut output_listener) =
            open_listeners(poll.registry(), options, activated, limits)?;
        let listeners = [Some(&mut hook_listener), output_listener.as_mut()];
        let file_watch = watch_files(poll.registry(), listeners.into_iter().flatten());
        let inflight = Inflight::new(options.max_inflight, options.max_body);
        let output = Output::new(
            options.format,
            options.buffer,
            options.history,
            stdout(options)?,
        );
        let publisher = Publisher::new(
            share(&poll)?,
            output,
            output_listener,
            limits.live_readers,
            Sessions::new(limits.sessions),
        )?;
        let worker = start_worker(poll.registry(), options)?;
        announce(options);
        Ok(Server {
            signals,
            hook_listener: Some(hook_listener),
            file_watch: file_watch.inspect_err(|error| say(error)).ok().flatten(),
            clients: Clients::new(share(&poll)?, options.timeout, inflight),
            publisher,
            worker,
            has_results: false,
            phase: Phase::Serving,
            poll,
        })
    }
}

/// The poll's registry for another owner.
fn share(poll: &Poll) -> Result<Registry, String> {
    let registry = poll.registry().try_clone();
    registry.map_err(context("share a poll"))
}

/// The program's stdout, if the options say that events go there.
fn stdout(options: &ServerOptions) -> Result<Option<NonblockingFd>, String> {
    let stdout = options.stdout.then(|| NonblockingFd::new(io::stdout()));
    stdout.transpose().map_err(context("write to stdout"))
}

/// Starts the worker. It wakes the poll when it has a result.
fn start_worker(registry: &Registry, options: &ServerOptions) -> Result<Worker, String> {
    let waker = Waker::new(registry, Token::Worker.into());
    let waker = waker.map_err(context("create a waker"))?;
    Worker::start(options.format, waker).map_err(context("start a thread"))
}

/// Says on stderr where the server listens.
fn announce(options: &ServerOptions) {
    if let Some(path) = &options.output_socket {
        say(format_args!("Output socket: {}", Shown(path)));
    }
    say(format_args!(
        "Claude Code Hooks Observatory (mio) listening on {}",
        Shown(&options.socket)
    ));
    say(format_args!("Socket permissions: {:#o}", options.mode));
    say("Press Ctrl+C to stop\n");
}

/// Opens the output listener and then the hook listener, so that the output socket exists as
/// soon as the hook socket does.
fn open_listeners(
    registry: &Registry,
    options: &ServerOptions,
    activated: ActivationSockets,
    limits: DescriptorLimits,
) -> Result<(Listener, Option<Listener>), String> {
    let output_path = options.output_socket.as_ref();
    let output_listener = output_path.map(|path| {
        let (socket, mode) = (activated.output, options.output_mode);
        Listener::open(socket, path, mode, limits.readers)
    });
    let mut output_listener = output_listener.transpose()?;
    if let Some(listener) = &mut output_listener {
        register(registry, &mut listener.socket, Token::OutputListener)?;
    }
    let mut hook_listener = Listener::open(
        activated.hooks,
        &options.socket,
        options.mode,
        limits.clients,
    )?;
    register(registry, &mut hook_listener.socket, Token::HookListener)?;
    Ok((hook_listener, output_listener))
}

/// Watches the files of listeners. A service manager's sockets are not watched. `None` where files
/// cannot be watched, but are looked at each second.
fn watch_files<'l>(
    registry: &Registry,
    listeners: impl Iterator<Item = &'l mut Listener>,
) -> Result<Option<FileWatch>, String> {
    let Some(file_watch) = FileWatch::new().map_err(context(WATCH))? else {
        listeners.for_each(|listener| listener.check_file_each_second(Instant::now()));
        return Ok(None);
    };
    register(
        registry,
        &mut SourceFd(&file_watch.fd()),
        Token::SocketFiles,
    )?;
    for listener in listeners {
        let result = listener.path().map_or(Ok(()), |path| file_watch.add(path));
        if let Err(error) = result {
            // The file may have disappeared already.
            say(context(WATCH)(error));
            listener.set_file_changed(Instant::now());
        }
    }
    Ok(Some(file_watch))
}
