//! Fuzzing on stable Rust, as plain tests: bytes from outside, and what must hold of any of them.
//!
//! A target is a test that calls [`fuzz`] or [`fuzz_text`] with a corpus, a directory of inputs that
//! are under version control, and a check. Every input of the corpus is tried as it is, cut short,
//! and then with changes that [`proptest`] draws: bits flipped, parts left out, repeated up to
//! thousands of times or taken from another input, numbers replaced by extreme ones. What fails is
//! shrunk to few changes and printed; it belongs into the corpus once it is mended.
//!
//! The runs are repeatable. `PROPTEST_CASES` asks for another number of inputs,
//! `PROPTEST_RNG_SEED` for others. Coverage does not guide it (that takes a compiler other than
//! stable): a corpus with an input of each kind is what it lives from.

mod change;

use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::Path;

use proptest::arbitrary::any;
use proptest::collection::vec;
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestError, TestRunner};

use change::Change;

/// The most steps in which a failing input is made smaller.
const SHRINKING: u32 = 5_000;

/// An input with its name.
type Seed = (String, Vec<u8>);

/// The corpus of a decoder, among the tests of the package that asks.
#[macro_export]
macro_rules! corpus {
    ($name:literal) => {
        concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/", $name)
    };
}

/// Tries `count` inputs, or as many as `PROPTEST_CASES` says, that are made from `corpus`, a
/// directory. `words` are put into them now and then: what a format knows and chance would not hit.
///
/// # Panics
/// If the check does, with the smallest input found; if there is no corpus.
pub fn fuzz(corpus: &str, count: u32, words: &[&str], check: impl Fn(&[u8])) {
    let seeds = read(Path::new(corpus));
    assert!(!seeds.is_empty(), "no inputs in {corpus}");
    let bytes: usize = seeds.iter().map(|(_, seed)| seed.len() + 1).sum();
    // All cuts together are no more than the other inputs.
    let step = bytes.div_ceil(count as usize);
    for (name, seed) in &seeds {
        for len in (0..=seed.len()).rev().step_by(step) {
            let result = panic::catch_unwind(AssertUnwindSafe(|| check(&seed[..len])));
            if let Err(why) = result {
                eprintln!("the input: the first {len} bytes of {name}");
                panic::resume_unwind(why);
            }
        }
    }
    let config = config(count);
    let again = format!(
        "PROPTEST_RNG_SEED={} PROPTEST_CASES={}",
        config.rng_seed, config.cases
    );
    let recipes = (any::<Index>(), vec(change::any(), 1..8));
    let cook = |(seed, changes): &(Index, Vec<Change>)| {
        let mut bytes = seed.get(&seeds).1.clone();
        for change in changes {
            change.apply(&mut bytes, &seeds, words);
        }
        bytes
    };
    let result = TestRunner::new(config).run(&recipes, |recipe| {
        check(&cook(&recipe));
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, recipe)) => {
            let input = cook(&recipe).escape_ascii().to_string();
            panic!("{why}\nthe input: b\"{input}\"\nfor {corpus}; again with {again}")
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// The inputs of a corpus with their names, in order of these.
fn read(corpus: &Path) -> Vec<Seed> {
    let files = fs::read_dir(corpus).into_iter().flatten().flatten();
    let mut seeds: Vec<_> = files
        .filter_map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            Some((name, fs::read(file.path()).ok()?))
        })
        .collect();
    seeds.sort();
    seeds
}

/// [`fuzz`] for formats that are text. What is no UTF-8 is not tried.
///
/// # Panics
/// As [`fuzz`].
pub fn fuzz_text(corpus: &str, count: u32, words: &[&str], check: impl Fn(&str)) {
    fuzz(corpus, count, words, |bytes| {
        if let Ok(text) = std::str::from_utf8(bytes) {
            check(text);
        }
    });
}

/// How proptest is to run: for so many values, and always the same ones, unless the environment
/// asks for others.
#[must_use]
pub fn config(cases: u32) -> Config {
    let asked = Config::default();
    Config {
        cases: match env::var_os("PROPTEST_CASES") {
            Some(_) => asked.cases,
            None => cases,
        },
        rng_seed: match asked.rng_seed {
            RngSeed::Random => RngSeed::Fixed(1),
            fixed @ RngSeed::Fixed(_) => fixed,
        },
        max_shrink_iters: SHRINKING,
        failure_persistence: None,
        ..asked
    }
}
