//! One member of the benchmark: a process that broadcasts as it is told, and counts what comes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use circlet_core::node::{Class, Event};
use circlet_node::transport::{WebRtcConfig, WebRtcTransport};
use circlet_node::{Events, Identity, Node, NodeEvent};
use tokio::select;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use super::protocol::{Account, Answer, Order, Stamp, Total};
use super::tally::Tally;
use crate::failure::Failure;
use crate::node::input::{self, Line};
use crate::node::protocol::Report;
use crate::output::print;
use crate::usage::{cpu_time, machine_time, peak_memory};

/// The room that all are in.
const ROOM: &str = "bench";

/// How often progress is told.
const TELLING: Duration = Duration::from_millis(100);

/// Does as it is told on stdin until that ends.
pub async fn run() -> Result<(), Failure> {
    let mut lines = input::stdin().map_err(Failure::failed)?;
    let Some(Order::Join {
        number,
        members,
        tracker,
        topology,
        messages,
    }) = next_order(&mut lines).await?
    else {
        return Err(Failure::failed("the first order has to be to join"));
    };
    let loopback = WebRtcConfig {
        bind: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
        ..WebRtcConfig::default()
    };
    let (node, events) = Node::builder()
        .room(ROOM)
        .name(format!("n{}", number + 1))
        .tracker(tracker)
        .identity(Identity::from_seed(&rand::random()))
        .topology(topology)
        .transport(WebRtcTransport::new(loopback))
        .start()
        .await
        .map_err(Failure::failed)?;
    tell(&Answer::Node(Report::Ready {
        node: node.id(),
        position: node.position().to_string(),
        room: ROOM.to_owned(),
    }));
    let mut member = Member {
        number,
        node,
        tally: Tally::new(members, messages),
        sent: Arc::default(),
        missed: 0,
        cpu: Duration::ZERO,
        told: None,
    };
    let outcome = member.live(events, lines).await;
    member.node.leave().await;
    outcome
}

struct Member {
    number: u16,
    node: Node,
    tally: Tally,
    sent: Arc<Sent>,
    missed: u64,
    /// CPU time before it was told to begin.
    cpu: Duration,
    /// The progress told last.
    told: Option<(usize, Vec<usize>)>,
}

/// What has been sent.
#[derive(Debug, Default)]
struct Sent {
    messages: AtomicUsize,
    longest_pause_us: AtomicU64,
}

impl Member {
    async fn live(
        &mut self,
        mut events: Events,
        mut lines: mpsc::Receiver<Line>,
    ) -> Result<(), Failure> {
        let mut ticks = interval(TELLING);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            select! {
                event = events.next() => match event {
                    Some(event) => self.on_event(event),
                    None => return Err(Failure::failed("the node has ended")),
                },
                order = next_order(&mut lines) => match order? {
                    Some(order) => self.obey(order).await?,
                    None => return Ok(()),
                },
                _ = ticks.tick() => self.tell_progress(),
            }
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        match event {
            NodeEvent::Message(message) if message.class == Class::Broadcast => {
                match Stamp::of(&message.payload) {
                    Some(stamp) => self.tally.receive(stamp, machine_time()),
                    None => self.tally.foreign += 1,
                }
            }
            NodeEvent::Missed(missed) => self.missed += missed.broadcasts,
            NodeEvent::Overlay(Event::Neighbours(neighbours)) => {
                tell(&Answer::Node(Report::Neighbours(neighbours.into())));
            }
            _ => {}
        }
    }

    async fn obey(&mut self, order: Order) -> Result<(), Failure> {
        match order {
            Order::Join { .. } => {}
            Order::Begin {
                messages,
                size,
                rate,
            } => {
                self.cpu = cpu_time();
                let (node, sent) = (self.node.clone(), Arc::clone(&self.sent));
                tokio::spawn(broadcast(node, self.number, messages, size, rate, sent));
            }
            Order::Tell => {
                let snapshot = self.node.snapshot().await.map_err(Failure::failed)?;
                let pause = self.sent.longest_pause_us.load(Ordering::Relaxed);
                let tally = std::mem::replace(&mut self.tally, Tally::new(0, 0));
                tell(&Answer::Account(Account::Total(Box::new(Total {
                    tally,
                    cpu_s: cpu_time().saturating_sub(self.cpu).as_secs_f64(),
                    peak_bytes: peak_memory(),
                    longest_pause_ms: pause as f64 / 1e3,
                    repeats: snapshot.counters.repeats,
                    missed: self.missed,
                }))));
            }
        }
        Ok(())
    }

    fn tell_progress(&mut self) {
        let progress = (
            self.sent.messages.load(Ordering::Relaxed),
            self.tally.received(),
        );
        if self.told.as_ref() != Some(&progress) {
            let (sent, received) = progress.clone();
            tell(&Answer::Account(Account::Progress { sent, received }));
            self.told = Some(progress);
        }
    }
}

/// Sends so many messages, each at its time if there is a rate.
async fn broadcast(
    node: Node,
    sender: u16,
    messages: usize,
    size: usize,
    rate: Option<f64>,
    sent: Arc<Sent>,
) {
    let start = Instant::now();
    let mut last = None;
    for number in 0..messages {
        if let Some(rate) = rate {
            sleep_until(start + Duration::from_secs_f64(number as f64 / rate)).await;
        }
        let now = machine_time();
        if let Some(last) = last.replace(now) {
            let pause = now.saturating_sub(last).as_micros();
            let pause = u64::try_from(pause).unwrap_or(u64::MAX);
            sent.longest_pause_us.fetch_max(pause, Ordering::Relaxed);
        }
        let stamp = Stamp {
            sender,
            number,
            sent: now,
        };
        // Ends with the node, if not before.
        if node.broadcast(stamp.message(size)).await.is_err() {
            return;
        }
        sent.messages.fetch_add(1, Ordering::Relaxed);
    }
}

/// The next order; `None` after the last.
async fn next_order(lines: &mut mpsc::Receiver<Line>) -> Result<Option<Order>, Failure> {
    let Some(line) = lines.recv().await else {
        return Ok(None);
    };
    let line = line.map_err(|error| Failure::failed(error.text()))?;
    serde_json::from_str(&line)
        .map(Some)
        .map_err(|error| Failure::failed(format!("no order: {error}")))
}

fn tell(answer: &Answer) {
    // No map with keys that are not text, no failing serializer: this cannot fail.
    print(&serde_json::to_string(answer).unwrap_or_default());
}
