//! Rings form, of every size, however the members come.

mod common;

use std::time::Duration;

use circlet_core::node::Event;
use circlet_core::{Config, Topology};
use circlet_simulator::network::NetworkConfig;
use circlet_simulator::{SimConfig, Simulation, each_seed};
use common::{becomes_ideal, config, is_settled, ms, ring_of, ring_order, secs, settle};

const SIZES: [usize; 9] = [1, 2, 3, 8, 9, 10, 16, 32, 64];

fn lean(config: SimConfig) -> SimConfig {
    SimConfig {
        node: Config {
            ring_links: 1,
            long_links: 1,
            ..config.node
        },
        ..config
    }
}

/// All kinds of rings that have to form.
fn kinds(seed: u64) -> [(&'static str, SimConfig); 4] {
    let ring = SimConfig {
        topology: Topology::Ring,
        ..config(seed)
    };
    let encoded = SimConfig {
        encode: true,
        ..config(seed)
    };
    [
        ("small-world", config(seed)),
        ("ring", ring),
        ("lean small-world", lean(config(seed))),
        ("encoded small-world", encoded),
    ]
}

fn quiet_check(sim: &mut Simulation) {
    let settled = settle(sim);
    assert!(settled <= secs(30), "links settled after {settled:?}");
    let since = sim.now();
    sim.run_for(secs(2));
    common::ok(sim.check_quiet(since));
}

/// All started at the same instant. Bound: the first attempts go to whoever the tracker knew
/// by then, and collide; a second or two. 5 s leaves room for one answer timeout in a row.
#[test]
fn rings_started_at_once_become_ideal() {
    each_seed!("rings_started_at_once_become_ideal", 2, |seed| {
        for size in SIZES {
            for (kind, config) in kinds(seed) {
                let mut sim = Simulation::new(config);
                sim.spawn_many(size);
                let took = becomes_ideal(&mut sim, secs(15));
                println!("seed {seed}: {kind} ring of {size} at once: ideal after {took:?}");
                quiet_check(&mut sim);
            }
        }
    });
}

/// Each started when the one before has joined: the whole ring is ideal within 1 s of the last.
#[test]
fn rings_started_one_after_another_become_ideal() {
    each_seed!("rings_started_one_after_another_become_ideal", 1, |seed| {
        for size in SIZES {
            for (kind, config) in kinds(seed) {
                let mut sim = Simulation::new(config);
                let mut slowest = Duration::ZERO;
                for _ in 0..size {
                    sim.spawn();
                    slowest = slowest.max(becomes_ideal(&mut sim, secs(10)));
                }
                println!("seed {seed}: {kind} ring of {size} one by one: slowest {slowest:?}");
                quiet_check(&mut sim);
            }
        }
    });
}

#[test]
fn everybody_learns_who_is_here() {
    let (mut sim, _) = ring_of(32, config(1));
    let everybody =
        |sim: &Simulation| circlet_simulator::invariants::presence::check(&sim.snapshots()).is_ok();
    let took = sim.run_until(everybody, secs(5)).unwrap();
    println!("presence of 32 complete {took:?} after the ring");
}

#[test]
fn a_ring_of_one_has_no_neighbours() {
    let (sim, nodes) = ring_of(1, config(1));
    let joined = sim.events(nodes[0]).find_map(|(_, event)| match event {
        Event::Joined { neighbours, .. } => Some(neighbours.clone()),
        _ => None,
    });
    let neighbours = joined.unwrap();
    assert_eq!((neighbours.successor, neighbours.predecessor), (None, None));
}

#[test]
fn without_a_tracker_a_node_is_a_ring_of_one() {
    let mut sim = Simulation::new(SimConfig {
        trackers: 0,
        ..config(1)
    });
    sim.spawn();
    assert!(becomes_ideal(&mut sim, secs(1)) <= ms(10));
}

/// DESIGN, section 7: member by member, once round the ring, and back with who saw it.
#[test]
fn a_circulated_message_visits_each_once_in_ring_order() {
    each_seed!(
        "a_circulated_message_visits_each_once_in_ring_order",
        3,
        |seed| {
            // Whoever is only slow, because SCTP repeats what was lost, is not passed by.
            for (size, loss) in [
                (1, 0.0),
                (2, 0.0),
                (3, 0.0),
                (9, 0.0),
                (32, 0.0),
                (16, 0.03),
            ] {
                let config = SimConfig {
                    network: NetworkConfig {
                        loss,
                        // The least that SCTP takes (RFC 9260, section 16).
                        retransmission_timeout: secs(1),
                        ..NetworkConfig::default()
                    },
                    ..config(seed)
                };
                let (mut sim, _) = ring_of(size, config);
                let order = ring_order(&sim);
                for (at, origin) in order.iter().enumerate().take(3) {
                    let id = sim
                        .circulate(*origin, common::numbered(at as u64, 8))
                        .unwrap();
                    sim.run_until(|sim| is_settled(sim, *origin, id), secs(60))
                        .unwrap();
                    let result = sim.events(*origin).find_map(|(_, event)| match event {
                        Event::Circulated {
                            id: of,
                            seen,
                            count,
                            complete,
                        } if *of == id => Some((seen.clone(), *count, *complete)),
                        _ => None,
                    });
                    let others: Vec<_> = (1..size)
                        .map(|step| sim.node_id(order[(at + step) % size]))
                        .collect();
                    assert_eq!(result, Some((others, size as u64 - 1, true)));
                }
                common::ok(sim.check());
            }
        }
    );
}
