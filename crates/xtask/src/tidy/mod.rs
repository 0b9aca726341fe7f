//! `cargo xtask tidy`: the house rules as code.
//!
//! A rule is a function from the tree to what it finds wrong, in a module of its own, with a
//! test that it finds a planted violation.

use std::path::Path;

mod config_docs;
mod file_length;
mod forbidden;
mod links;
mod manifests;
mod markdown;
mod no_std;
mod scenarios;
mod source;
mod tree;
mod wire_docs;
mod words;

use tree::{Problem, Tree};

type Rule = fn(&Tree) -> Vec<Problem>;

const RULES: [(&str, Rule); 11] = [
    ("the core is no_std, safe and documented", no_std::check),
    ("the core depends on little", manifests::core_dependencies),
    ("dependencies point one way", manifests::arrows),
    ("every crate takes the workspace's lints", manifests::lints),
    ("no long files", file_length::check),
    ("the wire is documented", wire_docs::check),
    ("the configuration is documented", config_docs::check),
    ("scenarios have seeds and are listed", scenarios::check),
    ("links lead somewhere", links::check),
    ("nothing is left behind", forbidden::check),
    ("the field's words", words::check),
];

/// Checks the repository against every rule and prints what is wrong.
///
/// # Errors
/// A sentence if something is, or if the files cannot be listed.
pub fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let mut count = 0;
    for (name, rule) in RULES {
        let problems = rule(&tree);
        count += problems.len();
        if !problems.is_empty() {
            println!("{name}:");
        }
        for problem in problems {
            println!("  {problem}");
        }
    }
    match count {
        0 => Ok(()),
        1 => Err("1 breach of the house rules".to_owned()),
        _ => Err(format!("{count} breaches of the house rules")),
    }
}
