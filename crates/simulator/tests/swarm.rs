//! Random faults in random mixes: safety under them, liveness after them.
//!
//! `CIRCLET_SEED` tries one seed, `CIRCLET_SEEDS=A..B` a range; `CIRCLET_PLAN=FILE` runs a plan
//! that was saved, and `CIRCLET_TRACE=1000` then shows the last thousand lines of what happened.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::thread;

use circlet_simulator::seeds;
use circlet_simulator::swarm::{self, Plan, ShrinkLimits, SwarmOptions, execute, execute_traced};

/// How many seeds run by default: about a minute on two cores.
const SEEDS: u64 = 500;

#[test]
fn no_seed_of_the_swarm_fails() {
    let seeds = seeds::asked(SEEDS);
    let report = swarm::run(&SwarmOptions {
        seeds: &seeds,
        time: None,
        threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
        stop: &AtomicBool::new(false),
        shrink: ShrinkLimits::default(),
        on_seed: &|_| {},
    });
    println!("seeds {seeds:?}: {report}");
    assert_eq!(report.failures.len(), 0, "{report}");
    assert_eq!(report.passed, seeds.end - seeds.start);
}

/// Plans that once failed, each with what was wrong in its first lines.
#[test]
fn plans_that_once_failed_pass() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/plans");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("it can be read");
        let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        execute(&plan).unwrap_or_else(|failure| panic!("{file:?}: {failure}"));
    }
}

#[test]
fn a_saved_plan_passes() {
    let Ok(file) = std::env::var("CIRCLET_PLAN") else {
        return;
    };
    let lines = std::env::var("CIRCLET_TRACE").ok();
    let lines = lines.and_then(|lines| lines.parse().ok()).unwrap_or(0);
    let text = std::fs::read_to_string(&file).expect("CIRCLET_PLAN is a file");
    let plan = Plan::parse(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    let (result, trace) = execute_traced(&plan, lines);
    for line in trace {
        println!("{line}");
    }
    match result {
        Ok(stats) => println!("{stats:?}"),
        Err(failure) => panic!("{failure}"),
    }
}
