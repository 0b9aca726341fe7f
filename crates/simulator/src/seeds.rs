//! Tests that run for many seeds, and say how to repeat the one that failed.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};

/// Runs a test for seeds 1 to `count`, or those that the environment asks for: `CIRCLET_SEED` for
/// one, `CIRCLET_SEEDS` for another count or for `A..B`, B excluded. When one fails, prints the command that repeats it.
///
/// `package` and `target` are `CARGO_PKG_NAME` and `CARGO_CRATE_NAME`; [`each_seed`] fills them
/// in.
///
/// # Panics
/// If the test does, or if the environment asks for something that is no number or range.
///
/// [`each_seed`]: crate::each_seed
pub fn run(package: &str, target: &str, name: &str, count: u64, test: impl Fn(u64)) {
    for seed in asked(count) {
        if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with seed {seed}; to repeat it:");
            eprintln!(
                "CIRCLET_SEED={seed} cargo test --release -p {package} --test {target} -- --exact {name} --nocapture"
            );
            panic::resume_unwind(cause);
        }
    }
}

/// Seeds 1 to `count`, or those that the environment asks for; see [`run`].
///
/// # Panics
/// If it asks for something that is no number or range.
#[must_use]
pub fn asked(count: u64) -> Range<u64> {
    let asked = ["CIRCLET_SEED", "CIRCLET_SEEDS"].map(|variable| std::env::var(variable).ok());
    let seeds = match &asked {
        [Some(one), _] => seeds(one).map(|seeds| seeds.end - 1..seeds.end),
        [None, Some(some)] => seeds(some),
        [None, None] => Some(1..count + 1),
    };
    seeds.unwrap_or_else(|| panic!("{asked:?}: the seeds must be a number or a range A..B"))
}

/// Runs a test of an integration test target for many seeds: `each_seed!("name", count, |seed|
/// ..)`, where `name` is the test function's. See [`seeds::run`](crate::seeds::run).
#[macro_export]
macro_rules! each_seed {
    ($name:literal, $count:expr, $test:expr) => {
        $crate::seeds::run(
            env!("CARGO_PKG_NAME"),
            env!("CARGO_CRATE_NAME"),
            $name,
            $count,
            $test,
        )
    };
}

/// The seeds of `A..B`, or the first ones of `N`.
fn seeds(text: &str) -> Option<Range<u64>> {
    match text.split_once("..") {
        Some((first, end)) => Some(first.parse().ok()?..end.parse().ok()?),
        None => Some(1..text.parse::<u64>().ok()?.checked_add(1)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_count_or_a_range() {
        assert_eq!(seeds("3"), Some(1..4));
        assert_eq!(seeds("5..9"), Some(5..9));
        for bad in ["", "a", "1..", "..2", "-1"] {
            assert_eq!(seeds(bad), None, "{bad}");
        }
    }
}
