//! The driver of one tracker.

use std::collections::{BTreeMap, VecDeque};

use circlet_core::Timestamp;
use circlet_core::node::TrackerId;
use circlet_core::tracker::{ClientId, Input, Output, Tracker, TrackerConfig};
use circlet_core::wire::ErrorCode;

use crate::host::WALL_CLOCK_INTERVAL;
use crate::line::{LineEvent, LineItem, LinePacket, LineSender, recode};
use crate::queue::Source;
use crate::random::Stream;
use crate::resequencer::Resequencer;
use crate::world::{Event, LineEnd, NodeEvent, TrackerEvent, World};

/// Calls of `handle_timeout` at one instant before something is wrong.
const MAX_SPINS: u32 = 1000;

/// A tracker's machine: it stays when the tracker crashes.
#[derive(Debug)]
pub(crate) struct TrackerHost {
    id: TrackerId,
    source: Source,
    encode: bool,
    unix_ms: u64,
    config: TrackerConfig,
    random: Stream,
    network_random: Stream,
    generation: u32,
    next_client: u64,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    tracker: Tracker,
    clients: BTreeMap<ClientId, Client>,
    by_line: BTreeMap<LineEnd, ClientId>,
    timer: Option<Timestamp>,
    spins: u32,
}

#[derive(Debug)]
struct Client {
    end: LineEnd,
    sender: LineSender,
    received: Resequencer<LineItem>,
}

/// What makes a tracker's machine.
pub(crate) struct TrackerSetup {
    pub(crate) id: TrackerId,
    pub(crate) encode: bool,
    /// The calendar when the simulation begins.
    pub(crate) unix_ms: u64,
    pub(crate) config: TrackerConfig,
    pub(crate) random: Stream,
    pub(crate) network_random: Stream,
}

impl TrackerHost {
    pub(crate) fn new(setup: TrackerSetup, source: Source) -> Self {
        Self {
            id: setup.id,
            source,
            encode: setup.encode,
            unix_ms: setup.unix_ms,
            config: setup.config,
            random: setup.random,
            network_random: setup.network_random,
            generation: 0,
            next_client: 0,
            process: None,
        }
    }

    /// Starts it with an empty table; does nothing if it runs.
    pub(crate) fn start(&mut self, world: &mut World) {
        if self.process.is_some() {
            return;
        }
        self.generation += 1;
        self.process = Some(Process {
            tracker: Tracker::new(self.config.clone(), self.random.rng()),
            clients: BTreeMap::new(),
            by_line: BTreeMap::new(),
            timer: None,
            spins: 0,
        });
        world.network.set_tracker_up(self.id, true);
        self.tell_wall_clock(world);
    }

    /// Ends it; its machine resets all connections.
    pub(crate) fn crash(&mut self, world: &mut World) {
        let Some(process) = self.process.take() else {
            return;
        };
        world.network.set_tracker_up(self.id, false);
        for mut client in process.clients.into_values() {
            let random = &mut self.network_random;
            let time = client.sender.arrival(client.end.node, random, world);
            self.deliver(client.end, LinePacket::Reset, time, world);
        }
    }

    pub(crate) fn tracker(&self) -> Option<&Tracker> {
        self.process.as_ref().map(|process| &process.tracker)
    }

    pub(crate) fn on_event(&mut self, event: TrackerEvent, world: &mut World) {
        match event {
            TrackerEvent::Timer { generation } if generation == self.generation => {
                self.on_timer(world);
            }
            TrackerEvent::WallClock { generation } if generation == self.generation => {
                self.tell_wall_clock(world);
            }
            TrackerEvent::Timer { .. } | TrackerEvent::WallClock { .. } => {}
            TrackerEvent::Packet { from, packet } => self.on_packet(from, packet, world),
            TrackerEvent::Undelivered {
                to,
                packet,
                attempt,
            } => self.on_undelivered(to, packet, attempt, world),
        }
    }

    fn on_packet(&mut self, from: LineEnd, packet: LinePacket, world: &mut World) {
        if !world.network.joins_tracker(from.node) {
            let what = LineEvent::Undelivered {
                connection: from.connection,
                packet,
                attempt: 1,
            };
            let time = world.now + world.network.backoff(0);
            return world.schedule(self.source, time, self.line_event(from, what));
        }
        let known = self
            .process
            .as_ref()
            .and_then(|process| process.by_line.get(&from).copied());
        match (packet, known, &mut self.process) {
            (LinePacket::Open, None, Some(process)) => {
                let client = ClientId(self.next_client);
                self.next_client += 1;
                process.by_line.insert(from, client);
                let end = Client {
                    end: from,
                    sender: LineSender::default(),
                    received: Resequencer::default(),
                };
                process.clients.insert(client, end);
                self.handle(Input::ClientUp { client }, world);
            }
            (LinePacket::Item { sequence, item }, Some(client), _) => {
                self.on_item(client, sequence, item, world);
            }
            (
                LinePacket::Item {
                    item: LineItem::Closed,
                    ..
                },
                None,
                _,
            ) => {}
            _ => {
                let random = &mut self.network_random;
                let time = world.now + world.network.tracker_delay(from.node, random);
                self.deliver(from, LinePacket::Reset, time, world);
            }
        }
    }

    fn on_item(&mut self, client: ClientId, sequence: u64, item: LineItem, world: &mut World) {
        let mut items = VecDeque::new();
        if let Some(state) = self.client(client) {
            state.received.insert(sequence, item);
            items.extend(std::iter::from_fn(|| state.received.next()));
        }
        for item in items {
            // What was said before may have ended it.
            if self.client(client).is_none() {
                return;
            }
            match item {
                LineItem::Message(message) => match recode(*message, self.encode) {
                    Ok(message) => self.handle(Input::Message { client, message }, world),
                    Err(error) => {
                        world.violation(format!("tracker {}: {error}", self.id.0));
                        let code = ErrorCode::Malformed;
                        self.handle(
                            Input::Refused {
                                client,
                                code,
                                error,
                            },
                            world,
                        );
                    }
                },
                LineItem::Closed => {
                    self.forget(client);
                    self.handle(Input::ClientDown { client }, world);
                }
            }
        }
    }

    fn on_undelivered(&mut self, to: LineEnd, packet: LinePacket, attempt: u32, world: &mut World) {
        let known = matches!(
            packet,
            LinePacket::Reset
                | LinePacket::Item {
                    item: LineItem::Closed,
                    ..
                }
        ) || self
            .process
            .as_ref()
            .is_some_and(|process| process.by_line.contains_key(&to));
        if known && world.network.is_running(to.node, to.generation) {
            self.transmit(to, packet, attempt, world);
        }
    }

    fn on_timer(&mut self, world: &mut World) {
        let Some(process) = &mut self.process else {
            return;
        };
        let now = world.now;
        // Superseded by an earlier one.
        if process.timer != Some(now) {
            return;
        }
        process.timer = None;
        if process
            .tracker
            .poll_timeout()
            .is_none_or(|(at, _)| at > now)
        {
            return self.schedule_timer(world);
        }
        process.tracker.handle_timeout(now);
        if process
            .tracker
            .poll_timeout()
            .is_some_and(|(at, _)| at <= now)
        {
            process.spins += 1;
            if process.spins > MAX_SPINS {
                let kind = process.tracker.poll_timeout().map(|(_, kind)| kind);
                world.violation(format!("tracker {}: timer {kind:?} spins", self.id.0));
                self.process = None;
                return;
            }
        } else {
            process.spins = 0;
        }
        self.drain(world);
    }

    fn tell_wall_clock(&mut self, world: &mut World) {
        let unix_ms = self.unix_ms + world.now.as_micros() / 1000;
        self.handle(Input::WallClock { unix_ms }, world);
        let what = TrackerEvent::WallClock {
            generation: self.generation,
        };
        let tracker = self.id;
        let event = Event::Tracker { tracker, what };
        world.schedule(self.source, world.now + WALL_CLOCK_INTERVAL, event);
    }

    fn handle(&mut self, input: Input, world: &mut World) {
        let Some(process) = &mut self.process else {
            return;
        };
        let id = self.id.0;
        world.trace.note(world.now, &[1, u64::from(id)], || {
            format!("t{id} <- {input:?}")
        });
        // Refusals are the tracker's business; what follows from them is among the outputs.
        if let Err(error) = process.tracker.handle(world.now, input) {
            world
                .trace
                .note(world.now, &[2], || format!("t{id} refused: {error}"));
        }
        self.drain(world);
    }

    fn drain(&mut self, world: &mut World) {
        while let Some(output) = self
            .process
            .as_mut()
            .and_then(|process| process.tracker.poll_output())
        {
            let id = self.id.0;
            world.trace.note(world.now, &[3, u64::from(id)], || {
                format!("t{id} -> {output:?}")
            });
            let (client, item) = match output {
                Output::Send { client, message } => (client, LineItem::Message(Box::new(message))),
                Output::Close { client } => (client, LineItem::Closed),
            };
            let closes = matches!(item, LineItem::Closed);
            let Some(state) = self.client(client) else {
                world.violation(format!("tracker {id}: output for no client: {item:?}"));
                continue;
            };
            let (to, packet) = (state.end, state.sender.packet(item));
            self.transmit(to, packet, 0, world);
            if closes {
                self.forget(client);
            }
        }
        self.schedule_timer(world);
    }

    fn schedule_timer(&mut self, world: &mut World) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some((at, _)) = process.tracker.poll_timeout() else {
            return;
        };
        let at = at.max(world.now);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            let what = TrackerEvent::Timer {
                generation: self.generation,
            };
            let tracker = self.id;
            world.schedule(self.source, at, Event::Tracker { tracker, what });
        }
    }

    fn transmit(&mut self, to: LineEnd, packet: LinePacket, attempt: u32, world: &mut World) {
        if !world.network.joins_tracker(to.node) {
            let what = TrackerEvent::Undelivered {
                to,
                packet,
                attempt: attempt + 1,
            };
            let tracker = self.id;
            let time = world.now + world.network.backoff(attempt);
            return world.schedule(self.source, time, Event::Tracker { tracker, what });
        }
        let random = &mut self.network_random;
        let sender = self.process.as_mut().and_then(|process| {
            let client = process.by_line.get(&to)?;
            process
                .clients
                .get_mut(client)
                .map(|client| &mut client.sender)
        });
        let time = match sender {
            Some(sender) => sender.arrival(to.node, random, world),
            None => world.now + world.network.tracker_delay(to.node, random),
        };
        self.deliver(to, packet, time, world);
    }

    fn deliver(&self, to: LineEnd, packet: LinePacket, time: Timestamp, world: &mut World) {
        let connection = to.connection;
        let what = LineEvent::Packet { connection, packet };
        world.schedule(self.source, time, self.line_event(to, what));
    }

    fn line_event(&self, at: LineEnd, what: LineEvent) -> Event {
        Event::Node {
            node: at.node,
            generation: at.generation,
            what: NodeEvent::Line {
                tracker: self.id,
                what,
            },
        }
    }

    fn client(&mut self, client: ClientId) -> Option<&mut Client> {
        self.process.as_mut()?.clients.get_mut(&client)
    }

    fn forget(&mut self, client: ClientId) {
        if let Some(process) = &mut self.process
            && let Some(state) = process.clients.remove(&client)
        {
            process.by_line.remove(&state.end);
        }
    }
}
