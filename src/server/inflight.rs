//! The bodies in flight: how much memory they take together, and which of them must wait.
//!
//! A body is in flight from its first byte that is kept until its event is in the log. All of
//! them stay within `--max-inflight`: three quarters for uploads, which are bodies of at least
//! [`LARGE_BODY`] bytes, and a quarter for ordinary bodies. So uploads cannot take the room of
//! ordinary hooks. A body that finds no room is not read: it waits in its socket.
//!
//! The oldest body always finds room. Otherwise bodies could wait for each other for ever. Other
//! uploads leave it the room that it may still need; ordinary bodies do not. So the limit is
//! exceeded only by a body that is larger than three quarters of it, and by single reads of at most
//! 64 KiB: a read that begins below the limit can end above it, and the first read of a body,
//! which comes with its head, is not checked.
//!
//! Stop 13 of EDU_NOTES.md.

use std::collections::BTreeMap;

use super::budget::LARGE_BODY;
use crate::http::connection::PartialBody;

/// The number of a body in flight. Older bodies have smaller numbers.
pub(super) type BodyId = u64;

/// The sizes of all bodies in flight.
#[derive(Debug)]
pub(super) struct Inflight {
    /// Bytes that all bodies may take.
    limit: usize,
    /// Bytes that one body may take.
    max_body: u64,
    bodies: BTreeMap<BodyId, PartialBody>,
    /// Bytes of the bodies that are no uploads.
    ordinary_bytes: usize,
    /// Bytes of the uploads.
    upload_bytes: usize,
    next_id: BodyId,
    /// Whether a body has ended since those that wait were offered the room.
    has_freed_room: bool,
}

impl Inflight {
    /// No bodies. They may take `limit` bytes, and each of them `max_body`.
    pub(super) fn new(limit: usize, max_body: u64) -> Self {
        Inflight {
            limit,
            max_body,
            bodies: BTreeMap::new(),
            ordinary_bytes: 0,
            upload_bytes: 0,
            next_id: 0,
            has_freed_room: false,
        }
    }

    /// Adds a body of which a part has arrived.
    pub(super) fn begin(&mut self, body: PartialBody) -> BodyId {
        let id = self.next_id;
        self.next_id += 1;
        *self.total(body) += body.arrived;
        self.bodies.insert(id, body);
        id
    }

    /// More of a body has arrived.
    pub(super) fn update(&mut self, id: BodyId, body: PartialBody) {
        if let Some(previous) = self.bodies.insert(id, body) {
            *self.total(previous) -= previous.arrived;
            *self.total(body) += body.arrived;
            // It leaves the ordinary bodies, or needs less of what is reserved for the oldest.
            let is_oldest = self
                .bodies
                .first_key_value()
                .is_some_and(|(oldest, _)| *oldest == id);
            self.has_freed_room |= is_oldest || is_upload(previous) != is_upload(body);
        }
    }

    /// A body is in the log, or was refused.
    pub(super) fn end(&mut self, id: BodyId) {
        if let Some(body) = self.bodies.remove(&id) {
            *self.total(body) -= body.arrived;
            self.has_freed_room = true;
        }
    }

    /// Whether more of a body may be read.
    pub(super) fn has_room(&self, id: BodyId) -> bool {
        let (Some(body), Some((oldest_id, oldest))) =
            (self.bodies.get(&id), self.bodies.first_key_value())
        else {
            return true;
        };
        let reserved = self.max_length(*oldest).saturating_sub(oldest.arrived);
        id == *oldest_id
            || match is_upload(*body) {
                true => self.upload_bytes + reserved < self.limit / 4 * 3,
                false => self.ordinary_bytes < self.limit / 4,
            }
    }

    /// Bytes that one body may take.
    pub(super) fn max_body(&self) -> u64 {
        self.max_body
    }

    /// Whether bodies have ended since [`Inflight::set_offered`], so that others may find room.
    pub(super) fn has_freed_room(&self) -> bool {
        self.has_freed_room
    }

    /// The bodies that wait were offered the room that is free.
    pub(super) fn set_offered(&mut self) {
        self.has_freed_room = false;
    }

    /// The total to which a body counts.
    fn total(&mut self, body: PartialBody) -> &mut usize {
        match is_upload(body) {
            true => &mut self.upload_bytes,
            false => &mut self.ordinary_bytes,
        }
    }

    fn max_length(&self, body: PartialBody) -> usize {
        body.announced.unwrap_or(self.max_body) as usize
    }
}

/// A chunked body becomes an upload at half the size: one read later it can be large.
fn is_upload(body: PartialBody) -> bool {
    match body.announced {
        Some(length) => length >= LARGE_BODY as u64,
        None => body.arrived >= LARGE_BODY / 2,
    }
}
