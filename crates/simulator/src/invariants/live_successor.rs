//! Every member has a living entry in its successor list.
//!
//! Source: Zave 2017, the first part of her invariant; an entry lives if it runs, has joined, and
//! can be reached. Who is alone, or the only settled one left, needs none: newcomers are not heard
//! of at once. Demanded of [settled members](super::settled).

use super::view::RingView;

/// The name of the invariant.
pub const NAME: &str = "a living successor";

/// Checks the members with these numbers, who are of one component.
///
/// # Errors
/// The first one that has no living entry, for people.
pub fn check(view: &RingView, whom: &[usize]) -> Result<(), String> {
    // Who was alone, or is the last one left, has not heard of newcomers at once.
    if whom.len() == 1 {
        return Ok(());
    }
    let without = |at: &&usize| view.first_living(**at).is_none() && !view.is_alone(**at);
    match whom.iter().find(without) {
        Some(&at) => {
            let member = &view.members()[at];
            let (place, successors) = (member.place, &member.successors);
            Err(format!("{place:?} has no living entry in {successors:?}"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::view::tests::{ideal_view, member, with};

    #[test]
    fn who_has_no_living_entry_is_found() {
        let view = ideal_view(6, 2);
        let all: Vec<_> = (0..6).collect();
        assert_eq!(check(&view, &all), Ok(()));
        assert_eq!(check(&with(&view, 2, &[200, 4]), &all), Ok(()));
        for bad in [&[][..], &[200], &[200, 201]] {
            let view = with(&view, 2, bad);
            assert!(check(&view, &all).is_err(), "{bad:?}");
            assert_eq!(check(&view, &[0, 1, 3]), Ok(()));
            assert_eq!(check(&view, &[2]), Ok(()));
        }
    }

    #[test]
    fn who_is_alone_needs_none() {
        assert_eq!(check(&RingView::new(vec![member(2, &[])]), &[0]), Ok(()));
        let newcomer = RingView::new(vec![member(2, &[]), member(3, &[2])]);
        assert_eq!(check(&newcomer, &[0]), Ok(()));
        assert!(check(&newcomer, &[0, 1]).is_err());
    }
}
