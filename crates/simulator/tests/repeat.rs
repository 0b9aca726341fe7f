//! Same seed, same run.

mod common;

use circlet_simulator::network::{NetworkConfig, PathTimeouts};
use circlet_simulator::{SimConfig, Simulation};
use common::{TRACKER, ms, numbered, secs};

/// A bit of everything.
fn eventful_run(seed: u64, trace_lines: usize) -> (u64, u64) {
    let mut sim = Simulation::new(SimConfig {
        trace_lines,
        network: NetworkConfig {
            loss: 0.05,
            path_timeouts: Some(PathTimeouts {
                suspect: ms(2000),
                failed: ms(6000),
            }),
            ..NetworkConfig::default()
        },
        ..SimConfig::with_seed(seed)
    });
    let nodes = sim.spawn_many(20);
    sim.run_for(secs(5));
    sim.crash(nodes[1]);
    sim.crash_tracker(TRACKER);
    sim.leave(nodes[2]);
    for number in 0..100 {
        let from = nodes[sim.random().below(20) as usize];
        let to = nodes[sim.random().below(20) as usize];
        // To itself, or from one who has gone: refused, the same way each time.
        let _ = sim.send(from, to, numbered(number, 100));
        let _ = sim.broadcast(from, numbered(number, 100));
        let _ = sim.circulate(from, numbered(number, 100));
        sim.run_for(ms(20));
    }
    sim.start_tracker(TRACKER);
    sim.restart(nodes[1]);
    sim.run_for(secs(10));
    (sim.trace_hash(), sim.events_executed())
}

#[test]
fn one_seed_gives_one_trace() {
    for trace_lines in [0, 1] {
        assert_eq!(eventful_run(1, trace_lines), eventful_run(1, trace_lines));
        assert_ne!(eventful_run(1, trace_lines), eventful_run(2, trace_lines));
    }
}

/// Looking changes nothing: with lines kept the same events happen.
#[test]
fn keeping_lines_changes_no_event() {
    assert_eq!(eventful_run(3, 0).1, eventful_run(3, 10).1);
}
