//! Changes that make a bad input of a good one.

use std::ops::Range;

use proptest::arbitrary::any as arbitrary;
use proptest::collection::vec;
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use proptest::strategy::Strategy;

use super::Seed;

/// No input gets longer than this, in bytes: above every limit that a decoder has for a message.
const MAX_LEN: usize = 160 * 1024;

/// Bytes that mean something at the edges of formats: the greatest and least numbers of common
/// encodings, among them the longest varints of 32 and 64 bits.
const EDGES: [&[u8]; 10] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0; 8],
    &[0xff; 8],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff; 11],
    &[0xc3, 0x28],
];

/// Texts that a number may be replaced by.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "-0",
    "1e999",
    "1e-999",
    "0.1",
    "nan",
    "255",
    "65536",
    "4294967296",
    "9007199254740993",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
];

/// One change.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Flip(Index, u8),
    Overwrite(Index, &'static [u8]),
    Insert(Index, Vec<u8>),
    /// From a place to the end.
    Cut(Index),
    Remove(Index, usize),
    Repeat(Index, usize, usize),
    /// A part of another input.
    Splice(Index, Index, Index, usize),
    Word(Index, Index),
    /// The first run of digits from a place on.
    Number(Index, &'static str),
}

pub(crate) fn any() -> impl Strategy<Value = Change> {
    let at = arbitrary::<Index>;
    let times = prop_oneof![8 => 1..4_usize, 2 => 4..100_usize, 1 => 100..5_000_usize];
    prop_oneof![
        4 => (at(), 1..=255_u8).prop_map(|(at, bits)| Change::Flip(at, bits)),
        4 => (at(), select(&EDGES[..])).prop_map(|(at, edge)| Change::Overwrite(at, edge)),
        2 => (at(), vec(arbitrary::<u8>(), 1..9)).prop_map(|(at, new)| Change::Insert(at, new)),
        1 => at().prop_map(Change::Cut),
        2 => (at(), 1..64_usize).prop_map(|(at, len)| Change::Remove(at, len)),
        2 => (at(), 1..64_usize, times).prop_map(|(at, len, times)| Change::Repeat(at, len, times)),
        2 => (at(), at(), at(), 1..200_usize)
            .prop_map(|(at, from, begin, len)| Change::Splice(at, from, begin, len)),
        3 => (at(), at()).prop_map(|(at, word)| Change::Word(at, word)),
        2 => (at(), select(&NUMBERS[..])).prop_map(|(at, number)| Change::Number(at, number)),
    ]
}

impl Change {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>, seeds: &[Seed], words: &[&str]) {
        match self {
            Self::Flip(at, bits) => {
                if !bytes.is_empty() {
                    let at = at.index(bytes.len());
                    bytes[at] ^= bits;
                }
            }
            Self::Overwrite(at, edge) => {
                let range = range(*at, edge.len(), bytes);
                bytes.splice(range, edge.iter().copied());
            }
            Self::Insert(at, new) => insert(bytes, *at, new),
            Self::Cut(at) => bytes.truncate(at.index(bytes.len() + 1)),
            Self::Remove(at, len) => {
                bytes.drain(range(*at, *len, bytes));
            }
            Self::Repeat(at, len, times) => {
                let range = range(*at, *len, bytes);
                let room = MAX_LEN.saturating_sub(bytes.len());
                let times = (*times).min(room / range.len().max(1));
                let copies = bytes[range.clone()].repeat(times);
                bytes.splice(range.end..range.end, copies);
            }
            Self::Splice(at, from, begin, len) => {
                let other = &from.get(seeds).1;
                let part = &other[range(*begin, *len, other)];
                insert(bytes, *at, part);
            }
            Self::Word(at, word) => {
                if !words.is_empty() {
                    insert(bytes, *at, word.get(words).as_bytes());
                }
            }
            Self::Number(at, number) => {
                let is_digit = |byte: &u8| byte.is_ascii_digit();
                let from = at.index(bytes.len() + 1);
                if let Some(start) = bytes[from..].iter().position(is_digit) {
                    let start = from + start;
                    let len = bytes[start..]
                        .iter()
                        .take_while(|byte| is_digit(byte))
                        .count();
                    bytes.splice(start..start + len, number.bytes());
                }
            }
        }
        bytes.truncate(MAX_LEN);
    }
}

fn range(at: Index, len: usize, bytes: &[u8]) -> Range<usize> {
    let start = at.index(bytes.len() + 1);
    start..(start + len).min(bytes.len())
}

fn insert(bytes: &mut Vec<u8>, at: Index, new: &[u8]) {
    let at = at.index(bytes.len() + 1);
    bytes.splice(at..at, new.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    #[test]
    fn all_changes_apply_to_everything_and_inputs_stay_bounded() {
        let seeds = [
            (String::new(), Vec::new()),
            ("x".to_owned(), b"a = 17".to_vec()),
        ];
        let mut runner = TestRunner::deterministic();
        let mut bytes = Vec::new();
        let mut longest = 0;
        for _ in 0..5_000 {
            let change = any().new_tree(&mut runner).unwrap().current();
            change.apply(&mut bytes, &seeds, &["true"]);
            longest = longest.max(bytes.len());
            assert!(bytes.len() <= MAX_LEN, "{change:?}");
        }
        assert_eq!(longest, MAX_LEN, "nothing oversized was tried");
    }

    #[test]
    fn numbers_are_replaced_as_a_whole() {
        let mut bytes = b"a = 17, b = 3".to_vec();
        let change = any().prop_filter_map("another", |change| match change {
            Change::Number(_, number) => Some(number),
            _ => None,
        });
        let number = change
            .new_tree(&mut TestRunner::deterministic())
            .unwrap()
            .current();
        let first = vec(arbitrary::<Index>(), 1000).new_tree(&mut TestRunner::deterministic());
        let first = first
            .unwrap()
            .current()
            .into_iter()
            .find(|at| at.index(bytes.len() + 1) < 4);
        Change::Number(first.unwrap(), number).apply(&mut bytes, &[], &[]);
        assert_eq!(bytes, format!("a = {number}, b = 3").into_bytes());
    }
}
