//! The hub of a star, and whom direct links are wanted with.
//!
//! The hub is the member that the room names, while it lives; else the one that has been running
//! for longest of those who may be chosen. Presence says so to all alike: everybody chooses the same
//! one without asking, and a newcomer never takes over. Where many have died at once, so may have
//! those next in line: the more do not answer, the more are asked at the same time.

use alloc::vec::Vec;

use super::Node;
use crate::identity::NodeId;
use crate::ring::Place;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::MAX_LIST;

/// The most members that are asked for a link at the same time to find a hub that lives. Guess.
const MOST_ASKED: usize = 8;

#[derive(Debug, Default)]
pub(super) struct Hub {
    /// The one that the room has been given, if it is known.
    named: Option<Place>,
    /// The one that there is now.
    present: Option<Place>,
}

impl Hub {
    pub(super) fn new(named: Option<Place>) -> Self {
        Self {
            named,
            present: None,
        }
    }

    /// The hub that the room has been given.
    pub(super) fn named(&self) -> Option<NodeId> {
        self.named.map(|place| place.id)
    }

    /// The hub that there is now.
    pub(super) fn present(&self) -> Option<NodeId> {
        self.present.map(|place| place.id)
    }
}

impl Node {
    /// A tracker or a member says which hub the room has been given. The first word counts.
    pub(super) fn learn_hub(&mut self, hub: Option<NodeId>) {
        if self.topology.has_hub() && self.hub.named.is_none() {
            self.hub.named = hub.map(|id| self.place(id));
        }
    }

    /// Members have come or gone: there may be another hub, and others to be linked with.
    pub(super) fn update_direct(&mut self, now: Timestamp) {
        if !self.topology.wanted(&self.config).direct {
            return;
        }
        let hub = self.choose_hub(|place| self.members.answers(place));
        if hub != self.hub.present {
            self.hub.present = hub;
            self.neighbours_changed = true;
        }
        let me = self.me;
        let peers: Vec<_> = match self.topology {
            Topology::Mesh => self.members.places().collect(),
            Topology::Star => self.hubs_to_ask(hub),
            Topology::Ring | Topology::SmallWorld => Vec::new(),
        };
        self.tell_overlay(now, |overlay, cx| {
            overlay.set_direct(cx, peers, hub == Some(me));
        });
    }

    /// A member has not answered so many offers: the hub may be dead, and nobody left to tell.
    pub(super) fn on_unanswered(&mut self, now: Timestamp, member: Place, offers: u32) {
        if self.members.note_unanswered(member, offers) {
            self.update_direct(now);
        }
    }

    /// There is a link to a member.
    pub(super) fn on_answered(&mut self, now: Timestamp, member: Place) {
        if self.members.note_answer(member) || self.hub.present == Some(member) {
            self.update_direct(now);
        }
    }

    /// The hub, if it is one of those who `may` be it, or this node.
    fn choose_hub(&self, may: impl Fn(Place) -> bool) -> Option<Place> {
        if !self.topology.has_hub() {
            return None;
        }
        let me = self.overlay.is_member().then_some(self.me);
        let mine = me
            .filter(|_| self.config.may_be_hub)
            .map(|me| (self.incarnation, me.id, me));
        let named = self.hub.named;
        let longest_running = || {
            let others = self.members.willing_hubs();
            let others = others.filter(|(.., place)| may(*place));
            others.chain(mine).min().map(|(.., place)| place)
        };
        named
            .filter(|named| Some(*named) == me || may(*named))
            .or_else(longest_running)
    }

    /// The hub, and while there is no link to it as many of those next in line as did not answer.
    /// Whoever would be the hub if it did, too: it may only have been out of reach, of the tracker for
    /// instance, and nobody says when it no longer is.
    fn hubs_to_ask(&self, hub: Option<Place>) -> Vec<Place> {
        let rightful = self.choose_hub(|place| self.members.knows(place));
        let is_open = hub.is_none_or(|hub| hub == self.me || self.overlay.is_open(hub));
        let more = if is_open {
            0
        } else {
            self.members.unanswering_hubs().min(MOST_ASKED - 1)
        };
        let mut next: Vec<_> = if more > 0 {
            let others = self.members.willing_hubs();
            let others = others.filter(|(.., place)| self.members.answers(*place));
            others.filter(|(.., place)| Some(*place) != hub).collect()
        } else {
            Vec::new()
        };
        next.sort_unstable();
        let next = next.into_iter().take(more).map(|(.., place)| place);
        let asked = rightful.into_iter().chain(hub).chain(next);
        asked.filter(|place| *place != self.me).collect()
    }

    /// The hub as the way to somebody that this member has no link to. Lookahead finds it, except
    /// where the hub has more links than a table names: there it is worth a try.
    pub(super) fn way_by_hub(&self, to: Place) -> Option<Place> {
        let hub = self.hub.present?;
        let known = self.overlay.neighbour(hub)?;
        let is_ready = known.is_member() && !known.is_suspect();
        let names_all = known.table()?.links.len() < MAX_LIST;
        (is_ready && !names_all && self.open_link(to).is_none()).then_some(hub)
    }
}
