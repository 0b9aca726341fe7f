//! Whole nodes: driver, tracker and core together, over links in memory.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use circlet_core::node::{Channel, LinkId, Role};
use circlet_core::wire::Signal;
use circlet_node::transport::{
    Closed, Link, MemoryTransport, SendError as LinkError, Transport, TransportEvent,
};
use circlet_node::{Bytes, Class, Config, Event, FailReason, NodeEvent, Outcome, SendError};
use common::{Member, PATIENCE, builder, identity, tracker, until, until_ring_is_closed};
use tokio::sync::mpsc::Sender;
use tokio::time::timeout;

#[tokio::test]
async fn three_nodes_close_a_ring_and_everything_flows() {
    let tracker = tracker().await;
    let mut members = Member::ring(3, &tracker.url(), &MemoryTransport::default()).await;
    let ids: BTreeSet<_> = members.iter().map(|member| member.node.id()).collect();

    for from in 0..3 {
        for to in 0..3 {
            let (sender, receiver) = (members[from].node.clone(), members[to].node.id());
            let sent = sender.send(receiver, format!("{from} to {to}")).await;
            if from == to {
                assert_eq!(sent.unwrap_err(), SendError::ToSelf);
                continue;
            }
            let message = members[to].message().await;
            assert_eq!(message.from, sender.id());
            assert_eq!(message.class, Class::Reliable);
            assert_eq!(message.payload, format!("{from} to {to}"));
            assert_eq!(sent.unwrap().await, Outcome::Delivered);
        }
    }

    let (sender, receiver) = (members[0].node.clone(), members[1].node.id());
    sender.send_datagram(receiver, "datagram").await.unwrap();
    let message = members[1].message().await;
    assert_eq!(
        (message.class, &message.payload[..]),
        (Class::Datagram, &b"datagram"[..])
    );

    sender.broadcast("to all").await.unwrap();
    for member in &mut members[1..] {
        let message = member.message().await;
        assert_eq!(
            (message.class, &message.payload[..]),
            (Class::Broadcast, &b"to all"[..])
        );
    }

    let circulation = sender.circulate("round").await.unwrap();
    assert!(circulation.complete);
    let mut seen: BTreeSet<_> = circulation.seen.into_iter().collect();
    assert_eq!((circulation.count, seen.len()), (2, 2));
    seen.insert(sender.id());
    assert_eq!(seen, ids);
    for member in &mut members[1..] {
        assert_eq!(member.message().await.class, Class::Circulate);
    }

    let mut gone = members.pop().unwrap();
    let id = gone.node.id();
    gone.node.leave().await;
    let last = NodeEvent::Overlay(Event::Left);
    assert_eq!(gone.last_event().await, Some(last));
    assert_eq!(
        gone.node.send(receiver, "late").await.unwrap_err(),
        SendError::Ended
    );
    assert!(gone.node.snapshot().await.is_err());
    for member in &mut members {
        member
            .overlay(|event| matches!(event, Event::PeerLeft { peer, .. } if *peer == id))
            .await;
    }
    until_ring_is_closed(&members).await;
    tracker.shutdown().await;
}

#[tokio::test]
async fn messages_from_one_sender_come_once_and_in_order() {
    const COUNT: u64 = 20_000;
    let tracker = tracker().await;
    let mut members = Member::ring(2, &tracker.url(), &MemoryTransport::default()).await;
    let mut receiver = members.pop().unwrap();
    let (sender, to) = (members[0].node.clone(), receiver.node.id());
    let sending = tokio::spawn(async move {
        let mut deliveries = Vec::new();
        for number in 0..COUNT {
            // More than the core has room for: some of these wait.
            let payload = number.to_be_bytes().to_vec();
            deliveries.push(sender.send(to, payload).await.unwrap());
        }
        for delivery in deliveries {
            assert_eq!(delivery.await, Outcome::Delivered);
        }
    });
    for number in 0..COUNT {
        let message = receiver.message().await;
        assert_eq!(message.sequence, number + 1);
        assert_eq!(message.payload, number.to_be_bytes().to_vec());
    }
    timeout(PATIENCE, sending).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_does_not_read_holds_up_the_sender_and_loses_nothing() {
    const COUNT: usize = 400;
    const PAYLOAD: usize = 50_000;
    let tracker = tracker().await;
    let network = MemoryTransport::default();
    // A node that does not answer is found dead within a second.
    let config = Config {
        heartbeat: Duration::from_millis(300),
        probe_interval: Duration::from_millis(100),
        ..Config::default()
    };
    let mut members = Vec::new();
    for seed in 1..=3 {
        let builder = builder(seed, &tracker.url(), network.clone()).config(config.clone());
        members.push(Member::start(builder).await);
    }
    until_ring_is_closed(&members).await;
    let mut reader = members.pop().unwrap();
    let (sender, to) = (members[0].node.clone(), reader.node.id());
    // 20 MB: more than the queue of events and the sender's window hold, less than may wait at
    // the sender's application.
    let mut deliveries = Vec::new();
    for number in 0..COUNT {
        let mut payload = vec![0; PAYLOAD];
        payload[..8].copy_from_slice(&number.to_be_bytes());
        let sent = sender.send_within(to, payload, PATIENCE).await;
        deliveries.push(tokio::spawn(sent.unwrap()));
    }
    let delivered = || deliveries.iter().filter(|it| it.is_finished()).count();
    // As many as the queue of events takes.
    let fitting = (4 << 20) / (PAYLOAD + 256);
    until("the queue is full", async || delivered() >= fitting - 3).await;
    // The sender tries again after 0.2, 0.4, 0.8, 1.6 s, 16 messages at least.
    until("the sender has waited", async || {
        let counters = sender.snapshot().await.unwrap().counters;
        counters.retransmitted >= 64
    })
    .await;
    assert!(delivered() <= fitting, "{} delivered", delivered());
    let links = members[1].snapshot().await.links;
    assert!(links.iter().any(|link| link.peer == to), "{links:?}");

    for number in 0..COUNT {
        let message = reader.message().await;
        assert_eq!(message.payload[..8], number.to_be_bytes());
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.unwrap(), Outcome::Delivered);
    }
    assert_eq!(reader.node.driver_counters().frames_unread, 0);
}

/// Links that refuse so many frames of messages, as if their queues were full.
#[derive(Clone)]
struct Refusing {
    network: MemoryTransport,
    refusals: Arc<AtomicU64>,
}

impl Transport for Refusing {
    fn open(&self, link: LinkId, role: Role, events: Sender<TransportEvent>) -> Box<dyn Link> {
        Box::new(RefusingLink {
            link: self.network.open(link, role, events),
            refusals: Arc::clone(&self.refusals),
        })
    }
}

struct RefusingLink {
    link: Box<dyn Link>,
    refusals: Arc<AtomicU64>,
}

impl Link for RefusingLink {
    fn apply(&self, signal: Signal) {
        self.link.apply(signal);
    }

    fn send(&self, channel: Channel, frame: Bytes) -> Result<(), LinkError> {
        let is_refused = channel == Channel::Messages
            && self
                .refusals
                .fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1))
                .is_ok();
        if is_refused {
            return Err(LinkError::Full);
        }
        self.link.send(channel, frame)
    }

    fn close(self: Box<Self>, grace: Duration) -> Closed {
        self.link.close(grace)
    }
}

#[tokio::test]
async fn what_a_link_refuses_is_counted_and_sent_again() {
    const PAYLOAD: usize = 50_000;
    let tracker = tracker().await;
    let refusing = Refusing {
        network: MemoryTransport::default(),
        refusals: Arc::default(),
    };
    let mut members = Member::ring(2, &tracker.url(), &refusing).await;
    let to = members[1].node.id();
    // More bytes than the core lets wait for a link: were it not told that they wait no longer
    // it would never send again.
    refusing.refusals.store(30, Relaxed);
    let mut deliveries = Vec::new();
    for _ in 0..40 {
        let sent = members[0].node.send_within(to, vec![0; PAYLOAD], PATIENCE);
        deliveries.push(sent.await.unwrap());
    }
    for delivery in deliveries {
        assert_eq!(timeout(PATIENCE, delivery).await, Ok(Outcome::Delivered));
    }
    for number in 1..=40 {
        assert_eq!(members[1].message().await.sequence, number);
    }
    assert_eq!(members[0].node.driver_counters().frames_refused, 30);
}

/// A transport with a mistake in it.
struct Panicking;

impl Transport for Panicking {
    fn open(&self, _: LinkId, _: Role, _: Sender<TransportEvent>) -> Box<dyn Link> {
        panic!("on purpose")
    }
}

#[tokio::test]
async fn a_panic_ends_the_node_and_leaves_nobody_waiting() {
    let tracker = tracker().await;
    let network = MemoryTransport::default();
    let mut other = Member::start(builder(1, &tracker.url(), network)).await;
    other
        .overlay(|event| {
            matches!(
                event,
                Event::Tracker {
                    connected: true,
                    ..
                }
            )
        })
        .await;
    let mut broken = Member::start(builder(2, &tracker.url(), Panicking)).await;
    let to = other.node.id();
    broken.last_event().await;
    timeout(PATIENCE, broken.node.ended()).await.unwrap();
    timeout(PATIENCE, broken.node.leave()).await.unwrap();
    assert_eq!(
        broken.node.send(to, "x").await.unwrap_err(),
        SendError::Ended
    );
    assert!(broken.node.snapshot().await.is_err());
    other.snapshot().await;
}

#[tokio::test]
async fn dropping_all_handles_leaves_the_room() {
    let tracker = tracker().await;
    let mut members = Member::ring(2, &tracker.url(), &MemoryTransport::default()).await;
    let Member { node, mut events } = members.pop().unwrap();
    let id = node.id();
    let another = node.clone();
    drop(node);
    another.snapshot().await.unwrap();
    drop(another);
    members[0]
        .overlay(|event| matches!(event, Event::PeerLeft { peer, .. } if *peer == id))
        .await;
    let end = async {
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        last
    };
    let last = timeout(PATIENCE, end).await.unwrap();
    assert_eq!(last, Some(NodeEvent::Overlay(Event::Left)));
}

#[tokio::test]
async fn leaving_fails_what_is_not_delivered() {
    let tracker = tracker().await;
    let members = Member::ring(2, &tracker.url(), &MemoryTransport::default()).await;
    let node = &members[0].node;
    // Nobody has this identity.
    let delivery = node.send(identity(99).node_id(), "hello").await.unwrap();
    node.leave().await;
    assert_eq!(delivery.await, Outcome::Failed(FailReason::Left));
    // Again, and from another handle: nothing more to do.
    node.clone().leave().await;
    node.ended().await;
}

#[tokio::test]
async fn what_waits_for_room_is_sent_before_leaving() {
    const COUNT: usize = 150;
    let tracker = tracker().await;
    let mut members = Member::ring(2, &tracker.url(), &MemoryTransport::default()).await;
    let Member { node, events } = members.pop().expect("two members");
    // More than a link has room for.
    let payload = Bytes::from(vec![7; 60_000]);
    for _ in 0..COUNT {
        node.broadcast(payload.clone()).await.unwrap();
    }
    node.leave().await;
    for number in 0..COUNT {
        let message = members[0].message().await;
        assert_eq!(message.payload, payload, "broadcast {number}");
    }
    drop(events);
}

#[tokio::test]
async fn a_later_session_of_an_identity_takes_over() {
    let tracker = tracker().await;
    let network = MemoryTransport::default();
    let mut first = Member::start(builder(1, &tracker.url(), network.clone())).await;
    first
        .overlay(|event| {
            matches!(
                event,
                Event::Tracker {
                    connected: true,
                    ..
                }
            )
        })
        .await;
    let second = Member::start(builder(1, &tracker.url(), network)).await;
    let last = first.last_event().await;
    assert!(
        matches!(last, Some(NodeEvent::Overlay(Event::Superseded { .. }))),
        "{last:?}"
    );
    first.node.ended().await;
    assert!(first.node.snapshot().await.is_err());
    second.snapshot().await;
}

#[tokio::test]
async fn a_node_whose_tracker_is_away_says_so_once_and_goes_on_alone() {
    let tracker = tracker().await;
    let url = tracker.url();
    tracker.shutdown().await;
    let mut alone = Member::start(builder(1, &url, MemoryTransport::default())).await;
    let lost = alone
        .find(|event| match event {
            NodeEvent::TrackerLost { url, reason } => Some((url, reason)),
            _ => None,
        })
        .await;
    assert_eq!(lost.0, url);
    assert!(lost.1.starts_with("cannot connect"), "{}", lost.1);
    until("more attempts", async || {
        alone.node.driver_counters().trackers_lost >= 3
    })
    .await;
    while let Some(event) = alone.events.try_next() {
        assert!(!matches!(event, NodeEvent::TrackerLost { .. }), "{event:?}");
    }
    alone.node.leave().await;
}
