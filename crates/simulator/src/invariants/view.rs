//! What the invariants of the ring look at: all members' lists at one moment, and who can reach
//! whom.

use std::collections::BTreeMap;

use circlet_core::Timestamp;
use circlet_core::ring::Place;

use crate::world::Session;

/// All members at one moment.
#[derive(Clone, Debug, Default)]
pub struct RingView {
    /// In the order of their places.
    members: Vec<Member>,
}

/// A member and its successor list.
#[derive(Clone, Debug)]
pub struct Member {
    /// Where it is.
    pub place: Place,
    /// Which of its sessions runs.
    pub session: Session,
    /// When it became a member.
    pub since: Timestamp,
    /// Whether it became one by founding a ring, not by being let into one.
    pub founder: bool,
    /// Those with the same number can exchange frames, directly or through others.
    pub component: usize,
    /// Its successor list.
    pub successors: Vec<Place>,
    /// Its predecessor list.
    pub predecessors: Vec<Place>,
}

impl RingView {
    /// The view of these members.
    #[must_use]
    pub fn new(mut members: Vec<Member>) -> Self {
        members.sort_by_key(|member| member.place);
        Self { members }
    }

    /// All of them, in the order of their places.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The number of the member at this place, `None` if there is none.
    #[must_use]
    pub fn find(&self, place: Place) -> Option<usize> {
        self.members
            .binary_search_by_key(&place, |member| member.place)
            .ok()
    }

    /// The numbers of the members of each component, in ascending order.
    #[must_use]
    pub fn components(&self) -> Vec<Vec<usize>> {
        let mut components: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, member) in self.members.iter().enumerate() {
            components.entry(member.component).or_default().push(at);
        }
        components.into_values().collect()
    }

    /// The first living entry in the list of the member with number `at`: one who runs, has
    /// joined, and can be reached.
    #[must_use]
    pub fn first_living(&self, at: usize) -> Option<usize> {
        let member = &self.members[at];
        member
            .successors
            .iter()
            .filter_map(|place| self.find(*place))
            .find(|entry| self.members[*entry].component == member.component)
    }

    /// The names of the members with these numbers, for people.
    pub(super) fn names<'a>(&self, numbers: impl IntoIterator<Item = &'a usize>) -> String {
        let name = |at: &usize| self.members[*at].place.id.short();
        let names: Vec<_> = numbers.into_iter().map(name).collect();
        names.join(" ")
    }

    /// Whether the member with number `at` can reach no other member.
    #[must_use]
    pub fn is_alone(&self, at: usize) -> bool {
        let component = self.members[at].component;
        let same = |member: &&Member| member.component == component;
        self.members.iter().filter(same).nth(1).is_none()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use circlet_core::identity::{Incarnation, NodeId};
    use circlet_core::ring::Position;

    pub(crate) fn place(at: u8) -> Place {
        Place {
            position: Position(u64::from(at)),
            id: NodeId::from_bytes([at; 32]),
        }
    }

    /// A member at `at` with these successors, all in one component.
    pub(crate) fn member(at: u8, successors: &[u8]) -> Member {
        Member {
            place: place(at),
            session: Session {
                node: place(at).id,
                incarnation: Incarnation(1),
            },
            since: Timestamp::ZERO,
            founder: false,
            component: 0,
            successors: successors.iter().map(|at| place(*at)).collect(),
            predecessors: Vec::new(),
        }
    }

    /// Members 0 to `count`, their lists `len` long and right.
    pub(crate) fn ideal_view(count: u8, len: u8) -> RingView {
        let successors = |at| {
            (1..=len)
                .map(|step| (at + step) % count)
                .collect::<Vec<_>>()
        };
        RingView::new((0..count).map(|at| member(at, &successors(at))).collect())
    }

    /// The view with the list of one member replaced.
    pub(crate) fn with(view: &RingView, at: u8, successors: &[u8]) -> RingView {
        let mut members = view.members().to_vec();
        members.retain(|member| member.place != place(at));
        members.push(self::member(at, successors));
        RingView::new(members)
    }

    #[test]
    fn the_dead_and_the_unreachable_are_no_living_entries() {
        let mut members = vec![member(0, &[1, 2, 3]), member(2, &[3]), member(3, &[])];
        let view = RingView::new(members.clone());
        assert_eq!(view.first_living(0), Some(1));
        assert_eq!(view.first_living(2), None);
        members[1].component = 1;
        let view = RingView::new(members);
        assert_eq!(view.first_living(0), Some(2));
        assert_eq!(view.first_living(1), None);
        assert!(view.is_alone(1) && !view.is_alone(0));
    }
}
