//! The engine for great numbers: up to millions of members, each an
//! [`Overlay`](circlet_core::overlay::Overlay) with a host, without the signalling, sessions and
//! keys of whole nodes; on one thread or several, with the same result.
//!
//! [`wheel`] holds the pending events, [`kernel`] executes them; [`Host`] is the driver of one
//! member.

mod event;
mod host;
mod ideal;
pub mod kernel;
mod memory;
mod ranks;
mod shard;
mod shared;
mod slab;
mod slot;
pub mod wheel;
mod windows;

pub use event::{Event, Order};
pub use host::{Host, Load, State};
pub use ideal::overlays;
pub(crate) use ideal::random_of;
pub(crate) use memory::collapse_heap;
pub use shared::{Flow, FlowKind, FlowTally, Shared, Tally};
pub use slot::Slot;
pub(crate) use windows::thread_cpu_time;
