//! Runs a scenario: the same schedule of arrivals, departures, faults, traffic and samples for
//! every engine.
//!
//! The executor decides what happens and when, from the scenario and its seed alone; a [`World`]
//! decides what follows from it. What the executor draws comes from streams of its own, one for
//! each concern, so that one more message shifts no departure. Times between events are drawn
//! with `libm`, whose results are the same on every machine.

mod agenda;
mod executor;
mod full;
mod overlay;
mod roster;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use crate::results::{Detail, Results};
use crate::scale::thread_cpu_time;
use crate::scenario::Scenario;
use executor::Executor;
use full::FullWorld;
use overlay::OverlayWorld;

pub use world::{Send, Stop, World};

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Virtual seconds of the scenario that have passed; 0 while the overlay comes about.
    pub time_s: f64,
    /// Virtual seconds that it has.
    pub duration_s: f64,
    /// Events handled so far.
    pub events: u64,
    /// Members that run.
    pub living: usize,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub struct Run {
    /// What it has shown.
    pub results: Results,
    /// CPU time of the event loop, all threads together.
    pub cpu: Duration,
    /// Time that the event loop took.
    pub wall: Duration,
}

/// Runs a scenario to its end, or until `stop` says so, on so many threads if its detail allows
/// more than one; the results are the same with any number. `progress` is told how far it is, some ten times each virtual second.
///
/// # Errors
/// Why the scenario cannot be simulated, for people.
pub fn run(
    scenario: &Scenario,
    threads: NonZeroUsize,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Run, String> {
    match scenario.detail {
        Detail::Full => {
            let (cpu, wall) = (thread_cpu_time(), Instant::now());
            let mut world = FullWorld::new(scenario);
            let results = Executor::new(scenario, &mut world, stop, progress).run();
            Ok(Run {
                results,
                cpu: thread_cpu_time().saturating_sub(cpu),
                wall: wall.elapsed(),
            })
        }
        Detail::Overlay => {
            let mut world = OverlayWorld::new(scenario, threads)?;
            let results = Executor::new(scenario, &mut world, stop, progress).run();
            let effort = world.effort();
            Ok(Run {
                results,
                cpu: effort.cpu,
                wall: effort.wall,
            })
        }
    }
}

/// The mean of `count` figures whose sum this is; 0 of none.
fn mean(sum: u64, count: usize) -> f64 {
    if count == 0 {
        0.0
    } else {
        sum as f64 / count as f64
    }
}
