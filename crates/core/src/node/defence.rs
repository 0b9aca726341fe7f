//! What others may ask of this node, and what ends a link.
//!
//! Messages are the application's own traffic: links and queues bound them. Everything else is
//! housekeeping, of which an honest member sends little, and which may cost far more than its
//! bytes: an answer of a thousand records, a signature to be verified, a frame passed on to all. So
//! a link has an allowance of housekeeping frames, answers included; what goes beyond it is dropped
//! and counted, and whoever does not stop is cut off. So is whoever says what no honest member
//! does: frames that cannot be read, signatures that do not hold, others' names.
//!
//! Nobody is told who was cut off: an accusation could be a lie too.

use alloc::collections::BTreeMap;
use core::time::Duration;

use super::links::Link;
use super::{InputError, LinkId, Node};
use crate::identity::NodeId;
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{Body, ByeReason, Head, Routed};

/// Members that may be banned at a time; the one whose time is over first makes room.
const MAX_BANNED: usize = 256;

/// How much may come at a time, and how soon again: the generic cell rate algorithm (ITU-T
/// I.371, annex A), which is a token bucket in one number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Allowance {
    /// When all that was taken so far is made up for.
    even: Timestamp,
}

impl Allowance {
    /// Takes `amount`, if no more than `burst` has been taken beyond one each `interval`.
    pub(super) fn take(
        &mut self,
        now: Timestamp,
        interval: Duration,
        burst: u32,
        amount: usize,
    ) -> bool {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let even = self.even.max(now) + interval.saturating_mul(amount);
        let is_within = even.since(now) <= interval.saturating_mul(burst);
        if is_within {
            self.even = even;
        }
        is_within
    }
}

/// The time between two of `per_second`.
pub(super) fn each(per_second: u32) -> Duration {
    Duration::from_secs(1) / per_second.max(1)
}

/// Who was cut off, and until when nothing is to do with it.
#[derive(Debug, Default)]
pub(super) struct Banned(BTreeMap<NodeId, Timestamp>);

impl Banned {
    fn add(&mut self, peer: NodeId, until: Timestamp) {
        if self.0.len() >= MAX_BANNED
            && let Some((&first, _)) = self.0.iter().min_by_key(|(_, until)| **until)
        {
            self.0.remove(&first);
        }
        self.0.insert(peer, until);
    }
}

impl Node {
    /// Whether a link may bring this frame; what is no message is taken off its allowance.
    pub(super) fn allows(&mut self, now: Timestamp, id: LinkId, head: &Head) -> bool {
        let is_message = matches!(
            head,
            Head::Routed(_) | Head::Broadcast(_) | Head::Circulate(_) | Head::CirculateAck(_)
        );
        is_message || self.spend(now, id, 1)
    }

    /// Takes frames off a link's allowance: those it brought, or those it asks for. Whoever goes
    /// on as if nothing were dropped is cut off.
    pub(super) fn spend(&mut self, now: Timestamp, id: LinkId, frames: usize) -> bool {
        let (interval, burst) = (each(self.config.link_rate), self.config.link_burst);
        let Some(link) = self.links.get_mut(id) else {
            return false;
        };
        if link.allowance.take(now, interval, burst, frames) {
            return true;
        }
        link.excess += 1;
        let is_flood = link.excess >= burst;
        self.counters.throttled += 1;
        if is_flood {
            self.cut_off(now, id);
        }
        false
    }

    /// A peer has done what no honest member does; a few times may be a fault of its.
    pub(super) fn on_breach(&mut self, now: Timestamp, id: LinkId) -> InputError {
        if let Some(link) = self.links.get_mut(id) {
            link.breaches += 1;
            if link.breaches >= self.config.breaches {
                self.cut_off(now, id);
            }
        }
        InputError::Protocol
    }

    /// No frame can be found in what a link brings, nor will there be.
    pub(super) fn on_link_garbled(&mut self, now: Timestamp, id: LinkId) -> Result<(), InputError> {
        self.links.get(id).ok_or(InputError::Stale)?;
        self.counters.bad_frames += 1;
        self.cut_off(now, id);
        Err(InputError::Protocol)
    }

    /// A signature did not hold that the peer ought to have verified.
    pub(super) fn on_bad_signature(&mut self, now: Timestamp, id: LinkId) -> InputError {
        self.counters.bad_signatures += 1;
        self.on_breach(now, id)
    }

    /// Closes a link for good, and has nothing to do with its peer for a while.
    fn cut_off(&mut self, now: Timestamp, id: LinkId) {
        let Some(peer) = self.links.get(id).map(|link| link.peer) else {
            return;
        };
        self.counters.cut_off += 1;
        self.banned.add(peer.id, now + self.config.ban);
        self.bye(id, ByeReason::Protocol);
        self.tell_overlay(now, |overlay, cx| overlay.on_failed(cx, peer));
    }

    /// Whether a peer was cut off a short while ago.
    pub(super) fn is_banned(&mut self, now: Timestamp, peer: NodeId) -> bool {
        let is_banned = self.banned.0.get(&peer).is_some_and(|until| now < *until);
        if !is_banned {
            self.banned.0.remove(&peer);
        }
        is_banned
    }

    /// Whether a frame that has crossed no link but this one is from the link's peer.
    pub(super) fn is_from_peer(&self, id: LinkId, head: &Head) -> bool {
        let (links_before, from) = match head {
            Head::Routed(routed) => (u64::from(routed.hops.get()), routed.from),
            Head::Lookup(lookup) => (u64::from(lookup.hops.get()), lookup.origin),
            Head::Broadcast(broadcast) => (u64::from(broadcast.hops.get()), broadcast.origin),
            Head::Circulate(circulate) => (circulate.count, circulate.origin),
            _ => return true,
        };
        links_before > 0 || self.links.get(id).is_some_and(|link| link.peer == from)
    }

    /// Whether something for this node can be from whom it says. Unicast is not signed yet; but
    /// whoever has a link with this node would have used it, and whoever has begun a later session
    /// has told so under its signature.
    pub(super) fn is_plausible(&self, now: Timestamp, id: LinkId, routed: &Routed) -> bool {
        self.comes_its_way(now, id, routed.from)
            && !matches!(routed.body, Body::Reliable { .. } if self.is_ahead(id, routed))
    }

    /// Whether a message claims a later session than its sender has told of, by its presence or
    /// when it set up the link.
    fn is_ahead(&self, id: LinkId, routed: &Routed) -> bool {
        let signed = Some(routed.incarnation);
        let is_its_link = |link: &Link| link.peer == routed.from && link.incarnation == signed;
        self.known_session(routed.from)
            .is_some_and(|known| routed.incarnation > known)
            && !self.links.get(id).is_some_and(is_its_link)
    }

    fn comes_its_way(&self, now: Timestamp, id: LinkId, from: Place) -> bool {
        let own = self.links.to(from.id).filter(|link| link.is_open());
        own.is_none_or(|own| {
            // What was under way when the link opened, or goes round a path that is silent.
            let may_go_round = now.since(own.opened) < self.config.linger || own.is_suspect();
            own.id == id || may_go_round
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_one_each_interval() {
        let at = Timestamp::from_micros;
        let mut allowance = Allowance::default();
        let mut take =
            |now, amount| allowance.take(at(now), Duration::from_micros(100), 10, amount);
        assert!(take(5_000, 10));
        assert!(!take(5_000, 1));
        assert!(!take(5_099, 1));
        assert!(take(5_100, 1));
        assert!(!take(5_150, 1));
        // Nobody saves up more than a burst.
        assert!(!take(90_000, 11));
        assert!(take(90_000, 10) && !take(90_000, 1));
        assert!(!take(90_000, usize::MAX));
    }

    #[test]
    fn the_list_of_the_banned_is_bounded() {
        let mut banned = Banned::default();
        for number in 0..2_000_u16 {
            let mut id = [0; 32];
            id[..2].copy_from_slice(&number.to_be_bytes());
            banned.add(
                NodeId::from_bytes(id),
                Timestamp::from_micros(u64::from(number)),
            );
        }
        assert_eq!(banned.0.len(), MAX_BANNED);
    }
}
