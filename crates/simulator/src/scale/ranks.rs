//! The order of the events of one bucket.
//!
//! At a million actors a bucket holds thousands. They are dealt out by the upper bits of what orders
//! them first, which leaves a few events for each sort: half the time of sorting all of them at
//! once. (Knuth, "The Art of Computer Programming", volume 3, section 5.2.5.)

use std::mem;

use super::wheel::{Key, SOURCE_BITS};

/// Microseconds of a bucket, as a power of two.
pub(super) const BUCKET_BITS: u32 = 7;

/// Upper bits of the source by which events of the same microsecond are dealt out.
const DEAL_BITS: u32 = 3;

/// Fewer events than this are sorted at once.
const WORTH_DEALING: usize = 128;

/// The place of an event in the order of its bucket.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rank {
    /// See [`order`].
    pub(super) order: u64,
    /// Index into the slab.
    pub(super) entry: u32,
    /// Whom it happens to.
    pub(super) target: u32,
}

/// What orders the events of one bucket: time within it, source and sequence, in this order from
/// the top.
#[inline]
pub(super) fn order(key: Key) -> u64 {
    // The shift leaves nothing of the time but its place within the bucket.
    (key.time.as_micros() << (u64::BITS - BUCKET_BITS))
        | (u64::from(key.source) << u32::BITS)
        | u64::from(key.sequence.number())
}

impl Rank {
    /// Microseconds since the bucket began.
    #[inline]
    pub(super) const fn offset(self) -> u64 {
        self.order >> (u64::BITS - BUCKET_BITS)
    }

    const fn source(self) -> u32 {
        (self.order >> u32::BITS) as u32 & ((1 << SOURCE_BITS) - 1)
    }
}

/// The events of one bucket, in their order once they are sorted.
#[derive(Debug, Default)]
pub(super) struct Ranks {
    all: Vec<Rank>,
    /// How many of those are gone.
    done: usize,
    /// The bits that occur in sources.
    sources: u32,
    /// Where they are dealt out to.
    dealt: Vec<Rank>,
}

impl Ranks {
    /// The first one that is left.
    #[inline]
    pub(super) fn first(&self) -> Option<Rank> {
        self.ahead(0)
    }

    /// The one so many after the first.
    #[inline]
    pub(super) fn ahead(&self, ahead: usize) -> Option<Rank> {
        self.all.get(self.done + ahead).copied()
    }

    /// Goes on to the next one.
    #[inline]
    pub(super) const fn advance(&mut self) {
        self.done += 1;
    }

    pub(super) fn push(&mut self, rank: Rank) {
        self.sources |= rank.source();
        self.all.push(rank);
    }

    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.done = 0;
        self.sources = 0;
    }

    /// Bytes that it takes.
    pub(super) const fn memory(&self) -> usize {
        (self.all.capacity() + self.dealt.capacity()) * size_of::<Rank>()
    }

    /// Brings all of them into their order.
    pub(super) fn sort(&mut self) {
        let by_order = |rank: &Rank| rank.order;
        if self.all.len() < WORTH_DEALING {
            self.all.sort_unstable_by_key(by_order);
            return;
        }
        let width = u32::BITS - self.sources.leading_zeros();
        let shift = width.saturating_sub(DEAL_BITS);
        let pile =
            |rank: &Rank| (rank.offset() << DEAL_BITS) as usize | (rank.source() >> shift) as usize;
        // Where each pile begins, and once all are dealt out, where it ends.
        let mut piles = [0; 1 << (BUCKET_BITS + DEAL_BITS)];
        for rank in &self.all {
            piles[pile(rank)] += 1;
        }
        let mut before = 0;
        for place in &mut piles {
            before += mem::replace(place, before);
        }
        self.dealt.clear();
        self.dealt.resize(self.all.len(), Rank::default());
        for rank in &self.all {
            let place = &mut piles[pile(rank)];
            self.dealt[*place] = *rank;
            *place += 1;
        }
        mem::swap(&mut self.all, &mut self.dealt);
        let mut begin = 0;
        for end in piles {
            self.all[begin..end].sort_unstable_by_key(by_order);
            begin = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Concern, Stream};

    #[test]
    fn any_number_of_any_sources_comes_into_order() {
        let mut random = Stream::fork(1, Concern::Scenario, 0);
        let mut ranks = Ranks::default();
        for count in [0, 1, 127, 128, 5_000] {
            for sources in [1, 2, 5, 8, 1_000, 1 << SOURCE_BITS] {
                for entry in 0..count {
                    let time = random.below(1 << BUCKET_BITS) << (u64::BITS - BUCKET_BITS);
                    let source = random.below(sources) << u32::BITS;
                    ranks.push(Rank {
                        order: time | source | u64::from(entry),
                        entry,
                        target: entry + 1,
                    });
                }
                let mut expected: Vec<_> = ranks.all.iter().map(|rank| rank.order).collect();
                expected.sort_unstable();
                ranks.sort();
                for order in expected {
                    let rank = ranks.first().unwrap();
                    assert_eq!((rank.order, rank.target), (order, rank.entry + 1));
                    ranks.advance();
                }
                assert!(ranks.first().is_none());
                ranks.clear();
            }
        }
    }
}
