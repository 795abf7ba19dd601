//! The bodies in flight: how much memory they take together, and which of them must wait.
//!
//! A body of more than [`SMALL_BODY`](crate::server::budget::SMALL_BODY) bytes that has not arrived
//! whole with its head is in flight from then until its event is in the log, or it is refused.
//! There are two kinds, and each has its own share of `--max-inflight`: uploads, which are bodies of
//! at least [`LARGE_BODY`] bytes, have three quarters, and ordinary bodies the rest. So uploads
//! cannot take the room of ordinary hooks. A body that finds no room is not read: it waits in its
//! socket.
//!
//! In each share, the oldest body is always read. Otherwise bodies could wait for each other for
//! ever. The others leave room for the longest body that is in flight, because that one may
//! become the oldest.
//!
//! While bodies of several users are in a share, one that is neither the server's own nor root has
//! half of it, and all such users together have half if the server's own has bodies too. What they
//! have beyond that gives way ([`Inflight::excess_body`]).
//!
//! A share can be exceeded all the same. A body can be longer than the share. And each connection
//! can add up to 128 KiB, in three ways: a read of 64 KiB begins below the limit and ends above it;
//! the first read of a body, which comes with its head, is not checked; a chunked body becomes an
//! upload with what it has.
//!
//! Stop 13 of EDU_NOTES.md.

use std::collections::{BTreeMap, BTreeSet};

use crate::http::connection::PartialBody;
use crate::server::budget::LARGE_BODY;
use crate::server::users::Users;

/// Identifies a body in flight.
#[derive(Debug, Clone, Copy)]
pub struct BodyId {
    pub is_upload: bool,
    /// Its number in its share. Older bodies have smaller numbers.
    number: u64,
}

/// The sizes of all bodies in flight.
#[derive(Debug)]
pub struct Inflight {
    /// Bytes that one body may take.
    pub max_body: u64,
    /// The ordinary bodies and the uploads, indexed by `is_upload`.
    shares: [Share; 2],
    /// Whether a body has ended since those that wait were offered the room.
    pub has_freed_room: bool,
}

/// The bodies of one kind.
#[derive(Debug, Default)]
struct Share {
    /// Bytes that they may take together.
    limit: usize,
    /// Bytes that they take.
    bytes: usize,
    /// In the order of their numbers, so the oldest is the first.
    bodies: BTreeMap<u64, Body>,
    /// The lengths of all bodies, with their numbers.
    lengths: BTreeSet<(usize, u64)>,
    /// Bytes that the bodies of each user take.
    users: Users,
    next_number: u64,
}

/// The client that sends a body, and its user.
#[derive(Debug, Clone, Copy)]
pub struct Sender {
    pub client: usize,
    pub uid: u32,
}

#[derive(Debug)]
struct Body {
    sender: Sender,
    arrived: usize,
    /// Bytes that it may have in the end, or until it becomes an upload.
    length: usize,
}

impl Inflight {
    /// No bodies. They may take `limit` bytes, and each of them `max_body`.
    pub fn new(limit: usize, max_body: u64) -> Self {
        let share = |limit| Share {
            limit,
            ..Share::default()
        };
        Inflight {
            max_body,
            shares: [share(limit / 4), share(limit / 4 * 3)],
            has_freed_room: false,
        }
    }

    /// Adds a body of which a part has arrived.
    pub fn begin(&mut self, sender: Sender, body: PartialBody) -> BodyId {
        let is_upload = is_upload(body);
        // A chunked body that grows beyond this becomes an upload.
        let longest = if is_upload {
            self.max_body
        } else {
            LARGE_BODY as u64
        };
        let number = self.share(is_upload).add(Body {
            sender,
            arrived: body.arrived,
            length: body.announced.unwrap_or(longest) as usize,
        });
        BodyId { is_upload, number }
    }

    /// More of a body has arrived. Returns its id, a new one if it has become an upload.
    pub fn update(&mut self, id: BodyId, body: PartialBody) -> BodyId {
        let share = self.share(id.is_upload);
        if is_upload(body) == id.is_upload {
            share.set_arrived(id.number, body.arrived);
            return id;
        }
        match share.remove(id.number) {
            Some(removed) => {
                self.has_freed_room = true;
                self.begin(removed.sender, body)
            }
            None => id,
        }
    }

    /// A body is in the log, or was refused.
    pub fn end(&mut self, id: BodyId) {
        self.share(id.is_upload).remove(id.number);
        self.has_freed_room = true;
    }

    /// Whether more of a body may be read.
    pub fn has_room(&self, id: BodyId) -> bool {
        self.shares[usize::from(id.is_upload)].has_room(id.number)
    }

    /// Whether only the oldest body of a share may be read.
    pub fn is_full(&self, is_upload: bool) -> bool {
        self.shares[usize::from(is_upload)].is_full()
    }

    /// The client with the newest body of the user who has most of a share, if that is more than
    /// this user may have. Only one that `may_end`.
    pub fn excess_body(&self, is_upload: bool, may_end: impl Fn(usize) -> bool) -> Option<usize> {
        let share = &self.shares[usize::from(is_upload)];
        let uid = share.users.with_excess_of(share.limit)?;
        let newest = share.bodies.values().rev().map(|body| body.sender);
        let mut of_user = newest.filter(|sender| sender.uid == uid);
        let sender = of_user.find(|sender| may_end(sender.client))?;
        Some(sender.client)
    }

    fn share(&mut self, is_upload: bool) -> &mut Share {
        &mut self.shares[usize::from(is_upload)]
    }
}

impl Share {
    /// Adds a body, and returns its number.
    fn add(&mut self, body: Body) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.bytes += body.arrived;
        self.users.add(body.sender.uid, body.arrived);
        self.lengths.insert((body.length, number));
        self.bodies.insert(number, body);
        number
    }

    fn set_arrived(&mut self, number: u64, arrived: usize) {
        if let Some(body) = self.bodies.get_mut(&number) {
            self.bytes = self.bytes - body.arrived + arrived;
            self.users.remove(body.sender.uid, body.arrived);
            self.users.add(body.sender.uid, arrived);
            body.arrived = arrived;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Body> {
        let body = self.bodies.remove(&number)?;
        self.bytes -= body.arrived;
        self.lengths.remove(&(body.length, number));
        self.users.remove(body.sender.uid, body.arrived);
        Some(body)
    }

    /// Whether only the oldest body may be read. It may take the length of the longest, so the
    /// others leave it that much.
    fn is_full(&self) -> bool {
        let oldest = self.bodies.values().next();
        let (Some(oldest), Some((longest, _))) = (oldest, self.lengths.last()) else {
            return false;
        };
        self.bytes - oldest.arrived >= self.limit.saturating_sub(*longest)
    }

    /// Whether more of a body may be read.
    fn has_room(&self, number: u64) -> bool {
        let is_oldest = self.bodies.keys().next() == Some(&number);
        let uid = self.bodies.get(&number).map(|body| body.sender.uid);
        let has_excess = || uid.is_some() && self.users.with_excess_of(self.limit) == uid;
        is_oldest || !self.is_full() && !has_excess()
    }
}

/// A chunked body becomes an upload at half the size: one read later it can be large.
fn is_upload(body: PartialBody) -> bool {
    match body.announced {
        Some(length) => length >= LARGE_BODY as u64,
        None => body.arrived >= LARGE_BODY / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const LIMIT: usize = 4 << 20;
    const READ: usize = 64 << 10;

    /// A client: how long its body is, whether it announces that, and its body in flight.
    struct Client {
        length: usize,
        is_announced: bool,
        body: Option<(BodyId, usize)>,
    }

    impl Client {
        fn is_upload(&self) -> bool {
            self.body.is_some_and(|(id, _)| id.is_upload)
        }

        fn partial(&self, arrived: usize) -> PartialBody {
            PartialBody {
                announced: self.is_announced.then_some(self.length as u64),
                arrived,
            }
        }
    }

    /// A body of a user. The last one is the server's own.
    fn begin(inflight: &mut Inflight, client: usize, user: usize, arrived: usize) -> BodyId {
        let stranger = peer::overflow_uid() - 1;
        let own = rustix::process::geteuid().as_raw();
        let uid = [stranger, stranger - 1, stranger - 2, own][user];
        let announced = Some(LIMIT as u64 / 8);
        inflight.begin(Sender { client, uid }, PartialBody { announced, arrived })
    }

    /// Which upload gives way, if any of them may.
    fn excess_body(inflight: &Inflight) -> Option<usize> {
        inflight.excess_body(true, |_| true)
    }

    #[test]
    fn one_of_several_users_has_half_of_a_share() {
        const PART: usize = LIMIT / 16;
        let mut inflight = Inflight::new(LIMIT, LIMIT as u64);
        // Alone, this user may have everything.
        let first = begin(&mut inflight, 0, 0, 3 * PART);
        let second = begin(&mut inflight, 1, 0, 5 * PART);
        assert!(inflight.has_room(second) && excess_body(&inflight).is_none());
        let other = begin(&mut inflight, 2, 1, 1);
        assert!(inflight.has_room(first) && inflight.has_room(other));
        assert!(!inflight.has_room(second));
        assert_eq!(excess_body(&inflight), Some(1));
        assert_eq!(inflight.excess_body(true, |client| client != 1), Some(0));
        inflight.end(second);
        assert!(excess_body(&inflight).is_none());
        assert!(inflight.excess_body(false, |_| true).is_none());
        let second = begin(&mut inflight, 1, 0, 3 * PART - 1);
        assert!(inflight.has_room(second));
    }

    #[test]
    fn strangers_together_have_half_of_a_share_if_the_own_user_needs_some() {
        const PART: usize = LIMIT / 16;
        let mut inflight = Inflight::new(LIMIT, LIMIT as u64);
        let strangers = [(0, 2), (1, 3), (2, 2)]
            .map(|(user, parts)| begin(&mut inflight, user, user, parts * PART));
        assert!(strangers.iter().all(|id| inflight.has_room(*id)));
        let own = begin(&mut inflight, 3, 3, 1);
        assert!(inflight.has_room(own) && !inflight.has_room(strangers[1]));
        assert_eq!(excess_body(&inflight), Some(1));
        inflight.end(strangers[1]);
        assert!(excess_body(&inflight).is_none());
    }

    proptest! {
        /// In whatever order bodies are read, each share stays within its limit, but for one read
        /// and what chunked bodies have when they become uploads. And some body can be read.
        #[test]
        fn bodies_stay_within_the_limit_and_never_wait_for_each_other(
            lengths in vec((1..LIMIT / 4 * 3, any::<bool>()), 1..20),
            reads in vec(0..20usize, 1..2000),
        ) {
            let mut inflight = Inflight::new(LIMIT, (LIMIT / 4 * 3) as u64);
            let mut clients: Vec<Client> = lengths
                .into_iter()
                .map(|(length, is_announced)| Client { length, is_announced, body: None })
                .collect();
            for number in reads {
                let number = number % clients.len();
                let client = &mut clients[number];
                match client.body {
                    None => {
                        let id = inflight.begin(Sender { client: number, uid: 0 }, client.partial(0));
                        client.body = Some((id, 0));
                    }
                    Some((id, arrived)) if arrived == client.length => {
                        inflight.end(id);
                        client.body = None;
                    }
                    Some((id, arrived)) if inflight.has_room(id) => {
                        let arrived = client.length.min(arrived + READ);
                        let id = inflight.update(id, client.partial(arrived));
                        client.body = Some((id, arrived));
                    }
                    Some(_) => {}
                }
                let bodies = clients.iter().filter_map(|client| client.body);
                let is_chunked_upload =
                    |client: &&Client| !client.is_announced && client.is_upload();
                let chunked = clients.iter().filter(is_chunked_upload).count();
                let [ordinary, uploads] = [0, 1].map(|share| inflight.shares[share].bytes);
                prop_assert!(uploads <= LIMIT / 4 * 3 + READ + chunked * LARGE_BODY, "{uploads}");
                prop_assert!(ordinary <= LIMIT / 4 + READ, "{ordinary}");
                let mut bodies = bodies.peekable();
                prop_assert!(bodies.peek().is_none() || bodies.any(|(id, _)| inflight.has_room(id)));
            }
        }
    }
}
