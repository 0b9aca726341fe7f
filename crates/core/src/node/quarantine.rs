//! Members that are not believed to be alive on others' word, or not asked for a link, for a
//! while.

use alloc::vec::Vec;
use core::time::Duration;

use crate::identity::NodeId;
use crate::time::Timestamp;

/// The most entries kept; the one that ends first makes room.
const MAX_ENTRIES: usize = 256;

#[derive(Debug)]
struct Entry {
    node: NodeId,
    /// Whether it was found dead, or only turned us down or could not be reached.
    dead: bool,
    until: Timestamp,
    /// How often in a row it could not be reached.
    failures: u32,
}

#[derive(Debug, Default)]
pub(super) struct Quarantine {
    entries: Vec<Entry>,
}

impl Quarantine {
    /// Holds `node` to be gone until `until`, or until it shows itself.
    pub(super) fn add(&mut self, node: NodeId, until: Timestamp) {
        let failures = self.failures(node);
        self.put(Entry {
            node,
            dead: true,
            until,
            failures,
        });
    }

    /// Notes that `node` could not be reached: each time in a row it is left alone for twice as
    /// long, from `first` up to `most`.
    pub(super) fn add_failure(
        &mut self,
        node: NodeId,
        now: Timestamp,
        first: Duration,
        most: Duration,
    ) {
        let failures = self.failures(node);
        let wait = first.saturating_mul(1 << failures.min(8)).min(most);
        if self.holds_dead(now + wait, node) {
            return;
        }
        self.put(Entry {
            node,
            dead: false,
            until: now + wait,
            failures: failures + 1,
        });
    }

    /// `node` has shown itself.
    pub(super) fn lift(&mut self, node: NodeId) {
        self.entries.retain(|entry| entry.node != node);
    }

    /// Whether `node` was found dead.
    pub(super) fn holds_dead(&self, now: Timestamp, node: NodeId) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.node == node && entry.dead && now < entry.until)
    }

    /// Whether `node` is not to be asked for a link.
    pub(super) fn avoids(&self, now: Timestamp, node: NodeId) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.node == node && now < entry.until)
    }

    fn failures(&self, node: NodeId) -> u32 {
        self.entries
            .iter()
            .find(|entry| entry.node == node)
            .map_or(0, |entry| entry.failures)
    }

    fn put(&mut self, entry: Entry) {
        self.lift(entry.node);
        if self.entries.len() >= MAX_ENTRIES
            && let Some(first) = (0..self.entries.len()).min_by_key(|&i| self.entries[i].until)
        {
            self.entries.swap_remove(first);
        }
        self.entries.push(entry);
    }
}
