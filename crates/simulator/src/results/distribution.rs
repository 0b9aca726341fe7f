//! How values are spread: counts in buckets, mean and percentiles.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Buckets that halve no further: values below twice this are counted exactly, greater ones to
/// one part in this many.
const PRECISION: u64 = 128;

/// Counts of whole numbers: exact below 256 (hops, links), in logarithmic buckets above (times,
/// rates), each at most 1/128 of its value wide, so that a percentile is off by 0.4 % at most
/// (the layout of HdrHistogram, Tene). Count, sum, least and greatest are exact.
///
/// The unit is that of what is recorded, and stands in the name of the field or variable.
/// Merging adds integers: parts merged in any order give the same distribution.
///
/// ```
/// use circlet_simulator::results::Distribution;
///
/// let mut hops = Distribution::default();
/// for value in [2, 3, 3, 7] {
///     hops.record(value);
/// }
/// assert_eq!(hops.mean(), Some(3.75));
/// assert_eq!(hops.percentile(50.0), Some(3));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Flat", try_from = "Flat")]
pub struct Distribution {
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
    /// Counts by bucket; the index grows with the value.
    buckets: Vec<u64>,
}

impl Distribution {
    /// Counts one value.
    pub fn record(&mut self, value: u64) {
        self.record_many(value, 1);
    }

    /// Counts a value `times` times.
    pub fn record_many(&mut self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = self.max.max(value);
        self.count = self.count.saturating_add(times);
        self.sum = self.sum.saturating_add(value.saturating_mul(times));
        let index = bucket_of(value);
        if self.buckets.len() <= index {
            self.buckets.resize(index + 1, 0);
        }
        self.buckets[index] += times;
    }

    /// Adds what another one has counted.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min = if self.count == 0 {
            other.min
        } else {
            self.min.min(other.min)
        };
        self.max = self.max.max(other.max);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
    }

    /// How many values were counted.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values, exact unless it exceeds `u64::MAX`.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// The least value; `None` if there is none.
    #[must_use]
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The greatest value; `None` if there is none.
    #[must_use]
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The mean, from the exact sum; `None` if there is no value.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / self.count as f64)
    }

    /// The value that `percent` percent of all do not exceed (nearest rank), to the width of its
    /// bucket; `None` if there is no value. 0 gives the least, 100 the greatest.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Option<u64> {
        let rank =
            ((percent / 100.0 * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        if rank == 1 || rank == self.count {
            return if rank == 1 { self.min() } else { self.max() };
        }
        let mut seen = 0;
        self.buckets().find_map(|bucket| {
            seen += bucket.count;
            // The middle of the bucket, where no more than half its width is wrong.
            let middle = bucket.low + (bucket.high - bucket.low) / 2;
            (seen >= rank).then(|| middle.clamp(self.min, self.max))
        })
    }

    /// The buckets that hold anything, in ascending order.
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        let counted = |(index, &count): (usize, &u64)| {
            let (low, high) = bounds_of(index);
            (count > 0).then_some(Bucket { low, high, count })
        };
        self.buckets.iter().enumerate().filter_map(counted)
    }
}

/// Values from `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// The least value that falls into it.
    pub low: u64,
    /// The greatest.
    pub high: u64,
    /// How many did.
    pub count: u64,
}

/// The bucket of a value: itself below twice the precision; above, the exponent and the leading
/// bits.
fn bucket_of(value: u64) -> usize {
    let shift = (value / PRECISION).max(1).ilog2();
    // At most 57 shifts of 128 buckets.
    (u64::from(shift) * PRECISION + (value >> shift)) as usize
}

/// The least and the greatest value of a bucket.
fn bounds_of(index: usize) -> (u64, u64) {
    let index = index as u64;
    let shift = (index / PRECISION).saturating_sub(1);
    let low = (index - shift * PRECISION) << shift;
    (low, low + ((1 << shift) - 1))
}

/// What is written: what readers want to know, and the buckets as pairs of least value and count.
#[derive(Serialize, Deserialize)]
struct Flat {
    count: u64,
    sum: u64,
    mean: Option<f64>,
    min: Option<u64>,
    p1: Option<u64>,
    p50: Option<u64>,
    p90: Option<u64>,
    p99: Option<u64>,
    max: Option<u64>,
    buckets: Vec<(u64, u64)>,
}

impl From<Distribution> for Flat {
    fn from(from: Distribution) -> Self {
        Self {
            count: from.count,
            sum: from.sum,
            mean: from.mean(),
            min: from.min(),
            p1: from.percentile(1.0),
            p50: from.percentile(50.0),
            p90: from.percentile(90.0),
            p99: from.percentile(99.0),
            max: from.max(),
            buckets: from
                .buckets()
                .map(|bucket| (bucket.low, bucket.count))
                .collect(),
        }
    }
}

/// A file contradicts itself: it was not written by this program, or was edited.
#[derive(Debug, thiserror::Error)]
#[error("a distribution's buckets do not add up to its count of {0}")]
pub struct Inconsistent(u64);

impl TryFrom<Flat> for Distribution {
    type Error = Inconsistent;

    fn try_from(from: Flat) -> Result<Self, Inconsistent> {
        let mut counts = BTreeMap::new();
        let mut total = 0u64;
        for (low, count) in from.buckets {
            total = total.saturating_add(count);
            let bucket: &mut u64 = counts.entry(bucket_of(low)).or_default();
            *bucket = bucket.saturating_add(count);
        }
        let (min, max) = (from.min.unwrap_or(0), from.max.unwrap_or(0));
        let ends = (counts.keys().next(), counts.keys().next_back());
        let fits = match ends {
            (Some(&first), Some(&last)) => first == bucket_of(min) && last == bucket_of(max),
            _ => true,
        };
        if total != from.count || !fits {
            return Err(Inconsistent(from.count));
        }
        let mut buckets = vec![0; ends.1.map_or(0, |last| last + 1)];
        for (index, count) in counts {
            buckets[index] = count;
        }
        Ok(Self {
            count: from.count,
            sum: from.sum,
            min,
            max,
            buckets,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Distribution, bounds_of, bucket_of};
    use crate::random::{Concern, Stream};

    fn of(values: &[u64]) -> Distribution {
        let mut all = Distribution::default();
        for &value in values {
            all.record(value);
        }
        all
    }

    /// Numbers of all magnitudes.
    fn some_values(seed: u64, count: usize) -> Vec<u64> {
        let mut stream = Stream::fork(seed, Concern::Scenario, 0);
        (0..count)
            .map(|_| {
                let bits = stream.below(40);
                stream.below(1 << bits)
            })
            .collect()
    }

    #[test]
    fn buckets_are_narrow_and_leave_no_gap() {
        let mut next = 0;
        for index in 0..=bucket_of(u64::MAX) {
            let (low, high) = bounds_of(index);
            assert_eq!(low, next, "bucket {index}");
            assert!(high - low <= low / 128, "bucket {index}: {low} to {high}");
            assert_eq!((bucket_of(low), bucket_of(high)), (index, index));
            next = high.wrapping_add(1);
        }
        assert_eq!(next, 0, "the last bucket ends at u64::MAX");
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_values() {
        for seed in 0..20 {
            let mut values = some_values(seed, 1 + 97 * seed as usize);
            let all = of(&values);
            values.sort_unstable();
            for percent in [0.0, 1.0, 10.0, 50.0, 90.0, 99.0, 99.9, 100.0] {
                let rank = (percent / 100.0 * values.len() as f64).ceil() as usize;
                let exact = values[rank.clamp(1, values.len()) - 1];
                let measured = all.percentile(percent).unwrap();
                let allowed = if exact < 256 { 0 } else { exact / 256 + 1 };
                assert!(
                    measured.abs_diff(exact) <= allowed,
                    "seed {seed}: p{percent} is {exact}, not {measured}"
                );
            }
            assert_eq!(all.min(), values.first().copied());
            assert_eq!(all.max(), values.last().copied());
            assert_eq!(all.sum(), values.iter().sum::<u64>());
        }
    }

    #[test]
    fn merging_gives_the_same_in_any_order() {
        let parts: Vec<_> = (0..4).map(|seed| of(&some_values(seed, 300))).collect();
        let merged = |order: [usize; 4]| {
            let mut all = Distribution::default();
            for part in order {
                all.merge(&parts[part]);
            }
            all
        };
        let mut left = parts[0].clone();
        left.merge(&parts[1]);
        let mut right = parts[2].clone();
        right.merge(&parts[3]);
        right.merge(&left);
        let together: Vec<u64> = (0..4).flat_map(|seed| some_values(seed, 300)).collect();
        for other in [merged([3, 1, 0, 2]), right, of(&together)] {
            assert_eq!(other, merged([0, 1, 2, 3]));
        }
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        let none = Distribution::default();
        assert_eq!(
            (none.mean(), none.percentile(50.0), none.min(), none.max()),
            (None, None, None, None)
        );
        assert_eq!(none.buckets().count(), 0);
    }

    #[test]
    fn what_is_written_is_read_again() {
        for values in [vec![], vec![0], some_values(7, 500)] {
            let all = of(&values);
            let text = serde_json::to_string(&all).unwrap();
            assert_eq!(serde_json::from_str::<Distribution>(&text).unwrap(), all);
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let text = serde_json::to_string(&of(&[3, 4, 1000])).unwrap();
        for (from, to) in [
            ("\"count\":3", "\"count\":4"),
            ("\"min\":3", "\"min\":4"),
            ("[4,1]", "[4,2]"),
        ] {
            let edited = text.replace(from, to);
            assert_ne!(edited, text);
            assert!(
                serde_json::from_str::<Distribution>(&edited).is_err(),
                "{edited}"
            );
        }
    }
}
