//! Catching up with broadcasts, where not everybody passes everything on.
//!
//! A broadcast is not passed on to a member that is said to have it already (see
//! [`Overlay::passes_on`](crate::overlay::Overlay::passes_on)). That is wrong while a link is open
//! at one end only, or has broken, and there may be no later broadcast whose number shows the gap.
//! So whoever gains or loses a link asks what it has missed since; and so does whoever hears of a
//! sender for the first time, but not from its beginning on.

use alloc::vec::Vec;
use core::time::Duration;

use super::defence::Allowance;
use super::{Channel, LinkId, Node, TimerKind};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{CatchUp, Heard, MAX_LIST};

/// How much further back is looked than was asked for: longer than a question takes.
const SLACK: Duration = Duration::from_millis(500);

/// Questions about new senders at a time, and the time until there may be another one: senders are
/// made up at will, and whoever asks too much is cut off. Guess.
const MAX_NEW_SENDERS: u32 = 4;
const NEW_SENDER_INTERVAL: Duration = Duration::from_secs(1);

/// Whom to ask.
#[derive(Debug, Default)]
pub(super) struct Asking {
    /// New links: at most as many as there are links.
    links: Vec<LinkId>,
    /// A link was lost: everybody is asked.
    everybody: bool,
    /// Since when this node has been a member.
    joined: Option<Timestamp>,
    /// How often new senders have made it ask of late.
    new_senders: Allowance,
}

impl Node {
    /// Broadcasts are for this node from now on.
    pub(super) fn begin_catching_up(&mut self, now: Timestamp) {
        self.asking.joined = Some(now);
        self.ask_everybody_soon(now);
    }

    /// A link is new: its peer may have taken it to be open later than this node did.
    pub(super) fn ask_soon(&mut self, now: Timestamp, link: LinkId) {
        if self.may_have_missed() {
            self.asking.links.push(link);
            self.arm_asking(now);
        }
    }

    /// A link is lost: what should have come over it may have come to others.
    pub(super) fn ask_everybody_soon(&mut self, now: Timestamp) {
        if self.may_have_missed() {
            self.asking.everybody = true;
            self.arm_asking(now);
        }
    }

    /// A sender is new, and not heard from its beginning on: what this one was sent since it has been
    /// a member may wait for a link somewhere.
    pub(super) fn ask_about_new_sender(&mut self, now: Timestamp) {
        let asking = &mut self.asking;
        let takes = |allowance: &mut Allowance| {
            allowance.take(now, NEW_SENDER_INTERVAL, MAX_NEW_SENDERS, 1)
        };
        // One question is about all senders.
        if !asking.everybody && takes(&mut asking.new_senders) {
            self.ask_everybody_soon(now);
        }
    }

    fn may_have_missed(&self) -> bool {
        self.asking.joined.is_some()
    }

    /// By then neighbours have been told that links have changed, and pass on accordingly.
    fn arm_asking(&mut self, now: Timestamp) {
        let at = now + self.config.gap_timeout;
        self.timers.set_by(TimerKind::CatchUp, at);
    }

    pub(super) fn on_catch_up_timer(&mut self, now: Timestamp) {
        let asked = core::mem::take(&mut self.asking.links);
        let everybody = core::mem::take(&mut self.asking.everybody);
        let Some(joined) = self.asking.joined else {
            return;
        };
        let within = now.since(joined).min(self.config.gap_give_up);
        let question = CatchUp {
            within_ms: u32::try_from(within.as_millis()).unwrap_or(u32::MAX),
            heard: self.heard_since(now, within),
        };
        let links = self.member_links().into_iter();
        let links: Vec<_> = links.filter(|id| everybody || asked.contains(id)).collect();
        for id in links {
            self.send(id, Channel::Control, question.clone());
        }
    }

    /// Somebody asks what it has missed.
    pub(super) fn on_catch_up(&mut self, now: Timestamp, id: LinkId, question: &CatchUp) {
        let Some(peer) = self.links.get(id).map(|link| link.peer) else {
            return;
        };
        let within = Duration::from_millis(question.within_ms.into());
        let within = within.min(self.config.gap_give_up) + SLACK;
        let frames = self.broadcasts_since(now, within, peer.id, &question.heard);
        if !self.spend(now, id, frames.len()) {
            return;
        }
        for frame in frames {
            self.send_buffer(id, Channel::Messages, frame);
        }
    }

    /// How far the broadcasts of those have come who have sent some of late.
    fn heard_since(&self, now: Timestamp, within: Duration) -> Vec<Heard> {
        let mut heard = self.broadcasts.heard_since(now, within + SLACK);
        heard.truncate(MAX_LIST);
        heard
    }

    /// The links over which a broadcast goes on.
    pub(super) fn ways_on(&self, origin: Place, from: LinkId) -> Vec<LinkId> {
        let from_peer = self.links.get(from).map(|link| link.peer);
        let open = self.links.open().filter(|link| link.id != from);
        open.filter(|link| {
            from_peer.is_none_or(|peer| {
                self.overlay
                    .passes_on(self.topology, origin, peer, link.peer)
            })
        })
        .map(|link| link.id)
        .collect()
    }
}
