//! Of whom the invariants of the ring are demanded while there are faults.
//!
//! Zave's invariant is inductive in a model where a join is one step, no failure may break the
//! invariant, and everybody can talk to everybody. Here messages are in flight, faults are
//! random, and pairs and partitions are cut. So [a living successor](super::live_successor),
//! [enough principals](super::principals) and [one ordered ring](super::one_ring) are demanded of
//! *settled* members: those of whom all three were true once, some time after they had joined
//! and after the network last changed. What the members do must keep it true. Nobody is settled
//! any more
//!
//! - whose component has two rings, or a newcomer who has just founded another: they become one;
//! - after the network was cut or joined, while it loses much, and while there is no tracker:
//!   without a way to signal, or with neighbours wrongly held to be dead or out of reach, a ring
//!   cannot be repaired;
//! - after a crash or a leave that broke it at once: Zave allows no such failure. Nor does she allow
//!   one that left somebody the last entry of a full list only, which a newcomer pushes out whose
//!   table is on its way, or one that left a newcomer none: it turns to whomever it knows, and
//!   may skip others, until it has found its place again.

use std::collections::BTreeSet;
use std::time::Duration;

use circlet_core::{Config, Timestamp};

use super::view::RingView;
use super::{live_successor, one_ring, principals};
use crate::world::{Session, Violation};

/// Time after joining in which what was said before has arrived.
const MEMBER_SETTLES: Duration = Duration::from_secs(5);

/// What comes on top of the node's timeouts after a change of the network: pings are on their way.
const PINGS: Duration = Duration::from_secs(5);

/// Who is settled.
#[derive(Clone, Debug)]
pub struct Settled {
    list_len: usize,
    /// Time after a change of the network in which it is forgotten.
    network_settles: Duration,
    sessions: BTreeSet<Session>,
    network_changed: Timestamp,
    /// When the last one joined.
    joined: Timestamp,
}

impl Settled {
    /// Nobody, of a ring of nodes with this configuration.
    ///
    /// A change of the network is forgotten when what began before has ended: a connection to a
    /// tracker that has broken unnoticed is given up after [`Config::tracker_timeout`], and answers
    /// given until then are lost, so that attempts end [`Config::attempt_timeout`] later and whoever
    /// was to be linked with is skipped.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        Self {
            list_len: config.list_len,
            network_settles: config.tracker_timeout + config.attempt_timeout + PINGS,
            sessions: BTreeSet::new(),
            network_changed: Timestamp::ZERO,
            joined: Timestamp::ZERO,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.sessions.len()
    }

    /// The network has changed at `now`.
    pub fn on_network(&mut self, now: Timestamp) {
        self.sessions.clear();
        self.network_changed = now;
    }

    /// Members have crashed or left at `now`: what that has broken at once is not demanded.
    pub fn on_fault(&mut self, now: Timestamp, view: &RingView) {
        self.forget_unifying(now, view);
        let has_newcomers = now.since(self.joined) < MEMBER_SETTLES;
        let strands = |component: &Vec<usize>| is_anybody_stranded(view, component);
        if self.demand(now, view).is_err()
            || view.components().iter().any(strands)
            || has_newcomers && self.hangs_by_one(view)
        {
            self.sessions.clear();
        }
    }

    /// Whether of somebody's full list only the last entry lives.
    fn hangs_by_one(&self, view: &RingView) -> bool {
        (0..view.members().len()).any(|at| {
            let member = &view.members()[at];
            let last = member.successors.last();
            let first_living = view.first_living(at).map(|at| view.members()[at].place);
            member.successors.len() >= self.list_len
                && last.is_some()
                && first_living.as_ref() == last
                && self.sessions.contains(&member.session)
        })
    }

    /// Checks that what held of those who are settled holds, and adds those of whom it does now.
    ///
    /// # Errors
    /// What is true no longer.
    pub fn check(&mut self, now: Timestamp, view: &RingView) -> Result<(), Violation> {
        let joined = view.members().iter().map(|member| member.since).max();
        self.joined = joined.unwrap_or_default().max(self.joined);
        self.forget_unifying(now, view);
        self.demand(now, view)?;
        if now.since(self.network_changed) < self.network_settles {
            return Ok(());
        }
        for component in view.components() {
            if is_unifying(now, view, &component) || is_anybody_stranded(view, &component) {
                continue;
            }
            let has_settled = |at: &usize| now.since(view.members()[*at].since) >= MEMBER_SETTLES;
            let candidates: Vec<_> = component.into_iter().filter(has_settled).collect();
            if holds(view, &candidates, candidates.len()).is_ok() {
                let sessions = candidates.iter().map(|at| view.members()[*at].session);
                self.sessions.extend(sessions);
            }
        }
        Ok(())
    }

    fn demand(&self, now: Timestamp, view: &RingView) -> Result<(), Violation> {
        for component in view.components() {
            let is_settled = |at: &usize| self.sessions.contains(&view.members()[*at].session);
            let settled: Vec<_> = component.into_iter().filter(is_settled).collect();
            holds(view, &settled, self.list_len)
                .map_err(|(invariant, what)| Violation::new(now, invariant, what))?;
        }
        Ok(())
    }

    fn forget_unifying(&mut self, now: Timestamp, view: &RingView) {
        for component in view.components() {
            if is_unifying(now, view, &component) {
                for at in component {
                    self.sessions.remove(&view.members()[at].session);
                }
            }
        }
    }
}

/// The three of them, of members of one component.
fn holds(view: &RingView, whom: &[usize], list_len: usize) -> Result<(), (&'static str, String)> {
    live_successor::check(view, whom).map_err(|what| (live_successor::NAME, what))?;
    principals::check(view, whom, list_len).map_err(|what| (principals::NAME, what))?;
    one_ring::check(view, whom).map_err(|what| (one_ring::NAME, what))
}

/// Whether somebody in a component, newcomer or not, has no living successor left.
fn is_anybody_stranded(view: &RingView, component: &[usize]) -> bool {
    live_successor::check(view, component).is_err()
}

/// Whether rings meet in a component.
fn is_unifying(now: Timestamp, view: &RingView, component: &[usize]) -> bool {
    let newly_founded = |at: &usize| {
        let member = &view.members()[*at];
        member.founder && now.since(member.since) < MEMBER_SETTLES
    };
    one_ring::count(view, component) > 1
        || component.len() > 1 && component.iter().any(newly_founded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::view::tests::ideal_view;

    /// A view of the members of an ideal ring, some of whom have crashed.
    fn without(view: &RingView, crashed: &[usize]) -> RingView {
        let members = view.members().iter().enumerate();
        let living = members.filter(|(at, _)| !crashed.contains(at));
        RingView::new(living.map(|(_, member)| member.clone()).collect())
    }

    fn settled() -> Settled {
        Settled::new(&Config {
            list_len: 3,
            ..Config::default()
        })
    }

    #[test]
    fn nobody_settles_before_what_a_change_of_the_network_began_has_ended() {
        let mut settled = Settled::new(&Config {
            list_len: 3,
            tracker_timeout: Duration::from_secs(20),
            attempt_timeout: Duration::from_secs(7),
            ..Config::default()
        });
        let view = ideal_view(12, 3);
        let changed = Timestamp::ZERO + Duration::from_secs(100);
        settled.on_network(changed);
        assert_eq!(
            settled.check(changed + Duration::from_secs(31), &view),
            Ok(())
        );
        assert_eq!(settled.count(), 0);
        assert_eq!(
            settled.check(changed + Duration::from_secs(32), &view),
            Ok(())
        );
        assert_eq!(settled.count(), 12);
    }

    #[test]
    fn the_last_entry_is_demanded_unless_a_newcomer_may_push_it_out() {
        let view = ideal_view(12, 3);
        let crashed = without(&view, &[1, 2]);
        let mut settled = settled();
        let now = Timestamp::ZERO + settled.network_settles;
        assert_eq!(settled.check(now, &view), Ok(()));
        settled.on_fault(now, &crashed);
        assert_eq!(settled.count(), 12);
        settled.joined = now;
        settled.on_fault(now, &crashed);
        assert_eq!(settled.count(), 0);
    }

    #[test]
    fn nothing_is_demanded_while_a_newcomer_is_stranded() {
        let mut settled = settled();
        let now = Timestamp::ZERO + settled.network_settles;
        let mut members = ideal_view(12, 3).members().to_vec();
        // It has just joined, and nobody lists it yet.
        members[0].since = now;
        let newcomer = members[0].place;
        for member in &mut members[9..] {
            member.successors.retain(|place| *place != newcomer);
        }
        let view = RingView::new(members);
        assert_eq!(settled.check(now, &view), Ok(()));
        assert_eq!(settled.count(), 11);
        let stranded = without(&view, &[1, 2, 3]);
        settled.on_fault(now, &stranded);
        assert_eq!(settled.count(), 0);
        assert_eq!(settled.check(now, &stranded), Ok(()));
        assert_eq!(settled.count(), 0);
    }
}
