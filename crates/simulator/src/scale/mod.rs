//! The engine for great numbers: a kernel that executes the events of a million actors, on one
//! thread or several, with the same result.
//!
//! [`wheel`] holds the pending events, [`kernel`] executes them.

pub mod kernel;
mod prefetch;
mod shard;
pub mod wheel;
mod windows;
