//! What links are wanted for, by this member and by its neighbours: one link serves every wish for
//! it, and is closed once nobody has any.

use alloc::vec::Vec;

use super::{Action, Context, Message, NEVER, Neighbour, Overlay};
use crate::ring::Member;
use crate::wire::{Want, Wish, Wishes};

impl<M: Member> Overlay<M> {
    /// Whether there is room for a link that a neighbour wants.
    #[must_use]
    pub fn accepts(&self, cx: &Context<'_, M>, wish: Wish) -> bool {
        self.neighbours.len() < self.most_links(cx)
            && match wish {
                Wish::Ring => true,
                Wish::Long => self.neighbours.long_of_others() < cx.config.accepted_long_links(),
                Wish::Direct => self.neighbours.direct() < self.most_direct(cx),
            }
    }

    /// Begins an attempt to link with `member`, unless there is a link or no way to begin.
    pub(super) fn want_link(&mut self, cx: &mut Context<'_, M>, member: M, wish: Wish) -> bool {
        if member == self.me
            || self.neighbours.contains(member)
            || !cx.can_connect
            || self.neighbours.len() >= self.most_links(cx)
        {
            return false;
        }
        let known = Neighbour::new(Wishes::of(wish), Wishes::NOTHING);
        self.neighbours.insert(member, known);
        cx.out.push(Action::Open { to: member, wish });
        true
    }

    /// Says what this member wants its links for.
    pub(super) fn update_wants(&mut self, cx: &mut Context<'_, M>, ring: &[M]) {
        let changed: Vec<_> = self
            .neighbours
            .iter_mut()
            .filter_map(|(member, known)| {
                let is_news = known.mine.set(Wish::Ring, ring.contains(&member));
                is_news.then_some(member)
            })
            .collect();
        for member in changed {
            self.want_changed(cx, member);
        }
    }

    pub(super) fn set_long(&mut self, cx: &mut Context<'_, M>, member: M, long: bool) {
        if let Some(known) = self.neighbours.get_mut(member)
            && known.mine.set(Wish::Long, long)
        {
            self.want_changed(cx, member);
        }
    }

    pub(super) fn want_changed(&mut self, cx: &mut Context<'_, M>, member: M) {
        self.tell_wishes(cx, member);
        self.check_linger(cx, member);
    }

    /// Says what this member wants an open link for.
    pub(super) fn tell_wishes(&mut self, cx: &mut Context<'_, M>, member: M) {
        if let Some(known) = self.neighbours.get_mut(member)
            && known.is_open()
        {
            cx.send(member, Message::Want(known.next_want()));
        }
    }

    pub(super) fn on_want(&mut self, cx: &mut Context<'_, M>, from: M, want: Want) {
        if let Some(known) = self.neighbours.get_mut(from) {
            known.hear_want(want);
        }
        self.check_linger(cx, from);
    }

    /// Keeps a link that neither side wants for a while only. A ring link that has become one
    /// long or direct link of others too many is closed as if it had been asked for now.
    fn check_linger(&mut self, cx: &mut Context<'_, M>, member: M) {
        let Some(known) = self.neighbours.get(member) else {
            return;
        };
        let is_surplus = if known.is_accepted_long() {
            self.neighbours.long_of_others() > cx.config.accepted_long_links()
        } else {
            known.is_accepted_direct() && self.neighbours.direct() > self.most_direct(cx)
        };
        if known.is_open() && is_surplus {
            return cx.out.push(Action::Close { to: member });
        }
        let unwanted = known.is_open() && !known.mine.anything() && !known.theirs.anything();
        let at = self
            .lingering
            .iter()
            .position(|(lingering, _)| *lingering == member);
        match (unwanted, at) {
            (true, None) => self.lingering.push((member, cx.now + cx.config.linger)),
            (false, Some(at)) => {
                self.lingering.remove(at);
            }
            _ => return,
        }
        self.arm_linger();
    }

    pub(super) fn on_linger_timer(&mut self, cx: &mut Context<'_, M>) {
        for (member, _) in self.lingering.extract_if(.., |(_, until)| *until <= cx.now) {
            if self.neighbours.is_open(member) {
                cx.out.push(Action::Close { to: member });
            }
        }
        self.arm_linger();
    }

    pub(super) fn arm_linger(&mut self) {
        let first = self.lingering.iter().map(|(_, until)| *until).min();
        self.timers.linger = first.unwrap_or(NEVER);
    }
}
