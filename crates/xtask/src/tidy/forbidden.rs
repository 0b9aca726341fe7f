//! Nothing of one machine and nothing unfinished is left in the tree.

use super::tree::{Problem, Tree};

/// Beginnings of absolute paths that exist on one machine only.
const PATHS: [&str; 4] = [
    concat!("/", "work/"),
    concat!("/", "root/"),
    "/home/",
    concat!("/tmp/", "exp"),
];

/// Marks of what is not done yet.
const UNFINISHED: [&str; 5] = ["todo!(", "unimplemented!(", "dbg!(", "FIXME", "XXX"];

/// Cargo names its registry in the lock file; this file names everything.
const EXEMPT: [&str; 2] = ["Cargo.lock", "crates/xtask/src/tidy/forbidden.rs"];

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.files().filter(|(path, _)| !EXEMPT.contains(path)) {
        for (index, line) in text.lines().enumerate() {
            let found = find(line);
            problems.extend(found.map(|text| Problem::at(path, index + 1, text)));
        }
    }
    problems
}

fn find(line: &str) -> impl Iterator<Item = String> {
    let found = |words: &'static [&'static str], what: &'static str| {
        words
            .iter()
            .filter(|word| contains_word(line, word))
            .map(move |word| format!("{what}: {word}"))
    };
    found(&PATHS, "a path of one machine").chain(found(&UNFINISHED, "unfinished"))
}

/// Whether `word` stands in the line by itself: no part of a longer word, path or host name.
fn contains_word(line: &str, word: &str) -> bool {
    let joins = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let before = line[..start].chars().next_back();
        let after = line[start + word.len()..].chars().next();
        let joined_before = match before {
            // `https://example.org/home/`, `./home/`
            Some(c) if word.starts_with('/') => joins(c) || "./-~*".contains(c),
            Some(c) => joins(c),
            None => false,
        };
        let joined_after = word.ends_with(joins) && after.is_some_and(joins);
        !joined_before && (!joined_after || word.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn what_must_not_be_there_is_found() {
        let tree = Tree::from([
            ("Cargo.lock", "source = \"/home/registry\"\n"),
            ("a.md", "Look in `/home/main`.\n"),
            ("b.rs", "fn f() {\n    todo!()\n}\n// FIXME: later\n"),
            ("c.toml", "path = \"/home/me/x\" # XXX\n"),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "a.md:1: a path of one machine: /home/",
                "b.rs:2: unfinished: todo!(",
                "b.rs:4: unfinished: FIXME",
                "c.toml:1: a path of one machine: /home/",
                "c.toml:1: unfinished: XXX",
            ]
        );
    }

    #[test]
    fn what_only_looks_like_it_passes() {
        let text = "https://example.org/home/ ./home/x mktemp a.XXXXXX mytodo!(x)\n";
        assert_eq!(check(&Tree::from([("a.md", text)])), []);
    }
}
