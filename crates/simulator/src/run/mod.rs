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
mod roster;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

use crate::results::{Detail, Results};
use crate::scenario::Scenario;
use executor::Executor;
use full::FullWorld;

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

/// Runs a scenario to its end, or until `stop` says so. `progress` is told how far it is, some
/// ten times each virtual second.
///
/// # Errors
/// Why the scenario cannot be simulated, for people.
pub fn run(
    scenario: &Scenario,
    stop: &Stop,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Results, String> {
    match scenario.detail {
        Detail::Full => {
            let mut world = FullWorld::new(scenario);
            Ok(Executor::new(scenario, &mut world, stop, progress).run())
        }
        Detail::Overlay => {
            Err("detail = \"overlay\" cannot be simulated yet; take detail = \"full\"".to_owned())
        }
    }
}
