//! What happens to a member.

use std::sync::Arc;

use circlet_core::Timestamp;
use circlet_core::overlay::{Detour, List, Message, Table};
use circlet_core::wire::Wish;

use super::slot::Slot;

/// What happens to a member. At most 32 bytes, as there are millions of them pending: what is rare
/// is boxed.
#[derive(Debug)]
pub enum Event {
    /// A timer of its own.
    Wake,
    /// A neighbour asks for news of the ring.
    Stabilize {
        /// The neighbour.
        from: u32,
        /// The version of the table that it has.
        version: u64,
    },
    /// A neighbour has no news.
    Current {
        /// The neighbour.
        from: u32,
        /// The version of its table.
        version: u64,
    },
    /// A neighbour takes this member for its successor.
    Notify {
        /// The neighbour.
        from: u32,
    },
    /// A neighbour tells its table.
    Table {
        /// The neighbour.
        from: u32,
        /// The table.
        table: Arc<Table<Slot>>,
    },
    /// A neighbour says anything else.
    Said {
        /// The neighbour.
        from: u32,
        /// What it says.
        message: Box<Message<Slot>>,
    },
    /// Something for one member, or for whoever is responsible for a position, comes by.
    Trip(Trip),
    /// The same, after it has lost its way.
    Astray(Box<(Trip, Detour)>),
    /// Something for everybody comes by.
    Flood(Flood),
    /// News of a link.
    Link {
        /// The other end.
        from: u32,
        /// The opener's number of the attempt.
        attempt: u32,
        /// What happened.
        news: LinkNews,
    },
    /// The scenario wants something.
    Order(Box<Order>),
    /// It has come, and waited for the downlink.
    Through(Box<Event>),
}

const _: () = assert!(size_of::<Event>() <= 32);

/// What happened to a link.
#[derive(Debug)]
pub enum LinkNews {
    /// Its opener asks for it.
    Offer(Wish),
    /// The other side has agreed.
    Answer,
    /// The other side has no room for it.
    Refuse,
    /// Frames can be exchanged.
    Up,
    /// It takes too long.
    TimedOut,
    /// The other side does not want it any more.
    Closed,
    /// The other side was found dead.
    Dead,
    /// The other side has not been heard for too long across a cut.
    Silent,
    /// The other side leaves, and names its successors and predecessors.
    Left(Box<(List<Slot>, List<Slot>)>),
}

/// What a trip is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Who is responsible for the target? For a long link of the origin's.
    FindLongLink,
    /// The origin is, for the lookup with this id of the receiver's.
    FoundLongLink,
    /// Who is responsible for the target? A lookup of a flow of the scenario's.
    Lookup,
    /// The origin is.
    Found,
    /// A message of a flow of the scenario's.
    Message,
}

/// Something on its way from member to member.
#[derive(Clone, Copy, Debug)]
pub struct Trip {
    /// The position, or the place of the receiver.
    pub target: u64,
    /// Who sent it.
    pub origin: u32,
    /// Which neighbour it comes from.
    pub from: u32,
    /// When it began, in units of [`TICK_US`]; the id of a [`Errand::FoundLongLink`].
    pub started: u32,
    /// Links crossed.
    pub hops: u16,
    /// What it is for.
    pub errand: Errand,
    /// The scenario's flow that it is of.
    pub flow: u8,
    /// Dead members that were tried on its way.
    pub timeouts: u8,
}

/// Something on its way to everybody.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Who sent it.
    pub origin: u32,
    /// Which of the origin's it is, from 1.
    pub sequence: u32,
    /// Which neighbour it comes from.
    pub from: u32,
    /// When it began, in units of [`TICK_US`].
    pub started: u32,
    /// Links crossed.
    pub hops: u16,
    /// The scenario's flow that it is of.
    pub flow: u8,
}

/// What the scenario wants of a member.
#[derive(Debug)]
pub enum Order {
    /// Begin to join, by way of these.
    Join(Vec<Slot>),
    /// Vanish; links fall silent, or end at once if `noticed`.
    Crash {
        /// Whether its links end at once.
        noticed: bool,
    },
    /// Leave, and say so.
    Leave,
    /// The network has changed: find out, in time, whom it has taken away.
    LookAround,
    /// Send one message of a flow; to this member, if not to any.
    Send {
        /// The flow.
        flow: u8,
        /// The receiver.
        to: Option<Slot>,
        /// What is looked for, if it is a lookup.
        word: u64,
    },
}

/// The unit in which messages carry the time they began at, in microseconds: 32 bits of it hold
/// nearly five days.
pub const TICK_US: u64 = 100;

/// A time in units of [`TICK_US`].
#[must_use]
pub fn ticks(at: Timestamp) -> u32 {
    u32::try_from(at.as_micros() / TICK_US).unwrap_or(u32::MAX)
}

/// Microseconds passed since a time in units of [`TICK_US`].
#[must_use]
pub fn micros_since(started: u32, now: Timestamp) -> u64 {
    now.as_micros().saturating_sub(u64::from(started) * TICK_US)
}
