//! Ring maintenance: join, stabilize, rectify (Zave, "Reasoning about identifier spaces: how to
//! make Chord correct", IEEE TSE 2017), driven by tables that are told on change.
//!
//! The successor list is always the nearest living linked member clockwise, followed by that
//! member's own list, cut before this node: what Zave's StabilizeFromSuccessor and
//! StabilizeFromPredecessor arrive at. An entry is in it because a chain of members vouches for
//! it, each by first-hand contact with the next; so the dead vanish from all lists as soon as
//! their own neighbours have noticed, and no two members can keep a dead one alive for each
//! other. The predecessor list is the same the other way round, which is Rectify. Entries nearer
//! than the nearest linked member are kept while they are being connected to.
//!
//! Below r + 1 members the lists end before their owner: everybody knows everybody, and Zave's
//! floor of r + 1 principals is not needed, because a list that is cut says all there is.
//!
//! Everything else that names members (assignments of trackers, presence, neighbours' tables,
//! replies to joins) is a hint whom to contact, never a reason to believe.

use alloc::vec::Vec;
use core::cmp::Ordering;
use core::time::Duration;

use super::links::Link;
use super::{Channel, Event, LinkId, Node, TimerKind};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{Bye, Join, JoinReply, MAX_LIST, Notify, Places, Stabilize, Table, Wish};

/// Hints kept; older ones make room.
const MAX_CANDIDATES: usize = 64;

/// Time for which a hint is worth following.
const CANDIDATE_LIFE: Duration = Duration::from_secs(20);

/// Further entries that are tried at once while the nearest one is not connected.
const EXTRA_ATTEMPTS: usize = 3;

/// Hints that a member follows at once on each side; newcomers follow as many as they want
/// links.
const MAX_HINTS: usize = 4;

/// Time after which newcomers who know only each other found a ring.
const FOUNDING_WAIT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Successors,
    Predecessors,
}

impl Side {
    /// Orders places by how near they are to `me` on this side.
    fn order(self, me: Place, a: Place, b: Place) -> Ordering {
        match self {
            Self::Successors => me.clockwise_order(a, b),
            Self::Predecessors => me.clockwise_order(b, a),
        }
    }

    fn list(self, table: &Table) -> &[Place] {
        match self {
            Self::Successors => &table.successors,
            Self::Predecessors => &table.predecessors,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    pub(super) member: bool,
    pub(super) successors: Vec<Place>,
    pub(super) predecessors: Vec<Place>,
    /// What neighbours are told; rebuilt when it is due.
    table: Table,
    changed: bool,
    told: Timestamp,
    told_version: u64,
    /// Whom others named, and until when that is worth something.
    candidates: Vec<(Place, Timestamp)>,
    /// Since when the node has had somebody to join but has not joined.
    joining_since: Option<Timestamp>,
}

impl Ring {
    fn side(&self, side: Side) -> &[Place] {
        match side {
            Side::Successors => &self.successors,
            Side::Predecessors => &self.predecessors,
        }
    }
}

impl Node {
    /// The nearest living member clockwise that frames can be given to.
    pub(super) fn effective_successor(&self) -> Option<&Link> {
        self.ring
            .successors
            .iter()
            .find_map(|place| self.links.to(place.id).filter(|link| link.is_member()))
    }

    /// How many members there are, this one included: counted below r + 1 members, above that
    /// from the span of the lists (Symphony, USITS 2003, section 3.2), and never fewer than are
    /// known by presence.
    pub(super) fn estimate(&self) -> usize {
        let (right, left) = (&self.ring.successors, &self.ring.predecessors);
        let count = right.len().max(left.len());
        if count < self.config.list_len {
            return (count + 1).max(self.members.len() + 1);
        }
        let (Some(last), Some(first)) = (right.last(), left.last()) else {
            return 1;
        };
        let span = self.me.position.clockwise_to(last.position) / 2
            + first.position.clockwise_to(self.me.position) / 2;
        let per_member = (span / (right.len() + left.len()) as u64).max(1);
        let estimate = (u64::MAX / 2) / per_member;
        usize::try_from(estimate)
            .unwrap_or(usize::MAX)
            .max(self.members.len() + 1)
    }

    /// Links have opened or closed: neighbours' lookahead depends on them.
    pub(super) fn links_changed(&mut self, now: Timestamp) {
        self.neighbours_changed = true;
        self.ring_changed(now);
    }

    fn ring_changed(&mut self, now: Timestamp) {
        self.ring.changed = true;
        let at = now.max(self.ring.told + self.config.tell_interval);
        self.timers.set_by(TimerKind::Tell, at);
    }

    /// Brings lists and links up to date with what is known now.
    pub(super) fn refresh_ring(&mut self, now: Timestamp) {
        if self.ring.member {
            let successors = self.chain(now, Side::Successors);
            let predecessors = self.chain(now, Side::Predecessors);
            if successors != self.ring.successors || predecessors != self.ring.predecessors {
                let head = self.ring.successors.first().copied();
                self.ring.successors = successors;
                self.ring.predecessors = predecessors;
                self.neighbours_changed = true;
                self.ring_changed(now);
                if self.ring.successors.first().copied() != head {
                    self.notify_successor();
                }
            }
        }
        self.seek_neighbours(now);
    }

    /// The list of one side: see the head of this file.
    fn chain(&self, now: Timestamp, side: Side) -> Vec<Place> {
        let me = self.me;
        let dead = |place: Place| self.quarantine.holds_dead(now, place.id);
        let nearest = self
            .links
            .members()
            .filter(|link| !dead(link.peer))
            .min_by(|a, b| side.order(me, a.peer, b.peer));
        let mut list = Vec::with_capacity(self.config.list_len);
        for &place in self.ring.side(side) {
            let nearer = nearest.is_none_or(|n| side.order(me, place, n.peer) == Ordering::Less);
            if !nearer {
                break;
            }
            let has_hope =
                nearest.is_none() || self.can_signal() || self.links.to(place.id).is_some();
            if !self.quarantine.avoids(now, place.id) && has_hope {
                list.push(place);
            }
        }
        if let Some(nearest) = nearest {
            list.push(nearest.peer);
            for &place in side.list(&nearest.table) {
                let follows = list
                    .last()
                    .is_none_or(|last| side.order(me, *last, place) == Ordering::Less);
                if place == me || !follows {
                    break;
                }
                if !dead(place) {
                    list.push(place);
                }
            }
        }
        list.truncate(self.config.list_len);
        list
    }

    /// Wants links to the nearest members on both sides, and no ring links to others.
    fn seek_neighbours(&mut self, now: Timestamp) {
        let mut wanted = self.nearest_known(now, Side::Successors);
        wanted.extend(self.nearest_known(now, Side::Predecessors));
        for &place in &wanted {
            self.want_link(now, place, Wish::Ring);
        }
        self.update_wants(now, &wanted);
    }

    /// The members to be linked with on one side: the first of the list, a few more while the
    /// nearest one is not connected, and hints of somebody nearer.
    fn nearest_known(&self, now: Timestamp, side: Side) -> Vec<Place> {
        let me = self.me;
        let list = self.ring.side(side);
        let hints = self.ring.candidates.iter().map(|(place, _)| *place);
        let linked = self.links.members().map(|link| link.peer);
        let mut known: Vec<_> = hints.chain(linked).chain(list.iter().copied()).collect();
        for head in [self.ring.successors.first(), self.ring.predecessors.first()] {
            if let Some(link) = head.and_then(|head| self.links.to(head.id)) {
                known.extend_from_slice(&link.table.successors);
                known.extend_from_slice(&link.table.predecessors);
            }
        }
        known.extend(self.members.beside(me, side));
        known.retain(|place| {
            *place != me
                && (self.links.is_open_to(place.id) || !self.quarantine.avoids(now, place.id))
        });
        known.sort_by(|a, b| side.order(me, *a, *b));
        known.dedup();

        let head_is_open = list
            .first()
            .is_some_and(|head| self.links.is_open_to(head.id));
        let extra = if head_is_open { 0 } else { EXTRA_ATTEMPTS };
        let most_hints = if self.ring.member {
            MAX_HINTS
        } else {
            self.wanted.ring_links
        };
        let (mut sure, mut hinted) = (0, 0);
        known.retain(|place| {
            if sure >= self.wanted.ring_links + extra {
                return false;
            }
            let is_sure = list.contains(place) || self.links.is_open_to(place.id);
            if is_sure {
                sure += 1;
            } else {
                hinted += 1;
            }
            is_sure || hinted <= most_hints
        });
        known
    }

    /// Keeps a hint that `place` may be a neighbour.
    pub(super) fn add_candidate(&mut self, now: Timestamp, place: Place) {
        if place == self.me {
            return;
        }
        let candidates = &mut self.ring.candidates;
        candidates.retain(|(known, _)| *known != place);
        if candidates.len() >= MAX_CANDIDATES {
            candidates.remove(0);
        }
        candidates.push((place, now + CANDIDATE_LIFE));
    }

    /// There is somebody to join: the ring is sought from now on.
    pub(super) fn start_joining(&mut self, now: Timestamp) {
        if !self.ring.member && self.ring.joining_since.is_none() {
            self.ring.joining_since = Some(now);
            self.timers
                .set_by(TimerKind::Stabilize, now + self.config.stabilize);
        }
    }

    /// Asks the nearest predecessor known to be let in, once for each table it tells.
    fn ask_to_join(&mut self) {
        let me = self.me;
        let before = self
            .links
            .members()
            .min_by(|a, b| Side::Predecessors.order(me, a.peer, b.peer));
        let Some((id, version)) = before.map(|link| (link.id, link.table.version)) else {
            return;
        };
        if let Some(link) = self.links.get_mut(id)
            && link.join_asked != Some(version)
        {
            link.join_asked = Some(version);
            self.send(id, Channel::Control, Join {});
        }
    }

    pub(super) fn on_join(&mut self, id: LinkId) {
        let Some(joiner) = self.links.get(id).map(|link| link.peer) else {
            return;
        };
        let accepted = self.ring.member
            && self
                .ring
                .successors
                .first()
                .is_none_or(|head| *head == joiner || joiner.is_between(self.me, *head));
        let mut known: Vec<_> = self
            .links
            .members()
            .map(|link| link.peer)
            .chain(self.ring.successors.iter().copied())
            .chain(self.ring.predecessors.iter().copied())
            .filter(|place| *place != joiner)
            .collect();
        known.sort_by(|a, b| joiner.clockwise_order(*a, *b));
        known.dedup();
        // The nearest on both sides: the first and the last clockwise from the joiner.
        let mut nearer: Vec<_> = known.iter().rev().take(MAX_HINTS).copied().collect();
        nearer.extend(
            known
                .iter()
                .take(MAX_HINTS)
                .filter(|p| !nearer.contains(p))
                .copied()
                .collect::<Vec<_>>(),
        );
        let reply = JoinReply {
            accepted,
            successors: Self::places(&self.ring.successors),
            nearer: Places::from(nearer),
        };
        self.send(id, Channel::Control, reply);
    }

    pub(super) fn on_join_reply(&mut self, now: Timestamp, id: LinkId, reply: &JoinReply) {
        for place in reply.nearer.iter() {
            self.add_candidate(now, *place);
        }
        if !self.ring.member && reply.accepted {
            let before = self.links.get(id).map(|link| link.peer);
            let me = self.me;
            self.ring.successors = reply
                .successors
                .iter()
                .take_while(|place| **place != me)
                .take(self.config.list_len)
                .copied()
                .collect();
            self.ring
                .successors
                .sort_by(|a, b| me.clockwise_order(*a, *b));
            if self.ring.successors.is_empty() {
                self.ring.successors.extend(before);
            }
            self.ring.predecessors = before.into_iter().collect();
            self.become_member(now);
        } else {
            self.refresh_ring(now);
        }
    }

    /// From now on the node is part of the ring, alone if it knows nobody.
    pub(super) fn become_member(&mut self, now: Timestamp) {
        self.ring.member = true;
        self.ring.joining_since = None;
        self.refresh_ring(now);
        self.ring_changed(now);
        self.notify_successor();
        let members: Vec<_> = self.links.members().map(|link| link.id).collect();
        for id in members {
            self.greet(id);
        }
        self.announce_presence(now);
        self.report_soon(now);
        self.timers
            .set_by(TimerKind::Stabilize, now + self.config.stabilize);
        self.start_long_links(now);
        let neighbours = self.neighbours();
        self.event(Event::Joined {
            neighbours,
            members: self.estimate(),
        });
    }

    pub(super) fn on_table(&mut self, now: Timestamp, id: LinkId, table: Table) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if table.version <= link.table.version {
            return;
        }
        let became_member = table.member && !link.table.member;
        link.table = table;
        if !self.ring.member {
            self.ask_to_join();
        }
        if became_member {
            self.greet(id);
        }
        self.refresh_ring(now);
        if became_member {
            self.retry_circulations(now);
        }
    }

    /// A peer takes this node for its successor. If somebody lies between, its table tells.
    pub(super) fn on_notify(&mut self, now: Timestamp, id: LinkId) {
        self.refresh_ring(now);
        let peer = self.links.get(id).map(|link| link.peer);
        if peer.is_some() && self.ring.predecessors.first().copied() != peer {
            self.send_table(id);
        }
    }

    fn notify_successor(&mut self) {
        if let Some(id) = self.effective_successor().map(|link| link.id) {
            self.send(id, Channel::Control, Notify {});
        }
    }

    pub(super) fn on_stabilize_timer(&mut self, now: Timestamp) {
        self.timers
            .set(TimerKind::Stabilize, now + self.config.stabilize);
        self.ring.candidates.retain(|(_, until)| now < *until);
        if let Some(since) = self.ring.joining_since {
            self.ask_trackers();
            if now.since(since) >= FOUNDING_WAIT && self.may_found() {
                self.become_member(now);
                return;
            }
        }
        if let Some(link) = self.effective_successor() {
            let (id, before) = (link.id, link.table.predecessors.first().copied());
            self.send(id, Channel::Control, Stabilize {});
            if before != Some(self.me) {
                self.send(id, Channel::Control, Notify {});
            }
        }
        self.refresh_ring(now);
    }

    /// Among newcomers who know only each other the first one founds the ring; two that do so
    /// at once find together by the tracker's hints.
    fn may_found(&self) -> bool {
        let mut open = self.links.open().peekable();
        open.peek().is_some() && open.all(|link| !link.table.member && self.me < link.peer)
    }

    /// A neighbour leaves: its lists take its place.
    pub(super) fn take_over(&mut self, leaver: Place, bye: &Bye) {
        let me = self.me;
        let lists = [
            (&mut self.ring.successors, &bye.successors),
            (&mut self.ring.predecessors, &bye.predecessors),
        ];
        for (mine, theirs) in lists {
            if mine.first() == Some(&leaver) {
                let followers = theirs.iter().copied().take_while(|place| *place != me);
                *mine = followers.collect();
            } else {
                mine.retain(|place| *place != leaver);
            }
        }
        self.ring.candidates.retain(|(place, _)| *place != leaver);
    }

    /// Tells all neighbours the table if it has changed.
    pub(super) fn tell(&mut self, now: Timestamp) {
        self.ring.told = now;
        self.update_table();
        let version = self.ring.table.version;
        if core::mem::replace(&mut self.ring.told_version, version) != version {
            let open: Vec<_> = self.links.open().map(|link| link.id).collect();
            for id in open {
                self.send_table(id);
            }
        }
    }

    pub(super) fn send_table(&mut self, id: LinkId) {
        self.update_table();
        let table = self.ring.table.clone();
        self.send(id, Channel::Control, table);
    }

    fn update_table(&mut self) {
        if !core::mem::take(&mut self.ring.changed) && self.ring.table.version > 0 {
            return;
        }
        let mut links: Vec<_> = self.links.open().map(|link| link.peer).collect();
        links.sort_unstable();
        links.truncate(MAX_LIST);
        let table = &self.ring.table;
        if table.version == 0
            || table.member != self.ring.member
            || *table.successors != *self.ring.successors
            || *table.predecessors != *self.ring.predecessors
            || *table.links != *links
        {
            self.ring.table = Table {
                version: table.version + 1,
                member: self.ring.member,
                successors: Self::places(&self.ring.successors),
                predecessors: Self::places(&self.ring.predecessors),
                links: Places::from(links),
            };
        }
    }
}
