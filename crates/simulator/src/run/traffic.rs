//! When messages are sent, and by whom.

use std::time::Duration;

use circlet_core::Timestamp;

use super::roster::Roster;
use super::world::Send;
use crate::random::{Concern, Stream};
use crate::scenario::{Spacing, Traffic, Who};
use crate::world::NodeIndex;

/// The messages of one `[[traffic]]`, one after another.
///
/// What all members send independently is drawn as one process with a random sender each time,
/// which is the same; what they send regularly, as one after another in turn.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    traffic: &'a Traffic,
    random: Stream,
    /// When the next message is due, in nanoseconds: a million members send more than one each
    /// microsecond. `None`: never again.
    next_ns: Option<u64>,
    sent: u64,
    turn: usize,
    /// The receiver of those that always go to the same.
    receiver: Option<NodeIndex>,
}

impl<'a> Generator<'a> {
    /// The messages of the traffic at this place of the scenario.
    pub(super) fn new(traffic: &'a Traffic, seed: u64, place: usize) -> Self {
        Self {
            traffic,
            random: Stream::fork(seed, Concern::Traffic, place as u64),
            next_ns: Some(nanos(traffic.window.start)),
            sent: 0,
            turn: 0,
            receiver: None,
        }
    }

    /// When the next message is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next_ns
    }

    /// The message that is due, `None` if nobody can send it or get it; and draws the time of the
    /// next one. `origin` is the scenario's time zero.
    pub(super) fn take(&mut self, origin: Timestamp, roster: &Roster) -> Option<Send> {
        let due = self.next_ns?;
        let senders = match self.traffic.from {
            Who::All => roster.living().len().max(1) as u64,
            Who::One | Who::Random => 1,
        };
        let first = self.sent == 0 && self.turn == 0;
        self.turn += 1;
        let gap_ns = nanos(self.traffic.gap) / senders;
        let wait = match self.traffic.spacing {
            Spacing::Regular => gap_ns,
            Spacing::Poisson => exponential(&mut self.random, gap_ns),
        };
        self.next_ns = due
            .checked_add(wait.max(1))
            .filter(|next| *next < nanos(self.traffic.window.end));
        // The first of independent messages is as far from the beginning as the others from
        // each other.
        if first && self.traffic.spacing == Spacing::Poisson {
            return None;
        }
        let from = self.sender(roster)?;
        let to = match self.traffic.to {
            Who::All => None,
            Who::One => Some(self.constant_receiver(from, roster)?),
            Who::Random => Some(self.other(from, roster)?),
        };
        self.sent += 1;
        if Some(self.sent) == self.traffic.count {
            self.next_ns = None;
        }
        Some(Send {
            at: origin + Duration::from_nanos(due),
            kind: self.traffic.kind,
            from,
            to,
            word: self.random.word(),
            bytes: self.traffic.bytes,
        })
    }

    fn sender(&mut self, roster: &Roster) -> Option<NodeIndex> {
        let living = roster.living();
        match (self.traffic.from, self.traffic.spacing) {
            (Who::One, _) => roster.first(),
            (Who::All, Spacing::Regular) => living.get(self.turn % living.len().max(1)).copied(),
            _ => self.random.pick(living).copied(),
        }
    }

    /// The same as last time while it lives.
    fn constant_receiver(&mut self, from: NodeIndex, roster: &Roster) -> Option<NodeIndex> {
        let usable = |member: &NodeIndex| *member != from && roster.contains(*member);
        if self.receiver.is_none_or(|receiver| !usable(&receiver)) {
            self.receiver = self.other(from, roster);
        }
        self.receiver
    }

    /// Anybody else.
    fn other(&mut self, from: NodeIndex, roster: &Roster) -> Option<NodeIndex> {
        let living = roster.living();
        if living.len() < 2 {
            return None;
        }
        let picked = self.random.below(living.len() as u64 - 1) as usize;
        // Whoever stands where the sender does is replaced by the last, which cannot be picked.
        let member = living[picked];
        Some(if member == from {
            living[living.len() - 1]
        } else {
            member
        })
    }
}

/// A time drawn from the exponential distribution with this mean.
pub(super) fn exponential(random: &mut Stream, mean_ns: u64) -> u64 {
    (-libm::log(open_unit(random)) * mean_ns as f64) as u64
}

/// A number within (0, 1].
pub(super) fn open_unit(random: &mut Stream) -> f64 {
    ((random.word() >> 11) + 1) as f64 / (1u64 << 53) as f64
}

pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
