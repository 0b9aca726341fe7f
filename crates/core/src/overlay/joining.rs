//! How a newcomer becomes a member: Join (Zave 2017), and the founding of a ring among newcomers.
//!
//! A newcomer asks the nearest predecessor that it is linked with to be let in between that one and
//! its successor. If others lie between, the answer names them, and it links with those and asks
//! again; whom it cannot reach it says, and joins beyond them.

use alloc::vec::Vec;
use core::time::Duration;

use super::maintenance::MAX_HINTS;
use super::{Action, Context, Join, JoinReply, Message, NEVER, Overlay};
use crate::ring::Member;
use crate::wire::MAX_LIST;

/// Time after which newcomers who know only each other found a ring.
pub(super) const FOUNDING_WAIT: Duration = Duration::from_secs(2);

impl<M: Member> Overlay<M> {
    /// There is somebody to join: the ring is sought from now on.
    pub fn start_joining(&mut self, cx: &mut Context<'_, M>) {
        if !self.is_member() && self.joining_since == NEVER {
            self.joining_since = cx.now;
            self.stabilize_by(cx);
        }
    }

    /// Asks the nearest predecessor known to be let in, once for each table it tells.
    pub(super) fn ask_to_join(&mut self, cx: &mut Context<'_, M>) {
        let me = self.me;
        let before = self
            .neighbours
            .counter_clockwise(me)
            .find(|(_, known)| known.is_member())
            .map(|(member, _)| member);
        let Some(before) = before else {
            return;
        };
        let Some(known) = self.neighbours.get_mut(before).filter(|known| !known.asked) else {
            return;
        };
        known.asked = true;
        let unreachable: Vec<_> = self
            .quarantine
            .unreachable(cx.now)
            .filter(|member| member.is_between(before, me))
            .take(MAX_LIST)
            .collect();
        let join = Join {
            unreachable: unreachable.into(),
        };
        cx.send(before, Message::Join(join));
    }

    pub(super) fn on_join(&mut self, cx: &mut Context<'_, M>, joiner: M, join: &Join<M>) {
        let head = self
            .table
            .successors
            .iter()
            .find(|member| !join.unreachable.contains(member));
        let accepted = self.is_member()
            && head.is_none_or(|head| *head == joiner || joiner.is_between(self.me, *head));
        let mut known: Vec<_> = self
            .neighbours
            .iter()
            .filter(|(_, known)| known.is_member())
            .map(|(member, _)| member)
            .chain(self.table.successors.iter().copied())
            .chain(self.table.predecessors.iter().copied())
            .filter(|member| *member != joiner && !join.unreachable.contains(member))
            .collect();
        known.sort_by(|a, b| joiner.clockwise_order(*a, *b));
        known.dedup();
        // The nearest on both sides: the first and the last clockwise from the joiner.
        let mut nearer: Vec<_> = known.iter().rev().take(MAX_HINTS).copied().collect();
        let after: Vec<_> = known.iter().take(MAX_HINTS).copied().collect();
        let after = after.into_iter().filter(|member| !nearer.contains(member));
        nearer.extend(after.collect::<Vec<_>>());
        let reply = JoinReply {
            accepted,
            successors: self.table.successors.clone(),
            nearer: nearer.into(),
        };
        cx.send(joiner, Message::JoinReply(reply));
    }

    pub(super) fn on_join_reply(&mut self, cx: &mut Context<'_, M>, from: M, reply: &JoinReply<M>) {
        for member in reply.nearer.iter() {
            self.add_candidate(cx.now, *member);
        }
        if self.is_member() || !reply.accepted {
            self.refresh(cx);
            return;
        }
        let me = self.me;
        let mut successors: Vec<_> = reply
            .successors
            .iter()
            // An earlier session of this member may be among them still, and before it those whom
            // it could not reach.
            .filter(|member| **member != me && !member.is_between(from, me))
            .take(cx.config.list_len)
            .copied()
            .collect();
        successors.sort_by(|a, b| me.clockwise_order(*a, *b));
        if successors.is_empty() {
            successors.push(from);
        }
        self.set_lists(successors.into(), [from][..].into(), false);
        self.become_member(cx);
    }

    /// From now on this member is part of the ring, alone if it knows nobody.
    pub(super) fn become_member(&mut self, cx: &mut Context<'_, M>) {
        let table = &self.table;
        self.set_lists(table.successors.clone(), table.predecessors.clone(), true);
        self.joining_since = NEVER;
        self.refresh(cx);
        self.changed = true;
        self.tell_soon(cx);
        self.notify_successor(cx);
        self.stabilize_by(cx);
        self.start_long_links(cx);
        cx.out.push(Action::Joined);
    }

    /// Nobody has let this member in yet: it asks for others, or founds a ring.
    pub(super) fn go_on_joining(&mut self, cx: &mut Context<'_, M>) {
        cx.out.push(Action::Ask);
        if cx.now.since(self.joining_since) >= FOUNDING_WAIT && self.may_found() {
            self.become_member(cx);
        }
    }

    /// Among newcomers who know only each other the first one founds the ring; two that do so
    /// at once find together by others' hints.
    fn may_found(&self) -> bool {
        let mut open = self
            .neighbours
            .iter()
            .filter(|(_, known)| known.is_open())
            .peekable();
        open.peek().is_some() && open.all(|(member, known)| !known.is_member() && self.me < member)
    }
}
