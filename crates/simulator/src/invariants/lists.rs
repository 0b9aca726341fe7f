//! Lists are ordered, without duplicates, and end before their owner.
//!
//! Source: Zave 2017 derives the first two from her invariant; DESIGN, section 5, adds the third:
//! below r + 1 members a list ends before its owner, because then it says "this is everybody".
//! Checked at any time, of every member, whatever faults there are.

use circlet_core::ring::{Member as _, Place};

use super::view::RingView;

/// The name of the invariant.
pub const NAME: &str = "ordered lists";

/// Checks both lists of every member, which are `list_len` long at most.
///
/// # Errors
/// The first list that is not so, for people.
pub fn check(view: &RingView, list_len: usize) -> Result<(), String> {
    for member in view.members() {
        let backwards: Vec<_> = member.predecessors.iter().rev().copied().collect();
        let after = round([member.place].iter().chain(&member.successors));
        let before = round(backwards.iter().chain([&member.place]));
        for (what, list, is_ordered) in [
            ("successors", &member.successors, after),
            ("predecessors", &member.predecessors, before),
        ] {
            if !is_ordered || list.len() > list_len {
                return Err(format!("{:?} has the {what} {list:?}", member.place));
            }
        }
    }
    Ok(())
}

/// Whether the places follow each other clockwise within one turn, each of them once.
fn round<'a>(places: impl Iterator<Item = &'a Place> + Clone) -> bool {
    let Some(first) = places.clone().next().copied() else {
        return true;
    };
    let follows = |(a, b): (&Place, &Place)| b.is_between(*a, first);
    places.clone().zip(places.skip(1)).all(follows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::view::tests::{ideal_view, place, with};

    #[test]
    fn planted_faults_are_found() {
        let view = ideal_view(9, 4);
        assert_eq!(check(&view, 4), Ok(()));
        assert!(check(&view, 3).is_err(), "too long");
        for bad in [
            &[5, 5][..],
            &[6, 5],
            &[4],
            &[5, 6, 4],
            &[5, 6, 3, 5],
            &[7, 8, 0, 7],
        ] {
            assert!(check(&with(&view, 4, bad), 4).is_err(), "{bad:?}");
        }
        for good in [&[][..], &[5], &[8, 0, 3], &[3]] {
            assert!(check(&with(&view, 4, good), 4).is_ok(), "{good:?}");
        }
    }

    #[test]
    fn predecessors_count_as_well() {
        for (predecessors, right) in [
            (&[3, 2, 0, 8][..], true),
            (&[2, 3], false),
            (&[3, 4], false),
            (&[3, 3], false),
        ] {
            let mut members = ideal_view(9, 4).members().to_vec();
            members[4].predecessors = predecessors.iter().map(|at| place(*at)).collect();
            let view = RingView::new(members);
            assert_eq!(check(&view, 4).is_ok(), right, "{predecessors:?}");
        }
    }
}
