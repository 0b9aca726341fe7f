//! The swarm: random faults in random mixes, for as many seeds as there is time for.
//!
//! A seed makes a [`Plan`]; [`execute`] runs it, with [invariants](crate::invariants) checked all
//! the time: safety under faults first, then everything is healed, and liveness is demanded. A
//! plan that fails is [shrunk](shrink()) and printed with the command that repeats it.

mod execute;
mod generate;
mod plan;
mod report;
mod shrink;

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

pub use execute::{Failure, Stats, execute, execute_in, execute_traced, execute_unless};
pub use generate::generate;
pub use plan::{Action, MAX_NODES, MAX_TRACKERS, Plan, Reach, Settings, Shout, Step, Talk};
pub use report::{FailedSeed, SwarmReport};
pub use shrink::{ShrinkLimits, Shrunk, shrink};

/// Failed seeds after which no more are begun: they have much in common most of the time.
const MAX_FAILURES: usize = 10;

/// What a swarm is to do.
#[derive(Clone, Copy)]
pub struct SwarmOptions<'a> {
    /// Which seeds; one greater than `i64::MAX` cannot be saved as a plan.
    pub seeds: &'a Range<u64>,
    /// Wall time after which no further seed is begun; `None`: all of them are.
    pub time: Option<Duration>,
    /// How many runs go on at a time, each in a thread of its own.
    pub threads: NonZeroUsize,
    /// Ends all as soon as it becomes true; runs that have not ended do not count.
    pub stop: &'a AtomicBool,
    /// How much work shrinking one failing plan may be.
    pub shrink: ShrinkLimits,
    /// Is told of every seed that has been tried, in the order of seeds.
    pub on_seed: &'a (dyn Fn(&SeedOutcome) + Sync),
}

/// What became of one seed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeedOutcome {
    /// The seed.
    pub seed: u64,
    /// What its run was like, or how it failed.
    pub result: Result<Stats, Box<FailedSeed>>,
}

/// Runs the plans of many seeds.
///
/// Each seed's result is the same whatever the number of threads and whatever else is tried; so
/// is the report, unless time or `stop` ends it early.
#[must_use]
pub fn run(options: &SwarmOptions<'_>) -> SwarmReport {
    let end = options.time.map(|time| Instant::now() + time);
    let next = AtomicU64::new(options.seeds.start);
    let collector = Mutex::new(Collector::new(options.seeds.start));
    let worker = || {
        loop {
            let is_over = end.is_some_and(|end| Instant::now() >= end)
                || options.stop.load(Ordering::Relaxed)
                || lock(&collector).report.failures.len() >= MAX_FAILURES;
            if is_over {
                return;
            }
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= options.seeds.end {
                return;
            }
            let Some(result) = try_seed(seed, options) else {
                return;
            };
            let outcome = SeedOutcome { seed, result };
            lock(&collector).add(outcome, options.on_seed);
        }
    };
    thread::scope(|scope| {
        for _ in 1..options.threads.get() {
            scope.spawn(worker);
        }
        worker();
    });
    let collector = collector
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    collector.finish(options.on_seed)
}

/// `None` if it was stopped.
fn try_seed(seed: u64, options: &SwarmOptions<'_>) -> Option<Result<Stats, Box<FailedSeed>>> {
    let plan = generate(seed);
    let failure = match execute_unless(&plan, options.stop)? {
        Ok(stats) => return Some(Ok(stats)),
        Err(failure) => failure,
    };
    let run = |plan: &Plan| execute_unless(plan, options.stop)?.err();
    let shrunk = shrink(plan, failure.clone(), options.shrink, run);
    let failed = FailedSeed {
        seed,
        failure,
        shrunk,
    };
    Some(Err(Box::new(failed)))
}

/// Puts results into the order of seeds.
struct Collector {
    next: u64,
    waiting: BTreeMap<u64, SeedOutcome>,
    report: SwarmReport,
}

impl Collector {
    fn new(first: u64) -> Self {
        Self {
            next: first,
            waiting: BTreeMap::new(),
            report: SwarmReport::default(),
        }
    }

    fn add(&mut self, outcome: SeedOutcome, on_seed: &(dyn Fn(&SeedOutcome) + Sync)) {
        self.waiting.insert(outcome.seed, outcome);
        while let Some(outcome) = self.waiting.remove(&self.next) {
            self.next += 1;
            on_seed(&outcome);
            self.report.add(outcome);
        }
    }

    /// Those after a run that was stopped come last.
    fn finish(mut self, on_seed: &(dyn Fn(&SeedOutcome) + Sync)) -> SwarmReport {
        for outcome in self.waiting.into_values() {
            on_seed(&outcome);
            self.report.add(outcome);
        }
        self.report
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(threads: usize) -> (SwarmReport, Vec<SeedOutcome>) {
        let seen = Mutex::new(Vec::new());
        let report = run(&SwarmOptions {
            seeds: &(1..9),
            time: None,
            threads: NonZeroUsize::new(threads).expect("not none"),
            stop: &AtomicBool::new(false),
            shrink: ShrinkLimits::default(),
            on_seed: &|outcome| lock(&seen).push(outcome.clone()),
        });
        (report, seen.into_inner().expect("nobody panicked"))
    }

    #[test]
    fn results_are_the_same_on_one_and_two_threads_and_in_order() {
        let (report, seen) = outcomes(1);
        assert_eq!(outcomes(2), (report, seen.clone()));
        let seeds: Vec<_> = seen.iter().map(|outcome| outcome.seed).collect();
        assert_eq!(seeds, (1..9).collect::<Vec<_>>());
    }

    #[test]
    fn a_swarm_that_is_stopped_or_has_no_time_ends() {
        for (stopped, time) in [(true, None), (false, Some(Duration::ZERO))] {
            let report = run(&SwarmOptions {
                seeds: &(0..u64::MAX),
                time,
                threads: NonZeroUsize::MIN,
                stop: &AtomicBool::new(stopped),
                shrink: ShrinkLimits::default(),
                on_seed: &|_| {},
            });
            assert_eq!(report.tried(), 0);
        }
    }
}
