//! Planted bugs of ring maintenance: see [`PlantedBug`].

use alloc::vec::Vec;
use core::cmp::Ordering;

use super::maintenance::Side;
use super::{Context, Overlay};
use crate::planted::PlantedBug;
use crate::ring::Member;

impl<M: Member> Overlay<M> {
    /// Spoils a list that is right.
    pub(super) fn plant(&self, cx: &Context<'_, M>, side: Side, list: &mut Vec<M>) {
        let me = self.me;
        let nearer = |member: M, list: &[M]| {
            let first = list.first();
            member != me && first.is_none_or(|f| side.order(me, member, *f) == Ordering::Less)
        };
        match cx.config.planted_bug {
            Some(PlantedBug::UncutLists) if !list.is_empty() => {
                let round: Vec<_> = list.iter().copied().chain([me]).collect();
                *list = round.into_iter().cycle().take(cx.config.list_len).collect();
            }
            Some(PlantedBug::KeptDeadPredecessor) if side == Side::Predecessors => {
                let kept = self.list(side).first().copied();
                if let Some(kept) = kept.filter(|kept| nearer(*kept, list)) {
                    list.insert(0, kept);
                }
            }
            Some(PlantedBug::HearsayPredecessor) if side == Side::Predecessors => {
                for (_, known) in self.neighbours.iter() {
                    for &said in known.table().map_or(&[][..], |t| &t.predecessors) {
                        if nearer(said, list) {
                            list.insert(0, said);
                        }
                    }
                }
            }
            _ => {}
        }
        list.truncate(cx.config.list_len);
    }
}
