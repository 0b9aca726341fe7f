//! Overlays as they are once nothing has changed for long: the beginning of simulations of many
//! members, whom joining one by one would take longer than what is to be seen.

use std::sync::Arc;
use std::time::Duration;

use circlet_core::overlay::{List, Overlay, Standing, Table, harmonic_distance};
use circlet_core::ring::{Member, Position};
use circlet_core::wire::{MAX_LIST, Wish, Wishes};
use circlet_core::{Timestamp, Topology};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::shared::Shared;
use super::slot::Slot;
use super::wheel::SOURCE_BITS;
use crate::random::{mix, scale};
use crate::scenario::LongLinkKind;

/// Draws for one long link before it is left out.
const MAX_DRAWS: u32 = 16;

/// The generator of a member's overlay.
#[must_use]
pub fn random_of(seed: u64, index: u32) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(mix(seed ^ mix(u64::from(index) | 1 << 41)))
}

/// Members 0 to `count`, in the shape that their topology settles in, each with its rounds of
/// stabilization at a time of its own; given one by one, by number.
pub fn overlays(
    shared: &Shared,
    count: u32,
    kind: LongLinkKind,
) -> impl Iterator<Item = Overlay<Slot>> {
    let order = {
        let mut order: Vec<_> = (0..count).map(|index| shared.slot(index)).collect();
        order.sort_unstable();
        order
    };
    let mut ranks = vec![0; count as usize];
    for (rank, slot) in (0u32..).zip(&order) {
        ranks[slot.index() as usize] = rank;
    }
    let links = Links::choose(shared, &order, kind);
    // Without lookahead nobody tells any; one empty list for all.
    let nobody = List::default();
    let tables: Vec<_> = (0..count)
        .map(|index| {
            Arc::new(table(
                shared,
                &order,
                &links,
                ranks[index as usize],
                &nobody,
            ))
        })
        .collect();
    let period = u64::try_from(shared.config.stabilize.as_micros()).unwrap_or(u64::MAX);
    let seed = shared.seed;
    let maintained =
        shared.maintained && matches!(shared.topology, Topology::Ring | Topology::SmallWorld);
    let list_len = shared.config.list_len;
    (0..count).map(move |index| {
        let rank = ranks[index as usize];
        let neighbours = links.of(rank).iter().map(|link| {
            let member = order[link.peer() as usize];
            Standing {
                member,
                table: Arc::clone(&tables[member.index() as usize]),
                mine: link.mine(),
                theirs: link.theirs(),
            }
        });
        let phase = scale(mix(seed ^ mix(u64::from(index) | 1 << 42)), period);
        let stabilize = if maintained {
            Timestamp::ZERO + Duration::from_micros(phase)
        } else {
            Timestamp::MAX
        };
        Overlay::resume(
            order[rank as usize],
            random_of(seed, index),
            Arc::clone(&tables[index as usize]),
            neighbours,
            stabilize,
            list_len,
        )
    })
}

fn table(
    shared: &Shared,
    order: &[Slot],
    links: &Links,
    rank: u32,
    nobody: &List<Slot>,
) -> Table<Slot> {
    let count = order.len();
    let rank = rank as usize;
    let length = shared.config.list_len.min(count - 1);
    let successors: Vec<_> = (1..=length)
        .map(|step| order[(rank + step) % count])
        .collect();
    let predecessors: Vec<_> = (1..=length)
        .map(|step| order[(rank + count - step) % count])
        .collect();
    let linked = if shared.config.lookahead {
        let links = links.of(rank as u32).iter().take(MAX_LIST);
        let members: Vec<_> = links.map(|link| order[link.peer() as usize]).collect();
        members.into()
    } else {
        nobody.clone()
    };
    Table {
        version: 1,
        member: true,
        successors: successors.into(),
        predecessors: predecessors.into(),
        links: linked,
    }
}

/// One end of a link, in 4 bytes: the rank of the other end, and who wants it for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Link(u32);

/// Bits of a rank; above it there is one bit for each reason.
const RANK_BITS: u32 = 26;
const _: () = assert!(RANK_BITS >= SOURCE_BITS);

/// Why there is a link, seen from one end.
const MINE_RING: u32 = 1 << RANK_BITS;
const MINE_LONG: u32 = 2 << RANK_BITS;
const THEIRS_RING: u32 = 4 << RANK_BITS;
const THEIRS_LONG: u32 = 8 << RANK_BITS;

impl Link {
    const fn peer(self) -> u32 {
        self.0 & (MINE_RING - 1)
    }

    const fn mine(self) -> Wishes {
        self.wishes(MINE_RING, MINE_LONG)
    }

    const fn theirs(self) -> Wishes {
        self.wishes(THEIRS_RING, THEIRS_LONG)
    }

    const fn wishes(self, ring: u32, long: u32) -> Wishes {
        let mut wishes = Wishes::NOTHING;
        wishes.set(Wish::Ring, self.0 & ring != 0);
        wishes.set(Wish::Long, self.0 & long != 0);
        wishes
    }
}

/// The links of all members, by rank: one list, cut at `starts`.
struct Links {
    ends: Vec<Link>,
    starts: Vec<u32>,
}

impl Links {
    fn of(&self, rank: u32) -> &[Link] {
        let rank = rank as usize;
        &self.ends[self.starts[rank] as usize..self.starts[rank + 1] as usize]
    }

    fn choose(shared: &Shared, order: &[Slot], kind: LongLinkKind) -> Self {
        let mut reasons = Reasons(Vec::new());
        match shared.topology {
            Topology::Ring | Topology::SmallWorld => {
                let wanted = shared.topology.wanted(&shared.config);
                reasons.ring(shared, order, wanted.ring_links);
                let mut accepted = vec![0; order.len()];
                for rank in 0..order.len() {
                    for peer in long_links(shared, order, rank, kind, &accepted) {
                        accepted[peer as usize] += 1;
                        reasons.add(rank, peer as usize, MINE_LONG, THEIRS_LONG);
                    }
                }
            }
            Topology::Mesh => reasons.ring(shared, order, order.len() / 2),
            Topology::Star => {
                let hub = order.binary_search(&shared.slot(shared.hub)).unwrap_or(0);
                for rank in (0..order.len()).filter(|rank| *rank != hub) {
                    reasons.add(rank, hub, MINE_RING, THEIRS_RING);
                }
            }
        }
        reasons.links(order.len())
    }
}

/// Who wants a link with whom: the rank of one end, then the [`Link`] seen from there.
struct Reasons(Vec<u64>);

impl Reasons {
    /// A link between two ranks, with the reason as each of them sees it.
    fn add(&mut self, from: usize, to: usize, seen_from: u32, seen_to: u32) {
        let wish = |from: usize, to: usize, reason: u32| {
            // Sorted, both ends' reasons for the same link come together.
            (from as u64) << 32 | (to as u64) << 4 | u64::from(reason >> RANK_BITS)
        };
        self.0.push(wish(from, to, seen_from));
        self.0.push(wish(to, from, seen_to));
    }

    /// Links to the nearest on both sides, as many on each.
    fn ring(&mut self, shared: &Shared, order: &[Slot], each_side: usize) {
        let count = order.len();
        for rank in 0..count {
            for step in 1..=each_side.min(count / 2) {
                let peer = (rank + step) % count;
                if peer != rank && !shared.forbids(order[rank].index(), order[peer].index()) {
                    let both = MINE_RING | THEIRS_RING;
                    self.add(rank, peer, both, both);
                }
            }
        }
    }

    fn links(self, count: usize) -> Links {
        let mut reasons = self.0;
        reasons.sort_unstable();
        let mut ends: Vec<Link> = Vec::with_capacity(reasons.len());
        let mut starts = Vec::with_capacity(count + 1);
        for wish in reasons {
            let (rank, peer) = ((wish >> 32) as usize, (wish as u32) >> 4);
            let reason = (wish as u32 & 0xf) << RANK_BITS;
            let is_new_rank = starts.len() <= rank;
            while starts.len() <= rank {
                starts.push(ends.len() as u32);
            }
            match ends.last_mut() {
                Some(last) if !is_new_rank && last.peer() == peer => last.0 |= reason,
                _ => ends.push(Link(peer | reason)),
            }
        }
        while starts.len() <= count {
            starts.push(ends.len() as u32);
        }
        ends.shrink_to_fit();
        Links { ends, starts }
    }
}

/// The ranks of a member's own long links, with peers that have not accepted as many as they do
/// already.
fn long_links(
    shared: &Shared,
    order: &[Slot],
    rank: usize,
    kind: LongLinkKind,
    accepted: &[u16],
) -> Vec<u32> {
    let me = order[rank];
    let count = order.len();
    let wanted = shared.topology.wanted(&shared.config);
    let (beside, wanted) = (wanted.ring_links, wanted.long_links);
    let most_accepted = 2 * shared.config.long_links;
    let mut state = mix(shared.seed ^ mix(u64::from(me.index()) | 1 << 43));
    let mut chosen: Vec<u32> = Vec::with_capacity(wanted);
    let may = |peer: usize, chosen: &[u32]| {
        let away = (peer + count - rank) % count;
        away > beside
            && count - away > beside
            && !chosen.contains(&(peer as u32))
            && usize::from(accepted[peer]) < most_accepted
            && !shared.forbids(me.index(), order[peer].index())
    };
    match kind {
        LongLinkKind::Harmonic => {
            for _ in 0..wanted {
                let drawn = (0..MAX_DRAWS).find_map(|_| {
                    state = mix(state);
                    let share = (state >> 11) as f64 / (1u64 << 53) as f64;
                    let target = me.position().advance(harmonic_distance(share, count));
                    let peer = nearest(order, target);
                    may(peer, &chosen).then_some(peer as u32)
                });
                chosen.extend(drawn);
            }
        }
        // Chord's.
        LongLinkKind::Fingers => {
            for bit in (0..u64::BITS).rev() {
                let target = me.position().advance(1 << bit);
                let peer = order.partition_point(|slot| slot.position() < target) % count;
                let away = (peer + count - rank) % count;
                if away <= beside {
                    break;
                }
                if !chosen.contains(&(peer as u32)) {
                    chosen.push(peer as u32);
                }
            }
        }
    }
    chosen
}

/// The rank of the member nearest to a position.
fn nearest(order: &[Slot], target: Position) -> usize {
    let count = order.len();
    let after = order.partition_point(|slot| slot.position() < target) % count;
    let before = (after + count - 1) % count;
    let distance = |rank: usize| order[rank].position().distance(target);
    if distance(before) < distance(after) {
        before
    } else {
        after
    }
}
