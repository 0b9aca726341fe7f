//! The overlay state machine: the ring, the long links across it, and the way of a message.
//!
//! [`Node`](crate::node::Node) drives it over signalled, encrypted links; a simulation of a
//! million members drives it over links that are simply there; a model checker exhausts it. So it
//! knows nothing of signals, sessions, frames and keys: it is generic over what names a
//! [`Member`], speaks [`Message`]s to neighbours, and is told what becomes of its links.
//!
//! # The contract
//!
//! Every `on_*` method takes one thing that happened. What is to be done about it is appended to
//! [`Context::out`]; do each [`Action`] in order. The driver keeps at most one link, or attempt,
//! for each neighbour:
//!
//! - [`Action::Open`] begins an attempt of this member's own. One of a neighbour's begins with
//!   [`Overlay::on_offered`], after [`Overlay::accepts`].
//! - An attempt ends with [`Overlay::on_opened`] or [`Overlay::on_failed`].
//! - An open link ends with [`Overlay::on_dead`], [`Overlay::on_left`] or, if its end says nothing
//!   about the neighbour, [`Overlay::on_closed`].
//!
//! The lists of the ring, its links, long links and direct links each have a file, with the source
//! of their rules.

mod direct;
mod joining;
mod long_links;
mod maintenance;
mod neighbours;
#[cfg(feature = "planted-bugs")]
mod planted;
mod quarantine;
mod routing;
mod state;
mod table;
#[cfg(test)]
mod tests;
mod wishes;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use rand::rngs::Xoshiro256PlusPlus;
use thin_vec::ThinVec;

use crate::config::Config;
use crate::ring::{Member, Position};
use crate::time::Timestamp;
use crate::topology::{Topology, Wanted};
use crate::wire::{Want, Wish, Wishes};

pub use long_links::harmonic_distance;
pub use neighbours::{Neighbour, Phase};
pub use routing::{Detour, Hop};
pub use table::{Join, JoinReply, List, Table};

use direct::DirectLinks;
use long_links::LongLinks;
use maintenance::Side;
use neighbours::Neighbours;
use quarantine::Quarantine;

/// What neighbours say to each other to keep the overlay.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message<M> {
    /// Asks to be let in.
    Join(Join<M>),
    /// The answer.
    JoinReply(JoinReply<M>),
    /// Asks for the receiver's table, if it has a newer one than this version (Zave 2017,
    /// StabilizeFromSuccessor).
    Stabilize {
        /// The version that the sender has, 0 for none.
        version: u64,
    },
    /// What the sender knows.
    Table(Arc<Table<M>>),
    /// The answer to [`Message::Stabilize`] if there is no newer table.
    Current {
        /// The version of the sender's table.
        version: u64,
    },
    /// The sender takes the receiver for its successor (Zave 2017, Rectify).
    Notify,
    /// What the sender wants the link for.
    Want(Want),
}

/// One thing for the driver to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<M> {
    /// Say something to a neighbour, over the open link to it.
    Send {
        /// The neighbour.
        to: M,
        /// What to say.
        message: Message<M>,
    },
    /// Begin to set a link up.
    Open {
        /// With whom.
        to: M,
        /// What for.
        wish: Wish,
    },
    /// Close a link that neither side wants, and say so with [`Overlay::on_closed`].
    Close {
        /// To whom.
        to: M,
    },
    /// Find out who is responsible for a position: [`Overlay::next_for_lookup`] says where to
    /// begin. The answer goes to [`Overlay::on_found`].
    LookUp {
        /// The position.
        target: Position,
        /// This member's name for it.
        id: u32,
    },
    /// This member is part of the ring now: said once.
    Joined,
    /// A neighbour is known to be part of the ring now.
    Met {
        /// The neighbour.
        member: M,
    },
    /// A newcomer gets nowhere: whoever can name members is to be asked again.
    Ask,
}

/// Why [`Overlay::poll_timeout`] wants to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The periodic stabilization of the ring.
    Stabilize,
    /// A table that changed is due to be told.
    Tell,
    /// A long or direct link is missing, or a lookup has not been answered.
    Links,
    /// A link that neither side wants has been kept long enough.
    Linger,
}

/// What surrounds a call.
#[derive(Debug)]
pub struct Context<'a, M> {
    /// The present.
    pub now: Timestamp,
    /// How to behave.
    pub config: &'a Config,
    /// The room's topology.
    pub topology: Topology,
    /// Whether there is a way to reach somebody without a link, to set one up.
    pub can_connect: bool,
    /// Where actions are appended.
    pub out: &'a mut Vec<Action<M>>,
}

impl<M> Context<'_, M> {
    fn wanted(&self) -> Wanted {
        self.topology.wanted(self.config)
    }

    fn send(&mut self, to: M, message: Message<M>) {
        self.out.push(Action::Send { to, message });
    }
}

/// What a member has with a neighbour, to go on from: see [`Overlay::resume`].
#[derive(Clone, Debug)]
pub struct Standing<M> {
    /// The neighbour.
    pub member: M,
    /// The last table it told.
    pub table: Arc<Table<M>>,
    /// What this member wants the link for.
    pub mine: Wishes,
    /// What the neighbour wants it for.
    pub theirs: Wishes,
}

/// When each timer is to fire; never, if at the end of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Timers {
    stabilize: Timestamp,
    tell: Timestamp,
    links: Timestamp,
    linger: Timestamp,
}

const NEVER: Timestamp = Timestamp::MAX;

/// A member's part of the overlay.
///
/// Its fields are in the order that they are needed in: what every message and every round of
/// stabilization look at comes first, in a few lines of memory.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Overlay<M: Member> {
    neighbours: Neighbours<M>,
    me: M,
    /// What this member knows of the ring, and tells.
    table: Arc<Table<M>>,
    timers: Timers,
    /// The table has changed since it was told.
    untold: bool,
    /// Links have changed since the table was brought up to date.
    links_changed: bool,
    /// Successor, predecessor or links have changed since [`Overlay::take_changed`].
    changed: bool,
    /// Every ring link that is wanted is there or under way, and nothing has happened since.
    settled: bool,
    /// How many members are known by other means, this one not included.
    known: u32,
    quarantine: Quarantine<M>,
    long: LongLinks<M>,
    /// Until when links are kept that neither side wants.
    lingering: ThinVec<(M, Timestamp)>,
    /// Whom others named, and until when that is worth something.
    candidates: ThinVec<(M, Timestamp)>,
    /// Members that are known to be near by other means than the ring's.
    hints: ThinVec<M>,
    /// Since when this member has had somebody to join but has not joined.
    joining_since: Timestamp,
    told_at: Timestamp,
    /// Nothing in topologies without them.
    direct: Option<Box<DirectLinks<M>>>,
}

impl<M: Member> Overlay<M> {
    /// Knows nobody and is no member yet; `rng` is for its long links.
    #[must_use]
    pub fn new(me: M, rng: Xoshiro256PlusPlus) -> Self {
        Self {
            me,
            table: Arc::default(),
            neighbours: Neighbours::default(),
            quarantine: Quarantine::default(),
            long: LongLinks::new(rng),
            direct: None,
            timers: Timers {
                stabilize: NEVER,
                tell: NEVER,
                links: NEVER,
                linger: NEVER,
            },
            lingering: ThinVec::new(),
            candidates: ThinVec::new(),
            hints: ThinVec::new(),
            known: 0,
            joining_since: NEVER,
            told_at: Timestamp::ZERO,
            untold: false,
            links_changed: false,
            changed: false,
            settled: false,
        }
    }

    /// A member of a ring that has been running for a while: it knows `table`, has told it, and
    /// has an open link to each neighbour, given in order of their places. Its next round of
    /// stabilization is at `stabilize`.
    #[must_use]
    pub fn resume(
        me: M,
        rng: Xoshiro256PlusPlus,
        table: Arc<Table<M>>,
        neighbours: impl IntoIterator<Item = Standing<M>>,
        stabilize: Timestamp,
        list_len: usize,
    ) -> Self {
        let mut overlay = Self::new(me, rng);
        overlay.table = table;
        overlay.timers.stabilize = stabilize;
        overlay.settled = true;
        let drawn_at = overlay.scale(list_len);
        overlay.neighbours = Neighbours::of(neighbours.into_iter().map(|standing| {
            let mut known = Neighbour::standing(standing.table, standing.mine, standing.theirs);
            known.drawn_at = if standing.mine.has(Wish::Long) {
                drawn_at
            } else {
                0
            };
            (standing.member, known)
        }));
        overlay
    }

    /// This member.
    pub fn me(&self) -> M {
        self.me
    }

    /// Whether this member is part of the ring.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.table.member
    }

    /// The successor list, nearest first.
    #[must_use]
    pub fn successors(&self) -> &[M] {
        &self.table.successors
    }

    /// The predecessor list, nearest first.
    #[must_use]
    pub fn predecessors(&self) -> &[M] {
        &self.table.predecessors
    }

    /// The table as this member has it now.
    #[must_use]
    pub fn table(&self) -> &Arc<Table<M>> {
        &self.table
    }

    /// All neighbours, attempts included, in order of their places.
    pub fn neighbours(&self) -> impl Iterator<Item = (M, &Neighbour<M>)> {
        self.neighbours.iter()
    }

    /// The neighbours alone, attempts included, in order of their places.
    #[must_use]
    pub fn members(&self) -> &[M] {
        self.neighbours.members()
    }

    /// Whether there is an open link to `member`.
    #[must_use]
    #[inline]
    pub fn is_open(&self, member: M) -> bool {
        self.neighbours.is_open(member)
    }

    /// What is known of the neighbour that is the `index`-th of [`Overlay::members`].
    #[inline]
    pub fn neighbour_at(&self, index: usize) -> Option<&Neighbour<M>> {
        self.neighbours.at(index)
    }

    /// What is known of one neighbour.
    pub fn neighbour(&self, member: M) -> Option<&Neighbour<M>> {
        self.neighbours.get(member)
    }

    /// The peers of this member's own long links, attempts included.
    pub fn own_long(&self) -> impl Iterator<Item = M> {
        self.neighbours
            .iter()
            .filter(|(_, known)| known.mine.has(Wish::Long))
            .map(|(member, _)| member)
    }

    /// Whether successor, predecessor or links are others than when this was last asked.
    pub fn take_changed(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// When [`Overlay::handle_timeout`] wants to be called next, and why.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Timestamp, Timer)> {
        let Timers {
            stabilize,
            tell,
            links,
            linger,
        } = self.timers;
        let first = stabilize.min(tell).min(links).min(linger);
        let kind = if first == NEVER {
            return None;
        } else if first == stabilize {
            Timer::Stabilize
        } else if first == tell {
            Timer::Tell
        } else if first == links {
            Timer::Links
        } else {
            Timer::Linger
        };
        Some((first, kind))
    }

    /// Does what is due; spurious calls do nothing.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_, M>) {
        while let Some((_, kind)) = self.poll_timeout().filter(|(at, _)| *at <= cx.now) {
            self.fire(cx, kind);
        }
    }

    /// A neighbour said something.
    pub fn on_message(&mut self, cx: &mut Context<'_, M>, from: M, message: Message<M>) {
        if !self.neighbours.is_open(from) {
            return;
        }
        match message {
            Message::Join(join) => self.on_join(cx, from, &join),
            Message::JoinReply(reply) => self.on_join_reply(cx, from, &reply),
            Message::Stabilize { version } => self.on_stabilize(cx, from, version),
            Message::Table(table) => self.on_table(cx, from, table),
            Message::Current { .. } => self.on_current(cx, from),
            Message::Notify => self.on_notify(cx, from),
            Message::Want(want) => self.on_want(cx, from, want),
        }
    }

    /// Nobody is to be found: this member is a ring of one.
    pub fn found(&mut self, cx: &mut Context<'_, M>) {
        if !self.is_member() {
            self.become_member(cx);
        }
    }

    /// What is known of members by other means than the ring's: those nearest on both sides,
    /// and how many there are beside this one.
    pub fn set_known(&mut self, near: Vec<M>, known: usize) {
        if self.hints != near {
            self.hints = near.into();
            self.settled = false;
        }
        self.known = u32::try_from(known).unwrap_or(u32::MAX);
    }

    /// `member` has shown that it lives.
    pub fn on_alive(&mut self, now: Timestamp, member: M) {
        self.quarantine.revive(now, member);
    }

    /// A neighbour has begun an attempt.
    pub fn on_offered(&mut self, member: M, wish: Wish) {
        let known = Neighbour::new(Wishes::NOTHING, Wishes::of(wish));
        self.neighbours.insert(member, known);
    }

    /// Frames can be exchanged with a neighbour.
    pub fn on_opened(&mut self, cx: &mut Context<'_, M>, member: M) {
        if !self.neighbours.contains(member) {
            return;
        }
        self.neighbours.set_phase(member, Phase::Open);
        self.quarantine.lift(member);
        self.links_changed(cx);
        self.tell_wishes(cx, member);
        self.send_table(cx, member);
        if cx.wanted().direct {
            self.on_direct_opened(cx);
        }
    }

    /// An attempt has led to nothing. Whoever keeps failing is left alone for longer and longer.
    pub fn on_failed(&mut self, cx: &mut Context<'_, M>, member: M) {
        let known = self.remove(member);
        let first = cx.config.answer_timeout / 4;
        self.quarantine
            .add_failure(member, cx.now, first, cx.config.quarantine);
        self.links_changed(cx);
        if known
            .as_ref()
            .is_some_and(|known| known.mine.has(Wish::Long))
        {
            self.draw_long_link(cx);
        }
        if known.is_some_and(|known| known.mine.has(Wish::Direct)) {
            self.on_direct_failed(cx, member);
        }
        if !self.is_member() {
            // The one asked may let us in now that somebody nearer cannot be reached.
            for (_, known) in self.neighbours.iter_mut() {
                known.asked = false;
            }
            self.ask_to_join(cx);
        }
        self.refresh(cx);
    }

    /// A link has ended, and that says nothing about the neighbour.
    pub fn on_closed(&mut self, cx: &mut Context<'_, M>, member: M) {
        if self.remove(member).is_some_and(|known| known.is_open()) {
            self.links_changed(cx);
        }
    }

    /// A neighbour is dead. If it is known to live on in a later session, it `lives_on`.
    pub fn on_dead(&mut self, cx: &mut Context<'_, M>, member: M, lives_on: bool) {
        self.remove(member);
        if !lives_on {
            self.quarantine.add(member, cx.now + cx.config.quarantine);
        }
        self.links_changed(cx);
        self.refresh(cx);
    }

    /// A neighbour has left and told its lists: effective at once.
    pub fn on_left(
        &mut self,
        cx: &mut Context<'_, M>,
        member: M,
        successors: &[M],
        predecessors: &[M],
    ) {
        self.remove(member);
        self.quarantine.add(member, cx.now + cx.config.quarantine);
        self.links_changed(cx);
        self.take_over(member, successors, predecessors);
        self.refresh(cx);
    }

    /// A neighbour has missed a heartbeat, or has been heard again.
    pub fn on_suspect(&mut self, member: M, suspect: bool) {
        if self.neighbours.is_open(member) {
            let phase = if suspect { Phase::Suspect } else { Phase::Open };
            self.neighbours.set_phase(member, phase);
        }
    }

    /// Whether `member` was found dead a short while ago.
    #[must_use]
    pub fn holds_dead(&self, now: Timestamp, member: M) -> bool {
        self.quarantine.holds_dead(now, member)
    }

    fn remove(&mut self, member: M) -> Option<Neighbour<M>> {
        self.lingering.retain(|(lingering, _)| *lingering != member);
        self.arm_linger();
        self.settled = false;
        self.neighbours.remove(member)
    }

    fn list(&self, side: Side) -> &[M] {
        match side {
            Side::Successors => &self.table.successors,
            Side::Predecessors => &self.table.predecessors,
        }
    }
}
