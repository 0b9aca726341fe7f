//! Lines: a node's connections to its trackers, reliable and ordered like a WebSocket.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::node::{Input, TrackerId};
use circlet_core::wire::TrackerMessage;

use crate::queue::Source;
use crate::random::Stream;
use crate::resequencer::Resequencer;
use crate::world::{Event, LineEnd, NodeEvent, NodeIndex, TrackerEvent, World};

/// What travels over a line.
#[derive(Clone, Debug)]
pub(crate) enum LinePacket {
    /// Node to tracker: begins a connection.
    Open,
    /// In order, in either direction.
    Item { sequence: u64, item: LineItem },
    /// Tracker's machine to node: nobody listens, or no such connection.
    Reset,
}

#[derive(Clone, Debug)]
pub(crate) enum LineItem {
    Message(Box<TrackerMessage>),
    Closed,
}

/// What happens to a node's end of a line.
#[derive(Debug)]
pub(crate) enum LineEvent {
    /// Something came for this connection.
    Packet { connection: u64, packet: LinePacket },
    /// Something sent on this connection did not arrive, and it has been noticed.
    Undelivered {
        connection: u64,
        packet: LinePacket,
        attempt: u32,
    },
    /// The tracker should have answered by now.
    ConnectTimeout { connection: u64 },
}

/// One direction of a line, at the end that sends.
#[derive(Debug, Default)]
pub(crate) struct LineSender {
    sequence: u64,
    arrived_by: Timestamp,
}

impl LineSender {
    /// Numbers an item.
    pub(crate) fn packet(&mut self, item: LineItem) -> LinePacket {
        let sequence = self.sequence;
        self.sequence += 1;
        LinePacket::Item { sequence, item }
    }

    /// When something sent now, by `node` or to it, arrives: not before what was sent earlier.
    pub(crate) fn arrival(
        &mut self,
        node: NodeIndex,
        random: &mut Stream,
        world: &World,
    ) -> Timestamp {
        let time = world.now + world.network.tracker_delay(node, random);
        self.arrived_by = time.max(self.arrived_by + Duration::from_micros(1));
        self.arrived_by
    }
}

/// One node's connections.
#[derive(Debug)]
pub(crate) struct Lines {
    node: NodeIndex,
    generation: u32,
    source: Source,
    encode: bool,
    lines: BTreeMap<TrackerId, Line>,
    next_connection: u64,
}

#[derive(Debug)]
struct Line {
    connection: u64,
    answered: bool,
    sender: LineSender,
    received: Resequencer<LineItem>,
}

impl Lines {
    pub(crate) fn new(node: NodeIndex, generation: u32, source: Source, encode: bool) -> Self {
        Self {
            node,
            generation,
            source,
            encode,
            lines: BTreeMap::new(),
            next_connection: 0,
        }
    }

    pub(crate) fn connect(&mut self, tracker: TrackerId, random: &mut Stream, world: &mut World) {
        if self.lines.contains_key(&tracker) {
            return self.violation(world, tracker, "was connected twice");
        }
        let connection = self.next_connection;
        self.next_connection += 1;
        let line = Line {
            connection,
            answered: false,
            sender: LineSender::default(),
            received: Resequencer::default(),
        };
        self.lines.insert(tracker, line);
        self.transmit(tracker, connection, LinePacket::Open, 0, random, world);
        let timeout = world.now + world.network.config().tracker_connect_timeout;
        let what = LineEvent::ConnectTimeout { connection };
        self.at(tracker, timeout, what, world);
    }

    pub(crate) fn send(
        &mut self,
        tracker: TrackerId,
        message: TrackerMessage,
        random: &mut Stream,
        world: &mut World,
    ) {
        let Some(line) = self.lines.get_mut(&tracker) else {
            return self.violation(world, tracker, "was sent a message, and is not connected");
        };
        let packet = line.sender.packet(LineItem::Message(Box::new(message)));
        let connection = line.connection;
        self.transmit(tracker, connection, packet, 0, random, world);
    }

    pub(crate) fn close(&mut self, tracker: TrackerId, random: &mut Stream, world: &mut World) {
        if !self.lines.contains_key(&tracker) {
            return self.violation(world, tracker, "was closed, and is not connected");
        }
        self.say_closed(tracker, random, world);
    }

    /// Closes every connection, as the kernel does when a process ends.
    pub(crate) fn close_all(&mut self, random: &mut Stream, world: &mut World) {
        let trackers: Vec<_> = self.lines.keys().copied().collect();
        for tracker in trackers {
            self.say_closed(tracker, random, world);
        }
    }

    /// Takes an event, and gives inputs for the node.
    pub(crate) fn on_event(
        &mut self,
        tracker: TrackerId,
        event: LineEvent,
        random: &mut Stream,
        world: &mut World,
        inputs: &mut VecDeque<Input>,
    ) {
        let connection = match &event {
            LineEvent::Packet { connection, packet } => {
                if !world.network.joins_tracker(self.node) {
                    return self.lose(tracker, *connection, packet, world);
                }
                *connection
            }
            LineEvent::Undelivered { connection, .. }
            | LineEvent::ConnectTimeout { connection } => *connection,
        };
        let Some(line) = self
            .lines
            .get_mut(&tracker)
            .filter(|line| line.connection == connection)
        else {
            return;
        };
        match event {
            LineEvent::Packet { packet, .. } => match packet {
                LinePacket::Open => {}
                LinePacket::Reset => self.lost(tracker, inputs),
                LinePacket::Item { sequence, item } => {
                    line.answered = true;
                    line.received.insert(sequence, item);
                    let items: Vec<_> = std::iter::from_fn(|| line.received.next()).collect();
                    for item in items {
                        match item {
                            LineItem::Closed => self.lost(tracker, inputs),
                            LineItem::Message(message) => match recode(*message, self.encode) {
                                Ok(message) => {
                                    inputs.push_back(Input::Tracker { tracker, message });
                                }
                                Err(error) => self.violation(world, tracker, &error),
                            },
                        }
                    }
                }
            },
            LineEvent::Undelivered {
                packet, attempt, ..
            } => self.transmit(tracker, connection, packet, attempt, random, world),
            LineEvent::ConnectTimeout { .. } => {
                if !line.answered {
                    self.lost(tracker, inputs);
                }
            }
        }
    }

    fn lost(&mut self, tracker: TrackerId, inputs: &mut VecDeque<Input>) {
        self.lines.remove(&tracker);
        inputs.push_back(Input::TrackerLost { tracker });
    }

    fn say_closed(&mut self, tracker: TrackerId, random: &mut Stream, world: &mut World) {
        let Some(line) = self.lines.get_mut(&tracker) else {
            return;
        };
        let packet = line.sender.packet(LineItem::Closed);
        let connection = line.connection;
        self.transmit(tracker, connection, packet, 0, random, world);
        self.lines.remove(&tracker);
    }

    fn transmit(
        &mut self,
        tracker: TrackerId,
        connection: u64,
        packet: LinePacket,
        attempt: u32,
        random: &mut Stream,
        world: &mut World,
    ) {
        let Some(line) = self.lines.get_mut(&tracker) else {
            return;
        };
        let time = line.sender.arrival(self.node, random, world);
        if world.network.joins_tracker(self.node) {
            let from = LineEnd {
                node: self.node,
                generation: self.generation,
                connection,
            };
            let what = TrackerEvent::Packet { from, packet };
            world.schedule(self.source, time, Event::Tracker { tracker, what });
        } else {
            let time = world.now + world.network.backoff(attempt);
            let what = LineEvent::Undelivered {
                connection,
                packet,
                attempt: attempt + 1,
            };
            self.at(tracker, time, what, world);
        }
    }

    /// A packet met a partition on its way here: the tracker's machine notices, and tries again.
    fn lose(&self, tracker: TrackerId, connection: u64, packet: &LinePacket, world: &mut World) {
        let what = TrackerEvent::Undelivered {
            to: LineEnd {
                node: self.node,
                generation: self.generation,
                connection,
            },
            packet: packet.clone(),
            attempt: 1,
        };
        let time = world.now + world.network.backoff(0);
        world.schedule(self.source, time, Event::Tracker { tracker, what });
    }

    fn at(&self, tracker: TrackerId, time: Timestamp, what: LineEvent, world: &mut World) {
        let event = Event::Node {
            node: self.node,
            generation: self.generation,
            what: NodeEvent::Line { tracker, what },
        };
        world.schedule(self.source, time, event);
    }

    fn violation(&self, world: &mut World, tracker: TrackerId, what: &str) {
        world.violation(format!("{}: tracker {} {what}", self.node, tracker.0));
    }
}

/// The message as it comes out of its JSON form, if that is to be tried.
pub(crate) fn recode(message: TrackerMessage, encode: bool) -> Result<TrackerMessage, String> {
    if !encode {
        return Ok(message);
    }
    let text = message.to_json();
    match TrackerMessage::from_json(&text) {
        Ok(same) if same == message => Ok(same),
        Ok(other) => Err(format!("a message became another: {message:?} {other:?}")),
        Err(error) => Err(format!("a message could not be read: {error}: {text}")),
    }
}
