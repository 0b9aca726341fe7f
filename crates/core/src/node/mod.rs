//! The Node state machine.
mod io;
pub use io::*;

use crate::config::Config;
use crate::identity::{Identity, Incarnation};
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::NodeKind;
use alloc::string::String;

/// Who a node is and where it wants to be.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its key.
    pub identity: Identity,
    /// Its session; see [`Incarnation::next`].
    pub incarnation: Incarnation,
    /// The name of the (open) room.
    pub room: String,
    /// Its own name, for people; at most [`MAX_NAME`](crate::wire::MAX_NAME) bytes.
    pub name: String,
    /// What it runs on.
    pub kind: NodeKind,
    /// The room's topology.
    pub topology: Topology,
    /// How many trackers it knows of, [`TrackerId`] 0 and on.
    pub trackers: u16,
}

/// A member of the overlay.
#[derive(Debug)]
pub struct Node {}

impl Node {
    /// A node that has not joined yet. `rng` seeds its own streams of random numbers.
    ///
    /// Its first outputs connect the trackers; without trackers it is a ring of one.
    #[must_use]
    pub fn new<R: rand::Rng + ?Sized>(
        _config: Config,
        _membership: Membership,
        _rng: &mut R,
        _now: Timestamp,
    ) -> Self {
        todo!()
    }
    /// Takes one input.
    ///
    /// # Errors
    /// [`InputError`] if it was not taken; the state is as it was before, counters excepted.
    pub fn handle(&mut self, _now: Timestamp, _input: Input) -> Result<(), InputError> {
        todo!()
    }
    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, _now: Timestamp) {
        todo!()
    }
    /// When [`Node::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerKind)> {
        todo!()
    }
    /// The next thing to do; drain to `None` after every `handle*` and after `new`.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// What the node knows and holds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
}
