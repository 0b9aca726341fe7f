//! Members of a ring in this process, over real WebRTC on loopback.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use circlet_core::node::Class;
use circlet_node::transport::{WebRtcConfig, WebRtcTransport};
use circlet_node::{Config, Events, Identity, Node, NodeEvent, Topology};
use circlet_tracker::Tracker;
use tokio::time::{sleep, timeout};

use super::meter::{Meter, Throughput};
use crate::failure::Failure;
use crate::tracker;

/// Time for the ring to close, and for a message to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Messages sent one at a time, and those before them that are not counted.
const SAMPLES: usize = 5000;
const UNCOUNTED: usize = 200;

/// A ring of members, each on the thread that its node brings.
pub struct Members {
    tracker: Tracker,
    /// In ring order.
    members: Vec<(Node, Events)>,
}

impl Members {
    /// Starts the smallest ring in which a message to a member `links` away crosses that many:
    /// twice as many members, each linked to the two next to it.
    pub async fn start(links: u16) -> Result<Self, Failure> {
        let tracker = tracker::start_local().await?;
        let mut members = Vec::new();
        for _ in 0..2 * links {
            let loopback = WebRtcConfig {
                bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
                ..WebRtcConfig::default()
            };
            let config = Config {
                // Links needed only to join would be shortcuts.
                linger: Duration::from_millis(100),
                ..Config::default()
            };
            let member = Node::builder()
                .room("bench")
                .tracker(tracker.url())
                .identity(Identity::from_seed(&rand::random()))
                .topology(Topology::Ring)
                .config(config)
                .transport(WebRtcTransport::new(loopback))
                .start();
            members.push(member.await.map_err(Failure::failed)?);
        }
        members.sort_by_key(|(node, _)| node.position());
        let members = Self { tracker, members };
        let closed = timeout(PATIENCE, async {
            while !members.is_closed().await? {
                sleep(Duration::from_millis(10)).await;
            }
            Ok(())
        });
        match closed.await {
            Ok(Ok(())) => Ok(members),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::failed(
                "the ring did not close; run it again with -v on a machine with less to do",
            )),
        }
    }

    /// Whether each member is linked to the two next to it and to nobody else.
    async fn is_closed(&self) -> Result<bool, Failure> {
        let count = self.members.len();
        for (at, (node, _)) in self.members.iter().enumerate() {
            let snapshot = node.snapshot().await.map_err(Failure::failed)?;
            let next = self.members[(at + 1) % count].0.id();
            let before = self.members[(at + count - 1) % count].0.id();
            let links = &snapshot.links;
            if snapshot.successors.first() != Some(&next)
                || snapshot.predecessors.first() != Some(&before)
                || links
                    .iter()
                    .any(|link| link.peer != next && link.peer != before)
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The times that messages of `size` bytes take one way over `links` links, sent one at a
    /// time for `time` at most: in microseconds, ascending.
    pub async fn latency(
        &mut self,
        links: u16,
        size: usize,
        time: Duration,
    ) -> Result<Vec<f64>, Failure> {
        let (sender, to, events) = self.ends(links);
        let payload = Bytes::from(vec![7; size]);
        let deadline = Instant::now() + time;
        let mut times = Vec::with_capacity(SAMPLES);
        for number in 0..UNCOUNTED + SAMPLES {
            let sent = Instant::now();
            if sent > deadline && !times.is_empty() {
                break;
            }
            let delivery = sender.send(to, payload.clone()).await;
            drop(delivery.map_err(Failure::failed)?);
            receive(events, links).await?;
            if number >= UNCOUNTED {
                times.push(sent.elapsed().as_secs_f64() * 1e6);
            }
        }
        times.sort_by(f64::total_cmp);
        Ok(times)
    }

    /// What comes through over `links` links within `time`.
    pub async fn throughput(
        &mut self,
        links: u16,
        size: usize,
        time: Duration,
    ) -> Result<Throughput, Failure> {
        let (sender, to, events) = self.ends(links);
        let payload = Bytes::from(vec![7; size]);
        let sending = tokio::spawn(async move {
            // Ends with the node, if not before.
            while let Ok(delivery) = sender.send(to, payload.clone()).await {
                drop(delivery);
            }
        });
        let mut meter = Meter::start(time);
        let throughput = loop {
            let bytes = receive(events, links).await?;
            if let Some(throughput) = meter.count(bytes) {
                break throughput;
            }
        };
        sending.abort();
        Ok(throughput)
    }

    /// Ends all members.
    pub async fn end(self) {
        for (node, _) in &self.members {
            node.leave().await;
        }
        self.tracker.shutdown().await;
    }

    /// The first member, and the one `links` away from it with its events.
    fn ends(&mut self, links: u16) -> (Node, circlet_node::NodeId, &mut Events) {
        let sender = self.members[0].0.clone();
        let (receiver, events) = &mut self.members[usize::from(links)];
        (sender, receiver.id(), events)
    }
}

/// The size of the next message, which has to have crossed `links` links.
async fn receive(events: &mut Events, links: u16) -> Result<usize, Failure> {
    loop {
        match timeout(PATIENCE, events.next()).await {
            Ok(Some(NodeEvent::Message(message))) if message.class == Class::Reliable => {
                if message.hops != links {
                    return Err(Failure::failed(format!(
                        "a message took {} links instead of {links}; run it again",
                        message.hops
                    )));
                }
                return Ok(message.payload.len());
            }
            Ok(Some(_)) => {}
            Ok(None) => return Err(Failure::failed("a member has ended; run it again with -v")),
            Err(_) => {
                return Err(Failure::failed(
                    "a message did not arrive; run it again with -v",
                ));
            }
        }
    }
}
