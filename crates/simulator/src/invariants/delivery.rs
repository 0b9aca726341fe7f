//! Messages arrive as promised, and every command has its one outcome.
//!
//! Source: DESIGN, section 7. A reliable message is received at most once and in the order of its
//! sender's stream to this receiver; it ends in exactly one of delivered, expired, failed; what is
//! delivered has been received, and what two living members say to each other is delivered. A
//! broadcast is received at most once and in the order of its sender, and by everybody who stays
//! connected. A datagram and a circulated message are received at most once. Nothing is received
//! that was not sent, or by somebody it was not sent to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use circlet_core::Timestamp;
use circlet_core::identity::NodeId;
use circlet_core::node::{Class, CommandId, Event, Message};

use crate::world::{Session, Violation};

/// Broken promises kept; what comes after the first few follows from them.
const MAX_VIOLATIONS: usize = 100;

/// What the applications have sent and got.
#[derive(Debug, Default)]
pub struct Ledger {
    streams: BTreeMap<StreamKey, Stream>,
    commands: BTreeMap<(Session, CommandId), Entry>,
    /// When each session became a member.
    joined: BTreeMap<Session, Timestamp>,
    violations: Vec<Violation>,
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
struct StreamKey {
    sender: Session,
    class: u8,
    to: Option<NodeId>,
}

#[derive(Debug, Default)]
struct Stream {
    count: u64,
    by_payload: BTreeMap<Bytes, Vec<u64>>,
    received: BTreeMap<Session, BTreeSet<u64>>,
}

#[derive(Debug)]
struct Entry {
    key: StreamKey,
    class: Class,
    index: u64,
    at: Timestamp,
    due: Timestamp,
    outcome: Option<Outcome>,
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
        let broken = |what| Err(Violation { at: now, what });
        for ((sender, id), entry) in &self.commands {
            if entry.outcome == Some(Outcome::Delivered) && !self.is_received(entry) {
                return broken(format!(
                    "{sender}: {id:?} is delivered, and was not received"
                ));
            }
            if entry.outcome.is_none() && now > entry.due && running(*sender) {
                return broken(format!(
                    "{sender}: {id:?}, {} of {}, was due at {} and has no outcome",
                    entry.class.name(),
                    entry.at,
                    entry.due
                ));
            }
        }
        Ok(())
    }

    /// Checks what must hold at the end of a quiet time that began at `since`: every reliable
    /// message sent from then on from one of `living` to another was delivered, every broadcast
    /// was received by all of them who were members when it was sent.
    ///
    /// # Errors
    /// The first message that was lost.
    pub fn check_complete(
        &self,
        now: Timestamp,
        since: Timestamp,
        living: &BTreeSet<Session>,
    ) -> Result<(), Violation> {
        let sent = self
            .commands
            .iter()
            .filter(|((sender, _), entry)| entry.at >= since && living.contains(sender));
        for ((sender, id), entry) in sent {
            let was_member = |receiver: &&Session| {
                self.joined
                    .get(receiver)
                    .is_some_and(|joined| *joined <= entry.at)
            };
            let stream = self.streams.get(&entry.key);
            let missed = living.iter().filter(was_member).find(|receiver| {
                let meant = match entry.class {
                    Class::Reliable => entry.key.to == Some(receiver.node),
                    Class::Broadcast => receiver.node != sender.node,
                    Class::Datagram | Class::Circulate => false,
                };
                let got = stream
                    .and_then(|stream| stream.received.get(receiver))
                    .is_some_and(|indexes| indexes.contains(&entry.index));
                let settled =
                    entry.class != Class::Reliable || entry.outcome == Some(Outcome::Delivered);
                meant && !(got && settled)
            });
            if let Some(receiver) = missed {
                return Err(Violation {
                    at: now,
                    what: format!(
                        "{receiver} missed {} {} of {sender} ({id:?}), sent at {}, outcome {:?}",
                        entry.class.name(),
                        entry.index,
                        entry.at,
                        entry.outcome
                    ),
                });
            }
        }
        Ok(())
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
        self.commands.insert((sending.sender, sending.id), entry);
    }

    /// Takes back the last message entered: the node has refused it.
    pub(crate) fn withdraw(&mut self, sender: Session, id: CommandId) {
        let Some(entry) = self.commands.remove(&(sender, id)) else {
            return;
        };
        if let Some(stream) = self.streams.get_mut(&entry.key) {
            stream.count -= 1;
            for indexes in stream.by_payload.values_mut() {
                indexes.retain(|index| *index != entry.index);
            }
        }
    }

    pub(crate) fn on_event(&mut self, now: Timestamp, session: Session, event: &Event) {
        match event {
            Event::Joined { .. } => self.on_joined(now, session),
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

    fn on_joined(&mut self, now: Timestamp, session: Session) {
        if self.joined.insert(session, now).is_some() {
            self.violation(now, format!("{session} joined twice"));
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
        let what = format!("{} {} of {sender}", message.class.name(), message.sequence);
        let Some(stream) = self.streams.get_mut(&key) else {
            return self.violation(now, format!("{receiver} got {what}, never sent to it"));
        };
        let sent = stream.by_payload.get(&message.payload);
        let Some(sent) = sent.filter(|indexes| !indexes.is_empty()) else {
            return self.violation(
                now,
                format!("{receiver} got {what}, whose content is another"),
            );
        };
        let received = stream.received.entry(receiver).or_default();
        let Some(index) = sent.iter().find(|index| !received.contains(index)) else {
            return self.violation(now, format!("{receiver} got {what} twice"));
        };
        let ordered = matches!(message.class, Class::Reliable | Class::Broadcast);
        let last = received.last().copied();
        received.insert(*index);
        if ordered && last.is_some_and(|last| last > *index) {
            let what = format!("{receiver} got {what} ({index}) after {last:?}");
            self.violation(now, what);
        }
    }

    fn on_outcome(&mut self, now: Timestamp, sender: Session, id: CommandId, outcome: Outcome) {
        let Some(entry) = self.commands.get_mut(&(sender, id)) else {
            return self.violation(now, format!("{sender}: {outcome:?} of no command {id:?}"));
        };
        let fits = match entry.class {
            Class::Datagram | Class::Broadcast => outcome == Outcome::Sent,
            Class::Circulate => matches!(outcome, Outcome::Circulated { .. }),
            Class::Reliable => matches!(
                outcome,
                Outcome::Delivered | Outcome::Expired | Outcome::Failed
            ),
        };
        let before = entry.outcome.replace(outcome);
        let class = entry.class;
        if !fits || before.is_some() {
            let what = format!("{sender}: {outcome:?} of {class:?} {id:?} after {before:?}");
            self.violation(now, what);
        }
    }

    fn is_received(&self, entry: &Entry) -> bool {
        self.streams.get(&entry.key).is_some_and(|stream| {
            stream
                .received
                .values()
                .any(|indexes| indexes.contains(&entry.index))
        })
    }

    fn violation(&mut self, at: Timestamp, what: String) {
        if self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(Violation { at, what });
        }
    }
}

/// How much later than its deadline a command's outcome may come: retransmissions look at
/// deadlines at their own pace.
pub(crate) const OUTCOME_SLACK: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;
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

        fn check_complete(&self) -> Result<(), Violation> {
            let living = [1, 2].map(session).into_iter().collect();
            self.ledger.check_complete(NOW, NOW, &living)
        }
    }

    #[test]
    fn what_keeps_its_promise_passes() {
        let reliable = Bench::new(Class::Reliable).receives(2, 0).receives(2, 1);
        let reliable = reliable.delivered(0).delivered(1);
        assert_eq!(reliable.check().and(reliable.check_complete()), Ok(()));
        let broadcast = Bench::new(Class::Broadcast).receives(2, 0).receives(2, 1);
        assert_eq!(broadcast.check().and(broadcast.check_complete()), Ok(()));
        // A gap, if what is missing expired.
        assert_eq!(Bench::new(Class::Reliable).receives(2, 1).check(), Ok(()));
    }

    #[test]
    fn broken_promises_are_found() {
        for class in [Class::Reliable, Class::Broadcast] {
            let swapped = Bench::new(class).receives(2, 1).receives(2, 0);
            assert!(swapped.check().is_err());
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
            assert!(twice.check().is_err());
            let invented = Bench::new(class).receives(2, 9);
            assert!(invented.check().is_err());
        }
        let astray = Bench::new(Class::Reliable).receives(3, 0);
        assert!(astray.check().is_err());
        let not_received = Bench::new(Class::Reliable).delivered(0);
        assert!(not_received.check().is_err());
        let told_twice = Bench::new(Class::Reliable).receives(2, 0);
        assert!(told_twice.delivered(0).delivered(0).check().is_err());
        let wrong_outcome = Bench::new(Class::Broadcast).receives(2, 0).delivered(0);
        assert!(wrong_outcome.check().is_err());
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
