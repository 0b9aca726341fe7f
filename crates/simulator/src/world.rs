//! What nodes and trackers share, and the events that pass between them.

use std::fmt;

use circlet_core::Timestamp;
use circlet_core::identity::{Incarnation, NodeId};
use circlet_core::node::{LinkId, TrackerId};

use crate::invariants::ledger::Ledger;
use crate::line::{LineEvent, LinePacket};
use crate::links::LinkEvent;
use crate::network::Network;
use crate::queue::{EventQueue, Source};
use crate::trace::Trace;

/// Names a node of a simulation, in the order of spawning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeIndex(pub u32);

impl fmt::Display for NodeIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

/// One run of a node's process: its identity and its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session {
    /// The identity.
    pub node: NodeId,
    /// Which of its sessions.
    pub incarnation: Incarnation,
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node.short(), self.incarnation)
    }
}

/// Something that must not be, seen at a certain time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// When it was seen.
    pub at: Timestamp,
    /// What does not hold: the name of an invariant, the same for all its violations.
    pub invariant: &'static str,
    /// What, for people.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.at, self.invariant, self.what)
    }
}

impl Violation {
    /// A violation of an invariant.
    #[must_use]
    pub const fn new(at: Timestamp, invariant: &'static str, what: String) -> Self {
        Self {
            at,
            invariant,
            what,
        }
    }
}

impl std::error::Error for Violation {}

/// Violations of the driving contract kept; what comes after the first few follows from them.
const MAX_VIOLATIONS: usize = 100;

/// What everybody needs when something happens to them.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) queue: EventQueue<Event>,
    pub(crate) network: Network,
    pub(crate) trace: Trace,
    pub(crate) ledger: Ledger,
    pub(crate) violations: Vec<Violation>,
    /// Somebody misbehaves on purpose.
    pub(crate) misbehaviour: bool,
}

impl World {
    pub(crate) fn violation(&mut self, what: String) {
        self.trace
            .note(self.now, &[u64::MAX], || format!("VIOLATION {what}"));
        if self.violations.len() < MAX_VIOLATIONS {
            let violation = Violation::new(self.now, "driving contract", what);
            self.violations.push(violation);
        }
    }

    pub(crate) fn schedule(&mut self, source: Source, time: Timestamp, event: Event) {
        // An event in the past would be executed now, out of the order of its key.
        self.queue.push(source, time.max(self.now), event);
    }
}

/// Something that happens at one node or tracker.
#[derive(Debug)]
pub(crate) enum Event {
    /// At one process of a node; void if that one has ended.
    Node {
        node: NodeIndex,
        generation: u32,
        what: NodeEvent,
    },
    /// At a tracker's machine.
    Tracker {
        tracker: TrackerId,
        what: TrackerEvent,
    },
}

#[derive(Debug)]
pub(crate) enum NodeEvent {
    Timer,
    WallClock,
    Link { link: LinkId, what: LinkEvent },
    Line { tracker: TrackerId, what: LineEvent },
}

#[derive(Debug)]
pub(crate) enum TrackerEvent {
    Timer {
        generation: u32,
    },
    WallClock {
        generation: u32,
    },
    /// From a node's connection.
    Packet {
        from: LineEnd,
        packet: LinePacket,
    },
    /// To a node's connection, and did not arrive.
    Undelivered {
        to: LineEnd,
        packet: LinePacket,
        attempt: u32,
    },
}

/// A node's end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LinkEnd {
    pub(crate) node: NodeIndex,
    pub(crate) generation: u32,
    pub(crate) link: LinkId,
}

impl fmt::Display for LinkEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.node.0, self.generation, self.link.0)
    }
}

/// A node's end of a connection to a tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LineEnd {
    pub(crate) node: NodeIndex,
    pub(crate) generation: u32,
    /// Which connection of that process.
    pub(crate) connection: u64,
}
