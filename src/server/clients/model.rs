//! A model test of the loop: [`Clients`] with simulated sockets, a simulated output and a
//! simulated clock, driven by random schedules.
//!
//! A schedule interleaves arrivals, reads by the client, closes, pauses, stalls of the output,
//! results of the worker and turns of the loop. Whatever it is, these rules hold:
//!
//! 1. **No lost wake-up.** When all is quiet, each client that sent a complete request in time
//!    has its response. (The poll reports a change once. A client that was not read until
//!    `WouldBlock` must be read again without a report.)
//! 2. **Nothing is refused that arrived in time**, however late the loop is. A body of which too
//!    little has arrived for a second may be refused, because others wait for its room.
//! 3. **No early response.** A 200 is written only after the event was flushed.
//! 4. **No event is lost, repeated or reordered** within a connection.
//! 5. **Fair shares.** No client is read more often in a turn than its share, and as often again
//!    to discard input.
//! 6. **Small requests first.** In a turn, no request is read for the first time after another one
//!    was read again. But each turn reads one again, if one waits, however many are new.
//! 7. **Nothing spins.** Without new input the loop comes to rest.
//! 8. **Keys are not reused too early.** A client whose event is at the worker stays, even if it has
//!    hung up.
//!
//! Stop 7 of EDU_NOTES.md.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use mio::event::Source;
use mio::{Interest, Poll, Registry};
use proptest::collection::vec;
use proptest::prelude::*;

use super::Clients;
use super::bodies::PROGRESS;
use super::client::Pending;
use super::inflight::Inflight;
use super::publish::Publish;
use super::queues::STALL_TIMEOUT;
use super::socket::Socket;
use crate::event::Event;
use crate::event::json_text::members;
use crate::format::Forms;
use crate::output::event_log::Position;
use crate::output::flush::Flushed;
use crate::peer::Peer;
use crate::server::budget::SimulatedClock;
use crate::server::budget::{self, Clock, LARGE_BODY, READS_PER_CLIENT, SMALL_BODY, Turn};
use crate::server::sessions::SessionHook;
use crate::server::token::Token;
use crate::server::worker::{Finished, Job};

const TIMEOUT: Duration = Duration::from_secs(10);
const OK: &str = "HTTP/1.1 200 OK";
const PEER: Peer = Peer {
    pid: None,
    uid: 1,
    gid: 1,
};

/// The kernel's side of a socket.
#[derive(Default)]
struct Kernel {
    /// What has arrived and is not read. A read returns bytes of one piece at most, so reads
    /// can be short although more is there.
    pieces: VecDeque<Vec<u8>>,
    is_ended: bool,
    /// Whether the client has closed its socket.
    is_gone: bool,
    /// Bytes that the loop can write before `WouldBlock`.
    room: usize,
    written: Vec<u8>,
    registration: Option<(mio::Token, Interest)>,
    /// Changes that the poll has not reported yet.
    readable_edge: bool,
    writable_edge: bool,
    reads_in_turn: usize,
    /// Whether the server has shut down writing: it discards what follows.
    is_shut_down: bool,
    is_closed: bool,
    /// Where each request ends, and how many bytes were read.
    ends: Vec<usize>,
    read: usize,
}

impl Kernel {
    fn is_readable(&self) -> bool {
        !self.pieces.is_empty() || self.is_ended
    }

    /// Whether the next byte is not the first one of a request.
    fn has_begun(&self) -> bool {
        self.read > 0 && !self.ends.contains(&self.read)
    }

    /// The report of the poll, if there is one: edges that the loop is interested in.
    fn report(&mut self) -> Option<(mio::Token, bool, bool, bool)> {
        let (token, interest) = self.registration?;
        let is_readable = interest.is_readable() && std::mem::take(&mut self.readable_edge);
        let is_writable = interest.is_writable() && std::mem::take(&mut self.writable_edge);
        let is_reported = is_readable || is_writable;
        is_reported.then_some((token, is_readable, is_writable, self.is_gone))
    }

    /// The client sends nothing more. `is_gone`: nor does it read.
    fn end(&mut self, is_gone: bool) {
        (self.is_ended, self.readable_edge) = (true, true);
        self.is_gone |= is_gone;
    }
}

/// How long a read takes.
const READ: Duration = Duration::from_millis(1);

/// What all sockets have in common.
struct Machine {
    clock: SimulatedClock,
    /// The reads of this turn that returned bytes of a request: whether they were the first one of
    /// it.
    reads: RefCell<Vec<bool>>,
}

struct SimulatedSocket {
    kernel: Rc<RefCell<Kernel>>,
    machine: Rc<Machine>,
}

impl Read for SimulatedSocket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        self.machine.clock.run(READ);
        kernel.reads_in_turn += 1;
        let has_begun = kernel.has_begun();
        if !kernel.pieces.is_empty() && !kernel.is_shut_down {
            self.machine.reads.borrow_mut().push(!has_begun);
        }
        let Some(piece) = kernel.pieces.front_mut() else {
            return match kernel.is_ended {
                true => Ok(0),
                false => Err(io::ErrorKind::WouldBlock.into()),
            };
        };
        let count = piece.len().min(buffer.len());
        buffer[..count].copy_from_slice(&piece[..count]);
        piece.drain(..count);
        if piece.is_empty() {
            kernel.pieces.pop_front();
        }
        kernel.read += count;
        Ok(count)
    }
}

impl Write for SimulatedSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kernel = self.kernel.borrow_mut();
        let count = bytes.len().min(kernel.room);
        if kernel.is_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        kernel.room -= count;
        kernel.written.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Source for SimulatedSocket {
    /// Like `epoll_ctl`, it reports at once what is ready.
    fn register(&mut self, _: &Registry, token: mio::Token, interest: Interest) -> io::Result<()> {
        let mut kernel = self.kernel.borrow_mut();
        kernel.registration = Some((token, interest));
        kernel.readable_edge = kernel.is_readable();
        kernel.writable_edge = kernel.room > 0;
        Ok(())
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: mio::Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.register(registry, token, interest)
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

impl Socket for SimulatedSocket {
    fn unread(&self) -> u64 {
        let kernel = self.kernel.borrow();
        kernel.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    fn shutdown_write(&self) {
        self.kernel.borrow_mut().is_shut_down = true;
    }
}

impl Drop for SimulatedSocket {
    fn drop(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        kernel.is_closed = true;
        // The kernel frees what is unread.
        if !kernel.pieces.is_empty() {
            self.machine.clock.run(READ);
        }
    }
}

/// The output: which request of which client each event is from, and how many are flushed.
#[derive(Default)]
struct SimulatedOutput {
    events: Vec<(usize, usize)>,
    flushed: usize,
    /// How many events may wait for the flush.
    congestion: usize,
}

impl SimulatedOutput {
    fn append(&mut self, request: (usize, usize)) -> Position {
        self.events.push(request);
        position_after(self.events.len())
    }
}

/// Each event is shown as it is.
fn position_after(events: usize) -> Position {
    Position {
        compact: events as u64,
        shown: 0,
    }
}

impl Publish for SimulatedOutput {
    fn publish(&mut self, event: Event) -> Position {
        let number = |name| {
            let mut members = members(event.line());
            let (_, value) = members.find(|(key, _)| *key == name).unwrap();
            value.parse().unwrap()
        };
        self.append((number("client"), number("number")))
    }

    fn publish_forms(&mut self, forms: Forms) -> Position {
        let (client, number) = forms.compact.split_once(' ').unwrap();
        self.append((client.parse().unwrap(), number.parse().unwrap()))
    }

    fn sessions_json(&self) -> String {
        "[]".into()
    }

    fn room_for_readers(&self) -> usize {
        0
    }
    fn handle_session(&mut self, _: &SessionHook, _: &mut Turn) {}

    fn is_congested(&self) -> bool {
        self.events.len() - self.flushed > self.congestion
    }
}

/// One client: the requests that it will send, and how far it is.
struct Sender {
    kernel: Rc<RefCell<Kernel>>,
    /// All requests, one behind the other, and where each ends.
    bytes: Vec<u8>,
    ends: Vec<usize>,
    sent: usize,
    /// When each complete request was sent.
    sent_at: Vec<Instant>,
    /// When the loop could begin to wait for each request: at first when the client connected,
    /// then when the response before it was written.
    awaited_at: Vec<Instant>,
    /// When it sent something, and how much it had sent then.
    sends: Vec<(Instant, usize)>,
    /// Whether a request was refused, because it was late or gave way.
    is_refused: bool,
    /// Whether a response did not fit at once: then the client may be closed for that.
    has_stalled: bool,
}

impl Sender {
    fn new(client: usize, sizes: &[usize], now: Instant) -> Self {
        let (mut bytes, mut ends) = (Vec::new(), Vec::new());
        for (number, size) in sizes.iter().enumerate() {
            let filler = "x".repeat(*size);
            let body = format!("{{\"client\":{client},\"number\":{number},\"x\":\"{filler}\"}}");
            let head = format!(
                "POST / HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            bytes.extend([head.as_bytes(), body.as_bytes()].concat());
            ends.push(bytes.len());
        }
        let kernel = Kernel {
            ends: ends.clone(),
            ..Kernel::default()
        };
        Sender {
            kernel: Rc::new(RefCell::new(kernel)),
            bytes,
            ends,
            sent: 0,
            sent_at: Vec::new(),
            awaited_at: vec![now],
            sends: Vec::new(),
            is_refused: false,
            has_stalled: false,
        }
    }

    /// Sends up to `length` bytes in this many pieces, if the connection is open.
    fn send(&mut self, length: usize, pieces: usize, now: Instant) {
        let mut kernel = self.kernel.borrow_mut();
        let end = self.bytes.len().min(self.sent + length);
        if kernel.is_closed || kernel.is_ended || end == self.sent {
            return;
        }
        let bytes = &self.bytes[self.sent..end];
        let pieces = bytes.chunks(bytes.len().div_ceil(pieces));
        kernel.pieces.extend(pieces.map(<[u8]>::to_vec));
        kernel.readable_edge = true;
        self.sent = end;
        self.sends.push((now, end));
        while self.sent_at.len() < self.ends.len() && self.ends[self.sent_at.len()] <= end {
            self.sent_at.push(now);
        }
    }

    /// Sends bytes that are no request, where the next request would begin. After that no
    /// request can follow.
    fn flood(&mut self) {
        let mut kernel = self.kernel.borrow_mut();
        let is_between = self.sent == 0 || self.ends.contains(&self.sent);
        if is_between && !kernel.is_closed && !kernel.is_ended {
            kernel.pieces.extend(vec![b"?".to_vec(); 50]);
            kernel.readable_edge = true;
            self.sent = self.bytes.len();
        }
    }

    /// Whether the request after so many others has stalled.
    fn has_stalled(&self, answered: usize, now: Instant) -> bool {
        let since = now - STALL_TIMEOUT;
        let begin = answered.checked_sub(1).map_or(0, |last| self.ends[last]);
        let sends = self.sends.iter().rev();
        let before = sends.clone().find(|(at, _)| *at <= since);
        before.is_some_and(|(_, sent)| *sent > begin && self.sent - sent < PROGRESS as usize)
    }

    fn responses(&self) -> usize {
        self.written().matches(OK).count()
    }

    fn written(&self) -> String {
        String::from_utf8(self.kernel.borrow().written.clone()).unwrap()
    }

    /// How many requests must be answered: those that were complete in time, up to the first
    /// that was not.
    fn due_responses(&self) -> usize {
        let in_time = |(sent, awaited): &(&Instant, &Instant)| **sent < **awaited + TIMEOUT;
        let requests = self.sent_at.iter().zip(&self.awaited_at);
        requests.take_while(in_time).count()
    }
}

#[derive(Debug, Clone)]
enum Action {
    Connect(Vec<usize>),
    Send(usize, usize, usize),
    /// Many small pieces arrive that are no request.
    Flood(usize),
    EndOfInput(usize),
    /// The client closes its socket.
    HangUp(usize),
    /// The client reads, which makes room for responses.
    MakeRoom(usize, usize),
    /// Time passes while the loop does nothing.
    Pause(u64),
    FinishJob,
    /// One turn, with at most so many reports, after which so many events are flushed.
    Turn(usize, usize),
}

fn action() -> impl Strategy<Value = Action> {
    let sizes = prop_oneof![
        6 => Just(0_usize),
        2 => 0..200_usize,
        2 => Just(SMALL_BODY),
        1 => Just(150 << 10),
        1 => Just(LARGE_BODY),
    ];
    let length = prop_oneof![1..300_usize, Just(100 << 10), Just(usize::MAX >> 1)];
    prop_oneof![
        2 => vec(sizes, 1..5).prop_map(Action::Connect),
        6 => (0..8_usize, length, 1..10_usize)
            .prop_map(|(client, length, pieces)| Action::Send(client, length, pieces)),
        2 => (0..8_usize).prop_map(Action::Flood),
        1 => (0..8_usize).prop_map(Action::EndOfInput),
        1 => (0..8_usize).prop_map(Action::HangUp),
        2 => (0..8_usize, 1..400_usize).prop_map(|(client, room)| Action::MakeRoom(client, room)),
        1 => (1..13_u64).prop_map(Action::Pause),
        1 => Just(Action::FinishJob),
        6 => (0..4_usize, 0..4_usize).prop_map(|(reports, flushed)| Action::Turn(reports, flushed)),
    ]
}

struct World {
    clients: Clients<SimulatedSocket>,
    senders: Vec<Sender>,
    output: SimulatedOutput,
    jobs: VecDeque<Job>,
    machine: Rc<Machine>,
}

impl World {
    fn new() -> Self {
        // Three large bodies do not fit.
        let inflight = Inflight::new(400 << 10, 1 << 20);
        // Nothing is registered with it: the simulated sockets only look as if they were.
        let registry = Poll::new().and_then(|poll| poll.registry().try_clone());
        World {
            clients: Clients::new(registry.unwrap(), TIMEOUT, inflight),
            senders: Vec::new(),
            output: SimulatedOutput {
                congestion: 3,
                ..SimulatedOutput::default()
            },
            jobs: VecDeque::new(),
            machine: Rc::new(Machine {
                clock: SimulatedClock::at(Instant::now()),
                reads: RefCell::default(),
            }),
        }
    }

    fn now(&self) -> Instant {
        self.machine.clock.now()
    }

    fn begin_turn(&self) -> Turn {
        Turn::begin(self.machine.clock.clone())
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        match action {
            Action::Connect(sizes) => self.connect(PEER, &sizes),
            Action::Send(client, length, pieces) => {
                if let Some(sender) = self.senders.get_mut(client) {
                    sender.send(length, pieces, now);
                }
            }
            Action::Flood(client) => {
                if let Some(sender) = self.senders.get_mut(client) {
                    sender.flood();
                }
            }
            Action::EndOfInput(client) => {
                if let Some(sender) = self.senders.get(client) {
                    sender.kernel.borrow_mut().end(false);
                }
            }
            Action::HangUp(client) => {
                if let Some(sender) = self.senders.get_mut(client) {
                    sender.kernel.borrow_mut().end(true);
                    // It gets no more responses.
                    sender.has_stalled = true;
                }
            }
            Action::MakeRoom(client, room) => {
                if let Some(sender) = self.senders.get_mut(client) {
                    let mut kernel = sender.kernel.borrow_mut();
                    // The first time, the client stops reading: its room becomes small.
                    match std::mem::replace(&mut sender.has_stalled, true) {
                        true => kernel.room += room,
                        false => kernel.room = room,
                    }
                    kernel.writable_edge = true;
                }
            }
            Action::Pause(seconds) => self.machine.clock.wait(Duration::from_secs(seconds)),
            Action::FinishJob => self.finish_job(),
            Action::Turn(reports, flushed) => self.turn(reports, flushed),
        }
    }

    fn connect(&mut self, peer: Peer, sizes: &[usize]) {
        let now = self.now();
        let sender = Sender::new(self.senders.len(), sizes, now);
        sender.kernel.borrow_mut().room = 1 << 20;
        let socket = SimulatedSocket {
            kernel: sender.kernel.clone(),
            machine: self.machine.clone(),
        };
        self.senders.push(sender);
        self.clients.add(socket, peer, now);
    }

    fn finish_job(&mut self) {
        if let Some(job) = self.jobs.pop_front() {
            let body = String::from_utf8(job.body.clone()).unwrap();
            let numbers: Vec<_> = body.split([':', ',']).collect();
            let forms = Forms {
                compact: format!("{} {}", numbers[1], numbers[3]),
                shown: None,
            };
            let finished = Finished {
                job,
                forms,
                session_id: None,
                cwd: None,
            };
            let turn = &mut self.begin_turn();
            self.clients.finish_job(finished, &mut self.output, turn);
        }
    }

    /// One turn of the loop, in the order of `Server::serve`.
    fn turn(&mut self, reports: usize, flushed: usize) {
        for sender in &self.senders {
            sender.kernel.borrow_mut().reads_in_turn = 0;
        }
        let edges = self.senders.iter();
        let edges = edges.filter_map(|sender| sender.kernel.borrow_mut().report());
        for (token, is_readable, is_writable, is_gone) in edges.take(reports) {
            let Token::Client(key) = Token::from(token) else {
                panic!("{token:?} is not a client")
            };
            self.clients
                .handle_report(key, is_readable, is_writable, is_gone);
        }
        let mut turn = self.begin_turn();
        self.machine.reads.borrow_mut().clear();
        if !self.output.is_congested() {
            self.clients.read(&mut self.output, &mut turn);
        }
        let reads = self.machine.reads.borrow().clone();
        let is_sorted = reads.is_sorted_by_key(|is_first| !is_first);
        assert!(
            is_sorted,
            "a small request was read after a large one: {reads:?}"
        );
        self.jobs.extend(self.clients.take_jobs());
        self.clients.expire_deadlines(&mut turn);
        self.output.flushed = self
            .output
            .events
            .len()
            .min(self.output.flushed.saturating_add(flushed));
        let flushed = Flushed::up_to(position_after(self.output.flushed));
        self.clients.acknowledge(flushed, turn.now);
        self.clients.write(&mut turn);
        for sender in &mut self.senders {
            let answered = sender.responses();
            if !sender.is_refused && sender.written().contains("HTTP/1.1 408") {
                sender.is_refused = true;
                let is_late = turn.now >= sender.awaited_at[answered] + TIMEOUT;
                let is_whole = sender.sent_at.len() > answered;
                let has_stalled = sender.has_stalled(answered, turn.now);
                assert!(is_late || has_stalled && !is_whole, "refused too early");
            }
            sender.awaited_at.resize(answered + 1, turn.now);
        }
    }

    /// The rules that hold after each action.
    fn check(&self) -> Result<(), TestCaseError> {
        for (client, sender) in self.senders.iter().enumerate() {
            let reads = sender.kernel.borrow().reads_in_turn;
            // A client can be read for the first time, then again, and then its input discarded before
            // the close.
            prop_assert!(
                reads <= 1 + 2 * READS_PER_CLIENT,
                "client {client} was read {reads} times"
            );
            let of_client = |(index, _): &&(usize, usize)| *index == client;
            let events = self.output.events.iter().filter(of_client);
            let numbers: Vec<usize> = events.map(|(_, number)| *number).collect();
            prop_assert_eq!(
                &numbers,
                &(0..numbers.len()).collect::<Vec<_>>(),
                "order of events"
            );
            let flushed = self.output.events[..self.output.flushed].iter();
            let flushed = flushed.filter(of_client).count();
            let responses = sender.responses();
            prop_assert!(responses <= flushed, "client {client}: early response");
        }
        for job in &self.jobs {
            let client = self.clients.clients.get(job.client);
            let waits = client.is_some_and(|client| client.pending == Pending::Making);
            prop_assert!(waits, "nobody waits for an event at the worker");
        }
        Ok(())
    }

    /// Without further input, and with all stalls over, the loop comes to rest once all
    /// deadlines have passed.
    fn come_to_rest(&mut self) -> Result<(), TestCaseError> {
        for sender in &self.senders {
            let mut kernel = sender.kernel.borrow_mut();
            (kernel.room, kernel.writable_edge) = (1 << 20, true);
        }
        for _ in 0..1000 {
            self.finish_job();
            self.turn(usize::MAX, usize::MAX);
            self.check()?;
            let has_report = |sender: &Sender| {
                let kernel = sender.kernel.borrow();
                let has_edge = |(_, interest): (mio::Token, Interest)| {
                    kernel.readable_edge && interest.is_readable()
                        || kernel.writable_edge && interest.is_writable()
                };
                !kernel.is_closed && kernel.registration.is_some_and(has_edge)
            };
            let is_busy = self.clients.has_work() || !self.jobs.is_empty();
            if !is_busy && !self.senders.iter().any(has_report) {
                prop_assert!(
                    !self.clients.queues.may_resume(),
                    "a body waits although there is room"
                );
                // A body that waits for room gets it when the one before it is late.
                match self.clients.next_deadline() {
                    Some(deadline) => {
                        let time = deadline.saturating_duration_since(self.now());
                        self.machine.clock.wait(time);
                    }
                    None => return Ok(()),
                }
            }
        }
        Err(TestCaseError::fail("the loop does not come to rest"))
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 2000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_schedule_keeps_the_rules_of_the_loop(actions in vec(action(), 0..80)) {
        let mut world = World::new();
        for action in actions {
            world.act(action);
            world.check()?;
        }
        world.come_to_rest()?;
        for (client, sender) in world.senders.iter().enumerate() {
            let (due, responses) = (sender.due_responses(), sender.responses());
            prop_assert!(
                sender.has_stalled || sender.is_refused || responses >= due,
                "client {client} has {responses} of {due} responses"
            );
        }
    }
}

/// A client whose body of 150 KiB arrives in many pieces.
fn upload(world: &mut World) {
    world.act(Action::Connect(vec![150 << 10]));
    world.act(Action::Send(world.senders.len() - 1, usize::MAX >> 1, 100));
}

#[test]
fn a_small_request_is_read_before_all_large_ones() {
    let mut world = World::new();
    for _ in 0..20 {
        upload(&mut world);
    }
    for _ in 0..10 {
        world.turn(0, 0);
    }
    world.act(Action::Connect(vec![0]));
    world.act(Action::Send(20, usize::MAX >> 1, 1));
    world.turn(0, usize::MAX);
    assert_eq!(world.senders[20].responses(), 1);
}

/// Whether it comes at once or in two parts: then it waits among those that are large.
#[test]
fn a_request_waits_for_one_of_each_other_user() {
    for first_part in [usize::MAX >> 1, 50] {
        let mut world = World::new();
        world.output.congestion = usize::MAX;
        for _ in 0..20 {
            upload(&mut world);
        }
        for _ in 0..10 {
            world.turn(0, 0);
        }
        for client in 20..60 {
            world.act(Action::Connect(vec![0]));
            world.act(Action::Send(client, usize::MAX >> 1, 1));
        }
        world.connect(Peer { uid: 2, ..PEER }, &[0]);
        world.act(Action::Send(60, first_part, 1));
        for _ in 0..3 {
            world.turn(usize::MAX, usize::MAX);
            world.act(Action::Send(60, usize::MAX >> 1, 1));
        }
        assert_eq!(world.senders[60].responses(), 1, "{first_part} bytes first");
    }
}

#[test]
fn a_large_request_ends_although_small_ones_never_do() {
    let mut world = World::new();
    upload(&mut world);
    let mut turns = 0;
    while world.jobs.is_empty() {
        for _ in 0..20 {
            world.act(Action::Connect(vec![0]));
            world.act(Action::Send(world.senders.len() - 1, usize::MAX >> 1, 1));
        }
        world.turn(0, usize::MAX);
        turns += 1;
    }
    assert!(turns <= 100, "{turns} turns");
}

#[test]
fn a_turn_reads_until_its_time_is_used() {
    let mut world = World::new();
    for client in 0..20 {
        world.act(Action::Connect(vec![0]));
        world.act(Action::Send(client, usize::MAX >> 1, 1));
    }
    world.output.congestion = usize::MAX;
    world.turn(0, usize::MAX);
    let expected = (budget::READ.as_micros() / READ.as_micros()) as usize;
    assert_eq!(world.machine.reads.borrow().len(), expected);
}

/// A request that is longer than others waits for those of the same turn that are small.
#[test]
fn the_events_of_small_bodies_come_before_others() {
    let mut world = World::new();
    world.output.congestion = usize::MAX;
    for (client, size) in [SMALL_BODY, 0, SMALL_BODY, 0].into_iter().enumerate() {
        world.act(Action::Connect(vec![size]));
        world.act(Action::Send(client, usize::MAX >> 1, 1));
    }
    world.turn(0, usize::MAX);
    let clients = world.output.events.iter().map(|(client, _)| *client);
    assert_eq!(clients.collect::<Vec<_>>(), [1, 3, 0, 2]);
}

/// Otherwise the next client gets its key, and the response to an event that was not its own.
#[test]
fn a_client_at_the_worker_stays_although_it_hangs_up() {
    let mut world = World::new();
    // The oldest stalls. The share is full when the next one is at the worker.
    world.act(Action::Connect(vec![150 << 10]));
    world.act(Action::Send(0, 300, 1));
    world.act(Action::Connect(vec![150 << 10]));
    world.act(Action::Send(1, 300, 1));
    world.turn(0, 0);
    world.act(Action::Send(1, usize::MAX >> 1, 1));
    while world.jobs.is_empty() {
        world.turn(usize::MAX, 0);
    }
    world.act(Action::Connect(vec![150 << 10]));
    world.act(Action::Send(2, usize::MAX >> 1, 1));
    world.turn(0, 0);
    world.act(Action::HangUp(1));
    world.turn(usize::MAX, 0);
    world.check().unwrap();
}

/// A world in which this many clients have sent a part of an ordinary body (both in KiB), and one
/// more has sent all of it, which waits for room.
fn full_share(stalled: usize, size: usize, sent: usize) -> World {
    let mut world = World::new();
    world.output.congestion = usize::MAX;
    for client in 0..=stalled {
        world.act(Action::Connect(vec![size << 10]));
        if client < stalled {
            world.act(Action::Send(client, sent << 10, 1));
        }
    }
    world.act(Action::Send(stalled, usize::MAX >> 1, 2));
    for _ in 0..10 {
        world.turn(usize::MAX, usize::MAX);
    }
    assert_eq!(world.senders[stalled].responses(), 0);
    world
}

/// The turns of this many milliseconds. Before each, the first client sends so many bytes.
fn run(world: &mut World, milliseconds: u64, sent: usize) {
    let end = world.now() + Duration::from_millis(milliseconds);
    while world.now() < end {
        world.act(Action::Send(0, sent, 1));
        world.turn(usize::MAX, usize::MAX);
        world.machine.clock.wait(Duration::from_millis(20));
    }
}

#[test]
fn all_bodies_that_stall_give_way_after_the_same_second() {
    let mut world = full_share(50, 30, 20);
    run(&mut world, 2500, 0);
    assert_eq!(world.senders[50].responses(), 1);
    // Only as many as were in the way.
    let refused = world.senders.iter().filter(|sender| sender.is_refused);
    let refused = refused.count();
    assert!((40..50).contains(&refused), "{refused}");
}

#[test]
fn a_body_that_only_drips_gives_way() {
    let mut world = full_share(1, 120, 60);
    run(&mut world, 1500, 1);
    assert_eq!(world.senders[1].responses(), 1);
    assert!(world.senders[0].is_refused);
}

#[test]
fn a_body_that_moves_has_another_second() {
    let mut world = full_share(1, 120, 20);
    world.act(Action::Send(0, 70 << 10, 1));
    run(&mut world, 1500, 0);
    assert!(!world.senders[0].is_refused);
    run(&mut world, 1000, 0);
    assert!(world.senders[0].is_refused);
}

#[test]
fn a_small_body_never_waits_for_room() {
    let mut world = full_share(50, 30, 20);
    world.act(Action::Connect(vec![100]));
    world.act(Action::Send(51, 100, 1));
    world.turn(usize::MAX, usize::MAX);
    world.act(Action::Send(51, usize::MAX >> 1, 1));
    world.turn(usize::MAX, usize::MAX);
    assert_eq!(world.senders[51].responses(), 1);
}

#[test]
fn clients_that_hang_up_together_are_closed_within_the_budget() {
    let mut world = full_share(50, 30, 20);
    for client in 0..50 {
        world.act(Action::Send(client, 1, 1));
        world.act(Action::HangUp(client));
    }
    let is_closed = |sender: &&Sender| sender.kernel.borrow().is_closed;
    let before = world.machine.clock.cpu();
    world.turn(usize::MAX, usize::MAX);
    assert!(world.machine.clock.cpu() - before <= budget::EXPIRE + READ);
    let mut turns = 1;
    while world.clients.has_work() {
        world.turn(usize::MAX, usize::MAX);
        turns += 1;
    }
    assert!((4..20).contains(&turns), "{turns} turns");
    assert_eq!(world.senders.iter().filter(is_closed).count(), 50);
}
