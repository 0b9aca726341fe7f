//! What happened, as one number, and as lines of text if asked.

use std::collections::VecDeque;
use std::fmt::Write;

use circlet_core::Timestamp;

use crate::random::mix;

/// The longest line kept, in characters.
const MAX_LINE: usize = 400;

/// A running hash over everything that happens, and the last lines of it.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    lines: VecDeque<String>,
    keep: usize,
    text: String,
}

impl Trace {
    /// A trace that keeps the last `keep` lines. With lines, the hash covers every field of
    /// every message; without, only when, where, which and how long.
    pub(crate) fn new(keep: usize) -> Self {
        Self {
            hash: 0,
            lines: VecDeque::new(),
            keep,
            text: String::new(),
        }
    }

    /// Notes that something happened: `numbers` always, `line` only if lines are kept.
    pub(crate) fn note(&mut self, now: Timestamp, numbers: &[u64], line: impl FnOnce() -> String) {
        self.mix(now.as_micros());
        for number in numbers {
            self.mix(*number);
        }
        if self.keep == 0 {
            return;
        }
        let line = line();
        for chunk in line.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
        self.text.clear();
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{now} ");
        self.text.extend(line.chars().take(MAX_LINE));
        if self.lines.len() == self.keep {
            self.lines.pop_front();
        }
        self.lines.push_back(self.text.clone());
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }

    const fn mix(&mut self, value: u64) {
        self.hash = mix(self.hash ^ mix(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(keep: usize, numbers: &[u64], line: &str) -> Trace {
        let mut trace = Trace::new(keep);
        for at in 0..3 {
            trace.note(Timestamp::from_micros(at), numbers, || line.into());
        }
        trace
    }

    #[test]
    fn the_hash_covers_numbers_always_and_lines_if_kept() {
        assert_eq!(trace(0, &[1], "a").hash(), trace(0, &[1], "b").hash());
        assert_ne!(trace(0, &[1], "a").hash(), trace(0, &[2], "a").hash());
        assert_ne!(trace(2, &[1], "a").hash(), trace(2, &[1], "b").hash());
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let trace = trace(2, &[], "x");
        assert_eq!(
            trace.lines().collect::<Vec<_>>(),
            ["0.000001s x", "0.000002s x"]
        );
    }
}
