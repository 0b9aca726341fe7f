//! The field's words: what Chord calls a finger is a long link here, and the word is used only
//! where Chord is spoken of.

use super::tree::{Problem, Tree};

/// This file speaks of the word.
const EXEMPT: &str = "crates/xtask/src/tidy/words.rs";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.with_extension(&["md", "rs"]) {
        if path == EXEMPT {
            continue;
        }
        let lines: Vec<&str> = text.lines().collect();
        let mut number = 0;
        for paragraph in lines.split(|line| line.trim().is_empty()) {
            if !paragraph.iter().any(|line| line.contains("Chord")) {
                problems.extend(
                    (1..)
                        .zip(paragraph)
                        .filter(|(_, line)| is_ours(line))
                        .map(|(offset, _)| Problem::at(path, number + offset, "say `long link`")),
                );
            }
            number += paragraph.len() + 1;
        }
    }
    problems
}

fn is_ours(line: &str) -> bool {
    line.split(|c: char| !c.is_alphanumeric())
        .any(|word| ["finger", "fingers"].contains(&word.to_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn a_finger_is_found_where_chord_is_not() {
        let tree = Tree::from([
            (
                "a.md",
                "A fingerprint.\n\nChord has\nfingers.\n\nWe have\nno finger table.\n",
            ),
            ("b.rs", "fn finger_of() {}\n"),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            ["a.md:7: say `long link`", "b.rs:1: say `long link`"]
        );
    }
}
