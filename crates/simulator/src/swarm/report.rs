//! What a swarm found out.

use std::fmt;
use std::time::Duration;

use super::SeedOutcome;
use super::execute::{Failure, Stats};
use super::shrink::Shrunk;

/// What became of all seeds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SwarmReport {
    /// Seeds whose runs passed.
    pub passed: u64,
    /// Seeds whose runs failed, in ascending order.
    pub failures: Vec<FailedSeed>,
    /// Events executed by those that passed.
    pub events: u64,
    /// Virtual time of those that passed.
    pub virtual_time: Duration,
    /// Messages sent by those that passed.
    pub messages: u64,
    /// Looks at the invariants of those that passed.
    pub checks: u64,
    /// Those of them at which members had [settled](crate::invariants::settled).
    pub settled_checks: u64,
    /// The most nodes that ran at the end of one that passed.
    pub most_nodes: usize,
}

/// A seed whose run failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedSeed {
    /// The seed.
    pub seed: u64,
    /// How its own plan failed.
    pub failure: Failure,
    /// The smallest plan found that fails in the same way.
    pub shrunk: Shrunk,
}

impl FailedSeed {
    /// The command that repeats it.
    #[must_use]
    pub fn command(&self) -> String {
        let seed = self.seed;
        format!("circlet simulate --swarm --seeds {seed}..{}", seed + 1)
    }
}

/// For people: seed, failure, command, and the shrunk plan, which can be saved to a file.
impl fmt::Display for FailedSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Shrunk {
            plan,
            failure,
            runs,
        } = &self.shrunk;
        writeln!(f, "seed {} failed: {}", self.seed, self.failure)?;
        writeln!(f, "to repeat it: {}", self.command())?;
        writeln!(
            f,
            "shrunk in {runs} runs to {} steps of {} nodes; fails {failure}",
            plan.steps.len(),
            plan.nodes().len()
        )?;
        writeln!(
            f,
            "save what follows as plan.toml, and: circlet simulate --swarm --plan plan.toml"
        )?;
        write!(f, "\n{plan}")
    }
}

impl SwarmReport {
    /// Seeds whose runs ended.
    #[must_use]
    pub fn tried(&self) -> u64 {
        self.passed + self.failures.len() as u64
    }

    pub(super) fn add(&mut self, outcome: SeedOutcome) {
        match outcome.result {
            Ok(stats) => self.add_stats(&stats),
            Err(failed) => self.failures.push(*failed),
        }
    }

    fn add_stats(&mut self, stats: &Stats) {
        self.passed += 1;
        self.events += stats.events;
        self.virtual_time += stats.virtual_time;
        self.messages += stats.messages;
        self.checks += stats.checks;
        self.settled_checks += stats.settled_checks;
        self.most_nodes = self.most_nodes.max(stats.nodes);
    }
}

/// For people: every failed seed, then one line with the sums.
impl fmt::Display for SwarmReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failed in &self.failures {
            writeln!(f, "{failed}")?;
        }
        write!(
            f,
            "{} seeds passed, {} failed; up to {} nodes, {} messages, {} checks ({} of settled members), {} events, {:.1} virtual hours",
            self.passed,
            self.failures.len(),
            self.most_nodes,
            self.messages,
            self.checks,
            self.settled_checks,
            self.events,
            self.virtual_time.as_secs_f64() / 3600.0
        )
    }
}
