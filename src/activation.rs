//! Listeners that a service manager holds and hands over (sd_listen_fds(3)).
//!
//! While servers come and go the manager keeps the sockets, so whoever connects in
//! between waits in the backlog for the next server and is not refused. They are the
//! manager's: their files and modes stay as they are, and nothing here may
//! end them, since to shut one down is to shut it down for all who have it.
//!
//! Stop 10 of EDU_NOTES.md.

use std::env;
use std::fs;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process;

use crate::args::Options;

/// Where the descriptors begin that are handed over.
const FIRST: RawFd = 3;
/// What they are for, in the order that counts where they have no names.
const NAMES: [&str; 2] = ["hooks", "output"];

/// The listeners that were handed over, and are to be used instead of others. They
/// do not wait.
#[derive(Debug, Default)]
pub struct Handed {
    pub hooks: Option<UnixListener>,
    pub output: Option<UnixListener>,
}

/// Takes what was handed to this process, if anything was, and has the options say so.
/// To be called once, before anything else opens a descriptor. The error says what is
/// wrong with what was handed over. The variables stay: they name this process, which
/// starts no other.
pub fn take(options: &mut Options) -> Result<Handed, String> {
    let mut handed = Handed::default();
    let variable = |name| env::var(name).unwrap_or_default();
    if variable("LISTEN_PID") != process::id().to_string() {
        return Ok(handed);
    }
    let given = variable("LISTEN_FDS");
    let count = given.parse().ok().filter(|count| *count <= NAMES.len());
    let count = count.ok_or(format!(
        "LISTEN_FDS is {given:?}, and there is use for two sockets at most, hooks and output"
    ))?;
    let names = variable("LISTEN_FDNAMES");
    let names: Vec<&str> = names.split(':').take(count).collect();
    // systemd calls sockets by their unit where it says nothing else.
    let is_named = names.iter().any(|name| NAMES.contains(name));
    for (index, fd) in (0..count).zip(FIRST..) {
        let name = match names.get(index) {
            Some(name) if is_named => name,
            _ => NAMES[index],
        };
        let wrong = |what: &str| format!("descriptor {fd} was handed over as {name}: {what}");
        let listener = adopt(fd).map_err(|what| wrong(&what))?;
        let before = handed.hooks.as_ref().or(handed.output.as_ref());
        if before.is_some_and(|before| is_same(before, &listener)) {
            return Err(wrong("it is the other one. Hand over two sockets"));
        }
        let place = match name {
            "hooks" => &mut handed.hooks,
            "output" => &mut handed.output,
            _ => return Err(wrong("the names are hooks and output")),
        };
        if place.replace(listener).is_some() {
            return Err(wrong("so was another. There can be one of each"));
        }
    }
    handed.tell(options);
    Ok(handed)
}

impl Handed {
    /// Replaces what the options say of a listener by what is so.
    fn tell(&self, options: &mut Options) {
        if let Some(listener) = &self.hooks {
            options.socket = path(listener);
            options.mode = mode(&options.socket).unwrap_or(options.mode);
        }
        if let Some(listener) = &self.output {
            // As with `--output-socket`; `--tee` is given together with that.
            options.stdout &= options.output_socket.is_some();
            options.output_socket = Some(path(listener));
        }
    }
}

/// Makes an inherited descriptor a listener of this process alone.
fn adopt(number: RawFd) -> Result<UnixListener, String> {
    // SAFETY: fcntl(2) takes any number; of one that is not open it says so.
    if unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == -1 {
        return Err("it is not open".into());
    }
    // SAFETY: it is open, and nobody else here has it: this process was started with
    // it, for this purpose, and has opened nothing yet.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    check(fd.as_fd())?;
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
    let domain = socket_domain(fd).map_err(|error| format!("it is no socket: {error}"))?;
    if domain != AddressFamily::UNIX {
        return Err("it is no Unix socket. Give ListenStream= a path".into());
    }
    if socket_type(fd) != Ok(SocketType::STREAM) {
        return Err("it is no stream socket. Use ListenStream=".into());
    }
    if socket_acceptconn(fd) != Ok(true) {
        return Err("it does not listen. Accept= must not be yes".into());
    }
    Ok(())
}

/// There the kernel does not tell, and the service manager hands over in another way.
#[cfg(target_vendor = "apple")]
fn check(_: BorrowedFd) -> Result<(), String> {
    Ok(())
}

/// Whether both are one socket: the same inode, of the file system that sockets have.
fn is_same(one: &UnixListener, other: &UnixListener) -> bool {
    let inode = |listener: &UnixListener| rustix::fs::fstat(listener).map(|stat| stat.st_ino);
    inode(one).is_ok_and(|one| inode(other) == Ok(one))
}

/// What getsockname(2) says.
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
