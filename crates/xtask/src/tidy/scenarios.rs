//! Every scenario has a seed and is listed in SIMULATION.md.

use toml::{Table, Value};

use super::tree::{Problem, Tree};

const DOC: &str = "docs/SIMULATION.md";

pub fn check(tree: &Tree) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (path, text) in tree.below("simulations/") {
        let name = &path["simulations/".len()..];
        if !name.ends_with(".toml") || name.contains('/') {
            continue;
        }
        match text.parse::<Table>() {
            Ok(table) if matches!(table.get("seed"), Some(Value::Integer(_))) => {}
            Ok(_) => problems.push(Problem::in_file(path, "there is no `seed = ` number")),
            Err(error) => problems.push(Problem::in_file(path, format!("is no TOML: {error}"))),
        }
        if !tree.text(DOC).unwrap_or_default().contains(name) {
            problems.push(Problem::in_file(DOC, format!("does not list {name}")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::tree::shown;
    use super::*;

    #[test]
    fn a_scenario_without_seed_or_not_listed_is_found() {
        let tree = Tree::from([
            (DOC, "- `good.toml`\n- `seedless.toml`\n"),
            ("simulations/baselines/x.toml", "other = 1\n"),
            ("simulations/good.toml", "seed = 7\n"),
            ("simulations/seedless.toml", "[net]\nseed = 7\n"),
            ("simulations/unlisted.toml", "seed = 7\n"),
        ]);
        assert_eq!(
            shown(&check(&tree)),
            [
                "simulations/seedless.toml: there is no `seed = ` number",
                "docs/SIMULATION.md: does not list unlisted.toml",
            ]
        );
    }
}
