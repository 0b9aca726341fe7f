//! The host of one member: brings what happens to its overlay, and what that wants done to the
//! network. It decides nothing about the protocol; of signalling, which overlays know nothing of,
//! it imitates what the nodes do: attempts that time out, and who gives way when both offer.
//!
//! Links are simply there once both sides have agreed; that a peer is dead is found out as late
//! as heartbeats and probes would; frames are never lost between living members, only late.

mod flows;
mod links;
mod network;

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::overlay::{Action, Context as Surroundings, Detour, Message, Neighbour, Overlay};

use crate::latency::micros;
use crate::random::{mix, scale};
use crate::scale::event::{Errand, Event, LinkNews, Order, Trip};
use crate::scale::kernel::{Actor, Context, prefetch};
use crate::scale::shared::{Shared, Tally};
use crate::scale::slot::Slot;

/// The end of time.
const NEVER: Timestamp = Timestamp::MAX;

/// A member and its host.
///
/// What every event needs comes first, see [`Actor::HOT_BYTES`].
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    /// The state of SplitMix64.
    random: u64,
    state: State,
    /// When it is going to be woken, if at all.
    wake: Timestamp,
    /// When the flow of all members has something to send next.
    due: Timestamp,
    overlay: Overlay<Slot>,
    /// What few of them need.
    more: Option<Box<More>>,
}

/// What has become of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It lives.
    Living,
    /// It vanished.
    Crashed,
    /// It left.
    Left,
}

#[derive(Debug, Default)]
struct More {
    attempts: Vec<Attempt>,
    next_attempt: u32,
    /// Broadcasts it has sent.
    sequence: u32,
    /// By origin: the greatest sequence that came, and which of the 64 before it.
    seen: Vec<(u32, u64)>,
    /// By neighbour: when the last broadcast given to it arrives. Messages keep their order.
    arrivals: BTreeMap<u32, Timestamp>,
    load: Load,
}

/// A link that is being set up.
#[derive(Clone, Copy, Debug)]
struct Attempt {
    peer: Slot,
    /// The opener's number for it.
    number: u32,
    /// Whether this member is the opener.
    own: bool,
}

/// What a member's links carried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Load {
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
    /// Messages of its own.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Messages passed on.
    pub forwarded: u64,
    /// Until when what was sent keeps the uplink busy.
    uplink_busy: Timestamp,
    /// The same of the downlink.
    downlink_busy: Timestamp,
}

impl Actor for Host {
    type Event = Event;
    type Shared = Shared;
    type Tally = Tally;

    /// The first six lines: random numbers, state, neighbours, timers, and where the table is.
    const HOT_BYTES: usize = 384;

    #[inline]
    fn on_event(&mut self, event: Event, at: &mut Context<'_, Self>) {
        if self.state != State::Living {
            self.on_event_of_the_dead(event, at);
            return;
        }
        if at.shared().measure_load {
            if let Some(event) = self.through_downlink(event, at) {
                self.on_arrival(event, at);
            }
        } else {
            self.on_arrival(event, at);
        }
    }

    /// Trips look at nothing but the neighbours, as a rule; the rest looks at the table first, and
    /// then at the beginning of a list. Whoever is woken asks the successor for what is new.
    fn prefetch(&self, event: &Event, step: u32) {
        let overlay = &self.overlay;
        let successor = || {
            let members = overlay.members();
            let after = members.partition_point(|member| *member <= overlay.me());
            overlay.neighbour_at(after % members.len().max(1))
        };
        match event {
            Event::Trip(_) => {}
            _ if step == 1 => {
                let table = &**overlay.table();
                prefetch(table, 0..size_of_val(table));
                if let (Event::Wake, Some(successor)) = (event, successor()) {
                    prefetch(successor, 0..1);
                }
            }
            Event::Notify { .. } => prefetch(overlay.predecessors(), 0..1),
            Event::Wake => {
                prefetch(overlay.successors(), 0..1);
                if let Some(table) = successor().and_then(Neighbour::table) {
                    prefetch(table, 0..size_of_val(table));
                }
            }
            _ => prefetch(overlay.successors(), 0..1),
        }
    }
}

/// What happens.
impl Host {
    #[inline]
    fn on_arrival(&mut self, event: Event, at: &mut Context<'_, Self>) {
        match event {
            Event::Wake if at.now() == self.wake => {
                self.wake = NEVER;
                self.on_wake(at);
            }
            // Another one, for an earlier time, has come since.
            Event::Wake => return,
            Event::Stabilize { from, version } => {
                self.on_message(at, from, Message::Stabilize { version });
            }
            Event::Current { from, version } => {
                self.on_message(at, from, Message::Current { version });
            }
            Event::Notify { from } => self.on_message(at, from, Message::Notify),
            Event::Table { from, table } => self.on_message(at, from, Message::Table(table)),
            Event::Said { from, message } => self.on_message(at, from, *message),
            // Changes nothing here, so no timer either.
            Event::Trip(trip) if !matches!(trip.errand, Errand::FoundLongLink) => {
                return self.on_trip(trip, Detour::default(), at);
            }
            Event::Trip(trip) => self.on_trip(trip, Detour::default(), at),
            Event::Astray(astray) => {
                let (trip, detour) = *astray;
                self.on_trip(trip, detour, at);
            }
            Event::Flood(flood) => return self.on_flood(flood, at),
            Event::Link {
                from,
                attempt,
                news,
            } => self.on_link(at, from, attempt, news),
            Event::Order(order) => self.on_order(*order, at),
            Event::Through(_) => {}
        }
        self.arm(at);
    }
}

/// Building.
impl Host {
    /// A member in the state of `overlay`.
    #[must_use]
    pub fn new(overlay: Overlay<Slot>, shared: &Shared, now: Timestamp) -> Self {
        let index = overlay.me().index();
        let mut host = Self {
            random: mix(shared.seed ^ mix(u64::from(index) | 1 << 40)),
            wake: NEVER,
            due: NEVER,
            state: State::Living,
            more: None,
            overlay,
        };
        host.due = host.first_due(shared, now);
        host
    }

    /// When the host wants to be woken first; the caller schedules it.
    pub fn first_wake(&mut self) -> Option<Timestamp> {
        let at = self.next_wake();
        self.wake = at;
        (at != NEVER).then_some(at)
    }

    /// The first message of the flow of all members: at a random time of its first gap, or in
    /// step with the rounds of stabilization if it is as regular as they are.
    fn first_due(&mut self, shared: &Shared, now: Timestamp) -> Timestamp {
        let Some((_, flow)) = shared.flow_of_all() else {
            return NEVER;
        };
        let in_step = flow.gap == shared.config.stabilize;
        match self.overlay.poll_timeout() {
            Some((at, _)) if in_step && at >= now => at,
            _ => now + Duration::from_micros(scale(self.word(), micros(flow.gap))),
        }
    }
}

/// Looking.
impl Host {
    /// Its overlay.
    #[must_use]
    pub const fn overlay(&self) -> &Overlay<Slot> {
        &self.overlay
    }

    /// What has become of it.
    #[must_use]
    pub const fn state(&self) -> State {
        self.state
    }

    /// What its links have carried by now, as far as that is measured; what still waits in the
    /// uplink is not in it.
    #[must_use]
    pub fn load(&self, shared: &Shared, now: Timestamp) -> Load {
        let mut load = self.more.as_ref().map(|more| more.load).unwrap_or_default();
        if let Some(bandwidth) = shared.uplink {
            let waits = micros(load.uplink_busy.since(now));
            load.sent = load
                .sent
                .saturating_sub(waits.saturating_mul(bandwidth) / 1_000_000);
        }
        load
    }
}

/// Driving the overlay.
impl Host {
    fn tell(
        &mut self,
        at: &mut Context<'_, Self>,
        what: impl FnOnce(&mut Overlay<Slot>, &mut Surroundings<'_, Slot>),
    ) {
        let shared = at.shared();
        let mut actions = mem::take(&mut at.tally().scratch);
        let mut cx = Surroundings {
            now: at.now(),
            config: &shared.config,
            topology: shared.topology,
            can_connect: true,
            out: &mut actions,
        };
        what(&mut self.overlay, &mut cx);
        for action in actions.drain(..) {
            self.perform(at, action);
        }
        at.tally().scratch = actions;
    }

    fn perform(&mut self, at: &mut Context<'_, Self>, action: Action<Slot>) {
        match action {
            Action::Send { to, message } => self.say(at, to, message),
            Action::Open { to, wish } => self.open(at, to, wish),
            Action::Close { to } => {
                self.tell(at, |overlay, cx| overlay.on_closed(cx, to));
                self.send_link(at, to, 0, LinkNews::Closed);
            }
            Action::LookUp { target, id } => {
                let me = at.index();
                let trip = Trip {
                    target: target.0,
                    origin: me,
                    from: me,
                    started: id,
                    hops: 0,
                    errand: Errand::FindLongLink,
                    flow: 0,
                    timeouts: 0,
                };
                self.on_trip(trip, Detour::default(), at);
            }
            Action::Joined | Action::Met { .. } => {}
            Action::Ask => {
                let shared = at.shared();
                if shared.tracker {
                    let contacts = shared.contacts(self.overlay.me());
                    self.join(at, &contacts);
                }
            }
        }
    }

    fn on_message(&mut self, at: &mut Context<'_, Self>, from: u32, message: Message<Slot>) {
        let from = at.shared().slot(from);
        // A frame that overtook the news that the link is up.
        if !self.overlay.is_open(from)
            && let Some(attempt) = self.take_attempt(from, None)
            && !attempt.own
        {
            self.opened(at, from);
        }
        self.tell(at, |overlay, cx| overlay.on_message(cx, from, message));
    }

    fn on_wake(&mut self, at: &mut Context<'_, Self>) {
        let now = at.now();
        if self
            .overlay
            .poll_timeout()
            .is_some_and(|(due, _)| due <= now)
        {
            self.tell(at, Overlay::handle_timeout);
        }
        if self.due <= now {
            self.on_flow_due(at);
        }
    }

    fn next_wake(&self) -> Timestamp {
        let overlay = self.overlay.poll_timeout().map_or(NEVER, |(at, _)| at);
        overlay.min(self.due)
    }

    fn arm(&mut self, at: &mut Context<'_, Self>) {
        let next = self.next_wake();
        if next < self.wake && self.state == State::Living {
            self.wake = next;
            let next = next.max(at.now());
            at.schedule(at.index(), next, Event::Wake);
        }
    }

    fn join(&mut self, at: &mut Context<'_, Self>, contacts: &[Slot]) {
        let now = at.now();
        let is_alone = at.shared().directory.len() <= 1;
        self.tell(at, |overlay, cx| {
            for contact in contacts {
                overlay.add_candidate(now, *contact);
            }
            overlay.start_joining(cx);
            if is_alone {
                overlay.found(cx);
            }
            overlay.refresh(cx);
        });
    }

    fn on_order(&mut self, order: Order, at: &mut Context<'_, Self>) {
        match order {
            Order::Join(contacts) => self.join(at, &contacts),
            Order::Crash { noticed } => self.crash(at, noticed),
            Order::Leave => self.leave(at),
            Order::LookAround => self.look_around(at),
            Order::Send { flow, to, word } => self.begin(at, flow, to, Some(word)),
        }
    }
}

fn bytes_of(shared: &Shared, flow: u8) -> usize {
    let flow = shared.flows.get(usize::from(flow));
    Shared::message_bytes(flow.map_or(0, |flow| flow.bytes))
}
