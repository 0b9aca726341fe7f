//! Random faults in random mixes.

use std::fs;
use std::path::Path;
use std::time::Duration;

use circlet_simulator::run::Stop;
use circlet_simulator::swarm::{self, Plan, SeedOutcome, ShrinkLimits, SwarmOptions, SwarmReport};
use serde::Serialize;

use super::threads;
use crate::args::SimulateArgs;
use crate::failure::Failure;
use crate::output::{complain, print};

/// The largest plan that is read, in bytes.
const MAX_PLAN: u64 = 1 << 20;

/// Lines of the trace that are shown of a plan that fails.
const TRACE_LINES: usize = 60;

/// The last line of `--json`.
#[derive(Serialize)]
struct Sums {
    passed: u64,
    failed: u64,
    events: u64,
    messages: u64,
    checks: u64,
}

/// Tries seeds, or one plan.
pub fn run(args: &SimulateArgs, json: bool, stop: &Stop) -> Result<(), Failure> {
    if let Some(path) = &args.plan {
        return run_plan(path);
    }
    let Some(seeds) = &args.seeds else {
        return Err(Failure::Usage("--swarm needs --seeds A..B".to_owned()));
    };
    let report = swarm::run(&SwarmOptions {
        seeds,
        time: args
            .minutes
            .map(|minutes| Duration::from_secs(60 * minutes as u64)),
        threads: threads(args),
        stop: stop.flag(),
        shrink: ShrinkLimits::default(),
        on_seed: &tell,
    });
    tell_sums(&report, json);
    let failed = report.failures.len();
    let all = seeds.end - seeds.start;
    if failed > 0 {
        Err(Failure::Failed(format!(
            "{failed} seeds failed; the commands above repeat them"
        )))
    } else if stop.is_stopped() {
        let tried = report.tried();
        Err(Failure::Failed(format!(
            "stopped after {tried} of {all} seeds"
        )))
    } else {
        Ok(())
    }
}

/// A failed seed is shown at once, on stderr: what it takes to repeat it must not be lost.
fn tell(outcome: &SeedOutcome) {
    if let Err(failed) = &outcome.result {
        eprintln!("{failed}");
    }
}

fn tell_sums(report: &SwarmReport, json: bool) {
    #[derive(Serialize)]
    struct Line {
        swarm: Sums,
    }
    if !json {
        // The failed ones have been shown.
        let text = report.to_string();
        return print(text.lines().last().unwrap_or_default());
    }
    let swarm = Sums {
        passed: report.passed,
        failed: report.failures.len() as u64,
        events: report.events,
        messages: report.messages,
        checks: report.checks,
    };
    print(&serde_json::to_string(&Line { swarm }).unwrap_or_default());
}

/// Runs one plan, and shows the end of its trace if it fails.
fn run_plan(path: &Path) -> Result<(), Failure> {
    let wrong = |why: String| Failure::Failed(format!("{}: {why}", path.display()));
    let size = fs::metadata(path).map_err(|error| wrong(error.to_string()))?;
    if size.len() > MAX_PLAN {
        return Err(wrong("it is larger than 1 MiB".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let plan = Plan::parse(&text).map_err(wrong)?;
    let (result, trace) = swarm::execute_traced(&plan, TRACE_LINES);
    match result {
        Ok(stats) => {
            print(&format!(
                "passed: {} events, {} messages",
                stats.events, stats.messages
            ));
            Ok(())
        }
        Err(failure) => {
            for line in trace {
                complain(&line);
            }
            Err(wrong(format!("fails: {failure}")))
        }
    }
}
