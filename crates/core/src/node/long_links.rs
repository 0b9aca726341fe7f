//! Long links: harmonic shortcuts across the ring (Manku, Bawa, Raghavan, "Symphony", USITS
//! 2003, section 3.1).
//!
//! A distance is drawn from the harmonic distribution over the number of members, and whoever
//! is responsible for the position that far clockwise becomes a neighbour. Opening a link is
//! dear, so none is drawn again until the number of members has doubled or halved, and then one
//! at a time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::links::Link;
use super::{Node, TimerKind};
use crate::identity::NodeId;
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{LookupReply, Wish};

/// Draws that may lead to nobody new before the next round.
const MAX_DRAWS: u32 = 4;

/// Time after joining at which the first long link is drawn: neighbours know of us by then.
const FIRST_DRAW: Duration = Duration::from_millis(50);

/// Time that a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct LongLinks {
    rng: Xoshiro256PlusPlus,
    lookup: Option<u32>,
    next_lookup: u32,
    draws: u32,
    /// Members that a tracker has assigned.
    assigned: Vec<Place>,
    /// How many members there were when a link was drawn.
    drawn_at: BTreeMap<NodeId, usize>,
}

impl LongLinks {
    pub(super) fn new(rng: Xoshiro256PlusPlus) -> Self {
        Self {
            rng,
            lookup: None,
            next_lookup: 0,
            draws: 0,
            assigned: Vec::new(),
            drawn_at: BTreeMap::new(),
        }
    }

    /// A distance clockwise, harmonically distributed between a `members`-th of the ring and
    /// all of it: members^(u - 1) of the ring for u uniform in [0, 1).
    fn draw(&mut self, members: usize) -> u64 {
        let u: f64 = self.rng.random();
        let share = libm::exp(libm::log(members as f64) * (u - 1.0));
        // Less than 2^64, as `share` is less than 1.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of the ring, positive and less than 2^64; casts saturate"
        )]
        let distance = (share * 18_446_744_073_709_551_615.0) as u64;
        distance
    }
}

impl Node {
    pub(super) fn start_long_links(&mut self, now: Timestamp) {
        if self.wanted.long_links > 0 {
            self.timers.set_by(TimerKind::LongLinks, now + FIRST_DRAW);
        }
    }

    pub(super) fn on_long_links_timer(&mut self, now: Timestamp) {
        self.timers
            .set(TimerKind::LongLinks, now + self.config.long_link_interval);
        self.long.lookup = None;
        self.long.draws = 0;
        let own: Vec<_> = self.links.own_long().map(|place| place.id).collect();
        self.long.drawn_at.retain(|node, _| own.contains(node));
        self.redraw_one(now);
        self.draw_long_link(now);
    }

    /// Lets go of one link that was drawn for half or twice as many members.
    fn redraw_one(&mut self, now: Timestamp) {
        let members = self.estimate();
        let outdated = self
            .long
            .drawn_at
            .iter()
            .find(|(_, then)| members > 2 * **then || 2 * members < **then)
            .map(|(node, _)| *node);
        if let Some(node) = outdated {
            self.long.drawn_at.remove(&node);
            if let Some(id) = self.links.to(node).map(|link| link.id) {
                self.set_long(now, id, false);
            }
        }
    }

    /// A tracker suggests long links: taken once this node knows its ring neighbours.
    pub(super) fn assign_long_links(&mut self, places: Vec<Place>) {
        self.long.assigned = places;
    }

    /// Looks for one more long link if one is missing and there is somebody to have it with.
    pub(super) fn draw_long_link(&mut self, now: Timestamp) {
        while let Some(assigned) = self.long.assigned.pop() {
            self.take_long_link(now, assigned);
        }
        let members = self.estimate();
        let beside = 2 * self.wanted.ring_links + 1;
        if !self.ring.member
            || self.long.lookup.is_some()
            || self.long.draws >= MAX_DRAWS
            || self.links.own_long().count() >= self.wanted.long_links
            || members <= beside
        {
            return;
        }
        self.long.draws += 1;
        let target = self.me.position.advance(self.long.draw(members));
        self.long.next_lookup = self.long.next_lookup.wrapping_add(1);
        let id = self.long.next_lookup;
        self.long.lookup = Some(id);
        self.timers
            .set_by(TimerKind::LongLinks, now + LOOKUP_TIMEOUT);
        self.look_up(target, id);
    }

    pub(super) fn on_lookup_reply(&mut self, now: Timestamp, found: Place, reply: &LookupReply) {
        if self.long.lookup != Some(reply.id) {
            return;
        }
        self.long.lookup = None;
        self.take_long_link(now, found);
        self.draw_long_link(now);
    }

    /// Makes `place` a long link unless it is a ring neighbour or has one already.
    pub(super) fn take_long_link(&mut self, now: Timestamp, place: Place) {
        let near = |list: &[Place]| {
            let beside = list.iter().take(self.wanted.ring_links);
            beside.into_iter().any(|neighbour| *neighbour == place)
        };
        if place == self.me
            || near(&self.ring.successors)
            || near(&self.ring.predecessors)
            || self.links.own_long().any(|own| own == place)
            || self.links.own_long().count() >= self.wanted.long_links
            || self.quarantine.avoids(now, place.id)
        {
            return;
        }
        let members = self.estimate();
        let existing = self.links.to(place.id).map(|link| link.id);
        if let Some(id) = existing {
            self.set_long(now, id, true);
        } else if !self.want_link(now, place, Wish::Long) {
            return;
        }
        self.long.drawn_at.insert(place.id, members);
    }

    /// An attempt came to nothing; if it was for a long link, another is drawn.
    pub(super) fn long_link_failed(&mut self, now: Timestamp, link: &Link) {
        if link.mine.long {
            self.long.drawn_at.remove(&link.peer.id);
            self.draw_long_link(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn distances_are_harmonic() {
        let mut long = LongLinks::new(Xoshiro256PlusPlus::seed_from_u64(1));
        let members = 1_000;
        let draws = 30_000;
        // In the harmonic distribution each factor of ten has the same share.
        let mut decades = [0_u32; 3];
        for _ in 0..draws {
            let share = long.draw(members) as f64 / u64::MAX as f64;
            assert!((0.000_999..1.0).contains(&share), "{share}");
            let decade = if share < 0.01 {
                0
            } else {
                1 + usize::from(share >= 0.1)
            };
            decades[decade] += 1;
        }
        for count in decades {
            assert!((9_500..10_500).contains(&count), "{decades:?}");
        }
    }
}
