//! The trait to which clients hand their events over, and themselves when they become readers.
//!
//! `server/publisher.rs` implements it. The model test has an output of its own.
//!
//! Stop 7 of EDU_NOTES.md.

use crate::event::Event;
use crate::format::Forms;
use crate::http::route::Replay;
use crate::output::event_log::Position;
use crate::server::budget::Turn;
use crate::server::sessions::SessionHook;

/// Where clients hand over their events.
pub trait Publish {
    /// Appends an event to the log, and returns the position after it. Positions only rise.
    fn publish(&mut self, event: Event) -> Position;

    /// The same for an event whose forms the worker has made.
    fn publish_forms(&mut self, forms: Forms) -> Position;

    /// The sessions as a JSON array.
    fn sessions_json(&self) -> String;

    /// How many more readers of live events the limit of descriptors allows.
    fn room_for_readers(&self) -> usize;

    /// Handles a hook with a session id. Its peer still waits for the response.
    fn handle_session(&mut self, hook: &SessionHook, turn: &mut Turn);

    /// Whether sinks are so far behind that no more events should come in this turn.
    fn is_congested(&self) -> bool;
}

/// A client that has become a reader of live events.
pub struct LiveReader<S> {
    pub socket: S,
    /// Whether it is registered with the poll, as a client.
    pub is_registered: bool,
    /// Which past events it gets first.
    pub replay: Replay,
}
