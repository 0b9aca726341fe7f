//! Long links: harmonic shortcuts across the ring (Manku, Bawa, Raghavan, "Symphony", USITS
//! 2003, section 3.1).
//!
//! A distance is drawn from the harmonic distribution over the number of members, and whoever
//! is responsible for the position that far clockwise becomes a neighbour. Opening a link is
//! dear, so none is drawn again until the number of members has doubled or halved, and then one
//! at a time.

use alloc::vec::Vec;
use core::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;
use thin_vec::ThinVec;

use super::{Action, Context, NEVER, Overlay};
use crate::ring::Member;
use crate::time::Timestamp;
use crate::wire::Wish;

/// Draws that may lead to nobody new before the next round.
const MAX_DRAWS: u8 = 4;

/// Time after joining at which the first long link is drawn: neighbours know of us by then.
const FIRST_DRAW: Duration = Duration::from_millis(50);

/// Time that a lookup may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(1);

/// Steps of [`Overlay::scale`] to twice as many members.
const STEPS: u8 = 8;

#[derive(Clone, Debug)]
pub(super) struct LongLinks<M> {
    rng: Xoshiro256PlusPlus,
    /// When the number of members is compared with those of the draws again.
    next_look: Timestamp,
    /// Members that were suggested.
    assigned: ThinVec<M>,
    /// The number of the last lookup.
    last_lookup: u32,
    /// It has not been answered yet.
    is_looking: bool,
    /// Draws since there was a pause.
    draws: u8,
}

impl<M> LongLinks<M> {
    pub(super) const fn new(rng: Xoshiro256PlusPlus) -> Self {
        Self {
            rng,
            next_look: Timestamp::ZERO,
            assigned: ThinVec::new(),
            last_lookup: 0,
            is_looking: false,
            draws: 0,
        }
    }

    /// A distance clockwise, harmonically distributed between a `members`-th of the ring and
    /// all of it: members^(u - 1) of the ring for u uniform in [0, 1).
    fn draw(&mut self, members: usize) -> u64 {
        harmonic_distance(self.rng.random(), members)
    }
}

/// The distance clockwise that belongs to `u`, uniform in [0, 1), in the harmonic distribution
/// over `members` members.
#[must_use]
pub fn harmonic_distance(u: f64, members: usize) -> u64 {
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

impl<M: Member> Overlay<M> {
    /// Eight times the binary logarithm of the number of members, at least 1.
    pub(super) fn scale(&self, list_len: usize) -> u8 {
        let members = self.estimate(list_len) as f64;
        let steps = libm::round(libm::log2(members) * f64::from(STEPS));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to what fits"
        )]
        let scale = steps.clamp(1.0, 255.0) as u8;
        scale
    }

    pub(super) fn start_long_links(&mut self, cx: &Context<'_, M>) {
        if cx.wanted().long_links > 0 {
            self.timers.links = self.timers.links.min(cx.now + FIRST_DRAW);
        }
    }

    /// From round to round: whether all long links are there and of use still.
    pub(super) fn check_long_links(&mut self, cx: &mut Context<'_, M>) {
        if cx.now < self.long.next_look || !self.is_member() {
            return;
        }
        self.long.next_look = cx.now + cx.config.long_link_interval;
        self.redraw_one(cx);
        let missing = self.own_long().count() < cx.wanted().long_links;
        if missing && self.timers.links == NEVER {
            self.timers.links = cx.now + cx.config.long_link_interval;
        }
    }

    pub(super) fn on_long_links_timer(&mut self, cx: &mut Context<'_, M>) {
        self.timers.links = NEVER;
        self.long.is_looking = false;
        self.long.draws = 0;
        self.draw_long_link(cx);
    }

    /// Lets go of one link that was drawn for half or twice as many members.
    fn redraw_one(&mut self, cx: &mut Context<'_, M>) {
        let scale = self.scale(cx.config.list_len);
        let outdated = self
            .neighbours
            .iter()
            .find(|(_, known)| {
                known.mine.has(Wish::Long)
                    && known.drawn_at > 0
                    && known.drawn_at.abs_diff(scale) > STEPS
            })
            .map(|(member, _)| member);
        if let Some(member) = outdated {
            self.set_long(cx, member, false);
        }
    }

    /// Members that somebody suggests as long links: taken as far as links are missing.
    pub fn assign_long_links(&mut self, members: Vec<M>) {
        self.long.assigned = members.into();
    }

    /// Looks for one more long link if one is missing and there is somebody to have it with.
    pub(super) fn draw_long_link(&mut self, cx: &mut Context<'_, M>) {
        while let Some(assigned) = self.long.assigned.pop() {
            self.take_long_link(cx, assigned);
        }
        let members = self.estimate(cx.config.list_len);
        let wanted = cx.wanted();
        if !self.is_member()
            || self.long.is_looking
            || self.own_long().count() >= wanted.long_links
            || members <= 2 * wanted.ring_links + 1
        {
            return;
        }
        if self.long.draws >= MAX_DRAWS {
            let at = cx.now + cx.config.long_link_interval;
            self.timers.links = self.timers.links.min(at);
            return;
        }
        self.long.draws += 1;
        let target = self.me.position().advance(self.long.draw(members));
        let id = self.long.last_lookup.wrapping_add(1);
        self.long.last_lookup = id;
        self.long.is_looking = true;
        self.timers.links = cx.now + LOOKUP_TIMEOUT;
        cx.out.push(Action::LookUp { target, id });
    }

    /// A lookup is answered: `found` is responsible for its target.
    pub fn on_found(&mut self, cx: &mut Context<'_, M>, found: M, id: u32) {
        if !self.long.is_looking || self.long.last_lookup != id {
            return;
        }
        self.long.is_looking = false;
        self.timers.links = NEVER;
        self.take_long_link(cx, found);
        self.draw_long_link(cx);
    }

    /// Makes `member` a long link unless it is a ring neighbour or has one already.
    fn take_long_link(&mut self, cx: &mut Context<'_, M>, member: M) {
        let wanted = cx.wanted();
        let near = |list: &[M]| list.iter().take(wanted.ring_links).any(|n| *n == member);
        if member == self.me
            || near(&self.table.successors)
            || near(&self.table.predecessors)
            || self.own_long().any(|own| own == member)
            || self.own_long().count() >= wanted.long_links
            || self.quarantine.avoids(cx.now, member)
        {
            return;
        }
        if self.neighbours.contains(member) {
            self.set_long(cx, member, true);
        } else if !self.want_link(cx, member, Wish::Long) {
            return;
        }
        let scale = self.scale(cx.config.list_len);
        if let Some(known) = self.neighbours.get_mut(member) {
            known.drawn_at = scale;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::Place;
    use rand::SeedableRng;

    #[test]
    fn distances_are_harmonic() {
        let mut long = LongLinks::<Place>::new(Xoshiro256PlusPlus::seed_from_u64(1));
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
