//! The Tracker state machine.
mod io;
use crate::time::Timestamp;
pub use io::*;

/// The tracker: a table of every node's state per room.
#[derive(Debug)]
pub struct Tracker {}

impl Tracker {
    /// An empty table. `rng` seeds the nonces of logins: it must be unpredictable.
    #[must_use]
    pub fn new<R: rand::Rng + ?Sized>(_config: TrackerConfig, _rng: &mut R) -> Self {
        todo!()
    }
    /// Takes one input.
    ///
    /// # Errors
    /// [`InputError`] if it was not taken.
    pub fn handle(&mut self, _now: Timestamp, _input: Input) -> Result<(), InputError> {
        todo!()
    }
    /// Does what is due. Spurious calls do nothing.
    pub fn handle_timeout(&mut self, _now: Timestamp) {
        todo!()
    }
    /// When [`Tracker::handle_timeout`] wants to be called, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerKind)> {
        todo!()
    }
    /// The next thing to do; drain to `None` after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        todo!()
    }
    /// The whole table.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        todo!()
    }
    /// One room of the table, `None` if nobody is in it.
    #[must_use]
    pub fn room(&self, _name: &str) -> Option<RoomSnapshot> {
        todo!()
    }
}

/// How a tracker behaves.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackerConfig {
    /// Silence after which a client is closed. Default 10 s: half-open connections are to be
    /// gone by then.
    pub client_timeout: core::time::Duration,
    /// Members assigned on each side of a newcomer. Default 4: as many as ring links.
    pub assigned_ring: usize,
    /// Members assigned as long links. Default 8: as many as a node opens.
    pub assigned_mesh: usize,
    /// Members of one room. Default 10,000: guess.
    pub max_members: usize,
    /// Rooms. Default 10,000: guess.
    pub max_rooms: usize,
    /// Connections, those not logged in included. Default 20,000: guess.
    pub max_clients: usize,
}
impl Default for TrackerConfig {
    fn default() -> Self {
        Self {
            client_timeout: core::time::Duration::from_secs(10),
            assigned_ring: 4,
            assigned_mesh: 8,
            max_members: 10_000,
            max_rooms: 10_000,
            max_clients: 20_000,
        }
    }
}
