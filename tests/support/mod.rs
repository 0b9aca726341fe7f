//! What the end-to-end tests share: the binary's processes, and waiting for what they tell.
//!
//! Everything a member tells is kept in its [`View`]; tests wait for a condition on the views.
//! The bounds given are there to catch hangs; the times that count are printed. All processes
//! are killed, by their ids, when a test ends, whichever way it ends.
#![allow(dead_code, unused_imports, reason = "not every test needs all of it")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod process;
mod ring;

pub use process::{Tracker, circlet, finished, hermetic, lines, wait};
pub use ring::{Message, Ring, View};

use std::time::Duration;

/// Long enough for anything on a busy machine: what takes longer hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// A generator of test cases, the same on every run (Numerical Recipes, 3rd edition, section
/// 7.1.3, "Ranq1").
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 4_101_842_887_655_102_017)
    }

    /// A number under `end`.
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 21;
        self.0 ^= self.0 << 35;
        self.0 ^= self.0 >> 4;
        let word = self.0.wrapping_mul(2_685_821_657_736_338_717);
        usize::try_from(word >> 33).unwrap() % end
    }

    /// Two different numbers under `end`.
    pub fn pair(&mut self, end: usize) -> (usize, usize) {
        let first = self.below(end);
        (first, (first + 1 + self.below(end - 1)) % end)
    }
}
