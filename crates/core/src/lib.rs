//! The protocol of circlet: what a member of the overlay, and its tracker, do.
#![no_std]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

extern crate alloc;

mod config;
pub mod identity;
pub mod node;
pub mod ring;
pub mod room;
mod time;
mod topology;
pub mod tracker;
pub mod wire;

pub use config::Config;
pub use time::Timestamp;
pub use topology::{ParseTopologyError, Topology, Wanted};
