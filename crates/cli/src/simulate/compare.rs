//! Two runs side by side.

use std::fs;
use std::path::Path;

use circlet_simulator::report;
use circlet_simulator::results::Results;
use circlet_simulator::run::Stop;
use serde::Deserialize;

use super::scenario::{json_line, results_of};
use super::write;
use crate::args::SimulateArgs;
use crate::failure::Failure;
use crate::output::print;

/// The largest file with results that is read, in bytes: 10,000 members and as many samples take
/// 5 MB.
const MAX_RESULTS: u64 = 64 << 20;

/// The line that `--json` prints.
#[derive(Deserialize)]
struct Line {
    simulation: Results,
}

/// Compares two runs, of scenarios that are run now or of results that were written before.
pub fn run(args: &SimulateArgs, json: bool, stop: &Stop) -> Result<(), Failure> {
    let mut runs = Vec::new();
    for name in &args.compare {
        runs.push(if name.ends_with(".json") {
            read(name)?
        } else {
            results_of(args, name, stop)?
        });
    }
    let comparison = report::compare(&runs);
    if let Some(path) = &args.report {
        write(path, &comparison.html)?;
    }
    if json {
        for results in &runs {
            print(&json_line(results)?);
        }
    } else {
        print(comparison.text.trim_end());
    }
    if runs.iter().all(|results| results.complete) {
        Ok(())
    } else {
        Err(Failure::failed("stopped before the end"))
    }
}

/// Reads what `--json` has printed.
fn read(name: &str) -> Result<Results, Failure> {
    let wrong = |why: String| Failure::Failed(format!("{name}: {why}"));
    let size = fs::metadata(Path::new(name)).map_err(|error| wrong(error.to_string()))?;
    if size.len() > MAX_RESULTS {
        return Err(wrong("it is larger than 64 MiB".to_owned()));
    }
    let text = fs::read_to_string(name).map_err(|error| wrong(error.to_string()))?;
    let last = text.trim_end().lines().last().unwrap_or_default();
    let line: Line = serde_json::from_str(last).map_err(|error| {
        wrong(format!(
            "is not what circlet simulate --json printed: {error}"
        ))
    })?;
    Ok(line.simulation)
}
