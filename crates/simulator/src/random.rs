//! Random numbers: one seed, forked into a stream for each concern.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::latency::micros;

/// What a stream of random numbers is for. One more draw in one of them shifts no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// The keys of the nodes.
    Identity,
    /// What a node itself draws.
    Node,
    /// Latency and loss of what a node sends, and the timing of its connections.
    Network,
    /// What a tracker itself draws.
    Tracker,
    /// Latency of what a tracker sends.
    TrackerNetwork,
    /// What a test or scenario decides.
    Scenario,
    /// When a scenario's members arrive.
    Arrivals,
    /// When they depart, and who.
    Departures,
    /// How long they stay.
    Sessions,
    /// Whom a scenario's faults hit.
    Faults,
    /// What a scenario's members send, and when.
    Traffic,
}

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Stream(Xoshiro256PlusPlus);

impl Stream {
    /// The stream of the `index`-th one that has this concern.
    #[must_use]
    pub fn fork(seed: u64, concern: Concern, index: u64) -> Self {
        let mixed = [concern as u64, index]
            .into_iter()
            .fold(mix(seed), |state, part| mix(state ^ mix(part)));
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed))
    }

    /// The generator, for what draws its own numbers.
    pub fn rng(&mut self) -> &mut Xoshiro256PlusPlus {
        &mut self.0
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, zero if that is zero. Skewed by less than 2^-32 for the bounds
    /// that occur here.
    pub fn below(&mut self, bound: u64) -> u64 {
        scale(self.word(), bound)
    }

    /// A duration in the range, to the microsecond.
    pub fn between(&mut self, range: &std::ops::RangeInclusive<Duration>) -> Duration {
        let (low, high) = (micros(*range.start()), micros(*range.end()));
        Duration::from_micros(low + self.below(high.saturating_sub(low).saturating_add(1)))
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        // 53 random bits, as many as an f64 holds.
        ((self.0.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }

    /// An element of the slice, `None` if it is empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len() as u64) as usize)
    }

    /// Shuffles the slice (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }

    /// 32 random bytes.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}

/// A random word as a number below `bound`: the upper half of the product of the two.
pub(crate) const fn scale(word: u64, bound: u64) -> u64 {
    ((word as u128 * bound as u128) >> 64) as u64
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_repeatable_and_differ() {
        let draw = |seed, concern, index| Stream::fork(seed, concern, index).bytes();
        let first = draw(1, Concern::Node, 0);
        assert_eq!(first, draw(1, Concern::Node, 0));
        assert_ne!(first, draw(2, Concern::Node, 0));
        assert_ne!(first, draw(1, Concern::Network, 0));
        assert_ne!(first, draw(1, Concern::Node, 1));
    }

    #[test]
    fn draws_stay_in_range_and_reach_both_ends() {
        let mut stream = Stream::fork(1, Concern::Scenario, 0);
        let range = Duration::from_micros(3)..=Duration::from_micros(5);
        let drawn: std::collections::BTreeSet<_> =
            (0..100).map(|_| stream.between(&range)).collect();
        assert_eq!(drawn, (3..=5).map(Duration::from_micros).collect());
        assert_eq!(stream.below(0), 0);
        assert!(!stream.chance(0.0) && stream.chance(1.0));
        assert_eq!(stream.pick::<u8>(&[]), None);
    }
}
