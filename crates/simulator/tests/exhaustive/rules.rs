//! Safety: what holds in every state, whatever is in flight.
//!
//! Zave's invariant (IEEE TSE 2017) counts members whose successors are alive. Here nobody is
//! listed without a chain of links, some links may be cut, and below r + 1 members lists end
//! early; so what she asks of all living members holds of those that a member is linked with.

use std::cmp::Ordering;

use circlet_core::ring::Member;

use crate::state::{Place, Presence, State};

/// Checks all rules.
///
/// # Errors
/// What is wrong.
pub fn check(state: &State) -> Result<(), &'static str> {
    if let Some(breach) = state.breach {
        return Err(breach);
    }
    for (me, overlay) in state.living() {
        let clockwise = |a: &Place, b: &Place| me.clockwise_order(*a, *b);
        let counter_clockwise = |a: &Place, b: &Place| clockwise(b, a);
        let (successors, predecessors) = (overlay.successors(), overlay.predecessors());
        for listed in successors.iter().chain(predecessors) {
            if *listed == me {
                return Err("a member lists itself");
            }
            if matches!(state.members[listed.index()], Presence::Absent) {
                return Err("somebody is listed who was never there");
            }
        }
        if successors.len().max(predecessors.len()) > state.setting.config.list_len {
            return Err("a list is too long");
        }
        if !is_in_order(successors, clockwise) || !is_in_order(predecessors, counter_clockwise) {
            return Err("a list is not in order, or has somebody twice");
        }
        let linked: Vec<_> = overlay
            .neighbours()
            .filter(|(other, known)| known.is_member() && !overlay.holds_dead(state.now, *other))
            .map(|(other, _)| other)
            .collect();
        if overlay.is_member()
            && !(begins_near(successors, &linked, clockwise)
                && begins_near(predecessors, &linked, counter_clockwise))
        {
            return Err("a list leaves out a nearer member that is linked");
        }
    }
    Ok(())
}

fn is_in_order(list: &[Place], order: impl Fn(&Place, &Place) -> Ordering) -> bool {
    list.windows(2)
        .all(|pair| order(&pair[0], &pair[1]).is_lt())
}

/// Whether a list's head is no further away than the nearest of those `linked`.
fn begins_near(
    list: &[Place],
    linked: &[Place],
    order: impl Fn(&Place, &Place) -> Ordering,
) -> bool {
    linked
        .iter()
        .min_by(|a, b| order(a, b))
        .is_none_or(|nearest| {
            list.first()
                .is_some_and(|head| order(head, nearest).is_le())
        })
}
