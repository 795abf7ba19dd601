//! The floor: the fewest system calls that do a hook's job, and nothing else.
//!
//! It accepts, asks who it is, receives, writes what it received to stdout (or
//! sends it to every reader), answers and closes, behind an edge-triggered
//! epoll. It parses nothing: a request is whole when what was received ends
//! with a newline that ends no line of a head, which the load sees to. What a
//! server costs beyond this is its own doing; what it costs less, it saves by
//! doing several requests' work in one call.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const ANSWER_AND_STAY: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\
    Content-Length: 0\r\nConnection: keep-alive\r\n\r\n";
/// Bytes that one call receives at most.
const PIECE: usize = 256 << 10;

struct Floor {
    epoll: OwnedFd,
    hooks: OwnedFd,
    output: Option<OwnedFd>,
    readers: Vec<OwnedFd>,
    /// By their descriptors' numbers.
    clients: Vec<Option<Client>>,
    /// Buffers that nobody uses just now.
    spare: Vec<Vec<u8>>,
    keeps: bool,
}

struct Client {
    socket: OwnedFd,
    received: Vec<u8>,
    is_watched: bool,
}

/// Serves until it is killed. With `keeps`, connections stay open.
pub fn run(socket: &Path, output: Option<&Path>, keeps: bool) -> io::Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let listen = |path: &Path| {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let listener = net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        net::bind(&listener, &net::SocketAddrUnix::new(path)?)?;
        net::listen(&listener, -1)?;
        watch(&epoll, listener.as_fd())?;
        Ok::<_, io::Error>(listener)
    };
    let output = output.map(listen).transpose()?;
    let hooks = listen(socket)?;
    let mut floor = Floor {
        epoll,
        hooks,
        output,
        readers: Vec::new(),
        clients: Vec::new(),
        spare: Vec::new(),
        keeps,
    };
    let mut events = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&floor.epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            floor.heed(event.data.u64() as usize)?;
        }
    }
}

/// Adds a descriptor to the epoll under its own number, edge-triggered.
fn watch(epoll: &OwnedFd, fd: BorrowedFd) -> rustix::io::Result<()> {
    let token = EventData::new_u64(fd.as_raw_fd() as u64);
    epoll::add(epoll, fd, token, EventFlags::IN | EventFlags::ET)
}

impl Floor {
    fn heed(&mut self, fd: usize) -> io::Result<()> {
        if fd == self.hooks.as_raw_fd() as usize {
            while let Some(socket) = accept(&self.hooks, SocketFlags::NONBLOCK)? {
                sockopt::socket_peercred(&socket)?;
                self.serve(Client {
                    socket,
                    received: Vec::new(),
                    is_watched: false,
                })?;
            }
            return Ok(());
        }
        if let Some(output) = &self.output
            && fd == output.as_raw_fd() as usize
        {
            while let Some(reader) = accept(output, SocketFlags::empty())? {
                self.readers.push(reader);
            }
            return Ok(());
        }
        match self.clients.get_mut(fd).and_then(Option::take) {
            Some(client) => self.serve(client),
            None => Ok(()),
        }
    }

    /// Receives what is there, and does what a whole request asks for.
    fn serve(&mut self, mut client: Client) -> io::Result<()> {
        if client.received.capacity() == 0 {
            client.received = self.spare.pop().unwrap_or_default();
        }
        loop {
            client.received.reserve(PIECE);
            let room = client.received.capacity() - client.received.len();
            let piece = spare_capacity(&mut client.received);
            match net::recv(&client.socket, piece, RecvFlags::empty()) {
                Ok((_, 0)) => return Ok(()),
                Ok((_, count)) if is_whole(&client.received) => {
                    self.publish(&client.received)?;
                    client.received.clear();
                    let answer = if self.keeps { ANSWER_AND_STAY } else { ANSWER };
                    net::send(&client.socket, answer, SendFlags::NOSIGNAL)?;
                    if !self.keeps {
                        self.spare.push(client.received);
                        return Ok(());
                    }
                    // Less than there was room for was all there was (epoll(7)).
                    if client.is_watched && count < room {
                        break;
                    }
                }
                Ok(_) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Ok(()),
            }
        }
        if !client.is_watched {
            watch(&self.epoll, client.socket.as_fd())?;
            client.is_watched = true;
        }
        if client.received.is_empty() {
            self.spare.push(std::mem::take(&mut client.received));
        }
        let fd = client.socket.as_raw_fd() as usize;
        if fd >= self.clients.len() {
            self.clients.resize_with(fd + 1, || None);
        }
        self.clients[fd] = Some(client);
        Ok(())
    }

    fn publish(&mut self, event: &[u8]) -> io::Result<()> {
        if self.output.is_some() {
            for reader in &self.readers {
                net::send(reader, event, SendFlags::NOSIGNAL)?;
            }
            return Ok(());
        }
        let mut rest = event;
        while !rest.is_empty() {
            rest = &rest[rustix::io::write(rustix::stdio::stdout(), rest)?..];
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

fn is_whole(received: &[u8]) -> bool {
    received.ends_with(b"\n") && !received.ends_with(b"\r\n")
}
