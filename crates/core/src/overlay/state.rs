//! A member's state, for whoever explores all that can happen to it.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};

use super::joining::FOUNDING_WAIT;
use super::{Context, NEVER, Overlay, Table, Timer};
use crate::ring::Member;

impl<M: Member> Overlay<M> {
    /// Does what a timer would, whether it is due or not.
    pub fn fire(&mut self, cx: &mut Context<'_, M>, timer: Timer) {
        match timer {
            Timer::Stabilize => self.on_stabilize_timer(cx),
            Timer::Tell => self.tell(cx),
            Timer::Links if cx.wanted().direct => self.on_direct_timer(cx),
            Timer::Links => self.on_long_links_timer(cx),
            Timer::Linger => self.on_linger_timer(cx),
        }
    }
}

impl<M: Member + Hash> Overlay<M> {
    /// Feeds all that decides how this member keeps the ring from now on to `hasher`.
    ///
    /// What only grows is made comparable: times count from the present, and `rank` stands for
    /// the versions of a member's tables, of which only the order matters. Left out are the long
    /// links, the numbers of wishes ([`Neighbour::serials`](super::Neighbour::serials)), which only
    /// matter beside those under way, and when timers fire: that is the caller's to decide, with
    /// [`Overlay::fire`].
    pub fn hash_ring<H: Hasher>(
        &self,
        cx: &Context<'_, M>,
        rank: impl Fn(M, u64) -> u64,
        hasher: &mut H,
    ) {
        let hash_table = |owner: M, table: &Table<M>, hasher: &mut H| {
            let Table {
                version,
                member,
                successors,
                predecessors,
                links,
            } = table;
            rank(owner, *version).hash(hasher);
            (member, successors, predecessors, links).hash(hasher);
        };
        self.me.hash(hasher);
        hash_table(self.me, &self.table, hasher);
        let is_told = !self.untold;
        let tells = self.timers.tell != NEVER;
        (is_told, tells, self.links_changed, self.settled).hash(hasher);

        self.neighbours.len().hash(hasher);
        for (member, known) in self.neighbours.iter() {
            (member, known.is_open(), known.is_suspect(), known.asked).hash(hasher);
            (known.mine, known.theirs).hash(hasher);
            if let Some(table) = known.table() {
                hash_table(member, table, hasher);
            }
        }

        self.quarantine.hash_from(cx.now, hasher);
        let mut candidates: Vec<_> = self
            .candidates
            .iter()
            .map(|(member, until)| (*member, until.signed_since(cx.now)))
            .collect();
        candidates.sort_unstable();
        candidates.hash(hasher);
        let mut lingering: Vec<_> = self
            .lingering
            .iter()
            .map(|(member, until)| (*member, until.since(cx.now)))
            .collect();
        lingering.sort_unstable();
        lingering.hash(hasher);
        (&self.hints, self.known).hash(hasher);
        let is_joining = self.joining_since != NEVER;
        let waited = is_joining.then(|| cx.now.since(self.joining_since).min(FOUNDING_WAIT));
        waited.hash(hasher);
    }
}

#[cfg(test)]
mod tests {
    #[cfg(test)]
    extern crate std;

    use std::hash::DefaultHasher;

    use super::super::tests::{Spot, rng};
    use super::*;
    use crate::config::Config;
    use crate::time::Timestamp;
    use crate::topology::Topology;

    /// Founds a ring at a time, is told of somebody then, and stabilizes some rounds.
    fn hash(now: Timestamp, told_of: Option<Spot>, rounds: u32) -> u64 {
        let config = Config::default();
        let mut overlay = Overlay::new(Spot(1), rng());
        let mut out = Vec::new();
        let mut cx = Context {
            now,
            config: &config,
            topology: Topology::Ring,
            can_connect: true,
            out: &mut out,
        };
        overlay.found(&mut cx);
        if let Some(told_of) = told_of {
            overlay.add_candidate(now, told_of);
        }
        for _ in 0..rounds {
            overlay.fire(&mut cx, Timer::Stabilize);
        }
        let mut hasher = DefaultHasher::new();
        overlay.hash_ring(&cx, |_, version| version.min(1), &mut hasher);
        hasher.finish()
    }

    #[test]
    fn a_hash_tells_what_matters_and_nothing_else() {
        let (early, late) = (Timestamp::ZERO, Timestamp::from_micros(77_000_000));
        assert_eq!(hash(early, None, 1), hash(late, None, 1));
        assert_eq!(hash(early, None, 1), hash(early, None, 2));
        let stranger = Some(Spot(9));
        assert_eq!(hash(early, stranger, 1), hash(late, stranger, 1));
        assert_ne!(hash(early, stranger, 1), hash(early, None, 1));
        assert_ne!(hash(early, stranger, 1), hash(early, Some(Spot(8)), 1));
    }
}
