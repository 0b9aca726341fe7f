//! The invariants, while a scenario runs.

use std::collections::BTreeSet;

use circlet_core::node::TrackerId;
use circlet_core::{Config, Timestamp};

use crate::invariants::settled::Settled;
use crate::results::{ViolationRow, Violations};
use crate::simulation::Simulation;
use crate::world::Violation;

/// The loss up to which a ring is demanded to be repaired; with more, neighbours are held to be
/// dead now and then.
const MOST_LOSS: f64 = 0.02;

/// Looks at the invariants, and keeps what it has seen.
#[derive(Debug)]
pub(super) struct Watch {
    trackers: u16,
    settled: Settled,
    /// By when and what, so that what is seen again and again counts once.
    seen: BTreeSet<(Timestamp, &'static str, String)>,
}

impl Watch {
    pub(super) fn new(config: &Config, trackers: u16) -> Self {
        Self {
            trackers,
            settled: Settled::new(config),
            seen: BTreeSet::new(),
        }
    }

    /// Checks what must hold at any time, and what must be true of settled members.
    pub(super) fn check(&mut self, sim: &Simulation) {
        let now = sim.now();
        if !can_repair(sim, self.trackers) {
            self.settled.on_network(now);
        }
        let checked = sim
            .check_view()
            .and_then(|view| self.settled.check(now, &view));
        if let Err(violation) = checked {
            self.keep(violation);
            // Of members of whom it was true once it would be demanded again each time.
            self.settled.on_network(now);
        }
    }

    /// Members have crashed or left.
    pub(super) fn on_fault(&mut self, sim: &Simulation) {
        match sim.check_view() {
            Ok(view) => self.settled.on_fault(sim.now(), &view),
            Err(violation) => self.keep(violation),
        }
    }

    /// The network or a tracker has changed.
    pub(super) fn on_network(&mut self, sim: &Simulation) {
        self.settled.on_network(sim.now());
    }

    /// What was seen, in order of time.
    pub(super) fn violations(&mut self, origin: Timestamp) -> Violations {
        let mut violations = Violations::default();
        for (at, invariant, what) in std::mem::take(&mut self.seen) {
            violations.push(ViolationRow {
                time_s: at.since(origin).as_secs_f64(),
                invariant: invariant.to_owned(),
                what,
            });
        }
        violations
    }

    fn keep(&mut self, violation: Violation) {
        let Violation {
            at,
            invariant,
            what,
        } = violation;
        self.seen.insert((at, invariant, what));
    }
}

/// Whether everybody can signal, and a link that should open does so in time.
fn can_repair(sim: &Simulation, trackers: u16) -> bool {
    let network = sim.network();
    (0..trackers).any(|tracker| network.is_tracker_up(TrackerId(tracker)))
        && sim.nodes().all(|node| network.joins_tracker(node))
        && network.config().loss <= MOST_LOSS
}
