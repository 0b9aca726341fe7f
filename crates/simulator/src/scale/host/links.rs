//! Links: setting them up, and what ends them.

use std::time::Duration;

use circlet_core::Timestamp;
use circlet_core::overlay::Overlay;
use circlet_core::wire::Wish;

use super::{Attempt, Host, NEVER, State};
use crate::latency::micros;
use crate::random::scale;
use crate::scale::event::{Event, LinkNews, Order};
use crate::scale::kernel::Context;
use crate::scale::random_of;
use crate::scale::shared::Shared;
use crate::scale::slot::Slot;

impl Host {
    pub(super) fn open(&mut self, at: &mut Context<'_, Self>, peer: Slot, wish: Wish) {
        let shared = at.shared();
        let (me, now) = (at.index(), at.now());
        let more = self.more.get_or_insert_default();
        more.next_attempt = more.next_attempt.wrapping_add(1);
        let number = more.next_attempt;
        more.attempts.push(Attempt {
            peer,
            number,
            own: true,
        });
        let can_never = shared.forbids(me, peer.index());
        if !can_never {
            // By way of somebody who knows both: the tracker, or the overlay.
            let detour = Duration::from_micros(shared.delay(me, peer.index(), || self.word()));
            let offer = LinkNews::Offer(wish);
            self.send_link_later(at, peer, number, offer, detour + shared.link_setup);
        }
        let patience = if can_never {
            shared.config.attempt_timeout
        } else {
            shared.config.answer_timeout + shared.link_setup
        };
        self.time_out(at, peer, number, now + patience);
    }

    pub(super) fn on_link(
        &mut self,
        at: &mut Context<'_, Self>,
        from: u32,
        number: u32,
        news: LinkNews,
    ) {
        let peer = at.shared().slot(from);
        match news {
            LinkNews::Offer(wish) => self.on_offer(at, peer, number, wish),
            LinkNews::Answer => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    self.send_link(at, peer, number, LinkNews::Up);
                    self.opened(at, peer);
                }
            }
            LinkNews::Up => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    self.opened(at, peer);
                }
            }
            LinkNews::Refuse | LinkNews::TimedOut => {
                if self.take_attempt(peer, Some(number)).is_some() {
                    self.tell(at, |overlay, cx| overlay.on_failed(cx, peer));
                }
            }
            LinkNews::Closed => {
                if self.overlay.is_open(peer) {
                    self.tell(at, |overlay, cx| {
                        overlay.on_closed(cx, peer);
                        overlay.refresh(cx);
                    });
                }
            }
            // The cut was too short to be noticed.
            LinkNews::Silent if !at.shared().separates(at.index(), from) => {}
            LinkNews::Dead | LinkNews::Silent => {
                self.take_attempt(peer, None);
                if self.overlay.neighbour(peer).is_some() {
                    self.tell(at, |overlay, cx| overlay.on_dead(cx, peer, false));
                }
            }
            LinkNews::Left(lists) => {
                self.take_attempt(peer, None);
                if self.overlay.neighbour(peer).is_some() {
                    let (successors, predecessors) = *lists;
                    self.tell(at, |overlay, cx| {
                        overlay.on_left(cx, peer, &successors, &predecessors);
                    });
                }
            }
        }
    }

    pub(super) fn on_offer(
        &mut self,
        at: &mut Context<'_, Self>,
        peer: Slot,
        number: u32,
        wish: Wish,
    ) {
        let me = self.overlay.me();
        self.overlay.on_alive(at.now(), peer);
        if self.overlay.neighbour(peer).is_some() {
            let own = self.attempt_with(peer).is_some_and(|attempt| attempt.own);
            // Glare: the greater one drops its own attempt and answers.
            if own && me < peer {
                return;
            }
            self.take_attempt(peer, None);
            self.tell(at, |overlay, cx| overlay.on_closed(cx, peer));
        }
        let mut accepts = false;
        self.tell(at, |overlay, cx| accepts = overlay.accepts(cx, wish));
        if !accepts {
            self.send_link(at, peer, number, LinkNews::Refuse);
            return;
        }
        self.overlay.on_offered(peer, wish);
        self.more.get_or_insert_default().attempts.push(Attempt {
            peer,
            number,
            own: false,
        });
        self.send_link(at, peer, number, LinkNews::Answer);
        let end = at.now() + at.shared().config.attempt_timeout;
        self.time_out(at, peer, number, end);
    }

    pub(super) fn opened(&mut self, at: &mut Context<'_, Self>, peer: Slot) {
        self.tell(at, |overlay, cx| overlay.on_opened(cx, peer));
    }

    pub(super) fn attempt_with(&self, peer: Slot) -> Option<&Attempt> {
        let attempts = &self.more.as_ref()?.attempts;
        attempts.iter().find(|attempt| attempt.peer == peer)
    }

    /// Ends the attempt with `peer`, if there is one, of this number if one is given.
    pub(super) fn take_attempt(&mut self, peer: Slot, number: Option<u32>) -> Option<Attempt> {
        let attempts = &mut self.more.as_mut()?.attempts;
        let at = attempts.iter().position(|attempt| {
            attempt.peer == peer && number.is_none_or(|number| attempt.number == number)
        })?;
        Some(attempts.swap_remove(at))
    }

    pub(super) fn time_out(
        &mut self,
        at: &mut Context<'_, Self>,
        peer: Slot,
        attempt: u32,
        end: Timestamp,
    ) {
        let event = Event::Link {
            from: peer.index(),
            attempt,
            news: LinkNews::TimedOut,
        };
        at.schedule(at.index(), end, event);
    }

    /// How long it takes to find somebody dead who has fallen silent: at most a heartbeat and the
    /// probes, less the time since it was heard last.
    pub(super) fn detection(&mut self, shared: &Shared) -> Duration {
        let config = &shared.config;
        let most = config.heartbeat + config.probe_interval * (config.probes + 2);
        let heard = Duration::from_micros(scale(self.word(), micros(config.heartbeat)));
        most.saturating_sub(heard)
    }

    pub(super) fn crash(&mut self, at: &mut Context<'_, Self>, noticed: bool) {
        let shared = at.shared();
        let peers: Vec<_> = if shared.maintained {
            self.overlay.members().to_vec()
        } else {
            Vec::new()
        };
        for peer in peers {
            let after = if noticed {
                Duration::ZERO
            } else {
                self.detection(shared)
            };
            self.send_link_later(at, peer, 0, LinkNews::Dead, after);
        }
        self.end(State::Crashed, shared);
    }

    pub(super) fn leave(&mut self, at: &mut Context<'_, Self>) {
        let shared = at.shared();
        let table = self.overlay.table().clone();
        let peers: Vec<_> = self.overlay.members().to_vec();
        for peer in peers {
            let lists = (table.successors.clone(), table.predecessors.clone());
            self.send_link(at, peer, 0, LinkNews::Left(Box::new(lists)));
        }
        self.end(State::Left, shared);
    }

    /// Links across a cut fall silent.
    pub(super) fn look_around(&mut self, at: &mut Context<'_, Self>) {
        let (shared, me) = (at.shared(), at.index());
        let cut: Vec<_> = self
            .overlay
            .members()
            .iter()
            .copied()
            .filter(|peer| shared.separates(me, peer.index()))
            .collect();
        for peer in cut {
            let time = at.now() + self.detection(shared);
            let event = Event::Link {
                from: peer.index(),
                attempt: 0,
                news: LinkNews::Silent,
            };
            at.schedule(me, time, event);
        }
    }

    pub(super) fn end(&mut self, state: State, shared: &Shared) {
        self.state = state;
        self.wake = NEVER;
        self.due = NEVER;
        // The dead need no tables.
        let rng = random_of(shared.seed, self.overlay.me().index());
        self.overlay = Overlay::new(self.overlay.me(), rng);
    }

    pub(super) fn on_event_of_the_dead(&mut self, event: Event, at: &mut Context<'_, Self>) {
        match event {
            Event::Trip(trip) => self.lose(trip, at),
            Event::Astray(astray) => self.lose(astray.0, at),
            Event::Order(order) if matches!(*order, Order::Join(_)) => {
                self.state = State::Living;
                self.on_order(*order, at);
                let (shared, now) = (at.shared(), at.now());
                self.due = self.first_due(shared, now);
                self.arm(at);
            }
            _ => {}
        }
    }
}
