//! Signals: signing, refusing, and who offers when both do.

use alloc::collections::BTreeMap;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::defence::{Allowance, each};
use super::links::{Link, Phase};
use super::presence::MAX_UNANSWERED;
use super::{Event, InputError, LinkId, Node, Output, Role};
use crate::identity::{Incarnation, NodeId};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{RejectReason, Signal, SignalBody, SignedSignal, VERSION, Wish};

/// Members whose sequences are remembered; the one not heard for longest makes room. What is
/// forgotten that way has most likely expired.
const MAX_WINDOWS: usize = 4096;

#[derive(Debug)]
pub(super) struct Signalling {
    rng: Xoshiro256PlusPlus,
    sequence: u64,
    windows: BTreeMap<NodeId, Window>,
    /// Signals that were looked at.
    looked_at: Allowance,
    /// Attempts of others that were taken up.
    taken_up: Allowance,
    /// Attempts with strangers.
    begun: Allowance,
}

/// Which sequences of a member have come: the anti-replay window of RFC 4303, section 3.4.3.
#[derive(Debug)]
struct Window {
    incarnation: Incarnation,
    highest: u64,
    /// Bit n: `highest - n` has come.
    came: u128,
    heard: Timestamp,
}

impl Window {
    fn is_new(&self, incarnation: Incarnation, sequence: u64) -> bool {
        if incarnation != self.incarnation || sequence > self.highest {
            return incarnation >= self.incarnation;
        }
        let back = self.highest - sequence;
        back < 128 && self.came & (1 << back) == 0
    }

    fn note(&mut self, now: Timestamp, incarnation: Incarnation, sequence: u64) {
        if incarnation > self.incarnation {
            *self = Self::new(now, incarnation, sequence);
        } else if sequence > self.highest {
            let shift = u32::try_from(sequence - self.highest).unwrap_or(u32::MAX);
            self.came = self.came.checked_shl(shift).unwrap_or(0) | 1;
            self.highest = sequence;
        } else {
            self.came |= 1 << (self.highest - sequence);
        }
        self.heard = now;
    }

    fn new(now: Timestamp, incarnation: Incarnation, sequence: u64) -> Self {
        Self {
            incarnation,
            highest: sequence,
            came: 1,
            heard: now,
        }
    }
}

impl Signalling {
    pub(super) fn new(rng: Xoshiro256PlusPlus) -> Self {
        Self {
            rng,
            sequence: 0,
            windows: BTreeMap::new(),
            looked_at: Allowance::default(),
            taken_up: Allowance::default(),
            begun: Allowance::default(),
        }
    }

    /// A number for a new negotiation, under 2^53.
    pub(super) fn new_attempt(&mut self) -> u64 {
        self.rng.random::<u64>() >> 11
    }

    fn is_new(&self, body: &SignalBody) -> bool {
        self.windows
            .get(&body.from)
            .is_none_or(|window| window.is_new(body.incarnation, body.sequence))
    }

    fn note(&mut self, now: Timestamp, body: &SignalBody) {
        if let Some(window) = self.windows.get_mut(&body.from) {
            window.note(now, body.incarnation, body.sequence);
            return;
        }
        if self.windows.len() >= MAX_WINDOWS {
            let oldest = self.windows.iter().min_by_key(|(_, window)| window.heard);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.windows.remove(&oldest);
            }
        }
        let window = Window::new(now, body.incarnation, body.sequence);
        self.windows.insert(body.from, window);
    }
}

impl Node {
    /// A connection of ours has something to say to its peer.
    pub(super) fn on_local_signal(
        &mut self,
        now: Timestamp,
        id: LinkId,
        signal: Signal,
    ) -> Result<(), InputError> {
        let link = self.links.get(id).ok_or(InputError::Stale)?;
        let signal = match signal {
            Signal::Offer { sdp, .. } => Signal::Offer {
                sdp,
                wish: link.wish,
                topology: self.topology,
            },
            other => other,
        };
        let (to, attempt) = (link.peer.id, link.attempt);
        self.send_signal(now, to, attempt, signal);
        Ok(())
    }

    fn send_signal(&mut self, now: Timestamp, to: NodeId, attempt: u64, signal: Signal) {
        self.signalling.sequence += 1;
        let name = signal.name();
        let expiry = u64::try_from(self.config.signal_expiry.as_millis()).unwrap_or(u64::MAX);
        let signed = SignalBody {
            version: VERSION,
            room: self.room,
            from: self.me.id,
            to,
            incarnation: self.incarnation,
            attempt,
            sequence: self.signalling.sequence,
            expires_unix_ms: self.unix_ms(now).unwrap_or(0).saturating_add(expiry),
            signal,
        }
        .sign(&self.identity);
        self.relay_by_trackers(&signed);
        self.event(Event::Signalling {
            peer: to,
            signal: name,
            sent: true,
        });
    }

    /// A signal came, by a tracker or by hand.
    pub(super) fn on_signal(
        &mut self,
        now: Timestamp,
        signed: SignedSignal,
    ) -> Result<(), InputError> {
        let rate = each(self.config.signal_rate);
        let looked_at = &mut self.signalling.looked_at;
        if !looked_at.take(now, rate, self.config.signal_burst, 1) {
            self.counters.throttled += 1;
            return Err(InputError::Throttled);
        }
        let body = &signed.body;
        if !self.signalling.is_new(body) {
            self.counters.repeats += 1;
            return Err(InputError::Signal);
        }
        if body.room != self.room
            || body.to != self.me.id
            || body.from == self.me.id
            || !self.is_in_time(now, body.expires_unix_ms)
            || !signed.is_genuine()
        {
            self.counters.bad_signals += 1;
            return Err(InputError::Signal);
        }
        self.signalling.note(now, body);
        let SignalBody {
            from,
            incarnation,
            attempt,
            sequence,
            signal,
            ..
        } = signed.body;
        self.event(Event::Signalling {
            peer: from,
            signal: signal.name(),
            sent: false,
        });
        if let Signal::Offer { wish, topology, .. } = signal {
            let is_overtaken = self.links.to(from).is_some_and(|link| {
                link.incarnation == Some(incarnation) && sequence < link.sequence
            });
            if is_overtaken {
                return Err(InputError::Stale);
            }
            self.on_offer(now, from, incarnation, attempt, wish, topology, signal);
            return Ok(());
        }
        let id = self
            .links
            .iter()
            .find(|link| link.peer.id == from && link.attempt == attempt)
            .map(|link| link.id)
            .ok_or(InputError::Stale)?;
        if let Some(link) = self.links.get_mut(id) {
            link.sequence = link.sequence.max(sequence);
        }
        self.on_link_signal(now, id, incarnation, signal)
    }

    /// Expiry, with the tolerance for clocks. Neither too old nor from a far future, for which a
    /// repeat would have to be remembered.
    fn is_in_time(&self, now: Timestamp, expires_unix_ms: u64) -> bool {
        let millis = |d: core::time::Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let tolerance = millis(self.config.clock_tolerance);
        let latest = tolerance + millis(self.config.signal_expiry);
        self.unix_ms(now).is_none_or(|unix_ms| {
            expires_unix_ms.saturating_add(tolerance) >= unix_ms
                && expires_unix_ms <= unix_ms.saturating_add(latest)
        })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one envelope")]
    fn on_offer(
        &mut self,
        now: Timestamp,
        from: NodeId,
        incarnation: Incarnation,
        attempt: u64,
        wish: Wish,
        topology: Topology,
        offer: Signal,
    ) {
        if topology != self.topology {
            self.reject(now, from, attempt, RejectReason::Topology);
            return;
        }
        if self.is_banned(now, from) {
            self.counters.throttled += 1;
            self.reject(now, from, attempt, RejectReason::Full);
            return;
        }
        // Whoever offers lives.
        let peer = self.place(from);
        self.overlay.on_alive(now, peer);
        let before = self
            .links
            .to(from)
            .map(|link| (link.id, link.role, link.phase));
        #[cfg(feature = "planted-bugs")]
        let before = before.filter(|(_, role, _)| {
            let bug = self.config.planted_bug;
            bug != Some(crate::PlantedBug::GlareBothWin) || *role != Role::Offerer
        });
        if let Some((_, role, phase)) = before {
            let unanswered = phase == Phase::Connecting { answered: false };
            // Glare: the greater NodeId drops its own attempt and answers.
            if role == Role::Offerer && unanswered && self.me.id < from {
                return;
            }
        }
        let has_room =
            |node: &mut Self| node.tell_overlay(now, |overlay, cx| overlay.accepts(cx, wish));
        if before.is_none() && !has_room(self) {
            self.reject(now, from, attempt, RejectReason::Full);
            return;
        }
        if !self.may_take_up(now) {
            self.counters.throttled += 1;
            self.reject(now, from, attempt, RejectReason::Full);
            return;
        }
        if let Some((id, ..)) = before {
            // The peer has no link any more, or it would not offer one.
            self.close_link(id);
            self.tell_overlay(now, |overlay, cx| overlay.on_closed(cx, peer));
            if !has_room(self) {
                self.reject(now, from, attempt, RejectReason::Full);
                return;
            }
        }
        self.overlay.on_offered(peer, wish);
        let link = self.add_link(now, peer, Role::Answerer, attempt, wish, Some(incarnation));
        self.outputs.push_back(Output::ApplySignal {
            link,
            signal: offer,
        });
    }

    /// Whether to try to link with a member now. Anybody can make up names: only those who have told
    /// of themselves are tried as often as the overlay likes.
    pub(super) fn may_attempt(&mut self, now: Timestamp, to: Place) -> bool {
        if self.is_banned(now, to.id) {
            return false;
        }
        let (interval, burst) = (each(self.config.attempt_rate), self.config.attempt_burst);
        let is_known = self.known_session(to).is_some();
        let is_allowed = is_known || self.signalling.begun.take(now, interval, burst, 1);
        self.counters.throttled += u64::from(!is_allowed);
        is_allowed
    }

    /// Whether there is time for one more attempt of others.
    fn may_take_up(&mut self, now: Timestamp) -> bool {
        let (interval, burst) = (each(self.config.attempt_rate), self.config.attempt_burst);
        self.signalling.taken_up.take(now, interval, burst, 1)
    }

    fn on_link_signal(
        &mut self,
        now: Timestamp,
        id: LinkId,
        incarnation: Incarnation,
        signal: Signal,
    ) -> Result<(), InputError> {
        let link = self.links.get_mut(id).ok_or(InputError::Stale)?;
        let awaits_answer =
            link.role == Role::Offerer && link.phase == Phase::Connecting { answered: false };
        match signal {
            Signal::Answer { .. } if awaits_answer => {
                link.phase = Phase::Connecting { answered: true };
                link.incarnation = Some(incarnation);
            }
            Signal::Reject { reason } if awaits_answer => {
                self.on_rejected(now, id, reason);
                return Ok(());
            }
            Signal::Candidate { .. } | Signal::EndOfCandidates => {}
            Signal::Offer { .. } | Signal::Answer { .. } | Signal::Reject { .. } => {
                return Err(InputError::Stale);
            }
        }
        self.outputs
            .push_back(Output::ApplySignal { link: id, signal });
        Ok(())
    }

    pub(super) fn reject(
        &mut self,
        now: Timestamp,
        to: NodeId,
        attempt: u64,
        reason: RejectReason,
    ) {
        self.send_signal(now, to, attempt, Signal::Reject { reason });
    }

    /// A tracker does not know the receiver of a signal.
    pub(super) fn on_unreachable(&mut self, now: Timestamp, to: NodeId, attempt: u64) {
        let waits = |link: &&Link| link.peer.id == to && link.attempt == attempt && !link.is_open();
        let Some(id) = self.links.iter().find(waits).map(|link| link.id) else {
            return;
        };
        if let Some(link) = self.close_link(id) {
            self.on_attempt_failed(now, &link);
            self.on_unanswered(now, link.peer, MAX_UNANSWERED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sequence_is_new_once() {
        let now = Timestamp::ZERO;
        let (old, new) = (Incarnation(1), Incarnation(2));
        let mut window = Window::new(now, old, 10);
        for sequence in [10, 9, 200, 12, 150, 199, 73] {
            let expected = !matches!(sequence, 10);
            assert_eq!(window.is_new(old, sequence), expected, "{sequence}");
            if expected && window.highest.saturating_sub(sequence) < 128 {
                window.note(now, old, sequence);
                assert!(!window.is_new(old, sequence), "{sequence} twice");
            }
            if sequence == 200 {
                // Too far back to be known: refused.
                assert!(!window.is_new(old, 12));
                break;
            }
        }
        for sequence in [150, 199, 73] {
            assert!(window.is_new(old, sequence));
            window.note(now, old, sequence);
            assert!(!window.is_new(old, sequence));
        }
        assert!(window.is_new(new, 1));
        window.note(now, new, 1);
        assert!(!window.is_new(old, 500), "an earlier session is over");
    }
}
