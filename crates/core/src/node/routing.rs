//! Greedy routing with one step of lookahead, and lookups.
//!
//! A message goes to the neighbour that is, or has a neighbour that is, nearest to the receiver
//! on the ring (Manku, Naor, Wieder, "Know thy neighbor's neighbor", STOC 2004), never back to
//! where it came from if there is another way. One that has lost its way makes a [`Detour`].

use bytes::Bytes;

use super::{Channel, Class, CommandId, Event, InputError, LinkId, Message, Node};
use crate::identity::NodeId;
use crate::overlay::Detour;
use crate::ring::{Place, Position};
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{Body, Frame, FrameBuf, Head, Hops, Lookup, LookupReply, MAX_PAYLOAD, Routed};

impl Node {
    pub(super) fn check_payload(payload: &Bytes) -> Result<(), InputError> {
        if payload.len() > MAX_PAYLOAD {
            return Err(InputError::TooLarge {
                bytes: payload.len(),
                limit: MAX_PAYLOAD,
            });
        }
        Ok(())
    }

    pub(super) fn send_datagram(
        &mut self,
        id: CommandId,
        to: NodeId,
        payload: Bytes,
    ) -> Result<(), InputError> {
        Self::check_payload(&payload)?;
        if to == self.me.id {
            return Err(InputError::ToSelf);
        }
        self.send_routed(self.place(to), Body::Datagram, payload);
        self.event(Event::Sent { id });
        Ok(())
    }

    /// Sends something of this node's own on its way; `false` if there is none.
    pub(super) fn send_routed(&mut self, to: Place, body: Body, payload: Bytes) -> bool {
        self.send_routed_past(to, body, payload, None).is_some()
    }

    /// Sends something of this node's own on its way, not over the link `past` if there is another
    /// way: what went there before may have been lost beyond it. Gives the link that it took.
    pub(super) fn send_routed_past(
        &mut self,
        to: Place,
        body: Body,
        payload: Bytes,
        past: Option<LinkId>,
    ) -> Option<LinkId> {
        let channel = match body {
            Body::Datagram => Channel::Realtime,
            Body::Reliable { .. } => Channel::Messages,
            Body::Ack(_) | Body::LookupReply(_) => Channel::Control,
        };
        let mut routed = Routed {
            hops: Hops::new(0),
            hop_limit: self.topology.hop_limit(|| self.estimate()),
            to,
            from: self.me,
            incarnation: self.incarnation,
            detour: Detour::default(),
            body,
        };
        // On a ring the only other way is the long one, for which the hop limit may not do.
        let past = past.filter(|_| self.topology != Topology::Ring);
        let Some((next, is_lost)) = self.next_hop(&routed, past) else {
            self.counters.dropped += 1;
            return None;
        };
        if is_lost {
            routed.detour.add(self.me.position);
        }
        let frame = Frame {
            head: Head::Routed(routed),
            payload,
        };
        self.send_buffer(next, channel, frame.into())
            .then_some(next)
    }

    pub(super) fn on_routed(
        &mut self,
        now: Timestamp,
        from_link: LinkId,
        channel: Channel,
        mut routed: Routed,
        payload: Bytes,
        buffer: FrameBuf,
    ) -> Result<(), InputError> {
        let hops = routed.hops.get().saturating_add(1);
        if routed.to == self.me {
            drop(buffer);
            if !self.is_plausible(now, from_link, &routed) {
                self.counters.forged += 1;
                return Err(InputError::Stale);
            }
            return self.on_arrived(now, &routed, hops, payload);
        }
        let is_message =
            !payload.is_empty() || matches!(routed.body, Body::Datagram | Body::Reliable { .. });
        let next = self.next_hop(&routed, Some(from_link));
        let own_limit = self.topology.hop_limit(|| self.estimate());
        if let Some((next, is_lost)) = next
            && hops < routed.hop_limit.min(own_limit)
            && self.send_buffer(next, channel, {
                if is_lost {
                    drop(buffer);
                    routed.hops = Hops::new(hops);
                    routed.detour.add(self.me.position);
                    let head = Head::Routed(routed);
                    Frame { head, payload }.into()
                } else {
                    // The bytes are changed in place, which takes that nobody else holds them.
                    drop(payload);
                    buffer.with_hops(hops)
                }
            })
        {
            self.counters.forwarded += u64::from(is_message);
        } else {
            self.counters.dropped += 1;
        }
        Ok(())
    }

    fn on_arrived(
        &mut self,
        now: Timestamp,
        routed: &Routed,
        hops: u16,
        payload: Bytes,
    ) -> Result<(), InputError> {
        let from = routed.from;
        match &routed.body {
            Body::Datagram => {
                self.counters.received += 1;
                self.event(Event::Message(Message {
                    from: from.id,
                    incarnation: routed.incarnation,
                    class: Class::Datagram,
                    sequence: 0,
                    hops,
                    payload,
                }));
                Ok(())
            }
            Body::Reliable { sequence, floor } => {
                self.on_reliable(now, routed, *sequence, *floor, hops, payload)
            }
            Body::Ack(ack) => {
                self.on_ack(now, from.id, ack);
                Ok(())
            }
            Body::LookupReply(reply) => {
                self.tell_overlay(now, |overlay, cx| overlay.on_found(cx, from, reply.id));
                Ok(())
            }
        }
    }

    /// The link on which a message goes on, and whether it has lost its way.
    fn next_hop(&self, routed: &Routed, from_link: Option<LinkId>) -> Option<(LinkId, bool)> {
        let from = self.peer_of(from_link);
        let by_hub = from_link.is_none().then(|| self.way_by_hub(routed.to));
        if let Some(hub) = by_hub.flatten() {
            return Some((self.open_link(hub)?, false));
        }
        let detour = &routed.detour;
        let hop = self
            .overlay
            .next_hop(&self.config, routed.to, from, detour)?;
        Some((self.open_link(hop.next)?, hop.is_lost))
    }

    fn peer_of(&self, link: Option<LinkId>) -> Option<Place> {
        Some(self.links.get(link?)?.peer)
    }

    /// Asks who is responsible for `target`. The answer comes as [`LookupReply`].
    pub(super) fn look_up(&mut self, target: Position, id: u32) {
        let lookup = Lookup {
            hops: Hops::new(0),
            hop_limit: self.topology.hop_limit(|| self.estimate()),
            target: target.0,
            origin: self.me,
            id,
        };
        let next = self
            .overlay
            .next_for_lookup(&self.config, target, Some(self.me), None);
        if let Some(next) = next.and_then(|next| self.open_link(next)) {
            self.send(next, Channel::Control, lookup);
        }
    }

    pub(super) fn on_lookup(&mut self, from_link: LinkId, lookup: &Lookup, buffer: FrameBuf) {
        let hops = lookup.hops.get().saturating_add(1);
        let target = lookup.position();
        let from = self.peer_of(Some(from_link));
        let next = self
            .overlay
            .next_for_lookup(&self.config, target, Some(lookup.origin), from)
            .and_then(|next| self.open_link(next));
        if let Some(next) = next {
            let own_limit = self.topology.hop_limit(|| self.estimate());
            if hops < lookup.hop_limit.min(own_limit) {
                self.send_buffer(next, Channel::Control, buffer.with_hops(hops));
            } else {
                self.counters.dropped += 1;
            }
        } else if self.overlay.is_member() && lookup.origin != self.me {
            let reply = LookupReply {
                id: lookup.id,
                hops,
            };
            self.send_routed(lookup.origin, Body::LookupReply(reply), Bytes::new());
        }
    }
}
