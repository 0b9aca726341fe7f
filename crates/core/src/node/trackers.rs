//! Trackers: logging in, reporting, passing signals, and doing without.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

use super::{Event, InputError, Node, Output, TimerKind, TrackerId};
use crate::identity::{Incarnation, NodeId, Purpose};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{
    Assignment, ErrorCode, MAX_REPORTED_LINKS, SignedSignal, TrackerMessage, VERSION, login_bytes,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// To be connected when the timer fires.
    Idle,
    /// Connecting, or waiting for a challenge or a welcome.
    Connecting,
    /// In its table.
    LoggedIn,
}

#[derive(Debug)]
struct Tracker {
    phase: Phase,
    /// Attempts in a row that did not end in a login.
    failures: u32,
    heard: Timestamp,
    reported: Timestamp,
    report_due: bool,
}

#[derive(Debug)]
pub(super) struct Trackers {
    all: Vec<Tracker>,
    rng: Xoshiro256PlusPlus,
}

impl Trackers {
    pub(super) fn new(count: u16, rng: Xoshiro256PlusPlus) -> Self {
        let tracker = || Tracker {
            phase: Phase::Connecting,
            failures: 0,
            heard: Timestamp::ZERO,
            reported: Timestamp::ZERO,
            report_due: false,
        };
        Self {
            all: (0..count).map(|_| tracker()).collect(),
            rng,
        }
    }

    fn get_mut(&mut self, id: TrackerId) -> Option<&mut Tracker> {
        self.all.get_mut(usize::from(id.0))
    }

    /// Whether a tracker other than `id` has the node in its table, or is still to be heard: what
    /// `id` alone says is then not the end.
    fn has_other(&self, id: TrackerId) -> bool {
        self.ids().zip(&self.all).any(|(other, tracker)| {
            other != id && (tracker.phase == Phase::LoggedIn || tracker.failures == 0)
        })
    }

    /// Has the next attempt wait as long as may be: coming back at once would lead to the same.
    fn back_off(&mut self, id: TrackerId) {
        if let Some(tracker) = self.get_mut(id) {
            tracker.failures = u32::MAX / 2;
        }
    }

    fn ids(&self) -> impl Iterator<Item = TrackerId> + use<> {
        (0..u16::try_from(self.all.len()).unwrap_or(u16::MAX)).map(TrackerId)
    }

    /// Whether there is a way to give a signal to somebody without a link.
    pub(super) fn can_signal(&self) -> bool {
        self.logged_in().next().is_some()
    }

    fn logged_in(&self) -> impl Iterator<Item = TrackerId> {
        self.ids()
            .zip(&self.all)
            .filter(|(_, tracker)| tracker.phase == Phase::LoggedIn)
            .map(|(id, _)| id)
    }
}

impl Node {
    pub(super) fn connect_trackers(&mut self, now: Timestamp) {
        for tracker in self.trackers.ids() {
            let timeout = now + self.config.tracker_timeout;
            self.timers.set(TimerKind::Tracker(tracker), timeout);
            self.outputs.push_back(Output::ConnectTracker { tracker });
        }
    }

    pub(super) fn relay_by_trackers(&mut self, signal: &SignedSignal) {
        let trackers: Vec<_> = self.trackers.logged_in().collect();
        for tracker in trackers {
            let message = TrackerMessage::Signal {
                signal: signal.clone(),
            };
            self.outputs
                .push_back(Output::SendTracker { tracker, message });
        }
    }

    pub(super) fn on_tracker(
        &mut self,
        now: Timestamp,
        id: TrackerId,
        message: TrackerMessage,
    ) -> Result<(), InputError> {
        let tracker = self.trackers.get_mut(id).ok_or(InputError::Stale)?;
        let phase = tracker.phase;
        tracker.heard = now;
        match (message, phase) {
            (_, Phase::Idle) => return Err(InputError::Stale),
            (TrackerMessage::Challenge { version, nonce }, Phase::Connecting) => {
                self.log_in(now, id, version, &nonce);
            }
            (
                TrackerMessage::Welcome {
                    time_unix_ms,
                    members,
                    assignment,
                    hub,
                },
                Phase::Connecting,
            ) => {
                self.check_clock(now, time_unix_ms);
                self.learn_hub(hub);
                self.on_welcome(now, id, members, &assignment);
            }
            (
                TrackerMessage::Assigned {
                    members,
                    assignment,
                },
                Phase::LoggedIn,
            ) => self.on_assignment(now, members, &assignment),
            (TrackerMessage::Signal { signal }, Phase::LoggedIn) => {
                return self.on_signal(now, signal);
            }
            (TrackerMessage::Unreachable { to, attempt }, Phase::LoggedIn) => {
                // With several trackers another one may know the receiver.
                if self.trackers.logged_in().count() == 1 {
                    self.on_unreachable(now, to, attempt);
                }
            }
            (TrackerMessage::Gone { node }, _) => self.on_hint_gone(now, node),
            (TrackerMessage::Superseded { incarnation }, _) => {
                self.on_superseded(now, id, incarnation);
            }
            (TrackerMessage::Error { code, message }, _) => {
                self.on_tracker_error(now, id, code, message);
            }
            (TrackerMessage::Ping, _) => self.outputs.push_back(Output::SendTracker {
                tracker: id,
                message: TrackerMessage::Pong,
            }),
            (TrackerMessage::Pong, _) => {}
            // A tracker that talks nonsense is as good as none.
            _ => {
                self.drop_tracker(now, id);
                return Err(InputError::Protocol);
            }
        }
        Ok(())
    }

    fn log_in(&mut self, now: Timestamp, id: TrackerId, version: u16, nonce: &str) {
        if version != VERSION {
            let message = alloc::format!(
                "the tracker speaks version {version} of the protocol, this node version {VERSION}"
            );
            self.refused_by(now, id, message);
            return;
        }
        let name = self.members.own_name();
        let bytes = login_bytes(
            nonce,
            &self.me.id,
            self.incarnation,
            self.topology,
            &self.room_name,
            name,
        );
        let message = TrackerMessage::Login {
            node: self.me.id,
            incarnation: self.incarnation,
            room: self.room_name.clone(),
            name: name.into(),
            kind: self.members.own_kind(),
            topology: self.topology,
            hub: self.hub.named(),
            signature: self.identity.sign(Purpose::Login, &bytes),
        };
        self.outputs.push_back(Output::SendTracker {
            tracker: id,
            message,
        });
        self.timers
            .set(TimerKind::Tracker(id), now + self.config.tracker_timeout);
    }

    fn check_clock(&mut self, now: Timestamp, time_unix_ms: u64) {
        let Some(unix_ms) = self.unix_ms(now) else {
            return;
        };
        let skew_ms = i64::try_from(time_unix_ms)
            .unwrap_or(i64::MAX)
            .saturating_sub_unsigned(unix_ms);
        if u128::from(skew_ms.unsigned_abs()) > self.config.clock_tolerance.as_millis() {
            self.event(Event::ClockSkew { skew_ms });
        }
    }

    /// A tracker will not have this node. That is the end, unless another one has or may have it,
    /// or it has neighbours: then it does without this one.
    fn refused_by(&mut self, now: Timestamp, id: TrackerId, message: String) {
        if self.trackers.can_signal()
            || self.trackers.has_other(id)
            || self.links.open().next().is_some()
        {
            self.trackers.back_off(id);
            self.drop_tracker(now, id);
        } else {
            self.end(Event::Refused { message });
        }
    }

    /// A tracker says that there is a later session. It has no proof, so that another tracker's
    /// silence counts for more; the later session's own presence record, signed, is one.
    fn on_superseded(&mut self, now: Timestamp, id: TrackerId, by: Incarnation) {
        if by <= self.incarnation {
            return;
        }
        if self.trackers.has_other(id) {
            self.trackers.back_off(id);
            self.drop_tracker(now, id);
        } else {
            self.end(Event::Superseded { by });
        }
    }

    fn on_welcome(&mut self, now: Timestamp, id: TrackerId, members: u64, assignment: &Assignment) {
        if let Some(tracker) = self.trackers.get_mut(id) {
            tracker.phase = Phase::LoggedIn;
            tracker.failures = 0;
        }
        self.event(Event::Tracker {
            tracker: id,
            connected: true,
        });
        self.on_assignment(now, members, assignment);
        self.report(now, id);
    }

    /// Hints whom to turn to. Who is alone in the table founds the ring.
    fn on_assignment(&mut self, now: Timestamp, members: u64, assignment: &Assignment) {
        let place = |node: &NodeId| Place::of(&self.room, *node);
        let ring: Vec<_> = assignment.ring.iter().map(place).collect();
        let mesh: Vec<_> = assignment.mesh.iter().map(place).collect();
        let is_alone = members <= 1 && self.links.len() == 0;
        self.tell_overlay(now, |overlay, cx| {
            if !overlay.is_member() {
                // Where nobody near by can be reached, somebody far off lets the newcomer in.
                for place in &mesh {
                    overlay.add_candidate(now, *place);
                }
            }
            for place in ring {
                overlay.add_candidate(now, place);
            }
            overlay.start_joining(cx);
            if is_alone {
                overlay.found(cx);
            }
            overlay.refresh(cx);
            overlay.assign_long_links(mesh);
        });
    }

    /// A newcomer that has got nowhere asks for others.
    pub(super) fn ask_trackers(&mut self) {
        let trackers: Vec<_> = self.trackers.logged_in().collect();
        for tracker in trackers {
            let message = TrackerMessage::Ask;
            self.outputs
                .push_back(Output::SendTracker { tracker, message });
        }
    }

    fn on_tracker_error(
        &mut self,
        now: Timestamp,
        id: TrackerId,
        code: ErrorCode,
        message: String,
    ) {
        match code {
            ErrorCode::Topology | ErrorCode::Room | ErrorCode::Login => {
                self.refused_by(now, id, message);
            }
            // Trying again later may help.
            ErrorCode::Malformed | ErrorCode::Forbidden | ErrorCode::Full | ErrorCode::Timeout => {
                self.drop_tracker(now, id);
            }
            // Coming back at once would do what was too much already.
            ErrorCode::Limited => {
                self.trackers.back_off(id);
                self.drop_tracker(now, id);
            }
        }
    }

    pub(super) fn on_tracker_lost(
        &mut self,
        now: Timestamp,
        id: TrackerId,
    ) -> Result<(), InputError> {
        let base = self.config.tracker_backoff;
        let most = self.config.tracker_backoff_max;
        let tracker = self.trackers.get_mut(id).ok_or(InputError::Stale)?;
        if tracker.phase == Phase::Idle {
            return Err(InputError::Stale);
        }
        let was_in = tracker.phase == Phase::LoggedIn;
        tracker.phase = Phase::Idle;
        let wait = base.saturating_mul(1 << tracker.failures.min(10)).min(most);
        tracker.failures += 1;
        // Half of it fixed, half at random: a whole room must not come back at once.
        let jitter = self.trackers.rng.random_range(0.5..1.0);
        let wait = Duration::from_secs_f64(wait.as_secs_f64() * jitter);
        self.timers.set(TimerKind::Tracker(id), now + wait);
        if was_in {
            self.event(Event::Tracker {
                tracker: id,
                connected: false,
            });
        }
        Ok(())
    }

    fn drop_tracker(&mut self, now: Timestamp, id: TrackerId) {
        self.outputs.push_back(Output::CloseTracker { tracker: id });
        // It exists, or there would be nothing to drop.
        let _ = self.on_tracker_lost(now, id);
    }

    /// Something that the tracker is told has changed.
    pub(super) fn report_soon(&mut self, now: Timestamp) {
        let least = self.config.announce_interval / 10;
        let trackers: Vec<_> = self.trackers.logged_in().collect();
        for id in trackers {
            if let Some(tracker) = self.trackers.get_mut(id) {
                tracker.report_due = true;
                let at = now.max(tracker.reported + least);
                self.timers.set_by(TimerKind::Tracker(id), at);
            }
        }
        self.presence_changed();
    }

    fn report(&mut self, now: Timestamp, id: TrackerId) {
        let mut neighbours = self.neighbours();
        neighbours.links.truncate(MAX_REPORTED_LINKS);
        let message = TrackerMessage::Announce {
            member: self.overlay.is_member(),
            successor: neighbours.successor,
            predecessor: neighbours.predecessor,
            links: neighbours.links,
            connected: self.counters.links_opened,
            unconnected: self.counters.links_failed,
        };
        for message in [message, TrackerMessage::Ping] {
            self.outputs.push_back(Output::SendTracker {
                tracker: id,
                message,
            });
        }
        if let Some(tracker) = self.trackers.get_mut(id) {
            tracker.reported = now;
            tracker.report_due = false;
        }
        self.timers
            .set(TimerKind::Tracker(id), now + self.config.announce_interval);
    }

    pub(super) fn on_tracker_timer(&mut self, now: Timestamp, id: TrackerId) {
        let timeout = self.config.tracker_timeout;
        let Some(tracker) = self.trackers.get_mut(id) else {
            return;
        };
        match tracker.phase {
            Phase::Idle => {
                tracker.phase = Phase::Connecting;
                tracker.heard = now;
                self.timers.set(TimerKind::Tracker(id), now + timeout);
                self.outputs
                    .push_back(Output::ConnectTracker { tracker: id });
            }
            Phase::Connecting => self.drop_tracker(now, id),
            Phase::LoggedIn if now.since(tracker.heard) >= timeout => self.drop_tracker(now, id),
            Phase::LoggedIn => self.report(now, id),
        }
    }

    pub(super) fn leave_trackers(&mut self) {
        let trackers: Vec<_> = self.trackers.logged_in().collect();
        for tracker in trackers {
            let message = TrackerMessage::Leave;
            self.outputs
                .push_back(Output::SendTracker { tracker, message });
        }
    }

    pub(super) fn close_trackers(&mut self) {
        for (tracker, state) in self.trackers.ids().zip(&self.trackers.all) {
            if state.phase != Phase::Idle {
                self.outputs.push_back(Output::CloseTracker { tracker });
            }
        }
    }
}
