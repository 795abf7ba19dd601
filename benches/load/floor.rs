//! The floor: a program that makes only the system calls that a hook needs.
//!
//! It accepts, asks for the peer's credentials, receives, writes the received bytes to
//! stdout (or sends them to every reader), responds, and closes, around one edge-triggered
//! epoll. It parses nothing: a request is complete when the received bytes end with a newline
//! that does not follow a CR. The requests of this bench are made for that.
//!
//! What a server costs above the floor is its own work. A server can cost less than the
//! floor, if one of its system calls serves several requests.

#![cfg(target_os = "linux")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Bytes that one call can receive.
const RECEIVE_SIZE: usize = 256 << 10;

struct Floor {
    epoll: OwnedFd,
    hook_listener: OwnedFd,
    output_listener: Option<OwnedFd>,
    readers: Vec<OwnedFd>,
    /// Indexed by descriptor.
    clients: Vec<Option<Client>>,
    /// Unused buffers.
    spare_buffers: Vec<Vec<u8>>,
    response: String,
    keep_alive: bool,
}

struct Client {
    socket: OwnedFd,
    received: Vec<u8>,
    is_registered: bool,
}

/// Serves until it is killed.
pub fn run(socket: &Path, output: Option<&Path>, keep_alive: bool) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listen = |path: &Path| {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::bind(&listener, &net::SocketAddrUnix::new(path)?)?;
        net::listen(&listener, -1)?;
        register(&epoll, listener.as_fd())?;
        Ok::<_, io::Error>(listener)
    };
    let output_listener = output.map(listen).transpose()?;
    let hook_listener = listen(socket)?;
    let connection = if keep_alive { "keep-alive" } else { "close" };
    let mut floor = Floor {
        epoll,
        hook_listener,
        output_listener,
        readers: Vec::new(),
        clients: Vec::new(),
        spare_buffers: Vec::new(),
        response: format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
             Content-Length: 0\r\nConnection: {connection}\r\n\r\n"
        ),
        keep_alive,
    };
    let mut reports = Vec::with_capacity(1024);
    loop {
        reports.clear();
        epoll::wait(&floor.epoll, spare_capacity(&mut reports), None)?;
        for report in &reports {
            floor.handle_report(report.data.u64() as usize)?;
        }
    }
}

/// Adds a descriptor to the epoll, edge-triggered, with its number as the token.
fn register(epoll: &OwnedFd, fd: BorrowedFd) -> rustix::io::Result<()> {
    let token = EventData::new_u64(fd.as_raw_fd() as u64);
    epoll::add(epoll, fd, token, EventFlags::IN | EventFlags::ET)
}

impl Floor {
    fn handle_report(&mut self, fd: usize) -> io::Result<()> {
        if fd == self.hook_listener.as_raw_fd() as usize {
            while let Some(socket) = accept(&self.hook_listener, SocketFlags::NONBLOCK)? {
                sockopt::socket_peercred(&socket)?;
                self.serve(Client {
                    socket,
                    received: Vec::new(),
                    is_registered: false,
                })?;
            }
            return Ok(());
        }
        if let Some(listener) = &self.output_listener
            && fd == listener.as_raw_fd() as usize
        {
            while let Some(reader) = accept(listener, SocketFlags::empty())? {
                self.readers.push(reader);
            }
            return Ok(());
        }
        match self.clients.get_mut(fd).and_then(Option::take) {
            Some(client) => self.serve(client),
            None => Ok(()),
        }
    }

    /// Receives until the socket is empty, and publishes and answers each complete request.
    fn serve(&mut self, mut client: Client) -> io::Result<()> {
        if client.received.capacity() == 0 {
            client.received = self.spare_buffers.pop().unwrap_or_default();
        }
        loop {
            client.received.reserve(RECEIVE_SIZE);
            let room = client.received.capacity() - client.received.len();
            let buffer = spare_capacity(&mut client.received);
            match net::recv(&client.socket, buffer, RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(()),
                Ok((_, count)) if is_complete(&client.received) => {
                    self.publish(&client.received)?;
                    client.received.clear();
                    net::send(
                        &client.socket,
                        self.response.as_bytes(),
                        SendFlags::NOSIGNAL,
                    )?;
                    if !self.keep_alive {
                        self.spare_buffers.push(client.received);
                        return Ok(());
                    }
                    // After a short read the socket is empty (epoll(7)).
                    if client.is_registered && count < room {
                        break;
                    }
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Ok(()),
            }
        }
        if !client.is_registered {
            register(&self.epoll, client.socket.as_fd())?;
            client.is_registered = true;
        }
        if client.received.is_empty() {
            self.spare_buffers
                .push(std::mem::take(&mut client.received));
        }
        let fd = client.socket.as_raw_fd() as usize;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        self.clients[fd] = Some(client);
        Ok(())
    }

    fn publish(&mut self, event: &[u8]) -> io::Result<()> {
        if self.output_listener.is_some() {
            for reader in &self.readers {
                net::send(reader, event, SendFlags::NOSIGNAL)?;
            }
            return Ok(());
        }
        let mut unwritten = event;
        while !unwritten.is_empty() {
            unwritten = &unwritten[rustix::io::write(rustix::stdio::stdout(), unwritten)?..];
        }
        Ok(())
    }
}

fn accept(listener: &OwnedFd, flags: SocketFlags) -> io::Result<Option<OwnedFd>> {
    match net::accept_with(listener, flags | SocketFlags::CLOEXEC) {
        Ok(socket) => Ok(Some(socket)),
        Err(Errno::AGAIN) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn is_complete(received: &[u8]) -> bool {
    received.ends_with(b"\n") && !received.ends_with(b"\r\n")
}
