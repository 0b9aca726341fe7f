//! `cargo xtask test`: everything that must pass.
//!
//! One profile throughout: the tests share their build with `cargo run --release`, and clippy
//! and rustdoc share the dependencies' metadata.

use std::path::Path;

use crate::steps::{Report, cargo, succeed};
use crate::{setup, tidy};

/// Runs all steps, those after a failed one too, and prints the summary; whether all is well.
pub fn run(root: &Path) -> bool {
    let mut report = Report::default();
    if !report.step("set-up", || setup::check(root)) {
        return report.finish();
    }
    report.step("tidy", || tidy::run(root));
    report.step("format", || {
        succeed(&mut cargo(root, ["fmt", "--all", "--check"]))
    });
    report.step("clippy", || {
        let args = "clippy --workspace --all-targets --release -- -D warnings";
        succeed(&mut cargo(root, args.split(' ')))
    });
    report.step("doc", || {
        let args = "doc --workspace --no-deps --release";
        succeed(cargo(root, args.split(' ')).env("RUSTDOCFLAGS", "-D warnings"))
    });
    let args = "test --workspace --release --no-fail-fast";
    report.tests("test", cargo(root, args.split(' ')));
    report.finish()
}
