//! The tasks that carry frames between a link's queues and its data channels.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use circlet_core::node::Channel;
use circlet_core::wire::{GREETING, MAX_RECORD, Packer, Unpacker};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::{Instant, timeout};
use tracing::debug;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::error::{Error, Result};

use super::pacer::Pacer;
use super::pulse::Pulse;
use crate::transport::TransportEvent;
use crate::transport::attempt::Events;
use crate::transport::queue::Queue;

/// Messages of one channel after which the stack is made to look for more. It leaves messages in
/// SCTP when 256 wait to be read.
const LOOK_AGAIN: u32 = 128;

/// The longest time between looks at what SCTP holds while it holds too much.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

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
    let mut incoming = Incoming::new(channel, events);
    let mut messages = 0u32;
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
                incoming.take(message.data.freeze()).await;
                messages = messages.wrapping_add(1);
                if messages.is_multiple_of(LOOK_AGAIN) {
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

/// What arrives on one channel, on its way to the events.
struct Incoming {
    channel: Channel,
    events: Events,
    /// Of an ordered channel; `None` once nothing can be made of it.
    unpacker: Option<Unpacker>,
}

impl Incoming {
    fn new(channel: Channel, events: Events) -> Self {
        Self {
            channel,
            events,
            unpacker: Some(Unpacker::default()),
        }
    }

    async fn take(&mut self, message: Bytes) {
        if !self.channel.is_ordered() {
            if self.channel != Channel::Control || message != GREETING {
                self.tell(message).await;
            }
            return;
        }
        let Some(unpacker) = &mut self.unpacker else {
            return;
        };
        unpacker.push(message);
        while let Some(unpacker) = &mut self.unpacker {
            match unpacker.pop() {
                Ok(Some(frame)) => self.tell(frame).await,
                Ok(None) => break,
                Err(error) => {
                    let link = self.events.link;
                    debug!(link = link.0, channel = ?self.channel, %error, "no frames");
                    self.unpacker = None;
                    self.events.tell(TransportEvent::Garbled { link }).await;
                }
            }
        }
    }

    async fn tell(&self, bytes: Bytes) {
        let frame = TransportEvent::Frame {
            link: self.events.link,
            channel: self.channel,
            bytes,
        };
        self.events.tell(frame).await;
    }
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

/// Sends the frames of an ordered channel as records, in turn with the others that share its way.
pub(super) async fn send_ordered(
    mut queue: Queue,
    to: Arc<dyn DataChannel>,
    way: Arc<Mutex<OrderedWay>>,
) {
    let mut packer = Packer::default();
    while let Some(frame) = queue.next().await {
        pack(&mut packer, &queue, frame);
        while packer.waiting() > 0 {
            // Handed out in the order asked for, so that others get their turn.
            let mut way = way.lock().await;
            let Ok(limit) = way.room().await else { return };
            // What has come meanwhile goes along.
            while packer.waiting() < MAX_RECORD
                && let Some(frame) = queue.try_next()
            {
                pack(&mut packer, &queue, frame);
            }
            let Some(record) = packer.pop(limit) else {
                break;
            };
            if way.send(&*to, record.bytes).await.is_err() {
                return;
            }
            if record.completed > 0 {
                queue.passed(record.completed);
            }
        }
    }
}

fn pack(packer: &mut Packer, queue: &Queue, frame: Bytes) {
    let bytes = frame.len();
    if let Err(error) = packer.push(frame) {
        // The queue takes none such.
        debug!(%error, "frame lost");
        queue.passed(bytes);
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

    /// Waits until SCTP may be given more: the bytes that the next record should have at most.
    ///
    /// # Errors
    /// If a channel is closed.
    async fn room(&mut self) -> Result<usize> {
        while !self.pacer.has_room() {
            let held = unacknowledged(&self.channels).await?;
            self.pacer.look(Instant::now(), held);
            if !self.pacer.has_room() {
                let _ = timeout(LOOK_INTERVAL, self.pulse.beat()).await;
            }
        }
        Ok(self.pacer.largest_record())
    }

    async fn send(&mut self, to: &dyn DataChannel, record: BytesMut) -> Result<()> {
        let bytes = record.len();
        to.send(record).await?;
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
