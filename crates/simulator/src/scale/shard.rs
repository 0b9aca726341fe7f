//! The part of the actors that one thread works for.

use std::time::Duration;

use circlet_core::Timestamp;

use super::kernel::{Actor, BadSchedule, Context, Why};
use super::memory::prefetch;
use super::wheel::{Key, Sequence, Wheel};

/// How many events before its own an actor's memory is asked for: enough to hide the latency of
/// main memory behind the events between, few enough to stay in the first cache. Guess.
const AHEAD: usize = 12;
/// The same for what an actor's memory points to, and for what that points to.
const AHEAD_OF_STEPS: [usize; 2] = [6, 3];

/// Who is where: actors are dealt out to the shards in turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) actors: u32,
    pub(super) shards: u32,
    /// Microseconds until one actor can notice what another does.
    pub(super) least_latency: u64,
}

impl Layout {
    pub(super) const fn new(shards: u32, least_latency: u64) -> Self {
        Self {
            actors: 0,
            shards,
            least_latency,
        }
    }

    /// The shard of an actor, and its place there.
    #[inline]
    pub(super) const fn place(self, index: u32) -> (u32, u32) {
        if self.shards == 1 {
            (0, index)
        } else {
            (index % self.shards, index / self.shards)
        }
    }
}

/// Actors and their events.
pub(super) struct Shard<A: Actor> {
    pub(super) slots: Vec<Slot<A>>,
    pub(super) core: Core<A>,
    pub(super) events: u64,
    pub(super) cpu: Duration,
    /// What ended the run, and the event at which it did.
    pub(super) fault: Option<(Key, BadSchedule)>,
}

/// An actor, with the kernel's own state of it, from the beginning of a cache line on.
#[repr(C, align(64))]
pub(super) struct Slot<A> {
    sequence: Sequence,
    pub(super) actor: A,
}

/// All of a shard but its actors.
pub(super) struct Core<A: Actor> {
    which: u32,
    pub(super) layout: Layout,
    pub(super) wheel: Wheel<A::Event>,
    /// Events for each other shard.
    pub(super) outboxes: Vec<Outbox<A::Event>>,
    pub(super) tally: A::Tally,
    /// The first event that could not be scheduled.
    fault: Option<BadSchedule>,
}

/// Events for another shard.
pub(super) struct Outbox<E> {
    pub(super) letters: Vec<Letter<E>>,
    /// When the first of them is due.
    pub(super) first: Timestamp,
}

pub(super) struct Letter<E> {
    pub(super) key: Key,
    pub(super) to: u32,
    pub(super) event: E,
}

impl<A: Actor> Shard<A> {
    pub(super) fn new(which: u32, layout: Layout) -> Self {
        let outbox = |_| Outbox {
            letters: Vec::new(),
            first: Timestamp::from_micros(u64::MAX),
        };
        Self {
            slots: Vec::new(),
            core: Core {
                which,
                layout,
                wheel: Wheel::new(),
                outboxes: (0..layout.shards).map(outbox).collect(),
                tally: A::Tally::default(),
                fault: None,
            },
            events: 0,
            cpu: Duration::ZERO,
            fault: None,
        }
    }

    pub(super) fn add(&mut self, actor: A) {
        self.slots.push(Slot {
            sequence: Sequence::FIRST,
            actor,
        });
    }

    /// Executes the events before `end`, until one of them schedules what it may not.
    pub(super) fn run_before(&mut self, shared: &A::Shared, end: Timestamp) {
        loop {
            for ahead in 0..AHEAD {
                self.fetch(ahead);
            }
            while let Some(due) = self.core.wheel.pop_open(end) {
                self.fetch(AHEAD - 1);
                for (step, ahead) in (1..).zip(AHEAD_OF_STEPS) {
                    self.fetch_step(ahead - 1, step);
                }
                let (_, local) = self.core.layout.place(due.target);
                let slot = &mut self.slots[local as usize];
                let mut context = Context {
                    now: due.key.time,
                    index: due.target,
                    shared,
                    sequence: &mut slot.sequence,
                    core: &mut self.core,
                };
                slot.actor.on_event(due.event, &mut context);
                self.events += 1;
                if let Some(fault) = self.core.fault {
                    self.fault = Some((due.key, fault));
                    return;
                }
            }
            if !self.core.wheel.open_before(end) {
                return;
            }
        }
    }

    /// Asks for the memory of a coming event, and of the actor to whom it happens.
    #[inline]
    fn fetch(&self, ahead: usize) {
        if let Some(coming) = self.core.wheel.upcoming(ahead) {
            if let Some(slot) = self.slot(coming.target) {
                prefetch(slot, 0..A::HOT_BYTES);
            }
            coming.fetch();
        }
    }

    /// The same for what the actor's memory points to.
    #[inline]
    fn fetch_step(&self, ahead: usize, step: u32) {
        if let Some(coming) = self.core.wheel.upcoming(ahead)
            && let Some(slot) = self.slot(coming.target)
            && let Some(event) = coming.event()
        {
            slot.actor.prefetch(event, step);
        }
    }

    #[inline]
    fn slot(&self, target: u32) -> Option<&Slot<A>> {
        let (_, local) = self.core.layout.place(target);
        self.slots.get(local as usize)
    }
}

impl<A: Actor> Core<A> {
    #[inline]
    pub(super) fn schedule(&mut self, now: Timestamp, key: Key, to: u32, event: A::Event) {
        let least_latency = if to == key.source {
            0
        } else {
            self.layout.least_latency
        };
        let earliest = now.as_micros().saturating_add(least_latency);
        if key.time.as_micros() < earliest || to >= self.layout.actors {
            self.refuse(now, key, to);
            return;
        }
        let (shard, _) = self.layout.place(to);
        if shard == self.which {
            self.wheel.push(key, to, event);
        } else {
            let outbox = &mut self.outboxes[shard as usize];
            outbox.first = outbox.first.min(key.time);
            outbox.letters.push(Letter { key, to, event });
        }
    }

    #[cold]
    fn refuse(&mut self, now: Timestamp, key: Key, to: u32) {
        let why = if to < self.layout.actors {
            Why::TooSoon
        } else {
            Why::NoSuchActor
        };
        self.fault.get_or_insert(BadSchedule {
            now,
            from: key.source,
            to,
            time: key.time,
            why,
        });
    }
}
