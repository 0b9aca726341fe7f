//! The neighbours: members that this one has a link with, or is about to.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::table::Table;
use crate::ring::Member;
use crate::wire::Want;

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
    pub(super) table: Option<Arc<Table<M>>>,
    pub(super) phase: Phase,
    /// Whether that says that it has joined the ring.
    pub(super) member: bool,
    /// What this member wants the link for.
    pub(super) mine: Want,
    /// What the neighbour wants it for.
    pub(super) theirs: Want,
    /// It was asked to let this member join, and has told no newer table since.
    pub(super) asked: bool,
    /// Eight times the binary logarithm of the number of members when it was drawn as a long
    /// link; 0 if it was not.
    pub(super) drawn_at: u8,
}

impl<M> Neighbour<M> {
    pub(super) const fn new() -> Self {
        Self {
            table: None,
            phase: Phase::Connecting,
            member: false,
            mine: Want::NOTHING,
            theirs: Want::NOTHING,
            asked: false,
            drawn_at: 0,
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
    pub const fn mine(&self) -> &Want {
        &self.mine
    }

    /// What the neighbour wants the link for.
    #[must_use]
    pub const fn theirs(&self) -> &Want {
        &self.theirs
    }

    pub(super) fn version(&self) -> u64 {
        self.table.as_ref().map_or(0, |table| table.version)
    }

    pub(super) fn links(&self) -> &[M] {
        self.table.as_ref().map_or(&[], |table| &table.links)
    }
}

/// All neighbours, in order of their places. Members and what is known of them lie apart:
/// whoever routes looks at the members alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Neighbours<M> {
    members: Vec<M>,
    known: Vec<Neighbour<M>>,
}

impl<M> Default for Neighbours<M> {
    fn default() -> Self {
        Self {
            members: Vec::new(),
            known: Vec::new(),
        }
    }
}

impl<M: Member> Neighbours<M> {
    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn members(&self) -> &[M] {
        &self.members
    }

    /// The neighbour at a place among [`Neighbours::members`].
    pub(super) fn at(&self, index: usize) -> &Neighbour<M> {
        &self.known[index]
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

    pub(super) fn is_open(&self, member: M) -> bool {
        self.get(member).is_some_and(Neighbour::is_open)
    }

    pub(super) fn insert(&mut self, member: M) -> &mut Neighbour<M> {
        let at = match self.members.binary_search(&member) {
            Ok(at) => {
                self.known[at] = Neighbour::new();
                at
            }
            Err(at) => {
                self.members.insert(at, member);
                self.known.insert(at, Neighbour::new());
                at
            }
        };
        &mut self.known[at]
    }

    pub(super) fn remove(&mut self, member: M) -> Option<Neighbour<M>> {
        let at = self.members.binary_search(&member).ok()?;
        self.members.remove(at);
        Some(self.known.remove(at))
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

    pub(super) fn shrink(&mut self) {
        self.members.shrink_to_fit();
        self.known.shrink_to_fit();
    }
}
