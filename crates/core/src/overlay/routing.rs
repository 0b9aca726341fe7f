//! Greedy routing with one step of lookahead.
//!
//! A message goes to the neighbour that is, or has a neighbour that is, nearest to the receiver
//! on the ring (Manku, Naor, Wieder, "Know thy neighbor's neighbor", STOC 2004), never back to
//! where it came from if there is another way. One that has lost its way makes a [`Detour`].
//! [`Routing::Clockwise`] is Chord's way instead, to compare with (ToN 2003, section IV).

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::Overlay;
use super::neighbours::Neighbour;
use crate::config::{Config, Routing};
use crate::ring::{Member, Position};
use crate::wire::Wish;

/// Where a message has been since it lost its way. It does not go there again as long as there is
/// another neighbour.
///
/// A message loses its way where nobody leads on as far as the last neighbour's table had
/// promised, or where nobody is nearer to the receiver: after many have died and before the
/// tables say so. From there on it goes to the best neighbour that it has not seen, even if that
/// is further away (tabu search; Glover, "Tabu Search, part I", 1989).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Detour(Vec<u64>);

impl Detour {
    /// How many of the last members are kept. Guess.
    pub const MAX: usize = 16;

    /// How many members it names.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the message has not lost its way.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The message has come by `position`; the first one is forgotten if there are too many.
    pub fn add(&mut self, position: Position) {
        if self.0.len() >= Self::MAX {
            self.0.remove(0);
        }
        self.0.push(position.0);
    }

    fn contains(&self, position: Position) -> bool {
        self.0.contains(&position.0)
    }
}

/// Where a message goes on to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop<M> {
    /// The neighbour.
    pub next: M,
    /// Whether the message has lost its way: whoever passes it on adds itself to its [`Detour`].
    pub is_lost: bool,
}

impl<M: Member> Overlay<M> {
    /// The neighbour that something for `to` goes on to; `from` is the one it came from, and
    /// `detour` where it has been since it lost its way.
    #[must_use]
    pub fn next_hop(
        &self,
        config: &Config,
        to: M,
        from: Option<M>,
        detour: &Detour,
    ) -> Option<Hop<M>> {
        let members = self.neighbours.members();
        let start = members.partition_point(|member| *member < to);
        if members.get(start) == Some(&to) && self.neighbours.is_open_at(start) {
            let is_lost = false;
            return Some(Hop { next: to, is_lost });
        }
        let target = to.position();
        if config.routing == Routing::Clockwise {
            let next = self.next_clockwise(target).or(self.effective_successor())?;
            return Some(Hop {
                next,
                is_lost: false,
            });
        }
        let nearer = (detour
            .is_empty()
            .then(|| self.nearest(config, start, target, from)))
        .flatten()
        .filter(|(_, distance)| *distance < self.me.position().distance(target));
        let Some((next, distance)) = nearer else {
            let next = self.next_of_detour(target, from, detour)?;
            return Some(Hop {
                next,
                is_lost: true,
            });
        };
        // What whoever it comes from has been told that this member leads to.
        let promised = || nearest_of(&self.table.links, target, |member| member == self.me);
        Some(Hop {
            next,
            is_lost: config.lookahead && promised().is_some_and(|promised| promised < distance),
        })
    }

    /// The best neighbour for something that has lost its way: if it can be one that is new to
    /// it, else one that it has seen, and suspects only if there is nobody else. Nobody if it has
    /// seen all neighbours after so many members: who it looks for is not to be found.
    fn next_of_detour(&self, target: Position, from: Option<M>, detour: &Detour) -> Option<M> {
        let is_new = |member: M| !detour.contains(member.position());
        let skip = |member: M| member == self.me || !is_new(member);
        let best = |may: &dyn Fn(M, &Neighbour<M>) -> bool| self.nearest_ahead(target, may, skip);
        let new =
            best(&|member, known| !known.is_suspect() && Some(member) != from && is_new(member));
        let seen = || {
            (detour.len() < Detour::MAX)
                .then(|| best(&|_, known| !known.is_suspect()).or_else(|| best(&|_, _| true)))
                .flatten()
        };
        new.or_else(seen).map(|(next, _)| next)
    }

    /// The neighbour that a lookup for `target` goes on to; `None` if this member is the one that
    /// is responsible. If it is somebody other than `asker` that is looked for, it is told so.
    #[must_use]
    pub fn next_for_lookup(
        &self,
        config: &Config,
        target: Position,
        asker: Option<M>,
        from: Option<M>,
    ) -> Option<M> {
        match config.routing {
            Routing::BothWays => {
                let own = self.me.position().distance(target);
                let members = self.neighbours.members();
                let start = members.partition_point(|member| member.position() < target);
                self.nearest(config, start, target, from)
                    .filter(|(next, distance)| {
                        Some(*next) != asker && (*distance < own || Some(self.me) == asker)
                    })
                    .map(|(next, _)| next)
            }
            Routing::Clockwise => self.next_clockwise(target),
        }
    }

    /// The neighbour that is, or whose neighbour is, nearest to `target`, and how near; the
    /// `start`-th neighbour is the first one that does not lie before `target`. Peers that have
    /// missed a heartbeat, and the one that something came from, only if there is nobody else.
    fn nearest(
        &self,
        config: &Config,
        start: usize,
        target: Position,
        from: Option<M>,
    ) -> Option<(M, u64)> {
        if !config.lookahead {
            return self.nearest_neighbour(start, target, from);
        }
        let is_me = |member: M| member == self.me;
        let may = |member, known: &Neighbour<M>| !known.is_suspect() && Some(member) != from;
        self.nearest_ahead(target, may, is_me)
            .or_else(|| self.nearest_ahead(target, |_, _| true, is_me))
    }

    /// The nearest neighbour itself: one of the two on both sides of `target` in the order of
    /// their places, or further off if those may not be taken.
    fn nearest_neighbour(
        &self,
        start: usize,
        target: Position,
        from: Option<M>,
    ) -> Option<(M, u64)> {
        let members = self.neighbours.members();
        let may = |index: usize| self.neighbours.is_ready(index) && Some(members[index]) != from;
        self.nearest_around(start, target, may).or_else(|| {
            self.nearest_around(start, target, |index| {
                self.neighbours.at(index).is_some_and(Neighbour::is_member)
            })
        })
    }

    /// Of the neighbours that may be taken the nearest one to `target`, which lies before the
    /// `start`-th.
    #[inline]
    fn nearest_around(
        &self,
        start: usize,
        target: Position,
        may: impl Fn(usize) -> bool,
    ) -> Option<(M, u64)> {
        let members = self.neighbours.members();
        let count = members.len();
        let mut after = start;
        let mut steps = 0;
        let after = loop {
            if steps == count {
                return None;
            }
            if after >= count {
                after = 0;
            }
            if may(after) {
                break members[after];
            }
            after += 1;
            steps += 1;
        };
        // There is one, so this ends: with the same if there is no other.
        let mut before = start;
        let before = loop {
            before = before.checked_sub(1).unwrap_or(count - 1);
            if may(before) {
                break members[before];
            }
        };
        let distance = |member: M| member.position().distance(target);
        let (nearer, further) = (distance(before), distance(after));
        Some(if nearer < further {
            (before, nearer)
        } else {
            (after, further)
        })
    }

    /// The neighbour from which `target` is nearest after one more step, which is not to lead to
    /// those to `skip`.
    fn nearest_ahead(
        &self,
        target: Position,
        may: impl Fn(M, &Neighbour<M>) -> bool,
        skip: impl Fn(M) -> bool,
    ) -> Option<(M, u64)> {
        self.neighbours
            .iter()
            .filter(|(member, known)| known.is_member() && may(*member, known))
            .map(|(member, known)| {
                let own = member.position().distance(target);
                let ahead = nearest_of(known.links(), target, &skip).map_or(own, |d| d.min(own));
                (ahead, own, member)
            })
            .min()
            .map(|(ahead, _, member)| (member, ahead))
    }

    /// The neighbour furthest clockwise that does not pass `target`, of own long links and the
    /// successor list; `None` if this member lies before `target` itself, with nobody between.
    fn next_clockwise(&self, target: Position) -> Option<M> {
        let position = self.me.position();
        let reach = position.clockwise_to(target);
        let away = |member: M| position.clockwise_to(member.position());
        self.neighbours
            .iter()
            .filter(|(_, known)| known.is_member() && !known.is_suspect())
            .filter(|(member, known)| {
                known.mine.has(Wish::Long) || self.successors().contains(member)
            })
            .map(|(member, _)| member)
            .filter(|member| (1..=reach).contains(&away(*member)))
            .max_by_key(|member| away(*member))
    }
}

/// The distance of `target` from the nearest of `members`, which are in order, those to `skip`
/// excepted.
fn nearest_of<M: Member>(members: &[M], target: Position, skip: impl Fn(M) -> bool) -> Option<u64> {
    let start = members.partition_point(|member| member.position() < target);
    let at = |index: usize| (!skip(members[index])).then_some(members[index]);
    let after = (start..members.len()).chain(0..start).find_map(at);
    let before = (0..start)
        .rev()
        .chain((start..members.len()).rev())
        .find_map(at);
    after
        .into_iter()
        .chain(before)
        .map(|member| member.position().distance(target))
        .min()
}

#[cfg(test)]
mod tests {
    use alloc::sync::Arc;

    use super::super::tests::{Spot, rng};
    use super::super::{Standing, Table};
    use super::*;
    use crate::time::Timestamp;
    use crate::wire::Wishes;

    /// Member 10, with a link to each of `neighbours`, which have the links named.
    fn ten(neighbours: &[(u8, &[u8])]) -> Overlay<Spot> {
        let spots = |of: &[u8]| of.iter().copied().map(Spot).collect::<Vec<_>>();
        let table = |links: Vec<Spot>| {
            Arc::new(Table {
                member: true,
                links: links.into(),
                ..Table::default()
            })
        };
        let own = neighbours.iter().map(|(member, _)| *member);
        Overlay::resume(
            Spot(10),
            rng(),
            table(spots(&own.collect::<Vec<_>>())),
            neighbours.iter().map(|(member, links)| Standing {
                member: Spot(*member),
                table: table(spots(links)),
                mine: Wishes::NOTHING,
                theirs: Wishes::NOTHING,
            }),
            Timestamp::MAX,
            8,
        )
    }

    fn next(
        overlay: &Overlay<Spot>,
        to: u8,
        from: Option<u8>,
        detour: &[u8],
    ) -> Option<(u8, bool)> {
        let mut way = Detour::default();
        for spot in detour {
            way.add(Spot(*spot).position());
        }
        let hop = overlay.next_hop(&Config::default(), Spot(to), from.map(Spot), &way)?;
        Some((hop.next.0, hop.is_lost))
    }

    #[test]
    fn a_message_goes_where_its_receiver_is_nearest_after_two_steps() {
        let overlay = ten(&[(8, &[10, 59]), (40, &[10, 45])]);
        assert_eq!(next(&overlay, 60, None, &[]), Some((8, false)));
        assert_eq!(next(&overlay, 40, None, &[]), Some((40, false)));
        assert_eq!(next(&overlay, 60, Some(8), &[]), Some((40, false)));
    }

    #[test]
    fn a_broken_promise_begins_a_detour() {
        let mut overlay = ten(&[(8, &[10, 50]), (30, &[10, 29]), (58, &[10, 59])]);
        assert_eq!(next(&overlay, 60, Some(8), &[]), Some((58, false)));
        overlay.on_suspect(Spot(58), true);
        assert_eq!(next(&overlay, 60, Some(8), &[]), Some((30, true)));
    }

    #[test]
    fn a_detour_leads_to_new_members_even_if_they_are_further_away() {
        let overlay = ten(&[(8, &[10, 59]), (11, &[10, 12]), (200, &[10, 190])]);
        assert_eq!(next(&overlay, 60, None, &[8, 11]), Some((200, true)));
        // Nor to one whose only merit is to lead to a member that has been seen.
        assert_eq!(next(&overlay, 60, None, &[59]), Some((11, true)));
        // Rather where it has been than nowhere, but not for ever.
        assert_eq!(next(&overlay, 60, None, &[8, 11, 200]), Some((8, true)));
        let all: Vec<_> = [8, 11, 200, 10]
            .into_iter()
            .cycle()
            .take(Detour::MAX)
            .collect();
        assert_eq!(next(&overlay, 60, None, &all), None);
    }

    #[test]
    fn a_detour_forgets_what_is_long_ago() {
        let mut detour = Detour::default();
        for spot in 0..=Detour::MAX as u64 {
            detour.add(Position(spot));
        }
        assert_eq!(detour.len(), Detour::MAX);
        assert!(!detour.contains(Position(0)) && detour.contains(Position(1)));
    }
}
