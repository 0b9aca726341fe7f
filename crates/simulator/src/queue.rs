//! The event queue.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use circlet_core::Timestamp;

/// Who schedules events: a number for each node and tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Source(u32);

/// When an event is due: by time, then by who scheduled it, then by that one's own count. So
/// the order says nothing about how the events came into the queue, and would be the same
/// however many threads filled it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    time: Timestamp,
    source: Source,
    sequence: u64,
}

/// Events in the order of their keys.
#[derive(Debug)]
pub(crate) struct EventQueue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    sequences: Vec<u64>,
}

impl<E> EventQueue<E> {
    pub(crate) fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            sequences: Vec::new(),
        }
    }

    /// Another one who schedules events.
    pub(crate) fn add_source(&mut self) -> Source {
        let source = Source(u32::try_from(self.sequences.len()).unwrap_or(u32::MAX));
        self.sequences.push(0);
        source
    }

    pub(crate) fn push(&mut self, source: Source, time: Timestamp, event: E) {
        let sequence = &mut self.sequences[source.0 as usize];
        *sequence += 1;
        let key = Key {
            time,
            source,
            sequence: *sequence,
        };
        self.heap.push(Reverse(Entry { key, event }));
    }

    pub(crate) fn next_time(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse(entry)| entry.key.time)
    }

    pub(crate) fn pop(&mut self) -> Option<(Timestamp, E)> {
        self.heap
            .pop()
            .map(|Reverse(entry)| (entry.key.time, entry.event))
    }

    pub(crate) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[derive(Debug)]
struct Entry<E> {
    key: Key,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
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
            std::iter::from_fn(move || queue.pop())
                .map(|(_, event)| event)
                .collect::<Vec<_>>()
        };
        assert_eq!(fill(false), ["a1 first", "a1 second", "b1", "a2"]);
        assert_eq!(fill(true), fill(false));
    }
}
