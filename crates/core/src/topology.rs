//! Which neighbours a member wants, by the topology of its room.

use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::Config;

/// The shape of a room's overlay: a setting of the room, the same for all its members.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// Two links a member: successor and predecessor.
    Ring,
    /// A ring with harmonic long links across it (Symphony, USITS 2003).
    #[default]
    SmallWorld,
    /// Everybody linked to everybody.
    Mesh,
    /// Everybody linked to one hub.
    Star,
}

/// How many links of each sort a topology holds open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Ring links on each side.
    pub ring_links: usize,
    /// Own long links.
    pub long_links: usize,
    /// Whether there are direct links: to everybody, or to the hub.
    pub direct: bool,
}

impl Topology {
    /// All of them, for help texts and tests.
    pub const ALL: [Self; 4] = [Self::Ring, Self::SmallWorld, Self::Mesh, Self::Star];

    /// The word used on the command line and on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::SmallWorld => "small-world",
            Self::Mesh => "mesh",
            Self::Star => "star",
        }
    }

    /// The links that a member wants under `config`.
    #[must_use]
    pub fn wanted(self, config: &Config) -> Wanted {
        match self {
            // Spares are known, not open (DESIGN, section 5).
            Self::Ring => Wanted {
                ring_links: 1,
                long_links: 0,
                direct: self.is_direct(),
            },
            Self::SmallWorld => Wanted {
                ring_links: config.ring_links,
                long_links: config.long_links,
                direct: self.is_direct(),
            },
            // The ring is the spare: it is repaired as always, and carries what the direct links
            // do not.
            Self::Mesh | Self::Star => Wanted {
                ring_links: 1,
                long_links: 0,
                direct: self.is_direct(),
            },
        }
    }

    /// Whether a member of a whole room passes a broadcast of another's on: in a mesh the sender
    /// has reached everybody itself, in a star the hub does it. This is what follows from
    /// [`Overlay::passes_on`](crate::overlay::Overlay::passes_on) where there are direct links to
    /// all, and no others.
    #[must_use]
    pub const fn passes_on(self, is_hub: bool) -> bool {
        match self {
            Self::Ring | Self::SmallWorld => true,
            Self::Mesh => false,
            Self::Star => is_hub,
        }
    }

    /// Whether members have links for the links' own sake: to everybody, or to the hub.
    #[must_use]
    pub const fn is_direct(self) -> bool {
        matches!(self, Self::Mesh | Self::Star)
    }

    /// Whether one member is the hub.
    #[must_use]
    pub const fn has_hub(self) -> bool {
        matches!(self, Self::Star)
    }

    /// How many links a message may cross (DESIGN, section 5); `members` says among how many
    /// members, where that matters.
    #[must_use]
    pub fn hop_limit(self, members: impl FnOnce() -> usize) -> u16 {
        match self {
            Self::Ring => u16::try_from(members() / 2 + 16).unwrap_or(u16::MAX),
            Self::SmallWorld | Self::Mesh | Self::Star => 64,
        }
    }
}

impl fmt::Display for Topology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no topology.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseTopologyError;

impl fmt::Display for ParseTopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topology is one of ring, small-world, mesh, star")
    }
}

impl core::error::Error for ParseTopologyError {}

impl FromStr for Topology {
    type Err = ParseTopologyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|topology| topology.name() == text)
            .ok_or(ParseTopologyError)
    }
}
