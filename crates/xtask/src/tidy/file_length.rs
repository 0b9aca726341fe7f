//! No file above 600 lines outside tests: a bigger one is two ideas.

use super::source::without_tests;
use super::tree::{Problem, Tree};

const LIMIT: usize = 600;

const CODE: [&str; 6] = ["css", "html", "js", "rs", "sh", "ts"];

pub fn check(tree: &Tree) -> Vec<Problem> {
    tree.with_extension(&CODE)
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, without_tests(text).trim_end().lines().count()))
        .filter(|(_, lines)| *lines > LIMIT)
        .map(|(path, lines)| {
            let text = format!("{lines} lines without its tests, and {LIMIT} are allowed");
            Problem::in_file(path, text)
        })
        .collect()
}

fn is_test(path: &str) -> bool {
    path.split('/')
        .any(|part| part == "tests" || part == "tests.rs")
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn a_long_file_is_found_and_tests_do_not_count() {
        let (short, long) = ("x;\n".repeat(600), "x;\n".repeat(601));
        let tested = format!("{short}\n#[cfg(test)]\nmod tests {{\n{long}}}\n");
        let tree = Tree::from([
            ("crates/a/src/lib.rs", &*tested),
            ("crates/a/src/long.rs", &*long),
            ("crates/a/src/node/tests.rs", &*long),
            ("crates/a/tests/all.rs", &*long),
            ("docs/long.md", &*long),
            ("tests/common/mod.rs", &*long),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            ["crates/a/src/long.rs: 601 lines without its tests, and 600 are allowed"]
        );
    }
}
