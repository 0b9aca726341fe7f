//! Mesh and star: who is linked with whom, who is the hub, and what arrives when links are missing.

mod common;

use std::time::Duration;

use circlet_core::identity::NodeId;
use circlet_core::node::{Class, Event};
use circlet_core::{Config, Topology};
use circlet_simulator::{NodeIndex, NodeOptions, SimConfig, Simulation, each_seed};
use common::{becomes_ideal, config, ms, numbered, ok, received, secs, settle};

/// Around the length of the lists, and as many as a mesh has room for.
const SIZES: [usize; 7] = [1, 2, 3, 8, 16, 32, 41];

/// More members than a table names links.
const LARGE: usize = 80;

fn in_topology(topology: Topology, seed: u64) -> SimConfig {
    SimConfig {
        topology,
        ..config(seed)
    }
}

fn mesh(seed: u64) -> SimConfig {
    in_topology(Topology::Mesh, seed)
}

fn star(seed: u64) -> SimConfig {
    in_topology(Topology::Star, seed)
}

/// A ring of `count` nodes with all its links, of which all know.
fn ring_of(count: usize, config: SimConfig) -> (Simulation, Vec<NodeIndex>) {
    let (mut sim, nodes) = common::ring_of(count, config);
    sim.run_for(ms(500));
    (sim, nodes)
}

/// The hub that all running nodes agree on.
fn hub(sim: &Simulation) -> Option<NodeIndex> {
    let hubs: Vec<_> = sim.snapshots().iter().map(|node| node.hub).collect();
    let first = *hubs.first()?;
    let agreed = hubs.iter().all(|hub| *hub == first);
    let hub = first.filter(|_| agreed)?;
    sim.nodes().find(|node| sim.node_id(*node) == hub)
}

/// Waits until the links are there, those that nobody wants any more are gone, and all have been told:
/// a message that meets a link which has just closed takes one link more.
#[track_caller]
fn settle_and_tell(sim: &mut Simulation) -> Duration {
    let took = settle(sim);
    sim.run_for(Config::default().linger + ms(500));
    took
}

/// Waits until everybody has `wanted` for the hub, and gives the time that took.
#[track_caller]
fn becomes_hub(sim: &mut Simulation, wanted: NodeIndex, limit: Duration) -> Duration {
    ok(sim.run_until(|sim| hub(sim) == Some(wanted), limit))
}

/// Everybody sends a reliable message to everybody else; gives the greatest number of links that
/// one of them crossed.
fn all_reach_all(sim: &mut Simulation) -> u16 {
    let since = sim.now();
    let nodes = sim.running();
    let mut sent = 0;
    for from in &nodes {
        for to in nodes.iter().filter(|to| *to != from) {
            let payload = numbered(sim.events_executed() + sent, 8);
            sim.send(*from, *to, payload).expect("it is taken");
            sent += 1;
        }
    }
    let quiet = |sim: &Simulation| sim.check_quiet(since).is_ok();
    if sim.run_until(quiet, secs(40)).is_err() {
        ok(sim.check_quiet(since));
    }
    let hops = nodes.iter().flat_map(|node| {
        sim.events(*node)
            .filter(|(at, _)| *at >= since)
            .filter_map(|(_, event)| match event {
                Event::Message(message) if message.class == Class::Reliable => Some(message.hops),
                _ => None,
            })
    });
    let hops: Vec<_> = hops.collect();
    assert_eq!(hops.len() as u64, sent);
    hops.into_iter().max().unwrap_or(0)
}

/// Everybody broadcasts once, a while apart, so that no later message of the same sender would show
/// that one is missing; everybody else has to get it. Gives how many were passed on.
fn all_hear_all(sim: &mut Simulation) -> u64 {
    let nodes = sim.running();
    let before: Vec<_> = nodes
        .iter()
        .map(|n| received(sim, *n, Class::Broadcast))
        .collect();
    let forwarded = |sim: &Simulation| -> u64 {
        let snapshots = sim.snapshots();
        snapshots.iter().map(|node| node.counters.forwarded).sum()
    };
    let forwarded_before = forwarded(sim);
    for (number, from) in nodes.iter().enumerate() {
        let payload = numbered(sim.events_executed() + number as u64, 100);
        sim.broadcast(*from, payload).expect("it is taken");
        sim.run_for(secs(1));
    }
    for (node, before) in nodes.iter().zip(before) {
        let got = received(sim, *node, Class::Broadcast) - before;
        assert_eq!(got, nodes.len() - 1, "{node}");
    }
    ok(sim.check());
    forwarded(sim) - forwarded_before
}

#[test]
fn a_mesh_reaches_everybody_by_one_link_and_nobody_passes_on() {
    each_seed!(
        "a_mesh_reaches_everybody_by_one_link_and_nobody_passes_on",
        2,
        |seed| {
            for size in SIZES {
                let (mut sim, _) = ring_of(size, mesh(seed));
                let at = sim.now();
                assert!(all_reach_all(&mut sim) <= 1);
                assert_eq!(all_hear_all(&mut sim), 0);
                println!("seed {seed}: mesh of {size} whole at {at}");
            }
        }
    );
}

#[test]
fn a_star_reaches_everybody_by_two_links() {
    each_seed!("a_star_reaches_everybody_by_two_links", 2, |seed| {
        for size in SIZES.into_iter().chain([LARGE]) {
            let (mut sim, nodes) = ring_of(size, star(seed));
            let at = sim.now();
            assert!(all_reach_all(&mut sim) <= 2);
            // The hub, and those next to the origin on the ring; some others when one of theirs
            // comes before the hub's.
            let passed_on = all_hear_all(&mut sim);
            assert!(passed_on <= 10 * size as u64, "{passed_on}");
            let longest = *nodes
                .iter()
                .min_by_key(|node| (sim.session(**node).incarnation, sim.node_id(**node)))
                .unwrap();
            assert_eq!(hub(&sim), Some(longest));
            println!("seed {seed}: star of {size} whole at {at}, {passed_on} passed on");
        }
    });
}

/// Dead after 3.4 s at most (`Config::probes`), known to all a moment later.
#[test]
fn a_dead_hub_has_one_successor_and_the_ring_carries_meanwhile() {
    each_seed!(
        "a_dead_hub_has_one_successor_and_the_ring_carries_meanwhile",
        5,
        |seed| {
            let (mut sim, nodes) = ring_of(16, star(seed));
            let mut order = nodes;
            order.sort_by_key(|node| (sim.session(*node).incarnation, sim.node_id(*node)));
            for pair in order.windows(2).take(3) {
                let [first, next] = *pair else { unreachable!() };
                assert_eq!(hub(&sim), Some(first));
                sim.crash(first);
                let took = becomes_hub(&mut sim, next, secs(5));
                // Before the links to it are there.
                all_reach_all(&mut sim);
                let linked = settle_and_tell(&mut sim);
                println!("seed {seed}: another hub after {took:?}, linked {linked:?} later");
                assert!(all_reach_all(&mut sim) <= 2);
            }
            // Who comes back is a newcomer.
            sim.restart(order[0]);
            becomes_ideal(&mut sim, secs(10));
            settle_and_tell(&mut sim);
            assert_eq!(hub(&sim), Some(order[3]));
        }
    );
}

#[test]
fn a_named_hub_is_the_hub_whenever_it_is_there() {
    each_seed!("a_named_hub_is_the_hub_whenever_it_is_there", 3, |seed| {
        let named = star(seed).identity(7).node_id();
        let mut sim = Simulation::new(star(seed));
        let spawn = |sim: &mut Simulation, hub: Option<NodeId>| {
            let node = sim.spawn_with(NodeOptions {
                hub,
                ..NodeOptions::default()
            });
            sim.run_for(ms(500));
            node
        };
        // The first names it, before it is there; the others are told, or say the same.
        let first = spawn(&mut sim, Some(named));
        for _ in 1..7 {
            spawn(&mut sim, None);
        }
        becomes_ideal(&mut sim, secs(10));
        settle_and_tell(&mut sim);
        assert_eq!(hub(&sim), Some(first));
        let server = spawn(&mut sim, Some(named));
        assert_eq!(sim.node_id(server), named);
        becomes_hub(&mut sim, server, secs(5));
        for _ in 8..12 {
            spawn(&mut sim, None);
        }
        settle_and_tell(&mut sim);
        assert!(all_reach_all(&mut sim) <= 2);

        sim.crash(server);
        becomes_hub(&mut sim, first, secs(5));
        settle_and_tell(&mut sim);
        sim.restart(server);
        let took = becomes_hub(&mut sim, server, secs(10));
        let linked = settle_and_tell(&mut sim);
        println!("seed {seed}: the hub is back after {took:?}, linked {linked:?} later");
        assert!(all_reach_all(&mut sim) <= 2);

        // Another one is refused.
        let other = sim.spawn_with(NodeOptions {
            hub: Some(sim.node_id(first)),
            ..NodeOptions::default()
        });
        sim.run_for(secs(1));
        assert!(!sim.is_running(other));
        let refused = sim.events(other).any(|(_, event)| match event {
            Event::Refused { message } => message.contains(&format!("--hub {named}")),
            _ => false,
        });
        assert!(refused);
    });
}

/// A hub that is named by somebody who comes late: all learn of it.
#[test]
fn a_hub_may_be_named_late() {
    let mut sim = Simulation::new(star(1));
    let nodes = sim.spawn_many(6);
    becomes_ideal(&mut sim, secs(10));
    settle_and_tell(&mut sim);
    let chosen = *nodes.iter().find(|node| hub(&sim) != Some(**node)).unwrap();
    sim.spawn_with(NodeOptions {
        hub: Some(sim.node_id(chosen)),
        ..NodeOptions::default()
    });
    becomes_ideal(&mut sim, secs(10));
    becomes_hub(&mut sim, chosen, secs(5));
    settle_and_tell(&mut sim);
    assert!(all_reach_all(&mut sim) <= 2);
}

#[test]
fn those_who_may_not_be_the_hub_are_not_chosen() {
    let mut sim = Simulation::new(star(2));
    let unwilling = || NodeOptions {
        config: Some(Config {
            may_be_hub: false,
            ..Config::default()
        }),
        ..NodeOptions::default()
    };
    for _ in 0..4 {
        sim.spawn_with(unwilling());
        sim.run_for(secs(1));
    }
    becomes_ideal(&mut sim, secs(10));
    // A ring does without.
    assert!(sim.snapshots().iter().all(|node| node.hub.is_none()));
    all_reach_all(&mut sim);
    let willing = sim.spawn();
    becomes_hub(&mut sim, willing, secs(10));
    settle_and_tell(&mut sim);
    assert!(all_reach_all(&mut sim) <= 2);
}

/// A hub has room for some only; the others are reached by the ring.
#[test]
fn a_full_hub_leaves_the_rest_to_the_ring() {
    let small = Config {
        max_links: 10,
        max_hub_links: 14,
        ..Config::default()
    };
    let (mut sim, _) = ring_of(
        24,
        SimConfig {
            node: small,
            ..star(3)
        },
    );
    sim.run_for(secs(20));
    ok(sim.check());
    all_reach_all(&mut sim);
    all_hear_all(&mut sim);
    let hub = hub(&sim).unwrap();
    assert!(sim.snapshot(hub).unwrap().links.len() >= 7);
}

/// Up to `max_links`, all but 8 of them, there are direct links; the rest is reached by routing.
#[test]
fn a_mesh_of_more_than_a_node_may_have_links_works() {
    each_seed!(
        "a_mesh_of_more_than_a_node_may_have_links_works",
        2,
        |seed| {
            let small = Config {
                max_links: 16,
                ..Config::default()
            };
            let (mut sim, _) = ring_of(
                40,
                SimConfig {
                    node: small,
                    ..mesh(seed)
                },
            );
            sim.run_for(secs(20));
            ok(sim.check());
            let links = |sim: &Simulation| {
                sim.snapshots()
                    .iter()
                    .map(|n| n.links.len())
                    .collect::<Vec<_>>()
            };
            let before = links(&sim);
            assert!(before.iter().sum::<usize>() >= 40 * 7, "{before:?}");
            let hops = all_reach_all(&mut sim);
            assert!(hops <= 6, "{hops} links");
            all_hear_all(&mut sim);
            let signals = |sim: &Simulation| -> u64 {
                sim.snapshots()
                    .iter()
                    .map(|n| n.counters.links_failed)
                    .sum()
            };
            // It is not a storm of offers: at most one try in ten seconds each.
            let failed = signals(&sim);
            sim.run_for(secs(60));
            assert!(
                signals(&sim) - failed <= 40 * 12,
                "{}",
                signals(&sim) - failed
            );
            println!("seed {seed}: {hops} links at most; {before:?}");
        }
    );
}

#[test]
fn pairs_of_a_mesh_that_cannot_connect_get_everything() {
    each_seed!(
        "pairs_of_a_mesh_that_cannot_connect_get_everything",
        40,
        |seed| {
            let mut sim = Simulation::new(mesh(seed));
            let nodes = sim.spawn_many(12);
            for (at, a) in nodes.iter().enumerate() {
                for b in &nodes[at + 1..] {
                    if sim.random().chance(0.2) {
                        sim.block(*a, *b);
                    }
                }
            }
            becomes_ideal(&mut sim, secs(60));
            sim.run_for(secs(30));
            assert!(all_reach_all(&mut sim) <= 3);
            let passed_on = all_hear_all(&mut sim);
            println!("seed {seed}: {passed_on} passed on");
        }
    );
}

/// Everybody broadcasts now and then while links break, members come and hubs die. What was said
/// last of all arrives too, although nothing comes after it.
#[test]
fn broadcasts_arrive_while_links_come_and_go() {
    each_seed!(
        "broadcasts_arrive_while_links_come_and_go",
        10,
        send_broadcasts_while_links_come_and_go
    );
}

/// The first broadcast of a sender that a member heard of had overtaken one that waited for a link
/// to come back. The member had not asked for that one, and went on without it.
#[test]
fn what_the_first_broadcast_of_a_sender_has_overtaken_arrives() {
    send_broadcasts_while_links_come_and_go(60016);
}

fn send_broadcasts_while_links_come_and_go(seed: u64) {
    for config in [mesh(seed), star(seed)] {
        let topology = config.topology;
        let (mut sim, nodes) = ring_of(10, config);
        let since = sim.now();
        let mut number = 0;
        for round in 0..20 {
            match round % 5 {
                0 => drop(sim.spawn()),
                1 => {
                    let victim = hub(&sim).unwrap_or(nodes[round % nodes.len()]);
                    if sim.running().len() > 6 && sim.is_running(victim) {
                        sim.crash(victim);
                    }
                }
                2 => {
                    let (a, b) = (anybody(&mut sim), anybody(&mut sim));
                    if a != b {
                        sim.block(a, b);
                    }
                }
                3 => sim.unblock_all(),
                _ => {}
            }
            for _ in 0..1 + sim.random().below(6) {
                let from = anybody(&mut sim);
                number += 1;
                // Refused by who has not joined.
                let _ = sim.broadcast(from, numbered(number, 50));
                let pause = sim.random().below(30);
                sim.run_for(ms(pause));
            }
            let pause = sim.random().below(8_000);
            sim.run_for(ms(pause));
        }
        sim.unblock_all();
        becomes_ideal(&mut sim, secs(60));
        sim.run_for(secs(40));
        if let Err(violation) = sim.check_quiet(since) {
            panic!("{topology}: {violation}");
        }
        println!("seed {seed}: {topology}: {number} broadcasts");
    }
}

fn anybody(sim: &mut Simulation) -> NodeIndex {
    let running = sim.running();
    *ok(sim.random().pick(&running).ok_or("nobody is running"))
}
