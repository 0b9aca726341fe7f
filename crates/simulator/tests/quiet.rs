//! Where nothing happens, nothing changes.

mod common;

use circlet_core::Topology;
use circlet_core::node::Event;
use circlet_simulator::{SimConfig, Simulation, each_seed};
use common::{config, ok, ring_of, secs};

/// Links opened or failed so far, by all nodes.
fn attempts(sim: &Simulation) -> u64 {
    sim.snapshots()
        .iter()
        .map(|node| node.counters.links_opened + node.counters.links_failed)
        .sum()
}

/// Changes that the applications were told of so far.
fn changes(sim: &Simulation) -> usize {
    let is_change = |event: &Event| {
        matches!(
            event,
            Event::Link { .. } | Event::PeerJoined { .. } | Event::PeerLeft { .. }
        )
    };
    sim.nodes()
        .flat_map(|node| sim.events(node))
        .filter(|(_, event)| is_change(event))
        .count()
}

/// A minute after a ring has formed there is no more reason to open, close or suspect anything.
#[test]
fn a_ring_left_alone_stays_as_it_is() {
    each_seed!("a_ring_left_alone_stays_as_it_is", 3, |seed| {
        for topology in [Topology::SmallWorld, Topology::Ring] {
            let (mut sim, nodes) = ring_of(
                32,
                SimConfig {
                    topology,
                    ..config(seed)
                },
            );
            sim.run_for(secs(60));
            let before = (attempts(&sim), changes(&sim));
            let events = sim.events_executed();
            sim.run_for(secs(200));
            assert_eq!((attempts(&sim), changes(&sim)), before, "{topology}");
            ok(sim.check_links());
            let rate = (sim.events_executed() - events) / (200 * nodes.len() as u64);
            println!("seed {seed}: {topology}: {rate} events per node and second");
        }
    });
}
