//! The core does no I/O and has no clock, because it has no `std`; nothing in it is unsafe or
//! undocumented.

use super::tree::{Problem, Tree};

const LIB: &str = "crates/core/src/lib.rs";

const ATTRIBUTES: [&str; 3] = [
    "#![no_std]",
    "#![forbid(unsafe_code)]",
    "#![deny(missing_docs)]",
];

pub fn check(tree: &Tree) -> Vec<Problem> {
    let lib = tree.text(LIB).unwrap_or_default();
    let mut problems: Vec<Problem> = ATTRIBUTES
        .iter()
        .filter(|attribute| !lib.lines().any(|line| line == **attribute))
        .map(|attribute| Problem::in_file(LIB, format!("there is no {attribute}")))
        .collect();
    for (path, text) in tree.below("crates/core/src/") {
        let mut previous = "";
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if line.starts_with("extern crate std") && previous != "#[cfg(test)]" {
                let text = "std comes in, and not for tests alone";
                problems.push(Problem::at(path, index + 1, text));
            }
            previous = line;
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn a_core_as_it_should_be_passes() {
        let lib = "//! Core.\n#![no_std]\n#![forbid(unsafe_code)]\n#![deny(missing_docs)]\n\
                   extern crate alloc;\n#[cfg(test)]\nextern crate std;\n";
        assert_eq!(check(&Tree::from([(LIB, lib)])), []);
    }

    #[test]
    fn missing_attributes_and_std_are_found() {
        let tree = Tree::from([
            (LIB, "// #![no_std]\n#![forbid(unsafe_code)]\n"),
            ("crates/core/src/node.rs", "\nextern crate std;\n"),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "crates/core/src/lib.rs: there is no #![no_std]",
                "crates/core/src/lib.rs: there is no #![deny(missing_docs)]",
                "crates/core/src/node.rs:2: std comes in, and not for tests alone",
            ]
        );
    }
}
