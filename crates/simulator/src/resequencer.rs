//! Puts what arrives out of order back into order.

use std::collections::BTreeMap;

/// Takes numbered items in any order and gives them out in the order of their numbers, from 0.
/// Holds at most what the sender's window lets be under way.
#[derive(Debug)]
pub(crate) struct Resequencer<T> {
    next: u64,
    early: BTreeMap<u64, T>,
}

impl<T> Default for Resequencer<T> {
    fn default() -> Self {
        Self {
            next: 0,
            early: BTreeMap::new(),
        }
    }
}

impl<T> Resequencer<T> {
    /// Takes an item; call [`Resequencer::next`] until it gives nothing.
    pub(crate) fn insert(&mut self, sequence: u64, item: T) {
        if sequence >= self.next {
            self.early.insert(sequence, item);
        }
    }

    /// The next item in order, if it is here.
    pub(crate) fn next(&mut self) -> Option<T> {
        let item = self.early.remove(&self.next)?;
        self.next += 1;
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_come_in_order_and_once() {
        let mut order = Resequencer::default();
        order.insert(1, 'b');
        assert_eq!(order.next(), None);
        order.insert(0, 'a');
        order.insert(1, 'b');
        assert_eq!([order.next(), order.next()], [Some('a'), Some('b')]);
        order.insert(0, 'a');
        assert_eq!(order.next(), None);
    }
}
