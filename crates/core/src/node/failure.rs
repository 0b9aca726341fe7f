//! Failure detection: heartbeats, probes, and what follows from a death.
//!
//! Any frame is a sign of life. After [`Config::heartbeat`](crate::Config::heartbeat) of silence
//! the peer is pinged, by the one that has offered the link, or a bit earlier along with another
//! peer; the other one would do so half a probe interval later, so that one ping and its answer are
//! all there is to a silent link. If the peer does not answer within two probe intervals it is
//! probed, and after [`Config::probes`](crate::Config::probes) of those without an answer it is
//! dead. Nobody is dead on the word of others: that only brings the first probe forward.

use alloc::vec::Vec;
use core::time::Duration;

use super::{Channel, InputError, LinkId, Node, Role, TimerKind};
use crate::identity::{Incarnation, NodeId};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{Bye, LinkState, Ping, Pong};

use super::links::Link;

/// The part of [`Config::heartbeat`](crate::Config::heartbeat) by which a ping may be early to go
/// along with another one. Half of it brings any two together, the first ping of one of them or
/// that of the other: soon all links are pinged at a time, and an idle member wakes once for them.
const EARLY: u32 = 2;

/// Time between two measures of the round-trip time of a link that is never silent.
const MEASURE_INTERVAL: Duration = Duration::from_secs(10);

impl Node {
    /// A frame came over a link: its peer lives.
    pub(super) fn on_heard(&mut self, now: Timestamp, id: LinkId) -> Result<(), InputError> {
        let link = self.links.get_mut(id).ok_or(InputError::Stale)?;
        if !link.is_open() {
            return Err(InputError::Stale);
        }
        link.heard = now;
        if link.unanswered == 0 {
            return Ok(());
        }
        let (was_suspect, peer) = (link.is_suspect(), link.peer);
        link.unanswered = 0;
        if was_suspect {
            self.overlay.on_suspect(peer, false);
            self.link_event(peer.id, Some(LinkState::Open));
        }
        self.timers
            .set(TimerKind::Heartbeat(id), now + self.config.heartbeat);
        Ok(())
    }

    pub(super) fn on_heartbeat(&mut self, now: Timestamp, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        // The timer is not moved with every frame; it finds out when it fires.
        let due = link.heard + self.silence(link);
        if link.unanswered == 0 && now < due {
            let is_measured = now.since(link.measured) < MEASURE_INTERVAL;
            self.timers.set(TimerKind::Heartbeat(id), due);
            if !is_measured {
                self.measure(now, id);
            }
            return;
        }
        if link.unanswered > self.config.probes {
            let (peer, incarnation) = (link.peer, link.incarnation);
            self.counters.links_timed_out += 1;
            self.close_link(id);
            self.on_dead(now, peer, incarnation);
            return;
        }
        // The first ping is the heartbeat, the others are probes.
        let is_heartbeat = link.unanswered == 0;
        self.ping(now, id);
        if is_heartbeat {
            let by = now + self.config.heartbeat / EARLY;
            let is_due = |link: &Link| {
                let is_mine = link.role == Role::Offerer && link.unanswered == 0;
                is_mine && link.heard + self.silence(link) <= by
            };
            let due = self.links.open().filter(|link| is_due(link));
            let due: Vec<_> = due.map(|link| link.id).collect();
            due.into_iter().for_each(|id| self.ping(now, id));
        }
    }

    /// The time for which a peer may be silent before this side pings it.
    fn silence(&self, link: &Link) -> Duration {
        match link.role {
            Role::Offerer => self.config.heartbeat,
            Role::Answerer => self.config.heartbeat + self.config.probe_interval / 2,
        }
    }

    /// Pings a peer: its answer is due within a probe interval, to the first ping within two.
    fn ping(&mut self, now: Timestamp, id: LinkId) {
        let interval = self.config.probe_interval;
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.unanswered += 1;
        let (unanswered, peer) = (link.unanswered, link.peer);
        if unanswered == 2 {
            self.overlay.on_suspect(peer, true);
            self.link_event(peer.id, Some(LinkState::Suspect));
        }
        let wait = if unanswered == 1 {
            2 * interval
        } else {
            interval
        };
        self.timers.set(TimerKind::Heartbeat(id), now + wait);
        self.measure(now, id);
    }

    /// Pings a peer: the answer tells the round-trip time.
    pub(super) fn measure(&mut self, now: Timestamp, id: LinkId) {
        if let Some(link) = self.links.get_mut(id) {
            link.measured = now;
            let ping = Ping {
                stamp: now.as_micros(),
            };
            self.send(id, Channel::Control, ping);
        }
    }

    pub(super) fn on_ping(&mut self, now: Timestamp, id: LinkId, ping: &Ping) {
        // As long as the peer keeps doing that, this side need look at the link to measure it only.
        let rests = |link: &&Link| {
            link.role == Role::Answerer && now.since(link.measured) < MEASURE_INTERVAL
        };
        if let Some(link) = self.links.get(id).filter(rests) {
            let due = now + self.silence(link);
            self.timers.set(TimerKind::Heartbeat(id), due);
        }
        self.send(id, Channel::Control, Pong { stamp: ping.stamp });
    }

    pub(super) fn on_pong(&mut self, now: Timestamp, id: LinkId, pong: &Pong) {
        if let Some(link) = self.links.get_mut(id)
            && pong.stamp <= now.as_micros()
        {
            link.rtt = Some(now.since(Timestamp::from_micros(pong.stamp)));
        }
    }

    /// The connection's path has gone silent.
    pub(super) fn on_link_suspect(&mut self, now: Timestamp, id: LinkId) -> Result<(), InputError> {
        let link = self.links.get(id).ok_or(InputError::Stale)?;
        if link.is_open() {
            self.probe(now, id);
        }
        Ok(())
    }

    /// Somebody says that `peer` is gone: worth a probe.
    pub(super) fn on_hint_gone(&mut self, now: Timestamp, peer: NodeId) {
        if let Some(id) = self.links.to(peer).filter(|l| l.is_open()).map(|l| l.id) {
            self.probe(now, id);
        }
    }

    /// Probes a peer at once, as if it had missed its heartbeat.
    fn probe(&mut self, now: Timestamp, id: LinkId) {
        if let Some(link) = self.links.get_mut(id)
            && link.unanswered <= 1
        {
            link.unanswered = 1;
            self.timers.set(TimerKind::Heartbeat(id), now);
            self.on_heartbeat(now, id);
        }
    }

    /// A peer is dead: its link is gone already.
    pub(super) fn on_dead(
        &mut self,
        now: Timestamp,
        peer: Place,
        incarnation: Option<Incarnation>,
    ) {
        // A later session of the same identity may be here already.
        let lives_on = self.is_outlived(peer, incarnation);
        self.tell_gone(now, peer, incarnation);
        self.tell_overlay(now, |overlay, cx| overlay.on_dead(cx, peer, lives_on));
        self.retry_circulations(now);
    }

    /// A peer has left and told us: effective at once.
    pub(super) fn on_left(&mut self, now: Timestamp, link: &Link, bye: &Bye) {
        let peer = link.peer;
        self.tell_gone(now, peer, link.incarnation);
        self.tell_overlay(now, |overlay, cx| {
            overlay.on_left(cx, peer, &bye.successors, &bye.predecessors);
        });
        self.fail_sends_to(peer.id);
        self.retry_circulations(now);
    }
}
