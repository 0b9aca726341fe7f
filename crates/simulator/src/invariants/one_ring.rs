//! There is one ordered ring in each connected component, and everybody else leads to it.
//!
//! Source: Zave 2017: "exactly one ordered ring" and "connected appendages" follow from her
//! invariant, for the ring of first living successors. A component is a set of nodes that can
//! exchange frames, directly or through others. Demanded of [settled members](super::settled), so
//! not while two rings in one component become one.

use std::collections::BTreeSet;

use super::view::RingView;

/// The name of the invariant.
pub const NAME: &str = "one ordered ring";

/// Checks that the members with these numbers, who are of one component, lead to one ring, and
/// that it goes round once. Those who lead nowhere are [another invariant](super::live_successor)'s.
///
/// # Errors
/// Where they lead, for people.
pub fn check(view: &RingView, whom: &[usize]) -> Result<(), String> {
    let rings = Rings::of(view);
    let ends = rings.ends(whom);
    if ends.len() < 2 && ends.iter().all(|ring| rings.rings[*ring].ordered) {
        return Ok(());
    }
    let names = |ring: &usize| view.names(&rings.rings[*ring].members);
    let names: Vec<_> = ends.iter().map(names).collect();
    Err(format!(
        "{} members are in: {}",
        whom.len(),
        names.join(" | ")
    ))
}

/// How many rings the members with these numbers lead to.
pub(super) fn count(view: &RingView, whom: &[usize]) -> usize {
    Rings::of(view).ends(whom).len()
}

/// The rings that first living successors make.
struct Rings {
    rings: Vec<Ring>,
    /// The ring that each member leads to, `None` if it leads nowhere.
    end: Vec<Option<usize>>,
}

struct Ring {
    members: Vec<usize>,
    /// Whether it goes round once.
    ordered: bool,
}

impl Rings {
    fn of(view: &RingView) -> Self {
        let count = view.members().len();
        let next: Vec<_> = (0..count).map(|at| successor(view, at)).collect();
        let mut rings = Self {
            rings: Vec::new(),
            end: vec![None; count],
        };
        let mut visited = vec![false; count];
        for start in 0..count {
            let mut path = Vec::new();
            let mut at = Some(start);
            while let Some(here) = at.filter(|here| !visited[*here]) {
                visited[here] = true;
                path.push(here);
                at = next[here];
            }
            let end = at.and_then(|here| {
                let known = rings.end[here];
                known.or_else(|| {
                    let from = path.iter().position(|on_path| *on_path == here)?;
                    rings.rings.push(Ring::new(path[from..].to_vec()));
                    Some(rings.rings.len() - 1)
                })
            });
            for here in path {
                rings.end[here] = end;
            }
        }
        rings
    }

    /// The rings that these members lead to.
    fn ends(&self, whom: &[usize]) -> BTreeSet<usize> {
        whom.iter().filter_map(|at| self.end[*at]).collect()
    }
}

impl Ring {
    fn new(members: Vec<usize>) -> Self {
        // Numbers are in the order of places: once round goes down once.
        let after = members.iter().skip(1).chain(members.first());
        let turns = members.iter().zip(after).filter(|(a, b)| b <= a).count();
        Self {
            members,
            ordered: turns == 1,
        }
    }
}

/// Whom a member takes for its successor: itself if it knows nobody.
fn successor(view: &RingView, at: usize) -> Option<usize> {
    if view.members()[at].successors.is_empty() {
        return Some(at);
    }
    // Who lists only the dead and can reach nobody is as good as alone.
    view.first_living(at)
        .or_else(|| view.is_alone(at).then_some(at))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::view::tests::{ideal_view, member, with};

    const ALL: [usize; 6] = [0, 1, 2, 3, 4, 5];

    #[test]
    fn an_appendage_is_no_fault() {
        let view = ideal_view(6, 2);
        assert_eq!(check(&view, &ALL), Ok(()));
        // Nobody's successor is 3 any more, and it still leads to the ring.
        assert_eq!(check(&with(&view, 2, &[4, 5]), &ALL), Ok(()));
        // Nothing is demanded of somebody else's ring.
        let mut members = view.members().to_vec();
        members.push(member(100, &[]));
        assert_eq!(check(&RingView::new(members), &ALL), Ok(()));
    }

    #[test]
    fn a_ring_that_falls_apart_is_found() {
        let view = ideal_view(6, 1);
        let two = with(&with(&view, 2, &[0]), 5, &[3]);
        assert!(check(&two, &ALL).is_err());
        assert_eq!(check(&two, &ALL[..3]), Ok(()));
    }

    #[test]
    fn a_ring_must_go_round_once() {
        let mut view = ideal_view(6, 1);
        for (at, next) in [(0, 2), (2, 4), (4, 1), (1, 3), (3, 5), (5, 0)] {
            view = with(&view, at, &[next]);
        }
        assert!(check(&view, &ALL).is_err());
    }

    #[test]
    fn each_component_has_its_own() {
        let mut members = ideal_view(6, 5).members().to_vec();
        for member in &mut members[3..] {
            member.component = 1;
        }
        let parted = RingView::new(members);
        assert!(check(&parted, &ALL).is_err());
        for part in [&ALL[..3], &ALL[3..]] {
            assert_eq!(check(&parted, part), Ok(()));
        }
        let two = with(&with(&parted, 1, &[]), 0, &[2]);
        assert!(check(&two, &ALL[..3]).is_err());
    }
}
