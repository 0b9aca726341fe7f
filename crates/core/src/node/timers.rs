//! The node's timers: at most one of each kind.

use alloc::collections::{BTreeMap, BTreeSet};

use super::{LinkId, TrackerId};
use crate::time::Timestamp;

/// Why [`Node::poll_timeout`](super::Node::poll_timeout) wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TimerKind {
    /// A link's heartbeat or probe.
    Heartbeat(LinkId),
    /// A link that neither side wants has been kept long enough.
    Linger,
    /// A connection attempt that takes too long.
    Attempt(LinkId),
    /// The periodic stabilization of the ring.
    Stabilize,
    /// A table that changed is due to be told.
    Tell,
    /// Long or direct links are to be checked, or a lookup has not been answered.
    Links,
    /// Acknowledgements are due.
    Acknowledge,
    /// Reliable messages may have to be sent again, or are past their deadline.
    Retransmit,
    /// Own broadcasts have waited for others long enough.
    Broadcast,
    /// Broadcasts are missing.
    Gap,
    /// Broadcasts may be missing, and nothing would show it.
    CatchUp,
    /// A circulated message waits for its next hop, or its origin for its return.
    Circulate,
    /// The own presence record is due, or others' have run out.
    Presence,
    /// Leaving has waited long enough.
    Leave,
    /// A tracker is to be connected, told or pinged.
    Tracker(TrackerId),
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeSet<(Timestamp, TimerKind)>,
    armed: BTreeMap<TimerKind, Timestamp>,
}

impl Timers {
    /// Arms `kind` for `at`, instead of whatever it was armed for.
    pub(super) fn set(&mut self, kind: TimerKind, at: Timestamp) {
        if let Some(before) = self.armed.insert(kind, at) {
            self.due.remove(&(before, kind));
        }
        self.due.insert((at, kind));
    }

    /// Arms `kind` for `at` unless it is armed for an earlier time.
    pub(super) fn set_by(&mut self, kind: TimerKind, at: Timestamp) {
        if self.armed.get(&kind).is_none_or(|before| at < *before) {
            self.set(kind, at);
        }
    }

    pub(super) fn cancel(&mut self, kind: TimerKind) {
        if let Some(before) = self.armed.remove(&kind) {
            self.due.remove(&(before, kind));
        }
    }

    pub(super) fn cancel_all(&mut self) {
        *self = Self::default();
    }

    pub(super) fn next(&self) -> Option<(Timestamp, TimerKind)> {
        self.due.first().copied()
    }

    /// Takes the first timer that is due at `now`.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<TimerKind> {
        let &(at, kind) = self.due.first()?;
        if at > now {
            return None;
        }
        self.cancel(kind);
        Some(kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_armed_once_and_fires_once() {
        let at = Timestamp::from_micros;
        let mut timers = Timers::default();
        timers.set(TimerKind::Stabilize, at(10));
        timers.set(TimerKind::Stabilize, at(30));
        timers.set_by(TimerKind::Stabilize, at(40));
        timers.set_by(TimerKind::Gap, at(20));
        assert_eq!(timers.next(), Some((at(20), TimerKind::Gap)));
        assert_eq!(timers.pop(at(19)), None);
        assert_eq!(timers.pop(at(50)), Some(TimerKind::Gap));
        assert_eq!(timers.pop(at(50)), Some(TimerKind::Stabilize));
        assert_eq!(timers.pop(at(50)), None);
        assert_eq!(timers.next(), None);
    }
}
