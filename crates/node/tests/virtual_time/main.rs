//! Whole nodes and a tracker in virtual time: drivers, WebSockets, offers and answers, ICE, DTLS,
//! SCTP and data channels are those that run in earnest; only sockets and clock are imitated.
//!
//! All run in one thread, on a tokio runtime with its clock paused: when nothing is left to do,
//! it is advanced to the next timer. Nothing waits for the system, so that a busy machine makes
//! a run slower but changes nothing in it. Runs are still not repeatable to the byte: keys,
//! nonces, ICE, DTLS and SCTP take their random numbers from the system, and so it is not the same
//! datagrams that get lost. Bounds in here are generous, therefore, and in virtual time.

#[path = "../common/mod.rs"]
mod common;
mod network;

use std::future::ready;
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant as WallInstant};

use circlet_node::transport::{WebRtcConfig, WebRtcTransport};
use circlet_node::{Dial, Dialling, Outcome};
use circlet_tracker::Tracker;
use common::{Member, builder, others_in_order, until_ring_is_closed};
use network::{Host, Network};
use tokio::io::duplex;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

const MEMBERS: u8 = 10;

/// How long the ring is left alone.
const QUIET: Duration = Duration::from_secs(300);

/// How soon the ring has to be whole again: detection takes at most 4 s (DESIGN, section 5), and
/// new links up to 2 s each where datagrams overtake each other.
const REPAIR: Duration = Duration::from_secs(15);

/// How long datagrams are under way: some overtake others.
const LATENCY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(20);

/// How many of 1000 are lost while no link is being set up: some DTLS handshakes that lose a
/// datagram never end, and the next attempt comes 10 s later.
const LOSS_PER_MILLE: u32 = 10;

#[tokio::test(start_paused = true)]
async fn ten_nodes_live_for_minutes_within_seconds() {
    let (start, wall_start) = (Instant::now(), WallInstant::now());
    let mut world = World::new().await;
    for seed in 1..=MEMBERS {
        world.add(seed);
    }
    until_ring_is_closed(&world.members).await;
    world.tell(start, "one ring");

    world.network.lose(LOSS_PER_MILLE);
    world.circulate().await;
    world.write_to_each_other().await;
    world.tell(start, "messages delivered");

    sleep(QUIET).await;
    until_ring_is_closed(&world.members).await;
    world.tell(start, "left alone");
    world.network.lose(0);

    let killed = Instant::now();
    world.kill(3);
    until_ring_is_closed(&world.members).await;
    let repair = killed.elapsed();
    assert!(repair < REPAIR, "repaired after {repair:?}");
    world.tell(start, "repaired");

    world.circulate().await;
    world.write_to_each_other().await;
    world.leave().await;
    world.tell(start, "left");

    let (virtually, really) = (start.elapsed(), wall_start.elapsed());
    println!("{virtually:?} took {really:?}");
    assert!(really < virtually / 5, "{virtually:?} took {really:?}");
    let counters = world.network.counters();
    assert!(counters.lost > 0, "the network loses datagrams");
}

/// A network, a tracker, and the members with the machines that they run on.
struct World {
    network: Arc<Network>,
    tracker: Arc<Tracker>,
    members: Vec<Member>,
    machines: Vec<Machine>,
}

struct Machine {
    host: Arc<Host>,
    node: JoinHandle<()>,
}

impl World {
    async fn new() -> Self {
        Self {
            network: Network::new(LATENCY, 1),
            tracker: Arc::new(common::tracker().await),
            members: Vec::new(),
            machines: Vec::new(),
        }
    }

    /// Starts a node with few links, so that most messages pass through others.
    fn add(&mut self, seed: u8) {
        let host = self.network.host(seed);
        let webrtc = WebRtcConfig {
            bind: vec![Ipv4Addr::LOCALHOST.into()],
            ..WebRtcConfig::default()
        };
        let transport = WebRtcTransport::with_sockets(webrtc, Arc::clone(&host) as _);
        let built = builder(seed, &self.tracker.url(), transport)
            .ring_links(1)
            .long_links(1)
            .dial(NextDoor(Arc::clone(&self.tracker)))
            .build();
        let (node, events, run) = built.expect("a node");
        self.members.push(Member { node, events });
        self.machines.push(Machine {
            host,
            node: tokio::spawn(run),
        });
    }

    /// Kills a node: it says nothing any more, and the system closes its connection to the
    /// tracker.
    fn kill(&mut self, index: usize) {
        let machine = self.machines.remove(index);
        machine.host.unplug();
        machine.node.abort();
        self.members.remove(index);
    }

    /// Sends a message once round the ring: it has to pass everybody in order.
    async fn circulate(&self) {
        let origin = &self.members[0];
        let circulation = origin.node.circulate("round").await;
        let circulation = circulation.expect("the node goes on");
        assert!(circulation.complete);
        assert_eq!(circulation.seen, others_in_order(&self.members, origin));
    }

    /// Sends a reliable message from everybody to everybody, in several datagrams each.
    async fn write_to_each_other(&mut self) {
        let ids: Vec<_> = self.members.iter().map(|member| member.node.id()).collect();
        let mut deliveries = Vec::new();
        for (member, from) in self.members.iter().zip(&ids) {
            for to in ids.iter().filter(|to| *to != from) {
                let payload = to.as_bytes().repeat(100);
                let sent = member.node.send(*to, payload).await;
                deliveries.push(sent.expect("the node goes on"));
            }
        }
        for delivery in deliveries {
            assert_eq!(delivery.await, Outcome::Delivered);
        }
        for (member, id) in self.members.iter_mut().zip(&ids) {
            let mut senders = Vec::new();
            while senders.len() < ids.len() - 1 {
                let message = member.message().await;
                if message.payload != "round" {
                    assert_eq!(message.payload, id.as_bytes().repeat(100));
                    senders.push(message.from);
                }
            }
            senders.push(*id);
            senders.sort();
            let mut everybody = ids.clone();
            everybody.sort();
            assert_eq!(senders, everybody);
        }
    }

    async fn leave(&self) {
        for member in &self.members {
            member.node.leave().await;
            assert_eq!(member.node.driver_counters().frames_refused, 0);
        }
    }

    fn tell(&self, start: Instant, what: &str) {
        println!(
            "{:?}: {what}, {:?}",
            start.elapsed(),
            self.network.counters()
        );
    }
}

/// Brings the nodes' WebSockets to the tracker through memory, at once and without loss.
struct NextDoor(Arc<Tracker>);

impl Dial for NextDoor {
    fn dial(&self, _host: String, _port: u16) -> Dialling {
        let (near, far) = duplex(64 << 10);
        self.0.attach(far);
        Box::pin(ready(Ok(Box::new(near) as _)))
    }
}
