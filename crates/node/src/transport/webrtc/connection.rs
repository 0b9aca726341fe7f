//! A connection attempt over WebRTC, from its first signal to its end.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use circlet_core::node::{Channel, DownReason, Role};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::Setup;
use super::channels::{
    Beginning, ChannelEnd, OrderedWay, greet, receive, send_ordered, send_unordered, unacknowledged,
};
use super::negotiation::Negotiation;
use super::peer::{Note, Notes, Peer};
use super::pulse::Pulse;
use crate::transport::attempt::{Attempt, Connection};
use crate::transport::{ConnectionState, TransportEvent};

/// How long frames that have arrived may take to be passed on once the other side has closed.
const MAX_LINGER: Duration = Duration::from_secs(1);

/// Time between looks at what is not acknowledged yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(1);

/// A connection attempt over WebRTC.
pub(super) struct WebRtcConnection {
    setup: Arc<Setup>,
    role: Role,
    attempt: Attempt,
    pulse: Arc<Pulse>,
    peer: Option<Peer>,
    receivers: JoinSet<ChannelEnd>,
    senders: JoinSet<()>,
}

impl WebRtcConnection {
    pub(super) fn new(setup: Arc<Setup>, role: Role, attempt: Attempt) -> Self {
        Self {
            setup,
            role,
            attempt,
            pulse: Arc::default(),
            peer: None,
            receivers: JoinSet::new(),
            senders: JoinSet::new(),
        }
    }
}

impl Connection for WebRtcConnection {
    async fn run(&mut self) -> DownReason {
        let Err(reason) = self.connect_and_carry().await;
        reason
    }

    async fn silence(&mut self) {
        self.receivers.shutdown().await;
    }

    async fn close(&mut self, grace: Duration) {
        self.pulse.calm();
        if let Some(peer) = self.peer.take() {
            let _ = timeout(grace, self.flush(&peer)).await;
            self.senders.shutdown().await;
            peer.close().await;
        }
    }
}

impl WebRtcConnection {
    async fn connect_and_carry(&mut self) -> Result<Infallible, DownReason> {
        let link = self.attempt.events.link;
        let failed = |error| {
            debug!(link = link.0, %error, "cannot make a connection");
            DownReason::Failed
        };
        let (notes, mut noted) = Notes::new(Arc::clone(&self.attempt.fail));
        let peer = Peer::new(Arc::clone(&self.setup), Arc::clone(&self.pulse), notes);
        let peer = self.peer.insert(peer.await.map_err(failed)?);

        // Each channel opens once, and hears something first once.
        let (beginning, mut beginnings) = mpsc::channel(2 * Channel::ALL.len());
        let (up, is_up) = watch::channel(false);
        for (channel, data_channel) in &peer.channels {
            self.receivers.spawn(receive(
                *channel,
                Arc::clone(data_channel),
                beginning.clone(),
                is_up.clone(),
                Arc::clone(&self.pulse),
                self.attempt.events.clone(),
            ));
        }
        let connection = Arc::clone(&peer.connection);
        let mut negotiation = Negotiation::new(self.role, connection, self.attempt.events.clone());
        negotiation.begin().await.map_err(failed)?;

        let mut missing = Channel::ALL.len();
        let mut has_heard = false;
        loop {
            tokio::select! {
                biased;
                Some(note) = noted.recv() => self.on_note(&negotiation, note).await?,
                Some(signal) = self.attempt.signals.recv() => negotiation.apply(signal).await?,
                Some(beginning) = beginnings.recv() => {
                    match beginning {
                        Beginning::Open => {
                            missing -= 1;
                            if missing == 0 {
                                self.greet().await;
                            }
                        }
                        Beginning::Heard => has_heard = true,
                    }
                    if missing == 0 && has_heard && !*up.borrow() {
                        self.on_up().await;
                        up.send_replace(true);
                    }
                }
                Some(end) = self.receivers.join_next() => return Err(self.wind_down(end).await),
                bytes = self.attempt.account.progress() => {
                    let writable = TransportEvent::Writable { link, bytes };
                    self.attempt.events.tell(writable).await;
                }
            }
        }
    }

    async fn on_note(&mut self, negotiation: &Negotiation, note: Note) -> Result<(), DownReason> {
        let link = self.attempt.events.link;
        match note {
            Note::Candidate(candidate) => negotiation.tell_candidate(candidate).await,
            Note::State(state) => {
                let events = &self.attempt.events;
                events.tell(TransportEvent::State { link, state }).await;
                match state {
                    ConnectionState::Gathering("complete") => {
                        negotiation.tell_end_of_candidates().await;
                    }
                    ConnectionState::Ice("disconnected") if self.attempt.account.is_open() => {
                        events.tell(TransportEvent::Suspect { link }).await;
                    }
                    ConnectionState::Ice("failed") | ConnectionState::Connection("failed") => {
                        return Err(DownReason::Failed);
                    }
                    _ => {}
                }
            }
            Note::UnknownChannel => {
                debug!(link = link.0, "peer opened a channel of its own");
                return Err(DownReason::Failed);
            }
            Note::StackEnded => return Err(self.wind_down(Ok(ChannelEnd::Lost)).await),
        }
        Ok(())
    }

    async fn greet(&self) {
        if let Some(peer) = &self.peer {
            greet(&peer.channels).await;
        }
    }

    /// All channels are open, and the other side's are: frames can be exchanged.
    async fn on_up(&mut self) {
        self.pulse.calm();
        // The first greeting came too early, if the other side was later.
        self.greet().await;
        let Some(peer) = &self.peer else { return };
        let way = Arc::new(Mutex::new(OrderedWay::new(
            &peer.channels,
            Arc::clone(&self.pulse),
        )));
        let queues = std::mem::take(&mut self.attempt.queues);
        for ((channel, queue), (_, data_channel)) in queues.into_iter().zip(&peer.channels) {
            let data_channel = Arc::clone(data_channel);
            if channel.is_ordered() {
                self.senders
                    .spawn(send_ordered(queue, data_channel, Arc::clone(&way)));
            } else {
                self.senders
                    .spawn(send_unordered(queue, channel, data_channel));
            }
        }
        // Before the event: who is told may send.
        self.attempt.account.open();
        let link = self.attempt.events.link;
        self.attempt.events.tell(TransportEvent::Up { link }).await;
    }

    /// A channel has ended: all others will, once the frames that came on them are passed on.
    async fn wind_down(&mut self, end: Result<ChannelEnd, JoinError>) -> DownReason {
        let mut is_closed = matches!(end, Ok(ChannelEnd::Closed));
        if self.attempt.account.is_open() {
            let others = async {
                while let Some(end) = self.receivers.join_next().await {
                    is_closed |= matches!(end, Ok(ChannelEnd::Closed));
                }
            };
            let _ = timeout(MAX_LINGER, others).await;
        }
        if is_closed {
            DownReason::Closed
        } else {
            DownReason::Failed
        }
    }

    /// Waits until everything queued has been sent and has arrived: what the stack still holds goes
    /// down with it. A peer that is told of the end closes its side, which is soon noticed.
    async fn flush(&mut self, peer: &Peer) {
        while self.senders.join_next().await.is_some() {}
        while unacknowledged(&peer.channels)
            .await
            .is_ok_and(|bytes| bytes > 0)
        {
            sleep(LOOK_INTERVAL).await;
        }
    }
}
