//! What a member does for every frame: decode, route, pass on, answer. Nanoseconds and allocations a
//! call, so that a slowdown is seen.
//!
//! `cargo bench -p circlet-core --bench hot_paths`

use bytes::Bytes;
use circlet_core::identity::{Identity, Incarnation, Purpose, Signature};
use circlet_core::node::{
    Channel, Command, CommandId, Input, InputError, LinkId, Membership, Node, Output, TrackerId,
};
use circlet_core::overlay::Detour;
use circlet_core::ring::Place;
use circlet_core::room::RoomId;
use circlet_core::wire::{
    Assignment, Body, Broadcast, Frame, FrameBuf, Head, Hops, NodeKind, Ping, Routed, Signal,
    SignalBody, SignedSignal, Stabilize, Table, TrackerMessage, VERSION, Wish,
};
use circlet_core::{Config, Timestamp, Topology};
use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const ROOM: &str = "bench";

/// Links of the member: 4 ring links each side, 8 long links of its own and 8 of others.
const LINKS: u8 = 24;

/// Links of each neighbour, for lookahead.
const AHEAD: u8 = 24;

const UNIX_MS: u64 = 1_800_000_000_000;

fn main() {
    divan::main();
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&[number; 32])
}

fn place(number: u8) -> Place {
    Place::of(&RoomId::open(ROOM), identity(number).node_id())
}

/// A member with [`LINKS`] links, each with a neighbour that has told its table.
struct Member {
    node: Node,
    now: Timestamp,
    links: Vec<(LinkId, Place)>,
}

impl Member {
    fn new() -> Result<Self, InputError> {
        let now = Timestamp::ZERO;
        let membership = Membership {
            identity: identity(0),
            incarnation: Incarnation(1),
            room: ROOM.to_owned(),
            name: "bench".to_owned(),
            kind: NodeKind::Native,
            topology: Topology::SmallWorld,
            hub: None,
            trackers: 1,
        };
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut node = Node::new(Config::default(), membership, &mut rng, now);
        node.handle(now, Input::WallClock { unix_ms: UNIX_MS })?;
        for message in [
            TrackerMessage::Challenge {
                version: VERSION,
                nonce: "00".repeat(32),
            },
            TrackerMessage::Welcome {
                hub: None,
                time_unix_ms: UNIX_MS,
                members: 1,
                assignment: Assignment::default(),
            },
        ] {
            let tracker = TrackerId(0);
            node.handle(now, Input::Tracker { tracker, message })?;
        }
        let mut member = Self {
            node,
            now,
            links: Vec::new(),
        };
        member.drain();
        for number in 1..=LINKS {
            member.link(number)?;
        }
        Ok(member)
    }

    fn link(&mut self, number: u8) -> Result<(), InputError> {
        let wish = if number <= 8 { Wish::Ring } else { Wish::Long };
        self.node
            .handle(self.now, Input::Signal(offer(number, wish)))?;
        let opened = self.drain().into_iter().find_map(|output| match output {
            Output::OpenLink { link, .. } => Some(link),
            _ => None,
        });
        let link = opened.ok_or(InputError::Full)?;
        self.links.push((link, place(number)));
        self.node.handle(self.now, Input::LinkUp { link })?;
        let mut links: Vec<_> = (0..AHEAD)
            .map(|other| place(number.wrapping_add(7 * other + 30)))
            .collect();
        links.sort();
        let table = Table {
            version: 1,
            member: true,
            links: links.into(),
            ..Table::default()
        };
        self.hear(link, Channel::Control, Frame::from(table).encode())?;
        self.drain();
        Ok(())
    }

    fn hear(&mut self, link: LinkId, channel: Channel, bytes: Bytes) -> Result<(), InputError> {
        let frame = FrameBuf::from(bytes);
        self.node.handle(
            self.now,
            Input::Frame {
                link,
                channel,
                frame,
            },
        )
    }

    /// What it wants done; frames are taken to be sent at once.
    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.node.poll_output() {
            if let Output::SendFrame { link, frame, .. } = &output {
                let (link, bytes) = (*link, frame.size());
                let writable = Input::LinkWritable { link, bytes };
                // It is open.
                let _ = self.node.handle(self.now, writable);
            }
            outputs.push(output);
        }
        outputs
    }

    /// The same without keeping them.
    fn work_off(&mut self) {
        while let Some(output) = self.node.poll_output() {
            if let Output::SendFrame { link, frame, .. } = &output {
                let (link, bytes) = (*link, frame.size());
                // It is open.
                let _ = self
                    .node
                    .handle(self.now, Input::LinkWritable { link, bytes });
            }
            black_box(output);
        }
    }
}

fn member() -> Member {
    Member::new().expect("all of its inputs are as they should be")
}

fn offer(number: u8, wish: Wish) -> SignedSignal {
    let identity = identity(number);
    let signal = SignalBody {
        version: VERSION,
        room: RoomId::open(ROOM),
        from: identity.node_id(),
        to: place(0).id,
        incarnation: Incarnation(1),
        attempt: u64::from(number),
        sequence: 1,
        expires_unix_ms: UNIX_MS + 30_000,
        signal: Signal::Offer {
            sdp: "v=0\r\n".repeat(200),
            wish,
            topology: Topology::SmallWorld,
        },
    };
    signal.sign(&identity)
}

fn routed(to: u8, from: u8, body: Body, payload: usize) -> Bytes {
    let head = Head::Routed(Routed {
        hops: Hops::new(1),
        hop_limit: 64,
        to: place(to),
        from: place(from),
        incarnation: Incarnation(1),
        detour: Detour::default(),
        body,
    });
    let payload = Bytes::from(vec![7; payload]);
    Frame { head, payload }.encode()
}

fn table() -> Bytes {
    let places: Vec<_> = (1..=AHEAD).map(place).collect();
    let table = Table {
        version: 2,
        member: true,
        successors: places[..8].to_vec().into(),
        predecessors: places[8..16].to_vec().into(),
        links: places.into(),
    };
    Frame::from(table).encode()
}

#[divan::bench(args = [100, 1024, 60_000])]
fn decode_message(bencher: Bencher<'_, '_>, payload: usize) {
    let bytes = routed(1, 2, Body::Datagram, payload);
    let room = RoomId::open(ROOM);
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench(|| Frame::decode(black_box(&bytes), &room));
}

#[divan::bench]
fn decode_table(bencher: Bencher<'_, '_>) {
    let (bytes, room) = (table(), RoomId::open(ROOM));
    bencher.bench(|| Frame::decode(black_box(&bytes), &room));
}

#[divan::bench]
fn encode_table(bencher: Bencher<'_, '_>) {
    let frame = Frame::decode(&table(), &RoomId::open(ROOM)).expect("a table");
    bencher.bench(|| black_box(&frame).encode());
}

/// Decodes a message for another member, looks where it goes, and passes it on: 1 KiB.
#[divan::bench(args = [100, 1024, 60_000])]
fn forward(bencher: Bencher<'_, '_>, payload: usize) {
    let mut member = member();
    let (link, _) = member.links[0];
    let bytes = routed(60, 61, Body::Datagram, payload);
    bencher
        .counter(BytesCount::new(bytes.len()))
        // As it comes from the network: nobody else has a part in it.
        .with_inputs(|| Bytes::from(bytes.to_vec()))
        .bench_local_values(|bytes| {
            member
                .hear(link, Channel::Messages, bytes)
                .expect("it is passed on");
            member.work_off();
        });
}

/// Finds the way of a message of its own: greedy, with lookahead over all neighbours.
#[divan::bench]
fn route_own_message(bencher: Bencher<'_, '_>) {
    let mut member = member();
    let payload = Bytes::from(vec![7; 100]);
    let to = place(60).id;
    bencher.bench_local(|| {
        let command = Command::Datagram {
            id: CommandId(1),
            to,
            payload: payload.clone(),
        };
        member
            .node
            .handle(member.now, Input::Command(command))
            .expect("there is a way");
        member.work_off();
    });
}

/// Takes a reliable message in order and gives it to the application.
#[divan::bench]
fn receive_reliable(bencher: Bencher<'_, '_>) {
    let mut member = member();
    let (link, _) = member.links[0];
    let mut sequence = 0;
    bencher
        .with_inputs(|| {
            sequence += 1;
            routed(0, 61, Body::Reliable { sequence, floor: 1 }, 1024)
        })
        .bench_local_values(|bytes| {
            member
                .hear(link, Channel::Messages, bytes)
                .expect("it is taken");
            member.work_off();
        });
}

/// Verifies a broadcast and passes it on to all others.
#[divan::bench]
fn flood_broadcast(bencher: Bencher<'_, '_>) {
    let mut member = member();
    let (link, origin) = member.links[0];
    let (key, room, mut sequence) = (identity(1), RoomId::open(ROOM), 0);
    bencher
        .with_inputs(|| {
            sequence += 1;
            let payload = Bytes::from(vec![7; 200]);
            let mut head = Broadcast {
                hops: Hops::new(0),
                origin,
                incarnation: Incarnation(1),
                sequence,
                count: 1,
                signature: Signature::from_bytes([0; 64]),
            };
            let signed = head.signed_bytes(&room, &payload);
            head.signature = key.sign(Purpose::Broadcast, &signed);
            let head = Head::Broadcast(head);
            Frame { head, payload }.encode()
        })
        .bench_local_values(|bytes| {
            member
                .hear(link, Channel::Messages, bytes)
                .expect("it is genuine");
            member.work_off();
        });
}

/// Answers a neighbour that asks for news.
#[divan::bench]
fn answer_stabilize(bencher: Bencher<'_, '_>) {
    let mut member = member();
    let (link, _) = member.links[0];
    // There is none, as nearly always.
    let bytes = Frame::from(Stabilize { version: u64::MAX }).encode();
    bencher.bench_local(|| {
        // More than a link may bring in a second is dropped: time goes on.
        member.now = member.now + std::time::Duration::from_millis(1);
        member
            .hear(link, Channel::Control, bytes.clone())
            .expect("it is answered");
        member.work_off();
    });
}

#[divan::bench]
fn answer_ping(bencher: Bencher<'_, '_>) {
    let mut member = member();
    let (link, _) = member.links[0];
    let bytes = Frame::from(Ping { stamp: 1 }).encode();
    bencher.bench_local(|| {
        member.now = member.now + std::time::Duration::from_millis(1);
        member
            .hear(link, Channel::Control, bytes.clone())
            .expect("it is answered");
        member.work_off();
    });
}
