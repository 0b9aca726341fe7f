//! Drives many nodes and their trackers, the real protocol of [`circlet_core`], in one thread, in
//! virtual time, over a network that delays, loses, reorders and cuts.
//!
//! ```no_run
//! use std::time::Duration;
//! use circlet_simulator::{SimConfig, Simulation};
//!
//! let mut sim = Simulation::new(SimConfig { seed: 17, ..SimConfig::default() });
//! let nodes = sim.spawn_many(16);
//! sim.run_until(Simulation::ring_is_ideal, Duration::from_secs(10)).unwrap();
//! sim.crash(nodes[3]);
//! sim.run_until(Simulation::ring_is_ideal, Duration::from_secs(5)).unwrap();
//! sim.check().unwrap();
//! ```
//!
//! # Same seed, same run
//!
//! - Every random number comes from [`SimConfig::seed`], in one [stream](random::Stream) for each
//!   node and concern.
//! - Events are ordered by (time, source, sequence of the source), which says nothing about who
//!   executes them.
//! - An event touches the state of the one node or tracker it happens at, and schedules others
//!   no sooner than the network's least latency, if they are elsewhere. What all of them read,
//!   the [`network`], changes only between events, by the scenario. So nodes can be spread over
//!   threads later without changing a single run.
//! - [`Simulation::trace_hash`] sums all of it up in one number.
//!
//! # The parts
//!
//! [`network`] is the emulator: who reaches whom, how late, and what is lost. `links` imitates
//! WebRTC on top of it, `line` and `tracker` a WebSocket. `host` is the driver of one node.
//! [`invariants`] are what must hold, each with its source; [`seeds`] runs a test for many seeds
//! and says how to repeat the one that failed. [`results`] are what a run has shown, [`report`]
//! makes pages and tables of them. [`scenario`] reads what is simulated from a file, whose depth
//! [`nesting`] bounds, [`run`] does it. [`scale`] is the engine for great numbers.
#![deny(unsafe_code)]
#![deny(missing_docs)]

mod config;
mod host;
pub mod invariants;
pub mod latency;
mod line;
mod links;
pub mod nesting;
pub mod network;
mod queue;
pub mod random;
pub mod report;
mod resequencer;
pub mod results;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod seeds;
mod simulation;
pub mod swarm;
mod trace;
mod tracker;
mod world;

pub use config::{NodeOptions, SimConfig};
pub use host::{Ended, HostState};
pub use links::Volume;
pub use simulation::{Simulation, Tamper, Timeout};
pub use world::{NodeIndex, Session, Violation};
