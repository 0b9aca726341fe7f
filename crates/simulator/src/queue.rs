//! The event queue of whole nodes: a timing wheel that counts for its sources.

use std::time::Duration;

use circlet_core::Timestamp;

use crate::scale::wheel::{self, Key, Sequence, Wheel};

/// Who schedules events: a number for each node and tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(wheel::Source);

/// Events in the order of time, then of who scheduled them, then of that one's own count.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    wheel: Wheel<E>,
    sequences: Vec<Sequence>,
}

impl<E> EventQueue<E> {
    pub(crate) fn new() -> Self {
        Self {
            wheel: Wheel::new(),
            sequences: Vec::new(),
        }
    }

    /// Another one who schedules events.
    pub(crate) fn add_source(&mut self) -> Source {
        let source = Source(u32::try_from(self.sequences.len()).unwrap_or(u32::MAX));
        self.sequences.push(Sequence::FIRST);
        source
    }

    pub(crate) fn push(&mut self, source: Source, time: Timestamp, event: E) {
        let key = Key {
            time,
            source: source.0,
            sequence: self.sequences[source.0 as usize].take(),
        };
        // The event itself says whom it happens to.
        let target = 0;
        self.wheel.push(key, target, event);
    }

    /// Takes the first event, if it is due at `end` or before.
    pub(crate) fn pop_until(&mut self, end: Timestamp) -> Option<(Timestamp, E)> {
        let due = self.wheel.pop_before(end + Duration::from_micros(1))?;
        Some((due.key.time, due.event))
    }

    pub(crate) const fn len(&self) -> usize {
        self.wheel.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_time_then_source_then_sequence_however_filled() {
        let at = Timestamp::from_micros;
        let fill = |reverse: bool| {
            let mut queue = EventQueue::new();
            let (a, b) = (queue.add_source(), queue.add_source());
            if reverse {
                queue.push(b, at(1), "b1");
            }
            queue.push(a, at(2), "a2");
            queue.push(a, at(1), "a1 first");
            queue.push(a, at(1), "a1 second");
            if !reverse {
                queue.push(b, at(1), "b1");
            }
            std::iter::from_fn(move || queue.pop_until(at(2)))
                .map(|(_, event)| event)
                .collect::<Vec<_>>()
        };
        assert_eq!(fill(false), ["a1 first", "a1 second", "b1", "a2"]);
        assert_eq!(fill(true), fill(false));
    }
}
