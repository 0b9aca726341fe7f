//! The neighbours: members that this one has a link with, or is about to.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem;

use smallvec::SmallVec;

use super::table::Table;
use crate::ring::Member;
use crate::wire::{Want, Wish, Wishes};

/// How far a link is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Being set up.
    Connecting,
    /// Frames can be exchanged.
    Open,
    /// Open, but its peer has missed more than a heartbeat.
    Suspect,
}

/// What is known of one neighbour: 16 bytes, since a million nodes have dozens each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Neighbour<M> {
    /// The last table it told.
    table: Option<Arc<Table<M>>>,
    phase: Phase,
    /// Whether that says that it has joined the ring.
    member: bool,
    /// What this member wants the link for.
    pub(super) mine: Wishes,
    /// What the neighbour wants it for.
    pub(super) theirs: Wishes,
    /// The number of the last [`Want`] that this member has sent.
    told: u8,
    /// The number of the latest one that has come.
    heard: u8,
    /// It was asked to let this member join, and has told no newer table since.
    pub(super) asked: bool,
    /// Eight times the binary logarithm of the number of members when it was drawn as a long
    /// link; 0 if it was not.
    pub(super) drawn_at: u8,
}

impl<M> Neighbour<M> {
    /// One that a link is about to be set up with.
    pub(super) const fn new(mine: Wishes, theirs: Wishes) -> Self {
        Self {
            table: None,
            phase: Phase::Connecting,
            member: false,
            mine,
            theirs,
            told: 0,
            heard: 0,
            asked: false,
            drawn_at: 0,
        }
    }

    /// One that has told `table` over an open link.
    pub(super) fn standing(table: Arc<Table<M>>, mine: Wishes, theirs: Wishes) -> Self {
        Self {
            phase: Phase::Open,
            member: table.member,
            table: Some(table),
            ..Self::new(mine, theirs)
        }
    }

    /// Whether frames can be exchanged.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.phase != Phase::Connecting
    }

    /// Whether it is there and has joined the ring.
    #[must_use]
    pub fn is_member(&self) -> bool {
        self.is_open() && self.member
    }

    /// Whether the peer has missed more than a heartbeat.
    #[must_use]
    pub fn is_suspect(&self) -> bool {
        self.phase == Phase::Suspect
    }

    /// The last table it told, if any.
    #[must_use]
    pub fn table(&self) -> Option<&Table<M>> {
        self.table.as_deref()
    }

    /// What this member wants the link for.
    #[must_use]
    pub const fn mine(&self) -> &Wishes {
        &self.mine
    }

    /// What the neighbour wants the link for.
    #[must_use]
    pub const fn theirs(&self) -> &Wishes {
        &self.theirs
    }

    /// The numbers of the last [`Want`] that was sent, and of the latest one that has come.
    #[must_use]
    pub const fn serials(&self) -> (u8, u8) {
        (self.told, self.heard)
    }

    /// What to tell the neighbour of this member's wishes now.
    pub(super) const fn next_want(&mut self) -> Want {
        self.told = self.told.wrapping_add(1);
        Want {
            wishes: self.mine,
            serial: self.told,
        }
    }

    /// Takes what the neighbour told of its wishes, unless something later has overtaken it.
    pub(super) const fn hear_want(&mut self, want: Want) {
        if want.is_after(self.heard) {
            self.theirs = want.wishes;
            self.heard = want.serial;
        }
    }

    fn is_ready(&self) -> bool {
        self.member && self.phase == Phase::Open
    }

    /// Whether `table` is the one that it told last.
    pub(super) fn has_told(&self, table: &Arc<Table<M>>) -> bool {
        let told = self.table.as_ref();
        told.is_some_and(|told| Arc::ptr_eq(told, table))
    }

    /// Whether the link is a long link of the neighbour's and nothing else.
    #[must_use]
    pub const fn is_accepted_long(&self) -> bool {
        self.is_only_for(Wish::Long)
    }

    /// Whether the link is a direct link of the neighbour's and nothing else.
    pub(super) const fn is_accepted_direct(&self) -> bool {
        self.is_only_for(Wish::Direct)
    }

    /// Whether the link is wanted as a direct one, by either side.
    pub(super) const fn is_direct(&self) -> bool {
        self.mine.and(self.theirs).has(Wish::Direct)
    }

    /// Whether the neighbour wants the link for this and nothing else, and this member does not.
    const fn is_only_for(&self, wish: Wish) -> bool {
        !self.mine.anything() && self.theirs.has(wish) && !self.theirs.has(Wish::Ring)
    }

    pub(super) fn version(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.version)
    }

    pub(super) fn links(&self) -> &[M] {
        self.table.as_ref().map_or(&[], |table| &table.links)
    }
}

/// How many neighbours there are bits for.
const BITS: usize = u64::BITS as usize;

/// Members whose places are kept in line: 4 + 4 ring links, 8 own and 16 accepted long links.
const IN_LINE: usize = 32;

/// All neighbours, in order of their places. Members and what is known of them lie apart, and
/// who may be given messages stands here: whoever routes looks at nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub(super) struct Neighbours<M: Member> {
    /// Ends with its length, so that what is looked at most lies together.
    members: SmallVec<[M; IN_LINE]>,
    /// Bit n: there is an open link to the n-th neighbour.
    open: u64,
    /// Bit n: besides, it has joined, and is not suspect.
    ready: u64,
    /// Of each what is known of it.
    known: Box<[Neighbour<M>]>,
}

impl<M: Member> Default for Neighbours<M> {
    fn default() -> Self {
        Self {
            members: SmallVec::new(),
            open: 0,
            ready: 0,
            known: Box::default(),
        }
    }
}

impl<M: Member> Neighbours<M> {
    /// These, given in order of their places.
    pub(super) fn of(known: impl Iterator<Item = (M, Neighbour<M>)>) -> Self {
        let (members, known): (_, Vec<_>) = known.unzip();
        let mut neighbours = Self {
            members,
            open: 0,
            ready: 0,
            known: known.into(),
        };
        neighbours.note_links();
        neighbours
    }

    /// How many links are long links of others, or may become ones without a way to refuse them: a
    /// ring link may cease to be one, and cannot be closed for that before it is open.
    pub(super) fn long_of_others(&self) -> usize {
        let is_long = |known: &&Neighbour<M>| {
            let is_ring = known.mine.has(Wish::Ring) && known.is_open();
            known.theirs.has(Wish::Long) && !is_ring
        };
        self.known.iter().filter(is_long).count()
    }

    /// How many links are direct ones.
    pub(super) fn direct(&self) -> usize {
        self.known.iter().filter(|known| known.is_direct()).count()
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self) -> &[M] {
        &self.members
    }

    /// What is known of the `index`-th of [`Neighbours::members`].
    pub(super) fn at(&self, index: usize) -> Option<&Neighbour<M>> {
        self.known.get(index)
    }

    /// Whether the `index`-th of [`Neighbours::members`] may be given messages: it has joined,
    /// and is not suspect.
    #[inline]
    pub(super) fn is_ready(&self, index: usize) -> bool {
        if index < BITS {
            self.ready & 1 << index != 0
        } else {
            self.known[index].is_ready()
        }
    }

    /// Whether there is an open link to the `index`-th of [`Neighbours::members`].
    #[inline]
    pub(super) fn is_open_at(&self, index: usize) -> bool {
        if index < BITS {
            self.open & 1 << index != 0
        } else {
            self.known[index].is_open()
        }
    }

    pub(super) fn get(&self, member: M) -> Option<&Neighbour<M>> {
        let at = self.members.binary_search(&member).ok()?;
        self.known.get(at)
    }

    pub(super) fn get_mut(&mut self, member: M) -> Option<&mut Neighbour<M>> {
        let at = self.members.binary_search(&member).ok()?;
        self.known.get_mut(at)
    }

    pub(super) fn contains(&self, member: M) -> bool {
        self.members.binary_search(&member).is_ok()
    }

    #[inline]
    pub(super) fn is_open(&self, member: M) -> bool {
        let at = self.members.binary_search(&member);
        at.is_ok_and(|at| self.is_open_at(at))
    }

    /// Whether it is there and has joined the ring.
    #[inline]
    pub(super) fn is_member(&self, member: M) -> bool {
        let at = self.members.binary_search(&member);
        at.is_ok_and(|at| self.is_ready(at) || self.known[at].is_member())
    }

    pub(super) fn insert(&mut self, member: M, known: Neighbour<M>) {
        match self.members.binary_search(&member) {
            Ok(at) => self.known[at] = known,
            Err(at) => {
                self.members.insert(at, member);
                let mut all = mem::take(&mut self.known).into_vec();
                all.insert(at, known);
                self.known = all.into();
            }
        }
        self.note_links();
    }

    pub(super) fn remove(&mut self, member: M) -> Option<Neighbour<M>> {
        let at = self.members.binary_search(&member).ok()?;
        self.members.remove(at);
        let mut all = mem::take(&mut self.known).into_vec();
        let known = all.remove(at);
        self.known = all.into();
        self.note_links();
        Some(known)
    }

    pub(super) fn set_phase(&mut self, member: M, phase: Phase) {
        if let Some(known) = self.get_mut(member) {
            known.phase = phase;
            self.note_links();
        }
    }

    pub(super) fn set_table(&mut self, member: M, table: Arc<Table<M>>) {
        if let Some(known) = self.get_mut(member) {
            known.member = table.member;
            known.table = Some(table);
            self.note_links();
        }
    }

    fn note_links(&mut self) {
        (self.open, self.ready) = (0, 0);
        for (bit, known) in self.known.iter().take(BITS).enumerate() {
            self.open |= u64::from(known.is_open()) << bit;
            self.ready |= u64::from(known.is_ready()) << bit;
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (M, &Neighbour<M>)> {
        self.members.iter().copied().zip(&self.known)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (M, &mut Neighbour<M>)> {
        self.members.iter().copied().zip(&mut self.known)
    }

    /// All of them clockwise, from the first one after `from` on.
    pub(super) fn clockwise(&self, from: M) -> impl Iterator<Item = (M, &Neighbour<M>)> {
        let start = self.members.partition_point(|member| *member <= from);
        let at = |index: usize| (self.members[index], &self.known[index]);
        (start..self.members.len()).chain(0..start).map(at)
    }

    /// All of them counter-clockwise, from the last one before `from` on.
    pub(super) fn counter_clockwise(&self, from: M) -> impl Iterator<Item = (M, &Neighbour<M>)> {
        let end = self.members.partition_point(|member| *member < from);
        let at = |index: usize| (self.members[index], &self.known[index]);
        (0..end)
            .rev()
            .chain((end..self.members.len()).rev())
            .map(at)
    }
}
