//! The world of whole nodes: the [`Simulation`] harness under a scenario.

mod recorder;
mod watch;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::identity::NodeId;
use circlet_core::node::{Event, Snapshot, TrackerId};
use circlet_core::ring::Place;
use circlet_core::room::RoomId;
use circlet_core::wire::LinkState;

use super::world::{Send, Stop, World};
use crate::config::SimConfig;
use crate::invariants::ideal_ring::check_ideal;
use crate::links::Volume;
use crate::network::TrackerReach;
use crate::results::{
    Drawing, DrawnLink, DrawnMember, Fate, GraphMetrics, LinkKind, MemberLoad, MemberRow, Members,
    Population, Results, Sample,
};
use crate::scenario::{Scenario, Start, TrafficKind};
use crate::simulation::Simulation;
use crate::world::NodeIndex;
use recorder::Recorder;
use watch::Watch;

/// Time from the start of one member to that of the next, for an overlay that has to come about:
/// so many at once would only be in each other's way.
const STAGGER: Duration = Duration::from_millis(20);

/// Time between two looks at whether the overlay is right.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Whole nodes, their trackers and links, and what the scenario has to know of them.
pub(super) struct FullWorld<'a> {
    scenario: &'a Scenario,
    sim: Simulation,
    members: Vec<Member>,
    /// Messages to be sent, in order of time.
    due: VecDeque<Send>,
    recorder: Recorder,
    /// What all had sent at the last sample, in bytes.
    sent_bytes: u64,
    /// When counting began.
    measured_since: Timestamp,
    watch: Watch,
    graph: Option<(GraphMetrics, Drawing)>,
}

/// What is known of a member besides what its node knows.
#[derive(Debug, Default)]
struct Member {
    name: String,
    started: Timestamp,
    /// When its present or last session became a member of the ring.
    joined: Option<Timestamp>,
    ended: Option<(Timestamp, Fate)>,
    /// What its links had carried when counting began, or when it started.
    before: Volume,
    /// Open links and messages passed on, when it ended.
    last: (u64, u64),
    sent: u64,
    received: u64,
}

impl<'a> FullWorld<'a> {
    /// A world with the scenario's trackers and nobody else.
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let mut config = SimConfig {
            seed: scenario.seed,
            network: scenario.network.clone(),
            node: scenario.overlay.config.clone(),
            trackers: scenario.trackers,
            topology: scenario.overlay.topology,
            ..SimConfig::default()
        };
        if config.topology.has_hub() {
            config.hub = Some(config.identity(scenario.overlay.hub).node_id());
        }
        Self {
            scenario,
            sim: Simulation::new(config),
            members: Vec::new(),
            due: VecDeque::new(),
            recorder: Recorder::new(scenario.overlay.config.message_deadline),
            sent_bytes: 0,
            measured_since: Timestamp::ZERO,
            watch: Watch::new(&scenario.overlay.config, scenario.trackers),
            graph: None,
        }
    }

    /// Starts the scenario's members, and waits until the overlay is right.
    fn come_about(&mut self, stop: &Stop) -> Result<(), String> {
        for _ in 0..self.scenario.overlay.nodes {
            if stop.is_stopped() {
                return Ok(());
            }
            self.spawn();
            self.sim.run_for(STAGGER);
        }
        self.name_as_in_room();
        let limit = self.sim.now() + self.scenario.measure.settle;
        while !stop.is_stopped() {
            let ring = self.sim.check_ring();
            if ring.is_ok() && self.sim.check_links().is_ok() {
                break;
            }
            if self.sim.now() >= limit {
                return ring;
            }
            self.sim.run_for(LOOK_INTERVAL);
        }
        Ok(())
    }

    fn send_now(&mut self, send: Send) {
        let Send { kind, from, to, .. } = send;
        if !self.sim.is_running(from) {
            return;
        }
        let number = self.recorder.begin(kind, self.sim.now(), from, to);
        // A message is known again by its number.
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(send.bytes.max(payload.len()), 0);
        let sent = match (kind, to) {
            (TrafficKind::Unicast | TrafficKind::Stream, Some(to)) => {
                self.sim.send(from, to, payload)
            }
            // Whole nodes find a member on the way that datagrams take.
            (TrafficKind::Datagram | TrafficKind::Lookup, Some(to)) => {
                self.sim.datagram(from, to, payload)
            }
            (TrafficKind::Circulate, _) => self.sim.circulate(from, payload),
            _ => self.sim.broadcast(from, payload),
        };
        match sent {
            Ok(command) => {
                self.recorder.name(number, command);
                self.members[from.0 as usize].sent += 1;
            }
            Err(_) => self.recorder.refused(number),
        }
    }

    /// Takes in what the nodes have told their applications.
    fn read_events(&mut self) {
        for (index, member) in (0..).map(NodeIndex).zip(&mut self.members) {
            for (at, event) in self.sim.take_events(index) {
                match event {
                    Event::Joined { .. } => member.joined = Some(at),
                    Event::Message(message) => {
                        member.received += 1;
                        self.recorder
                            .received(index, at, message.hops, &message.payload);
                    }
                    Event::Delivered { id } => self.recorder.settled(id, true),
                    Event::Expired { id } | Event::Failed { id, .. } => {
                        self.recorder.settled(id, false);
                    }
                    Event::Left => member.ended = Some((at, Fate::Left)),
                    Event::Superseded { .. } | Event::Refused { .. } => {
                        member.ended = Some((at, Fate::Crashed));
                    }
                    _ => {}
                }
            }
        }
    }

    fn add(&mut self, name: String) {
        self.members.push(Member {
            name,
            started: self.sim.now(),
            ..Member::default()
        });
    }

    /// Keeps what is known only while a member runs.
    fn remember(&mut self, member: NodeIndex) {
        if let Some(snapshot) = self.sim.snapshot(member) {
            let last = (open_links(&snapshot), snapshot.counters.forwarded);
            self.members[member.0 as usize].last = last;
        }
    }

    /// Gives the members the names of those in the room, by their order on the ring.
    fn name_as_in_room(&mut self) {
        if let Start::Room(room) = &self.scenario.overlay.start {
            let order = self.ring_order();
            for (member, named) in order.iter().zip(&room.members) {
                self.members[member.0 as usize].name.clone_from(&named.name);
            }
        }
    }

    fn place(&self, member: NodeIndex) -> Place {
        // As the harness calls its room.
        Place::of(
            &RoomId::open(&SimConfig::default().room),
            self.sim.node_id(member),
        )
    }

    fn total_sent_bytes(&self) -> u64 {
        self.sim
            .nodes()
            .map(|node| self.sim.volume(node).sent_bytes)
            .sum()
    }
}

impl World for FullWorld<'_> {
    fn now(&self) -> Timestamp {
        self.sim.now()
    }

    fn events(&self) -> u64 {
        self.sim.events_executed()
    }

    fn begin(&mut self, stop: &Stop) -> Result<(), String> {
        let begun = self.come_about(stop);
        self.read_events();
        self.sent_bytes = self.total_sent_bytes();
        begun
    }

    fn spawn(&mut self) -> NodeIndex {
        let member = self.sim.spawn();
        self.add(member.to_string());
        member
    }

    fn crash(&mut self, members: &[NodeIndex], noticed: bool) {
        let now = self.sim.now();
        for &member in members {
            self.remember(member);
            if noticed {
                self.sim.crash_noticed(member);
            } else {
                self.sim.crash(member);
            }
            self.members[member.0 as usize].ended = Some((now, Fate::Crashed));
        }
        self.watch.on_fault(&self.sim);
    }

    fn leave(&mut self, members: &[NodeIndex]) {
        for &member in members {
            self.remember(member);
            self.sim.leave(member);
        }
        self.watch.on_fault(&self.sim);
    }

    fn restart(&mut self, members: &[NodeIndex]) {
        // What the last session told has to be read before its successor's.
        self.read_events();
        for &member in members {
            self.sim.restart(member);
            let member = &mut self.members[member.0 as usize];
            (member.ended, member.joined) = (None, None);
        }
        self.watch.on_fault(&self.sim);
    }

    fn partition(&mut self, groups: &[Vec<NodeIndex>], trackers: TrackerReach) {
        self.sim.partition(groups, trackers);
        self.watch.on_network(&self.sim);
    }

    fn heal(&mut self) {
        self.sim.heal();
        self.watch.on_network(&self.sim);
    }

    fn set_tracker_up(&mut self, tracker: u16, up: bool) {
        if up {
            self.sim.start_tracker(TrackerId(tracker));
        } else {
            self.sim.crash_tracker(TrackerId(tracker));
        }
        self.watch.on_network(&self.sim);
    }

    fn set_loss(&mut self, share: f64) {
        let mut network = self.sim.network().config().clone();
        network.loss = share;
        self.sim.set_network(network);
    }

    fn send(&mut self, send: Send) {
        self.due.push_back(send);
    }

    fn run_to(&mut self, end: Timestamp, stop: &Stop) {
        while let Some(send) = self.due.front().copied().filter(|send| send.at <= end) {
            if stop.is_stopped() {
                return;
            }
            self.due.pop_front();
            self.sim.run_to(send.at);
            self.send_now(send);
        }
        self.sim.run_to(end);
        self.read_events();
    }

    fn is_living(&self, member: NodeIndex) -> bool {
        self.sim.is_running(member)
    }

    fn ring_order(&self) -> Vec<NodeIndex> {
        let mut order = self.sim.running();
        order.sort_by_cached_key(|member| self.place(*member));
        order
    }

    fn member(&self, number: u32) -> NodeIndex {
        match self.scenario.overlay.start {
            // The room's members were given these places on the ring.
            Start::Room(_) => {
                let mut order: Vec<NodeIndex> =
                    (0..self.scenario.overlay.nodes).map(NodeIndex).collect();
                order.sort_by_cached_key(|member| self.place(*member));
                order[number as usize]
            }
            Start::Ideal | Start::Join { .. } => NodeIndex(number),
        }
    }

    fn sample(&mut self) -> Sample {
        self.watch.check(&self.sim);
        self.recorder.end_window(self.sim.now());
        let snapshots = self.sim.snapshots();
        let sent_bytes = self.total_sent_bytes();
        let since = sent_bytes - std::mem::replace(&mut self.sent_bytes, sent_bytes);
        let living = snapshots.len();
        let links: Vec<u64> = snapshots.iter().map(open_links).collect();
        let mean = |sum| super::mean(sum, living);
        Sample {
            living: living as u64,
            ring_correct_share: correct_share(&snapshots),
            ring_is_right: check_ideal(&snapshots, self.scenario.overlay.config.list_len).is_ok(),
            rings: Some(rings(&snapshots)),
            links_mean: mean(links.iter().sum()),
            links_max: links.iter().copied().max().unwrap_or(0),
            bytes_sent_per_member: mean(since),
            ..Sample::default()
        }
    }

    fn start_measuring(&mut self) {
        self.measured_since = self.sim.now();
        self.recorder.start_measuring(self.sim.now());
        for (index, member) in (0..).map(NodeIndex).zip(&mut self.members) {
            member.before = self.sim.volume(index);
        }
    }

    fn draw(&mut self, origin: Timestamp) {
        let order = self.ring_order();
        let places: BTreeMap<NodeId, u32> = order
            .iter()
            .map(|member| self.sim.node_id(*member))
            .zip(0..)
            .collect();
        let mut links: BTreeMap<(u32, u32), LinkKind> = BTreeMap::new();
        for (from, member) in (0..).zip(&order) {
            let Some(snapshot) = self.sim.snapshot(*member) else {
                continue;
            };
            let ring: BTreeSet<NodeId> = [&snapshot.successors, &snapshot.predecessors]
                .into_iter()
                .flat_map(|list| list.iter().take(self.scenario.overlay.config.ring_links))
                .copied()
                .collect();
            for link in snapshot
                .links
                .iter()
                .filter(|link| link.state == LinkState::Open)
            {
                let Some(&to) = places.get(&link.peer) else {
                    continue;
                };
                let kind = links
                    .entry((from.min(to), from.max(to)))
                    .or_insert(LinkKind::Long);
                if ring.contains(&link.peer) {
                    *kind = LinkKind::Ring;
                }
            }
        }
        let time_s = seconds(self.sim.now(), origin);
        let nodes = u32::try_from(order.len()).unwrap_or(u32::MAX);
        let graph = GraphMetrics::measure(time_s, nodes, links.keys().copied());
        let members = order
            .iter()
            .map(|member| DrawnMember {
                member: self.members[member.0 as usize].name.clone(),
                turn: self.place(*member).position.0 as f64 / 2f64.powi(64),
                alive: true,
                whole: true,
            })
            .collect();
        let links: Vec<DrawnLink> = links
            .into_iter()
            .map(|((from, to), kind)| DrawnLink { from, to, kind })
            .collect();
        self.graph = Some((graph, Drawing::of(time_s, members, &links)));
    }

    fn finish(&mut self, origin: Timestamp, centre: Option<NodeIndex>, results: &mut Results) {
        self.read_events();
        self.watch.check(&self.sim);
        if self.graph.is_none() {
            self.draw(origin);
        }
        if let Some((graph, drawing)) = self.graph.take() {
            (results.graph, results.drawing) = (Some(graph), Some(drawing));
        }
        results.events = self.sim.events_executed();
        self.fill_population(results);
        self.fill_members(origin, centre, results);
        let present: Vec<recorder::Presence> = (0..)
            .map(NodeIndex)
            .zip(&self.members)
            .map(|(index, member)| recorder::Presence {
                joined: member.joined,
                stays: self.sim.is_running(index),
            })
            .collect();
        let classes = self.scenario.classes();
        self.recorder
            .finish(&classes, self.sim.now(), &present, results);
        results.violations = self.watch.violations(origin);
    }
}

/// What goes into the results at the end.
impl FullWorld<'_> {
    fn fill_population(&self, results: &mut Results) {
        let fates = |wanted| {
            let ended = self.members.iter().filter_map(|member| member.ended);
            ended.filter(|(_, fate)| *fate == wanted).count() as u64
        };
        results.population = Population {
            started: self.members.len() as u64,
            left: fates(Fate::Left),
            crashed: fates(Fate::Crashed),
            living: self.sim.running().len() as u64,
        };
    }

    fn fill_members(&self, origin: Timestamp, centre: Option<NodeIndex>, results: &mut Results) {
        let mut rows: Vec<MemberRow> = Vec::with_capacity(self.members.len());
        for index in (0..self.members.len() as u32).map(NodeIndex) {
            let row = self.row(origin, index);
            if row.fate == Fate::Living {
                results.load.links.record(row.links);
            }
            results.load.uplink_bits_per_s.record(row.uplink_bits_per_s);
            results
                .load
                .downlink_bits_per_s
                .record(row.downlink_bits_per_s);
            rows.push(row);
        }
        // Of equals the first.
        let busiest = rows.iter().rev().max_by_key(|row| row.uplink_bits_per_s);
        results.load.busiest = busiest.map(load);
        results.load.centre = centre
            .and_then(|centre| rows.get(centre.0 as usize))
            .map(load);
        let uplink = self.scenario.network.uplink;
        results.load.uplink_limit_bits_per_s = uplink.map(|bytes| bytes * 8);
        let total = rows.len() as u64;
        let wanted: BTreeSet<u64> = Members::sample(total).collect();
        results.members.total = total;
        results.members.rows = (0..)
            .zip(rows)
            .filter(|(number, _)| wanted.contains(number))
            .map(|(_, row)| row)
            .collect();
    }

    fn row(&self, origin: Timestamp, index: NodeIndex) -> MemberRow {
        let member = &self.members[index.0 as usize];
        let volume = self.sim.volume(index);
        let (links, forwarded) = match self.sim.snapshot(index) {
            Some(snapshot) => (open_links(&snapshot), snapshot.counters.forwarded),
            None => member.last,
        };
        let ended = member.ended.map(|(at, _)| at);
        let lived = ended
            .unwrap_or(self.sim.now())
            .since(member.started.max(self.measured_since));
        let rate = |now: u64, before: u64| {
            // What a newcomer says in its first moments is no rate.
            let micros = lived.as_micros().max(1_000_000);
            let bits = u128::from(now - before) * 8 * 1_000_000;
            u64::try_from(bits / micros).unwrap_or(u64::MAX)
        };
        MemberRow {
            member: member.name.clone(),
            position: self.place(index).position.to_string(),
            started_s: seconds(member.started, origin),
            ended_s: ended.map(|at| seconds(at, origin)),
            fate: member.ended.map_or(Fate::Living, |(_, fate)| fate),
            links,
            bytes_sent: volume.sent_bytes,
            bytes_received: volume.received_bytes,
            uplink_bits_per_s: rate(volume.sent_bytes, member.before.sent_bytes),
            downlink_bits_per_s: rate(volume.received_bytes, member.before.received_bytes),
            sent: member.sent,
            received: member.received,
            forwarded,
        }
    }
}

fn load(row: &MemberRow) -> MemberLoad {
    MemberLoad {
        member: row.member.clone(),
        uplink_bits_per_s: row.uplink_bits_per_s,
        downlink_bits_per_s: row.downlink_bits_per_s,
        links: row.links,
    }
}

fn open_links(node: &Snapshot) -> u64 {
    let open = |state| state == LinkState::Open;
    node.links.iter().filter(|link| open(link.state)).count() as u64
}

/// Seconds from the scenario's time zero; before it there is nothing.
fn seconds(at: Timestamp, origin: Timestamp) -> f64 {
    at.since(origin).as_secs_f64()
}

/// The living whose successor is the next living one, among all the living; 1 of nobody.
fn correct_share(nodes: &[Snapshot]) -> f64 {
    let mut order: Vec<&Snapshot> = nodes.iter().collect();
    order.sort_by_key(|node| (node.position, node.node));
    let count = order.len();
    if count == 0 {
        return 1.0;
    }
    let is_correct = |at: usize| {
        let next = (count > 1).then(|| order[(at + 1) % count].node);
        order[at].member && order[at].successors.first().copied() == next
    };
    (0..count).filter(|at| is_correct(*at)).count() as f64 / count as f64
}

/// How many cycles the successors of the living form.
fn rings(nodes: &[Snapshot]) -> u64 {
    let at: BTreeMap<NodeId, usize> = nodes.iter().map(|node| node.node).zip(0..).collect();
    let next = |index: usize| match nodes[index].successors.first() {
        Some(successor) => at.get(successor).copied(),
        // Alone it is a ring of one.
        None => nodes[index].member.then_some(index),
    };
    // By member: the walk that came by first.
    let mut seen: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut rings = 0;
    for start in 0..nodes.len() {
        let mut here = Some(start);
        while let Some(index) = here {
            if let Some(walk) = seen[index] {
                rings += u64::from(walk == start);
                break;
            }
            seen[index] = Some(start);
            here = next(index);
        }
    }
    rings
}
