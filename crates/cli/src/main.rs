//! The command line of circlet: one binary for members, tracker, simulation, demo and measurements.

mod args;
mod bench;
mod config;
mod demo;
mod descriptors;
mod failure;
mod identity;
mod local;
mod logging;
mod node;
mod output;
mod signals;
mod simulate;
mod statistics;
mod topology;
mod tracker;
mod usage;

use std::env;
use std::process::ExitCode;

use args::{Args, Command};
use failure::Failure;

fn main() -> ExitCode {
    let argv: Vec<_> = env::args_os().collect();
    match config::parse(&argv).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(args: Args) -> Result<(), Failure> {
    let (json, verbose) = (args.global.json, args.global.verbose);
    logging::start(verbose);
    // One thread: the nodes bring their own, and everything else waits most of the time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("the system gives no event queue: {error}")))?;
    let outcome = match args.command {
        Command::Demo(args) => runtime.block_on(demo::run(args, json, verbose)),
        Command::Tracker(args) => runtime.block_on(tracker::run(args, json)),
        Command::Node(args) => runtime.block_on(node::run(args, json)),
        Command::Identity(args) => identity::run(args, json),
        Command::Topology(args) => topology::run(&args, json),
        Command::Simulate(args) => simulate::run(&args, json),
        Command::Bench(args) => runtime.block_on(bench::run(args, json, verbose)),
    };
    // A read or write that is still blocked must not hold up the end.
    runtime.shutdown_background();
    outcome
}
