//! Everything that comes from outside is bytes until it is decoded: what is decoded is what was
//! encoded, and what cannot be is an error that costs next to nothing.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod fuzz;
mod round_trips;
mod strategies;
