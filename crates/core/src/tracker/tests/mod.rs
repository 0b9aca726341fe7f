//! A bench to test the tracker on: its clock, its clients, what they say.

mod announce;
mod assignment;
mod consistency;
mod lifecycle;
mod login;
mod relay;

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::time::Duration;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::identity::{Identity, Incarnation, NodeId, Purpose};
use crate::ring::Place;
use crate::topology::Topology;
use crate::wire::{
    Assignment, LinkReport, LinkState, NodeKind, RejectReason, Signal, SignalBody, SignedSignal,
    Wish, login_bytes,
};

const ROOM: &str = "room";

/// A tracker, its clock, and the nonces that its clients were given.
struct Bench {
    tracker: Tracker,
    now: Timestamp,
    nonces: BTreeMap<ClientId, String>,
    clients: u64,
    /// Everything it ever put out.
    trace: Vec<Output>,
}

impl Bench {
    fn new() -> Self {
        Self::with(TrackerConfig::default())
    }

    fn with(config: TrackerConfig) -> Self {
        Self::seeded(config, 1)
    }

    fn seeded(config: TrackerConfig, seed: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        Self {
            tracker: Tracker::new(config, &mut rng),
            now: Timestamp::ZERO,
            nonces: BTreeMap::new(),
            clients: 0,
            trace: Vec::new(),
        }
    }

    fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }

    fn drain(&mut self) -> Vec<Output> {
        let outputs: Vec<_> = core::iter::from_fn(|| self.tracker.poll_output()).collect();
        self.trace.extend(outputs.iter().cloned());
        outputs
    }

    fn input(&mut self, input: Input) -> (Result<(), InputError>, Vec<Output>) {
        let result = self.tracker.handle(self.now, input);
        (result, self.drain())
    }

    fn timeout(&mut self) -> Vec<Output> {
        self.tracker.handle_timeout(self.now);
        self.drain()
    }

    fn say(
        &mut self,
        client: ClientId,
        message: TrackerMessage,
    ) -> (Result<(), InputError>, Vec<Output>) {
        self.input(Input::Message { client, message })
    }

    /// Says something that is taken.
    fn tell(&mut self, client: ClientId, message: TrackerMessage) -> Vec<Output> {
        let (result, outputs) = self.say(client, message);
        assert_eq!(result, Ok(()));
        outputs
    }

    fn connect(&mut self) -> ClientId {
        self.clients += 1;
        let client = ClientId(self.clients);
        let (result, outputs) = self.input(Input::ClientUp { client });
        assert_eq!(result, Ok(()));
        match outputs.as_slice() {
            [
                Output::Send {
                    message: TrackerMessage::Challenge { version, nonce, .. },
                    ..
                },
            ] => {
                assert_eq!((*version, nonce.len()), (VERSION, 64));
                self.nonces.insert(client, nonce.clone());
            }
            other => panic!("{other:?}"),
        }
        client
    }

    fn login(&self, client: ClientId, who: &Who) -> TrackerMessage {
        let node = who.identity.node_id();
        let nonce = &self.nonces[&client];
        let signed = login_bytes(
            nonce,
            &node,
            who.incarnation,
            who.topology,
            &who.room,
            &who.name,
        );
        TrackerMessage::Login {
            node,
            incarnation: who.incarnation,
            room: who.room.clone(),
            name: who.name.clone(),
            kind: NodeKind::Native,
            topology: who.topology,
            hub: who.hub,
            signature: who.identity.sign(Purpose::Login, &signed),
        }
    }

    /// Connects and logs in.
    fn enter(&mut self, who: &Who) -> (ClientId, u64, Assignment) {
        let client = self.connect();
        let login = self.login(client, who);
        let outputs = self.tell(client, login);
        match outputs.last() {
            Some(Output::Send {
                client: to,
                message:
                    TrackerMessage::Welcome {
                        members,
                        assignment,
                        ..
                    },
            }) if *to == client => (client, *members, assignment.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// Connects, tries to log in, and returns what it was told before it was closed.
    fn turned_away(&mut self, who: &Who) -> TrackerMessage {
        let client = self.connect();
        let login = self.login(client, who);
        self.refusal(client, login)
    }

    /// Says something, and returns what the client was told before it was closed.
    fn refusal(&mut self, client: ClientId, message: TrackerMessage) -> TrackerMessage {
        let (result, outputs) = self.say(client, message);
        assert_eq!(result, Err(InputError::Refused));
        last_words(client, &outputs)
    }

    fn entry(&self, node: NodeId) -> Option<Entry> {
        let room = self.tracker.room(ROOM)?;
        room.members.into_iter().find(|entry| entry.node == node)
    }
}

/// What `client` was told right before its close, which ends `outputs`.
fn last_words(client: ClientId, outputs: &[Output]) -> TrackerMessage {
    match outputs {
        [
            Output::Send {
                client: to,
                message,
            },
            ..,
            Output::Close { client: closed },
        ] if *to == client && *closed == client => message.clone(),
        other => panic!("{other:?}"),
    }
}

fn error_code(message: &TrackerMessage) -> ErrorCode {
    match message {
        TrackerMessage::Error { code, message } => {
            assert!(
                !message.is_empty() && !message.contains('\n'),
                "{message:?}"
            );
            *code
        }
        other => panic!("{other:?}"),
    }
}

/// What a node says of itself.
#[derive(Clone)]
struct Who {
    identity: Identity,
    incarnation: Incarnation,
    room: String,
    name: String,
    topology: Topology,
    hub: Option<NodeId>,
}

impl Who {
    fn new(seed: u8) -> Self {
        Self {
            identity: Identity::from_seed(&[seed; 32]),
            incarnation: Incarnation(100),
            room: ROOM.into(),
            name: format!("node {seed}"),
            topology: Topology::SmallWorld,
            hub: None,
        }
    }

    fn id(&self) -> NodeId {
        self.identity.node_id()
    }

    fn signal_in(&self, room: &str, to: NodeId, signal: Signal) -> SignedSignal {
        SignalBody {
            version: VERSION,
            room: RoomId::open(room),
            from: self.id(),
            to,
            incarnation: self.incarnation,
            attempt: 42,
            sequence: 1,
            expires_unix_ms: 1,
            signal,
        }
        .sign(&self.identity)
    }

    fn signal(&self, to: NodeId, signal: Signal) -> TrackerMessage {
        TrackerMessage::Signal {
            signal: self.signal_in(ROOM, to, signal),
        }
    }
}

fn every_signal() -> Vec<Signal> {
    vec![
        Signal::Offer {
            sdp: "v=0".into(),
            wish: Wish::Ring,
            topology: Topology::SmallWorld,
        },
        Signal::Answer { sdp: "v=0".into() },
        Signal::Candidate {
            candidate: "candidate:1".into(),
            sdp_mid: None,
            sdp_mline_index: None,
        },
        Signal::EndOfCandidates,
        Signal::Reject {
            reason: RejectReason::Full,
        },
    ]
}

fn announce(
    member: bool,
    successor: Option<NodeId>,
    predecessor: Option<NodeId>,
    links: &[NodeId],
) -> TrackerMessage {
    TrackerMessage::Announce {
        member,
        successor,
        predecessor,
        links: links
            .iter()
            .map(|peer| LinkReport {
                peer: *peer,
                state: LinkState::Open,
                rtt_us: Some(400),
            })
            .collect(),
        connected: 3,
        unconnected: 1,
    }
}

fn is_assigned(outputs: &[Output], client: ClientId) -> bool {
    matches!(outputs, [Output::Send { client: to, message: TrackerMessage::Assigned { .. } }]
        if *to == client)
}

/// `count` nodes in ring order of [`ROOM`].
fn in_ring_order(count: u8) -> Vec<Who> {
    let room = RoomId::open(ROOM);
    let mut all: Vec<_> = (1..=count).map(Who::new).collect();
    all.sort_by_key(|who| Place::of(&room, who.id()));
    all
}

/// Fills a room with nodes that are all members of one ring; the clients in ring order.
fn closed_ring(bench: &mut Bench, nodes: &[Who]) -> Vec<ClientId> {
    let clients: Vec<_> = nodes.iter().map(|who| bench.enter(who).0).collect();
    for (i, client) in clients.iter().enumerate() {
        let successor = nodes[(i + 1) % nodes.len()].id();
        let predecessor = nodes[(i + nodes.len() - 1) % nodes.len()].id();
        bench.tell(
            *client,
            announce(true, Some(successor), Some(predecessor), &[]),
        );
    }
    clients
}
