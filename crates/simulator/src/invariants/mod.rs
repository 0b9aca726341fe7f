//! What must hold, each with its source in its file.
//!
//! | when | invariants |
//! | --- | --- |
//! | at any time | [`lists`], [`degree`], [`queues`], [`sent`], [`once`], [`order`], [`outcomes`] |
//! | at any time, of members that have [`settled`] | [`live_successor`], [`principals`], [`one_ring`] |
//! | once faults are over and repaired | [`ideal_ring`], [`symmetry`], [`direct`], [`presence`], [`nothing_lost`] |
//!
//! The checkers look at [snapshots](circlet_core::node::Snapshot), at a [view](view::RingView) of
//! all lists, and at a [ledger](ledger::Ledger) of what the applications sent and got; they know
//! nothing of how the protocol works.

pub mod degree;
pub mod direct;
pub mod ideal_ring;
pub mod ledger;
pub mod lists;
pub mod live_successor;
pub mod nothing_lost;
pub mod once;
pub mod one_ring;
pub mod order;
pub mod outcomes;
pub mod presence;
pub mod principals;
pub mod queues;
pub mod sent;
pub mod settled;
pub mod symmetry;
pub mod view;

#[cfg(test)]
pub(crate) mod tests {
    use circlet_core::Topology;
    use circlet_core::identity::{Incarnation, NodeId};
    use circlet_core::node::Snapshot;
    use circlet_core::ring::Position;
    use circlet_core::wire::{LinkReport, LinkState, NodeKind};

    /// Snapshots of an ideal ring where everybody is linked to its whole lists.
    pub(crate) fn ideal(count: usize, list_len: usize) -> Vec<Snapshot> {
        let id = |at: usize| NodeId::from_bytes([(at % count) as u8; 32]);
        let len = list_len.min(count - 1);
        (0..count)
            .map(|at| {
                let successors: Vec<_> = (1..=len).map(|step| id(at + step)).collect();
                let predecessors: Vec<_> = (1..=len).map(|step| id(at + count - step)).collect();
                let mut peers: Vec<_> = successors.iter().chain(&predecessors).collect();
                peers.sort();
                peers.dedup();
                let link = |peer: &NodeId| LinkReport {
                    peer: *peer,
                    state: LinkState::Open,
                    rtt_us: None,
                };
                Snapshot {
                    node: id(at),
                    position: Position(at as u64),
                    incarnation: Incarnation(1),
                    topology: Topology::SmallWorld,
                    hub: None,
                    member: true,
                    leaving: false,
                    links: peers.into_iter().map(link).collect(),
                    successors,
                    predecessors,
                    long_links: Vec::new(),
                    accepted_long_links: 0,
                    members: (1..count)
                        .map(|step| (id(at + step), String::new(), NodeKind::Native))
                        .collect(),
                    estimate: count,
                    held_bytes: 0,
                    queues: Default::default(),
                    counters: Default::default(),
                }
            })
            .collect()
    }
}
