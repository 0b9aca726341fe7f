//! Executes the events of many actors in the order of their keys.
//!
//! An actor touches its own state only, reads what all share (which changes only between runs),
//! and schedules events: for itself at any time from now on, for others no sooner than the least
//! latency from now. So what different actors do within one least latency cannot influence each
//! other, and is executed on several threads at once, in windows of that length (the
//! conservative scheme of Chandy and Misra, 1979, with the windows of Nicol, 1993). As events are
//! ordered by (time, source, sequence of the source), each actor sees the same events in the
//! same order on any number of threads.

use std::fmt;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use circlet_core::Timestamp;

use super::memory::advise_large_pages;
pub use super::memory::prefetch;
use super::shard::{Core, Layout, Shard};
use super::wheel::{Key, SOURCE_BITS, Sequence};
use super::windows::Exchange;
use crate::latency::micros;

/// Actors of a kernel at most: one source is for the world outside.
pub const MAX_ACTORS: u32 = OUTSIDE;

/// Who schedules the events that no actor schedules. Of events at one time, they come last.
const OUTSIDE: u32 = (1 << SOURCE_BITS) - 1;

/// One of those to whom events happen.
pub trait Actor: Send + Sized {
    /// What happens. It is moved about a few times: 24 to 32 bytes are a good size.
    type Event: Send;

    /// What all actors read.
    type Shared: Sync;

    /// Where actors count things. There is one for each thread, so all it says must not depend
    /// on who counts what: sums and histograms of integers, not lists or floats.
    type Tally: Default + Send;

    /// Bytes at the beginning of an actor's memory that are asked for some events before they
    /// are needed. All of it, but at most 1 KiB, unless an actor says otherwise.
    const HOT_BYTES: usize = 1024;

    /// An event happens to the actor.
    fn on_event(&mut self, event: Self::Event, at: &mut Context<'_, Self>);

    /// Called a few events before [`Actor::on_event`] and may [`prefetch`] what the actor has
    /// elsewhere in memory: in step 1 what its own memory points to, which has been asked for
    /// by then, in step 2 what that points to.
    fn prefetch(&self, _event: &Self::Event, _step: u32) {}
}

/// What an actor may do while an event happens to it.
pub struct Context<'a, A: Actor> {
    pub(super) now: Timestamp,
    pub(super) index: u32,
    pub(super) shared: &'a A::Shared,
    pub(super) sequence: &'a mut Sequence,
    pub(super) core: &'a mut Core<A>,
}

impl<'a, A: Actor> Context<'a, A> {
    /// The time.
    #[inline]
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Which actor this is.
    #[inline]
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// What all actors read.
    #[inline]
    #[must_use]
    pub const fn shared(&self) -> &'a A::Shared {
        self.shared
    }

    /// Where to count.
    #[inline]
    #[must_use]
    pub const fn tally(&mut self) -> &mut A::Tally {
        &mut self.core.tally
    }

    /// Lets something happen, to this actor from now on, to others from the least latency on.
    /// Anything else ends the run with a [`BadSchedule`].
    #[inline]
    pub fn schedule(&mut self, to: u32, time: Timestamp, event: A::Event) {
        let key = Key {
            time,
            source: self.index,
            sequence: self.sequence.take(),
        };
        self.core.schedule(self.now, key, to, event);
    }
}

/// An event was scheduled that cannot be: the run has ended with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadSchedule {
    /// When it was scheduled.
    pub now: Timestamp,
    /// By whom.
    pub from: u32,
    /// For whom.
    pub to: u32,
    /// For when.
    pub time: Timestamp,
    /// What is wrong about it.
    pub why: Why,
}

/// What is wrong about an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is sooner than the least latency from now, or before now.
    TooSoon,
    /// There is no such actor.
    NoSuchActor,
}

impl fmt::Display for BadSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::TooSoon => "is sooner than the least latency allows",
            Why::NoSuchActor => "is for an actor that does not exist",
        };
        write!(
            f,
            "at {} actor {} scheduled an event for actor {} at {}, which {why}",
            self.now, self.from, self.to, self.time
        )
    }
}

impl std::error::Error for BadSchedule {}

/// What executing events has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Events executed.
    pub events: u64,
    /// Windows that were executed on several threads at once, zero if there is one thread.
    pub windows: u64,
    /// CPU time of all threads together, waiting for each other included.
    pub cpu: Duration,
    /// Time passed.
    pub wall: Duration,
}

/// Actors, and the events that are going to happen to them.
pub struct Kernel<A: Actor> {
    shards: Vec<Shard<A>>,
    layout: Layout,
    exchange: Exchange<A::Event>,
    now: Timestamp,
    outside: Sequence,
    fault: Option<BadSchedule>,
    wall: Duration,
}

/// Building.
impl<A: Actor> Kernel<A> {
    /// A kernel without actors, at time zero. What an actor does reaches others no sooner than
    /// `least_latency`; if that is zero, one thread does it all.
    #[must_use]
    pub fn new(threads: NonZeroUsize, least_latency: Duration) -> Self {
        let least_latency = micros(least_latency);
        let count = match least_latency {
            0 => 1,
            _ => u32::try_from(threads.get()).unwrap_or(u32::MAX),
        };
        let layout = Layout::new(count, least_latency);
        Self {
            shards: (0..count).map(|which| Shard::new(which, layout)).collect(),
            layout,
            exchange: Exchange::new(count as usize),
            now: Timestamp::ZERO,
            outside: Sequence::FIRST,
            fault: None,
            wall: Duration::ZERO,
        }
    }

    /// Makes room for so many more actors.
    pub fn reserve(&mut self, actors: usize) {
        let count = self.shards.len();
        for shard in &mut self.shards {
            shard.slots.reserve(actors.div_ceil(count));
            advise_large_pages(&mut shard.slots);
        }
    }

    /// Adds an actor; gives its index, which is the number of actors before it.
    ///
    /// # Panics
    /// If there are [`MAX_ACTORS`] already.
    pub fn add(&mut self, actor: A) -> u32 {
        let index = self.layout.actors;
        assert!(index < MAX_ACTORS, "no more than {MAX_ACTORS} actors");
        let (shard, _) = self.layout.place(index);
        self.layout.actors += 1;
        self.shards[shard as usize].add(actor);
        index
    }

    /// Lets something happen to an actor, from now on, on behalf of nobody.
    ///
    /// # Errors
    /// [`BadSchedule`] if that time is over or there is no such actor.
    pub fn schedule_from_outside(
        &mut self,
        to: u32,
        time: Timestamp,
        event: A::Event,
    ) -> Result<(), BadSchedule> {
        let refused = |why| BadSchedule {
            now: self.now,
            from: OUTSIDE,
            to,
            time,
            why,
        };
        if to >= self.layout.actors {
            return Err(refused(Why::NoSuchActor));
        }
        if time < self.now {
            return Err(refused(Why::TooSoon));
        }
        let key = Key {
            time,
            source: OUTSIDE,
            sequence: self.outside.take(),
        };
        let (shard, _) = self.layout.place(to);
        self.shards[shard as usize].core.wheel.push(key, to, event);
        Ok(())
    }
}

/// Running.
impl<A: Actor> Kernel<A> {
    /// Executes all events until `end`, those at `end` included; then it is that time.
    ///
    /// # Errors
    /// [`BadSchedule`], the first one, if an actor schedules what it may not. Later runs give it
    /// again.
    ///
    /// # Panics
    /// If an actor does, or did on one of several threads in an earlier run.
    pub fn run_until(&mut self, shared: &A::Shared, end: Timestamp) -> Result<(), BadSchedule> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let started = Instant::now();
        for shard in &mut self.shards {
            shard.core.layout = self.layout;
        }
        self.exchange.run(&mut self.shards, shared, end);
        self.wall += started.elapsed();
        let faults = self.shards.iter().filter_map(|shard| shard.fault);
        self.fault = faults.min_by_key(|(key, _)| *key).map(|(_, fault)| fault);
        match self.fault {
            Some(fault) => {
                self.now = fault.now;
                Err(fault)
            }
            None => {
                self.now = self.now.max(end);
                Ok(())
            }
        }
    }

    /// Executes events while `condition` holds, until `end` at most. The condition is looked at
    /// before, and then after each `interval`; gives whether it still holds.
    ///
    /// # Errors
    /// As [`Kernel::run_until`].
    ///
    /// # Panics
    /// As [`Kernel::run_until`].
    pub fn run_while(
        &mut self,
        shared: &A::Shared,
        interval: Duration,
        end: Timestamp,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> Result<bool, BadSchedule> {
        let interval = interval.max(Duration::from_micros(1));
        loop {
            if !condition(self) {
                return Ok(false);
            }
            if self.now >= end {
                return Ok(true);
            }
            self.run_until(shared, (self.now + interval).min(end))?;
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// Events that have not happened yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shards.iter().map(|shard| shard.core.wheel.len()).sum()
    }

    /// What it took so far.
    #[must_use]
    pub fn effort(&self) -> Effort {
        Effort {
            events: self.shards.iter().map(|shard| shard.events).sum(),
            windows: self.exchange.windows(),
            cpu: self.shards.iter().map(|shard| shard.cpu).sum(),
            wall: self.wall,
        }
    }

    /// Bytes that the pending events take.
    #[must_use]
    pub fn queue_memory(&self) -> usize {
        let shards = self.shards.iter();
        shards.map(|shard| shard.core.wheel.memory()).sum()
    }
}

/// The actors, between runs.
impl<A: Actor> Kernel<A> {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.layout.actors
    }

    /// True if there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.layout.actors == 0
    }

    /// One of them, `None` if there is no such.
    #[must_use]
    pub fn actor(&self, index: u32) -> Option<&A> {
        let (shard, local) = self.layout.place(index);
        let slot = self.shards[shard as usize].slots.get(local as usize)?;
        Some(&slot.actor)
    }

    /// One of them, to change it.
    pub fn actor_mut(&mut self, index: u32) -> Option<&mut A> {
        let (shard, local) = self.layout.place(index);
        let slot = self.shards[shard as usize].slots.get_mut(local as usize)?;
        Some(&mut slot.actor)
    }

    /// All of them, by index.
    pub fn actors(&self) -> impl Iterator<Item = &A> {
        (0..self.len()).filter_map(|index| self.actor(index))
    }

    /// What was counted, one for each thread; add them up.
    pub fn tallies(&self) -> impl Iterator<Item = &A::Tally> {
        self.shards.iter().map(|shard| &shard.core.tally)
    }

    /// What was counted, to reset it.
    pub fn tallies_mut(&mut self) -> impl Iterator<Item = &mut A::Tally> {
        self.shards.iter_mut().map(|shard| &mut shard.core.tally)
    }
}

#[cfg(test)]
mod tests;
