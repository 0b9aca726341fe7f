//! The handle that an application holds.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use circlet_core::identity::NodeId;
use circlet_core::node::{Command, CommandId, Snapshot};
use circlet_core::ring::Position;
use circlet_core::wire::{MAX_CIRCULATED, MAX_PAYLOAD};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot, watch};

use crate::builder::NodeBuilder;
use crate::commands::{Circulation, CommandRequest, Delivery, Reply, Request};

/// Commands that may be on their way to the core or wait until it has room. With the largest
/// payloads they take 15 MB.
const PERMITS: usize = 256;

/// Requests that may wait for the driver to look at them.
pub(crate) const REQUESTS: usize = PERMITS;

/// A running node: a handle, cheaply cloned, usable from any thread and any async runtime.
///
/// When the last one is dropped the node leaves its room, in the background;
/// [`Node::leave`] lets wait for that.
#[derive(Clone, Debug)]
pub struct Node {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Request>,
    ended: watch::Receiver<()>,
}

/// What handles and driver have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) id: NodeId,
    pub(crate) position: Position,
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) counters: Counters,
    next_command: AtomicU64,
}

impl Shared {
    pub(crate) fn new(id: NodeId, position: Position) -> Self {
        Self {
            id,
            position,
            permits: Arc::new(Semaphore::new(PERMITS)),
            counters: Counters::default(),
            next_command: AtomicU64::new(1),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames_refused: AtomicU64,
    pub(crate) frames_unread: AtomicU64,
    pub(crate) trackers_lost: AtomicU64,
}

/// What the driver of a node counts, since its start; the protocol's own counts are in the
/// [`Snapshot`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverCounters {
    /// Frames that a link did not take, its queue being full. The protocol keeps to what a link
    /// takes: any such frame is a mistake.
    pub frames_refused: u64,
    /// Frames of messages that were left unread, the application not reading its events.
    pub frames_unread: u64,
    /// Connections to trackers that ended or could not be made.
    pub trackers_lost: u64,
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The payload is larger than [`MAX_PAYLOAD`], or, to be circulated, [`MAX_CIRCULATED`].
    #[error("the message has {bytes} bytes, and {limit} are allowed")]
    TooLarge {
        /// The bytes given.
        bytes: usize,
        /// The bytes allowed.
        limit: usize,
    },
    /// The receiver is this node itself.
    #[error("the receiver is this node itself")]
    ToSelf,
    /// Too much waits already. Only [`Node::try_send`] says so; others wait.
    #[error("too many messages wait to be sent")]
    Full,
    /// The node has left its room, or was made to.
    #[error("the node has left the room")]
    Ended,
}

/// The node has left its room, or was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node has left the room")]
pub struct Ended;

impl Node {
    /// Begins to set a node up.
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    pub(crate) fn new(
        shared: Arc<Shared>,
        requests: mpsc::Sender<Request>,
        ended: watch::Receiver<()>,
    ) -> Self {
        Self {
            shared,
            requests,
            ended,
        }
    }

    /// Who this node is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.shared.id
    }

    /// Its place on the ring of its room.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.position
    }

    /// Sends `payload` to one member: exactly once in effect, in order with others that this
    /// node sends to it, tried for [`Config::message_deadline`](crate::Config).
    ///
    /// Returns once the message is on its way to the core; awaiting the [`Delivery`] tells how
    /// it ended. While too much waits for this receiver the call waits too, and so, after 256
    /// such messages, do all others. Cancel safe: dropped before it returned, nothing is sent.
    ///
    /// # Errors
    /// [`SendError`], but never `Full`.
    pub async fn send(&self, to: NodeId, payload: impl Into<Bytes>) -> Result<Delivery, SendError> {
        self.reliable(to, payload.into(), None).await
    }

    /// As [`Node::send`], tried for `deadline`.
    ///
    /// # Errors
    /// [`SendError`], but never `Full`.
    pub async fn send_within(
        &self,
        to: NodeId,
        payload: impl Into<Bytes>,
        deadline: Duration,
    ) -> Result<Delivery, SendError> {
        self.reliable(to, payload.into(), Some(deadline)).await
    }

    /// As [`Node::send`], without waiting for room.
    ///
    /// # Errors
    /// [`SendError`]; `Full` if [`Node::send`] would wait.
    pub fn try_send(&self, to: NodeId, payload: impl Into<Bytes>) -> Result<Delivery, SendError> {
        let payload = payload.into();
        self.check(Some(to), &payload)?;
        let permit = Arc::clone(&self.shared.permits)
            .try_acquire_owned()
            .map_err(|error| match error {
                TryAcquireError::NoPermits => SendError::Full,
                TryAcquireError::Closed => SendError::Ended,
            })?;
        let (reply, delivery) = Delivery::new();
        let command = Command::Reliable {
            id: self.next_id(),
            to,
            payload,
            deadline: None,
        };
        self.requests
            .try_send(request(command, Reply::Delivery(reply), Some(permit)))
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::Ended,
            })?;
        Ok(delivery)
    }

    /// Sends `payload` to one member at most once.
    ///
    /// # Errors
    /// [`SendError`], but never `Full`.
    pub async fn send_datagram(
        &self,
        to: NodeId,
        payload: impl Into<Bytes>,
    ) -> Result<(), SendError> {
        let payload = payload.into();
        self.check(Some(to), &payload)?;
        let id = self.next_id();
        let command = Command::Datagram { id, to, payload };
        self.command(command, Reply::Nobody).await
    }

    /// Sends `payload` to every member: each that stays connected gets it once, in order with
    /// others that this node broadcasts.
    ///
    /// # Errors
    /// [`SendError`], but never `Full` or `ToSelf`.
    pub async fn broadcast(&self, payload: impl Into<Bytes>) -> Result<(), SendError> {
        let payload = payload.into();
        self.check(None, &payload)?;
        let id = self.next_id();
        let command = Command::Broadcast { id, payload };
        self.command(command, Reply::Nobody).await
    }

    /// Sends `payload` once round the ring, member by member, and waits until it is back, or
    /// for [`Config::circulate_timeout`](crate::Config).
    ///
    /// # Errors
    /// [`SendError`], but never `Full` or `ToSelf`.
    pub async fn circulate(&self, payload: impl Into<Bytes>) -> Result<Circulation, SendError> {
        let payload = payload.into();
        Self::check_size(&payload, MAX_CIRCULATED)?;
        let id = self.next_id();
        let command = Command::Circulate { id, payload };
        let (reply, circulation) = oneshot::channel();
        self.command(command, Reply::Circulation(reply)).await?;
        circulation.await.map_err(|_| SendError::Ended)
    }

    /// Says that the application has taken the messages of `from` up to `sequence`. Only for
    /// nodes with [`Config::manual_ack`](crate::Config); others do it themselves.
    ///
    /// # Errors
    /// [`Ended`] if the node has ended.
    pub async fn acknowledge(&self, from: NodeId, sequence: u64) -> Result<(), Ended> {
        let command = Command::Acknowledge { from, sequence };
        self.requests
            .send(request(command, Reply::Nobody, None))
            .await
            .map_err(|_| Ended)
    }

    /// What the node knows and holds at this moment.
    ///
    /// # Errors
    /// [`Ended`] if the node has ended.
    pub async fn snapshot(&self) -> Result<Snapshot, Ended> {
        let (reply, snapshot) = oneshot::channel();
        self.requests
            .send(Request::Snapshot(reply))
            .await
            .map_err(|_| Ended)?;
        snapshot.await.map_err(|_| Ended)
    }

    /// What the driver has counted.
    #[must_use]
    pub fn driver_counters(&self) -> DriverCounters {
        let counters = &self.shared.counters;
        DriverCounters {
            frames_refused: counters.frames_refused.load(Ordering::Relaxed),
            frames_unread: counters.frames_unread.load(Ordering::Relaxed),
            trackers_lost: counters.trackers_lost.load(Ordering::Relaxed),
        }
    }

    /// Leaves the room. Returns once what was sent before is on its way, neighbours and trackers
    /// were told, and all links are closed: after 3 s at the latest. Messages not delivered by then
    /// have failed.
    ///
    /// Everybody who holds a handle may call it, and more than once.
    pub async fn leave(&self) {
        // Refused only when the node has ended.
        let _ = self.requests.send(Request::Leave).await;
        self.ended().await;
    }

    /// Waits until the node has ended, be it that it left, a later session of its identity has
    /// taken over, or it was refused; the last events tell which.
    pub async fn ended(&self) {
        let mut ended = self.ended.clone();
        // Nothing is ever sent: the driver's thread drops its end last of all.
        while ended.changed().await.is_ok() {}
    }

    async fn reliable(
        &self,
        to: NodeId,
        payload: Bytes,
        deadline: Option<Duration>,
    ) -> Result<Delivery, SendError> {
        self.check(Some(to), &payload)?;
        let (reply, delivery) = Delivery::new();
        let command = Command::Reliable {
            id: self.next_id(),
            to,
            payload,
            deadline,
        };
        self.command(command, Reply::Delivery(reply)).await?;
        Ok(delivery)
    }

    async fn command(&self, command: Command, reply: Reply) -> Result<(), SendError> {
        let permit = Arc::clone(&self.shared.permits)
            .acquire_owned()
            .await
            .map_err(|_| SendError::Ended)?;
        self.requests
            .send(request(command, reply, Some(permit)))
            .await
            .map_err(|_| SendError::Ended)
    }

    /// What the core would refuse, said before anybody has waited.
    fn check(&self, to: Option<NodeId>, payload: &Bytes) -> Result<(), SendError> {
        Self::check_size(payload, MAX_PAYLOAD)?;
        if to == Some(self.shared.id) {
            return Err(SendError::ToSelf);
        }
        Ok(())
    }

    fn check_size(payload: &Bytes, limit: usize) -> Result<(), SendError> {
        let bytes = payload.len();
        if bytes > limit {
            return Err(SendError::TooLarge { bytes, limit });
        }
        Ok(())
    }

    fn next_id(&self) -> CommandId {
        CommandId(self.shared.next_command.fetch_add(1, Ordering::Relaxed))
    }
}

fn request(command: Command, reply: Reply, permit: Option<OwnedSemaphorePermit>) -> Request {
    Request::Command(CommandRequest {
        command,
        reply,
        _permit: permit,
    })
}
