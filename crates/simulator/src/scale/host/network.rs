//! The network: what a frame takes from one member to another.

use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::overlay::Message;

use super::{Host, bytes_of};
use crate::random::mix;
use crate::scale::event::{Event, LinkNews};
use crate::scale::kernel::Context;
use crate::scale::shared::Shared;
use crate::scale::slot::Slot;

/// In which order a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// At once: control frames do not wait behind messages.
    Control,
    /// After what was sent before.
    Message,
}

impl Host {
    pub(super) fn say(&mut self, at: &mut Context<'_, Self>, to: Slot, message: Message<Slot>) {
        let from = at.index();
        let (event, members) = match message {
            Message::Stabilize { version } => (Event::Stabilize { from, version }, 0),
            Message::Current { version } => (Event::Current { from, version }, 0),
            Message::Notify => (Event::Notify { from }, 0),
            Message::Table(table) => {
                let members = table.successors.len() + table.predecessors.len() + table.links.len();
                (Event::Table { from, table }, members)
            }
            message => {
                let members = match &message {
                    Message::JoinReply(reply) => reply.successors.len() + reply.nearer.len(),
                    _ => 0,
                };
                let message = Box::new(message);
                (Event::Said { from, message }, members)
            }
        };
        let bytes = Shared::control_bytes(members);
        self.send(at, to, event, bytes, Class::Control, at.now());
    }

    pub(super) fn send_link(
        &mut self,
        at: &mut Context<'_, Self>,
        to: Slot,
        attempt: u32,
        news: LinkNews,
    ) {
        self.send_link_later(at, to, attempt, news, Duration::ZERO);
    }

    pub(super) fn send_link_later(
        &mut self,
        at: &mut Context<'_, Self>,
        to: Slot,
        attempt: u32,
        news: LinkNews,
        after: Duration,
    ) {
        let event = Event::Link {
            from: at.index(),
            attempt,
            news,
        };
        let bytes = Shared::control_bytes(2);
        self.send(at, to, event, bytes, Class::Control, at.now() + after);
    }

    /// Sends a frame at some time from now on; `false` if there is no room for it in the uplink.
    pub(super) fn send(
        &mut self,
        at: &mut Context<'_, Self>,
        to: Slot,
        event: Event,
        bytes: usize,
        class: Class,
        mut time: Timestamp,
    ) -> bool {
        let (shared, me) = (at.shared(), at.index());
        if shared.measure_load {
            let load = &mut self.more.get_or_insert_default().load;
            if let Some(bandwidth) = shared.uplink {
                let waits = load.uplink_busy.since(time);
                let most = occupancy(shared.config.link_queue, bandwidth);
                if class == Class::Message && waits > most {
                    return false;
                }
                let busy = load.uplink_busy.max(time) + occupancy(bytes, bandwidth);
                load.uplink_busy = busy;
                if class == Class::Message {
                    time = busy;
                }
            }
            load.sent += bytes as u64;
        }
        if shared.separates(me, to.index()) {
            return true;
        }
        let delay = shared.delay(me, to.index(), || self.word());
        time = Timestamp::from_micros(time.as_micros().saturating_add(delay));
        if matches!(event, Event::Flood(_)) {
            let arrivals = &mut self.more.get_or_insert_default().arrivals;
            let last = arrivals.entry(to.index()).or_default();
            time = time.max(*last + Duration::from_micros(1));
            *last = time;
        }
        at.schedule(to.index(), time, event);
        true
    }

    /// Counts what came, and lets it wait for what came before.
    pub(super) fn through_downlink(
        &mut self,
        event: Event,
        at: &mut Context<'_, Self>,
    ) -> Option<Event> {
        let shared = at.shared();
        let bytes = match event {
            Event::Through(event) => return Some(*event),
            Event::Trip(trip) if trip.hops > 0 => bytes_of(shared, trip.flow),
            Event::Astray(ref astray) => bytes_of(shared, astray.0.flow),
            Event::Flood(flood) => bytes_of(shared, flood.flow),
            Event::Stabilize { .. } | Event::Current { .. } | Event::Notify { .. } => {
                Shared::control_bytes(0)
            }
            Event::Table { ref table, .. } => Shared::control_bytes(
                table.successors.len() + table.predecessors.len() + table.links.len(),
            ),
            _ => return Some(event),
        };
        let load = &mut self.more.get_or_insert_default().load;
        load.received += bytes as u64;
        let Some(bandwidth) = shared.downlink else {
            return Some(event);
        };
        let busy = load.downlink_busy.max(at.now()) + occupancy(bytes, bandwidth);
        load.downlink_busy = busy;
        at.schedule(at.index(), busy, Event::Through(Box::new(event)));
        None
    }

    /// The next random word (SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
    #[inline]
    pub(super) fn word(&mut self) -> u64 {
        let word = mix(self.random);
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word
    }
}

fn occupancy(bytes: usize, bandwidth: u64) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / bandwidth.max(1))
}
