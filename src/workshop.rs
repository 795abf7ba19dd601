//! Large events, made by a thread of their own.
//!
//! To validate a body of 64 MiB and to write it in another form takes long
//! enough to notice, and meanwhile the loop could serve nobody. So such a body goes to
//! a thread, with all that its event needs, and comes back as the text to
//! append; a [`Waker`] tells the poll (eventfd(2)). Everything else stays with the loop: the
//! thread has no socket, no log and no client.
//!
//! Stop 9 of EDU_NOTES.md.

use std::io;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread;

use mio::Waker;

use crate::event::{self, Event};
use crate::format::Format;
use crate::peer::Peer;

/// A body from this many bytes on is worth the way to the thread and back.
pub const LARGE: usize = 1 << 20;

/// What an event is made of.
#[derive(Debug)]
pub struct Order {
    /// Whose it is: comes back as it is.
    pub client: usize,
    pub time: String,
    pub event: String,
    pub peer: Peer,
    pub body: Vec<u8>,
}

/// A thread that makes events one after the other.
#[derive(Debug)]
pub struct Workshop {
    orders: Sender<Order>,
    made: Receiver<(usize, String)>,
}

impl Workshop {
    /// Starts the thread. `waker` is woken for each event that is made.
    pub fn open(format: Format, waker: Waker) -> io::Result<Self> {
        let (orders, ordered) = mpsc::channel::<Order>();
        let (done, made) = mpsc::channel();
        thread::Builder::new()
            .name("workshop".into())
            .spawn(move || {
                for Order {
                    client,
                    time,
                    event,
                    peer,
                    body,
                } in ordered
                {
                    let body = event::decode(&body);
                    let mut text = String::new();
                    format.write(&Event::hook(&time, &event, &peer, &body), &mut text);
                    // Both fail only when the loop has ended.
                    if done.send((client, text)).is_err() || waker.wake().is_err() {
                        break;
                    }
                }
            })?;
        Ok(Workshop { orders, made })
    }

    /// Has an event made.
    pub fn order(&self, order: Order) {
        // It fails only where the thread has ended, which outlives the orders.
        let _ = self.orders.send(order);
    }

    /// The next event that is made, and whose it is.
    pub fn take(&self) -> Option<(usize, String)> {
        self.made.try_recv().ok()
    }
}
