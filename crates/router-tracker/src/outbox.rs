//! What waits to be written to one client: bounded in messages and in bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Utf8Bytes;
use tokio_util::sync::CancellationToken;

/// Messages that may wait for one client. Guess: small ones only reach it.
const MAX_MESSAGES: usize = 1024;

/// Their bytes. Guess: 200 offers at once.
const MAX_BYTES: usize = 256 * 1024;

/// The hub's end. Dropping it closes the connection once everything is written.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: mpsc::Sender<Utf8Bytes>,
    bytes: Arc<AtomicUsize>,
    cut: CancellationToken,
}

/// The connection's end.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    queue: mpsc::Receiver<Utf8Bytes>,
    bytes: Arc<AtomicUsize>,
}

/// The client does not read what it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// An outbox whose connection ends at once when `cut` is cancelled.
pub(crate) fn outbox(cut: CancellationToken) -> (Outbox, OutboxReader) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let bytes = Arc::new(AtomicUsize::new(0));
    let outbox = Outbox {
        queue: sender,
        bytes: Arc::clone(&bytes),
        cut,
    };
    let reader = OutboxReader {
        queue: receiver,
        bytes,
    };
    (outbox, reader)
}

impl Outbox {
    /// Puts a message in. That the connection has ended meanwhile is no error: it says so
    /// itself.
    pub(crate) fn push(&self, text: Utf8Bytes) -> Result<(), Full> {
        let len = text.len();
        // Only this end adds, so that the sum cannot pass the limit unseen.
        if self.bytes.load(Ordering::Relaxed) + len > MAX_BYTES {
            return Err(Full);
        }
        self.bytes.fetch_add(len, Ordering::Relaxed);
        match self.queue.try_send(text) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Full),
        }
    }

    /// Ends the connection at once; what waits is lost.
    pub(crate) fn cut(self) {
        self.cut.cancel();
    }
}

impl OutboxReader {
    /// The next message, `None` once the hub has dropped its end and nothing waits.
    pub(crate) async fn next(&mut self) -> Option<Utf8Bytes> {
        self.queue.recv().await
    }

    /// The next message if there is one already.
    pub(crate) fn try_next(&mut self) -> Option<Utf8Bytes> {
        self.queue.try_recv().ok()
    }

    /// Notes that `bytes` bytes of messages are written and no longer wait.
    pub(crate) fn written(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_messages_are_bounded() {
        let (outbox, mut reader) = outbox(CancellationToken::new());
        let big = Utf8Bytes::from("x".repeat(MAX_BYTES / 2));
        assert_eq!(outbox.push(big.clone()), Ok(()));
        assert_eq!(outbox.push(big.clone()), Ok(()));
        assert_eq!(outbox.push("x".into()), Err(Full));
        // Taken out is not yet written.
        assert_eq!(reader.try_next(), Some(big.clone()));
        assert_eq!(outbox.push("x".into()), Err(Full));
        reader.written(big.len());
        assert_eq!(outbox.push(big), Ok(()));

        let (outbox, _reader) = super::outbox(CancellationToken::new());
        for _ in 0..MAX_MESSAGES {
            assert_eq!(outbox.push("x".into()), Ok(()));
        }
        assert_eq!(outbox.push("x".into()), Err(Full));
    }

    #[test]
    fn what_is_sent_to_an_ended_connection_is_dropped() {
        let (outbox, reader) = outbox(CancellationToken::new());
        drop(reader);
        assert_eq!(outbox.push("x".into()), Ok(()));
    }
}
