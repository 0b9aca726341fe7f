//! What a scenario does, in order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::world::NodeIndex;

/// Something that the scenario does at a certain time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// The overlay is looked at: of what happens at the same time nothing has happened yet, so
    /// that it is the sample after a fault that shows it.
    Sample,
    /// Members that the scenario begins with start.
    Join {
        /// How many have yet to.
        left: u32,
    },
    /// One more of the arrivals with this place in the file, which have sent so many already.
    Arrive { arrivals: usize, before: u32 },
    /// One more of the departures with this place.
    Depart { departures: usize },
    /// The session of a member ends, if it is still the one that it was then.
    SessionEnd { member: NodeIndex, session: u32 },
    /// The fault with this place.
    Fault { fault: usize },
    /// Counting begins.
    StartMeasuring,
    /// The overlay is drawn.
    Draw,
}

/// Entries by time; those of one time in the order of [`Entry`].
#[derive(Debug, Default)]
pub(super) struct Agenda(BinaryHeap<Reverse<(Duration, Entry)>>);

impl Agenda {
    pub(super) fn add(&mut self, at: Duration, entry: Entry) {
        self.0.push(Reverse((at, entry)));
    }

    pub(super) fn next_time(&self) -> Option<Duration> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn pop(&mut self) -> Option<(Duration, Entry)> {
        self.0.pop().map(|Reverse(next)| next)
    }
}
