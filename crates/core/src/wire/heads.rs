//! The heads of frames: what each kind of frame says.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{NodeKind, Wish};
use crate::identity::{Incarnation, NodeId, Signature};
use crate::overlay::{Detour, List};
use crate::ring::{Place, Position};
use crate::room::RoomId;

/// A list of members; on the wire their NodeIds.
pub type Places = List<Place>;

/// What a member knows of the ring; see [`overlay::Table`](crate::overlay::Table).
pub type Table = crate::overlay::Table<Place>;

/// Asks to join; see [`overlay::Join`](crate::overlay::Join).
pub type Join = crate::overlay::Join<Place>;

/// The answer to [`Join`]; see [`overlay::JoinReply`](crate::overlay::JoinReply).
pub type JoinReply = crate::overlay::JoinReply<Place>;

impl Places {
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Place> {
        self.get_mut().into_iter().flatten()
    }
}

/// How many links a frame has crossed, in two bytes, big endian.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hops(pub(super) [u8; 2]);

impl Hops {
    /// A hop count.
    #[must_use]
    pub const fn new(hops: u16) -> Self {
        Self(hops.to_be_bytes())
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        u16::from_be_bytes(self.0)
    }
}

/// Is anybody there? Counts as a sign of life, and so does any other frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {
    /// The sender's clock, to be sent back.
    pub stamp: u64,
}

/// The answer to [`Ping`], sent where it arrives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The clock of the ping.
    pub stamp: u64,
}

/// Why a link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ByeReason {
    /// The sender leaves the room.
    Leaving,
    /// Neither side needs the link.
    Unwanted,
    /// The receiver broke the protocol.
    Protocol,
}

/// The last frame on a link that is closed on purpose.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bye {
    /// Why.
    pub reason: ByeReason,
    /// The sender's successor list, for the predecessor that takes it over.
    pub successors: Places,
    /// The sender's predecessor list, for the successor.
    pub predecessors: Places,
}

/// What the sender wants this link for. The channel keeps no order, so each has a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Want {
    /// All of its wishes. The link is kept while either side has any.
    pub wishes: Wishes,
    /// One more than the last one's on this link, beginning with 1, and with 0 after 255.
    pub serial: u8,
}

impl Want {
    /// Whether this was said after the one with this number (RFC 1982, section 3.2).
    #[must_use]
    pub const fn is_after(self, serial: u8) -> bool {
        self.serial.wrapping_sub(serial).cast_signed() > 0
    }
}

/// What a member wants a link for, a bit for each wish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Wishes(u8);

impl Wishes {
    /// The link is not wanted.
    pub const NOTHING: Self = Self(0);

    /// What a new link is wanted for.
    #[must_use]
    pub const fn of(wish: Wish) -> Self {
        Self(1 << wish as u8)
    }

    /// This, and what `other` wants.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the link is wanted for this.
    #[must_use]
    pub const fn has(self, wish: Wish) -> bool {
        self.0 & Self::of(wish).0 != 0
    }

    /// Whether the link is wanted at all: for something that a later version knows, too.
    #[must_use]
    pub const fn anything(self) -> bool {
        self.0 != 0
    }

    /// Wants the link for this, or no longer; says whether that is news.
    pub const fn set(&mut self, wish: Wish, wanted: bool) -> bool {
        let is_news = self.has(wish) != wanted;
        if is_news {
            self.0 ^= Self::of(wish).0;
        }
        is_news
    }
}

/// Asks for the receiver's [`Table`] if it has a newer one (Zave 2017,
/// StabilizeFromSuccessor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stabilize {
    /// The version that the sender has, 0 for none.
    pub version: u64,
}

/// The answer to [`Stabilize`] if there is no newer table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// The version of the sender's table.
    pub version: u64,
}

/// Tells the receiver that the sender takes it for its successor (Zave 2017, Rectify).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {}

/// A member's record of itself, passed on by everybody once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The member.
    pub node: Place,
    /// Its session.
    pub incarnation: Incarnation,
    /// Grows with each record of a session.
    pub revision: u32,
    /// Its name, at most [`MAX_NAME`](super::MAX_NAME) bytes.
    pub name: String,
    /// What it runs on.
    pub kind: NodeKind,
    /// Whether it leaves.
    pub leaving: bool,
    /// Whether it may be chosen for the hub of a star.
    pub may_be_hub: bool,
    /// The hub that the room has been given, as far as it knows.
    pub hub: Option<NodeId>,
    /// Its ring neighbours: successor, then predecessor; fewer if it has none.
    pub neighbours: Vec<NodeId>,
    /// Where others may enter: reserved, empty, at most 4 URLs of 256 bytes.
    pub urls: Vec<String>,
    /// Its signature over [`Presence::signed_bytes`].
    pub signature: Signature,
}

impl Presence {
    /// The bytes that are signed: the room's id, then the head without the signature.
    #[must_use]
    pub fn signed_bytes(&self, room: &RoomId) -> Vec<u8> {
        signed_bytes(
            room,
            &(
                self.node,
                self.incarnation,
                self.revision,
                &self.name,
                self.kind,
                self.leaving,
                self.may_be_hub,
                self.hub,
                &self.neighbours,
                &self.urls,
            ),
            &[],
        )
    }
}

/// Asks for every presence record that the receiver has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceRequest {}

/// Somebody's neighbours found it dead. A hint: the one it speaks of answers with a new
/// [`Presence`] if it lives. Passed on by everybody once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gone {
    /// Who.
    pub node: Place,
    /// In which session.
    pub incarnation: Incarnation,
    /// The revision of its last presence record known.
    pub revision: u32,
}

/// A message to one member, passed on greedily.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Routed {
    /// Links crossed so far.
    pub hops: Hops,
    /// Links it may cross.
    pub hop_limit: u16,
    /// The receiver.
    pub to: Place,
    /// The sender.
    pub from: Place,
    /// The sender's session.
    pub incarnation: Incarnation,
    /// Where it has been since it lost its way: empty for nearly all.
    pub detour: Detour,
    /// What it is.
    pub body: Body,
}

/// What a [`Routed`] frame is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Body {
    /// A message that may be lost; the payload is its content.
    Datagram,
    /// One message of a reliable stream; the payload is its content.
    Reliable {
        /// Its number, from 1.
        sequence: u64,
        /// Everything below is settled, delivered or given up: nobody need wait for it.
        floor: u64,
    },
    /// What has arrived of a reliable stream.
    Ack(ReliableAck),
    /// The answer to a [`Lookup`].
    LookupReply(LookupReply),
}

/// What has arrived of a reliable stream of the receiver of this frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReliableAck {
    /// The session of the stream's sender.
    pub stream: Incarnation,
    /// Everything below was taken by the application.
    pub next: u64,
    /// Bit n: message `next + n` has arrived but was not taken yet.
    pub bitmap: u64,
}

/// Who is responsible for a position? Passed on greedily to the member nearest to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lookup {
    /// Links crossed so far.
    pub hops: Hops,
    /// Links it may cross.
    pub hop_limit: u16,
    /// The position.
    pub target: u64,
    /// Who asks.
    pub origin: Place,
    /// The asker's name for it.
    pub id: u32,
}

impl Lookup {
    /// The position asked for.
    #[must_use]
    pub const fn position(&self) -> Position {
        Position(self.target)
    }
}

/// The answer to a [`Lookup`]: the sender is the one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupReply {
    /// The asker's name for it.
    pub id: u32,
    /// Links that the lookup crossed.
    pub hops: u16,
}

/// Messages to everybody, passed on by everybody once; the payload is their content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// Links crossed so far.
    pub hops: Hops,
    /// The sender.
    pub origin: Place,
    /// Its session.
    pub incarnation: Incarnation,
    /// The number of the first message, from 1.
    pub sequence: u64,
    /// How many messages there are, with numbers one after the other. The payload is the content
    /// of one; of more than one each stands behind its length, 2 bytes, big endian.
    pub count: u16,
    /// The sender's signature over [`Broadcast::signed_bytes`].
    pub signature: Signature,
}

impl Broadcast {
    /// The bytes that are signed: the room's id, origin, incarnation, sequence, count, payload.
    #[must_use]
    pub fn signed_bytes(&self, room: &RoomId, payload: &[u8]) -> Vec<u8> {
        let head = (self.origin, self.incarnation, self.sequence, self.count);
        signed_bytes(room, &head, payload)
    }
}

/// Asks a neighbour for broadcasts that are missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastRequest {
    /// Whose.
    pub origin: NodeId,
    /// In which session.
    pub incarnation: Incarnation,
    /// The first one missing.
    pub first: u64,
    /// The last one missing.
    pub last: u64,
}

/// Asks for broadcasts that the sender may have missed: it is sent what the receiver has heard of
/// late and the sender has not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUp {
    /// How far back, in milliseconds.
    pub within_ms: u32,
    /// What the sender has heard in that time, at most [`MAX_LIST`](super::MAX_LIST) origins.
    pub heard: Vec<Heard>,
}

/// How far the broadcasts of one origin have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// The origin.
    pub origin: NodeId,
    /// Its session.
    pub incarnation: Incarnation,
    /// All below this have come.
    pub next: u64,
}

/// A message that goes once round the ring; the payload is its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circulate {
    /// The sender.
    pub origin: Place,
    /// Its session.
    pub incarnation: Incarnation,
    /// Its number within the session, from 1.
    pub id: u64,
    /// Who has seen it, in order, the origin excepted: the first 1,000.
    pub seen: Vec<NodeId>,
    /// How many have seen it.
    pub count: u64,
    /// The origin's signature over [`Circulate::signed_bytes`].
    pub signature: Signature,
}

impl Circulate {
    /// The bytes that are signed: the room's id, origin, incarnation, id, payload.
    #[must_use]
    pub fn signed_bytes(&self, room: &RoomId, payload: &[u8]) -> Vec<u8> {
        let head = (self.origin, self.incarnation, self.id);
        signed_bytes(room, &head, payload)
    }
}

/// The sender has taken a [`Circulate`] over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CirculateAck {
    /// The origin.
    pub origin: NodeId,
    /// Its session.
    pub incarnation: Incarnation,
    /// Its number.
    pub id: u64,
}

fn signed_bytes<T: Serialize>(room: &RoomId, head: &T, payload: &[u8]) -> Vec<u8> {
    let mut bytes = room.as_bytes().to_vec();
    // Serializing these heads cannot fail: no maps, no sequences of unknown length.
    bytes.extend(postcard::to_allocvec(head).unwrap_or_default());
    bytes.extend_from_slice(payload);
    bytes
}
