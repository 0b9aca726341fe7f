//! Random faults first, and then quiet: safety during the faults, liveness after them.
//!
//! The way of TigerBeetle's VOPR and of openraft's simulated cluster tests.

mod common;

use circlet_core::{Config, Topology};
use circlet_simulator::network::{NetworkConfig, PathTimeouts, TrackerReach};
use circlet_simulator::random::{Concern, Stream};
use circlet_simulator::{Ended, HostState, NodeIndex, SimConfig, Simulation, each_seed};
use common::{TRACKER, config, ms, numbered, secs};

/// How many seeds run by default: about a minute in all.
const SEEDS: u64 = 12;

/// The settings themselves are random.
fn random_config(seed: u64) -> SimConfig {
    let base = config(seed);
    // Another stream than the simulation's own scenario has.
    let random = &mut Stream::fork(seed, Concern::Scenario, 1);
    let network = random_network(random);
    let topology = if random.chance(0.25) {
        Topology::Ring
    } else {
        Topology::SmallWorld
    };
    let mut node = Config::default();
    if random.chance(0.3) {
        node.ring_links = 1 + random.below(4) as usize;
        node.long_links = 1 + random.below(8) as usize;
    }
    SimConfig {
        network,
        topology,
        node,
        encode: random.chance(0.3),
        ..base
    }
}

fn random_network(random: &mut Stream) -> NetworkConfig {
    let low = random.below(30);
    NetworkConfig {
        latency: (ms(low)..=ms(low + random.below(150))).into(),
        loss: [0.0, 0.01, 0.1][random.below(3) as usize],
        bandwidth: [None, Some(1_000_000), Some(12_500_000)][random.below(3) as usize],
        path_timeouts: random.chance(0.5).then_some(PathTimeouts {
            suspect: ms(2000),
            failed: ms(6000),
        }),
        late_events: [0.0, 0.5, 1.0][random.below(3) as usize],
        ..NetworkConfig::default()
    }
}

struct Churn {
    sim: Simulation,
    next_message: u64,
    most: usize,
}

impl Churn {
    /// One random thing happens.
    fn fault(&mut self) {
        let running = self.sim.running();
        let roll = self.sim.random().below(100);
        let Some(node) = self.sim.random().pick(&running).copied() else {
            self.sim.spawn();
            return;
        };
        match roll {
            0..35 if running.len() < self.most => {
                self.sim.spawn();
            }
            35..50 if running.len() > 4 => self.sim.crash(node),
            50..53 if running.len() > 4 => self.sim.crash_noticed(node),
            53..68 if running.len() > 4 => self.sim.leave(node),
            68..78 => self.restart_somebody(node),
            78..82 => self.sim.crash_tracker(TRACKER),
            82..88 => self.sim.start_tracker(TRACKER),
            88..92 => self.partition(&running),
            92..100 => self.sim.heal(),
            _ => {}
        }
    }

    /// One who has ended if there is any, else `node`.
    fn restart_somebody(&mut self, node: NodeIndex) {
        let ended: Vec<_> = self
            .sim
            .nodes()
            .filter(|node| !self.sim.is_running(*node))
            .collect();
        let chosen = self.sim.random().pick(&ended).copied().unwrap_or(node);
        self.sim.restart(chosen);
    }

    fn partition(&mut self, running: &[NodeIndex]) {
        let mut group = running.to_vec();
        self.sim.random().shuffle(&mut group);
        let size = 1 + self.sim.random().below(running.len() as u64 / 2) as usize;
        group.truncate(size);
        let reach = match self.sim.random().below(3) {
            0 => TrackerReach::Nobody,
            1 => TrackerReach::Group(0),
            _ => TrackerReach::Everybody,
        };
        self.sim.partition(&[group], reach);
    }

    /// Nobody ends but by crashing or by leaving when told to.
    fn check_endings(&self) {
        for node in self.sim.nodes() {
            let state = self.sim.state(node);
            let left = HostState::Ended(Ended::Left);
            assert!(
                [HostState::Running, HostState::Crashed, left].contains(&state),
                "{node}: {state:?}"
            );
        }
    }

    /// Some messages of every class, between anybody.
    fn talk(&mut self, count: usize) {
        let running = self.sim.running();
        for _ in 0..count {
            let Some(&from) = self.sim.random().pick(&running) else {
                return;
            };
            let Some(&to) = self.sim.random().pick(&running) else {
                return;
            };
            let payload = numbered(self.next_message, 100);
            self.next_message += 1;
            // May be refused: it leaves, it is full, it talks to itself.
            let _ = match self.sim.random().below(10) {
                0 => self.sim.broadcast(from, payload),
                1 => self.sim.circulate(from, payload),
                2 => self.sim.datagram(from, to, payload),
                _ => self.sim.send(from, to, payload),
            };
        }
    }
}

#[test]
fn after_any_faults_the_ring_heals_and_messages_arrive() {
    each_seed!(
        "after_any_faults_the_ring_heals_and_messages_arrive",
        SEEDS,
        |seed| {
            let mut sim = Simulation::new(random_config(seed));
            let most = [10, 20, 30, 50, 80, 200][sim.random().below(6) as usize];
            let first = 1 + sim.random().below(most as u64 / 2) as usize;
            sim.spawn_many(first);
            let mut churn = Churn {
                sim,
                next_message: 0,
                most,
            };
            for _ in 0..60 {
                for _ in 0..1 + most / 40 {
                    churn.fault();
                }
                churn.talk(5);
                let pause = churn.sim.random().below(1500);
                churn.sim.run_for(ms(pause));
                common::ok(churn.sim.check());
                churn.check_endings();
            }
            let Churn { mut sim, .. } = churn;
            quiet_down(&mut sim);
            let ideal = common::becomes_ideal(&mut sim, secs(60));
            let settled = common::settle(&mut sim);
            // Until what was said to those who died has been given up.
            sim.run_for(secs(33));
            let (since, dropped) = (sim.now(), total_dropped(&sim));
            let mut churn = Churn {
                sim,
                next_message: 1 << 32,
                most,
            };
            for _ in 0..20 {
                churn.talk(20);
                churn.sim.run_for(ms(50));
            }
            let mut sim = churn.sim;
            // A ring of many slow links takes most of the time that a message has.
            let complete = sim.run_until(|sim| sim.check_quiet(since).is_ok(), secs(33));
            common::ok(sim.check_quiet(since));
            common::ok(complete);
            assert_eq!(total_dropped(&sim), dropped, "messages got nowhere");
            let (now, events) = (sim.now(), sim.events_executed());
            let count = sim.running().len();
            println!(
                "seed {seed}: {count} nodes ideal {ideal:?} and settled {settled:?} after the faults; {now}, {events} events"
            );
        }
    );
}

/// Messages that somebody could not pass on.
fn total_dropped(sim: &Simulation) -> u64 {
    let snapshots = sim.snapshots();
    snapshots.iter().map(|node| node.counters.dropped).sum()
}

/// The faults end: nothing is cut, nothing is lost, the tracker runs.
fn quiet_down(sim: &mut Simulation) {
    sim.heal();
    sim.start_tracker(TRACKER);
    let network = NetworkConfig {
        loss: 0.0,
        ..sim.network().config().clone()
    };
    sim.set_network(network);
}
