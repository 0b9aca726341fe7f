//! Tests that run for many seeds, and say how to repeat the one that failed.

use std::panic::{self, AssertUnwindSafe};

/// Runs a test for seeds 1 to `count`, or those that the environment asks for: `CIRCLET_SEED` for
/// one, `CIRCLET_SEEDS` for another count. When one fails, prints the command that repeats it.
///
/// `package` and `target` are `CARGO_PKG_NAME` and `CARGO_CRATE_NAME`; [`each_seed`] fills them
/// in.
///
/// # Panics
/// If the test does, or if the environment asks for something that is no number.
///
/// [`each_seed`]: crate::each_seed
pub fn run(package: &str, target: &str, name: &str, count: u64, test: impl Fn(u64)) {
    let seeds = match (number("CIRCLET_SEED"), number("CIRCLET_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, asked) => 1..=asked.unwrap_or(count),
    };
    for seed in seeds {
        if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| test(seed))) {
            eprintln!("failed with seed {seed}; to repeat it:");
            eprintln!(
                "CIRCLET_SEED={seed} cargo test --release -p {package} --test {target} -- --exact {name} --nocapture"
            );
            panic::resume_unwind(cause);
        }
    }
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

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{variable} is '{text}', and must be a number"),
    }
}
