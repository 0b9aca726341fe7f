//! `circlet simulate`: scenarios in virtual time.

mod compare;
mod progress;
mod scenario;
mod swarm;

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::pin;
use std::process;
use std::sync::mpsc;
use std::thread;

use circlet_simulator::run::Stop;
use circlet_simulator::scenario::{BUILT_IN, Files, Overrides, Scenario};
use futures_util::future::poll_immediate;
use serde::Serialize;

use crate::args::SimulateArgs;
use crate::failure::Failure;
use crate::output::{complain, print};
use crate::signals;

/// Runs a scenario or a swarm, compares two, or lists those there are.
pub fn run(args: &SimulateArgs, json: bool) -> Result<(), Failure> {
    check(args)?;
    if args.list {
        list(json);
        return Ok(());
    }
    let stop = stop_on_signal()?;
    match &args.scenario {
        _ if args.swarm => swarm::run(args, json, &stop),
        Some(name) => scenario::run(args, name, json, &stop),
        None => compare::run(args, json, &stop),
    }
}

/// There is one thing to do, and only flags that go with it.
fn check(args: &SimulateArgs) -> Result<(), Failure> {
    let usage = |text: &str| Err(Failure::Usage(format!("{text}; see circlet simulate -h")));
    let tasks = [
        args.scenario.is_some(),
        args.swarm,
        !args.compare.is_empty(),
        args.list,
    ];
    if tasks.iter().filter(|wanted| **wanted).count() != 1 {
        return usage("name one of SCENARIO, --swarm, --compare A B, --list");
    }
    if args.swarm && args.seeds.is_some() == args.plan.is_some() {
        return usage("--swarm needs either --seeds A..B or --plan FILE");
    }
    let swarm_only = [
        ("--seeds", args.seeds.is_some()),
        ("--minutes", args.minutes.is_some()),
        ("--plan", args.plan.is_some()),
    ];
    let not_swarm = [
        ("--seed", args.seed.is_some()),
        ("--nodes", args.nodes.is_some()),
        ("--report", args.report.is_some()),
        ("--csv", args.csv.is_some()),
    ];
    let out_of_place = if args.swarm {
        &not_swarm[..]
    } else {
        &swarm_only[..]
    };
    if let Some((flag, _)) = out_of_place.iter().find(|(_, given)| *given) {
        let with = if args.swarm { "without" } else { "with" };
        return usage(&format!("{flag} goes {with} --swarm only"));
    }
    if args.csv.is_some() && args.scenario.is_none() {
        return usage("--csv goes with a SCENARIO only");
    }
    Ok(())
}

fn list(json: bool) {
    #[derive(Serialize)]
    struct Line<'a> {
        scenario: &'a circlet_simulator::results::ScenarioName,
    }
    for (name, text) in BUILT_IN {
        // A test reads them all.
        let Ok(found) = Scenario::parse(name, text, &Files::none(), Overrides::default()) else {
            continue;
        };
        if json {
            let line = Line {
                scenario: &found.name,
            };
            print(&serde_json::to_string(&line).unwrap_or_default());
        } else {
            print(&format!("{name:<24} {}", found.name.title));
        }
    }
}

/// The first signal lets the run end with what is known, the second ends the process.
fn stop_on_signal() -> Result<Stop, Failure> {
    let stop = Stop::default();
    let told = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no event queue: {error}")))?;
    let (ready, listening) = mpsc::sync_channel(1);
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                let mut first = pin!(signals::end());
                // Polled once, it listens. Nobody waits for that any longer if it fails.
                let come = poll_immediate(&mut first).await;
                let _ = ready.send(());
                if come.is_none() {
                    first.await;
                }
                told.stop();
                signals::end().await;
                complain("stopped");
                process::exit(1);
            });
        })
        .map_err(|error| Failure::failed(format!("the system gives no thread: {error}")))?;
    // The thread lives as long as the process, so it answers.
    let _ = listening.recv();
    Ok(stop)
}

/// As many threads as asked for, else as the machine runs at a time.
fn threads(args: &SimulateArgs) -> NonZeroUsize {
    let asked = args.threads.and_then(NonZeroUsize::new);
    let available = || thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    asked.unwrap_or_else(available)
}

fn overrides(args: &SimulateArgs) -> Overrides {
    Overrides {
        seed: args.seed,
        nodes: args.nodes,
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text)
        .map_err(|error| Failure::Failed(format!("{} cannot be written: {error}", path.display())))
}
