//! What the tests share.
#![allow(dead_code, reason = "each test target uses a part of it")]

use std::time::Duration;

use circlet_core::node::{Class, CommandId, Event, TrackerId};
use circlet_simulator::{NodeIndex, SimConfig, Simulation};

pub const TRACKER: TrackerId = TrackerId(0);

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// The default settings; `CIRCLET_TRACE` is the number of lines of trace that a failing test
/// shows.
pub fn config(seed: u64) -> SimConfig {
    let lines = std::env::var("CIRCLET_TRACE").ok();
    SimConfig {
        trace_lines: lines.and_then(|lines| lines.parse().ok()).unwrap_or(0),
        ..SimConfig::with_seed(seed)
    }
}

/// A ring of `count` nodes, ideal, with all its links.
pub fn ring_of(count: usize, config: SimConfig) -> (Simulation, Vec<NodeIndex>) {
    let mut sim = Simulation::new(config);
    let nodes = sim.spawn_many(count);
    becomes_ideal(&mut sim, secs(30));
    settle(&mut sim);
    (sim, nodes)
}

/// The value, or a panic that says what is wrong.
#[track_caller]
pub fn ok<T, E: std::fmt::Display>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// Waits for the ideal ring, and gives the time it took.
#[track_caller]
pub fn becomes_ideal(sim: &mut Simulation, limit: Duration) -> Duration {
    ok(sim.run_until(Simulation::ring_is_ideal, limit))
}

/// Waits until the links are right as well.
#[track_caller]
pub fn settle(sim: &mut Simulation) -> Duration {
    match sim.run_until(|sim| sim.check_links().is_ok(), secs(60)) {
        Ok(took) => took,
        Err(timeout) => panic!("{timeout}: {:?}", sim.check_links()),
    }
}

/// The running nodes in ring order.
pub fn ring_order(sim: &Simulation) -> Vec<NodeIndex> {
    let mut order: Vec<_> = sim
        .running()
        .into_iter()
        .filter_map(|node| Some((sim.snapshot(node)?.position, sim.node_id(node), node)))
        .collect();
    order.sort();
    order.into_iter().map(|(.., node)| node).collect()
}

/// How many messages of a class a node has received.
pub fn received(sim: &Simulation, node: NodeIndex, class: Class) -> usize {
    sim.events(node)
        .filter(|(_, event)| matches!(event, Event::Message(message) if message.class == class))
        .count()
}

/// Whether a node's command has its outcome.
pub fn is_settled(sim: &Simulation, node: NodeIndex, id: CommandId) -> bool {
    sim.ledger().outcome(sim.session(node), id).is_some()
}

/// A payload like no other, of at least 8 bytes.
pub fn numbered(number: u64, len: usize) -> Vec<u8> {
    let mut payload = number.to_be_bytes().to_vec();
    payload.resize(len.max(8), 0xa5);
    payload
}
