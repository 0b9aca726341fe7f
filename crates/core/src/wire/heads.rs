//! The heads of frames: what each kind of frame says.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::NodeKind;
use crate::identity::{Incarnation, NodeId, Signature};
use crate::ring::{Place, Position};
use crate::room::RoomId;

/// A list of members, cheaply cloned: neighbours' tables are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Arc<[Place]>);

impl Places {
    pub(super) fn locate(&mut self, room: &RoomId) {
        if let Some(places) = Arc::get_mut(&mut self.0) {
            for place in places {
                *place = Place::of(room, place.id);
            }
        }
    }
}

impl Default for Places {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl Deref for Places {
    type Target = [Place];

    fn deref(&self) -> &[Place] {
        &self.0
    }
}

impl From<Vec<Place>> for Places {
    fn from(places: Vec<Place>) -> Self {
        Self(places.into())
    }
}

impl Serialize for Places {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Places {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<Place>::deserialize(deserializer).map(Self::from)
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

/// What the sender wants this link for: kept while either side wants it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// As a ring link.
    pub ring: bool,
    /// As its own long link.
    pub long: bool,
}

/// Asks to join between the receiver and its successor (Zave 2017, Join).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {}

/// The answer to [`Join`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReply {
    /// Whether the joiner lies between the sender and its successor: it is a member now.
    pub accepted: bool,
    /// The sender's successor list, the joiner's own from now on if accepted.
    pub successors: Places,
    /// Members near the joiner: up to 4 before it, nearest first, then up to 4 after it.
    pub nearer: Places,
}

/// Asks for the receiver's [`Table`] (Zave 2017, StabilizeFromSuccessor).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stabilize {}

/// What a member knows of the ring: sent when a link opens, on change, and when asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Grows with each change, so that an older table never replaces a newer one.
    pub version: u64,
    /// Whether the sender has joined.
    pub member: bool,
    /// Its successor list, nearest first; ends before itself when it has met everybody.
    pub successors: Places,
    /// Its predecessor list, likewise.
    pub predecessors: Places,
    /// Everybody it has an open link to: for one step of lookahead.
    pub links: Places,
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

/// A message to everybody, passed on by everybody once; the payload is its content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Broadcast {
    /// Links crossed so far.
    pub hops: Hops,
    /// The sender.
    pub origin: Place,
    /// Its session.
    pub incarnation: Incarnation,
    /// Its number, from 1.
    pub sequence: u64,
    /// The sender's signature over [`Broadcast::signed_bytes`].
    pub signature: Signature,
}

impl Broadcast {
    /// The bytes that are signed: the room's id, origin, incarnation, sequence, payload.
    #[must_use]
    pub fn signed_bytes(&self, room: &RoomId, payload: &[u8]) -> Vec<u8> {
        let head = (self.origin, self.incarnation, self.sequence);
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
