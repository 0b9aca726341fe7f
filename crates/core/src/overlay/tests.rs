//! What the tests of this module share, and tests of its lists.

use alloc::sync::Arc;
use alloc::vec::Vec;

use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use super::{Action, Context, JoinReply, Message, Overlay, Standing, Table};
use crate::config::Config;
use crate::ring::{Member, Position};
use crate::time::Timestamp;
use crate::topology::Topology;
use crate::wire::{Want, Wish, Wishes};

/// A member on a ring of 256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Spot(pub(super) u8);

impl Member for Spot {
    fn position(self) -> Position {
        Position(u64::from(self.0) << 56)
    }
}

pub(super) fn rng() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(1)
}

fn spots(of: &[u8]) -> Vec<Spot> {
    of.iter().copied().map(Spot).collect()
}

fn with_context<T>(act: impl FnOnce(&mut Context<'_, Spot>) -> T) -> T {
    with_topology(Topology::Ring, act)
}

pub(super) fn with_topology<T>(
    topology: Topology,
    act: impl FnOnce(&mut Context<'_, Spot>) -> T,
) -> T {
    let mut out: Vec<Action<Spot>> = Vec::new();
    act(&mut Context {
        now: Timestamp::ZERO,
        config: &Config::default(),
        topology,
        can_connect: true,
        out: &mut out,
    })
}

#[test]
fn whom_a_newcomer_could_not_reach_is_not_behind_the_others() {
    with_context(|cx| {
        let mut overlay = Overlay::new(Spot(50), rng());
        overlay.start_joining(cx);
        overlay.on_failed(cx, Spot(30));
        overlay.on_offered(Spot(20), Wish::Ring);
        overlay.on_opened(cx, Spot(20));
        let table = Table {
            version: 1,
            member: true,
            successors: spots(&[30, 60, 70]).into(),
            ..Table::default()
        };
        overlay.on_message(cx, Spot(20), Message::Table(Arc::new(table)));
        let reply = JoinReply {
            accepted: true,
            successors: spots(&[30, 60, 70]).into(),
            nearer: [][..].into(),
        };
        overlay.on_message(cx, Spot(20), Message::JoinReply(reply));
        assert!(overlay.is_member());
        assert_eq!(overlay.successors(), spots(&[60, 70]));
    });
}

#[test]
fn a_newcomer_gets_past_those_it_cannot_reach() {
    let opened = |out: &mut Vec<Action<Spot>>| -> Vec<u8> {
        let opened = out.drain(..).filter_map(|action| match action {
            Action::Open { to, .. } => Some(to.0),
            _ => None,
        });
        opened.collect()
    };
    let mut out = Vec::new();
    let config = Config::default();
    let mut cx = Context {
        now: Timestamp::ZERO,
        config: &config,
        topology: Topology::Mesh,
        can_connect: true,
        out: &mut out,
    };
    let mut overlay = Overlay::new(Spot(100), rng());
    for member in [60, 65, 70, 75, 80, 90] {
        overlay.add_candidate(cx.now, Spot(member));
    }
    overlay.start_joining(&mut cx);
    overlay.refresh(&mut cx);
    // Each has its turn before the first one has another, however long an attempt takes, and
    // although the nearest one offers a link itself, which shows only that it lives.
    for expected in [[60, 90], [65, 80], [70, 75]] {
        let mut tried = opened(cx.out);
        tried.sort_unstable();
        assert_eq!(tried, expected);
        cx.now = cx.now + config.attempt_timeout;
        for member in expected {
            overlay.on_failed(&mut cx, Spot(member));
        }
        overlay.on_alive(cx.now, Spot(90));
    }
    overlay.on_offered(Spot(10), Wish::Ring);
    overlay.on_opened(&mut cx, Spot(10));
    let table = Table {
        version: 1,
        member: true,
        successors: spots(&[20, 30, 40, 50, 60, 65, 70, 75]).into(),
        ..Table::default()
    };
    overlay.on_message(&mut cx, Spot(10), Message::Table(Arc::new(table)));
    let asked = cx.out.iter().rev().find_map(|action| match action {
        Action::Send {
            message: Message::Join(join),
            ..
        } => Some(join.clone()),
        _ => None,
    });
    let asked = asked.expect("the nearest one is asked to let it in");
    let mut unreachable = asked.unreachable.to_vec();
    unreachable.sort_unstable();
    assert_eq!(unreachable, spots(&[60, 65, 70, 75, 80, 90]));

    // Whoever is asked names others than those.
    let mut before = Overlay::new(Spot(10), rng());
    before.found(&mut cx);
    for member in [20, 30, 40, 50, 60, 65, 70, 75, 80, 90, 200] {
        before.on_offered(Spot(member), Wish::Ring);
        before.on_opened(&mut cx, Spot(member));
        let table = Table {
            version: 1,
            member: true,
            ..Table::default()
        };
        before.on_message(&mut cx, Spot(member), Message::Table(Arc::new(table)));
    }
    before.on_offered(Spot(100), Wish::Ring);
    before.on_opened(&mut cx, Spot(100));
    cx.out.clear();
    before.on_message(&mut cx, Spot(100), Message::Join(asked));
    let reply = cx.out.iter().find_map(|action| match action {
        Action::Send {
            message: Message::JoinReply(reply),
            ..
        } => Some(reply.clone()),
        _ => None,
    });
    let reply = reply.expect("an answer");
    assert!(!reply.accepted, "20 to 50 may be reached");
    assert!(reply.nearer.contains(&Spot(50)), "{:?}", reply.nearer);
}

#[test]
fn the_unreachable_are_not_listed_beyond_what_is_known() {
    let table = |successors: &[u8], predecessors: &[u8], links: &[u8]| {
        Arc::new(Table {
            version: 1,
            member: true,
            successors: spots(successors).into(),
            predecessors: spots(predecessors).into(),
            links: spots(links).into(),
        })
    };
    let standing = |member, table| Standing {
        member: Spot(member),
        table,
        mine: Wishes::of(Wish::Ring),
        theirs: Wishes::of(Wish::Ring),
    };
    with_context(|cx| {
        let mut overlay = Overlay::resume(
            Spot(10),
            rng(),
            table(&[20, 30, 40], &[5], &[5, 20]),
            [
                standing(5, table(&[10, 20, 30], &[60, 50, 40], &[10, 60])),
                standing(20, table(&[30, 40], &[10, 5], &[10, 30])),
            ],
            Timestamp::MAX,
            cx.config.list_len,
        );
        overlay.on_failed(cx, Spot(60));
        overlay.on_dead(cx, Spot(20), false);
        // Member 5 has a link to 60, but nothing tells that nobody lives between 40 and 60.
        assert_eq!(overlay.successors(), spots(&[30, 40]));
    });
}

#[test]
fn a_ring_link_that_becomes_one_long_link_of_others_too_many_is_closed() {
    with_context(|cx| {
        let most = u8::try_from(cx.config.accepted_long_links()).expect("a small number");
        let mut overlay = Overlay::new(Spot(0), rng());
        overlay.found(cx);
        for member in 1..=most {
            assert!(overlay.accepts(cx, Wish::Long));
            overlay.on_offered(Spot(member), Wish::Long);
        }
        assert!(!overlay.accepts(cx, Wish::Long));
        overlay.on_offered(Spot(100), Wish::Ring);
        overlay.on_opened(cx, Spot(100));
        // One that is being set up is now a ring link, too, but may cease to be one before it is open.
        overlay.update_wants(cx, &spots(&[most, 100]));
        let want = Want {
            wishes: Wishes::of(Wish::Long),
            serial: 1,
        };
        overlay.on_want(cx, Spot(100), want);
        assert!(!cx.out.contains(&Action::Close { to: Spot(100) }));
        overlay.update_wants(cx, &spots(&[most]));
        assert!(cx.out.contains(&Action::Close { to: Spot(100) }));
    });
}
