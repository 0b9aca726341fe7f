//! Broadcast: flooding with de-duplication, in order per sender, gaps fetched.
//!
//! Everybody passes a broadcast on once, to those who would not have it otherwise (see
//! [`Overlay::passes_on`](crate::overlay::Overlay::passes_on)). Links are ordered, so what arrives
//! first arrives in order, except after a link was lost or is new: then later ones wait for the
//! missing, which a neighbour is asked for.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::batch::{self, Batch};
use super::{
    Channel, Class, CommandId, Event, InputError, LinkId, MAX_SEQUENCE, Message, Node, TimerKind,
};
use crate::identity::{Incarnation, NodeId, Purpose};
use crate::time::Timestamp;
use crate::wire::{Broadcast, BroadcastRequest, Frame, FrameBuf, Head, Heard, Hops, WireError};

/// How long whoever hears of a sender for the first time waits for what was overtaken: longer
/// than a broadcast takes over the slowest of its ways, or than it takes to ask for it.
const BEGINNING_WAIT: Duration = Duration::from_millis(500);

/// Gaps that are asked for at a time; there are more only if somebody makes them.
const MAX_REQUESTS: usize = 64;

/// Broadcasts from one sender, as far as they have come.
#[derive(Debug)]
struct Stream {
    incarnation: Incarnation,
    /// The next one to be given to the application.
    next: u64,
    /// Frames that are to be given to it, by the number of their first message.
    early: BTreeMap<u64, Early>,
    /// Heard for the first time in the middle of the stream: until when earlier ones are waited
    /// for that were overtaken. Whoever has come late has missed them, and begins here.
    beginning: Option<Timestamp>,
    /// Since when something has been missing.
    gap_since: Option<Timestamp>,
    /// The last ones, to fill others' gaps.
    recent: VecDeque<Recent>,
    /// Bytes that are held, early or recent.
    bytes: usize,
    heard: Timestamp,
}

/// A frame whose messages wait for those before them.
#[derive(Debug)]
struct Early {
    count: u16,
    payload: Bytes,
    hops: u16,
}

/// A frame that others may ask for.
#[derive(Debug)]
struct Recent {
    first: u64,
    last: u64,
    came: Timestamp,
    frame: FrameBuf,
}

impl Stream {
    /// A stream of which `first` is the first one heard.
    fn new(now: Timestamp, incarnation: Incarnation, first: u64) -> Self {
        Self {
            incarnation,
            next: 1,
            early: BTreeMap::new(),
            beginning: (first > 1).then(|| now + BEGINNING_WAIT),
            gap_since: None,
            recent: VecDeque::new(),
            bytes: 0,
            heard: now,
        }
    }

    fn keep(&mut self, recent: Recent, most: usize) {
        if self.recent.len() >= most {
            self.forget_oldest();
        }
        self.bytes += recent.frame.size();
        self.heard = recent.came;
        self.recent.push_back(recent);
    }

    fn hold(&mut self, sequence: u64, early: Early) {
        self.bytes += early.payload.len();
        self.early.insert(sequence, early);
    }

    /// Forgets the oldest frame that it has for others; `false` if there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some(oldest) = self.recent.pop_front() else {
            return false;
        };
        self.bytes -= oldest.frame.size();
        true
    }

    /// Takes what is no longer early, with the number of each frame's first message.
    fn ready(&mut self) -> Vec<(u64, Early)> {
        let mut ready = Vec::new();
        while let Some(first) = self.early.first_entry()
            && *first.key() <= self.next
        {
            let (sequence, early) = first.remove_entry();
            self.bytes -= early.payload.len();
            // One that begins earlier overlaps with another: its sender contradicts itself.
            if sequence == self.next {
                self.next += u64::from(early.count);
                ready.push((sequence, early));
            }
        }
        ready
    }
}

#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    /// The number of the last own message.
    sequence: u64,
    /// Own messages that have not been sent yet.
    batch: Batch,
    streams: BTreeMap<NodeId, Stream>,
    /// Bytes that all of them hold.
    held: usize,
}

impl Broadcasts {
    /// Bytes that are held, early or for others.
    pub(super) fn held_bytes(&self) -> usize {
        self.held
    }

    /// Whose broadcasts are known, this node's own included.
    pub(super) fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Does something with a stream; what it holds then is accounted for.
    fn with<R>(&mut self, origin: NodeId, what: impl FnOnce(&mut Stream) -> R) -> Option<R> {
        let stream = self.streams.get_mut(&origin)?;
        let before = stream.bytes;
        let result = what(stream);
        self.held = self.held + stream.bytes - before;
        Some(result)
    }

    /// The stream of a sender's session, made if there is none; a later session begins a new one.
    /// Says whether it is new, and earlier ones are waited for.
    fn open(
        &mut self,
        now: Timestamp,
        origin: NodeId,
        incarnation: Incarnation,
        first: u64,
    ) -> bool {
        let is_later = |stream: &Stream| stream.incarnation < incarnation;
        let is_new = self.streams.get(&origin).is_none_or(is_later);
        if is_new {
            self.remove(origin);
            let stream = Stream::new(now, incarnation, first);
            self.streams.insert(origin, stream);
        }
        is_new && first > 1
    }

    fn remove(&mut self, origin: NodeId) {
        if let Some(stream) = self.streams.remove(&origin) {
            self.held -= stream.bytes;
        }
    }

    /// Forgets what others might ask for, of those first that have been silent for longest, until
    /// no more than `most` bytes are held, if that is enough.
    fn make_room(&mut self, most: usize) {
        while self.held > most {
            let has_recent = |(_, stream): &(&NodeId, &Stream)| !stream.recent.is_empty();
            let streams = self.streams.iter().filter(has_recent);
            let Some((&origin, _)) = streams.min_by_key(|(_, stream)| stream.heard) else {
                return;
            };
            let excess = self.held - most;
            self.with(origin, |stream| {
                let enough = stream.bytes.saturating_sub(excess);
                while stream.bytes > enough && stream.forget_oldest() {}
            });
        }
    }
}

impl Broadcasts {
    /// How far the broadcasts of those have come who were heard `within` a time, the last first.
    pub(super) fn heard_since(&self, now: Timestamp, within: Duration) -> Vec<Heard> {
        let mut streams: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| now.since(stream.heard) <= within)
            .collect();
        streams.sort_by_key(|(_, stream)| core::cmp::Reverse(stream.heard));
        let heard = streams.into_iter().map(|(origin, stream)| Heard {
            origin: *origin,
            incarnation: stream.incarnation,
            next: stream.next,
        });
        heard.collect()
    }
}

impl Node {
    pub(super) fn broadcast(
        &mut self,
        now: Timestamp,
        id: CommandId,
        payload: Bytes,
    ) -> Result<(), InputError> {
        Self::check_payload(&payload)?;
        if !self.overlay.is_member() {
            return Err(InputError::NotJoined);
        }
        // The rest of the queues is for what is passed on.
        let most = self.config.link_queue / 4;
        if self.links.open().any(|link| link.is_behind(most)) {
            return Err(InputError::Full);
        }
        if self.broadcasts.batch.is_full_for(&payload) {
            self.send_broadcasts(now);
        }
        let delay = self.config.broadcast_delay;
        let due = self.broadcasts.batch.push(payload, now, delay);
        self.event(Event::Sent { id });
        if due <= now {
            self.send_broadcasts(now);
        } else {
            self.timers.set_by(TimerKind::Broadcast, due);
        }
        Ok(())
    }

    /// Sends the own broadcasts that wait for others to go with.
    pub(super) fn send_broadcasts(&mut self, now: Timestamp) {
        self.timers.cancel(TimerKind::Broadcast);
        let Some((count, payload)) = self.broadcasts.batch.take(now) else {
            return;
        };
        let first = self.broadcasts.sequence + 1;
        self.broadcasts.sequence += u64::from(count);
        let mut head = Broadcast {
            hops: Hops::new(0),
            origin: self.me,
            incarnation: self.incarnation,
            sequence: first,
            count,
            signature: crate::identity::Signature::from_bytes([0; 64]),
        };
        let signed = head.signed_bytes(&self.room, &payload);
        head.signature = self.identity.sign(Purpose::Broadcast, &signed);
        let frame = Frame {
            head: Head::Broadcast(head),
            payload,
        };
        let frame = self.prepare(frame.into());
        self.flood(Channel::Messages, &frame, None);
        let recent = Recent {
            first,
            last: self.broadcasts.sequence,
            came: now,
            frame,
        };
        let (me, most) = (self.me.id, self.config.broadcast_cache);
        self.broadcasts.open(now, me, self.incarnation, 1);
        self.broadcasts.with(me, |stream| stream.keep(recent, most));
        self.broadcasts.make_room(self.config.held_bytes);
    }

    /// Encodes a frame once that goes over several links.
    pub(super) fn prepare(&self, frame: FrameBuf) -> FrameBuf {
        if self.config.encode_frames {
            frame.encoded()
        } else {
            frame
        }
    }

    /// Gives a frame to all open links but one; says to how many.
    pub(super) fn flood(
        &mut self,
        channel: Channel,
        frame: &FrameBuf,
        except: Option<LinkId>,
    ) -> usize {
        let links: Vec<_> = self
            .links
            .open()
            .map(|link| link.id)
            .filter(|id| Some(*id) != except)
            .collect();
        self.send_to_all(&links, channel, frame)
    }

    fn send_to_all(&mut self, links: &[LinkId], channel: Channel, frame: &FrameBuf) -> usize {
        let taken = links
            .iter()
            .filter(|id| self.send_buffer(**id, channel, frame.clone()));
        taken.count()
    }

    pub(super) fn on_broadcast(
        &mut self,
        now: Timestamp,
        from_link: LinkId,
        broadcast: Broadcast,
        payload: Bytes,
        buffer: FrameBuf,
    ) -> Result<(), InputError> {
        let (origin, sequence) = (broadcast.origin.id, broadcast.sequence);
        let count = broadcast.count;
        let is_mine = origin == self.me.id;
        let last_own = (self.incarnation, self.broadcasts.sequence);
        let is_new = if is_mine {
            (broadcast.incarnation, sequence) > last_own
        } else {
            self.is_new_broadcast(&broadcast)
        };
        if sequence > MAX_SEQUENCE || !is_new {
            self.counters.repeats += 1;
            return Ok(());
        }
        if batch::messages(count, payload.clone()).is_none() {
            return Err(self.on_bad_frame(now, from_link, &WireError::Malformed));
        }
        let signed = broadcast.signed_bytes(&self.room, &payload);
        if !origin.verify(Purpose::Broadcast, &signed, &broadcast.signature) {
            return Err(self.on_bad_signature(now, from_link));
        }
        if is_mine {
            // Of a later session, whose presence record is about to come too.
            return Ok(());
        }
        if !self.has_room_for(origin, sequence, payload.len()) {
            self.counters.dropped += 1;
            return Ok(());
        }
        let hops = broadcast.hops.get().saturating_add(1);
        let frame = self.prepare(buffer.with_hops(hops));
        let ways = self.ways_on(broadcast.origin, from_link);
        if self.send_to_all(&ways, Channel::Messages, &frame) > 0 {
            self.counters.forwarded += 1;
        }
        self.make_room_for_stream(origin);
        let most = self.config.broadcast_cache;
        let broadcasts = &mut self.broadcasts;
        let begins_late = broadcasts.open(now, origin, broadcast.incarnation, sequence);
        broadcasts.with(origin, |stream| {
            let recent = Recent {
                first: sequence,
                last: sequence + u64::from(count) - 1,
                came: now,
                frame,
            };
            stream.keep(recent, most);
            let early = Early {
                count,
                payload,
                hops,
            };
            stream.hold(sequence, early);
        });
        broadcasts.make_room(self.config.held_bytes);
        if begins_late {
            self.ask_about_new_sender(now);
        }
        self.deliver_broadcasts(now, origin);
        Ok(())
    }

    /// What comes in order is given on at once; what is early has to be held.
    fn has_room_for(&mut self, origin: NodeId, sequence: u64, bytes: usize) -> bool {
        let stream = self.broadcasts.streams.get(&origin);
        if stream.map_or(sequence == 1, |stream| sequence <= stream.next) {
            return true;
        }
        let most = self.config.held_bytes;
        self.broadcasts.make_room(most.saturating_sub(bytes));
        self.broadcasts.held + bytes <= most
    }

    fn is_new_broadcast(&self, broadcast: &Broadcast) -> bool {
        self.broadcasts
            .streams
            .get(&broadcast.origin.id)
            .is_none_or(|stream| {
                let same = broadcast.incarnation == stream.incarnation;
                let missing = broadcast.sequence >= stream.next
                    && !stream.early.contains_key(&broadcast.sequence)
                    && stream.early.len() < self.config.broadcast_cache;
                (same && missing) || broadcast.incarnation > stream.incarnation
            })
    }

    fn make_room_for_stream(&mut self, origin: NodeId) {
        let streams = &self.broadcasts.streams;
        if streams.len() >= self.config.streams && !streams.contains_key(&origin) {
            let oldest = streams.iter().min_by_key(|(_, stream)| stream.heard);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                self.broadcasts.remove(oldest);
            }
        }
    }

    fn deliver_broadcasts(&mut self, now: Timestamp, origin: NodeId) {
        let Some(ready) = self.broadcasts.with(origin, Stream::ready) else {
            return;
        };
        let Some(stream) = self.broadcasts.streams.get_mut(&origin) else {
            return;
        };
        let incarnation = stream.incarnation;
        if !ready.is_empty() {
            stream.beginning = None;
        }
        if let Some(at) = stream.beginning {
            self.timers.set_by(TimerKind::Gap, at);
        } else if stream.early.is_empty() {
            stream.gap_since = None;
        } else {
            if stream.gap_since.is_none() || !ready.is_empty() {
                stream.gap_since = Some(now);
            }
            self.timers
                .set_by(TimerKind::Gap, now + self.config.gap_timeout);
        }
        for (first, early) in ready {
            // It has been looked at when it came.
            let messages = batch::messages(early.count, early.payload).unwrap_or_default();
            for (sequence, payload) in (first..).zip(messages) {
                self.counters.received += 1;
                self.event(Event::Message(Message {
                    from: origin,
                    incarnation,
                    class: Class::Broadcast,
                    sequence,
                    hops: early.hops,
                    payload,
                }));
            }
        }
    }

    /// Asks for what is missing, and gives up what has been missing for too long.
    pub(super) fn on_gap_timer(&mut self, now: Timestamp) {
        let give_up = self.config.gap_give_up;
        let mut requests = Vec::new();
        let mut given_up = Vec::new();
        for (origin, stream) in &mut self.broadcasts.streams {
            if let (Some(at), Some(first)) = (stream.beginning, stream.early.keys().next()) {
                if at <= now {
                    stream.beginning = None;
                    stream.next = *first;
                    given_up.push(*origin);
                }
                continue;
            }
            let (Some(since), Some(first)) = (stream.gap_since, stream.early.keys().next()) else {
                continue;
            };
            if now.since(since) >= give_up {
                stream.next = *first;
                given_up.push(*origin);
            } else if requests.len() < MAX_REQUESTS {
                requests.push(BroadcastRequest {
                    origin: *origin,
                    incarnation: stream.incarnation,
                    first: stream.next,
                    last: first - 1,
                });
            }
        }
        for origin in given_up {
            self.deliver_broadcasts(now, origin);
        }
        let beginnings = self.broadcasts.streams.values().filter_map(|s| s.beginning);
        if let Some(at) = beginnings.min() {
            self.timers.set_by(TimerKind::Gap, at);
        }
        if requests.is_empty() {
            return;
        }
        let open = self.member_links();
        for request in requests {
            for id in &open {
                self.send(*id, Channel::Control, request.clone());
            }
        }
        self.timers
            .set_by(TimerKind::Gap, now + self.config.gap_timeout);
    }

    pub(super) fn on_broadcast_request(
        &mut self,
        now: Timestamp,
        id: LinkId,
        request: &BroadcastRequest,
    ) {
        let Some(stream) = self
            .broadcasts
            .streams
            .get(&request.origin)
            .filter(|stream| stream.incarnation == request.incarnation)
        else {
            return;
        };
        let frames: Vec<_> = stream
            .recent
            .iter()
            .filter(|recent| recent.first <= request.last && recent.last >= request.first)
            .map(|recent| recent.frame.clone())
            .collect();
        if !self.spend(now, id, frames.len()) {
            return;
        }
        for frame in frames {
            self.send_buffer(id, Channel::Messages, frame);
        }
    }

    /// The broadcasts of others than `receiver` that have come `within` a time, apart from those it
    /// has heard.
    pub(super) fn broadcasts_since(
        &self,
        now: Timestamp,
        within: Duration,
        receiver: NodeId,
        heard: &[Heard],
    ) -> Vec<FrameBuf> {
        let mut frames = Vec::new();
        for (origin, stream) in &self.broadcasts.streams {
            let has = heard.iter().find(|heard| heard.origin == *origin);
            let has_later = has.is_some_and(|has| has.incarnation > stream.incarnation);
            if *origin == receiver || has_later {
                continue;
            }
            let first = has
                .filter(|has| has.incarnation == stream.incarnation)
                .map_or(1, |has| has.next);
            let late = stream
                .recent
                .iter()
                .filter(|recent| recent.last >= first && now.since(recent.came) <= within);
            frames.extend(late.map(|recent| recent.frame.clone()));
        }
        frames
    }
}
