//! What a state consists of: members, what is under way between them, and what may happen yet.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use circlet_core::Timestamp;
use circlet_core::overlay::{Join, JoinReply, Message, Neighbour, Overlay, Table};
use circlet_core::ring::{Member, Position};

use crate::model::Setting;

/// A member's place on the ring, and its name: places are in the order of the letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u8);

impl Place {
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl Member for Place {
    fn position(self) -> Position {
        Position(u64::from(self.0) << 60)
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(b'a' + self.0))
    }
}

/// Some places, for instance "abd".
pub struct Places<'a>(pub &'a [Place]);

impl fmt::Display for Places<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("-");
        }
        self.0.iter().try_for_each(|place| write!(f, "{place:?}"))
    }
}

/// Somebody who may be a member.
#[derive(Clone, Debug)]
pub enum Presence {
    /// Has not begun to join.
    Absent,
    /// Lives.
    Here(Arc<Overlay<Place>>),
    /// Has crashed or left.
    Gone,
}

/// A message in flight. The channel loses nothing as long as the link lasts, and keeps no order.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    pub from: Place,
    pub to: Place,
    pub message: Message<Place>,
}

/// An attempt to set up a link, from the offer to where its own end opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    pub from: Place,
    pub to: Place,
    /// The other end is open already.
    pub answered: bool,
}

/// How a link ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ending {
    /// Without a word.
    Silent,
    /// Nobody wanted it.
    Unwanted,
    /// Whoever was there has left and told these lists.
    Left {
        successors: Vec<Place>,
        predecessors: Vec<Place>,
    },
}

/// The end of a link, which one end does not know yet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Closing {
    /// Whose end is closed.
    pub from: Place,
    /// Whose end is open still.
    pub to: Place,
    pub how: Ending,
}

/// How often things may happen from here on that do not follow from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    pub leaves: u8,
    pub suspicions: u8,
    pub rounds: u8,
    pub waits: u8,
    /// Messages that overtake others on their link.
    pub overtakings: u8,
}

/// In the words of docs/SIMULATION.md.
impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = [
            (self.crashes, "crashes"),
            (self.leaves, "leaves"),
            (self.suspicions, "false suspicions"),
            (self.rounds, "rounds"),
            (self.waits, "waits"),
            (self.overtakings, "overtakings"),
        ];
        let mut parts = counts.iter().filter(|(count, _)| *count > 0);
        let Some((count, what)) = parts.next() else {
            return f.write_str("none");
        };
        write!(f, "{what} {count}")?;
        parts.try_for_each(|(count, what)| write!(f, ", {what} {count}"))
    }
}

#[derive(Clone, Debug)]
pub struct State {
    pub now: Timestamp,
    pub members: Vec<Presence>,
    pub flights: Vec<Flight>,
    pub attempts: Vec<Attempt>,
    pub closings: Vec<Closing>,
    pub budget: Budget,
    /// What should never have happened.
    pub breach: Option<&'static str>,
    pub setting: Arc<Setting>,
}

impl State {
    pub fn member(&self, place: Place) -> Option<&Overlay<Place>> {
        match self.members.get(place.index())? {
            Presence::Here(overlay) => Some(overlay),
            Presence::Absent | Presence::Gone => None,
        }
    }

    /// Those who live, in order of their places.
    pub fn living(&self) -> impl Iterator<Item = (Place, &Overlay<Place>)> {
        self.places()
            .filter_map(|place| Some((place, self.member(place)?)))
    }

    pub fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.members.len()).map(|index| Place(u8::try_from(index).expect("a few members")))
    }

    /// Whether `at` has an open link to `to`, as far as it knows.
    pub fn is_open(&self, at: Place, to: Place) -> bool {
        self.member(at)
            .and_then(|overlay| overlay.neighbour(to))
            .is_some_and(Neighbour::is_open)
    }

    /// Whether both ends of a link are open, and neither is about to learn otherwise.
    pub fn are_linked(&self, a: Place, b: Place) -> bool {
        self.is_open(a, b)
            && self.is_open(b, a)
            && !self
                .closings
                .iter()
                .any(|closing| [(a, b), (b, a)].contains(&(closing.from, closing.to)))
    }

    /// What decides all that can happen from here on, faults excepted.
    pub fn fingerprint(&self) -> u64 {
        let versions = self.versions();
        let rank =
            |owner: Place, version: u64| match versions[owner.index()].binary_search(&version) {
                Ok(rank) => rank as u64 + u64::from(version > 0),
                Err(_) => u64::MAX,
            };
        let mut hasher = DefaultHasher::new();
        for member in &self.members {
            match member {
                Presence::Absent => 0_u8.hash(&mut hasher),
                Presence::Gone => 1_u8.hash(&mut hasher),
                Presence::Here(overlay) => {
                    let mut out = Vec::new();
                    let cx = self.setting.context(self.now, &mut out);
                    overlay.hash_ring(&cx, rank, &mut hasher);
                }
            }
        }
        // Only the order on a link can matter.
        let mut sent = vec![0_u8; self.members.len() * self.members.len()];
        let flights = self.flights.iter().map(|flight| {
            let mut hasher = DefaultHasher::new();
            (flight.from, flight.to).hash(&mut hasher);
            if self.setting.in_order {
                let link = flight.from.index() * self.members.len() + flight.to.index();
                sent[link] += 1;
                sent[link].hash(&mut hasher);
            }
            hash_message(flight, rank, &mut hasher);
            if let Message::Want(want) = flight.message {
                let (_, heard) = self.serials(flight.to, flight.from);
                want.serial.wrapping_sub(heard).hash(&mut hasher);
            }
            hasher.finish()
        });
        flights.fold(0, u64::wrapping_add).hash(&mut hasher);
        for (place, overlay) in self.living() {
            for (other, _) in overlay.neighbours() {
                let (told, _) = self.serials(place, other);
                let (_, heard) = self.serials(other, place);
                told.wrapping_sub(heard).hash(&mut hasher);
            }
        }
        sum(&self.attempts).hash(&mut hasher);
        sum(&self.closings).hash(&mut hasher);
        self.breach.hash(&mut hasher);
        hasher.finish()
    }

    /// The numbers of the last wishes that `at` has told `to`, and heard of it.
    fn serials(&self, at: Place, to: Place) -> (u8, u8) {
        let overlay = self.member(at);
        let known = overlay.and_then(|overlay| overlay.neighbour(to));
        known.map_or((0, 0), Neighbour::serials)
    }

    /// The versions of each member's table that anybody holds or will be given, in order.
    fn versions(&self) -> Vec<Vec<u64>> {
        let mut versions = vec![Vec::with_capacity(8); self.members.len()];
        let mut note = |owner: Place, version: u64| versions[owner.index()].push(version);
        for (place, overlay) in self.living() {
            note(place, overlay.table().version);
            for (member, known) in overlay.neighbours() {
                if let Some(table) = known.table() {
                    note(member, table.version);
                }
            }
        }
        for flight in &self.flights {
            match &flight.message {
                Message::Table(table) => note(flight.from, table.version),
                Message::Stabilize { version } => note(flight.to, *version),
                _ => {}
            }
        }
        for versions in &mut versions {
            versions.sort_unstable();
            versions.dedup();
        }
        versions
    }
}

fn sum<T: Hash>(items: &[T]) -> u64 {
    let hashes = items.iter().map(|item| {
        let mut hasher = DefaultHasher::new();
        item.hash(&mut hasher);
        hasher.finish()
    });
    hashes.fold(0, u64::wrapping_add)
}

fn hash_message(flight: &Flight, rank: impl Fn(Place, u64) -> u64, hasher: &mut impl Hasher) {
    std::mem::discriminant(&flight.message).hash(hasher);
    match &flight.message {
        Message::Table(table) => {
            let Table {
                version,
                member,
                successors,
                predecessors,
                links,
            } = &**table;
            rank(flight.from, *version).hash(hasher);
            (member, successors, predecessors, links).hash(hasher);
        }
        Message::Stabilize { version } => rank(flight.to, *version).hash(hasher),
        Message::Join(Join { unreachable }) => unreachable.hash(hasher),
        Message::JoinReply(JoinReply {
            accepted,
            successors,
            nearer,
        }) => (accepted, successors, nearer).hash(hasher),
        Message::Want(want) => want.wishes.hash(hasher),
        // The receiver takes no notice of the version.
        Message::Current { .. } | Message::Notify => {}
    }
}

/// States are told apart by what can happen from here on.
impl Hash for State {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint().hash(hasher);
        self.budget.hash(hasher);
    }
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint() && self.budget == other.budget
    }
}

/// A line for each member, one for what is under way.
impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, overlay) in self.living() {
            let kind = if overlay.is_member() {
                "member"
            } else {
                "newcomer"
            };
            write!(
                f,
                "  {place:?} {kind}, successors {}, predecessors {}, links",
                Places(overlay.successors()),
                Places(overlay.predecessors())
            )?;
            for (member, known) in overlay.neighbours() {
                let phase = if known.is_open() { "" } else { "?" };
                let dead = if overlay.holds_dead(self.now, member) {
                    "!"
                } else {
                    ""
                };
                let knows = if known.table().is_some() { "" } else { "_" };
                write!(f, " {member:?}{phase}{dead}{knows}")?;
            }
            let dead: Vec<_> = self
                .places()
                .filter(|member| overlay.holds_dead(self.now, *member))
                .collect();
            if !dead.is_empty() {
                write!(f, ", holds {} dead", Places(&dead))?;
            }
            writeln!(f)?;
        }
        for flight in &self.flights {
            writeln!(f, "  under way: {flight}")?;
        }
        for Attempt { from, to, answered } in &self.attempts {
            let answered = if *answered { ", answered" } else { "" };
            writeln!(f, "  under way: {from:?} offers {to:?} a link{answered}")?;
        }
        for Closing { from, to, how } in &self.closings {
            writeln!(
                f,
                "  under way: {to:?} is to learn that {from:?} is gone: {how:?}"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, to, message } = self;
        write!(f, "{from:?} -> {to:?}: ")?;
        match message {
            Message::Table(table) => {
                let what = if table.member {
                    "table"
                } else {
                    "newcomer's table"
                };
                write!(
                    f,
                    "{what} {} (successors {}, predecessors {}, links {})",
                    table.version,
                    Places(&table.successors),
                    Places(&table.predecessors),
                    Places(&table.links)
                )
            }
            Message::Join(join) => write!(f, "join, cannot reach {}", Places(&join.unreachable)),
            Message::JoinReply(JoinReply {
                accepted,
                successors,
                nearer,
            }) => write!(
                f,
                "{}, successors {}, nearer {}",
                if *accepted {
                    "accepted"
                } else {
                    "not between us"
                },
                Places(successors),
                Places(nearer)
            ),
            Message::Stabilize { version } => write!(f, "stabilize, has table {version}"),
            Message::Current { .. } => f.write_str("no newer table"),
            Message::Notify => f.write_str("notify"),
            Message::Want(want) if want.wishes.anything() => f.write_str("wants the link"),
            Message::Want(_) => f.write_str("does not want the link"),
        }
    }
}
