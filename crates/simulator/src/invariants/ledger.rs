//! What the applications sent and got: what the invariants of messages look at.
//!
//! It is told of every command and every event as they happen, and has each judged at once by
//! the invariant that it may break: [received as sent](super::sent), [delivered once](super::once),
//! [in order](super::order), [one outcome](super::outcomes). [Nothing lost](super::nothing_lost)
//! is judged in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use circlet_core::Timestamp;
use circlet_core::identity::NodeId;
use circlet_core::node::{Class, CommandId, Event, Message};

use super::{once, order, outcomes, sent};
use crate::world::{Session, Violation};

/// Broken promises kept; what comes after the first few follows from them.
const MAX_VIOLATIONS: usize = 100;

/// How much later than its deadline a command's outcome may come: retransmissions look at
/// deadlines at their own pace.
pub(crate) const OUTCOME_SLACK: Duration = Duration::from_secs(2);

/// What the applications have sent and got.
#[derive(Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<StreamKey, Stream>,
    commands: BTreeMap<(Session, CommandId), Entry>,
    /// Commands without an outcome, by when they must have one.
    open: BTreeSet<(Timestamp, Session, CommandId)>,
    /// When each session became a member.
    joined: BTreeMap<Session, Joining>,
    violations: Vec<Violation>,
}

/// How a session became a member.
#[derive(Clone, Copy, Debug)]
struct Joining {
    at: Timestamp,
    founded: bool,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Taken by the receiver's application.
    Delivered,
    /// Not acknowledged in time.
    Expired,
    /// Given up.
    Failed,
    /// On its way, which is all that is promised.
    Sent,
    /// Back from its way round.
    Circulated {
        /// Whether it came back.
        complete: bool,
    },
}

/// One message that an application sends.
#[derive(Clone, Debug)]
pub(crate) struct Sending {
    pub(crate) sender: Session,
    pub(crate) id: CommandId,
    pub(crate) class: Class,
    /// `None` for those that go to everybody.
    pub(crate) to: Option<NodeId>,
    pub(crate) payload: Bytes,
    pub(crate) at: Timestamp,
    /// When it must have its outcome.
    pub(crate) due: Timestamp,
}

/// Messages that are promised to arrive in order: of one sender, class and receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamKey {
    pub(super) sender: Session,
    class: u8,
    pub(super) to: Option<NodeId>,
}

/// The messages of a stream, by their number in it.
#[derive(Debug, Default)]
pub(super) struct Stream {
    count: u64,
    by_payload: BTreeMap<Bytes, Vec<u64>>,
    received: BTreeMap<Session, BTreeSet<u64>>,
}

impl Stream {
    pub(super) fn is_received_by(&self, receiver: &Session, index: u64) -> bool {
        let received = self.received.get(receiver);
        received.is_some_and(|indexes| indexes.contains(&index))
    }

    pub(super) fn is_received(&self, index: u64) -> bool {
        let mut receivers = self.received.values();
        receivers.any(|indexes| indexes.contains(&index))
    }
}

/// A command of an application.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) key: StreamKey,
    pub(super) class: Class,
    /// Its number in its stream.
    pub(super) index: u64,
    pub(super) at: Timestamp,
    pub(super) due: Timestamp,
    pub(super) outcome: Option<Outcome>,
}

impl Ledger {
    /// How a command ended, `None` if it has not.
    #[must_use]
    pub fn outcome(&self, sender: Session, id: CommandId) -> Option<Outcome> {
        self.commands.get(&(sender, id))?.outcome
    }

    /// How many of the commands of this class ended in an outcome that `wanted` accepts.
    #[must_use]
    pub fn count(&self, class: Class, wanted: impl Fn(Option<Outcome>) -> bool) -> usize {
        self.commands
            .values()
            .filter(|entry| entry.class == class && wanted(entry.outcome))
            .count()
    }

    /// Checks what must hold at any time: nothing twice, out of order or from nowhere, no second
    /// outcome, and none that is late while `running` says the sender runs.
    ///
    /// # Errors
    /// The first thing that is not so.
    pub fn check(
        &self,
        now: Timestamp,
        running: impl Fn(Session) -> bool,
    ) -> Result<(), Violation> {
        if let Some(first) = self.violations.first() {
            return Err(first.clone());
        }
        outcomes::check_in_time(self, now, running)
            .map_err(|what| Violation::new(now, outcomes::NAME, what))
    }

    /// Commands that have no outcome, those that must have one soonest first.
    pub(super) fn open(&self) -> impl Iterator<Item = (Session, CommandId, &Entry)> {
        self.open.iter().filter_map(|(_, sender, id)| {
            let entry = self.commands.get(&(*sender, *id))?;
            Some((*sender, *id, entry))
        })
    }

    pub(super) fn commands(&self) -> impl Iterator<Item = (Session, CommandId, &Entry)> {
        let commands = self.commands.iter();
        commands.map(|((sender, id), entry)| (*sender, *id, entry))
    }

    pub(super) fn stream(&self, key: &StreamKey) -> Option<&Stream> {
        self.streams.get(key)
    }

    /// When a session became a member, `None` if it has not.
    #[must_use]
    pub fn joined(&self, session: &Session) -> Option<Timestamp> {
        self.joined.get(session).map(|joining| joining.at)
    }

    /// Whether a session became a member by founding a ring: it knew nobody to be let in by.
    #[must_use]
    pub fn founded(&self, session: &Session) -> bool {
        let joining = self.joined.get(session);
        joining.is_some_and(|joining| joining.founded)
    }

    /// Enters a message before the node is told to send it.
    pub(crate) fn send(&mut self, sending: Sending) {
        let key = StreamKey {
            sender: sending.sender,
            class: sending.class as u8,
            to: sending.to,
        };
        let stream = self.streams.entry(key).or_default();
        let index = stream.count;
        stream.count += 1;
        let same = stream.by_payload.entry(sending.payload).or_default();
        same.push(index);
        let entry = Entry {
            key,
            class: sending.class,
            index,
            at: sending.at,
            due: sending.due,
            outcome: None,
        };
        self.open.insert((entry.due, sending.sender, sending.id));
        self.commands.insert((sending.sender, sending.id), entry);
    }

    /// Takes back the last message entered: the node has refused it.
    pub(crate) fn withdraw(&mut self, sender: Session, id: CommandId) {
        let Some(entry) = self.commands.remove(&(sender, id)) else {
            return;
        };
        self.open.remove(&(entry.due, sender, id));
        if let Some(stream) = self.streams.get_mut(&entry.key) {
            stream.count -= 1;
            for indexes in stream.by_payload.values_mut() {
                indexes.retain(|index| *index != entry.index);
            }
        }
    }

    pub(crate) fn on_event(&mut self, now: Timestamp, session: Session, event: &Event) {
        match event {
            Event::Joined { neighbours, .. } => {
                let founded = neighbours.successor.is_none();
                self.on_joined(session, Joining { at: now, founded });
            }
            Event::Message(message) => self.on_message(now, session, message),
            Event::Delivered { id } => self.on_outcome(now, session, *id, Outcome::Delivered),
            Event::Expired { id } => self.on_outcome(now, session, *id, Outcome::Expired),
            Event::Failed { id, .. } => self.on_outcome(now, session, *id, Outcome::Failed),
            Event::Sent { id } => self.on_outcome(now, session, *id, Outcome::Sent),
            Event::Circulated { id, complete, .. } => {
                let complete = *complete;
                self.on_outcome(now, session, *id, Outcome::Circulated { complete });
            }
            _ => {}
        }
    }

    fn on_joined(&mut self, session: Session, joining: Joining) {
        if self.joined.insert(session, joining).is_some() {
            self.violation(
                joining.at,
                outcomes::NAME,
                format!("{session} joined twice"),
            );
        }
    }

    fn on_message(&mut self, now: Timestamp, receiver: Session, message: &Message) {
        let sender = Session {
            node: message.from,
            incarnation: message.incarnation,
        };
        let unicast = matches!(message.class, Class::Datagram | Class::Reliable);
        let key = StreamKey {
            sender,
            class: message.class as u8,
            to: unicast.then_some(receiver.node),
        };
        let (class, sequence) = (message.class, message.sequence);
        let what = || format!("{receiver} got {} {sequence} of {sender}", class.name());
        let stream = self.streams.get_mut(&key);
        let same = stream.and_then(|stream| {
            let same = stream.by_payload.get(&message.payload)?;
            Some((same, stream.received.entry(receiver).or_default()))
        });
        let Some((same, received)) = same.filter(|(same, _)| !same.is_empty()) else {
            return self.violation(now, sent::NAME, sent::violation(&what()));
        };
        let Some(index) = once::first_new(same, received) else {
            return self.violation(now, once::NAME, once::violation(&what()));
        };
        let last = received.last().copied();
        received.insert(index);
        if let Err(why) = order::check(class, last, index) {
            self.violation(now, order::NAME, format!("{}: {why}", what()));
        }
    }

    fn on_outcome(&mut self, now: Timestamp, sender: Session, id: CommandId, outcome: Outcome) {
        let Some(entry) = self.commands.get_mut(&(sender, id)) else {
            let what = format!("{sender}: {outcome:?} of no command {id:?}");
            return self.violation(now, outcomes::NAME, what);
        };
        self.open.remove(&(entry.due, sender, id));
        let before = entry.outcome.replace(outcome);
        let received = self
            .streams
            .get(&entry.key)
            .is_some_and(|stream| stream.is_received(entry.index));
        if let Err(why) = outcomes::check(entry.class, before, outcome, received) {
            self.violation(now, outcomes::NAME, format!("{sender}: {id:?}: {why}"));
        }
    }

    fn violation(&mut self, at: Timestamp, invariant: &'static str, what: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation::new(at, invariant, what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::nothing_lost;
    use circlet_core::identity::Incarnation;
    use circlet_core::node::Neighbours;

    fn session(number: u8) -> Session {
        Session {
            node: NodeId::from_bytes([number; 32]),
            incarnation: Incarnation(1),
        }
    }

    /// A ledger of two members, the first of whom has sent two messages of a class.
    struct Bench {
        ledger: Ledger,
        class: Class,
    }

    const NOW: Timestamp = Timestamp::from_micros(10);

    impl Bench {
        fn new(class: Class) -> Self {
            let mut bench = Self {
                ledger: Ledger::default(),
                class,
            };
            let unicast = matches!(class, Class::Datagram | Class::Reliable);
            for member in [1, 2] {
                bench.at(
                    member,
                    Event::Joined {
                        neighbours: Neighbours::default(),
                        members: 2,
                    },
                );
            }
            for number in [0, 1] {
                bench.ledger.send(Sending {
                    sender: session(1),
                    id: CommandId(number),
                    class,
                    to: unicast.then_some(session(2).node),
                    payload: vec![number as u8].into(),
                    at: NOW,
                    due: NOW,
                });
            }
            bench
        }

        fn at(&mut self, member: u8, event: Event) {
            self.ledger.on_event(NOW, session(member), &event);
        }

        fn receives(mut self, member: u8, payload: u8) -> Self {
            let message = Message {
                from: session(1).node,
                incarnation: Incarnation(1),
                class: self.class,
                sequence: 0,
                hops: 1,
                payload: vec![payload].into(),
            };
            self.at(member, Event::Message(message));
            self
        }

        fn delivered(mut self, id: u64) -> Self {
            self.at(1, Event::Delivered { id: CommandId(id) });
            self
        }

        fn check(&self) -> Result<(), Violation> {
            self.ledger.check(NOW, |_| true)
        }

        fn check_complete(&self) -> Result<(), String> {
            let living = [1, 2].map(session).into_iter().collect();
            nothing_lost::check(&self.ledger, NOW, &living)
        }
    }

    #[test]
    fn what_keeps_its_promise_passes() {
        let reliable = Bench::new(Class::Reliable).receives(2, 0).receives(2, 1);
        let reliable = reliable.delivered(0).delivered(1);
        assert_eq!(reliable.check(), Ok(()));
        assert_eq!(reliable.check_complete(), Ok(()));
        let broadcast = Bench::new(Class::Broadcast).receives(2, 0).receives(2, 1);
        assert_eq!(broadcast.check(), Ok(()));
        assert_eq!(broadcast.check_complete(), Ok(()));
        // A gap, if what is missing expired.
        assert_eq!(Bench::new(Class::Reliable).receives(2, 1).check(), Ok(()));
    }

    #[track_caller]
    fn assert_broken(bench: &Bench, invariant: &str) {
        let violation = bench.check().expect_err(invariant);
        assert_eq!(violation.invariant, invariant, "{violation}");
    }

    #[test]
    fn broken_promises_are_found() {
        for class in [Class::Reliable, Class::Broadcast] {
            let swapped = Bench::new(class).receives(2, 1).receives(2, 0);
            assert_broken(&swapped, order::NAME);
            let lost = Bench::new(class).receives(2, 0);
            assert!(lost.check_complete().is_err());
        }
        for class in [
            Class::Reliable,
            Class::Broadcast,
            Class::Datagram,
            Class::Circulate,
        ] {
            let twice = Bench::new(class).receives(2, 0).receives(2, 0);
            assert_broken(&twice, once::NAME);
            let invented = Bench::new(class).receives(2, 9);
            assert_broken(&invented, sent::NAME);
        }
        let astray = Bench::new(Class::Reliable).receives(3, 0);
        assert_broken(&astray, sent::NAME);
        let not_received = Bench::new(Class::Reliable).delivered(0);
        assert_broken(&not_received, outcomes::NAME);
        let told_twice = Bench::new(Class::Reliable).receives(2, 0);
        assert_broken(&told_twice.delivered(0).delivered(0), outcomes::NAME);
        let wrong_outcome = Bench::new(Class::Broadcast).receives(2, 0).delivered(0);
        assert_broken(&wrong_outcome, outcomes::NAME);
    }

    #[test]
    fn an_outcome_must_come_in_time_while_the_sender_runs() {
        let bench = Bench::new(Class::Reliable);
        let later = NOW + Duration::from_micros(1);
        assert!(bench.ledger.check(later, |_| true).is_err());
        assert!(bench.ledger.check(later, |_| false).is_ok());
    }

    #[test]
    fn what_was_refused_was_not_sent() {
        let mut bench = Bench::new(Class::Reliable);
        bench.ledger.withdraw(session(1), CommandId(1));
        assert!(bench.receives(2, 1).check().is_err());
    }
}
