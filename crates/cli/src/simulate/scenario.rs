//! Running one scenario.

use std::time::Duration;

use circlet_simulator::report;
use circlet_simulator::results::Results;
use circlet_simulator::run::{self, Stop};
use circlet_simulator::scenario::Scenario;
use serde::Serialize;
use tracing::info;

use super::progress::Bar;
use super::{overrides, threads, write};
use crate::args::SimulateArgs;
use crate::failure::Failure;
use crate::output::{complain, print};
use crate::usage::peak_memory;

/// What a run took: another time each time.
#[derive(Clone, Copy, Debug, Serialize)]
struct Cost {
    events: u64,
    /// Of the event loop.
    wall_s: f64,
    /// Of the event loop, all threads together.
    cpu_s: f64,
    peak_rss_bytes: Option<u64>,
}

/// Runs a scenario, and prints what came of it.
pub fn run(args: &SimulateArgs, name: &str, json: bool, stop: &Stop) -> Result<(), Failure> {
    let (results, cost) = simulate(args, name, stop)?;
    if let Some(path) = &args.report {
        write(path, &report::html(&results))?;
    }
    if let Some(directory) = &args.csv {
        report::csv(&results, directory).map_err(|error| {
            let directory = directory.display();
            Failure::Failed(format!(
                "{directory}: the tables cannot be written: {error}"
            ))
        })?;
    }
    if json {
        print(&json_line(&results)?);
    } else {
        print(report::text(&results).trim_end());
    }
    let failure = failure(&results);
    if let Some(why) = &failure {
        complain(why);
    }
    tell_cost(&cost, json);
    failure.map_or(Ok(()), |_| Err(Failure::Said))
}

/// Runs a scenario.
pub fn results_of(args: &SimulateArgs, name: &str, stop: &Stop) -> Result<Results, Failure> {
    Ok(simulate(args, name, stop)?.0)
}

/// The line that `--json` prints.
pub fn json_line(results: &Results) -> Result<String, Failure> {
    let json = report::json(results).map_err(Failure::failed)?;
    Ok(format!("{{\"simulation\":{json}}}"))
}

fn simulate(args: &SimulateArgs, name: &str, stop: &Stop) -> Result<(Results, Cost), Failure> {
    let scenario = Scenario::find(name, overrides(args)).map_err(Failure::failed)?;
    info!("simulating {name}");
    let mut bar = Bar::new();
    let run = run::run(&scenario, threads(args), stop, &mut |at| bar.show(at));
    bar.clear();
    let run = run.map_err(|why| Failure::Failed(format!("{name}: {why}")))?;
    let cost = Cost {
        events: run.results.events,
        wall_s: millis(run.wall),
        cpu_s: millis(run.cpu),
        peak_rss_bytes: peak_memory(),
    };
    Ok((run.results, cost))
}

/// Why a run is a failure, in one line; `None` if it is none.
fn failure(results: &Results) -> Option<String> {
    let mut reasons = Vec::new();
    if let Some(first) = results.violations.first.first() {
        let count = results.violations.count;
        reasons.push(format!(
            "{count} violations of invariants, the first: {}",
            first.what
        ));
    }
    let missed = results
        .expectations
        .iter()
        .filter(|expectation| !expectation.met);
    let missed: Vec<_> = missed.map(|expectation| &expectation.metric[..]).collect();
    if !missed.is_empty() {
        reasons.push(format!("not as expected: {}", missed.join(", ")));
    }
    if !results.complete {
        let at = results.duration_s;
        reasons.push(format!(
            "stopped after {at} virtual seconds, before the end"
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

fn tell_cost(cost: &Cost, json: bool) {
    #[derive(Serialize)]
    struct Line<'a> {
        run: &'a Cost,
    }
    if json {
        eprintln!(
            "{}",
            serde_json::to_string(&Line { run: cost }).unwrap_or_default()
        );
    } else {
        let memory = cost
            .peak_rss_bytes
            .map_or(String::new(), |bytes| format!(", {} MB", bytes / 1_000_000));
        let Cost { wall_s, cpu_s, .. } = cost;
        let rate = cost.events as f64 / wall_s.max(0.001);
        print(&format!(
            "{:<13} {wall_s} s, {cpu_s} s of CPU{memory}, {rate:.0} events a second",
            "it took"
        ));
    }
}

/// Seconds, to the millisecond.
fn millis(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
