//! The queues of frames between a link's owner and the tasks that send them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use circlet_core::node::Channel;
use circlet_core::wire::MAX_FRAME;
use tokio::sync::{Notify, mpsc};

use super::SendError;

/// Frames that may wait on one channel, whatever their size: the core lets 1 MiB wait for a
/// link, which is 10,000 frames of 100 bytes.
const MAX_WAITING_FRAMES: usize = 16384;

/// Bytes that may wait on one channel: more than the core lets wait for the whole link
/// ([`Config::link_window`](circlet_core::Config)), less where old frames are worth nothing.
const fn max_waiting_bytes(channel: Channel) -> usize {
    match channel {
        Channel::Messages | Channel::Bulk => 4 << 20,
        Channel::Control => 1 << 20,
        Channel::Realtime => 256 << 10,
    }
}

/// Makes the queues of a link: where frames are put in, and where they are taken out.
pub(super) fn queues() -> (SendQueues, Vec<(Channel, Queue)>, Arc<Account>) {
    let account = Arc::new(Account::default());
    let mut queues = Vec::new();
    let senders = Channel::ALL.map(|channel| {
        let (frames, frames_out) = mpsc::channel(MAX_WAITING_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        queues.push((
            channel,
            Queue {
                frames: frames_out,
                waiting: Arc::clone(&waiting),
                account: Arc::clone(&account),
            },
        ));
        Sender {
            channel,
            frames,
            waiting,
        }
    });
    let senders = SendQueues {
        senders,
        account: Arc::clone(&account),
    };
    (senders, queues, account)
}

/// The ends that frames are put into. Dropping them ends the queues once they are empty.
pub(super) struct SendQueues {
    senders: [Sender; 4],
    account: Arc<Account>,
}

impl SendQueues {
    /// Queues a frame, as [`Link::send`](super::Link::send) says.
    pub(super) fn send(&self, channel: Channel, frame: Bytes) -> Result<(), SendError> {
        match frame.len() {
            0 => return Err(SendError::Empty),
            1..=MAX_FRAME => {}
            _ => return Err(SendError::TooLarge),
        }
        if !self.account.is_open() {
            return Err(SendError::NotOpen);
        }
        let sender = self.senders.iter().find(|sender| sender.channel == channel);
        sender.map_or(Err(SendError::NotOpen), |sender| sender.send(frame))
    }
}

struct Sender {
    channel: Channel,
    frames: mpsc::Sender<Bytes>,
    waiting: Arc<AtomicUsize>,
}

impl Sender {
    fn send(&self, frame: Bytes) -> Result<(), SendError> {
        let bytes = frame.len();
        // Only this end adds, so what fits now still does when it is added.
        if self.waiting.load(Ordering::Relaxed) + bytes > max_waiting_bytes(self.channel) {
            return Err(SendError::Full);
        }
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
        self.frames.try_send(frame).map_err(|error| {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => SendError::Full,
                mpsc::error::TrySendError::Closed(_) => SendError::NotOpen,
            }
        })
    }
}

/// One channel's frames, oldest first.
pub(super) struct Queue {
    frames: mpsc::Receiver<Bytes>,
    waiting: Arc<AtomicUsize>,
    account: Arc<Account>,
}

impl Queue {
    /// The next frame; `None` once the queue is empty and its other end dropped.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.frames.recv().await
    }

    /// The next frame, if there is one now.
    pub(super) fn try_next(&mut self) -> Option<Bytes> {
        self.frames.try_recv().ok()
    }

    /// A frame of `bytes` that was taken out has been passed to the network.
    pub(super) fn passed(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::Relaxed);
        self.account.passed.fetch_add(bytes, Ordering::Relaxed);
        self.account.progress.notify_one();
    }
}

/// What all queues of a link have in common.
#[derive(Default)]
pub(super) struct Account {
    open: AtomicBool,
    passed: AtomicUsize,
    progress: Notify,
}

impl Account {
    /// Lets frames be queued from now on.
    pub(super) fn open(&self) {
        self.open.store(true, Ordering::Relaxed);
    }

    /// Whether frames may be queued.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Waits until frames have been passed to the network: their bytes since the last call.
    pub(super) async fn progress(&self) -> usize {
        loop {
            match self.passed.swap(0, Ordering::Relaxed) {
                0 => self.progress.notified().await,
                bytes => return bytes,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Bytes {
        Bytes::from(vec![0; len])
    }

    #[tokio::test]
    async fn a_full_queue_refuses_and_takes_again_what_has_passed() {
        let (senders, mut queues, account) = queues();
        account.open();
        let mut queued = 0;
        while senders.send(Channel::Bulk, frame(MAX_FRAME)).is_ok() {
            queued += 1;
        }
        assert_eq!(queued, max_waiting_bytes(Channel::Bulk) / MAX_FRAME);
        assert_eq!(
            senders.send(Channel::Bulk, frame(MAX_FRAME)),
            Err(SendError::Full)
        );
        assert_eq!(senders.send(Channel::Messages, frame(1)), Ok(()));

        let (_, bulk) = queues
            .iter_mut()
            .find(|(channel, _)| *channel == Channel::Bulk)
            .unwrap();
        let taken = bulk.next().await.unwrap();
        assert_eq!(
            senders.send(Channel::Bulk, frame(MAX_FRAME)),
            Err(SendError::Full),
            "taken out is not passed on yet"
        );
        bulk.passed(taken.len());
        assert_eq!(account.progress().await, MAX_FRAME);
        assert_eq!(senders.send(Channel::Bulk, frame(MAX_FRAME)), Ok(()));
    }

    #[tokio::test]
    async fn small_frames_are_bounded_by_number() {
        let (senders, _queues, account) = queues();
        account.open();
        let queued = (0..)
            .take_while(|_| senders.send(Channel::Control, frame(1)).is_ok())
            .count();
        assert_eq!(queued, MAX_WAITING_FRAMES);
    }

    #[tokio::test]
    async fn frames_are_refused_before_the_link_is_up_and_when_too_large() {
        let (senders, queues, account) = queues();
        assert_eq!(
            senders.send(Channel::Control, frame(1)),
            Err(SendError::NotOpen)
        );
        account.open();
        assert_eq!(
            senders.send(Channel::Control, frame(MAX_FRAME + 1)),
            Err(SendError::TooLarge)
        );
        assert_eq!(
            senders.send(Channel::Control, Bytes::new()),
            Err(SendError::Empty)
        );
        drop(queues);
        assert_eq!(
            senders.send(Channel::Control, frame(1)),
            Err(SendError::NotOpen)
        );
    }
}
