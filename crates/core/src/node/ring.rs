//! The node's part of the overlay: its state machine, told what becomes of links, and its actions
//! carried out over them.

use alloc::vec::Vec;

use super::{Channel, Event, LinkId, Node, Role, TimerKind};
use crate::overlay::{Action, Context, Message, Neighbour, Overlay, Table, Timer};
use crate::ring::Place;
use crate::time::Timestamp;
use crate::wire::{ByeReason, Current, Head, Notify, Stabilize};

impl Node {
    /// Tells the overlay something, and does what it wants done.
    pub(super) fn tell_overlay<R>(
        &mut self,
        now: Timestamp,
        what: impl FnOnce(&mut Overlay<Place>, &mut Context<'_, Place>) -> R,
    ) -> R {
        let mut actions = Vec::new();
        let mut cx = Context {
            now,
            config: &self.config,
            topology: self.topology,
            can_connect: self.trackers.can_signal(),
            out: &mut actions,
        };
        let result = what(&mut self.overlay, &mut cx);
        self.neighbours_changed |= self.overlay.take_changed();
        for action in actions {
            self.perform(now, action);
        }
        result
    }

    fn perform(&mut self, now: Timestamp, action: Action<Place>) {
        match action {
            Action::Send { to, message } => {
                if let Some(id) = self.open_link(to) {
                    self.send(id, Channel::Control, Head::from(message));
                }
            }
            Action::Open { to, .. } if !self.may_attempt(now, to) => {
                self.tell_overlay(now, |overlay, cx| overlay.on_failed(cx, to));
            }
            Action::Open { to, wish } => {
                let attempt = self.signalling.new_attempt();
                self.add_link(now, to, Role::Offerer, attempt, wish, None);
            }
            Action::Close { to } => {
                if let Some(id) = self.open_link(to) {
                    self.bye(id, ByeReason::Unwanted);
                }
            }
            Action::LookUp { target, id } => self.look_up(target, id),
            Action::Joined => self.on_joined(now),
            Action::Met { member } => {
                if let Some(id) = self.open_link(member) {
                    self.greet(id);
                }
                self.retry_circulations(now);
            }
            Action::Ask => self.ask_trackers(),
        }
    }

    fn on_joined(&mut self, now: Timestamp) {
        for id in self.member_links() {
            self.greet(id);
        }
        self.announce_presence(now);
        self.update_direct(now);
        self.begin_catching_up(now);
        self.report_soon(now);
        let neighbours = self.neighbours();
        self.event(Event::Joined {
            neighbours,
            members: self.estimate(),
        });
    }

    /// A neighbour said something that concerns the overlay.
    pub(super) fn on_overlay_message(
        &mut self,
        now: Timestamp,
        from: LinkId,
        message: Message<Place>,
    ) {
        if let Some(peer) = self.links.get(from).map(|link| link.peer) {
            self.tell_overlay(now, |overlay, cx| overlay.on_message(cx, peer, message));
        }
    }

    /// How many members there are, as far as this one can tell, itself included.
    pub(super) fn estimate(&self) -> usize {
        self.overlay.estimate(self.config.list_len)
    }

    /// The open link to a member.
    pub(super) fn open_link(&self, to: Place) -> Option<LinkId> {
        self.links
            .to(to.id)
            .filter(|link| link.is_open())
            .map(|link| link.id)
    }

    /// Whether a link leads to somebody who has joined the ring.
    pub(super) fn leads_to_member(&self, id: LinkId) -> bool {
        let known = self
            .links
            .get(id)
            .and_then(|link| self.overlay.neighbour(link.peer));
        known.is_some_and(Neighbour::is_member)
    }

    /// The links to those who have joined the ring.
    pub(super) fn member_links(&self) -> Vec<LinkId> {
        let open = self.links.open().map(|link| link.id);
        open.filter(|id| self.leads_to_member(*id)).collect()
    }

    /// When the overlay wants to be woken, in the node's terms.
    pub(super) fn overlay_timeout(&self) -> Option<(Timestamp, TimerKind)> {
        let (at, timer) = self.overlay.poll_timeout()?;
        let kind = match timer {
            Timer::Stabilize => TimerKind::Stabilize,
            Timer::Tell => TimerKind::Tell,
            Timer::Links => TimerKind::Links,
            Timer::Linger => TimerKind::Linger,
        };
        Some((at, kind))
    }
}

impl From<Message<Place>> for Head {
    fn from(message: Message<Place>) -> Self {
        match message {
            Message::Join(join) => Self::Join(join),
            Message::JoinReply(reply) => Self::JoinReply(reply),
            Message::Stabilize { version } => Self::Stabilize(Stabilize { version }),
            Message::Table(table) => Self::Table(Table::clone(&table)),
            Message::Current { version } => Self::Current(Current { version }),
            Message::Notify => Self::Notify(Notify {}),
            Message::Want(want) => Self::Want(want),
        }
    }
}
