//! What the scenario's flows send, and how it goes on from member to member.

use std::time::Duration;

use circlet_core::Routing;
use circlet_core::overlay::{Detour, Hop, Overlay};
use circlet_core::ring::Position;

use super::network::Class;
use super::{Host, NEVER, bytes_of};
use crate::scale::event::{Errand, Event, Flood, Trip, micros_since, ticks};
use crate::scale::kernel::Context;
use crate::scale::shared::{FlowKind, Shared};
use crate::scale::slot::Slot;

impl Host {
    /// The flow of all members has something for this one to send.
    pub(super) fn on_flow_due(&mut self, at: &mut Context<'_, Self>) {
        let now = at.now();
        let Some((index, flow)) = at.shared().flow_of_all() else {
            return;
        };
        let next = now + flow.gap.max(Duration::from_micros(1));
        self.due = if next < flow.end { next } else { NEVER };
        if now < flow.end {
            self.begin(at, index, None, None);
        }
    }

    pub(super) fn begin(
        &mut self,
        at: &mut Context<'_, Self>,
        flow: u8,
        to: Option<Slot>,
        word: Option<u64>,
    ) {
        // As a node that has not joined refuses it.
        if !self.overlay.is_member() {
            return;
        }
        let (shared, me) = (at.shared(), at.index());
        let kind = shared.flows[usize::from(flow)].kind;
        let receivers = match kind {
            FlowKind::Lookup | FlowKind::Unicast => 1,
            FlowKind::Broadcast => (shared.directory.len() as u64).saturating_sub(1),
        };
        let started = ticks(at.now());
        let now = at.now();
        at.tally().flow(flow).begin(now, shared.interval, receivers);
        if shared.measure_load {
            self.more.get_or_insert_default().load.messages_sent += 1;
        }
        let trip = |target, errand| Trip {
            target,
            origin: me,
            from: me,
            started,
            hops: 0,
            errand,
            flow,
            timeouts: 0,
        };
        match kind {
            FlowKind::Lookup => {
                let target = word.unwrap_or_else(|| self.word());
                self.on_trip(trip(target, Errand::Lookup), Detour::default(), at);
            }
            FlowKind::Unicast => {
                if let Some(to) = to {
                    self.on_trip(trip(position(to), Errand::Message), Detour::default(), at);
                }
            }
            FlowKind::Broadcast => {
                let more = self.more.get_or_insert_default();
                more.sequence += 1;
                let flood = Flood {
                    origin: me,
                    sequence: more.sequence,
                    from: me,
                    started,
                    hops: 0,
                    flow,
                };
                self.pass_on(at, flood);
            }
        }
    }

    pub(super) fn on_trip(
        &mut self,
        mut trip: Trip,
        mut detour: Detour,
        at: &mut Context<'_, Self>,
    ) {
        let me = self.overlay.me();
        if matches!(
            trip.errand,
            Errand::Message | Errand::Found | Errand::FoundLongLink
        ) && trip.target == position(me)
        {
            return self.on_arrived(trip, at);
        }
        let Some(Hop { next, is_lost }) = self.next(&mut trip, &detour, at) else {
            return self.on_end_of_way(trip, at);
        };
        let shared = at.shared();
        let limit = shared
            .topology
            .hop_limit(|| self.overlay.estimate(shared.config.list_len));
        if trip.hops >= limit {
            return self.lose(trip, at);
        }
        if shared.measure_load && trip.hops > 0 {
            self.more.get_or_insert_default().load.forwarded += 1;
        }
        let onward = Trip {
            hops: trip.hops + 1,
            from: at.index(),
            ..trip
        };
        let class = match trip.errand {
            Errand::Message => Class::Message,
            _ => Class::Control,
        };
        let bytes = bytes_of(shared, trip.flow);
        let event = if is_lost {
            detour.add(Position(position(me)));
            Event::Astray(Box::new((onward, detour)))
        } else {
            Event::Trip(onward)
        };
        if !self.send(at, next, event, bytes, class, at.now()) {
            self.lose(trip, at);
        }
    }

    /// The neighbour that a trip goes on to; those found dead on the way are counted and
    /// avoided.
    pub(super) fn next(
        &mut self,
        trip: &mut Trip,
        detour: &Detour,
        at: &Context<'_, Self>,
    ) -> Option<Hop<Slot>> {
        let shared = at.shared();
        let from = (trip.hops > 0).then(|| shared.slot(trip.from));
        let choose = |overlay: &Overlay<Slot>| match trip.errand {
            Errand::Lookup | Errand::FindLongLink => {
                // A long link leads to somebody else.
                let asker = (trip.errand == Errand::FindLongLink).then(|| shared.slot(trip.origin));
                let target = Position(trip.target);
                let next = overlay.next_for_lookup(&shared.config, target, asker, from)?;
                let is_lost = false;
                Some(Hop { next, is_lost })
            }
            Errand::Message | Errand::Found | Errand::FoundLongLink => {
                let to = Slot::at(trip.target);
                overlay.next_hop(&shared.config, to, from, detour)
            }
        };
        let next = choose(&self.overlay);
        if !shared.probing || !next.is_some_and(|hop| shared.is_dead(hop.next.index())) {
            return next;
        }
        let mut tried = Vec::new();
        let mut next = next;
        while let Some(Hop { next: dead, .. }) = next.filter(|hop| shared.is_dead(hop.next.index()))
        {
            if tried.contains(&dead) {
                next = None;
                break;
            }
            tried.push(dead);
            self.overlay.on_suspect(dead, true);
            next = choose(&self.overlay);
        }
        for dead in &tried {
            self.overlay.on_suspect(*dead, false);
        }
        let count = u8::try_from(tried.len()).unwrap_or(u8::MAX);
        trip.timeouts = trip.timeouts.saturating_add(count);
        next
    }

    /// Nobody is nearer to the target than this member.
    pub(super) fn on_end_of_way(&mut self, trip: Trip, at: &mut Context<'_, Self>) {
        let (shared, me) = (at.shared(), at.index());
        let answer = |errand, started| Trip {
            target: position(shared.slot(trip.origin)),
            origin: me,
            from: me,
            started,
            hops: 0,
            errand,
            flow: trip.flow,
            timeouts: trip.timeouts,
        };
        match trip.errand {
            Errand::FindLongLink if trip.origin != me => {
                self.on_trip(
                    answer(Errand::FoundLongLink, trip.started),
                    Detour::default(),
                    at,
                );
            }
            Errand::FindLongLink | Errand::FoundLongLink => {}
            Errand::Lookup => {
                let flow = &shared.flows[usize::from(trip.flow)];
                if flow.checked && !self.answers_for(trip.target, shared) {
                    return self.lose(trip, at);
                }
                let tally = at.tally().flow(trip.flow);
                tally.hops.record(u64::from(trip.hops));
                tally.timeouts.record(u64::from(trip.timeouts));
                self.on_trip(answer(Errand::Found, trip.started), Detour::default(), at);
            }
            Errand::Found | Errand::Message => self.lose(trip, at),
        }
    }

    /// Whether this member is the right one to answer a lookup: the nearest one, or in Chord's
    /// way the last one before the target.
    pub(super) fn answers_for(&self, target: u64, shared: &Shared) -> bool {
        match shared.config.routing {
            Routing::BothWays => shared.responsible(target) == Some(self.overlay.me()),
            Routing::Clockwise => shared.last_before(target) == Some(self.overlay.me()),
        }
    }

    pub(super) fn on_arrived(&mut self, trip: Trip, at: &mut Context<'_, Self>) {
        let (now, interval) = (at.now(), at.shared().interval);
        match trip.errand {
            Errand::FoundLongLink => {
                let found = at.shared().slot(trip.origin);
                self.tell(at, |overlay, cx| overlay.on_found(cx, found, trip.started));
            }
            Errand::Found | Errand::Message => {
                let tally = at.tally().flow(trip.flow);
                tally.receive(trip.started, interval);
                tally.latency_us.record(micros_since(trip.started, now));
                if trip.errand == Errand::Message {
                    tally.hops.record(u64::from(trip.hops));
                    tally.timeouts.record(u64::from(trip.timeouts));
                }
                self.count_received(at);
            }
            Errand::FindLongLink | Errand::Lookup => {}
        }
    }

    pub(super) fn lose(&self, trip: Trip, at: &mut Context<'_, Self>) {
        if matches!(
            trip.errand,
            Errand::Lookup | Errand::Found | Errand::Message
        ) {
            at.tally().flow(trip.flow).lost += 1;
        }
    }

    pub(super) fn on_flood(&mut self, flood: Flood, at: &mut Context<'_, Self>) {
        let (shared, now, me) = (at.shared(), at.now(), at.index());
        let tally = at.tally().flow(flood.flow);
        let order = if flood.origin == me {
            Arrival::Repeat
        } else {
            self.note(flood)
        };
        match order {
            Arrival::Repeat => return,
            Arrival::Late => tally.out_of_order += 1,
            Arrival::InOrder => {}
        }
        tally.receive(flood.started, shared.interval);
        tally.hops.record(u64::from(flood.hops));
        tally.latency_us.record(micros_since(flood.started, now));
        self.count_received(at);
        if shared.topology.passes_on(me == shared.hub) {
            if shared.measure_load {
                self.more.get_or_insert_default().load.forwarded += 1;
            }
            self.pass_on(at, flood);
        }
    }

    /// Gives a broadcast to all neighbours, or one of another's to those it goes on to.
    pub(super) fn pass_on(&mut self, at: &mut Context<'_, Self>, flood: Flood) {
        let shared = at.shared();
        let onward = Flood {
            from: at.index(),
            hops: flood.hops + 1,
            ..flood
        };
        let bytes = bytes_of(shared, flood.flow);
        let (origin, from) = (shared.slot(flood.origin), shared.slot(flood.from));
        for index in 0..self.overlay.members().len() {
            let to = self.overlay.members()[index];
            let goes_on = flood.hops == 0
                || to != from && shared.topology.is_direct()
                || self.overlay.passes_on(shared.topology, origin, from, to);
            if goes_on && self.overlay.is_open(to) {
                let event = Event::Flood(onward);
                self.send(at, to, event, bytes, Class::Message, at.now());
            }
        }
    }

    /// Whether a broadcast has come before, and whether a later one has.
    fn note(&mut self, flood: Flood) -> Arrival {
        let more = self.more.get_or_insert_default();
        let origin = flood.origin as usize;
        if more.seen.len() <= origin {
            more.seen.resize(origin + 1, (0, 0));
        }
        let (greatest, before) = &mut more.seen[origin];
        if flood.sequence > *greatest {
            let by = flood.sequence - *greatest;
            // The bit of what was the greatest until now, too.
            *before = (*before << 1 | u64::from(*greatest > 0))
                .checked_shl(by - 1)
                .unwrap_or(0);
            *greatest = flood.sequence;
            return Arrival::InOrder;
        }
        let back = *greatest - flood.sequence;
        if back == 0 || back > 64 || *before & 1 << (back - 1) != 0 {
            return Arrival::Repeat;
        }
        *before |= 1 << (back - 1);
        Arrival::Late
    }

    pub(super) fn count_received(&mut self, at: &Context<'_, Self>) {
        if at.shared().measure_load {
            self.more.get_or_insert_default().load.messages_received += 1;
        }
    }
}

/// How a broadcast relates to those that came before.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Arrival {
    InOrder,
    Late,
    Repeat,
}

fn position(slot: Slot) -> u64 {
    circlet_core::ring::Member::position(slot).0
}
