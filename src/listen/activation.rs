//! Listening sockets that a service manager passes on (sd_listen_fds(3)).
//!
//! The manager keeps the sockets while servers come and go. So a client that connects in
//! between waits in the backlog for the next server, and is not refused. The sockets belong
//! to the manager: their files and modes stay as they are, and this server never shuts them
//! down, since that would end them for every process that has them.
//!
//! Stop 4 of EDU_NOTES.md.

use std::env;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use super::pass_rights::refuse_descriptors;
use crate::cli::ServerOptions;

/// The first descriptor that a service manager passes on.
const FIRST_FD: RawFd = 3;
/// The names of the sockets, in the order of sockets that come without names.
const NAMES: [&str; 2] = ["hooks", "output"];

/// The sockets that were passed on. They are non-blocking.
#[derive(Debug, Default)]
pub struct ActivationSockets {
    pub hooks: Option<UnixListener>,
    pub output: Option<UnixListener>,
}

/// Receives the sockets that were passed on to this process, if any. Call it once, before
/// anything else opens a descriptor.
///
/// The environment variables stay set: `LISTEN_PID` excludes other processes.
pub fn receive() -> Result<ActivationSockets, String> {
    let mut sockets = ActivationSockets::default();
    let variable = |name| env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != process::id().to_string() {
        return Ok(sockets);
    }
    let fds = variable("LISTEN_FDS");
    let count = fds.parse().ok().filter(|count| *count <= NAMES.len());
    let count = count.ok_or(format!(
        "LISTEN_FDS is {fds:?}: pass on two sockets at most, named hooks and output"
    ))?;
    let names = variable("LISTEN_FDNAMES");
    let names: Vec<&str> = names.split(':').take(count).collect();
    // Without names in its configuration, systemd uses the name of the unit.
    let has_names = names.iter().any(|name| NAMES.contains(name));
    for (index, fd) in (0..count).zip(FIRST_FD..) {
        let name = match names.get(index) {
            Some(name) if has_names => name,
            _ => NAMES[index],
        };
        sockets
            .add(name, fd)
            .map_err(|error| format!("descriptor {fd} was passed on as {name}: {error}"))?;
    }
    Ok(sockets)
}

impl ActivationSockets {
    fn add(&mut self, name: &str, fd: RawFd) -> Result<(), String> {
        let listener = adopt(fd)?;
        let mut earlier = self.hooks.iter().chain(&self.output);
        if earlier.any(|earlier| is_same_socket(earlier, &listener)) {
            return Err("both descriptors are the same socket. Pass on two sockets".into());
        }
        let slot = match name {
            "hooks" => &mut self.hooks,
            "output" => &mut self.output,
            _ => return Err("the names must be hooks and output".into()),
        };
        match slot.replace(listener) {
            None => Ok(()),
            Some(_) => Err("two sockets have this name. Pass on one of each".into()),
        }
    }

    /// Makes the options describe the sockets that were passed on.
    pub fn override_options(&self, options: &mut ServerOptions) {
        if let Some(listener) = &self.hooks {
            options.socket = path(listener);
            options.mode = mode(&options.socket).unwrap_or(options.mode);
        }
        if let Some(listener) = &self.output {
            // stdout gets nothing, as with `--output-socket`, unless `--tee` is given as well.
            options.stdout &= options.output_socket.is_some();
            options.output_socket = Some(path(listener));
        }
    }
}

/// Takes ownership of an inherited descriptor, and checks that it is a listening socket.
fn adopt(number: RawFd) -> Result<UnixListener, String> {
    // SAFETY: fcntl(2) accepts any number, and fails if it is not open.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err("it is not open".into());
    }
    // SAFETY: it is open, and nothing else in this process owns it: the process was started
    // with it for this purpose, and has opened nothing yet.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    check(fd.as_fd())?;
    // It listens already: connections that wait in its backlog may still pass descriptors.
    refuse_descriptors(fd.as_fd());
    let listener = UnixListener::from(fd);
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    Ok(listener)
}

#[cfg(not(target_vendor = "apple"))]
fn check(fd: BorrowedFd) -> Result<(), String> {
    use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
    use rustix::net::{AddressFamily, SocketType};
    let domain = socket_domain(fd).map_err(|error| format!("it is not a socket: {error}"))?;
    if domain != AddressFamily::UNIX {
        return Err("it is not a Unix socket. Give ListenStream= a path".into());
    }
    if socket_type(fd) != Ok(SocketType::STREAM) {
        return Err("it is not a stream socket. Use ListenStream=".into());
    }
    if socket_acceptconn(fd) != Ok(true) {
        return Err("it is not listening. Accept= must not be yes".into());
    }
    Ok(())
}

/// macOS has no such options, and its service manager passes sockets on differently.
#[cfg(target_vendor = "apple")]
fn check(_: BorrowedFd) -> Result<(), String> {
    Ok(())
}

/// Whether both are the same socket: all sockets have inodes of one file system.
fn is_same_socket(a: &UnixListener, b: &UnixListener) -> bool {
    let inode = |listener: &UnixListener| rustix::fs::fstat(listener).map(|stat| stat.st_ino);
    inode(a).is_ok_and(|a| inode(b) == Ok(a))
}

/// The path of a listening socket (getsockname(2)).
fn path(listener: &UnixListener) -> PathBuf {
    let address = listener.local_addr().ok();
    let path = address.as_ref().and_then(|address| address.as_pathname());
    path.unwrap_or(Path::new("a socket without a path")).into()
}

fn mode(path: &Path) -> Option<u32> {
    fs::metadata(path)
        .ok()
        .map(|metadata| metadata.mode() & 0o777)
}
