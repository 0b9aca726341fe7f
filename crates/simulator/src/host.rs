//! The driver of one node: turns events into inputs and outputs into events, and decides nothing.

use std::collections::VecDeque;
use std::time::Duration;

use circlet_core::identity::{Identity, Incarnation, NodeId};
use circlet_core::node::{
    Channel, Event as NodeNews, Input, InputError, Membership, Node, Output, Snapshot, TrackerId,
};
use circlet_core::room::RoomId;
use circlet_core::wire::{FrameBuf, NodeKind, TrackerMessage};
use circlet_core::{Config, Timestamp, Topology};

use crate::line::Lines;
use crate::links::{Links, Volume};
use crate::queue::Source;
use crate::random::{Concern, Stream};
use crate::simulation::Tamper;
use crate::world::{Event, NodeEvent, NodeIndex, Session, World};

/// Time between two tellings of the calendar.
pub(crate) const WALL_CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// Calls of `handle_timeout` at one instant before something is wrong.
const MAX_SPINS: u32 = 1000;

/// Whether a node's process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostState {
    /// It runs.
    Running,
    /// It was killed.
    Crashed,
    /// It ended by itself.
    Ended(Ended),
}

/// How a node's process ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It left when told to.
    Left,
    /// A later session of its identity took over.
    Superseded,
    /// Its tracker or a member refused it.
    Refused,
}

/// What does not change over a node's life.
#[derive(Clone, Debug)]
pub(crate) struct HostSetup {
    pub(crate) seed: u64,
    /// Which of the seed's streams of random numbers it has.
    pub(crate) number: u32,
    pub(crate) identity: Identity,
    pub(crate) config: Config,
    pub(crate) room: String,
    pub(crate) topology: Topology,
    pub(crate) hub: Option<NodeId>,
    pub(crate) kind: NodeKind,
    pub(crate) trackers: u16,
    pub(crate) encode: bool,
    /// Its calendar when the simulation begins.
    pub(crate) unix_ms: u64,
    pub(crate) event_log: usize,
}

/// A node's machine: it stays when the node's process ends.
#[derive(Debug)]
pub(crate) struct Host {
    index: NodeIndex,
    source: Source,
    setup: HostSetup,
    state: HostState,
    generation: u32,
    incarnation: Incarnation,
    random: Stream,
    network_random: Stream,
    events: VecDeque<(Timestamp, NodeNews)>,
    /// What the links of processes that have ended carried.
    past_volume: Volume,
    tamper: Option<Tamper>,
    process: Option<Process>,
}

#[derive(Debug)]
struct Process {
    node: Node,
    links: Links,
    lines: Lines,
    timer: Option<Timestamp>,
    spins: u32,
}

impl Host {
    pub(crate) fn new(index: NodeIndex, source: Source, setup: HostSetup) -> Self {
        let stream = |concern| Stream::fork(setup.seed, concern, u64::from(setup.number));
        Self {
            index,
            source,
            state: HostState::Crashed,
            generation: 0,
            incarnation: Incarnation(0),
            random: stream(Concern::Node),
            network_random: stream(Concern::Network),
            events: VecDeque::new(),
            past_volume: Volume::default(),
            tamper: None,
            process: None,
            setup,
        }
    }

    /// Starts a new session, greater than `last` and than any of this host before.
    pub(crate) fn start(&mut self, last: Option<Incarnation>, world: &mut World) {
        self.generation += 1;
        let last = last.max((self.generation > 1).then_some(self.incarnation));
        self.incarnation = Incarnation::next(self.unix_ms(world), last);
        let membership = Membership {
            identity: self.setup.identity.clone(),
            incarnation: self.incarnation,
            room: self.setup.room.clone(),
            name: self.index.to_string(),
            kind: self.setup.kind,
            topology: self.setup.topology,
            hub: self.setup.hub,
            trackers: self.setup.trackers,
        };
        let config = self.setup.config.clone();
        let (index, generation, encode) = (self.index, self.generation, self.setup.encode);
        self.process = Some(Process {
            node: Node::new(config, membership, self.random.rng(), world.now),
            links: Links::new(index, generation, self.source, encode),
            lines: Lines::new(index, generation, self.source, encode),
            timer: None,
            spins: 0,
        });
        self.state = HostState::Running;
        world.network.set_running(index, Some(generation));
        world.trace.note(world.now, &[4, u64::from(index.0)], || {
            format!("{index} starts")
        });
        self.tell_wall_clock(world);
    }

    /// Kills the process. Its kernel resets the trackers' connections at once. Its links fall
    /// silent, or are closed too if `notice`.
    pub(crate) fn crash(&mut self, notice: bool, world: &mut World) {
        if self.process.is_some() {
            world
                .trace
                .note(world.now, &[5, u64::from(self.index.0)], || {
                    format!("{} crashes", self.index)
                });
            self.end(HostState::Crashed, notice, world);
        }
    }

    /// Gives the node an input.
    pub(crate) fn handle(&mut self, input: Input, world: &mut World) -> Result<(), InputError> {
        let Some(process) = &mut self.process else {
            return Err(InputError::Ended);
        };
        let index = self.index;
        let numbers = [6, u64::from(index.0), weight(&input)];
        world
            .trace
            .note(world.now, &numbers, || format!("{index} <- {input:?}"));
        let from_network = matches!(input, Input::Frame { .. });
        let result = process.node.handle(world.now, input);
        if let Err(error) = result {
            world
                .trace
                .note(world.now, &[7], || format!("{index} refused: {error}"));
            if from_network && error == InputError::Protocol && !world.misbehaviour {
                world.violation(format!("{index}: a peer broke the protocol"));
            }
        }
        self.drain(world);
        result
    }

    /// Takes an event of the current process.
    pub(crate) fn on_event(&mut self, generation: u32, event: NodeEvent, world: &mut World) {
        let Some(process) = self
            .process
            .as_mut()
            .filter(|_| generation == self.generation)
        else {
            return;
        };
        let mut inputs = VecDeque::new();
        let random = &mut self.network_random;
        match event {
            NodeEvent::Timer => return self.on_timer(world),
            NodeEvent::WallClock => return self.tell_wall_clock(world),
            NodeEvent::Link { link, what } => {
                process
                    .links
                    .on_event(link, what, random, world, &mut inputs);
            }
            NodeEvent::Line { tracker, what } => {
                process
                    .lines
                    .on_event(tracker, what, random, world, &mut inputs);
            }
        }
        for input in inputs {
            // Refusals are in the trace; the next input is none of the worse for them.
            let _ = self.handle(input, world);
        }
    }

    /// Sends a frame that the node knows nothing of; `false` if there is no link to `to`.
    pub(crate) fn inject(
        &mut self,
        to: NodeId,
        channel: Channel,
        frame: FrameBuf,
        world: &mut World,
    ) -> bool {
        let Some(process) = &mut self.process else {
            return false;
        };
        let link = process.links.open_ends().find(|(_, peer)| *peer == to);
        let Some((link, _)) = link else {
            return false;
        };
        let random = &mut self.network_random;
        process.links.send(link, channel, frame, random, world);
        true
    }

    /// Sends a message to a tracker that the node knows nothing of.
    pub(crate) fn inject_to_tracker(
        &mut self,
        tracker: TrackerId,
        message: TrackerMessage,
        world: &mut World,
    ) {
        if let Some(process) = &mut self.process {
            let random = &mut self.network_random;
            process.lines.send(tracker, message, random, world);
        }
    }

    /// Has what the node sends changed from now on.
    pub(crate) fn tamper(&mut self, how: Tamper) {
        self.tamper = Some(how);
    }

    fn tampered(&self, output: Output) -> Option<Output> {
        match (self.tamper, output) {
            (
                Some(tamper),
                Output::SendFrame {
                    link,
                    channel,
                    frame,
                },
            ) => {
                let frame = frame.decode(&RoomId::open(&self.setup.room)).ok()?;
                Some(Output::SendFrame {
                    link,
                    channel,
                    frame: tamper(frame)?.into(),
                })
            }
            (_, output) => Some(output),
        }
    }

    pub(crate) fn look_at_paths(&mut self, world: &mut World) {
        if let Some(process) = &mut self.process {
            process.links.look_at_paths(world);
        }
    }

    pub(crate) const fn topology(&self) -> Topology {
        self.setup.topology
    }

    pub(crate) const fn identity(&self) -> &Identity {
        &self.setup.identity
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.setup.config
    }

    pub(crate) fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) const fn state(&self) -> HostState {
        self.state
    }

    pub(crate) fn session(&self) -> Session {
        Session {
            node: self.setup.identity.node_id(),
            incarnation: self.incarnation,
        }
    }

    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        self.process.as_ref().map(|process| process.node.snapshot())
    }

    pub(crate) fn links(&self) -> Option<&Links> {
        self.process.as_ref().map(|process| &process.links)
    }

    pub(crate) const fn events(&self) -> &VecDeque<(Timestamp, NodeNews)> {
        &self.events
    }

    pub(crate) fn take_events(&mut self) -> VecDeque<(Timestamp, NodeNews)> {
        std::mem::take(&mut self.events)
    }

    pub(crate) fn volume(&self) -> Volume {
        let mut volume = self.past_volume;
        if let Some(links) = self.links() {
            volume.add(links.volume());
        }
        volume
    }

    fn on_timer(&mut self, world: &mut World) {
        let Some(process) = &mut self.process else {
            return;
        };
        // Otherwise superseded by an earlier one.
        if process.timer != Some(world.now) {
            return;
        }
        process.timer = None;
        let due = process
            .node
            .poll_timeout()
            .filter(|(at, _)| *at <= world.now);
        let Some((_, kind)) = due else {
            return self.schedule_timer(world);
        };
        let index = self.index;
        let numbers = [8, u64::from(index.0)];
        world
            .trace
            .note(world.now, &numbers, || format!("{index} timer {kind:?}"));
        process.node.handle_timeout(world.now);
        let next = process.node.poll_timeout();
        if next.is_some_and(|(at, _)| at <= world.now) {
            process.spins += 1;
            if process.spins > MAX_SPINS {
                world.violation(format!("{index}: timer {next:?} spins"));
                return self.end(HostState::Crashed, false, world);
            }
        } else {
            process.spins = 0;
        }
        self.drain(world);
    }

    fn tell_wall_clock(&mut self, world: &mut World) {
        let unix_ms = self.unix_ms(world);
        // Cannot be refused; if it is, that is in the trace.
        let _ = self.handle(Input::WallClock { unix_ms }, world);
        self.schedule(world.now + WALL_CLOCK_INTERVAL, NodeEvent::WallClock, world);
    }

    /// Does what the node wants done, until it wants nothing more.
    fn drain(&mut self, world: &mut World) {
        let mut ended = None;
        let mut credits = VecDeque::new();
        while let Some(process) = &mut self.process {
            let Some(output) = process.node.poll_output() else {
                let Some(credit) = credits.pop_front() else {
                    break;
                };
                // Stale if the link has been closed since.
                let _ = process.node.handle(world.now, credit);
                continue;
            };
            let index = self.index;
            world.trace.note(world.now, &[9, u64::from(index.0)], || {
                format!("{index} -> {output:?}")
            });
            if let Output::Event(event) = output {
                ended = ended.or(ending(&event));
                self.on_news(event, world);
            } else if let Some(output) = self.tampered(output)
                && let Some(process) = &mut self.process
            {
                let random = &mut self.network_random;
                credits.extend(process.execute(output, random, world));
            }
        }
        match ended {
            Some(how) => self.end(HostState::Ended(how), true, world),
            None => self.schedule_timer(world),
        }
    }

    fn on_news(&mut self, event: NodeNews, world: &mut World) {
        world.ledger.on_event(world.now, self.session(), &event);
        if self.setup.event_log == 0 {
            return;
        }
        if self.events.len() == self.setup.event_log {
            self.events.pop_front();
        }
        self.events.push_back((world.now, event));
    }

    fn end(&mut self, state: HostState, notice: bool, world: &mut World) {
        if let Some(mut process) = self.process.take() {
            let random = &mut self.network_random;
            if notice {
                process.links.close_all(random, world);
            }
            process.lines.close_all(random, world);
            self.past_volume.add(process.links.volume());
        }
        self.state = state;
        world.network.set_running(self.index, None);
    }

    fn schedule_timer(&mut self, world: &mut World) {
        let Some(process) = &mut self.process else {
            return;
        };
        let Some((at, _)) = process.node.poll_timeout() else {
            return;
        };
        let at = at.max(world.now);
        if process.timer.is_none_or(|timer| at < timer) {
            process.timer = Some(at);
            self.schedule(at, NodeEvent::Timer, world);
        }
    }

    fn schedule(&self, at: Timestamp, what: NodeEvent, world: &mut World) {
        let event = Event::Node {
            node: self.index,
            generation: self.generation,
            what,
        };
        world.schedule(self.source, at, event);
    }

    fn unix_ms(&self, world: &World) -> u64 {
        self.setup.unix_ms + world.now.as_micros() / 1000
    }
}

impl Process {
    /// Does one thing; gives back what the node is told of it at once.
    fn execute(&mut self, output: Output, random: &mut Stream, world: &mut World) -> Option<Input> {
        match output {
            Output::OpenLink { link, peer, role } => {
                self.links.open(link, peer, role, random, world);
            }
            Output::CloseLink { link } => self.links.close(link, random, world),
            Output::ApplySignal { link, signal } => {
                self.links.apply(link, &signal, random, world);
            }
            Output::SendFrame {
                link,
                channel,
                frame,
            } => {
                let bytes = self.links.send(link, channel, frame, random, world)?;
                return Some(Input::LinkWritable { link, bytes });
            }
            Output::ConnectTracker { tracker } => self.lines.connect(tracker, random, world),
            Output::CloseTracker { tracker } => self.lines.close(tracker, random, world),
            Output::SendTracker { tracker, message } => {
                self.lines.send(tracker, message, random, world);
            }
            Output::Event(_) => {}
        }
        None
    }
}

const fn ending(event: &NodeNews) -> Option<Ended> {
    match event {
        NodeNews::Left => Some(Ended::Left),
        NodeNews::Superseded { .. } => Some(Ended::Superseded),
        NodeNews::Refused { .. } => Some(Ended::Refused),
        _ => None,
    }
}

/// A number for the trace: which connection and how many bytes.
fn weight(input: &Input) -> u64 {
    match input {
        Input::Frame { link, frame, .. } => (link.0 << 20) ^ frame.size() as u64,
        Input::LinkWritable { link, bytes } => (link.0 << 20) ^ *bytes as u64 ^ 1 << 40,
        Input::LinkUp { link } | Input::LinkSuspect { link } | Input::LinkGarbled { link } => {
            link.0
        }
        Input::LinkDown { link, .. } | Input::LocalSignal { link, .. } => link.0 ^ 1 << 41,
        Input::Tracker { .. } | Input::TrackerLost { .. } | Input::Signal(_) => 1,
        Input::Command(_) => 2,
        Input::WallClock { unix_ms } => *unix_ms,
    }
}
