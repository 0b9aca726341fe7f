//! Leaving the room.
//!
//! Whoever says something and leaves has said it: a node first sees off what it was given before.
//! Its reliable messages are acknowledged, or wait no longer than [`Config::leave_timeout`]; what
//! waits for its links is given to them; and `Bye` goes the way of broadcasts, behind them, where
//! all else that concerns a link alone overtakes them.
//!
//! [`Config::leave_timeout`]: crate::Config::leave_timeout

use alloc::vec::Vec;

use super::links::Link;
use super::{Event, Node, TimerKind};
use crate::time::Timestamp;
use crate::wire::ByeReason;

impl Node {
    /// Leaves the room as soon as nothing is left to be sent, or it has taken too long.
    pub(super) fn begin_leaving(&mut self, now: Timestamp) {
        if self.leaving {
            return;
        }
        self.leaving = true;
        self.send_broadcasts(now);
        self.timers
            .set(TimerKind::Leave, now + self.config.leave_timeout);
    }

    /// Leaves if it is to, and nothing is left to be sent.
    pub(super) fn leave_if_done(&mut self) {
        let is_done = || self.delivery.is_idle() && !self.links.open().any(Link::has_waiting);
        if self.leaving && !self.ended && is_done() {
            self.leave();
        }
    }

    /// Leaves the room: everybody concerned is told, and the node ends.
    pub(super) fn leave(&mut self) {
        self.send_leaving_presence();
        let links: Vec<_> = self.links.iter().map(|link| link.id).collect();
        for link in links {
            self.bye(link, ByeReason::Leaving);
        }
        self.leave_trackers();
        self.end(Event::Left);
    }

    /// Ends the session: what is open is closed, and nothing is taken any more.
    pub(super) fn end(&mut self, why: Event) {
        self.fail_open_sends();
        let links: Vec<_> = self.links.iter().map(|link| link.id).collect();
        for link in links {
            self.close_link(link);
        }
        self.close_trackers();
        self.timers.cancel_all();
        self.ended = true;
        self.event(why);
    }
}
