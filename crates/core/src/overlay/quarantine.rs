//! Members that are not believed to be alive on others' word, or not asked for a link, for a
//! while.

use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::time::Duration;

use thin_vec::ThinVec;

use crate::time::Timestamp;

/// The most entries kept; the one that ends first makes room.
const MAX_ENTRIES: usize = 256;

/// How often the time for which somebody is left alone doubles.
const MAX_DOUBLINGS: u32 = 8;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Entry<M> {
    member: M,
    /// Whether it was found dead, or only turned us down or could not be reached.
    dead: bool,
    until: Timestamp,
    /// How often in a row it could not be reached.
    failures: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Quarantine<M> {
    entries: ThinVec<Entry<M>>,
}

impl<M> Default for Quarantine<M> {
    fn default() -> Self {
        Self {
            entries: ThinVec::new(),
        }
    }
}

impl<M: Copy + Eq> Quarantine<M> {
    /// Holds `member` to be gone until `until`, or until it shows itself.
    pub(super) fn add(&mut self, member: M, until: Timestamp) {
        let failures = self.failures(member);
        self.put(Entry {
            member,
            dead: true,
            until,
            failures,
        });
    }

    /// Notes that `member` could not be reached: each time in a row it is left alone for twice
    /// as long, from `first` up to `most`.
    pub(super) fn add_failure(
        &mut self,
        member: M,
        now: Timestamp,
        first: Duration,
        most: Duration,
    ) {
        let failures = self.failures(member);
        let wait = first
            .saturating_mul(1 << failures.min(MAX_DOUBLINGS))
            .min(most);
        if self.holds_dead(now + wait, member) {
            return;
        }
        self.put(Entry {
            member,
            dead: false,
            until: now + wait,
            failures: failures + 1,
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets what ended more than `memory` ago.
    pub(super) fn prune(&mut self, now: Timestamp, memory: Duration) {
        self.entries.retain(|entry| now < entry.until + memory);
    }

    /// `member` has shown that it lives, which does not say that it can be reached.
    pub(super) fn revive(&mut self, now: Timestamp, member: M) {
        for entry in &mut self.entries {
            if entry.member == member {
                entry.dead = false;
                entry.until = entry.until.min(now);
            }
        }
        self.entries
            .retain(|entry| entry.member != member || entry.failures > 0);
    }

    /// A link with `member` has opened.
    pub(super) fn lift(&mut self, member: M) {
        self.entries.retain(|entry| entry.member != member);
    }

    /// Whether `member` was found dead.
    pub(super) fn holds_dead(&self, now: Timestamp, member: M) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.member == member && entry.dead && now < entry.until)
    }

    /// Whether `member` is not to be asked for a link.
    pub(super) fn avoids(&self, now: Timestamp, member: M) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.member == member && now < entry.until)
    }

    /// Those who could not be reached the last time that it was tried, and are not known to be
    /// dead.
    pub(super) fn unreachable(&self, now: Timestamp) -> impl Iterator<Item = M> {
        self.entries
            .iter()
            .filter(move |entry| entry.failures > 0 && !(entry.dead && now < entry.until))
            .map(|entry| entry.member)
    }

    /// How often in a row `member` could not be reached.
    pub(super) fn failures(&self, member: M) -> u32 {
        self.entries
            .iter()
            .find(|entry| entry.member == member)
            .map_or(0, |entry| entry.failures)
    }

    fn put(&mut self, entry: Entry<M>) {
        self.lift(entry.member);
        if self.entries.len() >= MAX_ENTRIES
            && let Some(first) = (0..self.entries.len()).min_by_key(|&i| self.entries[i].until)
        {
            self.entries.swap_remove(first);
        }
        self.entries.push(entry);
    }
}

impl<M: Copy + Ord + Hash> Quarantine<M> {
    /// Feeds its entries to `hasher`, in an order of their own and with times counted from `now`.
    pub(super) fn hash_from(&self, now: Timestamp, hasher: &mut impl Hasher) {
        let mut entries: Vec<_> = self
            .entries
            .iter()
            .map(|entry| {
                let left = entry.until.signed_since(now);
                (
                    entry.member,
                    entry.dead,
                    left,
                    entry.failures.min(MAX_DOUBLINGS),
                )
            })
            .collect();
        entries.sort_unstable();
        entries.hash(hasher);
    }
}
