//! What all members read, and what they count.

use std::time::Duration;

use circlet_core::overlay::Action;
use circlet_core::ring::Member;
use circlet_core::{Config, Timestamp, Topology};

use super::event::{TICK_US, ticks};
use super::slot::Slot;
use crate::latency::{LatencyModel, micros};
use crate::network::is_unconnectable;
use crate::results::Distribution;
use crate::scenario::TrafficKind;
use crate::world::NodeIndex;

/// Members that a newcomer is told of on each side.
const CONTACTS: usize = 2;

/// Bytes that a packet has around a frame: UDP, IPv4, DTLS 1.2 with AES-GCM, SCTP with one data
/// chunk (RFC 768, 791, 6347 and 5288, 9260).
const PACKET_OVERHEAD: usize = 8 + 20 + 37 + 28;

/// Bytes of the head of a message that is passed on: hops, two places, session, numbers, and for
/// a broadcast its signature (docs/PROTOCOL.md).
const MESSAGE_HEAD: usize = 96;

/// The most payload of one packet, in bytes (docs/PERFORMANCE.md).
const PACKET_PAYLOAD: usize = 1160;

/// What all members read. It changes only between runs of the kernel.
#[derive(Debug)]
pub struct Shared {
    /// Where all random numbers come from.
    pub seed: u64,
    /// How members behave.
    pub config: Config,
    /// The room's topology.
    pub topology: Topology,
    /// The hub of a star.
    pub hub: u32,
    /// How long frames take.
    pub latency: LatencyModel,
    /// Probability that a frame is lost, and comes after a retransmission.
    pub loss: f64,
    /// That is so much later, twice as much for each further loss.
    pub retransmission_timeout: Duration,
    /// Share of pairs that can never have a link.
    pub unconnectable: f64,
    /// What setting up a link takes beside the messages exchanged.
    pub link_setup: Duration,
    /// Bytes a second that a member sends at most.
    pub uplink: Option<u64>,
    /// Bytes a second that a member receives at most.
    pub downlink: Option<u64>,
    /// Whether bytes are counted for each member.
    pub measure_load: bool,
    /// The side of a partition that each member is on; empty if there is none.
    pub groups: Vec<u16>,
    /// Whether the overlay is kept up: the dead are found out, and rounds of stabilization take
    /// place.
    pub maintained: bool,
    /// Whether newcomers find members by a tracker.
    pub tracker: bool,
    /// The living members in order of their places, as of the last change.
    pub directory: Vec<Slot>,
    /// Those of them that have become members of the ring.
    pub joined: Vec<Slot>,
    /// Who is dead, by number: read only if `probing`; empty if nobody is.
    pub dead: Vec<bool>,
    /// A message that is to go on to a dead member is given to the next best instead, and counts
    /// a timeout: as if each hop were acknowledged.
    pub probing: bool,
    /// What members send by themselves.
    pub flows: Vec<Flow>,
    /// Length of the intervals that messages are counted by, in microseconds.
    pub interval: u64,
}

/// Something that members send again and again.
#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// What.
    pub kind: FlowKind,
    /// What the scenario calls it.
    pub class: TrafficKind,
    /// Whether each member sends it by itself, true of one flow at most; else the scenario says
    /// who and when.
    pub by_all: bool,
    /// The time between two of one sender.
    pub gap: Duration,
    /// Until when.
    pub end: Timestamp,
    /// Bytes of each message.
    pub bytes: usize,
    /// Whether the answers of lookups are held against the directory.
    pub checked: bool,
}

/// What a flow consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// Lookups of random positions, with their answers.
    Lookup,
    /// Messages to one member.
    Unicast,
    /// Messages to everybody.
    Broadcast,
}

impl Shared {
    /// The flow that each member sends by itself, if there is one, and its number.
    #[inline]
    #[must_use]
    pub fn flow_of_all(&self) -> Option<(u8, &Flow)> {
        (0..).zip(&self.flows).find(|(_, flow)| flow.by_all)
    }

    /// The place of a member.
    #[inline]
    #[must_use]
    pub fn slot(&self, index: u32) -> Slot {
        Slot::new(self.seed, index)
    }

    /// Whether frames between two members get lost for the time being.
    #[inline]
    #[must_use]
    pub fn separates(&self, a: u32, b: u32) -> bool {
        !self.groups.is_empty() && self.group(a) != self.group(b)
    }

    fn group(&self, index: u32) -> u16 {
        self.groups.get(index as usize).copied().unwrap_or(0)
    }

    /// Whether two members can never have a link.
    #[must_use]
    pub fn forbids(&self, a: u32, b: u32) -> bool {
        is_unconnectable(self.seed, self.unconnectable, NodeIndex(a), NodeIndex(b))
    }

    /// Whether a member is dead, as far as those who probe can tell.
    #[inline]
    #[must_use]
    pub fn is_dead(&self, index: u32) -> bool {
        self.dead.get(index as usize).is_some_and(|dead| *dead)
    }

    /// Whom a tracker tells a newcomer of: the living nearest to its place, some on each side.
    #[must_use]
    pub fn contacts(&self, slot: Slot) -> Vec<Slot> {
        let all = &self.directory;
        let start = all.partition_point(|member| *member < slot);
        let (before, after) = all.split_at(start);
        let clockwise = after.iter().chain(before);
        let counter_clockwise = before.iter().rev().chain(after.iter().rev());
        let others = |member: &&Slot| **member != slot;
        let mut contacts: Vec<_> = clockwise.filter(others).take(CONTACTS).copied().collect();
        contacts.extend(counter_clockwise.filter(others).take(CONTACTS));
        contacts
    }

    /// The living member nearest to a position on either side, `None` if nobody lives.
    #[must_use]
    pub fn responsible(&self, target: u64) -> Option<Slot> {
        let all = &self.joined;
        let count = all.len();
        let position = circlet_core::ring::Position(target);
        let start = all.partition_point(|member| member.position() < position);
        let around = [
            start % count.max(1),
            (start + count.max(1) - 1) % count.max(1),
        ];
        around
            .into_iter()
            .filter_map(|at| all.get(at).copied())
            .min_by_key(|member| (member.position().distance(position), *member))
    }

    /// The last living member before a position or at it, `None` if nobody lives.
    #[must_use]
    pub fn last_before(&self, target: u64) -> Option<Slot> {
        let position = circlet_core::ring::Position(target);
        let end = self
            .joined
            .partition_point(|member| member.position() <= position);
        let before = end.checked_sub(1).map(|at| self.joined[at]);
        before.or(self.joined.last().copied())
    }

    /// Microseconds that a frame takes which is sent again until it arrives, for a source of random
    /// words.
    #[inline]
    pub fn delay(&self, from: u32, to: u32, mut word: impl FnMut() -> u64) -> u64 {
        let mut delay = self.latency.draw_micros(from, to, word());
        if self.loss > 0.0 {
            let threshold = (self.loss * 2f64.powi(64)) as u64;
            let mut wait = micros(self.retransmission_timeout);
            let mut attempt = 0;
            while attempt < 16 && word() < threshold {
                delay += wait;
                wait *= if attempt < 5 { 2 } else { 1 };
                attempt += 1;
            }
        }
        delay
    }

    /// Bytes on the wire of a message with so much payload.
    #[must_use]
    pub fn message_bytes(payload: usize) -> usize {
        let frame = payload + MESSAGE_HEAD;
        frame + frame.div_ceil(PACKET_PAYLOAD).max(1) * PACKET_OVERHEAD
    }

    /// Bytes on the wire of a control frame that names so many members.
    #[must_use]
    pub fn control_bytes(members: usize) -> usize {
        16 + 32 * members + PACKET_OVERHEAD
    }
}

/// Counts of one thread; sums of whole numbers, so it does not matter who counts what.
#[derive(Debug, Default)]
pub struct Tally {
    /// By flow.
    pub flows: Vec<FlowTally>,
    /// Room for what an overlay wants done, kept to save allocations.
    pub(super) scratch: Vec<Action<Slot>>,
}

/// Counts of a flow.
#[derive(Clone, Debug, Default)]
pub struct FlowTally {
    /// Messages sent.
    pub sent: u64,
    /// Receptions that should follow.
    pub expected: u64,
    /// Receptions, repeats left out; for lookups, answers that came.
    pub delivered: u64,
    /// Messages that got no further: no way, hop limit, a dead receiver; wrong answers.
    pub lost: u64,
    /// Receptions of what was sent before something received earlier.
    pub out_of_order: u64,
    /// Links crossed; of a lookup until whoever is responsible.
    pub hops: Distribution,
    /// Microseconds to the reception; of a lookup to the answer.
    pub latency_us: Distribution,
    /// Dead members tried on the way.
    pub timeouts: Distribution,
    /// Receptions expected and made, by the interval that the message was sent in.
    pub intervals: Vec<(u64, u64)>,
}

impl Tally {
    /// The counts of a flow.
    pub fn flow(&mut self, flow: u8) -> &mut FlowTally {
        let index = usize::from(flow);
        if self.flows.len() <= index {
            self.flows.resize_with(index + 1, FlowTally::default);
        }
        &mut self.flows[index]
    }

    /// Adds what another thread has counted.
    pub fn merge(&mut self, other: &Self) {
        for (index, theirs) in other.flows.iter().enumerate() {
            self.flow(u8::try_from(index).unwrap_or(u8::MAX))
                .merge(theirs);
        }
    }
}

impl FlowTally {
    /// Counts a message that begins now, to so many receivers.
    pub fn begin(&mut self, now: Timestamp, interval: u64, receivers: u64) {
        self.sent += 1;
        self.expected += receivers;
        self.interval(ticks(now), interval).0 += receivers;
    }

    /// Counts a reception of a message that began at `started`, in units of a tick.
    pub fn receive(&mut self, started: u32, interval: u64) {
        self.delivered += 1;
        self.interval(started, interval).1 += 1;
    }

    /// Forgets all but what belongs to intervals.
    pub fn start_over(&mut self) {
        *self = Self {
            intervals: std::mem::take(&mut self.intervals),
            ..Self::default()
        };
    }

    fn interval(&mut self, started: u32, interval: u64) -> &mut (u64, u64) {
        let index = (u64::from(started) * TICK_US / interval.max(1)) as usize;
        if self.intervals.len() <= index {
            self.intervals.resize(index + 1, (0, 0));
        }
        &mut self.intervals[index]
    }

    fn merge(&mut self, other: &Self) {
        self.sent += other.sent;
        self.expected += other.expected;
        self.delivered += other.delivered;
        self.lost += other.lost;
        self.out_of_order += other.out_of_order;
        self.hops.merge(&other.hops);
        self.latency_us.merge(&other.latency_us);
        self.timeouts.merge(&other.timeouts);
        if self.intervals.len() < other.intervals.len() {
            self.intervals.resize(other.intervals.len(), (0, 0));
        }
        for (mine, theirs) in self.intervals.iter_mut().zip(&other.intervals) {
            mine.0 += theirs.0;
            mine.1 += theirs.1;
        }
    }
}
