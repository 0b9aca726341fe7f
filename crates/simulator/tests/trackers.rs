//! A tracker may die and come back: no link and no message is lost.

mod common;

use std::collections::BTreeSet;

use circlet_core::node::Event;
use circlet_core::wire::LinkState;
use circlet_simulator::{NodeIndex, SimConfig, Simulation, each_seed};
use common::{TRACKER, becomes_ideal, config, ms, numbered, ring_of, ring_order, secs};

/// Whether the tracker's table has every running node as a member, with its true neighbours.
fn table_is_whole(sim: &Simulation) -> bool {
    let Some(table) = sim.tracker(TRACKER) else {
        return false;
    };
    let order: Vec<_> = ring_order(sim)
        .into_iter()
        .map(|node| sim.node_id(node))
        .collect();
    let len = order.len();
    table.rooms.len() == 1
        && table.rooms[0].members.len() == len
        && table.rooms[0]
            .members
            .iter()
            .enumerate()
            .all(|(at, entry)| {
                entry.node == order[at]
                    && entry.member
                    && entry.successor == Some(order[(at + 1) % len])
                    && entry.predecessor == Some(order[(at + len - 1) % len])
                    && entry.links.iter().any(|link| link.state == LinkState::Open)
            })
}

/// How often a link that was open ended; an attempt that fails is no such loss.
fn links_lost(sim: &Simulation, node: NodeIndex) -> usize {
    let mut open = BTreeSet::new();
    let mut lost = 0;
    for (_, event) in sim.events(node) {
        match event {
            Event::Link { peer, state: None } => lost += usize::from(open.remove(peer)),
            Event::Link {
                peer,
                state: Some(LinkState::Open),
            } => {
                open.insert(*peer);
            }
            _ => {}
        }
    }
    lost
}

#[test]
fn a_restarted_tracker_is_whole_again_within_5_s() {
    each_seed!(
        "a_restarted_tracker_is_whole_again_within_5_s",
        10,
        |seed| {
            for encode in [false, true] {
                let (mut sim, nodes) = ring_of(
                    16,
                    SimConfig {
                        encode,
                        ..config(seed)
                    },
                );
                sim.run_until(table_is_whole, secs(5)).unwrap();
                // Long links may still settle; what counts is what the tracker's end does to them.
                sim.run_for(secs(15));
                let lost_before: usize = nodes.iter().map(|node| links_lost(&sim, *node)).sum();
                let since = sim.now();
                let mut number = 0;
                let mut talk = |sim: &mut Simulation, rounds: u64| {
                    for _ in 0..rounds {
                        for (at, from) in nodes.iter().enumerate() {
                            let to = nodes[(at + 1 + number as usize % 15) % 16];
                            sim.send(*from, to, numbered(number, 100)).unwrap();
                            number += 1;
                        }
                        sim.run_for(ms(100));
                    }
                };
                talk(&mut sim, 5);
                sim.crash_tracker(TRACKER);
                talk(&mut sim, 70);
                sim.start_tracker(TRACKER);
                let took = sim.run_until(table_is_whole, secs(5)).unwrap();
                println!("seed {seed}: table whole again after {took:?}");
                talk(&mut sim, 5);
                sim.run_for(secs(5));
                let lost: usize = nodes.iter().map(|node| links_lost(&sim, *node)).sum();
                assert_eq!(lost, lost_before, "links were dropped");
                common::ok(sim.check_quiet(since));
            }
        }
    );
}

#[test]
fn members_leave_the_table_as_they_leave_the_room() {
    let (mut sim, nodes) = ring_of(8, config(1));
    sim.leave(nodes[0]);
    sim.crash(nodes[1]);
    becomes_ideal(&mut sim, secs(6));
    sim.run_until(table_is_whole, secs(5)).unwrap();
}

/// A node whose tracker is not there keeps trying, and joins when it is.
#[test]
fn nodes_started_before_the_tracker_join_when_it_comes() {
    let mut sim = Simulation::new(config(1));
    sim.crash_tracker(TRACKER);
    sim.spawn_many(8);
    sim.run_for(secs(20));
    sim.start_tracker(TRACKER);
    let took = becomes_ideal(&mut sim, secs(10));
    println!("8 nodes joined {took:?} after the tracker came");
    common::ok(sim.check());
}
