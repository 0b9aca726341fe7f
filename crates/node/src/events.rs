//! The queue of events between the driver and the application.
//!
//! The driver never waits for the application, or heartbeats would wait too and the neighbours
//! would take the node for dead. Instead the queue has a size, [`CAPACITY`], in bytes:
//!
//! - Reliable messages are acknowledged when they come to lie within it. Those beyond it are held
//!   without acknowledgement, so their senders' windows fill and the senders wait: that bounds
//!   what there can be of each sender. Should many senders, or one that ignores its window, fill
//!   it nevertheless, the driver leaves message frames unread above [`FLOODED`]: even those that
//!   are only passed on to others, as they cannot be told apart. What is reliable is sent again.
//! - Datagrams beyond it are dropped: they are sent at most once anyway.
//! - Everything else beyond four times its size is dropped.
//!
//! Where something was dropped the application finds [`NodeEvent::Missed`].

use std::collections::VecDeque;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use circlet_core::identity::NodeId;
use circlet_core::node::{Class, Event, LinkId, Message};
use futures_util::{Stream, StreamExt};
use tokio::sync::Notify;
use tracing::warn;

use crate::transport::ConnectionState;

/// Size of the queue in bytes: what half a second brings at 8 MB/s, and so what an application
/// that reads at all will not notice. Guess.
const CAPACITY: u64 = 4 << 20;

/// Size from which on nothing but messages is queued.
const CAPACITY_OF_OTHERS: u64 = 4 * CAPACITY;

/// Size from which on message frames are not read: some dozens of senders with full windows.
/// Guess.
const FLOODED: u64 = 64 << 20;

/// What an event takes in memory besides its payload, about.
const OVERHEAD: u64 = 256;

/// Something that happened to a node.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NodeEvent {
    /// A message for this node.
    Message(Message),
    /// Something about the overlay: neighbours, members, links, trackers, the end. Messages and
    /// the outcomes of own sends are never among it: they come as [`NodeEvent::Message`], and
    /// from [`Node::send`](crate::Node::send) and its like.
    Overlay(Event),
    /// A connection changed one of its states.
    Connection {
        /// The member at the other end.
        peer: NodeId,
        /// Which attempt to connect to it.
        link: LinkId,
        /// The new state.
        state: ConnectionState,
    },
    /// The connection to a tracker ended, or could not be made. It will be tried again.
    TrackerLost {
        /// The tracker's URL.
        url: String,
        /// Why, for people.
        reason: String,
    },
    /// The application has not read its events for so long that some were dropped here.
    Missed(Missed),
}

/// How many events were dropped. Reliable messages are never among them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// Datagrams.
    pub datagrams: u64,
    /// Broadcast and circulated messages.
    pub broadcasts: u64,
    /// News about neighbours, members, links and trackers.
    pub others: u64,
}

/// A node's events, in order. Ends when the node has left the room or was made to.
///
/// Events are to be read all the time: see [`NodeEvent::Missed`] for what happens else. Dropping
/// this says that they are of no interest: messages count as taken then.
///
/// It is a [`Stream`] too.
#[derive(Debug)]
pub struct Events {
    queue: Arc<Queue>,
}

impl Events {
    /// The next event; `None` once the node has ended and all are read.
    ///
    /// Cancel safe: an event is either returned or still there.
    pub async fn next(&mut self) -> Option<NodeEvent> {
        StreamExt::next(self).await
    }

    /// The next event if there is one already.
    pub fn try_next(&mut self) -> Option<NodeEvent> {
        self.queue.pop(&mut self.queue.lock())
    }
}

impl Stream for Events {
    type Item = NodeEvent;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<NodeEvent>> {
        let mut state = self.queue.lock();
        if let Some(event) = self.queue.pop(&mut state) {
            return Poll::Ready(Some(event));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.reader = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.abandoned = true;
        state.taken = state.pushed;
        let events = mem::take(&mut state.events);
        drop(state);
        drop(events);
        self.queue.room.notify_one();
    }
}

/// The driver's end of the queue. Dropping it ends the events.
#[derive(Debug)]
pub(crate) struct EventSender {
    queue: Arc<Queue>,
    /// Whether acknowledging is the application's business.
    manual_ack: bool,
    has_warned: bool,
    /// Reliable messages in the queue that are not acknowledged yet, each with where it ends.
    unacknowledged: VecDeque<(u64, Acknowledgement)>,
}

/// What tells a sender that the application has its messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acknowledgement {
    pub(crate) from: NodeId,
    pub(crate) sequence: u64,
}

/// Makes a queue. With `manual_ack` the application acknowledges what it takes by itself.
pub(crate) fn channel(manual_ack: bool) -> (EventSender, Events) {
    let queue = Arc::new(Queue::default());
    let sender = EventSender {
        queue: Arc::clone(&queue),
        manual_ack,
        has_warned: false,
        unacknowledged: VecDeque::new(),
    };
    (sender, Events { queue })
}

impl EventSender {
    /// Adds an event. The application is told with [`EventSender::wake_reader`].
    pub(crate) fn push(&mut self, event: NodeEvent) {
        let mut state = self.queue.lock();
        let reliable = match &event {
            NodeEvent::Message(message) if message.class == Class::Reliable && !self.manual_ack => {
                Some(Acknowledgement {
                    from: message.from,
                    sequence: message.sequence,
                })
            }
            _ => None,
        };
        let waiting = state.waiting();
        if state.abandoned {
            // Taken, as far as anybody can tell.
        } else if waiting >= limit_of(&event) {
            state.miss(&event);
        } else {
            state.pushed += size_of(&event);
            state.events.push_back(event);
        }
        let end = state.pushed;
        drop(state);
        if let Some(acknowledgement) = reliable {
            self.unacknowledged.push_back((end, acknowledgement));
        }
        if waiting >= CAPACITY && !mem::replace(&mut self.has_warned, true) {
            warn!("the application does not read its events: messages to it have to wait");
        }
    }

    /// Tells the application that there are events, if it waits for some. Once after many of them:
    /// waking another thread is a system call.
    pub(crate) fn wake_reader(&self) {
        let mut state = self.queue.lock();
        if state.events.is_empty() {
            return;
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The next messages to be acknowledged, one sender's at a time.
    pub(crate) fn next_acknowledgement(&mut self) -> Option<Acknowledgement> {
        let &(first, _) = self.unacknowledged.front()?;
        let limit = self.queue.lock().taken + CAPACITY;
        if first > limit {
            return None;
        }
        let (_, mut acknowledgement) = self.unacknowledged.pop_front()?;
        while let Some(&(end, next)) = self.unacknowledged.front()
            && end <= limit
            && next.from == acknowledgement.from
        {
            acknowledgement.sequence = next.sequence;
            self.unacknowledged.pop_front();
        }
        Some(acknowledgement)
    }

    /// Whether messages are held that [`EventSender::room`] should be waited for.
    pub(crate) fn is_holding(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Whether so much is held that message frames should not be read.
    pub(crate) fn is_flooded(&self) -> bool {
        self.queue.lock().waiting() >= FLOODED
    }

    /// Ends when the application has taken something since the last call.
    pub(crate) async fn room(&self) {
        self.queue.room.notified().await;
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.closed = true;
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    /// Told when something was taken from a queue over its size.
    room: Notify,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<NodeEvent>,
    /// Bytes put into the queue since the start, and taken out of it.
    pushed: u64,
    taken: u64,
    reader: Option<Waker>,
    closed: bool,
    abandoned: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; a poisoned state would be whole anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pop(&self, state: &mut State) -> Option<NodeEvent> {
        let event = state.events.pop_front()?;
        if state.waiting() > CAPACITY {
            self.room.notify_one();
        }
        state.taken += size_of(&event);
        Some(event)
    }
}

impl State {
    fn waiting(&self) -> u64 {
        self.pushed - self.taken
    }

    fn miss(&mut self, event: &NodeEvent) {
        if !matches!(self.events.back(), Some(NodeEvent::Missed(_))) {
            let missed = NodeEvent::Missed(Missed::default());
            self.pushed += size_of(&missed);
            self.events.push_back(missed);
        }
        let Some(NodeEvent::Missed(missed)) = self.events.back_mut() else {
            return;
        };
        match event {
            NodeEvent::Message(message) if message.class == Class::Datagram => {
                missed.datagrams += 1;
            }
            NodeEvent::Message(_) => missed.broadcasts += 1,
            _ => missed.others += 1,
        }
    }
}

/// How much may wait before `event` is dropped.
fn limit_of(event: &NodeEvent) -> u64 {
    match event {
        NodeEvent::Message(message) => match message.class {
            Class::Reliable => u64::MAX,
            Class::Datagram => CAPACITY,
            Class::Broadcast | Class::Circulate => CAPACITY_OF_OTHERS,
        },
        // Told once each, and the application is lost without.
        NodeEvent::Overlay(
            Event::Joined { .. } | Event::Superseded { .. } | Event::Refused { .. } | Event::Left,
        ) => u64::MAX,
        _ => CAPACITY_OF_OTHERS,
    }
}

fn size_of(event: &NodeEvent) -> u64 {
    match event {
        NodeEvent::Message(message) => OVERHEAD + message.payload.len() as u64,
        _ => OVERHEAD,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use circlet_core::identity::Incarnation;
    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const SENDER: NodeId = NodeId::from_bytes([1; 32]);
    const OTHER: NodeId = NodeId::from_bytes([2; 32]);
    const PAYLOAD: usize = 60 * 1024;

    fn message(from: NodeId, class: Class, sequence: u64) -> NodeEvent {
        NodeEvent::Message(Message {
            from,
            incarnation: Incarnation(1),
            class,
            sequence,
            hops: 1,
            payload: Bytes::from_static(&[0; PAYLOAD]),
        })
    }

    fn left() -> NodeEvent {
        NodeEvent::Overlay(Event::Left)
    }

    fn acknowledged(sender: &mut EventSender) -> Vec<(NodeId, u64)> {
        std::iter::from_fn(|| sender.next_acknowledgement())
            .map(|acknowledgement| (acknowledgement.from, acknowledgement.sequence))
            .collect()
    }

    #[test]
    fn events_come_in_order_and_end() {
        let (mut sender, mut events) = channel(false);
        assert!(events.next().now_or_never().is_none());
        sender.push(message(SENDER, Class::Reliable, 1));
        sender.push(left());
        drop(sender);
        assert_eq!(
            events.next().now_or_never(),
            Some(Some(message(SENDER, Class::Reliable, 1)))
        );
        assert_eq!(events.try_next(), Some(left()));
        assert_eq!(events.next().now_or_never(), Some(None));
    }

    #[test]
    fn acknowledgements_are_joined_by_sender() {
        let (mut sender, _events) = channel(false);
        for (from, sequence) in [(SENDER, 1), (SENDER, 2), (OTHER, 7), (SENDER, 3)] {
            sender.push(message(from, Class::Reliable, sequence));
        }
        sender.push(message(OTHER, Class::Datagram, 0));
        assert_eq!(
            acknowledged(&mut sender),
            [(SENDER, 2), (OTHER, 7), (SENDER, 3)]
        );
        assert!(!sender.is_holding());
    }

    #[test]
    fn reliable_messages_beyond_the_capacity_are_held_until_there_is_room() {
        let (mut sender, mut events) = channel(false);
        let fitting = CAPACITY / (PAYLOAD as u64 + OVERHEAD);
        for sequence in 1..=fitting + 2 {
            sender.push(message(SENDER, Class::Reliable, sequence));
        }
        assert_eq!(acknowledged(&mut sender), [(SENDER, fitting)]);
        assert!(sender.is_holding());
        assert!(sender.room().now_or_never().is_none());

        assert!(events.try_next().is_some());
        assert!(sender.room().now_or_never().is_some());
        assert_eq!(acknowledged(&mut sender), [(SENDER, fitting + 1)]);
        assert!(events.try_next().is_some());
        assert_eq!(acknowledged(&mut sender), [(SENDER, fitting + 2)]);
        assert_eq!(
            std::iter::from_fn(|| events.try_next()).count() as u64,
            fitting
        );
    }

    #[test]
    fn what_is_not_reliable_is_dropped_and_counted() {
        let (mut sender, mut events) = channel(false);
        while events.queue.lock().waiting() < CAPACITY {
            sender.push(message(SENDER, Class::Broadcast, 1));
        }
        sender.push(message(SENDER, Class::Datagram, 0));
        sender.push(message(SENDER, Class::Datagram, 0));
        while events.queue.lock().waiting() < CAPACITY_OF_OTHERS {
            sender.push(message(SENDER, Class::Broadcast, 1));
        }
        sender.push(message(SENDER, Class::Circulate, 1));
        sender.push(NodeEvent::TrackerLost {
            url: String::new(),
            reason: String::new(),
        });
        sender.push(left());
        let (mut missed, mut last) = (Vec::new(), None);
        while let Some(event) = events.try_next() {
            if let NodeEvent::Missed(count) = event {
                missed.push((count.datagrams, count.broadcasts, count.others));
            }
            last = Some(event);
        }
        assert_eq!(missed, [(2, 0, 0), (0, 1, 1)]);
        assert_eq!(last, Some(left()));
        assert_eq!(events.queue.lock().waiting(), 0);
    }

    #[test]
    fn nobody_reading_floods_and_dropping_the_events_ends_that() {
        let (mut sender, events) = channel(false);
        let mut sequence = 0;
        while !sender.is_flooded() {
            sequence += 1;
            sender.push(message(SENDER, Class::Reliable, sequence));
            acknowledged(&mut sender);
        }
        assert!(sender.queue.lock().waiting() < FLOODED + (1 << 20));
        drop(events);
        assert!(sender.room().now_or_never().is_some());
        assert!(!sender.is_flooded());
        assert_eq!(acknowledged(&mut sender), [(SENDER, sequence)]);
        sender.push(message(SENDER, Class::Reliable, sequence + 1));
        assert_eq!(acknowledged(&mut sender), [(SENDER, sequence + 1)]);
        assert_eq!(sender.queue.lock().waiting(), 0);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken_across_threads() {
        let (mut sender, mut events) = channel(false);
        let reading = tokio::spawn(async move { (events.next().await, events) });
        tokio::task::yield_now().await;
        let told = std::thread::spawn(move || {
            sender.push(left());
            sender.wake_reader();
            sender
        });
        let sender = told.join().unwrap();
        let read = timeout(Duration::from_secs(10), reading).await;
        let (event, mut events) = read.expect("the reader is woken").unwrap();
        assert_eq!(event, Some(left()));
        drop(sender);
        assert_eq!(events.next().await, None);
    }
}
