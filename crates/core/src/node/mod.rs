//! The Node state machine: a member of the overlay.
//!
//! One file for each mechanism: [`links`](self) and signalling, failure detection, maintenance
//! of the ring, long links, routing, delivery, broadcast, circulation, presence, trackers. They
//! share the state of one [`Node`], and speak to the outside only through its outputs.

mod batch;
mod broadcast;
mod catch_up;
mod circulate;
mod counters;
mod defence;
mod delivery;
mod failure;
mod hub;
mod io;
mod leaving;
mod links;
mod outgoing;
mod presence;
mod ring;
mod routing;
mod signalling;
mod timers;
mod trackers;

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng};

use crate::config::Config;
use crate::identity::{Identity, Incarnation, NodeId};
use crate::overlay::{Message as OverlayMessage, Overlay};
use crate::ring::{KnownPlaces, Place, Position};
use crate::room::RoomId;
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{Current, Frame, FrameBuf, Head, NodeKind, Stabilize, WireError};

pub use counters::Counters;
pub use io::*;
pub use timers::TimerKind;

use broadcast::Broadcasts;
use catch_up::Asking;
use circulate::Circulations;
use defence::Banned;
use delivery::Delivery;
use hub::Hub;
use links::Links;
use presence::Members;
use signalling::Signalling;
use timers::Timers;
use trackers::Trackers;

/// The largest number of a message: more than anybody sends, and what is added to it does not
/// overflow.
const MAX_SEQUENCE: u64 = u64::MAX >> 8;

/// Who a node is and where it wants to be.
#[derive(Clone, Debug)]
pub struct Membership {
    /// Its key.
    pub identity: Identity,
    /// Its session; see [`Incarnation::next`].
    pub incarnation: Incarnation,
    /// The name of the (open) room.
    pub room: String,
    /// Its own name, for people; at most [`MAX_NAME`](crate::wire::MAX_NAME) bytes.
    pub name: String,
    /// What it runs on.
    pub kind: NodeKind,
    /// The room's topology.
    pub topology: Topology,
    /// The hub that a star is to have, if one is named; see
    /// [`Config::may_be_hub`](crate::Config::may_be_hub) for how another one is chosen.
    pub hub: Option<NodeId>,
    /// How many trackers it knows of: [`TrackerId`] 0 and on.
    pub trackers: u16,
}

/// A member of the overlay.
///
/// See the [crate's documentation](crate) for how it is driven.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Identity,
    incarnation: Incarnation,
    room: RoomId,
    places: KnownPlaces,
    room_name: String,
    topology: Topology,
    hub: Hub,
    me: Place,
    /// Unix milliseconds and when they were told.
    wall_clock: Option<(u64, Timestamp)>,
    /// The present, as last told.
    now: Timestamp,
    /// It is to leave as soon as what it has sent is on its way.
    leaving: bool,
    ended: bool,
    outputs: VecDeque<Output>,
    timers: Timers,
    counters: Counters,
    links: Links,
    banned: Banned,
    signalling: Signalling,
    overlay: Overlay<Place>,
    delivery: Delivery,
    broadcasts: Broadcasts,
    asking: Asking,
    circulations: Circulations,
    members: Members,
    trackers: Trackers,
    /// The neighbours last told to the application.
    told: Neighbours,
    neighbours_changed: bool,
}

impl Node {
    /// A node that has not joined yet. `rng` seeds its own streams of random numbers, one for
    /// each concern.
    ///
    /// Its first outputs connect the trackers; without trackers it is a ring of one. `now` is
    /// the present.
    #[must_use]
    pub fn new<R: Rng + ?Sized>(
        config: Config,
        membership: Membership,
        rng: &mut R,
        now: Timestamp,
    ) -> Self {
        let mut stream = || Xoshiro256PlusPlus::from_rng(rng);
        let room = RoomId::open(&membership.room);
        let me = Place::of(&room, membership.identity.node_id());
        let mut node = Self {
            incarnation: membership.incarnation,
            room,
            places: KnownPlaces::new(room),
            room_name: membership.room,
            topology: membership.topology,
            hub: Hub::new(membership.hub.map(|hub| Place::of(&room, hub))),
            me,
            identity: membership.identity,
            wall_clock: None,
            now,
            leaving: false,
            ended: false,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            counters: Counters::default(),
            links: Links::default(),
            banned: Banned::default(),
            signalling: Signalling::new(stream()),
            overlay: Overlay::new(me, stream()),
            delivery: Delivery::default(),
            broadcasts: Broadcasts::default(),
            asking: Asking::default(),
            circulations: Circulations::default(),
            members: Members::new(membership.name, membership.kind),
            trackers: Trackers::new(membership.trackers, stream()),
            told: Neighbours::default(),
            neighbours_changed: false,
            config,
        };
        if membership.trackers == 0 {
            node.tell_overlay(now, Overlay::found);
        }
        node.connect_trackers(now);
        node.finish(now);
        node
    }

    /// Takes one input. Drain [`Node::poll_output`] afterwards.
    ///
    /// # Errors
    /// [`InputError`] if it was not taken; the state is as it was before, counters excepted.
    pub fn handle(&mut self, now: Timestamp, input: Input) -> Result<(), InputError> {
        if self.ended {
            return Err(InputError::Ended);
        }
        self.now = now;
        let result = match input {
            Input::Command(command) => self.on_command(now, command),
            Input::WallClock { unix_ms } => {
                self.wall_clock = Some((unix_ms, now));
                Ok(())
            }
            Input::Tracker { tracker, message } => self.on_tracker(now, tracker, message),
            Input::TrackerLost { tracker } => self.on_tracker_lost(now, tracker),
            Input::Signal(signal) => self.on_signal(now, signal),
            Input::LocalSignal { link, signal } => self.on_local_signal(now, link, signal),
            Input::LinkUp { link } => self.on_link_up(now, link),
            Input::LinkSuspect { link } => self.on_link_suspect(now, link),
            Input::LinkDown { link, reason } => self.on_link_down(now, link, reason),
            Input::LinkGarbled { link } => self.on_link_garbled(now, link),
            Input::LinkWritable { link, bytes } => self.on_link_writable(link, bytes),
            Input::Frame {
                link,
                channel,
                frame,
            } => self.on_frame(now, link, channel, frame),
        };
        self.finish(now);
        result
    }

    /// Does what is due. Spurious calls do nothing. Drain [`Node::poll_output`] afterwards.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = now;
        while let Some(kind) = self.next_due(now) {
            match kind {
                TimerKind::Heartbeat(link) => self.on_heartbeat(now, link),
                TimerKind::Attempt(link) => self.on_attempt_timeout(now, link),
                TimerKind::Stabilize | TimerKind::Tell | TimerKind::Links | TimerKind::Linger => {
                    self.tell_overlay(now, Overlay::handle_timeout);
                }
                TimerKind::Acknowledge => self.send_acks(),
                TimerKind::Retransmit => self.on_retransmit_timer(now),
                TimerKind::Broadcast => self.send_broadcasts(now),
                TimerKind::Gap => self.on_gap_timer(now),
                TimerKind::CatchUp => self.on_catch_up_timer(now),
                TimerKind::Circulate => self.on_circulate_timer(now),
                TimerKind::Presence => self.on_presence_timer(now),
                TimerKind::Leave => self.leave(),
                TimerKind::Tracker(tracker) => self.on_tracker_timer(now, tracker),
            }
        }
        self.finish(now);
    }

    /// When [`Node::handle_timeout`] wants to be called next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, TimerKind)> {
        let timers = self.timers.next().into_iter();
        timers.chain(self.overlay_timeout()).min()
    }

    /// The next thing to do; drain to `None` after [`Node::new`] and after every `handle*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What the node knows and holds.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let ids = |places: &[Place]| places.iter().map(|place| place.id).collect::<Vec<_>>();
        Snapshot {
            node: self.me.id,
            position: self.me.position,
            incarnation: self.incarnation,
            topology: self.topology,
            hub: self.hub.present(),
            member: self.overlay.is_member(),
            leaving: self.leaving,
            successors: ids(self.overlay.successors()),
            predecessors: ids(self.overlay.predecessors()),
            links: self.link_reports(),
            long_links: self.overlay.own_long().map(|place| place.id).collect(),
            accepted_long_links: self
                .overlay
                .neighbours()
                .filter(|(_, known)| known.is_accepted_long())
                .count(),
            members: self.members.list(),
            estimate: self.estimate(),
            held_bytes: self.broadcasts.held_bytes() + self.delivery.held_bytes(),
            queues: Queues {
                link_bytes: self.links.most_waiting_bytes(),
                broadcast_streams: self.broadcasts.streams(),
                ..self.delivery.queues()
            },
            counters: self.counters,
        }
    }

    /// The node's place on the ring.
    #[must_use]
    pub fn position(&self) -> Position {
        self.me.position
    }

    /// Takes the first timer that is due.
    fn next_due(&mut self, now: Timestamp) -> Option<TimerKind> {
        self.timers.pop(now).or_else(|| {
            let (_, kind) = self.overlay_timeout().filter(|(at, _)| *at <= now)?;
            Some(kind)
        })
    }

    fn on_command(&mut self, now: Timestamp, command: Command) -> Result<(), InputError> {
        if self.leaving && !matches!(command, Command::Acknowledge { .. } | Command::Leave) {
            return Err(InputError::Ended);
        }
        match command {
            Command::Datagram { id, to, payload } => self.send_datagram(id, to, payload),
            Command::Reliable {
                id,
                to,
                payload,
                deadline,
            } => self.send_reliable(now, id, to, payload, deadline),
            Command::Broadcast { id, payload } => self.broadcast(now, id, payload),
            Command::Circulate { id, payload } => self.circulate(now, id, payload),
            Command::Acknowledge { from, sequence } => self.acknowledge(from, sequence),
            Command::Leave => {
                self.begin_leaving(now);
                Ok(())
            }
        }
    }

    fn on_frame(
        &mut self,
        now: Timestamp,
        link: LinkId,
        channel: Channel,
        buffer: FrameBuf,
    ) -> Result<(), InputError> {
        self.on_heard(now, link)?;
        let frame = match buffer.decode_by(&mut self.places) {
            Ok(frame) => frame,
            Err(error) => return Err(self.on_bad_frame(now, link, &error)),
        };
        let Frame { head, payload } = frame;
        if !self.is_from_peer(link, &head) {
            self.counters.forged += 1;
            return Err(self.on_breach(now, link));
        }
        if !self.allows(now, link, &head) {
            return Err(InputError::Throttled);
        }
        match head {
            Head::Ping(ping) => self.on_ping(now, link, &ping),
            Head::Pong(pong) => self.on_pong(now, link, &pong),
            Head::Bye(bye) => self.on_bye(now, link, &bye),
            Head::Want(want) => self.on_overlay_message(now, link, OverlayMessage::Want(want)),
            Head::Join(join) => self.on_overlay_message(now, link, OverlayMessage::Join(join)),
            Head::JoinReply(reply) => {
                self.on_overlay_message(now, link, OverlayMessage::JoinReply(reply));
            }
            Head::Stabilize(Stabilize { version }) => {
                self.on_overlay_message(now, link, OverlayMessage::Stabilize { version });
            }
            Head::Table(table) => {
                let table = OverlayMessage::Table(Arc::new(table));
                self.on_overlay_message(now, link, table);
            }
            Head::Current(Current { version }) => {
                self.on_overlay_message(now, link, OverlayMessage::Current { version });
            }
            Head::Notify(_) => self.on_overlay_message(now, link, OverlayMessage::Notify),
            Head::Presence(presence) => return self.on_presence(now, link, presence),
            Head::PresenceRequest(_) => self.on_presence_request(now, link),
            Head::Gone(gone) => self.on_gone(now, link, &gone),
            Head::Routed(routed) => {
                return self.on_routed(now, link, channel, routed, payload, buffer);
            }
            Head::Lookup(lookup) => self.on_lookup(link, &lookup, buffer),
            Head::Broadcast(broadcast) => {
                return self.on_broadcast(now, link, broadcast, payload, buffer);
            }
            Head::BroadcastRequest(request) => self.on_broadcast_request(now, link, &request),
            Head::Circulate(circulate) => {
                return self.on_circulate(now, link, circulate, payload);
            }
            Head::CirculateAck(ack) => self.on_circulate_ack(link, &ack),
            Head::CatchUp(question) => self.on_catch_up(now, link, &question),
        }
        Ok(())
    }

    fn on_bad_frame(&mut self, now: Timestamp, link: LinkId, error: &WireError) -> InputError {
        self.counters.bad_frames += 1;
        // A kind of frame from a later version is no breach.
        if matches!(error, WireError::UnknownKind(_)) {
            self.spend(now, link, 1);
            return InputError::Protocol;
        }
        self.on_breach(now, link)
    }

    /// What every input may have changed: told to the application, the trackers, and (when
    /// their timer fires) the neighbours.
    fn finish(&mut self, now: Timestamp) {
        self.leave_if_done();
        if !core::mem::take(&mut self.neighbours_changed) || self.ended {
            return;
        }
        let neighbours = self.neighbours();
        let same_links = |a: &Neighbours, b: &Neighbours| {
            let states = |n: &Neighbours| {
                n.links
                    .iter()
                    .map(|l| (l.peer, l.state))
                    .collect::<Vec<_>>()
            };
            states(a) == states(b)
        };
        if neighbours.successor == self.told.successor
            && neighbours.predecessor == self.told.predecessor
            && neighbours.hub == self.told.hub
            && same_links(&neighbours, &self.told)
        {
            return;
        }
        self.told = neighbours.clone();
        self.event(Event::Neighbours(neighbours));
        self.report_soon(now);
    }

    fn neighbours(&self) -> Neighbours {
        Neighbours {
            successor: self.overlay.successors().first().map(|place| place.id),
            predecessor: self.overlay.predecessors().first().map(|place| place.id),
            hub: self.hub.present(),
            links: self.link_reports(),
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn place(&self, id: NodeId) -> Place {
        Place::of(&self.room, id)
    }

    /// Unix milliseconds, `None` before the first [`Input::WallClock`].
    fn unix_ms(&self, now: Timestamp) -> Option<u64> {
        self.wall_clock.map(|(unix_ms, at)| {
            let since = u64::try_from(now.since(at).as_millis()).unwrap_or(u64::MAX);
            unix_ms.saturating_add(since)
        })
    }
}
