//! Several messages in one broadcast frame, so that they share its signature and its ways.
//!
//! A frame of one message has that for its payload. In one of several each message stands behind
//! its length, 2 bytes, big endian.

use alloc::vec::Vec;
use core::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::time::Timestamp;
use crate::wire::MAX_PAYLOAD;

/// Bytes of a frame's messages from which on no further ones are waited for: what takes as long to
/// hash as a signature takes to verify, about. Guess.
const ENOUGH: usize = 16 << 10;

/// Bytes before each message.
const LENGTH: usize = 2;

/// Own messages that wait for others to go with.
#[derive(Debug, Default)]
pub(super) struct Batch {
    messages: Vec<Bytes>,
    /// With their lengths.
    bytes: usize,
    /// When the last frame went.
    last: Option<Timestamp>,
}

impl Batch {
    /// Whether the messages have to go before this one can be taken.
    pub(super) fn is_full_for(&self, message: &Bytes) -> bool {
        let bytes = self.bytes + LENGTH + message.len();
        !self.messages.is_empty()
            && (bytes > ENOUGH || self.messages.len() >= usize::from(u16::MAX))
    }

    /// Takes a message; says when the messages are to go.
    pub(super) fn push(&mut self, message: Bytes, now: Timestamp, delay: Duration) -> Timestamp {
        self.bytes += LENGTH + message.len();
        self.messages.push(message);
        match self.last {
            Some(last) if self.bytes < ENOUGH => (last + delay).max(now),
            _ => now,
        }
    }

    /// Gives the messages, as the payload of a frame, and how many there are; `None` if none wait.
    pub(super) fn take(&mut self, now: Timestamp) -> Option<(u16, Bytes)> {
        let messages = core::mem::take(&mut self.messages);
        let bytes = core::mem::take(&mut self.bytes);
        let count = u16::try_from(messages.len()).ok().filter(|n| *n > 0)?;
        self.last = Some(now);
        if let [message] = &messages[..] {
            return Some((count, message.clone()));
        }
        let mut payload = BytesMut::with_capacity(bytes);
        for message in &messages {
            // A message is no longer than `MAX_PAYLOAD`, which is less.
            payload.put_u16(u16::try_from(message.len()).unwrap_or(u16::MAX));
            payload.put_slice(message);
        }
        Some((count, payload.freeze()))
    }
}

/// The messages of a frame, which share its bytes; `None` if there are not `count` of them, or
/// anything else.
pub(super) fn messages(count: u16, mut payload: Bytes) -> Option<Vec<Bytes>> {
    if count == 1 {
        return Some(Vec::from([payload]));
    }
    let count = usize::from(count);
    if count == 0 || payload.len() > MAX_PAYLOAD || count * LENGTH > payload.len() {
        return None;
    }
    let mut messages = Vec::with_capacity(count);
    for _ in 0..count {
        let length = usize::from(payload.try_get_u16().ok()?);
        if length > payload.len() {
            return None;
        }
        messages.push(payload.split_to(length));
    }
    payload.is_empty().then_some(messages)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(2);

    fn at(ms: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_millis(ms)
    }

    fn bytes(length: usize) -> Bytes {
        Bytes::from(alloc::vec![7; length])
    }

    #[test]
    fn what_comes_at_once_goes_together() {
        let mut batch = Batch::default();
        assert_eq!(batch.take(at(1)), None);
        assert_eq!(batch.push(bytes(3), at(1), DELAY), at(1), "it is the first");
        assert_eq!(batch.take(at(1)), Some((1, bytes(3))));
        let lengths = [5, 0, 300];
        for length in lengths {
            assert_eq!(batch.push(bytes(length), at(2), DELAY), at(3));
        }
        let (count, payload) = batch.take(at(3)).unwrap();
        let parts = messages(count, payload).unwrap();
        assert_eq!(parts, lengths.map(bytes));
        assert_eq!(batch.take(at(3)), None);
        assert_eq!(batch.push(bytes(3), at(9), DELAY), at(9), "long ago");
    }

    #[test]
    fn enough_is_enough() {
        let mut batch = Batch::default();
        batch.push(bytes(1), at(0), DELAY);
        batch.take(at(0));
        assert!(!batch.is_full_for(&bytes(MAX_PAYLOAD)), "nothing waits");
        assert_eq!(batch.push(bytes(1000), at(0), DELAY), at(2));
        assert!(batch.is_full_for(&bytes(ENOUGH)));
        assert!(!batch.is_full_for(&bytes(1000)));
        assert_eq!(batch.push(bytes(ENOUGH), at(0), DELAY), at(0));
    }

    #[test]
    fn what_is_no_batch_is_refused() {
        let payload = Bytes::from_static(&[0, 1, 9, 0, 2, 8, 8]);
        assert_eq!(messages(2, payload.clone()).unwrap().len(), 2);
        for count in [0, 3, u16::MAX] {
            assert_eq!(messages(count, payload.clone()), None, "{count}");
        }
        assert_eq!(messages(2, payload.slice(..6)), None, "cut off");
        let longer = Bytes::from_static(&[0, 1, 9, 0, 1, 8, 8]);
        assert_eq!(messages(2, longer), None, "something follows");
        assert_eq!(messages(1, payload.clone()), Some(alloc::vec![payload]));
        assert_eq!(messages(1, Bytes::new()), Some(alloc::vec![Bytes::new()]));
    }
}
