//! Reliable delivery: exactly once in effect and in order per sender, whatever happens to links.
//!
//! A stream is (sender, incarnation, receiver, sequence). The receiver acknowledges what its
//! application has taken, with a bitmap of what waits behind a gap; the sender sends again after
//! a retransmission timeout (RFC 6298) and starts over with a small window, because what is lost
//! is most often lost with a link and everything under way with it. A message that expires is
//! skipped explicitly: each one carries the floor below which nobody need wait.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::outgoing::{Outcome, Outgoing};
use super::{
    Class, CommandId, Event, FailReason, InputError, LinkId, MAX_SEQUENCE, Message, Node, Queues,
    TimerKind,
};
use crate::identity::{Incarnation, NodeId};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{Body, ReliableAck, Routed};

/// Messages taken from one sender before they are acknowledged without delay.
const ACK_EVERY: u32 = 8;

/// What has come from one sender.
#[derive(Debug)]
struct Incoming {
    from: Place,
    incarnation: Incarnation,
    /// The next one to be given to the application.
    next: u64,
    /// Everything below was taken by the application.
    taken: u64,
    /// What came early: payload and hops.
    early: BTreeMap<u64, (Bytes, u16)>,
    /// Arrivals since the last acknowledgement.
    unacknowledged: u32,
    /// Something has come again since then: the acknowledgement may have been lost.
    repeated: bool,
    /// The link that the last acknowledgement took.
    by: Option<LinkId>,
    heard: Timestamp,
}

impl Incoming {
    fn ack(&self) -> ReliableAck {
        // Early ones, and (with manual acknowledgement) what the application has not taken yet.
        let held = (self.taken..self.next).take(64);
        let bitmap = held
            .chain(self.early.keys().copied())
            .map(|sequence| sequence - self.taken)
            .filter(|bit| *bit < 64)
            .fold(0, |bits: u64, bit| bits | 1 << bit);
        ReliableAck {
            stream: self.incarnation,
            next: self.taken,
            bitmap,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Delivery {
    outgoing: BTreeMap<NodeId, Outgoing>,
    /// Where new streams begin: after the last number of every stream that was dropped, so that
    /// a receiver that remembers it takes no new message for a repeat.
    first_sequence: u64,
    /// When each stream has something to do.
    due: BTreeSet<(Timestamp, NodeId)>,
    incoming: BTreeMap<NodeId, Incoming>,
    /// Bytes of all payloads that came early.
    early_bytes: usize,
    /// Senders that are owed an acknowledgement.
    owed: BTreeSet<NodeId>,
}

impl Delivery {
    /// How full its queues are.
    pub(super) fn queues(&self) -> Queues {
        let sent_to = self.outgoing.values();
        let (messages, bytes): (Vec<_>, Vec<_>) = sent_to.map(Outgoing::pending).unzip();
        Queues {
            messages: messages.into_iter().max().unwrap_or(0),
            message_bytes: bytes.into_iter().max().unwrap_or(0),
            streams: self.outgoing.len().max(self.incoming.len()),
            ..Queues::default()
        }
    }

    /// Whether all that was sent is acknowledged, or has failed.
    pub(super) fn is_idle(&self) -> bool {
        self.outgoing.values().all(Outgoing::is_idle)
    }

    /// Bytes that have come early.
    pub(super) fn held_bytes(&self) -> usize {
        self.early_bytes
    }

    /// Drops a stream with nothing under way; `false` if there is none.
    fn drop_idle(&mut self) -> bool {
        let idle = self.outgoing.iter().find(|(_, stream)| stream.is_idle());
        let Some((to, next)) = idle.map(|(to, stream)| (*to, stream.next_sequence())) else {
            return false;
        };
        self.outgoing.remove(&to);
        self.first_sequence = self.first_sequence.max(next);
        true
    }

    /// Drops what has come from a sender.
    fn remove_incoming(&mut self, from: NodeId) {
        if let Some(stream) = self.incoming.remove(&from) {
            let early = stream.early.values();
            self.early_bytes -= early.map(|(payload, _)| payload.len()).sum::<usize>();
        }
    }

    fn set_due(&mut self, to: NodeId, before: Option<Timestamp>, after: Option<Timestamp>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            self.due.remove(&(before, to));
        }
        if let Some(after) = after {
            self.due.insert((after, to));
        }
    }
}

impl Node {
    pub(super) fn send_reliable(
        &mut self,
        now: Timestamp,
        id: CommandId,
        to: NodeId,
        payload: Bytes,
        deadline: Option<Duration>,
    ) -> Result<(), InputError> {
        Self::check_payload(&payload)?;
        if to == self.me.id {
            return Err(InputError::ToSelf);
        }
        if !self.delivery.outgoing.contains_key(&to) {
            if self.delivery.outgoing.len() >= self.config.streams && !self.delivery.drop_idle() {
                return Err(InputError::Full);
            }
            let first = self.delivery.first_sequence.max(1);
            let stream = Outgoing::new(self.place(to), first, &self.config);
            self.delivery.outgoing.insert(to, stream);
        }
        let until = now + deadline.unwrap_or(self.config.message_deadline);
        let (queue_messages, queue_bytes) = (self.config.queue_messages, self.config.queue_bytes);
        let stream = self
            .delivery
            .outgoing
            .get_mut(&to)
            .ok_or(InputError::Full)?;
        if !stream.has_room(payload.len(), queue_messages, queue_bytes) {
            return Err(InputError::Full);
        }
        stream.push(id, payload, until);
        self.pump(now, to);
        Ok(())
    }

    /// Sends what a stream may send now, and sets its timer.
    fn pump(&mut self, now: Timestamp, to: NodeId) {
        let Some(stream) = self.delivery.outgoing.get_mut(&to) else {
            return;
        };
        let before = stream.due();
        let (place, by) = (stream.to, stream.by);
        let mut ready = Vec::new();
        while let Some(part) = stream.next_to_send(now) {
            ready.push(part);
        }
        let after = stream.due();
        let again = ready.iter().filter(|part| part.again).count() as u64;
        self.counters.retransmitted += again;
        self.delivery.set_due(to, before, after);
        // What was lost tries another way, and what follows goes the same one.
        let is_lost = ready.iter().any(|part| part.again);
        let past = by.filter(|_| is_lost);
        let mut taken = None;
        for part in ready {
            let body = Body::Reliable {
                sequence: part.sequence,
                floor: part.floor,
            };
            taken = self
                .send_routed_past(place, body, part.payload, past)
                .or(taken);
        }
        if let Some(stream) = self.delivery.outgoing.get_mut(&to) {
            stream.by = taken.or(by);
        }
        self.arm_retransmit();
    }

    fn arm_retransmit(&mut self) {
        match self.delivery.due.first() {
            Some((at, _)) => self.timers.set(TimerKind::Retransmit, *at),
            None => self.timers.cancel(TimerKind::Retransmit),
        }
    }

    pub(super) fn on_retransmit_timer(&mut self, now: Timestamp) {
        while let Some(&(at, to)) = self.delivery.due.first() {
            if at > now {
                break;
            }
            self.delivery.due.remove(&(at, to));
            let Some(stream) = self.delivery.outgoing.get_mut(&to) else {
                continue;
            };
            let outcomes = stream.on_timeout(now);
            // `due` was taken out above; whatever it is now is put in again.
            let after = stream.due();
            self.delivery.set_due(to, None, after);
            self.tell_outcomes(outcomes);
            self.pump(now, to);
        }
        self.arm_retransmit();
    }

    pub(super) fn on_ack(&mut self, now: Timestamp, from: NodeId, ack: &ReliableAck) {
        if ack.stream != self.incarnation {
            return;
        }
        let Some(stream) = self.delivery.outgoing.get_mut(&from) else {
            return;
        };
        let before = stream.due();
        let outcomes = stream.on_ack(now, ack.next, ack.bitmap);
        let after = stream.due();
        self.delivery.set_due(from, before, after);
        self.tell_outcomes(outcomes);
        self.pump(now, from);
    }

    fn tell_outcomes(&mut self, outcomes: Vec<Outcome>) {
        for outcome in outcomes {
            self.event(match outcome {
                Outcome::Delivered(id) => Event::Delivered { id },
                Outcome::Expired(id) => Event::Expired { id },
            });
        }
    }

    /// Somebody has left: what waits for it will not arrive.
    pub(super) fn fail_sends_to(&mut self, peer: NodeId) {
        if let Some(stream) = self.delivery.outgoing.get_mut(&peer) {
            let before = stream.due();
            let ids = stream.abandon();
            let after = stream.due();
            self.delivery.set_due(peer, before, after);
            for id in ids {
                self.event(Event::Failed {
                    id,
                    reason: FailReason::PeerLeft,
                });
            }
            self.arm_retransmit();
        }
    }

    /// This node ends: every open send has an outcome all the same.
    pub(super) fn fail_open_sends(&mut self) {
        let streams = core::mem::take(&mut self.delivery.outgoing);
        self.delivery.due.clear();
        for (_, mut stream) in streams {
            for id in stream.abandon() {
                self.event(Event::Failed {
                    id,
                    reason: FailReason::Left,
                });
            }
        }
    }

    pub(super) fn on_reliable(
        &mut self,
        now: Timestamp,
        routed: &Routed,
        sequence: u64,
        floor: u64,
        hops: u16,
        payload: Bytes,
    ) -> Result<(), InputError> {
        let from = routed.from.id;
        if floor > sequence || sequence > MAX_SEQUENCE {
            self.counters.bad_frames += 1;
            return Err(InputError::Protocol);
        }
        self.make_incoming(now, routed, floor)?;
        let window = 2 * self.config.window_messages as u64;
        let manual = self.config.manual_ack;
        let Some(stream) = self.delivery.incoming.get_mut(&from) else {
            return Err(InputError::Full);
        };
        stream.heard = now;
        stream.unacknowledged += 1;
        let mut ready = Vec::new();
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(crate::PlantedBug::ShortMemory)
            && sequence + 4 < stream.next
        {
            ready.push((sequence, (payload.clone(), hops)));
        }
        if sequence < stream.next || stream.early.contains_key(&sequence) {
            stream.repeated = true;
            self.counters.repeats += 1;
        } else if sequence < stream.next.max(floor) + window
            && (sequence == stream.next
                || self.delivery.early_bytes + payload.len() <= self.config.held_bytes)
        {
            self.delivery.early_bytes += payload.len();
            stream.early.insert(sequence, (payload, hops));
        } else {
            self.counters.dropped += 1;
        }
        // What is below the floor and has not come will not come.
        while let Some(first) = stream.early.first_entry() {
            let sequence = *first.key();
            if sequence < floor || sequence == stream.next {
                let message = first.remove();
                self.delivery.early_bytes -= message.0.len();
                ready.push((sequence, message));
                stream.next = stream.next.max(sequence + 1);
            } else if stream.next < floor {
                stream.next = floor;
            } else {
                break;
            }
        }
        stream.next = stream.next.max(floor);
        stream.taken = if manual {
            stream.taken.max(floor)
        } else {
            stream.next
        };
        // With manual acknowledgement the application's own comes soon enough.
        let urgent = !manual && stream.unacknowledged >= ACK_EVERY;
        for (sequence, (payload, hops)) in ready {
            self.counters.received += 1;
            self.event(Event::Message(Message {
                from,
                incarnation: routed.incarnation,
                class: Class::Reliable,
                sequence,
                hops,
                payload,
            }));
        }
        self.delivery.owed.insert(from);
        if urgent {
            self.send_ack(from);
        } else {
            self.timers
                .set_by(TimerKind::Acknowledge, now + self.config.ack_delay);
        }
        Ok(())
    }

    /// The stream that a message belongs to; a new session of its sender begins a new one.
    fn make_incoming(
        &mut self,
        now: Timestamp,
        routed: &Routed,
        floor: u64,
    ) -> Result<(), InputError> {
        let from = routed.from.id;
        match self.delivery.incoming.get(&from) {
            Some(stream) if stream.incarnation == routed.incarnation => return Ok(()),
            Some(stream) if stream.incarnation > routed.incarnation => {
                self.counters.repeats += 1;
                return Err(InputError::Stale);
            }
            Some(_) => self.delivery.remove_incoming(from),
            None if self.delivery.incoming.len() >= self.config.streams => {
                let oldest = self.delivery.incoming.iter().min_by_key(|(_, s)| s.heard);
                if let Some(oldest) = oldest.map(|(node, _)| *node) {
                    self.delivery.remove_incoming(oldest);
                }
            }
            None => {}
        }
        let stream = Incoming {
            from: routed.from,
            incarnation: routed.incarnation,
            next: floor,
            taken: floor,
            early: BTreeMap::new(),
            unacknowledged: 0,
            repeated: false,
            by: None,
            heard: now,
        };
        self.delivery.incoming.insert(from, stream);
        Ok(())
    }

    /// The application has taken what `from` sent up to `sequence`.
    pub(super) fn acknowledge(&mut self, from: NodeId, sequence: u64) -> Result<(), InputError> {
        let stream = self
            .delivery
            .incoming
            .get_mut(&from)
            .filter(|stream| sequence < stream.next)
            .ok_or(InputError::Stale)?;
        stream.taken = stream.taken.max(sequence + 1);
        self.send_ack(from);
        Ok(())
    }

    pub(super) fn send_acks(&mut self) {
        while let Some(from) = self.delivery.owed.first().copied() {
            self.send_ack(from);
        }
    }

    fn send_ack(&mut self, from: NodeId) {
        self.delivery.owed.remove(&from);
        if let Some(stream) = self.delivery.incoming.get_mut(&from) {
            stream.unacknowledged = 0;
            let is_lost = core::mem::take(&mut stream.repeated);
            let (place, ack, by) = (stream.from, stream.ack(), stream.by);
            let past = by.filter(|_| is_lost);
            let taken = self.send_routed_past(place, Body::Ack(ack), Bytes::new(), past);
            if let Some(stream) = self.delivery.incoming.get_mut(&from) {
                stream.by = taken.or(by);
            }
        }
    }
}
