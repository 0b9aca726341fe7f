//! Frames: what members say to each other over a link.
//!
//! A frame is one byte of kind, then its head in postcard's format, then, for messages, the
//! payload to the end. Heads that are passed on begin with the hop count in two fixed bytes, so
//! that whoever passes a message on changes these bytes in place and copies nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::{BufMut, Bytes, BytesMut};

use super::heads::{
    Body, Broadcast, BroadcastRequest, Bye, CatchUp, Circulate, CirculateAck, Current, Gone, Hops,
    Join, JoinReply, Lookup, Notify, Ping, Pong, Presence, PresenceRequest, Routed, Stabilize,
    Table, Want,
};
use super::{MAX_FRAME, MAX_LIST, MAX_NAME, MAX_PAYLOAD, MAX_SEEN, WireError, limit};
use crate::identity::NodeId;
use crate::overlay::Detour;
use crate::ring::{KnownPlaces, Place};
use crate::room::RoomId;

macro_rules! heads {
    ($($kind:literal $name:ident,)*) => {
        /// The head of a frame, by kind. `docs/PROTOCOL.md` has the numbers; those not used
        /// here are reserved.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Head {
            $(#[doc = concat!("Kind ", stringify!($kind), ".")] $name($name),)*
        }

        impl Head {
            /// Every kind of frame with its number, for the documentation's test.
            pub const KINDS: &[(u8, &str)] = &[$(($kind, stringify!($name)),)*];

            /// The number of the kind.
            #[must_use]
            pub const fn kind(&self) -> u8 {
                match self { $(Self::$name(_) => $kind,)* }
            }

            fn encode(&self, out: &mut Vec<u8>) {
                out.push(self.kind());
                let head = core::mem::take(out);
                let head = match self { $(Self::$name(it) => postcard::to_extend(it, head),)* };
                // Nothing in a head fails to be serialized.
                *out = head.unwrap_or_default();
            }

            fn decode(bytes: &[u8]) -> Result<(Self, usize), WireError> {
                let (&kind, rest) = bytes.split_first().ok_or(WireError::Malformed)?;
                match kind {
                    $($kind => {
                        let (head, left) = postcard::take_from_bytes(rest)
                            .map_err(|_| WireError::Malformed)?;
                        Ok((Self::$name(head), bytes.len() - left.len()))
                    })*
                    kind => Err(WireError::UnknownKind(kind)),
                }
            }
        }

        $(impl From<$name> for Frame {
            fn from(head: $name) -> Self {
                Self { head: Head::$name(head), payload: Bytes::new() }
            }
        })*
        impl From<Head> for Frame {
            fn from(head: Head) -> Self {
                Self { head, payload: Bytes::new() }
            }
        }
    };
}

heads! {
    0x01 Ping,
    0x02 Pong,
    0x03 Bye,
    0x04 Want,
    0x10 Join,
    0x11 JoinReply,
    0x12 Stabilize,
    0x13 Table,
    0x14 Notify,
    0x16 Current,
    0x20 Presence,
    0x21 PresenceRequest,
    0x22 Gone,
    0x30 Routed,
    0x31 Lookup,
    0x32 Broadcast,
    0x33 BroadcastRequest,
    0x34 Circulate,
    0x35 CirculateAck,
    0x39 CatchUp,
}

impl Head {
    /// Whether a payload may follow.
    #[must_use]
    pub const fn has_payload(&self) -> bool {
        match self {
            Self::Routed(routed) => matches!(routed.body, Body::Datagram | Body::Reliable { .. }),
            Self::Broadcast(_) | Self::Circulate(_) => true,
            _ => false,
        }
    }

    fn check(&self) -> Result<(), WireError> {
        match self {
            Self::Bye(bye) => {
                limit("successors", bye.successors.len(), MAX_LIST)?;
                limit("predecessors", bye.predecessors.len(), MAX_LIST)
            }
            Self::Join(join) => limit("unreachable", join.unreachable.len(), MAX_LIST),
            Self::JoinReply(reply) => {
                limit("successors", reply.successors.len(), MAX_LIST)?;
                limit("nearer", reply.nearer.len(), MAX_LIST)
            }
            Self::Table(table) => {
                limit("successors", table.successors.len(), MAX_LIST)?;
                limit("predecessors", table.predecessors.len(), MAX_LIST)?;
                limit("links", table.links.len(), MAX_LIST)
            }
            Self::Presence(presence) => {
                limit("name", presence.name.len(), MAX_NAME)?;
                limit("neighbours", presence.neighbours.len(), 2)?;
                limit("urls", presence.urls.len(), 4)?;
                presence
                    .urls
                    .iter()
                    .try_for_each(|url| limit("url", url.len(), 256))
            }
            Self::Routed(routed) => limit("detour", routed.detour.len(), Detour::MAX),
            Self::Circulate(circulate) => limit("seen", circulate.seen.len(), MAX_SEEN),
            Self::CatchUp(catch_up) => limit("heard", catch_up.heard.len(), MAX_LIST),
            _ => Ok(()),
        }
    }

    /// Computes the position of every member in the head.
    fn locate(&mut self, place_of: &mut impl FnMut(NodeId) -> Place) {
        let mut locate = |place: &mut Place| *place = place_of(place.id);
        match self {
            Self::Bye(bye) => {
                bye.successors.iter_mut().for_each(&mut locate);
                bye.predecessors.iter_mut().for_each(&mut locate);
            }
            Self::Join(join) => join.unreachable.iter_mut().for_each(&mut locate),
            Self::JoinReply(reply) => {
                reply.successors.iter_mut().for_each(&mut locate);
                reply.nearer.iter_mut().for_each(&mut locate);
            }
            Self::Table(table) => {
                table.successors.iter_mut().for_each(&mut locate);
                table.predecessors.iter_mut().for_each(&mut locate);
                table.links.iter_mut().for_each(&mut locate);
            }
            Self::Presence(presence) => locate(&mut presence.node),
            Self::Gone(gone) => locate(&mut gone.node),
            Self::Routed(routed) => {
                locate(&mut routed.to);
                locate(&mut routed.from);
            }
            Self::Lookup(lookup) => locate(&mut lookup.origin),
            Self::Broadcast(broadcast) => locate(&mut broadcast.origin),
            Self::Circulate(circulate) => locate(&mut circulate.origin),
            Self::Ping(_)
            | Self::Pong(_)
            | Self::Want(_)
            | Self::Stabilize(_)
            | Self::Notify(_)
            | Self::Current(_)
            | Self::PresenceRequest(_)
            | Self::BroadcastRequest(_)
            | Self::CirculateAck(_)
            | Self::CatchUp(_) => {}
        }
    }
}

/// A frame as a value: its head, and its payload where it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub head: Head,
    /// The content of a message, empty for everything else.
    pub payload: Bytes,
}

impl Frame {
    /// The frame's bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(160 + self.payload.len());
        self.head.encode(&mut out);
        out.extend_from_slice(&self.payload);
        out.into()
    }

    /// Reads a frame and computes the positions, in `room`, of the members it names. The
    /// payload shares the bytes.
    ///
    /// # Errors
    /// [`WireError`] if it is larger than [`MAX_FRAME`](super::MAX_FRAME), unknown, malformed,
    /// or a part of it is over its limit.
    pub fn decode(bytes: &Bytes, room: &RoomId) -> Result<Self, WireError> {
        Self::decode_with(bytes, |id| Place::of(room, id))
    }

    /// [`Frame::decode`], with what knows the places of a room's members.
    fn decode_with(
        bytes: &Bytes,
        mut place_of: impl FnMut(NodeId) -> Place,
    ) -> Result<Self, WireError> {
        if bytes.len() > MAX_FRAME {
            return Err(WireError::TooLarge {
                bytes: bytes.len(),
                limit: MAX_FRAME,
            });
        }
        let (mut head, used) = Head::decode(bytes)?;
        head.check()?;
        let payload = bytes.slice(used..);
        if payload.len() > MAX_PAYLOAD || (!payload.is_empty() && !head.has_payload()) {
            return Err(WireError::Malformed);
        }
        head.locate(&mut place_of);
        Ok(Self { head, payload })
    }
}

/// A frame on its way: bytes as they came or go, or a value that nobody has had to encode.
///
/// Cloning it copies no payload. In a simulation frames stay values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBuf(Repr);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Repr {
    Encoded(Bytes),
    Value(Box<Frame>),
}

impl FrameBuf {
    /// The frame's bytes; a value is encoded now.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        match self.0 {
            Repr::Encoded(bytes) => bytes,
            Repr::Value(frame) => frame.encode(),
        }
    }

    /// The same frame, encoded: worth it before it is cloned for several links.
    #[must_use]
    pub fn encoded(self) -> Self {
        Self(Repr::Encoded(self.into_bytes()))
    }

    /// Reads the frame; see [`Frame::decode`]. A value is only cloned.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are no frame.
    pub fn decode(&self, room: &RoomId) -> Result<Frame, WireError> {
        self.decode_with(|id| Place::of(room, id))
    }

    /// [`FrameBuf::decode`], with the places that are known.
    pub(crate) fn decode_by(&self, known: &mut KnownPlaces) -> Result<Frame, WireError> {
        self.decode_with(|id| known.of(id))
    }

    fn decode_with(&self, place_of: impl FnMut(NodeId) -> Place) -> Result<Frame, WireError> {
        match &self.0 {
            Repr::Encoded(bytes) => Frame::decode_with(bytes, place_of),
            Repr::Value(frame) => Ok((**frame).clone()),
        }
    }

    /// The same frame with another hop count, for kinds that have one; others are returned as
    /// they are. Bytes that nobody else holds are changed in place.
    #[must_use]
    pub fn with_hops(self, hops: u16) -> Self {
        let hops = Hops::new(hops);
        match self.0 {
            Repr::Encoded(bytes) => {
                if !matches!(bytes.first(), Some(0x30..=0x32)) || bytes.len() < 3 {
                    return Self(Repr::Encoded(bytes));
                }
                let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| {
                    let mut copy = BytesMut::with_capacity(shared.len());
                    copy.put(shared);
                    copy
                });
                bytes[1..3].copy_from_slice(&hops.0);
                Self(Repr::Encoded(bytes.freeze()))
            }
            Repr::Value(mut frame) => {
                match &mut frame.head {
                    Head::Routed(routed) => routed.hops = hops,
                    Head::Lookup(lookup) => lookup.hops = hops,
                    Head::Broadcast(broadcast) => broadcast.hops = hops,
                    _ => {}
                }
                Self(Repr::Value(frame))
            }
        }
    }

    /// The frame's size in bytes; of a value that is not encoded an estimate.
    #[must_use]
    pub fn size(&self) -> usize {
        match &self.0 {
            Repr::Encoded(bytes) => bytes.len(),
            Repr::Value(frame) => 128 + frame.payload.len(),
        }
    }
}

impl From<Bytes> for FrameBuf {
    fn from(bytes: Bytes) -> Self {
        Self(Repr::Encoded(bytes))
    }
}

impl From<Frame> for FrameBuf {
    fn from(frame: Frame) -> Self {
        Self(Repr::Value(Box::new(frame)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Identity, Incarnation, NodeId, Signature};
    use crate::ring::Position;
    use crate::wire::{ByeReason, Heard, LookupReply, NodeKind, Places, ReliableAck, Wish, Wishes};
    use alloc::vec;
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{Rng, RngExt, SeedableRng};

    fn room() -> RoomId {
        RoomId::open("room")
    }

    fn place(seed: u8) -> Place {
        Place::of(&room(), Identity::from_seed(&[seed; 32]).node_id())
    }

    fn routed(body: Body) -> Head {
        let mut detour = Detour::default();
        detour.add(Position(u64::MAX));
        Head::Routed(Routed {
            hops: Hops::new(3),
            hop_limit: 300,
            to: place(1),
            from: place(2),
            incarnation: Incarnation(u64::MAX),
            detour,
            body,
        })
    }

    /// One frame of every kind and every body.
    fn all() -> Vec<Frame> {
        let places = || Places::from(vec![place(1), place(2), place(3)]);
        let signature = Signature::from_bytes([7; 64]);
        let ack = ReliableAck {
            stream: Incarnation(5),
            next: 6,
            bitmap: u64::MAX,
        };
        let heads = vec![
            Head::Ping(Ping { stamp: 1 << 40 }),
            Head::Pong(Pong { stamp: 0 }),
            Head::Bye(Bye {
                reason: ByeReason::Leaving,
                successors: places(),
                predecessors: Places::default(),
            }),
            Head::Want(Want {
                wishes: Wishes::of(Wish::Ring).and(Wishes::of(Wish::Direct)),
                serial: 200,
            }),
            Head::Join(Join {
                unreachable: places(),
            }),
            Head::JoinReply(JoinReply {
                accepted: true,
                successors: places(),
                nearer: places(),
            }),
            Head::Stabilize(Stabilize { version: 8 }),
            Head::Current(Current { version: 9 }),
            Head::Table(Table {
                version: 9,
                member: true,
                successors: places(),
                predecessors: places(),
                links: places(),
            }),
            Head::Notify(Notify {}),
            Head::Presence(Presence {
                node: place(4),
                incarnation: Incarnation(1),
                revision: 2,
                name: "ada".into(),
                kind: NodeKind::Browser,
                leaving: false,
                may_be_hub: true,
                hub: Some(place(2).id),
                neighbours: vec![NodeId::from_bytes([1; 32])],
                urls: vec!["wss://example.org/ws".into()],
                signature,
            }),
            Head::PresenceRequest(PresenceRequest {}),
            Head::Gone(Gone {
                node: place(5),
                incarnation: Incarnation(1),
                revision: 1,
            }),
            routed(Body::Datagram),
            routed(Body::Reliable {
                sequence: 2,
                floor: 1,
            }),
            routed(Body::Ack(ack)),
            routed(Body::LookupReply(LookupReply { id: 1, hops: 2 })),
            Head::Lookup(Lookup {
                hops: Hops::new(u16::MAX),
                hop_limit: 1,
                target: u64::MAX,
                origin: place(6),
                id: 1,
            }),
            Head::Broadcast(Broadcast {
                hops: Hops::new(0),
                origin: place(7),
                incarnation: Incarnation(1),
                sequence: 1,
                count: 1,
                signature,
            }),
            Head::BroadcastRequest(BroadcastRequest {
                origin: NodeId::from_bytes([1; 32]),
                incarnation: Incarnation(1),
                first: 1,
                last: 2,
            }),
            Head::Circulate(Circulate {
                origin: place(8),
                incarnation: Incarnation(1),
                id: 1,
                seen: vec![NodeId::from_bytes([1; 32]); MAX_SEEN],
                count: 2_000,
                signature,
            }),
            Head::CirculateAck(CirculateAck {
                origin: NodeId::from_bytes([1; 32]),
                incarnation: Incarnation(1),
                id: 1,
            }),
            Head::CatchUp(CatchUp {
                within_ms: 5_000,
                heard: vec![Heard {
                    origin: NodeId::from_bytes([1; 32]),
                    incarnation: Incarnation(1),
                    next: 300,
                }],
            }),
        ];
        heads
            .into_iter()
            .map(|head| Frame {
                payload: if head.has_payload() {
                    Bytes::from_static(b"content")
                } else {
                    Bytes::new()
                },
                head,
            })
            .collect()
    }

    #[test]
    fn every_kind_survives_encoding() {
        let frames = all();
        for (kind, name) in Head::KINDS {
            let has = frames.iter().any(|frame| frame.head.kind() == *kind);
            assert!(has, "{name} is not tried");
        }
        for frame in frames {
            assert_eq!(Frame::decode(&frame.encode(), &room()), Ok(frame));
        }
    }

    #[test]
    fn positions_are_computed_and_cannot_be_claimed() {
        let mut liar = place(1);
        liar.position = crate::ring::Position(42);
        let frame = Frame::from(Gone {
            node: liar,
            incarnation: Incarnation(1),
            revision: 1,
        });
        let Ok(Frame {
            head: Head::Gone(gone),
            ..
        }) = Frame::decode(&frame.encode(), &room())
        else {
            panic!("decodes");
        };
        assert_eq!(gone.node, place(1));
    }

    #[test]
    fn truncated_and_extended_frames_are_errors() {
        for frame in all() {
            let bytes = frame.encode();
            let head = bytes.len() - frame.payload.len();
            for len in 0..head {
                let cut = bytes.slice(..len);
                assert!(
                    Frame::decode(&cut, &room()).is_err(),
                    "{frame:?} cut at {len}"
                );
            }
            if !frame.head.has_payload() {
                let mut longer = bytes.to_vec();
                longer.push(0);
                assert_eq!(
                    Frame::decode(&longer.into(), &room()),
                    Err(WireError::Malformed)
                );
            }
        }
    }

    #[test]
    fn limits_are_kept() {
        let huge = Bytes::from(vec![0x30; MAX_FRAME + 1]);
        assert!(matches!(
            Frame::decode(&huge, &room()),
            Err(WireError::TooLarge { .. })
        ));
        let long = Frame::from(Table {
            links: Places::from(vec![place(1); MAX_LIST + 1]),
            ..Table::default()
        });
        assert_eq!(
            Frame::decode(&long.encode(), &room()),
            Err(WireError::OverLimit("links"))
        );
        let detour = postcard::to_allocvec(&vec![0_u64; Detour::MAX + 1]).unwrap();
        let Head::Routed(mut routed) = routed(Body::Datagram) else {
            unreachable!()
        };
        routed.detour = postcard::from_bytes(&detour).unwrap();
        assert_eq!(
            Frame::decode(&Frame::from(routed).encode(), &room()),
            Err(WireError::OverLimit("detour"))
        );
        let unknown = Bytes::from_static(&[0xee, 1, 2, 3]);
        assert_eq!(
            Frame::decode(&unknown, &room()),
            Err(WireError::UnknownKind(0xee))
        );
    }

    #[test]
    fn garbage_never_panics() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let frames: Vec<_> = all().iter().map(Frame::encode).collect();
        for _ in 0..50_000 {
            // Half random bytes, half real frames with a few bytes changed.
            let bytes = if rng.random() {
                let mut bytes = vec![0; rng.random_range(0..200)];
                rng.fill_bytes(&mut bytes);
                bytes
            } else {
                let mut bytes = frames[rng.random_range(0..frames.len())].to_vec();
                for _ in 0..rng.random_range(1..8) {
                    let at = rng.random_range(0..bytes.len());
                    bytes[at] = rng.random();
                }
                bytes
            };
            if let Ok(frame) = Frame::decode(&bytes.into(), &room()) {
                assert!(frame.payload.len() <= MAX_PAYLOAD);
            }
        }
    }

    #[test]
    fn hops_are_changed_in_place_and_only_where_they_are() {
        for frame in all() {
            let value = FrameBuf::from(frame.clone()).with_hops(500);
            let encoded = FrameBuf::from(frame.encode()).with_hops(500);
            assert_eq!(value.clone().encoded(), encoded, "{frame:?}");
            assert_eq!(encoded.decode(&room()), value.decode(&room()));
        }
        let bytes = all()[12].encode();
        let before = bytes.as_ptr();
        let after = FrameBuf::from(bytes).with_hops(7).into_bytes();
        assert_eq!(before, after.as_ptr(), "copied for nothing");
    }
}
