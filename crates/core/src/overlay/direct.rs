//! Direct links, for their own sake: with everybody in a mesh, with the hub in a star.
//!
//! Whom there is to link with comes from presence, by [`Overlay::set_direct`]. The ring beneath is
//! kept as in every topology: it carries what direct links do not, because two members cannot
//! connect, a hub has died or there are more members than a node may have links.
//!
//! Of two members of a mesh that want a link one asks at once, the one that has the other within
//! half a turn clockwise; so each asks about half of the others. Where there are more than it has
//! room for, members are asked in an order that is the same for both of a pair and otherwise
//! random, those last who could not be reached: what comes of it is a random graph, in which
//! nobody is far.

use alloc::vec::Vec;
use core::time::Duration;

use thin_vec::ThinVec;

use super::{Context, NEVER, Overlay};
use crate::ring::Member;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::Wish;

/// How often the pause after attempts that led to nothing doubles.
const MAX_DOUBLINGS: u32 = 8;

/// 2^64 over the golden ratio: spreads what is multiplied by it (Knuth, TAOCP 3, section 6.4).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

#[derive(Clone, Debug)]
pub(super) struct DirectLinks<M> {
    /// Whom links are wanted with, in order of their places.
    wanted: ThinVec<Wanted<M>>,
    /// Whether this member is the hub of a star.
    is_hub: bool,
    /// Attempts in a row that have led to nothing.
    failures: u32,
    /// No attempt is begun before.
    not_before: Timestamp,
}

/// Somebody a direct link is wanted with.
#[derive(Clone, Copy, Debug)]
struct Wanted<M> {
    member: M,
    /// From when on this member asks.
    from: Timestamp,
    /// When it could not be reached last; zero if it always could. Nobody is forgotten here while
    /// others are tried in turn, as in quarantine.
    failed: Timestamp,
}

impl<M> Default for DirectLinks<M> {
    fn default() -> Self {
        Self {
            wanted: ThinVec::new(),
            is_hub: false,
            failures: 0,
            not_before: Timestamp::ZERO,
        }
    }
}

impl<M: Member> DirectLinks<M> {
    fn wants(&self, member: M) -> bool {
        self.find(member).is_some()
    }

    /// Where a member that is wanted stands.
    fn find(&self, member: M) -> Option<usize> {
        let found = self
            .wanted
            .binary_search_by_key(&member, |wanted| wanted.member);
        found.ok()
    }

    /// Forgets the failures.
    fn take_heart(&mut self) {
        self.failures = 0;
        self.not_before = Timestamp::ZERO;
    }
}

impl<M: Member> Overlay<M> {
    /// Whom direct links are wanted with, and whether this member is the hub of a star, which takes
    /// more links than others.
    ///
    /// They are sought a moment later: members become known one by one.
    pub fn set_direct(&mut self, cx: &mut Context<'_, M>, mut members: Vec<M>, is_hub: bool) {
        if self.direct.is_none() && members.is_empty() && !is_hub {
            return;
        }
        members.sort_unstable();
        members.dedup();
        let direct = self.direct.get_or_insert_default();
        direct.is_hub = is_hub;
        let is_same = members.iter().eq(direct.wanted.iter().map(|it| &it.member));
        if is_same {
            return;
        }
        let soon = cx.now + cx.config.tell_interval;
        let later = soon + cx.config.answer_timeout;
        let first_turn = |member: M| {
            let half = self.me.position().clockwise_to(member.position()) <= u64::MAX / 2;
            if half || cx.topology.has_hub() {
                soon
            } else {
                later
            }
        };
        let wanted = members
            .into_iter()
            .map(|member| {
                let known = direct.find(member).map(|at| direct.wanted[at]);
                known.unwrap_or_else(|| Wanted {
                    member,
                    from: first_turn(member),
                    failed: Timestamp::ZERO,
                })
            })
            .collect();
        direct.wanted = wanted;
        if cx.topology.has_hub() {
            // Another hub has not failed yet.
            direct.take_heart();
        }
        self.timers.links = self.timers.links.min(soon);
    }

    /// Whether a broadcast of `origin` that came from `from` goes on to the neighbour `to`.
    ///
    /// It does not if `to` has told of a link to either of them: the origin has given it to all
    /// that it has links to, and so has whoever passed it on, except to those of whom the same is
    /// true of the one before it. So in a whole mesh nobody passes on, and in a star the hub does,
    /// and the origin's neighbours on the ring. Where links are few and far apart, in a ring or
    /// small world, it goes on to both neighbours on the ring even so: a link that has broken
    /// unnoticed then costs nobody a broadcast.
    #[must_use]
    pub fn passes_on(&self, topology: Topology, origin: M, from: M, to: M) -> bool {
        if to == from || to == origin {
            return false;
        }
        let is_next = |list: &[M]| list.first() == Some(&to);
        if !topology.is_direct() && (is_next(self.successors()) || is_next(self.predecessors())) {
            return true;
        }
        let links = self
            .neighbours
            .get(to)
            .map_or(&[][..], |known| known.links());
        let has_link = |member: M| links.binary_search(&member).is_ok();
        !has_link(origin) && !has_link(from)
    }

    /// The most links of all sorts.
    pub(super) fn most_links(&self, cx: &Context<'_, M>) -> usize {
        cx.config.most_links(self.is_hub())
    }

    /// The most direct links, of this member's wish or others'.
    pub(super) fn most_direct(&self, cx: &Context<'_, M>) -> usize {
        cx.config.most_direct_links(self.is_hub())
    }

    fn is_hub(&self) -> bool {
        self.direct.as_ref().is_some_and(|direct| direct.is_hub)
    }

    /// Wants direct links as it has been told, as far as there is room, and begins some.
    pub(super) fn seek_direct(&mut self, cx: &mut Context<'_, M>) {
        if !cx.wanted().direct || !self.is_member() {
            return;
        }
        self.update_direct_wants(cx);
        let Some(direct) = &self.direct else {
            return;
        };
        let under_way = |(_, known): &(M, &super::Neighbour<M>)| {
            known.mine.has(Wish::Direct) && !known.is_open()
        };
        let under_way = self.neighbours.iter().filter(under_way).count();
        let most = self.most_direct(cx);
        let mut room = most.saturating_sub(self.neighbours.direct());
        if cx.topology.has_hub() {
            // Others who take this member for the hub may have used up all there is: it would not
            // find out that the one it takes for the hub is dead, nor become it.
            room = room.max(usize::from(under_way == 0));
        }
        let mut may_begin = room.min(cx.config.direct_attempts.saturating_sub(under_way));
        let is_missing = |wanted: &&Wanted<M>| !self.neighbours.contains(wanted.member);
        let mut missing: Vec<_> = direct.wanted.iter().filter(is_missing).copied().collect();
        if missing.is_empty() || !cx.can_connect {
            return;
        }
        // Who may not be asked yet; for the others this is done again with each stabilization.
        let later = missing.iter().map(|it| it.from.max(direct.not_before));
        if let Some(next) = later.filter(|at| *at > cx.now).min() {
            self.timers.links = self.timers.links.min(next);
        }
        if direct.not_before > cx.now {
            return;
        }
        let me = self.me.position();
        missing.retain(|it| it.from <= cx.now && !self.quarantine.avoids(cx.now, it.member));
        // Whoever has failed waits behind those who have not, and have not for longer: it may be dead.
        missing.sort_by_key(|it| {
            let spread = (me.0 ^ it.member.position().0).wrapping_mul(SPREAD);
            (self.quarantine.failures(it.member), it.failed, spread)
        });
        // After failures one at a time, to see whether things have changed; of several who may be
        // the hub, all.
        if direct.failures > 0 && !cx.topology.has_hub() {
            may_begin = may_begin.min(usize::from(under_way == 0));
        }
        for wanted in missing.into_iter().take(may_begin) {
            self.want_link(cx, wanted.member, Wish::Direct);
        }
    }

    pub(super) fn on_direct_timer(&mut self, cx: &mut Context<'_, M>) {
        self.timers.links = NEVER;
        self.seek_direct(cx);
    }

    /// A direct link has opened: others may be asked.
    pub(super) fn on_direct_opened(&mut self, cx: &mut Context<'_, M>) {
        if let Some(direct) = &mut self.direct {
            direct.take_heart();
        }
        self.seek_direct(cx);
    }

    /// An attempt at a direct link has led to nothing. Each time in a row the pause is longer, so
    /// that a full mesh, or one without a way to connect, is not a storm of offers.
    pub(super) fn on_direct_failed(&mut self, cx: &Context<'_, M>, member: M) {
        let Some(direct) = &mut self.direct else {
            return;
        };
        if let Some(at) = direct.find(member) {
            direct.wanted[at].failed = cx.now;
        }
        let first: Duration = cx.config.answer_timeout / 4;
        let doublings = direct.failures.min(MAX_DOUBLINGS);
        let pause = first
            .saturating_mul(1 << doublings)
            .min(cx.config.quarantine);
        direct.failures += 1;
        direct.not_before = cx.now + pause;
    }

    /// Says of the links that there are whether they are wanted as direct ones.
    fn update_direct_wants(&mut self, cx: &mut Context<'_, M>) {
        let most = self.most_direct(cx);
        let mut count = self.neighbours.direct();
        let Some(direct) = &self.direct else {
            return;
        };
        let mut changed = Vec::new();
        for (member, known) in self.neighbours.iter_mut() {
            let counts = known.is_direct();
            let wants = direct.wants(member) && (counts || count < most);
            if known.mine.set(Wish::Direct, wants) {
                changed.push(member);
                count += usize::from(known.is_direct());
                count -= usize::from(counts);
            }
        }
        for member in changed {
            self.want_changed(cx, member);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::tests::{Spot, rng, with_topology};
    use super::super::{Action, Overlay};
    use crate::topology::Topology;
    use crate::wire::Wish;

    #[test]
    fn the_dead_do_not_keep_a_mesh_from_trying_the_living() {
        with_topology(Topology::Mesh, |cx| {
            let mut overlay = Overlay::new(Spot(0), rng());
            overlay.found(cx);
            let members: Vec<_> = (1..=16).map(Spot).collect();
            overlay.set_direct(cx, members.clone(), false);
            // Failures are forgotten after a while, but nobody's turn is.
            let mut asked = Vec::new();
            while asked.len() < 2 * members.len() {
                cx.now = cx.now + cx.config.tell_interval;
                overlay.on_direct_timer(cx);
                for action in core::mem::take(cx.out) {
                    if let Action::Open { to, .. } = action {
                        overlay.on_failed(cx, to);
                        asked.push(to);
                    }
                }
                overlay.quarantine.prune(cx.now, 2 * cx.config.quarantine);
            }
            asked.sort_unstable();
            asked.dedup();
            assert_eq!(asked, members);
        });
    }

    #[test]
    fn whom_all_take_for_the_hub_asks_the_one_it_takes_for_the_hub() {
        with_topology(Topology::Star, |cx| {
            let mut overlay = Overlay::new(Spot(100), rng());
            overlay.found(cx);
            for member in (1..).take(cx.config.most_direct_links(false)) {
                assert!(overlay.accepts(cx, Wish::Direct));
                overlay.on_offered(Spot(member), Wish::Direct);
                overlay.on_opened(cx, Spot(member));
            }
            assert!(!overlay.accepts(cx, Wish::Direct));
            let hubs = [200, 201].map(Spot);
            overlay.set_direct(cx, hubs.to_vec(), false);
            cx.now = cx.now + cx.config.tell_interval;
            overlay.on_direct_timer(cx);
            let asked = cx.out.iter().filter(|action| match action {
                Action::Open { to, .. } => hubs.contains(to),
                _ => false,
            });
            assert_eq!(asked.count(), 1);
        });
    }
}
