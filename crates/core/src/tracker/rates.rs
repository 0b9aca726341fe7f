//! How much each identity may say.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::identity::NodeId;
use crate::rate::{Bucket, Rate};
use crate::time::Timestamp;
use crate::wire::{Signal, TrackerMessage};

/// Identities of which is known how much they have said; at 80 bytes each some 5 MB. Above that
/// the quiet ones are forgotten, and if all have been talking just now, all.
const MAX_IDENTITIES: usize = 65_536;

/// Of a session description, the bytes that cost as much as a message. Offers of browsers take
/// 1.5 to 4 KiB.
const BYTES_PER_UNIT: usize = 4096;

/// Outlives connections, so that coming back gains nothing.
#[derive(Debug, Default)]
pub(super) struct Rates {
    buckets: BTreeMap<NodeId, Bucket>,
}

impl Rates {
    /// Takes what a message of `node` costs; else how long to wait until it may say more.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        node: NodeId,
        rate: Rate,
        cost: u32,
    ) -> Result<(), Duration> {
        if let Some(bucket) = self.buckets.get_mut(&node) {
            return bucket.take(now, rate, cost);
        }
        if self.buckets.len() >= MAX_IDENTITIES {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.buckets.len() >= MAX_IDENTITIES {
            self.buckets.clear();
        }
        let mut bucket = Bucket::default();
        let taken = bucket.take(now, rate, cost);
        self.buckets.insert(node, bucket);
        taken
    }
}

/// What a message costs: one, and more for those that carry much.
pub(super) fn cost(message: &TrackerMessage) -> u32 {
    let TrackerMessage::Signal { signal } = message else {
        return 1;
    };
    let (Signal::Offer { sdp, .. } | Signal::Answer { sdp }) = &signal.body.signal else {
        return 1;
    };
    u32::try_from(1 + sdp.len() / BYTES_PER_UNIT).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identities_kept_are_bounded_and_the_talkative_kept_longest() {
        let (rate, now) = (Rate::new(1, 2), Timestamp::ZERO);
        let mut rates = Rates::default();
        let node = |n: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&n.to_be_bytes());
            NodeId::from_bytes(bytes)
        };
        for n in 1..MAX_IDENTITIES {
            assert_eq!(rates.take(now, node(n), rate, 1), Ok(()));
        }
        let later = now + Duration::from_secs(1);
        assert_eq!(rates.take(later, node(0), rate, 2), Ok(()));
        assert_eq!(rates.buckets.len(), MAX_IDENTITIES);
        assert_eq!(rates.take(later, node(MAX_IDENTITIES), rate, 1), Ok(()));
        assert_eq!(rates.buckets.len(), 2);
        assert!(rates.take(later, node(0), rate, 1).is_err());
    }
}
