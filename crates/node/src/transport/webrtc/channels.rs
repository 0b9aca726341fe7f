//! The tasks that carry frames between a link's queues and its data channels.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use circlet_core::node::Channel;
use circlet_core::wire::GREETING;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout};
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::{Error, Result};

use super::pacer::Pacer;
use super::pulse::Pulse;
use crate::transport::TransportEvent;
use crate::transport::attempt::Events;
use crate::transport::queue::Queue;

/// Frames of one channel after which the stack is made to look for more. It leaves frames in
/// SCTP when 256 wait to be read.
const LOOK_AGAIN: u32 = 128;

/// The longest time between looks at what SCTP holds while it holds too much.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Bytes that one ordered channel may send before another has its turn: a frame of the largest
/// size, or many small ones.
const TURN: usize = 64 << 10;

/// How a data channel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChannelEnd {
    /// The other side closed it, or the whole connection.
    Closed,
    /// The stack ended.
    Lost,
}

/// What a channel says of its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// It is open.
    Open,
    /// Something has come: the other side's channels are open, too.
    Heard,
}

/// Passes the frames of a channel on as events, from when the link is up.
///
/// Waits for room among the events; the stack stops reading meanwhile, and so in the end does
/// the peer's sender.
pub(super) async fn receive(
    channel: Channel,
    data_channel: Arc<dyn DataChannel>,
    beginning: mpsc::Sender<Beginning>,
    mut is_up: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
    events: Events,
) -> ChannelEnd {
    let link = events.link;
    let mut frames = 0u32;
    while let Some(event) = data_channel.poll().await {
        match event {
            // Sending, and waiting for the link, fail only when it is being closed.
            DataChannelEvent::OnOpen => {
                let _ = beginning.send(Beginning::Open).await;
            }
            DataChannelEvent::OnMessage(message) => {
                if !*is_up.borrow() {
                    let _ = beginning.send(Beginning::Heard).await;
                    let _ = is_up.wait_for(|is_up| *is_up).await;
                }
                let bytes = message.data.freeze();
                if channel == Channel::Control && bytes == GREETING {
                    continue;
                }
                events
                    .tell(TransportEvent::Frame {
                        link,
                        channel,
                        bytes,
                    })
                    .await;
                frames = frames.wrapping_add(1);
                if frames.is_multiple_of(LOOK_AGAIN) {
                    pulse.look_again();
                    wake(&*data_channel).await;
                }
            }
            DataChannelEvent::OnClose => return ChannelEnd::Closed,
            _ => {}
        }
    }
    ChannelEnd::Lost
}

/// Says something that means nothing: whoever hears it knows that this end's channels are open.
///
/// What comes before they are, the stack acknowledges and loses (rtc 0.21.1: it opens negotiated
/// channels at the event that SCTP has connected, and may read packets before it looks at that).
pub(super) async fn greet(channels: &[(Channel, Arc<dyn DataChannel>)]) {
    for (channel, data_channel) in channels {
        if *channel == Channel::Control {
            // Fails if it is closed: that will be seen.
            let _ = data_channel.send(BytesMut::from(GREETING)).await;
        }
    }
}

/// Wakes the stack, by something cheap that has no effect.
async fn wake(data_channel: &dyn DataChannel) {
    // Fails if it is closed: there is no need then.
    let _ = data_channel.set_buffered_amount_low_threshold(0).await;
}

/// Sends the frames of an unordered channel. SCTP sends them before those of the ordered ones,
/// whatever waits there.
pub(super) async fn send_unordered(mut queue: Queue, channel: Channel, to: Arc<dyn DataChannel>) {
    while let Some(frame) = queue.next().await {
        let bytes = frame.len();
        let sent = if channel.is_reliable() {
            to.send(writable(frame)).await
        } else {
            match to.try_send(writable(frame)).await {
                // Never sent is as good as lost.
                Err(Error::ErrSendBufferFull) => Ok(()),
                sent => sent,
            }
        };
        if sent.is_err() {
            return;
        }
        queue.passed(bytes);
    }
}

/// Sends the frames of an ordered channel, in turn with the others that share its way.
pub(super) async fn send_ordered(
    mut queue: Queue,
    to: Arc<dyn DataChannel>,
    way: Arc<Mutex<OrderedWay>>,
) {
    while let Some(frame) = queue.next().await {
        // Handed out in the order asked for, so that others get their turn.
        let mut way = way.lock().await;
        let mut turn = 0;
        let mut next = Some(frame);
        while let Some(frame) = next {
            let bytes = frame.len();
            if way.send(&*to, frame).await.is_err() {
                return;
            }
            queue.passed(bytes);
            turn += bytes;
            next = if turn < TURN { queue.try_next() } else { None };
        }
    }
}

/// The one queue that SCTP has for all ordered channels.
pub(super) struct OrderedWay {
    pacer: Pacer,
    channels: Vec<(Channel, Arc<dyn DataChannel>)>,
    pulse: Arc<Pulse>,
}

impl OrderedWay {
    /// The way that the frames of those of `channels` go that are ordered.
    pub(super) fn new(channels: &[(Channel, Arc<dyn DataChannel>)], pulse: Arc<Pulse>) -> Self {
        let ordered = channels.iter().filter(|(channel, _)| channel.is_ordered());
        Self {
            pacer: Pacer::new(),
            channels: ordered.cloned().collect(),
            pulse,
        }
    }

    async fn send(&mut self, to: &dyn DataChannel, frame: Bytes) -> Result<()> {
        while !self.pacer.has_room() {
            let held = unacknowledged(&self.channels).await?;
            self.pacer.look(Instant::now(), held);
            if !self.pacer.has_room() {
                let _ = timeout(LOOK_INTERVAL, self.pulse.beat()).await;
            }
        }
        let bytes = frame.len();
        to.send(writable(frame)).await?;
        self.pacer.handed(Instant::now(), bytes);
        Ok(())
    }
}

/// The bytes on these channels that the peer has not acknowledged.
///
/// # Errors
/// If one of them is closed.
pub(super) async fn unacknowledged(channels: &[(Channel, Arc<dyn DataChannel>)]) -> Result<usize> {
    let mut bytes = 0;
    for (_, data_channel) in channels {
        bytes += data_channel.outstanding_bytes().await?;
    }
    Ok(bytes)
}

/// Copies only what others have a part in.
fn writable(frame: Bytes) -> BytesMut {
    frame
        .try_into_mut()
        .unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}
