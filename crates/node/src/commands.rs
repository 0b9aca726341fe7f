//! What the application asks for, on its way to the core and back.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use circlet_core::identity::NodeId;
use circlet_core::node::{Command, CommandId, Event, FailReason, Snapshot};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// How a reliable message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver's application has it.
    Delivered,
    /// It was not acknowledged in time. It may have arrived.
    Expired,
    /// It will not be tried any longer. It may have arrived.
    Failed(FailReason),
}

impl Outcome {
    /// Whether the receiver's application has the message for certain.
    #[must_use]
    pub fn is_delivered(self) -> bool {
        self == Self::Delivered
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delivered => f.write_str("delivered"),
            Self::Expired => f.write_str("expired: it was not acknowledged in time"),
            Self::Failed(reason) => write!(f, "failed: {}", reason.text()),
        }
    }
}

/// A reliable message under way: a future that ends with its [`Outcome`].
///
/// Dropping it does not stop the message.
#[derive(Debug)]
#[must_use = "await it to learn whether the message was delivered; drop it if that is of no interest"]
pub struct Delivery(oneshot::Receiver<Outcome>);

impl Delivery {
    pub(crate) fn new() -> (oneshot::Sender<Outcome>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(receiver))
    }
}

impl Future for Delivery {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|outcome| outcome.unwrap_or(Outcome::Failed(FailReason::Left)))
    }
}

/// Where a circulated message went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circulation {
    /// Who saw it, in ring order from the successor on, without this node: the first 1,000.
    pub seen: Vec<NodeId>,
    /// How many saw it.
    pub count: u64,
    /// Whether it came back. Else its time ran out, and more may have seen it.
    pub complete: bool,
}

/// What a handle asks of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    Command(CommandRequest),
    Snapshot(oneshot::Sender<Snapshot>),
    Leave,
}

#[derive(Debug)]
pub(crate) struct CommandRequest {
    pub(crate) command: Command,
    pub(crate) reply: Reply,
    /// Held until the core has taken the command: this is what bounds how many wait.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// Who wants to know how a command ended.
#[derive(Debug)]
pub(crate) enum Reply {
    Nobody,
    Delivery(oneshot::Sender<Outcome>),
    Circulation(oneshot::Sender<Circulation>),
}

/// The commands that the core has had no room for yet, and those whose outcome is awaited.
#[derive(Debug, Default)]
pub(crate) struct Commands {
    waiting: BTreeMap<Lane, VecDeque<CommandRequest>>,
    /// Bounded by the core, which takes so many messages and no more.
    outstanding: BTreeMap<CommandId, Reply>,
}

/// Commands that keep their order among each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Reliable(NodeId),
    Datagram(NodeId),
    Broadcast,
    Circulate,
    Other,
}

impl Lane {
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Reliable { to, .. } => Self::Reliable(*to),
            Command::Datagram { to, .. } => Self::Datagram(*to),
            Command::Broadcast { .. } => Self::Broadcast,
            Command::Circulate { .. } => Self::Circulate,
            Command::Acknowledge { .. } | Command::Leave => Self::Other,
        }
    }
}

impl Commands {
    /// Whether a command of this lane has to wait behind others.
    pub(crate) fn is_waiting(&self, lane: Lane) -> bool {
        self.waiting.contains_key(&lane)
    }

    /// Whether the core has been given all commands.
    pub(crate) fn none_wait(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The lanes in which commands wait.
    pub(crate) fn lanes(&self) -> Vec<Lane> {
        self.waiting.keys().copied().collect()
    }

    /// Puts a command behind those of its lane.
    pub(crate) fn push_back(&mut self, request: CommandRequest) {
        self.waiting
            .entry(Lane::of(&request.command))
            .or_default()
            .push_back(request);
    }

    /// Puts a command back before those of its lane.
    pub(crate) fn push_front(&mut self, request: CommandRequest) {
        self.waiting
            .entry(Lane::of(&request.command))
            .or_default()
            .push_front(request);
    }

    /// The command that has waited longest in a lane.
    pub(crate) fn pop(&mut self, lane: Lane) -> Option<CommandRequest> {
        let queue = self.waiting.get_mut(&lane)?;
        let request = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&lane);
        }
        request
    }

    /// Keeps who wants to know how a command ends that the core has taken.
    pub(crate) fn await_outcome(&mut self, command: &Command, reply: Reply) {
        let (Command::Reliable { id, .. } | Command::Circulate { id, .. }) = command else {
            return;
        };
        self.outstanding.insert(*id, reply);
    }

    /// Passes the outcome of a command on; gives back what is none.
    pub(crate) fn settle(&mut self, event: Event) -> Option<Event> {
        match event {
            Event::Delivered { id } => self.deliver(id, Outcome::Delivered),
            Event::Expired { id } => self.deliver(id, Outcome::Expired),
            Event::Failed { id, reason } => self.deliver(id, Outcome::Failed(reason)),
            Event::Circulated {
                id,
                seen,
                count,
                complete,
            } => {
                if let Some(Reply::Circulation(reply)) = self.outstanding.remove(&id) {
                    // Who asked may have lost interest.
                    let _ = reply.send(Circulation {
                        seen,
                        count,
                        complete,
                    });
                }
            }
            Event::Sent { .. } => {}
            event => return Some(event),
        }
        None
    }

    fn deliver(&mut self, id: CommandId, outcome: Outcome) {
        if let Some(Reply::Delivery(reply)) = self.outstanding.remove(&id) {
            // The application may have dropped its `Delivery`.
            let _ = reply.send(outcome);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;

    const TO: NodeId = NodeId::from_bytes([1; 32]);

    fn reliable(id: u64) -> (CommandRequest, Delivery) {
        let (reply, delivery) = Delivery::new();
        let request = CommandRequest {
            command: Command::Reliable {
                id: CommandId(id),
                to: TO,
                payload: Bytes::new(),
                deadline: None,
            },
            reply: Reply::Delivery(reply),
            _permit: None,
        };
        (request, delivery)
    }

    #[test]
    fn a_lane_keeps_its_order_and_ends() {
        let mut commands = Commands::default();
        let lane = Lane::Reliable(TO);
        for id in 1..=2 {
            commands.push_back(reliable(id).0);
        }
        commands.push_front(reliable(0).0);
        assert!(commands.is_waiting(lane) && !commands.is_waiting(Lane::Datagram(TO)));
        assert_eq!(commands.lanes(), [lane]);
        for expected in 0..=2 {
            let command = commands.pop(lane).unwrap().command;
            assert!(matches!(command, Command::Reliable { id, .. } if id.0 == expected));
        }
        assert!(!commands.is_waiting(lane) && commands.pop(lane).is_none());
    }

    #[test]
    fn each_delivery_learns_its_own_outcome() {
        let mut commands = Commands::default();
        let mut deliveries = Vec::new();
        for id in 1..=4 {
            let (request, delivery) = reliable(id);
            commands.await_outcome(&request.command, request.reply);
            deliveries.push(delivery);
        }
        let reason = FailReason::PeerLeft;
        for (event, expected) in [
            (Event::Expired { id: CommandId(2) }, Outcome::Expired),
            (Event::Delivered { id: CommandId(1) }, Outcome::Delivered),
            (
                Event::Failed {
                    id: CommandId(3),
                    reason,
                },
                Outcome::Failed(reason),
            ),
        ] {
            let (Event::Expired { id } | Event::Delivered { id } | Event::Failed { id, .. }) =
                event
            else {
                unreachable!()
            };
            assert_eq!(commands.settle(event), None);
            let index = usize::try_from(id.0).unwrap() - 1;
            assert_eq!((&mut deliveries[index]).now_or_never(), Some(expected));
        }
        let unknown = Event::Delivered { id: CommandId(9) };
        assert_eq!(commands.settle(unknown), None);
        assert_eq!(commands.settle(Event::Left), Some(Event::Left));
        assert_eq!((&mut deliveries[3]).now_or_never(), None);
        drop(commands);
        assert_eq!(
            deliveries.pop().unwrap().now_or_never(),
            Some(Outcome::Failed(FailReason::Left))
        );
    }
}
