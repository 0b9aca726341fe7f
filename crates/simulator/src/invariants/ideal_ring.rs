//! The ring is ideal: every living member knows its place in it.
//!
//! Source: Zave, "Reasoning about identifier spaces: how to make Chord correct" (IEEE TSE 2017),
//! section 3: in the ideal state every successor list is the list of the next living members.
//! DESIGN, section 5, asks the same of predecessor lists, and lets a list end before its owner
//! when there are no more than r others. Checked once faults are over and repaired.

use circlet_core::node::Snapshot;
use circlet_core::ring::Place;

/// The name of the invariant.
pub const NAME: &str = "ideal ring";

/// Checks that these living nodes form one ideal ring with lists of `list_len` members.
///
/// # Errors
/// The first thing that is not so, for people.
pub fn check_ideal(nodes: &[Snapshot], list_len: usize) -> Result<(), String> {
    let order = IdealRing::new(nodes.iter().map(|node| Place {
        position: node.position,
        id: node.node,
    }));
    nodes
        .iter()
        .try_for_each(|node| order.check(node, list_len))
}

/// The places that living nodes should have.
#[derive(Clone, Debug)]
pub struct IdealRing(Vec<Place>);

impl IdealRing {
    /// The ideal ring of these members.
    pub fn new(members: impl IntoIterator<Item = Place>) -> Self {
        let mut order: Vec<_> = members.into_iter().collect();
        order.sort();
        Self(order)
    }

    /// Checks that one of the members knows its place, with lists of `list_len` members.
    ///
    /// # Errors
    /// What is not so, for people.
    pub fn check(&self, node: &Snapshot, list_len: usize) -> Result<(), String> {
        let order = &self.0;
        let (name, count) = (node.node.short(), order.len());
        if !node.member {
            return Err(format!("{name} has not joined"));
        }
        let own = Place {
            position: node.position,
            id: node.node,
        };
        let at = order
            .binary_search(&own)
            .map_err(|_| format!("{name} is not one of them"))?;
        let next = |step: usize| order[(at + step) % count].id;
        let steps = 1..=list_len.min(count - 1);
        let successors: Vec<_> = steps.clone().map(next).collect();
        let predecessors: Vec<_> = steps.map(|step| next(count - step)).collect();
        for (what, have, want) in [
            ("successors", &node.successors, successors),
            ("predecessors", &node.predecessors, predecessors),
        ] {
            if *have != want {
                return Err(format!(
                    "{name}, place {at} of {count}, has the {what} {have:?}, and they are {want:?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::ideal;

    #[test]
    fn an_ideal_ring_of_any_size_is_one() {
        for count in [1, 2, 3, 8, 9, 10, 30] {
            assert_eq!(check_ideal(&ideal(count, 8), 8), Ok(()), "{count}");
        }
    }

    #[test]
    fn planted_faults_are_found() {
        let faults: [fn(&mut Snapshot); 6] = [
            |node| node.member = false,
            |node| node.successors.swap(0, 1),
            |node| node.predecessors.swap(0, 1),
            |node| node.successors.truncate(3),
            |node| {
                node.predecessors.remove(0);
            },
            |node| node.successors.push(node.node),
        ];
        for (number, fault) in faults.into_iter().enumerate() {
            let mut nodes = ideal(12, 4);
            fault(&mut nodes[7]);
            assert!(check_ideal(&nodes, 4).is_err(), "fault {number}");
        }
        let mut gone = ideal(12, 4);
        gone.remove(3);
        assert!(check_ideal(&gone, 4).is_err());
    }

    #[test]
    fn two_rings_are_not_one() {
        let mut all = ideal(12, 8);
        let (even, odd): (Vec<_>, Vec<_>) = (0..12).partition(|at| at % 2 == 0);
        for half in [even, odd] {
            let ids: Vec<_> = half.iter().map(|at| all[*at].node).collect();
            for (step, at) in half.iter().enumerate() {
                let next = |by: usize| ids[(step + by) % ids.len()];
                all[*at].successors = (1..6).map(next).collect();
                all[*at].predecessors = (1..6).map(|by| next(6 - by)).collect();
            }
        }
        assert!(check_ideal(&all, 8).is_err());
    }
}
