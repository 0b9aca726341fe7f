//! Greedy routing with one step of lookahead.
//!
//! A message goes to the neighbour that is, or has a neighbour that is, nearest to the receiver
//! on the ring (Manku, Naor, Wieder, "Know thy neighbor's neighbor", STOC 2004), never back to
//! where it came from if there is another way, and to the successor if nobody is nearer.
//! [`Routing::Clockwise`] is Chord's way instead, to compare with (ToN 2003, section IV).

use super::Overlay;
use super::neighbours::Neighbour;
use crate::config::{Config, Routing};
use crate::ring::{Member, Position};
use crate::wire::Wish;

impl<M: Member> Overlay<M> {
    /// The neighbour that something for `to` goes on to; `from` is the one it came from.
    #[must_use]
    pub fn next_hop(&self, config: &Config, to: M, from: Option<M>) -> Option<M> {
        let members = self.neighbours.members();
        let start = members.partition_point(|member| *member < to);
        if members.get(start) == Some(&to) && self.neighbours.at(start).is_open() {
            return Some(to);
        }
        let own = match config.routing {
            Routing::BothWays => self.me.position().distance(to.position()),
            Routing::Clockwise => self.me.position().clockwise_to(to.position()),
        };
        self.nearest(config, start, to.position(), from)
            .filter(|(_, distance)| *distance < own)
            .map(|(next, _)| next)
            .or_else(|| self.effective_successor())
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
        match config.routing {
            Routing::Clockwise => {
                let next = self.next_clockwise(target)?;
                Some((next, next.position().clockwise_to(target)))
            }
            Routing::BothWays if config.lookahead => self
                .nearest_ahead(target, |member, known| {
                    !known.is_suspect() && Some(member) != from
                })
                .or_else(|| self.nearest_ahead(target, |_, _| true)),
            Routing::BothWays => self.nearest_neighbour(start, target, from),
        }
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
            self.nearest_around(start, target, |index| self.neighbours.at(index).is_member())
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

    /// The neighbour from which `target` is nearest after one more step.
    fn nearest_ahead(
        &self,
        target: Position,
        may: impl Fn(M, &Neighbour<M>) -> bool,
    ) -> Option<(M, u64)> {
        self.neighbours
            .iter()
            .filter(|(member, known)| known.is_member() && may(*member, known))
            .map(|(member, known)| {
                let own = member.position().distance(target);
                let ahead = nearest_of(known.links(), target, self.me).map_or(own, |d| d.min(own));
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

/// The distance of `target` from the nearest of `members`, which are in order, `except` one.
fn nearest_of<M: Member>(members: &[M], target: Position, except: M) -> Option<u64> {
    let start = members.partition_point(|member| member.position() < target);
    let at = |index: usize| (members[index] != except).then_some(members[index]);
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
