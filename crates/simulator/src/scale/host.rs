//! The host of one member: brings what happens to its overlay, and what that wants done to the
//! network. It decides nothing about the protocol.
//!
//! Links are simply there once both sides have agreed; that a peer is dead is found out as late
//! as heartbeats and probes would; frames are never lost between living members, only late.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::overlay::{Action, Context as Surroundings, Message, Neighbour, Overlay};
use circlet_core::ring::Position;
use circlet_core::wire::Wish;

use super::event::{Errand, Event, Flood, LinkNews, Order, Trip, micros_since, ticks};
use super::kernel::{Actor, Context, prefetch};
use super::shared::{FlowKind, Shared, Tally};
use super::slot::Slot;
use crate::random::{mix, scale};

/// The end of time.
const NEVER: Timestamp = Timestamp::MAX;

/// Members that a newcomer is told of on each side.
const CONTACTS: usize = 2;

/// A member and its host.
///
/// What every event needs comes first, see [`Actor::HOT_BYTES`].
#[derive(Debug)]
#[repr(C)]
pub struct Host {
    /// The state of SplitMix64.
    random: u64,
    /// When it is going to be woken, if at all.
    wake: Timestamp,
    state: State,
    overlay: Overlay<Slot>,
    /// When each flow has something to send next, unless it is the scenario that says so.
    due: Box<[Timestamp]>,
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

/// In which order a frame leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// At once: control frames do not wait behind messages.
    Control,
    /// After what was sent before.
    Message,
}

impl Actor for Host {
    type Event = Event;
    type Shared = Shared;
    type Tally = Tally;

    /// Random numbers, timer, and of the overlay what routing looks at.
    const HOT_BYTES: usize = 128;

    fn on_event(&mut self, event: Event, at: &mut Context<'_, Self>) {
        if self.state != State::Living {
            self.on_event_of_the_dead(event, at);
            return;
        }
        let Some(event) = self.through_downlink(event, at) else {
            return;
        };
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
                return self.on_trip(trip, at);
            }
            Event::Trip(trip) => self.on_trip(trip, at),
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

    fn prefetch(&self) {
        for line in self.overlay.members().chunks(8).take(4) {
            prefetch(&line[0], size_of::<Slot>());
        }
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
            due: Box::default(),
            state: State::Living,
            more: None,
            overlay,
        };
        host.due = host.first_dues(shared, now);
        host
    }

    /// When the host wants to be woken first; the caller schedules it.
    pub fn first_wake(&mut self) -> Option<Timestamp> {
        let at = self.next_wake();
        self.wake = at;
        (at != NEVER).then_some(at)
    }

    fn first_dues(&mut self, shared: &Shared, now: Timestamp) -> Box<[Timestamp]> {
        if !shared.flows.iter().any(|flow| flow.by_all) {
            return Box::default();
        }
        (0..shared.flows.len())
            .map(|flow| self.first_due(shared, flow, now))
            .collect()
    }

    /// A flow's first message: at a random time of its first gap, or in step with the rounds of
    /// stabilization if it is as regular as they are.
    fn first_due(&mut self, shared: &Shared, flow: usize, now: Timestamp) -> Timestamp {
        let flow = &shared.flows[flow];
        if !flow.by_all {
            return NEVER;
        }
        let begin = flow.start.max(now);
        let in_step = !flow.poisson && flow.gap == shared.config.stabilize;
        match self.overlay.poll_timeout() {
            Some((at, _)) if in_step && at >= begin => at,
            _ => begin + Duration::from_micros(scale(self.word(), micros(flow.gap))),
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

    /// What its links carried, as far as that is measured.
    #[must_use]
    pub fn load(&self) -> Load {
        self.more.as_ref().map(|more| more.load).unwrap_or_default()
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
                self.on_trip(trip, at);
            }
            Action::Joined => at.tally().joined += 1,
            Action::Met { .. } => {}
            Action::Ask => {
                let shared = at.shared();
                if shared.tracker {
                    let contacts = shared.nearest(self.overlay.me(), CONTACTS);
                    self.join(at, &contacts);
                }
            }
        }
    }

    fn on_message(&mut self, at: &mut Context<'_, Self>, from: u32, message: Message<Slot>) {
        let from = at.shared().slot(from);
        // A frame that overtook the news that the link is up.
        if let Some(attempt) = self.take_attempt(from, None)
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
        for index in 0..self.due.len() {
            if self.due[index] <= now {
                self.on_flow_due(at, index);
            }
        }
    }

    fn next_wake(&self) -> Timestamp {
        let overlay = self.overlay.poll_timeout().map_or(NEVER, |(at, _)| at);
        self.due.iter().copied().fold(overlay, Timestamp::min)
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

/// Links.
impl Host {
    fn open(&mut self, at: &mut Context<'_, Self>, peer: Slot, wish: Wish) {
        let shared = at.shared();
        let (me, now) = (at.index(), at.now());
        let more = self.more.get_or_insert_default();
        more.next_attempt = more.next_attempt.wrapping_add(1);
        let number = more.next_attempt;
        more.attempts.push(Attempt {
            peer,
            number,
            own: true,
        });
        let can_never = shared.forbids(me, peer.index());
        if !can_never {
            // By way of somebody who knows both: the tracker, or the overlay.
            let detour = shared.delay(me, peer.index(), || self.word()) + shared.link_setup;
            let offer = LinkNews::Offer(wish);
            self.send_link_later(at, peer, number, offer, detour);
        }
        let patience = if can_never {
            shared.config.attempt_timeout
        } else {
            shared.config.answer_timeout + shared.link_setup
        };
        self.time_out(at, peer, number, now + patience);
    }

    fn on_link(&mut self, at: &mut Context<'_, Self>, from: u32, number: u32, news: LinkNews) {
        let peer = at.shared().slot(from);
        match news {
            LinkNews::Offer(wish) => self.on_offer(at, peer, number, wish),
            LinkNews::Answer => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    self.send_link(at, peer, number, LinkNews::Up);
                    self.opened(at, peer);
                }
            }
            LinkNews::Up => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    self.opened(at, peer);
                }
            }
            LinkNews::Refuse | LinkNews::TimedOut => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    at.tally().failed += 1;
                    self.tell(at, |overlay, cx| overlay.on_failed(cx, peer));
                }
            }
            LinkNews::Closed => {
                if self.overlay.neighbour(peer).is_some_and(Neighbour::is_open) {
                    self.tell(at, |overlay, cx| {
                        overlay.on_closed(cx, peer);
                        overlay.refresh(cx);
                    });
                }
            }
            // The cut was too short to be noticed.
            LinkNews::Silent if !at.shared().separates(at.index(), from) => {}
            LinkNews::Dead | LinkNews::Silent => {
                self.take_attempt(peer, None);
                if self.overlay.neighbour(peer).is_some() {
                    self.tell(at, |overlay, cx| overlay.on_dead(cx, peer, false));
                }
            }
            LinkNews::Left(lists) => {
                self.take_attempt(peer, None);
                if self.overlay.neighbour(peer).is_some() {
                    let (successors, predecessors) = *lists;
                    self.tell(at, |overlay, cx| {
                        overlay.on_left(cx, peer, &successors, &predecessors);
                    });
                }
            }
        }
    }

    fn on_offer(&mut self, at: &mut Context<'_, Self>, peer: Slot, number: u32, wish: Wish) {
        let me = self.overlay.me();
        self.overlay.on_alive(peer);
        if self.overlay.neighbour(peer).is_some() {
            let own = self.attempt_with(peer).is_some_and(|attempt| attempt.own);
            // Glare: the greater one drops its own attempt and answers.
            if own && me < peer {
                return;
            }
            self.take_attempt(peer, None);
            self.tell(at, |overlay, cx| overlay.on_closed(cx, peer));
        }
        let mut accepts = false;
        self.tell(at, |overlay, cx| accepts = overlay.accepts(cx, wish));
        if !accepts {
            self.send_link(at, peer, number, LinkNews::Refuse);
            return;
        }
        self.overlay.on_offered(peer, wish);
        self.more.get_or_insert_default().attempts.push(Attempt {
            peer,
            number,
            own: false,
        });
        self.send_link(at, peer, number, LinkNews::Answer);
        let end = at.now() + at.shared().config.attempt_timeout;
        self.time_out(at, peer, number, end);
    }

    fn opened(&mut self, at: &mut Context<'_, Self>, peer: Slot) {
        at.tally().opened += 1;
        self.tell(at, |overlay, cx| overlay.on_opened(cx, peer));
    }

    fn attempt_with(&self, peer: Slot) -> Option<&Attempt> {
        let attempts = &self.more.as_ref()?.attempts;
        attempts.iter().find(|attempt| attempt.peer == peer)
    }

    /// Ends the attempt with `peer`, if there is one, of this number if one is given.
    fn take_attempt(&mut self, peer: Slot, number: Option<u32>) -> Option<Attempt> {
        let attempts = &mut self.more.as_mut()?.attempts;
        let at = attempts.iter().position(|attempt| {
            attempt.peer == peer && number.is_none_or(|number| attempt.number == number)
        })?;
        Some(attempts.swap_remove(at))
    }

    fn time_out(&mut self, at: &mut Context<'_, Self>, peer: Slot, attempt: u32, end: Timestamp) {
        let event = Event::Link {
            from: peer.index(),
            attempt,
            news: LinkNews::TimedOut,
        };
        at.schedule(at.index(), end, event);
    }

    /// How long it takes to find somebody dead who has fallen silent: at most a heartbeat and the
    /// probes, less the time since it was heard last.
    fn detection(&mut self, shared: &Shared) -> Duration {
        let config = &shared.config;
        let most = config.heartbeat + config.probe_interval * (config.probes + 2);
        let heard = Duration::from_micros(scale(self.word(), micros(config.heartbeat)));
        most.saturating_sub(heard)
    }

    fn crash(&mut self, at: &mut Context<'_, Self>, noticed: bool) {
        let shared = at.shared();
        let peers: Vec<_> = if shared.maintained {
            self.overlay.members().to_vec()
        } else {
            Vec::new()
        };
        for peer in peers {
            let after = if noticed {
                Duration::ZERO
            } else {
                self.detection(shared)
            };
            self.send_link_later(at, peer, 0, LinkNews::Dead, after);
        }
        self.end(State::Crashed, shared);
    }

    fn leave(&mut self, at: &mut Context<'_, Self>) {
        let shared = at.shared();
        let table = self.overlay.table().clone();
        let peers: Vec<_> = self.overlay.members().to_vec();
        for peer in peers {
            let lists = (table.successors.clone(), table.predecessors.clone());
            self.send_link(at, peer, 0, LinkNews::Left(Box::new(lists)));
        }
        self.end(State::Left, shared);
    }

    /// Links across a cut fall silent.
    fn look_around(&mut self, at: &mut Context<'_, Self>) {
        let (shared, me) = (at.shared(), at.index());
        let cut: Vec<_> = self
            .overlay
            .members()
            .iter()
            .copied()
            .filter(|peer| shared.separates(me, peer.index()))
            .collect();
        for peer in cut {
            let time = at.now() + self.detection(shared);
            let event = Event::Link {
                from: peer.index(),
                attempt: 0,
                news: LinkNews::Silent,
            };
            at.schedule(me, time, event);
        }
    }

    fn end(&mut self, state: State, shared: &Shared) {
        self.state = state;
        self.wake = NEVER;
        self.due = Box::default();
        // The dead need no tables.
        let rng = super::ideal::random_of(shared.seed, self.overlay.me().index());
        self.overlay = Overlay::new(self.overlay.me(), rng);
    }

    fn on_event_of_the_dead(&mut self, event: Event, at: &mut Context<'_, Self>) {
        match event {
            Event::Trip(trip) => self.lose(trip, at),
            Event::Order(order) if matches!(*order, Order::Join(_)) => {
                self.state = State::Living;
                self.on_order(*order, at);
                let (shared, now) = (at.shared(), at.now());
                self.due = self.first_dues(shared, now);
                self.arm(at);
            }
            _ => {}
        }
    }
}

/// The network.
impl Host {
    fn say(&mut self, at: &mut Context<'_, Self>, to: Slot, message: Message<Slot>) {
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
        self.send(at, to, event, bytes, Class::Control, Duration::ZERO);
    }

    fn send_link(&mut self, at: &mut Context<'_, Self>, to: Slot, attempt: u32, news: LinkNews) {
        self.send_link_later(at, to, attempt, news, Duration::ZERO);
    }

    fn send_link_later(
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
        self.send(at, to, event, bytes, Class::Control, after);
    }

    /// Sends a frame, `after` so long; `false` if there is no room for it in the uplink.
    fn send(
        &mut self,
        at: &mut Context<'_, Self>,
        to: Slot,
        event: Event,
        bytes: usize,
        class: Class,
        after: Duration,
    ) -> bool {
        let (shared, me) = (at.shared(), at.index());
        let mut time = at.now() + after;
        if shared.measure_load {
            let load = &mut self.more.get_or_insert_default().load;
            if let Some(bandwidth) = shared.uplink {
                let waits = load.uplink_busy.since(time);
                let most = occupancy(shared.config.link_queue, bandwidth);
                if class == Class::Message && waits > most {
                    at.tally().overflowed += 1;
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
        time = time + shared.delay(me, to.index(), || self.word());
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
    fn through_downlink(&mut self, event: Event, at: &mut Context<'_, Self>) -> Option<Event> {
        let shared = at.shared();
        if !shared.measure_load {
            return Some(event);
        }
        let bytes = match event {
            Event::Through(event) => return Some(*event),
            Event::Trip(trip) if trip.hops > 0 => bytes_of(shared, trip.flow),
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
    fn word(&mut self) -> u64 {
        let word = mix(self.random);
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        word
    }
}

/// What the scenario's flows send.
impl Host {
    fn on_flow_due(&mut self, at: &mut Context<'_, Self>, index: usize) {
        let (shared, now) = (at.shared(), at.now());
        let flow = &shared.flows[index];
        let gap = if flow.poisson {
            let share = (self.word() >> 11) as f64 / (1u64 << 53) as f64;
            let factor = -libm::log(1.0 - share);
            Duration::from_micros((micros(flow.gap) as f64 * factor) as u64)
        } else {
            flow.gap
        };
        let next = now + gap.max(Duration::from_micros(1));
        self.due[index] = if next < flow.end { next } else { NEVER };
        if now >= flow.start && now < flow.end {
            self.begin(at, index as u8, None, None);
        }
    }

    fn begin(&mut self, at: &mut Context<'_, Self>, flow: u8, to: Option<Slot>, word: Option<u64>) {
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
                self.on_trip(trip(target, Errand::Lookup), at);
            }
            FlowKind::Unicast => {
                let to = to.or_else(|| self.anybody(shared));
                if let Some(to) = to {
                    self.on_trip(trip(position(to), Errand::Message), at);
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

    /// Another living member at random.
    fn anybody(&mut self, shared: &Shared) -> Option<Slot> {
        let others = shared.directory.len().checked_sub(1).filter(|n| *n > 0)?;
        let chosen = shared.directory[scale(self.word(), others as u64) as usize];
        let last = shared.directory.last().copied();
        // The last one stands in for this member itself.
        if chosen == self.overlay.me() {
            last
        } else {
            Some(chosen)
        }
    }

    fn on_trip(&mut self, mut trip: Trip, at: &mut Context<'_, Self>) {
        let me = self.overlay.me();
        if matches!(
            trip.errand,
            Errand::Message | Errand::Found | Errand::FoundLongLink
        ) && trip.target == position(me)
        {
            return self.on_arrived(trip, at);
        }
        let Some(next) = self.next(&mut trip, at) else {
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
        if !self.send(at, next, Event::Trip(onward), bytes, class, Duration::ZERO) {
            self.lose(trip, at);
        }
    }

    /// The neighbour that a trip goes on to; those found dead on the way are counted and
    /// avoided.
    fn next(&mut self, trip: &mut Trip, at: &Context<'_, Self>) -> Option<Slot> {
        let shared = at.shared();
        let from = (trip.hops > 0).then(|| shared.slot(trip.from));
        let choose = |overlay: &Overlay<Slot>| match trip.errand {
            Errand::Lookup | Errand::FindLongLink => {
                // A long link leads to somebody else.
                let asker = (trip.errand == Errand::FindLongLink).then(|| shared.slot(trip.origin));
                let target = Position(trip.target);
                overlay.next_for_lookup(&shared.config, target, asker, from)
            }
            Errand::Message | Errand::Found | Errand::FoundLongLink => {
                let to = Slot::at(trip.target);
                overlay.next_hop(&shared.config, to, from)
            }
        };
        let next = choose(&self.overlay);
        if !shared.probing || !next.is_some_and(|next| shared.is_dead(next.index())) {
            return next;
        }
        let mut tried = Vec::new();
        let mut next = next;
        while let Some(dead) = next.filter(|next| shared.is_dead(next.index())) {
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
    fn on_end_of_way(&mut self, trip: Trip, at: &mut Context<'_, Self>) {
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
                self.on_trip(answer(Errand::FoundLongLink, trip.started), at);
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
                self.on_trip(answer(Errand::Found, trip.started), at);
            }
            Errand::Found | Errand::Message => self.lose(trip, at),
        }
    }

    /// Whether this member is the right one to answer a lookup: the nearest one, or in Chord's
    /// way the last one before the target.
    fn answers_for(&self, target: u64, shared: &Shared) -> bool {
        match shared.config.routing {
            circlet_core::Routing::BothWays => {
                shared.responsible(target) == Some(self.overlay.me())
            }
            circlet_core::Routing::Clockwise => {
                shared.last_before(target) == Some(self.overlay.me())
            }
        }
    }

    fn on_arrived(&mut self, trip: Trip, at: &mut Context<'_, Self>) {
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

    fn lose(&self, trip: Trip, at: &mut Context<'_, Self>) {
        if matches!(
            trip.errand,
            Errand::Lookup | Errand::Found | Errand::Message
        ) {
            at.tally().flow(trip.flow).lost += 1;
        }
    }

    fn on_flood(&mut self, flood: Flood, at: &mut Context<'_, Self>) {
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

    /// Gives a broadcast to all neighbours but the one it came from.
    fn pass_on(&mut self, at: &mut Context<'_, Self>, flood: Flood) {
        let shared = at.shared();
        let onward = Flood {
            from: at.index(),
            hops: flood.hops + 1,
            ..flood
        };
        let bytes = bytes_of(shared, flood.flow);
        for index in 0..self.overlay.members().len() {
            let to = self.overlay.members()[index];
            let is_open = self.overlay.neighbour(to).is_some_and(Neighbour::is_open);
            if is_open && (flood.hops == 0 || to.index() != flood.from) {
                let event = Event::Flood(onward);
                self.send(at, to, event, bytes, Class::Message, Duration::ZERO);
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

    fn count_received(&mut self, at: &Context<'_, Self>) {
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

fn bytes_of(shared: &Shared, flow: u8) -> usize {
    let flow = shared.flows.get(usize::from(flow));
    Shared::message_bytes(flow.map_or(0, |flow| flow.bytes))
}

fn occupancy(bytes: usize, bandwidth: u64) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / bandwidth.max(1))
}

fn position(slot: Slot) -> u64 {
    circlet_core::ring::Member::position(slot).0
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
