//! The simulation itself: its clock, its nodes and trackers, and what befalls them.

mod inspection;
mod messages;
mod misbehaviour;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::identity::{Identity, Incarnation, NodeId};
use circlet_core::node::{Command, Input, TrackerId};
use circlet_core::ring::Place;
use circlet_core::room::RoomId;

use crate::config::{NodeOptions, SimConfig};
use crate::host::{Host, HostSetup};
use crate::invariants::ledger::Ledger;
use crate::network::{Network, NetworkConfig, TrackerReach};
use crate::queue::EventQueue;
use crate::random::{Concern, Stream};
use crate::trace::Trace;
use crate::tracker::{TrackerHost, TrackerSetup};
use crate::world::{Event, NodeIndex, World};

pub use misbehaviour::Tamper;

/// Virtual time between two looks at the condition of [`Simulation::run_until`].
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Nodes, their trackers, and the network between them, in virtual time.
#[derive(Debug)]
pub struct Simulation {
    config: SimConfig,
    world: World,
    hosts: Vec<Host>,
    /// Where everybody is, running or not.
    places: BTreeMap<NodeId, Place>,
    trackers: Vec<TrackerHost>,
    scenario: Stream,
    next_command: u64,
    events: u64,
}

/// A condition did not come true in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeout {
    /// When it was given up.
    pub at: Timestamp,
    /// Why the ring was not ideal then, if it was not.
    pub ring: Result<(), String>,
}

impl fmt::Display for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "did not come true by {}", self.at)?;
        match &self.ring {
            Ok(()) => f.write_str("; the ring is ideal"),
            Err(why) => write!(f, "; the ring is not ideal: {why}"),
        }
    }
}

impl std::error::Error for Timeout {}

/// A failing test shows the last lines of its trace, if it keeps any.
impl Drop for Simulation {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for line in self.trace_lines() {
                eprintln!("{line}");
            }
        }
    }
}

/// Building and running.
impl Simulation {
    /// An empty room and running trackers, at time zero.
    #[must_use]
    pub fn new(config: SimConfig) -> Self {
        let mut world = World {
            now: Timestamp::ZERO,
            queue: EventQueue::new(),
            network: Network::new(config.network.clone(), config.seed, config.trackers),
            trace: Trace::new(config.trace_lines),
            ledger: Ledger::default(),
            violations: Vec::new(),
            misbehaviour: false,
        };
        let mut trackers = Vec::new();
        for id in config.tracker_ids() {
            let stream = |concern| Stream::fork(config.seed, concern, u64::from(id.0));
            let setup = TrackerSetup {
                id,
                encode: config.encode,
                unix_ms: config.unix_ms,
                config: config.tracker.clone(),
                random: stream(Concern::Tracker),
                network_random: stream(Concern::TrackerNetwork),
            };
            let mut tracker = TrackerHost::new(setup, world.queue.add_source());
            tracker.start(&mut world);
            trackers.push(tracker);
        }
        Self {
            scenario: Stream::fork(config.seed, Concern::Scenario, 0),
            config,
            world,
            hosts: Vec::new(),
            places: BTreeMap::new(),
            trackers,
            next_command: 0,
            events: 0,
        }
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Events executed so far.
    #[must_use]
    pub const fn events_executed(&self) -> u64 {
        self.events
    }

    /// Events that wait to be executed.
    #[must_use]
    pub fn events_pending(&self) -> usize {
        self.world.queue.len()
    }

    /// Random numbers for decisions of the scenario.
    pub const fn random(&mut self) -> &mut Stream {
        &mut self.scenario
    }

    /// Lets `duration` pass.
    pub fn run_for(&mut self, duration: Duration) {
        let end = self.world.now + duration;
        self.run_to(end);
    }

    /// Lets time pass until `condition` holds, at most `limit`; gives the time passed, to 10 ms.
    ///
    /// # Errors
    /// [`Timeout`] if it did not come true.
    pub fn run_until(
        &mut self,
        condition: impl Fn(&Self) -> bool,
        limit: Duration,
    ) -> Result<Duration, Timeout> {
        let start = self.world.now;
        let end = start + limit;
        while !condition(self) {
            if self.world.now >= end {
                return Err(Timeout {
                    at: end,
                    ring: self.check_ring(),
                });
            }
            self.run_to((self.world.now + LOOK_INTERVAL).min(end));
        }
        Ok(self.world.now.since(start))
    }

    /// Lets time pass up to `end`, if that is still to come; what is due then happens too.
    pub fn run_to(&mut self, end: Timestamp) {
        while let Some((time, event)) = self.world.queue.pop_until(end) {
            self.world.now = time;
            self.events += 1;
            match event {
                Event::Node {
                    node,
                    generation,
                    what,
                } => self.hosts[node.0 as usize].on_event(generation, what, &mut self.world),
                Event::Tracker { tracker, what } => {
                    self.trackers[usize::from(tracker.0)].on_event(what, &mut self.world);
                }
            }
        }
        self.world.now = self.world.now.max(end);
    }
}

/// Nodes and trackers: starting and ending them.
impl Simulation {
    /// Starts a new node.
    pub fn spawn(&mut self) -> NodeIndex {
        self.spawn_with(NodeOptions::default())
    }

    /// Starts `count` new nodes at once.
    pub fn spawn_many(&mut self, count: usize) -> Vec<NodeIndex> {
        (0..count).map(|_| self.spawn()).collect()
    }

    /// Starts a new node with options of its own.
    pub fn spawn_with(&mut self, options: NodeOptions) -> NodeIndex {
        let number = options.number.unwrap_or(self.next_index().0);
        self.add(self.config.identity(number), options, None)
    }

    /// Starts another node with the identity of an existing one, and a greater incarnation.
    pub fn spawn_session_of(&mut self, node: NodeIndex) -> NodeIndex {
        let original = self.host(node);
        let last = original.session().incarnation;
        let identity = original.identity().clone();
        self.add(identity, NodeOptions::default(), Some(last))
    }

    /// Kills a node's process: its links fall silent, its trackers' connections end.
    pub fn crash(&mut self, node: NodeIndex) {
        self.end(node, false);
    }

    /// Kills a node's process, and its links end at once, as if its kernel closed them.
    pub fn crash_noticed(&mut self, node: NodeIndex) {
        self.end(node, true);
    }

    /// Tells a node to leave. It ends once it has.
    pub fn leave(&mut self, node: NodeIndex) {
        let host = &mut self.hosts[node.0 as usize];
        // Refused only if it has ended already.
        let _ = host.handle(Input::Command(Command::Leave), &mut self.world);
        self.look_at_paths();
    }

    /// Starts a node that has ended again: the same identity, a greater incarnation. Kills it
    /// first if it runs.
    pub fn restart(&mut self, node: NodeIndex) {
        self.crash(node);
        self.hosts[node.0 as usize].start(None, &mut self.world);
    }

    /// Kills a tracker: its table is lost, all its connections are reset.
    pub fn crash_tracker(&mut self, tracker: TrackerId) {
        self.trackers[usize::from(tracker.0)].crash(&mut self.world);
    }

    /// Starts a tracker that was killed, with an empty table.
    pub fn start_tracker(&mut self, tracker: TrackerId) {
        self.trackers[usize::from(tracker.0)].start(&mut self.world);
    }

    fn add(
        &mut self,
        identity: Identity,
        options: NodeOptions,
        last: Option<Incarnation>,
    ) -> NodeIndex {
        let index = self.next_index();
        let config = &self.config;
        let setup = HostSetup {
            seed: config.seed,
            number: options.number.unwrap_or(index.0),
            identity,
            config: options.config.unwrap_or_else(|| config.node.clone()),
            room: config.room.clone(),
            topology: options.topology.unwrap_or(config.topology),
            hub: options.hub.or(config.hub),
            kind: options.kind,
            trackers: config.trackers,
            encode: config.encode,
            unix_ms: config.unix_ms.saturating_add_signed(options.clock_skew_ms),
            event_log: config.event_log,
        };
        let id = setup.identity.node_id();
        let place = Place::of(&RoomId::open(&config.room), id);
        self.places.insert(id, place);
        let source = self.world.queue.add_source();
        let mut host = Host::new(index, source, setup);
        host.start(last, &mut self.world);
        self.hosts.push(host);
        index
    }

    fn next_index(&self) -> NodeIndex {
        NodeIndex(u32::try_from(self.hosts.len()).unwrap_or(u32::MAX))
    }

    fn end(&mut self, node: NodeIndex, notice: bool) {
        self.hosts[node.0 as usize].crash(notice, &mut self.world);
        self.look_at_paths();
    }

    fn look_at_paths(&mut self) {
        for host in &mut self.hosts {
            host.look_at_paths(&mut self.world);
        }
    }
}

/// The network.
impl Simulation {
    /// Cuts the nodes into groups; those not named, and those started later, are a group of
    /// their own. Replaces any partition before.
    pub fn partition(&mut self, groups: &[Vec<NodeIndex>], trackers: TrackerReach) {
        self.world.network.partition(groups, trackers);
        self.look_at_paths();
    }

    /// Ends a partition.
    pub fn heal(&mut self) {
        self.world.network.heal();
        self.look_at_paths();
    }

    /// Lets two nodes never have a link, whatever else they can do.
    pub fn block(&mut self, a: NodeIndex, b: NodeIndex) {
        self.world.network.block(a, b);
        self.look_at_paths();
    }

    /// Takes [`Simulation::block`] back.
    pub fn unblock(&mut self, a: NodeIndex, b: NodeIndex) {
        self.world.network.unblock(a, b);
        self.look_at_paths();
    }

    /// Takes every [`Simulation::block`] back.
    pub fn unblock_all(&mut self) {
        self.world.network.unblock_all();
        self.look_at_paths();
    }

    /// Changes how the network behaves from now on.
    pub fn set_network(&mut self, config: NetworkConfig) {
        *self.world.network.config_mut() = config;
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> &Network {
        &self.world.network
    }
}
