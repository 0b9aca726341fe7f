//! What the tests of whole nodes have in common.
#![allow(dead_code, reason = "each test binary uses what it needs, and no more")]

use std::net::SocketAddr;
use std::time::Duration;

use circlet_node::transport::Transport;
use circlet_node::{
    Config, Event, Events, Identity, Message, Node, NodeBuilder, NodeEvent, NodeId, Snapshot,
};
use circlet_tracker::Tracker;
use tokio::time::{Instant, sleep, timeout};

/// How long anything may take: much longer than it does on a machine that does nothing else.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub async fn tracker() -> Tracker {
    let address = SocketAddr::from(([127, 0, 0, 1], 0));
    let serving = Tracker::builder().bind(address).serve();
    serving.await.expect("a tracker")
}

/// The identity number `seed` of these tests.
pub fn identity(seed: u8) -> Identity {
    Identity::from_seed(&[seed; 32])
}

/// A node to be, in the room of these tests.
pub fn builder(seed: u8, tracker: &str, transport: impl Transport) -> NodeBuilder {
    Node::builder()
        .room("test")
        .tracker(tracker)
        .name(format!("node {seed}"))
        .identity(identity(seed))
        .transport(transport)
}

/// A running node and what it says.
pub struct Member {
    pub node: Node,
    pub events: Events,
}

impl Member {
    pub async fn start(builder: NodeBuilder) -> Self {
        let (node, events) = builder.start().await.expect("a node");
        Self { node, events }
    }

    /// Starts `count` nodes and waits until they are one ring.
    pub async fn ring<T: Transport + Clone>(count: u8, tracker: &str, transport: &T) -> Vec<Self> {
        let mut members = Vec::new();
        for seed in 1..=count {
            members.push(Self::start(builder(seed, tracker, transport.clone())).await);
        }
        until_ring_is_closed(&members).await;
        members
    }

    /// The next event that `pick` makes something of; others are dropped.
    pub async fn find<T>(&mut self, mut pick: impl FnMut(NodeEvent) -> Option<T>) -> T {
        let search = async {
            loop {
                let event = self.events.next().await.expect("the node goes on");
                if let Some(found) = pick(event) {
                    return found;
                }
            }
        };
        timeout(PATIENCE, search).await.expect("an event in time")
    }

    pub async fn message(&mut self) -> Message {
        self.find(|event| match event {
            NodeEvent::Message(message) => Some(message),
            _ => None,
        })
        .await
    }

    pub async fn overlay(&mut self, mut is_it: impl FnMut(&Event) -> bool) -> Event {
        self.find(|event| match event {
            NodeEvent::Overlay(event) if is_it(&event) => Some(event),
            _ => None,
        })
        .await
    }

    /// Reads all events to the end of the node; the last of them.
    pub async fn last_event(&mut self) -> Option<NodeEvent> {
        let search = async {
            let mut last = None;
            while let Some(event) = self.events.next().await {
                last = Some(event);
            }
            last
        };
        timeout(PATIENCE, search).await.expect("an end in time")
    }

    pub async fn snapshot(&self) -> Snapshot {
        self.node.snapshot().await.expect("the node goes on")
    }
}

/// The other members, in the order of their places, from `member` on.
pub fn others_in_order(members: &[Member], member: &Member) -> Vec<NodeId> {
    let mut places: Vec<_> = members
        .iter()
        .map(|member| (member.node.position(), member.node.id()))
        .collect();
    places.sort();
    let at = places.iter().position(|(_, id)| *id == member.node.id());
    places.rotate_left(at.expect("it is among them"));
    places.into_iter().skip(1).map(|(_, id)| id).collect()
}

/// Waits until everybody's lists say that these are the members, in the order of their places,
/// and everybody knows everybody.
pub async fn until_ring_is_closed(members: &[Member]) {
    let list_len = Config::default().list_len;
    until("the ring is closed", async || {
        for member in members {
            let snapshot = member.snapshot().await;
            let others = others_in_order(members, member);
            if !snapshot.member
                || !snapshot.successors.iter().eq(others.iter().take(list_len))
                || !snapshot
                    .predecessors
                    .iter()
                    .eq(others.iter().rev().take(list_len))
                || snapshot.members.len() != others.len()
            {
                return false;
            }
        }
        true
    })
    .await;
}

/// Asks again and again until it is so.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "{what}: not in time");
        sleep(Duration::from_millis(10)).await;
    }
}
