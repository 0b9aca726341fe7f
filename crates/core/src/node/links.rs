//! Links: one for each neighbour, from the first signal to the last frame.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::time::Duration;

use super::defence::Allowance;
use super::{Channel, DownReason, Event, InputError, LinkId, Node, Output, Role, TimerKind};
use crate::identity::{Incarnation, NodeId};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{Bye, ByeReason, FrameBuf, LinkReport, LinkState, RejectReason, Wish};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Signals are exchanged; `answered` once the other side has taken part.
    Connecting { answered: bool },
    /// Frames are.
    Open,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) peer: Place,
    /// The peer's session, once a signal of its told it.
    pub(super) incarnation: Option<Incarnation>,
    pub(super) role: Role,
    /// The negotiation's number, chosen by the offerer.
    pub(super) attempt: u64,
    pub(super) phase: Phase,
    begun: Timestamp,
    /// The last of the peer's signals that belonged to it.
    pub(super) sequence: u64,
    pub(super) wish: Wish,
    pub(super) heard: Timestamp,
    /// Pings sent since the peer was last heard.
    pub(super) unanswered: u32,
    pub(super) rtt: Option<Duration>,
    /// When the round-trip time was measured last, or began to be.
    pub(super) measured: Timestamp,
    /// When it opened.
    pub(super) opened: Timestamp,
    /// What the peer has done that no honest member does.
    pub(super) breaches: u32,
    /// What the peer may ask for now.
    pub(super) allowance: Allowance,
    /// What it asked for beyond that.
    pub(super) excess: u32,
    /// Bytes given to the driver that it has not passed on yet.
    in_driver: usize,
    waiting: VecDeque<(Channel, FrameBuf)>,
    waiting_bytes: usize,
}

impl Link {
    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    /// Whether the peer has missed more than a heartbeat.
    pub(super) fn is_suspect(&self) -> bool {
        self.unanswered >= 2
    }

    /// Whether more than `most` bytes wait for it, and its peer can be expected to take them.
    pub(super) fn is_behind(&self, most: usize) -> bool {
        self.waiting_bytes > most && !self.is_suspect()
    }

    /// Whether frames wait in the node.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    pub(super) fn state(&self) -> LinkState {
        match self.phase {
            Phase::Connecting { .. } => LinkState::Connecting,
            Phase::Open if self.is_suspect() => LinkState::Suspect,
            Phase::Open => LinkState::Open,
        }
    }
}

/// All links, in order of their ids.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: Vec<Link>,
    next_id: u64,
}

impl Links {
    pub(super) fn get(&self, id: LinkId) -> Option<&Link> {
        let at = self.links.binary_search_by_key(&id, |link| link.id).ok()?;
        self.links.get(at)
    }

    pub(super) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        let at = self.links.binary_search_by_key(&id, |link| link.id).ok()?;
        self.links.get_mut(at)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> {
        self.links.iter()
    }

    pub(super) fn open(&self) -> impl Iterator<Item = &Link> {
        self.links.iter().filter(|link| link.is_open())
    }

    /// The link to `peer`: the open one, else the attempt.
    pub(super) fn to(&self, peer: NodeId) -> Option<&Link> {
        let to_peer = || self.links.iter().filter(|link| link.peer.id == peer);
        to_peer()
            .find(|link| link.is_open())
            .or_else(|| to_peer().next())
    }

    pub(super) fn is_open_to(&self, peer: NodeId) -> bool {
        self.to(peer).is_some_and(Link::is_open)
    }

    pub(super) fn len(&self) -> usize {
        self.links.len()
    }

    /// The bytes that wait for the link that most wait for.
    pub(super) fn most_waiting_bytes(&self) -> usize {
        let waiting = self.links.iter().map(|link| link.waiting_bytes);
        waiting.max().unwrap_or(0)
    }

    fn remove(&mut self, id: LinkId) -> Option<Link> {
        let at = self.links.binary_search_by_key(&id, |link| link.id).ok()?;
        Some(self.links.remove(at))
    }
}

impl Node {
    pub(super) fn add_link(
        &mut self,
        now: Timestamp,
        peer: Place,
        role: Role,
        attempt: u64,
        wish: Wish,
        incarnation: Option<Incarnation>,
    ) -> LinkId {
        #[cfg(feature = "planted-bugs")]
        if self.config.planted_bug == Some(crate::PlantedBug::ReusedLinkId) {
            let last = self.links.links.last();
            self.links.next_id = last.map_or(0, |link| link.id.0 + 1);
        }
        let id = LinkId(self.links.next_id);
        self.links.next_id += 1;
        self.links.links.push(Link {
            id,
            peer,
            incarnation,
            role,
            attempt,
            phase: Phase::Connecting {
                answered: role == Role::Answerer,
            },
            begun: now,
            sequence: 0,
            wish,
            heard: now,
            unanswered: 0,
            rtt: None,
            measured: now,
            opened: now,
            breaches: 0,
            allowance: Allowance::default(),
            excess: 0,
            in_driver: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
        });
        self.outputs.push_back(Output::OpenLink {
            link: id,
            peer: peer.id,
            role,
        });
        let first_look = match role {
            Role::Offerer => self.config.answer_timeout,
            Role::Answerer => self.config.attempt_timeout,
        };
        self.timers.set(TimerKind::Attempt(id), now + first_look);
        self.link_event(peer.id, Some(LinkState::Connecting));
        id
    }

    pub(super) fn on_link_up(&mut self, now: Timestamp, id: LinkId) -> Result<(), InputError> {
        let link = self.links.get_mut(id).ok_or(InputError::Stale)?;
        if link.is_open() {
            return Err(InputError::Stale);
        }
        link.phase = Phase::Open;
        link.heard = now;
        link.opened = now;
        let peer = link.peer;
        self.counters.links_opened += 1;
        self.timers.cancel(TimerKind::Attempt(id));
        self.timers
            .set(TimerKind::Heartbeat(id), now + self.config.heartbeat);
        self.link_event(peer.id, Some(LinkState::Open));
        self.tell_overlay(now, |overlay, cx| overlay.on_opened(cx, peer));
        self.measure(now, id);
        self.greet(id);
        self.on_answered(now, peer);
        self.ask_soon(now, id);
        Ok(())
    }

    /// A connection ended by itself, or could not be made.
    pub(super) fn on_link_down(
        &mut self,
        now: Timestamp,
        id: LinkId,
        _reason: DownReason,
    ) -> Result<(), InputError> {
        let link = self.forget_link(id).ok_or(InputError::Stale)?;
        if link.is_open() {
            // Closed without a word: whoever was there is not there any more.
            self.on_dead(now, link.peer, link.incarnation);
        } else {
            if link.role == Role::Answerer {
                // If the offerer still waits for an answer, it need not any longer.
                self.reject(now, link.peer.id, link.attempt, RejectReason::Failed);
            }
            self.on_attempt_failed(now, &link);
        }
        Ok(())
    }

    /// An attempt has led to nothing, and its link is gone already.
    pub(super) fn on_attempt_failed(&mut self, now: Timestamp, link: &Link) {
        self.counters.links_failed += 1;
        self.tell_overlay(now, |overlay, cx| overlay.on_failed(cx, link.peer));
    }

    pub(super) fn on_attempt_timeout(&mut self, now: Timestamp, id: LinkId) {
        let Some(link) = self.links.get(id) else {
            return;
        };
        let end = link.begun + self.config.attempt_timeout;
        match link.phase {
            Phase::Open => {}
            Phase::Connecting { answered: true } if now < end => {
                self.timers.set(TimerKind::Attempt(id), end);
            }
            Phase::Connecting { answered } => {
                if let Some(link) = self.close_link(id) {
                    self.on_attempt_failed(now, &link);
                    if !answered {
                        self.on_unanswered(now, link.peer, 1);
                    }
                }
            }
        }
    }

    /// The offer was turned down, or never reached the peer.
    pub(super) fn on_rejected(&mut self, now: Timestamp, id: LinkId, reason: RejectReason) {
        if let Some(link) = self.close_link(id) {
            self.event(Event::Rejected {
                peer: link.peer.id,
                reason,
            });
            self.on_attempt_failed(now, &link);
        }
    }

    /// Says goodbye and closes.
    pub(super) fn bye(&mut self, id: LinkId, reason: ByeReason) {
        if self.links.get(id).is_some_and(Link::is_open) {
            let bye = Bye {
                reason,
                successors: self.overlay.table().successors.clone(),
                predecessors: self.overlay.table().predecessors.clone(),
            };
            let channel = match reason {
                // Behind the broadcasts, or it would end the link before they come.
                ByeReason::Leaving => Channel::Messages,
                ByeReason::Unwanted | ByeReason::Protocol => Channel::Control,
            };
            self.send_now(id, channel, crate::wire::Frame::from(bye).into());
        }
        if let Some(link) = self.close_link(id) {
            self.tell_overlay(self.now, |overlay, cx| overlay.on_closed(cx, link.peer));
        }
    }

    pub(super) fn on_bye(&mut self, now: Timestamp, id: LinkId, bye: &Bye) {
        let Some(link) = self.close_link(id) else {
            return;
        };
        match bye.reason {
            ByeReason::Leaving => self.on_left(now, &link, bye),
            // It lives, but not for us: no need to ask again at once.
            ByeReason::Protocol => self.on_attempt_failed(now, &link),
            ByeReason::Unwanted => self.tell_overlay(now, |overlay, cx| {
                overlay.on_closed(cx, link.peer);
                overlay.refresh(cx);
            }),
        }
    }

    /// Closes a connection and forgets it; the overlay is to be told by the caller, who knows why.
    pub(super) fn close_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.forget_link(id)?;
        self.outputs.push_back(Output::CloseLink { link: id });
        Some(link)
    }

    fn forget_link(&mut self, id: LinkId) -> Option<Link> {
        let link = self.links.remove(id)?;
        for kind in [TimerKind::Attempt(id), TimerKind::Heartbeat(id)] {
            self.timers.cancel(kind);
        }
        if !self.links.is_open_to(link.peer.id) {
            self.link_event(link.peer.id, None);
        }
        if link.is_open() {
            self.ask_everybody_soon(self.now);
        }
        Some(link)
    }

    /// Gives a frame to a link, or keeps it until the link has passed earlier ones on. What no
    /// longer fits is dropped and counted; reliable messages are sent again.
    pub(super) fn send_buffer(&mut self, id: LinkId, channel: Channel, frame: FrameBuf) -> bool {
        let frame = if self.config.encode_frames {
            frame.encoded()
        } else {
            frame
        };
        let (window, limit) = (self.config.link_window, self.config.link_queue);
        let Some(link) = self.links.get_mut(id).filter(|link| link.is_open()) else {
            return false;
        };
        let size = frame.size();
        // Control frames never wait: heartbeats must not starve behind messages.
        let fits = link.waiting.is_empty() && link.in_driver + size <= window;
        if channel == Channel::Control || fits {
            self.send_now(id, channel, frame);
            true
        } else if link.waiting_bytes + size <= limit {
            link.waiting_bytes += size;
            link.waiting.push_back((channel, frame));
            true
        } else {
            self.counters.dropped += 1;
            false
        }
    }

    /// Gives a frame to an open link, whatever waits for it.
    fn send_now(&mut self, id: LinkId, channel: Channel, frame: FrameBuf) {
        let frame = self.prepare(frame);
        if let Some(link) = self.links.get_mut(id) {
            link.in_driver += frame.size();
            self.outputs.push_back(Output::SendFrame {
                link: id,
                channel,
                frame,
            });
        }
    }

    pub(super) fn send<F>(&mut self, id: LinkId, channel: Channel, frame: F) -> bool
    where
        crate::wire::Frame: From<F>,
    {
        let frame = crate::wire::Frame::from(frame);
        self.send_buffer(id, channel, frame.into())
    }

    pub(super) fn on_link_writable(&mut self, id: LinkId, bytes: usize) -> Result<(), InputError> {
        let window = self.config.link_window;
        let link = self.links.get_mut(id).ok_or(InputError::Stale)?;
        link.in_driver = link.in_driver.saturating_sub(bytes);
        while let Some((_, next)) = link.waiting.front()
            && (link.in_driver == 0 || link.in_driver + next.size() <= window)
        {
            let Some((channel, frame)) = link.waiting.pop_front() else {
                break;
            };
            link.waiting_bytes -= frame.size();
            link.in_driver += frame.size();
            self.outputs.push_back(Output::SendFrame {
                link: id,
                channel,
                frame,
            });
        }
        Ok(())
    }

    pub(super) fn link_reports(&self) -> Vec<LinkReport> {
        let mut reports: Vec<_> = self
            .links
            .iter()
            .map(|link| LinkReport {
                peer: link.peer.id,
                state: link.state(),
                rtt_us: link
                    .rtt
                    .map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
            })
            .collect();
        reports.sort_by_key(|report| report.peer);
        reports
    }

    pub(super) fn link_event(&mut self, peer: NodeId, state: Option<LinkState>) {
        self.neighbours_changed = true;
        self.event(Event::Link { peer, state });
    }
}
