//! The ring: positions, distances and intervals.
//!
//! This is the only modular arithmetic in the project. Everything else asks it.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::NodeId;
use crate::room::RoomId;

/// A point on the ring of 2^64 positions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// The position of a node in a room: the first 8 bytes, big endian, of BLAKE3 in derive-key
    /// mode over room id and NodeId.
    #[must_use]
    pub fn of(room: &RoomId, node: &NodeId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("circlet 2026-11 ring position");
        hasher.update(room.as_bytes());
        hasher.update(node.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        Self(u64::from_be_bytes(first))
    }

    /// How far it is clockwise from `self` to `to`, in positions; 0 to itself.
    #[must_use]
    pub const fn clockwise_to(self, to: Self) -> u64 {
        to.0.wrapping_sub(self.0)
    }

    /// The shorter of the two ways round between `self` and `other`.
    #[must_use]
    pub fn distance(self, other: Self) -> u64 {
        self.clockwise_to(other).min(other.clockwise_to(self))
    }

    /// The position `by` further clockwise.
    #[must_use]
    pub const fn advance(self, by: u64) -> Self {
        Self(self.0.wrapping_add(by))
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What names a member on the ring: it has a position, and an order in which equal positions
/// differ. `Ord` orders by position first.
///
/// A [`Place`] is one; a simulation of a million members has a smaller one.
pub trait Member: Copy + Ord + fmt::Debug {
    /// Where it is.
    fn position(self) -> Position;

    /// Whether `self` lies strictly between `from` and `to`, going clockwise.
    ///
    /// With `from == to` the interval is the whole ring but that one place (Chord, ToN 2003,
    /// section IV; Zave 2017, section 2).
    #[must_use]
    fn is_between(self, from: Self, to: Self) -> bool {
        match from.cmp(&to) {
            Ordering::Less => from < self && self < to,
            Ordering::Greater => from < self || self < to,
            Ordering::Equal => self != from,
        }
    }

    /// Orders `a` and `b` by which comes first going clockwise from `self`; `self` comes last.
    #[must_use]
    fn clockwise_order(self, a: Self, b: Self) -> Ordering {
        if a == b {
            Ordering::Equal
        } else if a != self && (b == self || a.is_between(self, b)) {
            Ordering::Less
        } else {
            Ordering::Greater
        }
    }
}

/// A member's place on the ring: its position, ties broken by its NodeId.
///
/// Frames carry the NodeId alone; [`Frame::decode`](crate::wire::Frame::decode) computes the
/// position, so that nobody can claim one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The position, by which places are ordered first.
    pub position: Position,
    /// The member, by which equal positions are ordered.
    pub id: NodeId,
}

impl Place {
    /// The place of `id` in `room`.
    #[must_use]
    pub fn of(room: &RoomId, id: NodeId) -> Self {
        Self {
            position: Position::of(room, &id),
            id,
        }
    }
}

/// The places of a room's members, those asked for last at hand: a place is a hash, and the frames
/// that pass a member name the same few others again and again.
///
/// Each member has one slot, which it may share with others, and whoever was asked for last is in
/// it. Members that are made to share one cost the hash each time, as without this.
#[derive(Debug)]
pub(crate) struct KnownPlaces {
    room: RoomId,
    /// None at all before the first place is asked for.
    slots: Vec<Option<Place>>,
}

impl KnownPlaces {
    /// What they take is 12 KiB.
    const SLOTS: usize = 256;

    pub(crate) const fn new(room: RoomId) -> Self {
        Self {
            room,
            slots: Vec::new(),
        }
    }

    /// The place of `id`; see [`Place::of`].
    pub(crate) fn of(&mut self, id: NodeId) -> Place {
        if self.slots.is_empty() {
            self.slots.resize(Self::SLOTS, None);
        }
        // Any byte of a key is as good as random, apart from the last.
        let slot = &mut self.slots[usize::from(id.as_bytes()[0])];
        match slot {
            Some(place) if place.id == id => *place,
            _ => *slot.insert(Place::of(&self.room, id)),
        }
    }
}

impl Member for Place {
    fn position(self) -> Position {
        self.position
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id.short(), self.position)
    }
}

impl Serialize for Place {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.id.serialize(serializer)
    }
}

/// Leaves the position at zero: whoever decodes places them, knowing the room.
impl<'de> Deserialize<'de> for Place {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        NodeId::deserialize(deserializer).map(|id| Self {
            position: Position(0),
            id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(position: u64, id: u8) -> Place {
        Place {
            position: Position(position),
            id: NodeId::from_bytes([id; 32]),
        }
    }

    #[test]
    fn intervals_wrap_round_zero() {
        let (a, b, c) = (place(10, 0), place(20, 0), place(u64::MAX, 0));
        assert!(b.is_between(a, c));
        assert!(!a.is_between(b, c));
        assert!(a.is_between(c, b));
        assert!(!a.is_between(a, b) && !b.is_between(a, b));
    }

    #[test]
    fn an_interval_from_a_place_to_itself_is_all_but_that_place() {
        let (a, b) = (place(10, 0), place(20, 0));
        assert!(b.is_between(a, a));
        assert!(!a.is_between(a, a));
    }

    #[test]
    fn equal_positions_are_ordered_by_identity() {
        let (a, b, c) = (place(10, 1), place(10, 2), place(10, 3));
        assert!(b.is_between(a, c));
        assert!(!b.is_between(c, a));
    }

    #[test]
    fn distance_is_the_shorter_way() {
        assert_eq!(Position(1).distance(Position(u64::MAX)), 2);
        assert_eq!(Position(1).clockwise_to(Position(0)), u64::MAX);
        assert_eq!(Position(u64::MAX).advance(2), Position(1));
    }

    #[test]
    fn places_that_are_known_are_those_that_are_computed() {
        let room = RoomId::open("room");
        let mut known = KnownPlaces::new(room);
        // The first two share a slot.
        let ids = [
            [0; 32],
            [[0; 16], [1; 16]].concat().try_into().unwrap(),
            [255; 32],
        ];
        for id in ids.iter().cycle().take(9).map(|id| NodeId::from_bytes(*id)) {
            assert_eq!(known.of(id), Place::of(&room, id));
        }
    }

    #[test]
    fn clockwise_order_starts_after_self_and_ends_with_it() {
        let me = place(100, 0);
        let mut all = [place(50, 0), me, place(150, 0), place(101, 0)];
        all.sort_by(|a, b| me.clockwise_order(*a, *b));
        assert_eq!(all, [place(101, 0), place(150, 0), place(50, 0), me]);
    }
}
