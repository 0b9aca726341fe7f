//! Looking at a simulation, and checking what must hold.

use std::collections::BTreeSet;

use circlet_core::Timestamp;
use circlet_core::identity::NodeId;
use circlet_core::node::{Event as NodeNews, Snapshot, TrackerId};
use circlet_core::ring::Place;
use circlet_core::room::RoomId;
use circlet_core::tracker::Snapshot as TrackerSnapshot;

use super::Simulation;
use crate::host::{Host, HostState};
use crate::invariants::ledger::Ledger;
use crate::invariants::view::{Member, RingView};
use crate::invariants::{degree, direct, ideal_ring, lists, nothing_lost, queues, symmetry};
use crate::links::Volume;
use crate::world::{NodeIndex, Session, Violation};

/// Looking.
impl Simulation {
    /// All nodes ever started.
    pub fn nodes(&self) -> impl Iterator<Item = NodeIndex> + use<> {
        (0..u32::try_from(self.hosts.len()).unwrap_or(u32::MAX)).map(NodeIndex)
    }

    /// The nodes that run.
    #[must_use]
    pub fn running(&self) -> Vec<NodeIndex> {
        self.nodes().filter(|node| self.is_running(*node)).collect()
    }

    /// Whether a node's process runs.
    #[must_use]
    pub fn is_running(&self, node: NodeIndex) -> bool {
        self.state(node) == HostState::Running
    }

    /// Whether a node's process runs, and if not, why.
    #[must_use]
    pub fn state(&self, node: NodeIndex) -> HostState {
        self.host(node).state()
    }

    /// A node's id.
    #[must_use]
    pub fn node_id(&self, node: NodeIndex) -> NodeId {
        self.host(node).identity().node_id()
    }

    /// A node's present or last session.
    #[must_use]
    pub fn session(&self, node: NodeIndex) -> Session {
        self.host(node).session()
    }

    /// What a node knows and holds, `None` if it does not run.
    #[must_use]
    pub fn snapshot(&self, node: NodeIndex) -> Option<Snapshot> {
        self.host(node).snapshot()
    }

    /// What every running node knows and holds.
    #[must_use]
    pub fn snapshots(&self) -> Vec<Snapshot> {
        self.hosts.iter().filter_map(Host::snapshot).collect()
    }

    /// What a node has told its application, the oldest first, of all its sessions.
    pub fn events(&self, node: NodeIndex) -> impl Iterator<Item = &(Timestamp, NodeNews)> {
        self.host(node).events().iter()
    }

    /// Takes what [`Simulation::events`] gives, so that it is not kept.
    pub fn take_events(
        &mut self,
        node: NodeIndex,
    ) -> impl Iterator<Item = (Timestamp, NodeNews)> + use<> {
        self.hosts[node.0 as usize].take_events().into_iter()
    }

    /// What a node's links have carried, in all its sessions.
    #[must_use]
    pub fn volume(&self, node: NodeIndex) -> Volume {
        self.host(node).volume()
    }

    /// A tracker's table, `None` if it does not run.
    #[must_use]
    pub fn tracker(&self, tracker: TrackerId) -> Option<TrackerSnapshot> {
        let host = self.trackers.get(usize::from(tracker.0))?;
        Some(host.tracker()?.snapshot())
    }

    /// The ledger of all messages.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        &self.world.ledger
    }

    /// One number for everything that has happened: the same for the same seed and scenario.
    #[must_use]
    pub const fn trace_hash(&self) -> u64 {
        self.world.trace.hash()
    }

    /// The last lines of what has happened; see [`SimConfig::trace_lines`](crate::SimConfig::trace_lines).
    pub fn trace_lines(&self) -> impl Iterator<Item = &str> {
        self.world.trace.lines()
    }

    pub(super) fn host(&self, node: NodeIndex) -> &Host {
        &self.hosts[node.0 as usize]
    }
}

/// Invariants.
impl Simulation {
    /// Whether the running nodes form one [ideal ring](ideal_ring).
    #[must_use]
    pub fn ring_is_ideal(&self) -> bool {
        self.check_ring().is_ok()
    }

    /// Checks that the running nodes form one [ideal ring](ideal_ring).
    ///
    /// # Errors
    /// The first thing that is not so, for people.
    pub fn check_ring(&self) -> Result<(), String> {
        let running = || self.running_hosts();
        let order =
            ideal_ring::IdealRing::new(running().map(|host| self.place(host.session().node)));
        // One at a time: the first that is not right ends it, and most often comes early.
        running()
            .filter_map(Host::snapshot)
            .try_for_each(|node| order.check(&node, self.config.node.list_len))
    }

    /// Checks what must hold at any time: the driving contract, the [degree caps](degree), the [queue bounds](queues), the
    /// [order of the lists](lists), and the [ledger](Ledger::check).
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check(&self) -> Result<(), Violation> {
        self.check_view().map(drop)
    }

    /// [`Simulation::check`], and the members' lists that it has looked at.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check_view(&self) -> Result<RingView, Violation> {
        if let Some(first) = self.world.violations.first() {
            return Err(first.clone());
        }
        let at = self.now();
        let (living, snapshots) = (self.living(), self.snapshots());
        for (host, node) in self.running_hosts().zip(&snapshots) {
            degree::check(node, host.topology(), host.config())
                .map_err(|what| Violation::new(at, degree::NAME, what))?;
            queues::check(node, host.config())
                .map_err(|what| Violation::new(at, queues::NAME, what))?;
        }
        let view = self.view(&snapshots);
        lists::check(&view, self.config.node.list_len)
            .map_err(|what| Violation::new(at, lists::NAME, what))?;
        self.world
            .ledger
            .check(at, |session| living.contains(&session))?;
        Ok(view)
    }

    /// Checks what must hold at the end of a quiet time that began at `since`, besides
    /// [`Simulation::check`]: the ring, and that [nothing was lost](nothing_lost).
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check_quiet(&self, since: Timestamp) -> Result<(), Violation> {
        self.check()?;
        let at = self.now();
        self.check_ring()
            .map_err(|what| Violation::new(at, ideal_ring::NAME, what))?;
        nothing_lost::check(&self.world.ledger, since, &self.living())
            .map_err(|what| Violation::new(at, nothing_lost::NAME, what))
    }

    /// Checks that the [links](symmetry) of the running nodes are what both ends and their
    /// drivers hold, and that [direct links](direct) are there. Long links come and go one at a time, and every link opens and closes at
    /// one end first, so this holds at most moments of a quiet time, not at all of them.
    ///
    /// # Errors
    /// The first thing that is not so, for people.
    pub fn check_links(&self) -> Result<(), String> {
        let snapshots = self.snapshots();
        symmetry::check_symmetric(&snapshots)?;
        let wanted = self.config.topology.wanted(&self.config.node);
        symmetry::check_ring_links(&snapshots, wanted.ring_links)?;
        let (topology, config) = (self.config.topology, &self.config.node);
        direct::check(&snapshots, topology, config, |a, b| self.can_link(a, b))?;
        for (host, snapshot) in self.running_hosts().zip(&snapshots) {
            if let Some(held) = host.links() {
                let held: Vec<_> = held.open_ends().map(|(_, peer)| peer).collect();
                symmetry::check_driver(snapshot, &held)?;
            }
        }
        Ok(())
    }

    /// Whether two running nodes can have a link.
    fn can_link(&self, a: NodeId, b: NodeId) -> bool {
        let index = |id| self.running().into_iter().find(|n| self.node_id(*n) == id);
        match (index(a), index(b)) {
            (Some(a), Some(b)) => self.world.network.joins(a, b),
            _ => false,
        }
    }

    /// The lists of all members, those left out that are about to leave: once it has been asked of
    /// them, they are of no more use to the others than if they had left.
    fn view(&self, snapshots: &[Snapshot]) -> RingView {
        let places = |ids: &[NodeId]| ids.iter().map(|id| self.place(*id)).collect();
        let components = self.world.network.components(&self.running());
        let members = snapshots.iter().zip(components);
        let members = members.filter(|(node, _)| node.member && !node.leaving);
        let members = members.map(|(node, component)| {
            let session = Session {
                node: node.node,
                incarnation: node.incarnation,
            };
            Member {
                place: self.place(node.node),
                session,
                since: self.ledger().joined(&session).unwrap_or(self.now()),
                founder: self.ledger().founded(&session),
                component,
                successors: places(&node.successors),
                predecessors: places(&node.predecessors),
            }
        });
        RingView::new(members.collect())
    }

    fn running_hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.iter().filter(|host| host.is_running())
    }

    /// Where a node is; one that was never started may be named all the same.
    fn place(&self, id: NodeId) -> Place {
        let known = self.places.get(&id).copied();
        known.unwrap_or_else(|| Place::of(&RoomId::open(&self.config.room), id))
    }

    /// The sessions that run.
    #[must_use]
    pub fn living(&self) -> BTreeSet<Session> {
        let running = self.running();
        running.iter().map(|node| self.session(*node)).collect()
    }
}
