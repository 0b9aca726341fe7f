//! Liveness: once nothing goes wrong any more, and every message, attempt and round of
//! stabilization has its turn, the ring becomes ideal and stays so.
//!
//! The fair schedule is a function of the state, so a run ends in a cycle of states. All of a
//! cycle's states have to be ideal. States that lead to a cycle already judged share its
//! judgement, so that judging all states of a model costs little more than visiting them.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use crate::model::Step;
use crate::state::{Place, State};

/// Steps after which a run that has come to no cycle is given up.
const MAX_STEPS: usize = 2_000;

/// Which ring each member ends up in: that of the least member with the same number. The gone
/// have none.
pub type Rings = Vec<Option<Place>>;

/// What becomes of states that are left alone, by their fingerprints.
#[derive(Debug, Default)]
pub struct Calm {
    judged: Mutex<HashMap<u64, Result<Rings, &'static str>>>,
}

impl Calm {
    /// The rings that `state` comes to if it is left alone.
    ///
    /// # Errors
    /// What is wrong with them for ever.
    pub fn judge(&self, state: &State) -> Result<Rings, &'static str> {
        let mut states = vec![(state.fingerprint(), state.clone())];
        let verdict = loop {
            let (fingerprint, last) = states.last().expect("it begins with one");
            if let Some(verdict) = self.known(*fingerprint) {
                break verdict;
            }
            let next = next(last);
            let fingerprint = next.fingerprint();
            if let Some(start) = states.iter().position(|(before, _)| *before == fingerprint) {
                break judge_cycle(states[start..].iter().map(|(_, state)| state));
            }
            if states.len() > MAX_STEPS {
                break Err("it does not come to rest");
            }
            states.push((fingerprint, next));
        };
        let mut judged = self.judged.lock().expect("nobody panics with it");
        for (fingerprint, _) in states {
            judged.insert(fingerprint, verdict.clone());
        }
        verdict
    }

    fn known(&self, fingerprint: u64) -> Option<Result<Rings, &'static str>> {
        let judged = self.judged.lock().expect("nobody panics with it");
        judged.get(&fingerprint).cloned()
    }
}

/// The next state of the fair schedule.
fn next(state: &State) -> State {
    match state.consequences().next() {
        Some(step) => state.after(&step),
        None => state.after(&Step::Round),
    }
}

/// Leaves `state` alone until it repeats itself and nothing is under way: the steps and the end.
pub fn run(state: &State) -> (Vec<Step>, State) {
    let (mut steps, mut state) = (Vec::new(), state.clone());
    let mut seen = HashSet::new();
    while steps.len() < MAX_STEPS {
        let step = state.consequences().next();
        if !seen.insert(state.fingerprint()) && step.is_none() {
            break;
        }
        let step = step.unwrap_or(Step::Round);
        state.take(&step);
        steps.push(step);
    }
    (steps, state)
}

fn judge_cycle<'a>(mut states: impl Iterator<Item = &'a State>) -> Result<Rings, &'static str> {
    let first = states.next().ok_or("a cycle of no states")?;
    let rings = ideal_rings(first)?;
    for state in states {
        if ideal_rings(state)? != rings {
            return Err("who is in which ring keeps changing");
        }
    }
    Ok(rings)
}

/// Who is in which ring, if each ring is ideal (Zave 2017): all its members' lists are those of
/// its members in the order of their places, cut at r.
fn ideal_rings(state: &State) -> Result<Rings, &'static str> {
    if let Some(breach) = state.breach {
        return Err(breach);
    }
    let rings = rings(state);
    for (place, overlay) in state.living() {
        if !overlay.is_member() {
            return Err("a newcomer never becomes a member");
        }
        let mut others: Vec<_> = state
            .places()
            .filter(|other| rings[other.index()] == rings[place.index()] && *other != place)
            .collect();
        let before = others.iter().filter(|other| **other < place).count();
        others.rotate_left(before);
        let len = state.setting.config.list_len.min(others.len());
        if overlay.successors() != &others[..len] {
            return Err("a successor list stays wrong");
        }
        others.reverse();
        if overlay.predecessors() != &others[..len] {
            return Err("a predecessor list stays wrong");
        }
        let misled = overlay.neighbours().any(|(other, known)| {
            let peer = state.member(other).and_then(|peer| peer.neighbour(place));
            peer.is_some_and(|peer| {
                peer.is_open() && known.is_open() && peer.mine() != known.theirs()
            })
        });
        if misled {
            return Err("a member stays wrong about what a link is wanted for");
        }
        if len > 0 && overlay.effective_successor().is_none() {
            return Err("a member stays without a link to any successor");
        }
    }
    Ok(rings)
}

/// Members that list each other, through others too, are of one ring.
fn rings(state: &State) -> Rings {
    let mut rings: Rings = vec![None; state.members.len()];
    for (place, _) in state.living() {
        rings[place.index()] = Some(place);
    }
    join_all(&mut rings, || {
        state.living().flat_map(|(place, overlay)| {
            let listed = overlay.successors().iter().chain(overlay.predecessors());
            listed.map(move |other| (place, *other))
        })
    });
    rings
}

/// Groups of members that are linked, through others too.
pub fn linked_groups(state: &State) -> Rings {
    let mut groups: Rings = vec![None; state.members.len()];
    for (place, _) in state.living() {
        groups[place.index()] = Some(place);
    }
    join_all(&mut groups, || {
        state.living().flat_map(|(place, overlay)| {
            let linked = overlay.neighbours().map(|(other, _)| other);
            linked
                .filter(move |other| state.are_linked(place, *other))
                .map(move |other| (place, other))
        })
    });
    groups
}

/// Gives all that are connected by `pairs` the least of their numbers.
fn join_all<I: Iterator<Item = (Place, Place)>>(groups: &mut Rings, pairs: impl Fn() -> I) {
    loop {
        let mut changed = false;
        for (a, b) in pairs() {
            let (of_a, of_b) = (groups[a.index()], groups[b.index()]);
            if let (Some(of_a), Some(of_b)) = (of_a, of_b)
                && of_a != of_b
            {
                groups[a.index()] = Some(of_a.min(of_b));
                groups[b.index()] = Some(of_a.min(of_b));
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}
