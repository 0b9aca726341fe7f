//! What names a member where there may be millions: its position on the ring, in whose lower bits
//! its number stands.

use std::fmt;

use circlet_core::ring::{Member, Position};

use super::wheel::SOURCE_BITS;
use crate::random::mix;

/// The bits of a position that hold the member's number.
const INDEX_MASK: u64 = (1 << SOURCE_BITS) - 1;

/// A synthetic member: 8 bytes instead of a key and its hash. The upper bits of its position are
/// a hash of the seed and its number, so positions are uniform, and no two are equal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u64);

impl Slot {
    /// The place of the `index`-th member.
    #[inline]
    #[must_use]
    pub const fn new(seed: u64, index: u32) -> Self {
        let place = mix(seed ^ mix(index as u64));
        Self(place & !INDEX_MASK | index as u64)
    }

    /// The member at a position that is a member's.
    #[inline]
    #[must_use]
    pub const fn at(position: u64) -> Self {
        Self(position)
    }

    /// The member's number.
    #[inline]
    #[must_use]
    pub const fn index(self) -> u32 {
        (self.0 & INDEX_MASK) as u32
    }
}

impl Member for Slot {
    #[inline]
    fn position(self) -> Position {
        Position(self.0)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}@{}", self.index(), self.position())
    }
}
