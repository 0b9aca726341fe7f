//! What all transports do alike: the life of a connection attempt and its owner's end of it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use circlet_core::node::{Channel, DownReason, LinkId};
use circlet_core::wire::Signal;
use futures_util::FutureExt;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tracing::{debug, error};

use super::queue::{Account, Queue, SendQueues, queues};
use super::{Closed, Link, SendError, TransportEvent};

/// Signals of the other side that may wait. A negotiation has an offer or an answer, the end of
/// candidates, and candidates, of which browsers make about twenty at most.
const MAX_WAITING_SIGNALS: usize = 64;

/// One kind of connection: what is different between transports.
pub(super) trait Connection: Send + 'static {
    /// Sets the connection up and runs it until it is no more.
    fn run(&mut self) -> impl Future<Output = DownReason> + Send;

    /// Stops whatever may send events.
    fn silence(&mut self) -> impl Future<Output = ()> + Send;

    /// Closes it. Gives what is in the queues, whose other ends are dropped by then, up to
    /// `grace` to get out.
    fn close(&mut self, grace: Duration) -> impl Future<Output = ()> + Send;
}

/// What a connection is given to work with.
pub(super) struct Attempt {
    pub(super) events: Events,
    pub(super) signals: mpsc::Receiver<Signal>,
    pub(super) queues: Vec<(Channel, Queue)>,
    pub(super) account: Arc<Account>,
    /// Ends the attempt as failed.
    pub(super) fail: Arc<Notify>,
}

/// Where a link's events go.
#[derive(Clone)]
pub(super) struct Events {
    pub(super) link: LinkId,
    sender: mpsc::Sender<TransportEvent>,
}

impl Events {
    /// Passes an event on as soon as there is room for it. If nobody listens any longer it is
    /// lost: the link is about to be closed then.
    pub(super) async fn tell(&self, event: TransportEvent) {
        // Sending would count against the task's budget, and break what belongs together into
        // many small turns.
        if let Err(mpsc::error::TrySendError::Full(event)) = self.sender.try_send(event) {
            let _ = self.sender.send(event).await;
        }
    }
}

/// Runs the connection that `connect` makes, in a task of its own.
pub(super) fn start<C: Connection>(
    link: LinkId,
    events: mpsc::Sender<TransportEvent>,
    connect: impl FnOnce(Attempt) -> C,
) -> Box<dyn Link> {
    let (signals, signals_out) = mpsc::channel(MAX_WAITING_SIGNALS);
    let (close, closing) = oneshot::channel();
    let (senders, queues, account) = queues();
    let fail = Arc::new(Notify::new());
    let events = Events {
        link,
        sender: events,
    };
    let connection = connect(Attempt {
        events: events.clone(),
        signals: signals_out,
        queues,
        account,
        fail: Arc::clone(&fail),
    });
    let task = tokio::spawn(live(connection, events, closing, Arc::clone(&fail)));
    Box::new(Owner {
        signals,
        senders,
        close,
        fail,
        task,
    })
}

async fn live(
    mut connection: impl Connection,
    events: Events,
    mut closing: oneshot::Receiver<Duration>,
    fail: Arc<Notify>,
) {
    let link = events.link;
    let lost = tokio::select! {
        biased;
        // An owner that was dropped instead of closed gives no grace.
        grace = &mut closing => Err(grace.unwrap_or_default()),
        () = events.sender.closed() => Err(Duration::ZERO),
        () = fail.notified() => Ok(DownReason::Failed),
        // Descriptions and candidates come from outside: should a library choke on one, this
        // link fails and nothing else does.
        reason = AssertUnwindSafe(connection.run()).catch_unwind() => {
            Ok(reason.unwrap_or_else(|_| {
                error!(link = link.0, "connection panicked");
                DownReason::Failed
            }))
        }
    };
    connection.silence().await;
    match lost {
        Ok(reason) => {
            debug!(link = link.0, ?reason, "link is down");
            tokio::select! {
                biased;
                _ = closing => {}
                () = events.tell(TransportEvent::Down { link, reason }) => {}
            }
            connection.close(Duration::ZERO).await;
        }
        Err(grace) => connection.close(grace).await,
    }
}

/// The owner's end of a connection attempt.
struct Owner {
    signals: mpsc::Sender<Signal>,
    senders: SendQueues,
    close: oneshot::Sender<Duration>,
    fail: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Link for Owner {
    fn apply(&self, signal: Signal) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.signals.try_send(signal) {
            self.fail.notify_one();
        }
    }

    fn send(&self, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        self.senders.send(channel, frame)
    }

    fn close(self: Box<Self>, grace: Duration) -> Closed {
        let Self {
            senders,
            close,
            task,
            ..
        } = *self;
        // Fails if the connection is down, and so closed, already.
        let _ = close.send(grace);
        drop(senders);
        Box::pin(async move {
            // Fails if the runtime is shutting down: it is closed then.
            let _ = task.await;
        })
    }
}
