//! Every relative link in Markdown leads to a file of the repository, and to a heading in it.

use super::markdown::{anchors, links};
use super::tree::{Problem, Tree};

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.with_extension(&["md"]) {
        for (line, link) in links(text) {
            if let Err(error) = follow(tree, path, link) {
                problems.push(Problem::at(path, line, error));
            }
        }
    }
    problems
}

fn follow(tree: &Tree, from: &str, link: &str) -> Result<(), String> {
    let (file, anchor) = match link.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (link, None),
    };
    if has_scheme(file) {
        return Ok(());
    }
    let target = resolve(from, file).ok_or_else(|| format!("`{link}` leads out of the tree"))?;
    let Some(text) = tree.text(&target) else {
        let directory = format!("{}/", target.trim_end_matches('/'));
        return if target.is_empty() || tree.below(&directory).next().is_some() {
            Ok(())
        } else {
            Err(format!("`{link}` leads nowhere: there is no {target}"))
        };
    };
    match anchor {
        Some(anchor) if target.ends_with(".md") && !anchors(text).iter().any(|a| a == anchor) => {
            Err(format!("`{link}`: there is no such heading in {target}"))
        }
        _ => Ok(()),
    }
}

/// Whether it is a link to elsewhere: `https:`, `mailto:`.
fn has_scheme(link: &str) -> bool {
    link.split_once(':')
        .is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()))
}

/// The path that a link in the file `from` means; `None` if it is outside.
fn resolve(from: &str, link: &str) -> Option<String> {
    if link.is_empty() {
        return Some(from.to_owned());
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    if link.starts_with('/') {
        parts.clear();
    }
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "# Title\n[1](#title) [2](docs/A.md#a-b) [3](docs) [4](docs/)\n\
                    [5](https://example.org/x#y) [6](/src/lib.rs#L3)\n";
        let tree = Tree::from([
            ("README.md", text),
            ("docs/A.md", "## A, B\n[up](../README.md#title)\n"),
            ("src/lib.rs", ""),
        ]);
        assert_eq!(check(&tree), []);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let tree = Tree::from([
            ("docs/A.md", "# A\n[1](B.md)\n[2](#b)\n[3](../../x)\n"),
            ("docs/C.md", "[4](A.md#b) [5](../docs/A.md#a)\n"),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "docs/A.md:2: `B.md` leads nowhere: there is no docs/B.md",
                "docs/A.md:3: `#b`: there is no such heading in docs/A.md",
                "docs/A.md:4: `../../x` leads out of the tree",
                "docs/C.md:1: `A.md#b`: there is no such heading in docs/A.md",
            ]
        );
    }
}
