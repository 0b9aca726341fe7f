//! Links in memory, for tests: signals and events as over WebRTC, without sockets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use circlet_core::Topology;
use circlet_core::node::{Channel, DownReason, LinkId, Role};
use circlet_core::wire::{Signal, Wish};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::attempt::{Attempt, Connection, start};
use super::queue::Queue;
use super::{ConnectionState, Link, Transport, TransportEvent};

/// Frames under way in each direction before their senders wait.
const MAX_UNDER_WAY: usize = 64;

/// The start of every description; the number of the offer follows.
const DESCRIPTION: &str = "memory:";

/// A network in memory. Links opened from clones of one network reach each other; every channel
/// is reliable and ordered.
#[derive(Clone, Debug, Default)]
pub struct MemoryTransport {
    exchange: Arc<Mutex<Exchange>>,
}

impl Transport for MemoryTransport {
    fn open(
        &self,
        link: LinkId,
        role: Role,
        events: mpsc::Sender<TransportEvent>,
    ) -> Box<dyn Link> {
        start(link, events, |attempt| MemoryConnection {
            network: self.clone(),
            link,
            role,
            attempt,
            offer: None,
            senders: JoinSet::new(),
        })
    }
}

impl MemoryTransport {
    /// Leaves one end of a new wire for an answerer; the other end, and the offer's number.
    fn offer(&self) -> (Wire, u64) {
        let (mine, theirs) = wire();
        let mut exchange = self.exchange();
        exchange.last += 1;
        let number = exchange.last;
        exchange.offers.insert(number, theirs);
        (mine, number)
    }

    /// The answerer's end of the wire.
    fn answer(&self, number: u64) -> Option<Wire> {
        self.exchange().offers.remove(&number)
    }

    fn exchange(&self) -> MutexGuard<'_, Exchange> {
        // Nobody can panic while holding it.
        self.exchange.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The offers without an answer.
#[derive(Debug, Default)]
struct Exchange {
    last: u64,
    offers: BTreeMap<u64, Wire>,
}

/// One end of the two directions between two members.
#[derive(Debug)]
struct Wire {
    outgoing: mpsc::Sender<(Channel, Bytes)>,
    incoming: mpsc::Receiver<(Channel, Bytes)>,
}

fn wire() -> (Wire, Wire) {
    let (there, there_out) = mpsc::channel(MAX_UNDER_WAY);
    let (back, back_out) = mpsc::channel(MAX_UNDER_WAY);
    (
        Wire {
            outgoing: there,
            incoming: back_out,
        },
        Wire {
            outgoing: back,
            incoming: there_out,
        },
    )
}

struct MemoryConnection {
    network: MemoryTransport,
    link: LinkId,
    role: Role,
    attempt: Attempt,
    /// The offer that waits for an answer.
    offer: Option<u64>,
    senders: JoinSet<()>,
}

impl Connection for MemoryConnection {
    async fn run(&mut self) -> DownReason {
        match self.connect().await {
            Some(wire) => self.carry(wire).await,
            None => DownReason::Failed,
        }
    }

    async fn silence(&mut self) {}

    async fn close(&mut self, grace: Duration) {
        if let Some(offer) = self.offer {
            self.network.answer(offer);
        }
        let all_sent = async { while self.senders.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(grace, all_sent).await;
        self.senders.shutdown().await;
    }
}

impl MemoryConnection {
    async fn connect(&mut self) -> Option<Wire> {
        self.tell_state("connecting").await;
        match self.role {
            Role::Offerer => {
                let (wire, number) = self.network.offer();
                self.offer = Some(number);
                let sdp = format!("{DESCRIPTION}{number}");
                self.tell_signal(Signal::Offer {
                    sdp: sdp.clone(),
                    wish: Wish::Ring,
                    topology: Topology::default(),
                })
                .await;
                self.tell_signal(Signal::EndOfCandidates).await;
                loop {
                    match self.attempt.signals.recv().await? {
                        Signal::Answer { sdp: answer } => return (answer == sdp).then_some(wire),
                        Signal::Reject { .. } => return None,
                        _ => {}
                    }
                }
            }
            Role::Answerer => loop {
                if let Signal::Offer { sdp, .. } = self.attempt.signals.recv().await? {
                    let number = sdp.strip_prefix(DESCRIPTION)?.parse().ok()?;
                    let wire = self.network.answer(number)?;
                    self.tell_signal(Signal::Answer { sdp }).await;
                    self.tell_signal(Signal::EndOfCandidates).await;
                    return Some(wire);
                }
            },
        }
    }

    async fn carry(&mut self, wire: Wire) -> DownReason {
        let Wire {
            outgoing,
            mut incoming,
        } = wire;
        let link = self.link;
        self.tell_state("connected").await;
        self.attempt.account.open();
        self.attempt.events.tell(TransportEvent::Up { link }).await;
        for (channel, queue) in std::mem::take(&mut self.attempt.queues) {
            self.senders.spawn(send(channel, queue, outgoing.clone()));
        }
        drop(outgoing);
        loop {
            tokio::select! {
                arrived = incoming.recv() => match arrived {
                    Some((channel, bytes)) => {
                        let frame = TransportEvent::Frame { link, channel, bytes };
                        self.attempt.events.tell(frame).await;
                    }
                    None => return DownReason::Closed,
                },
                bytes = self.attempt.account.progress() => {
                    self.attempt.events.tell(TransportEvent::Writable { link, bytes }).await;
                }
            }
        }
    }

    async fn tell_signal(&self, signal: Signal) {
        let link = self.link;
        let event = TransportEvent::Signal { link, signal };
        self.attempt.events.tell(event).await;
    }

    async fn tell_state(&self, name: &'static str) {
        let link = self.link;
        let state = ConnectionState::Connection(name);
        self.attempt
            .events
            .tell(TransportEvent::State { link, state })
            .await;
    }
}

async fn send(channel: Channel, mut queue: Queue, outgoing: mpsc::Sender<(Channel, Bytes)>) {
    while let Some(frame) = queue.next().await {
        let bytes = frame.len();
        if outgoing.send((channel, frame)).await.is_err() {
            return;
        }
        queue.passed(bytes);
    }
}
