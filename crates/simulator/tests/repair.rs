//! The ring repairs itself, with the tracker and without.
//!
//! Bounds: DESIGN, section 9 (0.2 s after a clean leave, 4.5 s after a kill).

mod common;

use circlet_core::Topology;
use circlet_simulator::{NodeIndex, SimConfig, Simulation, each_seed};
use common::{TRACKER, becomes_ideal, config, ms, ring_of, ring_order, secs, settle};

/// Time for a new link where the one that is needed was not open: two signals through the
/// tracker, each way twice 15 ms, the handshake, and the gathering.
const SET_UP: u64 = 150;

fn topologies(seed: u64) -> [SimConfig; 2] {
    [Topology::SmallWorld, Topology::Ring].map(|topology| SimConfig {
        topology,
        ..config(seed)
    })
}

fn finish(mut sim: Simulation) {
    settle(&mut sim);
    sim.run_for(secs(2));
    let since = sim.now();
    common::ok(sim.check_quiet(since));
}

#[test]
fn a_crash_is_repaired_within_4500_ms() {
    each_seed!("a_crash_is_repaired_within_4500_ms", 10, |seed| {
        for config in topologies(seed) {
            for size in [3, 16, 32] {
                let topology = config.topology;
                let (mut sim, nodes) = ring_of(size, config.clone());
                let victim = *sim.random().pick(&nodes).unwrap();
                sim.crash(victim);
                let took = becomes_ideal(&mut sim, secs(10));
                println!("seed {seed}: {topology} of {size}: one crashed: {took:?}");
                let extra = if topology == Topology::Ring {
                    SET_UP
                } else {
                    0
                };
                assert!(took <= ms(4500 + extra), "{topology} of {size}: {took:?}");
                finish(sim);
            }
        }
    });
}

#[test]
fn a_clean_leave_is_repaired_at_once() {
    each_seed!("a_clean_leave_is_repaired_at_once", 10, |seed| {
        for config in topologies(seed) {
            for size in [2, 9, 24] {
                let topology = config.topology;
                let (mut sim, nodes) = ring_of(size, config.clone());
                let leaver = *sim.random().pick(&nodes).unwrap();
                sim.leave(leaver);
                let took = becomes_ideal(&mut sim, secs(10));
                println!("seed {seed}: {topology} of {size}: one left: {took:?}");
                assert!(took <= ms(200 + SET_UP), "{topology} of {size}: {took:?}");
                assert!(!sim.is_running(leaver));
                finish(sim);
            }
        }
    });
}

fn crash_three_adjacent(sim: &mut Simulation) -> [NodeIndex; 3] {
    let order = ring_order(sim);
    let first = sim.random().below(order.len() as u64) as usize;
    let victims = [0, 1, 2].map(|step| order[(first + step) % order.len()]);
    for victim in victims {
        sim.crash(victim);
    }
    victims
}

#[test]
fn three_adjacent_crashes_are_repaired_within_10_s() {
    each_seed!(
        "three_adjacent_crashes_are_repaired_within_10_s",
        10,
        |seed| {
            for config in topologies(seed) {
                let topology = config.topology;
                let (mut sim, _) = ring_of(24, config);
                crash_three_adjacent(&mut sim);
                let took = becomes_ideal(&mut sim, secs(10));
                println!("seed {seed}: {topology}: three adjacent crashed: {took:?}");
                finish(sim);
            }
        }
    );
}

/// With four ring links each side the fourth is connected already: nothing need be signalled for
/// the ring to close.
#[test]
fn three_adjacent_crashes_are_repaired_without_the_tracker() {
    each_seed!(
        "three_adjacent_crashes_are_repaired_without_the_tracker",
        10,
        |seed| {
            let (mut sim, _) = ring_of(24, config(seed));
            sim.crash_tracker(TRACKER);
            sim.run_for(secs(1));
            crash_three_adjacent(&mut sim);
            let took = becomes_ideal(&mut sim, secs(10));
            println!("seed {seed}: three adjacent crashed, no tracker: {took:?}");
            sim.start_tracker(TRACKER);
            finish(sim);
        }
    );
}

#[test]
fn a_restarted_node_takes_its_place_again() {
    each_seed!("a_restarted_node_takes_its_place_again", 10, |seed| {
        for config in topologies(seed) {
            let (mut sim, nodes) = ring_of(12, config);
            let node = nodes[5];
            let before = sim.session(node);
            // At once: the others still hold links to the session before.
            sim.restart(node);
            assert!(sim.session(node).incarnation > before.incarnation);
            let took = becomes_ideal(&mut sim, secs(15));
            println!("seed {seed}: restarted at once: {took:?}");
            finish(sim);
        }
    });
}
