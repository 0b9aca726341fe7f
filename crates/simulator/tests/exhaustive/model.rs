//! What can happen: the steps from one state to the next.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use circlet_core::overlay::{Action, Context, List, Message, Overlay, Timer};
use circlet_core::wire::{Want, Wish};
use circlet_core::{Config, Timestamp, Topology};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::state::{Attempt, Budget, Closing, Ending, Flight, Place, Presence, State};

/// By how much a wait advances the time: all quarantines end.
const WAIT: Duration = Duration::from_secs(10);

/// What stays the same throughout.
#[derive(Debug)]
pub struct Setting {
    pub config: Config,
    /// Pairs that can never connect.
    pub unconnectable: Vec<(Place, Place)>,
    /// Whether messages of a link come in order but for those that the budget lets overtake.
    pub in_order: bool,
    /// Whether what a link is wanted for is a message in flight like others. It decides nothing
    /// but which links are kept in the end.
    pub wants_in_flight: bool,
    /// What is wrong with the protocol, to prove that it is noticed.
    pub bug: Option<Bug>,
}

/// Faults planted in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An older table replaces a newer one that has overtaken it.
    OlderTableWins,
    /// Older wishes replace newer ones that have overtaken them.
    OlderWishesWin,
    /// Tables do not say whom their sender is linked with.
    NobodyVouches,
    /// Whoever vanishes from a neighbour's links is taken to be dead.
    DeathByHearsay,
}

/// In the words of docs/SIMULATION.md.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order = if self.in_order {
            "in order"
        } else {
            "any order"
        };
        let Config {
            list_len,
            ring_links,
            ..
        } = &self.config;
        write!(f, "{list_len}, {ring_links}, {order}")?;
        if self.wants_in_flight {
            f.write_str(", wants in flight")?;
        }
        for (a, b) in &self.unconnectable {
            write!(f, ", {a:?} and {b:?} cannot connect")?;
        }
        Ok(())
    }
}

impl Setting {
    /// Successor lists of `list_len` members, `ring_links` of them linked.
    pub fn new(list_len: usize, ring_links: usize) -> Self {
        Self {
            config: Config {
                list_len,
                ring_links,
                long_links: 0,
                // Tables are told, and attempts repeated, without a delay of their own.
                tell_interval: Duration::ZERO,
                answer_timeout: 4 * WAIT,
                quarantine: WAIT,
                linger: WAIT,
                ..Config::default()
            },
            unconnectable: Vec::new(),
            in_order: false,
            wants_in_flight: false,
            bug: None,
        }
    }

    pub fn context<'a>(
        &'a self,
        now: Timestamp,
        out: &'a mut Vec<Action<Place>>,
    ) -> Context<'a, Place> {
        Context {
            now,
            config: &self.config,
            topology: Topology::SmallWorld,
            can_connect: true,
            out,
        }
    }

    fn can_connect(&self, a: Place, b: Place) -> bool {
        !self.unconnectable.contains(&(a, b)) && !self.unconnectable.contains(&(b, a))
    }
}

/// One thing that can happen.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// A message arrives.
    Deliver(Flight),
    /// An offer arrives, is answered, and the link's end there is open.
    Answer { from: Place, to: Place },
    /// The link's other end, the offerer's, is open.
    Open { from: Place, to: Place },
    /// An attempt has led to nothing.
    Fail { from: Place, to: Place },
    /// `to` learns that its link to `from` is over.
    Notice { from: Place, to: Place },
    /// A member's round of stabilization.
    Stabilize(Place),
    /// Time passes, so that quarantines end.
    Wait,
    /// The same, and everybody stabilizes and closes what nobody wants.
    Round,
    /// A newcomer is told of a member.
    Begin { newcomer: Place, of: Place },
    /// A member vanishes without a word.
    Crash(Place),
    /// A member leaves with a word.
    Leave(Place),
    /// `by` takes `of`, which lives, to be dead.
    Suspect { by: Place, of: Place },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Deliver(flight) => write!(f, "{flight}"),
            Self::Answer { from, to } => write!(f, "{to:?} answers {from:?}'s offer"),
            Self::Open { from, to } => write!(f, "{from:?}'s link to {to:?} is open"),
            Self::Fail { from, to } => write!(f, "{from:?}'s attempt to link with {to:?} fails"),
            Self::Notice { from, to } => {
                write!(f, "{to:?} learns that its link to {from:?} is over")
            }
            Self::Stabilize(who) => write!(f, "{who:?} stabilizes"),
            Self::Wait => f.write_str("time passes"),
            Self::Round => f.write_str("time passes, and all stabilize"),
            Self::Begin { newcomer, of } => write!(f, "{newcomer:?} comes and is told of {of:?}"),
            Self::Crash(who) => write!(f, "{who:?} crashes"),
            Self::Leave(who) => write!(f, "{who:?} leaves"),
            Self::Suspect { by, of } => write!(f, "{by:?} takes {of:?} to be dead"),
        }
    }
}

impl State {
    /// Nobody is here yet.
    pub fn empty(setting: Setting, members: u8) -> Self {
        Self {
            now: Timestamp::from_micros(1_000_000_000),
            members: vec![Presence::Absent; usize::from(members)],
            flights: Vec::new(),
            attempts: Vec::new(),
            closings: Vec::new(),
            budget: Budget::default(),
            breach: None,
            setting: Arc::new(setting),
        }
    }

    /// What follows from what has happened, and needs only time.
    pub fn consequences(&self) -> impl Iterator<Item = Step> {
        let deliveries = self
            .flights
            .iter()
            .enumerate()
            .filter(|(at, flight)| self.may_arrive(*at, flight))
            .map(|(_, flight)| Step::Deliver(flight.clone()));
        let attempts = self
            .attempts
            .iter()
            .filter_map(|attempt| self.next_of(attempt));
        let notices = self
            .closings
            .iter()
            .map(|&Closing { from, to, .. }| Step::Notice { from, to });
        deliveries.chain(attempts).chain(notices)
    }

    /// Whether a message may be the next to arrive: its receiver's end is open, it is not the
    /// same as an earlier one, and whatever it overtakes it may overtake.
    fn may_arrive(&self, at: usize, flight: &Flight) -> bool {
        self.is_open(flight.to, flight.from)
            && !self.flights[..at].contains(flight)
            && (!self.setting.in_order || self.budget.overtakings > 0 || !self.overtakes(at))
    }

    fn overtakes(&self, at: usize) -> bool {
        let link = |flight: &Flight| (flight.from, flight.to);
        let this = link(&self.flights[at]);
        self.flights[..at].iter().any(|other| link(other) == this)
    }

    fn next_of(&self, &Attempt { from, to, answered }: &Attempt) -> Option<Step> {
        if answered {
            let step = if self.is_open(to, from) {
                Step::Open { from, to }
            } else {
                Step::Fail { from, to }
            };
            return Some(step);
        }
        if self.member(to).is_none() || !self.setting.can_connect(from, to) {
            return Some(Step::Fail { from, to });
        }
        // Glare: the greater one drops its own offer, the lesser one ignores the other's.
        let ignored = to < from
            && self
                .attempts
                .iter()
                .any(|other| (other.from, other.to, other.answered) == (to, from, false));
        (!ignored).then_some(Step::Answer { from, to })
    }

    /// What happens by itself, as often as the budget allows.
    pub fn events(&self) -> impl Iterator<Item = Step> {
        let Budget {
            crashes,
            leaves,
            suspicions,
            rounds,
            waits,
            overtakings: _,
        } = self.budget;
        let may = |left: u8| self.places().filter(move |_| left > 0);
        let here = |place: &Place| self.member(*place).is_some();
        let members = move |place: &Place| self.member(*place).is_some_and(Overlay::is_member);
        let absent = self
            .places()
            .filter(|place| matches!(self.members[place.index()], Presence::Absent));
        let begin = absent.flat_map(move |newcomer| {
            let known = self.places().filter(members);
            known.map(move |of| Step::Begin { newcomer, of })
        });
        let suspect = may(suspicions).flat_map(move |by| {
            let linked = self.places().filter(move |of| self.are_linked(by, *of));
            linked.map(move |of| Step::Suspect { by, of })
        });
        may(crashes)
            .filter(here)
            .map(Step::Crash)
            .chain(may(leaves).filter(members).map(Step::Leave))
            .chain(suspect)
            .chain(may(rounds).filter(here).map(Step::Stabilize))
            .chain((waits > 0).then_some(Step::Wait))
            .chain(begin)
    }

    /// The state after a step that is possible.
    pub fn after(&self, step: &Step) -> Self {
        let mut next = self.clone();
        next.take(step);
        next
    }

    pub fn take(&mut self, step: &Step) {
        match *step {
            Step::Deliver(ref flight) => self.deliver(flight),
            Step::Answer { from, to } => self.answer(from, to),
            Step::Open { from, to } => {
                self.forget_attempt(from, to);
                self.tell(from, |overlay, cx| overlay.on_opened(cx, to));
            }
            Step::Fail { from, to } => {
                self.forget_attempt(from, to);
                self.flights.retain(|f| (f.from, f.to) != (to, from));
                self.tell(from, |overlay, cx| overlay.on_failed(cx, to));
            }
            Step::Notice { from, to } => self.notice(from, to),
            Step::Stabilize(who) => {
                self.budget.rounds = self.budget.rounds.saturating_sub(1);
                self.tell(who, |overlay, cx| overlay.fire(cx, Timer::Stabilize));
            }
            Step::Wait => {
                self.budget.waits -= 1;
                self.now = self.now + WAIT;
            }
            Step::Round => self.round(),
            Step::Begin { newcomer, of } => self.begin(newcomer, &[of]),
            Step::Crash(who) => {
                self.budget.crashes -= 1;
                self.end(who, &Ending::Silent);
            }
            Step::Leave(who) => {
                self.budget.leaves -= 1;
                if let Some(overlay) = self.member(who) {
                    let left = Ending::Left {
                        successors: overlay.successors().to_vec(),
                        predecessors: overlay.predecessors().to_vec(),
                    };
                    self.end(who, &left);
                }
            }
            Step::Suspect { by, of } => {
                self.budget.suspicions -= 1;
                self.close(by, of, &Ending::Silent);
                self.tell(by, |overlay, cx| overlay.on_dead(cx, of, false));
            }
        }
        self.tidy();
    }

    /// The first member of all.
    pub fn found(&mut self, who: Place) {
        self.members[who.index()] = Presence::Here(newcomer(who));
        self.tell(who, Overlay::found);
    }

    pub fn begin(&mut self, who: Place, known: &[Place]) {
        self.members[who.index()] = Presence::Here(newcomer(who));
        self.hint(who, known);
    }

    /// Names members to somebody, as a tracker does.
    fn hint(&mut self, to: Place, members: &[Place]) {
        self.tell(to, |overlay, cx| {
            for member in members {
                overlay.add_candidate(cx.now, *member);
            }
            overlay.start_joining(cx);
            overlay.refresh(cx);
        });
    }

    fn round(&mut self) {
        self.now = self.now + WAIT;
        for place in self.places() {
            self.tell(place, |overlay, cx| {
                overlay.fire(cx, Timer::Linger);
                overlay.fire(cx, Timer::Stabilize);
            });
        }
    }

    fn deliver(&mut self, flight: &Flight) {
        let Some(at) = self.flights.iter().position(|other| other == flight) else {
            return;
        };
        if self.setting.in_order && self.overtakes(at) {
            self.budget.overtakings -= 1;
        }
        let Flight { from, to, message } = self.flights.remove(at);
        let message = self.tamper(from, to, message);
        self.tell(to, |overlay, cx| overlay.on_message(cx, from, message));
    }

    fn answer(&mut self, from: Place, to: Place) {
        self.forget_attempt(to, from);
        let open = self.is_open(to, from);
        if open {
            // The offerer has no link any more, or it would not offer one.
            self.closings.retain(|c| (c.from, c.to) != (from, to));
            self.flights.retain(|f| (f.from, f.to) != (from, to));
        }
        let accepts = self.tell(to, |overlay, cx| {
            overlay.on_alive(cx.now, from);
            if overlay.neighbour(from).is_some() {
                overlay.on_closed(cx, from);
            }
            overlay.accepts(cx, Wish::Ring)
        });
        if accepts != Some(true) {
            self.breach = Some("an offer was refused");
            return;
        }
        for attempt in &mut self.attempts {
            if (attempt.from, attempt.to) == (from, to) {
                attempt.answered = true;
            }
        }
        self.tell(to, |overlay, cx| {
            overlay.on_offered(from, Wish::Ring);
            overlay.on_opened(cx, from);
        });
    }

    fn notice(&mut self, from: Place, to: Place) {
        let is_it = |closing: &Closing| (closing.from, closing.to) == (from, to);
        let Some(at) = self.closings.iter().position(is_it) else {
            return;
        };
        let Closing { how, .. } = self.closings.remove(at);
        self.flights.retain(|f| (f.from, f.to) != (from, to));
        self.tell(to, |overlay, cx| match &how {
            Ending::Silent => overlay.on_dead(cx, from, false),
            Ending::Unwanted => {
                overlay.on_closed(cx, from);
                overlay.refresh(cx);
            }
            Ending::Left {
                successors,
                predecessors,
            } => overlay.on_left(cx, from, successors, predecessors),
        });
    }

    /// `who` is gone, and all its ends of links with it.
    fn end(&mut self, who: Place, how: &Ending) {
        for other in self.places() {
            if other != who {
                self.close(who, other, how);
            }
        }
        self.attempts.retain(|attempt| attempt.from != who);
        self.members[who.index()] = Presence::Gone;
    }

    /// `from` closes its end of the link to `to`, if there is one.
    fn close(&mut self, from: Place, to: Place, how: &Ending) {
        self.flights.retain(|f| (f.from, f.to) != (to, from));
        self.closings.retain(|c| (c.from, c.to) != (to, from));
        let known = self.closings.iter().any(|c| (c.from, c.to) == (from, to));
        if self.is_open(to, from) && !known {
            let how = how.clone();
            self.closings.push(Closing { from, to, how });
        } else if !known {
            self.flights.retain(|f| (f.from, f.to) != (from, to));
        }
    }

    fn forget_attempt(&mut self, from: Place, to: Place) {
        self.attempts.retain(|a| (a.from, a.to) != (from, to));
    }

    fn tidy(&mut self) {
        while !self.setting.wants_in_flight
            && let Some(at) = self.flights.iter().position(|flight| {
                matches!(flight.message, Message::Want(_)) && self.is_open(flight.to, flight.from)
            })
        {
            let Flight { from, to, message } = self.flights.remove(at);
            self.tell(to, |overlay, cx| overlay.on_message(cx, from, message));
        }
        self.forget_what_is_outdated();
    }

    /// Tables and wishes that are older than what their receiver has change nothing when they
    /// arrive.
    fn forget_what_is_outdated(&mut self) {
        let mut flights = std::mem::take(&mut self.flights);
        flights.retain(|Flight { from, to, message }| {
            let known = self
                .member(*to)
                .and_then(|overlay| overlay.neighbour(*from))
                .filter(|known| known.is_open());
            match message {
                Message::Table(table) if self.setting.bug != Some(Bug::OlderTableWins) => known
                    .and_then(|known| known.table())
                    .is_none_or(|known| known.version < table.version),
                Message::Want(want) if self.setting.bug != Some(Bug::OlderWishesWin) => {
                    known.is_none_or(|known| want.is_after(known.serials().1))
                }
                _ => true,
            }
        });
        self.flights = flights;
    }

    /// Tells a member something and does what it wants done; its tables are told at once.
    fn tell<R>(
        &mut self,
        who: Place,
        what: impl FnOnce(&mut Overlay<Place>, &mut Context<'_, Place>) -> R,
    ) -> Option<R> {
        let setting = Arc::clone(&self.setting);
        let now = self.now;
        let Some(Presence::Here(overlay)) = self.members.get_mut(who.index()) else {
            return None;
        };
        let overlay = Arc::make_mut(overlay);
        let mut out = Vec::new();
        let result = what(overlay, &mut setting.context(now, &mut out));
        overlay.fire(&mut setting.context(now, &mut out), Timer::Tell);
        let mut actions = VecDeque::from(out);
        while let Some(action) = actions.pop_front() {
            self.perform(who, action);
        }
        Some(result)
    }

    fn perform(&mut self, who: Place, action: Action<Place>) {
        match action {
            Action::Send { to, message } => self.send(who, to, message),
            Action::Open { to, .. } => self.attempts.push(Attempt {
                from: who,
                to,
                answered: false,
            }),
            Action::Close { to } => {
                self.close(who, to, &Ending::Unwanted);
                self.tell(who, |overlay, cx| overlay.on_closed(cx, to));
            }
            Action::Ask => {
                let others: Vec<_> = self
                    .living()
                    .map(|(place, _)| place)
                    .filter(|place| *place != who)
                    .collect();
                self.hint(who, &others);
            }
            Action::LookUp { .. } => self.breach = Some("a long link was sought"),
            Action::Joined | Action::Met { .. } => {}
        }
    }

    fn send(&mut self, from: Place, to: Place, message: Message<Place>) {
        // Somebody who is about to learn that the link is over talks to nobody.
        let is_over = self.closings.iter().any(|c| (c.from, c.to) == (to, from));
        if !self.is_open(from, to) {
            self.breach = Some("something was said over a link that is not open");
        } else if !is_over {
            self.flights.push(Flight { from, to, message });
        }
    }

    fn tamper(&mut self, from: Place, to: Place, message: Message<Place>) -> Message<Place> {
        let known = self.member(to).and_then(|overlay| overlay.neighbour(from));
        let before = known.and_then(|known| known.table()).cloned();
        match (self.setting.bug, message, before) {
            (Some(Bug::OlderTableWins), Message::Table(table), Some(before)) => {
                let mut table = Arc::unwrap_or_clone(table);
                table.version = table.version.max(before.version + 1);
                Message::Table(Arc::new(table))
            }
            (Some(Bug::OlderWishesWin), Message::Want(want), _) => Message::Want(Want {
                serial: known.map_or(0, |known| known.serials().1).wrapping_add(1),
                ..want
            }),
            (Some(Bug::DeathByHearsay), Message::Table(table), Some(before)) => {
                for member in before.links.iter() {
                    if !table.links.contains(member) && self.is_open(to, *member) {
                        self.close(to, *member, &Ending::Silent);
                        self.tell(to, |overlay, cx| overlay.on_dead(cx, *member, false));
                    }
                }
                Message::Table(table)
            }
            (Some(Bug::NobodyVouches), Message::Table(table), _) => {
                let mut table = Arc::unwrap_or_clone(table);
                table.links = List::default();
                Message::Table(Arc::new(table))
            }
            (_, message, _) => message,
        }
    }
}

fn newcomer(who: Place) -> Arc<Overlay<Place>> {
    Arc::new(Overlay::new(who, Xoshiro256PlusPlus::seed_from_u64(0)))
}
