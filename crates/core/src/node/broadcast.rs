//! Broadcast: flooding with de-duplication, in order per sender, gaps fetched.
//!
//! Everybody passes a broadcast on once, over all links but the one it came from. Links are
//! ordered, so what arrives first arrives in order, except after a link was lost or is new: then
//! later ones wait for the missing, which a neighbour is asked for.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use super::{
    Channel, Class, CommandId, Event, InputError, LinkId, MAX_SEQUENCE, Message, Node, TimerKind,
};
use crate::identity::{Incarnation, NodeId, Purpose};
use crate::time::Timestamp;
use crate::wire::{Broadcast, BroadcastRequest, Frame, FrameBuf, Head, Hops};

/// How long whoever hears of a sender for the first time waits for what was overtaken: longer
/// than a broadcast takes over the slowest of its ways.
const BEGINNING_WAIT: Duration = Duration::from_millis(500);

/// Broadcasts from one sender, as far as they have come.
#[derive(Debug)]
struct Stream {
    incarnation: Incarnation,
    /// The next one to be given to the application.
    next: u64,
    early: BTreeMap<u64, (Bytes, u16)>,
    /// Heard for the first time in the middle of the stream: until when earlier ones are waited
    /// for that were overtaken. Whoever has come late has missed them, and begins here.
    beginning: Option<Timestamp>,
    /// Since when something has been missing.
    gap_since: Option<Timestamp>,
    /// The last ones, to fill others' gaps.
    recent: VecDeque<(u64, FrameBuf)>,
    heard: Timestamp,
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
            heard: now,
        }
    }

    fn keep(&mut self, sequence: u64, frame: FrameBuf, most: usize) {
        if self.recent.len() >= most {
            self.recent.pop_front();
        }
        self.recent.push_back((sequence, frame));
    }

    /// Takes what is no longer early.
    fn ready(&mut self) -> Vec<(u64, (Bytes, u16))> {
        let mut ready = Vec::new();
        while let Some(message) = self.early.remove(&self.next) {
            ready.push((self.next, message));
            self.next += 1;
        }
        ready
    }
}

#[derive(Debug, Default)]
pub(super) struct Broadcasts {
    sequence: u64,
    streams: BTreeMap<NodeId, Stream>,
}

impl Node {
    pub(super) fn broadcast(&mut self, id: CommandId, payload: Bytes) -> Result<(), InputError> {
        Self::check_payload(&payload)?;
        if !self.overlay.is_member() {
            return Err(InputError::NotJoined);
        }
        self.broadcasts.sequence += 1;
        let mut head = Broadcast {
            hops: Hops::new(0),
            origin: self.me,
            incarnation: self.incarnation,
            sequence: self.broadcasts.sequence,
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
        let (me, incarnation, sequence) = (self.me.id, self.incarnation, self.broadcasts.sequence);
        let most = self.config.broadcast_cache;
        self.broadcasts
            .streams
            .entry(me)
            .or_insert_with(|| Stream::new(Timestamp::ZERO, incarnation, 1))
            .keep(sequence, frame, most);
        self.event(Event::Sent { id });
        Ok(())
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
        links
            .into_iter()
            .filter(|id| self.send_buffer(*id, channel, frame.clone()))
            .count()
    }

    pub(super) fn on_broadcast(
        &mut self,
        now: Timestamp,
        from_link: LinkId,
        broadcast: Broadcast,
        payload: Bytes,
        buffer: FrameBuf,
    ) {
        let (origin, sequence) = (broadcast.origin.id, broadcast.sequence);
        if origin == self.me.id || sequence > MAX_SEQUENCE || !self.is_new_broadcast(&broadcast) {
            self.counters.repeats += 1;
            return;
        }
        let signed = broadcast.signed_bytes(&self.room, &payload);
        if !origin.verify(Purpose::Broadcast, &signed, &broadcast.signature) {
            self.counters.bad_signatures += 1;
            return;
        }
        let hops = broadcast.hops.get().saturating_add(1);
        let frame = self.prepare(buffer.with_hops(hops));
        if self.flood(Channel::Messages, &frame, Some(from_link)) > 0 {
            self.counters.forwarded += 1;
        }
        self.make_room_for_stream(origin);
        let most = self.config.broadcast_cache;
        let stream = self
            .broadcasts
            .streams
            .entry(origin)
            .and_modify(|stream| {
                if stream.incarnation < broadcast.incarnation {
                    *stream = Stream::new(now, broadcast.incarnation, sequence);
                }
            })
            .or_insert_with(|| Stream::new(now, broadcast.incarnation, sequence));
        stream.heard = now;
        stream.keep(sequence, frame, most);
        stream.early.insert(sequence, (payload, hops));
        self.deliver_broadcasts(now, origin);
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
        let streams = &mut self.broadcasts.streams;
        if streams.len() >= self.config.streams && !streams.contains_key(&origin) {
            let oldest = streams.iter().min_by_key(|(_, stream)| stream.heard);
            if let Some(oldest) = oldest.map(|(node, _)| *node) {
                streams.remove(&oldest);
            }
        }
    }

    fn deliver_broadcasts(&mut self, now: Timestamp, origin: NodeId) {
        let Some(stream) = self.broadcasts.streams.get_mut(&origin) else {
            return;
        };
        let incarnation = stream.incarnation;
        let ready = stream.ready();
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
        for (sequence, (payload, hops)) in ready {
            self.counters.received += 1;
            self.event(Event::Message(Message {
                from: origin,
                incarnation,
                class: Class::Broadcast,
                sequence,
                hops,
                payload,
            }));
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
            } else {
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

    pub(super) fn on_broadcast_request(&mut self, id: LinkId, request: &BroadcastRequest) {
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
            .filter(|(sequence, _)| (request.first..=request.last).contains(sequence))
            .map(|(_, frame)| frame.clone())
            .collect();
        for frame in frames {
            self.send_buffer(id, Channel::Messages, frame);
        }
    }
}
