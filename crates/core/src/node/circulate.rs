//! Circulation: a message goes once round the ring, member by member, and comes back.
//!
//! Each hop is acknowledged. Until it is, the holder gives the message to the next living
//! successor after a while; members drop repeats. It ends where the origin lies between the
//! holder and its successor: at the origin, or, if that has gone, nowhere.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use super::{Channel, Class, CommandId, Event, InputError, LinkId, Message, Node, TimerKind};
use crate::identity::{Incarnation, NodeId, Purpose, Signature};
use crate::ring::Member;
use crate::time::Timestamp;
use crate::wire::{Circulate, CirculateAck, Frame, Head, MAX_CIRCULATED, MAX_SEEN};

/// Circulated messages that are held, and own ones that are awaited, at most.
const MAX_HELD: usize = 1024;

/// Circulated messages that are remembered as seen.
const MAX_REMEMBERED: usize = 4096;

type Name = (NodeId, Incarnation, u64);

#[derive(Debug)]
struct Held {
    circulate: Circulate,
    payload: Bytes,
    /// Whom it was given to last, or will be once there is an open link.
    given_to: Option<NodeId>,
    /// Whether it was.
    sent: bool,
    /// Those who have not acknowledged it.
    silent: Vec<NodeId>,
    due: Timestamp,
    /// When it is given up: nobody takes it, or the origin has given it up too.
    until: Timestamp,
}

#[derive(Debug)]
struct Own {
    command: CommandId,
    id: u64,
    until: Timestamp,
    /// Who has acknowledged it: all that is known if it does not come back.
    seen: Vec<NodeId>,
}

#[derive(Debug, Default)]
pub(super) struct Circulations {
    next_id: u64,
    own: Vec<Own>,
    held: Vec<Held>,
    seen: VecDeque<Name>,
}

impl Circulations {
    /// Notes a message; `false` if it was seen before.
    fn note(&mut self, name: Name) -> bool {
        if self.seen.contains(&name) {
            return false;
        }
        if self.seen.len() >= MAX_REMEMBERED {
            self.seen.pop_front();
        }
        self.seen.push_back(name);
        true
    }
}

fn name(circulate: &Circulate) -> Name {
    (circulate.origin.id, circulate.incarnation, circulate.id)
}

impl Node {
    pub(super) fn circulate(
        &mut self,
        now: Timestamp,
        command: CommandId,
        payload: Bytes,
    ) -> Result<(), InputError> {
        if payload.len() > MAX_CIRCULATED {
            return Err(InputError::TooLarge {
                bytes: payload.len(),
                limit: MAX_CIRCULATED,
            });
        }
        if self.circulations.own.len() >= MAX_HELD {
            return Err(InputError::Full);
        }
        if !self.overlay.is_member() {
            return Err(InputError::NotJoined);
        }
        if self.overlay.successors().is_empty() {
            self.event(Event::Circulated {
                id: command,
                seen: Vec::new(),
                count: 0,
                complete: true,
            });
            return Ok(());
        }
        self.circulations.next_id += 1;
        let id = self.circulations.next_id;
        let mut circulate = Circulate {
            origin: self.me,
            incarnation: self.incarnation,
            id,
            seen: Vec::new(),
            count: 0,
            signature: Signature::from_bytes([0; 64]),
        };
        let signed = circulate.signed_bytes(&self.room, &payload);
        circulate.signature = self.identity.sign(Purpose::Circulate, &signed);
        self.circulations.own.push(Own {
            command,
            id,
            until: now + self.config.circulate_timeout,
            seen: Vec::new(),
        });
        self.hold(now, circulate, payload);
        Ok(())
    }

    pub(super) fn on_circulate(
        &mut self,
        now: Timestamp,
        from_link: LinkId,
        mut circulate: Circulate,
        payload: Bytes,
    ) -> Result<(), InputError> {
        let (origin, incarnation, id) = name(&circulate);
        let ack = CirculateAck {
            origin,
            incarnation,
            id,
        };
        let signed = circulate.signed_bytes(&self.room, &payload);
        if !origin.verify(Purpose::Circulate, &signed, &circulate.signature) {
            return Err(self.on_bad_signature(now, from_link));
        }
        self.send(from_link, Channel::Control, ack);
        if origin == self.me.id {
            self.come_back(&circulate);
            return Ok(());
        }
        if !self.circulations.note(name(&circulate)) {
            self.counters.repeats += 1;
            return Ok(());
        }
        circulate.count = circulate.count.saturating_add(1);
        if circulate.seen.len() < MAX_SEEN {
            circulate.seen.push(self.me.id);
        }
        self.counters.received += 1;
        self.event(Event::Message(Message {
            from: origin,
            incarnation,
            class: Class::Circulate,
            sequence: id,
            hops: u16::try_from(circulate.count).unwrap_or(u16::MAX),
            payload: payload.clone(),
        }));
        self.counters.forwarded += 1;
        self.hold(now, circulate, payload);
        Ok(())
    }

    fn come_back(&mut self, circulate: &Circulate) {
        if circulate.incarnation != self.incarnation {
            return;
        }
        let own = &mut self.circulations.own;
        let Some(at) = own.iter().position(|own| own.id == circulate.id) else {
            self.counters.repeats += 1;
            return;
        };
        let command = own.swap_remove(at).command;
        self.event(Event::Circulated {
            id: command,
            seen: circulate.seen.clone(),
            count: circulate.count,
            complete: true,
        });
    }

    /// Keeps a message until the next member has it.
    fn hold(&mut self, now: Timestamp, circulate: Circulate, payload: Bytes) {
        if self.circulations.held.len() >= MAX_HELD {
            self.counters.dropped += 1;
            return;
        }
        self.circulations.held.push(Held {
            circulate,
            payload,
            given_to: None,
            sent: false,
            silent: Vec::new(),
            due: now,
            until: now + self.config.circulate_timeout,
        });
        self.give_on(now, self.circulations.held.len() - 1);
        self.arm_circulate();
    }

    /// Gives a held message to the next successor that has not been silent. One that is being
    /// connected is waited for as long as a hop may take, so that nobody is skipped who is only
    /// new; one that is not, and may never be, for a quarter of that.
    fn give_on(&mut self, now: Timestamp, at: usize) {
        let me = self.me;
        let Some(held) = self.circulations.held.get(at) else {
            return;
        };
        let origin = held.circulate.origin;
        let next = self
            .overlay
            .successors()
            .iter()
            .take_while(|place| **place == origin || !origin.is_between(me, **place))
            .find(|place| !held.silent.contains(&place.id))
            .copied();
        let link = next
            .and_then(|place| self.open_link(place))
            .filter(|link| self.leads_to_member(*link));
        let frame = Frame {
            head: Head::Circulate(held.circulate.clone()),
            payload: held.payload.clone(),
        };
        let sent = link.is_some_and(|link| self.send_buffer(link, Channel::Messages, frame.into()));
        let is_linked = next.is_some_and(|place| self.links.to(place.id).is_some());
        let most = self.config.circulate_hop_timeout;
        let due = now + if is_linked { most } else { most / 4 };
        if let Some(held) = self.circulations.held.get_mut(at) {
            let given_to = next.map(|place| place.id);
            // What still waits for the same member does so until its time is over.
            let still_waits = !sent && !held.sent && next.is_some() && held.given_to == given_to;
            if !still_waits {
                held.due = due;
            }
            held.given_to = given_to;
            held.sent = sent;
        }
    }

    pub(super) fn on_circulate_ack(&mut self, from_link: LinkId, ack: &CirculateAck) {
        let Some(peer) = self.links.get(from_link).map(|link| link.peer.id) else {
            return;
        };
        let acked = (ack.origin, ack.incarnation, ack.id);
        if acked.0 == self.me.id
            && let Some(own) = self
                .circulations
                .own
                .iter_mut()
                .find(|own| own.id == ack.id)
        {
            own.seen = alloc::vec![peer];
        }
        self.circulations
            .held
            .retain(|held| name(&held.circulate) != acked || held.given_to != Some(peer));
        self.arm_circulate();
    }

    /// A member has come or gone: what waits for it, or was given to it, is given on.
    pub(super) fn retry_circulations(&mut self, now: Timestamp) {
        for at in 0..self.circulations.held.len() {
            let held = &self.circulations.held[at];
            let is_lost = held
                .given_to
                .is_none_or(|peer| !self.links.is_open_to(peer));
            if !held.sent || is_lost {
                self.give_on(now, at);
            }
        }
        self.arm_circulate();
    }

    pub(super) fn on_circulate_timer(&mut self, now: Timestamp) {
        for at in 0..self.circulations.held.len() {
            let held = &mut self.circulations.held[at];
            if held.due <= now {
                held.silent.extend(held.given_to);
                self.give_on(now, at);
            }
        }
        self.circulations.held.retain(|held| now < held.until);
        let over: Vec<_> = self
            .circulations
            .own
            .extract_if(.., |own| own.until <= now)
            .collect();
        for own in over {
            self.event(Event::Circulated {
                id: own.command,
                count: own.seen.len() as u64,
                seen: own.seen,
                complete: false,
            });
        }
        self.arm_circulate();
    }

    fn arm_circulate(&mut self) {
        let held = self.circulations.held.iter().map(|held| held.due);
        let own = self.circulations.own.iter().map(|own| own.until);
        match held.chain(own).min() {
            Some(at) => self.timers.set(TimerKind::Circulate, at),
            None => self.timers.cancel(TimerKind::Circulate),
        }
    }
}
