//! Ring maintenance: stabilize, rectify (Zave, "Reasoning about identifier spaces: how to
//! make Chord correct", IEEE TSE 2017), driven by tables that are told on change.
//!
//! The successor list is always the nearest living linked member clockwise, followed by that
//! member's own list, cut before this member: what Zave's StabilizeFromSuccessor and
//! StabilizeFromPredecessor arrive at. An entry is in it because a chain of members vouches for
//! it, each by first-hand contact with the next; so the dead vanish from all lists as soon as
//! their own neighbours have noticed, and no two members can keep a dead one alive for each
//! other. The predecessor list is the same the other way round, which is Rectify. Entries nearer
//! than the nearest linked member are kept while they are being connected to.
//!
//! Some pairs can never connect. A member that could not be reached is listed all the same as
//! long as a neighbour has an open link to it: first-hand contact again, one step away. Frames
//! between the two go through that neighbour.
//!
//! Below r + 1 members the lists end before their owner: everybody knows everybody, and Zave's
//! floor of r + 1 principals is not needed, because a list that is cut says all there is.
//!
//! Everything else that names members (assignments of trackers, presence, neighbours' tables,
//! replies to joins) is a hint whom to contact, never a reason to believe.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cmp::Ordering;
use core::time::Duration;

use super::{Action, Context, List, Message, NEVER, Neighbour, Overlay, Table};
use crate::ring::Member;
use crate::time::Timestamp;
use crate::wire::{MAX_LIST, Wish};

/// Hints kept; older ones make room.
const MAX_CANDIDATES: usize = 64;

/// Time for which a hint is worth following.
const CANDIDATE_LIFE: Duration = Duration::from_secs(20);

/// Further entries that are tried at once while the nearest one is not connected.
const EXTRA_ATTEMPTS: usize = 3;

/// Hints that a member follows at once on each side; newcomers follow as many as they want
/// links.
pub(super) const MAX_HINTS: usize = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Successors,
    Predecessors,
}

impl Side {
    /// Orders members by how near they are to `me` on this side.
    pub(super) fn order<M: Member>(self, me: M, a: M, b: M) -> Ordering {
        match self {
            Self::Successors => me.clockwise_order(a, b),
            Self::Predecessors => me.clockwise_order(b, a),
        }
    }

    fn list<M>(self, table: &Table<M>) -> &[M] {
        match self {
            Self::Successors => &table.successors,
            Self::Predecessors => &table.predecessors,
        }
    }
}

impl<M: Member> Overlay<M> {
    /// The nearest living neighbour clockwise that frames can be given to.
    #[must_use]
    pub fn effective_successor(&self) -> Option<M> {
        let mut successors = self.table.successors.iter().copied();
        successors.find(|successor| self.neighbours.is_member(*successor))
    }

    /// How many members there are, this one included: counted below r + 1 members, above that
    /// from the span of the lists (Symphony, USITS 2003, section 3.2), and never fewer than are
    /// known by other means.
    #[must_use]
    pub fn estimate(&self, list_len: usize) -> usize {
        let (right, left) = (&self.table.successors, &self.table.predecessors);
        let count = right.len().max(left.len());
        if count < list_len {
            return (count + 1).max(self.known as usize + 1);
        }
        let (Some(last), Some(first)) = (right.last(), left.last()) else {
            return 1;
        };
        let position = self.me.position();
        let span = position.clockwise_to(last.position()) / 2
            + first.position().clockwise_to(position) / 2;
        let per_member = (span / (right.len() + left.len()) as u64).max(1);
        let estimate = (u64::MAX / 2) / per_member;
        usize::try_from(estimate)
            .unwrap_or(usize::MAX)
            .max(self.known as usize + 1)
    }

    /// Links have opened or closed: neighbours' lookahead depends on them.
    pub(super) fn links_changed(&mut self, cx: &Context<'_, M>) {
        self.links_changed = true;
        self.changed = true;
        self.settled = false;
        self.tell_soon(cx);
    }

    pub(super) fn tell_soon(&mut self, cx: &Context<'_, M>) {
        let at = cx.now.max(self.told_at + cx.config.tell_interval);
        self.timers.tell = self.timers.tell.min(at);
    }

    /// What is known of the ring is other than before.
    pub(super) fn set_lists(&mut self, successors: List<M>, predecessors: List<M>, member: bool) {
        self.untold = true;
        let table = &*self.table;
        self.table = Arc::new(Table {
            version: table.version + 1,
            member,
            successors,
            predecessors,
            links: table.links.clone(),
        });
    }

    /// Brings lists and links up to date with what is known now.
    pub fn refresh(&mut self, cx: &mut Context<'_, M>) {
        if self.is_member() {
            let successors = self.chain(cx, Side::Successors);
            let predecessors = self.chain(cx, Side::Predecessors);
            let table = &self.table;
            if successors != *table.successors || predecessors != *table.predecessors {
                let head = table.successors.first().copied();
                self.set_lists(successors.into(), predecessors.into(), true);
                self.changed = true;
                self.tell_soon(cx);
                if self.table.successors.first().copied() != head {
                    self.notify_successor(cx);
                }
            }
        }
        self.seek_neighbours(cx);
        self.seek_direct(cx);
    }

    /// The list of one side: see the head of this file.
    fn chain(&self, cx: &Context<'_, M>, side: Side) -> Vec<M> {
        let me = self.me;
        let dead = |member: M| self.quarantine.holds_dead(cx.now, member);
        let is_head = |(member, known): &(M, &Neighbour<M>)| known.is_member() && !dead(*member);
        let nearest = match side {
            Side::Successors => self.neighbours.clockwise(me).find(is_head),
            Side::Predecessors => self.neighbours.counter_clockwise(me).find(is_head),
        };
        let is_nearer =
            |member: M| nearest.is_none_or(|(n, _)| side.order(me, member, n) == Ordering::Less);
        let mut list = Vec::with_capacity(cx.config.list_len + 1);
        for &member in self.list(side) {
            if !is_nearer(member) {
                break;
            }
            let has_hope = nearest.is_none() || cx.can_connect || self.neighbours.contains(member);
            if !self.quarantine.avoids(cx.now, member) && has_hope {
                list.push(member);
            }
        }
        let hoped_for = list.len();
        // Past the end of what is known there may be others: nobody is skipped for the sake of a
        // link. Those who were kept go on from there once they are connected (Zave's placeholder).
        let is_beyond = |member: M| {
            let last = self.list(side).last();
            hoped_for > 0
                && last.is_some_and(|last| side.order(me, *last, member) == Ordering::Less)
        };
        list.extend(self.quarantine.unreachable(cx.now).filter(|member| {
            *member != me && is_nearer(*member) && !is_beyond(*member) && self.is_seen(*member)
        }));
        if list.len() > hoped_for {
            list.sort_by(|a, b| side.order(me, *a, *b));
            list.dedup();
        }
        if let Some((nearest, known)) = nearest.filter(|(nearest, _)| !is_beyond(*nearest)) {
            list.push(nearest);
            for &member in known.table().map_or(&[][..], |table| side.list(table)) {
                let follows = list
                    .last()
                    .is_none_or(|last| side.order(me, *last, member) == Ordering::Less);
                if member == me || !follows {
                    break;
                }
                if !dead(member) {
                    list.push(member);
                }
            }
        }
        list.truncate(cx.config.list_len);
        #[cfg(feature = "planted-bugs")]
        self.plant(cx, side, &mut list);
        list
    }

    /// Whether a neighbour that lives has an open link to `member`.
    fn is_seen(&self, member: M) -> bool {
        self.neighbours.iter().any(|(_, known)| {
            known.is_member() && !known.is_suspect() && known.links().binary_search(&member).is_ok()
        })
    }

    /// Wants links to the nearest members on both sides, and no ring links to others.
    fn seek_neighbours(&mut self, cx: &mut Context<'_, M>) {
        let mut wanted = self.nearest_known(cx, Side::Successors);
        wanted.extend(self.nearest_known(cx, Side::Predecessors));
        for &member in &wanted {
            self.want_link(cx, member, Wish::Ring);
        }
        self.update_wants(cx, &wanted);
        self.settled = self.candidates.is_empty()
            && self.quarantine.is_empty()
            && wanted
                .iter()
                .all(|member| self.neighbours.contains(*member));
    }

    /// The members to be linked with on one side: the first of the list, a few more while the
    /// nearest one is not connected, and hints of somebody nearer.
    fn nearest_known(&self, cx: &Context<'_, M>, side: Side) -> Vec<M> {
        let me = self.me;
        let list = self.list(side);
        let hints = self.candidates.iter().map(|(member, _)| *member);
        let linked = self
            .neighbours
            .iter()
            .filter(|(_, known)| known.is_member())
            .map(|(member, _)| member);
        let mut known: Vec<_> = hints.chain(linked).chain(list.iter().copied()).collect();
        for head in [
            self.table.successors.first(),
            self.table.predecessors.first(),
        ] {
            let told = head.and_then(|head| self.neighbours.get(*head)?.table());
            if let Some(table) = told {
                known.extend_from_slice(&table.successors);
                known.extend_from_slice(&table.predecessors);
            }
        }
        known.extend_from_slice(&self.hints);
        known.retain(|member| {
            *member != me
                && (self.neighbours.is_open(*member) || !self.quarantine.avoids(cx.now, *member))
        });
        known.sort_by(|a, b| side.order(me, *a, *b));
        known.dedup();
        if !self.is_member() {
            // Anybody can let a newcomer in: those near by who cannot be reached must not keep
            // it from asking those behind them, since an attempt takes longer than the first
            // quarantines.
            known.sort_by_key(|member| self.quarantine.failures(*member));
        }

        let head_is_open = list
            .first()
            .is_some_and(|head| self.neighbours.is_open(*head));
        let extra = if head_is_open { 0 } else { EXTRA_ATTEMPTS };
        let ring_links = cx.wanted().ring_links;
        let most_hints = if self.is_member() {
            MAX_HINTS
        } else {
            ring_links
        };
        let (mut sure, mut hinted) = (0, 0);
        known.retain(|member| {
            if sure >= ring_links + extra {
                return false;
            }
            let is_sure = list.contains(member) || self.neighbours.is_open(*member);
            if is_sure {
                sure += 1;
            } else {
                hinted += 1;
            }
            is_sure || hinted <= most_hints
        });
        known
    }

    /// Keeps a hint that `member` may be a neighbour. [`Overlay::refresh`] follows it.
    pub fn add_candidate(&mut self, now: Timestamp, member: M) {
        if member == self.me {
            return;
        }
        self.candidates.retain(|(known, _)| *known != member);
        if self.candidates.len() >= MAX_CANDIDATES {
            self.candidates.remove(0);
        }
        self.candidates.push((member, now + CANDIDATE_LIFE));
        self.settled = false;
    }

    pub(super) fn stabilize_by(&mut self, cx: &Context<'_, M>) {
        let at = cx.now + cx.config.stabilize;
        self.timers.stabilize = self.timers.stabilize.min(at);
    }

    pub(super) fn on_table(&mut self, cx: &mut Context<'_, M>, from: M, table: Arc<Table<M>>) {
        let Some(known) = self.neighbours.get_mut(from) else {
            return;
        };
        if known.has_told(&table) || table.version <= known.version() {
            return;
        }
        let became_member = table.member && !known.is_member();
        let lists_differ = known.table().is_none_or(|before| {
            before.successors != table.successors || before.predecessors != table.predecessors
        });
        known.asked = false;
        self.neighbours.set_table(from, table);
        if !self.is_member() {
            self.ask_to_join(cx);
        }
        // Most tables tell of somebody's long links, which change nothing here.
        if became_member
            || !self.settled
            || !self.quarantine.is_empty()
            || (lists_differ && self.is_beside(from))
        {
            self.refresh(cx);
        }
        if became_member {
            cx.out.push(Action::Met { member: from });
        }
    }

    /// Whether a neighbour is the nearest one on either side, or held to be.
    fn is_beside(&self, member: M) -> bool {
        let me = self.me;
        let is_member = |(_, known): &(M, &Neighbour<M>)| known.is_member();
        let nearest = [
            self.neighbours.clockwise(me).find(is_member),
            self.neighbours.counter_clockwise(me).find(is_member),
        ];
        nearest
            .iter()
            .flatten()
            .any(|(nearest, _)| *nearest == member)
            || self.table.successors.first() == Some(&member)
            || self.table.predecessors.first() == Some(&member)
    }

    /// A neighbour asks what has changed.
    pub(super) fn on_stabilize(&mut self, cx: &mut Context<'_, M>, from: M, version: u64) {
        self.update_links(cx);
        if self.table.version > version {
            self.send_table(cx, from);
        } else {
            let version = self.table.version;
            cx.send(from, Message::Current { version });
        }
    }

    /// The successor has told nothing new, so it is the successor still: Rectify, there.
    pub(super) fn on_current(&mut self, cx: &mut Context<'_, M>, from: M) {
        if self.table.successors.first() == Some(&from) {
            cx.send(from, Message::Notify);
        }
    }

    /// A neighbour takes this member for its successor. If somebody lies between, the table
    /// tells.
    pub(super) fn on_notify(&mut self, cx: &mut Context<'_, M>, from: M) {
        if self.table.predecessors.first() == Some(&from) {
            return;
        }
        self.refresh(cx);
        if self.table.predecessors.first() != Some(&from) {
            self.send_table(cx, from);
        }
    }

    pub(super) fn notify_successor(&mut self, cx: &mut Context<'_, M>) {
        #[cfg(feature = "planted-bugs")]
        if cx.config.planted_bug == Some(crate::PlantedBug::UnsaidRepair) {
            return;
        }
        if let Some(successor) = self.effective_successor() {
            cx.send(successor, Message::Notify);
        }
    }

    pub(super) fn on_stabilize_timer(&mut self, cx: &mut Context<'_, M>) {
        self.timers.stabilize = cx.now + cx.config.stabilize;
        self.candidates.retain(|(_, until)| cx.now < *until);
        if self.is_member() {
            // A newcomer says whom it could not reach when it asks to be let in.
            self.quarantine.prune(cx.now, 2 * cx.config.quarantine);
        }
        if self.joining_since != NEVER {
            self.go_on_joining(cx);
            if self.is_member() {
                return;
            }
        }
        if let Some(successor) = self.effective_successor()
            && let Some(known) = self.neighbours.get(successor)
        {
            let version = known.version();
            cx.send(successor, Message::Stabilize { version });
        }
        self.check_long_links(cx);
        if self.settled {
            self.seek_direct(cx);
        } else {
            self.refresh(cx);
        }
    }

    /// A neighbour leaves: its lists take its place, unless it has none, not having joined yet.
    pub(super) fn take_over(&mut self, leaver: M, successors: &[M], predecessors: &[M]) {
        let me = self.me;
        let follow = |side: Side, theirs: &[M]| -> Vec<M> {
            let mine = self.list(side);
            let list = if mine.first() == Some(&leaver) && !theirs.is_empty() {
                theirs
            } else {
                mine
            };
            let others = |member: &M| *member != leaver && *member != me;
            let mut list: Vec<_> = list.iter().copied().filter(others).collect();
            // Its list is ordered from where it was: it may not have known this member.
            list.sort_by(|a, b| side.order(me, *a, *b));
            list
        };
        let successors = follow(Side::Successors, successors);
        let predecessors = follow(Side::Predecessors, predecessors);
        self.set_lists(successors.into(), predecessors.into(), self.is_member());
        self.candidates.retain(|(member, _)| *member != leaver);
    }

    /// Tells all neighbours the table if it has changed.
    pub(super) fn tell(&mut self, cx: &mut Context<'_, M>) {
        self.timers.tell = NEVER;
        self.told_at = cx.now;
        self.update_links(cx);
        if core::mem::take(&mut self.untold) {
            for (member, known) in self.neighbours.iter() {
                if known.is_open() {
                    cx.send(member, Message::Table(Arc::clone(&self.table)));
                }
            }
        }
    }

    pub(super) fn send_table(&mut self, cx: &mut Context<'_, M>, to: M) {
        self.update_links(cx);
        cx.send(to, Message::Table(Arc::clone(&self.table)));
    }

    /// Brings the links in the table up to date.
    fn update_links(&mut self, cx: &Context<'_, M>) {
        let is_first = self.table.version == 0;
        if !core::mem::take(&mut self.links_changed) && !is_first {
            return;
        }
        let most = if cx.config.lookahead { MAX_LIST } else { 0 };
        let links: Vec<_> = self
            .neighbours
            .iter()
            .filter(|(_, known)| known.is_open())
            .map(|(member, _)| member)
            .take(most)
            .collect();
        if is_first || *self.table.links != *links {
            self.untold = true;
            let table = &*self.table;
            self.table = Arc::new(Table {
                version: table.version + 1,
                links: links.into(),
                ..table.clone()
            });
        }
    }
}
