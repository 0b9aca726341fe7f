//! There are at least r + 1 principals.
//!
//! Source: Zave 2017, the second part of her invariant: p is a principal if for no member m an
//! adjacent pair (j, k) of m and its successors skips it, with p strictly between j and k. Where
//! there are as many, lists are ordered, there is exactly one ordered ring, and appendages are
//! connected to it. With r + 1 members or fewer, lists end before their owner, and r is
//! min(r, members - 1) (DESIGN, section 5). Demanded of [settled members](super::settled), in
//! each component.

use circlet_core::ring::Member as _;

use super::view::RingView;

/// The name of the invariant.
pub const NAME: &str = "principals";

/// Checks that of the members with these numbers, who are of one component, as many as there
/// must be are principals: `list_len` and one, or all if they are fewer.
///
/// # Errors
/// Who are skipped, for people.
pub fn check(view: &RingView, whom: &[usize], list_len: usize) -> Result<(), String> {
    let skipped: Vec<_> = whom
        .iter()
        .filter(|at| skips(view, **at).is_some())
        .collect();
    let principals = whom.len() - skipped.len();
    if principals >= whom.len().min(list_len + 1) {
        return Ok(());
    }
    let by = skipped.first().and_then(|at| skips(view, **at));
    let by = by.map(|by| &view.members()[by]);
    Err(format!(
        "{principals} of {} are left: {} are skipped, the first by {:?} with {:?}",
        whom.len(),
        view.names(skipped),
        by.map(|by| by.place),
        by.map(|by| &by.successors)
    ))
}

/// The first member of its component that skips the one with number `at`.
fn skips(view: &RingView, at: usize) -> Option<usize> {
    let skipped = &view.members()[at];
    view.members().iter().position(|member| {
        let own = [member.place];
        let mut pairs = own.iter().chain(&member.successors).zip(&member.successors);
        member.component == skipped.component
            && pairs.any(|(j, k)| skipped.place.is_between(*j, *k))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::view::tests::{ideal_view, with};

    #[test]
    fn whom_nobody_skips_is_a_principal() {
        let view = ideal_view(6, 2);
        assert!((0..6).all(|at| skips(&view, at).is_none()));
        let view = with(&view, 2, &[4, 5]);
        let skipped: Vec<_> = (0..6).filter(|at| skips(&view, *at).is_some()).collect();
        assert_eq!(skipped, [3]);
    }

    #[test]
    fn as_many_as_r_and_one_must_remain() {
        let all: Vec<_> = (0..6).collect();
        let view = ideal_view(6, 2);
        assert_eq!(check(&view, &all, 5), Ok(()));
        let three_left = with(&view, 2, &[0, 1]);
        assert_eq!(check(&three_left, &all, 2), Ok(()));
        assert!(check(&three_left, &all, 3).is_err());
        // Of these two none may be skipped.
        assert_eq!(check(&three_left, &[0, 1], 3), Ok(()));
        assert!(check(&three_left, &[0, 3], 3).is_err());
    }
}
