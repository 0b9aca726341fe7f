//! Room for millions of entries, by number, that grows without moving them: to move a vector of
//! so many takes its memory twice for a moment.

use std::mem::ManuallyDrop;
use std::ops::Range;

use super::memory::advise_large_pages;

/// Entries of a block, of some 40 bytes each: a few large pages.
const BLOCK: usize = 1 << 19;

/// Entries in chunks of one size, a power of two, each of which lies in one piece.
#[derive(Debug)]
pub(super) struct Slab<T> {
    /// All of them full, but the last one.
    blocks: Vec<Vec<Option<T>>>,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self { blocks: Vec::new() }
    }

    /// Entries of all chunks, those that are none included.
    pub(super) fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Adds a chunk without entries.
    pub(super) fn grow(&mut self, chunk: u32) {
        debug_assert!(chunk.is_power_of_two(), "a chunk of {chunk}");
        let is_full = |block: &Vec<_>| block.len() >= BLOCK;
        if self.blocks.last().is_none_or(is_full) {
            // Only the first one grows: most simulations need a small part of it.
            let size = if self.blocks.is_empty() { 0 } else { BLOCK };
            let mut block = Vec::with_capacity(size);
            advise_large_pages(&mut block);
            self.blocks.push(block);
        }
        if let Some(block) = self.blocks.last_mut() {
            block.resize_with(block.len() + chunk as usize, || None);
        }
    }

    /// Puts an entry where none is. What is there is not looked at, which would be a wait for memory.
    #[inline]
    pub(super) fn put(&mut self, number: u32, entry: T) {
        let _ = ManuallyDrop::new(self.at(number).replace(entry));
    }

    /// Takes the entry of a number out.
    #[inline]
    pub(super) fn take(&mut self, number: u32) -> Option<T> {
        self.at(number).take()
    }

    #[inline]
    fn at(&mut self, number: u32) -> &mut Option<T> {
        let number = number as usize;
        &mut self.blocks[number / BLOCK][number % BLOCK]
    }

    /// The entry of a number.
    #[inline]
    pub(super) fn get(&self, number: u32) -> &Option<T> {
        let number = number as usize;
        &self.blocks[number / BLOCK][number % BLOCK]
    }

    /// Some entries of one chunk.
    #[inline]
    pub(super) fn within(&self, range: Range<u32>) -> &[Option<T>] {
        let start = range.start as usize % BLOCK;
        &self.blocks[range.start as usize / BLOCK][start..start + range.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_were_put() {
        let mut slab = Slab::new();
        let entries = 2 * BLOCK as u32 + 6;
        for chunk in 0..entries / 2 {
            slab.grow(2);
            slab.put(2 * chunk, chunk);
        }
        for chunk in 0..entries / 2 {
            assert_eq!(slab.within(2 * chunk..2 * chunk + 2), [Some(chunk), None]);
            assert_eq!(slab.take(2 * chunk), Some(chunk));
        }
        assert_eq!(slab.len(), entries as usize);
    }
}
