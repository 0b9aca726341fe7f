//! What goes into a [`Tracker`](super::Tracker) and what comes out of it.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::identity::{Incarnation, NodeId};
use crate::ring::Position;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{ErrorCode, LinkReport, NodeKind, TrackerMessage};

/// Names one client connection; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "short-lived, and most are messages"
)]
pub enum Input {
    /// The calendar, at start and every minute or so.
    WallClock {
        /// Milliseconds since 1970.
        unix_ms: u64,
    },
    /// Somebody connected.
    ClientUp {
        /// Its name from now on.
        client: ClientId,
    },
    /// A connection ended.
    ClientDown {
        /// Which.
        client: ClientId,
    },
    /// A client said something.
    Message {
        /// Which client.
        client: ClientId,
        /// What it said.
        message: TrackerMessage,
    },
    /// A client said what the driver does not take: it cannot be read, or is too much.
    Refused {
        /// Which client.
        client: ClientId,
        /// What sort of refusal it is.
        code: ErrorCode,
        /// Why, for people.
        error: String,
    },
}

/// Why an input was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputError {
    /// No such client.
    Stale,
    /// The client was refused; what it is told and the close are among the outputs.
    Refused,
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stale => "no such client",
            Self::Refused => "the client was refused",
        })
    }
}

impl core::error::Error for InputError {}

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "short-lived, and most are messages"
)]
pub enum Output {
    /// Send a message to a client.
    Send {
        /// Which client.
        client: ClientId,
        /// The message.
        message: TrackerMessage,
    },
    /// Close a client's connection, once the messages given before are out. No
    /// [`Input::ClientDown`] is expected.
    Close {
        /// Which client.
        client: ClientId,
    },
}

/// Why [`Tracker::poll_timeout`](super::Tracker::poll_timeout) wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A client may have fallen silent, or not have logged in.
    Silence,
}

/// Counts since the tracker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Logins that succeeded.
    pub logins: u64,
    /// Logins and messages that were refused.
    pub refused: u64,
    /// Those of them that came too fast from one identity.
    pub limited: u64,
    /// Those of them for which the tracker or the room was full.
    pub full: u64,
    /// Sessions ended by a later one of the same identity.
    pub superseded: u64,
    /// Signals passed on.
    pub signals_relayed: u64,
    /// Signals whose receiver was not here.
    pub signals_unreachable: u64,
    /// Clients closed because they had fallen silent.
    pub timed_out: u64,
    /// Clients closed because they had not logged in in time.
    pub login_timed_out: u64,
}

/// A member as the table has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The member.
    pub node: NodeId,
    /// Its place on the ring.
    pub position: Position,
    /// Its session.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: String,
    /// What it runs on.
    pub kind: NodeKind,
    /// When it logged in.
    pub since: Timestamp,
    /// When it was last heard.
    pub heard: Timestamp,
    /// Whether it says that it has joined the ring.
    pub member: bool,
    /// Its successor, by its own word.
    pub successor: Option<NodeId>,
    /// Its predecessor, by its own word.
    pub predecessor: Option<NodeId>,
    /// Its links, by its own word.
    pub links: Vec<LinkReport>,
    /// Connection attempts of its that ended in a link.
    pub connected: u64,
    /// Connection attempts of its that did not.
    pub unconnected: u64,
}

/// A room as the table has it.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomSnapshot {
    /// Its name.
    pub name: String,
    /// Its topology.
    pub topology: Topology,
    /// The hub that its members have named, if any.
    pub hub: Option<NodeId>,
    /// Its members in ring order.
    pub members: Vec<Entry>,
}

/// The whole table.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The rooms by name.
    pub rooms: Vec<RoomSnapshot>,
    /// Connections, those not logged in included.
    pub clients: usize,
    /// The counts.
    pub counters: Counters,
}
