//! Runs shards side by side, in windows of the least latency.
//!
//! Within such a window nothing that one shard does can reach another, so all of them execute
//! theirs without looking at each other; then they exchange what they have scheduled for each
//! other. The next window begins with the first event that anybody has, so empty time costs
//! nothing. One barrier a window is enough: what is exchanged lies in two sets of mailboxes, of
//! which one is filled while the other is emptied.

use std::hint;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use circlet_core::Timestamp;

use super::kernel::Actor;
use super::shard::{Letter, Shard};

/// Rounds of waiting before a thread lets others have its core: some microseconds, so that more
/// threads than cores do not hold each other up.
const SPINS: u32 = 200;

/// What the threads of a run share. It is kept between runs for its memory.
pub(super) struct Exchange<E> {
    shards: usize,
    /// Two sets, which take turns.
    sides: [Side<E>; 2],
    barrier: Barrier,
    windows: AtomicU64,
}

/// What the shards tell each other at the end of a window.
struct Side<E> {
    /// From each shard to each shard.
    mailboxes: Vec<Mutex<Vec<Letter<E>>>>,
    /// For each shard, a time that none of its events is before, in microseconds.
    none_before: Vec<AtomicU64>,
    /// Somebody has scheduled what it may not.
    fault: AtomicBool,
}

impl<E: Send> Exchange<E> {
    pub(super) fn new(shards: usize) -> Self {
        let side = || Side {
            mailboxes: (0..shards * shards).map(|_| Mutex::default()).collect(),
            none_before: (0..shards).map(|_| AtomicU64::new(0)).collect(),
            fault: AtomicBool::new(false),
        };
        Self {
            shards,
            sides: [side(), side()],
            barrier: Barrier::new(shards),
            windows: AtomicU64::new(0),
        }
    }

    /// Windows executed so far.
    pub(super) fn windows(&self) -> u64 {
        self.windows.load(Ordering::Relaxed)
    }

    /// Executes all events until `end`, inclusive, or until one schedules what it may not.
    pub(super) fn run<A>(&self, shards: &mut [Shard<A>], shared: &A::Shared, end: Timestamp)
    where
        A: Actor<Event = E>,
    {
        let after_end = end + Duration::from_micros(1);
        if let [shard] = shards {
            measured(shard, |shard| shard.run_before(shared, after_end));
            return;
        }
        assert!(!self.barrier.is_broken(), "an earlier run has panicked");
        thread::scope(|scope| {
            let mut shards = shards.iter_mut().enumerate();
            let own = shards.next();
            for (which, shard) in shards {
                scope.spawn(move || self.work(which, shard, shared, after_end));
            }
            if let Some((which, shard)) = own {
                self.work(which, shard, shared, after_end);
            }
        });
    }

    fn work<A>(&self, which: usize, shard: &mut Shard<A>, shared: &A::Shared, end: Timestamp)
    where
        A: Actor<Event = E>,
    {
        let _release_others = BreakOnPanic(&self.barrier);
        measured(shard, |shard| {
            for side in self.sides.iter().cycle() {
                self.tell(side, which, shard);
                if !self.barrier.wait() {
                    return;
                }
                self.collect(side, which, shard);
                let Some(window) = side.next_window(shard.core.layout.least_latency, end) else {
                    return;
                };
                shard.run_before(shared, window);
                if which == 0 {
                    self.windows.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
    }

    /// Hands over what is for others, and says how far this one is.
    fn tell<A: Actor<Event = E>>(&self, side: &Side<E>, which: usize, shard: &mut Shard<A>) {
        let core = &mut shard.core;
        let never = Timestamp::from_micros(u64::MAX);
        let mut first = core.wheel.none_before().unwrap_or(never);
        for (to, outbox) in core.outboxes.iter_mut().enumerate() {
            first = first.min(std::mem::replace(&mut outbox.first, never));
            let mut mailbox = lock(&side.mailboxes[which * self.shards + to]);
            // Its reader has left it empty, and its memory is used again.
            std::mem::swap(&mut *mailbox, &mut outbox.letters);
        }
        side.none_before[which].store(first.as_micros(), Ordering::Relaxed);
        if shard.fault.is_some() {
            side.fault.store(true, Ordering::Relaxed);
        }
    }

    fn collect<A: Actor<Event = E>>(&self, side: &Side<E>, which: usize, shard: &mut Shard<A>) {
        for from in 0..self.shards {
            let mut mailbox = lock(&side.mailboxes[from * self.shards + which]);
            for letter in mailbox.drain(..) {
                shard.core.wheel.push(letter.key, letter.to, letter.event);
            }
        }
    }
}

impl<E> Side<E> {
    /// The end of the next window, `None` if there is nothing left to do. The same for all.
    fn next_window(&self, least_latency: u64, end: Timestamp) -> Option<Timestamp> {
        let times = self.none_before.iter();
        let start = times.map(|time| time.load(Ordering::Relaxed)).min()?;
        if self.fault.load(Ordering::Relaxed) || start >= end.as_micros() {
            return None;
        }
        let window = Timestamp::from_micros(start.saturating_add(least_latency));
        Some(window.min(end))
    }
}

/// A mailbox is whole even if a thread panicked while it held it.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs, and counts the CPU time.
fn measured<A: Actor>(shard: &mut Shard<A>, run: impl FnOnce(&mut Shard<A>)) {
    let before = thread_cpu_time();
    run(shard);
    shard.cpu += thread_cpu_time().saturating_sub(before);
}

/// CPU time of this thread.
#[cfg(unix)]
pub fn thread_cpu_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

/// The next best thing where threads have no clocks.
#[cfg(not(unix))]
pub fn thread_cpu_time() -> Duration {
    static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
    START.get_or_init(std::time::Instant::now).elapsed()
}

/// Where threads wait for each other. It spins first, as windows take microseconds.
struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    round: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    const fn new(threads: usize) -> Self {
        Self {
            threads,
            arrived: AtomicUsize::new(0),
            round: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
        }
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }

    /// Waits until all threads are here; false if one never will be.
    fn wait(&self) -> bool {
        let round = self.round.load(Ordering::Relaxed);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round.wrapping_add(1), Ordering::Release);
        } else {
            let mut spins = 0;
            while self.round.load(Ordering::Acquire) == round {
                if self.is_broken() {
                    return false;
                }
                if spins < SPINS {
                    spins += 1;
                    hint::spin_loop();
                } else {
                    thread::yield_now();
                }
            }
        }
        true
    }
}

/// Lets the other threads go if this one panics.
struct BreakOnPanic<'a>(&'a Barrier);

impl Drop for BreakOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}
