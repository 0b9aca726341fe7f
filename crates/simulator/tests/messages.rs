//! Messages arrive as promised while members crash.

mod common;

use circlet_core::node::Class;
use circlet_core::{Config, Topology};
use circlet_simulator::invariants::ledger::Outcome;
use circlet_simulator::network::NetworkConfig;
use circlet_simulator::{SimConfig, each_seed};
use common::{config, ms, numbered, received, ring_of, secs};

fn variants(seed: u64) -> Vec<SimConfig> {
    let lean = SimConfig {
        node: Config {
            ring_links: 1,
            long_links: 1,
            ..Config::default()
        },
        ..config(seed)
    };
    let lossy = SimConfig {
        network: NetworkConfig {
            loss: 0.05,
            ..NetworkConfig::default()
        },
        ..config(seed)
    };
    let ring = SimConfig {
        topology: Topology::Ring,
        encode: true,
        ..config(seed)
    };
    vec![config(seed), lean, lossy, ring]
}

/// 10,000 reliable messages among 16 nodes, one of which crashes in the middle.
#[test]
fn ten_thousand_messages_survive_a_crash() {
    each_seed!("ten_thousand_messages_survive_a_crash", 3, |seed| {
        for config in variants(seed) {
            let (mut sim, nodes) = ring_of(16, config);
            let since = sim.now();
            let victim = *sim.random().pick(&nodes).unwrap();
            for number in 0..10_000 {
                if number == 5000 {
                    sim.crash(victim);
                }
                let from = *sim.random().pick(&nodes).unwrap();
                let to = *sim.random().pick(&nodes).unwrap();
                if from != to && sim.is_running(from) {
                    sim.send(from, to, numbered(number, 200)).unwrap();
                }
                if number % 10 == 0 {
                    sim.run_for(ms(2));
                }
            }
            // Longer than any message is tried.
            sim.run_for(secs(35));
            common::ok(sim.check_quiet(since));
            let delivered = sim
                .ledger()
                .count(Class::Reliable, |o| o == Some(Outcome::Delivered));
            println!("seed {seed}: {delivered} delivered");
        }
    });
}

/// Broadcasts from everybody at once, faster than they arrive.
#[test]
fn broadcasts_reach_everybody_once_and_in_order() {
    each_seed!("broadcasts_reach_everybody_once_and_in_order", 3, |seed| {
        for config in variants(seed) {
            let (mut sim, nodes) = ring_of(16, config);
            let since = sim.now();
            for number in 0..50 {
                for from in &nodes {
                    let number = number * 100 + u64::from(from.0);
                    sim.broadcast(*from, numbered(number, 300)).unwrap();
                }
                sim.run_for(ms(5));
            }
            sim.run_for(secs(10));
            common::ok(sim.check_quiet(since));
            let got: usize = nodes
                .iter()
                .map(|node| received(&sim, *node, Class::Broadcast))
                .sum();
            assert_eq!(got, 50 * 16 * 15);
        }
    });
}

/// What the members who live on broadcast while one crashes reaches all of them.
#[test]
fn broadcasts_survive_a_crash() {
    each_seed!("broadcasts_survive_a_crash", 3, |seed| {
        for config in variants(seed) {
            let (mut sim, nodes) = ring_of(16, config);
            let since = sim.now();
            let victim = *sim.random().pick(&nodes).unwrap();
            for number in 0..100 {
                if number == 50 {
                    sim.crash(victim);
                }
                let from = *sim.random().pick(&nodes).unwrap();
                if sim.is_running(from) {
                    sim.broadcast(from, numbered(number, 300)).unwrap();
                }
                sim.run_for(ms(20));
            }
            sim.run_for(secs(20));
            common::ok(sim.check_quiet(since));
        }
    });
}

/// Nothing promises that a datagram arrives; over a sound network it does.
#[test]
fn datagrams_arrive_at_most_once() {
    let (mut sim, nodes) = ring_of(16, config(1));
    for number in 0..200 {
        let from = *sim.random().pick(&nodes).unwrap();
        let to = *sim.random().pick(&nodes).unwrap();
        if from != to {
            sim.datagram(from, to, numbered(number, 50)).unwrap();
        }
    }
    sim.run_for(secs(1));
    let got: usize = nodes
        .iter()
        .map(|node| received(&sim, *node, Class::Datagram))
        .sum();
    let sent = sim
        .ledger()
        .count(Class::Datagram, |outcome| outcome.is_some());
    assert_eq!(got, sent);
    common::ok(sim.check());
}

/// A queue that is full says so, and what was taken is delivered all the same.
#[test]
fn a_full_queue_refuses_and_loses_nothing() {
    let (mut sim, nodes) = ring_of(4, config(1));
    let since = sim.now();
    let mut refused = 0;
    for number in 0..10_000 {
        if sim
            .send(nodes[0], nodes[1], numbered(number, 1000))
            .is_err()
        {
            refused += 1;
        }
    }
    assert!(refused > 0, "nothing was refused");
    sim.run_for(secs(20));
    common::ok(sim.check_quiet(since));
}

/// Whoever says something and leaves at once has said it.
#[test]
fn what_is_said_before_leaving_arrives() {
    each_seed!("what_is_said_before_leaving_arrives", 10, |seed| {
        for config in variants(seed) {
            for count in [2, 16] {
                let (mut sim, nodes) = ring_of(count, config.clone());
                let since = sim.now();
                let leaver = *sim.random().pick(&nodes).unwrap();
                let before: Vec<_> = nodes
                    .iter()
                    .map(|node| received(&sim, *node, Class::Broadcast))
                    .collect();
                for number in 0..3 {
                    sim.broadcast(leaver, numbered(number, 300)).unwrap();
                }
                for to in &nodes {
                    if *to != leaver {
                        sim.send(leaver, *to, numbered(9, 200)).unwrap();
                    }
                }
                sim.leave(leaver);
                sim.run_for(secs(10));
                assert!(!sim.is_running(leaver));
                for (node, before) in nodes.iter().zip(before) {
                    if *node != leaver {
                        assert_eq!(received(&sim, *node, Class::Broadcast) - before, 3);
                        assert_eq!(received(&sim, *node, Class::Reliable), 1);
                    }
                }
                common::ok(sim.check_quiet(since));
            }
        }
    });
}
