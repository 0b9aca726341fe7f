//! Where nothing happens, nothing changes.

mod common;

use circlet_core::Topology;
use circlet_core::node::Event;
use circlet_simulator::latency::LatencyModel;
use circlet_simulator::network::NetworkConfig;
use circlet_simulator::{SimConfig, Simulation, each_seed};
use common::{config, ms, ok, ring_of, secs};

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

/// An idle member wakes once a second to ping all the links it has offered, and those it has
/// accepted are pinged by the others.
#[test]
fn idle_members_ping_all_their_links_at_a_time() {
    let config = SimConfig {
        trace_lines: 10_000,
        ..config(1)
    };
    let (mut sim, nodes) = ring_of(16, config);
    // Between two tellings of presence.
    sim.run_for(secs(50));
    let links: usize = sim.snapshots().iter().map(|node| node.links.len()).sum();
    let mut lines = sim.trace_lines();
    let first = lines.next().map_or(0.0, seconds);
    let is_wake = |line: &&str| line.contains("timer Heartbeat");
    let is_ping = |line: &&str| line.contains("-> SendFrame") && line.contains(r#"(b"\x01"#);
    let (mut wakes, mut pings, mut last) = (0, 0, first);
    for line in lines {
        wakes += usize::from(is_wake(&line));
        pings += usize::from(is_ping(&line));
        last = seconds(line);
    }
    let time = last - first;
    let per_node = |count: usize| count as f64 / (time * nodes.len() as f64);
    let (wakes, pings) = (per_node(wakes), per_node(pings));
    println!("{wakes:.2} wakes and {pings:.2} pings a second and node, in {time:.1} s");
    let offered = links as f64 / (2 * nodes.len()) as f64;
    assert!(
        (0.8..1.3).contains(&(pings / offered)),
        "{pings} for {offered} links offered"
    );
    assert!(wakes < 4.0, "{wakes} wakes");
}

/// Both ends of a link know what its round trip takes now, whichever of them does the pinging.
#[test]
fn both_ends_measure_the_round_trip() {
    let config = config(1);
    let network = NetworkConfig {
        latency: LatencyModel::constant(ms(70)),
        ..config.network.clone()
    };
    let (mut sim, _) = ring_of(8, config);
    sim.set_network(network);
    sim.run_for(secs(15));
    for node in sim.snapshots() {
        for link in node.links {
            assert!(link.rtt_us >= Some(140_000), "{} with {link:?}", node.node);
        }
    }
}

/// When a line of the trace was written.
fn seconds(line: &str) -> f64 {
    let time = line.split('s').next();
    time.and_then(|time| time.parse().ok()).expect("a time")
}
