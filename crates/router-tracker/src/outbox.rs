//! What waits to be written to one client, bounded in bytes: its own and everybody's.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::limits::Limits;

/// What a message costs beside its bytes, so that many small ones are bounded too.
const OVERHEAD: usize = 64;

/// Of a client's limit, what it still may have waiting when all together have too much.
const SHARE: usize = 16;

/// The hub's end. Dropping it closes the connection, once everything is written.
#[derive(Debug)]
pub(crate) struct Outbox(Arc<Shared>);

/// The connection's end.
#[derive(Debug)]
pub(crate) struct OutboxReader {
    shared: Arc<Shared>,
    /// Bytes taken out and not yet written.
    taken: usize,
}

/// Bytes that wait for all clients together.
#[derive(Debug)]
pub(crate) struct Waiting {
    limits: Arc<Limits>,
    bytes: AtomicUsize,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order, with this code and reason, once everything is written.
    Close(CloseCode, &'static str),
    /// At once; what waits is lost.
    Cut,
}

/// The client does not read what it is sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
    all: Arc<Waiting>,
}

#[derive(Debug, Default)]
struct State {
    messages: VecDeque<String>,
    /// Of those that wait and of those being written.
    bytes: usize,
    ending: Option<Ending>,
}

impl Waiting {
    pub(crate) fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            bytes: AtomicUsize::new(0),
        }
    }

    /// So many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn limit(&self) -> usize {
        let limit = self.limits.client_queue;
        if self.bytes() > self.limits.total_queue {
            limit / SHARE
        } else {
            limit
        }
    }
}

/// An empty outbox.
pub(crate) fn outbox(all: Arc<Waiting>) -> (Outbox, OutboxReader) {
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        changed: Notify::new(),
        all,
    });
    (
        Outbox(Arc::clone(&shared)),
        OutboxReader { shared, taken: 0 },
    )
}

impl Outbox {
    /// Puts a message in. That the connection has ended meanwhile is no error: it says so
    /// itself.
    pub(crate) fn push(&self, text: String) -> Result<(), Full> {
        let cost = cost(&text);
        let mut state = self.0.state();
        if state.ending.is_some() {
            return Ok(());
        }
        if state.bytes + cost > self.0.all.limit() {
            return Err(Full);
        }
        state.bytes += cost;
        self.0.all.bytes.fetch_add(cost, Ordering::Relaxed);
        state.messages.push_back(text);
        drop(state);
        self.0.changed.notify_one();
        Ok(())
    }

    /// Ends the connection.
    pub(crate) fn end(self, ending: Ending) {
        self.0.end(ending);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let reason = "the tracker is ending; come back, or take another one";
        self.0.end(Ending::Close(CloseCode::Away, reason));
    }
}

impl OutboxReader {
    /// The next message, or how to end once there is none.
    pub(crate) async fn next(&mut self) -> Result<String, Ending> {
        loop {
            if let Some(next) = self.try_next() {
                return next;
            }
            self.shared.changed.notified().await;
        }
    }

    /// The same if there is something already.
    pub(crate) fn try_next(&mut self) -> Option<Result<String, Ending>> {
        let mut state = self.shared.state();
        if state.ending == Some(Ending::Cut) {
            return Some(Err(Ending::Cut));
        }
        let message = state.messages.pop_front();
        if state.messages.is_empty() {
            // A burst must not be remembered by its memory.
            state.messages = VecDeque::new();
        }
        self.taken += message.as_deref().map_or(0, cost);
        message.map(Ok).or(state.ending.map(Err))
    }

    /// Waits until the connection is to end, whatever waits to be written.
    pub(crate) async fn ending(&self) -> Ending {
        loop {
            if let Some(ending) = self.shared.state().ending {
                return ending;
            }
            self.shared.changed.notified().await;
        }
    }

    /// Notes that all messages taken out are written and no longer wait.
    pub(crate) fn written(&mut self) {
        let written = std::mem::take(&mut self.taken);
        if written > 0 {
            self.shared.state().bytes -= written;
            self.shared.all.bytes.fetch_sub(written, Ordering::Relaxed);
        }
    }
}

impl Drop for OutboxReader {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.ending = Some(Ending::Cut);
        state.messages = VecDeque::new();
        let bytes = std::mem::take(&mut state.bytes);
        self.shared.all.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn cost(text: &str) -> usize {
    text.len() + OVERHEAD
}

impl Shared {
    /// The first word counts.
    fn end(&self, ending: Ending) {
        self.state().ending.get_or_insert(ending);
        self.changed.notify_one();
    }

    /// It is whole at any time, so that a panic elsewhere spoils nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(client_queue: usize, total_queue: usize) -> Arc<Waiting> {
        Arc::new(Waiting::new(Arc::new(Limits {
            client_queue,
            total_queue,
            ..Limits::default()
        })))
    }

    fn text(len: usize) -> String {
        "x".repeat(len - OVERHEAD)
    }

    #[test]
    fn what_waits_is_bounded() {
        let all = waiting(1000, usize::MAX);
        let (outbox, mut reader) = outbox(Arc::clone(&all));
        assert_eq!(outbox.push(text(500)), Ok(()));
        assert_eq!(outbox.push(text(500)), Ok(()));
        assert_eq!(outbox.push(String::new()), Err(Full));
        // Taken out is not yet written.
        assert_eq!(reader.try_next(), Some(Ok(text(500))));
        assert_eq!(outbox.push(String::new()), Err(Full));
        reader.written();
        assert_eq!(outbox.push(text(500)), Ok(()));
        assert_eq!(all.bytes(), 1000);
        drop(reader);
        assert_eq!(all.bytes(), 0);

        let (outbox, _reader) = super::outbox(all);
        let small = (0..).take_while(|_| outbox.push(String::new()).is_ok());
        assert_eq!(small.count(), 1000 / OVERHEAD);
    }

    #[test]
    fn all_together_are_bounded_by_those_who_read_least() {
        let all = waiting(1600, 3000);
        let mut boxes: Vec<_> = (0..3).map(|_| outbox(Arc::clone(&all))).collect();
        for (outbox, _) in &boxes[..2] {
            assert_eq!(outbox.push(text(1600)), Ok(()));
        }
        // One who reads what it is sent goes on.
        assert_eq!(boxes[2].0.push(text(100)), Ok(()));
        assert_eq!(boxes[2].0.push(text(100)), Err(Full));
        assert!(matches!(boxes[2].1.try_next(), Some(Ok(_))));
        boxes[2].1.written();
        assert_eq!(boxes[2].0.push(text(100)), Ok(()));
        drop(boxes.remove(0));
        assert_eq!(boxes[1].0.push(text(100)), Ok(()));
    }

    #[tokio::test]
    async fn a_close_comes_after_what_waits_and_a_cut_before() {
        let close = Ending::Close(CloseCode::Policy, "why");
        for (ending, first) in [(close, Ok("a".to_owned())), (Ending::Cut, Err(Ending::Cut))] {
            let (outbox, mut reader) = outbox(waiting(1000, 1000));
            assert_eq!(outbox.push("a".to_owned()), Ok(()));
            outbox.end(ending);
            assert_eq!(reader.ending().await, ending);
            assert_eq!(reader.next().await, first);
            assert_eq!(reader.next().await, Err(ending));
        }
        let (outbox, mut reader) = outbox(waiting(1000, 1000));
        drop(outbox);
        assert!(matches!(
            reader.next().await,
            Err(Ending::Close(CloseCode::Away, _))
        ));
    }

    #[test]
    fn what_is_sent_to_an_ended_connection_is_dropped() {
        let all = waiting(1000, 1000);
        let (outbox, reader) = outbox(Arc::clone(&all));
        drop(reader);
        assert_eq!(outbox.push("x".to_owned()), Ok(()));
        assert_eq!(all.bytes(), 0);
    }
}
