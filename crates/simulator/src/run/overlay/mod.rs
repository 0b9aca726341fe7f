//! The world of overlays alone: the kernel of [`scale`](crate::scale) under a scenario.

mod report;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;

use circlet_core::overlay::{Neighbour, Overlay};
use circlet_core::ring::Member as _;
use circlet_core::wire::Wish;
use circlet_core::{Timestamp, Topology};

use crate::latency::micros;
use crate::network::TrackerReach;
use crate::results::{
    Drawing, DrawnLink, DrawnMember, GraphMetrics, LinkKind, Population, Results, Sample,
    ViolationRow,
};
use crate::run::world::{Send, Stop, World};
use crate::scale::kernel::{BadSchedule, Effort, Kernel};
use crate::scale::{
    Event, Flow, FlowKind, Host, Order, Shared, Slot, State, collapse_heap, overlays, random_of,
};
use crate::scenario::{Scenario, Start, TrafficKind, Who};
use crate::world::NodeIndex;

/// Members above which the graph is neither measured nor drawn: it would take more memory than
/// they do.
const MAX_GRAPH: usize = 20_000;

/// Living members above which invariants are looked at for an even sample of them only.
const MAX_CHECKED: usize = 20_000;

/// Overlays with their hosts, and what the scenario has to know of them.
pub(super) struct OverlayWorld<'a> {
    scenario: &'a Scenario,
    kernel: Kernel<Host>,
    shared: Shared,
    /// When each member started and ended; left out where there are too many to list.
    lives: Vec<Life>,
    left: u64,
    crashed: u64,
    /// Those who have not become members yet.
    newcomers: Vec<Slot>,
    /// What had been sent at the last sample, in bytes.
    sent_bytes: u64,
    /// When each window of the series began.
    windows: Vec<Timestamp>,
    measured_since: Timestamp,
    violations: BTreeSet<(Timestamp, String)>,
    graph: Option<(GraphMetrics, Drawing)>,
    fault: Option<BadSchedule>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    started: Timestamp,
    ended: Option<Timestamp>,
    /// Bytes sent and received when counting began.
    before: (u64, u64),
}

impl<'a> OverlayWorld<'a> {
    /// A world without members, to run on so many threads.
    ///
    /// # Errors
    /// What of the scenario cannot be simulated without whole nodes.
    pub(super) fn new(scenario: &'a Scenario, threads: NonZeroUsize) -> Result<Self, String> {
        if matches!(scenario.overlay.start, Start::Room(_)) {
            return Err("a living room can only be simulated with detail = \"full\"".to_owned());
        }
        let network = &scenario.network;
        let shared = Shared {
            seed: scenario.seed,
            config: scenario.overlay.config.clone(),
            topology: scenario.overlay.topology,
            hub: scenario.overlay.hub,
            latency: network.latency.clone(),
            loss: network.loss,
            retransmission_timeout: network.retransmission_timeout,
            unconnectable: network.unconnectable,
            link_setup: *network.handshake.end() + *network.gathering.end(),
            uplink: network.uplink,
            downlink: network.downlink,
            measure_load: !scenario.w1,
            groups: Vec::new(),
            maintained: scenario.overlay.maintained,
            tracker: scenario.trackers > 0,
            directory: Vec::new(),
            joined: Vec::new(),
            dead: Vec::new(),
            probing: scenario.overlay.acknowledged_hops,
            flows: flows(scenario)?,
            interval: micros(scenario.measure.every).max(1),
        };
        Ok(Self {
            scenario,
            kernel: Kernel::new(threads, network.latency.least()),
            shared,
            lives: Vec::new(),
            left: 0,
            crashed: 0,
            newcomers: Vec::new(),
            sent_bytes: 0,
            windows: Vec::new(),
            measured_since: Timestamp::ZERO,
            violations: BTreeSet::new(),
            graph: None,
            fault: None,
        })
    }

    /// What executing events has cost.
    pub(super) fn effort(&self) -> Effort {
        self.kernel.effort()
    }

    fn add(&mut self, overlay: Overlay<Slot>) -> u32 {
        add(&mut self.kernel, &mut self.lives, &self.shared, overlay)
    }

    fn schedule(&mut self, to: u32, at: Timestamp, event: Event) {
        if let Err(fault) = self.kernel.schedule_from_outside(to, at, event) {
            self.fault.get_or_insert(fault);
        }
    }

    fn order(&mut self, member: NodeIndex, order: Order) {
        let now = self.kernel.now();
        self.schedule(member.0, now, Event::Order(Box::new(order)));
    }

    /// Takes note that members have ended.
    fn bury(&mut self, members: &[NodeIndex]) {
        let now = self.kernel.now();
        let mut gone: Vec<_> = members
            .iter()
            .map(|member| self.shared.slot(member.0))
            .collect();
        gone.sort_unstable();
        for list in [&mut self.shared.directory, &mut self.shared.joined] {
            list.retain(|slot| gone.binary_search(slot).is_err());
        }
        self.newcomers
            .retain(|slot| gone.binary_search(slot).is_err());
        let count = self.kernel.len() as usize;
        self.shared.dead.resize(count, false);
        for member in members {
            self.shared.dead[member.0 as usize] = true;
            if let Some(life) = self.lives.get_mut(member.0 as usize) {
                life.ended = Some(now);
            }
        }
    }

    fn enter_directory(&mut self, slot: Slot) {
        insert(&mut self.shared.directory, slot);
        self.newcomers.push(slot);
    }

    /// Takes note of the newcomers that have become members.
    fn welcome(&mut self) {
        let kernel = &self.kernel;
        let is_member = |slot: &mut Slot| {
            let host = kernel.actor(slot.index());
            host.is_some_and(|host| host.overlay().is_member())
        };
        for slot in self.newcomers.extract_if(.., is_member) {
            insert(&mut self.shared.joined, slot);
        }
    }

    /// Whom a newcomer is told of: those next to it by a tracker, else somebody.
    fn contacts(&self, slot: Slot) -> Vec<Slot> {
        if self.shared.tracker {
            self.shared.contacts(slot)
        } else {
            let others = self.shared.directory.iter().copied();
            others.filter(|other| *other != slot).take(1).collect()
        }
    }

    /// The living, in ring order, with their overlays.
    fn living(&self) -> impl Iterator<Item = (Slot, &Overlay<Slot>)> {
        let members = self.shared.directory.iter().copied();
        members.filter_map(|slot| {
            let host = self.kernel.actor(slot.index())?;
            (host.state() == State::Living).then(|| (slot, host.overlay()))
        })
    }

    fn total_sent_bytes(&self) -> u64 {
        if self.shared.measure_load {
            let now = self.kernel.now();
            let hosts = self.kernel.actors();
            hosts.map(|host| host.load(&self.shared, now).sent).sum()
        } else {
            0
        }
    }

    /// What must hold at every moment: lists in ring order without repeats and without their
    /// owner, no more links than allowed.
    fn check(&mut self) {
        let step = self.shared.directory.len().div_ceil(MAX_CHECKED).max(1);
        let most = match self.shared.topology {
            Topology::Ring | Topology::SmallWorld => self.shared.config.max_links,
            Topology::Mesh | Topology::Star => usize::MAX,
        };
        let mut found = Vec::new();
        for (slot, overlay) in self.living().step_by(step) {
            for (name, list, backwards) in [
                ("successors", overlay.successors(), false),
                ("predecessors", overlay.predecessors(), true),
            ] {
                let in_order = list.windows(2).all(|pair| {
                    let (first, second) = if backwards {
                        (pair[1], pair[0])
                    } else {
                        (pair[0], pair[1])
                    };
                    slot.clockwise_order(first, second).is_lt()
                });
                if !in_order || list.contains(&slot) {
                    found.push(format!("{slot:?}: {name} {list:?} are not in ring order"));
                }
            }
            let links = overlay.members().len();
            if links > most {
                found.push(format!("{slot:?}: {links} links, and {most} are allowed"));
            }
        }
        let now = self.kernel.now();
        self.violations
            .extend(found.into_iter().map(|what| (now, what)));
    }
}

fn name(index: u32) -> String {
    format!("n{index}")
}

fn insert(list: &mut Vec<Slot>, slot: Slot) {
    if let Err(at) = list.binary_search(&slot) {
        list.insert(at, slot);
    }
}

fn add(
    kernel: &mut Kernel<Host>,
    lives: &mut Vec<Life>,
    shared: &Shared,
    overlay: Overlay<Slot>,
) -> u32 {
    let now = kernel.now();
    let mut host = Host::new(overlay, shared, now);
    let wake = host.first_wake();
    let index = kernel.add(host);
    if let Some(at) = wake {
        // The actor is there, and a timer is never over when it is set.
        let _ = kernel.schedule_from_outside(index, at, Event::Wake);
    }
    if shared.measure_load {
        lives.push(Life {
            started: now,
            ..Life::default()
        });
    }
    index
}

/// The flows that a scenario consists of: one for each sort and size of message.
fn flows(scenario: &Scenario) -> Result<Vec<Flow>, String> {
    let mut flows = Vec::new();
    let end = Timestamp::ZERO + scenario.duration;
    if scenario.w1 {
        flows.push(Flow {
            kind: FlowKind::Lookup,
            class: TrafficKind::Lookup,
            by_all: true,
            gap: scenario.overlay.config.stabilize,
            end,
            bytes: 0,
            checked: false,
        });
    }
    for traffic in &scenario.traffic {
        let kind = match (traffic.kind, traffic.to) {
            (TrafficKind::Circulate, _) => {
                return Err("circulated messages need detail = \"full\"".to_owned());
            }
            (TrafficKind::Lookup, _) => FlowKind::Lookup,
            (TrafficKind::Broadcast, _) | (TrafficKind::Stream, Who::All) => FlowKind::Broadcast,
            _ => FlowKind::Unicast,
        };
        let flow = Flow {
            kind,
            class: traffic.kind,
            by_all: false,
            gap: traffic.gap,
            end,
            bytes: traffic.bytes,
            checked: kind == FlowKind::Lookup,
        };
        if !flows.iter().any(|known| is_same(known, &flow)) {
            flows.push(flow);
        }
    }
    if flows.len() > usize::from(u8::MAX) {
        return Err("there are more than 255 sorts and sizes of messages".to_owned());
    }
    Ok(flows)
}

/// Whether messages of the two are counted together.
fn is_same(a: &Flow, b: &Flow) -> bool {
    (a.kind, a.class, a.bytes, a.by_all) == (b.kind, b.class, b.bytes, b.by_all)
}

impl World for OverlayWorld<'_> {
    fn now(&self) -> Timestamp {
        self.kernel.now()
    }

    fn events(&self) -> u64 {
        self.kernel.effort().events
    }

    fn begin(&mut self, _stop: &Stop) -> Result<(), String> {
        let count = self.scenario.overlay.nodes;
        self.kernel.reserve(count as usize);
        for overlay in overlays(&self.shared, count, self.scenario.overlay.long_link_kind) {
            add(&mut self.kernel, &mut self.lives, &self.shared, overlay);
        }
        collapse_heap();
        self.shared.directory = (0..count).map(|index| self.shared.slot(index)).collect();
        self.shared.directory.sort_unstable();
        self.shared.joined.clone_from(&self.shared.directory);
        Ok(())
    }

    fn spawn(&mut self) -> NodeIndex {
        let slot = self.shared.slot(self.kernel.len());
        let contacts = self.contacts(slot);
        self.enter_directory(slot);
        let rng = random_of(self.shared.seed, slot.index());
        let member = NodeIndex(self.add(Overlay::new(slot, rng)));
        self.order(member, Order::Join(contacts));
        member
    }

    fn crash(&mut self, members: &[NodeIndex], noticed: bool) {
        for &member in members {
            self.order(member, Order::Crash { noticed });
        }
        self.crashed += members.len() as u64;
        self.bury(members);
    }

    fn leave(&mut self, members: &[NodeIndex]) {
        for &member in members {
            self.order(member, Order::Leave);
        }
        self.left += members.len() as u64;
        self.bury(members);
    }

    fn restart(&mut self, members: &[NodeIndex]) {
        for &member in members {
            let slot = self.shared.slot(member.0);
            let contacts = self.contacts(slot);
            self.enter_directory(slot);
            self.shared.dead[member.0 as usize] = false;
            if let Some(life) = self.lives.get_mut(member.0 as usize) {
                life.ended = None;
            }
            self.order(member, Order::Join(contacts));
        }
    }

    fn partition(&mut self, groups: &[Vec<NodeIndex>], _trackers: TrackerReach) {
        self.shared.groups = vec![0; self.kernel.len() as usize];
        for (number, members) in (0..).zip(groups) {
            for member in members {
                self.shared.groups[member.0 as usize] = number;
            }
        }
        for member in self.ring_order() {
            self.order(member, Order::LookAround);
        }
    }

    fn heal(&mut self) {
        self.shared.groups.clear();
    }

    fn set_tracker_up(&mut self, _tracker: u16, up: bool) {
        self.shared.tracker = up;
    }

    fn set_loss(&mut self, share: f64) {
        self.shared.loss = share;
    }

    fn send(&mut self, send: Send) {
        let kind = match (send.kind, send.to) {
            (TrafficKind::Lookup, _) => FlowKind::Lookup,
            (_, None) => FlowKind::Broadcast,
            _ => FlowKind::Unicast,
        };
        let flow = self.shared.flows.iter().position(|flow| {
            !flow.by_all && flow.kind == kind && flow.class == send.kind && flow.bytes == send.bytes
        });
        let Some(flow) = flow.and_then(|flow| u8::try_from(flow).ok()) else {
            return;
        };
        let order = Order::Send {
            flow,
            to: send.to.map(|to| self.shared.slot(to.0)),
            word: send.word,
        };
        self.schedule(send.from.0, send.at, Event::Order(Box::new(order)));
    }

    fn run_to(&mut self, end: Timestamp, _stop: &Stop) {
        if let Err(fault) = self.kernel.run_until(&self.shared, end) {
            self.fault.get_or_insert(fault);
        }
        self.welcome();
    }

    fn is_living(&self, member: NodeIndex) -> bool {
        self.kernel
            .actor(member.0)
            .is_some_and(|host| host.state() == State::Living)
    }

    fn ring_order(&self) -> Vec<NodeIndex> {
        let directory = self.shared.directory.iter();
        directory.map(|slot| NodeIndex(slot.index())).collect()
    }

    fn sample(&mut self) -> Sample {
        self.check();
        self.windows.push(self.kernel.now());
        let sent_bytes = self.total_sent_bytes();
        let since = sent_bytes - std::mem::replace(&mut self.sent_bytes, sent_bytes);
        let directory = &self.shared.directory;
        let count = directory.len();
        let (mut right, mut all_right) = (0u64, true);
        let (mut links, mut links_max) = (0u64, 0);
        let length = self.shared.config.list_len.min(count.saturating_sub(1));
        for (rank, slot) in directory.iter().enumerate() {
            let Some(host) = self.kernel.actor(slot.index()) else {
                continue;
            };
            let overlay = host.overlay();
            let open = open_links(overlay);
            links += open;
            links_max = links_max.max(open);
            let at = |steps: usize| directory[(rank + steps) % count];
            let successor = (count > 1).then(|| at(1));
            right += u64::from(overlay.successors().first().copied() == successor);
            all_right = all_right
                && overlay.is_member()
                && overlay
                    .successors()
                    .iter()
                    .copied()
                    .eq((1..=length).map(at))
                && (overlay.predecessors().iter().copied())
                    .eq((1..=length).map(|steps| at(count - steps)));
        }
        let mean = |sum| super::mean(sum, count);
        Sample {
            living: count as u64,
            ring_correct_share: mean(right),
            ring_is_right: all_right,
            rings: Some(self.rings()),
            links_mean: mean(links),
            links_max,
            bytes_sent_per_member: mean(since),
            ..Sample::default()
        }
    }

    fn start_measuring(&mut self) {
        self.measured_since = self.kernel.now();
        for tally in self.kernel.tallies_mut() {
            for flow in &mut tally.flows {
                flow.start_over();
            }
        }
        for (index, life) in (0..).zip(&mut self.lives) {
            if let Some(host) = self.kernel.actor(index) {
                let load = host.load(&self.shared, self.measured_since);
                life.before = (load.sent, load.received);
            }
        }
    }

    fn draw(&mut self, origin: Timestamp) {
        let directory = &self.shared.directory;
        if directory.len() > MAX_GRAPH {
            return;
        }
        let rank = |slot: Slot| directory.binary_search(&slot).ok().map(|rank| rank as u32);
        let mut links = Vec::new();
        for ((slot, overlay), from) in self.living().zip(0u32..) {
            for (peer, known) in overlay.neighbours() {
                let Some(to) = rank(peer).filter(|_| known.is_open()) else {
                    continue;
                };
                // Told by the smaller end, or by the other one if that does not know of it.
                let other = self.kernel.actor(peer.index()).map(Host::overlay);
                let both = other
                    .and_then(|other| other.neighbour(slot))
                    .is_some_and(Neighbour::is_open);
                if from < to || !both {
                    let ring = known.mine().and(*known.theirs()).has(Wish::Ring);
                    let kind = if ring { LinkKind::Ring } else { LinkKind::Long };
                    links.push(DrawnLink { from, to, kind });
                }
            }
        }
        let time_s = seconds(self.kernel.now(), origin);
        let nodes = directory.len() as u32;
        let ends = links.iter().map(|link| (link.from, link.to));
        let graph = GraphMetrics::measure(time_s, nodes, ends);
        let members = directory
            .iter()
            .map(|slot| DrawnMember {
                member: name(slot.index()),
                turn: slot.position().0 as f64 / 2f64.powi(64),
                alive: true,
                whole: true,
            })
            .collect();
        self.graph = Some((graph, Drawing::of(time_s, members, &links)));
    }

    fn finish(&mut self, origin: Timestamp, centre: Option<NodeIndex>, results: &mut Results) {
        self.check();
        if self.graph.is_none() {
            self.draw(origin);
        }
        if let Some((graph, drawing)) = self.graph.take() {
            (results.graph, results.drawing) = (Some(graph), Some(drawing));
        }
        results.events = self.events();
        results.population = Population {
            started: u64::from(self.kernel.len()),
            left: self.left,
            crashed: self.crashed,
            living: self.shared.directory.len() as u64,
        };
        self.fill_traffic(results);
        self.fill_load(origin, centre, results);
        if let Some(fault) = self.fault {
            self.violations.insert((fault.now, fault.to_string()));
        }
        for (at, what) in std::mem::take(&mut self.violations) {
            results.violations.push(ViolationRow {
                time_s: seconds(at, origin),
                invariant: "safety".to_owned(),
                what,
            });
        }
    }
}

fn open_links(overlay: &Overlay<Slot>) -> u64 {
    let open = overlay.neighbours().filter(|(_, known)| known.is_open());
    open.count() as u64
}

fn seconds(at: Timestamp, origin: Timestamp) -> f64 {
    at.since(origin).as_secs_f64()
}
