//! The budget of a turn: when each step of the loop ends at the latest.
//!
//! Clients and readers decide what they send, and so what it costs. A count of reads, bytes or
//! connections is no bound for that. So the budget is CPU time. A step serves one item after the
//! other (a client, an event, a connection), and ends when the turn has used so much time. The rest
//! stays queued for the next turn. Each step serves at least one item, so everybody is served in the
//! end.
//!
//! A step is too long by one item at most, and each item is bounded: a client is read
//! [`READS_PER_CLIENT`] times, and a large body ([`LARGE_BODY`]) goes to the
//! [`worker`](super::worker). The longest item is a body just below that. The most expensive ones
//! take 60 ns of CPU a byte (control bytes in YAML), so it takes 8 ms, and others 3 ms.
//!
//! Until the shutdown, one thing has no budget: before an event of a small body evicts what a prompt
//! sink has not got, the loop writes whatever these sinks have room for. That can only be with a small
//! `--buffer`, because prompt sinks are not further behind than [`CONGESTION`]. Large events wait.
//!
//! Stop 13 of EDU_NOTES.md.

use std::time::{Duration, Instant};

use log::{debug, log_enabled};
use rustix::time::{ClockId, clock_gettime};

/// Clients are accepted until the turn has used this much CPU time. The other times count from the
/// beginning of the turn too, so what a step does not use is left for the next one.
pub const ACCEPT: Duration = Duration::from_millis(5);
/// Clients are read that have not been read yet in their request.
pub const READ: Duration = Duration::from_millis(9);
/// Until then, the ancestors of peers are looked for.
const WALK: Duration = Duration::from_millis(8);
/// The other clients are read for so long. What the steps before have left is not used: the next
/// hook waits for the end of this.
pub const READ_AGAIN: Duration = Duration::from_millis(2);
/// Events of the worker are published.
pub const PUBLISH: Duration = Duration::from_millis(12);
/// Clients whose deadline has passed are handled.
pub const EXPIRE: Duration = Duration::from_millis(13);
/// What readers send is discarded.
pub const DISCARD: Duration = Duration::from_millis(14);
/// Readers are accepted.
pub const ACCEPT_READERS: Duration = Duration::from_millis(15);
/// Events are written to the sinks for which responses wait.
pub const WRITE: Duration = Duration::from_millis(21);
/// Responses are written to clients that were read once in their request.
pub const RESPOND: Duration = Duration::from_millis(22);
/// Responses are written to the other clients.
pub const RESPOND_AGAIN: Duration = Duration::from_millis(23);
/// Events are written to slow readers for so long: nobody else waits for these.
pub const CATCH_UP: Duration = Duration::from_millis(3);
/// A step that has a length of its own ends by then too: steps before can be too long by an item.
const LAST: Duration = Duration::from_millis(23);
/// A turn that is shorter than this does not ask for its CPU time, which takes half a microsecond.
const SHORT: Duration = Duration::from_millis(1);
/// Reads from one client at a time, after the first one of its request. More would let one large
/// upload hold up all others.
pub const READS_PER_CLIENT: usize = 4;
/// Writes to one client in one turn: the head of a response, and a part of a list.
pub const WRITES_PER_CLIENT: usize = 2;
/// A body of more bytes waits until all small ones are read.
pub const SMALL_BODY: usize = 2 << 10;
/// A body of at least this many bytes is made into an event by the worker.
pub const LARGE_BODY: usize = 128 << 10;
/// Bytes written to one sink in one turn. A file on a slow disk takes 3 ms of CPU for a MiB, and
/// longer than that until it has them.
pub const BYTES_PER_SINK: usize = 1 << 20;
/// Clients are not read while a sink that is not slow is this many bytes behind: the log would
/// grow faster than one turn's flush writes it.
pub const CONGESTION: usize = 1 << 20;

/// The clocks of a turn. In a test they are simulated.
pub trait Clock {
    fn now(&self) -> Instant;
    /// The CPU time of this thread.
    fn cpu(&self) -> Duration;
}

/// The system's clocks.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn cpu(&self) -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
}

/// One turn of the loop: when it began, and how much CPU time it has left.
pub struct Turn {
    /// When the turn began. All that it does counts as done then.
    pub now: Instant,
    clock: Box<dyn Clock>,
    step_ends: Duration,
    /// Whether the step has served an item.
    has_served: bool,
    /// The first look at the clocks: the time since the turn began, and the CPU time.
    first_look: Option<(Duration, Duration)>,
    /// Time since the turn began in which this thread is known not to have run.
    waited: Duration,
}

impl Turn {
    /// A turn that begins now.
    pub fn begin(clock: impl Clock + 'static) -> Self {
        Turn {
            now: clock.now(),
            clock: Box::new(clock),
            step_ends: Duration::ZERO,
            has_served: false,
            first_look: None,
            waited: Duration::ZERO,
        }
    }

    /// The next step begins. It ends when the turn has used this much CPU time.
    pub fn begin_step(&mut self, ends: Duration) {
        self.step_ends = ends;
        self.has_served = false;
    }

    /// The next step begins. It ends when it has used this much CPU time, or at [`LAST`].
    pub fn begin_step_of(&mut self, length: Duration) {
        let used = self.used();
        self.begin_step(LAST.min(used + length));
    }

    /// Whether the step has time for another item. Call it before each. The first item is always
    /// served.
    pub fn has_time(&mut self) -> bool {
        !std::mem::replace(&mut self.has_served, true) || self.has_used_less_than(self.step_ends)
    }

    /// Whether there is time for a walk to a peer's ancestors. Walks can wait, so reading goes on
    /// without them.
    pub fn has_time_for_walk(&mut self) -> bool {
        self.has_used_less_than(WALK)
    }

    /// Asks for the CPU time, which is a system call, only if so much time has passed.
    fn has_used_less_than(&mut self, limit: Duration) -> bool {
        let now = self.clock.now();
        if now < self.now + SHORT {
            return true;
        }
        let elapsed = now - self.now;
        let look = || (elapsed, self.clock.cpu());
        self.first_look.get_or_insert_with(look);
        if elapsed < limit + self.waited {
            return true;
        }
        let used = self.used();
        self.waited = elapsed.saturating_sub(used);
        used < limit
    }

    /// How much CPU time the turn has used.
    fn used(&mut self) -> Duration {
        let look = || (self.clock.now() - self.now, self.clock.cpu());
        let (elapsed_before, cpu_before) = *self.first_look.get_or_insert_with(look);
        elapsed_before + self.clock.cpu().saturating_sub(cpu_before)
    }
}

/// Measures the longest turn in CPU time, if `RUST_LOG=turns=debug` asks for it: the bench
/// does. Otherwise it costs a comparison.
#[derive(Debug, Default)]
pub struct LongestTurn {
    began: Option<Duration>,
    longest: Duration,
}

impl LongestTurn {
    /// A turn begins.
    pub fn begin(&mut self) {
        let is_measured = log_enabled!(target: "turns", log::Level::Debug);
        self.began = is_measured.then(|| SystemClock.cpu());
    }

    /// The turn ends. A new longest turn is reported.
    pub fn end(&mut self) {
        let elapsed = self.began.take().map(|began| SystemClock.cpu() - began);
        if let Some(elapsed) = elapsed.filter(|elapsed| *elapsed > self.longest) {
            self.longest = elapsed;
            debug!(target: "turns", "longest so far: {} us of CPU", elapsed.as_micros());
        }
    }
}

/// Clocks that a test moves on.
#[cfg(test)]
#[derive(Clone)]
pub struct SimulatedClock(std::rc::Rc<std::cell::Cell<(Instant, Duration)>>);

#[cfg(test)]
impl SimulatedClock {
    pub fn at(now: Instant) -> Self {
        SimulatedClock(std::cell::Cell::new((now, Duration::ZERO)).into())
    }

    /// This thread runs.
    pub fn run(&self, time: Duration) {
        self.0.set((self.now() + time, self.cpu() + time));
    }

    /// Time passes in which this thread does not run.
    pub fn wait(&self, time: Duration) {
        self.0.set((self.now() + time, self.cpu()));
    }
}

#[cfg(test)]
impl Clock for SimulatedClock {
    fn now(&self) -> Instant {
        self.0.get().0
    }

    fn cpu(&self) -> Duration {
        self.0.get().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ITEM: Duration = Duration::from_millis(1);

    /// How many items a step serves that ends then. Before each, the thread waits so long.
    fn serve(turn: &mut Turn, clock: &SimulatedClock, ends: u64, wait: u64) -> u64 {
        turn.begin_step(ITEM * ends as u32);
        let mut items = 0;
        while turn.has_time() {
            clock.wait(ITEM * wait as u32);
            clock.run(ITEM);
            items += 1;
        }
        items
    }

    #[test]
    fn a_step_ends_when_its_time_is_used_and_serves_one_item_at_least() {
        let clock = SimulatedClock::at(Instant::now());
        let mut turn = Turn::begin(clock.clone());
        // The second has what the first does not use, and the third one nothing.
        turn.begin_step(ITEM * 5);
        assert!(turn.has_time());
        clock.run(ITEM);
        assert_eq!(serve(&mut turn, &clock, 9, 0), 8);
        assert_eq!(serve(&mut turn, &clock, 9, 0), 1);
        assert_eq!(serve(&mut turn, &clock, 12, 0), 2);
        // One with a length of its own ends early, if the turn has used so much.
        for (used, expected) in [(13, 3), (21, 2), (24, 1)] {
            clock.run(ITEM * used - turn.used());
            turn.begin_step_of(ITEM * 3);
            let items = std::iter::from_fn(|| turn.has_time().then(|| clock.run(ITEM)));
            assert_eq!(items.count(), expected);
        }
    }

    #[test]
    fn time_in_which_other_programs_run_is_not_used() {
        let clock = SimulatedClock::at(Instant::now());
        let mut turn = Turn::begin(clock.clone());
        // That the thread has waited is known from the first look on.
        assert_eq!(serve(&mut turn, &clock, 9, 3), 6);
        assert_eq!(serve(&mut turn, &clock, 19, 30), 10);
    }
}
