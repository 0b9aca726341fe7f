//! `cargo xtask soak`: the tests that are worth more the longer they run.
//!
//! Rounds of random simulations with new seeds, of fuzzing with new inputs and of the end-to-end tests, until the time is
//! over; a part that has begun is finished. What it prints last is Markdown for the docs.

use std::ops::Range;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::steps::{Counts, cargo, run_tests, succeed};

/// How long, and from which seed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Parts of rounds begin within this time.
    pub time: Duration,
    /// The first seed of the first round.
    pub first_seed: u64,
}

/// Seeds that the random simulations get in one round, which takes some 13 minutes with all its parts
/// on two cores. The swarm gets many for each: more than 10,000 in an hour.
const SEEDS_PER_ROUND: u64 = 10;

/// Where the random simulations find their seeds, as `A..B`, B excluded.
const SEEDS_VARIABLE: &str = "CIRCLET_SEEDS";

/// Where the fuzz targets find theirs, and how many inputs to try.
const FUZZ_VARIABLES: [&str; 2] = ["PROPTEST_RNG_SEED", "PROPTEST_CASES"];

/// Inputs for each fuzz target in one round: a minute or two for all.
const FUZZ_INPUTS: u64 = 300_000;

/// Where the test of leaks finds how many links to open and close.
const LINKS_VARIABLE: &str = "CIRCLET_LINKS";

/// So many in one round.
const LINKS: u64 = 500;

/// What a round consists of.
const PARTS: [Part; 5] = [
    Part {
        name: "swarm",
        args: "test --release --package circlet-simulator --test swarm",
        takes: Takes::Seeds(350),
    },
    Part {
        name: "random simulations",
        args: "test --release --package circlet-simulator --tests --no-fail-fast",
        takes: Takes::Seeds(1),
    },
    Part {
        name: "fuzz targets",
        args: "test --release --package circlet --package circlet-core --package circlet-node \
               --package circlet-simulator --tests --no-fail-fast fuzz_",
        takes: Takes::Inputs,
    },
    Part {
        name: "500 links opened and closed",
        args: "test --release --package circlet-node --test leaks",
        takes: Takes::Links,
    },
    Part {
        name: "end to end",
        args: "test --release --package circlet --tests --no-fail-fast",
        takes: Takes::Nothing,
    },
];

#[derive(Clone, Copy)]
struct Part {
    name: &'static str,
    /// Of Cargo.
    args: &'static str,
    takes: Takes,
}

/// What makes one round of a part other than the next.
#[derive(Clone, Copy)]
enum Takes {
    /// So many seeds of its own for each of the round.
    Seeds(u64),
    /// Random inputs.
    Inputs,
    /// A number of links, always the same.
    Links,
    /// Nothing, and it must not see the seeds: the program under test reads variables that begin
    /// like theirs.
    Nothing,
}

impl Part {
    fn command(&self, root: &Path, seeds: &Range<u64>) -> Command {
        let mut command = cargo(root, self.args.split_whitespace());
        command.envs(self.variables(seeds));
        command
    }

    /// The variables of a round with these seeds.
    fn variables(&self, round: &Range<u64>) -> Vec<(&'static str, String)> {
        match self.takes {
            Takes::Seeds(each) => {
                let first = |seed: u64| (seed.max(1) - 1) * each + 1;
                let seeds = format!("{}..{}", first(round.start), first(round.end));
                vec![(SEEDS_VARIABLE, seeds)]
            }
            Takes::Inputs => {
                let values = [round.start, FUZZ_INPUTS].map(|number| number.to_string());
                FUZZ_VARIABLES.into_iter().zip(values).collect()
            }
            Takes::Links => vec![(LINKS_VARIABLE, LINKS.to_string())],
            Takes::Nothing => Vec::new(),
        }
    }

    /// What to type to see the same again.
    fn again(&self, seeds: &Range<u64>) -> String {
        let variables = self.variables(seeds).into_iter();
        let variables = variables.map(|(name, value)| format!("{name}={value} "));
        let args: Vec<_> = self.args.split_whitespace().collect();
        format!("{}cargo {}", variables.collect::<String>(), args.join(" "))
    }
}

/// Runs rounds until the time is over and prints the summary.
///
/// # Errors
/// A sentence if the tests do not build or some of them failed.
pub fn run(root: &Path, plan: &Plan) -> Result<(), String> {
    // Building is no part of the time.
    for part in PARTS {
        let args = part.args.split_whitespace().chain(["--no-run"]);
        succeed(&mut cargo(root, args)).map_err(|error| format!("{}: {error}", part.name))?;
    }
    let start = Instant::now();
    let mut summary = Summary::new(plan.first_seed);
    while start.elapsed() < plan.time {
        let seeds = summary.next_seeds();
        for (part, tally) in PARTS.iter().zip(&mut summary.tallies) {
            if start.elapsed() >= plan.time {
                break;
            }
            let (round, name) = (tally.rounds + 1, part.name);
            println!("== round {round}: {name}: {}", part.again(&seeds));
            let part_start = Instant::now();
            let (counts, result) = run_tests(&mut part.command(root, &seeds));
            tally.rounds += 1;
            tally.counts += counts;
            tally.time += part_start.elapsed();
            if let Err(error) = result {
                summary
                    .failures
                    .push(format!("{error}: `{}`", part.again(&seeds)));
            }
        }
    }
    let revision = output_of("git", &["describe", "--always", "--dirty"], root);
    let rust = output_of("rustc", &["--version"], root);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("\nRevision {revision}, {rust}, {cores} cores.\n\n{summary}");
    match summary.failures.len() {
        0 => Ok(()),
        n => Err(format!("{n} runs failed")),
    }
}

/// A fact for the summary, empty if it cannot be had.
fn output_of(program: &str, args: &[&str], root: &Path) -> String {
    Command::new(program)
        .args(args)
        .current_dir(root)
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default()
}

#[derive(Default)]
struct Tally {
    rounds: u64,
    counts: Counts,
    time: Duration,
}

struct Summary {
    first_seed: u64,
    next_seed: u64,
    tallies: [Tally; PARTS.len()],
    failures: Vec<String>,
}

impl Summary {
    fn new(first_seed: u64) -> Self {
        Self {
            first_seed,
            next_seed: first_seed,
            tallies: Default::default(),
            failures: Vec::new(),
        }
    }

    fn next_seeds(&mut self) -> Range<u64> {
        let first = self.next_seed;
        self.next_seed += SEEDS_PER_ROUND;
        first..self.next_seed
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (first, next) = (self.first_seed, self.next_seed);
        writeln!(
            f,
            "Seeds {first}..{next}; go on with `--first-seed {next}`.\n"
        )?;
        writeln!(f, "| what | rounds | passed | failed | minutes |")?;
        writeln!(f, "| --- | ---: | ---: | ---: | ---: |")?;
        for (Part { name, .. }, tally) in PARTS.iter().zip(&self.tallies) {
            let Tally { rounds, counts, .. } = tally;
            let Counts { passed, failed } = counts;
            let minutes = tally.time.as_secs_f64() / 60.0;
            writeln!(
                f,
                "| {name} | {rounds} | {passed} | {failed} | {minutes:.1} |"
            )?;
        }
        for failure in &self.failures {
            write!(f, "\n- {failure}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_have_seeds_of_their_own_and_failures_their_command() {
        let mut summary = Summary::new(7);
        assert_eq!(summary.next_seeds(), 7..17);
        assert_eq!(summary.next_seeds(), 17..27);
        let variables = |part: usize, seeds| PARTS[part].again(&seeds);
        assert!(variables(0, 1..41).starts_with("CIRCLET_SEEDS=1..14001 cargo test "));
        assert!(variables(1, 7..17).starts_with("CIRCLET_SEEDS=7..17 cargo test "));
        let fuzz = "PROPTEST_RNG_SEED=7 PROPTEST_CASES=300000 cargo test ";
        assert!(variables(2, 7..17).starts_with(fuzz));
        assert!(variables(3, 7..17).starts_with("CIRCLET_LINKS=500 cargo test "));
        assert!(variables(4, 7..17).starts_with("cargo test "));
        summary.tallies[1] = Tally {
            rounds: 2,
            counts: Counts {
                passed: 30,
                failed: 1,
            },
            time: Duration::from_secs(90),
        };
        summary
            .failures
            .push("exit status: 101: `cargo test`".to_owned());
        assert_eq!(
            summary.to_string(),
            "\
Seeds 7..27; go on with `--first-seed 27`.

| what | rounds | passed | failed | minutes |
| --- | ---: | ---: | ---: | ---: |
| swarm | 0 | 0 | 0 | 0.0 |
| random simulations | 2 | 30 | 1 | 1.5 |
| fuzz targets | 0 | 0 | 0 | 0.0 |
| 500 links opened and closed | 0 | 0 | 0 | 0.0 |
| end to end | 0 | 0 | 0 | 0.0 |

- exit status: 101: `cargo test`"
        );
    }
}
