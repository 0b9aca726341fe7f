//! Which members run, as the executor sees it.

use crate::world::NodeIndex;

/// The members that run. Those that have been told to leave run no longer for the executor.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// In an order that follows from what has happened.
    living: Vec<NodeIndex>,
    /// By member: its place in `living`.
    places: Vec<Option<usize>>,
    /// By member: how many sessions it has begun.
    sessions: Vec<u32>,
    /// Those that have ended and not come back, in the order of ending.
    ended: Vec<NodeIndex>,
}

impl Roster {
    pub(super) fn add(&mut self, member: NodeIndex) {
        let index = member.0 as usize;
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
            self.sessions.resize(index + 1, 0);
        }
        if self.places[index].is_none() {
            self.places[index] = Some(self.living.len());
            self.living.push(member);
            self.sessions[index] += 1;
            self.ended.retain(|ended| *ended != member);
        }
    }

    /// Takes a member out; false if it was not there.
    pub(super) fn remove(&mut self, member: NodeIndex) -> bool {
        let Some(place) = self
            .places
            .get_mut(member.0 as usize)
            .and_then(Option::take)
        else {
            return false;
        };
        self.living.swap_remove(place);
        if let Some(moved) = self.living.get(place) {
            self.places[moved.0 as usize] = Some(place);
        }
        self.ended.push(member);
        true
    }

    pub(super) fn living(&self) -> &[NodeIndex] {
        &self.living
    }

    pub(super) fn contains(&self, member: NodeIndex) -> bool {
        self.places
            .get(member.0 as usize)
            .is_some_and(Option::is_some)
    }

    /// The living member that was started first.
    pub(super) fn first(&self) -> Option<NodeIndex> {
        let first = self.places.iter().position(Option::is_some)?;
        u32::try_from(first).ok().map(NodeIndex)
    }

    /// Which of its sessions a member is in.
    pub(super) fn session(&self, member: NodeIndex) -> u32 {
        self.sessions.get(member.0 as usize).copied().unwrap_or(0)
    }

    pub(super) fn ended(&self) -> &[NodeIndex] {
        &self.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_come_and_go_and_come_back() {
        let mut roster = Roster::default();
        let [a, b, c] = [0, 1, 2].map(NodeIndex);
        for member in [a, b, c] {
            roster.add(member);
        }
        assert!(roster.remove(a) && !roster.remove(a));
        assert_eq!(roster.living(), [c, b]);
        assert_eq!((roster.first(), roster.ended()), (Some(b), &[a][..]));
        roster.add(a);
        assert_eq!(
            (roster.first(), roster.session(a), roster.session(b)),
            (Some(a), 2, 1)
        );
        assert!(roster.remove(c) && roster.contains(a) && !roster.contains(c));
        assert_eq!(roster.living(), [a, b]);
    }
}
