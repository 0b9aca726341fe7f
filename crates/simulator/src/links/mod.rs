//! Links: imitates WebRTC connections, one node's ends of them.
//!
//! Both ends know each other only by the tokens in the descriptions that the nodes exchange: a
//! signal that goes astray sets up no link. Once both descriptions are known and the offerer has
//! a candidate, a handshake follows (`Hello`, `HelloAck`), and frames after that.

mod end;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use circlet_core::identity::NodeId;
use circlet_core::node::{Channel, DownReason, Input, LinkId, Role};
use circlet_core::wire::{FrameBuf, Signal, Wish};
use circlet_core::{Timestamp, Topology};

use crate::network::occupancy;
use crate::queue::Source;
use crate::random::Stream;
use crate::world::{Event, LinkEnd, NodeEvent, NodeIndex, World};
pub(crate) use end::{LinkEvent, Packet};

use end::{End, Stage};

/// The least time between two reports of bytes sent, so that a burst is one report.
const SENT_INTERVAL: Duration = Duration::from_millis(1);

/// One node's ends of its links.
#[derive(Debug)]
pub(crate) struct Links {
    node: NodeIndex,
    generation: u32,
    source: Source,
    encode: bool,
    ends: BTreeMap<LinkId, End>,
    used: BTreeSet<LinkId>,
    /// When the last byte given so far has left the node's uplink.
    uplink_until: Timestamp,
    /// When the last byte that has come so far is through the node's downlink.
    downlink_until: Timestamp,
    volume: Volume,
}

/// Bytes of frames that a node's links have carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// Sent, each frame once.
    pub sent_bytes: u64,
    /// Received while the link was open at this end.
    pub received_bytes: u64,
}

impl Volume {
    pub(crate) const fn add(&mut self, other: Self) {
        self.sent_bytes += other.sent_bytes;
        self.received_bytes += other.received_bytes;
    }
}

impl Links {
    pub(crate) fn new(node: NodeIndex, generation: u32, source: Source, encode: bool) -> Self {
        Self {
            node,
            generation,
            source,
            encode,
            ends: BTreeMap::new(),
            used: BTreeSet::new(),
            uplink_until: Timestamp::ZERO,
            downlink_until: Timestamp::ZERO,
            volume: Volume::default(),
        }
    }

    /// Makes a new end.
    pub(crate) fn open(
        &mut self,
        link: LinkId,
        peer: NodeId,
        role: Role,
        random: &mut Stream,
        world: &mut World,
    ) {
        if !self.used.insert(link) {
            return self.violation(world, link, "was opened twice");
        }
        let end = End::new(peer, role, world.now);
        self.ends.insert(link, end);
        if role == Role::Offerer {
            let offer = Signal::Offer {
                sdp: self.here(link).describe(),
                wish: Wish::Ring,
                topology: Topology::default(),
            };
            self.gather(link, offer, random, world);
        }
    }

    /// Closes an end; the other end learns of it after what was sent before.
    pub(crate) fn close(&mut self, link: LinkId, random: &mut Stream, world: &mut World) {
        let Some(end) = self.ends.remove(&link) else {
            return self.violation(world, link, "was closed, and is not open");
        };
        self.say_closed(&end, link, random, world);
    }

    /// Closes every end, as the kernel does when a process ends.
    pub(crate) fn close_all(&mut self, random: &mut Stream, world: &mut World) {
        for (link, end) in std::mem::take(&mut self.ends) {
            self.say_closed(&end, link, random, world);
        }
    }

    /// Takes a signal of the peer's.
    pub(crate) fn apply(
        &mut self,
        link: LinkId,
        signal: &Signal,
        random: &mut Stream,
        world: &mut World,
    ) {
        let Some(end) = self.ends.get_mut(&link) else {
            return self.violation(world, link, "was given a signal, and is not open");
        };
        match (signal, end.role, end.stage) {
            (Signal::Offer { sdp, .. }, Role::Answerer, Stage::New)
            | (Signal::Answer { sdp }, Role::Offerer, Stage::New) => {
                let Some(remote) = LinkEnd::of_description(sdp) else {
                    return self.violation(world, link, "was given a description that is none");
                };
                end.remote = Some(remote);
                end.stage = Stage::Connecting;
                let timeout = world.now + world.network.config().connect_timeout;
                self.at(link, timeout, LinkEvent::ConnectTimeout, world);
                if matches!(signal, Signal::Offer { .. }) {
                    let sdp = self.here(link).describe();
                    self.gather(link, Signal::Answer { sdp }, random, world);
                }
                self.say_hello(link, random, world);
            }
            (Signal::Candidate { .. }, ..) => {
                end.has_candidate = true;
                self.say_hello(link, random, world);
            }
            (Signal::EndOfCandidates, ..) => {}
            _ => {
                let what = format!("was given '{}' out of turn", signal.name());
                self.violation(world, link, &what);
            }
        }
    }

    /// Sends a frame. If links are infinitely fast, gives the bytes that have left at once.
    pub(crate) fn send(
        &mut self,
        link: LinkId,
        channel: Channel,
        frame: FrameBuf,
        random: &mut Stream,
        world: &mut World,
    ) -> Option<usize> {
        let Some(end) = self
            .ends
            .get_mut(&link)
            .filter(|end| end.stage == Stage::Open)
        else {
            self.violation(world, link, "was given a frame, and is not open");
            return None;
        };
        let frame = if self.encode { frame.encoded() } else { frame };
        let bytes = frame.size();
        self.volume.sent_bytes += bytes as u64;
        let config = world.network.config();
        self.uplink_until = self.uplink_until.max(world.now) + occupancy(bytes, config.uplink);
        let through_link = end.busy_until.max(world.now) + occupancy(bytes, config.bandwidth);
        end.busy_until = through_link.max(self.uplink_until);
        let sequence = end.next_sequence(channel);
        let credit = if config.bandwidth.is_none() && config.uplink.is_none() {
            Some(bytes)
        } else {
            let report = end.unreported.is_empty();
            end.unreported.push_back((end.busy_until, bytes));
            let time = end.busy_until.max(world.now + SENT_INTERVAL);
            if report {
                self.at(link, time, LinkEvent::Sent, world);
            }
            None
        };
        let packet = Packet::Frame {
            channel,
            sequence,
            frame,
        };
        self.transmit(link, packet, 0, random, world);
        credit
    }

    /// Takes an event, and gives inputs for the node.
    pub(crate) fn on_event(
        &mut self,
        link: LinkId,
        event: LinkEvent,
        random: &mut Stream,
        world: &mut World,
        inputs: &mut VecDeque<Input>,
    ) {
        let event = match event {
            LinkEvent::Packet { from, packet } => {
                if !world.network.joins(from.node, self.node) {
                    return self.lose(from, &packet, world);
                }
                let through = self.through_downlink(&packet, world);
                if through > world.now {
                    return self.at(link, through, LinkEvent::Arrived { from, packet }, world);
                }
                LinkEvent::Arrived { from, packet }
            }
            event => event,
        };
        let Some(end) = self.ends.get_mut(&link) else {
            if random.chance(world.network.config().late_events) {
                inputs.extend(event.late_input(link));
            }
            return;
        };
        match event {
            LinkEvent::Local(signal) => inputs.push_back(Input::LocalSignal {
                link,
                signal: *signal,
            }),
            LinkEvent::Packet { from, packet } | LinkEvent::Arrived { from, packet } => {
                if end.remote == Some(from) {
                    self.on_packet(link, packet, random, world, inputs);
                }
            }
            LinkEvent::Undelivered { packet, attempt } => {
                self.transmit(link, packet, attempt, random, world);
            }
            LinkEvent::Ready => {
                end.stage = Stage::Open;
                inputs.push_back(Input::LinkUp { link });
                for (channel, frame) in std::mem::take(&mut end.early) {
                    inputs.push_back(Input::Frame {
                        link,
                        channel,
                        frame,
                    });
                }
                if end.role == Role::Answerer {
                    self.transmit(link, Packet::HelloAck, 0, random, world);
                }
            }
            LinkEvent::ConnectTimeout => {
                if end.stage < Stage::Open {
                    self.fail(link, inputs);
                }
            }
            LinkEvent::Sent => self.on_sent(link, world, inputs),
            LinkEvent::PathSilent { since, failed } => {
                if end.silent_since == Some(since) {
                    if failed {
                        self.fail(link, inputs);
                    } else {
                        inputs.push_back(Input::LinkSuspect { link });
                    }
                }
            }
        }
    }

    /// The network has changed, or a process ended: open links look whether their path is dead.
    pub(crate) fn look_at_paths(&mut self, world: &mut World) {
        let Some(timeouts) = world.network.config().path_timeouts else {
            return;
        };
        let (now, mut silent) = (world.now, Vec::new());
        for (link, end) in &mut self.ends {
            if !end.is_path_dead(self.node, world) {
                end.silent_since = None;
            } else if end.stage == Stage::Open && end.silent_since.is_none() {
                end.silent_since = Some(now);
                silent.push(*link);
            }
        }
        for link in silent {
            for (after, failed) in [(timeouts.suspect, false), (timeouts.failed, true)] {
                let event = LinkEvent::PathSilent { since: now, failed };
                self.at(link, now + after, event, world);
            }
        }
    }

    /// The peers of all open ends with whom they are open to.
    pub(crate) fn open_ends(&self) -> impl Iterator<Item = (LinkId, NodeId)> {
        self.ends
            .iter()
            .filter(|(_, end)| end.stage == Stage::Open)
            .map(|(link, end)| (*link, end.peer))
    }

    /// What the links have carried so far.
    pub(crate) const fn volume(&self) -> Volume {
        self.volume
    }

    /// When a packet that has come now is through the node's downlink: never before those that
    /// came earlier.
    fn through_downlink(&mut self, packet: &Packet, world: &World) -> Timestamp {
        let occupancy = occupancy(packet.size(), world.network.config().downlink);
        self.downlink_until = self.downlink_until.max(world.now) + occupancy;
        self.downlink_until
    }

    fn on_packet(
        &mut self,
        link: LinkId,
        packet: Packet,
        random: &mut Stream,
        world: &mut World,
        inputs: &mut VecDeque<Input>,
    ) {
        let Some(end) = self.ends.get_mut(&link) else {
            return;
        };
        match packet {
            Packet::Hello | Packet::HelloAck => self.on_reached(link, random, world),
            Packet::Frame {
                channel,
                sequence,
                frame,
            } => {
                self.volume.received_bytes += frame.size() as u64;
                let frames = end.receive(channel, sequence, frame);
                if end.stage == Stage::Open {
                    inputs.extend(frames.into_iter().map(|frame| Input::Frame {
                        link,
                        channel,
                        frame,
                    }));
                } else {
                    end.early.extend(frames.into_iter().map(|f| (channel, f)));
                    self.on_reached(link, random, world);
                }
            }
            Packet::Close => {
                self.ends.remove(&link);
                inputs.push_back(Input::LinkDown {
                    link,
                    reason: DownReason::Closed,
                });
            }
        }
    }

    /// The other end has been heard during the handshake.
    fn on_reached(&mut self, link: LinkId, random: &mut Stream, world: &mut World) {
        let Some(end) = self.ends.get_mut(&link) else {
            return;
        };
        if end.stage == Stage::Connecting {
            end.stage = Stage::Reached;
            let time = world.now + random.between(&world.network.config().handshake);
            self.at(link, time, LinkEvent::Ready, world);
        }
    }

    fn on_sent(&mut self, link: LinkId, world: &mut World, inputs: &mut VecDeque<Input>) {
        let Some(end) = self.ends.get_mut(&link) else {
            return;
        };
        // Nobody acknowledges: the connection's own buffer stays full.
        let stuck = end.is_path_dead(self.node, world);
        let mut next = world.now + world.network.config().retransmission_timeout;
        if !stuck {
            let mut bytes = 0;
            while let Some(&(at, sent)) = end.unreported.front()
                && at <= world.now
            {
                end.unreported.pop_front();
                bytes += sent;
            }
            if bytes > 0 {
                inputs.push_back(Input::LinkWritable { link, bytes });
            }
            match end.unreported.front() {
                Some((at, _)) => next = (*at).max(world.now + SENT_INTERVAL),
                None => return,
            }
        }
        self.at(link, next, LinkEvent::Sent, world);
    }

    fn fail(&mut self, link: LinkId, inputs: &mut VecDeque<Input>) {
        self.ends.remove(&link);
        inputs.push_back(Input::LinkDown {
            link,
            reason: DownReason::Failed,
        });
    }

    /// Gives a description at once or so, and a candidate after it.
    fn gather(
        &mut self,
        link: LinkId,
        description: Signal,
        random: &mut Stream,
        world: &mut World,
    ) {
        let candidate = Signal::Candidate {
            candidate: format!("candidate:1 1 udp 1 sim {} typ host", self.node.0),
            sdp_mid: Some("0".into()),
            sdp_mline_index: Some(0),
        };
        let mut time = world.now;
        for signal in [description, candidate, Signal::EndOfCandidates] {
            time = time + random.between(&world.network.config().gathering);
            self.at(link, time, LinkEvent::Local(Box::new(signal)), world);
        }
    }

    /// Begins the handshake once that is possible.
    fn say_hello(&mut self, link: LinkId, random: &mut Stream, world: &mut World) {
        let Some(end) = self.ends.get_mut(&link) else {
            return;
        };
        let ready = end.role == Role::Offerer && end.stage == Stage::Connecting;
        if ready && end.has_candidate && !std::mem::replace(&mut end.greeted, true) {
            self.transmit(link, Packet::Hello, 0, random, world);
        }
    }

    fn say_closed(&self, end: &End, link: LinkId, random: &mut Stream, world: &mut World) {
        // Before the handshake there is nothing to close with.
        if end.stage < Stage::Reached {
            return;
        }
        let Some(to) = end.remote else { return };
        let delay = world.network.reliable_delay(self.node, to.node, random);
        let after_frames = end.arrived_by + Duration::from_micros(1);
        let time = (world.now + delay).max(after_frames);
        self.deliver(link, to, time, Packet::Close, world);
    }

    /// Sends a packet, for the `attempt`-th time, from 0.
    fn transmit(
        &mut self,
        link: LinkId,
        packet: Packet,
        attempt: u32,
        random: &mut Stream,
        world: &mut World,
    ) {
        let Some((to, end)) = self
            .ends
            .get_mut(&link)
            .and_then(|end| end.remote.map(|to| (to, end)))
        else {
            return;
        };
        if !world.network.joins(self.node, to.node) {
            if packet.is_reliable() {
                let time = world.now + world.network.backoff(attempt);
                let attempt = attempt + 1;
                self.at(
                    link,
                    time,
                    LinkEvent::Undelivered { packet, attempt },
                    world,
                );
            }
            return;
        }
        let delay = if packet.is_reliable() {
            world.network.reliable_delay(self.node, to.node, random)
        } else if let Some(delay) = world.network.unreliable_delay(self.node, to.node, random) {
            delay
        } else {
            return;
        };
        let time = end.busy_until.max(world.now) + delay;
        end.arrived_by = end.arrived_by.max(time);
        self.deliver(link, to, time, packet, world);
    }

    fn deliver(
        &self,
        link: LinkId,
        to: LinkEnd,
        time: Timestamp,
        packet: Packet,
        world: &mut World,
    ) {
        let from = self.here(link);
        let what = LinkEvent::Packet { from, packet };
        world.schedule(self.source, time, link_event(to, what));
    }

    /// A packet met a partition on its way here: its sender notices, and tries again.
    fn lose(&self, from: LinkEnd, packet: &Packet, world: &mut World) {
        if packet.is_reliable() {
            let time = world.now + world.network.backoff(0);
            let what = LinkEvent::Undelivered {
                packet: packet.clone(),
                attempt: 1,
            };
            world.schedule(self.source, time, link_event(from, what));
        }
    }

    fn at(&self, link: LinkId, time: Timestamp, what: LinkEvent, world: &mut World) {
        world.schedule(self.source, time, link_event(self.here(link), what));
    }

    fn here(&self, link: LinkId) -> LinkEnd {
        LinkEnd {
            node: self.node,
            generation: self.generation,
            link,
        }
    }

    fn violation(&self, world: &mut World, link: LinkId, what: &str) {
        world.violation(format!("{}: link {} {what}", self.node, link.0));
    }
}

fn link_event(at: LinkEnd, what: LinkEvent) -> Event {
    Event::Node {
        node: at.node,
        generation: at.generation,
        what: NodeEvent::Link {
            link: at.link,
            what,
        },
    }
}
