//! What members tell each other of the ring.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Deref;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A list of members, cheaply cloned: neighbours' tables are shared, not copied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct List<M>(Arc<[M]>);

impl<M> List<M> {
    /// The members, to be changed, if nobody else holds the list.
    pub(crate) fn get_mut(&mut self) -> Option<&mut [M]> {
        Arc::get_mut(&mut self.0)
    }
}

impl<M> Default for List<M> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<M> Deref for List<M> {
    type Target = [M];

    fn deref(&self) -> &[M] {
        &self.0
    }
}

impl<M> From<Vec<M>> for List<M> {
    fn from(members: Vec<M>) -> Self {
        Self(members.into())
    }
}

impl<M: Clone> From<&[M]> for List<M> {
    fn from(members: &[M]) -> Self {
        Self(members.into())
    }
}

impl<M: Serialize> Serialize for List<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for List<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::<M>::deserialize(deserializer).map(Self::from)
    }
}

/// What a member knows of the ring: sent when a link opens, on change, and when asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Table<M> {
    /// Grows with each change, so that an older table never replaces a newer one.
    pub version: u64,
    /// Whether the sender has joined.
    pub member: bool,
    /// Its successor list, nearest first; ends before itself when it has met everybody.
    pub successors: List<M>,
    /// Its predecessor list, likewise.
    pub predecessors: List<M>,
    /// Everybody it has an open link to, in order: for one step of lookahead.
    pub links: List<M>,
}

impl<M> Default for Table<M> {
    fn default() -> Self {
        Self {
            version: 0,
            member: false,
            successors: List::default(),
            predecessors: List::default(),
            links: List::default(),
        }
    }
}

/// Asks to join between the receiver and its successor (Zave 2017, Join).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Join<M> {
    /// Members between the two that the joiner could not link with: it may join beyond them.
    pub unreachable: List<M>,
}

/// The answer to [`Join`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JoinReply<M> {
    /// Whether the joiner lies between the sender and its successor: it is a member now.
    pub accepted: bool,
    /// The sender's successor list, the joiner's own from now on if accepted.
    pub successors: List<M>,
    /// Members near the joiner: up to 4 before it, nearest first, then up to 4 after it.
    pub nearer: List<M>,
}
