//! Partitions, sessions that take over, and clocks that are wrong.

mod common;

use circlet_core::node::Event;
use circlet_simulator::network::TrackerReach;
use circlet_simulator::{Ended, HostState, NodeIndex, NodeOptions, Simulation, each_seed};
use common::{becomes_ideal, config, ms, ok, ring_of, ring_order, secs, settle};

fn finish(mut sim: Simulation) {
    settle(&mut sim);
    sim.run_for(secs(2));
    let since = sim.now();
    common::ok(sim.check_quiet(since));
}

/// Halves by place on the ring, and every other one: the latter cuts every list.
fn cuts(sim: &Simulation) -> [Vec<NodeIndex>; 2] {
    let order = ring_order(sim);
    let half = order[..order.len() / 2].to_vec();
    let every_other = order.iter().step_by(2).copied().collect();
    [half, every_other]
}

/// A cut shorter than it takes to find anybody dead leaves no trace.
#[test]
fn a_short_cut_is_survived() {
    each_seed!("a_short_cut_is_survived", 5, |seed| {
        for which in [0, 1] {
            let (mut sim, _) = ring_of(16, config(seed));
            let group = cuts(&sim)[which].clone();
            sim.partition(&[group], TrackerReach::Everybody);
            sim.run_for(ms(1500));
            sim.heal();
            sim.run_for(secs(10));
            assert!(sim.ring_is_ideal(), "{:?}", sim.check_ring());
            finish(sim);
        }
    });
}

/// DESIGN, section 5: merging needs somebody whom both sides can reach, here the tracker.
#[test]
fn a_healed_partition_becomes_one_ring_again() {
    each_seed!("a_healed_partition_becomes_one_ring_again", 5, |seed| {
        for which in [0, 1] {
            for reach in [
                TrackerReach::Everybody,
                TrackerReach::Group(0),
                TrackerReach::Nobody,
            ] {
                let (mut sim, _) = ring_of(16, config(seed));
                let group = cuts(&sim)[which].clone();
                sim.partition(&[group], reach);
                sim.run_for(secs(30));
                sim.heal();
                let took = becomes_ideal(&mut sim, secs(30));
                println!("seed {seed}, cut {which}, tracker {reach:?}: one ring after {took:?}");
                finish(sim);
            }
        }
    });
}

/// A single member cut off finds back.
#[test]
fn a_member_cut_off_finds_back() {
    each_seed!("a_member_cut_off_finds_back", 5, |seed| {
        let (mut sim, nodes) = ring_of(16, config(seed));
        sim.partition(&[vec![nodes[3]]], TrackerReach::Nobody);
        sim.run_for(secs(20));
        sim.heal();
        let took = becomes_ideal(&mut sim, secs(30));
        println!("seed {seed}: back after {took:?}");
        finish(sim);
    });
}

/// DESIGN, section 3: one identity has one live session, and the greater incarnation wins.
#[test]
fn the_later_session_of_an_identity_wins() {
    each_seed!("the_later_session_of_an_identity_wins", 5, |seed| {
        let (mut sim, nodes) = ring_of(12, config(seed));
        let (old, old_session) = (nodes[4], sim.session(nodes[4]));
        let new = sim.spawn_session_of(old);
        assert_eq!(sim.node_id(new), old_session.node);
        let ended = |sim: &Simulation| sim.state(old) == HostState::Ended(Ended::Superseded);
        sim.run_until(ended, secs(5)).unwrap();
        let by = sim.session(new).incarnation;
        assert!(
            sim.events(old)
                .any(|(_, event)| *event == Event::Superseded { by })
        );
        let took = becomes_ideal(&mut sim, secs(15));
        println!("seed {seed}: taken over, ideal after {took:?}");
        assert!(sim.is_running(new));
        finish(sim);
    });
}

/// DESIGN, section 2: 120 s of tolerance; a node further off says so.
#[test]
fn wrong_clocks_are_tolerated_up_to_120_s_and_reported_beyond() {
    each_seed!(
        "wrong_clocks_are_tolerated_up_to_120_s_and_reported_beyond",
        3,
        |seed| {
            let mut sim = Simulation::new(config(seed));
            for clock_skew_ms in [0, 100_000, -100_000, 60_000, -60_000, 0, 110_000, -5_000] {
                // Between two of them more than 120 s may lie: signals hold 30 s longer anyway.
                let clock_skew_ms = clock_skew_ms / 2;
                sim.spawn_with(NodeOptions {
                    clock_skew_ms,
                    ..NodeOptions::default()
                });
            }
            becomes_ideal(&mut sim, secs(15));
            let skewed = |sim: &Simulation, node| {
                sim.events(node).find_map(|(_, event)| match event {
                    Event::ClockSkew { skew_ms } => Some(*skew_ms),
                    _ => None,
                })
            };
            for node in sim.running() {
                assert_eq!(skewed(&sim, node), None);
            }
            for clock_skew_ms in [200_000, -200_000] {
                let node = sim.spawn_with(NodeOptions {
                    clock_skew_ms,
                    ..NodeOptions::default()
                });
                sim.run_until(|sim| skewed(sim, node).is_some(), secs(5))
                    .unwrap();
                let off = skewed(&sim, node).unwrap() + clock_skew_ms;
                assert!(off.abs() < 1000, "off by {off} ms");
                sim.crash_noticed(node);
            }
        }
    );
}

/// DESIGN, section 4: being neighbours means to be able to exchange frames, not to have a link.
#[test]
fn a_pair_that_can_never_connect_is_joined_through_others() {
    each_seed!(
        "a_pair_that_can_never_connect_is_joined_through_others",
        5,
        |seed| {
            // The same members as in a run without the block: who is next to whom is known from it.
            let (sim, _) = ring_of(16, config(seed));
            let order = ring_order(&sim);
            let mut sim = Simulation::new(config(seed));
            let pair = [order[3], order[4]];
            sim.block(pair[0], pair[1]);
            sim.spawn_many(16);
            let took = becomes_ideal(&mut sim, secs(30));
            println!("seed {seed}: ideal after {took:?}");
            sim.run_for(secs(2));
            let since = sim.now();
            sim.send(pair[0], pair[1], "there").unwrap();
            sim.send(pair[1], pair[0], "and back").unwrap();
            sim.run_for(secs(2));
            ok(sim.check_quiet(since));
            sim.crash(order[8]);
            becomes_ideal(&mut sim, secs(10));
        }
    );
}
