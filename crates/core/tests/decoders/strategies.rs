//! Any value of every type that travels, within the limits of the wire.

use std::collections::BTreeSet;

use bytes::Bytes;
use circlet_core::Topology;
use circlet_core::identity::{Incarnation, NodeId, Signature};
use circlet_core::overlay::Detour;
use circlet_core::ring::{Place, Position};
use circlet_core::room::RoomId;
use circlet_core::wire::{
    Assignment, Body, Broadcast, BroadcastRequest, Bye, ByeReason, CatchUp, Circulate,
    CirculateAck, Current, ErrorCode, Frame, Gone, Head, Heard, Hops, Join, JoinReply, LinkReport,
    LinkState, Lookup, LookupReply, MAX_CANDIDATE, MAX_CIRCULATED, MAX_FRAME, MAX_LIST, MAX_NAME,
    NodeKind, Notify, Ping, Places, Pong, Presence, PresenceRequest, RejectReason, ReliableAck,
    Routed, Signal, SignalBody, SignedSignal, Stabilize, Table, TrackerMessage, Want, Wish, Wishes,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::{LazyJust, Union};
use proptest::string::string_regex;

pub fn room() -> RoomId {
    RoomId::open("room")
}

/// Numbers of all lengths, the extreme ones among them.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        any::<u64>(),
        any::<u16>().prop_map(u64::from)
    ]
}

fn id() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId::from_bytes)
}

fn place() -> impl Strategy<Value = Place> {
    id().prop_map(|id| Place::of(&room(), id))
}

fn places() -> impl Strategy<Value = Places> {
    prop_oneof![4 => vec(place(), 0..9), 1 => vec(place(), MAX_LIST)].prop_map(Places::from)
}

fn signature() -> impl Strategy<Value = Signature> {
    vec(any::<u8>(), 64).prop_map(|bytes| Signature::from_bytes(bytes.try_into().unwrap()))
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    number().prop_map(Incarnation)
}

fn text(most: usize) -> impl Strategy<Value = String> {
    string_regex(".{0,60}").unwrap().prop_map(move |mut text| {
        while text.len() > most {
            text.pop();
        }
        text
    })
}

fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        1 => (0..60 * 1024_usize).prop_map(|len| Bytes::from(vec![7; len])),
    ]
}

fn hops() -> impl Strategy<Value = Hops> {
    any::<u16>().prop_map(Hops::new)
}

fn kind() -> impl Strategy<Value = NodeKind> {
    select(&[NodeKind::Native, NodeKind::Browser][..])
}

fn topology() -> impl Strategy<Value = Topology> {
    select(
        &[
            Topology::Ring,
            Topology::SmallWorld,
            Topology::Mesh,
            Topology::Star,
        ][..],
    )
}

fn wish() -> impl Strategy<Value = Wish> {
    select(&[Wish::Ring, Wish::Long, Wish::Direct][..])
}

fn want() -> impl Strategy<Value = Want> {
    (vec(wish(), 0..4), any::<u8>()).prop_map(|(wishes, serial)| {
        let wishes = wishes.into_iter().map(Wishes::of);
        Want {
            wishes: wishes.fold(Wishes::NOTHING, Wishes::and),
            serial,
        }
    })
}

fn table() -> impl Strategy<Value = Table> {
    (number(), any::<bool>(), places(), places(), places()).prop_map(
        |(version, member, successors, predecessors, links)| Table {
            version,
            member,
            successors,
            predecessors,
            links,
        },
    )
}

fn presence() -> impl Strategy<Value = Presence> {
    let about = (text(MAX_NAME), kind(), any::<bool>());
    let hub = (any::<bool>(), option::of(id()));
    let where_ = (vec(id(), 0..=2), vec(text(256), 0..=4));
    (
        place(),
        incarnation(),
        any::<u32>(),
        about,
        hub,
        where_,
        signature(),
    )
        .prop_map(
            |(
                node,
                incarnation,
                revision,
                (name, kind, leaving),
                (may_be_hub, hub),
                (neighbours, urls),
                signature,
            )| {
                Presence {
                    node,
                    incarnation,
                    revision,
                    name,
                    kind,
                    leaving,
                    may_be_hub,
                    hub,
                    neighbours,
                    urls,
                    signature,
                }
            },
        )
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        Just(Body::Datagram),
        (number(), number()).prop_map(|(sequence, floor)| Body::Reliable { sequence, floor }),
        (incarnation(), number(), number()).prop_map(|(stream, next, bitmap)| Body::Ack(
            ReliableAck {
                stream,
                next,
                bitmap
            }
        )),
        (any::<u32>(), any::<u16>())
            .prop_map(|(id, hops)| Body::LookupReply(LookupReply { id, hops })),
    ]
}

fn detour() -> impl Strategy<Value = Detour> {
    vec(number(), 0..=Detour::MAX).prop_map(|positions| {
        let mut detour = Detour::default();
        for position in positions {
            detour.add(Position(position));
        }
        detour
    })
}

fn routed() -> impl Strategy<Value = Routed> {
    (
        hops(),
        any::<u16>(),
        place(),
        place(),
        incarnation(),
        detour(),
        body(),
    )
        .prop_map(
            |(hops, hop_limit, to, from, incarnation, detour, body)| Routed {
                hops,
                hop_limit,
                to,
                from,
                incarnation,
                detour,
                body,
            },
        )
}

/// The heads of one kind after the other, each by the number of its kind.
fn heads() -> Vec<(u8, BoxedStrategy<Head>)> {
    let reason = select(&[ByeReason::Leaving, ByeReason::Unwanted, ByeReason::Protocol][..]);
    let bye = (reason, places(), places()).prop_map(|(reason, successors, predecessors)| Bye {
        reason,
        successors,
        predecessors,
    });
    let reply =
        (any::<bool>(), places(), places()).prop_map(|(accepted, successors, nearer)| JoinReply {
            accepted,
            successors,
            nearer,
        });
    let gone =
        (place(), incarnation(), any::<u32>()).prop_map(|(node, incarnation, revision)| Gone {
            node,
            incarnation,
            revision,
        });
    let lookup = (hops(), any::<u16>(), number(), place(), any::<u32>()).prop_map(
        |(hops, hop_limit, target, origin, id)| Lookup {
            hops,
            hop_limit,
            target,
            origin,
            id,
        },
    );
    let broadcast = (
        hops(),
        place(),
        incarnation(),
        number(),
        any::<u16>(),
        signature(),
    )
        .prop_map(
            |(hops, origin, incarnation, sequence, count, signature)| Broadcast {
                hops,
                origin,
                incarnation,
                sequence,
                count,
                signature,
            },
        );
    let request =
        (id(), incarnation(), number(), number()).prop_map(|(origin, incarnation, first, last)| {
            BroadcastRequest {
                origin,
                incarnation,
                first,
                last,
            }
        });
    let seen = prop_oneof![4 => vec(id(), 0..5), 1 => vec(id(), 1000)];
    let circulate = (
        place(),
        incarnation(),
        number(),
        seen,
        number(),
        signature(),
    )
        .prop_map(
            |(origin, incarnation, id, seen, count, signature)| Circulate {
                origin,
                incarnation,
                id,
                seen,
                count,
                signature,
            },
        );
    let ack = (id(), incarnation(), number()).prop_map(|(origin, incarnation, id)| CirculateAck {
        origin,
        incarnation,
        id,
    });
    let heard = (id(), incarnation(), number()).prop_map(|(origin, incarnation, next)| Heard {
        origin,
        incarnation,
        next,
    });
    let catch_up = (any::<u32>(), vec(heard, 0..9))
        .prop_map(|(within_ms, heard)| CatchUp { within_ms, heard });
    let join = places().prop_map(|unreachable| Join { unreachable });
    vec![
        (
            0x01,
            number()
                .prop_map(|stamp| Head::Ping(Ping { stamp }))
                .boxed(),
        ),
        (
            0x02,
            number()
                .prop_map(|stamp| Head::Pong(Pong { stamp }))
                .boxed(),
        ),
        (0x03, bye.prop_map(Head::Bye).boxed()),
        (0x04, want().prop_map(Head::Want).boxed()),
        (0x10, join.prop_map(Head::Join).boxed()),
        (0x11, reply.prop_map(Head::JoinReply).boxed()),
        (
            0x12,
            number()
                .prop_map(|version| Head::Stabilize(Stabilize { version }))
                .boxed(),
        ),
        (0x13, table().prop_map(Head::Table).boxed()),
        (0x14, Just(Head::Notify(Notify {})).boxed()),
        (
            0x16,
            number()
                .prop_map(|version| Head::Current(Current { version }))
                .boxed(),
        ),
        (0x20, presence().prop_map(Head::Presence).boxed()),
        (
            0x21,
            Just(Head::PresenceRequest(PresenceRequest {})).boxed(),
        ),
        (0x22, gone.prop_map(Head::Gone).boxed()),
        (0x30, routed().prop_map(Head::Routed).boxed()),
        (0x31, lookup.prop_map(Head::Lookup).boxed()),
        (0x32, broadcast.prop_map(Head::Broadcast).boxed()),
        (0x33, request.prop_map(Head::BroadcastRequest).boxed()),
        (0x34, circulate.prop_map(Head::Circulate).boxed()),
        (0x35, ack.prop_map(Head::CirculateAck).boxed()),
        (0x39, catch_up.prop_map(Head::CatchUp).boxed()),
    ]
}

/// Frames of each kind, with the kind's name.
pub fn frames() -> Vec<(&'static str, BoxedStrategy<Frame>)> {
    let heads = heads();
    let covered: BTreeSet<u8> = heads.iter().map(|(kind, _)| *kind).collect();
    let known: BTreeSet<u8> = Head::KINDS.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(
        covered, known,
        "kinds of frames that are not tried, or are none"
    );
    heads
        .into_iter()
        .map(|(kind, head)| {
            let (_, name) = Head::KINDS
                .iter()
                .find(|(known, _)| *known == kind)
                .unwrap();
            let frame = (head, payload()).prop_map(|(head, payload)| Frame {
                payload: match head {
                    // The list of those who have seen it grows in the same frame.
                    Head::Circulate(_) => payload.slice(..payload.len().min(MAX_CIRCULATED)),
                    _ if head.has_payload() => payload,
                    _ => Bytes::new(),
                },
                head,
            });
            (*name, frame.boxed())
        })
        .collect()
}

pub fn frame() -> impl Strategy<Value = Frame> {
    Union::new(frames().into_iter().map(|(_, frame)| frame))
}

/// Frames as an ordered channel carries them: bytes of all sizes that are allowed.
pub fn bytes_of_frames() -> impl Strategy<Value = Vec<Bytes>> {
    let size = prop_oneof![
        8 => 1..300_usize,
        4 => 300..5_000_usize,
        1 => MAX_FRAME - 3..=MAX_FRAME,
    ];
    let frame = (size, any::<u8>()).prop_map(|(size, first)| {
        let numbers = (0..=u8::MAX).cycle().skip(usize::from(first));
        numbers.take(size).collect()
    });
    vec(frame, 0..12)
}

/// How large the next record may be; `None` if it has to wait for another frame.
pub fn limit() -> impl Strategy<Value = Option<usize>> {
    prop_oneof![
        3 => Just(None),
        1 => (0..20_000_usize).prop_map(Some),
        1 => Just(Some(usize::MAX)),
    ]
}

/// Signals of each type, with its name.
pub fn signals() -> Vec<(&'static str, BoxedStrategy<SignedSignal>)> {
    let reasons = &[
        RejectReason::Full,
        RejectReason::Topology,
        RejectReason::Failed,
    ][..];
    let sdp = || prop_oneof![text(4096), Just("v=0\r\n".repeat(3_000))];
    let offer = (sdp(), wish(), topology()).prop_map(|(sdp, wish, topology)| Signal::Offer {
        sdp,
        wish,
        topology,
    });
    let candidate = (
        text(MAX_CANDIDATE),
        option::of(text(64)),
        option::of(any::<u16>()),
    )
        .prop_map(|(candidate, sdp_mid, sdp_mline_index)| Signal::Candidate {
            candidate,
            sdp_mid,
            sdp_mline_index,
        });
    [
        ("offer", offer.boxed()),
        (
            "answer",
            sdp().prop_map(|sdp| Signal::Answer { sdp }).boxed(),
        ),
        ("candidate", candidate.boxed()),
        (
            "end-of-candidates",
            LazyJust::new(|| Signal::EndOfCandidates).boxed(),
        ),
        (
            "reject",
            select(reasons)
                .prop_map(|reason| Signal::Reject { reason })
                .boxed(),
        ),
    ]
    .map(|(name, signal)| (name, envelope(signal).boxed()))
    .into()
}

fn envelope(signal: impl Strategy<Value = Signal>) -> impl Strategy<Value = SignedSignal> {
    let ids = (any::<[u8; 32]>(), id(), id(), incarnation());
    let numbers = (any::<u16>(), number(), number(), number());
    (ids, numbers, signal, signature()).prop_map(
        |((room, from, to, incarnation), numbers, signal, signature)| {
            let (version, attempt, sequence, expires_unix_ms) = numbers;
            SignedSignal {
                body: SignalBody {
                    version,
                    room: RoomId::from_bytes(room),
                    from,
                    to,
                    incarnation,
                    attempt,
                    sequence,
                    expires_unix_ms,
                    signal,
                },
                signature,
            }
        },
    )
}

pub fn signal() -> impl Strategy<Value = SignedSignal> {
    Union::new(signals().into_iter().map(|(_, signal)| signal))
}

/// Messages of each type, with its name.
pub fn tracker_messages() -> Vec<(&'static str, BoxedStrategy<TrackerMessage>)> {
    let ids = || prop_oneof![4 => vec(id(), 0..9), 1 => vec(id(), MAX_LIST)];
    let assignment = || (ids(), ids()).prop_map(|(ring, mesh)| Assignment { ring, mesh });
    let states = &[LinkState::Connecting, LinkState::Open, LinkState::Suspect][..];
    let link =
        (id(), select(states), option::of(number())).prop_map(|(peer, state, rtt_us)| LinkReport {
            peer,
            state,
            rtt_us,
        });
    let login = (
        id(),
        incarnation(),
        text(64),
        text(64),
        (kind(), topology(), option::of(id())),
        signature(),
    )
        .prop_map(
            |(node, incarnation, room, name, (kind, topology, hub), signature)| {
                TrackerMessage::Login {
                    node,
                    incarnation,
                    room,
                    name,
                    kind,
                    topology,
                    hub,
                    signature,
                }
            },
        );
    let welcome = (number(), number(), assignment(), option::of(id())).prop_map(
        |(time_unix_ms, members, assignment, hub)| TrackerMessage::Welcome {
            time_unix_ms,
            members,
            assignment,
            hub,
        },
    );
    let assigned =
        (number(), assignment()).prop_map(|(members, assignment)| TrackerMessage::Assigned {
            members,
            assignment,
        });
    let beside = (any::<bool>(), option::of(id()), option::of(id()));
    let announce = (beside, vec(link, 0..9), number(), number()).prop_map(
        |((member, successor, predecessor), links, connected, unconnected)| {
            TrackerMessage::Announce {
                member,
                successor,
                predecessor,
                links,
                connected,
                unconnected,
            }
        },
    );
    let codes = [
        ErrorCode::Malformed,
        ErrorCode::Login,
        ErrorCode::Room,
        ErrorCode::Topology,
        ErrorCode::Forbidden,
        ErrorCode::Full,
    ];
    let error = (select(codes.to_vec()), text(1024))
        .prop_map(|(code, message)| TrackerMessage::Error { code, message });
    let challenge = (any::<u16>(), text(64))
        .prop_map(|(version, nonce)| TrackerMessage::Challenge { version, nonce });
    let unreachable =
        (id(), number()).prop_map(|(to, attempt)| TrackerMessage::Unreachable { to, attempt });
    let superseded =
        incarnation().prop_map(|incarnation| TrackerMessage::Superseded { incarnation });
    vec![
        ("challenge", challenge.boxed()),
        ("login", login.boxed()),
        ("welcome", welcome.boxed()),
        ("assigned", assigned.boxed()),
        ("ask", Just(TrackerMessage::Ask).boxed()),
        ("announce", announce.boxed()),
        (
            "signal",
            signal()
                .prop_map(|signal| TrackerMessage::Signal { signal })
                .boxed(),
        ),
        ("unreachable", unreachable.boxed()),
        (
            "gone",
            id().prop_map(|node| TrackerMessage::Gone { node }).boxed(),
        ),
        ("superseded", superseded.boxed()),
        ("leave", Just(TrackerMessage::Leave).boxed()),
        ("error", error.boxed()),
        ("ping", Just(TrackerMessage::Ping).boxed()),
        ("pong", Just(TrackerMessage::Pong).boxed()),
    ]
}

pub fn tracker_message() -> impl Strategy<Value = TrackerMessage> {
    Union::new(tracker_messages().into_iter().map(|(_, message)| message))
}
